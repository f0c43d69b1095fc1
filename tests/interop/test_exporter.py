from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.conftest import TINY_CYCLEGAN
from tests.translation.models import save_model
from transmute.api import train
from transmute.cli import run_command
from transmute.config.data import PreprocessConfig, Range
from transmute.config.losses import LeastSquaresConfig
from transmute.config.methods import (
    AdversarialConfig,
    CUTConfig,
    CycleGANConfig,
    MethodConfig,
    Pix2PixConfig,
)
from transmute.config.networks import (
    FourStrideConfig,
    PatchGANConfig,
    PixelGANConfig,
    ResNetConfig,
    UNetConfig,
)
from transmute.errors import UserError
from transmute.interop.checkpoint import read_checkpoint
from transmute.interop.exporter import export
from transmute.interop.importer import import_weights
from transmute.run import Run
from transmute.translation.model import read_networks
from transmute.translation.translator import Translator
from transmute.weights import load_tensors, save_tensors

ANTIALIASED = ResNetConfig(width=2, blocks=6, downsampling="antialiased", upsampling="antialiased")


def trained(folder: Path, data: Path, method: MethodConfig, **changes: object) -> Path:
    recipe = TINY_CYCLEGAN.replace(method=method, steps=1, **changes)
    return train(data, run=folder / "run", recipe=recipe, device="cpu", precision="float32").folder


@pytest.mark.parametrize(
    ("method", "names"),
    [
        (
            CycleGANConfig(
                generator=ResNetConfig(width=2, blocks=6),
                discriminator=PatchGANConfig(width=2, layers=2),
                history=0,
            ),
            {"G_A", "G_B", "D_A", "D_B"},
        ),
        (
            CycleGANConfig(
                generator=ResNetConfig(width=2, blocks=9, norm="batch", dropout=True),
                discriminator=PixelGANConfig(width=2, norm="batch"),
                history=0,
            ),
            {"G_A", "G_B", "D_A", "D_B"},
        ),
        (
            CUTConfig(
                generator=ANTIALIASED,
                discriminator=PatchGANConfig(width=2, layers=1, downsampling="antialiased"),
                width=4,
            ),
            {"G", "D", "F"},
        ),
    ],
    ids=["cyclegan", "batch-dropout-pixel", "cut"],
)
def test_importing_an_export_gives_the_same_networks(
    tmp_path: Path, animals: Path, method: MethodConfig, names: set[str]
) -> None:
    run = trained(tmp_path, animals, method)
    assert run_command(["export", str(run), "--out", str(tmp_path / "theirs")]) == 0
    assert {path.name for path in (tmp_path / "theirs").glob("*.pth")} == {
        f"latest_net_{name}.pth" for name in names
    }
    run_command(["import", str(tmp_path / "theirs"), "--out", str(tmp_path / "back")])
    before, after = read_networks(run), read_networks(tmp_path / "back")
    assert Translator(tmp_path / "back").card.source == Translator(run).card.source == "plain"
    assert before.keys() == after.keys()
    for role, saved in before.items():
        initialization = {"init": {"name": "normal", "gain": 0.02}}
        one, other = (
            card.model_dump()["generator" if "to" in role else "network"] | initialization
            for card in (saved.card, after[role].card)
        )
        assert one == other
        assert saved.state.keys() == after[role].state.keys()
        assert all(torch.equal(value, after[role].state[key]) for key, value in saved.state.items())


@pytest.mark.parametrize(
    "case",
    [
        "junyanz/resnet_9blocks_instance_3to3",
        "junyanz/unet_256_batch_dropout_3to3",
        "cut/generator",
    ],
)
def test_exporting_an_import_gives_the_same_file(golden: Path, tmp_path: Path, case: str) -> None:
    file = golden / case / "latest_net_G.pth"
    import_weights(file, tmp_path / "G")
    export(tmp_path / "G.safetensors", tmp_path / "theirs")
    before, after = (
        torch.load(path, weights_only=True)
        for path in (file, tmp_path / "theirs" / "latest_net_G.pth")
    )
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[key]) for key, value in before.items())


