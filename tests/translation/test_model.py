from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import transmute
from tests.interop.test_checkpoint import torchscript
from tests.translation.models import load_translator, model_card, random_image, save_model
from transmute import plugins
from transmute.config.networks import PatchGANConfig, ResNetConfig, UNetConfig
from transmute.errors import UserError
from transmute.run import Run
from transmute.translation.model import (
    PartCard,
    inference_copy,
    load_model,
    model_files,
    read_networks,
    save_network,
)
from transmute.translation.translator import Translator
from transmute.weights import load_tensors, save_tensors

OUTSIDE_GENERATOR = '''
from typing import Literal

from torch import nn

from transmute.config.networks import GeneratorConfig


class Tiny(nn.Module):
    def __init__(self, in_channels, out_channels, width):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, width, 1), nn.Conv2d(width, out_channels, 1), nn.Tanh()
        )

    def forward(self, images):
        return self.layers(images).to(images.dtype)


class TinyConfig(GeneratorConfig):
    """One pixel at a time."""

    name: Literal["tiny"] = "tiny"
    width: int = 4
    """Channels."""

    @property
    def stride(self):
        return 2

    @property
    def min_size(self):
        return 2

    def build(self, in_channels, out_channels):
        return self.initialized(Tiny(in_channels, out_channels, self.width))
'''


@pytest.fixture
def outside(tmp_path: Path) -> str:
    """FILE.py:NAME of a generator that is not part of the package."""
    (tmp_path / "tiny_generator.py").write_text(OUTSIDE_GENERATOR, encoding="utf-8")
    return f"{tmp_path / 'tiny_generator.py'}:TinyConfig"


@pytest.fixture
def outside_model(outside: str, tmp_path: Path) -> Path:
    """A model file of it, after which its code is forgotten."""
    config = plugins.load(outside)(width=3)
    path = save_model(tmp_path / "tiny.safetensors", generator=config)
    del sys.modules[type(config).__module__]
    return path


def test_a_model_file_describes_itself(model: Path) -> None:
    card, network = load_model(model)
    assert card == model_card()
    assert network.state_dict().keys() == model_card().generator.build(3, 3).state_dict().keys()


def test_a_generator_from_outside_is_used_only_if_it_is_named(
    outside: str, outside_model: Path
) -> None:
    loaded_files = plugins.loaded_files()
    with pytest.raises(
        UserError, match=r"'tiny', which is not part of Transmute\. .*`generator=FILE.py:NAME`"
    ):
        Translator(outside_model)
    with pytest.raises(UserError, match="uses the network 'tiny'"):
        read_networks(outside_model)
    assert plugins.loaded_files() == loaded_files
    translator = load_translator(outside_model, generator=outside)
    assert translator(random_image(5, 3)).size == (5, 3)
    assert translator.card.generator == plugins.load(outside)(width=3)
    by_class = load_translator(outside_model, generator=plugins.load(outside))
    images = torch.rand(1, 3, 4, 4)
    assert torch.equal(by_class.translate(images), translator.translate(images))


def test_a_generator_from_outside_that_does_not_fit_is_refused(
    outside: str, outside_model: Path, model: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"uses the network 'resnet'.*Omit `generator`"):
        Translator(model, generator=outside)
    with pytest.raises(UserError, match=r"Tiny is not a subclass of .*GeneratorConfig"):
        Translator(outside_model, generator=f"{outside.partition(':')[0]}:Tiny")
    changed = tmp_path / "changed.py"
    changed.write_text(
        OUTSIDE_GENERATOR.replace("self.width)", "self.width + 1)"), encoding="utf-8"
    )
    with pytest.raises(UserError, match=r"the weights in .* do not fit the network 'tiny'"):
        Translator(outside_model, generator=f"{changed}:TinyConfig")


def test_files_of_another_format_are_refused_in_one_sentence(model: Path) -> None:
    tensors, header = load_tensors(model)
    save_tensors(model, tensors, header | {"format": 1, "transmute": "0.1.0"})
    with pytest.raises(
        UserError,
        match=r"format 1, written by Transmute 0\.1\.0\. This version reads format 2 only",
    ):
        load_model(model)


def test_whether_pairs_were_trained_on_is_in_the_header(model: Path, tmp_path: Path) -> None:
    paired = save_model(tmp_path / "paired.safetensors", paired=True)
    assert load_tensors(paired)[1]["format"] == 2
    assert load_model(paired)[0].paired
    assert not load_model(model)[0].paired


def test_other_files_are_refused_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with pytest.raises(UserError, match="there is no run folder or model file"):
        Translator(tmp_path / "nothing")
    with pytest.raises(UserError, match="no model"):
        Translator(tmp_path)
    path.write_bytes(b"PK not a model")
    with pytest.raises(UserError, match="safetensors file"):
        Translator(path)
    save_tensors(path, {}, {"step": 3})
    with pytest.raises(UserError, match="is a checkpoint, not a model file"):
        Translator(path)
    config = PatchGANConfig(width=2)
    card = PartCard(transmute=transmute.__version__, part="score_a", network=config, in_channels=3)
    save_network(path, card, config.build(3))
    assert read_networks(path)["score_a"].card == card
    with pytest.raises(UserError, match="contains score_a, not a generator"):
        Translator(path)


def test_a_file_that_cannot_be_imported_is_not_refused_with_a_command_that_fails(
    tmp_path: Path,
) -> None:
    for name in ("it.pt", "it.onnx"):
        (tmp_path / name).write_bytes(torchscript())
        with pytest.raises(UserError, match=r"is a TorchScript file, which contains code"):
            Translator(tmp_path / name)


