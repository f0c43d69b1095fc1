from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from transmute.networks.config import FourStrideConfig, PatchGANConfig, PixelGANConfig, ResNetConfig, UNetConfig
from transmute.networks.initialization import initialize
from transmute.networks.layers import BlurDown, BlurUp, FewOutputs, binomial_kernel, norm_layer, padding_layer, reflected
from transmute.settings import UserError


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("network", "count"),
    [
        (lambda: ResNetConfig().build(3, 3), 11_378_179),
        (lambda: ResNetConfig(blocks=6, norm="batch").build(3, 3), 7_841_411),
        (lambda: UNetConfig().build(3, 3), 54_413_955),
        (lambda: UNetConfig(depth=7, norm="instance").build(3, 3), 41_825_667),
        (lambda: PatchGANConfig().build(3), 2_764_737),
        (lambda: PatchGANConfig(norm="batch").build(6), 2_768_705),
        (lambda: PixelGANConfig().build(3), 8_705),
    ],
    ids=["resnet9", "resnet6-batch", "unet256", "unet128", "patchgan", "patchgan-batch", "pixel"],
)
def test_networks_have_as_many_parameters_as_the_original(network, count: int) -> None:
    assert parameters(network()) == count


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
@pytest.mark.parametrize("padding", ["reflect", "replicate", "zeros"])
@pytest.mark.parametrize("upsampling", ["transposed", "nearest", "antialiased"])
def test_resnets_of_every_kind_keep_the_size_and_the_range(norm, padding, upsampling) -> None:
    network = ResNetConfig(width=2, blocks=1, norm=norm, padding=padding, upsampling=upsampling, downsampling="antialiased", dropout=True).build(1, 4)
    output = network(torch.rand(2, 1, 16, 24) * 2 - 1)
    assert output.shape == (2, 4, 16, 24)
    assert output.abs().max() <= 1


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
@pytest.mark.parametrize("depth", [2, 4, 6])
def test_unets_of_any_depth_keep_the_size(norm, depth: int) -> None:
    network = UNetConfig(width=2, depth=depth, norm=norm).build(3, 1)
    assert network(torch.rand(2, 3, 2 * 2**depth, 2**depth)).shape == (2, 1, 2 * 2**depth, 2**depth)


def test_a_residual_resnet_starts_by_changing_nothing() -> None:
    network = ResNetConfig(width=2, blocks=1, residual=True).build(3, 3)
    images = torch.rand(1, 3, 16, 16) * 2 - 1
    assert torch.equal(network(images), images)
    with pytest.raises(UserError, match="adds to its input"):
        ResNetConfig(residual=True).build(1, 3)


@pytest.mark.parametrize(
    ("config", "rows"),
    [(PatchGANConfig(width=2), 6), (PatchGANConfig(width=2, layers=1), 30), (PixelGANConfig(width=2), 64), (FourStrideConfig(width=2), 4)],
)
def test_discriminators_score_patches(config, rows: int) -> None:
    assert config.build(3)(torch.rand(1, 3, 64, 64)).shape == (1, 1, rows, rows)


@pytest.mark.parametrize(("layers", "field"), [(1, 16), (2, 34), (3, 70)])
def test_a_patchgan_sees_patches_of_the_stated_size(layers: int, field: int) -> None:
    network = PatchGANConfig(width=2, layers=layers, norm="none").build(1)
    images = torch.rand(1, 1, 128, 128, requires_grad=True)
    scores = network(images)
    (gradient,) = torch.autograd.grad(scores[0, 0, scores.shape[2] // 2, scores.shape[3] // 2], images)
    touched = gradient[0, 0].abs().sum(dim=0).nonzero()
    assert (touched.max() - touched.min() + 1).item() == field


def test_networks_return_the_dtype_they_are_given_under_autocast() -> None:
    for network in (
        ResNetConfig(width=2, blocks=1).build(3, 3),
        UNetConfig(width=2, depth=3).build(3, 3),
        PatchGANConfig(width=2, layers=1).build(3),
    ):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert network(torch.rand(2, 3, 16, 16)).dtype == torch.float32


def test_blurs_keep_a_constant_picture_and_halve_or_double_it() -> None:
    gray = torch.full((1, 2, 8, 12), 0.3)
    assert torch.allclose(BlurDown(2)(gray), torch.full((1, 2, 4, 6), 0.3))
    assert torch.allclose(BlurUp(2)(gray), torch.full((1, 2, 16, 24), 0.3))
    assert binomial_kernel(3)[1].tolist() == [2 / 16, 4 / 16, 2 / 16]


@pytest.mark.parametrize("name", ["normal", "xavier", "kaiming", "orthogonal"])
def test_initial_weights_have_the_stated_spread(name: str) -> None:
    torch.manual_seed(0)
    conv = initialize(nn.Conv2d(64, 64, 3), name, 0.5)
    fan = 64 * 9
    expected = {"normal": 0.5, "xavier": 0.5 * math.sqrt(2 / (fan + fan)), "kaiming": math.sqrt(2 / fan), "orthogonal": 0.5 / math.sqrt(fan)}[name]
    # 36,864 weights: their spread is known to about 0.4 %, taken five times.
    assert conv.weight.std().item() == pytest.approx(expected, rel=0.02)
    assert conv.bias is not None
    assert not conv.bias.any()


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="norm is"):
        norm_layer("layer", 3)
    with pytest.raises(ValueError, match="padding is"):
        padding_layer("wrap", 3)
    with pytest.raises(ValueError, match="initialization is"):
        initialize(nn.Conv2d(1, 1, 1), "zeros", 1.0)


def test_few_outputs_in_bfloat16_are_as_exact_as_the_convolution() -> None:
    torch.manual_seed(0)
    layer = FewOutputs(16, 3, 7)
    images = torch.randn(2, 16, 20, 22, requires_grad=True)

    def results(forward) -> list[torch.Tensor]:
        found = forward(images)
        return [found, *torch.autograd.grad(found.float().square().sum(), [images, *layer.parameters()])]

    exact = results(layer)
    assert torch.equal(exact[0], torch.nn.functional.conv2d(images, layer.weight, layer.bias))
    with torch.autocast("cpu", torch.bfloat16):
        ours, theirs = results(layer), results(lambda images: torch.nn.functional.conv2d(images, layer.weight, layer.bias))
    assert ours[0].dtype == torch.bfloat16
    for right, near, usual in zip(exact, ours, theirs, strict=True):
        # Seven partial sums are rounded in place of one.
        assert (near - right).norm() < 3 * (usual - right).norm()


def test_deterministic_padding_is_the_same_padding() -> None:
    images = torch.randn(2, 3, 7, 9, dtype=torch.float64, requires_grad=True)
    for amount in (1, 3):
        plain = reflected(images, amount)
        torch.use_deterministic_algorithms(True)
        deterministic = reflected(images, amount)
        torch.use_deterministic_algorithms(False)
        assert torch.equal(plain, deterministic)
        weight = torch.randn_like(plain)
        one, other = (torch.autograd.grad((padded * weight).sum(), images)[0] for padded in (plain, deterministic))
        # float64 in another order of summation.
        assert (one - other).abs().max() < 1e-12


def test_padding_stays_in_bfloat16() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert padding_layer("reflect", 1)(torch.zeros(1, 1, 4, 4, dtype=torch.bfloat16)).dtype == torch.bfloat16
