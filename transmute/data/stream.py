"""The endless stream of training images. Its order is a function of seed and pass."""

import multiprocessing
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from operator import itemgetter

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from transmute.batch import Batch
from transmute.config.data import PreprocessConfig
from transmute.data.layout import DataSet
from transmute.data.preprocess import Geometry
from transmute.data.source import Source
from transmute.errors import RankError
from transmute.images.ranges import normalize, pack, range_for
from transmute.images.raster import ImageError, Raster
from transmute.startup import ctrl_c_blocked


@lru_cache(maxsize=4)
def pass_order(
    num_a: int, num_b: int, seed: int, pass_number: int, *, paired: bool, sequential: bool
) -> np.ndarray:
    """Returns the indices in a and b of all images in a pass, as (length, 2).

    A pass contains every image of the larger domain once. The other domain's image has the same
    index (paired or sequential, starting again at its end), or is random.

    Args:
        num_a, num_b: Numbers of images.
        seed: Seed of the order.
        pass_number: The pass, from 0.
        paired: Images of equal index belong together.
        sequential: Keep the order of the data set, without shuffling.
    """
    random, length = np.random.default_rng([seed, pass_number, 0, 0]), max(num_a, num_b)
    indices = np.arange(length) if sequential else random.permutation(length)
    others = indices if paired or sequential else random.integers(num_b, size=length)
    return np.stack([indices % num_a, others % num_b], axis=1)


