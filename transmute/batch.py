"""The input of a training step: images of both domains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from transmute.tensors import Images


@dataclass(frozen=True)
class Batch:
    """As many images of domain a as of domain b. In paired data, row i of both is a pair."""

    a: Images
    b: Images

    def pin_memory(self) -> Batch:
        """Returns a copy in pinned memory. Called by the loader."""
        return Batch(self.a.pin_memory(), self.b.pin_memory())

    def parts(self, count: int) -> list[Batch]:
        """Splits the batch into `count` equal ones."""
        return [Batch(a, b) for a, b in zip(self.a.chunk(count), self.b.chunk(count), strict=True)]

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> Batch:
        """Copies the batch to a device, asynchronously if its memory is pinned."""
        a, b = (images.to(device, dtype, non_blocking=True) for images in (self.a, self.b))
        return Batch(a, b)
