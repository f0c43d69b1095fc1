from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.translation.models import load_translator, save_model
from transmute.config.networks import PatchGANConfig
from transmute.errors import UserError
from transmute.translation.model import PartCard, read_networks, save_network
from transmute.weights import load_tensors, save_tensors

Header = dict[str, Any]
Tensors = dict[str, torch.Tensor]


def forge(
    path: Path,
    header: Callable[[Header], object] = lambda header: header,
    tensors: Callable[[Tensors], object] = lambda tensors: tensors,
) -> Path:
    """Changes a model file in place. Its checksum is valid afterwards."""
    weights, card = load_tensors(path)
    header(card)
    tensors(weights)
    save_tensors(path, weights, card)
    return path


def with_header_text(path: Path, text: str) -> None:
    """Writes a file without tensors whose header is any text, with a valid checksum."""
    checksum = zlib.crc32(text.encode())
    save_file({}, path, {"transmute": f"{checksum:08x} {text}"})


@pytest.mark.parametrize(
    "text",
    ["not json", "null", "[1]", '"text"', "7", "[" * 200_000, f'{{"step": {"9" * 6000}}}'],
    ids=["text", "null", "list", "string", "number", "deep", "digits"],
)
def test_a_header_that_is_not_an_object_is_damage(text: str, tmp_path: Path) -> None:
    with_header_text(tmp_path / "x.safetensors", text)
    with pytest.raises(UserError, match=r"x\.safetensors is damaged: its header is not a JSON obj"):
        load_translator(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"direction": "../../etc"}, "`direction` should match pattern"),
        ({"direction": 7}, "`direction` should be"),
        ({"in_channels": 10**9}, "`in_channels` should be less than or equal to 4096"),
        ({"step": 10**400}, "`step`"),
        ({"self": 1}, "unknown setting 'self'"),
        ({"size": "99999999x1"}, "a size is"),
        ({"preprocess": None}, "`preprocess`"),
        (
            {"method": ["x" * 10**6]},
            r"`method` should be a string, but is \['x.{,100}\.\.\..{,50}$",
        ),
    ],
)
def test_a_value_in_a_header_that_is_impossible_is_named(
    changes: Header, message: str, model: Path
) -> None:
    forge(model, lambda header: header.update(changes))
    with pytest.raises(UserError, match=f"{model.name} is not a valid model file: .*{message}"):
        load_translator(model)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blocks": 10**6}, "`blocks` should be less than or equal to 1000"),
        ({"blocks": 1000}, "lacks 4002 of the network's tensors"),
        ({"blocks": 0}, "lacks 6 of the network's tensors, such as 'layers.10"),
        ({"width": 10**9}, "`width` should be less than or equal to 4096"),
        ({"width": 4096}, r"has the shape \[2, 3, 7, 7\] of 'layers.1.weight', but .* \[4096, 3,"),
        ({"levels": 50}, "`levels` should be less than or equal to 12"),
        ({"norm": "batch"}, "lacks .* of the network's tensors"),
    ],
)
def test_an_architecture_that_does_not_fit_the_weights_is_refused_before_it_is_built(
    changes: Header, message: str, model: Path
) -> None:
    forge(model, lambda header: header["generator"].update(changes))
    for read in (load_translator, read_networks):
        with pytest.raises(UserError, match=f"{model.name} is not a valid model file: .*{message}"):
            read(model)


@pytest.mark.parametrize("name", [7, {}, None, "evil\x1b"])
def test_an_unknown_architecture_is_refused(name: object, model: Path) -> None:
    forge(model, lambda header: header["generator"].update(name=name))
    with pytest.raises(UserError, match=r"uses the network .*, which is not part of Transmute"):
        load_translator(model)


@pytest.mark.parametrize("value", [None, [], 3, "resnet"])
def test_a_header_without_an_architecture_is_refused(value: object, model: Path) -> None:
    forge(model, lambda header: header.update(generator=value))
    if value == "resnet":  # the name alone means its default settings
        with pytest.raises(UserError, match="the network"):
            load_translator(model)
    else:
        with pytest.raises(UserError, match="is not a valid model file"):
            load_translator(model)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weight: weight.bool(), "has the type bool of 'layers.1.weight', but .* float32"),
        (lambda weight: weight.long(), "has the type int64"),
        (lambda weight: weight.to(torch.float8_e4m3fn), "has the type float8_e4m3fn"),
        (lambda weight: weight.double(), "has the type float64"),
        (lambda weight: weight * torch.nan, "values in 'layers.1.weight' that are not finite"),
        (lambda weight: weight[:1], "has the shape"),
    ],
)
def test_weights_of_another_type_or_that_are_not_finite_are_refused(
    change: Callable[[torch.Tensor], torch.Tensor], message: str, model: Path
) -> None:
    name = "layers.1.weight"
    forge(model, tensors=lambda weights: weights.update({name: change(weights[name])}))
    with pytest.raises(UserError, match=message):
        load_translator(model)


def test_surplus_and_missing_weights_are_counted(model: Path, tmp_path: Path) -> None:
    forge(model, tensors=lambda weights: weights.update({"evil\x1b[2J": torch.zeros(1)}))
    with pytest.raises(
        UserError, match=r"has 1 tensors that the network lacks, such as 'evil\\x1b"
    ):
        load_translator(model)
    other = save_model(tmp_path / "other.safetensors")
    forge(other, tensors=lambda weights: weights.pop("layers.1.weight"))
    with pytest.raises(UserError, match=r"lacks 1 of the network's tensors, such as 'layers\.1"):
        load_translator(other)


def test_reading_a_model_leaves_the_random_state_as_it_is(model: Path) -> None:
    before = torch.random.get_rng_state()
    read_networks(model)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("part", ["../../etc/x", "", "a\x1b", 3])
def test_the_name_of_a_part_cannot_be_a_path(part: object, tmp_path: Path) -> None:
    config = PatchGANConfig(width=2, layers=1)
    card = PartCard(transmute="0.2.0", part="score_b", network=config, in_channels=3)
    save_network(tmp_path / "x.safetensors", card, card.build())
    forge(tmp_path / "x.safetensors", lambda header: header.update(part=part))
    with pytest.raises(UserError, match=r"x\.safetensors is not a valid model file: `part`"):
        read_networks(tmp_path / "x.safetensors")
