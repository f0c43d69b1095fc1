"""Recognition of networks in other tools' files."""

import contextlib
import re
from pathlib import Path
from typing import Any

from transmute.config.networks import (
    FourStrideConfig,
    HeadsConfig,
    PatchGANConfig,
    PixelGANConfig,
    PyTorchGANUNetConfig,
    ResNetConfig,
    UNetConfig,
)
from transmute.errors import UserError
from transmute.interop.layouts import CUT, JUNYANZ, MMGENERATION, PYTORCH_GAN, Layout, State
from transmute.weights import WeightsError


def recognize_network(state: State, file: Path) -> Layout:
    """Recognizes a network by the names and shapes of its weights.

    Args:
        state: The weights.
        file: The file, for error messages.

    Raises:
        WeightsError: If it is unknown.
    """
    if layout := find_layout(state):
        return layout
    keys = ", ".join(repr(key[:60])[1:-1] for key in list(state)[:3])
    raise WeightsError(
        f"{file} contains no network that Transmute knows (its first weights are {keys}). "
        f"Expected a checkpoint of CycleGAN, pix2pix or CUT by {JUNYANZ}, {CUT}, {PYTORCH_GAN} or "
        f"{MMGENERATION}"
    )


def find_layout(state: State) -> Layout | None:
    """The network with these names and shapes of weights, or None if it is unknown."""
    # Weights that determine the architecture may be missing.
    with contextlib.suppress(LookupError, UserError):
        return _heads(state) if "mlp_0.0.weight" in state else _convolutional(state)


def _heads(state: State) -> Layout:
    count = sum(bool(re.fullmatch(r"mlp_\d+\.0\.weight", name)) for name in state)
    layers = [state[f"mlp_{index}.0.weight"] for index in range(count)]
    channels = tuple(layer.shape[1] for layer in layers)
    return Layout(CUT, HeadsConfig(width=layers[0].shape[0], channels=channels), channels[0])


def _convolutional(state: State) -> Layout:
    """Recognizes a generator or discriminator by its first convolution, and counts the others.

    Raises:
        LookupError: If it is unknown.
        UserError: If its settings are impossible.
    """
    kernels = [name for name in state if state[name].ndim == 4 and not name.endswith(".filt")]
    # By layer: the names in a converted file may be in alphabetical order.
    kernels.sort(key=lambda name: [int(number) for number in re.findall(r"\d+", name)])
    (width, channels, size, _), last = state[kernels[0]].shape, state[kernels[-1]].shape
    markers = {".conv.weight": MMGENERATION, ".block.": PYTORCH_GAN, ".filt": CUT}
    tool = next(
        (tool for marker, tool in markers.items() if any(marker in name for name in state)), JUNYANZ
    )
    # Otherwise, this is a PatchGAN behind the prefix "model.".
    nested = any(name.startswith("model.model.1.model.") for name in state)
    match size, kernels[0]:
        case 7, "model.1.weight" | "model.0.conv.weight":
            return Layout(tool, _resnet(state, kernels[0], tool), channels, last[0])
        case 4, "model.model.0.weight" | "model.model.0.conv.weight" if nested:
            norm, depth = _norm(state, kernels[1]), len(kernels) // 2
            return Layout(tool, UNetConfig(width=width, depth=depth, norm=norm), channels, last[1])
        case 4, "down1.model.0.weight":
            config = PyTorchGANUNetConfig(width=width, depth=len(kernels) // 2)
            return Layout(PYTORCH_GAN, config, channels, state["final.2.weight"].shape[0])
        case 4, "model.0.weight" if kernels[-1] == "model.12.weight":
            config = FourStrideConfig(width=width, norm=_norm(state, kernels[1]))
            is_pix2pix = "model.12.bias" not in state and channels % 2 == 0
            return Layout(PYTORCH_GAN, config, channels, reversed_pairs=is_pix2pix)
        case 4, "model.0.weight" | "model.0.conv.weight":
            config = PatchGANConfig(
                width=width,
                layers=len(kernels) - 2,
                norm=_norm(state, kernels[1]),
                downsampling="antialiased" if tool == CUT else "strided",
            )
            return Layout(tool, config, channels)
        case 1, "net.0.weight":
            return Layout(
                tool, PixelGANConfig(width=width, norm=_norm(state, kernels[1])), channels
            )
    raise LookupError


def _resnet(state: State, first: str, tool: str) -> ResNetConfig:
    """The architecture of a ResNet generator, whose first convolution has this name."""
    pattern = r"model\.(\d+)\.(?:conv_)?block\."
    blocks = sorted({int(match[1]) for name in state if (match := re.match(pattern, name))})
    blurs = {kernel.shape[-1] for name, kernel in state.items() if name.endswith(".filt")}
    # With dropout, a block's second convolution is one layer later, where a norm would be.
    second = r"model\.\d+\.(conv_block\.6|block\.6|block\.2\.conv)\.weight"
    before, per_level = (1, 1) if tool == MMGENERATION else (4, 4 if 3 in blurs else 3)
    return ResNetConfig(
        width=state[first].shape[0],
        levels=(blocks[0] - before) // per_level,
        blocks=len(blocks),
        norm=_norm(state, first),
        dropout=any(re.fullmatch(second, name) and state[name].ndim == 4 for name in state),
        downsampling="antialiased" if 3 in blurs else "strided",
        upsampling=(
            "antialiased" if 4 in blurs else "nearest" if tool == PYTORCH_GAN else "transposed"
        ),
    )


def _norm(state: State, convolution: str) -> Any:
    """The kind of norm after a convolution.

    Batch norm has weights, instance norm a bias in the convolution.
    """
    if any(name.endswith(".weight") and state[name].ndim == 1 for name in state):
        return "batch"
    return "instance" if f"{convolution.removesuffix('weight')}bias" in state else "none"
