"""`transmute demo`: generates images, trains on them, and measures the translations."""

from pathlib import Path

from PIL import Image

from transmute.config.data import PreprocessConfig, SourceConfig
from transmute.config.methods import CycleGANConfig
from transmute.config.metrics import MetricsConfig
from transmute.config.networks import PatchGANConfig, ResNetConfig
from transmute.config.training import AdamConfig, Recipe, TrainConfig
from transmute.demo.animals import TransferScore, score_transfer, write_data_set
from transmute.images.encode import save_image
from transmute.images.find import find_images
from transmute.training.previews import sheet
from transmute.training.train import train
from transmute.translation.translator import Translator

_SHOWN = 6  # images of each domain in demo.png

DEMO = Recipe(
    method=CycleGANConfig(
        generator=ResNetConfig(width=16, levels=1, blocks=4, upsampling="nearest", residual=True),
        discriminator=PatchGANConfig(width=16, layers=2),
        # A plain coat does not contain the positions of stripes. With a high weight, the generator
        # would hide them there.
        cycle_b=2.0,
    ),
    size="64",
    batch=2,
    steps=1200,
    preprocess=PreprocessConfig(mode="none"),
    optimizer=AdamConfig(lr=4e-4, ema=0.995),
)
"""A CycleGAN that trains in four minutes on two cores. docs/log.md lists the alternatives tried."""

QUICK = DEMO.replace(
    method=DEMO.method.replace(
        generator=ResNetConfig(width=4, blocks=1), discriminator=PatchGANConfig(width=4, layers=1)
    ),
    steps=6,
)
"""A tiny version that runs in seconds. It learns nothing."""


def run_demo(run: Path, *, quick: bool = False, seed: int = 0) -> int | None:
    """Generates a data set, trains on it, and prints how well held-out images are translated.

    Args:
        run: Run folder. The images are written next to it, to `<run>-data`.
        quick: Few images, tiny networks, six steps.
        seed: Seed of the training run. The images are always the same.

    Returns:
        None, or the number of the signal that stopped training.
    """
    data = run.with_name(f"{run.name}-data")
    write_data_set(data, train=8 if quick else 400, test=4 if quick else 32)
    every = 2 if quick else 200
    config = TrainConfig(
        folder=data,
        run=run,
        recipe=(QUICK if quick else DEMO).replace(seed=seed),
        data=SourceConfig(cache=True),
        report_every=1 if quick else 50,
        sample_every=every,
        save_every=every,
        evaluate_every=every,
        metrics=MetricsConfig(features="texture", lpips="none"),
        device="cpu",
    )
    if stopped_by := train(config):
        return stopped_by
    image, scores = score_translations(run, data)
    save_image(image, run / "demo.png")
    for direction, score in scores.items():
        print(
            f"{direction}, held-out images:\n"
            f"  The animals' appearance moved {score.transfer:.0%} of the way to the other "
            "domain.\n"
            f"  The background changed by {score.background_change:.1f} of 255 levels (the "
            f"background of another image: {score.background_of_another:.0f})."
        )
    return None


def score_translations(run: Path, data: Path) -> tuple[Image.Image, dict[str, TransferScore]]:
    """Translates the held-out images in both directions.

    Returns:
        A sheet of some translations, and the score of each direction.
    """
    plain, striped, plain_masks, striped_masks = (
        [Image.open(path) for path in find_images(data / name)]
        for name in ("testA", "testB", "masksA", "masksB")
    )
    to_striped, to_plain = (Translator(run, direction=way) for way in ("a_to_b", "b_to_a"))
    now_striped, now_plain = to_striped(plain), to_plain(striped)
    columns = {
        "plain": plain[:_SHOWN],
        "to striped": now_striped[:_SHOWN],
        "and back": to_plain(now_striped[:_SHOWN]),
        "striped": striped[:_SHOWN],
        "to plain": now_plain[:_SHOWN],
        "and back ": to_striped(now_plain[:_SHOWN]),
    }
    scores = {
        "Plain to striped": score_transfer(plain, now_striped, plain_masks, striped, striped_masks),
        "Striped to plain": score_transfer(striped, now_plain, striped_masks, plain, plain_masks),
    }
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return sheet(rows, scale=2), scores
