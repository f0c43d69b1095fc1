"""Other tools' checkpoints become model files."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

import transmute
from transmute.data.config import PreprocessConfig
from transmute.data.layout import domain_names
from transmute.interop.layouts import CUT, MMGENERATION, PYTORCH_GAN, Recognized, State, blurs, recognize_network
from transmute.networks.config import FourStrideConfig, HeadsConfig, PyTorchGANUNetConfig, ResNetConfig, UNetConfig
from transmute.settings import UserError
from transmute.translation.model import ModelCard, PartCard
from transmute.weights import WeightsError, load_pickled, save_tensors

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
class Imported:
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


def import_file(
    path: Path,
    out: Path | None = None,
    *,
    source: str | None = None,
    target: str | None = None,
    epoch: str | None = None,
    order: Literal["rgb", "bgr"] | None = None,
    own_statistics: bool | None = None,
) -> list[str]:
    """Writes the networks of another tool's checkpoint as Transmute's files: all of them, or none.

    Args:
        path: A file, or the folder of a run.
        out: A file for one network (.safetensors is added), a folder for several; None is named after the path, in the working directory.
        source, target, epoch, order: See `read_checkpoint`.
        own_statistics: Translate with each picture's own batch statistics, as those tools' test scripts do, or with the file's running
            ones; None does the former where train_opt.txt says that training had one picture a step.

    Returns:
        Sentences that say what was recognized and written.

    Raises:
        UserError: If the checkpoint is damaged, unknown or incomplete, or `out` exists; nothing is written then.
    """
    imported = read_checkpoint(path, source=source, target=target, epoch=epoch, order=order)
    several = len(imported.networks) > 1
    out = out or Path(path.resolve().stem if path.is_file() else path.resolve().name)
    if not several and out.suffix != ".safetensors":
        out = out.with_name(f"{out.name}.safetensors")
    if out.exists():
        raise UserError(f"{out} exists: name another place with --out, or remove it")
    if several and out.suffix == ".safetensors":
        raise UserError(f"{path} holds {len(imported.networks)} networks ({', '.join(imported.networks)}): name a folder with --out, not {out}")
    cards = {role: _card(imported, network, own_statistics) for role, network in imported.networks.items()}
    aside = out.with_name(f".{out.name}.importing") if several else out.parent
    if several:
        shutil.rmtree(aside, ignore_errors=True)
    for role, network in imported.networks.items():
        save_tensors(aside / f"{role}.safetensors" if several else out, network.state, cards[role].model_dump(mode="json"))
    if several:
        aside.replace(out)
    said = []
    for role, network in imported.networks.items():
        card, named = cards[role], dict(zip("ab", imported.domains, strict=True))
        what = f"{card.source} to {card.target}" if isinstance(card, ModelCard) else f"judges {named[role[-1]]}" if role != "heads" else "heads"
        said.append(f"{network.recognized.tool}, {what}: {network.recognized} -> {out / f'{role}.safetensors' if several else out}")
        if isinstance(card, ModelCard) and not card.own_statistics and getattr(card.generator, "norm", "") == "batch":
            said.append("its batch norm uses the file's running statistics; --own-statistics uses each picture's own, as that tool's test does")
    return said


def _card(imported: Imported, network: Network, own_statistics: bool | None) -> ModelCard | PartCard:
    recognized, options = network.recognized, imported.options
    config = recognized.config
    if not isinstance(config, (ResNetConfig, UNetConfig, PyTorchGANUNetConfig)):
        part: Any = network.role
        return PartCard(transmute=transmute.__version__, part=part, network=config, in_channels=recognized.in_channels)
    if isinstance(config, UNetConfig) and options.get("no_dropout") == "True":
        config = config.replace(dropout=False)
    ends = dict(zip("ab", imported.domains, strict=True))
    a, b = network.role.split("_to_")
    channels = {a: recognized.in_channels, b: recognized.out_channels}
    lab = imported.method == "colorization"
    known: dict[str, Any] = {f"channels_{end}": count for end, count in channels.items() if count in (1, 3) and not lab}
    if options.get("preprocess"):
        known["mode"] = options["preprocess"].replace("_", "-")
    return ModelCard(
        transmute=transmute.__version__,
        method=imported.method,
        direction=network.role,
        source=ends[a],
        target=ends[b],
        generator=config,
        in_channels=recognized.in_channels,
        out_channels=recognized.out_channels,
        size=options.get("crop_size", "256"),
        colors="lab" if lab else "rgb",
        preprocess=PreprocessConfig(**known),
        own_statistics=options.get("batch_size") == "1" if own_statistics is None else own_statistics,
    )


def read_checkpoint(
    path: Path,
    *,
    source: str | None = None,
    target: str | None = None,
    epoch: str | None = None,
    order: Literal["rgb", "bgr"] | None = None,
) -> Imported:
    """The networks of another tool's checkpoint.

    Args:
        path: A file, or the folder of a run.
        source, target: What a and b are called; None takes what the checkpoint says.
        epoch: Which of a folder's checkpoints (`latest`, `20`, `iter_5000`); None takes latest, else the highest.
        order: Colors in which the networks work; None is BGR for mmgeneration and RGB for the others.

    Raises:
        UserError: If nothing of it is known, or weights are missing or left over.
    """
    options = _options(path if path.is_dir() else path.parent)
    loaded = {file: load_pickled(file) for file in (_files(path, epoch) if path.is_dir() else [path])}
    states = {name: (file, state) for file, content in loaded.items() for name, state in _states(content, file).items()}
    told = _domains(path, list(states), options, next(iter(loaded.values())))
    domains = source or told[0], target or told[1]
    networks: dict[str, Network] = {}
    for name, (file, state) in states.items():
        recognized = recognize_network(state)
        if recognized is None:
            keys = ", ".join(list(state)[:3])
            raise WeightsError(
                f"{file} holds no network that Transmute knows (its first weights are {keys}): expected a checkpoint of CycleGAN, pix2pix or CUT "
                f"by {', '.join((CUT, PYTORCH_GAN, MMGENERATION))} or pytorch-CycleGAN-and-pix2pix"
            )
        role = _role(name, recognized, domains)
        if options.get("direction") == "BtoA":
            role = _SWAPPED.get(role, role)
        ours = converted(state, recognized, file)
        if order == "bgr" or (order is None and recognized.tool == MMGENERATION):
            ours = flipped_colors(ours, recognized)
        if recognized.tool == PYTORCH_GAN and isinstance(recognized.config, FourStrideConfig) and name == "discriminator":
            # It sees (output, input), ours sees (input, output).
            ours["layers.0.weight"] = torch.cat(ours["layers.0.weight"].chunk(2, dim=1)[::-1], dim=1)
        floats = {key: value.float() if value.is_floating_point() else value for key, value in ours.items()}
        networks[role] = Network(role, recognized, floats)
    ordered = sorted(networks.items(), key=lambda pair: ("to" not in pair[0], pair[0]))
    return Imported(dict(ordered), domains, options)


def converted(state: State, recognized: Recognized, path: Path) -> State:
    """The weights by our names, every one of them accounted for.

    Raises:
        WeightsError: With the first weights that are missing, left over or of another shape.
    """
    network = recognized.build()
    wanted = {name: recognized.key(name) for name in network.state_dict()}
    kernels = {recognized.key(name): kernel for name, kernel in blurs(network).items()}
    used = {*wanted.values(), *kernels}
    # Statistics without weights are those of an instance norm that tracked them (torch 0.3); it never used them.
    left_over = [key for key in state if key not in used and not _is_tracked_statistic(key, state)]
    norm = "" if isinstance(recognized.config, (HeadsConfig, PyTorchGANUNetConfig)) else recognized.config.norm
    zeros = {
        theirs
        for name, theirs in wanted.items()
        # Files of torch before 0.4.1 have no such count; no norm goes without biases there; PyTorch-GAN's judge of pairs ends without one.
        if name.endswith("num_batches_tracked") or (name.endswith(".bias") and (norm == "none" or recognized.tool == PYTORCH_GAN))
    }
    missing = [theirs for theirs in wanted.values() if theirs not in state and theirs not in zeros]
    if missing or left_over:
        found = [f"{len(keys)} weights are {how} (first {keys[0]})" for how, keys in (("missing", missing), ("left over", left_over)) if keys]
        raise WeightsError(f"{path} looks like a {recognized} of {recognized.tool}, but {' and '.join(found)}")
    ours = {}
    for name, value in network.state_dict().items():
        theirs = state.get(wanted[name], torch.zeros_like(value))
        if theirs.shape != value.shape:
            shapes = f"{tuple(theirs.shape)} where {tuple(value.shape)} is expected"
            raise WeightsError(f"{path} looks like a {recognized} of {recognized.tool}, but {wanted[name]} is {shapes}")
        ours[name] = theirs
    for key, kernel in kernels.items():
        if key in state and not (state[key].shape == kernel.shape and torch.allclose(state[key].float(), kernel, atol=1e-6)):
            raise WeightsError(f"{path} blurs with another kernel than Transmute: {key} is {tuple(state[key].shape)}")
    return ours


def _is_tracked_statistic(key: str, state: State) -> bool:
    prefix, _, leaf = key.rpartition(".")
    return leaf in ("running_mean", "running_var", "num_batches_tracked") and f"{prefix}.weight" not in state


def flipped_colors(state: State, recognized: Recognized) -> State:
    """The same network for RGB where it worked on BGR, or the other way round: the first and the last convolution change."""
    network = recognized.build()
    convolutions = [(name, module) for name, module in network.named_modules() if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d))]
    first, last = convolutions[0][0], convolutions[-1]
    flipped = dict(state)
    weight = flipped[f"{first}.weight"]
    flipped[f"{first}.weight"] = torch.cat([part.flip(1) for part in weight.split(3, dim=1)], dim=1) if weight.shape[1] % 3 == 0 else weight
    if recognized.out_channels == 3:
        axis = 1 if isinstance(last[1], nn.ConvTranspose2d) else 0
        flipped[f"{last[0]}.weight"] = flipped[f"{last[0]}.weight"].flip(axis)
        flipped[f"{last[0]}.bias"] = flipped[f"{last[0]}.bias"].flip(0)
    return flipped


def _options(folder: Path) -> dict[str, str]:
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
        raise WeightsError(f"{path} holds no weights by name, as a checkpoint of a network does")
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


def _role(name: str, recognized: Recognized, domains: tuple[str, str]) -> str:
    """What the network that the tool calls by this name is here. (junyanz's D_A judges b, PyTorch-GAN's judges a.)"""
    theirs = recognized.tool == PYTORCH_GAN
    known = {"G_A": "a_to_b", "G_B": "b_to_a", "G_AB": "a_to_b", "G_BA": "b_to_a", "generator": "b_to_a", "discriminator": "score_a", "F": "heads"}
    known |= {"D_A": "score_a", "D_B": "score_b"} if theirs else {"D_A": "score_b", "D_B": "score_a"}
    kind, _, domain = name.partition(".")
    if domain:
        end = "a" if domain == domains[0] else "b"
        return f"score_{end}" if kind == "discriminators" else _SWAPPED["a_to_b"] if end == "a" else "a_to_b"
    if name in known:
        return known[name]
    if isinstance(recognized.config, HeadsConfig):
        return "heads"
    if isinstance(recognized.config, PyTorchGANUNetConfig):
        return "b_to_a"  # that tool's pix2pix makes the left half of a picture from the right
    return "a_to_b" if recognized.out_channels else "score_b"


def _domains(path: Path, names: list[str], options: dict[str, str], loaded: Any) -> tuple[str, str]:
    """What a and b are called."""
    targets = list(dict.fromkeys(name.partition(".")[2] for name in names if "." in name))
    if not targets:
        stem = Path(options["dataroot"]).name if "dataroot" in options else path.resolve().stem.removesuffix("_pretrained")
        return domain_names(stem)
    text = str(loaded["meta"].get("config", "")) if isinstance(loaded.get("meta"), Mapping) else ""
    told = [match and match[1] for match in (re.search(rf"{key}\s*=\s*'(\w+)'", text) for key in ("domain_a", "domain_b", "source_domain"))]
    if len(targets) == 1:
        others = [name for name in (told[2], told[0], told[1]) if name and name != targets[0]]
        return (others[0] if others else "source"), targets[0]
    if told[0] in targets:
        return told[0], next(name for name in targets if name != told[0])
    return (targets[1], targets[0]) if f"{targets[1]}2{targets[0]}" in path.name else (targets[0], targets[1])
