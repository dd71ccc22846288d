"""How weights lie in memory: channels last, which convolutions on CPUs and tensor cores are fastest with."""

from __future__ import annotations

import torch
from fastreid.layers.batch_norm import GhostBatchNorm
from fastreid.modeling.backbones.repvgg import RepVGGBlock
from torch import nn

AS_THEY_ARE = (GhostBatchNorm, RepVGGBlock)


def to_channels_last(model: nn.Module) -> None:
    """Lay out the weights of convolutions channels last, in place; convolutions then give such images.

    Values, shapes and keys stay, and weights of either layout load into either. A child of the model that
    splits its batches (fastreid's ``GhostBN``) stays as it is: batch_norm.py:66 needs the other layout. So
    does one of RepVGG blocks: on the CPU torch 2.15 ended the whole process in them ("double free").

    Args:
        model: whose children are laid out one by one.
    """
    for child in model.children():
        if not any(isinstance(module, AS_THEY_ARE) for module in child.modules()):
            child.to(memory_format=torch.channels_last)
