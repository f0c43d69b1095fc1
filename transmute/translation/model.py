"""Model files: one safetensors file per network, with a header that describes it."""

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from transmute.config.base import Settings, Size
from transmute.config.data import PreprocessConfig, Range
from transmute.config.networks import (
    AnyGenerator,
    AnyPart,
    Channels,
    DiscriminatorConfig,
    FourStrideConfig,
    HeadsConfig,
    NetworkConfig,
    PatchGANConfig,
    PixelGANConfig,
    PyTorchGANUNetConfig,
    ResNetConfig,
    UNetConfig,
)
from transmute.errors import UserError
from transmute.run import Run
from transmute.weights import WeightsError, load_pickled, load_tensors, mismatch, save_tensors

FORMAT: Literal[2] = 2
"""Version of the header of model files."""
BUILT_IN = {
    config.model_fields["name"].default
    for config in (
        ResNetConfig,
        UNetConfig,
        PyTorchGANUNetConfig,
        PatchGANConfig,
        PixelGANConfig,
        FourStrideConfig,
        HeadsConfig,
    )
}
"""Names of the networks that are part of the package."""


class Card(Settings):
    """Header of a model file."""

    format: Literal[2] = FORMAT
    """Version of the header."""
    transmute: str
    """Version of Transmute that wrote the file."""


class ModelCard(Card):
    """Header of a generator's model file: everything needed to translate with it."""

    method: str
    """Name of the method that trained the generator."""
    direction: str = Field(pattern="^(a_to_b|b_to_a)$")
    """`a_to_b` or `b_to_a`."""
    paired: bool = False
    """The method was trained on pairs."""
    source: str
    """Name of the input's domain."""
    target: str
    """Name of the output's domain."""
    generator: AnyGenerator
    """Architecture."""
    in_channels: Channels
    """Channels of the input in [-1, 1]: 1 is gray, 3 is RGB."""
    out_channels: Channels
    """Channels of the output in [-1, 1]: 1 is gray, 3 is RGB."""
    colors: Literal["rgb", "lab"] = "rgb"
    """Color space: RGB or gray, or CIE Lab with lightness as input and the two color channels as
    output."""
    size: Size
    """Size of the training images."""
    preprocess: PreprocessConfig
    """Preprocessing of the training images."""
    per_image_statistics: bool = False
    """Batch norm uses the statistics of each image, as in training with one image per step."""
    step: int = Field(default=0, ge=0, lt=2**63)
    """Training steps so far."""
    images: int = Field(default=0, ge=0, lt=2**63)
    """Training images of each domain so far."""
    metrics: dict[str, float] = Field(default_factory=dict)
    """Metrics measured with these weights, by name."""

    def build(self) -> nn.Module:
        """Builds the generator with newly initialized weights."""
        return self.generator.build(self.in_channels, self.out_channels)

    @property
    def source_range(self) -> Range:
        """Values of the input's domain that are -1 and 1."""
        return self.preprocess.ranges[self.direction != "a_to_b"]

    @property
    def target_range(self) -> Range:
        """Values of the output's domain that are -1 and 1."""
        return self.preprocess.ranges[self.direction == "a_to_b"]

    @property
    def domains(self) -> tuple[str, str]:
        """Names of a and b."""
        is_a_to_b = self.direction == "a_to_b"
        return (self.source, self.target) if is_a_to_b else (self.target, self.source)


class PartCard(Card):
    """Header of a network that is only needed for training: a discriminator, or CUT's heads."""

    part: str = Field(pattern=r"^\w{1,100}$")
    """Name of the network in its method, such as `score_a`, `score_b` or `heads`."""
    network: AnyPart
    """Architecture."""
    in_channels: Channels
    """Channels of the input. A discriminator of pairs counts those of both images."""

    def build(self) -> nn.Module:
        """Builds the network with newly initialized weights."""
        assert isinstance(self.network, (DiscriminatorConfig, HeadsConfig))
        return self.network.build(self.in_channels)


class Saved(NamedTuple):
    """A network read from a file.

    Attributes:
        path: The file.
        card: Its header.
        state: The weights, as `torch.nn.Module.load_state_dict` expects them.
    """

    path: Path
    card: ModelCard | PartCard
    state: dict[str, Tensor]


def model_files(
    path: Path, step: int | str = "newest", *, pattern: str = "*_to_*.safetensors"
) -> list[Path]:
    """Finds the model files at a path, sorted by name.

    Args:
        path: A model file, a folder of model files, or a run.
        step: Which of a run's models: `newest`, `best`, or a step.
        pattern: Glob pattern of the files in a folder. The default finds generators.

    Raises:
        UserError: If there are none, or if the step cannot be chosen.
    """
    if not path.exists():
        raise UserError(f"there is no run folder or model file {path}")
    files = [path] if path.is_file() else sorted(path.glob(pattern))
    if files and step != "newest":
        raise UserError(
            f"`step={step}` cannot be chosen in {path}, which contains a single step. Pass the run "
            "folder"
        )
    if not files:
        is_inside = path.name == "models" and not Run(path).was_started()
        run = Run(path.parent if is_inside else path)
        if not run.models() and any(path.glob("*.pth")):
            raise UserError(
                f"{path} contains files of another tool. Convert them with: transmute import {path}"
            )
        files = sorted(run.models_at(step).glob(pattern))
    if not files:
        raise UserError(
            f"{path} has no model files for that step. Pass a model file or another run"
        )
    return files


