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
from ..evaluation.hybrid_evaluator import SAMPLES
from ..evaluation.lpips import Lpips, lpips_of_config
from ..model.verdict import thresholds_of
from .processes import unwrap
from .step import training_precision

CHECKED = {"none": ("OI-OI",), "conventional": ("OI-PI", "OI-DI"), "learned": ("OI-PI",)}
"""By protection: the pairs of domains that a check during training ranks."""


class DomainExtractor(nn.Module):
    """``model.extract_domains`` as a module, for fastreid's ``inference_on_dataset``.

    Args:
        model: a privacy meta-architecture, in DistributedDataParallel or not.
        flip: as of ``extract_domains``.
        checked: whether ``extract_checked`` will do.
    """

    def __init__(self, model: nn.Module, flip: bool = False, checked: bool = False):
        super().__init__()
        self.model, self.flip, self.checked = unwrap(model), flip, checked
        self.train(model.training)  # fastreid restores the mode that it finds here

    def forward(self, batch: dict) -> dict:
        extract = self.model.extract_checked if self.checked else self.model.extract_domains
        return extract(batch, self.flip)

    def images(self, batch: dict) -> dict[str, torch.Tensor]:
        """The images of every domain alone, in evaluation."""
        self.model.eval()
        return self.model.domain_images(batch)


def validate(cfg: CfgNode, model: nn.Module) -> Evaluation | None:
    """What a check needs of the validation split, in the precision of training; None off rank 0.

    That is the retrieval of ``CHECKED``, and the quality of protected and desensitized images. The rest costs
    five times as much, and is measured where a model is tested.
    """
    loader, num_query = data.build_validation_loader(cfg)
    evaluator = hybrid_evaluator(cfg, num_query, CHECKED[cfg.PRIVACY.PROTECTION], samples=0)
    precision = training_precision(cfg)
    with torch.autocast(cfg.MODEL.DEVICE.partition(":")[0], precision, precision is not torch.float32):
        return _evaluate(DomainExtractor(model, cfg.TEST.FLIP.ENABLED, checked=True), loader, evaluator)


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
        extractor = DomainExtractor(model, cfg.TEST.FLIP.ENABLED)
        evaluation = _evaluate(extractor, loader, evaluator)
        if evaluation:
            images_of = DomainExtractor(model).images
            best = evaluation.rankings, evaluation.shown_queries
            pictures = picture_rank_lists(*best, loader.dataset, num_query, images_of)
            evaluations[name] = dataclasses.replace(evaluation, rank_lists=pictures)
    return evaluations


def _evaluate(
    extractor: DomainExtractor, loader: DataLoader, evaluator: HybridEvaluator
) -> Evaluation | None:
    # fastreid makes {} of the None that evaluators return off rank 0 (evaluation/evaluator.py:160)
    return inference_on_dataset(extractor, loader, evaluator) or None


def hybrid_evaluator(
    cfg: CfgNode,
    num_query: int,
    pairs: Sequence[str] | None = None,
    lpips: Lpips | None = None,
    samples: int = SAMPLES,
) -> HybridEvaluator:
    """The evaluator of a config's ``TEST`` options, by default for every pair of domains the model gives."""
    return HybridEvaluator(
        num_query,
        pairs,
        RankingOptions.from_config(cfg),
        samples,
        # ranking knows no other device that torch may train on
        device=cfg.MODEL.DEVICE if cfg.MODEL.DEVICE.startswith("cuda") else "cpu",
        features=getattr(torch, cfg.TEST.FEATURES),
        lpips=lpips,
        limits=thresholds_of(cfg)[:2],
    )