@dataclass(frozen=True, eq=False)
class Stream(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Random access to the training stream by position.

    It is stateless: any process can load any position.

    Attributes:
        data: The data set.
        geometry: Sizes of images.
        preprocess: Channels, background, order and mirroring of images.
        seed: Seed of the order and of random crops.
        paired: Images of equal index belong together, and get the same augmentation.
        uncropped_from: First position without random crops.
        cache: Resized images kept in memory; None disables the cache.
    """

    data: DataSet
    geometry: Geometry
    preprocess: PreprocessConfig
    seed: int
    paired: bool
    uncropped_from: float = float("inf")
    cache: dict[tuple[int, Source, Geometry], Raster] | None = None

    @property
    def pass_length(self) -> int:
        """Positions in a pass."""
        return max(map(len, self.data.train))

    def __getitem__(self, position: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The images (channels, height, width) of both domains at a position.

        They are uint8 for 8 bits, else float32 in [-1, 1].
        """
        pass_number, index = divmod(position, self.pass_length)
        config, (a, b) = self.preprocess, self.data.train
        order = pass_order(
            len(a), len(b), self.seed, pass_number, paired=self.paired, sequential=config.sequential
        )
        # For each domain, the position of its crop, and a coin that decides whether it is mirrored.
        draws = np.random.default_rng([self.seed, pass_number, index, 1]).random((2, 3))
        geometry = self.geometry.uncropped if position >= self.uncropped_from else self.geometry
        images = []
        for domain, source in enumerate((a[order[index, 0]], b[order[index, 1]])):
            x, y, coin = draws[0 if self.paired else domain]
            image = self._resized(domain, source, geometry)
            cropped = geometry.crop(image, x, y, flip=config.flip and coin < 0.5)
            images.append(self._packed(domain, source, cropped))
        return images[0], images[1]

    def _open(self, domain: int, source: Source) -> Raster:
        """An image in its size on disk, in the channels of its domain (0 is a, 1 is b)."""
        image = source.open(self.preprocess.channels[domain], self.preprocess.background)
        return replace(image, alpha=None)

    def _packed(self, domain: int, source: Source, image: Raster) -> torch.Tensor:
        return pack(image, range_for(image, self.preprocess.ranges[domain], str(source)))

    def _resized(self, domain: int, source: Source, geometry: Geometry) -> Raster:
        """An image resized for training, before the crop."""
        cache = {} if self.cache is None else self.cache
        if (domain, source, geometry) not in cache:
            cache[domain, source, geometry] = geometry.resize(self._open(domain, source))
        return cache[domain, source, geometry]

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
        timeout: float,
        pin: bool,
    ) -> Iterator[tuple[Batch, float]]:
        """Iterates over this process's share of each batch.

        Args:
            batch: Images of each domain in a step over all processes; a multiple of `processes`.
            start_step: Steps that are already finished.
            last_step: The last step to load.
            rank, processes: This process, and their number.
            workers: Processes that load images; 0 loads them in this one.
            timeout: Seconds after which workers that have not loaded a batch are killed.
            pin: Load into pinned memory.

        Yields:
            A batch of tensors (uint8, or float32 in [-1, 1]), and the mean seconds that loading an
            image took.

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
            worker_init_fn=_prepare_worker,
        )
        with ctrl_c_blocked():  # Workers start here, before a training run handles signals.
            return _loaded(iter(loader), processes, timeout if workers else None)

    def fixed_batches(
        self, count: int, say: Callable[[str], None]
    ) -> tuple[list[Batch], list[Batch]]:
        """The fixed images of sample sheets, one per batch, in [-1, 1].

        Bad held-out images are skipped.

        Args:
            count: Maximum number of batches.
            say: Prints a line about each skipped image.

        Returns:
            Batches of held-out images, and as many of training images. If none are held out, the
            first list has training images and the second is empty.
        """
        held_out, trained_on = (
            self._evenly_spaced(sides, count, say) for sides in (self.data.test, self.data.train)
        )
        return (held_out, trained_on) if held_out else (trained_on, [])

    def _evenly_spaced(
        self,
        sides: tuple[list[Source], list[Source]],
        count: int,
        say: Callable[[str], None],
    ) -> list[Batch]:
        """Up to `count` batches of evenly spaced images."""
        count = min(count, len(sides[0]), len(sides[1]))
        batches = []
        for index in range(count):
            sources = [side[index * len(side) // count] for side in sides]
            images = (
                self._packed(domain, one, self.geometry.whole(self._open(domain, one)))
                for domain, one in enumerate(sources)
            )
            try:
                batches.append(Batch(*(normalize(image)[None] for image in images)))
            except ImageError as error:
                say(f"not in the samples: {error}")
        return batches


def _loaded(
    loader: Iterator[tuple[Batch, float] | ImageError], processes: int, timeout: float | None
) -> Iterator[tuple[Batch, float]]:
    """Yields what was loaded, and raises the errors of images. Kills workers that take too long."""
    while True:
        # The timeout of torch's loader does not cover receiving what a worker has loaded.
        watchdog = threading.Timer(timeout or 0, _kill_workers)
        watchdog.daemon = True
        if timeout is not None:
            watchdog.start()
        try:
            loaded = next(loader, None)
        finally:
            watchdog.cancel()
        if loaded is None:
            return
        if isinstance(loaded, ImageError):
            # With several ranks, the others do not have this error.
            raise loaded if processes == 1 else RankError(str(loaded))
        yield loaded


def _kill_workers() -> None:
    for worker in multiprocessing.active_children():
        worker.kill()


@contextmanager
def lost_workers_reported(timeout: float) -> Iterator[None]:
    """Reports workers that end, which torch raises as a RuntimeError anywhere in the block.

    Raises:
        RankError: If one has ended, or was killed because it did not load a batch in time.
    """
    try:
        yield
    except (RuntimeError, ConnectionError, EOFError) as error:
        if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
            raise
        _kill_workers()  # Python waits for them, also if they are stopped
        raise RankError(
            "a process that loads images was killed, or loaded no batch in "
            f"`data.timeout={timeout:g}` seconds. Perhaps memory was low, or a disk is slow: "
            "reduce `data.workers`, or increase `data.timeout`. Then run the same command again"
        ) from None


def _prepare_worker(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # torch notices only a parent that dies later.
    if not (parent := multiprocessing.parent_process()) or not parent.is_alive():
        sys.exit()
