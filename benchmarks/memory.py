"""Compares the memory that training takes on the CPU with the estimate.

    python -m benchmarks.memory

Each row is a process of its own, which makes two steps in float32 from random images. The memory is
its peak minus that after all imports.
"""

import json
import subprocess
import sys

CASES = [
    ("cyclegan", 128, 1),
    ("cyclegan", 256, 1),
    ("cyclegan", 128, 4),
    ("pix2pix", 256, 1),
    ("pix2pix", 256, 4),
    ("cut", 256, 1),
    ("cut", 128, 4),
]
"""Recipe, size and batch size."""


def measure(name: str, size: int, batch: int) -> None:
    """Prints the estimate and the measured memory in bytes, as JSON."""
    import resource

    import torch

    from transmute.batch import Batch
    from transmute.recipes import RECIPES
    from transmute.training.memory import estimate
    from transmute.training.trainer import Trainer

    def peak() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    recipe = RECIPES[name].updated({"size": size, "batch": batch})
    estimated = estimate(recipe, (size, size))
    assert estimated is not None
    before = peak()
    trainer = Trainer(recipe.method.build(3, 3, (size, size)), recipe.optimizer)
    for _ in range(2):
        a, b = (torch.rand(batch, 3, size, size) * 2 - 1 for _ in range(2))
        trainer.step([Batch(a, b)])
    print(json.dumps([estimated.usual, peak() - before]))


def main() -> None:
    """Prints a table."""
    print(f"{'recipe':10} {'size':>5} {'batch':>5} {'estimate':>9} {'measured':>9} {'ratio':>6}")
    for name, size, batch in CASES:
        command = [sys.executable, "-m", "benchmarks.memory", name, str(size), str(batch)]
        estimated, measured = json.loads(subprocess.check_output(command, text=True))
        print(
            f"{name:10} {size:5} {batch:5} {estimated / 2**30:6.2f}GiB {measured / 2**30:6.2f}GiB "
            f"{measured / estimated:6.2f}"
        )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
