from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from transmute.data.arrange import carry_out, plan_combine, plan_resize, plan_split
from transmute.data.config import SourceConfig
from transmute.data.layout import recognize
from transmute.settings import UserError


def put(path: Path, color: str = "red", size: tuple[int, int] = (12, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)


def below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_pairs_are_joined_a_left_and_b_right_and_subfolders_stay(tmp_path: Path) -> None:
    for name in ("train/1", "test/deep/2"):
        put(tmp_path / f"A/{name}.png", "red")
        put(tmp_path / f"B/{name}.png", "blue")
    assert carry_out(plan_combine(tmp_path / "A", tmp_path / "B", tmp_path / "out", resize=False)) == []
    assert below(tmp_path / "out") == ["test/deep/2.png", "train/1.png"]
    with Image.open(tmp_path / "out/train/1.png") as both:
        assert both.size == (24, 8)
        assert [both.getpixel((x, 4)) for x in (0, 11, 12, 23)] == [(255, 0, 0)] * 2 + [(0, 0, 255)] * 2
    assert recognize(tmp_path / "out", SourceConfig(), paired=True).train[0][0].half == "left"


@pytest.mark.parametrize(("given", "written"), [("1.jpg", "1.png"), ("1.bmp", "1.bmp"), ("1.TIF", "1.TIF"), ("1.webp", "1.png"), ("1.gif", "1.png")])
def test_lossless_formats_are_kept_and_others_become_png(tmp_path: Path, given: str, written: str) -> None:
    put(tmp_path / "A" / given)
    put(tmp_path / "B" / "1.png")
    assert carry_out(plan_combine(tmp_path / "A", tmp_path / "B", tmp_path / "out", resize=False)) == []
    assert below(tmp_path / "out") == [written]


def test_what_cannot_be_combined_is_named_and_the_rest_is_done(tmp_path: Path) -> None:
    for folder, size in (("A", (12, 8)), ("B", (6, 8))):
        put(tmp_path / folder / "good.png")
        put(tmp_path / folder / "unequal.png", size=size)
        put(tmp_path / folder / f"only{folder}.png")
        put(tmp_path / folder / "bad.png")
    (tmp_path / "B/bad.png").write_text("no picture")
    problems = carry_out(plan_combine(tmp_path / "A", tmp_path / "B", tmp_path / "out", resize=False))
    assert below(tmp_path / "out") == ["good.png"]
    for expected in ("B/bad.png is not a picture", "onlyA.png has no partner", "onlyB.png has no partner", "is 12x8 and", "is 6x8: add --resize"):
        assert any(expected in problem for problem in problems)
    assert len(problems) == 4
    assert len(carry_out(plan_combine(tmp_path / "A", tmp_path / "B", tmp_path / "out", resize=True), overwrite=True)) == 3
    with Image.open(tmp_path / "out/unequal.png") as both:
        assert both.size == (24, 8)


def unpaired(folder: Path) -> Path:
    for index in range(20):
        put(folder / "horses" / f"{index}.png", size=(8 + index, 8))
    for index in range(5):
        put(folder / "zebras" / "some" / f"{index}.jpg")
    return folder


@pytest.mark.parametrize("link", [False, True])
def test_a_split_holds_out_a_share_and_loses_nothing(tmp_path: Path, link: bool) -> None:
    given = unpaired(tmp_path / "given")
    before = {name: (given / name).read_bytes() for name in below(given)}
    assert carry_out(plan_split(given, tmp_path / "out", share=0.2, seed=0, paired=False, link=link)) == []
    data = recognize(tmp_path / "out", SourceConfig(), paired=False)
    assert [len(side) for side in (*data.train, *data.test)] == [16, 4, 4, 1]
    written = below(tmp_path / "out")
    assert sorted(name.partition("/")[2] for name in written) == sorted(name.partition("/")[2] for name in before)
    assert before == {name: (given / name).read_bytes() for name in below(given)}
    for name in written:
        folder, _, rest = name.partition("/")
        source = given / ("horses" if folder.endswith("A") else "zebras") / rest
        assert (tmp_path / "out" / name).read_bytes() == source.read_bytes()
        assert (tmp_path / "out" / name).samefile(source) == link


def test_a_split_follows_from_its_seed(tmp_path: Path) -> None:
    given = unpaired(tmp_path / "given")
    first, again, other = (list(plan_split(given, tmp_path / "out", share=0.2, seed=seed, paired=False, link=False)) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_partners_go_to_the_same_side(tmp_path: Path) -> None:
    for index in range(12):
        put(tmp_path / "given/A" / f"{index}.png")
        put(tmp_path / "given/B" / f"{index}.{'jpg' if index % 2 else 'bmp'}")
    assert carry_out(plan_split(tmp_path / "given", tmp_path / "out", share=0.25, seed=0, paired=True, link=False)) == []
    data = recognize(tmp_path / "out", SourceConfig(), paired=True)
    assert [len(side) for side in (*data.train, *data.test)] == [9, 9, 3, 3]
    put(tmp_path / "given/A/alone.png")
    with pytest.raises(UserError, match="1 pictures have no partner in the other folder, the first is alone"):
        plan_split(tmp_path / "given", tmp_path / "out", share=0.25, seed=0, paired=True, link=False)


@pytest.mark.parametrize("folder", ["given", "given/train"])
def test_pairs_side_by_side_are_split_into_train_and_test(tmp_path: Path, folder: str) -> None:
    for index in range(10):
        put(tmp_path / folder / f"{index}.png", size=(16, 8))
    assert carry_out(plan_split(tmp_path / "given", tmp_path / "out", share=0.3, seed=0, paired=True, link=False)) == []
    data = recognize(tmp_path / "out", SourceConfig(), paired=True)
    assert (len(data.train[0]), len(data.test[0])) == (7, 3)


def test_at_least_one_picture_is_on_either_side_of_a_split(tmp_path: Path) -> None:
    for name in ("A/0", "A/1", "B/0", "B/1"):
        put(tmp_path / f"{name}.png")
    for share in (0.01, 0.99):
        work = plan_split(tmp_path, tmp_path.with_name("out"), share=share, seed=0, paired=False, link=False)
        assert sorted(target.parent.name for target in work) == ["testA", "testB", "trainA", "trainB"]
    (tmp_path / "B/1.png").unlink()
    with pytest.raises(UserError, match="B has only one picture"):
        plan_split(tmp_path, tmp_path.with_name("out"), share=0.5, seed=0, paired=False, link=False)


def test_a_data_set_that_is_split_already_is_refused(animals: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has pictures held out already, in .*testB"):
        plan_split(animals, tmp_path, share=0.1, seed=0, paired=False, link=False)


@pytest.mark.parametrize(
    ("mode", "size", "expected"), [("resize", "10", (10, 10)), ("scale-width", "20x3", (20, 10)), ("crop", "10", (10, 10)), ("resize", "9x7", (9, 7))]
)
def test_a_tree_is_resized_in_its_names(tmp_path: Path, mode: str, size: str, expected: tuple[int, int]) -> None:
    for name in ("trainA/1.png", "trainA/deep/2.jpg", "testB/3.bmp"):
        put(tmp_path / "given" / name, size=(40, 20))
    (tmp_path / "given/testB/bad.png").write_text("no picture")
    [problem] = carry_out(plan_resize(tmp_path / "given", tmp_path / "out", size=size, mode=mode))
    assert "bad.png is not a picture" in problem
    assert below(tmp_path / "out") == ["testB/3.bmp", "trainA/1.png", "trainA/deep/2.jpg"]
    for name in below(tmp_path / "out"):
        with Image.open(tmp_path / "out" / name) as image:
            assert image.size == expected


def test_a_crop_is_the_undistorted_middle(tmp_path: Path) -> None:
    image = Image.new("RGB", (40, 20), "red")
    image.paste("blue", (10, 0, 30, 20))
    (tmp_path / "given").mkdir()
    image.save(tmp_path / "given/x.png")
    carry_out(plan_resize(tmp_path / "given", tmp_path / "out", size="20", mode="crop"))
    with Image.open(tmp_path / "out/x.png") as cut:
        assert cut.getcolors() == [(400, (0, 0, 255))]


def test_nothing_is_overwritten_and_nothing_is_written_into_what_is_read(tmp_path: Path) -> None:
    for name in ("A/1.png", "B/1.png", "out/1.png"):
        put(tmp_path / name)
    work = plan_combine(tmp_path / "A", tmp_path / "B", tmp_path / "out", resize=False)
    with pytest.raises(UserError, match=r"1 files are there already, the first is .*1\.png: choose another --out, or add --overwrite"):
        carry_out(work)
    for out in (tmp_path / "A", tmp_path / "B" / "out"):
        with pytest.raises(UserError, match="whose pictures are read"):
            plan_combine(tmp_path / "A", tmp_path / "B", out, resize=False)
    with pytest.raises(UserError, match="whose pictures are read"):
        plan_resize(tmp_path, tmp_path / "small", size="8", mode="resize")
