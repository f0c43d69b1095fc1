"""The model file: one safetensors file that says what it is."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field
from torch import Tensor, nn

from transmute.data.config import PreprocessConfig
from transmute.networks.config import DiscriminatorConfig, GeneratorConfig, HeadsConfig
from transmute.run import Run
from transmute.settings import Settings, Size, UserError
from transmute.weights import WeightsError, load_tensors, save_tensors


class ModelCard(Settings):
    """What stands in the header of a model file: all that is needed to use it."""

    format: Literal[1] = 1
    """Version of this layout."""
    transmute: str
    """Version of Transmute that wrote the file."""
    method: str
    """Name of the method that trained it."""
    direction: str
    """a_to_b or b_to_a."""
    source: str
    """What the domain of the input is called."""
    target: str
    """What the domain of the output is called."""
    generator: GeneratorConfig
    """Architecture."""
    in_channels: int = Field(ge=1)
    """1 is gray, 3 is RGB, in [-1, 1]."""
    out_channels: int = Field(ge=1)
    """1 is gray, 3 is RGB, in [-1, 1]."""
    colors: Literal["rgb", "lab"] = "rgb"
    """What the channels are: RGB or gray; or lightness in, and the two colors of CIE Lab out."""
    size: Size
    """Pixels that training saw."""
    preprocess: PreprocessConfig
    """What training did to pictures before."""
    own_statistics: bool = False
    """Batch norm uses the statistics of the picture itself, as a training with one picture a step did."""
    step: int = 0
    """Training steps behind these weights."""
    pictures: int = 0
    """Training pictures of each domain behind these weights."""
    metrics: dict[str, float] = Field(default_factory=dict)
    """Figures measured on these weights, by name."""


class PartCard(Settings):
    """What stands in the header of a network that is needed only to train on: a discriminator, or CUT's projection heads."""

    format: Literal[1] = 1
    """Version of this layout."""
    transmute: str
    """Version of Transmute that wrote the file."""
    part: Literal["score_a", "score_b", "heads"]
    """What it is in its method: what judges a, what judges b, or the heads."""
    network: DiscriminatorConfig | HeadsConfig
    """Architecture."""
    in_channels: int = Field(ge=1)
    """Channels that it sees; of both pictures together where it judges pairs."""


class Saved(NamedTuple):
    """A network in a file."""

    path: Path
    card: ModelCard | PartCard
    state: dict[str, Tensor]

    def build(self) -> nn.Module:
        """The network, newly initialized."""
        if isinstance(self.card, ModelCard):
            return self.card.generator.build(self.card.in_channels, self.card.out_channels)
        return self.card.network.build(self.card.in_channels)


def save_network(path: Path, card: ModelCard | PartCard, network: nn.Module) -> None:
    """Writes a network with its card; complete or not at all."""
    save_tensors(path, network.state_dict(), card.model_dump(mode="json"))


def read_networks(path: Path) -> dict[str, Saved]:
    """The networks in a model file, in a folder of them, or in the newest models of a run: by direction or part.

    Raises:
        UserError: If there are none, or one of them is damaged.
    """
    folder = Run(path).models_at() if Run(path).exists() else path
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else [folder]
    if not files:
        raise UserError(f"{folder} holds no model files: name a run, a folder of model files, or one of them")
    saved = [_saved(file) for file in files]
    return {one.card.direction if isinstance(one.card, ModelCard) else one.card.part: one for one in saved}


def _saved(path: Path) -> Saved:
    if path.suffix in (".pth", ".pt", ".pkl", ".ckpt") and path.is_file():
        raise WeightsError(f"{path} is a file of another tool: make a model file of it with 'transmute import {path}'")
    state, header = load_tensors(path)
    if "generator" not in header and "network" not in header:
        raise WeightsError(f"{path} is no model file but holds a checkpoint: name the run folder, or a file under its models/")
    if header.get("format") != 1:
        raise WeightsError(
            f"{path} was written by Transmute {header.get('transmute')} in format {header.get('format')}, which this version cannot read"
        )
    return Saved(path, ModelCard(**header) if "generator" in header else PartCard(**header), state)


def load_model(path: Path, *, noise: bool = False) -> tuple[ModelCard, nn.Module]:
    """The card and the generator of a model file, ready to translate (with dropout on, for `noise`), on the CPU.

    Raises:
        WeightsError: If it is missing, damaged, or no model file.
    """
    saved = _saved(path)
    card = saved.card
    if isinstance(card, PartCard):
        raise WeightsError(f"{path} holds a {card.part}, which translates nothing: name the file of a generator")
    network = saved.build()
    network.load_state_dict(saved.state)
    return card, ready(network, own_statistics=card.own_statistics, noise=noise)


def ready(generator: nn.Module, *, own_statistics: bool, noise: bool = False) -> nn.Module:
    """A copy of a generator for translating: without gradients, batch norm with fixed or with each picture's own statistics.

    Dropout is off; with `noise` it stays on, as in pix2pix, whose translations differ from time to time.
    """
    network = copy.deepcopy(generator).eval().requires_grad_(False)
    for module in network.modules():
        if noise and isinstance(module, nn.Dropout):
            module.train()
    if own_statistics:
        for module in network.modules():
            if isinstance(module, (nn.BatchNorm2d, nn.SyncBatchNorm)):
                module.running_mean = module.running_var = None
    return network
