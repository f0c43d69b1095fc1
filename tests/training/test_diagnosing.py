from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import TINY_CYCLEGAN, TINY_PIX2PIX
from tests.diagnostics.test_signs import OTHERS, PLAIN, STRIPED
from transmute.batch import Batch
from transmute.diagnostics.signs import Sign
from transmute.losses.config import LeastSquaresConfig, WGANGPConfig
from transmute.methods.base import Method
from transmute.methods.config import ColorizationConfig, CUTConfig
from transmute.networks.config import PatchGANConfig, ResNetConfig, UNetConfig
from transmute.run import Run
from transmute.settings import UserError
from transmute.training.config import AdamConfig, TrainConfig
from transmute.training.diagnosing import Diagnosis, of_numbers, of_pictures
from transmute.training.train import train


def test_a_sign_is_said_once_when_it_has_stayed_and_again_only_after_it_was_gone() -> None:
    diagnosis, sign, early = Diagnosis(), Sign("collapse", "a to b", {}, "x", "y"), Sign("black", "", {}, "x", "y", early=True, looks=1)

    def hear(*found: Sign, step: int = 600) -> list[str]:
        return [one.name for one in diagnosis.hear(("collapse", "black"), found, step=step, steps=2000)]

    assert hear(sign, early, step=500) == ["black"]  # a translator that has learned nothing may look like that
    assert hear(sign) == []
    assert hear(sign) == ["collapse"]
    assert hear(sign) == []
    assert hear() == []
    assert [hear(sign), hear(sign)] == [[], ["collapse"]]
    diagnosis.hear(("starving",), [], step=700, steps=2000)  # who looks for other signs forgets none of these
    assert hear(sign) == []
    assert [one["name"] for one in diagnosis.new] == ["black", "collapse", "collapse"]


def methods() -> list[Method]:
    torch.manual_seed(0)
    generator, judge = ResNetConfig(width=4, blocks=1), PatchGANConfig(width=4, layers=1)
    return [
        TINY_CYCLEGAN.method.build(3, 3, (64, 64)),
        TINY_PIX2PIX.method.build(3, 3, (64, 64)),
        CUTConfig(generator=generator, discriminator=judge, layers=(0, 4), direction="b_to_a").build(3, 3, (64, 64)),
        ColorizationConfig(generator=UNetConfig(width=4, depth=3), discriminator=judge).build(3, 3, (64, 64)),
    ]


@pytest.mark.parametrize("method", methods(), ids=lambda method: type(method).__name__)
def test_every_method_shows_what_its_judges_see(method: Method) -> None:
    shown = method.samples(method.translators, Batch(PLAIN[:1], STRIPED[:1]))  # pyright: ignore[reportArgumentType]
    judged = method.judged(shown)
    assert set(judged) == {name for name in method.networks if name.startswith("score")}
    for name, (real, fake) in judged.items():
        assert real.shape == fake.shape
        assert not torch.equal(real, fake)
        assert torch.isfinite(method.networks[name](real)).all()


def test_signs_are_found_in_what_a_method_shows() -> None:
    method = methods()[0]

    def shown(a_to_b: torch.Tensor, back: torch.Tensor) -> list[dict[str, torch.Tensor]]:
        good = {"real b": STRIPED, "b to a": PLAIN, "back to b": STRIPED}
        return [
            {name: images[i : i + 1] for name, images in ({"real a": PLAIN, "a to b": a_to_b, "back to a": back} | good).items()} for i in range(4)
        ]

    def names(a_to_b: torch.Tensor, back: torch.Tensor = PLAIN, *, paired: bool = False) -> list[tuple[str, str]]:
        return [(sign.name, sign.where) for sign in of_pictures(method, shown(a_to_b, back), [], paired=paired)]

    assert names(STRIPED) == []
    assert names(torch.full_like(PLAIN, -1)) == [("constant output", "a to b")]
    assert names(PLAIN) == [("no change", "a to b")]
    assert names(-PLAIN) == [("inverted", "a to b")]
    assert names(-PLAIN, paired=True) == []
    assert names(STRIPED, PLAIN.roll(1, 0)) == [("cycle ignored", "a to b")]
    assert names(STRIPED[:1].repeat(4, 1, 1, 1)) == [("collapse", "a to b")]


