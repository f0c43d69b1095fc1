"""The processes of a training run: their devices, their seeds, and the signals that stop them."""

import math
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from types import FrameType
from typing import cast

import numpy as np
import torch
import torch.distributed as dist

from transmute import plugins
from transmute.device import current_device, select_device
from transmute.errors import RankError, UserError
from transmute.startup import accept_ctrl_c, ctrl_c_blocked, require_main_guard


@dataclass(frozen=True)
class Processes:
    """This process among all processes of a training run.

    Attributes:
        device: The device of this process.
        rank: Its number, from 0. Rank 0 writes files.
        count: Number of processes.
    """

    device: torch.device
    rank: int = 0
    count: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, which prints and writes files."""
        return self.rank == 0

    def any_rank(self, flag: bool) -> bool:
        """Whether the flag is set on any rank."""
        return self.mean_over_ranks({"flag": float(flag)})["flag"] > 0

    def mean_over_ranks(self, values: dict[str, float]) -> dict[str, float]:
        """The mean of each value over all ranks."""
        if self.count == 1:
            return values
        tensor = torch.tensor(list(values.values()), dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return dict(zip(values, (tensor / self.count).tolist(), strict=True))

    def barrier(self) -> None:
        """Blocks until all ranks are here."""
        if self.count > 1:
            dist.barrier()

    @contextmanager
    def ending_together(self) -> Iterator[None]:
        """Ends all ranks if the block fails on one of them. That rank raises its own error."""
        problem = None
        try:
            yield
        except Exception as error:
            problem = error
        if self.any_rank(problem is not None):
            self.barrier()  # with gloo, a rank that exits early may abort the others
            raise problem or UserError("another rank has failed")


def seed_step(seed: int, step: int, rank: int) -> None:
    """Makes all randomness of a step a function of (seed, step, rank).

    Step 0 is the initialization of the weights.
    """
    sequence = np.random.SeedSequence([seed, step, rank])
    torch.manual_seed(int(sequence.generate_state(1, np.uint64)[0]))


def is_launched() -> bool:
    """Whether torchrun, or `launch` below, started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


