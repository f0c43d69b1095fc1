from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from torch import nn

from transmute.config.networks import (
    FourStrideConfig,
    InitializationConfig,
    Norm,
    Padding,
    PatchGANConfig,
    PixelGANConfig,
    ResNetConfig,
    UNetConfig,
)
from transmute.errors import UserError
from transmute.networks.layers import (
    INITIALIZATIONS,
    NORMS,
    PADDINGS,
    BlurDown,
    BlurUp,
    FewOutputsConv2d,
    ReflectionPad,
    blur_kernel,
    initialize,
)


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
def test_networks_have_as_many_parameters_as_the_reference(network, count: int) -> None:
    assert parameters(network()) == count


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
@pytest.mark.parametrize("padding", ["reflect", "replicate", "zeros"])
@pytest.mark.parametrize("upsampling", ["transposed", "nearest", "antialiased"])
def test_all_variants_of_the_resnet_keep_size_and_range(norm, padding, upsampling) -> None:
    network = ResNetConfig(
        width=2,
        blocks=1,
        norm=norm,
        padding=padding,
        upsampling=upsampling,
        downsampling="antialiased",
        dropout=True,
    ).build(1, 4)
    output = network(torch.rand(2, 1, 16, 24) * 2 - 1)
    assert output.shape == (2, 4, 16, 24)
    assert output.abs().max() <= 1


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
@pytest.mark.parametrize("depth", [2, 4, 6])
def test_unets_of_any_depth_keep_the_size(norm, depth: int) -> None:
    network = UNetConfig(width=2, depth=depth, norm=norm).build(3, 1)
    assert network(torch.rand(2, 3, 2 * 2**depth, 2**depth)).shape == (2, 1, 2 * 2**depth, 2**depth)


def test_a_residual_resnet_starts_as_the_identity() -> None:
    network = ResNetConfig(width=2, blocks=1, residual=True).build(3, 3)
    images = torch.rand(1, 3, 16, 16) * 2 - 1
    assert torch.equal(network(images), images)
    with pytest.raises(UserError, match="adds to its input"):
        ResNetConfig(residual=True).build(1, 3)


@pytest.mark.parametrize(
    ("config", "rows"),
    [
        (PatchGANConfig(width=2), 6),
        (PatchGANConfig(width=2, layers=1), 30),
        (PixelGANConfig(width=2), 64),
        (FourStrideConfig(width=2), 4),
    ],
)
def test_discriminators_score_patches(config, rows: int) -> None:
    assert config.build(3)(torch.rand(1, 3, 64, 64)).shape == (1, 1, rows, rows)


