"""The essential closed forms of both methods, where no fixtures are at hand."""

from __future__ import annotations

import pytest
import torch

from tests.conftest import TINY_CYCLEGAN, TINY_PIX2PIX
from transmute.batch import Batch
from transmute.losses.config import WGANGPConfig
from transmute.methods.config import CycleGANConfig, Pix2PixConfig
from transmute.methods.cyclegan import CycleGAN
from transmute.methods.pix2pix import Pix2Pix
from transmute.settings import UserError

CYCLEGAN = TINY_CYCLEGAN.method
PIX2PIX = TINY_PIX2PIX.method


def batch(size: int = 16) -> Batch:
    random = torch.Generator().manual_seed(5)
    return Batch(*(torch.rand(2, 3, size, size, generator=random) * 2 - 1 for _ in "ab"))


def cyclegan(**changes: object) -> CycleGAN:
    torch.manual_seed(0)
    method = CYCLEGAN.replace(**changes).build(3, 3, (16, 16))
    assert isinstance(method, CycleGAN)
    return method


def test_cyclegan_moves_generators_first_and_names_its_losses() -> None:
    updates = list(cyclegan().step(batch()))
    assert [update.player.name for update in updates] == ["generators", "discriminators"]
    assert list(updates[0].losses) == ["fool_b", "fool_a", "cycle_a", "cycle_b", "identity_a", "identity_b"]
    assert list(updates[1].losses) == ["discriminate_a", "discriminate_b"]


def test_cyclegan_losses_are_the_paper_s_formulas() -> None:
    method, pictures = cyclegan(cycle_a=7.0, cycle_b=3.0, identity=0.2, history=0), batch()
    losses = {name: loss.item() for update in method.step(pictures) for name, loss in update.losses.items()}
    with torch.no_grad():
        fake_b, fake_a = method.a_to_b(pictures.a), method.b_to_a(pictures.b)
        expected = {
            "fool_b": (method.score_b(fake_b) - 1).square().mean(),
            "fool_a": (method.score_a(fake_a) - 1).square().mean(),
            "cycle_a": 7.0 * (method.b_to_a(fake_b) - pictures.a).abs().mean(),
            "cycle_b": 3.0 * (method.a_to_b(fake_a) - pictures.b).abs().mean(),
            "identity_a": 0.2 * 7.0 * (method.b_to_a(pictures.a) - pictures.a).abs().mean(),
            "identity_b": 0.2 * 3.0 * (method.a_to_b(pictures.b) - pictures.b).abs().mean(),
            "discriminate_a": ((method.score_a(pictures.a) - 1).square().mean() + method.score_a(fake_a).square().mean()) / 2,
            "discriminate_b": ((method.score_b(pictures.b) - 1).square().mean() + method.score_b(fake_b).square().mean()) / 2,
        }
    # The same float32 operations in the same order but for the weights: a few units in the last place.
    assert losses == pytest.approx({name: value.item() for name, value in expected.items()}, rel=1e-6)


def test_swapping_the_domains_swaps_the_losses() -> None:
    method, pictures = cyclegan(history=0), batch()
    mirrored = cyclegan(history=0)
    mirrored.a_to_b.load_state_dict(method.b_to_a.state_dict())
    mirrored.b_to_a.load_state_dict(method.a_to_b.state_dict())
    mirrored.score_a.load_state_dict(method.score_b.state_dict())
    mirrored.score_b.load_state_dict(method.score_a.state_dict())
    losses = {name: loss.item() for update in method.step(pictures) for name, loss in update.losses.items()}
    swapped = {name: loss.item() for update in mirrored.step(Batch(pictures.b, pictures.a)) for name, loss in update.losses.items()}
    other = {"a": "b", "b": "a"}
    assert losses == {f"{name[:-1]}{other[name[-1]]}": loss for name, loss in swapped.items()}


def test_without_identity_its_losses_are_left_out() -> None:
    names = {name for update in cyclegan(identity=0.0).step(batch()) for name in update.losses}
    assert not {name for name in names if name.startswith("identity")}


def test_wgan_gp_adds_a_penalty_to_the_discriminators() -> None:
    *_, last = cyclegan(adversarial=WGANGPConfig()).step(batch())
    assert {"penalty_a", "penalty_b"} <= set(last.losses)


def test_pix2pix_moves_its_discriminator_first_and_shows_it_the_input() -> None:
    torch.manual_seed(0)
    method, pictures = PIX2PIX.build(3, 3, (16, 16)).eval(), batch()
    assert isinstance(method, Pix2Pix)
    updates = list(method.step(pictures))
    assert [update.player.name for update in updates] == ["discriminator", "generator"]
    with torch.no_grad():
        fake = method.translate(pictures.a)
        real_scores = method.score(torch.cat([pictures.a, pictures.b], dim=1))
        fake_scores = method.score(torch.cat([pictures.a, fake], dim=1))
    softplus = torch.nn.functional.softplus
    losses = {name: loss.item() for update in updates for name, loss in update.losses.items()}
    expected = {
        "discriminate_fake": softplus(fake_scores).mean() / 2,
        "discriminate_real": softplus(-real_scores).mean() / 2,
        "fool": softplus(-fake_scores).mean(),
        "l1": 100 * (fake - pictures.b).abs().mean(),
    }
    # The same float32 operations: a few units in the last place.
    assert losses == pytest.approx({name: value.item() for name, value in expected.items()}, rel=1e-6)


def test_pix2pix_can_go_from_b_to_a() -> None:
    method = Pix2PixConfig(direction="b_to_a", generator=PIX2PIX.generator, discriminator=PIX2PIX.discriminator).build(1, 3, (16, 16))
    pictures = Batch(torch.rand(2, 1, 16, 16), torch.rand(2, 3, 16, 16))
    assert list(method.translators) == ["b_to_a"]
    assert method.samples(method.translators, pictures)["output"].shape == (2, 1, 16, 16)


def test_domains_may_differ_in_channels_without_identity_only() -> None:
    config = CycleGANConfig(generator=CYCLEGAN.generator, discriminator=CYCLEGAN.discriminator, identity=0)
    method = config.build(1, 3, (16, 16))
    list(method.step(Batch(torch.rand(1, 1, 16, 16), torch.rand(1, 3, 16, 16))))
    with pytest.raises(UserError, match=r"identity loss needs equal channels"):
        CYCLEGAN.build(1, 3, (16, 16))
