"""What another tool's checkpoint holds: which networks, in which roles, of which domains."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from transmute.data.layout import domain_names
from transmute.interop.conversion import converted, flipped_colors, judges_pairs
from transmute.interop.layouts import CUT, MMGENERATION, PYTORCH_GAN, Recognized, State, recognize_network
from transmute.networks.config import HeadsConfig, PyTorchGANUNetConfig, UNetConfig
from transmute.settings import UserError
from transmute.weights import WeightsError, load_pickled

_JUNYANZ_FILE = re.compile(r"(latest|\d+|iter_\d+)_net_(G_A|G_B|D_A|D_B|G|D|F)(?:_\w+)?\.pth")
_SWAPPED = {"a_to_b": "b_to_a", "b_to_a": "a_to_b", "score_a": "score_b", "score_b": "score_a"}
_PYTORCH_GAN_FILE = re.compile(r"(G_AB|G_BA|D_A|D_B|generator|discriminator)_(\d+)\.pth")


@dataclass(frozen=True)
class Network:
    """One network of a checkpoint, as Transmute names and orders it.

    Attributes:
        role: a_to_b, b_to_a, score_a, score_b or heads.
        state: Its weights by our names.
    """

    role: str
    recognized: Recognized
    state: State


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds.

    Attributes:
        networks: By role; translators first.
        domains: What a and b are called.
        options: What train_opt.txt beside it said.
    """

    networks: dict[str, Network]
    domains: tuple[str, str]
    options: dict[str, str]

    @property
    def method(self) -> str:
        """The method that trains such networks."""
        named = {"cycle_gan": "cyclegan", "cyclegan": "cyclegan", "pix2pix": "pix2pix", "colorization": "colorization", "cut": "cut"}
        if (told := named.get(self.options.get("model", ""))) is not None:
            return told
        first = next(iter(self.networks.values())).recognized
        if first.tool == CUT:
            return "cut"
        if (first.in_channels, first.out_channels) == (1, 2):
            return "colorization"
        return "pix2pix" if isinstance(first.config, (UNetConfig, PyTorchGANUNetConfig)) else "cyclegan"


def read_checkpoint(
    path: Path,
    *,
    source: str | None = None,
    target: str | None = None,
    epoch: str | None = None,
    order: Literal["rgb", "bgr"] | None = None,
    swap: bool | None = None,
) -> Checkpoint:
    """The networks of another tool's checkpoint.

    Args:
        path: A file, or the folder of a run.
        source, target: What a and b are called; None takes what the checkpoint says.
        epoch: Which of a folder's checkpoints (`latest`, `20`, `iter_5000`); None takes latest, else the highest.
        order: Colors in which the networks work; None is BGR for mmgeneration and RGB for the others.
        swap: Exchange a and b; None does so where train_opt.txt says that the run was from B to A.

    Raises:
        UserError: If nothing of it is known, or weights are missing or left over.
    """
    options = run_options(path if path.is_dir() else path.parent)
    loaded = {file: load_pickled(file) for file in (_files(path, epoch) if path.is_dir() else [path])}
    states = {name: (file, state) for file, content in loaded.items() for name, state in _states(content, file).items()}
    told = _domains(path, list(states), options, next(iter(loaded.values())), (source, target))
    networks: dict[str, Network] = {}
    for name, (file, state) in states.items():
        recognized = recognize_network(state)
        if recognized is None:
            keys = ", ".join(repr(key[:60])[1:-1] for key in list(state)[:3])
            raise WeightsError(
                f"{file} holds no network that Transmute knows (its first weights are {keys}): expected a checkpoint of CycleGAN, pix2pix or CUT "
                f"by {', '.join((CUT, PYTORCH_GAN, MMGENERATION))} or pytorch-CycleGAN-and-pix2pix"
            )
        role = _role(name, recognized, state, told)
        if options.get("direction") == "BtoA" if swap is None else swap:
            role = _SWAPPED.get(role, role)
        if ("_to_" in role) != bool(recognized.out_channels):
            raise WeightsError(
                f"{file} should hold {'a generator' if '_to_' in role else 'a discriminator or heads'} by its name, but holds a {recognized}"
            )
        if role in networks:
            raise WeightsError(f"{file} and another file or part of {path} are both {role}: name one file")
        ours = converted(state, recognized, file)
        if order == "bgr" or (order is None and recognized.tool == MMGENERATION):
            ours = flipped_colors(ours, recognized)
        if recognized.tool == PYTORCH_GAN and judges_pairs(state):
            # It sees (output, input), ours sees (input, output).
            ours["layers.0.weight"] = torch.cat(ours["layers.0.weight"].chunk(2, dim=1)[::-1], dim=1)
        floats = {key: value.float() if value.is_floating_point() else value for key, value in ours.items()}
        networks[role] = Network(role, recognized, floats)
    ordered = sorted(networks.items(), key=lambda pair: ("to" not in pair[0], pair[0]))
    return Checkpoint(dict(ordered), (source or told[0], target or told[1]), options)


def run_options(folder: Path) -> dict[str, str]:
    """The options in a run's train_opt.txt, as text."""
    file = folder / "train_opt.txt"
    if not file.is_file():
        return {}
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    pairs = (re.fullmatch(r"\s*(\w+): (.*?)\s*(?:\[default: .*\])?\s*", line) for line in lines)
    return {pair[1]: pair[2] for pair in pairs if pair}


