"""The endless stream of training images. Its order is a function of seed and pass."""

import contextlib
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from transmute.batch import Batch
from transmute.config.data import PreprocessConfig, SourceConfig
from transmute.data.layout import DataSet, Source
from transmute.data.preprocess import Geometry, random_augmentation
from transmute.images import ImageError, to_bytes_tensor, to_tensor


@dataclass(frozen=True)
class Reader:
    """Opens the images of one domain.

    Attributes:
        geometry: Sizes of images.
        channels: 3 for RGB, 1 for gray.
        background: Color under transparent pixels.
        cache: Resized images kept in memory; None disables the cache.
    """

    geometry: Geometry
    channels: int
    background: str
    cache: dict[tuple[Source, Geometry], Image.Image] | None = None

    def open(self, source: Source) -> Image.Image:
        """An image in its size on disk, in this domain's channels."""
        return source.open(channels=self.channels, background=self.background)[0]

    def resized(self, source: Source, geometry: Geometry) -> Image.Image:
        """An image resized for training, before the crop."""
        cache = {} if self.cache is None else self.cache
        if (source, geometry) not in cache:
            cache[source, geometry] = geometry.resize(self.open(source))
        return cache[source, geometry]


def readers(
    geometry: Geometry, preprocess: PreprocessConfig, source: SourceConfig
) -> tuple[Reader, Reader]:
    """One reader per domain."""
    a, b = (
        Reader(geometry, channels, preprocess.background, {} if source.cache else None)
        for channels in (preprocess.channels_a, preprocess.channels_b)
    )
    return a, b


@dataclass(frozen=True)
class Order:
    """Which images are at which position of the stream.

    A pass contains every image of the larger domain once. The other domain's image has the same
    index (paired or sequential, starting again at its end), or is random.

    Attributes:
        count_a, count_b: Numbers of images.
        seed: Seed of the order.
        paired: Images of equal index belong together.
        sequential: Keep the order of the data set, without shuffling.
    """

    count_a: int
    count_b: int
    seed: int
    paired: bool
    sequential: bool

    @property
    def pass_length(self) -> int:
        """Positions in a pass."""
        return max(self.count_a, self.count_b)

    def __call__(self, position: int) -> tuple[int, int, np.random.Generator]:
        """The indices in a and b at a position, and the generator of its random choices."""
        pass_number, index = divmod(position, self.pass_length)
        indices_a, indices_b = _pass_order(self, pass_number)
        random = np.random.default_rng([self.seed, pass_number, index, 1])
        return int(indices_a[index]), int(indices_b[index]), random


@lru_cache(maxsize=4)
def _pass_order(order: Order, pass_number: int) -> tuple[np.ndarray, np.ndarray]:
    random, length = np.random.default_rng([order.seed, pass_number, 0, 0]), order.pass_length
    indices = np.arange(length) if order.sequential else random.permutation(length)
    if order.paired or order.sequential:
        return indices % order.count_a, indices % order.count_b
    return indices % order.count_a, random.integers(order.count_b, size=length)


@dataclass(frozen=True, eq=False)
class Stream(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Random access to the training stream by position.

    It is stateless: any process can load any position.

    Attributes:
        data: The data set.
        order: Which images are at which position.
        readers: One per domain.
        flip: Mirror half of the images.
        uncropped_from: First position without random crops; None keeps random crops throughout.
    """

    data: DataSet
    order: Order
    readers: tuple[Reader, Reader]
    flip: bool
    uncropped_from: int | None = None

    def __getitem__(self, position: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The uint8 images (channels, height, width) of both domains at a position."""
        *indices, random = self.order(position)
        augmentations = [random_augmentation(random, self.flip)] * 2
        if not self.order.paired:
            augmentations[1] = random_augmentation(random, self.flip)
        geometry = self.readers[0].geometry
        if self.uncropped_from is not None and position >= self.uncropped_from:
            geometry = geometry.uncropped
        a, b = (
            to_bytes_tensor(geometry.crop(reader.resized(side[index], geometry), augmentation))
            for reader, side, index, augmentation in zip(
                self.readers, self.data.train, indices, augmentations, strict=True
            )
        )
        return a, b

    def __getitems__(self, positions: Sequence[int]) -> list[tuple[Batch, float] | ImageError]:
        """Loads a batch, for the loader, as the only element of a list.

        An ImageError is returned, because the loader would replace the message of a raised one by a
        worker's traceback.
        """
        start = time.perf_counter()
        try:
            a, b = zip(*(self[position] for position in positions), strict=True)
        except ImageError as error:
            return [error]
        seconds = (time.perf_counter() - start) / (2 * len(positions))
        return [(Batch(torch.stack(a), torch.stack(b)), seconds)]

    def batches(
        self,
        *,
        batch: int,
        start_step: int,
        last_step: int,
        rank: int,
        processes: int,
        workers: int,
        pin: bool,
    ) -> Iterator[tuple[Batch, float]]:
        """Iterates over this process's share of each batch.

        Args:
            batch: Images of each domain in a step over all processes; a multiple of `processes`.
            start_step: Steps that are already finished.
            last_step: The last step to load.
            rank, processes: This process, and their number.
            workers: Processes that load images; 0 loads them in this one.
            pin: Load into pinned memory.

        Yields:
            A batch of uint8 tensors, and the mean seconds that loading an image took.

        Raises:
            ImageError: If an image cannot be read.
        """
        share = batch // processes
        starts = range(start_step * batch + rank * share, last_step * batch, batch)
        loader = DataLoader(
            self,
            batch_sampler=(list(range(start, start + share)) for start in starts),
            num_workers=workers,
            collate_fn=itemgetter(0),
            pin_memory=pin,
            # The loader draws an unused number, which must not change the random state of a step.
            generator=torch.Generator(),
            prefetch_factor=4 if workers else None,
            worker_init_fn=_ignore_ctrl_c,
        )
        return map(_raise_error, loader)


def _raise_error(loaded: tuple[Batch, float] | ImageError) -> tuple[Batch, float]:
    if isinstance(loaded, ImageError):
        raise loaded
    return loaded


def _ignore_ctrl_c(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def fixed_batches(
    data: DataSet, readers: tuple[Reader, Reader], count: int
) -> tuple[list[Batch], list[Batch]]:
    """The fixed images of sample sheets, one per batch, in [-1, 1].

    Unreadable images are skipped.

    Returns:
        Batches of held-out images, and as many of training images. If none are held out, the first
        list has training images and the second is empty.
    """
    held_out, trained_on = (
        _evenly_spaced(sides, readers, count) for sides in (data.test, data.train)
    )
    return (held_out, trained_on) if held_out else (trained_on, [])


def _evenly_spaced(
    sides: tuple[list[Source], list[Source]], readers: tuple[Reader, Reader], count: int
) -> list[Batch]:
    """Up to `count` batches of evenly spaced images."""
    count = min(count, len(sides[0]), len(sides[1]))
    batches = []
    for index in range(count):
        with contextlib.suppress(ImageError):
            images = (
                to_tensor(reader.geometry.whole(reader.open(side[index * len(side) // count])))
                for reader, side in zip(readers, sides, strict=True)
            )
            batches.append(Batch(*images))
    return batches
