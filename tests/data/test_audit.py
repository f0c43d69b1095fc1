from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import SHARED
from tests.data.test_duplicates import scene
from transmute.config.data import SourceConfig
from transmute.data.audit import Finding, audit
from transmute.errors import UserError
from transmute.images.encode import save_pages
from transmute.images.raster import Raster


def put(path: Path, image: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two domains of three training images and one held-out image, without other problems."""
    for seed, name in enumerate(
        (
            "trainA/0",
            "trainA/1",
            "trainA/2",
            "trainB/0",
            "trainB/1",
            "trainB/2",
            "testA/9",
            "testB/9",
        )
    ):
        put(tmp_path / f"{name}.png", scene(seed, 256))
    return tmp_path


def findings(folder: Path, *, paired: bool = False, level: str | None = None) -> list[Finding]:
    """All findings, except that there are few images."""
    return [
        finding
        for finding in audit(folder, paired=paired).findings
        if " has only " not in finding.message and level in (None, finding.level)
    ]


def test_the_only_finding_in_a_good_data_set_is_its_size(folder: Path) -> None:
    result = audit(folder)
    assert [finding.message for finding in result.findings] == [
        "trainA has only 3 images",
        "trainB has only 3 images",
    ]
    counts = {
        "images": 1,
        "unreadable": 0,
        "sizes": {"256x256": 1},
        "modes": {"RGB": 1},
        "depths": {"uint8": 1},
        "channels": {"3": 1},
        "values": [0, 255],
        "several_pages": 0,
    }
    assert [subset.summary() for subset in result.subsets][2:] == [
        {"name": "testA", **counts},
        {"name": "testB", **counts},
    ]


def test_truncated_images_are_problems_even_if_held_out(folder: Path) -> None:
    for name in ("trainA/1.png", "testB/9.png"):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: len(whole) // 2])
    [finding] = findings(folder)
    assert (finding.level, len(finding.files)) == ("problem", 2)
    assert finding.message == "2 images cannot be used"
    assert "trainA/1.png cannot be read" in finding.files[0]
    subsets = audit(folder).subsets
    assert [subset.summary()["unreadable"] for subset in subsets] == [1, 0, 0, 1]


def test_a_held_out_image_that_is_also_trained_on_is_a_problem(folder: Path) -> None:
    scene(1, 256).save(folder / "testA" / "other.jpg")
    [finding] = findings(folder)
    assert (finding.level, finding.files) == (
        "problem",
        ["testA/other.jpg and trainA/1.png (nearly)"],
    )
    assert finding.message == "1 of 2 held-out images of testA are duplicates of images in trainA"


def test_copies_within_a_folder_and_across_domains_are_remarks(folder: Path) -> None:
    put(folder / "trainA" / "again.png", scene(0, 256))
    put(folder / "testB" / "horse.png", scene(2, 256))
    remarks = findings(folder)
    assert [finding.files for finding in remarks] == [
        ["trainA/again.png and trainA/0.png (same)"],
        ["trainA/2.png and testB/horse.png (same)"],
    ]
    assert {finding.level for finding in remarks} == {"remark"}


def test_partners_may_look_alike(folder: Path) -> None:
    for path in sorted((folder / "trainA").iterdir()):
        with Image.open(path) as image:
            put(folder / "trainB" / path.name, image)
    assert findings(folder, paired=True) == []
    assert len(findings(folder)) == 1


def test_unusual_colors_are_counted_and_named(folder: Path) -> None:
    put(folder / "trainB" / "l.png", scene(20, 256).convert("L"))
    put(folder / "trainB" / "gray.png", scene(21, 256).convert("L").convert("RGB"))
    put(folder / "trainB" / "cmyk.jpg", scene(22, 256).convert("CMYK"))
    glass = scene(23, 256)
    glass.putalpha(100)
    put(folder / "trainB" / "glass.png", glass)
    messages = [finding.message for finding in findings(folder)]
    assert messages == [
        "1 of 7 images of trainB are stored as grayscale (L)",
        "1 of 7 images of trainB look gray, although they are stored in color (RGB)",
        "1 of 7 images of trainB are partly transparent (RGBA)",
        "1 of 7 images of trainB are stored in CMYK, for printing (CMYK)",
    ]
    assert [finding.files for finding in findings(folder)[:2]] == [
        ["trainB/l.png"],
        ["trainB/gray.png"],
    ]


def test_a_domain_of_gray_images_only_is_not_a_finding(folder: Path) -> None:
    for path in [*(folder / "trainB").iterdir(), folder / "testB" / "9.png"]:
        with Image.open(path) as image:
            image.convert("L").save(path)
    assert findings(folder) == []


def test_mixed_types_and_channels_in_a_domain_are_problems_and_the_rarer_ones_are_listed(
    folder: Path,
) -> None:
    deep = Raster(np.zeros((256, 256, 3), np.uint16), depth="uint16")
    save_pages([deep], folder / "trainA" / "deep.tif")
    save_pages([Raster(np.full((256, 256, 6), 7, np.uint8))], folder / "testB" / "six.tif")
    types, channels = findings(folder, level="problem")
    assert (types.message, types.files) == (
        "1 of 5 images of trainA have uint16 values, unlike the others (uint8)",
        ["trainA/deep.tif (uint16)"],
    )
    assert (channels.message, channels.files) == (
        "1 of 5 images of trainB have 6 channels, unlike the others (3)",
        ["testB/six.tif (6)"],
    )
    summary = audit(folder).subsets[3].summary()
    assert summary["channels"] == {"3": 1, "6": 1}
    assert summary["depths"] == {"uint8": 2}
    assert "  uint8, 3 (1) and 6 (1) channels, 0 to 255" in str(audit(folder).subsets[3])


def test_depth_channels_and_the_range_of_values_are_in_the_table(folder: Path) -> None:
    for path in (folder / "trainA").iterdir():
        path.unlink()
    for index in range(2):
        values = np.full((256, 256, 6), 100 * index - 0.5, np.float32)
        save_pages([Raster(values, depth="float32")], folder / "trainA" / f"{index}.tif")
    subset = audit(folder).subsets[0]
    assert str(subset).endswith("  float32, 6 channels, -0.5 to 99.5")
    assert subset.summary()["values"] == [-0.5, 99.5]


def test_files_with_several_pages_are_remarks_and_each_page_is_an_image(folder: Path) -> None:
    first, *others = (scene(seed, 256) for seed in (30, 31, 32))
    first.save(folder / "trainB" / "stack.tif", save_all=True, append_images=others)
    [finding] = findings(folder)
    assert (finding.message, finding.files) == (
        "1 files of trainB have several pages or frames",
        ["trainB/stack.tif"],
    )
    assert audit(folder).description.endswith(
        "1 files have several pages, each of which is an image"
    )
    assert str(audit(folder).subsets[1]).endswith("0 to 255  1 files with several pages")
    first.save(folder / "trainA" / "stack.tif", save_all=True, append_images=others[:1])
    for index in range(3):
        (folder / "trainA" / f"{index}.png").replace(folder / "trainA" / f"b{index}.png")
        (folder / "trainB" / f"{index}.png").replace(folder / "trainB" / f"b{index}.png")
    unequal = findings(folder, paired=True, level="problem")
    assert [one.files for one in unequal] == [["trainA/stack.tif (2) and trainB/stack.tif (3)"]]


def test_a_color_profile_that_is_not_applied_is_a_remark(folder: Path) -> None:
    scene(30, 256).save(folder / "trainA" / "odd.png", icc_profile=b"damaged")
    [finding] = findings(folder)
    assert finding.message == (
        "1 of 4 images of trainA: its color profile is damaged and is not applied"
    )
    assert finding.files == ["trainA/odd.png"]


def test_small_images_and_mixed_shapes_are_remarks(folder: Path) -> None:
    put(folder / "trainA" / "wide.png", scene(20, 256).resize((512, 128)))
    small, shapes = findings(folder)
    assert small.files == ["trainA/wide.png (512x128)"]
    assert "smaller than 256" in small.message
    assert shapes.message == (
        "images of trainA have different proportions: width by height is 1.00 to 4.00"
    )
    assert "2 sizes, 256x256 to 512x128, mostly 256x256 (3)" in str(audit(folder).subsets[0])


def test_unbalanced_domains_stray_files_and_nothing_held_out_are_remarks(tmp_path: Path) -> None:
    put(tmp_path / "trainA" / "0.png", scene(0, 256))
    for index in range(11):
        put(tmp_path / "trainB" / f"{index}.png", scene(100 + index, 256))
    for name in ("trainA/notes.txt", "trainA/.hidden", "trainB/photo.heic"):
        (tmp_path / name).write_text("not an image", encoding="utf-8")
    stray, unbalanced, nothing = findings(tmp_path)
    assert stray.files == ["trainA/notes.txt", "trainB/photo.heic"]
    assert unbalanced.message == "trainB has 11 times as many images as trainA"
    assert nothing.message == "no images are held out"


def test_images_without_a_partner_and_unequal_partners_are_problems_of_paired_sets_only(
    folder: Path,
) -> None:
    put(folder / "trainA" / "alone.png", scene(20, 256))
    put(folder / "trainB" / "1.png", scene(4, 256).resize((300, 300)))
    alone, unequal = findings(folder, paired=True, level="problem")
    assert (alone.message, alone.files) == (
        "1 images of trainA and trainB have no partner",
        ["trainA/alone.png"],
    )
    assert unequal.files == ["trainA/1.png (256x256) and trainB/1.png (300x300)"]
    assert findings(folder, level="problem") == []


def test_the_halves_of_side_by_side_images_are_checked_separately(tmp_path: Path) -> None:
    for name, seed in (("train/0", 0), ("train/1", 2), ("test/0", 4)):
        both = Image.new("RGB", (512, 256))
        both.paste(scene(seed, 256), (0, 0))
        both.paste(scene(3 if seed == 4 else seed + 1, 256), (256, 0))
        put(tmp_path / f"{name}.png", both)
    [finding] = findings(tmp_path)
    assert (
        finding.message
        == "1 of 1 held-out images of test (right) are duplicates of images in train (right)"
    )
    assert [subset.name for subset in audit(tmp_path).subsets] == [
        "train (left)",
        "train (right)",
        "test (left)",
        "test (right)",
    ]


def test_every_image_that_is_no_pair_is_a_problem_unless_any_shape_is_accepted(
    tmp_path: Path,
) -> None:
    for index, width in enumerate((256, 512, 200, 500)):
        put(tmp_path / f"train/{index}.png", scene(index, 256).resize((width, 256)))
    [problem] = findings(tmp_path, paired=True, level="problem")
    assert problem.message == "2 images cannot be used"
    assert "train/0.png is 256x256, which is not the shape of two images" in problem.files[0]
    assert "train/2.png is 200x256, which is not the shape of two images" in problem.files[1]
    accepted = audit(tmp_path, SourceConfig(side_by_side=True), paired=True)
    assert all(finding.level == "remark" for finding in accepted.findings)


def test_two_images_of_the_same_name_cannot_be_paired(folder: Path) -> None:
    put(folder / "trainA" / "1.jpg", scene(20, 256))
    with pytest.raises(UserError, match="have the same name"):
        audit(folder, paired=True)


@pytest.mark.extended
def test_horse2zebra_has_seven_images_stored_as_gray_and_three_held_out_ones_in_training() -> None:
    folder = SHARED / "data" / "horse2zebra"
    if not folder.is_dir():
        pytest.skip("horse2zebra is not available")
    found = audit(folder).findings
    assert {
        "7 of 1334 images of trainB are stored as grayscale (L)",
        "58 of 1334 images of trainB look gray, although they are stored in color (RGB)",
    } <= {finding.message for finding in found}
    assert [finding.files for finding in found if "stored as grayscale" in finding.message] == [
        [f"trainB/n02391049_{number}.jpg" for number in (226, 2341, 2361, 2757, 7503, 8008, 9726)]
    ]
    assert [file for finding in found if finding.level == "problem" for file in finding.files] == [
        "testA/n02381460_1160.jpg and trainA/n02381460_3811.jpg (nearly)",
        "testA/n02381460_5500.jpg and trainA/n02381460_2967.jpg (nearly)",
        "testB/n02391049_5240.jpg and trainB/n02391049_2136.jpg (nearly)",
    ]
