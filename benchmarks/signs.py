"""Makes trainings fail in each way that Transmute looks for, and others succeed: `python benchmarks/signs.py [NAME ...] [--out DIR]`.

Prints of each training which signs of trouble were raised, at which step and on what evidence. All pictures are the demo's.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from transmute.data.config import PreprocessConfig, SourceConfig
from transmute.demo.animals import animal, write_data_set
from transmute.demo.demo import DEMO
from transmute.images import find_pictures, save_picture
from transmute.methods.config import CUTConfig, Pix2PixConfig
from transmute.networks.config import PatchGANConfig, PixelGANConfig, ResNetConfig, UNetConfig
from transmute.run import Run
from transmute.settings import UserError
from transmute.training.config import AdamConfig, ConstantConfig, CosineConfig, Recipe, StepConfig, TrainConfig
from transmute.training.train import train

SMALL = ResNetConfig(width=16, levels=1, blocks=2)
FREE = DEMO.method.replace(cycle_a=0.0, cycle_b=0.0, identity=0.0, generator=SMALL)


@dataclass(frozen=True)
class Case:
    """A training and the sign that it should raise; none, if it is healthy."""

    expected: str
    recipe: Recipe
    data: str = "animals"


def demo(*, steps: int = 200, method: dict | None = None, **changes: object) -> Recipe:
    """The demo's recipe with changes, to its method among others."""
    return DEMO.replace(steps=steps, method=DEMO.method.replace(**(method or {})), **changes)


CASES = {
    "rate-1e30": Case("not finite", demo(optimizer=AdamConfig(lr=1e30))),
    "rate-1000": Case("diverging", demo(optimizer=AdamConfig(lr=1000.0))),
    "black": Case("constant output", demo(optimizer=AdamConfig(lr=0.5), method={"generator": SMALL})),
    "identity": Case("no change", demo(method={"fool": 0.0, "identity": 5.0})),
    "negatives": Case("inverted", demo(steps=400, method={"identity": 0.0, "generator": SMALL}), "negatives"),
    "one-target": Case("collapse", DEMO.replace(steps=400, method=FREE.replace(generator=UNetConfig(width=16, depth=5))), "one-target"),
    "transposed": Case("checkerboard", demo(steps=400, method={"generator": ResNetConfig(width=16, blocks=2), "identity": 0.0})),
    "no-game": Case("discriminator ahead", demo(steps=600, method={"fool": 0.0}, schedule=ConstantConfig())),
    "blind-judge": Case("discriminator behind", demo(method={"discriminator": PixelGANConfig(width=1)}, optimizer=AdamConfig(lr=1e-6))),
    "no-cycle": Case("cycle ignored", DEMO.replace(steps=400, method=FREE)),
    "slow-loading": Case(
        "starving", demo(steps=100, preprocess=PreprocessConfig(load_size="64"), method={"generator": ResNetConfig(width=2, blocks=1)}), "large"
    ),
    "rate-0": Case("no learning rate", demo(schedule=StepConfig(every=0.2, factor=0.001))),
    "eight-pictures": Case(
        "overfitting", demo(steps=800, method={"discriminator": PatchGANConfig(width=64, layers=2)}, schedule=ConstantConfig()), "few"
    ),
    "healthy-cyclegan": Case("", demo(steps=1200)),
    "healthy-cyclegan-another-seed": Case("", demo(steps=1200, seed=5)),
    "healthy-cosine-hinge": Case("", demo(steps=800, method={"adversarial": {"name": "hinge"}}, schedule=CosineConfig())),
    "healthy-cut": Case(
        "",
        DEMO.replace(steps=600, method=CUTConfig(generator=ResNetConfig(width=16, blocks=3), discriminator=PatchGANConfig(width=16, layers=2))),
    ),
    "healthy-pix2pix": Case(
        "",
        DEMO.replace(
            steps=600, method=Pix2PixConfig(generator=UNetConfig(width=16, depth=5), discriminator=PatchGANConfig(width=16, layers=2, norm="batch"))
        ),
        "pairs",
    ),
}


def write_pictures(folder: Path, kind: str) -> None:
    """Data sets made of the demo's pictures."""
    count = 8 if kind == "few" else 200
    if kind == "pairs":  # the coat's mask beside the picture
        for phase, number in (("train", count), ("test", 32)):
            for index in range(number):
                picture, mask = animal(np.random.default_rng([index, phase == "test"]), striped=True)
                both = Image.new("RGB", (128, 64))
                both.paste(mask.convert("RGB"), (0, 0))
                both.paste(picture, (64, 0))
                save_picture(both, folder / phase / f"{index}.png")
        return
    if kind == "large":
        write_data_set(folder, train=20, test=4)
        for path in find_pictures(folder):
            save_picture(Image.open(path).convert("RGB").resize((2048, 2048)), path)
        return
    write_data_set(folder, train=count, test=32)
    for path in [*find_pictures(folder / "trainB"), *find_pictures(folder / "testB")]:
        if kind == "negatives":
            save_picture(ImageOps.invert(Image.open(folder / path.parent.name.replace("B", "A") / path.name).convert("RGB")), path)
        if kind == "one-target" and path.parent.name == "trainB":
            save_picture(Image.open(folder / "trainB" / "0000.png").convert("RGB"), path)


def main() -> None:
    """Trains the cases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*CASES, []], help="trainings to run; all, if none is named")
    parser.add_argument("--out", type=Path, help="folder to keep runs and pictures in")
    given = parser.parse_args()
    out = given.out or Path(tempfile.mkdtemp())
    for name in given.names or CASES:
        case = CASES[name]
        if not (out / case.data).is_dir():
            write_pictures(out / case.data, case.data)
        every = max(10, case.recipe.steps // 20)  # pyright: ignore[reportOptionalOperand]
        settings = {"report_every": every // 2, "sample_every": every, "save_every": 10**6, "device": "cpu", "compile": "off"}
        source, run = SourceConfig(cache=case.data != "large"), out / "runs" / name
        config = TrainConfig(folder=out / case.data, run=run, recipe=case.recipe, data=source, **settings)
        started = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            try:
                train(config)
            except UserError as error:
                problem = f" (ended: {error})"
            else:
                problem = ""
        seen = [(row["step"], sign) for row in Run(run).metrics() for sign in row.get("signs", [])]
        told = "; ".join(f"{sign['name']} {sign['where']} at {step} {sign['evidence']}" for step, sign in seen) or "nothing"
        right = case.expected in {sign["name"] for _, sign in seen} if case.expected else not seen
        verdict, seconds = "as expected" if right else "NOT AS EXPECTED", time.perf_counter() - started
        print(f"{verdict}: {name} [{case.expected or 'nothing'}]: {told}{problem} ({seconds:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
