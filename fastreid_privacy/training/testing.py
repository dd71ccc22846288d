"""Evaluating a model on a data set: the validation split of a training, and the test sets."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from fastreid.config import CfgNode
from torch import nn

from ..evaluation import HybridEvaluator, RankingOptions
from ..evaluation.lpips import Lpips


class DomainExtractor(nn.Module):
    """``model.extract_domains`` as a module, for fastreid's ``inference_on_dataset``."""

    def __init__(self, model: nn.Module, flip: bool = False):
        super().__init__()
        self.model, self.flip = model, flip
        self.train(model.training)  # fastreid restores the mode that it finds here

    def forward(self, batch: dict) -> dict:
        return self.model.extract_domains(batch, self.flip)

    def images(self, batch: dict) -> dict[str, torch.Tensor]:
        """The images of every domain alone, in evaluation."""
        self.model.eval()
        return self.model.domain_images(batch)


def hybrid_evaluator(
    cfg: CfgNode, num_query: int, pairs: Sequence[str] | None = None, lpips: Lpips | None = None
) -> HybridEvaluator:
    """The evaluator of a config's ``TEST`` options, by default for every pair of domains that the model
    gives."""
    kept_as = getattr(torch, cfg.TEST.FEATURES)
    device = (
        cfg.MODEL.DEVICE if cfg.MODEL.DEVICE.startswith("cuda") else "cpu"
    )  # ranking knows no other device that torch may train on
    return HybridEvaluator(
        num_query, pairs, RankingOptions.from_config(cfg), device=device, features=kept_as, lpips=lpips
    )
