"""The pages for newcomers: their commands run, and their messages, links and names exist."""

from __future__ import annotations

import ast
import importlib
import json
import pkgutil
import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image

from tests import test_moving, test_readme
from transmute.cli import COMMANDS, run_command
from transmute.cli.junyanz import run_test_py, run_train_py
from transmute.cli.parsing import run_and_exit
from transmute.gpu import CUDA_12_DRIVER, CUDA_13_DRIVER, GPU, Build, suitable_build, unused_gpu
from transmute.interop.options import OPTIONS, parse

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {
    path.relative_to(DOCS).as_posix(): path.read_text(encoding="utf-8")
    for path in (
        DOCS / "install.md",
        DOCS / "install.zh.md",
        DOCS / "troubleshooting.md",
        *sorted((DOCS / "walkthroughs").glob("*.md")),
    )
    if path.name.split(".")[0] not in ("pytorch-gan", "mmgeneration")  # see test_walkthroughs.py
}
ENGLISH = [page for page in PAGES if not page.endswith(".zh.md")]
"""Pages whose code is run; test_chinese.py compares the code of the others with it."""
COMMAND = re.compile(r"(?m)^(?:!|\w+=\S+ )?(transmute(?:-train|-test)? .*)$")
CLOUD = re.compile(r"/(content/drive/MyDrive|content|kaggle/input|kaggle/working)/")
ONLY_PARSED = ("doctor", "watch", "pull", "data pull")
"""Commands that need a network connection, do not end, or depend on the machine."""
OTHER_FLAGS = {
    *("--features", "--index-url", "--force-reinstall", "--find-links", "--only-binary", "--cert"),
    *("--platform", "--python-version", "--gpus", "--shm-size", "--ipc", "--break-system-packages"),
}
"""Flags of pip and docker, and of commands that test_moving does not know."""
RTX = GPU("NVIDIA GeForce RTX 3060", driver="580.65.06", capability=(8, 6))
OLD_DRIVER = GPU(RTX.name, driver="535.183.01", capability=(8, 6))
CUDA_13 = Build("2.13.0+cu130", "13.0", ("sm_86",))


def blocks(page: str) -> list[tuple[str, str]]:
    """The languages and texts of all blocks of code."""
    return re.findall(r"(?ms)^ *```(\w*)\n(.*?)^ *```", PAGES[page])


def collapsed(text: str) -> str:
    return " ".join(text.split())


def prepare(folder: Path, animals: Path) -> None:
    """Writes what a reader of the pages would have, and what their problems come from."""
    test_readme.prepare(folder, animals)
    for domain in "AB":
        (folder / "empty" / f"train{domain}").mkdir(parents=True)
    with Image.open(folder / "horse.jpg") as image:
        (folder / "unsorted").mkdir()
        image.save(folder / "unsorted" / "1.jpg")
        image.save(folder / "horse2zebra" / "testB" / "another.jpg")
    (folder / "gbk.yaml").write_bytes("size: 16  # 大小".encode("gbk"))


def status_of(command: str, *, small: bool) -> int:
    """Runs a command, or only parses it, and returns its exit status.

    Args:
        command: The command line.
        small: Add flags that make it fast.
    """
    program, *words = shlex.split(CLOUD.sub("", command))
    if program == "transmute-train":
        return run_train_py([*words, *test_readme.SMALL])
    if program == "transmute-test":
        return run_test_py([*words, "--crop_size", "16"])
    name = next(name for name in COMMANDS if words[: name.count(" ") + 1] == name.split())
    if name in ONLY_PARSED or "cuda" in words:
        pkgutil.resolve_name(COMMANDS[name]).parsed(words[name.count(" ") + 1 :], name)
        return 0
    if small and "--size" in words:
        del words[(index := words.index("--size")) : index + 2]
    if name == "evaluate":
        words += ["--features", "texture"]
    if "--epochs" in words:  # lengths in epochs and in steps exclude each other
        index = words.index("--epochs")
        words[index : index + 2] = ["--steps", "3"]
        return run_command([*test_readme.smaller(words), "--steps", "3"])
    return run_command(test_readme.smaller(words) if small else words)


