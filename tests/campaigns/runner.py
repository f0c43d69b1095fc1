"""Runs cases in forked processes, classifies how each ends, and counts.

A case is a function of the seed, the campaign's name and a number, so each can be repeated alone.
Processes are forked from one that has imported everything, because importing torch takes seconds;
the times and memory here are those beyond that.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pkgutil
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path
from random import Random
from typing import IO, NamedTuple

LIMIT = 30.0
"""Seconds after which a process counts as one that hangs."""
MEMORY = 6 << 30
"""Bytes that a process can use at most, for the sake of the machine."""
SLOW, LARGE = 2.0, 1 << 30
"""CPU seconds and bytes that refusing an input may take."""
KINDS = ("handled", "sentences", "tracebacks", "hangs", "leftovers", "slow")
"""How cases end. The first two are good."""

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_TEMPORARY = ("*.part*", "*.tmp")
_ENVIRONMENT = {
    "TRANSMUTE_MIRROR": "http://127.0.0.1:9",  # downloads fail at once
    "TRANSMUTE_HOME": "cache",
    "TORCH_HOME": "cache",
    "COLUMNS": "200",
    "OMP_NUM_THREADS": "1",
}


@dataclass(frozen=True)
class Ended:
    """How a process ended, and what it printed. The status is negative for a signal."""

    status: int
    out: str
    err: str
    seconds: float
    cpu: float
    memory: int
    hung: bool = False


@dataclass(frozen=True)
class Result:
    """How a case ended, one of `KINDS`, and why."""

    kind: str
    detail: str = ""
    ended: Ended | None = None
    notes: Mapping[str, float] = field(default_factory=dict)


class Failure(Exception):
    """A case that ends badly: its kind and the reason."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


Case = Callable[[Path], Result]
"""Runs in an empty folder."""


class Campaign(NamedTuple):
    """A kind of attack.

    Attributes:
        name: Its name.
        cases: Number of cases.
        sample: Number of cases that `make test` runs.
        case: Returns the title and the case of a number.
        missing: Why it cannot run here, or None.
    """

    name: str
    cases: int
    sample: int
    case: Callable[[Random, int], tuple[str, Case]]
    missing: str | None = None


def import_everything() -> None:
    """Imports all modules of the package, so that forked processes start at once."""
    import torch

    import transmute

    torch.set_num_threads(1)  # threads do not survive a fork
    for module in pkgutil.walk_packages(transmute.__path__, "transmute."):
        if not module.name.endswith("__main__"):
            import_module(module.name)


def call(words: Sequence[str]) -> None:
    """Runs a command line, and exits."""
    from transmute import cli
    from transmute.cli import junyanz

    program, *sys.argv[1:] = words
    sys.argv[0] = program
    {
        "transmute": cli.main,
        "transmute-train": junyanz.train_main,
        "transmute-test": junyanz.test_main,
    }[program]()


def ended(folder: Path, action: Callable[[], object], *, limit: float = LIMIT) -> Ended:
    """Runs a function in a forked process and a folder, and waits for its end."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.monotonic()
        child = os.fork()
        if child == 0:
            _as_process(folder, action, out.fileno(), err.fileno())
        status, usage, hung = _waited(child, began + limit)
        seconds = time.monotonic() - began
        said, errors = _text(out), _text(err)
    memory = max(0, usage.ru_maxrss * 1024 - _resident())
    return Ended(status, said, errors, seconds, usage.ru_utime + usage.ru_stime, memory, hung)


def _text(file: IO[bytes]) -> str:
    """The first megabyte that was written to a file."""
    file.seek(0)
    return file.read(1 << 20).decode("utf-8", "surrogateescape")


def _resident() -> int:
    """Bytes of memory that this process uses, which a forked one starts with."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _as_process(folder: Path, action: Callable[[], object], out: int, err: int) -> None:
    """Becomes a process of its own session that runs a function, and exits."""
    status = 70
    try:
        os.setsid()
        os.chdir(folder)
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        os.environ.update(_ENVIRONMENT, HOME=str(folder))
        os.environ.pop("PYTHONWARNDEFAULTENCODING", None)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with open(os.devnull, encoding="utf-8") as nothing:
            for old, new in ((nothing.fileno(), 0), (out, 1), (err, 2)):
                os.dup2(old, new)
        try:
            action()
            status = 0
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else int(error.code is not None)
        except BaseException:
            traceback.print_exc()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
    finally:
        os._exit(status)


