"""Names for the shapes of tensors. They document; where jaxtyping is installed, the tests check them at run time."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING or find_spec("jaxtyping") is None:
    Images = Features = Scores = Scalar = Vectors = Tensor
else:
    from jaxtyping import Float

    Images = Float[Tensor, "batch _ height width"]
    Features = Float[Tensor, "batch channels _ _"]
    Scores = Float[Tensor, "batch 1 _ _"]
    Scalar = Float[Tensor, ""]
    Vectors = Float[Tensor, "batch places width"]

# Images: pictures in [-1, 1], RGB or gray. Features: what layers pass on, of changing size.
# Scores: what a discriminator says of each patch, unbounded. Scalar: a loss. Vectors: what is compared at some places of a picture.
