from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from tests.translation.models import load_translator, random_image, save_model
from transmute import Translator
from transmute.config.data import PreprocessConfig, Range
from transmute.config.networks import ResNetConfig, UNetConfig
from transmute.errors import UserError
from transmute.images.ranges import to_pil
from transmute.translation.translator import reflection_indices


def same(image: Image.Image, other: Image.Image) -> bool:
    return np.array_equal(np.asarray(image), np.asarray(other))


@given(length=st.integers(1, 300), stride=st.sampled_from([4, 16, 256]))
def test_a_side_is_padded_by_reflection_to_a_multiple_of_the_stride(
    length: int, stride: int
) -> None:
    indices = reflection_indices(length, stride, 2 * stride)
    before = (len(indices) - length) // 2
    assert len(indices) % stride == 0
    assert max(length, 2 * stride) <= len(indices) < max(length, 2 * stride) + stride
    assert indices[before : before + length].tolist() == list(range(length))
    steps = indices.diff().abs()
    assert set(steps.tolist()) == ({1} if length > 1 else {0})


@pytest.mark.parametrize("size", [(1, 1), (3, 50), (16, 16), (37, 21)])
@pytest.mark.parametrize(
    "generator", [ResNetConfig(width=2, blocks=1), UNetConfig(width=2, depth=5, norm="instance")]
)
def test_images_of_any_size_keep_their_size(
    tmp_path: Path, size: tuple[int, int], generator
) -> None:
    translator = load_translator(save_model(tmp_path / "x.safetensors", generator=generator))
    assert translator(random_image(*size)).size == size


@pytest.mark.parametrize("levels", [0, 3, 4])
def test_images_smaller_than_the_layers_need_are_translated(tmp_path: Path, levels: int) -> None:
    generator = ResNetConfig(width=2, blocks=1, levels=levels)
    translator = load_translator(save_model(tmp_path / "x.safetensors", generator=generator))
    assert translator(random_image(50, 5)).size == (50, 5)


def test_an_image_that_fits_is_not_padded(model: Path) -> None:
    translator = load_translator(model)
    images = torch.rand(2, 3, 16, 32) * 2 - 1
    assert torch.equal(translator.translate(images), translator.network(images))
    assert isinstance(translator.network, nn.Module)
    assert not translator.network.training


def test_all_types_of_images_are_translated_alike(model: Path, tmp_path: Path) -> None:
    translator, image = load_translator(str(model)), random_image(20, 12)
    image.save(tmp_path / "x.png")
    expected = translator(image)
    tensor = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1) / 127.5 - 1
    for other in (tmp_path / "x.png", np.asarray(image), tensor, tensor[None]):
        assert same(translator(other), expected)
    assert same(translator(str(tmp_path / "x.png")), expected)
    for images in ([image, tensor], (image, tensor)):
        outputs = translator(images)
        assert isinstance(outputs, list)
        assert [same(output, expected) for output in outputs] == [True, True]
    assert same(to_pil(translator.translate(tensor[None])), expected)


def test_inputs_that_are_not_images_are_refused(model: Path) -> None:
    translator = load_translator(model)
    for array in (
        np.zeros((0, 3), dtype=np.uint8),
        np.zeros(3, dtype=np.uint8),
        np.zeros((2, 3, 4, 4), dtype=np.uint8),
    ):
        with pytest.raises(UserError, match=r"the array should be \(height, width\)"):
            translator(array)
    with pytest.raises(UserError, match=r"values of type float32, but uint8 .*`range=LOW:HIGH`"):
        translator(np.zeros((4, 4, 3)))
    with pytest.raises(UserError, match="has no pixels"):
        translator(Image.new("RGB", (0, 0)))
    for shape in ((1, 4, 4), (2, 3, 4, 4), (4,), (3, 0, 4)):
        with pytest.raises(UserError, match=r"a tensor should be float \(3, height, width\)"):
            translator(torch.zeros(*shape))
    with pytest.raises(UserError, match=r"torch.int64"):
        translator(torch.zeros(3, 4, 4, dtype=torch.long))
    with pytest.raises(UserError, match=r"`half` does not apply to tensors"):
        translator(torch.zeros(3, 4, 4), half="left")


def test_gray_and_color_images_are_translated_to_each_other(tmp_path: Path) -> None:
    to_color = load_translator(save_model(tmp_path / "x.safetensors", in_channels=1))
    assert to_color(random_image(16, 16)).mode == "RGB"
    to_gray = load_translator(save_model(tmp_path / "y.safetensors", out_channels=1))
    assert to_gray(random_image(16, 16)).mode == "L"
    assert np.asarray(to_gray(np.zeros((16, 16, 1), dtype=np.uint8))).shape == (16, 16)


