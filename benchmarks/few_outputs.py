"""Measures the generator's last convolution (7x7, 64 to 3 channels) in bfloat16 on a CPU.

    python benchmarks/few_outputs.py --size 128 --pairs 30

Compares torch's convolution with `FewOutputsConv2d`, which computes it column by column.
"""

from __future__ import annotations

import argparse
from statistics import median

import torch
from torch.nn.functional import conv2d

from transmute.networks.layers import FewOutputsConv2d
from transmute.training.speed import seconds_per_call

WARM_UP = 3


def main() -> None:
    """Prints durations of the forward pass, and of forward and backward together."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=128, help="pixels of the output")
    parser.add_argument("--pairs", type=int, default=30, help="measurements of each")
    options = parser.parse_args()
    torch.manual_seed(0)
    layer = FewOutputsConv2d(64, 3, 7)
    side = options.size + 6
    features = torch.randn(1, 64, side, side, dtype=torch.bfloat16, requires_grad=True)
    convolutions = {
        "torch": lambda: conv2d(features, layer.weight, layer.bias),
        "FewOutputsConv2d": lambda: layer(features),
    }
    seconds: dict[str, list[float]] = {}
    with torch.autocast("cpu", torch.bfloat16):
        for pair in range(options.pairs + WARM_UP):
            for name, convolution in convolutions.items():

                def forward_and_backward(convolution=convolution) -> None:
                    total = convolution().float().sum()
                    torch.autograd.grad(total, [features, *layer.parameters()])

                with torch.no_grad():
                    forward = seconds_per_call(convolution, features.device, 1)
                both = seconds_per_call(forward_and_backward, features.device, 1)
                if pair >= WARM_UP:
                    seconds.setdefault(f"{name}, forward", []).append(forward)
                    seconds.setdefault(f"{name}, forward and backward", []).append(both)
    for name, values in seconds.items():
        low, middle, high = (1000 * pick(values) for pick in (min, median, max))
        print(f"{name:32} {middle:6.2f} ms ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
