"""Maps other tools' weights to Transmute's networks: their architecture and weight names."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from transmute.config.networks import (
    DiscriminatorConfig,
    GeneratorConfig,
    HeadsConfig,
    PixelGANConfig,
    ResNetConfig,
    UNetConfig,
)
from transmute.networks.heads import ProjectionHeads
from transmute.networks.layers import BlurDown, BlurUp
from transmute.networks.resnet import ResidualBlock
from transmute.networks.unet import UNet
from transmute.weights import WeightsError

State = dict[str, Tensor]

JUNYANZ = "pytorch-CycleGAN-and-pix2pix"
CUT = "CUT"
PYTORCH_GAN = "PyTorch-GAN"
MMGENERATION = "mmgeneration"

_DESCRIPTIONS = {
    "resnet": "ResNet generator, {blocks} blocks, {upsampling} upsampling",
    "unet": "U-Net generator of depth {depth}",
    "pytorch-gan-unet": "U-Net generator of depth {depth}",
    "patchgan": "PatchGAN discriminator of {layers} layers",
    "pixel": "pixel discriminator",
    "four-stride": "four-stride discriminator",
    "heads": "projection heads",
}
_BATCH_COUNT = ".num_batches_tracked"


@dataclass(frozen=True)
class Layout:
    """A network's architecture, and a tool's names of its weights.

    Attributes:
        tool: The tool that writes such files.
        config: The architecture.
        in_channels: Channels of the input; of both images together for a discriminator of pairs.
        out_channels: Channels of the output; 0 for a discriminator or heads.
        reversed_pairs: This is the discriminator of PyTorch-GAN's pix2pix, whose input is
            (output, input) and whose last layer has no bias.
    """

    tool: str
    config: GeneratorConfig | DiscriminatorConfig | HeadsConfig
    in_channels: int
    out_channels: int = 0
    reversed_pairs: bool = False

    def build(self) -> nn.Module:
        """The network, newly initialized."""
        if isinstance(self.config, GeneratorConfig):
            return self.config.build(self.in_channels, self.out_channels)
        return self.config.build(self.in_channels)

    @cached_property
    def names(self) -> dict[str, str]:
        """The tool's names of all weights and blur kernels, keyed by Transmute's names."""
        with torch.device("meta"):
            network = self.build()
        modules: dict[str, str] = {}
        for ours, theirs, first in _sequences(network, self):
            modules |= _module_names(network.get_submodule(ours), ours, theirs, self.tool, first)
        if self.tool == MMGENERATION and not self.out_channels:
            *_, last = modules  # a discriminator's last convolution is not in a module
            modules[last] = modules[last].removesuffix(".conv")
        names = [name.rpartition(".") for name in [*network.state_dict(), *blur_kernels(network)]]
        return {
            f"{module}.{leaf}": f"{modules[module]}.{'filt' if leaf == 'kernel' else leaf}"
            for module, _, leaf in names
        }

    def __str__(self) -> str:
        settings = self.config.arguments()
        has_dropout = isinstance(self.config, ResNetConfig) and self.config.dropout
        norm = f", {settings['norm']} norm" if "norm" in settings else ""
        output = f" to {self.out_channels}" if self.out_channels else ""
        return (
            f"{_DESCRIPTIONS[self.config.name].format(**settings)}"
            f"{', dropout' if has_dropout else ''}, width {settings['width']}{norm}, "
            f"{self.in_channels}{output} channels"
        )


def blur_kernels(network: nn.Module) -> dict[str, Tensor]:
    """The fixed kernels of antialiased layers by name. Only CUT's files contain them."""
    return {
        f"{name}.kernel": module.kernel
        for name, module in network.named_modules()
        if isinstance(module, (BlurDown, BlurUp))
    }


def _sequences(network: nn.Module, layout: Layout) -> list[tuple[str, str, int]]:
    """A network's sequences of layers: their names here and there, and the first number there."""
    match network:
        case UNet() if network.skip_first:  # stored as nested blocks, outermost first
            sequences, theirs, depth = [], "model.model", len(network.downs)
            for level, down in enumerate(network.downs):
                inside = 1 if layout.tool == MMGENERATION else len(list(down.children()))
                up = f"ups.{depth - 1 - level}", theirs, inside + (level < depth - 1)
                sequences += [(f"downs.{level}", theirs, 0), up]
                theirs = f"{theirs}.{inside}.model"
            return sequences
        case UNet():  # a U-Net without skip_first only occurs in PyTorch-GAN
            levels = range(1, len(network.ups) + 1)
            downs = [(f"downs.{level - 1}", f"down{level}.model", 0) for level in levels]
            ups = [(f"ups.{level - 1}", f"up{level}.model", 0) for level in levels[:-1]]
            return [*downs, *ups, (f"ups.{len(ups)}", "final", 0)]
        case ProjectionHeads():
            return [(f"heads.{index}", f"mlp_{index}", 0) for index in range(len(network.heads))]
    return [("layers", "net" if isinstance(layout.config, PixelGANConfig) else "model", 0)]


