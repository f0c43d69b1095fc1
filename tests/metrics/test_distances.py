from __future__ import annotations

import numpy as np
import pytest
import torch
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.inception import InceptionScore
from torchmetrics.image.kid import KernelInceptionDistance

from transmute.metrics.metric import (
    bootstrap,
    frechet_distance,
    inception_score,
    inception_score_metric,
    kernel_distance,
)


class Identity(torch.nn.Module):
    """Returns its input, because torchmetrics computes features from images itself."""

    num_features = 6

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)[:, :6].double()


def features(count: int, seed: int, *, dimensions: int = 6, shift: float = 0.0) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    mix = torch.randn(
        dimensions,
        dimensions,
        generator=torch.Generator().manual_seed(seed + 100),
        dtype=torch.float64,
    )
    return torch.randn(count, dimensions, generator=random, dtype=torch.float64) @ mix + shift


def with_moments(mean: list[float], spread: list[float]) -> torch.Tensor:
    """Points whose mean and (diagonal) covariance are exactly these."""
    count, axes = 2 * len(mean), torch.eye(len(mean), dtype=torch.float64)
    scale = ((count - 1) / 2) ** 0.5 * torch.tensor(spread, dtype=torch.float64)
    return torch.cat([axes, -axes]) * scale + torch.tensor(mean, dtype=torch.float64)


def test_the_frechet_distance_of_normals_with_diagonal_covariances_is_its_closed_form() -> None:
    one, two = with_moments([0, 1, 2], [1, 2, 3]), with_moments([1, 1, 0], [2, 2, 1])
    assert frechet_distance(one, two) == pytest.approx((1 + 0 + 4) + (1 + 0 + 4), abs=1e-12)


def test_the_frechet_distance_equals_its_definition_in_float64() -> None:
    one, two = features(50, 0), features(70, 1, shift=1)
    c1, c2 = one.T.cov(), two.T.cov()
    values, vectors = torch.linalg.eigh(c1)
    root = vectors @ values.clamp(min=0).sqrt().diag() @ vectors.T
    trace = torch.linalg.eigvalsh(root @ c2 @ root).clamp(min=0).sqrt().sum()
    expected = (one.mean(0) - two.mean(0)).square().sum() + c1.trace() + c2.trace() - 2 * trace
    assert frechet_distance(one, two) == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize(
    ("first", "second"), [(50, 70), (4, 70), (5, 4)], ids=["many", "few and many", "few"]
)
def test_the_frechet_distance_equals_that_of_torchmetrics(first: int, second: int) -> None:
    one, two = features(first, 0), features(second, 1, shift=1)
    metric = FrechetInceptionDistance(
        feature=Identity(), normalize=True, input_img_size=(1, 1, 6)
    ).set_dtype(torch.float64)
    metric.update(one[:, None, None], real=True)
    metric.update(two[:, None, None], real=False)
    # With fewer images than features, torchmetrics takes roots of eigenvalues that are only
    # rounding errors.
    assert frechet_distance(one, two) == pytest.approx(metric.compute().item(), rel=1e-6)


