from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tests.interop.test_checkpoint import tiny_resnet
from transmute.cli import run_command
from transmute.config.networks import DiscriminatorConfig, HeadsConfig
from transmute.errors import UserError
from transmute.interop.importer import import_weights
from transmute.translation.model import ModelCard, PartCard, load_model
from transmute.weights import load_tensors

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


SINGLE = [f"junyanz/{name}" for name in JUNYANZ] + [
    "cut/generator/latest_net_G",
    "cut/generator/latest_net_D",
]


SINGLE += [
    "pytorch-gan/cyclegan/G_AB_7",
    "pytorch-gan/cyclegan/D_A_7",
    "pytorch-gan/pix2pix/generator_7",
]


def network_of(file: Path) -> nn.Module:
    """The network in a file, in eval mode."""
    state, header = load_tensors(file)
    if "part" in header:
        card = PartCard(**header)
        assert isinstance(card.network, (DiscriminatorConfig, HeadsConfig))
        network = card.network.build(card.in_channels)
        network.load_state_dict(state)
        return network.eval()
    return load_model(file)[1]


@pytest.mark.parametrize("name", SINGLE)
def test_an_imported_network_computes_what_the_other_tool_computes(
    golden: Path, tmp_path: Path, name: str
) -> None:
    assert (
        run_command(
            ["import", str(golden / f"{name}.pth"), "--out", str(tmp_path / "it.safetensors")]
        )
        == 0
    )
    fixture = load_file(golden / f"{name}.io.safetensors")
    with torch.inference_mode():
        output = network_of(tmp_path / "it.safetensors")(fixture["input"].float())
    torch.testing.assert_close(
        output, fixture["output"], rtol=0, atol=1e-5
    )  # the fixtures' tolerance: float32, another order of sums


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        (
            "cyclegan/cyclegan_horse2zebra_convert-bgr",
            {
                "a_to_b": ("input", "to_zebra"),
                "b_to_a": ("input", "to_horse"),
                "score_a": ("judge_horse_input", "judge_horse"),
                "score_b": ("judge_zebra_input", "judge_zebra"),
            },
        ),
        (
            "pix2pix/pix2pix_facades_convert-bgr",
            {"a_to_b": ("input", "to_photo"), "score_b": ("judge_photo_input", "judge_photo")},
        ),
    ],
)
def test_networks_of_mmgeneration_use_rgb_after_import(
    golden: Path, tmp_path: Path, name: str, parts: dict
) -> None:
    assert (
        run_command(
            ["import", str(golden / "mmgeneration" / f"{name}.pth"), "--out", str(tmp_path / "all")]
        )
        == 0
    )
    fixture = load_file(golden / "mmgeneration" / name.split("/")[0] / "io.safetensors")
    assert {path.stem for path in (tmp_path / "all").iterdir()} == set(parts)
    for part, (given, expected) in parts.items():
        with torch.inference_mode():
            output = network_of(tmp_path / "all" / f"{part}.safetensors")(fixture[given].float())
        torch.testing.assert_close(output, fixture[expected], rtol=0, atol=1e-5)


def test_every_fixture_of_a_network_is_covered(golden: Path) -> None:
    files = {
        row["file"]
        for row in json.loads((golden / "index.json").read_text(encoding="utf-8"))
        if row["file"].endswith(".pth")
    }
    multiple = {file for file in files if file.startswith("mmgeneration/")}
    heads = {"cut/generator/latest_net_F.pth"}  # tests/methods/test_cut.py
    assert files - multiple - heads == {f"{name}.pth" for name in SINGLE}


def test_several_networks_need_a_folder(tmp_path: Path) -> None:
    save_pair(tmp_path)
    with pytest.raises(UserError, match=r"is the name of one file. Set `out` to a folder"):
        import_weights(tmp_path, tmp_path / "one.safetensors")


def save_pair(folder: Path) -> None:
    """Two generators of a CycleGAN of pytorch-CycleGAN-and-pix2pix."""
    for name in ("G_A", "G_B"):
        torch.save(tiny_resnet(), folder / f"latest_net_{name}.pth")


def test_networks_are_imported_into_an_existing_folder(tmp_path: Path) -> None:
    save_pair(tmp_path)
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "note.txt").write_text("mine", encoding="utf-8")
    run_command(["import", str(tmp_path), "--out", str(folder)])
    assert {path.name for path in folder.iterdir()} == {
        "note.txt",
        "a_to_b.safetensors",
        "b_to_a.safetensors",
    }
    with pytest.raises(UserError, match=r"a_to_b.safetensors exists. Set `out` to another place"):
        import_weights(tmp_path, folder)


def test_one_network_is_imported_into_an_existing_folder(tmp_path: Path) -> None:
    file, folder = tmp_path / "latest_net_G_B.pth", tmp_path / "models"
    torch.save(tiny_resnet(), file)
    folder.mkdir()
    run_command(["import", str(file), "--out", str(folder)])
    assert [path.name for path in folder.iterdir()] == ["b_to_a.safetensors"]
    assert not list(tmp_path.glob("*.safetensors"))
    before = (folder / "b_to_a.safetensors").read_bytes()
    with pytest.raises(UserError, match=r"b_to_a.safetensors exists. Set `out` to another place"):
        run_command(["import", str(file), "--out", str(folder)])
    assert (folder / "b_to_a.safetensors").read_bytes() == before


def test_an_existing_folder_with_the_default_name_is_not_written_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir()
    save_pair(Path("run"))
    with pytest.raises(UserError, match=r"run exists. Set `out` to another place"):
        import_weights(Path("run"))


def test_options_in_train_opt_are_in_the_card(tmp_path: Path) -> None:
    torch.save(tiny_resnet(), tmp_path / "latest_net_G.pth")
    options = {
        "model": "pix2pix",
        "batch_size": 1,
        "crop_size": 64,
        "preprocess": "scale_width",
        "dataroot": "./datasets/edges2shoes",
    }
    lines = "".join(f"{name:>25}: {value!s:<30}\t[default: x]\n" for name, value in options.items())
    (tmp_path / "train_opt.txt").write_text(
        f"----- Options -----\n{lines}----- End -----\n", encoding="utf-8"
    )
    import_weights(tmp_path, tmp_path / "one")
    card = ModelCard(**load_tensors(tmp_path / "one.safetensors")[1])
    assert (card.method, card.per_image_statistics, card.size, card.preprocess.mode) == (
        "pix2pix",
        True,
        "64x64",
        "scale-width",
    )
    assert (card.source, card.target) == ("edges", "shoes")


def test_another_tool_s_file_is_not_a_model_file(tmp_path: Path) -> None:
    torch.save(tiny_resnet(), tmp_path / "latest_net_G.pth")
    with pytest.raises(
        UserError, match=r"is a file of another tool. Convert it with: transmute import"
    ):
        load_model(tmp_path / "latest_net_G.pth")
