"""Channels, types and ranges of values, up to whole training runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.conftest import TINY_CYCLEGAN, TINY_CYCLEGAN_METHOD
from tests.training.runs import config
from transmute.config.data import PreprocessConfig, Range, SourceConfig
from transmute.config.training import Recipe
from transmute.data.layout import recognize
from transmute.data.preprocess import Geometry
from transmute.data.scan import require_usable
from transmute.data.stream import Stream
from transmute.data.values import Checked, find_channels, find_values, require_depth, with_values
from transmute.errors import UserError
from transmute.images.encode import save_pages
from transmute.images.raster import Depth, Raster
from transmute.run import Run
from transmute.training.train import train

ONE_STEP = TINY_CYCLEGAN.replace(
    method=TINY_CYCLEGAN_METHOD.replace(identity=0.0),
    steps=1,
    preprocess=PreprocessConfig(mode="none"),
)


def values(sample: np.ndarray, depth: Depth = "float32", name: str = "x.tif") -> Checked:
    return Checked(name, (2, 2), depth, sample.shape[1], sample)


def of(channels: int, depth: Depth = "uint8") -> Checked:
    return values(np.zeros((4, channels)), depth, f"{channels}.tif")


def quiet(line: str) -> None:
    pass


@pytest.mark.parametrize(
    ("images", "channels"),
    [
        ([of(1), of(1)], 3),
        ([of(3)], 3),
        ([of(1), of(3)], 3),
        ([of(1, "uint16"), of(3, "uint16")], 3),
        ([of(1, "uint16")], 1),
        ([of(1, "int16")], 1),
        ([of(6)], 6),
        ([of(2, "float32")], 2),
    ],
)
def test_gray_and_rgb_of_8_bits_have_3_channels_and_others_those_of_the_files(
    images: list[Checked], channels: int
) -> None:
    assert find_channels(images, "a") == channels


def test_other_mixtures_of_channels_are_refused_with_an_example_of_each() -> None:
    with pytest.raises(
        UserError,
        match=r"of domain satellite .* channels: 6 \(2 images\) and 3 \(1 image\), such as 6",
    ):
        find_channels([of(6), of(6), of(3)], "satellite")


def test_the_range_is_the_percentiles_of_each_channel_and_what_is_clipped_is_counted() -> None:
    ramp = np.linspace(0, 1000, 1001)
    images = [values(np.stack([ramp, -3 * ramp], axis=1)[part::7]) for part in range(7)]
    lines: list[str] = []
    found = find_values(images, 2, "ct", None, lines.append)
    # The 0.1 percentile of 0, 1, ..., 1000 is 1.
    assert found.low == pytest.approx((1, -2997))
    assert found.high == pytest.approx((999, -3))
    assert (found.depth, found.origin) == ("float32", "percentiles")
    assert lines == [
        "ct: float32, 2 channels, values 1:999,-2997:-3 (0.1 and 99.9 percentiles of the training "
        "images); 0.2% of the values are outside and are clipped"
    ]


def test_a_range_that_is_set_is_used_and_what_is_clipped_is_counted() -> None:
    lines: list[str] = []
    images = [values(np.arange(-2000.0, 2000.0)[:, None], "int16")]
    found = find_values(images, 1, "ct", "-1000:1000", lines.append)
    assert found == Range(depth="int16", low=(-1000,), high=(1000,), origin="set")
    assert lines == [
        "ct: int16, 1 channel, values -1000:1000 (set); 50.0% of the values are outside and are "
        "clipped"
    ]
    assert find_values([of(3)], 3, "photos", None, lines.append) == Range()
    assert len(lines) == 1


def test_a_domain_of_one_value_has_a_range_that_contains_it() -> None:
    found = find_values([values(np.full((9, 1), 7.0))], 1, "a", None, quiet)
    assert (found.low, found.high) == ((7,), (8,))


def test_the_range_has_the_channels_of_training_where_color_becomes_gray() -> None:
    sample = np.tile(np.array([100, 200, 300], np.float32), (9, 1))
    found = find_values([values(sample)], 1, "a", None, quiet)
    assert found.low == pytest.approx((0.299 * 100 + 0.587 * 200 + 0.114 * 300,))


def test_a_range_of_another_number_of_channels_is_refused() -> None:
    with pytest.raises(UserError, match="0:1,0:2 is for 2 channels, but domain a has 3"):
        find_values([of(3, "uint16")], 3, "a", "0:1,0:2", quiet)


@pytest.mark.parametrize("text", ["1000000:1000001", "-0.123456789:2"])
def test_a_range_that_is_set_keeps_all_its_digits(text: str) -> None:
    assert SourceConfig(range_a=text).range_a == text


@pytest.mark.parametrize("text", ["5:1", "5:5", "1", "0:1:2", "low:high", "0:inf", "0:nan"])
def test_what_is_not_a_range_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="is not a range"):
        SourceConfig(range_a=text)


def test_mixed_types_and_those_of_another_run_are_refused_with_names() -> None:
    deep, shallow = of(3, "uint16"), values(np.zeros((1, 3)), "uint8", "y.png")
    with pytest.raises(
        UserError, match=r"uint16 \(2 images\) and uint8 \(1 image\), such as 3\.tif and y\.png"
    ):
        find_values([deep, deep, shallow], 3, "a", None, quiet)
    with pytest.raises(
        UserError, match=r"y\.png has values of type uint8, but domain a had uint16"
    ):
        require_depth([deep, shallow], "a", Range(depth="uint16"))


def write(
    folder: Path, name: str, pixels: np.ndarray, depth: Depth, alpha: np.ndarray | None = None
) -> None:
    kind = {"uint8": np.uint8, "uint16": np.uint16}.get(depth, np.float32)
    save_pages([Raster(pixels.astype(kind), alpha, depth)], folder / name)


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    """Domain a: int16 of one channel, -1024 to 3071. Domain b: uint16 of six channels."""
    random = np.random.default_rng(0)
    for index in range(3):
        slices = random.integers(-1024, 3072, (16, 16, 1))
        write(tmp_path / "data/trainA", f"{index}.tif", slices, "int16")
        bands = random.integers(0, 4096, (16, 16, 6))
        write(tmp_path / "data/trainB", f"{index}.tif", bands, "uint16")
    return tmp_path


def start(folder: Path, recipe: Recipe = ONE_STEP, **source: str | None) -> dict:
    """Trains, and returns the stored preprocessing."""
    data = SourceConfig.model_validate({"workers": 0, **source})
    train(config(folder / "data", folder / "run", recipe, data=data))
    return Run(folder / "run").recipe()["preprocess"]


def test_channels_and_ranges_are_stored_and_a_resumed_run_keeps_them(ct: Path) -> None:
    stored = start(ct)
    assert (stored["channels_a"], stored["channels_b"]) == (1, 6)
    assert stored["range_a"]["depth"] == "int16"
    assert -1024 <= stored["range_a"]["low"][0] < -1000
    assert stored["range_b"]["depth"] == "uint16"
    assert len(stored["range_b"]["high"]) == 6
    # Another image changes the percentiles, but not those of the run.
    write(ct / "data/trainA", "4.tif", np.full((16, 16, 1), 30000), "int16")
    assert start(ct) == stored


def test_a_range_that_is_set_is_stored_and_another_is_refused_later(ct: Path) -> None:
    stored = start(ct, range_a="-1000:1000")
    assert stored["range_a"] == {
        "depth": "int16",
        "low": [-1000],
        "high": [1000],
        "origin": "set",
    }
    assert start(ct, range_a="-1000:1000") == start(ct) == stored
    with pytest.raises(UserError, match=r"started with another recipe \(preprocess\.range_a"):
        start(ct, range_a="-500:500")
    assert Run(ct / "run").recipe()["preprocess"] == stored


def test_images_of_another_type_added_later_are_refused(ct: Path) -> None:
    start(ct)
    write(ct / "data/trainA", "new.tif", np.zeros((16, 16, 1)), "float32")
    with pytest.raises(
        UserError, match=r"new\.tif has values of type float32, but domain a had int16"
    ):
        start(ct)


@pytest.mark.parametrize(
    ("pixels", "depth", "sentence"),
    [
        (np.zeros((16, 16, 1)), "float32", "of domain a have values of different types: int16"),
        (
            np.zeros((16, 16, 5)),
            "int16",
            r"of domain a have different numbers of channels: 1 \(3 images",
        ),
        (np.full((16, 16, 1), np.nan), "float32", "x.tif contains 256 values that are not finite"),
    ],
)
def test_bad_values_are_one_sentence_before_the_first_step(
    ct: Path, pixels: np.ndarray, depth: Depth, sentence: str
) -> None:
    write(ct / "data/trainA", "x.tif", pixels, depth)
    with pytest.raises(UserError, match=sentence) as error:
        start(ct)
    assert len(str(error.value).splitlines()) <= 2
    assert not (ct / "run").exists()


def test_another_number_of_channels_than_the_setting_is_refused(ct: Path) -> None:
    recipe = ONE_STEP.replace(preprocess=PreprocessConfig(mode="none", channels_b=4))
    with pytest.raises(UserError, match=r"0\.tif has 6 channels, but 4 are expected"):
        start(ct, recipe)


def first_images(folder: Path, preprocess: PreprocessConfig) -> Stream:
    """The training stream of a folder, as training opens it."""
    data = recognize(folder, SourceConfig(), paired=False)
    geometry = Geometry.of(preprocess, "16x16", 4)
    data, checked = require_usable(
        data, geometry, preprocess, paired=False, skip_bad=False, say=quiet
    )
    preprocess = with_values(preprocess, data, checked, (None, None), quiet)
    return Stream(data, geometry, preprocess, 0, paired=False)


def test_alpha_as_a_fourth_channel_and_a_background_count_for_the_range(tmp_path: Path) -> None:
    color = np.full((16, 16, 3), 1000)
    alpha = np.full((16, 16), 32768, np.uint16)
    for domain in "AB":
        write(tmp_path / f"train{domain}", "x.png", color, "uint16", alpha)
    plain = PreprocessConfig(mode="none", flip=False)
    four = first_images(tmp_path, plain.replace(channels_a=4))
    assert four.preprocess.ranges[0].low == (1000, 1000, 1000, 32768)
    assert four[0][0].shape == (4, 16, 16)
    white = first_images(tmp_path, plain.replace(background="white"))
    expected = round((1000 + 65535) / 2)
    assert white.preprocess.ranges[1].low == pytest.approx((expected,) * 3, abs=1)
    assert white[0][1].shape == (3, 16, 16)


def test_clipped_values_of_8_bits_are_counted_over_whole_images(tmp_path: Path, capsys) -> None:
    half = np.repeat([0, 200], 8)[None, :, None].repeat(16, axis=0).repeat(3, axis=2)
    for domain in "AB":
        write(tmp_path / f"data/train{domain}", "x.png", half, "uint8")
    stored = start(tmp_path, range_a="0:100")
    printed = " ".join(capsys.readouterr().out.split())
    assert "a: uint8, 3 channels, values 0:100 (set); 50.0% of the values are outside" in printed
    assert stored["range_a"]["high"] == [100]
