from __future__ import annotations

import pytest
import torch

from tests.conftest import TINY_CYCLEGAN, TINY_CYCLEGAN_METHOD, TINY_PIX2PIX, TINY_PIX2PIX_METHOD
from transmute.batch import Batch
from transmute.config.methods import MethodConfig
from transmute.config.training import AdamConfig
from transmute.errors import UserError
from transmute.methods.base import Method
from transmute.training.trainer import Speed, Trainer

HISTORYLESS = TINY_CYCLEGAN_METHOD.replace(history=0)


def built(config: MethodConfig = HISTORYLESS, seed: int = 0) -> Method:
    torch.manual_seed(seed)
    return config.build(3, 3, (16, 16)).double()  # pyright: ignore


def batches(count: int, size: int = 4) -> list[Batch]:
    random = torch.Generator().manual_seed(1)
    return [
        Batch(
            *(
                torch.rand(size, 3, 16, 16, generator=random, dtype=torch.float64) * 2 - 1
                for _ in "ab"
            )
        )
        for _ in range(count)
    ]


def largest_difference(one: Trainer, other: Trainer) -> float:
    return max(
        (one.state_dict()[key] - value).abs().max().item()
        for key, value in other.state_dict().items()
        if value.numel()
    )


@pytest.mark.parametrize(
    "config",
    [HISTORYLESS, TINY_PIX2PIX_METHOD.replace(discriminator=HISTORYLESS.discriminator)],
    ids=["cyclegan", "pix2pix"],
)
def test_accumulated_gradients_equal_those_of_the_whole_batch(config: MethodConfig) -> None:
    if config.name == "pix2pix":
        config = config.updated({"generator": {"norm": "instance", "dropout": False}})
    whole, split = Trainer(built(config), AdamConfig()), Trainer(built(config), AdamConfig())
    for batch in batches(3):
        losses, of_parts = whole.step([batch]), split.step(batch.parts(4))
        assert {name: loss.item() for name, loss in of_parts.items()} == pytest.approx(
            {name: loss.item() for name, loss in losses.items()}, rel=1e-9
        )
    # float64, summed in another order.
    assert largest_difference(whole, split) < 1e-9


def test_an_update_moves_only_its_player_and_leaves_no_gradients() -> None:
    trainer = Trainer(built(), AdamConfig())
    everyone = {player.name: player.parameters for player in trainer.method.players}
    moved = []

    def look(*_: object) -> None:
        names = [
            name
            for name, parameters in everyone.items()
            if any(parameter.grad is not None for parameter in parameters)
        ]
        moved.append(names)

    for optimizer in trainer.optimizers.values():
        optimizer.register_step_pre_hook(look)
    before = {name: value.clone() for name, value in trainer.method.state_dict().items()}
    trainer.step(batches(1))
    assert moved == [["generators"], ["discriminators"]]
    assert all(
        not torch.equal(before[name], value)
        for name, value in trainer.method.state_dict().items()
        if name.endswith("weight")
    )


def test_accumulation_keeps_the_graph_of_one_micro_batch_at_a_time() -> None:
    def largest_graph(count: int) -> int:
        """Bytes that backward passes kept at once, at most, in a step of so many parts."""
        trainer, batch = Trainer(built(), AdamConfig()), batches(1, size=8)[0]
        held, largest = 0, 0

        class Kept:
            def __init__(self, tensor: torch.Tensor) -> None:
                nonlocal held, largest
                self.tensor = tensor
                held += tensor.nbytes
                largest = max(largest, held)

            def __del__(self) -> None:
                nonlocal held
                held -= self.tensor.nbytes

        with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
            trainer.step(batch.parts(count))
        return largest

    # Weights are kept too, so a quarter of the images takes slightly more than a quarter of the
    # bytes.
    assert largest_graph(4) < 0.35 * largest_graph(1)


