from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from transmute.config.data import PreprocessConfig, SourceConfig
from transmute.data.layout import recognize
from transmute.data.preprocess import Geometry, random_augmentation
from transmute.data.stream import Order, Stream, fixed_batches, readers
from transmute.images import to_bytes_tensor, to_tensor


def test_a_pass_contains_every_image_of_the_larger_domain_once() -> None:
    order = Order(5, 3, seed=1, paired=False, sequential=False)
    for start in (0, 5, 10):
        indices = sorted(order(position)[0] for position in range(start, start + 5))
        assert indices == [0, 1, 2, 3, 4]
    assert {order(position)[1] for position in range(100)} == {0, 1, 2}
    larger_b = Order(2, 5, seed=1, paired=False, sequential=False)
    assert larger_b.pass_length == 5
    assert {larger_b(position)[0] for position in range(5)} == {0, 1}


def test_the_order_is_a_function_of_seed_and_pass() -> None:
    first, again, other = (
        [order(position)[:2] for position in range(40)]
        for order in (Order(20, 20, seed, False, False) for seed in (0, 0, 1))
    )
    assert first == again
    assert first != other
    assert first[:20] != first[20:]


def test_sequential_order_and_pairs() -> None:
    sequential = Order(3, 2, 0, False, True)
    indices = [sequential(position)[:2] for position in range(4)]
    assert indices == [(0, 0), (1, 1), (2, 0), (0, 0)]
    paired = [Order(6, 6, 0, True, False)(position)[:2] for position in range(6)]
    assert all(a == b for a, b in paired)
    assert sorted(a for a, _ in paired) == list(range(6))


def stream(
    folder: Path, *, paired: bool = False, cache: bool = False, uncropped_from: int | None = None
) -> Stream:
    preprocess, source = PreprocessConfig(load_size="20"), SourceConfig(cache=cache)
    data = recognize(folder, source, paired=paired)
    order = Order(len(data.train[0]), len(data.train[1]), 0, paired, False)
    both = readers(Geometry.of(preprocess, "16x16", 4), preprocess, source)
    return Stream(data, order, both, flip=True, uncropped_from=uncropped_from)


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
    index, _, random = source.order(4)
    flipped = random_augmentation(random, True).flip
    whole = to_bytes_tensor(Image.open(data_of(animals)[index]).convert("RGB"))  # 16 px already
    assert torch.equal(late.flip(2) if flipped else late, whole)


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
    preprocess, config = PreprocessConfig(mode="none", channels_a=1), SourceConfig()
    both = readers(Geometry.of(preprocess, "20x20", 4), preprocess, config)
    data = recognize(tmp_path, config, paired=paired)
    gray, color = Stream(data, Order(1, 1, 0, paired, False), both, flip=True)[0]
    assert gray.shape == (1, 20, 20)
    assert gray[0, 0, 0] == 76  # ITU-R 601: 0.299 * 255
    assert color[:, 0, 0].tolist() == [255, 0, 0]


def test_fixed_batches_are_held_out_images_and_evenly_spaced_training_images(
    animals: Path,
) -> None:
    preprocess, config = PreprocessConfig(mode="none"), SourceConfig()
    both = readers(Geometry.of(preprocess, "16x16", 4), preprocess, config)
    data = recognize(animals, config, paired=False)
    held_out, trained_on = fixed_batches(data, both, 4)
    assert [len(held_out), len(trained_on)] == [2, 4]
    for index, batch in enumerate(trained_on):
        image = Image.open(data_of(animals)[index * 5 // 4]).convert("RGB")
        assert torch.equal(batch.a, to_tensor(image))
    without = replace(data, test=([], []))
    assert [len(batches) for batches in fixed_batches(without, both, 4)] == [4, 0]
