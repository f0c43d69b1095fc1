"""Looks for signs of trouble in the midst of a training."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from transmute.diagnostics import signs as look_for
from transmute.diagnostics.signs import Sign
from transmute.losses.config import AdversarialConfig
from transmute.methods.base import Method
from transmute.tensors import Images
from transmute.translation.model import ready

Shown = Mapping[str, Images]
"""What `Method.samples` shows of a batch."""


class Diagnosis:
    """Says a sign when it has been seen in enough looks in a row, and again only after it was gone.

    Attributes:
        rows: The latest reports.
        new: Signs since they were last taken, as rows of metrics.jsonl hold them.
    """

    def __init__(self, rows: Iterable[dict[str, Any]] = ()) -> None:
        self._looks: Counter[tuple[str, str]] = Counter()
        self.rows = deque(rows, maxlen=10)
        self.new: list[dict[str, Any]] = []

    def hear(self, kinds: Sequence[str], found: Sequence[Sign], *, step: int, steps: int) -> list[Sign]:
        """Counts what was seen in one look, and gives what is to be said now.

        Args:
            kinds: Names of all signs that were looked for.
            found: Those that were seen.
            step, steps: Where the training is, and its length.
        """
        # What translators make before they have learned much is no sign: for a tenth of a training, at least 500 steps, at most half of it.
        learning = step <= max(0.1 * steps, min(500, 0.5 * steps))
        seen = {(sign.name, sign.where): sign for sign in found if sign.early or not learning}
        for key in [key for key in self._looks if key[0] in kinds and key not in seen]:
            del self._looks[key]
        self._looks.update(seen.keys())
        said = [sign for key, sign in seen.items() if self._looks[key] == sign.looks]
        self.new += [asdict(sign) for sign in said]
        return said


PICTURES = ("constant output", "no change", "inverted", "collapse", "checkerboard", "cycle ignored", "overfitting")
"""Signs that pictures show."""
NUMBERS = ("discriminator ahead", "diverging", "discriminator behind", "starving", "no learning rate")
"""Signs that numbers show."""


def of_pictures(method: Method, held_out: Sequence[Shown], seen: Sequence[Shown], *, paired: bool) -> list[Sign]:
    """What the pictures of the sample sheet show.

    Args:
        method: Whose judges are asked.
        held_out: What the method shows of pictures that it does not train with.
        seen: The same of some that it does; empty where all are.
        paired: Whether inputs and outputs may be each other's negatives, as pairs say.
    """
    found: list[Sign | None] = []
    for where, inputs, outputs, backs, reals in _directions(held_out):
        found.append(look_for.constant(outputs, where))
        if found[-1] is not None:
            continue  # it explains all others
        found += [look_for.unchanged(inputs, outputs, where), look_for.collapsed(outputs, reals, where)]
        found.append(look_for.checkerboard(outputs, reals, where))
        found.append(None if paired else look_for.inverted(inputs, outputs, where))
        found.append(look_for.cycle_ignored(inputs, backs, where) if backs is not None else None)
    if seen:
        found += _overfitting(method, held_out, seen)
    return [sign for sign in found if sign is not None]


def of_numbers(
    rows: Sequence[Mapping[str, Any]],
    game: AdversarialConfig,
    *,
    waiting: tuple[float, float],
    rate: float,
    step: int,
    steps: int,
    ahead: bool = False,
) -> list[Sign]:
    """What the latest reports show; see the functions of `transmute.diagnostics.signs`."""
    found = [look_for.starving(*waiting, ahead=ahead), look_for.no_rate(rate, steps - step, steps)]
    if game.chance is not None:
        for where, names in _judges(rows[-1] if rows else {}).items():
            losses = [sum(row[name] for name in names) for row in rows if all(name in row for name in names)]
            found.append(look_for.out_of_balance(losses, game.chance, where))
    return [sign for sign in found if sign is not None]


def _judges(row: Mapping[str, Any]) -> dict[str, list[str]]:
    """The names of each discriminator's losses: one of each domain, or one whose loss may be told in two parts."""
    names = [name for name in row if name.startswith("discriminate")]
    if "discriminate_a" in names:
        return {f"of {name[-1]}": [name] for name in names}
    return {"": names} if names else {}


def _directions(shown: Sequence[Shown]) -> Iterator[tuple[str, Images, Images, Images | None, Images]]:
    """Of each direction its name, inputs, outputs, outputs translated back, and real pictures; of those of the first picture's size."""
    together = _joined(shown)
    if "real a" in together:
        yield "a to b", together["real a"], together["a to b"], together["back to a"], together["real b"]
        yield "b to a", together["real b"], together["b to a"], together["back to b"], together["real a"]
    elif together:
        yield "", together["input"], together["output"], None, together["target"]


def _joined(shown: Sequence[Shown]) -> dict[str, Images]:
    alike = [one for one in shown if all(one[name].shape == shown[0][name].shape for name in one)]
    return {name: torch.cat([one[name].float().cpu() for one in alike]) for name in shown[0]} if shown else {}


@torch.inference_mode()
def _overfitting(method: Method, held_out: Sequence[Shown], seen: Sequence[Shown]) -> list[Sign | None]:
    parameter = next(method.parameters())
    judged = [method.judged({name: images.to(parameter) for name, images in _joined(shown).items()}) for shown in (seen, held_out)]
    found = []
    for name, (real_seen, _) in judged[0].items():
        real, fake = judged[1][name]
        score = ready(method.networks[name], own_statistics=False)
        scores = [score(images).float().flatten(1).mean(1) for images in (real_seen, real, fake)]
        found.append(look_for.overfitting(*scores, where=f"of {name[-1]}" if len(judged[0]) > 1 else ""))
    return found
