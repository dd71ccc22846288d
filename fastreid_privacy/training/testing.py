"""A model on a data set: on the validation split of its training, and on test sets."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from fastreid.config import CfgNode
from fastreid.evaluation import inference_on_dataset
from torch import nn
from torch.utils.data import DataLoader

from .. import data
from ..evaluation import Evaluation, HybridEvaluator, RankingOptions, picture_rank_lists
from ..evaluation.lpips import Lpips, lpips_of_config
from ..model.verdict import thresholds_of
from .processes import unwrap


class DomainExtractor(nn.Module):
    """``model.extract_domains`` as a module, for fastreid's ``inference_on_dataset``.

    Args:
        model: a privacy meta-architecture, in DistributedDataParallel or not.
        flip: as of ``extract_domains``.
    """

    def __init__(self, model: nn.Module, flip: bool = False):
        super().__init__()
        self.model, self.flip = unwrap(model), flip
        self.train(model.training)  # fastreid restores the mode that it finds here

    def forward(self, batch: dict) -> dict:
        return self.model.extract_domains(batch, self.flip)

    def images(self, batch: dict) -> dict[str, torch.Tensor]:
        """The images of every domain alone, in evaluation."""
        self.model.eval()
        return self.model.domain_images(batch)


def validate(cfg: CfgNode, model: nn.Module) -> Evaluation | None:
    """Retrieval and image quality on the validation split; None off rank 0."""
    loader, num_query = data.build_validation_loader(cfg)
    return _evaluate(cfg, model, loader, hybrid_evaluator(cfg, num_query))


def test(cfg: CfgNode, model: nn.Module, pairs: Sequence[str] | None = None) -> dict[str, Evaluation]:
    """The evaluation of each test set, by name, with pictures of a few rankings; {} off rank 0.

    Args:
        cfg: with ``DATASETS.TESTS``, and ``TEST`` options.
        model: a privacy meta-architecture, in DistributedDataParallel or not.
        pairs: of domains, such as "OI-PI"; by default all of ``PAIRS`` that the model gives.

    Raises:
        UserError: when the model does not give a domain of ``pairs``, or a test set cannot be ranked.
    """
    evaluations = {}
    for name in cfg.DATASETS.TESTS:
        loader, num_query = data.build_test_loader(cfg, name)
        evaluator = hybrid_evaluator(cfg, num_query, pairs, lpips_of_config(cfg))
        evaluation = _evaluate(cfg, model, loader, evaluator)
        if evaluation:
            images_of = DomainExtractor(model).images
            best = evaluation.rankings, evaluation.shown_queries
            pictures = picture_rank_lists(*best, loader.dataset, num_query, images_of)
            evaluations[name] = dataclasses.replace(evaluation, rank_lists=pictures)
    return evaluations


def _evaluate(
    cfg: CfgNode, model: nn.Module, loader: DataLoader, evaluator: HybridEvaluator
) -> Evaluation | None:
    # fastreid makes {} of the None that evaluators return off rank 0 (evaluation/evaluator.py:160)
    return inference_on_dataset(DomainExtractor(model, cfg.TEST.FLIP.ENABLED), loader, evaluator) or None


def hybrid_evaluator(
    cfg: CfgNode, num_query: int, pairs: Sequence[str] | None = None, lpips: Lpips | None = None
) -> HybridEvaluator:
    """The evaluator of a config's ``TEST`` options, by default for every pair of domains the model gives."""
    return HybridEvaluator(
        num_query,
        pairs,
        RankingOptions.from_config(cfg),
        # ranking knows no other device that torch may train on
        device=cfg.MODEL.DEVICE if cfg.MODEL.DEVICE.startswith("cuda") else "cpu",
        features=getattr(torch, cfg.TEST.FEATURES),
        lpips=lpips,
        limits=thresholds_of(cfg)[:2],
    )
