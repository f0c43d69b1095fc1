from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from transmute.data.config import SourceConfig
from transmute.data.layout import recognize
from transmute.settings import UserError


def picture(path: Path, width: int = 8, height: int = 8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), "red").save(path)


@pytest.mark.parametrize(
    ("train_a", "train_b", "test_a", "test_b"),
    [
        ("trainA", "trainB", "testA", "testB"),
        ("train/A", "train/B", "test/A", "test/B"),
        ("train_A", "train_B", "test_A", "test_B"),
        ("TrainA", "trainb", "valA", "valB"),
        ("train/a", "train/b", "val/a", "val/b"),
    ],
)
def test_layouts_of_two_domains_are_recognized(tmp_path: Path, train_a: str, train_b: str, test_a: str, test_b: str) -> None:
    for folder, count in ((train_a, 3), (train_b, 2), (test_a, 1), (test_b, 1)):
        for index in range(count):
            picture(tmp_path / folder / f"{index}.png")
    data = recognize(tmp_path, SourceConfig(), paired=False)
    assert [len(side) for side in (*data.train, *data.test)] == [3, 2, 1, 1]
    assert {source.path.parent for source in data.train[0]} == {tmp_path / train_a}
    assert "3 and 2 pictures to train with" in data.description


def test_plain_a_and_b_and_any_two_folders_are_recognized(tmp_path: Path) -> None:
    for folder in ("one/A", "one/B", "two/horses", "two/zebras"):
        picture(tmp_path / folder / "x.png")
    assert recognize(tmp_path / "one", SourceConfig(), paired=False).names == ("a", "b")
    found = recognize(tmp_path / "two", SourceConfig(), paired=False)
    named = recognize(None, SourceConfig(a=tmp_path / "two/horses", b=tmp_path / "two/zebras"), paired=False)
    assert found.names == named.names == ("horses", "zebras")
    assert found.train == named.train


def test_a_data_set_called_horse2zebra_names_its_domains(tmp_path: Path) -> None:
    for folder in ("trainA", "trainB"):
        picture(tmp_path / "horse2zebra" / folder / "x.png")
    assert recognize(tmp_path / "horse2zebra", SourceConfig(), paired=False).names == ("horse", "zebra")


def test_every_ending_in_any_case_and_nested_folders_count_and_hidden_ones_do_not(tmp_path: Path) -> None:
    names = ["a.jpg", "b.JPEG", "c.png", "d.webp", "e.bmp", "f.tif", "g.TIFF", "h.ppm", "i.gif", "deep/er/j.Png"]
    for name in [*names, ".hidden.png", ".cache/k.png"]:
        picture(tmp_path / "trainA" / name)
    (tmp_path / "trainA" / "notes.txt").write_text("no picture")
    picture(tmp_path / "trainB" / "x.png")
    data = recognize(tmp_path, SourceConfig(), paired=False)
    assert [source.path.relative_to(tmp_path / "trainA").as_posix() for source in data.train[0]] == sorted(names)


def test_side_by_side_pictures_are_two_halves_of_one_file(tmp_path: Path) -> None:
    for name in ("train/1.png", "train/2.png", "val/3.png"):
        picture(tmp_path / name, 16, 8)
    data = recognize(tmp_path, SourceConfig(), paired=True)
    assert [(source.path.name, source.half) for source in data.train[0]] == [("1.png", "left"), ("2.png", "left")]
    assert [(source.path.name, source.half) for source in data.test[1]] == [("3.png", "right")]


def test_pairs_in_two_folders_are_matched_by_name_without_ending(tmp_path: Path) -> None:
    for name in ("trainA/1.png", "trainA/sub/2.png", "trainB/sub/2.jpg", "trainB/1.bmp"):
        picture(tmp_path / name)
    data = recognize(tmp_path, SourceConfig(), paired=True)
    assert [(a.path.stem, b.path.stem) for a, b in zip(*data.train, strict=True)] == [("1", "1"), ("2", "2")]
    picture(tmp_path / "trainA/3.png")
    with pytest.raises(UserError, match=r"1 pictures have no partner in the other folder \(3\)"):
        recognize(tmp_path, SourceConfig(), paired=True)
    assert len(recognize(tmp_path, SourceConfig(skip_bad=True), paired=True).train[0]) == 2