def test_the_frechet_distance_is_zero_for_equal_sets_and_symmetric() -> None:
    one, two = features(30, 0, dimensions=40), features(20, 1, dimensions=40)
    assert frechet_distance(one, one.flip(0)) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(one, two) == pytest.approx(frechet_distance(two, one), rel=1e-12)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance`")
def test_the_kernel_distance_equals_that_of_torchmetrics() -> None:
    one, two = features(40, 0), features(40, 0).flip(1) + 0.3
    metric = KernelInceptionDistance(
        feature=Identity(), subsets=400, subset_size=20, normalize=True
    )
    metric.update(one[:, None, None], real=True)
    metric.update(two[:, None, None], real=False)
    torch.manual_seed(0)
    theirs, spread = metric.compute()
    ours, our_spread, size = kernel_distance(one, two, subsets=400)
    assert size == 20
    # Both use random subsets, so means of 400 agree within four standard errors.
    assert abs(ours - theirs.item()) < 4 * our_spread / 400**0.5 * 2**0.5
    assert our_spread == pytest.approx(spread.item(), rel=0.25)


def test_the_kernel_distance_in_one_dimension_is_its_closed_form() -> None:
    # (x y + 1)^3 on the points 0 and 1, twice each: there are three kinds of subsets, so the mean
    # over many is known.
    points = torch.tensor([[0.0], [0.0], [1.0], [1.0]], dtype=torch.float64)
    mean, *_ = kernel_distance(points, points + 1, subsets=4000)
    # E k(x, x') over different points, and E k(x, y) over independent points.
    k = lambda u, v: (u * v + 1) ** 3  # noqa: E731
    within = np.mean(
        [k(u, v) for i, u in enumerate((0, 0, 1, 1)) for j, v in enumerate((0, 0, 1, 1)) if i != j]
    )
    shifted = np.mean(
        [k(u, v) for i, u in enumerate((1, 1, 2, 2)) for j, v in enumerate((1, 1, 2, 2)) if i != j]
    )
    between = np.mean([k(u, v) for u in (0, 0, 1, 1) for v in (1, 1, 2, 2)])
    # 4000 subsets, whose standard deviation is about as large as the mean.
    assert mean == pytest.approx(within + shifted - 2 * between, rel=0.05)


def test_the_kernel_distance_is_unbiased_on_few_images() -> None:
    values = [
        kernel_distance(
            features(8, 2 * seed)[:, :3].sign(),
            features(8, 2 * seed)[:, 3:].sign(),
            subsets=1,
        )[0]
        for seed in range(300)
    ]
    assert abs(np.mean(values)) < 4 * np.std(values) / len(values) ** 0.5


def test_the_bootstrap_interval_of_a_mean_is_two_standard_errors_on_either_side() -> None:
    values = np.random.default_rng(0).normal(5, 2, 400)
    value, low, high = bootstrap(
        lambda indices: values[indices].mean(), [400], resamples=2000
    ).tolist()
    assert value == values.mean()
    error = values.std() / 20
    # 2000 resamples estimate a standard deviation to about 2 %.
    assert (values.mean() - low) / error == pytest.approx(1.96, rel=0.1)
    assert (high - values.mean()) / error == pytest.approx(1.96, rel=0.1)


def test_the_bootstrap_interval_contains_the_metric_although_resampling_biases_it() -> None:
    one, two = features(30, 0, dimensions=20), features(30, 1, dimensions=20)
    metric = lambda x, y: frechet_distance(one[x], two[y])  # noqa: E731
    value, low, high = bootstrap(metric, (30, 30)).tolist()
    assert low < value < high
    assert value == frechet_distance(one, two)


def test_the_inception_score_of_constant_predictions_is_one() -> None:
    prediction = torch.tensor([0.5, 0.3, 0.2, 0.0], dtype=torch.float64)
    assert inception_score(prediction.expand(30, 4)) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("classes", [1, 3, 7])
def test_the_inception_score_of_certain_and_uniform_predictions_is_the_number_of_classes(
    classes: int,
) -> None:
    predictions = torch.eye(9, dtype=torch.float64)[:classes].repeat(4, 1)
    assert inception_score(predictions) == pytest.approx(classes, rel=1e-12)
    metric = inception_score_metric(predictions, "inception")
    assert (metric.name, metric.features, metric.fake, metric.real) == (
        "inception_score",
        "inception",
        4 * classes,
        0,
    )
    assert metric.low is not None
    assert metric.high is not None
    assert 1 <= metric.low <= metric.value <= metric.high


@pytest.mark.filterwarnings("ignore:Metric `InceptionScore`", "ignore:std")
def test_the_inception_score_equals_that_of_torchmetrics() -> None:
    logits = 3 * features(40, 0)
    metric = InceptionScore(feature=Identity(), splits=1)
    metric.update(logits[:, None, None])
    expected, _ = metric.compute()
    assert inception_score(logits.softmax(1)) == pytest.approx(expected.item(), rel=1e-9)


def test_the_inception_score_of_many_images_is_the_mean_over_ten_splits() -> None:
    predictions = torch.eye(2, dtype=torch.float64).repeat_interleave(5, 0).repeat(1000, 1)
    # Every tenth image has the same class, so each split has a single class.
    assert inception_score(predictions) == pytest.approx(1, abs=1e-12)
    assert inception_score(predictions[:9990]) == pytest.approx(2, rel=1e-12)
