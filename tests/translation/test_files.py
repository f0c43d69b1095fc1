from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.translation.models import load_translator, random_image
from transmute.cli import run_command
from transmute.config.data import Range
from transmute.errors import UserError
from transmute.images import limits
from transmute.images.decode import read_image
from transmute.images.ranges import shown
from transmute.images.raster import Depth
from transmute.translation.files import find_inputs, translate_file


def translate_folder(model: Path, folder: Path, out: Path) -> list[str | None]:
    translator = load_translator(model)
    targets = find_inputs([str(folder)], out)
    return [translate_file(translator, source, target)[0] for source, target in targets.items()]


def test_translations_keep_subfolder_name_format_and_size(model: Path, tmp_path: Path) -> None:
    names = ["a.png", "b.JPG", "deep/c.webp", "deep/er/d.tif", "e.bmp", "f.gif", "g.ppm"]
    for name in names:
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        random_image(21, 17).save(tmp_path / "in" / name)
    out = tmp_path / "out"
    assert translate_folder(model, tmp_path / "in", out) == [None] * len(names)
    written = [path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()]
    assert sorted(written) == sorted(names)
    for name in names:
        with Image.open(tmp_path / "in" / name) as before, Image.open(out / name) as after:
            assert (after.size, after.format) == (before.size, before.format)


