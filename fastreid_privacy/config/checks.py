"""Refusing, before anything is built, what cannot be trained or would silently do nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastreid.config import CfgNode

from ..core.dotted import value_of
from ..core.errors import UserError
from ..core.images import NORMALIZING
from .values import RAW, RAW_AND_DESENSITIZED, given_rank1, paper_results, resolve_device

LARGEST_INPUT = 2**22  # pixels of the images that networks see, 2048 × 2048; the paper's have 2^15
MOST = {  # of whole numbers that say how much memory or how many processes a model takes
    "MODEL.BACKBONE.FEAT_DIM": 2**16,
    "MODEL.HEADS.EMBEDDING_DIM": 2**16,
    "MODEL.HEADS.NUM_CLASSES": 2**24,
    "DATALOADER.NUM_WORKERS": 256,
}

PROTECTIONS = ("none", "conventional", "learned")
ANONYMIZER_INPUTS = ("auto", RAW, RAW_AND_DESENSITIZED)

DISTILLATION = "no student is trained here (fastreid's Distiller reads it)"
FOCAL_LOSS = "fastreid 1.4.0 has no focal loss among MODEL.LOSSES.NAME"
MUST_KEEP_ITS_DEFAULT = {
    "TEST.PRECISE_BN.ENABLED": "its passes over the data would move the class centers",
    "DATASETS.COMBINEALL": "it would put test identities into training",
    "SOLVER.WARMUP_ITERS": "give the warm-up in epochs with SOLVER.WARMUP_EPOCHS",
    "SOLVER.WARMUP_METHOD": "the warm-up is linear, over SOLVER.WARMUP_EPOCHS",
    "INPUT.CROP.ENABLED": "its size would contradict INPUT.SIZE_TRAIN, which the anonymizer is built for",
    "INPUT.RPT.ENABLED": "patches of other people would reach the anonymizer; INPUT.REA reaches Re-ID only",
    "DATALOADER.SET_WEIGHT": "the sampler that reads it, SetReWeightSampler, waits for a batch of a size "
    "that it has ruled out",
    "MODEL.QUEUE_SIZE": "no queue of features is kept (fastreid's MoCo reads it)",
    "MODEL.LOSSES.FL.ALPHA": FOCAL_LOSS,
    "MODEL.LOSSES.FL.GAMMA": FOCAL_LOSS,
    "MODEL.LOSSES.FL.SCALE": FOCAL_LOSS,
    "KD.MODEL_CONFIG": DISTILLATION,
    "KD.MODEL_WEIGHTS": DISTILLATION,
    "KD.EMA.ENABLED": DISTILLATION,
    "KD.EMA.MOMENTUM": DISTILLATION,
}


def check_bounds(cfg: CfgNode) -> None:
    """Refuse what the config of somebody else's file may carry: sizes that no machine has memory for, numbers
    that leave float32, and a word for the anonymizer's input that means nothing.

    Raises:
        UserError: naming the key, its value, and what is allowed.
    """
    if cfg.PRIVACY.ANONYMIZER.INPUT not in ANONYMIZER_INPUTS:
        raise UserError(
            f"PRIVACY.ANONYMIZER.INPUT is {cfg.PRIVACY.ANONYMIZER.INPUT}; allowed: "
            f"{', '.join(ANONYMIZER_INPUTS)}"
        )
    crop = ["INPUT.CROP.SIZE"] if cfg.INPUT.CROP.ENABLED else []
    for key in ("INPUT.SIZE_TRAIN", "INPUT.SIZE_TEST", *crop):
        sides: Any = value_of(cfg, key)
        if len(sides) != 2 or min(sides) < 1 or sides[0] * sides[1] > LARGEST_INPUT:
            raise UserError(
                f"{key} is {sides}; give height and width, each at least 1, together at most "
                f"{LARGEST_INPUT:,} pixels"
            )
    for key, most in MOST.items():
        value: Any = value_of(cfg, key)
        if not 0 <= value <= most:
            raise UserError(f"{key} is {value}; it must lie between 0 and {most:,}")
    for name, (low, high) in NORMALIZING.items():
        key = f"MODEL.PIXEL_{name.upper()}"
        values: Any = value_of(cfg, key)
        if not all(isinstance(each, int | float) and low <= each <= high for each in values):
            raise UserError(f"{key} is {values}; its numbers must lie between {low:g} and {high:g}")


def check_privacy_config(cfg: CfgNode, defaults: CfgNode) -> None:
    """Refuse what cannot be trained or would silently do nothing, and resolve ``MODEL.DEVICE``.

    Args:
        cfg: to be checked; its ``MODEL.DEVICE`` is replaced.
        defaults: the config without any change.

    Raises:
        UserError: naming the key, its value, and what is allowed.
    """
    cfg.MODEL.DEVICE = resolve_device(cfg.MODEL.DEVICE)
    check_bounds(cfg)
    privacy, solver = cfg.PRIVACY, cfg.SOLVER

    def allow(key: str, value: object, choices: Sequence[object]) -> None:
        if value not in choices:
            raise UserError(f"{key} is {value}; allowed: {', '.join(map(str, choices))}")

    def at_least(key: str, value: float, lowest: float) -> None:
        if not value >= lowest:
            raise UserError(f"{key} is {value}; it must be at least {lowest}")

    allow("PRIVACY.PROTECTION", privacy.PROTECTION, PROTECTIONS)
    allow("PRIVACY.UPGRADE.PRIVACY", privacy.UPGRADE.PRIVACY, ("mean", "worst"))
    allow("TEST.CHECKPOINT", cfg.TEST.CHECKPOINT, ("best", "final"))
    allow("TEST.METRIC", cfg.TEST.METRIC, ("cosine", "euclidean"))
    allow("TEST.FEATURES", cfg.TEST.FEATURES, ("float32", "float16"))
    allow("SOLVER.SCHED", solver.SCHED, ("MultiStepLR", "CosineAnnealingLR"))
    allow("PRIVACY.DESENSITIZER.PIXEL_REDUCE", privacy.DESENSITIZER.PIXEL_REDUCE, ("mean", "corner"))
    for key, value in (
        ("SOLVER.MAX_EPOCH", solver.MAX_EPOCH),
        ("TEST.EVAL_PERIOD", cfg.TEST.EVAL_PERIOD),
        ("SOLVER.CHECKPOINT_PERIOD", solver.CHECKPOINT_PERIOD),
        ("SOLVER.KEEP_CHECKPOINTS", solver.KEEP_CHECKPOINTS),
        ("SOLVER.IMS_PER_BATCH", solver.IMS_PER_BATCH),
        ("TEST.IMS_PER_BATCH", cfg.TEST.IMS_PER_BATCH),
        ("DATALOADER.NUM_INSTANCE", cfg.DATALOADER.NUM_INSTANCE),
        ("TEST.AQE.QE_TIME", cfg.TEST.AQE.QE_TIME),
        ("TEST.AQE.QE_K", cfg.TEST.AQE.QE_K),
        ("TEST.RERANK.K1", cfg.TEST.RERANK.K1),
        ("TEST.RERANK.K2", cfg.TEST.RERANK.K2),
    ):
        at_least(key, value, 1)
    if not 0 <= cfg.TEST.AQE.ALPHA < math.inf:
        raise UserError(f"TEST.AQE.ALPHA is {cfg.TEST.AQE.ALPHA}; it must be at least 0, and finite")
    if not 0 <= cfg.TEST.RERANK.LAMBDA <= 1:
        raise UserError(
            f"TEST.RERANK.LAMBDA is {cfg.TEST.RERANK.LAMBDA}; it must lie between 0 (the Jaccard distance "
            "alone) and 1"
        )
    if not 0 < cfg.MODEL.HEADS.CLASSIFIER_STD < math.inf:
        raise UserError(
            f"MODEL.HEADS.CLASSIFIER_STD is {cfg.MODEL.HEADS.CLASSIFIER_STD}; it must be above 0, and finite"
        )
    if not solver.BASE_LR > 0:
        raise UserError(f"SOLVER.BASE_LR is {solver.BASE_LR}; it must be above 0")
    if len(solver.GAN_BETAS) != 2 or not all(0 <= beta < 1 for beta in solver.GAN_BETAS):
        raise UserError(f"SOLVER.GAN_BETAS is {solver.GAN_BETAS}; give Adam's two betas, from 0 to below 1")
    for key, value in (("SOLVER.WARMUP_FACTOR", solver.WARMUP_FACTOR), ("SOLVER.GAMMA", solver.GAMMA)):
        if not 0 < value <= 1:
            raise UserError(f"{key} is {value}; it must be above 0 and at most 1")
    at_least("SOLVER.WARMUP_EPOCHS", solver.WARMUP_EPOCHS, 0)
    at_least("PRIVACY.LAMBDA_L1", privacy.LAMBDA_L1, 0)
    if not 0 <= privacy.LAMBDA_REC < math.inf:
        raise UserError(
            f"PRIVACY.LAMBDA_REC is {privacy.LAMBDA_REC}; it must be at least 0 (without recovery), and "
            "finite"
        )
    _check_attacker(cfg)
    _check_teacher(cfg)
    at_least("PRIVACY.CENTER_LOSS.WEIGHT", privacy.CENTER_LOSS.WEIGHT, 0)
    at_least("PRIVACY.CENTER_LOSS.LR", privacy.CENTER_LOSS.LR, 0)
    if not 0 <= cfg.SEED < 2**32:
        raise UserError(
            f"SEED is {cfg.SEED}; it must be at least 0 and below {2**32}, as numpy's generators need"
        )
    if list(cfg.INPUT.SIZE_TRAIN) != list(cfg.INPUT.SIZE_TEST):
        raise UserError(
            f"INPUT.SIZE_TRAIN {cfg.INPUT.SIZE_TRAIN} and INPUT.SIZE_TEST {cfg.INPUT.SIZE_TEST} must be "
            "equal: the anonymizer and Re-ID see the same images in training and test"
        )
    paper_results(cfg)
    _check_augmentation(cfg)
    _check_batch(cfg)
    _check_upgrade(cfg)
    _refuse_unsupported(cfg, defaults)


def _check_augmentation(cfg: CfgNode) -> None:
    """Images that are desensitized before they are cropped cannot have been changed otherwise."""
    for name in ("AUTOAUG", "CJ", "AFFINE", "AUGMIX"):
        if cfg.PRIVACY.DESENSITIZE_BEFORE_CROP and cfg.INPUT[name].ENABLED:
            raise UserError(
                "PRIVACY.DESENSITIZE_BEFORE_CROP True (which reproduce --protocol paper sets) and "
                f"INPUT.{name}.ENABLED True do not go together: desensitized images are padded, cropped and "
                "mirrored as the raw ones, and nothing else"
            )


def _check_attacker(cfg: CfgNode) -> None:
    """An attacker in the loop needs an anonymizer to learn from, and no recovery decoder beside it."""
    privacy, weight = cfg.PRIVACY, cfg.PRIVACY.ATTACKER.WEIGHT
    if not 0 <= weight < math.inf:
        raise UserError(
            f"PRIVACY.ATTACKER.WEIGHT is {weight}; it must be at least 0 (no attacker), and finite"
        )
    if weight and privacy.PROTECTION != "learned":
        raise UserError(
            f"PRIVACY.ATTACKER.WEIGHT {weight} does nothing with PRIVACY.PROTECTION {privacy.PROTECTION}, "
            "which has no anonymizer; set it to 0, or PRIVACY.PROTECTION to learned"
        )
    if weight and privacy.LAMBDA_REC:
        raise UserError(
            f"PRIVACY.ATTACKER.WEIGHT {weight} would take from the images what recovery is to find in them; "
            f"set PRIVACY.LAMBDA_REC, which is {privacy.LAMBDA_REC}, to 0 (originals are sealed then), or "
            "the weight to 0"
        )


def _check_teacher(cfg: CfgNode) -> None:
    weight = cfg.PRIVACY.TEACHER.WEIGHT
    if not 0 <= weight < math.inf:
        raise UserError(f"PRIVACY.TEACHER.WEIGHT is {weight}; it must be at least 0 (no term), and finite")


def _check_batch(cfg: CfgNode) -> None:
    batch, instances = cfg.SOLVER.IMS_PER_BATCH, cfg.DATALOADER.NUM_INSTANCE
    if cfg.DATALOADER.SAMPLER_TRAIN in ("NaiveIdentitySampler", "BalancedIdentitySampler") and (
        instances < 2 or batch % instances
    ):
        raise UserError(
            f"SOLVER.IMS_PER_BATCH {batch} is no multiple of DATALOADER.NUM_INSTANCE {instances} (at least "
            "2): a batch holds NUM_INSTANCE images of each identity"
        )
    validation = cfg.DATASETS.VALIDATION
    for key in ("FRACTION", "QUERY_FRACTION"):
        if not 0 < validation[key] < 1:
            raise UserError(f"DATASETS.VALIDATION.{key} is {validation[key]}; it must lie between 0 and 1")


def _check_upgrade(cfg: CfgNode) -> None:
    if cfg.PRIVACY.PROTECTION == "learned" and cfg.PRIVACY.UPGRADE.ENABLED:
        given_rank1(cfg)
    if cfg.PRIVACY.UPPER_BOUND not in ("", "auto") and not Path(cfg.PRIVACY.UPPER_BOUND).is_file():
        raise UserError(
            f"PRIVACY.UPPER_BOUND is {cfg.PRIVACY.UPPER_BOUND}; give auto, nothing, or the path of an "
            "upper bound's results.json"
        )


def _refuse_unsupported(cfg: CfgNode, defaults: CfgNode) -> None:
    """fastreid options that nothing here reads, or that would break the method, are refused, not dropped."""
    for key, reason in MUST_KEEP_ITS_DEFAULT.items():
        value, default = value_of(cfg, key), value_of(defaults, key)
        if value != default:
            raise UserError(f"{key} {value} is not supported: {reason}. Leave it at its default, {default!r}")
