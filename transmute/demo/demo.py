"""`transmute demo`: makes its pictures, trains on them, translates held-out ones, and says with figures and a picture how well."""

from __future__ import annotations

from pathlib import Path

from PIL import Image
from rich.console import Console

from transmute.data.config import PreprocessConfig, SourceConfig
from transmute.demo.animals import write_data_set
from transmute.demo.evidence import Evidence, measure
from transmute.evaluation import Evaluator
from transmute.images import find_pictures, save_picture
from transmute.methods.config import CycleGANConfig
from transmute.metrics.config import MetricsConfig
from transmute.networks.config import PatchGANConfig, ResNetConfig
from transmute.training.config import AdamConfig, Recipe, TrainConfig
from transmute.training.samples import sheet
from transmute.training.train import train
from transmute.translation.translator import Translator

DEMO = Recipe(
    method=CycleGANConfig(
        generator=ResNetConfig(width=16, levels=1, blocks=4, upsampling="nearest", residual=True),
        discriminator=PatchGANConfig(width=16, layers=2),
        cycle_b=2.0,  # nothing in a plain coat says where stripes were: asked to bring them back, the translator would hide them there
    ),
    size="64",
    batch=2,
    steps=1200,
    preprocess=PreprocessConfig(mode="none"),
    optimizer=AdamConfig(lr=4e-4, ema=0.995),
)
"""A CycleGAN small enough for two cores and four minutes. What was tried on the way to it stands in docs/log.md."""

QUICK = DEMO.replace(method=DEMO.method.replace(generator=ResNetConfig(width=4, blocks=1), discriminator=PatchGANConfig(width=4, layers=1)), steps=6)
"""The same path in seconds; learns nothing."""


def run_demo(run: Path, *, quick: bool = False, seed: int = 0) -> int | None:
    """The whole way from no pictures to judged translations.

    Args:
        run: The run folder; its pictures lie beside it, in `<run>-data`.
        quick: Few pictures, tiny networks, six steps.
        seed: Seed of the training; the pictures are always the same.

    Returns:
        None, or the number of the signal that stopped the training.
    """
    console = Console(highlight=False, soft_wrap=True)
    data = run.with_name(f"{run.name}-data")
    recipe = (QUICK if quick else DEMO).replace(seed=seed)
    write_data_set(data, train=8 if quick else 400, test=4 if quick else 32)
    every = 2 if quick else 200
    config = TrainConfig(
        folder=data,
        run=run,
        recipe=recipe,
        data=SourceConfig(cache=True),
        report_every=every // 2 if quick else 50,
        sample_every=every,
        save_every=every,
        evaluate_every=every,
        metrics=MetricsConfig(features="texture", lpips="none"),
        device="cpu",
    )
    stopped_by = train(config, evaluator=Evaluator)
    if stopped_by:
        return stopped_by
    picture, findings = judge(run, data)
    save_picture(picture, run / "demo.png")
    for direction, found in findings.items():
        console.print(_evidence(direction, found), markup=False)
    console.print(f"the picture: {run / 'demo.png'}\nthe report:  {run / 'report.html'}", markup=False)
    console.print(f"your own:    transmute train FOLDER --run runs/mine, then transmute translate PICTURES --model {run}", markup=False)
    return None


def judge(run: Path, data: Path, *, shown: int = 6) -> tuple[Image.Image, dict[str, Evidence]]:
    """Translates the held-out pictures both ways: a sheet to look at, and the evidence by direction."""
    plain, striped, plain_masks, striped_masks = (_opened(data / name) for name in ("testA", "testB", "masksA", "masksB"))
    to_stripes, to_plain = Translator(run, direction="a_to_b"), Translator(run, direction="b_to_a")
    now_striped, now_plain = to_stripes(plain), to_plain(striped)
    rows = [
        {"plain": plain[i], "to striped": now_striped[i], "and back": to_plain(now_striped[i])}
        | {"striped": striped[i], "to plain": now_plain[i], "and back ": to_stripes(now_plain[i])}
        for i in range(min(shown, len(plain)))
    ]
    findings = {
        "plain to striped": measure(plain, now_striped, plain_masks, striped, striped_masks),
        "striped to plain": measure(striped, now_plain, striped_masks, plain, plain_masks),
    }
    return sheet(rows, scale=2), findings


def _opened(folder: Path) -> list[Image.Image]:
    return [Image.open(path) for path in find_pictures(folder)]


def _evidence(direction: str, found: Evidence) -> str:
    return (
        f"{direction}, held-out pictures:\n"
        f"  the animals' look went {found.moved:.0%} of the way to the other domain (untranslated {abs(found.moved_untranslated):.0%})\n"
        f"  the ground changed by {found.ground_changed:.1f} of 255 levels (untranslated 0.0; another picture's ground {found.ground_of_another:.0f})"
    )