def test_one_bad_image_does_not_stop_the_others(model: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_text("no image", encoding="utf-8")
    random_image(16, 16).save(tmp_path / "in" / "b.png")
    bad, good = translate_folder(model, tmp_path / "in", tmp_path / "out")
    assert good is None
    assert bad is not None
    assert "a.png is not a" in bad
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.png"]


def test_existing_translations_can_be_skipped(model: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "x.png", tmp_path / "out" / "x.png"
    random_image(16, 16).save(source)
    target.parent.mkdir()
    target.write_text("unchanged", encoding="utf-8")
    translator = load_translator(model)
    assert translate_file(translator, source, target, skip_existing=True) == (None, [])
    assert target.read_text(encoding="utf-8") == "unchanged"
    assert translate_file(translator, source, target) == (None, [])
    assert target.read_bytes().startswith(b"\x89PNG")


def test_pages_that_do_not_fit_in_memory_together_are_refused_after_the_first(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "x.tif"
    frames = [Image.new("RGB", (16, 16), (level, 0, 0)) for level in range(4)]
    frames[0].save(source, save_all=True, append_images=frames[1:])
    page_bytes = 16 * 16 * 3
    monkeypatch.setattr(limits, "_SMALL", page_bytes)
    monkeypatch.setattr(limits, "free_memory", lambda: 3.5 * page_bytes)
    translator, target = load_translator(model), tmp_path / "out" / "x.tif"
    error, _ = translate_file(translator, source, target)
    assert error is not None
    assert error.startswith(f"{source} has 4 pages, which need ")
    assert not target.exists()
    assert translate_file(translator, source, target, pages="first") == (None, [])


def test_a_target_that_cannot_be_written_is_reported(model: Path, tmp_path: Path) -> None:
    random_image(16, 16).save(tmp_path / "x.png")
    (tmp_path / "file").touch()
    target = tmp_path / "file" / "x.png"
    problem, _ = translate_file(load_translator(model), tmp_path / "x.png", target)
    assert problem is not None
    assert "x.png cannot be written" in problem


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Images in two folders, one with a subfolder and a text file."""
    for name in ("in/a.png", "in/deep/b.png", "in/notes.txt", "other/a.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        random_image(4, 4).save(tmp_path / name, "PNG")
    return tmp_path


def test_inputs_are_files_folders_and_patterns(folders: Path) -> None:
    out = folders / "out"
    targets = find_inputs([str(folders / "in"), str(folders / "in" / "a.png")], out)
    assert targets == {
        folders / "in" / "a.png": out / "a.png",
        folders / "in" / "deep" / "b.png": out / "deep" / "b.png",
    }
    assert len(find_inputs([str(folders / "in" / "**" / "*")], out)) == 2


def test_a_path_that_exists_is_not_a_pattern(folders: Path) -> None:
    for name in ("set [1]/x.png", "set [1]/y[1].png", "set [1]/y1.png", "set 1/z.png"):
        (folders / name).parent.mkdir(exist_ok=True)
        random_image(4, 4).save(folders / name)
    found = [
        [path.relative_to(folders).as_posix() for path in find_inputs([str(folders / name)], out)]
        for name in ("set [1]/*.png", "set [1]/y[1].png", "set [1]/**/[xy].png", "set [12]/*.png")
        for out in [folders / "out"]
    ]
    assert found == [
        ["set [1]/x.png", "set [1]/y1.png", "set [1]/y[1].png"],
        ["set [1]/y[1].png"],
        ["set [1]/x.png"],
        ["set 1/z.png"],
    ]


def test_a_pattern_ends_at_a_folder_that_contains_itself(folders: Path) -> None:
    for name in ("one", "two"):
        (folders / "in" / name).symlink_to(".")
    pattern = str(folders / "in" / "**" / "*.png")
    assert [path.name for path in find_inputs([pattern], folders / "out")] == ["a.png", "b.png"]


def test_a_link_that_leads_nowhere_is_one_bad_image(model: Path, folders: Path) -> None:
    loop = folders / "in" / "loop[1].png"
    loop.symlink_to(loop.name)
    (folders / "in" / "missing.png").symlink_to("nothing.png")
    out, translator = folders / "out", load_translator(model)
    targets = find_inputs([str(folders / "in")], out)
    problems = {
        source.name: translate_file(translator, source, target)[0]
        for source, target in targets.items()
    }
    assert {name for name, problem in problems.items() if problem} == {loop.name, "missing.png"}
    assert find_inputs([str(loop)], out) == {loop: out / loop.name}


def test_translate_says_what_it_does_not_use_and_escapes_names(
    model: Path, folders: Path, capsys: pytest.CaptureFixture
) -> None:
    (folders / "in" / "\x1b[31mbad\n.png").write_text("no image", encoding="utf-8")
    words = ["translate", str(folders / "in"), "--model", str(model), "--device", "cpu"]
    assert run_command([*words, "--out", str(folders / "out")]) == 1
    printed = capsys.readouterr().err
    assert "in: 1 file is not used: 1 .txt (not images that can be read)\n" in printed
    assert r"\x1b[31mbad\n.png is not an image" in printed
    assert "\x1b" not in printed


def test_a_path_that_begins_with_a_dash_follows_two_dashes(
    model: Path, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folders / "in")
    for name in ("-x.png", "--a_b.png"):
        random_image(4, 4).save(name)
    words = ["translate", "--model", str(model), "--device", "cpu", "--out", "out"]
    assert run_command([*words, "--", "-x.png", "--a_b.png"]) == 0
    assert sorted(path.name for path in Path("out").iterdir()) == ["--a_b.png", "-x.png"]
    with pytest.raises(UserError, match=r"unknown flag -x\.png\. Put paths that begin with a dash"):
        run_command([*words, "-x.png"])


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes only there")
def test_long_names_and_names_that_are_not_utf_8_are_translated(model: Path, folders: Path) -> None:
    names = [b"f\xfcr.png".decode("utf-8", "surrogateescape"), f"{'n' * 251}.png"]
    for name in names:
        random_image(4, 4).save(folders / "other" / name)
    out = folders / "out"
    assert translate_folder(model, folders / "other", out) == [None] * 3
    assert {path.name for path in out.iterdir()} == {"a.png", *names}


def test_inputs_without_images_are_refused(folders: Path) -> None:
    out = folders / "out"
    (folders / "image").write_bytes((folders / "in" / "a.png").read_bytes())
    with pytest.raises(
        UserError, match=r"image does not have the extension of an image .* rename it"
    ):
        find_inputs([str(folders / "image")], out)
    with pytest.raises(UserError, match=r"there is no image or folder .*nothing"):
        find_inputs([str(folders / "nothing*.png")], out)
    (folders / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty contains no images. Known extensions: .*png"):
        find_inputs([str(folders / "empty")], out)


def test_with_a_reader_every_file_is_an_image(model: Path, tmp_path: Path) -> None:
    folder, reader = tmp_path / "in", tmp_path / "reader.py"
    folder.mkdir()
    for name in ("a.raw", "b"):
        np.full((16, 16, 3), 100, np.uint8).tofile(folder / name)
    reader.write_text(
        "import numpy as np\n\n\n"
        "def read(path):\n    return np.fromfile(path, np.uint8).reshape(16, 16, 3)\n",
        encoding="utf-8",
    )
    words = ["--model", str(model), "--reader", f"{reader}:read", "--device", "cpu"]
    for inputs, names in ((folder, {"a.raw.png", "b.png"}), (folder / "*.raw", {"a.raw.png"})):
        out = tmp_path / f"out{len(names)}"
        command = ["translate", str(inputs), *words, "--out", str(out), "--format", "auto"]
        assert run_command(command) == 0
        assert {path.name for path in out.iterdir()} == names
    with pytest.raises(UserError, match=r"\.raw cannot be written, only read .*`format=npy`"):
        run_command(["translate", str(folder), *words, "--out", str(tmp_path / "out")])


def test_no_image_is_overwritten(folders: Path) -> None:
    with pytest.raises(UserError, match=r"would both be written to .*each with its own `out`"):
        find_inputs([str(folders / "in"), str(folders / "other")], folders / "out")
    with pytest.raises(
        UserError, match=r"overwritten by its own translation. Choose another `out`"
    ):
        find_inputs([str(folders / "in")], folders / "in")


def test_earlier_translations_in_an_input_folder_are_not_inputs(folders: Path) -> None:
    assert list(find_inputs([str(folders / "in")], folders / "in" / "deep")) == [
        folders / "in" / "a.png"
    ]
    (folders / "in" / "a.png").unlink()
    with pytest.raises(UserError, match=r"in contains no images outside of .*deep"):
        find_inputs([str(folders / "in")], folders / "in" / "deep")


def test_a_single_image_can_be_translated_to_a_named_file(
    model: Path, folders: Path, capsys: pytest.CaptureFixture
) -> None:
    out = folders / "new" / "zebra.JPG"
    words = ["translate", str(folders / "other"), "--model", str(model), "--device", "cpu"]
    assert run_command([*words, "--out", str(out)]) == 0
    assert f"1 image to {out}" in capsys.readouterr().err
    with Image.open(out) as image:
        assert (image.format, image.size) == ("JPEG", (4, 4))
    out.write_text("unchanged", encoding="utf-8")
    assert run_command([*words, "--out", str(out), "--skip-existing"]) == 0
    assert out.read_text(encoding="utf-8") == "unchanged"
    assert run_command([*words, "--out", str(out)]) == 0
    assert [path.name for path in out.parent.iterdir()] == ["zebra.JPG"]
    with Image.open(out) as image:
        assert image.format == "JPEG"
    assert run_command([*words, "--out", str(out), "--to", "zebra", "--compare"]) == 0
    with Image.open(out.with_name("zebra.compare.JPG")) as image:
        assert (image.format, image.size) == ("JPEG", (8, 4))
    with pytest.raises(UserError, match="`to=horse` is not a domain"):
        run_command([*words, "--out", str(out), "--to", "horse"])


def test_an_output_file_is_only_for_a_single_image(folders: Path) -> None:
    image, out = folders / "other" / "a.png", folders / "zebra.png"
    assert find_inputs([str(image), str(image)], out) == {image: out}
    for several in (folders / "in", folders / "in" / "**" / "*"):
        with pytest.raises(UserError, match=r"zebra.png` is an image file, but there are 2 images"):
            find_inputs([str(several)], out)
    with pytest.raises(UserError, match=r"notes.txt` is a file, but not of an image"):
        find_inputs([str(image)], folders / "in" / "notes.txt")
    with pytest.raises(UserError, match="overwritten by its own translation"):
        find_inputs([str(image)], image)
    out.mkdir()
    assert find_inputs([str(image)], out) == {image: out / "a.png"}


def test_a_comparison_shows_the_input_to_the_left_of_the_translation(
    model: Path, tmp_path: Path
) -> None:
    source, target, both = (tmp_path / name for name in ("x.png", "y.png", "y.compare.png"))
    random_image(20, 12, "RGBA").save(source)
    translator = load_translator(model)
    assert translate_file(translator, source, target, compare=True) == (None, [])
    with Image.open(both) as image:
        assert (image.mode, image.size) == ("RGB", (40, 12))
        left, right = image.crop((0, 0, 20, 12)), image.crop((20, 0, 40, 12))
    assert left.tobytes() == shown(read_image(source).flattened("white")).tobytes()
    assert right.tobytes() == shown(read_image(target).flattened("white")).tobytes()
    assert translate_file(translator, source, target, size="16x16", half="left", compare=True) == (
        None,
        [],
    )
    with Image.open(both) as image:
        assert image.size == (32, 16)
        half = shown(read_image(source).half("left").flattened("white"))
        half = half.resize((16, 16), Image.Resampling.BICUBIC)
        assert image.crop((0, 0, 16, 16)).tobytes() == half.tobytes()
    # Only the comparison is missing: it shows the translation that exists.
    both.unlink()
    random_image(6, 6).save(target)
    before = target.read_bytes()
    assert translate_file(translator, source, target, skip_existing=True, compare=True) == (
        None,
        [],
    )
    assert target.read_bytes() == before
    with Image.open(both) as image:
        assert image.size == (12, 6)


def test_a_comparison_does_not_replace_a_translation(folders: Path) -> None:
    random_image(4, 4).save(folders / "in" / "a.compare.png")
    inputs = [str(folders / "in")]
    assert len(find_inputs(inputs, folders / "out")) == 3
    with pytest.raises(UserError, match=r"would both be written to .*a\.compare\.png"):
        find_inputs(inputs, folders / "out", compare=True)


@pytest.mark.parametrize("depth", [None, "float32"])
def test_a_comparison_of_16_bits_is_not_clipped(
    depth: Depth | None, model: Path, tmp_path: Path
) -> None:
    source, target, both = (tmp_path / name for name in ("x.png", "y.tif", "y.compare.png"))
    Image.fromarray(np.full((12, 20), 30000, np.uint16)).save(source)
    translator = load_translator(model)
    error, _ = translate_file(translator, source, target, depth=depth, compare=True)
    assert error is None
    with Image.open(both) as image:
        pixels = np.asarray(image)
    assert (pixels[:, :20] == round(30000 / 257)).all()
    assert pixels[:, 20:].std() > 0


def test_a_range_of_another_number_of_channels_is_an_error(model: Path, tmp_path: Path) -> None:
    random_image(20, 12).save(tmp_path / "x.png")
    translator, values = load_translator(model), Range.parsed("0:1,0:2")
    error, _ = translate_file(translator, tmp_path / "x.png", tmp_path / "y.png", values=values)
    assert error is not None
    assert "the range 0:1,0:2 is for 2 channels, but" in error
    assert "x.png has 3" in error


@pytest.mark.parametrize(
    ("name", "size", "reason"),
    [
        ("x.webp", "20000x4", ".webp cannot hold 20000x4 pixels, only 16383 in each direction"),
        ("x.gif", "70000x4", ".gif cannot hold 70000x4 pixels, only 65535 in each direction"),
        ("x.png", "99999x99999", "more than 1,000,000,000 pixels. Choose a smaller `size`"),
    ],
)
def test_sizes_that_cannot_be_written_are_refused_before_translating(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    size: str,
    reason: str,
) -> None:
    random_image(16, 16).save(tmp_path / name)
    translator = load_translator(model)
    monkeypatch.setattr(translator, "translate", None)  # is not called
    problem, _ = translate_file(translator, tmp_path / name, tmp_path / "out" / name, size=size)
    assert problem is not None
    assert reason in problem
    assert not (tmp_path / "out").exists()


def test_a_size_whose_pixels_do_not_fit_in_memory_is_refused(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "free_memory", lambda: 10.0)
    random_image(16, 16).save(tmp_path / "x.png")
    source, target = tmp_path / "x.png", tmp_path / "out" / "x.png"
    problem, _ = translate_file(load_translator(model), source, target, size="9000x9000")
    assert "cannot be computed at 9000x9000: that needs" in str(problem)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a shell script")
def test_postscript_named_as_a_photo_does_not_start_ghostscript(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace, gs = tmp_path / "trace", tmp_path / "bin" / "gs"
    gs.parent.mkdir()
    gs.write_text(f"#!/bin/sh\necho started >> {trace}\nexit 1\n", encoding="utf-8")
    gs.chmod(0o755)
    monkeypatch.setenv("PATH", f"{gs.parent}{os.pathsep}{os.environ['PATH']}")
    for letter in "AB":
        folder = tmp_path / "data" / f"train{letter}"
        folder.mkdir(parents=True)
        (folder / "photo.jpg").write_bytes(
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n%%EndComments\nshowpage\n"
        )
    data, photo = str(tmp_path / "data"), str(tmp_path / "data" / "trainB" / "photo.jpg")
    assert run_command(["data", "check", data]) == 1
    assert run_command(["translate", photo, "--model", str(model), "--out", f"{tmp_path}/out"]) == 1
    small = ["--size", "32", "--method.generator.width", "4", "--method.discriminator.width", "4"]
    small += ["--steps", "1", "--data.workers", "0", "--device", "cpu"]
    with pytest.raises(UserError, match=r"photo\.jpg is a PostScript or PDF document"):
        run_command(["train", data, "--run", str(tmp_path / "run"), *small])
    assert not trace.exists()
    # Pillow alone would start it.
    script = "import sys; from PIL import Image; Image.open(sys.argv[1]).load()"
    subprocess.run([sys.executable, "-c", script, photo], check=False, capture_output=True)
    assert trace.exists()
