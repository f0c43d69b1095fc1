from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from transmute.config.data import PreprocessConfig, SourceConfig
from transmute.data.layout import DataSet, recognize
from transmute.data.preprocess import Geometry
from transmute.data.scan import decode_all, require_usable
from transmute.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two domains of three images. In the first, one is truncated and one is text."""
    for domain in "AB":
        for index in range(3):
            path = tmp_path / f"train{domain}" / f"{index}.png"
            path.parent.mkdir(exist_ok=True)
            Image.effect_noise((32, 32), 50).save(path)
    whole = (tmp_path / "trainA/0.png").read_bytes()
    (tmp_path / "trainA/0.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "trainA/1.png").write_text("not an image", encoding="utf-8")
    return tmp_path


def check(
    folder: Path, *, skip_bad: bool, paired: bool = False, mode: Any = "none", size: str = "16x16"
) -> tuple[DataSet, list[str]]:
    lines: list[str] = []
    preprocess = PreprocessConfig(mode=mode)
    data = recognize(folder, SourceConfig(), paired=paired)
    geometry = Geometry.of(preprocess, size, 4)
    usable, _ = require_usable(
        data, geometry, preprocess, paired=paired, skip_bad=skip_bad, say=lines.append
    )
    return usable, lines


def test_all_bad_images_are_listed_with_their_reasons(folder: Path) -> None:
    with pytest.raises(UserError) as error:
        check(folder, skip_bad=False)
    lines = str(error.value).splitlines()
    assert lines[0].startswith("2 images cannot be used")
    assert "0.png cannot be read: " in lines[1]
    assert "truncated" in lines[1]
    assert "1.png is not an image that can be read" in lines[2]


def test_skip_bad_skips_bad_images_and_reports_them(folder: Path) -> None:
    data, lines = check(folder, skip_bad=True)
    assert [len(side) for side in data.train] == [1, 3]
    assert lines[0] == "checking all 6 training images before the first step"
    assert lines[-1].startswith("skipped 2 bad images")


def test_a_bad_image_is_left_out_with_its_partner(folder: Path) -> None:
    data, _ = check(folder, skip_bad=True, paired=True)
    assert [[source.path.name for source in side] for side in data.train] == [["2.png"], ["2.png"]]


def test_images_too_small_for_the_crop_are_bad(folder: Path) -> None:
    with pytest.raises(UserError, match="is 32x32 before the crop, smaller than 48x16"):
        check(folder, skip_bad=False, mode="crop", size="48x16")


def test_pairs_of_different_sizes_are_bad(folder: Path) -> None:
    Image.new("RGB", (32, 24)).save(folder / "trainB/2.png")
    with pytest.raises(UserError) as error:
        check(folder, skip_bad=False, paired=True)
    assert "3 images cannot be used" in str(error.value)
    assert "differ in size: 32x32 and 32x24 after preprocessing" in str(error.value)


def test_every_image_that_is_no_pair_is_found_before_the_first_step(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    for index, width in enumerate((32, 16, 32, 23)):
        Image.new("RGB", (width, 16), "red").save(tmp_path / f"train/{index}.png")
    with pytest.raises(UserError) as error:
        check(tmp_path, skip_bad=False, paired=True)
    assert str(error.value).startswith("2 images cannot be used")
    assert "1.png is 16x16, which is not the shape of two images" in str(error.value)
    assert "3.png is 23x16, which is not the shape of two images" in str(error.value)
    data, _ = check(tmp_path, skip_bad=True, paired=True)
    assert [[source.path.name for source in side] for side in data.train] == [
        ["0.png", "2.png"]
    ] * 2


def test_both_halves_of_a_file_are_decoded_at_once(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    Image.new("RGB", (33, 8), "red").save(tmp_path / "train/x.png")
    data = recognize(tmp_path, SourceConfig(), paired=True)
    decoded, errors = decode_all([*data.train[0], *data.train[1]], lambda source, image: image)
    assert not errors
    assert list(decoded) == [*data.train[0], *data.train[1]]
    for source, image in decoded.items():
        assert np.array_equal(image.pixels, source.open().pixels)


def test_a_file_of_several_pages_is_opened_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = [Image.effect_noise((32, 32), 90 + i) for i in range(5)]
    for domain in "AB":
        (tmp_path / f"train{domain}").mkdir()
        frames[0].save(tmp_path / f"train{domain}/x.gif", save_all=True, append_images=frames[1:])
    data = recognize(tmp_path, SourceConfig(), paired=False)
    num_opened, opened = [], Image.open

    def counted(*args: Any, **kwargs: Any) -> Image.Image:
        num_opened.append(args)
        return opened(*args, **kwargs)

    monkeypatch.setattr(Image, "open", counted)
    decoded, errors = decode_all([*data.train[0], *data.train[1]], lambda source, image: image)
    assert not errors
    assert len(num_opened) == 2
    monkeypatch.undo()
    assert len(decoded) == 10
    for source, image in decoded.items():
        assert np.array_equal(image.pixels, source.open().pixels)


def test_a_bad_page_does_not_spoil_the_others_of_its_file(tmp_path: Path) -> None:
    for domain in "AB":
        (tmp_path / f"train{domain}").mkdir()
        pages = [np.zeros((8, 8), np.float32), np.full((8, 8), np.nan, np.float32)]
        tifffile.imwrite(tmp_path / f"train{domain}/x.tif", pages, metadata=None)
    data = recognize(tmp_path, SourceConfig(), paired=False)
    decoded, errors = decode_all(data.train[0], lambda source, image: source.page)
    assert list(decoded.values()) == [0]
    assert [source.page for source in errors] == [1]


def test_a_domain_without_usable_images_is_an_error(folder: Path) -> None:
    (folder / "trainA/2.png").write_bytes(b"")
    with pytest.raises(UserError, match="no image is left in domain a"):
        check(folder, skip_bad=True)


def test_the_sizes_in_training_are_returned(animals: Path, folder: Path) -> None:
    preprocess = PreprocessConfig(mode="none")
    geometry = Geometry.of(preprocess, "16x16", 4)

    def sizes(folder: Path) -> set[tuple[int, int]]:
        data = recognize(folder, SourceConfig(), paired=False)
        _, checked = require_usable(
            data, geometry, preprocess, paired=False, skip_bad=True, say=lambda line: None
        )
        return {one.size for one in checked.values()}

    assert sizes(animals) == {(16, 16)}
    Image.new("RGB", (21, 16)).save(folder / "trainA/0.png")
    assert sizes(folder) == {(20, 16), (32, 32)}
