"""The processes of a training run: their devices, their seeds, and the signals that stop them."""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType

import numpy as np
import torch
import torch.distributed as dist

from transmute.device import select_device
from transmute.errors import UserError


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

    def synchronize(self) -> None:
        """Blocks until queued device work finishes (for timing)."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

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
        name: auto, cpu or cuda.
    """
    kind = select_device(name)
    if not is_launched():
        yield Processes(torch.device(kind))
        return
    backend, device = "gloo", torch.device(kind)
    if kind == "cuda":
        backend, device = "nccl", torch.device(kind, int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    # The others wait while rank 0 evaluates: NCCL's default of ten minutes is too short for that.
    dist.init_process_group(backend, timeout=timedelta(hours=3))
    try:
        yield Processes(device, dist.get_rank(), dist.get_world_size())
        dist.barrier()  # without it, gloo may abort slower ranks
    finally:
        dist.destroy_process_group()


def launch(function: Callable[..., object], arguments: tuple[object, ...], devices: int) -> int:
    """Runs `function(*arguments)` in several processes on this machine, like torchrun.

    Returns:
        The exit status of the first process that failed, or 0. Processes print their own errors,
        unless they are killed.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=devices,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        start_method="spawn",
        run_id="transmute",
    )
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // devices)))
    os.environ.setdefault("PYTHONIOENCODING", ":backslashreplace")  # as `run_and_exit` does
    # The launcher logs every failure and every Ctrl-C over many lines, after our message.
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        elastic_launch(config, function)(*arguments)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            reason = "perhaps out of memory" if failure.exitcode == -signal.SIGKILL else "see above"
            print(
                f"transmute: rank {rank} was killed by signal {-failure.exitcode} ({reason})",
                file=sys.stderr,
            )
        return failure.exitcode if failure.exitcode > 0 else 1
    except SignalException as error:
        return 128 + error.sigval
    finally:
        logging.disable(disabled)
    return 0


@contextmanager
def stop_signals() -> Iterator[dict[int, float]]:
    """Collects Ctrl-C and SIGTERM, to be checked after each step, instead of ending the process.

    A second Ctrl-C interrupts at once, unless it comes within two seconds: a launcher forwards the
    Ctrl-C that its processes have already received from the terminal.

    Yields:
        The signals received so far, in order, with the times of their first arrival.
    """
    received: dict[int, float] = {}

    def receive(number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if received and number == signal.SIGINT and now - min(received.values()) > 2:
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
