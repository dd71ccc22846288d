"""Nearest neighbours against a full sort of all distances in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fastreid_privacy.core.errors import UserError
from fastreid_privacy.evaluation import neighbours
from fastreid_privacy.evaluation.neighbours import nearest


def features(seed, queries=23, gallery=57, dimension=8):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(queries, dimension)).astype(np.float32), rng.normal(
        size=(gallery, dimension)
    ).astype(np.float32)


def sorted_distances(queries, gallery, metric):
    queries, gallery = queries.astype(np.float64), gallery.astype(np.float64)
    if metric == "cosine":
        queries, gallery = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (queries, gallery))
        distances = 1 - queries @ gallery.T
    else:
        distances = ((queries[:, None] - gallery[None]) ** 2).sum(2)
    order = np.argsort(distances, axis=1, kind="stable")
    return np.take_along_axis(distances, order, axis=1), order


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("k", [1, 7, 57])
@pytest.mark.parametrize("block_rows", [1, 5, 1000])
def test_equals_a_full_sort_whatever_the_parts(metric, k, block_rows):
    for seed in range(5):
        queries, gallery = features(seed)
        distances, indices = nearest(
            queries,
            gallery,
            k,
            "cpu",
            metric=metric,
            query_bytes=32 * block_rows,
            gallery_bytes=96 * block_rows,
        )
        expected, order = sorted_distances(queries, gallery, metric)
        np.testing.assert_array_equal(indices, order[:, :k])
        np.testing.assert_allclose(distances, expected[:, :k], atol=1e-5)
        assert distances.dtype == np.float32


def test_more_neighbours_than_a_gpu_gives():
    queries, gallery = features(0, 3, 2100)
    np.testing.assert_array_equal(
        nearest(queries, gallery, 2060)[1], sorted_distances(queries, gallery, "euclidean")[1][:, :2060]
    )


@pytest.mark.parametrize(("k", "on_gpu"), [(2048, True), (2049, False)])
def test_where_neighbours_are_searched(monkeypatch, k, on_gpu):
    """A stand-in for FAISS with a GPU, which answers as the CPU does."""
    called = []

    def knn_gpu(resources, queries, gallery, count, metric, device):
        called.append((count, device))
        return neighbours.faiss.knn(queries, gallery, count, metric)

    monkeypatch.setattr(neighbours, "choose_device", torch.device)
    monkeypatch.setattr(neighbours.faiss, "get_num_gpus", lambda: 2)
    monkeypatch.setattr(neighbours.faiss, "StandardGpuResources", object, raising=False)
    monkeypatch.setattr(neighbours.faiss, "knn_gpu", knn_gpu, raising=False)
    queries, gallery = features(1, 2, 2100)
    indices = nearest(queries, gallery, k, "cuda:1")[1]
    np.testing.assert_array_equal(indices, sorted_distances(queries, gallery, "euclidean")[1][:, :k])
    assert called == ([(k, 1)] if on_gpu else [])


def test_equal_images_are_in_gallery_order():
    queries, gallery = features(2, 4, 6)
    repeated = np.tile(gallery, (3, 1))
    for rows in (1, 4, 100):
        indices = nearest(queries, repeated, 18, "cpu", gallery_bytes=32 * rows)[1].reshape(4, 6, 3)
        np.testing.assert_array_equal(np.diff(indices, axis=2), 6)


@pytest.mark.parametrize("kind", ["float16", "float64", "tensor", "bfloat16", "memory-mapped"])
def test_other_kinds_of_features(tmp_path, kind):
    queries, gallery = (np.round(side * 8) / 8 for side in features(3))  # few enough digits for every type
    gallery += np.arange(57)[:, None] % 4
    expected = nearest(queries, gallery, 57, "cpu")
    if kind == "memory-mapped":
        mapped = np.lib.format.open_memmap(tmp_path / "gallery.npy", "w+", np.float16, gallery.shape)
        mapped[:] = gallery
        gallery = mapped
    elif kind in ("tensor", "bfloat16"):
        dtype = torch.bfloat16 if kind == "bfloat16" else torch.float32
        queries, gallery = (
            torch.from_numpy(queries).to(dtype),
            torch.from_numpy(gallery).to(dtype).requires_grad_(),
        )
        assert torch.equal(gallery.float(), gallery)
    else:
        queries, gallery = queries.astype(kind), gallery.astype(kind)
    for ours, theirs in zip(nearest(queries, gallery, 57, "cpu", gallery_bytes=320), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_features_of_zeros_have_a_cosine_of_zero():
    distances, indices = nearest(np.zeros((1, 2)), np.array([[1.0, 0], [0, 0]]), 2, metric="cosine")
    np.testing.assert_array_equal(distances, [[1, 1]])
    np.testing.assert_array_equal(indices, [[0, 1]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones((2, 3)), np.ones((4, 3)), 5), "5 neighbours .* among 4 images"),
        ((np.ones((2, 3)), np.ones((4, 3)), 0), "give 1 to 4"),
        ((np.ones((2, 3)), np.ones((4, 2)), 1), r"got \(2, 3\) and \(4, 2\)"),
        ((np.ones((2, 3)), np.ones((4, 3)), 1, "toaster"), "device toaster"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(UserError, match=message):
        nearest(*arguments)


def test_an_unknown_metric_is_named():
    with pytest.raises(UserError, match="'jaccard': choose cosine or euclidean"):
        nearest(np.ones((2, 3)), np.ones((4, 3)), 1, metric="jaccard")
