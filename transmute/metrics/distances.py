"""Distances between two sets of features, and the uncertainty of a figure. All in float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torchmetrics.image.kid import poly_mmd


def frechet_distance(one: Tensor, two: Tensor) -> float:
    """The Fréchet distance of the normal distributions with the means and covariances of two sets: FID, where features are Inception's.

    |m1 - m2|^2 + tr C1 + tr C2 - 2 tr (C1 C2)^(1/2) (Heusel et al. 2017, equation 6). With C = X^T X / (n - 1) of centered features X,
    the last trace is the sum of the singular values of X1 X2^T, so that no matrix needs a root, and none is larger than the fewer of
    pictures and features: exact also where pictures are few and C has no inverse.

    Args:
        one, two: (pictures, features), at least two pictures each.
    """
    means = [features.double().mean(0) for features in (one, two)]
    centered = [(features.double() - mean) / (len(features) - 1) ** 0.5 for features, mean in zip((one, two), means, strict=True)]
    variance = sum(float(features.square().sum()) for features in centered)
    thin = [torch.linalg.qr(features, mode="r").R if len(features) > features.shape[1] else features for features in centered]
    root = float(torch.linalg.svdvals(thin[0] @ thin[1].T).sum())
    return max(0.0, float((means[0] - means[1]).square().sum()) + variance - 2 * root)


def kernel_distance(one: Tensor, two: Tensor, *, subsets: int = 100, most: int = 1000, seed: int = 0) -> tuple[float, float]:
    """Binkowski et al. (2018), "Demystifying MMD GANs": unbiased squared MMD with the kernel (x . y / features + 1)^3.

    Args:
        one, two: (pictures, features), at least four pictures each.
        subsets: How many random subsets are compared.
        most: Pictures in a subset at most; else half of the smaller set, so that subsets differ.
        seed: Of the subsets.

    Returns:
        Mean and standard deviation over the subsets.
    """
    random, count = np.random.default_rng(seed), min(most, min(len(one), len(two)) // 2)
    found = []
    for _ in range(subsets):
        x, y = (features[torch.from_numpy(random.permutation(len(features))[:count])].double() for features in (one, two))
        found.append(float(poly_mmd(x, y)))
    return float(np.mean(found)), float(np.std(found))


def bootstrap(figure: Callable[[np.ndarray, np.ndarray], float], counts: tuple[int, int], *, times: int = 100, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of a figure, by computing it anew of pictures drawn with replacement (Efron 1979).

    1.96 of their standard deviations to either side of the figure itself: drawing some pictures twice biases a distance between sets,
    which then sees fewer, but not its spread.

    Args:
        figure: Of the places of the pictures drawn from either set.
        counts: Pictures in each set.
    """
    random = np.random.default_rng(seed)
    found = np.array([figure(*(random.integers(count, size=count) for count in counts)) for _ in range(times)])
    error = 1.96 * float(found.std(ddof=1))
    center = figure(*(np.arange(count) for count in counts))
    return center - error, center + error
