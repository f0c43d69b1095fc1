"""The image history of Shrivastava et al. (2017), as CycleGAN uses it: discriminators also see past translations."""

from __future__ import annotations

import torch
from torch import nn

from transmute.tensors import Images


class History(nn.Module):
    """Keeps up to `size` past pictures. State and random decisions are tensors: saved in checkpoints and capturable.

    Args:
        size: Pictures to keep; 0 makes `swap` return what it is given.
        channels, height, width: Shape of a picture.
    """

    pictures: torch.Tensor
    count: torch.Tensor

    def __init__(self, size: int, *, channels: int, height: int, width: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("pictures", torch.zeros(size, channels, height, width))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def swap(self, images: Images) -> Images:
        """Gives each picture back, or an older one in its stead.

        While there is room a picture is kept and given back. After that, with a chance of one half, it takes the place of
        a random old picture, which is given back; else it is given back itself. No gradient flows through.
        """
        if self.size == 0:
            return images.detach()
        return torch.stack([self._swap_one(image) for image in images.detach()])

    def _swap_one(self, image: torch.Tensor) -> torch.Tensor:
        filling = self.count < self.size
        exchange = torch.rand((), device=image.device) > 0.5
        random_slot = torch.randint(self.size, (), device=image.device)
        slot = torch.where(filling, self.count, random_slot).view(1)
        old = self.pictures.index_select(0, slot)[0].to(image.dtype)
        kept = torch.where(filling | exchange, image, old)
        self.pictures.index_copy_(0, slot, kept[None].to(self.pictures.dtype))
        self.count.add_(filling)
        return torch.where(filling | ~exchange, image, old)