@pytest.mark.parametrize(("layers", "field"), [(1, 16), (2, 34), (3, 70)])
def test_a_patchgan_sees_patches_of_the_stated_size(layers: int, field: int) -> None:
    network = PatchGANConfig(width=2, layers=layers, norm="none").build(1)
    images = torch.rand(1, 1, 128, 128, requires_grad=True)
    scores = network(images)
    (gradient,) = torch.autograd.grad(
        scores[0, 0, scores.shape[2] // 2, scores.shape[3] // 2], images
    )
    touched = gradient[0, 0].abs().sum(dim=0).nonzero()
    assert (touched.max() - touched.min() + 1).item() == field


def test_networks_return_float32_under_autocast() -> None:
    for network in (
        ResNetConfig(width=2, blocks=1).build(3, 3),
        UNetConfig(width=2, depth=3).build(3, 3),
        PatchGANConfig(width=2, layers=1).build(3),
    ):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert network(torch.rand(2, 3, 16, 16)).dtype == torch.float32


def test_blurs_keep_a_constant_and_halve_or_double_the_size() -> None:
    gray = torch.full((1, 2, 8, 12), 0.3)
    assert torch.allclose(BlurDown(2)(gray), torch.full((1, 2, 4, 6), 0.3))
    assert torch.allclose(BlurUp(2)(gray), torch.full((1, 2, 16, 24), 0.3))
    assert blur_kernel(3)[1].tolist() == [2 / 16, 4 / 16, 2 / 16]


@pytest.mark.parametrize("name", ["normal", "xavier", "kaiming", "orthogonal"])
def test_initial_weights_have_the_stated_standard_deviation(name: str) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(64, 64, 3)
    initialize(conv, name, 0.5)
    fan = 64 * 9
    expected = {
        "normal": 0.5,
        "xavier": 0.5 * math.sqrt(2 / (fan + fan)),
        "kaiming": math.sqrt(2 / fan),
        "orthogonal": 0.5 / math.sqrt(fan),
    }[name]
    # The standard error of this estimate from 36,864 weights is about 0.4 %; this is five times it.
    assert conv.weight.std().item() == pytest.approx(expected, rel=0.02)
    assert conv.bias is not None
    assert not conv.bias.any()


@pytest.mark.parametrize(
    ("config", "settings", "refusal"),
    [
        (ResNetConfig, {"norm": "layer"}, "`norm` should be 'instance', 'batch' or 'none'"),
        (ResNetConfig, {"padding": "wrap"}, "`padding` should be 'reflect', 'replicate' or 'zero"),
        (ResNetConfig, {"upsampling": "cubic"}, "`upsampling` should be 'transposed', 'nearest'"),
        (InitializationConfig, {"name": "zeros"}, "`name` should be 'normal', 'xavier', 'kaiming'"),
    ],
)
def test_unknown_names_in_settings_are_refused(config, settings, refusal: str) -> None:
    with pytest.raises(UserError, match=refusal):
        config(**settings)


def test_every_norm_padding_and_initialization_in_the_settings_exists() -> None:
    assert list(NORMS) == list(get_args(Norm))
    assert list(PADDINGS) == list(get_args(Padding))
    names = InitializationConfig.model_fields["name"].annotation
    assert list(INITIALIZATIONS) == list(get_args(names))


def test_a_convolution_to_few_channels_is_as_exact_in_bfloat16_as_that_of_torch() -> None:
    torch.manual_seed(0)
    layer = FewOutputsConv2d(16, 3, 7)
    images = torch.randn(2, 16, 20, 22, requires_grad=True)

    def results(forward) -> list[torch.Tensor]:
        output = forward(images)
        inputs = [images, *layer.parameters()]
        return [output, *torch.autograd.grad(output.float().square().sum(), inputs)]

    def convolve(images: torch.Tensor) -> torch.Tensor:
        return nn.functional.conv2d(images, layer.weight, layer.bias)

    exact = results(layer)
    assert torch.equal(exact[0], convolve(images))
    with torch.autocast("cpu", torch.bfloat16):
        rounded, of_torch = results(layer), results(convolve)
    assert rounded[0].dtype == torch.bfloat16
    for expected, value, reference in zip(exact, rounded, of_torch, strict=True):
        # Seven partial sums are rounded instead of one.
        assert (value - expected).norm() < 3 * (reference - expected).norm()


def test_deterministic_padding_equals_padding() -> None:
    images = torch.randn(2, 3, 7, 9, dtype=torch.float64, requires_grad=True)
    for amount in (1, 3):
        pad = ReflectionPad(amount)
        plain = pad(images)
        torch.use_deterministic_algorithms(True)
        deterministic = pad(images)
        torch.use_deterministic_algorithms(False)
        assert torch.equal(plain, deterministic)
        weight = torch.randn_like(plain)
        (gradient,) = torch.autograd.grad((plain * weight).sum(), images)
        (other,) = torch.autograd.grad((deterministic * weight).sum(), images)
        # float64, summed in another order.
        assert (gradient - other).abs().max() < 1e-12


def test_padding_stays_in_bfloat16() -> None:
    features = torch.zeros(1, 1, 4, 4, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        assert ReflectionPad(1)(features).dtype == torch.bfloat16
