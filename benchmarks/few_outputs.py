"""Times the generator's last convolution, 64 channels to 3 with a 7x7 kernel, as torch does it and by columns (`FewOutputs`), in bfloat16.

python benchmarks/few_outputs.py --size 128
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch
from torch.nn.functional import conv2d

from transmute.networks.layers import FewOutputs


def seconds(run: Callable[[], object]) -> float:
    """Of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    """Forward, and forward with backward, by turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--pairs", type=int, default=30)
    given = parser.parse_args()
    torch.manual_seed(0)
    layer = FewOutputs(64, 3, 7)
    features = torch.randn(1, 64, given.size + 6, given.size + 6, dtype=torch.bfloat16, requires_grad=True)
    layers = {"torch": lambda: conv2d(features, layer.weight, layer.bias), "by columns": lambda: layer(features)}
    taken: dict[str, list[float]] = {f"{name}, {what}": [] for name in layers for what in ("forward", "and backward")}
    with torch.autocast("cpu", torch.bfloat16):
        for pair in range(given.pairs + 3):
            for name, forward in layers.items():
                with torch.no_grad():
                    alone = seconds(forward)
                both = seconds(lambda forward=forward: torch.autograd.grad(forward().float().sum(), [features, *layer.parameters()]))
                if pair >= 3:
                    taken[f"{name}, forward"].append(alone)
                    taken[f"{name}, and backward"].append(both)
    for name, values in taken.items():
        print(f"{name:24} {1000 * median(values):6.2f} ms ({1000 * min(values):.2f} to {1000 * max(values):.2f})")


if __name__ == "__main__":
    main()
