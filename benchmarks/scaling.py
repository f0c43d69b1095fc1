"""Estimates images per second and efficiency on several GPUs. Measures nothing.

    python benchmarks/scaling.py --step-ms 6.7 --in-machine 300 --between 40

A ring all-reduce sends each byte 2 (n - 1) / n times: within a machine of eight GPUs at one
bandwidth, and between machines once more at the other. Communication does not overlap with
computation, because each player waits for the mean of its own gradients.
"""

from __future__ import annotations

import argparse

from transmute.config.methods import CycleGANConfig

GPUS_PER_MACHINE = 8
LATENCY = 30e-6
"""Assumed seconds that a collective takes even if it sends nothing."""


def step_seconds(
    compute: float, gradients: float, gpus: int, in_machine: float, between: float
) -> float:
    """Estimated seconds of one step.

    Args:
        compute: Seconds of the step on one GPU.
        gradients: Bytes of all gradients.
        gpus: Number of GPUs.
        in_machine: Bytes per second within a machine.
        between: Bytes per second between machines.
    """
    if gpus == 1:
        return compute
    local, machines = min(gpus, GPUS_PER_MACHINE), -(-gpus // GPUS_PER_MACHINE)
    communication = 2 * gradients * (local - 1) / local / in_machine
    communication += 2 * gradients * (machines - 1) / machines / between
    return compute + communication + 2 * LATENCY  # one collective per player


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--step-ms", type=float, required=True, help="duration of a step on a GPU")
    parser.add_argument("--images", type=int, default=1, help="images of each domain per GPU")
    parser.add_argument("--in-machine", type=float, default=300, help="GB/s within a machine")
    parser.add_argument("--between", type=float, default=40, help="GB/s between machines")
    options = parser.parse_args()
    parameters = CycleGANConfig().build(3, 3, (256, 256)).parameters()
    gradients = 4 * sum(parameter.numel() for parameter in parameters)
    print(f"gradients of a step: {gradients / 2**20:.0f} MiB in float32\n")
    print("| GPUs | ms per step | images/s | efficiency |\n|---|---|---|---|")
    compute = options.step_ms / 1000
    for gpus in (1, 2, 4, 8, 16, 32, 64):
        step = step_seconds(
            compute, gradients, gpus, options.in_machine * 1e9, options.between * 1e9
        )
        rate = gpus * options.images / step
        print(f"| {gpus} | {1000 * step:.2f} | {rate:,.0f} | {compute / step:.0%} |")


if __name__ == "__main__":
    main()
