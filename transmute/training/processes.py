"""On what a training runs: the device, the precision, and one process or several."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from transmute.devices import chosen_device


@dataclass(frozen=True)
class Processes:
    """This process among all that train together.

    Attributes:
        device: What this process computes on.
        rank: Its number from 0; the first one writes files.
        count: How many there are.
    """

    device: torch.device
    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        return self.mean({"flag": float(flag)})["flag"] > 0

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        """The mean over all processes, by name."""
        if self.count == 1:
            return values
        together = torch.tensor(list(values.values()), dtype=torch.float64, device=self.device)
        dist.all_reduce(together)
        return dict(zip(values, (together / self.count).tolist(), strict=True))

    def finish(self) -> None:
        """Until the device has done all that it was given: clocks need that."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            dist.barrier()


def under_a_launcher() -> bool:
    """Whether torchrun, or `launch` below, started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def first_of_all() -> bool:
    """Whether this is the only process, or the first of those that a launcher started."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """This process's place among the others, for as long as the training lasts."""
    kind = chosen_device(device)
    if not under_a_launcher():
        yield Processes(torch.device(kind))
        return
    place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if kind == "cuda" else torch.device("cpu")
    if kind == "cuda":
        torch.cuda.set_device(place)
    # The first process alone measures and writes, for which the others wait: longer than the ten minutes that NCCL would allow.
    dist.init_process_group("nccl" if kind == "cuda" else "gloo", timeout=timedelta(hours=3))
    try:
        yield Processes(place, dist.get_rank(), dist.get_world_size())
        dist.barrier()  # without it, gloo may abort the slower processes
    finally:
        dist.destroy_process_group()


def launch(function: Callable[..., object], arguments: tuple[object, ...], devices: int) -> int:
    """Runs `function(*arguments)` in several processes on this machine, as torchrun would, and returns the exit status.

    That of the first process that failed counts. Processes say themselves why they leave, unless they are killed.
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
    # The launcher reports each failure and each Ctrl-C over many lines; the processes themselves have said what there is to say.
    logged_before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        elastic_launch(config, function)(*arguments)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            why = "for want of memory, perhaps" if failure.exitcode == -signal.SIGKILL else "see above"
            print(f"transmute: process {rank} was ended by signal {-failure.exitcode} ({why})", file=sys.stderr)
        return failure.exitcode if failure.exitcode > 0 else 1
    except SignalException as error:
        return 128 + error.sigval
    finally:
        logging.disable(logged_before)
    return 0
