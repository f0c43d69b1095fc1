"""The recipe, which determines what is learned, and settings of data, output and hardware."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializeAsAny, model_validator

from transmute.config.base import Argument, Kind, Settings, Size, choice, differences
from transmute.config.data import FOUND_IN_IMAGES, PreprocessConfig, SourceConfig
from transmute.config.methods import AnyMethod, CycleGANConfig
from transmute.config.metrics import MetricsConfig
from transmute.errors import UserError


class AdamConfig(Settings):
    """Adam, gradient clipping and weight averaging. The defaults are those of the papers."""

    lr: float = Field(default=2e-4, gt=0)
    """Initial learning rate."""
    beta1: float = Field(default=0.5, ge=0, lt=1)
    """Decay of the first moment."""
    beta2: float = Field(default=0.999, ge=0, lt=1)
    """Decay of the second moment."""
    clip: float | None = Field(default=None, gt=0)
    """Maximum gradient norm of each player (all generators, or all discriminators). If omitted,
    gradients are not clipped."""
    accumulate: int = Field(default=1, ge=1)
    """Number of micro-batches per step, to save memory. The gradients are those of the whole batch.
    (pix2pix saves less: its generator's graph is kept while the discriminator is updated.)"""
    ema: float = Field(default=0.0, ge=0, lt=1)
    """EMA decay per step (such as 0.999). If set, the averaged generators are saved and shown. 0
    turns averaging off."""


class ConstantConfig(Kind):
    """A constant learning rate."""

    name: Literal["constant"] = "constant"


class ProgressKind(Kind):
    """A schedule that depends only on progress. Abstract."""

    early: int = 0
    """Epochs (or steps) by which all changes come earlier, or later if negative. 1 in
    pytorch-CycleGAN-and-pix2pix since 2020, which changes the rate at the start of an epoch."""


class LinearConfig(ProgressKind):
    """Constant, then linear decay towards zero, as in the CycleGAN paper."""

    name: Literal["linear"] = "linear"
    decay: float = Field(default=0.5, ge=0, le=1)
    """Last fraction of training, in which the rate decays: 0.5 is 100 + 100 epochs."""
    ahead: int = Field(default=1, ge=0)
    """Offset of the decay in epochs (or steps). In epoch e (from 0), the rate is multiplied by
    1 - max(0, e + ahead - constant) / (decaying + ahead), where constant and decaying are the
    numbers of epochs before and during the decay. 1 in pytorch-CycleGAN-and-pix2pix, 0 in
    PyTorch-GAN and mmgeneration."""
    intervals: int | None = Field(default=None, ge=1)
    """Number of distinct learning rates. By default, the rate changes every epoch, or every step
    if the length is set in steps."""


class StepConfig(ProgressKind):
    """Multiplied by a factor at regular intervals."""

    name: Literal["step"] = "step"
    every: float = Field(default=0.25, gt=0, le=1)
    """Fraction of training between two changes. 0.25 is every 50 of 200 epochs."""
    factor: float = Field(default=0.1, gt=0, le=1)
    """Factor by which each change multiplies the rate."""


class CosineConfig(ProgressKind):
    """Cosine decay from the initial rate to zero."""

    name: Literal["cosine"] = "cosine"
    down: float = Field(default=1.0, gt=0)
    """Fraction of training after which the rate reaches zero. It then rises again (0.5 in
    pytorch-CycleGAN-and-pix2pix with 100 + 100 epochs)."""


class PlateauConfig(Kind):
    """Multiplied by a factor when evaluations stop improving. Needs `evaluate_every`."""

    name: Literal["plateau"] = "plateau"
    factor: float = Field(default=0.2, gt=0, lt=1)
    """Factor by which each change multiplies the rate."""
    patience: int = Field(default=5, ge=0)
    """Consecutive evaluations without improvement before a change."""
    threshold: float = Field(default=0.01, ge=0)
    """Minimum relative improvement over the best value."""


ScheduleConfig = ConstantConfig | LinearConfig | StepConfig | CosineConfig | PlateauConfig
AnySchedule = Annotated[
    SerializeAsAny[ScheduleConfig],
    choice(ConstantConfig, LinearConfig, StepConfig, CosineConfig, PlateauConfig),
]


class Recipe(Settings):
    """All settings that change what is learned. Paths, devices and processes are not among them."""

    method: AnyMethod = CycleGANConfig()
    """The method."""
    size: Annotated[Size, Argument("N|WxH")] = "256x256"
    """Size of training images in pixels."""
    batch: int = Field(default=1, ge=1, le=65_536)
    """Batch size per domain. This is the total over all processes."""
    epochs: int = Field(default=200, ge=1, le=10**9)
    """Training length in epochs. An epoch is one pass over the larger domain."""
    steps: int | None = Field(default=None, ge=1, le=10**9)
    """Training length in steps. If set, `epochs` is ignored."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Seed of weights, order and augmentation. Runs with equal seeds are equal on one machine."""
    preprocess: PreprocessConfig = PreprocessConfig()
    """Preprocessing."""
    optimizer: AdamConfig = AdamConfig()
    """The optimizer."""
    schedule: AnySchedule = LinearConfig()
    """The learning rate schedule."""

    def updated(self, changes: Mapping[str, Any]) -> Self:
        """Returns a copy with nested changes. A new length in epochs replaces one in steps.

        Raises:
            UserError: If the changes set both lengths, or are invalid.
        """
        if changes.get("epochs") is not None:
            if changes.get("steps") is not None:
                raise UserError("`steps` and `epochs` both set the length. Use only one of them")
            changes = {**changes, "steps": None}
        return super().updated(changes)

    def changes_from(self, stored: Mapping[str, Any]) -> list[str]:
        """The settings that differ from those in a recipe.json, as `method.cycle_a: 10.0 -> 5.0`.

        Channels and ranges that are not known yet do not differ.
        """
        old, new = dict(stored), self.model_dump(mode="json")
        before, after = dict(old.get("preprocess", {})), new["preprocess"]
        for name in FOUND_IN_IMAGES:
            if before.get(name) is None or after[name] is None:
                before[name] = after[name]
        return differences({**old, "preprocess": before}, new)

    @model_validator(mode="after")
    def _batch_is_divisible(self) -> Self:
        if self.batch % self.optimizer.accumulate:
            raise ValueError(
                f"a batch of {self.batch} cannot be split into {self.optimizer.accumulate} equal "
                "micro-batches. Change `batch` or `optimizer.accumulate`"
            )
        return self


class TrainConfig(Settings):
    """Settings of a training run: data, output, hardware and the recipe."""

    folder: Annotated[Path | None, Argument("DATA", positional=True)] = None
    """Folder of the data set. Its layout is recognized."""
    run: Annotated[Path | None, Argument("DIR")] = None
    """Run folder, resumed if it already exists (default: a dated folder in runs/)."""
    start: Annotated[Path | None, Argument("PATH", name="from")] = None
    """Initialize weights from a run, model file or folder. `transmute import` converts the
    checkpoints of other tools to model files."""
    dry_run: bool = False
    """Check all input, print what training would do and the memory that it needs, and stop."""
    extend: bool = False
    """Resume with a changed length, schedule or optimizer. Otherwise, a change is an error."""
    recipe: Annotated[Recipe, Argument(name="")] = Recipe()
    """The recipe."""
    data: SourceConfig = SourceConfig()
    """Where images come from."""
    report_every: int = Field(default=50, ge=1, le=10**9)
    """Write a line of metrics.jsonl every N steps."""
    sample_every: int = Field(default=500, ge=1, le=10**9)
    """Write a sample sheet every N steps."""
    save_every: int = Field(default=1000, ge=1, le=10**9)
    """Save a checkpoint every N steps. The models are saved with it."""
    evaluate_every: int | None = Field(default=None, ge=1, le=10**9)
    """Evaluate on held-out images every N steps. The best models are kept. If omitted, there are
    no evaluations."""
    metrics: MetricsConfig = MetricsConfig()
    """Metrics of the evaluations."""
    best: Annotated[str, Argument("METRIC")] = "kid"
    """Metric that selects the best models, such as fid, kid, lpips or ssim. Its mean over the
    directions is compared. All metrics: fid, kid, inception_score, cycle, structure, l1, psnr,
    ssim, lpips, pixel_accuracy, class_accuracy, iou, and the custom ones."""
    patience: int | None = Field(default=None, ge=1)
    """Stop after N evaluations in a row without improvement. If omitted, training never stops
    early."""
    log: Annotated[tuple[Literal["tensorboard", "wandb"], ...], Argument("NAME")] = ()
    """Also log to tensorboard and/or wandb. If one fails, training continues without it."""
    keep: int = Field(default=2, ge=1)
    """Number of checkpoints (with their models) to keep."""
    keep_every: int | None = Field(default=None, ge=1)
    """Keep the models of every N steps permanently. If omitted, only the newest are kept."""
    device: Annotated[str, Argument("auto|cpu|cuda")] = "auto"
    """Device, or cuda:N for GPU N. The first GPU is cuda:0. auto uses a GPU if there is one."""
    devices: int = Field(default=1, ge=1, le=1024)
    """Number of GPUs, with one process each. The batch is split among them."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the networks. Weights and losses stay float32. auto uses bfloat16 where it is
    fast."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Use torch.compile. Compiling takes a minute or two. auto compiles for long training runs."""
    graph: Literal["auto", "on", "off"] = "auto"
    """Replay whole steps as CUDA graphs. auto uses them on a GPU if all images
    have one size."""
    deterministic: bool = False
    """Bit-identical results on GPUs too, where this is slower."""
    sync_batch_norm: bool = False
    """Synchronize batch norm statistics over all processes (GPUs only)."""
