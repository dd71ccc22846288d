"""fastreid's own evaluation under fastreid_privacy.compat: galleries of any size, no compiler, no GPU."""

from __future__ import annotations

# isort: split
import sys
import warnings

import faiss
import fastreid.evaluation.rank as rank
import fastreid.evaluation.reid_evaluation as reid_evaluation
import fastreid.utils.compute_dist as compute_dist
import numpy as np
import plain_fastreid
import pytest
import torch

from fastreid_privacy.compat.evaluation import pad_gallery
from fastreid_privacy.compat.patching import original_of


def slow_rank(distances, q_pids, g_pids, q_cams, g_cams, max_rank):
    """CMC, AP and INP of each query with a match, counted one image at a time."""
    curves, aps, inps = [], [], []
    for q, (pid, cam) in enumerate(zip(q_pids, q_cams, strict=True)):
        hits = [
            g_pids[g] == pid
            for g in np.argsort(distances[q], kind="stable")
            if not (g_pids[g] == pid and g_cams[g] == cam)
        ]
        if not any(hits):
            continue
        curves.append([float(any(hits[: k + 1])) for k in range(max_rank)])
        places = [place for place, hit in enumerate(hits, 1) if hit]
        aps.append(np.mean([count / place for count, place in enumerate(places, 1)]))
        inps.append(len(places) / places[-1])
    return np.mean(curves, 0), aps, inps


@pytest.mark.parametrize("gallery", [4, 9, 49, 52, 80])
def test_ranking_of_short_galleries(gallery):
    rng = np.random.default_rng(gallery)
    distances = rng.random((12, gallery), dtype=np.float32)
    q_pids, g_pids = rng.integers(0, 3, 12), rng.integers(0, 3, gallery)
    q_cams, g_cams = rng.integers(0, 2, 12), rng.integers(0, 2, gallery)
    arguments = (distances, q_pids, g_pids, q_cams, g_cams)
    cmc, aps, inps = rank.evaluate_rank(*arguments)
    expected = slow_rank(*arguments, 50)
    assert cmc.shape == (50,)
    for ours, slow in zip((cmc, aps, inps), expected, strict=True):
        np.testing.assert_allclose(ours, slow, atol=1e-6)
    if gallery in (49, 52):
        with pytest.raises(ValueError, match="inhomogeneous"):
            original_of(rank, "evaluate_rank")(*arguments, use_cython=False)


def test_long_galleries_are_not_copied():
    distances, pids = np.zeros((2, 60), np.float32), np.arange(60)
    assert pad_gallery(distances, pids[:2], pids, pids, 50)[0] is distances
    # one image removed at most: 59 are left
    assert pad_gallery(distances, pids[:2], pids, pids, 59)[0] is distances
    assert pad_gallery(distances, pids[:2], pids, pids, 60)[0].shape == (2, 120)


def test_cuhk03_protocol_runs():
    """rank.py:69 uses ``np.bool``, which numpy 2 has again; one image per identity leaves nothing to
    chance."""
    distances = np.array([[0.3, 0.1, 0.2], [0.1, 0.2, 0.3]], np.float32)
    pids = np.array([0, 1, 2])
    cmc, mean_ap = rank.evaluate_rank(
        distances, pids[:2], pids, np.zeros(2, int), np.ones(3, int), use_metric_cuhk03=True
    )
    np.testing.assert_allclose(cmc[:4], [0, 0.5, 1, 1], atol=1e-6)
    assert mean_ap == pytest.approx((1 / 3 + 1 / 2) / 2)


def test_evaluator_compiles_nothing(monkeypatch):
    def compile_helper():
        raise SystemExit("compiling")

    monkeypatch.setattr(reid_evaluation, "compile_helper", compile_helper)
    evaluator = reid_evaluation.ReidEvaluator(plain_fastreid.tiny_config(""), num_query=2)
    features = torch.eye(4)[[0, 1, 0, 1, 2]]
    batch = {"targets": torch.tensor([0, 1, 0, 1, 2]), "camids": torch.tensor([0, 0, 1, 1, 1])}
    evaluator.process(batch, features)
    results = evaluator.evaluate()  # three gallery images: fastreid wants ten for Rank-10
    assert results["Rank-1"] == results["Rank-10"] == results["mAP"] == 100
    monkeypatch.setitem(sys.modules, "fastreid.evaluation.rank_cylib.rank_cy", None)
    with pytest.raises(SystemExit):
        original_of(reid_evaluation.ReidEvaluator, "_compile_dependencies")(evaluator)


def test_reranking_on_the_cpu(monkeypatch):
    """Also where there is a GPU, on which fastreid's search calls what faiss no longer has."""
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    torch.manual_seed(0)
    centers = torch.randn(4, 8) * 10
    query, gallery = centers + torch.randn(4, 8) * 0.1, centers.repeat(5, 1) + torch.randn(20, 8) * 0.1
    distances = compute_dist.build_dist(query, gallery, "jaccard", k1=5, k2=2)
    assert distances.shape == (4, 20)
    same = np.tile(np.eye(4, dtype=bool), 5)
    assert distances[same].max() < distances[~same].min()
    with pytest.raises((AssertionError, AttributeError, RuntimeError)):
        original_of(compute_dist, "compute_jaccard_distance")(torch.cat([query, gallery]), k1=5, k2=2)


def test_euclidean_distance_runs():
    """compute_dist.py:183 uses a signature of ``addmm_`` that torch calls deprecated; it still gives squared
    distances."""
    a, b = torch.rand(3, 5), torch.rand(4, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours = compute_dist.build_dist(a, b, "euclidean")
    np.testing.assert_allclose(ours, torch.cdist(a, b).square().numpy(), atol=1e-5)
