"""Metrics with their confidence intervals: distances between sets of features, and means.

All in float64.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchmetrics.image.kid import poly_mmd

DESCRIPTIONS = {
    "fid": "Frechet distance to real images",
    "kid": "kernel distance to real images",
    "inception_score": "Inception Score, without real images",
    "diversity": "LPIPS between translations",
    "diversity_real": "LPIPS between real images",
    "change": "LPIPS from input to output",
    "structure": "structure lost from input to output",
    "cycle": "L1 after translating back, of 255",
    "l1": "L1 to the true image, of 255",
    "psnr": "PSNR to the true image, dB",
    "ssim": "SSIM to the true image",
    "lpips": "LPIPS to the true image",
    "pixel_accuracy": "pixels with the true label",
    "class_accuracy": "the same, averaged over classes",
    "iou": "intersection over union",
}
"""The built-in metrics, in the order of tables."""


@dataclass(frozen=True)
class Metric:
    """A measured metric.

    Attributes:
        name: A name in `DESCRIPTIONS`, or that of a custom metric.
        value: Value over all images.
        low, high: 95 % bootstrap confidence interval; KID's is derived from its spread over random
            subsets. None if it is unknown, as for custom metrics.
        features: Network that the metric depends on; "" if it depends on pixels only.
        fake: Number of translations.
        real: Number of real images; 0 if none are needed.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    features: str
    fake: int
    real: int = 0


def mean_metric(
    name: str, values: Sequence[float], features: str, counts: tuple[int, int]
) -> Metric:
    """A metric that is a mean over images, or over pairs of them.

    Args:
        name, features: See `Metric`.
        values: The value of each image.
        counts: Number of translations and of real images.
    """
    array = np.array(values)
    interval = bootstrap(lambda indices: array[indices].mean(), [len(array)]).tolist()
    return Metric(name, *interval, features=features, fake=counts[0], real=counts[1])


def distance_metrics(fake: Tensor, real: Tensor, features: str) -> list[Metric]:
    """FID from two images on each side, and KID from four.

    Args:
        fake, real: Features, (images, features).
        features: Name of the network.
    """
    counts, fewest = (len(fake), len(real)), min(len(fake), len(real))
    metrics = []
    if fewest > 1:
        value, low, high = bootstrap(
            lambda one, two: frechet_distance(fake[one], real[two]),
            counts,
            resamples=_num_resamples(max(counts)),
        ).tolist()
        metrics.append(Metric("fid", value, max(0.0, low), high, features, *counts))
    if fewest > 3:
        mean, std, size = kernel_distance(fake, real)
        # The standard deviation is that of subsets, which vary more than the whole sets.
        error = 1.96 * std * (size / (fewest - size)) ** 0.5
        metrics.append(Metric("kid", mean, mean - error, mean + error, features, *counts))
    return metrics


