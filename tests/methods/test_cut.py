from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from transmute.batch import Batch
from transmute.config.methods import CUTConfig
from transmute.config.networks import PatchGANConfig, ResNetConfig
from transmute.config.training import AdamConfig
from transmute.errors import UserError
from transmute.interop.checkpoint import read_checkpoint
from transmute.losses import patch_nce
from transmute.methods.cut import CUT
from transmute.networks.heads import ProjectionHeads
from transmute.networks.resnet import ResNet
from transmute.training.trainer import Trainer

TINY = CUTConfig(
    generator=ResNetConfig(width=2, blocks=2, downsampling="antialiased", upsampling="antialiased"),
    discriminator=PatchGANConfig(width=2, layers=1, downsampling="antialiased"),
    layers=(0, 4, 12),
    width=8,
    patches=10,
)


def tiny(**changes: object) -> CUT:
    torch.manual_seed(0)
    method = TINY.replace(**changes).build(3, 3, (16, 16))
    assert isinstance(method, CUT)
    return method.double()


def batch(count: int = 2) -> Batch:
    random = torch.Generator().manual_seed(1)
    a, b = torch.rand(2, count, 3, 16, 16, generator=random, dtype=torch.float64) * 2 - 1
    return Batch(a, b)


def test_features_heads_and_losses_equal_the_authors_code(golden: Path) -> None:
    networks = read_checkpoint(golden / "cut" / "generator").networks
    built = {role: network.layout.build() for role, network in networks.items()}
    for role, network in built.items():
        network.load_state_dict(networks[role].state)
        network.double()  # leaves only the rounding of the authors' float32
    expected = load_file(golden / "cut" / "generator" / "patchnce.safetensors")
    images = load_file(golden / "cut" / "generator" / "latest_net_G.io.safetensors")[
        "input"
    ].double()
    generator = built["a_to_b"]
    assert isinstance(generator, ResNet)
    with torch.no_grad():
        features = generator.features(images, (0, 4, 8, 12, 16))
        patches = built["heads"](features, [expected[f"ids_{layer}"] for layer in range(5)])
    for layer in range(5):
        rounding = (
            2e-6 * features[layer].abs().max().item()
        )  # a dozen units in the last place of the largest, after sixteen layers
        torch.testing.assert_close(
            features[layer].float(), expected[f"feature_{layer}"], rtol=0, atol=rounding
        )
        torch.testing.assert_close(
            patches[layer].flatten(0, 1).float(), expected[f"patches_{layer}"], rtol=0, atol=1e-5
        )
        loss = patch_nce(
            expected[f"query_{layer}"].view_as(patches[layer]).double(),
            patches[layer],
            temperature=0.07,
        )
        torch.testing.assert_close(loss.float(), expected["losses"][layer], rtol=1e-5, atol=1e-5)


def test_patch_nce_of_equal_and_orthogonal_vectors_has_its_closed_form() -> None:
    eye = torch.eye(4, dtype=torch.float64)[None]
    assert patch_nce(eye, eye, 1.0).item() == pytest.approx(
        -1 + torch.tensor([1.0, 0, 0, 0], dtype=torch.float64).exp().sum().log().item()
    )
    other = patch_nce(eye, eye.roll(1, dims=1), 1.0).item()
    assert other == pytest.approx(patch_nce(eye, eye, 1.0).item() + 1)


def test_images_of_a_batch_are_not_negatives_of_each_other() -> None:
    vectors = torch.nn.functional.normalize(torch.randn(2, 5, 8, dtype=torch.float64), dim=2)
    both = patch_nce(vectors, vectors, 0.1)
    each = [patch_nce(one[None], one[None], 0.1) for one in vectors]
    assert both.item() == pytest.approx(torch.stack(each).mean().item(), abs=1e-12)


def test_the_heads_learn_from_the_first_step() -> None:
    method = tiny()
    before = {name: value.clone() for name, value in method.heads.state_dict().items()}
    Trainer(method, AdamConfig()).step([batch()])
    assert before.keys() == method.heads.state_dict().keys()
    assert any(
        not torch.equal(before[name], value) for name, value in method.heads.state_dict().items()
    )


