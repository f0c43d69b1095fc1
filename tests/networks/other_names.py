"""How other tools name the weights of the networks that we share with them; for the golden fixtures."""

from __future__ import annotations

import re

from torch import Tensor


def sequential_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """ResNets and discriminators: their positions in the sequence are ours."""
    renamed = {}
    for key, value in state.items():
        if "filt" in key or (key.endswith("num_batches_tracked") and f"{key.rsplit('.', 1)[0]}.weight" not in state):
            continue
        key = re.sub(r"^(module\.)?(model|net)\.", "layers.", key)
        renamed[re.sub(r"\.(conv_block|block)\.", ".layers.", key)] = value
    # Statistics without weights are those of an instance norm that tracked them (torch 0.3); it never used them.
    tracked = [key for key in renamed if "running_" in key and f"{key.rsplit('.', 1)[0]}.weight" not in renamed]
    return {key: value for key, value in renamed.items() if key not in tracked}


def unet_names(state: dict[str, Tensor], depth: int) -> dict[str, Tensor]:
    """U-Nets: nested from the outside in there, one list down and one up here."""
    renamed = {}
    for key, value in state.items():
        path, leaf = re.fullmatch(r"model\.((?:model\.\d+\.)+)(\w+)", key).groups()  # pyright: ignore[reportOptionalMemberAccess]
        *_, place = numbers = [int(number) for number in re.findall(r"\d+", path)]
        level = len(numbers) - 1
        outermost, innermost = {0: "downs.0", 3: "ups.1"}, {1: "downs.1", 3: "ups.1", 4: "ups.2"}
        between = {1: "downs.1", 2: "downs.2", 5: "ups.1", 6: "ups.2"}
        side, layer = (outermost if level == 0 else innermost if level == depth - 1 else between)[place].split(".")
        renamed[f"{side}.{level if side == 'downs' else depth - 1 - level}.{layer}.{leaf}"] = value
    return renamed