def test_the_factor_scales_the_learning_rate() -> None:
    still, moving = Trainer(built(), AdamConfig()), Trainer(built(), AdamConfig(lr=1e-4))
    reference = Trainer(built(), AdamConfig(lr=2e-4))
    batch = batches(1)
    still.step(batch, lr_factor=0.0)
    moving.step(batch)
    reference.step(batch, lr_factor=0.5)
    initial = built().state_dict()
    assert all(torch.equal(value, initial[key]) for key, value in still.method.state_dict().items())
    assert largest_difference(moving, reference) == 0.0


def test_averages_follow_the_generators() -> None:
    trainer = Trainer(built(), AdamConfig(ema=0.75))
    expected = {
        key: value.clone()
        for key, value in trainer.method.generators["a_to_b"].state_dict().items()
    }
    for batch in batches(3):
        trainer.step([batch])
        current = trainer.method.generators["a_to_b"].state_dict()
        expected = {key: 0.75 * value + 0.25 * current[key] for key, value in expected.items()}
    averaged = trainer.generators["a_to_b"].state_dict()
    # float64: lerp computes the same sum in another order.
    assert all((averaged[key] - value).abs().max() < 1e-12 for key, value in expected.items())
    assert not torch.equal(
        averaged["layers.1.weight"],
        trainer.method.generators["a_to_b"].state_dict()["layers.1.weight"],
    )


def test_without_averaging_the_generators_are_used() -> None:
    trainer = Trainer(built(), AdamConfig())
    assert trainer.generators == trainer.method.generators


def test_clipping_bounds_the_gradient_that_adam_sees() -> None:
    trainer = Trainer(built(), AdamConfig(clip=1e-3))
    trainer.step(batches(1))
    for name, optimizer in trainer.optimizers.items():
        # After one step the first moment is (1 - beta1) times the gradient.
        moments = torch.cat([state["exp_avg"].flatten() for state in optimizer.state.values()])
        assert moments.norm().item() / 0.5 == pytest.approx(1e-3, rel=1e-3), name


@pytest.mark.parametrize("recipe", [TINY_CYCLEGAN, TINY_PIX2PIX], ids=["cyclegan", "pix2pix"])
def test_a_restored_trainer_continues_identically(recipe) -> None:
    one, other = (Trainer(built(recipe.method, seed), AdamConfig(ema=0.9)) for seed in (0, 1))
    shown = batches(6)
    for step, batch in enumerate(shown):
        if step == 3:
            other.load_state_dict({key: value.clone() for key, value in one.state_dict().items()})
        torch.manual_seed(step)
        one.step([batch])
        if step >= 3:
            torch.manual_seed(step)
            other.step([batch])
    assert one.state_dict().keys() == other.state_dict().keys()
    assert all(
        torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items()
    )


def test_a_weight_that_is_not_finite_is_named() -> None:
    trainer = Trainer(built(), AdamConfig())
    trainer.require_finite(1)
    with torch.no_grad():
        trainer.method.get_parameter("score_b.layers.0.bias")[1] = torch.nan
    with pytest.raises(UserError, match=r"weight score_b\.layers\.0\.bias is not finite at step 2"):
        trainer.require_finite(2)


def test_bfloat16_losses_are_float32_and_near_those_of_float32() -> None:
    torch.manual_seed(0)
    exact, rounded = (
        Trainer(HISTORYLESS.build(3, 3, (16, 16)), AdamConfig(), speed=Speed(precision))
        for precision in ("float32", "bfloat16")
    )
    rounded.method.load_state_dict(exact.method.state_dict())
    batch = [one.to(torch.device("cpu"), torch.float32) for one in batches(1)]
    losses, near = exact.step(batch), rounded.step(batch)
    assert all(loss.dtype == torch.float32 for loss in near.values())
    # bfloat16 keeps 8 bits: each layer rounds by up to 0.4 %, and there are about ten.
    assert {name: loss.item() for name, loss in near.items()} == pytest.approx(
        {name: loss.item() for name, loss in losses.items()}, rel=0.05
    )
