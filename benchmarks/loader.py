"""Measures how long a fast device waits for images that are loaded from JPEG files.

    python benchmarks/loader.py FOLDER --step-ms 6.7 --workers 0 1 2

The device is simulated by a clock: it starts a step when the previous one is finished and the
batch has been loaded. The main process sleeps until it can submit the step after the next, as it
does with a GPU that replays CUDA graphs. FOLDER is a data set; without one, two folders of 200
random JPEG images of 256 px are written.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from transmute.config.data import PreprocessConfig, SourceConfig
from transmute.data.layout import recognize
from transmute.data.preprocess import Geometry
from transmute.data.stream import Stream

WARM_UP = 20
"""Steps before the measurement, in which the workers start."""


def write_noise(folder: Path, count: int) -> None:
    """Writes JPEG files of smooth noise, about as large as photos of the same size."""
    random = np.random.default_rng(0)
    for name in ("trainA", "trainB"):
        (folder / name).mkdir()
        for index in range(count):
            noise = Image.fromarray(random.integers(0, 256, (64, 64, 3), np.uint8))
            image = noise.resize((256, 256), Image.Resampling.BICUBIC)
            image.save(folder / name / f"{index}.jpg", quality=85)


def build_stream(folder: Path, *, cache: bool) -> Stream:
    """The training stream of a folder, with the default preprocessing at 256 px."""
    preprocess, data = PreprocessConfig(), recognize(folder, SourceConfig(), paired=False)
    geometry = Geometry.of(preprocess, "256x256", 4)
    return Stream(data, geometry, preprocess, 0, paired=False, cache={} if cache else None)


def measure(
    folder: Path, *, batch: int, steps: int, step_seconds: float, workers: int, cache: bool
) -> str:
    """Runs the simulated device, and returns a sentence about its idle time.

    With a cache, the first pass over the data fills it and is not measured.
    """
    stream = build_stream(folder, cache=cache)
    warm_up = -(-stream.pass_length // batch) if cache else WARM_UP
    batches = stream.batches(
        batch=batch,
        start_step=0,
        last_step=warm_up + steps,
        rank=0,
        processes=1,
        timeout=600,
        workers=workers,
        pin=False,
    )
    idle = loading = 0.0
    finished = time.perf_counter()
    for step in range(warm_up + steps):
        _, load_seconds = next(batches)
        now = time.perf_counter()
        if step >= warm_up:
            idle += max(0.0, now - finished)
            loading += load_seconds / steps
        finished = max(now, finished) + step_seconds
        time.sleep(max(0.0, finished - step_seconds - time.perf_counter()))
    share = idle / (idle + steps * step_seconds)
    return (
        f"idle {share:5.1%} of the time, {1000 * idle / steps:5.2f} ms per step of "
        f"{1000 * step_seconds:.1f} ms; loading an image takes {1000 * loading:.2f} ms"
    )


def main() -> None:
    """Prints a line per number of workers, and one with the cache."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--step-ms", type=float, default=6.7, help="duration of a simulated step")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if options.folder is None:
            write_noise(folder, 200)
        cases = [(f"{workers} workers", workers, False) for workers in options.workers]
        for name, workers, cache in [*cases, ("0 workers, cached", 0, True)]:
            result = measure(
                folder,
                batch=options.batch,
                steps=options.steps,
                step_seconds=options.step_ms / 1000,
                workers=workers,
                cache=cache,
            )
            print(f"{name:18} {result}", flush=True)


if __name__ == "__main__":
    main()
