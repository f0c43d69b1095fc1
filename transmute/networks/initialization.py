"""How weights start."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def initialize(network: Network, name: str, gain: float) -> Network:
    """Draws all weights anew, as the original does, and returns the network.

    Args:
        network: Its convolutions get weights by `name` and zero biases, its batch norms N(1, gain) and zero.
        name: normal (N(0, gain)), xavier (Glorot and Bengio 2010), kaiming (He et al. 2015, fan-in, no gain) or orthogonal (Saxe et al. 2013).
        gain: Standard deviation or factor.
    """
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            match name:
                case "normal":
                    nn.init.normal_(module.weight, 0.0, gain)
                case "xavier":
                    nn.init.xavier_normal_(module.weight, gain)
                case "kaiming":
                    nn.init.kaiming_normal_(module.weight, a=0.0, mode="fan_in")
                case "orthogonal":
                    nn.init.orthogonal_(module.weight, gain)
                case _:
                    raise ValueError(f"initialization is normal, xavier, kaiming or orthogonal, but this is {name!r}")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, gain)
            nn.init.zeros_(module.bias)
    return network