@contextmanager
def process_group(name: str) -> Iterator[Processes]:
    """Joins the process group for the duration of a training run.

    Args:
        name: auto, cpu, cuda or cuda:N.
    """
    device = select_device(name, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    if not is_launched():
        with current_device(device):
            yield Processes(device)
        return
    cuda = device.type == "cuda"
    if cuda and device.index is None:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    with current_device(device):
        # The others wait while rank 0 evaluates: NCCL's default of ten minutes is too short.
        dist.init_process_group("nccl" if cuda else "gloo", timeout=timedelta(hours=3))
        try:
            yield Processes(device, dist.get_rank(), dist.get_world_size())
            dist.barrier()  # without it, gloo may abort slower ranks
        finally:
            dist.destroy_process_group()


def launch(
    function: Callable[..., int | None], arguments: tuple[object, ...], devices: int
) -> int | None:
    """Calls `function(*arguments)` in several processes on this machine, like torchrun.

    Args:
        function: Returns None, or the number of the signal that stopped it.
        arguments: Picklable. May contain instances of user-defined classes.
        devices: Number of processes.

    Returns:
        The number of the signal that stopped the processes, or None.

    Raises:
        UserError, OSError: As raised by a process. Or a UserError if a process is killed.
        RuntimeError: With the traceback of another exception in a process.
    """
    require_main_guard()
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // devices)))
    os.environ.setdefault("PYTHONIOENCODING", ":backslashreplace")  # as `run_and_exit` does
    # A new process must import the files of user-defined classes before it unpickles objects.
    files, pickled = plugins.loaded_files(), pickle.dumps((function, arguments))
    outcomes = torch.multiprocessing.get_context("spawn").SimpleQueue()
    # Both are public, but not marked as exported.
    store = dist.TCPStore(  # pyright: ignore[reportPrivateImportUsage]
        "localhost", 0, is_master=True, wait_for_workers=False
    )
    with stop_signals() as signals:
        with ctrl_c_blocked():
            started = torch.multiprocessing.start_processes(  # pyright: ignore[reportPrivateImportUsage]
                _call_on_rank,
                (devices, store.port, files, pickled, outcomes),
                devices,
                join=False,
            )
        assert started is not None
        ranks = cast(list[BaseProcess], started.processes)
        try:
            status, rank = _first_failure(ranks, signals)
        finally:
            for process in ranks:
                process.kill()
    outcome = _decisive_outcome(outcomes)
    if isinstance(outcome, int):
        return outcome
    if status == 0:
        return None
    if signals and not isinstance(outcome, (UserError, OSError)):  # while a process was starting
        return next(iter(signals))
    # A process that is killed makes others fail too.
    if isinstance(outcome, UserError) or (outcome is not None and status > 0):
        raise outcome
    end = f"exited with status {status}" if status > 0 else f"was killed by signal {-status}"
    reason = "perhaps out of memory" if status == -signal.SIGKILL else "see above"
    raise UserError(f"rank {rank} {end} ({reason})")


def _first_failure(ranks: Sequence[BaseProcess], signals: Mapping[int, float]) -> tuple[int, int]:
    """Waits until all processes have ended, and ends them if one fails or a signal arrives.

    Returns:
        The exit status and the rank of the process that failed first, or (0, 0).
    """
    failures: list[tuple[int, int]] = []
    kill_at, terminated = math.inf, False
    while True:
        running = [process.sentinel for process in ranks if process.exitcode is None]
        # A process that is killed makes others fail, with a positive status.
        failures = failures or sorted((p.exitcode, n) for n, p in enumerate(ranks) if p.exitcode)
        now = time.monotonic()
        if failures and kill_at == math.inf:
            # The others may be about to fail, too, and to report why, or be stuck in a collective.
            kill_at = now + (6 if signals else 15)
        if not running or now > kill_at:
            return failures[0] if failures else (0, 0)
        if not terminated and (signals or now > kill_at - 10):
            terminated = True
            for process in ranks:
                process.terminate()
        wait(running, timeout=0.1)


def _decisive_outcome(outcomes: SimpleQueue[int | Exception]) -> int | Exception | None:
    """The first outcome that a process reported, but rather a signal or an error users can fix.

    If one process fails, others lose their connection, and may report that first.
    """
    reported = []
    while not outcomes.empty():
        reported.append(outcomes.get())
    fixable = [one for one in reported if isinstance(one, (int, UserError, OSError))]
    return next(iter(fixable + reported), None)


def _call_on_rank(
    rank: int,
    devices: int,
    port: int,
    files: Iterable[Path],
    pickled: bytes,
    outcomes: SimpleQueue[int | Exception],
) -> None:
    """Calls the function of `launch`, and reports if it fails or is stopped by a signal."""
    os.environ |= dict.fromkeys(("RANK", "LOCAL_RANK"), str(rank))
    os.environ |= dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), str(devices))
    # The launcher has the store, as under torchrun.
    address = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    os.environ |= address | {"TORCHELASTIC_USE_AGENT_STORE": "True"}
    try:
        accept_ctrl_c()
        for path in files:
            plugins.import_file(path)
        function, arguments = pickle.loads(pickled)
        stopped_by = function(*arguments)
        if stopped_by is None:
            return
        outcomes.put(stopped_by)
    except UserError as error:
        # Every rank raises the same UserError, so only rank 0 reports it. A RankError is local.
        if os.environ["RANK"] == "0" or isinstance(error, RankError):
            outcomes.put(error)
    except OSError as error:  # no permission, no space left, ...
        outcomes.put(error)
    except KeyboardInterrupt:
        outcomes.put(signal.SIGINT)
    except Exception:
        outcomes.put(RuntimeError(traceback.format_exc()))
    sys.exit(1)  # Returning would wait for the other ranks.


@contextmanager
def stop_signals(
    is_useful: Callable[[], bool] = lambda: True,
) -> Iterator[dict[int, float]]:
    """Collects Ctrl-C and SIGTERM, to be checked after each step, instead of ending the process.

    A second Ctrl-C interrupts at once, unless it comes within two seconds: `timeout` and other
    launchers forward the Ctrl-C that their processes have already received from the terminal.

    Args:
        is_useful: Whether there is anything to save. If not, the first Ctrl-C interrupts at once.

    Yields:
        The signals received so far, in order, with the times of their first arrival.
    """
    received: dict[int, float] = {}

    def receive(number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        again = bool(received) and now - min(received.values()) > 2
        if number == signal.SIGINT and (again or not is_useful()):
            raise KeyboardInterrupt
        received.setdefault(number, now)

    # Other threads, such as a notebook's, cannot install signal handlers.
    main = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGINT, signal.SIGTERM) if main else ()
    previous = {number: signal.signal(number, receive) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
