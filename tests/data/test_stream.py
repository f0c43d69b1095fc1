from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from transmute.data.config import PreprocessConfig, SourceConfig
from transmute.data.layout import recognize
from transmute.data.preprocess import Geometry, random_draw
from transmute.data.stream import Order, Stream
from transmute.images import to_bytes_tensor


def test_a_pass_shows_every_picture_of_the_larger_domain_once() -> None:
    order = Order(5, 3, seed=1, paired=False, serial=False)
    for passed in range(3):
        assert sorted(order(place)[0] for place in range(5 * passed, 5 * passed + 5)) == [0, 1, 2, 3, 4]
    assert {order(place)[1] for place in range(100)} == {0, 1, 2}
    larger_b = Order(2, 5, seed=1, paired=False, serial=False)
    assert larger_b.pass_length == 5
    assert {larger_b(place)[0] for place in range(5)} == {0, 1}


def test_the_order_is_a_function_of_seed_and_pass() -> None:
    places = range(40)
    first, again, other = ([order(place)[:2] for place in places] for order in (Order(20, 20, seed, False, False) for seed in (0, 0, 1)))
    assert first == again
    assert first != other
    assert first[:20] != first[20:]


def test_serial_order_and_pairs() -> None:
    assert [Order(3, 2, 0, False, True)(place)[:2] for place in range(4)] == [(0, 0), (1, 1), (2, 0), (0, 0)]
    paired = [Order(6, 6, 0, True, False)(place)[:2] for place in range(6)]
    assert all(a == b for a, b in paired)
    assert sorted(a for a, _ in paired) == list(range(6))


def stream(folder: Path, *, paired: bool = False, keep: bool = False) -> Stream:
    preprocess = PreprocessConfig(load_size="20")
    data = recognize(folder, SourceConfig(), paired=paired)
    order = Order(len(data.train[0]), len(data.train[1]), 0, paired, False)
    return Stream(data, order, preprocess, Geometry.of(preprocess, "16x16", 4), keep=keep)


def batches(source: Stream, *, first: int = 0, last: int = 6, rank: int = 0, processes: int = 1, workers: int = 0) -> list[torch.Tensor]:
    loaded = source.batches(batch=2, first_step=first, last_step=last, rank=rank, processes=processes, workers=workers, pin=False)
    return [torch.stack([batch.a, batch.b]) for batch, _ in loaded]


def equal(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return len(one) == len(other) and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_stream_goes_on_in_the_middle_of_a_pass(animals: Path) -> None:
    assert equal(batches(stream(animals))[3:], batches(stream(animals), first=3))


def test_from_some_place_on_nothing_is_cropped_off(animals: Path) -> None:
    source = stream(animals, keep=True)
    source.settled_from = 4
    early, late = source[3].a, source[4].a
    assert torch.equal(early, stream(animals)[3].a)
    index, _, random = source.order(4)
    flipped = random_draw(random, True).flip
    whole = to_bytes_tensor(Image.open(data_of(animals)[index]).convert("RGB"))  # 16 px already
    assert torch.equal(late.flip(2) if flipped else late, whole)


def data_of(folder: Path) -> list[Path]:
    return sorted((folder / "trainA").iterdir())


def test_workers_and_kept_pictures_give_the_same_batches(animals: Path) -> None:
    expected = batches(stream(animals))
    assert equal(expected, batches(stream(animals), workers=2))
    assert equal(expected, batches(stream(animals, keep=True)))


def test_processes_share_each_batch(animals: Path) -> None:
    first, second = (batches(stream(animals), rank=rank, processes=2) for rank in range(2))
    together = [torch.cat([one, other], dim=1) for one, other in zip(first, second, strict=True)]
    assert equal(batches(stream(animals)), together)


def test_both_halves_of_a_pair_get_the_same_draw(tmp_path: Path) -> None:
    noise = Image.effect_noise((24, 24), 80)
    both = Image.new("L", (48, 24))
    both.paste(noise, (0, 0))
    both.paste(noise, (24, 0))
    (tmp_path / "train").mkdir()
    for index in range(4):
        both.save(tmp_path / "train" / f"{index}.png")
    shown = batches(stream(tmp_path, paired=True))
    assert all(torch.equal(a, b) for a, b in shown)
    assert len({batch.numpy().tobytes() for batch in shown}) == len(shown)


@pytest.mark.parametrize("paired", [True, False])
def test_gray_domains_have_one_channel(tmp_path: Path, paired: bool) -> None:
    for folder in ("trainA", "trainB"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (20, 20), (255, 0, 0)).save(tmp_path / folder / "x.png")
    preprocess = PreprocessConfig(mode="none", channels_a=1)
    source = Stream(
        recognize(tmp_path, SourceConfig(), paired=paired), Order(1, 1, 0, paired, False), preprocess, Geometry.of(preprocess, "20x20", 4), keep=False
    )
    assert source[0].a.shape == (1, 20, 20)
    assert source[0].a[0, 0, 0] == 76  # ITU-R 601: 0.299 * 255
    assert source[0].b[:, 0, 0].tolist() == [255, 0, 0]
