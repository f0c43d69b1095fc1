from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transmute.config.data import SourceConfig
from transmute.data.arrange import execute, plan_combine, plan_resize, plan_split
from transmute.data.layout import recognize
from transmute.errors import UserError
from transmute.images import limits
from transmute.images.decode import count_pages, read_image
from transmute.images.encode import save_pages
from transmute.images.raster import Depth, Raster


def put(path: Path, color: str = "red", size: tuple[int, int] = (12, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)


def below(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def test_pairs_are_joined_a_left_and_b_right_and_subfolders_are_kept(tmp_path: Path) -> None:
    for name in ("train/1", "test/deep/2"):
        put(tmp_path / f"A/{name}.png", "red")
        put(tmp_path / f"B/{name}.png", "blue")
    assert (
        execute(plan_combine(tmp_path / "A", tmp_path / "B", tmp_path / "out", resize=False)) == []
    )
    assert below(tmp_path / "out") == ["test/deep/2.png", "train/1.png"]
    with Image.open(tmp_path / "out/train/1.png") as both:
        assert both.size == (24, 8)
        assert [both.getpixel((x, 4)) for x in (0, 11, 12, 23)] == [(255, 0, 0)] * 2 + [
            (0, 0, 255)
        ] * 2
    assert recognize(tmp_path / "out", SourceConfig(), paired=True).train[0][0].half == "left"


@pytest.mark.parametrize(
    ("original", "written"),
    [
        ("1.jpg", "1.png"),
        ("1.bmp", "1.png"),
        ("1.TIF", "1.TIF"),
        ("1.webp", "1.png"),
        ("1.gif", "1.png"),
    ],
)
def test_png_and_tiff_are_kept_and_other_formats_become_png(
    tmp_path: Path, original: str, written: str
) -> None:
    put(tmp_path / "A" / original)
    put(tmp_path / "B" / "1.png")
    assert (
        execute(plan_combine(tmp_path / "A", tmp_path / "B", tmp_path / "out", resize=False)) == []
    )
    assert below(tmp_path / "out") == [written]


def test_images_that_cannot_be_combined_are_reported_and_the_others_are_written(
    tmp_path: Path,
) -> None:
    for folder, size in (("A", (12, 8)), ("B", (6, 8))):
        put(tmp_path / folder / "good.png")
        put(tmp_path / folder / "unequal.png", size=size)
        put(tmp_path / folder / f"only{folder}.png")
        put(tmp_path / folder / "bad.png")
    (tmp_path / "B/bad.png").write_text("not an image", encoding="utf-8")
    problems = execute(plan_combine(tmp_path / "A", tmp_path / "B", tmp_path / "out", resize=False))
    assert below(tmp_path / "out") == ["good.png"]
    for expected in (
        "B/bad.png is not an image",
        "onlyA.png has no partner",
        "onlyB.png has no partner",
        "is 12x8 and",
        "is 6x8. Resize b to the size of a with `resize`",
    ):
        assert any(expected in problem for problem in problems)
    assert len(problems) == 4
    assert (
        len(
            execute(
                plan_combine(tmp_path / "A", tmp_path / "B", tmp_path / "out", resize=True),
                overwrite=True,
            )
        )
        == 3
    )
    with Image.open(tmp_path / "out/unequal.png") as both:
        assert both.size == (24, 8)


def random_raster(depth: Depth, channels: int, *, alpha: bool = False, seed: int = 0) -> Raster:
    """A 12x8 image of random values."""
    values = np.random.default_rng(seed).integers(0, 65536, (8, 12, channels + 1))
    kind = {"uint8": np.uint8, "uint16": np.uint16}.get(depth, np.float32)
    pixels = ((values - 32768) if depth in ("int16", "float32") else values).astype(kind)
    pixels = pixels / 7 if depth == "float32" else pixels
    return Raster(pixels[:, :, :-1], pixels[:, :, -1] if alpha else None, depth)


def combine(folder: Path, **images: list[Raster]) -> tuple[list[str], list[str]]:
    """Combines two files, by name with _ for the dot. Returns the result, and the problems."""
    for domain, (name, pages) in zip("AB", images.items(), strict=True):
        save_pages(pages, folder / domain / name.replace("_", "."))
    problems = execute(plan_combine(folder / "A", folder / "B", folder / "out", resize=False))
    return below(folder / "out") if (folder / "out").exists() else [], problems


@pytest.mark.parametrize(
    ("depth", "channels", "ending"),
    [
        ("uint8", 1, "png"),
        ("uint16", 1, "png"),
        ("uint16", 3, "png"),
        ("uint16", 6, "tif"),
        ("int16", 1, "tif"),
        ("float32", 2, "tif"),
    ],
)
def test_pairs_and_smaller_copies_keep_depth_and_channels(
    tmp_path: Path, depth: Depth, channels: int, ending: str
) -> None:
    left, right = (random_raster(depth, channels, seed=seed) for seed in (0, 1))
    save_pages([left], tmp_path / f"A/x.{ending}")
    save_pages([right], tmp_path / f"B/x.{ending}")
    plan = plan_combine(tmp_path / "A", tmp_path / "B", tmp_path / "out", resize=False)
    assert execute(plan) == []
    both = read_image(tmp_path / f"out/x.{ending}")
    assert both.depth == depth
    assert np.array_equal(both.pixels, np.hstack([left.pixels, right.pixels]))
    assert execute(plan_resize(tmp_path / "A", tmp_path / "small", size="6x4", mode="resize")) == []
    small = read_image(tmp_path / f"small/x.{ending}")
    assert (small.depth, small.size) == (depth, (6, 4))
    resized = left.resized((6, 4)).pixels
    expected = resized.round() if depth == "int16" else resized
    assert np.array_equal(small.pixels, expected)


def test_a_ramp_of_16_bits_keeps_its_levels(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    for domain in "AB":
        (tmp_path / domain).mkdir()
        Image.fromarray(ramp).save(tmp_path / domain / "0.png")
    execute(plan_combine(tmp_path / "A", tmp_path / "B", tmp_path / "both", resize=False))
    execute(plan_resize(tmp_path / "A", tmp_path / "small", size="48", mode="resize"))
    assert len(np.unique(read_image(tmp_path / "both/0.png").pixels)) == 64 * 64
    assert len(np.unique(read_image(tmp_path / "small/0.png").pixels)) > 2000  # of 2304 pixels


def test_the_alpha_of_either_partner_is_kept_in_a_format_that_holds_it(tmp_path: Path) -> None:
    left, right = random_raster("uint8", 3), random_raster("uint8", 3, alpha=True, seed=1)
    assert combine(tmp_path, x_bmp=[left], x_png=[right]) == (["x.png"], [])
    both = read_image(tmp_path / "out/x.png")
    assert np.array_equal(both.pixels, np.hstack([left.pixels, right.pixels]))
    assert both.alpha is not None
    assert right.alpha is not None
    assert (both.alpha[:, :12] == 255).all()
    assert np.array_equal(both.alpha[:, 12:], right.alpha)


def test_pages_are_combined_and_resized_one_by_one(tmp_path: Path) -> None:
    lefts = [random_raster("uint16", 1, seed=seed) for seed in range(3)]
    rights = [random_raster("uint16", 1, seed=seed + 3) for seed in range(3)]
    assert combine(tmp_path, x_tif=lefts, x_tiff=rights) == (["x.tif"], [])
    for page in range(3):
        both = read_image(tmp_path / "out/x.tif", page=page)
        assert np.array_equal(both.pixels, np.hstack([lefts[page].pixels, rights[page].pixels]))
    execute(plan_resize(tmp_path / "A", tmp_path / "small", size="6", mode="crop"))
    assert count_pages(tmp_path / "small/x.tif") == 3


@pytest.mark.parametrize(
    ("left", "right", "sentence"),
    [
        (
            [random_raster("uint16", 1)],
            [random_raster("float32", 1)],
            r"x\.tif has values of type uint16, but \S+x\.tiff has values of type float32",
        ),
        ([random_raster("uint8", 3)], [random_raster("uint8", 6)], "has 3 channels, but .* has 6"),
        ([random_raster("uint8", 3)] * 2, [random_raster("uint8", 3)], "has 2 pages and .* has 1"),
    ],
)
def test_what_one_file_cannot_hold_is_a_problem(
    tmp_path: Path, left: list[Raster], right: list[Raster], sentence: str
) -> None:
    written, [problem] = combine(tmp_path, x_tif=left, x_tiff=right)
    assert written == []
    assert re.search(sentence, problem)


def test_metadata_is_kept_when_images_are_resized(tmp_path: Path) -> None:
    (tmp_path / "A").mkdir()
    exif = Image.Exif()
    exif[271] = "a camera"
    Image.new("RGB", (12, 8)).save(tmp_path / "A/x.jpg", exif=exif, dpi=(300, 300))
    execute(plan_resize(tmp_path / "A", tmp_path / "out", size="4", mode="resize"))
    with Image.open(tmp_path / "out/x.jpg") as small:
        assert (small.size, small.getexif()[271], small.info["dpi"]) == (
            (4, 4),
            "a camera",
            (300, 300),
        )


def test_pages_that_do_not_fit_in_memory_together_are_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = [Raster(np.zeros((8, 8, 1), np.uint8))] * 4
    (tmp_path / "in").mkdir()
    save_pages(pages, tmp_path / "in/x.tif")
    monkeypatch.setattr(limits, "_SMALL", 64)
    monkeypatch.setattr(limits, "free_memory", lambda: 200)
    plan = plan_resize(tmp_path / "in", tmp_path / "out", size="4", mode="resize")
    (problem,) = execute(plan)
    assert problem.startswith(f"{tmp_path / 'in/x.tif'} has 4 pages, which need ")


def test_files_of_several_pages_are_held_out_as_a_whole(tmp_path: Path) -> None:
    for index in range(4):
        for domain in "AB":
            pages = [random_raster("uint8", 3, seed=page) for page in range(3)]
            save_pages(pages, tmp_path / "data" / domain / f"{index}.tif")
    plan = plan_split(
        tmp_path / "data", tmp_path / "out", test=0.25, seed=0, paired=False, link=False
    )
    assert sorted(target.parent.name for target in plan) == (
        ["testA", "testB"] + 3 * ["trainA"] + 3 * ["trainB"]
    )


def unpaired(folder: Path) -> Path:
    """20 horses of different widths, and 5 zebras in a subfolder."""
    for index in range(20):
        put(folder / "horses" / f"{index}.png", size=(8 + index, 8))
    for index in range(5):
        put(folder / "zebras" / "some" / f"{index}.jpg")
    return folder


@pytest.mark.parametrize("link", [False, True])
def test_a_split_holds_out_a_fraction_and_loses_nothing(tmp_path: Path, link: bool) -> None:
    original = unpaired(tmp_path / "original")
    before = {name: (original / name).read_bytes() for name in below(original)}
    assert (
        execute(plan_split(original, tmp_path / "out", test=0.2, seed=0, paired=False, link=link))
        == []
    )
    data = recognize(tmp_path / "out", SourceConfig(), paired=False)
    assert [len(side) for side in (*data.train, *data.test)] == [16, 4, 4, 1]
    written = below(tmp_path / "out")
    assert sorted(name.partition("/")[2] for name in written) == sorted(
        name.partition("/")[2] for name in before
    )
    assert before == {name: (original / name).read_bytes() for name in below(original)}
    for name in written:
        folder, _, rest = name.partition("/")
        source = original / ("horses" if folder.endswith("A") else "zebras") / rest
        assert (tmp_path / "out" / name).read_bytes() == source.read_bytes()
        assert (tmp_path / "out" / name).samefile(source) == link


@pytest.mark.parametrize("link", [False, True])
def test_a_split_reports_what_is_not_a_file_and_copies_the_others(
    tmp_path: Path, link: bool
) -> None:
    for letter in "AB":
        for name in range(3):
            put(tmp_path / f"data/{letter}/{name}.png")
    try:
        (tmp_path / "data/A/loop.png").symlink_to("loop.png")
        (tmp_path / "data/B/broken.png").symlink_to("missing.png")
    except OSError:
        pytest.skip("links cannot be made here")
    plan = plan_split(
        tmp_path / "data", tmp_path / "out", test=0.5, seed=0, paired=False, link=link
    )
    assert execute(plan) == [
        f"{tmp_path / 'data/A/loop.png'} is not a regular file",
        f"{tmp_path / 'data/B/broken.png'} is not a regular file",
    ]
    assert len(below(tmp_path / "out")) == 6


def test_a_split_is_a_function_of_its_seed(tmp_path: Path) -> None:
    original = unpaired(tmp_path / "original")
    first, again, other = (
        list(plan_split(original, tmp_path / "out", test=0.2, seed=seed, paired=False, link=False))
        for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


def test_partners_are_held_out_together(tmp_path: Path) -> None:
    for index in range(12):
        put(tmp_path / "original/A" / f"{index}.png")
        put(tmp_path / "original/B" / f"{index}.{'jpg' if index % 2 else 'bmp'}")
    assert (
        execute(
            plan_split(
                tmp_path / "original",
                tmp_path / "out",
                test=0.25,
                seed=0,
                paired=True,
                link=False,
            )
        )
        == []
    )
    data = recognize(tmp_path / "out", SourceConfig(), paired=True)
    assert [len(side) for side in (*data.train, *data.test)] == [9, 9, 3, 3]
    put(tmp_path / "original/A/alone.png")
    with pytest.raises(UserError, match=r"1 image without a partner in the other folder \(alone\)"):
        plan_split(
            tmp_path / "original", tmp_path / "out", test=0.25, seed=0, paired=True, link=False
        )


@pytest.mark.parametrize("folder", ["original", "original/train"])
def test_pairs_side_by_side_are_split_into_train_and_test(tmp_path: Path, folder: str) -> None:
    for index in range(10):
        put(tmp_path / folder / f"{index}.png", size=(16, 8))
    assert (
        execute(
            plan_split(
                tmp_path / "original",
                tmp_path / "out",
                test=0.3,
                seed=0,
                paired=True,
                link=False,
            )
        )
        == []
    )
    data = recognize(tmp_path / "out", SourceConfig(), paired=True)
    assert (len(data.train[0]), len(data.test[0])) == (7, 3)


def test_pairs_of_any_shape_are_held_out_whole(tmp_path: Path) -> None:
    for index in range(3):
        put(tmp_path / f"pairs/train/{index}.png", size=(8, 8))
    out = tmp_path / "out"
    plan = plan_split(tmp_path / "pairs", out, test=0.3, seed=0, paired=True, link=False)
    assert execute(plan) == []
    assert [len(below(out / phase)) for phase in ("train", "test")] == [2, 1]


def test_a_split_has_at_least_one_image_on_either_side(tmp_path: Path) -> None:
    for name in ("A/0", "A/1", "B/0", "B/1"):
        put(tmp_path / f"{name}.png")
    for fraction in (0.01, 0.99):
        plan = plan_split(
            tmp_path, tmp_path.with_name("out"), test=fraction, seed=0, paired=False, link=False
        )
        assert sorted(target.parent.name for target in plan) == [
            "testA",
            "testB",
            "trainA",
            "trainB",
        ]
    (tmp_path / "B/1.png").unlink()
    with pytest.raises(UserError, match="B has only one image"):
        plan_split(tmp_path, tmp_path.with_name("out"), test=0.5, seed=0, paired=False, link=False)


def test_a_data_set_with_held_out_images_is_not_split(animals: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"already has held-out images, in .*testB"):
        plan_split(animals, tmp_path, test=0.1, seed=0, paired=False, link=False)


@pytest.mark.parametrize(
    ("mode", "size", "expected"),
    [
        ("resize", "10", (10, 10)),
        ("scale-width", "20x3", (20, 10)),
        ("crop", "10", (10, 10)),
        ("resize", "9x7", (9, 7)),
    ],
)
def test_resizing_keeps_subfolders_and_names(
    tmp_path: Path, mode: str, size: str, expected: tuple[int, int]
) -> None:
    for name in ("trainA/1.png", "trainA/deep/2.jpg", "testB/3.bmp"):
        put(tmp_path / "original" / name, size=(40, 20))
    (tmp_path / "original/testB/bad.png").write_text("not an image", encoding="utf-8")
    [problem] = execute(plan_resize(tmp_path / "original", tmp_path / "out", size=size, mode=mode))
    assert "bad.png is not an image" in problem
    assert below(tmp_path / "out") == ["testB/3.bmp", "trainA/1.png", "trainA/deep/2.jpg"]
    for name in below(tmp_path / "out"):
        with Image.open(tmp_path / "out" / name) as image:
            assert image.size == expected


def test_a_crop_is_the_undistorted_middle(tmp_path: Path) -> None:
    image = Image.new("RGB", (40, 20), "red")
    image.paste("blue", (10, 0, 30, 20))
    (tmp_path / "original").mkdir()
    image.save(tmp_path / "original/x.png")
    execute(plan_resize(tmp_path / "original", tmp_path / "out", size="20", mode="crop"))
    with Image.open(tmp_path / "out/x.png") as cut:
        assert cut.getcolors() == [(400, (0, 0, 255))]


def test_existing_files_are_kept_and_input_folders_are_not_written_to(tmp_path: Path) -> None:
    for name in ("A/1.png", "B/1.png", "out/1.png"):
        put(tmp_path / name)
    plan = plan_combine(tmp_path / "A", tmp_path / "B", tmp_path / "out", resize=False)
    with pytest.raises(
        UserError,
        match=r"1 file would be replaced, the first is .*1\.png\. .* `out`, or .*`overwrite`",
    ):
        execute(plan)
    for out in (tmp_path / "A", tmp_path / "B" / "out"):
        with pytest.raises(UserError, match="a folder that is read"):
            plan_combine(tmp_path / "A", tmp_path / "B", out, resize=False)
    with pytest.raises(UserError, match="a folder that is read"):
        plan_resize(tmp_path, tmp_path / "small", size="8", mode="resize")


def test_sizes_that_cannot_be_written_are_problems_of_one_file(tmp_path: Path) -> None:
    for name in ("x.webp", "y.gif", "z.png"):
        put(tmp_path / "A" / name)
    for size, reasons in {
        "70000x2": ["x.webp cannot be resized, because", "y.gif cannot be resized, because"],
        "99999": ["more than 1,000,000,000 pixels"] * 3,
    }.items():
        problems = execute(plan_resize(tmp_path / "A", tmp_path / size, size=size, mode="resize"))
        assert [
            reason in problem for reason, problem in zip(reasons, sorted(problems), strict=True)
        ]
    assert [path.name for path in (tmp_path / "70000x2").iterdir()] == ["z.png"]
