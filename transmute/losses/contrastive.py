"""PatchNCE: Park, Efros, Zhang and Zhu (2020), "Contrastive Learning for Unpaired Image-to-Image Translation"."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from transmute.tensors import Scalar, Vectors


def patch_nce(queries: Vectors, keys: Vectors, temperature: float) -> Scalar:
    """-log softmax of each query's similarity to the key at its own place, among all places of the same picture (equations 3 and 4).

    Args:
        queries: (batch, places, width), of the output; of length 1.
        keys: The same, of the input; no gradient flows into them.
        temperature: What similarities are divided by.
    """
    logits = queries @ keys.detach().transpose(1, 2) / temperature
    own = torch.arange(logits.shape[1], device=logits.device).expand(logits.shape[0], -1)
    return F.cross_entropy(logits.flatten(0, 1), own.flatten())
