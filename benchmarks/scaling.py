"""Several GPUs on paper: pictures a second and efficiency, from a step's time, its gradients' bytes and the speed of the links between GPUs.

    python benchmarks/scaling.py --step-ms 6.7 --in-machine 300 --between 40

A ring sends each byte 2 (n - 1) / n times; within a machine at one speed, and where there are several, once more between them at the other.
Nothing is overlapped with computing, since each player waits for its own mean.
"""

from __future__ import annotations

import argparse

from transmute.methods.config import CycleGANConfig

LATENCY = 30e-6
"""Seconds that a collective takes however small it is; a lead, not a measurement."""


def seconds(step: float, gradients: float, gpus: int, in_machine: float, between: float) -> float:
    """Of one step on so many GPUs of which eight share a machine."""
    here, machines = min(gpus, 8), -(-gpus // 8)
    sending = 2 * gradients * (here - 1) / here / in_machine
    sending += 2 * gradients * (machines - 1) / machines / between
    return step + (sending + 2 * LATENCY if gpus > 1 else 0.0)


def main() -> None:
    """A Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--step-ms", type=float, required=True, help="of one GPU with its share of the batch")
    parser.add_argument("--pictures", type=int, default=1, help="pictures of each domain a GPU sees in a step")
    parser.add_argument("--in-machine", type=float, default=300, help="GB/s that a ring reaches within a machine")
    parser.add_argument("--between", type=float, default=40, help="GB/s between machines")
    given = parser.parse_args()
    gradients = 4 * sum(parameter.numel() for parameter in CycleGANConfig().build(3, 3, (256, 256)).parameters())
    print(f"gradients of a step: {gradients / 2**20:.0f} MiB in float32\n\n| GPUs | ms a step | pictures/s | efficiency |\n|---|---|---|---|")
    for gpus in (1, 2, 4, 8, 16, 32, 64):
        step = seconds(given.step_ms / 1000, gradients, gpus, given.in_machine * 1e9, given.between * 1e9)
        print(f"| {gpus} | {1000 * step:.2f} | {gpus * given.pictures / step:,.0f} | {given.step_ms / 1000 / step:.0%} |")


if __name__ == "__main__":
    main()
