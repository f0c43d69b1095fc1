"""Symptoms that the previews and the reports of a training run show, and when to report them."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from transmute.config.methods import MethodConfig
from transmute.diagnostics import symptoms
from transmute.diagnostics.symptoms import Symptom
from transmute.methods.base import Method, Preview
from transmute.training.previews import by_direction
from transmute.translation.model import inference_copy


class Diagnosis:
    """Reports a symptom once it was found in enough checks in a row, and again if it returns.

    Attributes:
        rows: The latest reports.
        unsaved: Symptoms reported since the last row of metrics.jsonl.
    """

    def __init__(self, steps: int, rows: Iterable[dict[str, Any]] = ()) -> None:
        self.steps = steps
        self.rows = deque(rows, maxlen=10)
        self.unsaved: list[dict[str, Any]] = []
        self._checks: dict[str, dict[tuple[str, str], int]] = {}

    def update(self, kind: str, found: Sequence[Symptom], step: int) -> list[Symptom]:
        """Counts the findings of one check, and returns what to report now.

        Args:
            kind: Kind of check, such as "images": checks of other kinds are counted apart.
            found: The symptoms that were found.
            step: The current step.
        """
        # Untrained generators look faulty: for the first tenth of training (at least 500 steps,
        # at most half), only symptoms that count early are considered.
        learning = step <= max(0.1 * self.steps, min(500, 0.5 * self.steps))
        present = {(one.name, one.where): one for one in found if one.early or not learning}
        before = self._checks.get(kind, {})
        self._checks[kind] = {key: before.get(key, 0) + 1 for key in present}
        reported = [one for key, one in present.items() if self._checks[kind][key] == one.checks]
        self.unsaved += [asdict(symptom) for symptom in reported]
        return reported


def image_symptoms(
    method: Method,
    shown: Sequence[Sequence[Preview]],
    trained_on: Sequence[Sequence[Preview]],
    *,
    paired: bool,
) -> list[Symptom]:
    """Symptoms that the previews show.

    Args:
        method: The method, whose discriminators score the images.
        shown: Previews of the sample sheet, a list per batch: of held-out images, or of training
            images if none are held out.
        trained_on: Previews of training images; empty if `shown` are of training images.
        paired: Whether inputs and outputs may be each other's negatives, as pairs show.
    """
    previews = by_direction(shown)
    found: list[Symptom | None] = []
    for preview in previews:
        where = preview.direction.replace("_", " ") if len(previews) > 1 else ""
        source, output, target = preview.source, preview.output, preview.target
        constant = symptoms.constant(output, where)
        found.append(constant)
        if constant is not None:
            continue  # it explains all others
        found += [
            symptoms.unchanged(source, output, where),
            symptoms.collapsed(output, target, where),
            symptoms.checkerboard(output, target, where),
            None if paired else symptoms.inverted(source, output, where),
            None if preview.back is None else symptoms.cycle_ignored(source, preview.back, where),
        ]
    if trained_on:
        found += _overfitting(method, previews, by_direction(trained_on))
    return [symptom for symptom in found if symptom is not None]


def number_symptoms(
    method: MethodConfig,
    rows: Sequence[Mapping[str, Any]],
    *,
    waiting: tuple[float, float],
    lr_factor: float,
    step: int,
    steps: int,
    asynchronous: bool = False,
) -> list[Symptom]:
    """Symptoms that the latest reports show.

    Args:
        method: With the names of the discriminators' losses.
        rows: The latest reports.
        waiting: Seconds spent waiting for images, and all seconds.
        lr_factor: Factor of the learning rate.
        step, steps: Current step and length of the training.
        asynchronous: Whether steps are queued on a device (see `symptoms.starving`).
    """
    found = [
        symptoms.starving(*waiting, asynchronous=asynchronous),
        symptoms.no_rate(lr_factor, steps - step, steps),
    ]
    if method.chance_loss is not None:
        for domain, names in method.discriminator_losses.items():
            complete = [row for row in rows if all(name in row for name in names)]
            losses = [sum(row[name] for name in names) for row in complete]
            where = f"of {domain}" if domain else ""
            found.append(symptoms.out_of_balance(losses, method.chance_loss, where))
    return [symptom for symptom in found if symptom is not None]


@torch.inference_mode()
def _overfitting(
    method: Method, held_out: Sequence[Preview], trained_on: Sequence[Preview]
) -> list[Symptom | None]:
    parameter = next(method.parameters())
    found = []
    for unseen, seen in zip(held_out, trained_on, strict=True):
        inputs = method.discriminator_inputs(unseen)
        for name, (real_seen, _) in method.discriminator_inputs(seen).items():
            score = inference_copy(method.networks[name].module, per_image_statistics=False)
            images = (one.to(parameter) for one in (real_seen, *inputs[name]))
            scores = [score(one).float().flatten(1).mean(1) for one in images]
            where = f"of {name[-1]}" if len(held_out) > 1 else ""
            found.append(symptoms.overfitting(*scores, where=where))
    return found