def test_alpha_is_kept(model: Path) -> None:
    image = random_image(20, 12, "RGBA")
    output = load_translator(model)(image)
    assert output.mode == "RGBA"
    assert same(output.getchannel("A"), image.getchannel("A"))
    assert load_translator(model)(image, size="16x24").getchannel("A").size == (16, 24)


def test_an_image_can_be_resized_before_translation(model: Path) -> None:
    translator, image = load_translator(model), random_image(50, 40)
    resized = translator(image, size="16x24")
    assert resized.size == (16, 24)
    assert same(resized, translator(image.resize((16, 24), Image.Resampling.BICUBIC)))
    assert translator(image, size=32).size == (32, 32)


def test_half_of_a_side_by_side_pair_can_be_translated(model: Path, tmp_path: Path) -> None:
    translator, left = load_translator(model), random_image(16, 16)
    right = left.rotate(90)
    pair = Image.new("RGB", (33, 16))
    pair.paste(left, (0, 0))
    pair.paste(right, (17, 0))
    pair.save(tmp_path / "x.png")
    assert same(translator(pair, half="left"), translator(left))
    assert same(translator(tmp_path / "x.png", half="right"), translator(right))


def test_images_in_a_batch_do_not_share_batch_norm_statistics(tmp_path: Path) -> None:
    path = save_model(
        tmp_path / "x.safetensors",
        generator=ResNetConfig(width=2, blocks=1, norm="batch"),
        per_image_statistics=True,
    )
    translator, images = Translator(path, device="cpu"), torch.rand(2, 3, 16, 16)
    separate = [translator.translate(image[None]) for image in images]
    assert torch.equal(translator.translate(images), torch.cat(separate))


def test_images_of_another_number_of_channels_are_refused(tmp_path: Path) -> None:
    translator = Translator(save_model(tmp_path / "four.safetensors", in_channels=4))
    with pytest.raises(UserError, match=r"the image has 3 channels, but 4 are expected"):
        translator(random_image(16, 16))
    assert translator.translate(torch.zeros(1, 4, 16, 16)).shape == (1, 3, 16, 16)


def test_bfloat16_changes_pixels_by_a_few_levels_and_float32_does_not(model: Path) -> None:
    image = random_image(20, 12)
    exact, again, rounded = (
        Translator(model, device="cpu", precision=precision)
        for precision in ("float32", "float32", "bfloat16")
    )
    assert same(exact(image), again(image))
    difference = np.asarray(exact(image)).astype(int) - np.asarray(rounded(image))
    # A layer rounds by up to 0.4 %, and there are about ten before the 255 levels.
    assert 0 < np.abs(difference).max() < 12
    assert rounded.precision_reason


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_missing_gpu_is_an_error(model: Path) -> None:
    with pytest.raises(UserError, match="needs a GPU that torch can use"):
        Translator(model, device="cuda")


def test_images_of_16_bits_are_not_translated_in_bfloat16_unless_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "transmute.translation.translator.select_precision",
        lambda precision, device: ("bfloat16", "fast") if precision == "auto" else (precision, ""),
    )
    deep = np.random.default_rng(0).integers(0, 65536, (16, 16, 3)).astype(np.uint16)
    model = save_model(tmp_path / "x.safetensors")
    exact = load_translator(model).raster(deep).pixels
    auto = Translator(model, device="cpu")
    assert auto.precision == "bfloat16"
    assert np.array_equal(auto.raster(deep).pixels, exact)
    rough = Translator(model, device="cpu", precision="bfloat16").raster(deep).pixels
    assert not np.array_equal(rough, exact)
    bands = PreprocessConfig(range_b=Range(depth="uint16", high=(4000.0,), origin="set"))
    file = save_model(tmp_path / "y.safetensors", preprocess=bands)
    assert Translator(file, device="cpu").precision == "float32"


def test_a_dark_image_of_16_bits_is_noted(model: Path) -> None:
    twelve = np.full((16, 16, 3), 4000, np.uint16)
    (note,) = load_translator(model).raster(twelve).notes
    assert note.startswith("its highest value is 4000 of 65535")
    assert note.endswith("set `range=0:4095`")
    assert load_translator(model).raster(twelve * 16).notes == ()
    given = Range(depth="uint16", high=(4095.0,), origin="set")
    assert load_translator(model).raster(twelve, values=given).notes == ()
