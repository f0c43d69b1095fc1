"""What a training is: the recipe (what is learned) and the settings around it (from where, to where, on what)."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated, Literal

import tyro
from pydantic import Field, model_validator

from transmute.data.config import PreprocessConfig, SourceConfig
from transmute.methods.config import CycleGANConfig, MethodConfig
from transmute.metrics.config import MetricsConfig
from transmute.settings import Settings, Size, UserError


class AdamConfig(Settings):
    """Adam, clipping and averaging; the defaults are the original's."""

    lr: float = Field(default=2e-4, gt=0)
    """Learning rate before the schedule."""
    beta1: float = Field(default=0.5, ge=0, lt=1)
    """Decay of the first moment."""
    beta2: float = Field(default=0.999, ge=0, lt=1)
    """Decay of the second moment."""
    clip: float | None = Field(default=None, gt=0)
    """Largest norm of a player's gradient; None clips nothing."""
    accumulate: int = Field(default=1, ge=1)
    """Parts into which a batch is split to save memory; the gradients stay those of the whole batch. (pix2pix keeps its generator's
    part of the graph while the discriminator moves, so it saves less there.)"""
    ema: float = Field(default=0.0, ge=0, lt=1)
    """Decay per step of the averaged generators (0.999, say), which are then what is saved and shown; 0 turns averaging off."""


class ConstantConfig(Settings):
    """The learning rate never changes."""

    name: Literal["constant"] = "constant"
    """Kind; chosen by the flag without `.name`."""


class LinearConfig(Settings):
    """Constant, then falling in a line towards zero, as in the CycleGAN paper."""

    name: Literal["linear"] = "linear"
    """Kind; chosen by the flag without `.name`."""
    decay: float = Field(default=0.5, ge=0, le=1)
    """Share of the training, at its end, in which the rate falls: 0.5 is the original's 100 + 100 epochs."""
    ahead: int = Field(default=1, ge=0)
    """How far ahead of time the rate is, in epochs (or steps): the original's is 1, so that it ends above zero; 0 in other tools."""
    intervals: int | None = Field(default=None, ge=1)
    """How often the rate may change in the training; None is at each epoch, or at each step where the length is in steps."""


class StepConfig(Settings):
    """Multiplied by a factor every so often."""

    name: Literal["step"] = "step"
    """Kind; chosen by the flag without `.name`."""
    every: float = Field(default=0.25, gt=0, le=1)
    """Share of the training between two changes: 0.25 is the original's 50 of 200 epochs."""
    factor: float = Field(default=0.1, gt=0, le=1)
    """What the rate is multiplied with."""


class CosineConfig(Settings):
    """A cosine from the full rate to zero."""

    name: Literal["cosine"] = "cosine"
    """Kind; chosen by the flag without `.name`."""
    down: float = Field(default=1.0, gt=0)
    """Share of the training until zero, after which the rate rises again: the original's 100 + 100 epochs have 0.5."""


class PlateauConfig(Settings):
    """Multiplied by a factor when evaluations no longer get better; needs --evaluate-every."""

    name: Literal["plateau"] = "plateau"
    """Kind; chosen by the flag without `.name`."""
    factor: float = Field(default=0.2, gt=0, lt=1)
    """What the rate is multiplied with; the original's 0.2."""
    patience: int = Field(default=5, ge=0)
    """Evaluations in a row that may bring nothing better before; the original's 5."""
    threshold: float = Field(default=0.01, ge=0)
    """Share of the best figure by which a new one must be better to count."""


ScheduleConfig = Annotated[ConstantConfig | LinearConfig | StepConfig | CosineConfig | PlateauConfig, Field(discriminator="name")]


