"""A network's weights from another tool's names and colors to ours."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from transmute.interop.layouts import Recognized, State, blurs
from transmute.networks.config import HeadsConfig
from transmute.weights import WeightsError


def converted(state: State, recognized: Recognized, path: Path) -> State:
    """The weights by our names, every one of them accounted for.

    Raises:
        WeightsError: With the first weights that are missing, left over or of another shape.
    """
    with torch.device("meta"):  # shapes alone: a made-up file may claim any
        network = recognized.build()
    wanted = {name: recognized.key(name) for name in network.state_dict()}
    kernels = [recognized.key(name) for name in blurs(network)]
    used = {*wanted.values(), *kernels}
    # Statistics without weights are those of an instance norm that tracked them (torch 0.3); it never used them.
    left_over = [key for key in state if key not in used and not _is_tracked_statistic(key, state)]
    # Files of torch before 0.4.1 have no counts; PyTorch-GAN's judge of pairs ends without a bias.
    zeros = {theirs for theirs in wanted.values() if theirs.endswith("num_batches_tracked") or (theirs == "model.12.bias" and judges_pairs(state))}
    missing = [theirs for theirs in wanted.values() if theirs not in state and theirs not in zeros]
    if missing or left_over:
        found = [
            f"{len(keys)} weights are {how} (first {repr(keys[0][:60])[1:-1]})"
            for how, keys in (("missing", missing), ("left over", left_over))
            if keys
        ]
        raise WeightsError(f"{path} looks like a {recognized} of {recognized.tool}, but {' and '.join(found)}")
    ours = {}
    for name, value in network.state_dict().items():
        theirs = state[wanted[name]] if wanted[name] in state else torch.zeros(value.shape, dtype=value.dtype)
        if theirs.shape != value.shape or theirs.is_floating_point() != value.is_floating_point():
            shapes = f"{tuple(theirs.shape)} of {theirs.dtype} where {tuple(value.shape)} of {value.dtype} is expected"
            raise WeightsError(f"{path} looks like a {recognized} of {recognized.tool}, but {wanted[name]} is {shapes}")
        ours[name] = theirs
    for key, kernel in ({recognized.key(name): kernel for name, kernel in blurs(recognized.build()).items()} if kernels else {}).items():
        if key in state and not (state[key].shape == kernel.shape and torch.allclose(state[key].float(), kernel, atol=1e-6)):
            raise WeightsError(f"{path} blurs with another kernel than Transmute: {key} is {tuple(state[key].shape)}")
    return ours


def _is_tracked_statistic(key: str, state: State) -> bool:
    prefix, _, leaf = key.rpartition(".")
    return leaf in ("running_mean", "running_var", "num_batches_tracked") and f"{prefix}.weight" not in state


def flipped_colors(state: State, recognized: Recognized) -> State:
    """The same network for RGB where it worked on BGR, or the other way round: the first and the last convolution change."""
    network = recognized.build()
    if isinstance(recognized.config, HeadsConfig):  # the first of them sees the picture itself
        first = "heads.0.0.weight"
        return state | ({first: state[first].flip(1)} if state[first].shape[1] == 3 else {})
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


def judges_pairs(state: State) -> bool:
    """Whether this is PyTorch-GAN's judge of pix2pix: four strides, pairs of pictures, and no bias at the end."""
    return _rows(state, "model.12.weight") == 1 and "model.12.bias" not in state and state["model.0.weight"].shape[1] % 2 == 0


def _rows(state: State, key: str) -> int:
    return state[key].shape[0] if key in state else 0
