from __future__ import annotations

import sys
from pathlib import Path

import pytest
from PIL import Image

from transmute.config.data import SourceConfig
from transmute.data.layout import recognize
from transmute.errors import UserError


def image(path: Path, width: int = 8, height: int = 8) -> None:
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
def test_layouts_of_two_domains_are_recognized(
    tmp_path: Path, train_a: str, train_b: str, test_a: str, test_b: str
) -> None:
    for folder, count in ((train_a, 3), (train_b, 2), (test_a, 1), (test_b, 1)):
        for index in range(count):
            image(tmp_path / folder / f"{index}.png")
    data = recognize(tmp_path, SourceConfig(), paired=False)
    assert [len(side) for side in (*data.train, *data.test)] == [3, 2, 1, 1]
    assert {source.path.parent for source in data.train[0]} == {tmp_path / train_a}
    assert "(unpaired): 3 and 2 training images, 1 and 1 held out" in data.description


def test_plain_a_and_b_and_any_two_folders_are_recognized(tmp_path: Path) -> None:
    for folder in ("one/A", "one/B", "two/horses", "two/zebras"):
        image(tmp_path / folder / "x.png")
    assert recognize(tmp_path / "one", SourceConfig(), paired=False).names == ("a", "b")
    (tmp_path / "two/train").mkdir()  # without images
    recognized = recognize(tmp_path / "two", SourceConfig(), paired=False)
    named = recognize(
        None, SourceConfig(a=tmp_path / "two/horses", b=tmp_path / "two/zebras"), paired=False
    )
    assert recognized.names == named.names == ("horses", "zebras")
    assert recognized.train == named.train


