"""Evaluation over raw (OI), protected (PI), desensitized (DI) and recovered (RI) images, in one pass over a test set.

1. ``ranking``           retrieval figures of one query set against one gallery, exact, in blocks
2. ``image_quality``     PSNR and SSIM against the raw images
3. ``bootstrap``         the paired comparison of two models on the same queries
4. ``hybrid_evaluator``  fastreid's evaluator interface over ranking and quality, for every pair of domains
5. ``results``           results.json
"""

from .bootstrap import paired_bootstrap
from .hybrid_evaluator import HybridEvaluator
from .image_quality import ImageQuality, psnr_of_mse
from .ranking import evaluate_retrieval
from .results import PAIRS

__all__ = ["PAIRS", "HybridEvaluator", "ImageQuality", "evaluate_retrieval", "paired_bootstrap", "psnr_of_mse"]
