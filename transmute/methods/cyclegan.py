"""CycleGAN: Zhu, Park, Isola and Efros (2017), "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks"."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from torch import Tensor, nn

from transmute.batch import Batch
from transmute.losses.reconstruction import l1_loss
from transmute.methods.base import Method, Player, Update
from transmute.methods.config import CycleGANConfig
from transmute.methods.history import History
from transmute.tensors import Images


class CycleGAN(Method):
    """Two translators and two judges.

    In the paper's letters `a_to_b` is G: X -> Y, `b_to_a` is F: Y -> X, `score_b` is D_Y and `score_a` is D_X. The original
    code calls them G_A, G_B, D_A and D_B in that order (its D_A judges b), and its idt_A, made of b, is `identity_b` here.
    """

    def __init__(self, config: CycleGANConfig, channels_a: int, channels_b: int, size: tuple[int, int]) -> None:
        super().__init__()
        width, height = size
        self.config = config
        self.game = config.adversarial.build()
        self.a_to_b = config.generator.build(channels_a, channels_b)
        self.b_to_a = config.generator.build(channels_b, channels_a)
        self.score_a = config.discriminator.build(channels_a)
        self.score_b = config.discriminator.build(channels_b)
        self.past_a = History(config.history, channels=channels_a, height=height, width=width)
        self.past_b = History(config.history, channels=channels_b, height=height, width=width)
        self.generators = Player("generators", (self.a_to_b, self.b_to_a))
        self.discriminators = Player("discriminators", (self.score_a, self.score_b))

    @property
    def players(self) -> tuple[Player, ...]:
        both = self.generators, self.discriminators
        return both if self.config.first == "generators" else both[::-1]

    @property
    def networks(self) -> dict[str, nn.Module]:
        return {"a_to_b": self.a_to_b, "b_to_a": self.b_to_a, "score_a": self.score_a, "score_b": self.score_b}

    def step(self, batch: Batch) -> Iterator[Update]:
        """Equation 3 of the paper with the identity loss of section 5.2; the generators move first, as in the original, or second."""
        a_to_b, b_to_a, score_a, score_b = self.a_to_b, self.b_to_a, self.score_a, self.score_b
        game, weight = self.game, self.config
        fake_b, same_b = self._fake_and_same(a_to_b, batch.a, batch.b)
        fake_a, same_a = self._fake_and_same(b_to_a, batch.b, batch.a)
        if weight.first == "discriminators":
            yield self._judges(batch, fake_a, fake_b)
        yield self.generators.minimize(
            fool_b=weight.fool * game.generator(score_b(fake_b)),
            fool_a=weight.fool * game.generator(score_a(fake_a)),
            cycle_a=weight.cycle_a * l1_loss(b_to_a(fake_b), batch.a),
            cycle_b=weight.cycle_b * l1_loss(a_to_b(fake_a), batch.b),
            identity_a=weight.identity * weight.cycle_a * l1_loss(same_a, batch.a) if same_a is not None else None,
            identity_b=weight.identity * weight.cycle_b * l1_loss(same_b, batch.b) if same_b is not None else None,
        )
        if weight.first == "generators":
            yield self._judges(batch, fake_a, fake_b)

    def _fake_and_same(self, translate: nn.Module, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        """A translation, and what the translator makes of its target domain where the identity loss asks for it."""
        if self.config.identity == 0:
            return translate(source), None
        fake, same = self.passes(translate, source, target)
        return fake, same

    def _judges(self, batch: Batch, fake_a: Tensor, fake_b: Tensor) -> Update:
        score_a, score_b, game = self.score_a, self.score_b, self.game
        past_b, past_a = self.past_b.swap(fake_b), self.past_a.swap(fake_a)
        return self.discriminators.minimize(
            discriminate_a=game.discriminator(*self.passes(score_a, batch.a, past_a)),
            discriminate_b=game.discriminator(*self.passes(score_b, batch.b, past_b)),
            penalty_a=game.penalty(score_a, batch.a, past_a),
            penalty_b=game.penalty(score_b, batch.b, past_b),
        )

    def judged(self, shown: Mapping[str, Images]) -> dict[str, tuple[Images, Images]]:
        """Pictures of its domain."""
        return {"score_a": (shown["real a"], shown["b to a"]), "score_b": (shown["real b"], shown["a to b"])}

    def samples(self, translators: Mapping[str, Callable[[Images], Images]], batch: Batch) -> dict[str, Images]:
        """Each domain: real, translated, translated back, and what the other translator makes of it (it should change nothing)."""
        a_to_b, b_to_a = translators["a_to_b"], translators["b_to_a"]
        fake_b, fake_a = a_to_b(batch.a), b_to_a(batch.b)
        pictures = {"real a": batch.a, "a to b": fake_b, "back to a": b_to_a(fake_b)}
        if batch.a.shape[1] == batch.b.shape[1]:
            pictures["identity a"] = b_to_a(batch.a)
        pictures |= {"real b": batch.b, "b to a": fake_a, "back to b": a_to_b(fake_a)}
        if batch.a.shape[1] == batch.b.shape[1]:
            pictures["identity b"] = a_to_b(batch.b)
        return pictures
