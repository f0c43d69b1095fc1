"""Recognition of networks in other tools' files."""

import contextlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

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


def split_networks(content: Any, file: Path) -> dict[str, State]:
    """The weights of each network in a file, by its name in the file ("" for the only one).

    Args:
        content: The unpickled content of the file.
        file: The file, for error messages.

    Raises:
        WeightsError: If the content is not a dictionary of plain, finite tensors.
    """
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    values = list(content.values()) if isinstance(content, Mapping) else []
    if not values or not all(isinstance(value, Tensor) for value in values):
        keys = ", ".join(repr(str(key)[:60]) for key in list(content)[:4]) if values else ""
        raise WeightsError(
            f"{file} contains no weights by name, as a checkpoint of a network does"
            + (f". It contains {keys}" if keys else "")
        )
    networks: dict[str, State] = {}
    for key, value in content.items():
        _require_plain(str(key)[:60], value, file)
        name = re.sub(r"^(module\.|_orig_mod\.)+", "", str(key))
        match = re.match(r"((?:generators|discriminators)\.\w+)\.(?:module\.)?(.*)", name)
        network, weight = match.groups() if match else ("", name)
        networks.setdefault(network, {})[weight] = value
    return networks


def _require_plain(key: str, value: Tensor, file: Path) -> None:
    is_dense = value.layout == torch.strided and value.device.type == "cpu"
    if not is_dense or value.is_quantized or value.is_complex():
        raise WeightsError(
            f"{file} is not a plain checkpoint: {key!r} is sparse, quantized, complex or "
            "without data"
        )
    if value.is_floating_point() and not torch.isfinite(value.float()).all():
        raise WeightsError(
            f"{file} contains weights that are not finite, the first in {key!r}. Use an earlier "
            "checkpoint"
        )


def recognize_network(state: State, file: Path) -> Layout:
    """Recognizes a network by the names and shapes of its weights.

    Args:
        state: The weights.
        file: The file, for error messages.

    Raises:
        WeightsError: If it is unknown.
    """
    for (first, kernel), recognize in _RECOGNIZERS.items():
        shape = tuple(state[first].shape) if first in state else ()
        if len(shape) == 2 + len(kernel) and shape[2:] == kernel:
            # Weights that determine the architecture may be missing.
            with contextlib.suppress(LookupError, UserError):
                return recognize(state, *shape[:2])
    keys = ", ".join(repr(key[:60])[1:-1] for key in list(state)[:3])
    raise WeightsError(
        f"{file} contains no network that Transmute knows (its first weights are {keys}). "
        f"Expected a checkpoint of CycleGAN, pix2pix or CUT by {JUNYANZ}, {CUT}, {PYTORCH_GAN} or "
        f"{MMGENERATION}"
    )


def _numbers(state: State, pattern: str) -> list[int]:
    """The distinct numbers in the names that match a pattern with one group, increasing."""
    return sorted({int(match[1]) for key in state if (match := re.match(pattern, key))})


def _tool(state: State) -> str:
    """The tool that names weights like this; the default if no name is typical of another."""
    markers = {".conv.weight": MMGENERATION, ".block.": PYTORCH_GAN, ".filt": CUT}
    tools = (tool for marker, tool in markers.items() if any(marker in key for key in state))
    return next(tools, JUNYANZ)


def _norm(state: State, prefix: str, number: int) -> Any:
    """The kind of norm after a numbered convolution, which is in the same module in mmgeneration.

    Batch norm has weights, instance norm a bias in the convolution.
    """
    norms = (f"{prefix}.{number + 1}.weight", f"{prefix}.{number}.bn.weight")
    if any(norm in state and state[norm].ndim == 1 for norm in norms):
        return "batch"
    biases = {f"{prefix}.{number}.bias", f"{prefix}.{number}.conv.bias"}
    return "none" if biases.isdisjoint(state) else "instance"


