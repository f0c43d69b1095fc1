"""How other tools name the weights of the networks that we share with them, and which network a file holds."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from transmute.networks.config import (
    FourStrideConfig,
    HeadsConfig,
    PatchGANConfig,
    PixelGANConfig,
    PyTorchGANUNetConfig,
    ResNetConfig,
    UNetConfig,
)
from transmute.networks.layers import BlurDown, BlurUp
from transmute.networks.resnet import ResidualBlock

State = dict[str, Tensor]
NetworkConfig = ResNetConfig | UNetConfig | PyTorchGANUNetConfig | PatchGANConfig | PixelGANConfig | FourStrideConfig | HeadsConfig

JUNYANZ, CUT, PYTORCH_GAN, MMGENERATION = "pytorch-CycleGAN-and-pix2pix", "CUT", "PyTorch-GAN", "mmgeneration"


@dataclass(frozen=True)
class Recognized:
    """The network in a file.

    Attributes:
        tool: Who wrote it.
        config: Architecture; building it gives the network to which the file's weights belong.
        in_channels: Of the input; of a discriminator of pairs, those of both pictures.
        out_channels: Of the output; 0 for a discriminator or heads.
        key: The tool's name for the weight that we call by this name.
    """

    tool: str
    config: NetworkConfig
    in_channels: int
    out_channels: int
    key: Callable[[str], str]

    def build(self) -> nn.Module:
        """The network, newly initialized."""
        if isinstance(self.config, (ResNetConfig, UNetConfig, PyTorchGANUNetConfig)):
            return self.config.build(self.in_channels, self.out_channels)
        return self.config.build(self.in_channels)

    def __str__(self) -> str:
        c = self.config
        match c:
            case ResNetConfig():
                what = f"ResNet generator, {c.blocks} blocks, {c.upsampling} upsampling{', dropout' if c.dropout else ''}"
            case UNetConfig() | PyTorchGANUNetConfig():
                what = f"U-Net generator of depth {c.depth}"
            case PatchGANConfig():
                what = f"PatchGAN discriminator of {c.layers} layers"
            case HeadsConfig():
                return f"projection heads for {len(c.channels)} layers, {c.width} wide"
            case _:
                what = f"{c.name} discriminator"
        norm = f", {c.norm} norm" if not isinstance(c, PyTorchGANUNetConfig) else ""
        channels = f"{self.in_channels} to {self.out_channels}" if self.out_channels else f"{self.in_channels}"
        return f"{what}, width {c.width}{norm}, {channels} channels"


def recognize_network(state: State) -> Recognized | None:
    """The network whose weights these are, by their names and shapes; None if it is none that we know."""
    for look in (_resnet, _unet, _pytorch_gan_unet, _mmgeneration, _mmgeneration_unet, _pixel, _discriminator, _heads):
        if (found := look(state)) is not None:
            return found
    return None


def _shape(state: State, key: str) -> tuple[int, ...]:
    return tuple(state[key].shape) if key in state else ()


def _numbers(state: State, pattern: str) -> list[int]:
    """The numbers in the names that a pattern with one group matches, in order."""
    return sorted({int(match[1]) for key in state if (match := re.match(pattern, key))})


def _norm(state: State, before: str, after: str) -> Any:
    """Batch norm has weights of its own, instance norm a bias in the convolution before it, and no norm neither."""
    return "batch" if len(_shape(state, f"{after}.weight")) == 1 else "instance" if f"{before}.bias" in state else "none"


def _resnet(state: State) -> Recognized | None:
    first = _shape(state, "model.1.weight")
    block = "block" if any(".block." in key for key in state) else "conv_block"
    blocks, last = _numbers(state, rf"model\.(\d+)\.{block}\."), _numbers(state, r"model\.(\d+)\.weight")
    if first[2:] != (7, 7) or not blocks:
        return None
    blurs = _numbers(state, r"model\.(\d+)\.filt")
    blurred_down, blurred_up = any(place < blocks[0] for place in blurs), any(place > blocks[0] for place in blurs)
    config = ResNetConfig(
        width=first[0],
        levels=(blocks[0] - 4) // (4 if blurred_down else 3),
        blocks=len(blocks),
        norm=_norm(state, "model.1", "model.2"),
        dropout=len(_shape(state, f"model.{blocks[0]}.{block}.6.weight")) == 4,
        downsampling="antialiased" if blurred_down else "strided",
        upsampling="antialiased" if blurred_up else "nearest" if block == "block" else "transposed",
    )
    tool = PYTORCH_GAN if block == "block" else CUT if blurs else JUNYANZ
    return Recognized(tool, config, first[1], _shape(state, f"model.{last[-1]}.weight")[0], sequential_key(block))


def _discriminator(state: State) -> Recognized | None:
    first, last = _shape(state, "model.0.weight"), _numbers(state, r"model\.(\d+)\.weight")
    if first[2:] != (4, 4):
        return None
    if last[-1] == 12:
        return Recognized(PYTORCH_GAN, FourStrideConfig(width=first[0], norm=_norm(state, "model.2", "model.3")), first[1], 0, sequential_key())
    blurred = any(key.endswith(".filt") for key in state)
    config = PatchGANConfig(
        width=first[0],
        layers=max(1, (last[-1] - 2) // (4 if blurred else 3)),
        norm=_norm(state, "model.3", "model.4") if blurred else _norm(state, "model.2", "model.3"),
        downsampling="antialiased" if blurred else "strided",
    )
    return Recognized(CUT if blurred else JUNYANZ, config, first[1], 0, sequential_key())


def _pixel(state: State) -> Recognized | None:
    first = _shape(state, "net.0.weight")
    if first[2:] != (1, 1):
        return None
    return Recognized(JUNYANZ, PixelGANConfig(width=first[0], norm=_norm(state, "net.2", "net.3")), first[1], 0, sequential_key(root="net"))


def _unet(state: State) -> Recognized | None:
    first, last = _shape(state, "model.model.0.weight"), _shape(state, "model.model.3.weight")
    depth = 1 + sum(bool(re.fullmatch(r"model\.model\.1(\.model\.3)*\.model\.1\.weight", key)) for key in state)
    if len(first) != 4 or len(last) != 4 or depth < 2:
        return None
    config = UNetConfig(width=first[0], depth=depth, norm=_norm(state, "model.model.1.model.1", "model.model.1.model.2"))
    return Recognized(JUNYANZ, config, first[1], last[1], unet_key(depth))


def _pytorch_gan_unet(state: State) -> Recognized | None:
    first, last, downs = _shape(state, "down1.model.0.weight"), _shape(state, "final.2.weight"), _numbers(state, r"down(\d+)\.")
    if len(first) != 4 or len(last) != 4:
        return None

    def key(ours: str) -> str:
        side, number, layer, leaf = ours.split(".")
        if side == "ups" and int(number) == len(downs) - 1:
            return f"final.{layer}.{leaf}"
        return f"{side[:-1]}{int(number) + 1}.model.{layer}.{leaf}"

    return Recognized(PYTORCH_GAN, PyTorchGANUNetConfig(width=first[0], depth=max(2, len(downs))), first[1], last[0], key)


def _mmgeneration(state: State) -> Recognized | None:
    """Its ResNet generators and PatchGAN discriminators."""
    first = _shape(state, "model.0.conv.weight")
    blocks, bare = _numbers(state, r"model\.(\d+)\.block\."), _numbers(state, r"model\.(\d+)\.weight")
    if first[2:] == (7, 7) and blocks:
        last = _numbers(state, r"model\.(\d+)\.conv\.weight")[-1]
        dropout = f"model.{blocks[0]}.block.2.conv.weight" in state
        norm = _norm(state, "model.0.conv", "model.0.bn")
        resnet = ResNetConfig(width=first[0], levels=blocks[0] - 1, blocks=len(blocks), norm=norm, dropout=dropout)
        out_channels = _shape(state, f"model.{last}.conv.weight")[0]
        return Recognized(MMGENERATION, resnet, first[1], out_channels, _mmgeneration_key(resnet.build(first[1], out_channels)))
    if first[2:] == (4, 4) and bare:
        patchgan = PatchGANConfig(width=first[0], layers=max(1, bare[-1] - 1), norm=_norm(state, "model.1.conv", "model.1.bn"))
        return Recognized(MMGENERATION, patchgan, first[1], 0, _mmgeneration_key(patchgan.build(first[1])))
    return None


def _mmgeneration_unet(state: State) -> Recognized | None:
    first, last = _shape(state, "model.model.0.conv.weight"), _shape(state, "model.model.2.conv.weight")
    depth = 1 + sum(bool(re.fullmatch(r"model\.model\.1(\.model\.1)*\.model\.0\.conv\.weight", key)) for key in state)
    if len(first) != 4 or len(last) != 4 or depth < 2:
        return None
    config = UNetConfig(width=first[0], depth=depth, norm=_norm(state, "model.model.1.model.0.conv", "model.model.1.model.0.bn"))
    return Recognized(MMGENERATION, config, first[1], last[1], _mmgeneration_unet_key(depth))


def _heads(state: State) -> Recognized | None:
    heads = _numbers(state, r"mlp_(\d+)\.0\.weight")
    if not heads or heads != list(range(len(heads))):
        return None
    shapes = [_shape(state, f"mlp_{head}.0.weight") for head in heads]
    config = HeadsConfig(width=shapes[0][0], channels=tuple(shape[1] for shape in shapes))
    return Recognized(CUT, config, shapes[0][1], 0, heads_key)


def sequential_key(block: str = "conv_block", root: str = "model") -> Callable[[str], str]:
    """ResNets and discriminators of junyanz, CUT and PyTorch-GAN: their positions in the sequence are ours."""

    def key(ours: str) -> str:
        return re.sub(r"^layers\.", f"{root}.", ours).replace(".layers.", f".{block}.").replace(".kernel", ".filt")

    return key


def heads_key(ours: str) -> str:
    """CUT's projection heads."""
    return re.sub(r"^heads\.", "mlp_", ours)


