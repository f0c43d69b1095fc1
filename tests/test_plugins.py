from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from transmute import plugins
from transmute.config.networks import GeneratorConfig
from transmute.errors import UserError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "neighbor.py").write_text("VALUE = 3\n", encoding="utf-8")
    path = tmp_path / "mine.py"
    path.write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "from neighbor import VALUE\n"
        "@dataclass\n"
        "class Thing:\n"
        "    value: int = VALUE\n",
        encoding="utf-8",
    )
    return path


def test_a_file_is_imported_once_with_the_modules_next_to_it(file: Path) -> None:
    thing = plugins.load(f"{file}:Thing")
    assert thing().value == 3
    assert plugins.load(f"{file}:Thing") is thing
    assert file in plugins.loaded_files()
    assert str(file.parent) not in sys.path


def test_objects_can_be_unpickled_in_a_process_that_has_imported_the_file(file: Path) -> None:
    pickled = pickle.dumps(plugins.load(f"{file}:Thing")(5))
    code = (
        "import pickle, sys\nfrom pathlib import Path\nfrom transmute import plugins\n"
        f"plugins.import_file(Path({str(file)!r}))\n"
        f"print(pickle.loads({pickled!r}).value)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True
    )
    assert result.stdout == "5\n"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("mine.py", "Write FILE.py:NAME"),
        ("mine.py:a-b", "Write FILE.py:NAME"),
        ("nowhere.py:Thing", "cannot load nowhere.py:Thing: there is no file nowhere.py"),
        ("mine.py:Other", "mine.py does not define Other. It defines .*Thing"),
        ("broken.py:Thing", "importing .*broken.py failed: ZeroDivisionError"),
        ("leaving.py:Thing", "importing .*leaving.py failed: SystemExit"),
    ],
)
def test_a_reference_that_cannot_be_loaded_is_one_sentence(
    file: Path, monkeypatch: pytest.MonkeyPatch, reference: str, message: str
) -> None:
    monkeypatch.chdir(file.parent)
    Path("broken.py").write_text("1 / 0\n", encoding="utf-8")
    Path("leaving.py").write_text("raise SystemExit\n", encoding="utf-8")
    with pytest.raises(UserError, match=message):
        plugins.load(reference)


def test_a_class_must_be_of_the_right_kind(file: Path) -> None:
    with pytest.raises(UserError, match=r"Thing is not a subclass of .*GeneratorConfig"):
        plugins.load(f"{file}:Thing", GeneratorConfig)


def test_a_file_that_failed_can_be_loaded_after_it_was_fixed(file: Path) -> None:
    good = file.read_text(encoding="utf-8")
    file.write_text("1 / 0\n", encoding="utf-8")
    with pytest.raises(UserError):
        plugins.load(f"{file}:Thing")
    file.write_text(good, encoding="utf-8")
    assert plugins.load(f"{file}:Thing")().value == 3
