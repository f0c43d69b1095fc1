"""Feature networks by name: published weights, other weights files and user-defined networks."""

import re
from dataclasses import dataclass
from pathlib import Path

import torch
import torchmetrics
from torch import Tensor

from transmute import plugins
from transmute.config.metrics import MetricsConfig
from transmute.download import download
from transmute.errors import UserError
from transmute.metrics.features import Features, Texture, build_network
from transmute.metrics.inception import Inception
from transmute.metrics.perceptual import LPIPS, Backbone, alexnet, squeezenet, vgg16
from transmute.weights import (
    WeightsError,
    load_foreign,
    load_pickled,
    mismatch,
    require_plain,
)


@dataclass(frozen=True)
class Weights:
    """A published weights file, which torch and other tools keep in one cache folder.

    Attributes:
        url: Its address.
        sha256: SHA-256 in hexadecimal or its first digits.
        alias: Another name under which a tool stores the same file.
    """

    url: str
    sha256: str
    alias: str = ""

    @property
    def file(self) -> Path:
        """Path in torch's cache, whether or not it exists."""
        return Path(torch.hub.get_dir()) / "checkpoints" / self.url.rsplit("/", 1)[1]

    def find(self) -> Path | None:
        """The file in torch's cache, if it is there."""
        paths = (self.file, self.file.with_name(self.alias or self.file.name))
        return next(filter(Path.is_file, paths), None)


_TORCHVISION = "https://download.pytorch.org/models"

PUBLISHED = {
    "alexnet": Weights(f"{_TORCHVISION}/alexnet-owt-7be5be79.pth", "7be5be79"),
    "vgg16": Weights(f"{_TORCHVISION}/vgg16-397923af.pth", "397923af"),
    "squeezenet": Weights(f"{_TORCHVISION}/squeezenet1_1-b8a52dc0.pth", "b8a52dc0"),
    "inception": Weights(
        "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
        "pt_inception-2015-12-05-6726825d.pth",
        "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
        alias="weights-inception-2015-12-05-6726825d.pth",
    ),
}
"""Feature networks that are downloaded by name."""
_LINEAR = Path(torchmetrics.__file__).parent / "functional" / "image" / "lpips_models"
"""Folder of LPIPS's published linear weights, which are part of torchmetrics."""
_BACKBONES = {
    "alexnet": (alexnet, "alex.pth"),
    "vgg16": (vgg16, "vgg.pth"),
    "squeezenet": (squeezenet, "squeeze.pth"),
}
"""Networks on which LPIPS is defined, the preferred one first, and the files in `_LINEAR`."""
_SIGNATURES = {
    "inception": ("Mixed_7c.branch_pool.conv.weight", (192, 2048, 1, 1)),
    "squeezenet": ("features.3.squeeze.weight", (16, 64, 1, 1)),
    "vgg16": ("features.28.weight", (512, 512, 3, 3)),
    "alexnet": ("features.0.weight", (64, 3, 11, 11)),
}
"""A tensor of each network, and its shape, by which a file is recognized."""


def load_features(config: MetricsConfig, device: torch.device) -> tuple[Features, LPIPS | None]:
    """Loads the networks of a config.

    Returns:
        The features for FID and KID, and LPIPS. `metrics.lpips=auto` is LPIPS on the features'
        network, else on a network in torch's cache, else None.

    Raises:
        UserError: If a network is unknown, damaged, or can neither be found nor downloaded, or
            LPIPS is not defined on it.
    """
    name, lpips = config.features, config.lpips
    if name == "auto":
        name = "inception" if PUBLISHED["inception"].find() else "texture"
    features = load_network(name, device)
    if lpips == "auto":
        cached = (kind for kind in _BACKBONES if PUBLISHED[kind].find())
        # A user-defined network has no linear weights, even if it is a Backbone.
        usable = isinstance(features.network, Backbone) and not plugins.is_reference(name)
        lpips = name if usable else next(cached, "none")
    if lpips == "none":
        return features, None
    chosen = features if lpips == name else load_network(lpips, device)
    if not isinstance(chosen.network, Backbone):
        raise WeightsError(
            f"LPIPS is not defined on {chosen.name}. Set `metrics.lpips` to alexnet, vgg16 or "
            "squeezenet"
        )
    return features, LPIPS(chosen.name, chosen.network)


