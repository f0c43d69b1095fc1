"""Means of the losses between two reports, kept on the device so that no step waits for them."""

from __future__ import annotations

import torch
from torch import Tensor


class Meter:
    """Sums of losses since the last report. Its state is in the checkpoint: a continued run reports the same means."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.count = 0

    def add(self, losses: dict[str, Tensor]) -> None:
        self.sums = {name: self.sums.get(name, 0) + loss.double() for name, loss in losses.items()}
        self.count += 1

    def means(self) -> dict[str, float]:
        """Mean of each loss since the last `reset`; waits for the device."""
        if not self.sums:
            return {}
        values = (torch.stack(list(self.sums.values())) / self.count).tolist()
        return dict(zip(self.sums, values, strict=True))

    def reset(self) -> None:
        self.sums, self.count = {}, 0

    def state_dict(self) -> dict[str, Tensor]:
        return {f"meter.{name}": value for name, value in self.sums.items()} | {"meter_count": torch.tensor(self.count)}

    def load_state_dict(self, state: dict[str, Tensor], device: torch.device) -> None:
        self.sums = {key.removeprefix("meter."): value.to(device) for key, value in state.items() if key.startswith("meter.")}
        self.count = int(state["meter_count"])