@pytest.mark.parametrize(
    ("method", "what"),
    [
        (CycleGANConfig(generator=ResNetConfig(width=2, blocks=1), history=0), "1 residual blocks"),
        (
            CycleGANConfig(
                generator=ResNetConfig(width=2, blocks=6, upsampling="nearest"), history=0
            ),
            "nearest upsampling",
        ),
        (
            CycleGANConfig(generator=ResNetConfig(width=2, blocks=6, padding="zeros"), history=0),
            "padding by zeros",
        ),
        (
            CycleGANConfig(generator=ResNetConfig(width=2, blocks=6, levels=1), history=0),
            "1 levels",
        ),
        (
            CycleGANConfig(generator=ResNetConfig(width=2, blocks=6, residual=True), history=0),
            "residual generator",
        ),
        (
            CycleGANConfig(
                generator=ResNetConfig(width=2, blocks=6),
                discriminator=FourStrideConfig(width=2),
                history=0,
            ),
            "network of the kind four-stride",
        ),
        (
            Pix2PixConfig(generator=UNetConfig(width=2, depth=4), adversarial=LeastSquaresConfig()),
            "U-Net of depth 4",
        ),
    ],
)
def test_a_network_that_the_other_tool_does_not_have_is_refused(
    tmp_path: Path, animals: Path, method: AdversarialConfig, what: str
) -> None:
    small = (
        method.discriminator
        if isinstance(method.discriminator, FourStrideConfig)
        else PatchGANConfig(width=2, layers=1)
    )
    size = "32" if isinstance(small, FourStrideConfig) else "16"
    data = animals if not method.paired else animals.parent / "pairs"
    if method.paired and not data.exists():
        for side in "ab":
            (data / side.upper()).mkdir(parents=True)
            for index, path in enumerate(sorted((animals / f"train{side.upper()}").iterdir())):
                (data / side.upper() / f"{index}.png").write_bytes(path.read_bytes())
    run = trained(tmp_path, data, method.replace(discriminator=small), size=size)
    with pytest.raises(
        UserError, match=f"cannot be exported: pytorch-CycleGAN-and-pix2pix has no {what}"
    ):
        export(run, tmp_path / "theirs")
    assert not (tmp_path / "theirs").exists()


def test_copies_are_model_files_and_existing_files_are_not_overwritten(
    tmp_path: Path, animals: Path
) -> None:
    run = trained(tmp_path, animals, TINY_CYCLEGAN.method)
    arguments = ["export", str(run), "--out", str(tmp_path / "copies"), "--format", "safetensors"]
    assert run_command(arguments) == 0
    assert (
        load_tensors(tmp_path / "copies" / "a_to_b.safetensors")[1]
        == load_tensors(Run(run).models_at() / "a_to_b.safetensors")[1]
    )
    with pytest.raises(UserError, match=r"exists. Set `out` to another folder, or set `overwrite`"):
        run_command(arguments)
    assert run_command([*arguments, "--overwrite"]) == 0


def test_an_existing_folder_is_exported_into(golden: Path, tmp_path: Path) -> None:
    import_weights(golden / "cut" / "generator" / "latest_net_G.pth", tmp_path / "G")
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "note.txt").write_text("mine", encoding="utf-8")
    arguments = ["export", str(tmp_path / "G.safetensors"), "--out", str(folder)]
    run_command(arguments)
    names = {"note.txt", "latest_net_G.pth", "train_opt.txt"}
    assert {path.name for path in folder.iterdir()} == names
    (folder / "latest_net_G.pth").write_text("old", encoding="utf-8")
    with pytest.raises(UserError, match=r"latest_net_G.pth exists. Set `out` to another folder"):
        run_command(arguments)
    assert (folder / "latest_net_G.pth").read_text(encoding="utf-8") == "old"
    run_command([*arguments, "--overwrite"])
    assert read_checkpoint(folder).networks.keys() == {"a_to_b"}
    assert {path.name for path in folder.iterdir()} == names


