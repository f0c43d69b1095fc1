"""Signals while a process starts, output that cannot be written, and scripts without a guard."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from transmute.run import Run

ENTRIES = {
    "transmute": ["-m", "transmute", "recipes"],
    "transmute-train": ["-c", "from transmute.__main__ import train_main; train_main()"],
    "transmute-test": ["-c", "from transmute.__main__ import test_main; test_main()"],
}
TINY = shlex.split(
    "--size 16 --batch 2 --method.generator.width 2 --method.generator.blocks 1 "
    "--method.discriminator.width 2 --method.discriminator.layers 1 --device cpu "
    "--precision float32 --report-every 1"
)

not_on_windows = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")

SLOW_IMPORT = """
import time
try:
    print("importing", flush=True)
    time.sleep(60)
except BaseException:
    raise ImportError("interrupted") from None
"""


def start(arguments: list[str], **options) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdout=options.pop("stdout", subprocess.PIPE),
        stderr=subprocess.PIPE,
        encoding="utf-8",
        **options,
    )


@not_on_windows
@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_an_import_that_catches_everything_ends_the_process_silently(
    tmp_path: Path, entry: str, number: signal.Signals
) -> None:
    (tmp_path / "pydantic.py").write_text(SLOW_IMPORT, encoding="utf-8")
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    process = start(ENTRIES[entry], env=os.environ | {"PYTHONPATH": path})
    assert process.stdout is not None
    assert process.stdout.readline() == "importing\n"
    process.send_signal(number)
    out, error = process.communicate(timeout=10)
    assert (process.returncode, out, error) == (128 + number, "", "")


@not_on_windows
@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.4, 2.0, 3.5, 5.0])
def test_ctrl_c_while_two_processes_start_is_silent(
    animals: Path, tmp_path: Path, delay: float
) -> None:
    """The terminal sends Ctrl-C to all of them."""
    run = ["--run", str(tmp_path / "run"), "--steps", "5000"]
    process = start(
        ["-m", "transmute", "train", str(animals), *run, *TINY, "--devices", "2"],
        start_new_session=True,
    )
    time.sleep(delay)
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (130, "")
    assert list(tmp_path.rglob("*.part*")) == []
    time.sleep(0.5)
    listed = subprocess.check_output(["ps", "-A", "-o", "pgid=,stat="], encoding="utf-8")
    assert [line for line in listed.splitlines() if re.match(rf" *{process.pid} +[^Z]", line)] == []


@not_on_windows
@pytest.mark.parametrize("words", [["recipes"], ["--help"], ["data", "--help"]], ids=" ".join)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_command_whose_output_is_not_read_ends_silently(
    words: list[str], unbuffered: str
) -> None:
    read, write = os.pipe()
    os.close(read)
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    process = start(["-m", "transmute", *words], stdout=write, env=environment)
    os.close(write)
    _, error = process.communicate(timeout=30)
    assert (process.returncode, error) == (128 + 13, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_output_to_a_full_device_is_an_error_of_one_sentence() -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        environment = os.environ | {"PYTHONUNBUFFERED": ""}
        process = start(["-m", "transmute", "recipes"], stdout=full, env=environment)
        _, error = process.communicate(timeout=30)
    assert process.returncode == 2
    assert error == "transmute: standard output: No space left on device\n"


@not_on_windows
@pytest.mark.parametrize("closed", [">&-", "2>&-"])
def test_a_command_without_output_succeeds(closed: str) -> None:
    shell = ["sh", "-c", f'exec "$0" -m transmute recipes {closed}', sys.executable]
    result = subprocess.run(shell, capture_output=True, encoding="utf-8", check=True)
    assert (bool(result.stdout), result.stderr) == (closed == "2>&-", "")


@not_on_windows
def test_training_whose_output_is_no_longer_read_saves_and_ends_silently(
    animals: Path, tmp_path: Path
) -> None:
    run = ["--run", str(tmp_path / "run"), "--steps", "5000"]
    with start(["-m", "transmute", "train", str(animals), *run, *TINY]) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        while "step 1/" not in process.stdout.readline():
            assert process.poll() is None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 128 + 13
    newest = Run(tmp_path / "run").checkpoints()[-1]
    assert 1 < newest < 5000
    assert Run(tmp_path / "run").metrics()[-1]["step"] == newest


UNGUARDED = """
import multiprocessing, sys
multiprocessing.set_start_method({method!r}, force=True)
import transmute
from transmute.config.methods import CycleGANConfig
from transmute.config.networks import PatchGANConfig, ResNetConfig
print("imported", flush=True)
tiny = CycleGANConfig(
    generator=ResNetConfig(width=2, blocks=1), discriminator=PatchGANConfig(width=2, layers=1)
)
transmute.train(
    sys.argv[1], run=sys.argv[2], method=tiny, size=16, steps=2, batch=2, device="cpu",
    source={{"workers": {workers}}}, devices={devices},
)
"""


@not_on_windows
@pytest.mark.parametrize(
    ("method", "workers", "devices"), [("fork", 0, 2), ("spawn", 1, 1), ("forkserver", 1, 1)]
)
def test_a_script_that_its_processes_would_run_again_is_refused_once(
    animals: Path, tmp_path: Path, method: str, workers: int, devices: int
) -> None:
    script, run = tmp_path / "script.py", tmp_path / "run"
    text = UNGUARDED.format(method=method, workers=workers, devices=devices)
    script.write_text(text, encoding="utf-8")
    process = start([str(script), str(animals), str(run)])
    out, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert out.count("imported") == 2  # by the script, and by the process that tries it
    assert error.count("Traceback") == 1
    assert f"{script} starts other processes" in error
    assert error.endswith('below `if __name__ == "__main__":`\n')
    assert not run.exists()


@not_on_windows
def test_a_script_without_a_guard_trains_with_forked_workers(animals: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(UNGUARDED.format(method="fork", workers=2, devices=1), encoding="utf-8")
    process = start([str(script), str(animals), str(tmp_path / "run")])
    out, error = process.communicate(timeout=60)
    assert (process.returncode, out.count("imported"), error) == (0, 1, "")
    assert Run(tmp_path / "run").models() == [2]