def test_a_step_has_the_losses_of_its_settings() -> None:
    losses = Trainer(tiny(), AdamConfig()).step([batch()])
    assert set(losses) == {"discriminator", "gan", "nce", "nce_identity"}
    losses = Trainer(tiny(identity=False), AdamConfig()).step([batch()])
    assert set(losses) == {"discriminator", "gan", "nce"}


@pytest.mark.parametrize("direction", ["a_to_b", "b_to_a"])
def test_swapping_the_domains_and_the_direction_changes_nothing(direction: str) -> None:
    one, other = (
        tiny(direction=direction),
        tiny(direction="b_to_a" if direction == "a_to_b" else "a_to_b"),
    )
    images = batch()
    torch.manual_seed(3)
    losses = Trainer(one, AdamConfig()).step([images])
    torch.manual_seed(3)
    swapped = Trainer(other, AdamConfig()).step([Batch(images.b, images.a)])
    assert losses == swapped


def by_hand(method: CUT, batch_: Batch, *, mirrored: bool) -> dict[str, float]:
    """The losses of a step, written out position by position."""

    def mirror(images: torch.Tensor) -> torch.Tensor:
        return images.flip(3) if mirrored else images

    def vectors(images: torch.Tensor, layer: int, *, back: bool) -> torch.Tensor:
        features = images
        for module in list(method.translate.layers)[: method.config.layers[layer] + 1]:
            features = module(features)
        features = mirror(features) if back else features
        assert isinstance(method.heads, ProjectionHeads)
        found = method.heads.heads[layer](
            features.permute(0, 2, 3, 1).reshape(len(features), -1, features.shape[1])
        )
        return found / (found.norm(dim=2, keepdim=True) + 1e-7)  # as in the authors' code

    def contrast(source: torch.Tensor, output: torch.Tensor) -> float:
        of_layers = []
        for layer in range(len(method.config.layers)):
            keys, queries = vectors(source, layer, back=False), vectors(output, layer, back=True)
            losses = []
            for image in range(len(source)):
                for place in range(keys.shape[1]):
                    alike = (
                        torch.stack(
                            [
                                queries[image, place] @ keys[image, other]
                                for other in range(keys.shape[1])
                            ]
                        )
                        / 0.07
                    )
                    losses.append(alike.exp().sum().log() - alike[place])
            of_layers.append(torch.stack(losses).mean())
        return torch.stack(of_layers).mean().item()

    with torch.no_grad():
        fake, same = method.translate(mirror(batch_.a)), method.translate(mirror(batch_.b))
        scores_fake, scores_real = method.score(fake), method.score(batch_.b)
        return {
            "discriminator": 0.5
            * ((scores_real - 1).square().mean() + scores_fake.square().mean()).item(),
            "gan": (scores_fake - 1).square().mean().item(),
            "nce": 0.5 * method.config.nce * contrast(batch_.a, fake),
            "nce_identity": 0.5 * method.config.nce * contrast(batch_.b, same),
        }


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_losses_equal_the_paper_s_formulas(mirrored: bool) -> None:
    method, images = tiny(flip=mirrored, nce=3.0, patches=10**6, layers=(4, 12)), batch(1)
    images = Batch(images.a[:, :, :8, :8].contiguous(), images.b[:, :, :8, :8].contiguous())
    expected = by_hand(method, images, mirrored=mirrored)
    seed = next(
        seed for seed in range(99) if (torch.manual_seed(seed), torch.rand(()).item() < 0.5)[1]
    )  # seed whose first draw mirrors
    torch.manual_seed(seed)
    losses = Trainer(method, AdamConfig(lr=1e-30)).step([images])
    # Summed in another order.
    assert {name: loss.item() for name, loss in losses.items()} == pytest.approx(expected, rel=1e-9)


def test_layers_that_the_generator_does_not_have_are_refused() -> None:
    with pytest.raises(UserError, match="increasing indices from 0 to"):
        tiny(layers=(0, 99))
