"""Names of tensor shapes, for documentation. Tests check them at run time, with jaxtyping.

Images: in [-1, 1], RGB or gray. Features: outputs of layers. Scores: a discriminator's outputs, one
per patch, unbounded. Scalar: a loss. Vectors: features at some positions of an image.
"""

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
