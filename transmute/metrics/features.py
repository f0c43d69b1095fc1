"""Feature networks by name or file, and the resize before them, which is part of what FID means."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from transmute.download import download
from transmute.images import normalize
from transmute.metrics.backbones import Backbone, alexnet, squeezenet, vgg16
from transmute.metrics.config import MetricsConfig
from transmute.metrics.inception import Inception
from transmute.metrics.perceptual import LPIPS
from transmute.metrics.texture import Texture
from transmute.settings import UserError, first_line
from transmute.tensors import Images
from transmute.weights import WeightsError, load_pickled, require_no_impostor

_TORCHVISION = "https://download.pytorch.org/models/"
_HEADS = "https://github.com/richzhang/PerceptualSimilarity/raw/master/lpips/weights/v0.1/"


class Weights(NamedTuple):
    """A published file of weights, in the order of preference; the hash is SHA-256, or its beginning."""

    url: str
    sha256: str | None

    @property
    def file(self) -> str:
        return self.url.rsplit("/", 1)[1]


PUBLISHED = {
    "inception": Weights(
        "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
        "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    ),
    "squeezenet": Weights(_TORCHVISION + "squeezenet1_1-b8a52dc0.pth", "b8a52dc0"),
    "vgg16": Weights(_TORCHVISION + "vgg16-397923af.pth", "397923af"),
    "alexnet": Weights(_TORCHVISION + "alexnet-owt-7be5be79.pth", "7be5be79"),
}
"""Feature networks that are fetched by name."""

_ALSO = {"inception": ("weights-inception-2015-12-05-6726825d.pth",)}  # the same bytes under the name that torch-fidelity gave them
_BACKBONES: dict[str, Callable[..., Backbone]] = {"squeezenet": squeezenet, "vgg16": vgg16, "alexnet": alexnet}
_HEAD_FILES = {"squeezenet": "squeeze.pth", "vgg16": "vgg.pth", "alexnet": "alex.pth"}


@dataclass(frozen=True)
class Features:
    """What FID and KID compare.

    Attributes:
        name: Stands beside every figure.
        network: (batch, 3, size, size) in [-1, 1] to (batch, features).
        size: Side in pixels to which pictures are resized first.
    """

    name: str
    network: nn.Module
    size: int

    @torch.inference_mode()
    def of(self, pictures: Iterable[Image.Image], device: torch.device) -> Tensor:
        """(pictures, features) in float64, on the CPU."""
        batch = torch.cat([resized(picture, self.size) for picture in pictures]).to(device)
        found = called(self.network, batch, f"the feature network {self.name}")
        if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != len(batch) or not found.shape[1]:
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise UserError(f"the feature network {self.name} gives {shape} for {len(batch)} pictures: expected a tensor (pictures, features)")
        if not torch.isfinite(found).all():
            raise UserError(
                f"the feature network {self.name} gives numbers that are not finite: its weights are damaged, or its computation overflows"
            )
        return found.double().cpu()


def called(network: nn.Module, images: Images, what: str) -> Any:
    """What a network, which may be a user's own, makes of pictures; its errors in one sentence."""
    try:
        return network(images)
    except Exception as error:  # anything may stand in a file of the user's
        raise UserError(f"{what} failed on pictures of shape {tuple(images.shape)}: {type(error).__name__}: {first_line(error)}") from error


def resized(picture: Image.Image, size: int) -> Images:
    """A picture as (1, 3, size, size) in [-1, 1], resized as clean-fid does (Parmar et al. 2022, "On Aliased Resizing").

    Pillow's antialiased bicubic on each channel as floats, clipped to 0..255 and not rounded to levels.
    """
    channels = [
        np.asarray(Image.fromarray(channel).resize((size, size), Image.Resampling.BICUBIC))
        for channel in np.moveaxis(np.asarray(picture.convert("RGB"), dtype=np.float32), 2, 0)
    ]
    return normalize(torch.from_numpy(np.stack(channels)).clamp(0, 255))[None]


def chosen_features(config: MetricsConfig) -> tuple[Features, LPIPS | None]:
    """The networks that a config names; of LPIPS none where there is none.

    Raises:
        UserError: If they cannot be had; the sentence says what to fetch and where to put it.
    """
    name = config.features
    if name == "auto":
        name = "inception" if _found("inception") else "texture"
    features = _features(name)
    if config.lpips == "none":
        return features, None
    if config.lpips != "auto":
        return features, _lpips(config.lpips)
    likely = [str(name)] if isinstance(features.network, Backbone) else []
    likely += [one for one in ("alexnet", "vgg16", "squeezenet") if _found(one) and _found_heads(one)]
    for one in likely:
        if Path(one).is_file() or _found_heads(one):
            try:
                return features, _lpips(one)
            except WeightsError:  # the features' own file, without LPIPS's part
                continue
    return features, None


def _features(name: str) -> Features:
    if name == "texture":
        return Features(name, Texture(), 96)
    if ".py:" in name or name.endswith(".py"):
        return Features(name, made(name), 299)
    path = _path(name)
    state = read_state(path)
    kind = _kind(state, path)
    told = _told(name, kind, path)
    if kind == "inception":
        network = Inception()
        fill(network, {key: value for key, value in state.items() if not key.startswith(("fc.", "AuxLogits."))}, path)
        return Features(told, network.eval(), 299)
    return Features(told, _backbone(kind, state, path), 224)


