"""How features become rankings: metric, expansion, re-ranking, verification; fastreid's ``TEST`` options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fastreid.config import CfgNode

from ..core.errors import UserError
from .distances import METRICS


@dataclass(frozen=True)
class RankingOptions:
    """How features become rankings.

    Attributes:
        metric: "cosine" (of the angle; features need no normalisation) or "euclidean".
        expansion: arguments of alpha query expansion (``times``, ``k``, ``alpha``), or None.
        rerank: arguments of k-reciprocal re-ranking (``k1``, ``k2``, ``weight`` of the original distance, 0.3
            unless given), or None.
        roc: whether to measure verification, TPR at small FPRs, too.

    Raises:
        UserError: for an unknown metric.
    """

    metric: str = "cosine"
    expansion: Mapping | None = None
    rerank: Mapping | None = None
    roc: bool = False

    def __post_init__(self):
        if self.metric not in METRICS:
            raise UserError(f"unknown retrieval metric {self.metric!r}: choose {' or '.join(METRICS)}")
        weight = (self.rerank or {}).get("weight", 0)
        if not 0 <= weight <= 1:
            raise UserError(
                f"the original distance's weight in re-ranking is {weight}; it must lie between 0 and 1 "
                "(TEST.RERANK.LAMBDA)"
            )

    @classmethod
    def from_config(cls, cfg: CfgNode) -> RankingOptions:
        """The options of a config's ``TEST``."""
        aqe, rerank = cfg.TEST.AQE, cfg.TEST.RERANK
        return cls(
            cfg.TEST.METRIC,
            {"times": aqe.QE_TIME, "k": aqe.QE_K, "alpha": aqe.ALPHA} if aqe.ENABLED else None,
            {"k1": rerank.K1, "k2": rerank.K2, "weight": rerank.LAMBDA} if rerank.ENABLED else None,
            cfg.TEST.ROC.ENABLED,
        )
