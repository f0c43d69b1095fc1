from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import TINY_CYCLEGAN
from transmute.config.data import PreprocessConfig, SourceConfig
from transmute.config.training import TrainConfig
from transmute.data.audit import audit
from transmute.data.layout import recognize
from transmute.data.preprocess import Geometry
from transmute.data.stream import Stream
from transmute.errors import UserError
from transmute.images.raster import ImageError
from transmute.training.train import train

READER = """
import numpy as np

def read(path):
    return np.load(path)

def failing(path):
    raise KeyError("no such channel")

def transposed(path):
    return np.zeros((3, 24, 24))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set of NumPy files, with different numbers of channels."""
    random = np.random.default_rng(0)
    for domain, channels in (("A", ()), ("A", (3,)), ("B", (1,)), ("B", (4,))):
        shape = (16, 16, *channels)
        path = tmp_path / "data" / f"train{domain}" / f"{len(shape)}{shape[-1]}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, random.integers(0, 256, shape, dtype=np.uint8))
    (tmp_path / "data" / "trainA" / ".hidden").write_text("not an image", encoding="utf-8")
    (tmp_path / "reader.py").write_text(READER, encoding="utf-8")
    return tmp_path


def source(folder: Path, name: str = "read", workers: int = 0) -> SourceConfig:
    return SourceConfig(reader=f"{folder / 'reader.py'}:{name}", workers=workers)


def stream(folder: Path, config: SourceConfig) -> Stream:
    preprocess = PreprocessConfig(mode="none", flip=False, sequential=True)
    data = recognize(folder / "data", config, paired=False)
    return Stream(data, Geometry.of(preprocess, "16x16", 4), preprocess, seed=0, paired=False)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_data_set_of_other_files_is_trained_on_with_a_reader(folder: Path, workers: int) -> None:
    config = TrainConfig(
        folder=folder / "data",
        run=folder / "run",
        recipe=TINY_CYCLEGAN.replace(steps=2, preprocess=PreprocessConfig(mode="none")),
        data=source(folder, workers=workers),
        device="cpu",
    )
    assert train(config) is None
    session = json.loads((folder / "run" / "environment.json").read_text(encoding="utf-8"))[
        "sessions"
    ][0]
    assert "2 and 2 training images" in session["data"]


def test_data_check_reads_with_a_reader_and_uses_every_file(folder: Path) -> None:
    for path in list((folder / "data").rglob("*.npy")):
        path.rename(path.with_suffix(".array"))
    result = audit(folder / "data", source(folder))
    assert [len(subset.records) for subset in result.subsets] == [2, 2]
    assert not any("not used" in finding.message for finding in result.findings)
    (limited,) = (
        finding
        for finding in audit(folder / "data", source(folder, "failing")).findings
        if finding.level == "problem"
    )
    assert "4 images cannot be used" in limited.message


def test_arrays_become_images_of_the_domain_s_channels(folder: Path) -> None:
    a, b = stream(folder, source(folder))[0]
    gray = torch.from_numpy(np.load(folder / "data/trainA/216.npy"))
    assert torch.equal(a, gray.expand(3, 16, 16))
    assert b.shape == (3, 16, 16)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("failing", r"\S+reader.py:failing failed: KeyError: 'no such channel'"),
        (
            "transposed",
            r"the result of \S+reader.py:transposed should be \(height, width, channels\), but "
            r"\(3, 24, 24\) looks like .* Move the first axis to the end",
        ),
    ],
)
def test_a_failing_reader_is_an_error_of_one_sentence_that_names_the_file(
    folder: Path, name: str, sentence: str, workers: int
) -> None:
    batches = stream(folder, source(folder, name)).batches(
        batch=1,
        start_step=0,
        last_step=1,
        rank=0,
        processes=1,
        timeout=60,
        workers=workers,
        pin=False,
    )
    with pytest.raises(ImageError, match=rf"^\S+/trainA/216\.npy: {sentence}") as error:
        next(batches)
    assert "\n" not in str(error.value)


def test_side_by_side_images_of_other_files_are_recognized(folder: Path) -> None:
    wide, square = folder / "wide/train", folder / "square/train"
    for path, width in ((wide, 32), (square, 16)):
        path.mkdir(parents=True)
        np.save(path / "x.npy", np.zeros((16, width), dtype=np.uint8))
    data = recognize(wide.parent, source(folder), paired=False)
    assert [side[0].half for side in data.train] == ["left", "right"]
    with pytest.raises(UserError, match=r"x\.npy is 16x16, which is not the shape"):
        recognize(square.parent, source(folder), paired=False)


def test_a_reader_that_cannot_be_loaded_is_an_error_before_any_image(folder: Path) -> None:
    with pytest.raises(UserError, match="does not define missing"):
        recognize(folder / "data", source(folder, "missing"), paired=False)
    (folder / "empty").mkdir()
    config = source(folder).replace(a=folder / "empty", b=folder / "empty")
    with pytest.raises(UserError, match="contains no files"):
        recognize(None, config, paired=False)
