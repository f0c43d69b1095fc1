from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import TINY_CYCLEGAN, TINY_CYCLEGAN_METHOD, TINY_PIX2PIX_METHOD
from tests.diagnostics.test_symptoms import OTHERS, PLAIN, STRIPED
from transmute.batch import Batch
from transmute.config.losses import LeastSquaresConfig, WGANGPConfig
from transmute.config.methods import (
    ColorizationConfig,
    CUTConfig,
    CycleGANConfig,
    MethodConfig,
    Pix2PixConfig,
)
from transmute.config.networks import PatchGANConfig, ResNetConfig, UNetConfig
from transmute.config.training import AdamConfig, TrainConfig
from transmute.diagnostics.symptoms import Symptom
from transmute.errors import UserError
from transmute.methods.base import Method, Preview
from transmute.run import Run
from transmute.training.diagnosis import Diagnosis, image_symptoms, number_symptoms
from transmute.training.train import train
from transmute.training.trainer import Trainer


def test_a_symptom_is_reported_once_if_it_persists_and_again_only_after_it_was_gone() -> None:
    diagnosis = Diagnosis(steps=2000)
    symptom = Symptom("collapse", "a to b", {}, "x", "y")
    early = Symptom("black", "", {}, "x", "y", early=True, checks=1)

    def check(*found: Symptom, step: int = 600) -> list[str]:
        return [one.name for one in diagnosis.update("images", found, step)]

    # An untrained generator may look collapsed.
    assert check(symptom, early, step=500) == ["black"]
    assert check(symptom) == []
    assert check(symptom) == ["collapse"]
    assert check(symptom) == []
    assert check() == []
    assert [check(symptom), check(symptom)] == [[], ["collapse"]]
    diagnosis.update("numbers", [], 700)  # another kind of check does not reset this one
    assert check(symptom) == []
    reported = ["black", "collapse", "collapse"]
    assert [one["name"] for one in diagnosis.unsaved] == reported


CONFIGS = [CycleGANConfig(), Pix2PixConfig(), CUTConfig(), ColorizationConfig()]


def methods() -> list[Method]:
    torch.manual_seed(0)
    generator, discriminator = ResNetConfig(width=4, blocks=1), PatchGANConfig(width=4, layers=1)
    return [
        TINY_CYCLEGAN_METHOD.build(3, 3, (64, 64)),
        TINY_PIX2PIX_METHOD.build(3, 3, (64, 64)),
        CUTConfig(
            generator=generator, discriminator=discriminator, layers=(0, 4), direction="b_to_a"
        ).build(3, 3, (64, 64)),
        ColorizationConfig(
            generator=UNetConfig(width=4, depth=3), discriminator=discriminator
        ).build(3, 3, (64, 64)),
    ]


@pytest.mark.parametrize("method", methods(), ids=lambda method: type(method).__name__)
def test_every_method_tells_what_its_discriminators_see(method: Method) -> None:
    names = set()
    for preview in method.previews(method.generators, Batch(PLAIN[:1], STRIPED[:1])):
        for name, (real, fake) in method.discriminator_inputs(preview).items():
            names.add(name)
            assert real.shape == fake.shape
            assert not torch.equal(real, fake)
            assert torch.isfinite(method.networks[name].module(real)).all()
    assert names == {name for name in method.networks if name.startswith("score")}


@pytest.mark.parametrize("method", methods(), ids=lambda method: type(method).__name__)
def test_every_method_names_the_losses_of_its_discriminators(method: Method) -> None:
    images = torch.rand(2, 2, 3, 64, 64) * 2 - 1
    losses = Trainer(method, AdamConfig()).step([Batch(*images)])
    config = next(config for config in CONFIGS if config.name in type(method).__name__.lower())
    named = {name for names in config.discriminator_losses.values() for name in names}
    assert named == {name for name in losses if name.startswith("discriminator")}


def cyclegan_previews(
    output: torch.Tensor, back: torch.Tensor = PLAIN, target: torch.Tensor = STRIPED
) -> list[list[Preview]]:
    """Four batches of one image, with good previews from b to a."""
    return [
        [
            Preview("a_to_b", *(x[i : i + 1] for x in (PLAIN, output, target, back))),
            Preview("b_to_a", *(x[i : i + 1] for x in (STRIPED, PLAIN, PLAIN, STRIPED))),
        ]
        for i in range(4)
    ]


