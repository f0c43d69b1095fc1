"""Several processes on one machine: how long the gradients' mean takes, and how much of a step it is.

    python benchmarks/allreduce.py --size 64 --steps 10

Each process computes on one thread. "Alone" is the same step in one process of one thread, before the others start; with as many cores as
processes, all that a step takes longer is the price of several.
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
from transmute.methods.config import CycleGANConfig
from transmute.training.config import AdamConfig
from transmute.training.trainer import Trainer


def step_seconds(size: int, steps: int) -> list[float]:
    """Seconds of each step of the paper's CycleGAN, batch 1 a process."""
    torch.manual_seed(0)
    trainer = Trainer(CycleGANConfig().build(3, 3, (size, size)), AdamConfig())
    batch = Batch(*(torch.rand(1, 3, size, size) * 2 - 1 for _ in "ab"))
    trainer.step([batch])
    taken = []
    for _ in range(steps):
        start = time.perf_counter()
        trainer.step([batch])
        taken.append(time.perf_counter() - start)
    return taken


def said(seconds: list[float]) -> str:
    """Median and range in milliseconds."""
    return f"{1000 * median(seconds):.0f} ms ({1000 * min(seconds):.0f} to {1000 * max(seconds):.0f})"


def process(rank: int, count: int, size: int, steps: int) -> None:
    """One of them; the first one prints."""
    torch.set_num_threads(1)
    if rank == 0:
        print(f"a step alone: {said(step_seconds(size, steps))}", flush=True)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29517"}
    dist.init_process_group("gloo", rank=rank, world_size=count)
    networks = CycleGANConfig().build(3, 3, (size, size)).players
    for player in networks:
        gradients = torch.zeros(sum(parameter.numel() for parameter in player.parameters))
        taken = []
        for _ in range(steps):
            dist.barrier()
            start = time.perf_counter()
            dist.all_reduce(gradients)
            taken.append(time.perf_counter() - start)
        if rank == 0:
            print(f"mean of the {player.name}' gradients, {gradients.nbytes / 2**20:.0f} MiB: {said(taken)}", flush=True)
    together = step_seconds(size, steps)
    if rank == 0:
        print(f"a step of {count} processes together: {said(together)}", flush=True)
    dist.barrier()
    dist.destroy_process_group()


def main() -> None:
    """Starts the processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    multiprocessing.spawn(process, (given.processes, given.size, given.steps), nprocs=given.processes)  # pyright: ignore


if __name__ == "__main__":
    main()
