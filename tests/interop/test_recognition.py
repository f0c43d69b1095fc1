from __future__ import annotations

from pathlib import Path

import pytest
import torch

from transmute.interop.recognition import recognize_network
from transmute.weights import WeightsError


@pytest.mark.parametrize(
    "state",
    [
        {"model.1.weight": torch.zeros(2, 3, 7, 7)},
        {"model.1.weight": torch.zeros(2, 3, 7, 7), "model.1.conv_block.1.weight": torch.zeros(2)},
        {"model.0.weight": torch.zeros(2, 3, 4, 4)},
        {"model.0.conv.weight": torch.zeros(2, 3, 4, 4)},
        {"model.0.conv.weight": torch.zeros(2, 3, 7, 7)},
        {"model.model.0.weight": torch.zeros(2, 3, 4, 4)},
        {"model.model.0.conv.weight": torch.zeros(2, 3, 4, 4)},
        {"down1.model.0.weight": torch.zeros(2, 3, 4, 4)},
        {  # 1332 levels, whose channels no computer can count
            "model.1.weight": torch.zeros(2, 3, 7, 7),
            "model.4000.conv_block.1.weight": torch.zeros(2, 2, 3, 3),
        },
        {"mlp_0.0.weight": torch.zeros(2)},
        {"mlp_0.0.weight": torch.zeros(2, 3), "mlp_2.0.weight": torch.zeros(2, 3)},
    ],
)
def test_a_part_of_a_network_is_unknown(state: dict[str, torch.Tensor]) -> None:
    with pytest.raises(WeightsError, match=r"it\.pth contains no network that Transmute knows"):
        recognize_network(state, Path("it.pth"))
