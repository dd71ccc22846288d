"""fastreid's evaluation: no compiler, no GPU, galleries of any size."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .patching import original_of, replace


def rank_without_compiling() -> None:
    """fastreid/evaluation/reid_evaluation.py:129 compiles an extension into site-packages.

    It runs ``make`` with PATH's python3 and leaves with ``sys.exit(1)`` where Cython is missing
    (rank_cylib/__init__.py:15–20). Without it fastreid ranks in Python, with the same figures; an extension
    that is already there is still used.
    """
    from fastreid.evaluation.reid_evaluation import ReidEvaluator

    replace(ReidEvaluator, "_compile_dependencies", lambda self: None)


def rank_short_galleries() -> None:
    """fastreid/evaluation/rank.py:156: a query with fewer than 50 gallery images ends in an error.

    Or in a wrong curve: the curves of the queries then differ in length, a ragged array in Python, garbage
    at the end in Cython; and a gallery under 10 has no Rank-10. Images that match nobody are appended behind
    every gallery image: each query keeps at least ``max_rank``, the curve stays where its last real image
    left it (CMC at k above the number of images is 1), and AP and INP, which end at the last true match, do
    not change.
    """
    import fastreid.evaluation.rank as rank

    def evaluate_rank(
        distmat, q_pids, g_pids, q_camids, g_camids, max_rank=50, use_metric_cuhk03=False, use_cython=True
    ):
        distmat, g_pids, g_camids = pad_gallery(distmat, q_pids, g_pids, g_camids, max_rank)
        rank_all = original_of(rank, "evaluate_rank")
        return rank_all(distmat, q_pids, g_pids, q_camids, g_camids, max_rank, use_metric_cuhk03, use_cython)

    replace(rank, "evaluate_rank", evaluate_rank)


def pad_gallery(
    distmat: np.ndarray, q_pids: np.ndarray, g_pids: np.ndarray, g_camids: np.ndarray, max_rank: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Append images that match no query behind the gallery, where a query might keep fewer than ``max_rank``.

    Args:
        distmat: queries × gallery, distances.
        q_pids: identity of each query.
        g_pids: identity of each gallery image.
        g_camids: camera of each gallery image.
        max_rank: length of the CMC curve.

    Returns:
        distances (infinite for what was appended), identities and cameras of the gallery; the arguments
        themselves where none is needed.
    """
    groups = np.stack([g_pids, g_camids], axis=1)
    most_removed = np.unique(groups, axis=0, return_counts=True)[1].max(initial=0)
    if len(g_pids) - most_removed >= max_rank:
        return distmat, g_pids, g_camids
    nobody = min(q_pids.min(initial=0), g_pids.min(initial=0)) - 1
    # one image each: the CUHK03 protocol draws one per identity
    strangers = (nobody - np.arange(max_rank)).astype(g_pids.dtype)
    far_away = np.full((len(distmat), max_rank), np.inf, dtype=distmat.dtype)
    return (
        np.concatenate([distmat, far_away], axis=1),
        np.concatenate([g_pids, strangers]),
        np.concatenate([g_camids, np.full(max_rank, -1, dtype=g_camids.dtype)]),
    )


def rerank_on_the_cpu() -> None:
    """fastreid/utils/compute_dist.py:68–75: re-ranking (TEST.RERANK) needs a GPU, for torch and for faiss.

    And with one it fails, for faiss 1.15 has no ``cast_integer_to_long_ptr`` (faiss_utils.py:18).
    ``search_option=3`` is fastreid's own search on the CPU, where the rest of its re-ranking is done anyway.
    """
    import fastreid.utils.compute_dist as compute_dist

    def compute_jaccard_distance(
        features: torch.Tensor, k1: int = 20, k2: int = 6, search_option: int = 3, fp16: bool = False
    ) -> Any:
        return original_of(compute_dist, "compute_jaccard_distance")(features, k1, k2, 3, fp16)

    replace(compute_dist, "compute_jaccard_distance", compute_jaccard_distance)
