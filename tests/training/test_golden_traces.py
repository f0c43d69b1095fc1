"""Training steps equal those of pytorch-CycleGAN-and-pix2pix, in losses and float64 weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from transmute.batch import Batch
from transmute.config.losses import LeastSquaresConfig, VanillaConfig
from transmute.config.methods import CycleGANConfig, Pix2PixConfig
from transmute.config.networks import PatchGANConfig, ResNetConfig, UNetConfig
from transmute.config.training import AdamConfig
from transmute.interop.layouts import convert
from transmute.interop.recognition import recognize_network
from transmute.methods.base import Method
from transmute.methods.cyclegan import CycleGAN
from transmute.methods.pix2pix import Pix2Pix
from transmute.training.trainer import Trainer

PATH = Path("trace")
# In pytorch-CycleGAN-and-pix2pix, D_A scores b, and idt_A is computed from b.
CYCLEGAN_LOSSES = {
    "D_A": "discriminator_b",
    "D_B": "discriminator_a",
    "G_A": "gan_b",
    "G_B": "gan_a",
    "cycle_A": "cycle_a",
    "cycle_B": "cycle_b",
    "idt_A": "identity_b",
    "idt_B": "identity_a",
}
PIX2PIX_LOSSES = {
    "G_GAN": "gan",
    "G_L1": "l1",
    "D_real": "discriminator_real",
    "D_fake": "discriminator_fake",
}


def below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)
    }


def cyclegan(options: dict) -> tuple[Method, dict[str, nn.Module]]:
    config = CycleGANConfig(
        generator=ResNetConfig(width=2, blocks=6),
        discriminator=PatchGANConfig(width=2),
        adversarial=LeastSquaresConfig() if options["gan_mode"] == "lsgan" else VanillaConfig(),
        identity=options["lambda_identity"],
        history=0,
    )
    method = config.build(3, 3, (32, 32)).double()
    assert isinstance(method, CycleGAN)
    return method, {
        "G_A": method.a_to_b,
        "G_B": method.b_to_a,
        "D_A": method.score_b,
        "D_B": method.score_a,
    }


def pix2pix(options: dict) -> tuple[Method, dict[str, nn.Module]]:
    generator = UNetConfig(width=2, depth=7, dropout=options["dropout"])
    method = (
        Pix2PixConfig(generator=generator, discriminator=PatchGANConfig(width=2, norm="batch"))
        .build(3, 3, (128, 128))
        .double()
    )
    assert isinstance(method, Pix2Pix)
    return method, {"G": method.translate, "D": method.score}


TRACES = ["cyclegan_lsgan", "cyclegan_vanilla_noidentity", "pix2pix_vanilla"]


def require_reference_steps(
    golden: Path, name: str, step_of: Callable[[Method], Callable[[Batch], dict[str, Tensor]]]
) -> None:
    """Runs the steps of a trace on its images, and compares losses and final weights."""
    facts = next(
        row
        for row in json.loads((golden / "index.json").read_text(encoding="utf-8"))
        if row["file"] == f"traces/{name}.safetensors"
    )
    trace = load_file(golden / "traces" / f"{name}.safetensors")
    method, networks = (cyclegan if name.startswith("cyclegan") else pix2pix)(facts["options"])
    names = CYCLEGAN_LOSSES if name.startswith("cyclegan") else PIX2PIX_LOSSES
    for network_name, network in networks.items():
        initial = below(f"initial.{network_name}.", trace)
        network.load_state_dict(convert(initial, recognize_network(initial, PATH), PATH))
    run = step_of(method)
    for step in range(facts["steps"]):
        losses = run(Batch(trace[f"batch.{step}.A"].double(), trace[f"batch.{step}.B"].double()))
        for theirs, expected in zip(
            facts["loss_names"], trace["losses"][step].tolist(), strict=True
        ):
            loss = losses.get(names[theirs], torch.zeros(())).item()
            # It logs pix2pix's two discriminator losses before halving them.
            shown = 2 * loss if theirs in ("D_real", "D_fake") else loss
            assert shown == pytest.approx(expected, rel=1e-9), (step, theirs)
    for network_name, network in networks.items():
        final = below(f"final.{network_name}.", trace)
        names_there = recognize_network(below(f"initial.{network_name}.", trace), PATH).names
        compared = [
            (value - final[names_there[name]]).abs().max() <= 1e-8
            for name, value in network.state_dict().items()
            if names_there[name] in final
        ]
        assert len(compared) == len(final)
        assert all(compared), network_name


@pytest.mark.parametrize("name", TRACES)
def test_training_steps_equal_those_of_the_reference_implementation(
    golden: Path, name: str
) -> None:
    def step_of(method: Method) -> Callable[[Batch], dict[str, Tensor]]:
        trainer = Trainer(method, AdamConfig())
        return lambda batch: trainer.step([batch])

    require_reference_steps(golden, name, step_of)
