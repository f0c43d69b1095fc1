from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from transmute.data.check import checked
from transmute.data.config import PreprocessConfig, SourceConfig
from transmute.data.layout import DataSet, recognize
from transmute.data.preprocess import Geometry
from transmute.data.stream import readers
from transmute.settings import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two domains of three pictures; in the first, one is cut short and one is text."""
    for domain in "AB":
        for index in range(3):
            path = tmp_path / f"train{domain}" / f"{index}.png"
            path.parent.mkdir(exist_ok=True)
            Image.effect_noise((32, 32), 50).save(path)
    whole = (tmp_path / "trainA/0.png").read_bytes()
    (tmp_path / "trainA/0.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "trainA/1.png").write_text("not a picture")
    return tmp_path


def check(folder: Path, *, skip_bad: bool, paired: bool = False, mode: str = "none", size: str = "16x16") -> tuple[DataSet, list[str]]:
    said: list[str] = []
    preprocess = PreprocessConfig(mode=mode)  # pyright: ignore
    data = recognize(folder, SourceConfig(), paired=paired)
    geometry = Geometry.of(preprocess, size, 4)
    return checked(data, readers(geometry, preprocess), paired=paired, skip_bad=skip_bad, say=said.append)[0], said


def test_all_bad_pictures_are_listed_with_their_reasons(folder: Path) -> None:
    with pytest.raises(UserError) as error:
        check(folder, skip_bad=False)
    lines = str(error.value).splitlines()
    assert lines[0].startswith("2 pictures cannot be used")
    assert "0.png cannot be read: " in lines[1]
    assert "truncated" in lines[1]
    assert "1.png is not a picture that can be read" in lines[2]


def test_skip_bad_leaves_them_out_and_says_so(folder: Path) -> None:
    data, said = check(folder, skip_bad=True)
    assert [len(side) for side in data.train] == [1, 3]
    assert said[-1].startswith("left out 2 bad pictures")


def test_a_bad_picture_takes_its_partner_along(folder: Path) -> None:
    data, _ = check(folder, skip_bad=True, paired=True)
    assert [[source.path.name for source in side] for side in data.train] == [["2.png"], ["2.png"]]


def test_pictures_too_small_for_the_crop_are_bad(folder: Path) -> None:
    with pytest.raises(UserError, match="is 32x32 before the crop, smaller than 48x16"):
        check(folder, skip_bad=False, mode="crop", size="48x16")


def test_nothing_left_is_an_error(folder: Path) -> None:
    (folder / "trainA/2.png").write_bytes(b"")
    with pytest.raises(UserError, match="no picture is left in domain a"):
        check(folder, skip_bad=True)


def test_the_sizes_that_training_will_see_are_found(animals: Path, folder: Path) -> None:
    preprocess = PreprocessConfig(mode="none")
    geometry = Geometry.of(preprocess, "16x16", 4)

    def sizes(of: Path) -> set[tuple[int, int]]:
        data = recognize(of, SourceConfig(), paired=False)
        return checked(data, readers(geometry, preprocess), paired=False, skip_bad=True, say=lambda line: None)[1]

    assert sizes(animals) == {(16, 16)}
    Image.new("RGB", (21, 16)).save(folder / "trainA/0.png")
    assert sizes(folder) == {(20, 16), (32, 32)}