def _files(folder: Path, epoch: str | None) -> list[Path]:
    """The checkpoint files of a run, all of one epoch."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*.pth")):
        if match := _JUNYANZ_FILE.fullmatch(path.name):
            found.setdefault(match[1], []).append(path)
        elif match := _PYTORCH_GAN_FILE.fullmatch(path.name):
            found.setdefault(match[2], []).append(path)
        elif match := re.fullmatch(r"(iter_\d+|latest)\.pth", path.name):  # mmgeneration: all networks in one file
            found.setdefault(match[1], []).append(path)
    if not found:
        raise UserError(f"{folder} holds no checkpoint of a tool that Transmute knows (latest_net_G_A.pth, G_AB_7.pth and the like): name a file")
    newest = "latest" if "latest" in found else max(found, key=lambda tag: int(tag.removeprefix("iter_")))
    if (epoch or newest) not in found:
        raise UserError(f"{folder} has no checkpoint {epoch}: it has {', '.join(sorted(found))}")
    return found[epoch or newest]


def _states(loaded: Any, path: Path) -> dict[str, State]:
    """The state dictionaries of a file by the tool's name of the network."""
    if isinstance(loaded, Mapping) and isinstance(loaded.get("state_dict"), Mapping):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, Mapping) or not loaded or not all(isinstance(value, torch.Tensor) for value in loaded.values()):
        keys = f", but {', '.join(repr(str(key)[:60]) for key in list(loaded)[:4])}" if isinstance(loaded, Mapping) else ""
        raise WeightsError(f"{path} holds no weights by name, as a checkpoint of a network does{keys}")
    for key, value in loaded.items():
        if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu" or value.is_complex():
            raise WeightsError(f"{path} is not a plain checkpoint: {str(key)[:60]!r} is sparse, quantized, complex or empty of data")
        if value.is_floating_point() and not torch.isfinite(value.float()).all():
            raise WeightsError(f"{path} holds weights that are not finite, first {str(key)[:60]!r}: take an earlier checkpoint")
    state = {re.sub(r"^(module\.|_orig_mod\.)+", "", str(key)): value for key, value in loaded.items()}
    networks: dict[str, State] = {}
    for key, value in state.items():
        match = re.match(r"((?:generators|discriminators)\.\w+)\.(?:module\.)?(.*)", key)
        networks.setdefault(match[1] if match else "", {})[match[2] if match else key] = value
    if set(networks) == {""}:
        match = _JUNYANZ_FILE.fullmatch(path.name)
        other = _PYTORCH_GAN_FILE.fullmatch(path.name)
        networks = {match[2] if match else other[1] if other else "": state}
    return networks


def _role(name: str, recognized: Recognized, state: State, domains: tuple[str, str]) -> str:
    """What the network that the tool calls by this name is here. (junyanz's D_A judges b, PyTorch-GAN's judges a.)"""
    theirs = recognized.tool == PYTORCH_GAN
    known = {"G_A": "a_to_b", "G_B": "b_to_a", "G_AB": "a_to_b", "G_BA": "b_to_a", "generator": "b_to_a", "discriminator": "score_a", "F": "heads"}
    known |= {"D_A": "score_a", "D_B": "score_b"} if theirs else {"D_A": "score_b", "D_B": "score_a"}
    kind, _, domain = name.partition(".")
    if domain:
        end = "a" if domain == domains[0] else "b"
        return f"score_{end}" if kind == "discriminators" else "b_to_a" if end == "a" else "a_to_b"
    if name in known:
        return known[name]
    if isinstance(recognized.config, HeadsConfig):
        return "heads"
    if isinstance(recognized.config, PyTorchGANUNetConfig):
        return "b_to_a"  # that tool's pix2pix makes the left half of a picture from the right
    return "a_to_b" if recognized.out_channels else "score_a" if theirs and judges_pairs(state) else "score_b"


def _domains(path: Path, names: list[str], options: dict[str, str], loaded: Any, wanted: tuple[str | None, str | None]) -> tuple[str, str]:
    """What the checkpoint calls a and b: in the order that is wanted, where it has these names."""
    targets = list(dict.fromkeys(name.partition(".")[2] for name in names if "." in name))
    if not targets:
        stem = Path(options["dataroot"]).name if "dataroot" in options else path.resolve().stem.removesuffix("_pretrained")
        return domain_names(stem)
    for wish, place in ((wanted[0], 0), (wanted[1], 1)):
        if len(targets) == 2 and wish in targets:
            other = targets[1 - targets.index(wish)]
            return (wish, other) if place == 0 else (other, wish)
    text = str(loaded["meta"].get("config", "")) if isinstance(loaded.get("meta"), Mapping) else ""
    told = [match and match[1] for match in (re.search(rf"{key}\s*=\s*'(\w+)'", text) for key in ("domain_a", "domain_b", "source_domain"))]
    if len(targets) == 1:
        others = [name for name in (told[2], told[0], told[1]) if name and name != targets[0]]
        return (others[0] if others else "source"), targets[0]
    if told[0] in targets:
        return told[0], next(name for name in targets if name != told[0])
    return (targets[1], targets[0]) if f"{targets[1]}2{targets[0]}" in path.name else (targets[0], targets[1])