def load_network(name: str, device: torch.device) -> Features:
    """Loads a network, without gradients and in evaluation mode.

    Args:
        name: texture, FILE.py:NAME, a name in `PUBLISHED`, or a weights file.
        device: Device of the network.

    Raises:
        UserError: If there is no such network or file, the download fails, or the file is damaged
            or contains another network.
    """
    if name == "texture":
        return Features(name, Texture().to(device), 96, device)
    if plugins.is_reference(name):
        return Features(name, build_network(name).to(device), 299, device)
    path = _weights_file(name)
    state = read_state(path)
    for kind, (key, shape) in _SIGNATURES.items():
        if key in state and state[key].shape == shape:
            network = _build(kind, state, path).to(device)
            if kind == "inception":  # whose weights are the same in all files
                return Features(kind, network, 299, device, state.get("fc.weight"))
            label = kind if name in PUBLISHED else f"{kind} of {path.name}"
            return Features(label, network, 224, device)
    raise WeightsError(
        f"{path} contains none of the networks {', '.join(PUBLISHED)}. Pass one of them, or "
        "FILE.py:NAME for a custom network"
    )


def _weights_file(name: str) -> Path:
    """The file of a network, downloaded if it is a published one that is not in the cache."""
    if name in PUBLISHED:
        weights = PUBLISHED[name]
        try:
            return weights.find() or download(weights.url, weights.file, sha256=weights.sha256)
        except UserError as error:
            raise UserError(
                f"{error}. Or set `metrics.features=texture`, which needs no weights"
            ) from None
    path = Path(name).expanduser()
    if not path.is_file():
        raise UserError(
            f"{name!r} is neither a feature network nor a file. Choose one of: "
            f"{', '.join(PUBLISHED)}, texture, a weights file, FILE.py:NAME"
        )
    return path


def _build(kind: str, state: dict[str, Tensor], path: Path) -> Backbone | Inception:
    """Builds a network with the tensors of a file, and with LPIPS's linear weights.

    Raises:
        WeightsError: If the tensors do not fit.
    """
    if kind == "inception":
        network = Inception()
        classifier = state.get("fc.weight")
        if classifier is not None and classifier.shape != (1008, 2048):
            raise WeightsError(
                f"{path} contains an Inception network with {len(classifier)} classes, but FID is "
                "defined on one with 1008. Set `metrics.features=inception`"
            )
    else:
        build, linear = _BACKBONES[kind]
        # Files that also contain linear weights were converted from Caffe.
        caffe = any(key.startswith("lpips.") for key in state)
        network = build(caffe=caffe)
        state = state if caffe else load_pickled(_LINEAR / linear) | state
    renamed = {re.sub(r".*\blin(\d+)\b.*", r"linear.\1", key): state[key] for key in state}
    kept = ("features.", "linear.", "Conv2d_", "Mixed_")  # not classifiers
    weights = {
        name: value.float() if value.is_floating_point() else value
        for name, value in renamed.items()
        if name.startswith(kept)
    }
    expected = {  # the published Inception lacks what only training needs
        name: tensor
        for name, tensor in network.state_dict().items()
        if name in weights or not name.endswith("num_batches_tracked")
    }
    if problem := mismatch(expected, weights):
        raise WeightsError(f"{path} does not fit its network: it {problem}")
    network.load_state_dict(weights)
    return network.requires_grad_(False).eval()


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors in a weights file of torch.save or safetensors, by name.

    Raises:
        WeightsError: If it is not such a file.
    """
    state = load_foreign(path)
    if not isinstance(state, dict) or not all(
        isinstance(value, Tensor) for value in state.values()
    ):
        raise WeightsError(
            f"{path} does not contain named tensors. Save the state_dict() of a network"
        )
    for name, value in state.items():
        require_plain(name, value, path)
    return state