def unet_key(depth: int) -> Callable[[str], str]:
    """U-Nets of junyanz: nested from the outside in there, one list down and one up here."""

    def key(ours: str) -> str:
        side, level, layer, leaf = _unet_place(ours, depth)
        down, up = ([0], [0, 3]) if level == 0 else ([0, 1, 2], [0, 3, 4] if level == depth - 1 else [0, 5, 6])
        nested = "" if level == 0 else ".1" + ".model.3" * (level - 1) + ".model"
        return f"model.model{nested}.{(down if side == 'downs' else up)[layer]}.{leaf}"

    return key


def _mmgeneration_unet_key(depth: int) -> Callable[[str], str]:
    def key(ours: str) -> str:
        side, level, layer, leaf = _unet_place(ours, depth)
        place = 0 if side == "downs" else 1 if level == depth - 1 else 2
        nested = "" if level == 0 else ".1" + ".model.1" * (level - 1) + ".model"
        return f"model.model{nested}.{place}.{'bn' if layer == 2 else 'conv'}.{leaf}"

    return key


def _unet_place(ours: str, depth: int) -> tuple[str, int, int, str]:
    """Side, level from the outside, layer and leaf of one of our names."""
    side, number, layer, leaf = ours.split(".")
    return side, int(number) if side == "downs" else depth - 1 - int(number), int(layer), leaf