def _module_names(
    layers: nn.Module, ours: str, theirs: str, tool: str, first: int = 0
) -> dict[str, str]:
    """A tool's names of the modules in a sequence, keyed by Transmute's names.

    In mmgeneration, one numbered module is a convolution with the norm after it.
    """
    names, number = {}, first - 1
    for position, layer in enumerate(layers.children()):
        is_convolution = isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d))
        starts_module = is_convolution or isinstance(layer, (ResidualBlock, nn.Dropout))
        number += starts_module or tool != MMGENERATION
        name, module = f"{ours}.{position}", f"{theirs}.{number}"
        if isinstance(layer, ResidualBlock):
            block = "conv_block" if tool in (JUNYANZ, CUT) else "block"
            names |= _module_names(layer.layers, f"{name}.layers", f"{module}.{block}", tool)
        elif tool == MMGENERATION:
            names[name] = f"{module}.{'conv' if is_convolution else 'bn'}"
        else:
            names[name] = module
    return names


def convert(state: State, layout: Layout, path: Path) -> State:
    """Renames weights to Transmute's names. Every weight must be accounted for.

    Args:
        state: The weights by the tool's names.
        layout: The network.
        path: The file, for error messages.

    Raises:
        WeightsError: If weights are missing, left over or of another shape, or if a blur differs.
    """
    with torch.device("meta"):  # allocates nothing, whatever sizes the file claims
        expected = layout.build().state_dict()
    names = layout.names
    # Zeros replace these. Torch before 0.4.1 wrote no batch counts.
    optional = (_BATCH_COUNT, "model.12.bias") if layout.reversed_pairs else (_BATCH_COUNT,)
    # Instance norm tracked statistics in torch 0.3, but never used them.
    statistics = (".running_mean", ".running_var", _BATCH_COUNT)
    unknown = {
        "missing": [
            key
            for key in {names[name] for name in expected} - state.keys()
            if not key.endswith(optional)
        ],
        "left over": [
            key
            for key in state.keys() - names.values()
            if not key.endswith(statistics) or f"{key.rpartition('.')[0]}.weight" in state
        ],
    }
    problems = [
        f"{len(keys)} weights are {problem} (first {repr(min(keys)[:60])[1:-1]})"
        for problem, keys in unknown.items()
        if keys
    ]
    weights = {
        name: state.get(names[name], torch.zeros(()).to(value.dtype).expand(value.shape))
        for name, value in expected.items()
    }
    problems += [
        f"{names[name]} is {tuple(theirs.shape)} of {theirs.dtype} where "
        f"{tuple(ours.shape)} of {ours.dtype} is expected"
        for (name, ours), theirs in zip(expected.items(), weights.values(), strict=True)
        if (theirs.shape, theirs.is_floating_point()) != (ours.shape, ours.is_floating_point())
    ]
    if problems:
        raise WeightsError(
            f"{path} looks like a {layout} of {layout.tool}, but {' and '.join(problems[:2])}"
        )
    kernels = blur_kernels(layout.build()) if len(names) > len(expected) else {}
    for name, kernel in kernels.items():
        theirs = state.get(names[name], kernel)
        if theirs.shape != kernel.shape or not torch.allclose(theirs.float(), kernel, atol=1e-6):
            raise WeightsError(
                f"{path} has a different blur kernel than Transmute in {names[name]}"
            )
    return weights


def swap_color_order(state: State, layout: Layout) -> State:
    """The network for RGB where it was for BGR, or the reverse.

    Only the first and the last convolution change (in heads, the first layer if it compares the
    image itself). Gray and Lab channels are left alone.
    """
    first, *_, last, last_bias = state
    swapped, channels = dict(state), layout.in_channels
    if channels == 3 or (channels % 3 == 0 and not isinstance(layout.config, HeadsConfig)):
        swapped[first] = state[first].unflatten(1, (-1, 3)).flip(2).flatten(1, 2)
    if layout.out_channels == 3:
        # The weights of a transposed convolution have their outputs second.
        swapped[last] = state[last].flip(1 if isinstance(layout.config, UNetConfig) else 0)
        swapped[last_bias] = state[last_bias].flip(0)
    return swapped