def test_files_of_another_tool_are_refused_with_the_command_that_converts_them(
    tmp_path: Path,
) -> None:
    torch.save({}, tmp_path / "latest_net_G.pth")
    with pytest.raises(
        UserError, match=f"contains files of another tool.*transmute import {tmp_path}$"
    ):
        Translator(tmp_path)
    with pytest.raises(UserError, match=r"is a file of another tool.*transmute import .*G\.pth$"):
        Translator(tmp_path / "latest_net_G.pth")


def save_both_directions(folder: Path, **changes) -> None:
    save_model(folder / "a_to_b.safetensors", **changes)
    back = {"direction": "b_to_a", "source": "zebra", "target": "horse"}
    save_model(folder / "b_to_a.safetensors", **back, **changes)


def test_a_run_has_a_translator_for_each_step_and_direction(tmp_path: Path) -> None:
    for step in (9, 10):
        save_both_directions(Run(tmp_path).model_folder(step), step=step)
    assert Translator(tmp_path).card.step == 10
    assert Translator(tmp_path, step=9).card.step == 9
    assert Translator(tmp_path / "models").card.step == 10
    assert Translator(tmp_path).card.direction == "a_to_b"
    assert Translator(tmp_path, direction="b_to_a").card.direction == "b_to_a"
    assert [path.stem for path in model_files(tmp_path, 9)] == ["a_to_b", "b_to_a"]
    (Run(tmp_path).models_at() / "b_to_a.safetensors").unlink()
    with pytest.raises(UserError, match="has no model for b_to_a, only for a_to_b"):
        Translator(tmp_path, direction="b_to_a")


def test_a_folder_of_model_files_has_a_translator_for_each_direction(
    tmp_path: Path, model: Path
) -> None:
    save_both_directions(tmp_path / "imported")
    assert Translator(tmp_path / "imported").card.target == "zebra"
    assert Translator(tmp_path / "imported", direction="b_to_a").card.target == "horse"
    with pytest.raises(UserError, match="has no model for b_to_a, only for a_to_b"):
        Translator(model, direction="b_to_a")
    for path in (tmp_path / "imported", model):
        with pytest.raises(UserError, match=r"`step=9` cannot be chosen in .* a single step"):
            Translator(path, step=9)


def test_a_direction_is_chosen_by_the_name_of_its_target(tmp_path: Path, model: Path) -> None:
    save_both_directions(Run(tmp_path / "run").model_folder(3))
    assert Translator(tmp_path / "run", to="horse").card.direction == "b_to_a"
    assert Translator(tmp_path / "run", to="zebra").card.direction == "a_to_b"
    assert Translator(tmp_path / "run", to="horse", direction="b_to_a").card.target == "horse"
    with pytest.raises(UserError, match=r"`to=cat` is not a domain .*Choose one of: zebra, horse"):
        Translator(tmp_path / "run", to="cat")
    with pytest.raises(UserError, match=r"`to=horse` is the direction b_to_a, not `direction=a_to"):
        Translator(tmp_path / "run", to="horse", direction="a_to_b")
    assert Translator(model, to="zebra").card.target == "zebra"
    with pytest.raises(UserError, match=r"`to=horse` is not a domain .*Choose one of: zebra$"):
        Translator(model, to="horse")


def test_the_target_of_swapped_and_of_imported_models_is_that_of_their_files(
    tmp_path: Path,
) -> None:
    for direction, source, target in (("a_to_b", "zebra", "horse"), ("b_to_a", "horse", "zebra")):
        save_model(
            tmp_path / f"{direction}.safetensors", direction=direction, source=source, target=target
        )
    assert Translator(tmp_path, to="zebra").card.direction == "b_to_a"
    # Two folders of the same name
    for direction in ("a_to_b", "b_to_a"):
        save_model(tmp_path / f"{direction}.safetensors", direction=direction, target="photos")
    assert Translator(tmp_path, to="photos").card.direction == "a_to_b"
    assert Translator(tmp_path, to="photos", direction="b_to_a").card.direction == "b_to_a"


def test_dropout_is_off_and_batch_norm_uses_the_statistics_of_the_training() -> None:
    torch.manual_seed(0)
    generator = UNetConfig(width=2, depth=7).build(3, 3).train()
    images = torch.rand(1, 3, 128, 128)
    running = inference_copy(generator, per_image_statistics=False)
    per_image = inference_copy(generator, per_image_statistics=True)
    assert torch.equal(running(images), running(images))
    assert not torch.equal(running(images), per_image(images))
    for module in generator.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    assert torch.equal(per_image(images), generator(images))


def test_noise_keeps_dropout_on(tmp_path: Path) -> None:
    config = UNetConfig(width=2, depth=7, norm="instance")
    path = save_model(tmp_path / "unet.safetensors", generator=config)
    images = torch.randn(1, 3, 128, 128)
    noisy, plain = Translator(path, noise=True), Translator(path)
    assert not torch.equal(noisy.translate(images), noisy.translate(images))
    assert torch.equal(plain.translate(images), plain.translate(images))


def test_batch_norm_with_noise_still_uses_running_statistics() -> None:
    network = inference_copy(
        ResNetConfig(width=2, blocks=1, norm="batch", dropout=True).build(3, 3),
        per_image_statistics=False,
        noise=True,
    )
    training = {type(module) for module in network.modules() if module.training}
    assert training == {nn.Dropout}
