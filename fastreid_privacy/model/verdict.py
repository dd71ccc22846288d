"""Whether a trained anonymizer is private: what the last check of its training found.

A model is its weights. So what counts is the check of these weights, or the last one before them; earlier
ones were of other weights. A model with a conventional operator, and one that protects nothing, has no such
constraint to meet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from fastreid.config import CfgNode

from ..desensitize import Desensitizer
from .supervision import Thresholds, is_private


def is_constrained(cfg: CfgNode) -> bool:
    """Whether a model's protected images are held under ε: those that an anonymizer has learned to make."""
    return cfg.PRIVACY.PROTECTION == "learned"


def thresholds_of(cfg: CfgNode) -> Thresholds:
    """The thresholds of a config."""
    upgrade = cfg.PRIVACY.UPGRADE
    return Thresholds(upgrade.EPS_PSNR, upgrade.EPS_SSIM, upgrade.EPS_RANK1, upgrade.PRIVACY == "worst")


class Constraint(NamedTuple):
    """What protected images are held against.

    Attributes:
        desensitizer: builds the operator that the anonymizer was trained with; raises UserError where it is
            not registered.
        thresholds: ε_psnr and ε_ssim: by how much they may show more than its images.
    """

    desensitizer: Callable[[], Desensitizer]
    thresholds: Thresholds


def constraint_of(cfg: CfgNode) -> Constraint:
    """The privacy constraint of a model."""
    return Constraint(partial(Desensitizer.from_config, cfg), thresholds_of(cfg))


def verdict(cfg: CfgNode, record: Mapping[str, Any] | None) -> bool | None:
    """Whether a model met the privacy constraint at its last check.

    Args:
        cfg: of the model.
        record: state of the upgrade record (:class:`.supervision.UpgradeRecord`) as its checkpoint has it;
            None where it has none, as a file of an older version.

    Returns:
        None where that is not known, and where no constraint applies, for nothing is learned.

    Raises:
        ValueError: The record is none of this package.
    """
    if not is_constrained(cfg) or record is None:
        return None
    try:
        checks = list(record["checks"])
        return bool(is_private(checks[-1], thresholds_of(cfg))) if checks else None
    except (TypeError, KeyError, AttributeError, RuntimeError) as error:
        raise ValueError(f"its record of checks is damaged ({type(error).__name__})") from None
