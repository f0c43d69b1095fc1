"""Checkpoints of other tools: their networks, roles and domains."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from transmute.config.networks import HeadsConfig, PyTorchGANUNetConfig, UNetConfig
from transmute.data.layout import domain_names
from transmute.errors import UserError
from transmute.interop.layouts import (
    CUT,
    MMGENERATION,
    PYTORCH_GAN,
    Layout,
    State,
    convert,
    swap_color_order,
)
from transmute.interop.recognition import recognize_network
from transmute.interop.unwrap import split_networks
from transmute.weights import WeightsError, load_foreign

CYCLEGAN_ROLES = {
    "G_A": "a_to_b",
    "G_B": "b_to_a",
    "D_A": "score_b",
    "D_B": "score_a",
    "F": "heads",
}
"""Roles of junyanz's networks by name. Note that D_A scores domain b."""
_PYTORCH_GAN_ROLES = {
    "G_AB": "a_to_b",
    "G_BA": "b_to_a",
    "D_A": "score_a",
    "D_B": "score_b",
    "generator": "b_to_a",
    "discriminator": "score_a",
}
_FILE_NAMES = (
    r"(?P<tag>latest|\d+|iter_\d+)_net_(?P<network>G_A|G_B|D_A|D_B|G|D|F)(?:_\w+)?\.pth",
    r"(?P<network>G_AB|G_BA|D_A|D_B|generator|discriminator)_(?P<tag>\d+)\.pth",
    r"(?P<tag>iter_\d+|latest)(?P<network>)\.pth",
)
"""junyanz and CUT; PyTorch-GAN; mmgeneration, with all networks in one file."""
_EXCHANGED = {"a_to_b": "b_to_a", "b_to_a": "a_to_b", "score_a": "score_b", "score_b": "score_a"}


class Network(NamedTuple):
    """A network of a checkpoint.

    Attributes:
        layout: Its architecture.
        state: Its weights by Transmute's names, for RGB.
    """

    layout: Layout
    state: State


class Checkpoint(NamedTuple):
    """The content of a checkpoint.

    Attributes:
        networks: By role (a_to_b, b_to_a, score_a, score_b or heads), generators first.
        domains: Names of a and b.
        options: The options in train_opt.txt next to it.
        notes: For each file, what was removed around its networks, and what was ignored, if any.
    """

    networks: dict[str, Network]
    domains: tuple[str, str]
    options: dict[str, str]
    notes: list[str]

    @property
    def method(self) -> str:
        """Name of the method that trains such networks."""
        model = self.options.get("model", "").replace("cycle_gan", "cyclegan")
        if model in ("cyclegan", "pix2pix", "colorization", "cut"):
            return model
        layout, _ = next(iter(self.networks.values()))
        methods = {
            "cut": layout.tool == CUT,
            "colorization": (layout.in_channels, layout.out_channels) == (1, 2),
            "pix2pix": isinstance(layout.config, (UNetConfig, PyTorchGANUNetConfig)),
        }
        return next((method for method, fits in methods.items() if fits), "cyclegan")


def read_checkpoint(
    path: Path,
    *,
    source: str | None = None,
    target: str | None = None,
    epoch: str | None = None,
    order: Literal["rgb", "bgr"] | None = None,
    swap: bool | None = None,
) -> Checkpoint:
    """Reads the networks of another tool's checkpoint.

    Args:
        path: A file, or the folder of a run.
        source, target: Names of a and b. By default, those in the checkpoint are used.
        epoch: Which checkpoint of a folder (latest, 20, iter_5000). The default is latest if it
            exists, and else the highest number.
        order: Color order of the networks. The default is BGR for mmgeneration and RGB for the
            others.
        swap: Exchange a and b. By default, they are exchanged if train_opt.txt says that the run
            was from B to A.

    Raises:
        UserError: If a network is unknown, or weights are missing or left over.
    """
    options = read_options(path if path.is_dir() else path.parent)
    contents = {file: load_foreign(file) for file in _checkpoint_files(path, epoch)}
    states: list[tuple[str, Path, State]] = []
    notes: list[str] = []
    for file, content in contents.items():
        found, removed = split_networks(content, file)
        states += ((name or _tag_and_network(file)[1], file, found[name]) for name in found)
        notes += removed
    lettered = not {"G_AB", "G_BA"}.isdisjoint(name for name, _, _ in states)
    targets = list(dict.fromkeys(name.partition(".")[2] for name, _, _ in states if "." in name))
    if targets:
        content = next(iter(contents.values()))
        domains = _mmgeneration_domains(path, targets, content, source, target)
    else:
        stem = path.resolve().stem.removesuffix("_pretrained")
        domains = domain_names(Path(options.get("dataroot", stem)).name)
    swap = options.get("direction") == "BtoA" if swap is None else swap
    networks: dict[str, Network] = {}
    for name, file, state in states:
        layout = recognize_network(state, file)
        role = _role(name, layout, domains[0], lettered=lettered)
        role = _EXCHANGED.get(role, role) if swap else role
        if role in networks:
            raise WeightsError(
                f"{path} contains {role} twice, the second time in {file}. Pass one file"
            )
        if ("_to_" in role) != bool(layout.out_channels):
            kind = "a generator" if "_to_" in role else "a discriminator or heads"
            raise WeightsError(f"{file} should contain {kind} by its name, but contains a {layout}")
        networks[role] = Network(layout, _weights(state, layout, file, order))
    return Checkpoint(
        dict(sorted(networks.items(), key=lambda item: ("to" not in item[0], item[0]))),
        (source or domains[0], target or domains[1]),
        options,
        notes,
    )


