"""Measures several processes on one machine: averaging of gradients, and steps with and without it.

    python benchmarks/allreduce.py --size 64 --steps 10 --processes 2

Each process computes on one thread. The step of a single process is measured before the others
start. On a machine with at least as many cores as processes, the difference between the two steps
is the cost of several processes.
"""

from __future__ import annotations

import argparse
import os
import time
from statistics import median

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing

from transmute.batch import Batch
from transmute.config.methods import CycleGANConfig
from transmute.config.training import AdamConfig
from transmute.training.trainer import Trainer


def step_seconds(size: int, steps: int) -> list[float]:
    """Seconds of each step of CycleGAN with its default networks and batch 1 per process."""
    torch.manual_seed(0)
    trainer = Trainer(CycleGANConfig().build(3, 3, (size, size)), AdamConfig())
    batch = Batch(*(torch.rand(1, 3, size, size) * 2 - 1 for _ in "ab"))
    trainer.step([batch])
    durations = []
    for _ in range(steps):
        start = time.perf_counter()
        trainer.step([batch])
        durations.append(time.perf_counter() - start)
    return durations


def mean_seconds(gradients: torch.Tensor, repeats: int) -> list[float]:
    """Seconds of each all-reduce of a tensor."""
    durations = []
    for _ in range(repeats):
        dist.barrier()
        start = time.perf_counter()
        dist.all_reduce(gradients)
        durations.append(time.perf_counter() - start)
    return durations


def summary(seconds: list[float]) -> str:
    """Median and range in milliseconds."""
    low, middle, high = (1000 * pick(seconds) for pick in (min, median, max))
    return f"{middle:.0f} ms ({low:.0f} to {high:.0f})"


def run_rank(rank: int, processes: int, size: int, steps: int) -> None:
    """Measures in one process. Rank 0 prints."""

    def say(line: str) -> None:
        if rank == 0:
            print(line, flush=True)

    torch.set_num_threads(1)
    if rank == 0:
        say(f"step of a single process: {summary(step_seconds(size, steps))}")
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29517"}
    dist.init_process_group("gloo", rank=rank, world_size=processes)
    for player in CycleGANConfig().build(3, 3, (size, size)).players:
        gradients = torch.zeros(sum(parameter.numel() for parameter in player.parameters))
        durations = mean_seconds(gradients, steps)
        mebibytes = gradients.nbytes / 2**20
        say(f"mean of gradients, {player.name}, {mebibytes:.0f} MiB: {summary(durations)}")
    say(f"step of {processes} processes: {summary(step_seconds(size, steps))}")
    dist.barrier()
    dist.destroy_process_group()


def main() -> None:
    """Starts the processes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=64, help="pixels")
    parser.add_argument("--steps", type=int, default=10, help="measurements of each")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    multiprocessing.spawn(  # pyright: ignore[reportPrivateImportUsage]
        run_rank,
        (options.processes, options.size, options.steps),
        nprocs=options.processes,
    )


if __name__ == "__main__":
    main()