def _num_resamples(count: int) -> int:
    """With thousands of images a resample takes seconds, and resamples hardly differ."""
    return min(100, max(10, 40_000 // count))


def inception_score_metric(probabilities: Tensor, features: str) -> Metric:
    """The Inception Score of translations.

    Args:
        probabilities: Class probabilities of the translations, (images, classes).
        features: Name of the network.
    """
    count = len(probabilities)
    value, low, high = bootstrap(
        lambda indices: inception_score(probabilities[indices]),
        [count],
        resamples=_num_resamples(count),
    ).tolist()
    return Metric("inception_score", value, max(1.0, low), high, features, count)


def inception_score(probabilities: Tensor) -> float:
    """Inception Score: exp(E KL(p(y|x) || p(y))), from 1 to the number of classes.

    p(y|x) are the class probabilities of an image x, and p(y) is their mean (Salimans et al. 2016,
    "Improved Techniques for Training GANs", section 4). The divergence is computed as the entropy
    of p(y) minus the mean entropy of p(y|x). From 10,000 images, the score is the mean over 10
    splits, to which the images are assigned in turn. Otherwise there is one split, because the
    score of few images is too low.

    Args:
        probabilities: (images, classes).
    """
    splits = 10 if len(probabilities) >= 10_000 else 1
    scores = []
    for split in (probabilities[first::splits].double() for first in range(splits)):
        entropy = torch.special.entr(split.mean(0)).sum()
        divergence = entropy - torch.special.entr(split).sum(1).mean()
        scores.append(divergence.clamp(min=0).exp().item())  # it can be a rounding error below 0
    return float(np.mean(scores))


def frechet_distance(one: Tensor, two: Tensor) -> float:
    """Fréchet distance of two sets of features. With Inception's features it is FID.

    |m1 - m2|^2 + tr C1 + tr C2 - 2 tr (C1 C2)^(1/2), with the means m and covariances C of the sets
    (Heusel et al. 2017, equation 6). With C = X^T X / (n - 1) of centered features X, the last
    trace is the sum of the singular values of X1 X2^T / sqrt((n1 - 1) (n2 - 1)). So no matrix
    square root is needed, and the result is exact even if there are fewer images than features and
    C is singular.

    Args:
        one, two: (images, features), at least two images each.
    """
    means = [features.double().mean(0) for features in (one, two)]
    centered = [
        (features.double() - mean) / (len(features) - 1) ** 0.5
        for features, mean in zip((one, two), means, strict=True)
    ]
    variance = sum(float(features.square().sum()) for features in centered)
    reduced = [
        torch.linalg.qr(features, mode="r").R if len(features) > features.shape[1] else features
        for features in centered
    ]
    root = float(torch.linalg.svdvals(reduced[0] @ reduced[1].T).sum())
    return max(0.0, float((means[0] - means[1]).square().sum()) + variance - 2 * root)


def kernel_distance(
    one: Tensor, two: Tensor, *, subsets: int = 100, max_subset_size: int = 1000, seed: int = 0
) -> tuple[float, float, int]:
    """Unbiased squared MMD with the kernel (x . y / features + 1)^3, averaged over random subsets.

    With Inception's features it is KID (Binkowski et al. 2018, "Demystifying MMD GANs").

    Args:
        one, two: (images, features), at least four images each.
        subsets: Number of random subsets.
        max_subset_size: Upper limit of images in a subset, which otherwise is half of the smaller
            set, so that subsets differ.
        seed: Seed of the subsets.

    Returns:
        Mean and standard deviation over the subsets, and the number of images in each.
    """
    random = np.random.default_rng(seed)
    size = min(max_subset_size, min(len(one), len(two)) // 2)

    def subset(features: Tensor) -> Tensor:
        return features[torch.from_numpy(random.permutation(len(features))[:size])].double()

    distances = [float(poly_mmd(subset(one), subset(two))) for _ in range(subsets)]
    return float(np.mean(distances)), float(np.std(distances)), size


def bootstrap(
    metric: Callable[..., object], counts: Sequence[int], *, resamples: int = 100, seed: int = 0
) -> np.ndarray:
    """Value and 95 % bootstrap confidence interval (Efron 1979).

    The interval is the metric of all images plus and minus 1.96 standard deviations of the metric
    of resamples. Percentiles of the resamples would be biased: a resample repeats images, so a
    distance between sets sees fewer different ones.

    Args:
        metric: Function of the indices of the images in each set, to a number or to several.
        counts: Number of images in each set.
        resamples: Number of resamples.
        seed: Seed of the resamples.

    Returns:
        Value, lower and upper limit of the interval: (3,), or (3, numbers).
    """
    random = np.random.default_rng(seed)
    values = [
        metric(*(random.integers(count, size=count) for count in counts)) for _ in range(resamples)
    ]
    error = 1.96 * np.std(np.array(values), axis=0, ddof=1)
    value = np.array(metric(*(np.arange(count) for count in counts)))
    return np.stack([value, value - error, value + error])