@pytest.mark.parametrize("names", [("horse", "zebra"), ("马", "斑马")])
def test_a_data_set_called_horse2zebra_names_its_domains(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    data_set = tmp_path / "2".join(names)
    for folder in ("trainA", "trainB"):
        image(data_set / folder / "x.png")
    assert recognize(data_set, SourceConfig(), paired=False).names == names


def test_images_with_any_extension_and_in_subfolders_are_found_and_hidden_ones_are_not(
    tmp_path: Path,
) -> None:
    names = [
        "a.jpg",
        "b.JPEG",
        "c.png",
        "d.webp",
        "e.bmp",
        "f.tif",
        "g.TIFF",
        "h.ppm",
        "i.gif",
        "deep/er/j.Png",
    ]
    for name in [*names, ".hidden.png", ".cache/k.png"]:
        image(tmp_path / "trainA" / name)
    (tmp_path / "trainA" / "notes.txt").write_text("not an image", encoding="utf-8")
    image(tmp_path / "trainB" / "x.png")
    data = recognize(tmp_path, SourceConfig(), paired=False)
    assert [
        source.path.relative_to(tmp_path / "trainA").as_posix() for source in data.train[0]
    ] == sorted(names)


def test_side_by_side_images_are_two_halves_of_one_file(tmp_path: Path) -> None:
    for name in ("train/1.png", "train/2.png", "val/3.png"):
        image(tmp_path / name, 16, 8)
    data = recognize(tmp_path, SourceConfig(), paired=True)
    assert [(source.path.name, source.half) for source in data.train[0]] == [
        ("1.png", "left"),
        ("2.png", "left"),
    ]
    assert [(source.path.name, source.half) for source in data.test[1]] == [("3.png", "right")]


def test_side_by_side_images_of_paired_data_may_be_in_the_folder_itself(tmp_path: Path) -> None:
    image(tmp_path / "1.png", 16, 8)
    data = recognize(tmp_path, SourceConfig(), paired=True)
    assert [(side[0].path, side[0].half) for side in data.train] == [
        (tmp_path / "1.png", "left"),
        (tmp_path / "1.png", "right"),
    ]
    assert data.folders == (tmp_path, tmp_path)
    with pytest.raises(UserError, match="must contain exactly 2 folders with images"):
        recognize(tmp_path, SourceConfig(), paired=False)
    image(tmp_path / "single" / "2.png", 16, 8)
    with pytest.raises(UserError, match="but contains single"):
        recognize(tmp_path, SourceConfig(), paired=True)


def test_domain_folders_may_be_links(tmp_path: Path) -> None:
    for name in ("elsewhere/horses/1.png", "elsewhere/zebras/2.png"):
        image(tmp_path / name)
    (tmp_path / "data").mkdir()
    for name in ("horses", "zebras"):
        (tmp_path / "data" / name).symlink_to(tmp_path / "elsewhere" / name)
    data = recognize(tmp_path / "data", SourceConfig(), paired=False)
    assert data.names == ("horses", "zebras")
    assert [len(side) for side in data.train] == [1, 1]


def test_pairs_in_two_folders_are_matched_by_name_without_extension(tmp_path: Path) -> None:
    for name in ("trainA/1.png", "trainA/sub/2.png", "trainB/sub/2.jpg", "trainB/1.bmp"):
        image(tmp_path / name)
    data = recognize(tmp_path, SourceConfig(), paired=True)
    assert [(a.path.stem, b.path.stem) for a, b in zip(*data.train, strict=True)] == [
        ("1", "1"),
        ("2", "2"),
    ]
    image(tmp_path / "trainA/3.png")
    with pytest.raises(UserError, match=r"1 image without a partner in the other folder \(3\)"):
        recognize(tmp_path, SourceConfig(), paired=True)
    assert len(recognize(tmp_path, SourceConfig(skip_bad=True), paired=True).train[0]) == 2


def test_pairs_match_however_an_accent_is_written(tmp_path: Path) -> None:
    image(tmp_path / "trainA" / "caf\u00e9.png")
    image(tmp_path / "trainB" / "cafe\u0301.png")
    data = recognize(tmp_path, SourceConfig(), paired=True)
    assert [len(side) for side in data.train] == [1, 1]


def test_files_that_are_not_images_are_known_by_folder(tmp_path: Path) -> None:
    for name in ("trainA/1.png", "trainB/1.png"):
        image(tmp_path / name)
    others = [tmp_path / name for name in ("trainA/1.heic", "testA/2.heic", "testB/3.heic")]
    for path in others:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    data = recognize(tmp_path, SourceConfig(), paired=False)
    assert [file for files in data.others.values() for file in files] == others
    assert not data.test[0]
    custom = tmp_path / "reader.py"
    custom.write_text("def read(path): pass", encoding="utf-8")
    data = recognize(tmp_path, SourceConfig(reader=f"{custom}:read"), paired=False)
    assert not data.others


def test_a_held_out_folder_that_cannot_be_entered_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("trainA/1.png", "trainB/1.png", "testA/locked/1.png", "testB/1.png"):
        image(tmp_path / name)
    list_folder = Path.iterdir

    def listed(path: Path):
        if path.name == "locked":
            raise PermissionError(13, "Permission denied")
        return list_folder(path)

    monkeypatch.setattr(Path, "iterdir", listed)
    with pytest.raises(UserError, match=r"locked cannot be entered"):
        recognize(tmp_path, SourceConfig(), paired=False)


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes only there")
def test_names_that_are_not_utf_8_have_a_fingerprint_and_printable_domains(tmp_path: Path) -> None:
    odd = b"f\xfcr".decode("utf-8", "surrogateescape")
    image(tmp_path / odd / "1.png")
    image(tmp_path / "zebra" / f"{odd}.png")
    data = recognize(tmp_path, SourceConfig(), paired=False)
    assert data.names == (r"f\xfcr", "zebra")
    before = data.fingerprint()
    (tmp_path / odd / "2.png").symlink_to("nowhere.png")
    assert recognize(tmp_path, SourceConfig(), paired=False).fingerprint() != before


def test_hidden_folders_are_not_domains(tmp_path: Path) -> None:
    for name in ("horses/1.png", "zebras/1.png", ".thumbnails/1.png"):
        image(tmp_path / name)
    assert recognize(tmp_path, SourceConfig(), paired=False).names == ("horses", "zebras")


def test_two_folders_inside_train_are_the_domains(tmp_path: Path) -> None:
    for name in (
        "train/horse/1.png",
        "train/horse/2.png",
        "train/zebra/1.png",
        "test/horse/3.png",
        "test/zebra/4.png",
    ):
        image(tmp_path / name)
    data = recognize(tmp_path, SourceConfig(), paired=False)
    assert data.names == ("horse", "zebra")
    assert [len(side) for side in (*data.train, *data.test)] == [2, 1, 1, 1]
    assert data.train[0][0].half is None


@pytest.mark.parametrize("paired", [True, False])
def test_an_image_narrower_than_a_pair_is_not_cut_in_two_unless_said_otherwise(
    tmp_path: Path, paired: bool
) -> None:
    image(tmp_path / "train" / "1.png", 8, 8)
    with pytest.raises(UserError, match=r"1\.png is 8x8, .* set `data\.side_by_side`\. Expected"):
        recognize(tmp_path, SourceConfig(), paired=paired)
    source = recognize(tmp_path, SourceConfig(side_by_side=True), paired=paired).train[0][0]
    assert source.open().size == (4, 8)
    image(tmp_path / "train" / "1.png", 12, 8)
    assert recognize(tmp_path, SourceConfig(), paired=paired).train[0][0].open().size == (6, 8)


def test_images_on_top_of_each_other_get_their_own_hint(tmp_path: Path) -> None:
    for height, hint in ((12, True), (11, False)):
        image(tmp_path / "train" / "1.png", 8, height)
        with pytest.raises(UserError, match=f"1.png is 8x{height}") as error:
            recognize(tmp_path, SourceConfig(), paired=True)
        assert ("on top of each other" in str(error.value)) == hint


def test_max_images_uses_the_first(tmp_path: Path) -> None:
    for index in range(4):
        image(tmp_path / "trainA" / f"{index}.png")
        image(tmp_path / "trainB" / f"{index}.png")
    data = recognize(tmp_path, SourceConfig(max_images=2), paired=False)
    assert [source.path.name for source in data.train[0]] == ["0.png", "1.png"]


def test_a_folder_that_is_not_a_data_set_is_refused_in_one_sentence(tmp_path: Path) -> None:
    empty = SourceConfig()
    with pytest.raises(UserError, match="no images were specified"):
        recognize(None, empty, paired=False)
    with pytest.raises(UserError, match="is not a folder"):
        recognize(tmp_path / "nowhere", empty, paired=False)
    with pytest.raises(
        UserError,
        match=r"must contain exactly 2 folders with images, but contains none\. Expected: ",
    ):
        recognize(tmp_path, empty, paired=False)
    image(tmp_path / "trainA" / "x.png")
    with pytest.raises(UserError, match="has trainA but no trainB"):
        recognize(tmp_path, empty, paired=False)
    (tmp_path / "trainB").mkdir()
    with pytest.raises(UserError, match="trainB contains no images"):
        recognize(tmp_path, empty, paired=False)
    with pytest.raises(UserError, match="must be set together"):
        recognize(None, SourceConfig(a=tmp_path / "trainA"), paired=False)
    with pytest.raises(UserError, match="not both"):
        recognize(
            tmp_path, SourceConfig(a=tmp_path / "trainA", b=tmp_path / "trainA"), paired=False
        )
    image(tmp_path / "single" / "horses" / "x.png")
    with pytest.raises(
        UserError, match=r"must contain exactly 2 folders with images, but contains horses\."
    ):
        recognize(tmp_path / "single", empty, paired=False)


def test_the_fingerprint_depends_on_the_images_and_not_on_their_location(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        image(tmp_path / folder / "trainA" / "x.png")
        image(tmp_path / folder / "trainB" / "y.png")
    first, second = (
        recognize(tmp_path / folder, SourceConfig(), paired=False).fingerprint()
        for folder in ("one", "two")
    )
    assert first == second
    image(tmp_path / "two" / "trainB" / "z.png")
    assert recognize(tmp_path / "two", SourceConfig(), paired=False).fingerprint() != first


def test_one_folder_can_be_both_domains(tmp_path: Path) -> None:
    for name in ("train/a.png", "train/deep/b.png", "test/c.png"):
        image(tmp_path / name)
    data = recognize(tmp_path, SourceConfig(), paired=True, one_domain=True)
    assert [source.path.name for source in data.train[0]] == ["a.png", "b.png"]
    assert data.train[0] == data.train[1]
    assert [source.path.name for source in data.test[1]] == ["c.png"]
    assert (
        len(
            recognize(
                tmp_path / "train", SourceConfig(max_images=1), paired=True, one_domain=True
            ).train[0]
        )
        == 1
    )
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="contains no images"):
        recognize(tmp_path / "empty", SourceConfig(), paired=True, one_domain=True)


def stack(path: Path, num_pages: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    first, *others = (Image.new("RGB", (8, 8), (60 * page, 0, 0)) for page in range(num_pages))
    first.save(path, save_all=True, append_images=others)


def test_each_page_is_an_image_or_only_the_first_and_both_are_said(tmp_path: Path) -> None:
    stack(tmp_path / "trainA" / "x.tif", 3)
    stack(tmp_path / "trainB" / "y.gif", 2)
    stack(tmp_path / "trainB" / "z.png", 2)
    image(tmp_path / "trainA" / "one.jpg")
    data = recognize(tmp_path, SourceConfig(), paired=False)
    assert [(one.path.name, one.page) for one in data.train[0]] == [
        ("one.jpg", 0),
        ("x.tif", 0),
        ("x.tif", 1),
        ("x.tif", 2),
    ]
    assert [one.open().pixels[0, 0, 0] for one in data.train[0][1:]] == [0, 60, 120]
    assert data.description.endswith(
        "4 and 4 training images, 0 and 0 held out; "
        "3 files have several pages, each of which is an image"
    )
    first = recognize(tmp_path, SourceConfig(pages="first"), paired=False)
    assert [len(side) for side in first.train] == [2, 2]
    assert first.description.endswith("0 held out; only the first page of 3 files is used")


def test_partners_with_different_numbers_of_pages_are_an_error_that_names_both(
    tmp_path: Path,
) -> None:
    stack(tmp_path / "trainA" / "x.tif", 3)
    stack(tmp_path / "trainB" / "x.tif", 2)
    image(tmp_path / "trainA" / "y.png")
    image(tmp_path / "trainB" / "y.png")
    with pytest.raises(UserError, match=r"trainA/x\.tif has 3 pages .* \S+trainB/x\.tif has 2\."):
        recognize(tmp_path, SourceConfig(), paired=True)
    skipped = recognize(tmp_path, SourceConfig(skip_bad=True), paired=True)
    assert [len(side) for side in skipped.train] == [1, 1]
    assert skipped.description.endswith("0 held out, 2 without a partner skipped")
    assert len(recognize(tmp_path, SourceConfig(pages="first"), paired=True).train[0]) == 2
    stack(tmp_path / "trainB" / "x.tif", 3)
    equal = recognize(tmp_path, SourceConfig(), paired=True)
    assert [(a.page, b.page) for a, b in zip(*equal.train, strict=True)] == [
        (0, 0),
        (1, 1),
        (2, 2),
        (0, 0),
    ]


def test_domains_can_be_swapped(tmp_path: Path) -> None:
    for name in ("trainA/a.png", "trainB/b.png", "testA/c.png", "testB/d.png"):
        image(tmp_path / name)
    data = recognize(tmp_path, SourceConfig(swap=True), paired=False)
    assert [side[0].path.name for side in (*data.train, *data.test)] == [
        "b.png",
        "a.png",
        "d.png",
        "c.png",
    ]
    names = ["trainB", "trainA", "testB", "testA"]
    assert list(data.folders) == [tmp_path / name for name in names]
