"""Checks the diagnosis of symptoms on training runs that fail on purpose, and on healthy ones.

    python benchmarks/symptoms.py [NAME ...] [--out DIR]

Prints, for each run, which symptoms were reported, at which step and on what evidence. All
data sets are made from the demo's images.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from transmute.config.data import PreprocessConfig, SourceConfig
from transmute.config.methods import CUTConfig, Pix2PixConfig
from transmute.config.networks import PatchGANConfig, PixelGANConfig, ResNetConfig, UNetConfig
from transmute.config.training import (
    AdamConfig,
    ConstantConfig,
    CosineConfig,
    Recipe,
    StepConfig,
    TrainConfig,
)
from transmute.demo.animals import animal, write_data_set
from transmute.demo.demo import DEMO
from transmute.errors import UserError
from transmute.images.encode import save_image
from transmute.images.find import find_images
from transmute.run import Run
from transmute.training.train import train

SMALL = ResNetConfig(width=16, levels=1, blocks=2)
NO_CYCLE = DEMO.method.replace(cycle_a=0.0, cycle_b=0.0, identity=0.0, generator=SMALL)


@dataclass(frozen=True)
class Case:
    """A training run and the symptom that it should show.

    Attributes:
        expected: Name of the symptom; empty for a healthy run.
        recipe: The recipe to train.
        data: Name of the data set: animals, negatives, one-target, few, large or pairs.
    """

    expected: str
    recipe: Recipe
    data: str = "animals"


def demo(*, steps: int = 200, method: dict[str, Any] | None = None, **changes: Any) -> Recipe:
    """The demo's recipe with changes, also to its method."""
    return DEMO.replace(steps=steps, method=DEMO.method.replace(**(method or {})), **changes)


CASES = {
    "rate-1e30": Case("not finite", demo(optimizer=AdamConfig(lr=1e30))),
    "rate-1000": Case("diverging", demo(optimizer=AdamConfig(lr=1000.0))),
    "black": Case(
        "constant output", demo(optimizer=AdamConfig(lr=0.5), method={"generator": SMALL})
    ),
    "identity": Case("no change", demo(method={"gan": 0.0, "identity": 5.0})),
    "negatives": Case(
        "inverted", demo(steps=400, method={"identity": 0.0, "generator": SMALL}), "negatives"
    ),
    "one-target": Case(
        "collapse",
        DEMO.replace(steps=400, method=NO_CYCLE.replace(generator=UNetConfig(width=16, depth=5))),
        "one-target",
    ),
    "transposed": Case(
        "checkerboard",
        demo(steps=400, method={"generator": ResNetConfig(width=16, blocks=2), "identity": 0.0}),
    ),
    "no-gan-loss": Case(
        "discriminator ahead", demo(steps=600, method={"gan": 0.0}, schedule=ConstantConfig())
    ),
    "weak-discriminator": Case(
        "discriminator behind",
        demo(method={"discriminator": PixelGANConfig(width=1)}, optimizer=AdamConfig(lr=1e-6)),
    ),
    "no-cycle": Case("cycle ignored", DEMO.replace(steps=400, method=NO_CYCLE)),
    "slow-loading": Case(
        "starving",
        demo(
            steps=100,
            preprocess=PreprocessConfig(load_size="64"),
            method={"generator": ResNetConfig(width=2, blocks=1)},
        ),
        "large",
    ),
    "rate-0": Case("no learning rate", demo(schedule=StepConfig(every=0.2, factor=0.001))),
    "eight-images": Case(
        "overfitting",
        demo(
            steps=800,
            method={"discriminator": PatchGANConfig(width=64, layers=2)},
            schedule=ConstantConfig(),
        ),
        "few",
    ),
    "healthy-cyclegan": Case("", demo(steps=1200)),
    "healthy-cyclegan-another-seed": Case("", demo(steps=1200, seed=5)),
    "healthy-cosine-hinge": Case(
        "", demo(steps=800, method={"adversarial": {"name": "hinge"}}, schedule=CosineConfig())
    ),
    "healthy-cut": Case(
        "",
        DEMO.replace(
            steps=600,
            method=CUTConfig(
                generator=ResNetConfig(width=16, blocks=3),
                discriminator=PatchGANConfig(width=16, layers=2),
            ),
        ),
    ),
    "healthy-pix2pix": Case(
        "",
        DEMO.replace(
            steps=600,
            method=Pix2PixConfig(
                generator=UNetConfig(width=16, depth=5),
                discriminator=PatchGANConfig(width=16, layers=2, norm="batch"),
            ),
        ),
        "pairs",
    ),
}