def test_two_folders_inside_train_are_the_domains(tmp_path: Path) -> None:
    for name in ("train/horse/1.png", "train/horse/2.png", "train/zebra/1.png", "test/horse/3.png", "test/zebra/4.png"):
        picture(tmp_path / name)
    data = recognize(tmp_path, SourceConfig(), paired=False)
    assert data.names == ("horse", "zebra")
    assert [len(side) for side in (*data.train, *data.test)] == [2, 1, 1, 1]
    assert data.train[0][0].half is None


def test_single_pictures_in_train_are_not_taken_for_two_side_by_side(tmp_path: Path) -> None:
    picture(tmp_path / "train" / "1.png")
    with pytest.raises(UserError, match=r"pictures of one domain only \(1\.png is 8x8"):
        recognize(tmp_path, SourceConfig(), paired=False)


def test_max_pictures_takes_the_first(tmp_path: Path) -> None:
    for index in range(4):
        picture(tmp_path / "trainA" / f"{index}.png")
        picture(tmp_path / "trainB" / f"{index}.png")
    data = recognize(tmp_path, SourceConfig(max_pictures=2), paired=False)
    assert [source.path.name for source in data.train[0]] == ["0.png", "1.png"]


def test_what_is_no_data_set_is_refused_in_one_sentence(tmp_path: Path) -> None:
    empty = SourceConfig()
    with pytest.raises(UserError, match="no pictures named"):
        recognize(None, empty, paired=False)
    with pytest.raises(UserError, match="is not a folder"):
        recognize(tmp_path / "nowhere", empty, paired=False)
    with pytest.raises(UserError, match="holds no pictures: expected"):
        recognize(tmp_path, empty, paired=False)
    picture(tmp_path / "trainA" / "x.png")
    with pytest.raises(UserError, match="has trainA but no trainB"):
        recognize(tmp_path, empty, paired=False)
    (tmp_path / "trainB").mkdir()
    with pytest.raises(UserError, match="trainB holds no pictures"):
        recognize(tmp_path, empty, paired=False)
    with pytest.raises(UserError, match="go together"):
        recognize(None, SourceConfig(a=tmp_path / "trainA"), paired=False)
    with pytest.raises(UserError, match="not both"):
        recognize(tmp_path, SourceConfig(a=tmp_path / "trainA", b=tmp_path / "trainA"), paired=False)
    picture(tmp_path / "single" / "horses" / "x.png")
    with pytest.raises(UserError, match="only the folder horses"):
        recognize(tmp_path / "single", empty, paired=False)


def test_the_fingerprint_follows_the_pictures_and_not_their_place(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        picture(tmp_path / folder / "trainA" / "x.png")
        picture(tmp_path / folder / "trainB" / "y.png")
    first, second = (recognize(tmp_path / folder, SourceConfig(), paired=False).fingerprint() for folder in ("one", "two"))
    assert first == second
    picture(tmp_path / "two" / "trainB" / "z.png")
    assert recognize(tmp_path / "two", SourceConfig(), paired=False).fingerprint() != first


def test_one_folder_serves_both_domains_where_a_method_wants_it(tmp_path: Path) -> None:
    for name in ("train/a.png", "train/deep/b.png", "test/c.png"):
        picture(tmp_path / name)
    data = recognize(tmp_path, SourceConfig(), paired=True, one_domain=True)
    assert [source.path.name for source in data.train[0]] == ["a.png", "b.png"]
    assert data.train[0] == data.train[1]
    assert [source.path.name for source in data.test[1]] == ["c.png"]
    assert len(recognize(tmp_path / "train", SourceConfig(max_pictures=1), paired=True, one_domain=True).train[0]) == 1
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no pictures"):
        recognize(tmp_path / "empty", SourceConfig(), paired=True, one_domain=True)


def test_domains_can_be_swapped(tmp_path: Path) -> None:
    for name in ("trainA/a.png", "trainB/b.png", "testA/c.png", "testB/d.png"):
        picture(tmp_path / name)
    data = recognize(tmp_path, SourceConfig(swap=True), paired=False)
    assert [side[0].path.name for side in (*data.train, *data.test)] == ["b.png", "a.png", "d.png", "c.png"]
