"""Export of models as files of pytorch-CycleGAN-and-pix2pix and CUT."""

import io
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from transmute.config.base import width_and_height
from transmute.config.networks import (
    DiscriminatorConfig,
    HeadsConfig,
    NetworkConfig,
    PatchGANConfig,
    PixelGANConfig,
    ResNetConfig,
    UNetConfig,
)
from transmute.errors import UserError
from transmute.files import replacing, write_text
from transmute.interop.checkpoint import CYCLEGAN_ROLES, read_checkpoint
from transmute.interop.layouts import JUNYANZ, Layout, State, blur_kernels
from transmute.translation.model import ModelCard, Saved, read_networks


def export(
    model: str | Path,
    out: str | Path,
    *,
    format: Literal["junyanz", "safetensors"] = "junyanz",
    tag: str = "latest",
    overwrite: bool = False,
) -> list[Path]:
    """Writes models as files of another tool, like `transmute export`.

    Args:
        model: Run folder, folder of model files, or model file.
        out: Output folder, which may exist.
        format: `junyanz` for pytorch-CycleGAN-and-pix2pix (`<tag>_net_<NAME>.pth` and
            train_opt.txt), which CUT also reads if the networks are antialiased, or `safetensors`
            for copies of the model files.
        tag: Prefix of the file names of `junyanz`: latest, or an epoch.
        overwrite: Replace existing files.

    Returns:
        The written files.

    Raises:
        UserError: If the other tool does not support a network, or if files exist. In this case,
            nothing is written.

    >>> [file.name for file in transmute.export("runs/h2z", "checkpoints/h2z")][:2]
    ['latest_net_G_A.pth', 'latest_net_G_B.pth']
    """
    out, plain = Path(out), format == "safetensors"
    if not re.fullmatch(r"latest|\d+|iter_\d+", tag):
        raise UserError(
            f"`tag` should be latest, an epoch (for example 20) or iter_5000, but is {tag!r}"
        )
    networks = read_networks(Path(model))
    files = {
        role: out / (f"{role}.safetensors" if plain else f"{tag}_net_{_name(role, networks)}.pth")
        for role in networks
    }
    for role, file in files.items():
        if file.is_dir() or file.resolve() == networks[role].path.resolve():
            raise UserError(f"{file} is a folder, or the model itself. Set `out` to another folder")
        if file.exists() and not overwrite:
            raise UserError(f"{file} exists. Set `out` to another folder, or set `overwrite`")
    states = {} if plain else {role: exported(saved, role) for role, saved in networks.items()}
    for role, file in files.items():
        with replacing(file) as temporary:
            if plain:
                shutil.copyfile(networks[role].path, temporary)
            else:
                buffer = io.BytesIO()  # torch reports a full disk as an error of its own
                torch.save(states[role], buffer)
                temporary.write_bytes(buffer.getvalue())
    cards = [saved.card for saved in networks.values() if isinstance(saved.card, ModelCard)]
    options_file = out / "train_opt.txt"
    if plain or not cards or (options_file.exists() and not overwrite):
        return list(files.values())
    write_text(options_file, _options(cards[0], out.resolve().name))
    return [*files.values(), options_file]


def copy_generator(file: Path, folder: Path) -> str:
    """Copies a generator's file to the folder of a run, unchanged, under the name for test.py.

    Args:
        file: A file of pytorch-CycleGAN-and-pix2pix with a generator.
        folder: The folder, which may exist.

    Returns:
        A sentence that describes what was recognized and written.

    Raises:
        UserError: If the file is damaged, or contains something else. Nothing is written then.
    """
    layout, _ = next(iter(read_checkpoint(file).networks.values()))
    if layout.tool != JUNYANZ or not layout.out_channels:
        raise UserError(
            f"{file} contains a {layout} of {layout.tool}, not a generator of {JUNYANZ}. Set "
            "`format=safetensors` to import it"
        )
    with replacing(folder / "latest_net_G.pth") as temporary:
        shutil.copyfile(file, temporary)
    return f"{layout.tool}: {layout} -> {folder / 'latest_net_G.pth'}"


