"""What a training says while it runs: a progress bar in a terminal, a line at each report elsewhere."""

from __future__ import annotations

import signal
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Loaded = TypeVar("Loaded")


class Watch:
    """Progress on the console.

    Args:
        console: Where to say it; a quiet one in every process but the first.
        first_step, last_step: Of this session.
        batch: Pictures of each domain in a step.
    """

    def __init__(self, console: Console, *, first_step: int, last_step: int, batch: int) -> None:
        self.console = console
        self.batch = batch
        self.last_step = last_step
        self._ends: deque[float] = deque([time.perf_counter()], maxlen=50)
        self._load_seconds: deque[float] = deque(maxlen=50)
        self._waited, self._asked = 0.0, time.perf_counter()
        self._page_written = time.perf_counter()
        self._losses = ""
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[speed]}"),
            TextColumn("{task.fields[losses]}"),
            console=console,
            disable=console.quiet or not console.is_terminal,
        )
        self._task = self._bar.add_task("training", total=last_step, completed=first_step, speed="", losses="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def say(self, line: str) -> None:
        self.console.print(line, markup=False)

    @property
    def pictures_per_second(self) -> float:
        """Of each domain, over the last 50 steps."""
        return (len(self._ends) - 1) * self.batch / max(self._ends[-1] - self._ends[0], 1e-9)

    @property
    def load_milliseconds(self) -> float:
        """Mean time to load one picture, over the last 50 steps, wherever it was loaded."""
        return 1000 * sum(self._load_seconds) / max(len(self._load_seconds), 1)

    def waiting(self) -> tuple[float, float]:
        """Seconds since the last call in which the next batch was not there yet, and all seconds since then; ask when the device is done."""
        now = time.perf_counter()
        found = self._waited, now - self._asked
        self._waited, self._asked = 0.0, now
        return found

    def next_of(self, batches: Iterator[Loaded]) -> Loaded:
        """The next batch; notes how long it was waited for."""
        start = time.perf_counter()
        batch = next(batches)
        self._waited += time.perf_counter() - start
        return batch

    def estimate(self, step: int) -> None:
        """Says, once the first steps are over, how long the others will take."""
        speed, left = self.pictures_per_second / self.batch, self.last_step - step
        self.say(f"{speed:.3g} steps/s: {left:,} more take about {duration(left / speed)}")

    def restart(self) -> None:
        """Forgets how long the steps so far have taken."""
        self._ends.clear()
        self._ends.append(time.perf_counter())
        self._waited, self._asked = 0.0, self._ends[0]

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What is done meanwhile does not count as time of the steps."""
        start = time.perf_counter()
        yield
        passed = time.perf_counter() - start
        self._ends = deque((end + passed for end in self._ends), maxlen=self._ends.maxlen)
        self._asked += passed

    def page_is_due(self, every: float = 20.0) -> bool:
        """Whether the report is to be written again: at most once in so many seconds, since it holds pictures."""
        due = time.perf_counter() - self._page_written > every
        if due:
            self._page_written = time.perf_counter()
        return due

    def advance(self, load_seconds: float) -> None:
        """One step is done."""
        self._ends.append(time.perf_counter())
        self._load_seconds.append(load_seconds)
        speed = f"{self.pictures_per_second:.3g} pictures/s (loading one {self.load_milliseconds:.1f} ms)"
        self._bar.update(self._task, advance=1, speed=speed, losses=self._losses)

    def report(self, step: int, losses: dict[str, float]) -> None:
        self._losses = " ".join(f"{name} {value:.3f}" for name, value in losses.items())
        if self._bar.disable:
            left = (self.last_step - step) * self.batch / max(self.pictures_per_second, 1e-9)
            self.say(f"step {step}/{self.last_step}  {self.pictures_per_second:.3g} pictures/s  {duration(left)} left  {self._losses}")


def duration(seconds: float) -> str:
    """In words: days, hours and minutes, minutes, or seconds."""
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours >= 48:
        return f"{hours / 24:.1f} days"
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min" if minutes else f"{round(seconds)} s"


class StopRequest:
    """Turns the first Ctrl-C or SIGTERM into a wish that the loop reads between two steps; a second Ctrl-C, later, interrupts at once.

    A launcher passes on the Ctrl-C that its processes have had from the terminal already: within two seconds it is the same one.

    Attributes:
        signal: The number of the signal that asked, or None.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._asked = 0.0

    def __enter__(self) -> Self:
        main = threading.current_thread() is threading.main_thread()  # elsewhere, in a notebook's thread say, signals cannot be set
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM) if main}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is None:
            self.signal, self._asked = number, time.monotonic()
        elif number == signal.SIGINT and time.monotonic() - self._asked > 2:
            raise KeyboardInterrupt
