"""Console output of a training run: a progress bar in a terminal, else a line per report."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from transmute.training.processes import Processes

Loaded = TypeVar("Loaded")

WARM_UP, TIMED = 5, 10
"""Steps before the timing, and steps timed, from which the remaining time is estimated."""


class TrainingConsole:
    """Progress and speed of a training run.

    Args:
        console: Where to print; a quiet one on every rank but 0.
        processes: The processes, whose queued work must finish for timing.
        start_step: Steps finished before this session.
        last_step: Length of the training run.
        batch: Images of each domain per step.
        show: Renders the names of settings in printed lines.

    Attributes:
        bar: The progress bar: a context manager that shows it.
    """

    def __init__(
        self,
        console: Console,
        processes: Processes,
        start_step: int,
        last_step: int,
        batch: int,
        show: Callable[[str], str],
    ) -> None:
        self.console, self.processes, self.show = console, processes, show
        self.start_step, self.last_step, self.batch = start_step, last_step, batch
        self._ends: deque[float] = deque([time.perf_counter()], maxlen=50)
        self._load_seconds: deque[float] = deque(maxlen=50)
        self._waited, self._waited_since = 0.0, time.perf_counter()
        self._losses = ""
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[speed]}"),
            TextColumn("{task.fields[losses]}"),
            console=console,
            disable=console.quiet or not console.is_terminal,
        )
        self._task = self.bar.add_task(
            "training", total=last_step, completed=start_step, speed="", losses=""
        )

    def say(self, line: str) -> None:
        """Prints a line."""
        self.console.print(self.show(line), markup=False)

    @property
    def images_per_second(self) -> float:
        """Images of each domain per second, over the last 50 steps."""
        seconds = max(self._ends[-1] - self._ends[0], 1e-9)
        return (len(self._ends) - 1) * self.batch / seconds

    @property
    def load_milliseconds(self) -> float:
        """Mean time to load an image, in any process, over the last 50 steps."""
        return 1000 * sum(self._load_seconds) / max(len(self._load_seconds), 1)

    def waiting_times(self) -> tuple[float, float]:
        """Seconds spent waiting for batches since the last call, and all seconds since then."""
        now = time.perf_counter()
        times = self._waited, now - self._waited_since
        self._waited, self._waited_since = 0.0, now
        return times

    def next_batch(self, batches: Iterator[Loaded]) -> Loaded:
        """The next batch. Records how long it took to arrive."""
        start = time.perf_counter()
        batch = next(batches)
        self._waited += time.perf_counter() - start
        return batch

    def advance(self, step: int, load_seconds: float) -> None:
        """Records a finished step, and prints an estimate once the first steps are timed."""
        self._ends.append(time.perf_counter())
        self._load_seconds.append(load_seconds)
        speed = (
            f"{self.images_per_second:.3g} images/s ({self.load_milliseconds:.1f} ms to load one)"
        )
        self.bar.update(self._task, advance=1, speed=speed, losses=self._losses)
        taken = step - self.start_step
        if taken == WARM_UP and step + TIMED < self.last_step:
            self.processes.synchronize()
            self._ends = deque([time.perf_counter()], maxlen=50)
            self._waited, self._waited_since = 0.0, self._ends[0]
        if taken == WARM_UP + TIMED and step < self.last_step:
            self.processes.synchronize()
            speed, left = self.images_per_second / self.batch, self.last_step - step
            self.say(f"{speed:.3g} steps/s: the remaining {left:,} take {duration(left / speed)}")

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Excludes the time of the block from the speed."""
        start = time.perf_counter()
        yield
        passed = time.perf_counter() - start
        self._ends = deque((end + passed for end in self._ends), maxlen=self._ends.maxlen)
        self._waited_since += passed

    def report(self, step: int, losses: dict[str, float]) -> None:
        """Prints losses: in the progress bar, or as a line where there is none."""
        self._losses = " ".join(f"{name} {value:.3f}" for name, value in losses.items())
        if self.bar.disable:
            seconds = (self.last_step - step) * self.batch / max(self.images_per_second, 1e-9)
            speed = f"{self.images_per_second:.3g} images/s  {duration(seconds)} left"
            self.say(f"step {step}/{self.last_step}  {speed}  {self._losses}")


def duration(seconds: float) -> str:
    """Seconds as text: days, hours and minutes, minutes, or seconds."""
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours >= 48:
        return f"{hours / 24:.1f} days"
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min" if minutes else f"{round(seconds)} s"