def save_network(path: Path, card: ModelCard | PartCard, network: nn.Module) -> None:
    """Writes a model file atomically."""
    save_tensors(path, network.state_dict(), card.model_dump(mode="json"))


def read_networks(path: Path, outside: Iterable[type[NetworkConfig]] = ()) -> dict[str, Saved]:
    """Reads all networks at a path.

    Args:
        path: A model file, a folder of model files, or a run, whose newest models are read.
        outside: Config classes of networks that are not part of the package. Reading a file never
            imports code.

    Returns:
        The networks by name.

    Raises:
        UserError: If there are none, or if a file is damaged or uses an unknown network.
    """
    files = model_files(path, pattern="*.safetensors")
    networks = [_read(file, outside) for file in files]
    return {
        saved.card.direction if isinstance(saved.card, ModelCard) else saved.card.part: saved
        for saved in networks
    }


def load_model(
    path: Path, *, noise: bool = False, outside: Iterable[type[NetworkConfig]] = ()
) -> tuple[ModelCard, nn.Module]:
    """Loads the card and the generator of a model file, on the CPU and ready to translate.

    Args:
        path: The model file.
        noise: Keep dropout on.
        outside: As in `read_networks`.

    Raises:
        UserError: If the file is missing, damaged, not that of a generator, or uses an unknown
            network.
    """
    _, card, state = _read(path, outside)
    if isinstance(card, PartCard):
        raise WeightsError(f"{path} contains {card.part}, not a generator. Pass a generator's file")
    network = card.build()
    if problem := mismatch(network.state_dict(), state):  # possible for networks from outside
        raise WeightsError(
            f"the weights in {path} do not fit the network {card.generator.name!r}: the file "
            f"{problem}. Use the code of the network that the model was trained with"
        )
    network.load_state_dict(state)
    return card, inference_copy(
        network, per_image_statistics=card.per_image_statistics, noise=noise
    )


def inference_copy(
    generator: nn.Module, *, per_image_statistics: bool, noise: bool = False
) -> nn.Module:
    """Copies a network for inference, in eval mode and without gradients.

    Args:
        generator: The network. It is not changed.
        per_image_statistics: Batch norm uses the statistics of its input instead of running ones.
        noise: Keep dropout on, as in pix2pix, so that each translation of an image differs.
    """
    network = copy.deepcopy(generator).eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.train(noise)
        elif per_image_statistics and isinstance(module, (nn.BatchNorm2d, nn.SyncBatchNorm)):
            module.running_mean = module.running_var = None
    return network


def _read(path: Path, outside: Iterable[type[NetworkConfig]]) -> Saved:
    if path.suffix in (".pth", ".pt", ".pkl", ".ckpt") and path.is_file():
        load_pickled(path)  # says what it is, if it cannot be imported
        raise WeightsError(
            f"{path} is a file of another tool. Convert it with: transmute import {path}"
        )
    state, header = load_tensors(path)
    kind = next((name for name in ("generator", "network") if name in header), None)
    if kind is None:
        raise WeightsError(
            f"{path} is a checkpoint, not a model file. Pass the run folder, or a file in its "
            "models folder"
        )
    if header.get("format") != FORMAT:
        raise WeightsError(
            f"{path} has model format {header.get('format')!r:.20}, written by Transmute "
            f"{header.get('transmute')!s:.20}. This version reads format {FORMAT} only. Train or "
            "import the model again"
        )
    settings = header[kind] if isinstance(header[kind], dict) else {}
    name = str(settings.get("name"))
    classes = {config.model_fields["name"].default: config for config in outside}
    if name in classes:
        header[kind] = classes[name](**settings)
    elif "name" in settings and name not in BUILT_IN:
        raise UserError(
            f"{path} uses the network {name[:100]!r}, which is not part of Transmute. To translate "
            "or evaluate with it, set `generator=FILE.py:NAME` to the class of its settings. To "
            "move it, copy the file: it cannot be exported"
        )
    try:
        card = ModelCard(**header) if kind == "generator" else PartCard(**header)
        if name in BUILT_IN:
            with torch.device("meta"):  # allocates nothing, since a file may ask for any size
                expected = card.build().state_dict()
            if problem := mismatch(expected, state):
                raise UserError(f"it {problem}")
    except UserError as error:
        raise WeightsError(f"{path} is not a valid model file: {error}") from None
    return Saved(path, card, state)
