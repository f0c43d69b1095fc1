"""Our networks compute what other people's code computes from the same weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tests.networks.other_names import sequential_names, unet_names
from transmute.networks.discriminators import four_stride, patchgan, pixelgan
from transmute.networks.resnet import ResNet
from transmute.networks.unet import UNet

JUNYANZ = [
    "resnet_9blocks_instance_3to3/latest_net_G",
    "resnet_6blocks_instance_1to3/latest_net_G",
    "resnet_9blocks_instance_dropout_3to3/latest_net_G",
    "resnet_6blocks_batch_3to3/latest_net_G",
    "resnet_6blocks_batch_dropout_4to2/latest_net_G",
    "unet_128_batch_dropout_3to3/latest_net_G",
    "unet_256_batch_dropout_3to3/latest_net_G",
    "old_tracked_statistics/latest_net_G_A",
    "dataparallel_prefix/latest_net_G_A",
    "discriminator_basic_instance_3/latest_net_D",
    "discriminator_basic_batch_6/latest_net_D",
    "discriminator_n_layers_instance_3/latest_net_D",
    "discriminator_pixel_batch_3/latest_net_D",
]
OTHERS = ["cut/generator/latest_net_G", "pytorch-gan/cyclegan/G_AB_7", "pytorch-gan/cyclegan/D_A_7"]


def build(name: str, facts: dict, channels: int, out: int) -> nn.Module:
    norm, kind = facts.get("norm", "instance"), facts.get("netG") or facts.get("netD") or name
    if kind.startswith("resnet"):
        down, up = ("antialiased", "antialiased") if name.startswith("cut") else ("strided", "transposed")
        blocks, dropout = int(kind[7]), facts.get("use_dropout", False)
        return ResNet(in_channels=channels, out_channels=out, width=2, blocks=blocks, norm=norm, dropout=dropout, downsampling=down, upsampling=up)
    if "G_AB" in kind:
        return ResNet(in_channels=channels, out_channels=out, width=2, blocks=9, upsampling="nearest")
    if kind.startswith("unet"):
        return UNet(in_channels=channels, out_channels=out, width=2, depth={"unet_128": 7, "unet_256": 8}[kind], norm=norm)
    if "D_A" in kind:
        return four_stride(in_channels=channels, width=2)
    if kind == "pixel":
        return pixelgan(in_channels=channels, width=2, norm=norm)
    return patchgan(in_channels=channels, width=2, layers=facts["n_layers_D"], norm=norm)


@pytest.mark.parametrize("name", [f"junyanz/{name}" for name in JUNYANZ] + OTHERS)
def test_network_computes_what_the_other_tool_computes(golden: Path, name: str) -> None:
    facts = next(row for row in json.loads((golden / "index.json").read_text()) if row["file"] == f"{name}.pth")
    state = torch.load(golden / f"{name}.pth", weights_only=True)
    fixture = load_file(golden / f"{name}.io.safetensors")
    images, expected = fixture["input"].float(), fixture["output"]
    network = build(name, facts, images.shape[1], expected.shape[1])
    names = unet_names(state, len(network.downs)) if isinstance(network, UNet) else sequential_names(state)
    network.load_state_dict(names)
    with torch.no_grad():
        output = network.eval()(images)
    # The README of the fixtures asks for 1e-5; the operations are the same, so it is 0 where the libraries are.
    assert (output - expected).abs().max() <= 1e-5


def test_every_junyanz_fixture_is_covered(golden: Path) -> None:
    rows = json.loads((golden / "index.json").read_text())
    assert {row["file"] for row in rows if row["file"].startswith("junyanz/")} == {f"junyanz/{name}.pth" for name in JUNYANZ}
