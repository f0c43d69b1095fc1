"""Training runs that are killed or stopped at random moments, and then resumed."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.campaigns.materials import TRAIN, Materials
from tests.campaigns.runner import (
    Campaign,
    Case,
    Ended,
    Failure,
    Result,
    call,
    ended,
    require_clean,
)

EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree")


def die_at_write(at: int | None, report: Callable[[str], None] | None = None) -> None:
    """Kills this process at its N-th opening for writing, renaming or removing in the run folder.

    Args:
        at: The number, from 0. None only counts.
        report: Receives the path of each.
    """
    count = 0

    def hook(event: str, arguments: tuple) -> None:
        nonlocal count
        if event not in EVENTS or not isinstance(arguments[0], (str, bytes, os.PathLike)):
            return
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
            return
        path = os.fsdecode(arguments[0])
        if "run/" not in path and not path.endswith("run"):
            return
        if report:
            report(f"{event} {path}")
        if count == at:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1

    sys.addaudithook(hook)


def differences(one: Path, other: Path, *, only_last: bool = False) -> list[str]:
    """What differs between two runs that should be equal, bit for bit.

    Args:
        one: The run that was not interrupted.
        other: The resumed run.
        only_last: Whether only what the last step wrote is compared, because a run that is stopped
            saves once more.
    """
    import torch

    from transmute.run import Run
    from transmute.weights import load_tensors

    left, right = Run(one), Run(other)
    found = []
    step = left.checkpoints()[-1]
    if not only_last and left.checkpoints() != right.checkpoints():
        found.append(f"checkpoints {right.checkpoints()}")
    for checkpoint in [step] if only_last else left.checkpoints():
        (expected, _), (tensors, _) = (
            load_tensors(run.checkpoint_file(checkpoint)) for run in (left, right)
        )
        same = expected.keys() == tensors.keys() and all(
            torch.equal(value, tensors[name]) for name, value in expected.items()
        )
        found += [] if same else [f"checkpoint {checkpoint}"]
    speeds = ("images_per_second", "load_milliseconds", "symptoms", "seconds")
    for name in ("metrics", "evaluations"):
        first, second = (
            [
                {key: value for key, value in row.items() if key not in speeds}
                for row in (run.metrics() if name == "metrics" else run.evaluations())
            ]
            for run in (left, right)
        )
        found += [] if first == second else [f"{name}: {second} instead of {first}"]
    names = [f"samples/{one}.png" for one in left.samples()]
    names += [f"models/{step}/{path.name}" for path in left.model_folder(step).iterdir()]
    for name in names:
        if not (other / name).is_file() or (one / name).read_bytes() != (other / name).read_bytes():
            found.append(name)
    files = {path.relative_to(other) for path in other.rglob("*") if path.is_file()}
    found += [f"left: {path}" for path in files if ".part" in path.name]
    return found


def campaign(materials: Materials) -> Campaign:
    """Kills and stops."""
    reference = materials.folder / "run"
    events = _events(materials)

    def case(random: Random, number: int) -> tuple[str, Case]:
        kind = ("write", "write", "write", "time", "signal", "again")[number % 6]
        moment = random.random()
        name = random.choice([signal.SIGINT, signal.SIGTERM])
        writes = [random.randrange(len(events)) for _ in range(3 if kind == "again" else 1)]
        title = {
            "write": f"SIGKILL at {events[writes[0]]}",
            "again": f"SIGKILL at {[events[at] for at in writes]}",
            "time": f"SIGKILL after {moment:.2f}",
            "signal": f"{name.name} after {moment:.2f}",
        }[kind]

        def run(folder: Path) -> Result:
            materials.copy(folder, "data")
            kills: dict[str, float] = {}
            if kind in ("write", "again"):
                for at in writes:
                    end = ended(folder, lambda at=at: (die_at_write(at), call(TRAIN)))
                    _stopped(end, -signal.SIGKILL)
                    if end.status:
                        kills[f"killed at {_file(events[at])}"] = at
            else:
                signal_number = signal.SIGKILL if kind == "time" else name
                status = -9 if kind == "time" else 128 + name
                _stopped(ended(folder, lambda: _with_alarm(moment, signal_number)), status)
            end = ended(folder, lambda: call(TRAIN))
            require_clean(end)
            if end.status:
                raise Failure("tracebacks", f"cannot resume: {end.err[-500:]}")
            found = differences(reference, folder / "run", only_last=kind == "signal")
            if found:
                left = all(one.startswith("left") for one in found)
                raise Failure("leftovers" if left else "tracebacks", f"differs: {found}"[:1500])
            return Result("handled", "", end, kills)

        return title, run

    return Campaign("kills", 70, 4, case)


def _file(event: str) -> str:
    """The kind of file that an event is about: checkpoints, models, metrics, samples, report..."""
    parts = Path(event.split(" ", 1)[1]).parts[1:]
    if parts and ".part" in parts[0]:
        return f"a temporary {Path(parts[0]).suffix.lstrip('.')} file"
    return parts[0].removesuffix(Path(parts[0]).suffix) if parts else "the folder"


def _stopped(end: Ended, status: int) -> None:
    """Checks that a process was stopped quietly, or finished before."""
    require_clean(end)
    # Before a run begins, SIGTERM ends a process as it does any other.
    if end.status not in (0, status, -signal.SIGTERM if status == 128 + signal.SIGTERM else 0):
        raise Failure("tracebacks", f"status {end.status}: {(end.out + end.err)[-700:]}")
    if end.status > 2 and "transmute:" in end.err:
        raise Failure("tracebacks", f"not quiet: {end.err[-500:]}")


def _with_alarm(seconds: float, number: signal.Signals) -> None:
    """Trains, and sends this process a signal after a while."""
    from threading import Timer

    timer = Timer(seconds, lambda: os.kill(os.getpid(), number))
    timer.daemon = True
    timer.start()
    call(TRAIN)


def _events(materials: Materials) -> list[str]:
    """The writes of an uninterrupted run."""
    folder, log = materials.folder / "counting", materials.folder / "events.txt"
    folder.mkdir()
    materials.copy(folder, "data")

    def count() -> None:
        with log.open("a", encoding="utf-8") as file:
            die_at_write(None, lambda line: print(line, file=file, flush=True))
            call(TRAIN)

    end = ended(folder, count, limit=120)
    if end.status:
        raise RuntimeError(end.err)
    shutil.rmtree(folder)
    return log.read_text(encoding="utf-8").splitlines()
