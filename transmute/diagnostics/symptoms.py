"""Symptoms of failing training runs.

Each symptom is a pure function that returns its evidence or None. The thresholds were set on real
training runs, healthy ones and ones that were made to fail; docs/reading-a-run.md lists the values.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from transmute.tensors import Images


@dataclass(frozen=True)
class Symptom:
    """A symptom of a failing training run.

    Attributes:
        name: Its name.
        where: Direction, discriminator or loss that shows it; "" for the whole run.
        evidence: The values it was detected by.
        sentence: Description of the problem, without a final period.
        change: The change to try first: an imperative phrase that can follow "To fix it, ".
        early: Whether it also counts while generators are still untrained.
        checks: Number of checks in a row that must detect it before it is reported.
    """

    name: str
    where: str
    evidence: dict[str, float]
    sentence: str
    change: str
    early: bool = False
    checks: int = 2


_SYMPTOMS = {
    "not finite": (
        True,
        1,
        "the loss {where} is {value}",
        "lower `optimizer.lr`, or set `optimizer.clip=1` or `precision=float32`",
    ),
    "constant output": (
        True,
        2,
        "every translation {where} is {color}",
        "run transmute doctor first, because a torch build without kernels for the GPU causes "
        "this; then restart with a lower `optimizer.lr`, or with `precision=float32`",
    ),
    "no change": (
        False,
        2,
        "translations {where} differ from their inputs by only {levels:.1f} of 255 levels",
        "lower `method.identity` (0 turns it off) and the cycle weights, or raise the weight of "
        "the adversarial loss, `method.gan`",
    ),
    "inverted": (
        True,
        2,
        "translations {where} are dark where their inputs are light (correlation "
        "{correlation:.2f})",
        "restart with another `seed` and `method.identity=0.5` or more, because this is decided "
        "in the first steps and does not recover",
    ),
    "collapse": (
        False,
        2,
        "translations {where} are nearly equal: their average difference is {share:.0%} of that "
        "between real images",
        "raise the cycle weights (or CUT's `method.nce`) and start from an earlier checkpoint, "
        "then lower `optimizer.lr`",
    ),
    "checkerboard": (
        False,
        2,
        "translations {where} have a pattern of single pixels, {times:.0f} times as strong as in "
        "real images",
        "restart with `method.generator.upsampling=nearest` (or antialiased), which cannot "
        "produce it",
    ),
    "cycle ignored": (
        False,
        2,
        "images translated {where} and back differ from their inputs by {share:.0%} of the average "
        "difference between two random images",
        "raise `method.cycle_a` and `method.cycle_b`",
    ),
    "discriminator ahead": (
        False,
        1,
        "the discriminator {where} always wins: its loss is {share:.1%} of chance level, so the "
        "generator learns little from it",
        "lower the discriminator's `method.discriminator.width` or `method.discriminator.layers`, "
        "add images, or set `method.adversarial=hinge`",
    ),
    "diverging": (
        False,
        1,
        "the discriminator {where} diverges: its loss is {share:.3g} times chance level",
        "restart with a lower `optimizer.lr`, or with `optimizer.clip=1`",
    ),
    "discriminator behind": (
        False,
        1,
        "the discriminator {where} learns nothing: its loss was not below chance level in ten "
        "reports ({share:.1%} of it)",
        "raise `method.discriminator.layers`, `method.discriminator.width` or `optimizer.lr`",
    ),
    "starving": (
        True,
        2,
        "{share:.0%} of the time is spent waiting for images",
        "keep images in memory with `data.cache`, raise `data.workers`, or shrink the images once "
        "with transmute data resize",
    ),
    "no learning rate": (
        False,
        2,
        "the learning rate is {rate:.2g} of its initial value, so the remaining {steps_left:,} "
        "steps have almost no effect",
        "stop here, or resume with `extend` and another `schedule`",
    ),
    "overfitting": (
        False,
        3,
        "the discriminator {where} overfits: its scores on held-out images have moved {share:.0%} "
        "of the way from real to fake",
        "add images, raise `preprocess.load_size` so that crops vary more, or stop at the best "
        "evaluation with `patience`",
    ),
}
"""Of each symptom: early, checks, sentence with fields for the evidence, and change."""


def _symptom(name: str, where: str, evidence: Mapping[str, float], **values: object) -> Symptom:
    """A symptom with its evidence.

    Args:
        name, where, evidence: See `Symptom`.
        values: Further values in the sentence.
    """
    early, checks, sentence, change = _SYMPTOMS[name]
    words = sentence.format(where=where, **evidence, **values).split()  # without a double space
    return Symptom(name, where, dict(evidence), " ".join(words), change, early, checks)


def not_finite(losses: Mapping[str, float]) -> Symptom | None:
    """A loss is infinite or not a number."""
    name = next((name for name, loss in losses.items() if not math.isfinite(loss)), None)
    return None if name is None else _symptom("not finite", name, {}, value=losses[name])


def constant(outputs: Images, where: str) -> Symptom | None:
    """Every translation has a single color, such as black."""
    spread, mean = outputs.flatten(1).std(1).max().item(), outputs.mean().item()
    color = "black" if mean < -0.95 else "white" if mean > 0.95 else "one flat color"
    return (
        None
        if spread > 0.02
        else _symptom("constant output", where, {"spread": spread}, color=color)
    )


def unchanged(inputs: Images, outputs: Images, where: str) -> Symptom | None:
    """Translations equal their inputs."""
    if inputs.shape != outputs.shape:
        return None
    levels = 127.5 * (inputs - outputs).abs().mean().item()
    return None if levels > 2.5 else _symptom("no change", where, {"levels": levels})


def inverted(inputs: Images, outputs: Images, where: str) -> Symptom | None:
    """Translations are dark where inputs are light, which the cycle loss does not penalize."""
    if inputs.shape[2:] != outputs.shape[2:]:
        return None
    light = [images.mean(1).flatten(1) for images in (inputs, outputs)]
    centered = [values - values.mean(1, keepdim=True) for values in light]
    correlation = nn.functional.cosine_similarity(*centered, dim=1).mean().item()
    return None if correlation > -0.3 else _symptom("inverted", where, {"correlation": correlation})


def collapsed(outputs: Images, reals: Images, where: str) -> Symptom | None:
    """Translations are nearly equal, although real images of their domain differ."""
    # Without fine detail, such as noise.
    diversity, expected = (
        _mean_difference(nn.functional.adaptive_avg_pool2d(images, 16))
        for images in (outputs, reals)
    )
    evidence = {"diversity": diversity, "diversity_real": expected}
    detected = expected >= 0.05 and diversity <= 0.15 * expected
    return _symptom("collapse", where, evidence, share=diversity / expected) if detected else None


def checkerboard(outputs: Images, reals: Images, where: str) -> Symptom | None:
    """Translations have a pattern of single pixels, an artifact of transposed convolutions."""
    if min(*outputs.shape[2:], *reals.shape[2:]) < 16:
        return None
    fineness, expected = _fineness(outputs), _fineness(reals)
    if fineness < max(0.8, 2.5 * expected):
        return None
    evidence = {"fineness": fineness, "fineness_real": expected}
    return _symptom("checkerboard", where, evidence, times=fineness / max(expected, 1e-6))


def cycle_ignored(inputs: Images, backs: Images, where: str) -> Symptom | None:
    """Images translated there and back differ from their inputs."""
    error, of_another = (inputs - backs).abs().mean().item(), _mean_difference(inputs)
    evidence = {"error": error, "of_another": of_another}
    detected = of_another >= 0.05 and error >= 0.75 * of_another
    return (
        _symptom("cycle ignored", where, evidence, share=error / of_another) if detected else None
    )


def out_of_balance(losses: Sequence[float], chance_loss: float, where: str) -> Symptom | None:
    """A discriminator always wins, learns nothing, or diverges.

    Args:
        losses: The discriminator's loss in the latest reports.
        chance_loss: Its loss if it cannot tell real images from translations.
        where: Which discriminator.
    """
    if len(losses) < 10:
        return None
    shares = sorted(loss / chance_loss for loss in losses[-10:])
    detected = {
        "discriminator ahead": shares[5] < 0.05,
        "diverging": shares[0] > 10,
        "discriminator behind": shares[0] > 0.985,
    }
    name = next((name for name in detected if detected[name]), None)
    return None if name is None else _symptom(name, where, {"share": shares[5]})


def starving(waited: float, seconds: float, *, asynchronous: bool = False) -> Symptom | None:
    """Steps wait for images.

    Args:
        waited: Seconds of the latest steps spent waiting for the next batch.
        seconds: Seconds that these steps took.
        asynchronous: Whether steps are queued on a device. The host then also waits while the
            device is busy, and slows it down only if it does nothing but wait.
    """
    share = waited / max(seconds, 1e-9)
    detected = share >= (0.9 if asynchronous else 0.4) and seconds >= 1
    return _symptom("starving", "", {"share": share}) if detected else None


def no_rate(rate: float, steps_left: int, steps: int) -> Symptom | None:
    """The learning rate is zero long before the end.

    Args:
        rate: Factor of the learning rate.
        steps_left, steps: Steps until the end, and in all.
    """
    detected = rate <= 1e-4 and steps_left >= 0.05 * steps
    return (
        _symptom("no learning rate", "", {"rate": rate, "steps_left": steps_left})
        if detected
        else None
    )


def overfitting(seen: Tensor, held_out: Tensor, fake: Tensor, where: str) -> Symptom | None:
    """A discriminator overfits: it scores held-out images almost like translations.

    (E D(train) - E D(held-out)) / (E D(train) - E D(fake)), the r_v of Karras et al. (2020),
    "Training Generative Adversarial Networks with Limited Data", equation 1: 0 if it scores
    training and held-out images alike, 1 if it scores held-out images like translations.

    Args:
        seen, held_out, fake: Mean scores of training images, held-out images and translations,
            (images,).
        where: Which discriminator.
    """
    gap, drop = (seen.mean() - fake.mean()).item(), (seen.mean() - held_out.mean()).item()
    fewest = min(len(seen), len(held_out))
    if gap <= 0 or drop < 0.6 * gap or fewest < 2:
        return None
    error = max(float(seen.std()), float(held_out.std())) / math.sqrt(fewest)
    return None if drop <= 2 * error else _symptom("overfitting", where, {"share": drop / gap})


def _mean_difference(images: Images) -> float:
    """Mean absolute difference between two images of a batch; NaN if there is only one."""
    return torch.pdist(images.flatten(1), p=1).mean().item() / images[0].numel()


def _fineness(images: Images) -> float:
    """Energy of details with a period of two pixels, relative to those with a period of four.

    The larger of the values of rows and of columns.
    """
    light = images.mean(1, keepdim=True)
    kernels = light.new_tensor([[1, -1, 1, -1], [1, 1, -1, -1]])[:, None, None]
    energies = [
        nn.functional.conv2d(each, kernels).square().mean((0, 2, 3)) for each in (light, light.mT)
    ]
    return max((fine / coarse.clamp(min=1e-8)).item() for fine, coarse in energies)
