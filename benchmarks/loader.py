"""How long a device whose steps take a given time waits for pictures from JPEGs on disk.

    python benchmarks/loader.py FOLDER --step-ms 6.7 --workers 2

The device is a clock: it begins a step when the step before is done and the batch is there. This process, which has nothing to compute, sleeps until
it may hand over the next but one, as beside a GPU that replays graphs. FOLDER is a data set; without one, 200 and 200 JPEGs of noise of 256 px.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from transmute.data.config import PreprocessConfig, SourceConfig
from transmute.data.layout import recognize
from transmute.data.preprocess import Geometry
from transmute.data.stream import Order, Stream


def write_noise(folder: Path, count: int) -> None:
    """JPEGs of smoothed noise, about as large as photos of their size."""
    random = np.random.default_rng(0)
    for name in ("trainA", "trainB"):
        (folder / name).mkdir()
        for number in range(count):
            small = Image.fromarray(random.integers(0, 256, (64, 64, 3), np.uint8))
            small.resize((256, 256), Image.Resampling.BICUBIC).save(folder / name / f"{number}.jpg", quality=85)


def measure(folder: Path, *, batch: int, steps: int, seconds: float, workers: int, cache: bool) -> str:
    """How long the device is idle in so many steps, once the workers have begun."""
    data = recognize(folder, SourceConfig(), paired=False)
    config = PreprocessConfig()
    geometry = Geometry.of(config, "256", 4)
    stream = Stream(data, Order(len(data.train[0]), len(data.train[1]), 0, paired=False, serial=False), config, geometry, keep=cache)
    warm_up = stream.order.pass_length // batch if cache else 20
    batches = stream.batches(batch=batch, first_step=0, last_step=warm_up + steps, rank=0, processes=1, workers=workers, pin=False)
    idle, loading, done = 0.0, 0.0, time.perf_counter()
    for step in range(warm_up + steps):
        _, load_seconds = next(batches)
        now = time.perf_counter()
        if step >= warm_up:
            idle += max(0.0, now - done)
            loading += load_seconds / steps
        done = max(now, done) + seconds
        time.sleep(max(0.0, done - seconds - time.perf_counter()))
    wait = f"idle {1000 * idle / steps:5.2f} ms a step of {1000 * seconds:.1f} ms: {idle / (idle + steps * seconds):5.1%} of the time"
    return f"{wait}; loading one picture {1000 * loading:.2f} ms"


def main() -> None:
    """A line for each number of workers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--step-ms", type=float, default=6.7, help="150 steps a second")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = given.folder or Path(made)
        if given.folder is None:
            write_noise(folder, 200)
        for workers in given.workers:
            found = measure(folder, batch=given.batch, steps=given.steps, seconds=given.step_ms / 1000, workers=workers, cache=False)
            print(f"{workers} workers: {found}", flush=True)
        found = measure(folder, batch=given.batch, steps=given.steps, seconds=given.step_ms / 1000, workers=0, cache=True)
        print(f"cached:    {found}")


if __name__ == "__main__":
    main()