def _waited(child: int, deadline: float) -> tuple[int, resource.struct_rusage, bool]:
    """Waits for a process, kills its session at the deadline, and returns how it ended."""
    hung, pause = False, 0.002
    while True:
        pid, status, usage = os.wait4(child, os.WNOHANG)
        if pid:
            break
        if time.monotonic() > deadline and not hung:
            hung = True
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
        time.sleep(pause)
        pause = min(0.05, pause * 1.2)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)  # its own processes
    return os.waitstatus_to_exitcode(status), usage, hung


def contents(folder: Path) -> dict[str, str]:
    """Every path below a folder, with a digest of what it contains."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = os.fsencode(path.relative_to(folder)).decode("utf-8", "backslashreplace")
        if path.is_symlink():
            found[name] = f"link {os.readlink(path)}"
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            found[name] = "folder" if path.is_dir() else "special"
    return found


def require_clean(end: Ended) -> None:
    """Checks the output of a process, and that it ended by itself.

    Raises:
        Failure: If it hung, was killed, or printed a traceback or control characters.
    """
    text = end.out + end.err
    if end.hung:
        raise Failure("hangs", f"no end after {end.seconds:.0f} s: {text[-300:]!r}")
    if "Traceback (most recent call last)" in text:
        raise Failure("tracebacks", text[-1500:])
    if found := _CONTROL.search(text):
        raise Failure("tracebacks", f"prints {found[0]!r}: {text[:300]!r}")
    if len(end.err) > 20_000:
        raise Failure("tracebacks", f"prints {len(end.err)} characters: {end.err[:300]!r}")
    if "Warning: " in end.err:
        raise Failure("tracebacks", f"prints a warning: {end.err[-500:]}")
    is_said = re.search("^transmute: .{10}", end.err, re.M)
    # `data check` and `doctor` print what they found, and exit with 1.
    if (end.status == 2 and not is_said) or (end.status == 1 and not (is_said or end.out.strip())):
        raise Failure("tracebacks", f"no sentence: {end.out[-200:]!r} {end.err[-500:]!r}")


def require_nothing_left(
    before: Mapping[str, str], after: Mapping[str, str], status: int, allowed: Sequence[str]
) -> None:
    """Checks that inputs are unchanged, and that there is nothing new after a failure.

    Args:
        before, after: The contents of the folder.
        status: Exit status. After a success, only temporary files are left over.
        allowed: Patterns of the paths that may be new or change.

    Raises:
        Failure: If a file is changed or left over.
    """
    changed = [
        name
        for name in before
        if after.get(name) != before[name] and not any(fnmatch(name, one) for one in allowed)
    ]
    if changed:
        raise Failure("leftovers", f"changed: {changed[:5]}")
    new = [name for name in after if name not in before and not name.startswith("cache")]
    left = [
        name
        for name in new
        if any(fnmatch(name.rpartition("/")[2], one) for one in _TEMPORARY)
        or (status == 2 and not any(fnmatch(name, one) for one in allowed))
    ]
    if left:
        raise Failure("leftovers", f"left: {left[:8]} (status {status})")


def checked(
    folder: Path,
    action: Callable[[], object],
    *,
    allowed: Sequence[str] = (),
    statuses: Sequence[int] = (0, 1, 2),
    limit: float = LIMIT,
) -> Result:
    """Runs a function as a process, and classifies how it ends.

    Args:
        folder: The working directory, with the inputs.
        action: The function.
        allowed: Patterns of the paths that may be new after a failure, or change.
        statuses: Exit statuses that are expected.
        limit: Seconds.
    """
    before = contents(folder)
    end = ended(folder, action, limit=limit)
    try:
        require_clean(end)
        if end.status not in statuses:
            raise Failure("tracebacks", f"status {end.status}: {(end.out + end.err)[-700:]}")
        require_nothing_left(before, contents(folder), end.status, allowed)
        if end.status and (end.cpu > SLOW or end.memory > LARGE):
            cost = f"{end.cpu:.1f} s, {end.memory / 2**20:.0f} MiB"
            raise Failure("slow", f"{cost}: {end.err[-300:]}")
    except Failure as failure:
        return Result(failure.kind, str(failure), end)
    return Result("sentences" if end.err.startswith("transmute: ") else "handled", "", end)


@dataclass
class Row:
    """The counts of a campaign, and its worst refused input."""

    name: str
    counts: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    cpu: tuple[float, int] = (0.0, 0)
    memory: tuple[int, int] = (0, 0)
    notes: dict[str, list[float]] = field(default_factory=dict)

    def add(self, number: int, result: Result) -> None:
        self.counts[result.kind] += 1
        if result.ended and result.ended.status:
            self.cpu = max(self.cpu, (result.ended.cpu, number))
            self.memory = max(self.memory, (result.ended.memory, number))
        for name, value in result.notes.items():
            self.notes.setdefault(name, []).append(value)

    @property
    def is_good(self) -> bool:
        return all(self.counts[kind] == 0 for kind in KINDS[2:])

    def __str__(self) -> str:
        numbers = [sum(self.counts.values()), *(self.counts[kind] for kind in KINDS)]
        worst = f"{self.cpu[0]:5.1f} s #{self.cpu[1]:<5}{self.memory[0] / 2**20:5.0f} MiB"
        counts = "".join(f"{number:11}" for number in numbers)
        return f"{self.name:10}{counts}  {worst} #{self.memory[1]:<5}{self.seconds:6.0f} s"


TITLE = f"{'campaign':10}{''.join(f'{name:>11}' for name in ('tried', *KINDS))}  worst refused"


def run_case(
    campaign: Campaign, seed: int, number: int, keep: Path | None = None
) -> tuple[int, str, Result]:
    """Runs one case in a new folder, which is removed unless it should be kept."""
    title = ""
    with contextlib.ExitStack() as stack:
        outer = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="case-")))
        folder = outer / "outer" / "work"  # so that .. and ../.. are folders of this case, too
        folder.mkdir(parents=True)
        try:
            title, case = campaign.case(Random(f"{seed}/{campaign.name}/{number}"), number)
            result = case(folder)
        except Failure as failure:
            result = Result(failure.kind, str(failure))
        except Exception:
            result = Result("tracebacks", f"of the campaign: {traceback.format_exc()[-1500:]}")
    return number, title, result


def lanes(
    campaign: Campaign, seed: int, numbers: Sequence[int], count: int
) -> Iterator[tuple[int, str, Result]]:
    """Runs cases in several processes."""
    from multiprocessing import get_context
    from queue import Empty

    context = get_context("fork")
    results = context.Queue()

    def work(own: Sequence[int]) -> None:
        for number in own:
            results.put(run_case(campaign, seed, number))

    processes = [
        context.Process(target=work, args=(numbers[lane::count],)) for lane in range(count)
    ]
    for process in processes:
        process.start()
    for _ in numbers:
        while True:
            try:
                yield results.get(timeout=5)
                break
            except Empty:
                if not any(process.is_alive() for process in processes):
                    raise RuntimeError(f"a process of {campaign.name} ended early") from None
    for process in processes:
        process.join()
