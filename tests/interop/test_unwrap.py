from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.interop.test_checkpoint import tiny_resnet
from transmute.cli import run_command
from transmute.errors import UserError
from transmute.interop.checkpoint import Checkpoint, read_checkpoint
from transmute.interop.importer import import_weights
from transmute.translation.model import load_model

OPTIMIZER = {"state": {0: {"exp_avg": torch.zeros(2, 3, 4, 4)}}, "param_groups": [{"lr": 0.1}]}


def discriminator() -> dict[str, torch.Tensor]:
    """A PatchGAN of one layer, as junyanz's code writes it."""
    shapes = {0: (2, 3, 4, 4), 2: (4, 2, 4, 4), 5: (1, 4, 4, 4)}
    state = {f"model.{index}.weight": torch.randn(shape) for index, shape in shapes.items()}
    return state | {f"model.{index}.bias": torch.randn(shapes[index][0]) for index in shapes}


def prefixed(prefix: str, state: dict[str, Any]) -> dict[str, Any]:
    return {f"{prefix}{key}": value for key, value in state.items()}


def read(folder: Path, content: object, name: str = "weights.pth") -> Checkpoint:
    torch.save(content, folder / name)
    return read_checkpoint(folder / name)


STATE = tiny_resnet()


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (
            {"model": STATE, "optimizer": {}, "epoch": 3},
            "opened 'model'; ignored 'optimizer', 'epoch'",
        ),
        ({**STATE, "epoch": 3, "optimizer": OPTIMIZER}, "ignored 'epoch', 'optimizer'"),
        ({"params_ema": STATE, "opt": OPTIMIZER}, "opened 'params_ema'; ignored 'opt'"),
        ({"params": tiny_resnet(), "params_ema": STATE}, "opened 'params_ema'; ignored 'params'"),
        ({"checkpoint": {"netG": STATE}}, "opened 'checkpoint.netG'"),
        (prefixed("generator.", STATE), "removed the prefix 'generator.'"),
        (prefixed("model.", STATE), "removed the prefix 'model.'"),
        (prefixed("module._orig_mod.", STATE), "removed the prefix 'module._orig_mod.'"),
        (
            {"state_dict": prefixed("netG.", STATE) | {"vgg.0.weight": torch.zeros(2, 3, 3, 3)}},
            "opened 'state_dict'; removed the prefix 'netG.'; ignored 'state_dict.vgg'",
        ),
        (STATE, None),
    ],
)
def test_a_wrapped_generator_is_found_and_what_was_removed_is_said(
    content: dict[str, Any], note: str | None, tmp_path: Path
) -> None:
    checkpoint = read(tmp_path, content)
    network = checkpoint.networks["a_to_b"]
    assert torch.equal(network.state["layers.1.weight"], STATE["model.1.weight"])
    assert checkpoint.notes == ([f"{tmp_path / 'weights.pth'}: {note}"] if note else [])


def test_a_discriminator_behind_the_prefix_model_is_not_taken_for_a_u_net(tmp_path: Path) -> None:
    state = discriminator()
    checkpoint = read(tmp_path, {"model": prefixed("model.", state)})
    assert torch.equal(
        checkpoint.networks["score_b"].state["layers.0.weight"], state["model.0.weight"]
    )


def test_the_name_of_the_file_chooses_the_direction_of_its_only_generator(tmp_path: Path) -> None:
    content = {"generator": tiny_resnet()}
    assert set(read(tmp_path, content, "latest_net_G_B.pth").networks) == {"b_to_a"}


@pytest.mark.parametrize("wrapped", [True, False])
def test_all_networks_of_a_file_are_found_by_their_names(wrapped: bool, tmp_path: Path) -> None:
    states = {
        "netG_A2B": tiny_resnet(),
        "netG_B2A": tiny_resnet(),
        "netD_A": discriminator(),
        "netD_B": discriminator(),
    }
    flat = {f"{name}.{key}": one for name in states for key, one in states[name].items()}
    networks = read(tmp_path, states if wrapped else flat).networks
    # In code with these names, D_A scores a. In junyanz's, it scores b.
    for role, name in {
        "a_to_b": "netG_A2B",
        "b_to_a": "netG_B2A",
        "score_a": "netD_A",
        "score_b": "netD_B",
    }.items():
        first = "layers.1.weight" if "_to_" in role else "layers.0.weight"
        theirs = next(iter(states[name].values()))
        assert torch.equal(networks[role].state[first], theirs)
    pair = {"netG": states["netG_A2B"], "netD": states["netD_B"]}
    assert set(read(tmp_path, pair).networks) == {"a_to_b", "score_b"}


def test_a_part_of_an_unknown_network_is_not_taken_for_a_network(tmp_path: Path) -> None:
    content = prefixed("encoder.", discriminator()) | prefixed("head.", {"a.weight": torch.ones(2)})
    with pytest.raises(UserError, match="contains no network that Transmute knows"):
        read(tmp_path, content)


def test_dictionaries_that_contain_themselves_are_not_searched_forever(tmp_path: Path) -> None:
    content: dict[str, Any] = {"model": STATE}
    content |= {f"again_{index}": content for index in range(100)}
    assert set(read(tmp_path, content).networks) == {"a_to_b"}


def test_import_prints_what_was_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": STATE}, "weights.pth")
    assert run_command(["import", "weights.pth", "--out", "it.safetensors"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "weights.pth: opened 'model'"
    assert lines[1].endswith("-> it.safetensors")


def test_an_optimizer_alone_is_named_with_the_line_that_saves_the_network(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the state of an optimizer.*network\.state_dict\(\)"):
        read(tmp_path, OPTIMIZER)
    with pytest.raises(UserError, match=r"torch\.load\('x\.pth', weights_only=False\)\.state_dict"):
        read(tmp_path, torch.nn.Linear(1, 1), "x.pth")


def test_safetensors_files_of_other_tools_are_imported(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "generator.safetensors")
    networks = read_checkpoint(tmp_path / "generator.safetensors").networks
    assert torch.equal(networks["a_to_b"].state["layers.1.weight"], STATE["model.1.weight"])


def test_weights_in_a_zip_file_are_imported_and_errors_name_the_zip_file(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "g.pth")
    with zipfile.ZipFile(tmp_path / "one.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "g.pth", "folder/latest_net_G_B.pth")
    notes = import_weights(tmp_path / "one.zip", tmp_path / "it.safetensors")
    assert notes[0] == f"{tmp_path / 'one.zip'}: unpacked"
    assert load_model(tmp_path / "it.safetensors")[0].direction == "b_to_a"
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("notes.txt", "nothing")
    with pytest.raises(UserError, match=re.escape(f"{tmp_path / 'two.zip'} contains no check")):
        import_weights(tmp_path / "two.zip", tmp_path / "two.safetensors")
