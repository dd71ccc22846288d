"""The first weights of the classifiers of fastreid's heads."""

from __future__ import annotations

import torch
from fastreid.modeling.heads import EmbeddingHead
from torch import nn

FASTREID_STD = 0.01  # of EmbeddingHead.reset_parameters (embedding_head.py:79)


@torch.no_grad()
def scale_classifiers(model: nn.Module, std: float) -> None:
    """Give the classifiers of a model that was just built another standard deviation, in place.

    fastreid's draws are scaled: no random number is drawn, so everything else starts as it did.

    Args:
        model: whose heads are fastreid's ``EmbeddingHead``; other heads are left alone.
        std: above 0.
    """
    for module in model.modules():
        if isinstance(module, EmbeddingHead):
            module.weight.mul_(std / FASTREID_STD)
