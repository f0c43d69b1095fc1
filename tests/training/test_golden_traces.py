"""Our training steps are those of the original: losses and weights of several float64 steps agree."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from transmute.batch import Batch
from transmute.interop.conversion import converted
from transmute.interop.layouts import Recognized, recognize_network
from transmute.losses.config import LeastSquaresConfig, VanillaConfig
from transmute.methods.base import Method
from transmute.methods.config import CycleGANConfig, Pix2PixConfig
from transmute.networks.config import PatchGANConfig, ResNetConfig, UNetConfig
from transmute.training.config import AdamConfig
from transmute.training.trainer import Trainer

# That tool's D_A judges b, and its idt_A is made of b.
CYCLEGAN_LOSSES = {
    "D_A": "discriminate_b",
    "D_B": "discriminate_a",
    "G_A": "fool_b",
    "G_B": "fool_a",
    "cycle_A": "cycle_a",
    "cycle_B": "cycle_b",
    "idt_A": "identity_b",
    "idt_B": "identity_a",
}
PIX2PIX_LOSSES = {"G_GAN": "fool", "G_L1": "l1", "D_real": "discriminate_real", "D_fake": "discriminate_fake"}


def below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def recognized(state: dict[str, Tensor]) -> Recognized:
    found = recognize_network(state)
    assert found is not None
    return found


def cyclegan(options: dict) -> tuple[Method, dict[str, nn.Module]]:
    config = CycleGANConfig(
        generator=ResNetConfig(width=2, blocks=6),
        discriminator=PatchGANConfig(width=2),
        adversarial=LeastSquaresConfig() if options["gan_mode"] == "lsgan" else VanillaConfig(),
        identity=options["lambda_identity"],
        history=0,
    )
    method = config.build(3, 3, (32, 32)).double()
    return method, {"G_A": method.a_to_b, "G_B": method.b_to_a, "D_A": method.score_b, "D_B": method.score_a}


def pix2pix(options: dict) -> tuple[Method, dict[str, nn.Module]]:
    generator = UNetConfig(width=2, depth=7, dropout=options["dropout"])
    method = Pix2PixConfig(generator=generator, discriminator=PatchGANConfig(width=2, norm="batch")).build(3, 3, (128, 128)).double()
    return method, {"G": method.translate, "D": method.score}


TRACES = ["cyclegan_lsgan", "cyclegan_vanilla_noidentity", "pix2pix_vanilla"]


def require_the_originals_steps(golden: Path, name: str, step_of: Callable[[Method], Callable[[Batch], dict[str, Tensor]]]) -> None:
    """Runs the steps of a trace on its pictures, and compares losses and final weights."""
    facts = next(row for row in json.loads((golden / "index.json").read_text()) if row["file"] == f"traces/{name}.safetensors")
    trace = load_file(golden / "traces" / f"{name}.safetensors")
    method, networks = (cyclegan if name.startswith("cyclegan") else pix2pix)(facts["options"])
    names = CYCLEGAN_LOSSES if name.startswith("cyclegan") else PIX2PIX_LOSSES
    for network_name, network in networks.items():
        initial = below(f"initial.{network_name}.", trace)
        network.load_state_dict(converted(initial, recognized(initial), Path("trace")))
    run = step_of(method)
    for step in range(facts["steps"]):
        losses = run(Batch(trace[f"batch.{step}.A"].double(), trace[f"batch.{step}.B"].double()))
        for theirs, expected in zip(facts["loss_names"], trace["losses"][step].tolist(), strict=True):
            loss = losses.get(names[theirs], torch.zeros(())).item()
            # They log the two halves of pix2pix's discriminator loss before they halve them.
            shown = 2 * loss if theirs in ("D_real", "D_fake") else loss
            assert shown == pytest.approx(expected, rel=1e-9), (step, theirs)
    for network_name, network in networks.items():
        final = below(f"final.{network_name}.", trace)
        key = recognized(below(f"initial.{network_name}.", trace)).key
        compared = [(value - final[key(name)]).abs().max() <= 1e-8 for name, value in network.state_dict().items() if key(name) in final]
        assert len(compared) == len(final)
        assert all(compared), network_name


@pytest.mark.parametrize("name", TRACES)
def test_training_steps_are_those_of_the_original(golden: Path, name: str) -> None:
    def step_of(method: Method) -> Callable[[Batch], dict[str, Tensor]]:
        trainer = Trainer(method, AdamConfig())
        return lambda batch: trainer.step([batch])

    require_the_originals_steps(golden, name, step_of)
