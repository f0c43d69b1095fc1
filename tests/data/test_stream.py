from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from transmute.config.data import PreprocessConfig, Range, SourceConfig
from transmute.data.layout import recognize
from transmute.data.preprocess import Geometry
from transmute.data.stream import Stream, pass_order
from transmute.images.decode import read_image
from transmute.images.ranges import pack, to_tensor


def pairs(
    num_a: int, num_b: int, seed: int = 0, *, paired: bool = False, sequential: bool = False
) -> list[tuple[int, int]]:
    """The indices in a and b at all positions of the first three passes."""
    orders = (
        pass_order(num_a, num_b, seed, number, paired=paired, sequential=sequential)
        for number in range(3)
    )
    return [(a, b) for order in orders for a, b in order.tolist()]


def test_a_pass_contains_every_image_of_the_larger_domain_once() -> None:
    indices = pairs(5, 3, seed=1)
    for start in (0, 5, 10):
        assert sorted(a for a, _ in indices[start : start + 5]) == [0, 1, 2, 3, 4]
    assert {b for _, b in indices} == {0, 1, 2}
    larger_b = pairs(2, 5, seed=1)
    assert len(larger_b) == 3 * 5
    assert {a for a, _ in larger_b[:5]} == {0, 1}


def test_the_order_is_a_function_of_seed_and_pass() -> None:
    first, again, other = (pairs(20, 20, seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert first[:20] != first[20:40]


def test_sequential_order_and_pairs() -> None:
    assert pairs(3, 2, sequential=True)[:4] == [(0, 0), (1, 1), (2, 0), (0, 0)]
    paired = pairs(6, 6, paired=True)[:6]
    assert all(a == b for a, b in paired)
    assert sorted(a for a, _ in paired) == list(range(6))


def stream(
    folder: Path, *, paired: bool = False, cache: bool = False, uncropped_from: float = math.inf
) -> Stream:
    preprocess = PreprocessConfig(load_size="20")
    data = recognize(folder, SourceConfig(), paired=paired)
    geometry = Geometry.of(preprocess, "16x16", 4)
    return Stream(data, geometry, preprocess, 0, paired, uncropped_from, {} if cache else None)


def batches(
    source: Stream,
    *,
    first: int = 0,
    last: int = 6,
    rank: int = 0,
    processes: int = 1,
    workers: int = 0,
) -> list[torch.Tensor]:
    loaded = source.batches(
        batch=2,
        start_step=first,
        last_step=last,
        rank=rank,
        processes=processes,
        workers=workers,
        timeout=60,
        pin=False,
    )
    return [torch.stack([batch.a, batch.b]) for batch, _ in loaded]


def equal(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a, b) for a, b in zip(one, other, strict=True)
    )


def test_a_stream_can_start_in_the_middle_of_a_pass(animals: Path) -> None:
    assert equal(batches(stream(animals))[3:], batches(stream(animals), first=3))


def test_images_are_not_cropped_from_the_given_position_on(animals: Path) -> None:
    source = stream(animals, cache=True, uncropped_from=4)
    early, late = source[3][0], source[4][0]
    assert torch.equal(early, stream(animals)[3][0])
    index, _ = pairs(5, 5)[4]
    flipped = np.random.default_rng([0, 0, 4, 1]).random(3)[2] < 0.5
    whole = pack(read_image(data_of(animals)[index]), Range())  # 16 px already
    assert torch.equal(late.flip(2) if flipped else late, whole)


def two_images(folder: Path, preprocess: PreprocessConfig, *, paired: bool = False) -> Stream:
    """Two domains of one image of 10x9 pixels; red is the column of a pixel, green its row."""
    rows, columns = np.mgrid[0:9, 0:10]
    for name in ("trainA", "trainB"):
        (folder / name).mkdir()
        image = Image.fromarray(np.stack([columns, rows, 0 * rows], axis=2).astype(np.uint8))
        image.save(folder / name / "x.png")
    data = recognize(folder, SourceConfig(), paired=paired)
    geometry = Geometry.of(preprocess, "7x7", 4)
    return Stream(data, geometry, preprocess, 0, paired, cache={})


def test_random_crops_reach_every_position(tmp_path: Path) -> None:
    source = two_images(tmp_path, PreprocessConfig(mode="crop", flip=False))
    corners = [[tuple(image[:2, 0, 0].tolist()) for image in source[index]] for index in range(400)]
    everywhere = {(x, y) for x in range(4) for y in range(3)}
    assert {a for a, _ in corners} == {b for _, b in corners} == everywhere
    assert len({(a, b) for a, b in corners}) > 100  # of 144: the domains are cropped independently


@pytest.mark.parametrize("paired", [True, False])
def test_half_of_the_images_are_mirrored_and_partners_together(
    tmp_path: Path, paired: bool
) -> None:
    source = two_images(tmp_path, PreprocessConfig(mode="none"), paired=paired)
    flips = [[bool(image[0, 0, 0] > image[0, 0, -1]) for image in source[i]] for i in range(1000)]
    for domain in (0, 1):
        # five standard deviations of a fair coin
        assert 421 < sum(both[domain] for both in flips) < 579
    assert all(a == b for a, b in flips) == paired


def test_no_image_is_mirrored_without_flips(tmp_path: Path) -> None:
    source = two_images(tmp_path, PreprocessConfig(mode="none", flip=False))
    assert all(image[0, 0, 0] < image[0, 0, -1] for index in range(100) for image in source[index])


def data_of(folder: Path) -> list[Path]:
    return sorted((folder / "trainA").iterdir())


def test_workers_and_a_cache_give_the_same_batches(animals: Path) -> None:
    expected = batches(stream(animals))
    assert equal(expected, batches(stream(animals), workers=2))
    assert equal(expected, batches(stream(animals, cache=True)))


def test_processes_share_each_batch(animals: Path) -> None:
    first, second = (batches(stream(animals), rank=rank, processes=2) for rank in range(2))
    together = [torch.cat([one, other], dim=1) for one, other in zip(first, second, strict=True)]
    assert equal(batches(stream(animals)), together)


def test_both_images_of_a_pair_get_the_same_augmentation(tmp_path: Path) -> None:
    noise = Image.effect_noise((24, 24), 80)
    both = Image.new("L", (48, 24))
    both.paste(noise, (0, 0))
    both.paste(noise, (24, 0))
    (tmp_path / "train").mkdir()
    for index in range(4):
        both.save(tmp_path / "train" / f"{index}.png")
    loaded = batches(stream(tmp_path, paired=True))
    assert all(torch.equal(a, b) for a, b in loaded)
    assert len({batch.numpy().tobytes() for batch in loaded}) == len(loaded)


@pytest.mark.parametrize("paired", [True, False])
def test_gray_domains_have_one_channel(tmp_path: Path, paired: bool) -> None:
    for folder in ("trainA", "trainB"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (20, 20), (255, 0, 0)).save(tmp_path / folder / "x.png")
    preprocess = PreprocessConfig(mode="none", channels_a=1)
    data = recognize(tmp_path, SourceConfig(), paired=paired)
    gray, color = Stream(data, Geometry.of(preprocess, "20x20", 4), preprocess, 0, paired)[0]
    assert gray.shape == (1, 20, 20)
    assert gray[0, 0, 0] == 76  # ITU-R 601: 0.299 * 255
    assert color[:, 0, 0].tolist() == [255, 0, 0]


def test_fixed_batches_are_held_out_images_and_evenly_spaced_training_images(
    animals: Path,
) -> None:
    preprocess = PreprocessConfig(mode="none")
    data = recognize(animals, SourceConfig(), paired=False)
    source = Stream(data, Geometry.of(preprocess, "16x16", 4), preprocess, seed=0, paired=False)
    held_out, trained_on = source.fixed_batches(4, print)
    assert [len(held_out), len(trained_on)] == [2, 4]
    for index, batch in enumerate(trained_on):
        image = read_image(data_of(animals)[index * 5 // 4])
        assert torch.equal(batch.a, to_tensor(image))
    without = replace(source, data=replace(data, test=([], [])))
    assert [len(batches) for batches in without.fixed_batches(4, print)] == [4, 0]