def read_options(folder: Path) -> dict[str, str]:
    """The options in the train_opt.txt of a folder, as text; empty if there is no such file."""
    file = folder / "train_opt.txt"
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    return dict(re.findall(r"(?m)^[ \t]*(\w+): (.*?)[ \t]*(?:\[default: .*\])?[ \t]*$", text))


def _tag_and_network(file: Path) -> tuple[str, str]:
    """The tag (latest, 20, iter_5000) and the name of the network in a file name, or "" twice."""
    matches = (re.fullmatch(pattern, file.name) for pattern in _FILE_NAMES)
    return next(((match["tag"], match["network"]) for match in matches if match), ("", ""))


def _checkpoint_files(path: Path, tag: str | None) -> list[Path]:
    """The file, or the files in a folder with a tag (by default latest, or the highest number).

    Raises:
        UserError: If there is no such checkpoint.
    """
    if not path.exists():
        raise UserError(f"there is no file or folder {path}")
    if not path.is_dir():
        return [path]
    tags = {file: _tag_and_network(file)[0] for file in sorted(path.glob("*.pth"))}
    numbers = {known: int(re.sub(r"\D", "", known) or 0) for known in tags.values() if known}
    if not numbers:
        raise UserError(
            f"{path} contains no checkpoint of a known tool (latest_net_G_A.pth, G_AB_7.pth and "
            "the like). Pass a file"
        )
    tag = tag or ("latest" if "latest" in numbers else max(numbers, key=numbers.__getitem__))
    if tag not in numbers:
        raise UserError(f"{path} has no checkpoint {tag}. It has {', '.join(sorted(numbers))}")
    return [file for file, known in tags.items() if known == tag]


def _weights(state: State, layout: Layout, file: Path, order: str | None) -> State:
    """The weights in float32, for RGB and for pairs of (input, output)."""
    weights = {
        name: value.float() if value.is_floating_point() else value
        for name, value in convert(state, layout, file).items()
    }
    if order == "bgr" or (order is None and layout.tool == MMGENERATION):
        weights = swap_color_order(weights, layout)
    if layout.reversed_pairs:
        weights["layers.0.weight"] = weights["layers.0.weight"].roll(layout.in_channels // 2, 1)
    return weights


def _role(name: str, layout: Layout, domain_a: str, *, lettered: bool) -> str:
    """The role of the network that a tool calls `name`, before a and b are exchanged.

    Args:
        name, layout: The network.
        domain_a: Name of domain a.
        lettered: The generators are called G_AB and G_BA. Then, D_A scores a.
    """
    kind, _, domain = name.partition(".")
    if domain:
        end, other = "ab" if domain == domain_a else "ba"
        return f"score_{end}" if kind == "discriminators" else f"{other}_to_{end}"
    roles = (
        CYCLEGAN_ROLES | _PYTORCH_GAN_ROLES
        if lettered or layout.tool == PYTORCH_GAN
        else _PYTORCH_GAN_ROLES | CYCLEGAN_ROLES
    )
    if name in roles or isinstance(layout.config, HeadsConfig):
        return roles.get(name, "heads")
    role = "a_to_b" if layout.out_channels else "score_b"
    # PyTorch-GAN's pix2pix translates from the right half to the left.
    is_reversed = layout.reversed_pairs or isinstance(layout.config, PyTorchGANUNetConfig)
    return _EXCHANGED[role] if is_reversed else role


def _mmgeneration_domains(
    path: Path, targets: list[str], content: Any, source: str | None, target: str | None
) -> tuple[str, str]:
    """Names of a and b in a file of mmgeneration.

    Args:
        path: The file, whose name may say which is a.
        targets: The domains to which its generators translate.
        content: The unpickled content, which may include the training config as text.
        source, target: Names that the user chose for a and b. They decide if the file has them.
    """
    meta = content.get("meta")
    text = str(meta.get("config", "")) if isinstance(meta, Mapping) else ""
    configured = dict(re.findall(r"\b(domain_a|domain_b|source_domain)\s*=\s*'(\w+)'", text)[::-1])
    if len(targets) == 1:
        names = [configured.get(key) for key in ("source_domain", "domain_a", "domain_b")]
        return next((name for name in names if name and name != targets[0]), "source"), targets[0]
    first, second = targets[:2]
    other = {first: second, second: first}
    candidates = (
        source,
        other.get(target or ""),
        configured.get("domain_a"),
        second if f"{second}2{first}" in path.name else first,
    )
    a = next(name for name in candidates if name in other)
    return a, other[a]
