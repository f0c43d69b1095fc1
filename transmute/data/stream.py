"""The endless stream of training pictures. Its order is a function of seed and pass, so its state is one number: the place."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from transmute.batch import Batch
from transmute.data.config import PreprocessConfig
from transmute.data.layout import DataSet, Source
from transmute.data.preprocess import Geometry, random_draw
from transmute.images import PictureError, normalize, open_picture, to_bytes_tensor


class Reader:
    """Opens the pictures of one domain, resized, and keeps them where asked to."""

    def __init__(self, geometry: Geometry, *, channels: int, background: str, keep: bool = False) -> None:
        self.geometry = geometry
        self.channels = channels
        self.background = background
        self.kept: dict[tuple[Source, Geometry], Image.Image] | None = {} if keep else None

    def open(self, source: Source) -> Image.Image:
        """The picture as it is on disk, or its half, in this domain's channels."""
        return open_picture(source.path, channels=self.channels, background=self.background, half=source.half)[0]

    def resized(self, source: Source, geometry: Geometry) -> Image.Image:
        if self.kept is None:
            return geometry.resize(self.open(source))
        if (source, geometry) not in self.kept:
            self.kept[source, geometry] = geometry.resize(self.open(source))
        return self.kept[source, geometry]


def readers(geometry: Geometry, config: PreprocessConfig, *, keep: bool = False) -> tuple[Reader, Reader]:
    """One reader for each domain."""
    return (
        Reader(geometry, channels=config.channels_a, background=config.background, keep=keep),
        Reader(geometry, channels=config.channels_b, background=config.background, keep=keep),
    )


class Loaded(NamedTuple):
    """uint8 pictures of both domains, and the seconds that one picture took."""

    a: torch.Tensor
    b: torch.Tensor
    seconds: float


@dataclass(frozen=True)
class Order:
    """Which pictures stand where in the stream.

    A pass shows every picture of the larger domain once. Beside it stands the same index (paired), the next one (serial),
    or a random one of b.
    """

    count_a: int
    count_b: int
    seed: int
    paired: bool
    serial: bool

    @property
    def pass_length(self) -> int:
        return max(self.count_a, self.count_b)

    def __call__(self, place: int) -> tuple[int, int, np.random.Generator]:
        """The indices in a and b at a place of the stream, and the source of that place's random decisions."""
        passed, index = divmod(place, self.pass_length)
        indices_a, indices_b = _pass_order(self, passed)
        return int(indices_a[index]), int(indices_b[index]), np.random.default_rng([self.seed, passed, index, 1])


@lru_cache(maxsize=4)
def _pass_order(order: Order, passed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng([order.seed, passed, 0, 0])
    indices = np.arange(order.pass_length) if order.serial else random.permutation(order.pass_length)
    if order.paired or order.serial:
        return indices % order.count_a, indices % order.count_b
    return indices % order.count_a, random.integers(order.count_b, size=order.pass_length)


class Stream(Dataset[Loaded]):
    """Random access to the stream by place: no state, so any process may load any place.

    Args:
        keep: Keep resized pictures in memory.
        settled_from: The first place from which on nothing is cropped off; None for never.
    """

    def __init__(
        self, data: DataSet, order: Order, config: PreprocessConfig, geometry: Geometry, *, keep: bool, settled_from: int | None = None
    ) -> None:
        self.sources = data.train
        self.order = order
        self.flip = config.flip
        self.geometry = geometry
        self.settled_from = settled_from
        self.readers = readers(geometry, config, keep=keep)

    def __getitem__(self, place: int) -> Loaded:
        start = time.perf_counter()
        index_a, index_b, random = self.order(place)
        draw_a = random_draw(random, self.flip)
        draw_b = draw_a if self.order.paired else random_draw(random, self.flip)
        geometry = self.geometry if self.settled_from is None or place < self.settled_from else self.geometry.settled
        a = geometry.crop(self.readers[0].resized(self.sources[0][index_a], geometry), draw_a)
        b = geometry.crop(self.readers[1].resized(self.sources[1][index_b], geometry), draw_b)
        return Loaded(to_bytes_tensor(a), to_bytes_tensor(b), (time.perf_counter() - start) / 2)

    def batches(
        self, *, batch: int, first_step: int, last_step: int, rank: int, processes: int, workers: int, pin: bool
    ) -> Iterator[tuple[Batch, float]]:
        """This process's share of the batches of the steps from first to last (not included).

        Args:
            batch: Pictures of each domain in a step over all processes; a multiple of `processes`.

        Yields:
            A batch of uint8 tensors and the mean seconds that loading one picture took.
        """
        share = batch // processes
        first_places = range(first_step * batch + rank * share, last_step * batch, batch)
        places = (list(range(place, place + share)) for place in first_places)
        loader = DataLoader(
            self,
            batch_sampler=places,
            num_workers=workers,
            collate_fn=_collated,
            pin_memory=pin,
            generator=torch.Generator(),  # the loader draws a number that nobody uses; not from the step's source
            prefetch_factor=4 if workers else None,
            worker_init_fn=_leave_ctrl_c_to_the_main_process,
        )
        return iter(loader)


def _leave_ctrl_c_to_the_main_process(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _collated(loaded: Sequence[Loaded]) -> tuple[Batch, float]:
    batch = Batch(torch.stack([one.a for one in loaded]), torch.stack([one.b for one in loaded]))
    return batch, sum(one.seconds for one in loaded) / len(loaded)


def fixed_batches(data: DataSet, config: PreprocessConfig, geometry: Geometry, count: int) -> tuple[list[Batch], list[Batch]]:
    """The same few pictures every time, one a batch and evenly spread, to watch progress on; those that cannot be read are passed over.

    Returns:
        Held-out pictures and as many that are trained with; where none are held out, the latter and none.
    """
    held_out = _spread(data.test, config, geometry, count) if data.test[0] and data.test[1] else []
    seen = _spread(data.train, config, geometry, count)
    return (held_out, seen) if held_out else (seen, [])


def _spread(sides: tuple[list[Source], list[Source]], config: PreprocessConfig, geometry: Geometry, count: int) -> list[Batch]:
    count = min(count, len(sides[0]), len(sides[1]))
    both = readers(geometry, config)
    shown = []
    for index in range(count):
        with contextlib.suppress(PictureError):
            pictures = [reader.open(side[index * len(side) // count]) for reader, side in zip(both, sides, strict=True)]
            a, b = (normalize(to_bytes_tensor(geometry.whole(picture)))[None] for picture in pictures)
            shown.append(Batch(a, b))
    return shown