def write_data(folder: Path, kind: str) -> None:
    """Writes one of the data sets that the cases use."""
    if kind == "pairs":
        write_pairs(folder)
        return
    counts = {"few": (8, 32), "large": (20, 4)}
    train_count, test_count = counts.get(kind, (200, 32))
    write_data_set(folder, train=train_count, test=test_count)
    if kind == "large":
        for path in find_images(folder):
            save_image(Image.open(path).convert("RGB").resize((2048, 2048)), path)
    if kind == "negatives":
        for phase in ("train", "test"):
            for path in find_images(folder / f"{phase}B"):
                image = Image.open(folder / f"{phase}A" / path.name).convert("RGB")
                save_image(ImageOps.invert(image), path)
    if kind == "one-target":
        image = Image.open(folder / "trainB" / "0000.png").convert("RGB")
        for path in find_images(folder / "trainB"):
            save_image(image, path)


def write_pairs(folder: Path) -> None:
    """Writes pairs, side by side in one file: the mask of an animal, and its image."""
    for phase, count in (("train", 200), ("test", 32)):
        for index in range(count):
            image, mask = animal(np.random.default_rng([index, phase == "test"]), striped=True)
            both = Image.new("RGB", (128, 64))
            both.paste(mask.convert("RGB"), (0, 0))
            both.paste(image, (64, 0))
            save_image(both, folder / phase / f"{index}.png")


def run_case(case: Case, run: Path, data: Path) -> str:
    """Trains a case, and returns the result as a sentence."""
    steps = case.recipe.steps
    assert steps is not None
    every = max(10, steps // 20)
    config = TrainConfig(
        folder=data,
        run=run,
        recipe=case.recipe,
        data=SourceConfig(cache=case.data != "large"),
        report_every=every // 2,
        sample_every=every,
        save_every=10**6,
        device="cpu",
        compile="off",
    )
    start = time.perf_counter()
    ended = ""
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            stopped_by = train(config)
        except UserError as error:
            ended = f" (ended: {error})"
        else:
            if stopped_by:  # by a signal: the run is incomplete, so there is no verdict
                sys.exit(128 + stopped_by)
    seconds = time.perf_counter() - start
    names, lines = set(), []
    for row in Run(run).metrics():
        for symptom in row.get("symptoms", []):
            names.add(symptom["name"])
            place = f"{symptom['name']} {symptom['where']} at {row['step']}"
            lines.append(f"{place} {symptom['evidence']}")
    as_expected = case.expected in names if case.expected else not names
    verdict = "as expected" if as_expected else "NOT AS EXPECTED"
    reported = "; ".join(lines) or "nothing"
    return f"{verdict} [{case.expected or 'nothing'}]: {reported}{ended} ({seconds:.0f} s)"


def main() -> None:
    """Trains the chosen cases, and prints a line for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(CASES)}")
    parser.add_argument("--out", type=Path, help="folder for runs and data (default: temporary)")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(CASES))
    if unknown:
        parser.error(f"unknown name {', '.join(unknown)}. Choose one of: {', '.join(CASES)}")
    with tempfile.TemporaryDirectory() as temporary:
        out = options.out or Path(temporary)
        for name in options.names or CASES:
            case = CASES[name]
            data = out / case.data
            if not data.is_dir():
                write_data(data, case.data)
            print(f"{name}: {run_case(case, out / 'runs' / name, data)}", flush=True)


if __name__ == "__main__":
    main()