def _lpips(name: str) -> LPIPS:
    path = _path(name)
    state = read_state(path)
    kind = _kind(state, path)
    if kind == "inception":
        raise WeightsError(f"{path} is the Inception network, on which LPIPS is not defined: give alexnet, vgg16 or squeezenet")
    heads = {key: value for key, value in state.items() if re.search(r"lin\d", key)}
    if not heads:
        beside = _found_heads(kind) or _cache() / _HEAD_FILES[kind]
        if not beside.is_file():
            raise WeightsError(
                f"LPIPS with {kind} needs its linear weights too: fetch {_HEADS}{_HEAD_FILES[kind]} and put it at {beside}, "
                "or leave LPIPS out with --lpips none"
            )
        heads = read_state(beside)
    weights = [heads[key].float() for key in sorted(heads, key=lambda key: int(re.findall(r"lin(\d+)", key)[0]))]
    backbone = _backbone(kind, state, path)
    if len(weights) != len(backbone.taps):
        raise WeightsError(f"{path} does not hold the {len(backbone.taps)} linear weights that LPIPS with {kind} has")
    return LPIPS(_told(name, kind, path), backbone, weights).requires_grad_(False).eval()


def _told(name: str, kind: str, path: Path) -> str:
    """What stands beside figures: whose weights those of a file are is not known, but for Inception's."""
    return kind if name in PUBLISHED or kind == "inception" else f"{kind} of {path.name}"


def _backbone(kind: str, state: dict[str, Tensor], path: Path) -> Backbone:
    network = _BACKBONES[kind](caffe=any(key.startswith("lpips.") for key in state))  # a file that holds both is one of Caffe's
    fill(network, {key: value for key, value in state.items() if key.startswith("features.")}, path)
    return network.eval()


def _kind(state: dict[str, Tensor], path: Path) -> str:
    """Which network a file holds, by its keys."""
    if "Mixed_7c.branch_pool.conv.weight" in state:
        return "inception"
    if "features.3.squeeze.weight" in state:
        return "squeezenet"
    first = state.get("features.0.weight")
    if first is not None and tuple(first.shape) == (64, 3, 11, 11):
        return "alexnet"
    if "features.28.weight" in state:
        return "vgg16"
    raise WeightsError(f"{path} holds none of the networks {', '.join(PUBLISHED)}: give one of these, or FILE.py:NAME for a module of your own")


def fill(network: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Gives a network, which gets no gradient from now on, its weights; strictly, but for counters of batches.

    Raises:
        WeightsError: If they do not fit.
    """
    try:
        missing, unexpected = network.requires_grad_(False).load_state_dict({key: value.float() for key, value in state.items()}, strict=False)
    except RuntimeError as error:
        raise WeightsError(f"{path} does not fit its network: {' '.join(str(error).split())[:300]}") from None
    wrong = [key for key in (*missing, *unexpected) if not key.endswith("num_batches_tracked")]
    if wrong:
        raise WeightsError(f"{path} does not fit its network: {len(wrong)} names differ, such as {wrong[0]}")


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a file of weights, of torch.save or safetensors.

    Raises:
        WeightsError: If it is none.
    """
    require_no_impostor(path)
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise WeightsError(f"{path} is no file of weights, or is damaged ({first_line(error)})") from None
    state = load_pickled(path)
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path} holds no weights by name: save the state_dict() of a network")
    return state


def made(name: str) -> nn.Module:
    """What `FILE.py:NAME` makes when called: a torch module, ready to use.

    Raises:
        UserError: If there is no such file or name, it fails, or it makes something else.
    """
    file, _, made_by = name.rpartition(":")
    path = Path(file).expanduser()
    if not file.endswith(".py"):
        raise UserError(f"{name} should be written FILE.py:NAME, where NAME() makes a torch module")
    if not path.is_file():
        raise UserError(f"there is no file {file}: write FILE.py:NAME, where NAME() makes a torch module")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None  # noqa: PT018
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(path.stem)
    sys.modules[path.stem] = module  # dataclasses look themselves up there
    sys.path.insert(0, str(path.parent))  # for what lies beside it
    try:
        spec.loader.exec_module(module)
        maker: Any = vars(module).get(made_by)
        if not callable(maker):
            raise UserError(f"{file} has no {made_by} that could be called: write FILE.py:NAME, where NAME() makes a torch module")
        network = maker()
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # anything may stand in a file of the user's
        raise UserError(f"{name} failed: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(path.parent))
        sys.modules.pop(path.stem) if before is None else sys.modules.update({path.stem: before})
    if not isinstance(network, nn.Module):
        raise UserError(f"{name} makes a {type(network).__name__}: expected a torch module")
    return network.eval().requires_grad_(False)


def _path(name: str) -> Path:
    """The file of a network: the one that is named, or a published one, found on this machine or fetched."""
    if name not in PUBLISHED:
        path = Path(name).expanduser()
        if not path.is_file():
            raise UserError(f"there are no features {name!r}: give {', '.join(PUBLISHED)}, texture, a file of weights, or FILE.py:NAME")
        return path
    weights = PUBLISHED[name]
    try:
        return _found(name) or download(weights.url, _cache() / weights.file, sha256=weights.sha256)
    except UserError as error:
        raise UserError(f"{error}; or take the features texture, which need no weights") from None


def _cache() -> Path:
    """Where torch and the other tools keep such files."""
    home = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "torch"
    return Path(home).expanduser() / "hub" / "checkpoints"


def on_this_machine() -> list[str]:
    """The published networks whose files are here, with LPIPS where its part is here too."""
    return [name + (" with LPIPS" if _found_heads(name) else "") for name in PUBLISHED if _found(name)]


def _found(name: str) -> Path | None:
    names = (PUBLISHED[name].file, *_ALSO.get(name, ())) if name in PUBLISHED else ()
    return next((path for file in names if (path := _cache() / file).is_file()), None)


def _found_heads(name: str) -> Path | None:
    path = _cache() / _HEAD_FILES[name] if name in _HEAD_FILES else None
    return path if path and path.is_file() else None
