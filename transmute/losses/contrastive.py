"""PatchNCE.

Park, Efros, Zhang and Zhu (2020), "Contrastive Learning for Unpaired Image-to-Image Translation".
"""

import torch
import torch.nn.functional as F

from transmute.tensors import Scalar, Vectors


def patch_nce(queries: Vectors, keys: Vectors, temperature: float) -> Scalar:
    """Cross-entropy of matching each query with the key at its own position (equations 3 and 4).

    The negatives are the other positions of the same image.

    Args:
        queries: (batch, positions, width) unit vectors, from the output.
        keys: The same, from the input. No gradient flows into them.
        temperature: Divisor of the similarities.
    """
    logits = queries @ keys.detach().transpose(1, 2) / temperature
    targets = torch.arange(logits.shape[1], device=logits.device).expand(logits.shape[0], -1)
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())
