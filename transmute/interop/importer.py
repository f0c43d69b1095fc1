"""Other tools' checkpoints become model files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Literal, get_args

import transmute
from transmute.data.config import PreprocessConfig
from transmute.interop.checkpoint import Checkpoint, Network, read_checkpoint
from transmute.networks.config import PyTorchGANUNetConfig, ResNetConfig, UNetConfig
from transmute.settings import UserError
from transmute.translation.model import ModelCard, PartCard
from transmute.weights import save_tensors


def import_file(
    path: Path,
    out: Path | None = None,
    *,
    source: str | None = None,
    target: str | None = None,
    epoch: str | None = None,
    order: Literal["rgb", "bgr"] | None = None,
    own_statistics: bool | None = None,
    swap: bool | None = None,
) -> list[str]:
    """Writes the networks of another tool's checkpoint as Transmute's files: all of them, or none.

    Args:
        path: A file, or the folder of a run.
        out: A file for one network (.safetensors is added), a folder for several; None is named after the path, in the working directory.
        source, target, epoch, order, swap: See `read_checkpoint`.
        own_statistics: Translate with each picture's own batch statistics, as those tools' test scripts do, or with the file's running
            ones; None does the former where train_opt.txt says that training had one picture a step.

    Returns:
        Sentences that say what was recognized and written.

    Raises:
        UserError: If the checkpoint is damaged, unknown or incomplete, or `out` exists; nothing is written then.
    """
    checkpoint = read_checkpoint(path, source=source, target=target, epoch=epoch, order=order, swap=swap)
    several = len(checkpoint.networks) > 1
    out = out or Path(path.resolve().stem if path.is_file() else path.resolve().name)
    if out.name in ("", ".."):
        raise UserError(f"--out {out} names no file or folder of its own: add a name")
    if not several and out.suffix != ".safetensors":
        out = out.with_name(f"{out.name}.safetensors")
    if out.exists():
        raise UserError(f"{out} exists: name another place with --out, or remove it")
    if several and out.suffix == ".safetensors":
        raise UserError(f"{path} holds {len(checkpoint.networks)} networks ({', '.join(checkpoint.networks)}): name a folder with --out, not {out}")
    cards = {role: _card(checkpoint, network, own_statistics) for role, network in checkpoint.networks.items()}
    aside = out.with_name(f".{out.name}.importing") if several else out.parent
    if several:
        shutil.rmtree(aside, ignore_errors=True)
    for role, network in checkpoint.networks.items():
        save_tensors(aside / f"{role}.safetensors" if several else out, network.state, cards[role].model_dump(mode="json"))
    if several:
        aside.replace(out)
    said = []
    for role, network in checkpoint.networks.items():
        card, named = cards[role], dict(zip("ab", checkpoint.domains, strict=True))
        what = f"{card.source} to {card.target}" if isinstance(card, ModelCard) else f"judges {named[role[-1]]}" if role != "heads" else "heads"
        said.append(f"{network.recognized.tool}, {what}: {network.recognized} -> {out / f'{role}.safetensors' if several else out}")
        if isinstance(card, ModelCard) and not card.own_statistics and getattr(card.generator, "norm", "") == "batch":
            said.append("its batch norm uses the file's running statistics; --own-statistics True uses each picture's own, as that tool's test does")
    return said


def _card(checkpoint: Checkpoint, network: Network, own_statistics: bool | None) -> ModelCard | PartCard:
    recognized, options = network.recognized, checkpoint.options
    config = recognized.config
    if not isinstance(config, (ResNetConfig, UNetConfig, PyTorchGANUNetConfig)):
        part: Any = network.role
        return PartCard(transmute=transmute.__version__, part=part, network=config, in_channels=recognized.in_channels)
    if isinstance(config, UNetConfig) and options.get("no_dropout") == "True":
        config = config.replace(dropout=False)
    ends = dict(zip("ab", checkpoint.domains, strict=True))
    a, b = network.role.split("_to_")
    channels = {a: recognized.in_channels, b: recognized.out_channels}
    lab = checkpoint.method == "colorization"
    known: dict[str, Any] = {f"channels_{end}": count for end, count in channels.items() if count in (1, 3) and not lab}
    mode = options.get("preprocess", "").replace("_", "-")
    if mode in get_args(PreprocessConfig.model_fields["mode"].annotation):
        known["mode"] = mode
    return ModelCard(
        transmute=transmute.__version__,
        method=checkpoint.method,
        direction=network.role,
        source=ends[a],
        target=ends[b],
        generator=config,
        in_channels=recognized.in_channels,
        out_channels=recognized.out_channels,
        size=size if (size := options.get("crop_size", "")).isdecimal() and int(size) else "256",
        colors="lab" if lab else "rgb",
        preprocess=PreprocessConfig(**known),
        own_statistics=options.get("batch_size") == "1" if own_statistics is None else own_statistics,
    )
