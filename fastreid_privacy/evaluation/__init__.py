"""Evaluation over raw (OI), protected (PI), desensitized (DI) and recovered (RI) images, in one pass.

1. ``distances``         a block of queries to the whole gallery, from memory or disk, on CPU or GPU
   ``products``          the inner products of both: by torch on a CPU, by FAISS on a GPU
2. ``protocol``          which gallery images are true matches of a query, and which are left out
3. ``places``            where the true matches are in a ranking
4. ``query_ranks``       CMC, mAP and mINP of one query set, gathered from its distances
   ``ranking``           query sets against one gallery
   ``ranking_options``   what may come before and after: query expansion, re-ranking, verification
   ``expansion``         alpha query expansion
   ``rerank``            k-reciprocal re-ranking
   ``roc``               verification
   ``neighbours``        the nearest images, by FAISS, that expansion and re-ranking start from
5. ``image_quality``     PSNR, SSIM and, where its weights are at hand, LPIPS (``lpips``) against the raw
   images
6. ``bootstrap``         the paired comparison of two models on the same queries
7. ``hybrid_evaluator``  fastreid's evaluator interface over ranking and quality, for every pair of domains
8. ``rank_lists``        pictures of a few rankings
"""

from ..core.domains import PAIRS
from .bootstrap import paired_bootstrap
from .hybrid_evaluator import Evaluation, HybridEvaluator
from .image_quality import ImageQuality, psnr_of_mse, psnr_of_sum
from .rank_lists import picture_rank_lists
from .ranking import evaluate_retrieval
from .ranking_options import RankingOptions

__all__ = [
    "PAIRS",
    "Evaluation",
    "HybridEvaluator",
    "ImageQuality",
    "RankingOptions",
    "evaluate_retrieval",
    "paired_bootstrap",
    "picture_rank_lists",
    "psnr_of_mse",
    "psnr_of_sum",
]
