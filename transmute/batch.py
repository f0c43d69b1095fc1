"""The input of a training step: images of both domains."""

from typing import NamedTuple

import torch

from transmute.tensors import Images


class Batch(NamedTuple):
    """As many images of domain a as of domain b. In paired data, row i of both is a pair."""

    a: Images
    b: Images

    def parts(self, count: int) -> list["Batch"]:
        """Splits the batch into `count` equal ones."""
        return [Batch(a, b) for a, b in zip(self.a.chunk(count), self.b.chunk(count), strict=True)]

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> "Batch":
        """Copies the batch to a device, asynchronously if its memory is pinned."""
        return Batch(*(images.to(device, dtype, non_blocking=True) for images in self))