def _mmgeneration_key(network: nn.Module) -> Callable[[str], str]:
    """One module there for a convolution and the norm after it, and for a block; a discriminator's last convolution is bare."""
    layers = network.get_submodule("layers")
    assert isinstance(layers, nn.Sequential)
    is_generator = any(isinstance(layer, ResidualBlock) for layer in layers)
    number, numbers = -1, {}
    for place, layer in enumerate(layers):
        number += isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, ResidualBlock))
        numbers[place] = number
    block = next((layer.layers for layer in layers if isinstance(layer, ResidualBlock)), nn.Sequential())
    second = next((place for place, layer in reversed(list(enumerate(block))) if isinstance(layer, nn.Conv2d)), 0)
    with_dropout = any(isinstance(layer, nn.Dropout) for layer in block)

    def key(ours: str) -> str:
        _, place, *inside, leaf = ours.split(".")
        if inside:
            layer = int(inside[-1])
            part = f"block.{0 if layer < second else 2 if with_dropout else 1}.{'conv' if layer in (1, second) else 'bn'}"
        elif not is_generator and numbers[int(place)] == number:
            return f"model.{number}.{leaf}"
        else:
            part = "bn" if isinstance(layers[int(place)], nn.BatchNorm2d) else "conv"
        return f"model.{numbers[int(place)]}.{part}.{leaf}"

    return key


def blurs(network: nn.Module) -> dict[str, Tensor]:
    """The fixed kernels of blurs by our names: CUT has them in its files."""
    return {f"{name}.kernel": module.kernel for name, module in network.named_modules() if isinstance(module, (BlurDown, BlurUp))}