def _resnet(state: State, width: int, in_channels: int) -> Layout:
    tool = _tool(state)
    is_mmgeneration = tool == MMGENERATION
    blocks = _numbers(state, r"model\.(\d+)\.(?:conv_)?block\.")
    blurs = _numbers(state, r"model\.(\d+)\.filt")
    blurs_down = any(position < blocks[0] for position in blurs)
    blurs_up = any(position > blocks[0] for position in blurs)
    # With dropout, a block's second convolution is one layer later, where a norm would be.
    second = r"model\.\d+\.(conv_block\.6|block\.6|block\.2\.conv)\.weight"
    config = ResNetConfig(
        width=width,
        levels=blocks[0] - 1 if is_mmgeneration else (blocks[0] - 4) // (4 if blurs_down else 3),
        blocks=len(blocks),
        norm=_norm(state, "model", 0 if is_mmgeneration else 1),
        dropout=any(re.fullmatch(second, key) and state[key].ndim == 4 for key in state),
        downsampling="antialiased" if blurs_down else "strided",
        upsampling=(
            "antialiased" if blurs_up else "nearest" if tool == PYTORCH_GAN else "transposed"
        ),
    )
    convolution = "conv.weight" if is_mmgeneration else "weight"
    last = _numbers(state, rf"model\.(\d+)\.{convolution}")[-1]
    return Layout(tool, config, in_channels, state[f"model.{last}.{convolution}"].shape[0])


def _unet(state: State, width: int, in_channels: int) -> Layout:
    tool = _tool(state)
    inner = r"model\.model\.1(\.model\.[13])*\.model\.(1|0\.conv)\.weight"
    config = UNetConfig(
        width=width,
        depth=1 + sum(bool(re.fullmatch(inner, key)) for key in state),
        norm=_norm(state, "model.model.1.model", 0 if tool == MMGENERATION else 1),
    )
    last = "model.model.2.conv.weight" if tool == MMGENERATION else "model.model.3.weight"
    return Layout(tool, config, in_channels, state[last].shape[1])


def _pytorch_gan_unet(state: State, width: int, in_channels: int) -> Layout:
    config = PyTorchGANUNetConfig(width=width, depth=len(_numbers(state, r"down(\d+)\.")))
    return Layout(PYTORCH_GAN, config, in_channels, state["final.2.weight"].shape[0])


def _discriminator(state: State, width: int, in_channels: int) -> Layout:
    last = _numbers(state, r"model\.(\d+)\.weight")[-1]
    if "model.0.conv.weight" in state:
        config = PatchGANConfig(width=width, layers=last - 1, norm=_norm(state, "model", 1))
        return Layout(MMGENERATION, config, in_channels)
    if last == 12:
        config = FourStrideConfig(width=width, norm=_norm(state, "model", 2))
        is_pix2pix = "model.12.bias" not in state and in_channels % 2 == 0
        return Layout(PYTORCH_GAN, config, in_channels, reversed_pairs=is_pix2pix)
    blurs = any(key.endswith(".filt") for key in state)
    config = PatchGANConfig(
        width=width,
        layers=(last - 2) // (4 if blurs else 3),
        norm=_norm(state, "model", 3 if blurs else 2),
        downsampling="antialiased" if blurs else "strided",
    )
    return Layout(CUT if blurs else JUNYANZ, config, in_channels)


def _pixelgan(state: State, width: int, in_channels: int) -> Layout:
    return Layout(JUNYANZ, PixelGANConfig(width=width, norm=_norm(state, "net", 2)), in_channels)


def _heads(state: State, width: int, in_channels: int) -> Layout:
    count = len(_numbers(state, r"mlp_(\d+)\.0\.weight"))
    channels = tuple(state[f"mlp_{index}.0.weight"].shape[1] for index in range(count))
    return Layout(CUT, HeadsConfig(width=width, channels=channels), in_channels)


_RECOGNIZERS: dict[tuple[str, tuple[int, ...]], Callable[[State, int, int], Layout]] = {
    ("model.1.weight", (7, 7)): _resnet,
    ("model.0.conv.weight", (7, 7)): _resnet,
    ("model.model.0.weight", (4, 4)): _unet,
    ("model.model.0.conv.weight", (4, 4)): _unet,
    ("down1.model.0.weight", (4, 4)): _pytorch_gan_unet,
    ("model.0.weight", (4, 4)): _discriminator,
    ("model.0.conv.weight", (4, 4)): _discriminator,
    ("net.0.weight", (1, 1)): _pixelgan,
    ("mlp_0.0.weight", ()): _heads,
}
"""Recognition by the first weight and its kernel, given the state, width and input channels."""
