"""What goes wrong in trainings of this kind, and how it shows: each sign is a pure function that gives its evidence or None.

The thresholds were set on real trainings, healthy ones and ones that were made to fail; docs/reading-a-run.md has the figures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from transmute.tensors import Images


@dataclass(frozen=True)
class Sign:
    """One sign of trouble.

    Attributes:
        name: Which.
        where: The direction, domain or loss that shows it; "" for the whole training.
        evidence: The figures that it was judged by.
        sentence: What is seen.
        change: What to try first.
        early: Counts also while translators have not learned much yet.
        looks: In how many looks in a row it must be seen before it counts.
    """

    name: str
    where: str
    evidence: dict[str, float]
    sentence: str
    change: str
    early: bool = False
    looks: int = 2


def not_finite(losses: Mapping[str, float]) -> Sign | None:
    """A loss that is infinite or no number."""
    for name, value in losses.items():
        if not math.isfinite(value):
            change = "try a lower --optimizer.lr, --optimizer.clip 1, or --precision float32"
            return Sign("not finite", name, {}, f"the loss {name} is {value}", change, early=True, looks=1)
    return None


def constant(outputs: Images, where: str) -> Sign | None:
    """Translations of one flat color each: black, above all."""
    spread = outputs.flatten(1).std(1).max().item()
    if spread > 0.02:
        return None
    color = "black" if outputs.mean() < -0.95 else "white" if outputs.mean() > 0.95 else "one flat color"
    change = (
        "run 'transmute doctor' first, since a torch build without kernels for the GPU does this; "
        "then start anew with a lower --optimizer.lr, or with --precision float32"
    )
    return Sign("constant output", where, {"spread": spread}, f"every translation {where} is {color}", change, early=True)


def unchanged(inputs: Images, outputs: Images, where: str) -> Sign | None:
    """Translations that are their inputs."""
    if inputs.shape != outputs.shape:
        return None
    difference = 127.5 * (inputs - outputs).abs().mean().item()
    if difference > 2.5:
        return None
    change = "lower --method.identity (0 turns it off) and the cycle weights, or raise the weight of the game, --method.fool"
    return Sign("no change", where, {"levels": difference}, f"translations {where} are their inputs, but for {difference:.1f} of 255 levels", change)


def inverted(inputs: Images, outputs: Images, where: str) -> Sign | None:
    """Dark made light and light dark: the cycle loss is as content with negatives as with pictures."""
    if inputs.shape[2:] != outputs.shape[2:]:
        return None
    light = [images.mean(1).flatten(1) for images in (inputs, outputs)]
    one, two = (values - values.mean(1, keepdim=True) for values in light)
    correlation = F.cosine_similarity(one, two, dim=1).mean().item()
    if correlation > -0.3:
        return None
    return Sign(
        "inverted",
        where,
        {"correlation": correlation},
        f"translations {where} are dark where their inputs are light (correlation {correlation:.2f})",
        "start anew with another --seed and --method.identity 0.5 or more; it is decided in the first steps and does not mend itself",
        early=True,
    )


def collapsed(outputs: Images, reals: Images, where: str) -> Sign | None:
    """Translations that are all alike, though pictures of their domain are not."""
    if len(outputs) < 2 or len(reals) < 2:
        return None
    found, expected = _diversity(outputs), _diversity(reals)
    if expected < 0.05 or found > 0.15 * expected:
        return None
    return Sign(
        "collapse",
        where,
        {"diversity": found, "diversity_real": expected},
        f"translations {where} are nearly alike: they differ by {found / expected:.0%} of what real pictures differ by",
        "raise the cycle weights (or CUT's --method.nce), and start from a checkpoint before it; then a lower --optimizer.lr",
    )


def checkerboard(outputs: Images, reals: Images, where: str) -> Sign | None:
    """A grid of single pixels, as transposed convolutions leave it."""
    if min(*outputs.shape[2:], *reals.shape[2:]) < 16:
        return None
    found, expected = _fineness(outputs), _fineness(reals)
    if found < 0.8 or found < 2.5 * expected:
        return None
    return Sign(
        "checkerboard",
        where,
        {"fineness": found, "fineness_real": expected},
        f"translations {where} have a grid of single pixels, {found / max(expected, 1e-6):.0f} times as strong as any in real pictures",
        "start anew with --method.generator.upsampling nearest (or antialiased), whose layers cannot make one",
    )


def cycle_ignored(inputs: Images, backs: Images, where: str) -> Sign | None:
    """Pictures that come back from the other domain as others."""
    if len(inputs) < 2:
        return None
    error = (inputs - backs).abs().mean().item()
    of_another = torch.stack([(inputs - inputs.roll(by, 0)).abs().mean() for by in range(1, len(inputs))]).mean().item()
    if of_another < 0.05 or error < 0.75 * of_another:
        return None
    return Sign(
        "cycle ignored",
        where,
        {"error": error, "of_another": of_another},
        f"pictures that go {where} and back differ from themselves by {error / of_another:.0%} of what they differ from another picture by",
        "raise --method.cycle-a and --method.cycle-b",
    )


def out_of_balance(losses: Sequence[float], chance: float, where: str) -> Sign | None:
    """A discriminator that always wins, that tells nothing, or whose loss grows without end.

    Args:
        losses: Of the discriminator, the means of the latest reports.
        chance: What it would be if it could not tell real from translated at all.
        where: Which.
    """
    if len(losses) < 10:
        return None
    shares = sorted(loss / chance for loss in losses[-10:])
    share = shares[5]
    if share < 0.05:
        sentence = f"the discriminator {where} always wins: its loss is {share:.1%} of that of guessing, so the translator learns little from it"
        return Sign("discriminator ahead", where, {"share": share}, sentence, AHEAD, looks=1)
    if shares[0] > 10:
        sentence = f"the discriminator {where} runs away: its loss is {share:.3g} times that of guessing"
        return Sign("diverging", where, {"share": share}, sentence, "start anew with a lower --optimizer.lr, or with --optimizer.clip 1", looks=1)
    if shares[0] > 0.985:
        sentence = f"the discriminator {where} tells nothing: its loss has been no lower than that of guessing ({share:.1%}) for ten reports"
        change = "give it more layers or width (--method.discriminator), or a higher --optimizer.lr"
        return Sign("discriminator behind", where, {"share": share}, sentence, change, looks=1)
    return None


AHEAD = "lower its --method.discriminator.width or layers, add pictures, or take --method.adversarial hinge"


def starving(waited: float, seconds: float, *, ahead: bool = False) -> Sign | None:
    """Steps that wait for pictures.

    Args:
        ahead: The host gives work to a device and runs ahead of it: it then waits for pictures also while the device is busy, and only
            one that does nothing else holds it up.
        waited: Seconds of the latest steps in which the next batch was not there yet.
        seconds: What they took altogether.
    """
    share = waited / max(seconds, 1e-9)
    if share < (0.9 if ahead else 0.4) or seconds < 1:
        return None
    change = "keep pictures in memory with --data.cache, raise --data.workers, or make them smaller once with 'transmute data resize'"
    return Sign("starving", "", {"share": share}, f"{share:.0%} of the time goes into waiting for pictures", change, early=True)


def no_rate(rate: float, steps_left: int, steps: int) -> Sign | None:
    """A learning rate of zero with much left to do."""
    if rate > 1e-4 or steps_left < 0.05 * steps:
        return None
    sentence = f"the learning rate is {rate:.2g} of what it was, and {steps_left:,} steps are left that teach next to nothing"
    return Sign(
        "no learning rate", "", {"rate": rate, "steps_left": steps_left}, sentence, "stop here, or go on with --extend and another --schedule"
    )


def overfitting(seen: Tensor, held_out: Tensor, fake: Tensor, where: str) -> Sign | None:
    """A discriminator that knows its training pictures by heart: held-out ones look as false to it as translations.

    (E D(train) - E D(held-out)) / (E D(train) - E D(fake)), the r_v of Karras et al. (2020), "Training Generative Adversarial Networks
    with Limited Data", equation 1: 0 if it judges both alike, 1 if held-out pictures are as good as false.

    Args:
        seen, held_out, fake: Mean scores, one a picture.
        where: Which discriminator.
    """
    gap = (seen.mean() - fake.mean()).item()
    share = (seen.mean() - held_out.mean()).item() / gap if gap else 0.0
    spread = max(float(scores.std()) for scores in (seen, held_out)) if min(len(seen), len(held_out)) > 1 else math.inf
    surely = (seen.mean() - held_out.mean()).item() > 2 * spread / math.sqrt(min(len(seen), len(held_out)))
    if gap <= 0 or share < 0.6 or not surely:
        return None
    return Sign(
        "overfitting",
        where,
        {"share": share},
        f"the discriminator {where} knows its training pictures by heart: held-out ones look {share:.0%} as false to it as translations",
        "add pictures, let them vary more (--preprocess.load-size), or stop at the best evaluation (--patience)",
        looks=3,
    )


def _diversity(images: Images) -> float:
    """Mean absolute difference between pictures, less their fine detail."""
    small = F.adaptive_avg_pool2d(images, 16)
    return torch.stack([(small[i] - small[j]).abs().mean() for i in range(len(small)) for j in range(i)]).mean().item()


def _fineness(images: Images) -> float:
    """Energy of details with a period of two pixels over those with one of four: of rows and of columns, the larger."""
    light = images.mean(1, keepdim=True)
    found = []
    for kernel in (torch.tensor([1.0, -1, 1, -1]), torch.tensor([1.0, 1, -1, -1])):
        kernel = kernel.to(light)
        found.append([F.conv2d(light, kernel.view(shape)).square().mean().item() for shape in ((1, 1, 1, 4), (1, 1, 4, 1))])
    return max(fine / max(coarse, 1e-8) for fine, coarse in zip(*found, strict=True))
