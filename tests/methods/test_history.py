from __future__ import annotations

import torch

from transmute.methods.history import History


def picture(value: float) -> torch.Tensor:
    return torch.full((1, 1, 2, 2), float(value))


def test_a_history_gives_back_what_it_gets_until_it_is_full() -> None:
    history = History(3, channels=1, height=2, width=2)
    for value in (1.0, 2.0, 3.0):
        assert torch.equal(history.swap(picture(value)), picture(value))
    assert history.pictures[:, 0, 0, 0].tolist() == [1.0, 2.0, 3.0]


def test_a_full_history_exchanges_half_of_the_time_and_loses_nothing() -> None:
    torch.manual_seed(0)
    history = History(5, channels=1, height=2, width=2)
    given, returned = [], []
    for value in range(1000):
        given.append(float(value))
        returned.append(history.swap(picture(value))[0, 0, 0, 0].item())
    kept = history.pictures[:, 0, 0, 0].tolist()
    # The first five were both given back and kept.
    assert sorted(returned[5:] + kept) == given
    exchanged = sum(out != value for out, value in zip(returned, given, strict=True))
    # A fair coin thrown 995 times: within five standard deviations (79) of the half.
    assert 418 < exchanged < 577


def test_pictures_of_a_batch_are_swapped_one_after_the_other() -> None:
    batch = torch.cat([picture(value) for value in (1.0, 2.0, 3.0, 4.0)])
    together, alone = (History(2, channels=1, height=2, width=2) for _ in range(2))
    torch.manual_seed(1)
    whole = together.swap(batch)
    torch.manual_seed(1)
    parts = torch.cat([alone.swap(image[None]) for image in batch])
    assert torch.equal(whole, parts)
    assert torch.equal(together.pictures, alone.pictures)


def test_no_history_gives_pictures_back_without_their_gradient() -> None:
    image = picture(1.0).requires_grad_()
    swapped = History(0, channels=1, height=2, width=2).swap(image * 2)
    assert torch.equal(swapped, picture(2.0))
    assert not swapped.requires_grad


def test_the_state_of_a_history_is_in_its_state_dict() -> None:
    history, copy = (History(2, channels=1, height=2, width=2) for _ in range(2))
    for value in range(7):
        history.swap(picture(value))
    copy.load_state_dict(history.state_dict())
    torch.manual_seed(3)
    expected = [history.swap(picture(value)) for value in range(10, 20)]
    torch.manual_seed(3)
    assert all(torch.equal(copy.swap(picture(value)), want) for value, want in zip(range(10, 20), expected, strict=True))
