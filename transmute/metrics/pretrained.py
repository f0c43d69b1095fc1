"""Published weights of feature networks: where they are, and how to load them."""

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from transmute.download import download
from transmute.errors import UserError, first_line
from transmute.metrics.inception import Inception
from transmute.metrics.perceptual import LPIPS, Backbone, alexnet, squeezenet, vgg16
from transmute.weights import WeightsError, load_pickled, require_no_placeholder


@dataclass(frozen=True)
class Weights:
    """A published weights file, which torch and other tools keep in one cache folder.

    Attributes:
        url: Its address.
        sha256: SHA-256 in hexadecimal or its first digits. None if it is not published.
        alias: Another name under which a tool stores the same file.
    """

    url: str
    sha256: str | None = None
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
_LPIPS = "https://github.com/richzhang/PerceptualSimilarity/raw/master/lpips/weights/v0.1"

PUBLISHED = {
    "inception": Weights(
        "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
        "pt_inception-2015-12-05-6726825d.pth",
        "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
        alias="weights-inception-2015-12-05-6726825d.pth",
    ),
    "squeezenet": Weights(f"{_TORCHVISION}/squeezenet1_1-b8a52dc0.pth", "b8a52dc0"),
    "vgg16": Weights(f"{_TORCHVISION}/vgg16-397923af.pth", "397923af"),
    "alexnet": Weights(f"{_TORCHVISION}/alexnet-owt-7be5be79.pth", "7be5be79"),
}
"""Feature networks that are downloaded by name."""
LINEAR = {
    "alexnet": Weights(f"{_LPIPS}/alex.pth"),
    "vgg16": Weights(f"{_LPIPS}/vgg.pth"),
    "squeezenet": Weights(f"{_LPIPS}/squeeze.pth"),
}
"""LPIPS's linear weights for each backbone, the preferred one first. Not downloaded: without a
published hash, a file cannot be verified."""
_BACKBONES = {"squeezenet": squeezenet, "vgg16": vgg16, "alexnet": alexnet}
_SIGNATURES = {
    ("Mixed_7c.branch_pool.conv.weight", (192, 2048, 1, 1)): "inception",
    ("features.3.squeeze.weight", (16, 64, 1, 1)): "squeezenet",
    ("features.28.weight", (512, 512, 3, 3)): "vgg16",
    ("features.0.weight", (64, 3, 11, 11)): "alexnet",
}
"""Networks by a tensor, and its shape, by which a file is recognized."""


@dataclass(frozen=True)
class Pretrained:
    """A weights file that has been read.

    Attributes:
        kind: Name of the network in `PUBLISHED` that the weights fit.
        name: Name that metrics are labeled with.
        path: The file.
        state: Its tensors.
    """

    kind: str
    name: str
    path: Path
    state: dict[str, Tensor]

    def network(self) -> Backbone | Inception:
        """Builds the network, without gradients and in evaluation mode.

        Raises:
            WeightsError: If the weights do not fit.
        """
        # Files that also contain LPIPS's weights were converted from Caffe.
        caffe = any(key.startswith("lpips.") for key in self.state)
        network = _BACKBONES[self.kind](caffe=caffe) if self.kind in _BACKBONES else Inception()
        kept = ("features.", "Conv2d_", "Mixed_")  # not classifiers
        try:
            network.load_state_dict({k: v for k, v in self.state.items() if k.startswith(kept)})
        except RuntimeError as error:
            raise WeightsError(
                f"{self.path} does not fit its network: {' '.join(str(error).split())[:300]}"
            ) from None
        return network.requires_grad_(False).eval()

    def lpips(self) -> LPIPS:
        """Builds LPIPS on the network, with linear weights from the same file or from the cache.

        Raises:
            WeightsError: If LPIPS is not defined on this network, or its linear weights are
                missing or do not fit.
        """
        backbone = self.network()
        if not isinstance(backbone, Backbone):
            raise WeightsError(
                f"{self.path} is Inception, on which LPIPS is not defined. Set `metrics.lpips` to "
                "alexnet, vgg16 or squeezenet"
            )
        weights = LINEAR[self.kind]
        path = weights.find()
        linear = _linear_weights(self.state) or (_linear_weights(read_state(path)) if path else [])
        if not linear:
            raise WeightsError(
                f"LPIPS with {self.kind} also needs its linear weights. Download "
                f"{weights.url} and save it as {weights.file}, or set `metrics.lpips=none`"
            )
        if len(linear) != len(backbone.taps):
            raise WeightsError(
                f"{self.path} has {len(linear)} linear weights for LPIPS, but LPIPS with "
                f"{self.kind} has {len(backbone.taps)}"
            )
        return LPIPS(self.name, backbone, linear).requires_grad_(False).eval()


def read_pretrained(name: str) -> Pretrained:
    """Reads a network's weights.

    Args:
        name: A name in `PUBLISHED`, downloaded if it is not in the cache, or a weights file.

    Raises:
        UserError: If there is no such network or file, the download fails, or the file is damaged
            or contains another network.
    """
    path = Path(name).expanduser()
    if name in PUBLISHED:
        weights = PUBLISHED[name]
        try:
            path = weights.find() or download(weights.url, weights.file, sha256=weights.sha256)
        except UserError as error:
            raise UserError(
                f"{error}. Or set `metrics.features=texture`, which needs no weights"
            ) from None
    if not path.is_file():
        raise UserError(
            f"{name!r} is neither a feature network nor a file. Choose one of: "
            f"{', '.join(PUBLISHED)}, texture, a weights file, FILE.py:NAME"
        )
    state = read_state(path)
    for (key, shape), kind in _SIGNATURES.items():
        if key in state and state[key].shape == shape:
            # Only Inception's weights are the same in all files.
            known = name in PUBLISHED or kind == "inception"
            return Pretrained(kind, kind if known else f"{kind} of {path.name}", path, state)
    raise WeightsError(
        f"{path} contains none of the networks {', '.join(PUBLISHED)}. Pass one of them, or "
        "FILE.py:NAME for a custom network"
    )


def available() -> dict[str, bool]:
    """The published networks in torch's cache, and whether LPIPS's linear weights are there too.

    The networks for LPIPS are in the order of preference.
    """
    return {
        name: name in LINEAR and LINEAR[name].find() is not None
        for name in (*LINEAR, "inception")
        if PUBLISHED[name].find()
    }


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors in a weights file of torch.save or safetensors, by name.

    Raises:
        WeightsError: If it is not such a file.
    """
    require_no_placeholder(path)
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise WeightsError(
                f"{path} is not a safetensors file, or is damaged ({first_line(error)})"
            ) from None
    state = load_pickled(path)
    if not isinstance(state, dict) or not all(
        isinstance(value, Tensor) for value in state.values()
    ):
        raise WeightsError(
            f"{path} does not contain named tensors. Save the state_dict() of a network"
        )
    return state


def _linear_weights(state: dict[str, Tensor]) -> list[Tensor]:
    """LPIPS's weights among tensors, in the order of the layers."""
    found = {int(match[1]): key for key in state if (match := re.search(r"lin(\d+)", key))}
    return [state[found[layer]].float() for layer in sorted(found)]
