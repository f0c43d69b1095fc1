"""Image history of Shrivastava et al. (2017), with which CycleGAN trains its discriminators."""

import torch
from torch import nn

from transmute.tensors import Images


class History(nn.Module):
    """A buffer of up to `size` past fake images.

    State and random decisions are tensors, so the buffer is saved in checkpoints, and a step that
    uses it can be captured in a CUDA graph.

    Args:
        size: Images to keep. With 0, `swap` returns its input.
        channels, height, width: Shape of an image.
    """

    def __init__(self, size: int, *, channels: int, height: int, width: int) -> None:
        super().__init__()
        self.size = size
        self.past = nn.Buffer(torch.zeros(size, channels, height, width))
        self.count = nn.Buffer(torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def swap(self, images: Images) -> Images:
        """Returns each image, or a past one in exchange for it. No gradient flows through.

        Until the buffer is full, every image is stored and returned. After that, with probability
        0.5, an image replaces a random past one, which is returned instead.
        """
        if self.size == 0:
            return images.detach()
        return torch.stack([self._swap_one(image) for image in images.detach()])

    def _swap_one(self, image: torch.Tensor) -> torch.Tensor:
        filling = self.count < self.size
        exchange = torch.rand((), device=image.device) > 0.5
        random_slot = torch.randint(self.size, (), device=image.device)
        slot = torch.where(filling, self.count, random_slot).view(1)
        old = self.past.index_select(0, slot)[0].to(image.dtype)
        kept = torch.where(filling | exchange, image, old)
        self.past.index_copy_(0, slot, kept[None].to(self.past.dtype))
        self.count.add_(filling)
        return torch.where(filling | ~exchange, image, old)
