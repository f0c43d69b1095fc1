from __future__ import annotations

import torch

from transmute.methods.cyclegan import History


def image(value: float) -> torch.Tensor:
    return torch.full((1, 1, 2, 2), float(value))


def test_a_history_returns_its_input_until_it_is_full() -> None:
    history = History(3, channels=1, height=2, width=2)
    for value in (1.0, 2.0, 3.0):
        assert torch.equal(history.swap(image(value)), image(value))
    assert history.past[:, 0, 0, 0].tolist() == [1.0, 2.0, 3.0]


def test_a_full_history_exchanges_half_of_the_images_and_loses_none() -> None:
    torch.manual_seed(0)
    history = History(5, channels=1, height=2, width=2)
    given, returned = [], []
    for value in range(1000):
        given.append(float(value))
        returned.append(history.swap(image(value))[0, 0, 0, 0].item())
    kept = history.past[:, 0, 0, 0].tolist()
    # The first five were both returned and stored.
    assert sorted(returned[5:] + kept) == given
    exchanged = sum(out != value for out, value in zip(returned, given, strict=True))
    # 995 fair coin flips: within five standard deviations (79) of half.
    assert 418 < exchanged < 577


def test_images_of_a_batch_are_swapped_in_sequence() -> None:
    batch = torch.cat([image(value) for value in (1.0, 2.0, 3.0, 4.0)])
    together, alone = (History(2, channels=1, height=2, width=2) for _ in range(2))
    torch.manual_seed(1)
    whole = together.swap(batch)
    torch.manual_seed(1)
    parts = torch.cat([alone.swap(image[None]) for image in batch])
    assert torch.equal(whole, parts)
    assert torch.equal(together.past, alone.past)


def test_an_empty_history_detaches_its_input() -> None:
    given = image(1.0).requires_grad_()
    swapped = History(0, channels=1, height=2, width=2).swap(given * 2)
    assert torch.equal(swapped, image(2.0))
    assert not swapped.requires_grad


def test_the_state_dict_restores_a_history() -> None:
    history, copy = (History(2, channels=1, height=2, width=2) for _ in range(2))
    for value in range(7):
        history.swap(image(value))
    copy.load_state_dict(history.state_dict())
    torch.manual_seed(3)
    expected = [history.swap(image(value)) for value in range(10, 20)]
    torch.manual_seed(3)
    assert all(
        torch.equal(copy.swap(image(value)), want)
        for value, want in zip(range(10, 20), expected, strict=True)
    )