def test_a_judge_by_heart_is_found_by_its_scores() -> None:
    class ByHeart(torch.nn.Module):
        """Gives 1 for the pictures that it was shown, 0 for all others."""

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            known = torch.stack([(image - STRIPED).abs().amax((1, 2, 3)).min() < 1e-6 for image in images])
            return known.float()[:, None, None, None]

    method = methods()[0]
    method.score_b = ByHeart()  # pyright: ignore[reportAttributeAccessIssue]
    base = {"real a": PLAIN, "a to b": OTHERS, "back to a": PLAIN, "b to a": PLAIN, "back to b": STRIPED.flip(3)}
    seen, held_out = [base | {"real b": STRIPED}], [base | {"real b": STRIPED.flip(3)}]
    found = of_pictures(method, held_out, seen, paired=False)
    assert [(sign.name, sign.where) for sign in found] == [("overfitting", "of b")]
    assert found[0].evidence["share"] == 1
    assert "overfitting" not in [sign.name for sign in of_pictures(method, seen, seen, paired=False)]


def test_signs_are_found_in_reports() -> None:
    common: dict[str, Any] = {"waiting": (0.0, 10.0), "rate": 1.0, "step": 100, "steps": 1000}
    one_domain = [{"step": step, "discriminate_a": 0.1, "discriminate_b": 0.001} for step in range(10)]
    assert [(sign.name, sign.where) for sign in of_numbers(one_domain, LeastSquaresConfig(), **common)] == [("discriminator ahead", "of b")]
    assert of_numbers(one_domain, WGANGPConfig(), **common) == []  # its scores have no scale
    two_parts = [{"step": step, "discriminate_real": 0.125, "discriminate_fake": 0.125} for step in range(10)]
    assert [(sign.name, sign.where) for sign in of_numbers(two_parts, LeastSquaresConfig(), **common)] == [("discriminator behind", "")]
    assert [sign.name for sign in of_numbers([], LeastSquaresConfig(), **{**common, "waiting": (9.0, 10.0), "rate": 0.0})] == [
        "starving",
        "no learning rate",
    ]


def test_a_training_says_its_signs_on_the_console_in_its_rows_and_on_its_page(animals: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    still = TINY_CYCLEGAN.replace(
        method=TINY_CYCLEGAN.method.replace(generator=ResNetConfig(width=4, blocks=1, residual=True)), optimizer=AdamConfig(lr=1e-12), steps=12
    )
    train(TrainConfig(folder=animals, run=tmp_path / "run", recipe=still, device="cpu", sample_every=2, report_every=4))
    run = Run(tmp_path / "run")
    found = [(row["step"], sign["name"], sign["where"]) for row in run.metrics() for sign in row.get("signs", [])]
    assert [one for one in found if one[1] == "no change"] == [(12, "no change", "a to b"), (12, "no change", "b to a")]
    said = capsys.readouterr().out
    assert "warning at step 10: translations a to b are their inputs" in said
    assert "lower --method.identity" in said
    assert "no change" in run.report_file.read_text()


def test_a_loss_that_is_no_number_ends_the_training_and_stands_on_its_page(animals: Path, tmp_path: Path) -> None:
    wild = TINY_CYCLEGAN.replace(optimizer=AdamConfig(lr=1e30))
    with pytest.raises(UserError, match=r"the loss \w+ is (nan|inf) by step \d: an earlier checkpoint is kept; try a lower --optimizer.lr"):
        train(TrainConfig(folder=animals, run=tmp_path / "run", recipe=wild, device="cpu"))
    run = Run(tmp_path / "run")
    assert run.metrics()[-1]["signs"][0]["name"] == "not finite"
    assert "not finite" in run.report_file.read_text()