def test_symptoms_are_found_in_previews() -> None:
    method = methods()[0]

    def names(
        output: torch.Tensor, back: torch.Tensor = PLAIN, *, paired: bool = False
    ) -> list[tuple[str, str]]:
        previews = cyclegan_previews(output, back)
        found = image_symptoms(method, previews, [], paired=paired)
        return [(symptom.name, symptom.where) for symptom in found]

    assert names(STRIPED) == []
    assert names(torch.full_like(PLAIN, -1)) == [("constant output", "a to b")]
    assert names(PLAIN) == [("no change", "a to b")]
    assert names(-PLAIN) == [("inverted", "a to b")]
    assert names(-PLAIN, paired=True) == []
    assert names(STRIPED, PLAIN.roll(1, 0)) == [("cycle ignored", "a to b")]
    assert names(STRIPED[:1].repeat(4, 1, 1, 1)) == [("collapse", "a to b")]


def test_an_overfitting_discriminator_is_found_by_its_scores() -> None:
    class Memorizing(torch.nn.Module):
        """Scores images of the training set 1, and all others 0."""

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            known = torch.stack(
                [(image - STRIPED).abs().amax((1, 2, 3)).min() < 1e-6 for image in images]
            )
            return known.float()[:, None, None, None]

    method = methods()[0]
    score_b = replace(method.networks["score_b"], module=Memorizing())
    method.networks = {**method.networks, "score_b": score_b}
    trained_on = cyclegan_previews(OTHERS, target=STRIPED)
    held_out = cyclegan_previews(OTHERS, target=STRIPED.flip(3))
    found = image_symptoms(method, held_out, trained_on, paired=False)
    assert [(symptom.name, symptom.where) for symptom in found] == [("overfitting", "of b")]
    assert found[0].evidence["share"] == 1
    found = image_symptoms(method, trained_on, trained_on, paired=False)
    assert "overfitting" not in [symptom.name for symptom in found]


def test_symptoms_are_found_in_reports() -> None:
    common: dict[str, Any] = {"waiting": (0.0, 10.0), "lr_factor": 1.0, "step": 100, "steps": 1000}

    def names(method: MethodConfig, rows: list[dict], **changes: Any) -> list[tuple[str, str]]:
        found = number_symptoms(method, rows, **(common | changes))
        return [(symptom.name, symptom.where) for symptom in found]

    rows = [{"step": step, "discriminator_a": 0.1, "discriminator_b": 0.001} for step in range(10)]
    assert names(CycleGANConfig(), rows) == [("discriminator ahead", "of b")]
    # The scores of a Wasserstein loss have no scale.
    assert names(CycleGANConfig(adversarial=WGANGPConfig()), rows) == []
    halves = [
        {"step": step, "discriminator_real": 0.125, "discriminator_fake": 0.125}
        for step in range(10)
    ]
    pix2pix = Pix2PixConfig(adversarial=LeastSquaresConfig())
    assert names(pix2pix, halves) == [("discriminator behind", "")]
    found = names(CycleGANConfig(), [], waiting=(9.0, 10.0), lr_factor=0.0)
    assert found == [("starving", ""), ("no learning rate", "")]


def test_a_run_reports_symptoms_on_the_console_in_metrics_jsonl_and_on_its_page(
    animals: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    still = TINY_CYCLEGAN.replace(
        method=TINY_CYCLEGAN_METHOD.replace(
            generator=ResNetConfig(width=4, blocks=1, residual=True)
        ),
        optimizer=AdamConfig(lr=1e-12),
        steps=12,
    )
    train(
        TrainConfig(
            folder=animals,
            run=tmp_path / "run",
            recipe=still,
            device="cpu",
            sample_every=2,
            report_every=4,
        )
    )
    run = Run(tmp_path / "run")
    found = [
        (row["step"], symptom["name"], symptom["where"])
        for row in run.metrics()
        for symptom in row.get("symptoms", [])
    ]
    assert [one for one in found if one[1] == "no change"] == [
        (12, "no change", "a to b"),
        (12, "no change", "b to a"),
    ]
    said = capsys.readouterr().out
    assert "warning at step 10: translations a to b differ from their inputs by only" in said
    assert "lower `method.identity`" in said
    assert "no change" in run.report_file.read_text(encoding="utf-8")


def test_a_loss_that_is_not_finite_ends_the_training_and_is_on_its_page(
    animals: Path, tmp_path: Path
) -> None:
    wild = TINY_CYCLEGAN.replace(optimizer=AdamConfig(lr=1e30))
    message = (
        r"loss \w+ is (nan|inf) by step \d\. Earlier checkpoints are kept\. To fix it, lower `"
    )
    with pytest.raises(UserError, match=message):
        train(TrainConfig(folder=animals, run=tmp_path / "run", recipe=wild, device="cpu"))
    run = Run(tmp_path / "run")
    assert run.metrics()[-1]["symptoms"][0]["name"] == "not finite"
    assert "not finite" in run.report_file.read_text(encoding="utf-8")
