"""Closed forms of CycleGAN and pix2pix, without fixtures."""

from __future__ import annotations

import pytest
import torch

from tests.conftest import TINY_CYCLEGAN_METHOD, TINY_PIX2PIX_METHOD
from transmute.batch import Batch
from transmute.config.losses import WGANGPConfig
from transmute.config.methods import CycleGANConfig, Pix2PixConfig
from transmute.errors import UserError
from transmute.methods.base import Method
from transmute.methods.cyclegan import CycleGAN
from transmute.methods.pix2pix import Pix2Pix

CYCLEGAN = TINY_CYCLEGAN_METHOD
PIX2PIX = TINY_PIX2PIX_METHOD


def batch(size: int = 16) -> Batch:
    random = torch.Generator().manual_seed(5)
    return Batch(*(torch.rand(2, 3, size, size, generator=random) * 2 - 1 for _ in "ab"))


def cyclegan(**changes: object) -> CycleGAN:
    torch.manual_seed(0)
    method = CYCLEGAN.replace(**changes).build(3, 3, (16, 16))
    assert isinstance(method, CycleGAN)
    return method


def test_cyclegan_updates_generators_first_and_names_its_losses() -> None:
    updates = list(cyclegan().step(batch()))
    assert [update.player.name for update in updates] == ["generators", "discriminators"]
    assert list(updates[0].losses) == [
        "gan_b",
        "gan_a",
        "cycle_a",
        "cycle_b",
        "identity_a",
        "identity_b",
    ]
    assert list(updates[1].losses) == ["discriminator_a", "discriminator_b"]


def test_cyclegan_losses_equal_the_paper_s_formulas() -> None:
    method, images = cyclegan(cycle_a=7.0, cycle_b=3.0, identity=0.2, history=0), batch()
    losses = {
        name: loss.item() for update in method.step(images) for name, loss in update.losses.items()
    }
    with torch.no_grad():
        fake_b, fake_a = method.a_to_b(images.a), method.b_to_a(images.b)
        expected = {
            "gan_b": (method.score_b(fake_b) - 1).square().mean(),
            "gan_a": (method.score_a(fake_a) - 1).square().mean(),
            "cycle_a": 7.0 * (method.b_to_a(fake_b) - images.a).abs().mean(),
            "cycle_b": 3.0 * (method.a_to_b(fake_a) - images.b).abs().mean(),
            "identity_a": 0.2 * 7.0 * (method.b_to_a(images.a) - images.a).abs().mean(),
            "identity_b": 0.2 * 3.0 * (method.a_to_b(images.b) - images.b).abs().mean(),
            "discriminator_a": (
                (method.score_a(images.a) - 1).square().mean()
                + method.score_a(fake_a).square().mean()
            )
            / 2,
            "discriminator_b": (
                (method.score_b(images.b) - 1).square().mean()
                + method.score_b(fake_b).square().mean()
            )
            / 2,
        }
    # The same float32 operations up to the weights: a few units in the last place.
    assert losses == pytest.approx(
        {name: value.item() for name, value in expected.items()}, rel=1e-6
    )


def test_swapping_the_domains_swaps_the_losses() -> None:
    method, images = cyclegan(history=0), batch()
    mirrored = cyclegan(history=0)
    mirrored.a_to_b.load_state_dict(method.b_to_a.state_dict())
    mirrored.b_to_a.load_state_dict(method.a_to_b.state_dict())
    mirrored.score_a.load_state_dict(method.score_b.state_dict())
    mirrored.score_b.load_state_dict(method.score_a.state_dict())
    losses = {
        name: loss.item() for update in method.step(images) for name, loss in update.losses.items()
    }
    swapped = {
        name: loss.item()
        for update in mirrored.step(Batch(images.b, images.a))
        for name, loss in update.losses.items()
    }
    other = {"a": "b", "b": "a"}
    assert losses == {f"{name[:-1]}{other[name[-1]]}": loss for name, loss in swapped.items()}


def test_without_identity_there_are_no_identity_losses() -> None:
    names = {name for update in cyclegan(identity=0.0).step(batch()) for name in update.losses}
    assert not {name for name in names if name.startswith("identity")}


def test_wgan_gp_adds_a_penalty_to_the_discriminators() -> None:
    *_, last = cyclegan(adversarial=WGANGPConfig()).step(batch())
    assert {"penalty_a", "penalty_b"} <= set(last.losses)


def test_pix2pix_updates_its_discriminator_first_which_sees_the_input() -> None:
    torch.manual_seed(0)
    method, images = PIX2PIX.build(3, 3, (16, 16)).eval(), batch()
    assert isinstance(method, Pix2Pix)
    updates = list(method.step(images))
    assert [update.player.name for update in updates] == ["discriminator", "generator"]
    with torch.no_grad():
        fake = method.translate(images.a)
        real_scores = method.score(torch.cat([images.a, images.b], dim=1))
        fake_scores = method.score(torch.cat([images.a, fake], dim=1))
    softplus = torch.nn.functional.softplus
    losses = {name: loss.item() for update in updates for name, loss in update.losses.items()}
    expected = {
        "discriminator_fake": softplus(fake_scores).mean() / 2,
        "discriminator_real": softplus(-real_scores).mean() / 2,
        "gan": softplus(-fake_scores).mean(),
        "l1": 100 * (fake - images.b).abs().mean(),
    }
    # The same float32 operations: a few units in the last place.
    assert losses == pytest.approx(
        {name: value.item() for name, value in expected.items()}, rel=1e-6
    )


def test_pix2pix_can_translate_from_b_to_a() -> None:
    method = Pix2PixConfig(
        direction="b_to_a", generator=PIX2PIX.generator, discriminator=PIX2PIX.discriminator
    ).build(1, 3, (16, 16))
    images = Batch(torch.rand(2, 1, 16, 16), torch.rand(2, 3, 16, 16))
    assert list(method.generators) == ["b_to_a"]
    assert method.previews(method.generators, images)[0].output.shape == (2, 1, 16, 16)


def test_domains_may_differ_in_channels_only_without_identity() -> None:
    config = CycleGANConfig(
        generator=CYCLEGAN.generator, discriminator=CYCLEGAN.discriminator, identity=0
    )
    method = config.build(1, 3, (16, 16))
    list(method.step(Batch(torch.rand(1, 1, 16, 16), torch.rand(1, 3, 16, 16))))
    with pytest.raises(UserError, match=r"identity loss needs equal channels"):
        CYCLEGAN.build(1, 3, (16, 16))


def test_only_discriminators_of_images_alone_have_default_inputs() -> None:
    method = PIX2PIX.build(3, 3, (16, 16))
    (preview,) = method.previews(method.generators, batch())
    assert (preview.back, preview.identity) == (None, None)
    assert Method.discriminator_inputs(method, preview) == {}  # its input is a pair of images
    method = cyclegan()
    for preview in method.previews(method.generators, batch()):
        ((name, (real, fake)),) = method.discriminator_inputs(preview).items()
        assert name == f"score_{preview.direction[-1]}"
        assert torch.equal(real, preview.target)
        assert torch.equal(fake, preview.output)
        reverse = method.generators["b_to_a" if preview.direction == "a_to_b" else "a_to_b"]
        assert preview.back is not None
        assert preview.identity is not None
        assert torch.equal(preview.back, reverse(preview.output))
        assert torch.equal(preview.identity, method.generators[preview.direction](preview.target))