def test_a_network_of_a_class_outside_the_package_is_refused(tmp_path: Path) -> None:
    header = {"format": 2, "direction": "a_to_b", "generator": {"name": "mine"}}
    save_tensors(tmp_path / "models" / "a_to_b.safetensors", {"weight": torch.zeros(1)}, header)
    with pytest.raises(UserError, match=r"the network 'mine', .*: it cannot be exported"):
        export(tmp_path / "models", tmp_path / "theirs")
    assert not (tmp_path / "theirs").exists()


def test_a_training_starts_from_imported_networks(
    tmp_path: Path, animals: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    method = CycleGANConfig(
        generator=ResNetConfig(width=2, blocks=6, norm="batch"),
        discriminator=PatchGANConfig(width=2, layers=1),
        history=0,
    )
    export(trained(tmp_path, animals, method), tmp_path / "theirs")
    import_weights(tmp_path / "theirs", tmp_path / "all")
    start = read_checkpoint(tmp_path / "theirs").networks
    arguments = [
        "train",
        str(animals),
        "--from",
        str(tmp_path / "all"),
        "--run",
        str(tmp_path / "on"),
        "--size",
        "16",
        "--steps",
        "1",
    ]
    assert (
        run_command(
            [
                *arguments,
                "--optimizer.lr",
                "1e-30",
                "--batch",
                "2",
                "--device",
                "cpu",
                "--precision",
                "float32",
            ]
        )
        == 0
    )
    assert "a_to_b, b_to_a, score_a, score_b" in capsys.readouterr().out
    for role, saved in read_networks(tmp_path / "on").items():
        first = "layers.0.weight" if "score" in role else "layers.1.weight"
        assert torch.equal(saved.state[first], start[role].state[first])
    # One direction alone brings the architecture of both.
    arguments = [
        str(tmp_path / "one") if word == str(tmp_path / "on") else word for word in arguments
    ]
    arguments[3] = str(tmp_path / "all" / "b_to_a.safetensors")
    assert (
        run_command(
            [*arguments, "--method.discriminator.layers", "1", "--batch", "2", "--device", "cpu"]
        )
        == 0
    )
    assert "from " in (printed := capsys.readouterr().out)
    assert "new: a_to_b, score_a, score_b" in printed
    with pytest.raises(UserError, match="has another architecture than"):
        run_command(
            [
                *arguments[:5],
                str(tmp_path / "two"),
                *arguments[6:],
                "--method.generator.width",
                "4",
                "--method.discriminator.layers",
                "1",
            ]
        )
    assert not (tmp_path / "two" / "recipe.json").exists()


def test_an_export_keeps_the_ranges_of_the_domains(tmp_path: Path) -> None:
    scan = Range(depth="int16", low=(-1000.0,), high=(1000.0,), origin="set")
    bands = Range(depth="uint16", low=(12.5, 3.0), high=(1234567.25, 90.25), origin="percentiles")
    preprocess = PreprocessConfig(channels_a=1, channels_b=2, range_a=scan, range_b=bands)
    file = save_model(
        tmp_path / "a_to_b.safetensors",
        generator=ResNetConfig(width=2, blocks=6),
        in_channels=1,
        out_channels=2,
        preprocess=preprocess,
    )
    export(file, tmp_path / "theirs")
    import_weights(tmp_path / "theirs", tmp_path / "back")
    card = Translator(tmp_path / "back.safetensors").card
    assert (card.source_range.depth, str(card.source_range)) == ("int16", "-1000:1000")
    assert card.target_range.replace(origin="percentiles") == bands
    assert card.preprocess.channels == (1, 2)
