"""Losses between a picture and what it should be."""

from __future__ import annotations

from transmute.tensors import Images, Scalar


def l1_loss(images: Images, targets: Images) -> Scalar:
    """Mean absolute difference: of pictures in [-1, 1], hence between 0 and 2."""
    return (images - targets).abs().mean()
