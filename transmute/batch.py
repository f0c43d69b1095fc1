"""What a training step sees: pictures of both domains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from transmute.tensors import Images


@dataclass(frozen=True)
class Batch:
    """Equally many pictures of domain a and of domain b; row i of both is a pair where the data is paired."""

    a: Images
    b: Images

    def pin_memory(self) -> Batch:
        """The same batch in memory from which a GPU can copy in the background; the loader calls this."""
        return Batch(self.a.pin_memory(), self.b.pin_memory())

    def parts(self, count: int) -> list[Batch]:
        """The batch cut into so many smaller ones."""
        return [Batch(a, b) for a, b in zip(self.a.chunk(count), self.b.chunk(count), strict=True)]

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> Batch:
        """The same batch on another device (copied in the background where the memory is pinned)."""
        return Batch(self.a.to(device, dtype, non_blocking=True), self.b.to(device, dtype, non_blocking=True))