def exported(saved: Saved, role: str) -> State:
    """A network's weights, keyed by those tools' names.

    Raises:
        UserError: If they have no such network.
    """
    card = saved.card
    config = card.generator if isinstance(card, ModelCard) else card.network
    problem = _unsupported(config)
    if problem or not isinstance(
        config, (ResNetConfig, UNetConfig, DiscriminatorConfig, HeadsConfig)
    ):
        raise UserError(
            f"{role} cannot be exported: {JUNYANZ} has no {problem}. Set `format=safetensors`"
        )
    out_channels = card.out_channels if isinstance(card, ModelCard) else 0
    layout = Layout(JUNYANZ, config, card.in_channels, out_channels)
    weights = saved.state | blur_kernels(layout.build())
    return {layout.names[name]: value for name, value in weights.items()}


def _unsupported(config: NetworkConfig) -> str | None:
    """The first property of a network for which those tools have no option."""
    match config:
        case ResNetConfig():
            properties = {
                f"{config.levels} levels (it has 2)": config.levels != 2,
                f"{config.blocks} residual blocks (it has 6 and 9)": config.blocks not in (6, 9),
                f"padding by {config.padding} (it reflects)": config.padding != "reflect",
                "nearest upsampling": config.upsampling == "nearest",
                "residual generator": config.residual,
            }
        case UNetConfig():
            properties = {
                f"U-Net of depth {config.depth} (it has 7 and 8)": config.depth not in (7, 8)
            }
        case PatchGANConfig() | PixelGANConfig() | HeadsConfig():
            properties = {}
        case _:
            properties = {f"network of the kind {config.name}": True}
    return next((name for name, is_present in properties.items() if is_present), None)


def _name(role: str, networks: dict[str, Saved]) -> str:
    """The tools' name of a network, which depends on whether the model is a CycleGAN."""
    if {"a_to_b", "b_to_a"} <= set(networks) or {"score_a", "score_b"} <= set(networks):
        names = {role: name for name, role in CYCLEGAN_ROLES.items()}
        if role not in names:
            raise UserError(
                f"{role} cannot be exported: {JUNYANZ} has no such network. Set "
                "`format=safetensors`"
            )
        return names[role]
    return "F" if role == "heads" else "D" if role.startswith("score") else "G"


def _options(card: ModelCard, name: str) -> str:
    """The text of train_opt.txt, as far as a model file determines it."""
    config, is_a_to_b = card.generator, card.direction == "a_to_b"
    assert isinstance(config, (ResNetConfig, UNetConfig))
    a, b = card.domains
    return options_text(
        {
            "batch_size": 1 if card.per_image_statistics else 2,
            "crop_size": width_and_height(card.size)[0],
            "dataroot": f"./datasets/{a}2{b}",  # the importer takes the domains' names from here
            "direction": "AtoB" if is_a_to_b or card.method == "cyclegan" else "BtoA",
            "input_nc": card.in_channels,
            "model": {"cyclegan": "cycle_gan"}.get(card.method, card.method),
            "name": name,
            "netG": (
                f"resnet_{config.blocks}blocks"
                if isinstance(config, ResNetConfig)
                else f"unet_{2**config.depth}"
            ),
            "ngf": config.width,
            "no_dropout": not config.dropout,
            "norm": config.norm,
            "output_nc": card.out_channels,
            "preprocess": card.preprocess.mode.replace("-", "_"),
            # Not that tool's: the values that are -1 and 1, for the importer and for the reader.
            **{
                # Exact, unlike str(values), which is rounded for people to read.
                f"range_{letter}": f"{values.depth} "
                + ",".join(
                    f"{low}:{high}" for low, high in zip(values.low, values.high, strict=True)
                )
                for letter, values in zip("ab", card.preprocess.ranges, strict=True)
                if not values.is_8_bit
            },
        }
    )


def options_text(options: Mapping[str, Any]) -> str:
    """The text of a train_opt.txt."""
    lines = "".join(f"{name:>25}: {value!s:<30}\n" for name, value in sorted(options.items()))
    return (
        "----------------- Options ---------------\n"
        f"{lines}----------------- End -------------------\n"
    )