class Recipe(Settings):
    """Every choice that changes what is learned, and no path, device or number of processes."""

    method: MethodConfig = CycleGANConfig()
    """What one training step is."""
    size: Annotated[Size, tyro.conf.arg(metavar="N|WxH")] = "256x256"
    """Pixels that training sees of a picture: N or WIDTHxHEIGHT."""
    batch: int = Field(default=1, ge=1)
    """Pictures of each domain in a step, over all processes together."""
    epochs: int = Field(default=200, ge=1)
    """Length of the training in passes over the larger domain."""
    steps: int | None = Field(default=None, ge=1)
    """Length of the training in steps; given, it counts instead of the epochs."""
    seed: int = Field(default=0, ge=0)
    """Seed of weights, order and augmentation: equal seeds give equal runs on one machine."""
    preprocess: PreprocessConfig = PreprocessConfig()
    """From a picture on disk to what training sees."""
    optimizer: AdamConfig = AdamConfig()
    """How weights move."""
    schedule: ScheduleConfig = LinearConfig()
    """How the learning rate changes."""

    @model_validator(mode="after")
    def _batch_can_be_split(self) -> Recipe:
        if self.batch % self.optimizer.accumulate:
            raise ValueError(
                f"a batch of {self.batch} cannot be split into {self.optimizer.accumulate} equal parts: change --batch or --optimizer.accumulate"
            )
        return self


class TrainConfig(Settings):
    """Where pictures come from, where results go, on what they are made, and the recipe."""

    folder: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")] = None
    """Folder with the data set; its layout is recognized."""
    run: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder for everything the training makes; an existing run there is continued. None: a dated one under runs/."""
    start: Annotated[Path | None, tyro.conf.arg(name="from", metavar="PATH")] = None
    """Networks to start with, in place of new ones: a run, a model file, or a folder of them (of `transmute import`, say)."""
    extend: bool = False
    """Go on with an existing run although its length, schedule or optimizer's settings are others than it was begun with."""
    recipe: Annotated[Recipe, tyro.conf.arg(name="")] = Recipe()
    """What is learned."""
    data: SourceConfig = SourceConfig()
    """Where pictures come from."""
    report_every: int = Field(default=50, ge=1)
    """Steps between two lines of metrics.jsonl."""
    sample_every: int = Field(default=500, ge=1)
    """Steps between two sheets of sample pictures."""
    save_every: int = Field(default=1000, ge=1)
    """Steps between two checkpoints with their models."""
    evaluate_every: int | None = Field(default=None, ge=1)
    """Steps between two evaluations on held-out pictures, after which the best models are kept; None evaluates never."""
    metrics: MetricsConfig = MetricsConfig()
    """What is measured in evaluations."""
    best: Literal["fid", "kid", "cycle", "structure", "l1", "psnr", "ssim", "lpips", "pixel_accuracy", "class_accuracy", "iou"] = "kid"
    """The figure by which models are the best (its mean where there are two directions)."""
    patience: int | None = Field(default=None, ge=1)
    """Evaluations in a row without a better figure after which the training ends; None trains to the end."""
    log: tuple[Literal["tensorboard", "wandb"], ...] = ()
    """Where reports and samples go beside the run's own page; if one fails, the training goes on without it."""
    keep: int = Field(default=2, ge=1)
    """Newest checkpoints and models to keep."""
    keep_every: int | None = Field(default=None, ge=1)
    """Steps between models that are kept for good, to choose among them later; None keeps the newest alone."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """What computes; auto takes a GPU where there is one."""
    devices: int = Field(default=1, ge=1)
    """Processes on this machine, one a GPU; the batch is split among them."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """What networks compute in (weights and losses stay float32); auto is bfloat16 where the device is fast at it."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Let torch compile the networks, which takes a minute or two at the start; auto does so in long trainings."""
    graph: Literal["auto", "on", "off"] = "auto"
    """Replay whole steps as CUDA graphs; auto does so on a GPU where pictures have one size."""
    deterministic: bool = False
    """Bit-equal results each time on one machine, also on a GPU, where that is slower (in a notebook: before it has used the GPU)."""
    sync_batch_norm: bool = False
    """Batch-norm statistics over all processes, not each one's own (GPUs only)."""

    def with_run(self) -> TrainConfig:
        """The same with a run folder: a dated one where none is named.

        Raises:
            UserError: If none is named under torchrun, whose processes would each find a name of their own.
        """
        if self.run is None and "RANK" in os.environ:
            raise UserError("under torchrun, name the folder of the run with --run")
        return self if self.run is not None else self.replace(run=Path("runs") / time.strftime("%Y-%m-%d-%H%M%S"))