@pytest.mark.parametrize("page", ENGLISH)
def test_every_command_of_a_page_runs_or_prints_the_quoted_message(
    page: str,
    animals: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    prepare(tmp_path, animals)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRANSMUTE_HOME", str(tmp_path / "home"))
    if "transmute import checkpoints/h2z" in PAGES[page] and "--name h2z" not in PAGES[page]:
        run_train_py(["--dataroot", "horse2zebra", "--name", "h2z", *test_readme.SMALL])
    found = [*blocks(page), ("", "")]
    count = 0
    for (_, block), (language, quoted) in pairwise(found):
        commands = COMMAND.findall(block)
        count += len(commands)
        expected = quoted if language == "output" else ""
        capsys.readouterr()
        for command in commands:
            fails = "transmute: " in expected and command == commands[-1]
            small = not fails or expected.startswith("...")
            with pytest.raises(SystemExit) as end:
                run_and_exit(lambda command=command, small=small: status_of(command, small=small))
            allowed = (2,) if fails else (0, 1) if "data check" in command else (0,)
            assert end.value.code in allowed, (command, capsys.readouterr())
        if expected:
            pattern = re.escape(collapsed(expected)).replace(r"\.\.\.", ".*")
            output = capsys.readouterr()
            assert re.fullmatch(pattern, collapsed(output.out + output.err)), output
        if "Translator(" in block:
            exec(compile(block, page, "exec"), {})
    assert count >= 5


@pytest.mark.parametrize("page", PAGES)
def test_every_inline_command_of_a_page_is_understood(page: str) -> None:
    prose = re.sub(r"(?ms)^ *```.*?^ *```", "", PAGES[page])
    for text in re.findall(r"`(transmute(?:-train|-test)? [^`]*\s--[^`]*)`", prose):
        program, *words = shlex.split(text)
        if program == "transmute":
            name = next(name for name in COMMANDS if words[: name.count(" ") + 1] == name.split())
            parsed = pkgutil.resolve_name(COMMANDS[name]).parsed
            if "IMAGES" not in words and name == "translate":
                words += ["IMAGES", "--model", "RUN", "--out", "OUT"]  # it was shortened
            parsed(words[name.count(" ") + 1 :], name)
        else:
            assert parse(words, test=program == "transmute-test").given


@pytest.mark.parametrize("page", PAGES)
def test_every_inline_flag_of_a_page_exists(page: str) -> None:
    known = {flag for flags in test_moving.LEGAL.values() for flag in flags} | OTHER_FLAGS
    known |= {f"--{name}" for option in OPTIONS.values() for name in (option.name, option.old_name)}
    spans = re.findall(r"`(--[^`]+)`", re.sub(r"(?ms)^ *```.*?^ *```", "", PAGES[page]))
    named = {flag for span in spans for flag in re.findall(r"(?<!\S)--[\w.-]+", span)}
    assert named - known == set()


@pytest.mark.parametrize("page", PAGES)
def test_python_and_json_of_a_page_are_valid(page: str) -> None:
    for language, block in blocks(page):
        if language == "python":
            ast.parse(block)
        if language == "json":
            (launch,) = json.loads(block)["configurations"]
            assert launch["module"] == "transmute"
            command, *words = launch["args"]
            pkgutil.resolve_name(COMMANDS[command]).parsed(words, command)


def test_the_commands_that_install_torch_are_those_that_transmute_prints() -> None:
    cuda_12, cuda_13 = (
        suitable_build(GPU("", driver=str(driver), capability=(8, 6))).removeprefix("Run: ")
        for driver in (CUDA_12_DRIVER, CUDA_13_DRIVER)
    )
    rocm = str(unused_gpu(GPU("", "amd"), Build("2.13.0+cpu"))).partition("run: ")[2]
    printed = {cuda_12, cuda_13, rocm, cuda_12.replace("cu126", "cpu")}
    for page in ENGLISH:
        found = re.findall(r"python -m pip install --force-reinstall [^\n`|]*", PAGES[page])
        assert set(found) <= printed
    rows = [row for row in PAGES["install.md"].splitlines() if "| `python -m pip" in row]
    assert len(rows) == len(printed)
    assert any(f"driver {CUDA_13_DRIVER}" in row and cuda_13 in row for row in rows)
    assert any(f"driver {CUDA_12_DRIVER}" in row and cuda_12 in row for row in rows)


def test_the_reasons_for_an_unused_gpu_are_quoted_as_they_are_printed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    cpu_build, old_driver = unused_gpu(RTX, Build("2.13.0+cpu")), unused_gpu(OLD_DRIVER, CUDA_13)
    page = collapsed(PAGES["troubleshooting.md"])
    assert str(cpu_build) in page
    assert str(old_driver) in page
    sentences = [cpu_build, old_driver]
    sentences += [unused_gpu(GPU("", driver=driver), CUDA_13) for driver in ("", "470.1")]
    sentences += [unused_gpu(RTX, Build("2.13.0+cu126", "12.6", ("sm_50",)))]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    sentences += [unused_gpu(RTX, CUDA_13)]
    sentences += [(ROOT / "transmute" / "device.py").read_text(encoding="utf-8")]  # needs a GPU
    student = PAGES["walkthroughs/student-gpu-pycharm.md"]
    _, _, table = student.partition("| the line contains |")
    answers = re.findall(r"(?m)^\| (`.*?`) \|", table.partition("\n\n")[0])
    phrases = re.findall("`([^`]+)`", " ".join(answers))
    assert len(phrases) == 7
    assert [one for one in phrases if not any(one in str(text) for text in sentences)] == []


def test_every_name_of_transmute_in_the_tables_exists() -> None:
    text = PAGES["walkthroughs/pytorch-cyclegan-and-pix2pix.md"]
    code = "".join(
        path.read_text(encoding="utf-8") for path in sorted((ROOT / "transmute").rglob("*.py"))
    )
    steps = re.findall(r"(?m)^\| \d+ \| .* \| (.*) \|$", text)
    assert len(steps) == 12
    for name in re.findall(r"`([\w.]*\w)`", " ".join(steps)):
        assert name.endswith(".py") or re.search(rf"\b{name.split('.')[-1]}\b", code), name
    rows = [row.split(" | ") for row in re.findall(r"(?m)^\| (.*) \|$", text) if row.count("`") > 2]
    checked = 0
    for row in (row for row in rows if re.match(r"`[\w/]+\.py` `", row[1])):
        module = None
        for name in re.findall("`([^`]+)`", row[1]):
            if name.endswith(".py"):
                assert (ROOT / "transmute" / name).is_file(), name
                dotted = name.removesuffix(".py").replace("/", ".")
                module = importlib.import_module(f"transmute.{dotted}")
            else:
                found: object = module
                for part in name.split("."):
                    fields = getattr(found, "__dataclass_fields__", {})
                    found = fields[part] if part in fields else getattr(found, part)
                checked += 1
    assert checked > 100


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the documentation site make them."""
    titles = re.findall(r"(?m)^#+ (.*)$", path.read_text(encoding="utf-8"))
    plain = (re.sub(r"[^\w\- ]", "", title.lower()) for title in titles)
    return {title.replace(" ", "-") for title in plain}


@pytest.mark.parametrize("path", [*ROOT.glob("README*.md"), *sorted(DOCS.rglob("*.md"))], ids=str)
def test_every_link_leads_somewhere(path: Path) -> None:
    text = re.sub(r"(?ms)^ *```.*?^ *```", "", path.read_text(encoding="utf-8"))
    for link in re.findall(r"\]\(([^)]+)\)", text):
        target, _, anchor = collapsed(link).partition("#")
        if "://" in target:
            continue
        page = path.parent / target if target else path
        assert page.exists(), link
        generated = page.name == "settings.md"
        assert not anchor or generated or anchor in anchors(page), link


def test_all_pages_are_in_the_table_of_contents() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    assert [page for page in PAGES if page.removesuffix(".md") not in index] == []


def test_the_messages_that_people_search_for_are_headings() -> None:
    headings = re.findall(r"(?m)^### (.*)$", PAGES["troubleshooting.md"])
    for message in (
        "CUDA capability sm_86 is not compatible with the current PyTorch installation",
        "no kernel image is available for execution on the device",
        "Torch not compiled with CUDA enabled",
        "torch.cuda.is_available() returns False",
        "The NVIDIA driver on your system is too old",
        "CUDA out of memory",
        "fake_B is black",
        "No module named 'visdom'",
        "latest_net_G.pth not found",
        "Missing key(s) in state_dict",
        "size mismatch for model",
        "is not a valid directory",
        "num_samples should be a positive integer value, but got num_samples=0",
        "BrokenPipeError: [Errno 32] Broken pipe",
        "Sizes of tensors must match except in dimension 1",
        "UnicodeDecodeError: 'gbk' codec",
        "OMP: Error #15",
    ):
        assert any(message in heading for heading in headings), message
