"""Transmute's models as the files of other tools: the way back from the importer."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import torch

from transmute.interop.layouts import NetworkConfig, State, blurs, heads_key, sequential_key, unet_key
from transmute.networks.config import HeadsConfig, PatchGANConfig, PixelGANConfig, ResNetConfig, UNetConfig
from transmute.settings import UserError, width_and_height
from transmute.translation.model import ModelCard, Saved, read_networks

_CYCLEGAN = {"a_to_b": "G_A", "b_to_a": "G_B", "score_a": "D_B", "score_b": "D_A"}  # their D_A judges b


def export(path: Path, out: Path, *, tag: str = "latest", plain: bool = False, overwrite: bool = False) -> list[Path]:
    """Writes models as pytorch-CycleGAN-and-pix2pix (or CUT, where they are antialiased) has them, or as copies of Transmute's own files.

    Args:
        path: A run, a folder of model files, or one of them.
        out: Folder for `<tag>_net_<NAME>.pth` and train_opt.txt; or for safetensors files.
        tag: latest, or an epoch.
        plain: Copies of Transmute's files.
        overwrite: Replace files that are there.

    Returns:
        What was written.

    Raises:
        UserError: If those tools have no name for what a network is, or files are there; nothing is written then.
    """
    if not re.fullmatch(r"latest|\d+|iter_\d+", tag):
        raise UserError(f"a tag is latest, an epoch (20), or iter_5000, but this is {tag!r}")
    networks = read_networks(path)
    targets = {role: out / (f"{role}.safetensors" if plain else f"{tag}_net_{_name(role, networks)}.pth") for role in networks}
    there = [target for target in targets.values() if target.exists()]
    if any(target.is_dir() or target.resolve() == networks[role].path.resolve() for role, target in targets.items()):
        raise UserError(f"{out} is where the models are, or has a folder in place of a file: name another --out")
    if there and not overwrite:
        raise UserError(f"{there[0]} exists: name another folder with --out, or add --overwrite")
    states = {} if plain else {role: exported(saved, role) for role, saved in networks.items()}
    out.mkdir(parents=True, exist_ok=True)
    if plain:
        return [Path(shutil.copyfile(networks[role].path, target)) for role, target in targets.items()]
    written = []
    for role, state in states.items():
        target = targets[role]
        aside = target.with_name(f".{target.name}.part")
        torch.save(state, aside)
        aside.replace(target)
        written.append(target)
    cards = [saved.card for saved in networks.values() if isinstance(saved.card, ModelCard)]
    if cards and (overwrite or not (out / "train_opt.txt").exists()):
        (out / "train_opt.txt").write_text(_options(cards[0], out.resolve().name), encoding="utf-8")
        written.append(out / "train_opt.txt")
    return written


def exported(saved: Saved, role: str) -> State:
    """A network's weights by the names that those tools give them.

    Raises:
        UserError: If they have no such network.
    """
    config = saved.card.generator if isinstance(saved.card, ModelCard) else saved.card.network
    refused = _unknown_there(config)
    if refused:
        raise UserError(f"{role} cannot be exported: pytorch-CycleGAN-and-pix2pix has no {refused}; take --format safetensors")
    key = (
        unet_key(config.depth)
        if isinstance(config, UNetConfig)
        else heads_key
        if isinstance(config, HeadsConfig)
        else sequential_key(root="net" if isinstance(config, PixelGANConfig) else "model")
    )
    return {key(name): value for name, value in (saved.state | blurs(saved.build())).items()}


def _unknown_there(config: NetworkConfig) -> str | None:
    """The first thing about a network for which those tools have no option."""
    match config:
        case ResNetConfig():
            wrong = {
                f"{config.levels} levels (it has 2)": config.levels != 2,
                f"{config.blocks} residual blocks (it has 6 and 9)": config.blocks not in (6, 9),
                f"padding by {config.padding} (it reflects)": config.padding != "reflect",
                "nearest upsampling": config.upsampling == "nearest",
                "residual generator": config.residual,
            }
        case UNetConfig():
            wrong = {f"U-Net of depth {config.depth} (it has 7 and 8)": config.depth not in (7, 8)}
        case PatchGANConfig() | PixelGANConfig() | HeadsConfig():
            wrong = {}
        case _:
            return f"network of the kind {config.name}"
    return next((what for what, is_so in wrong.items() if is_so), None)


def _name(role: str, networks: dict[str, Saved]) -> str:
    """What those tools call a network: with two of a kind it is a CycleGAN's."""
    if {"a_to_b", "b_to_a"} <= set(networks) or {"score_a", "score_b"} <= set(networks):
        return _CYCLEGAN[role]
    return "F" if role == "heads" else "D" if role.startswith("score") else "G"


def _options(card: ModelCard, name: str) -> str:
    """train_opt.txt, as far as a model file says."""
    config = card.generator
    net = f"resnet_{config.blocks}blocks" if isinstance(config, ResNetConfig) else f"unet_{2 ** getattr(config, 'depth', 8)}"
    one_way_back = card.direction == "b_to_a" and card.method != "cyclegan"
    a, b = (card.source, card.target) if card.direction == "a_to_b" else (card.target, card.source)
    options = {
        "batch_size": 1 if card.own_statistics else 2,
        "crop_size": width_and_height(card.size)[0],
        "dataroot": f"./datasets/{a}2{b}",  # which is what tells the names of the domains
        "direction": "BtoA" if one_way_back else "AtoB",
        "input_nc": card.in_channels,
        "model": {"cyclegan": "cycle_gan"}.get(card.method, card.method),
        "name": name,
        "netG": net,
        "ngf": config.width,
        "no_dropout": not config.dropout,
        "norm": getattr(config, "norm", "instance"),
        "output_nc": card.out_channels,
        "preprocess": card.preprocess.mode.replace("-", "_"),
    }
    lines = "".join(f"{key:>25}: {value!s:<30}\n" for key, value in options.items())
    return f"----------------- Options ---------------\n{lines}----------------- End -------------------\n"
