"""Re-ranking against fastreid's own and a loop that follows the paper with sets."""

from __future__ import annotations

import fastreid_privacy  # before fastreid: importing the package makes it work

# isort: split
import numpy as np
import pytest
import torch
from fastreid.utils.compute_dist import compute_jaccard_distance

from fastreid_privacy.evaluation import rerank
from fastreid_privacy.evaluation.rerank import JaccardDistances


def clustered(seed, people=9, images=10, dimension=16, spread=0.5):
    """People around centers, in random order; neighbourhoods overlap."""
    rng = np.random.default_rng(seed)
    rows = np.repeat(rng.normal(size=(people, dimension)), images, axis=0) + spread * rng.normal(
        size=(people * images, dimension)
    )
    rows = rng.permutation(rows).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def fastreids(images, queries, k1, k2):
    return compute_jaccard_distance(torch.from_numpy(images), k1=k1, k2=k2, search_option=3)[
        :queries, queries:
    ]


def one_by_one(images, queries, k1, k2):
    """Distances of the first images to all others, in float64, with sets of neighbours."""
    squared = ((images[:, None].astype(np.float64) - images[None]) ** 2).sum(2)
    lists = [list(np.argsort(row, kind="stable")[:k1]) for row in squared]

    def reciprocal(image, k):
        return {other for other in lists[image][:k] if image in lists[other][:k]}

    encodings = np.zeros_like(squared)
    for image in range(len(images)):
        near = reciprocal(image, k1)
        expanded = set(near)
        for candidate in near:
            closest = reciprocal(candidate, round(k1 / 2) + 1)
            if 3 * len(closest & near) > 2 * len(closest):
                expanded |= closest
        for other in expanded:
            encodings[image, other] = np.exp(-squared[image, other])
        if expanded:
            encodings[image] /= encodings[image].sum()
    if k2 > 1:
        encodings = np.array([encodings[near[:k2]].mean(0) for near in lists])
    distances = np.empty((queries, len(images) - queries))
    for row, one in zip(distances, encodings[:queries], strict=True):
        row[:] = [
            1 - np.minimum(one, other).sum() / (2 - np.minimum(one, other).sum())
            for other in encodings[queries:]
        ]
    return distances


@pytest.mark.parametrize("seed", range(20))
def test_equals_fastreid(seed):
    k1, k2 = [(20, 6), (20, 1), (7, 3), (1, 1), (5, 9), (30, 6), (2, 2)][seed % 7]
    images = clustered(seed, spread=(0.3, 0.6, 1.0)[seed % 3])
    ours = JaccardDistances(images[:20], images[20:], k1=k1, k2=k2, device="cpu").rows(0, 20)
    assert ours.dtype == np.float32 and ours.shape == (20, 70)
    np.testing.assert_allclose(ours, fastreids(images, 20, k1, k2), atol=2e-6)
    np.testing.assert_allclose(ours, one_by_one(images, 20, k1, k2), atol=2e-6)


def test_lists_as_long_as_there_are_images():
    images = clustered(0, 3, 5)
    ours = JaccardDistances(images[:4], images[4:], k1=15, k2=6).rows(0, 4)
    np.testing.assert_allclose(ours, fastreids(images, 4, 15, 6), atol=2e-6)


@pytest.mark.parametrize(("k1", "k2"), [(16, 6), (20, 30), (100, 1)])
def test_longer_lists_than_there_are_images(k1, k2):
    images = clustered(1, 3, 5)
    ours = JaccardDistances(images[:4], images[4:], k1=k1, k2=k2).rows(0, 4)
    np.testing.assert_allclose(ours, one_by_one(images, 4, k1, k2), atol=2e-6)


@pytest.mark.parametrize("pair_bytes", [1, 5000])
def test_parts_of_any_size_give_the_same(monkeypatch, pair_bytes):
    images = clustered(2)
    whole = JaccardDistances(images[:20], images[20:]).rows(0, 20)
    monkeypatch.setattr(rerank, "PAIR_BYTES", pair_bytes)
    jaccard = JaccardDistances(images[:20], images[20:])
    np.testing.assert_allclose(
        np.concatenate([jaccard.rows(0, 7), jaccard.rows(7, 8), jaccard.rows(8, 20)]), whole, atol=1e-7
    )
    assert jaccard.rows(3, 3).shape == (0, 70)


def test_cosine_compares_at_unit_length():
    images = clustered(3)
    longer = images * np.random.default_rng(3).uniform(0.5, 4, (len(images), 1)).astype(np.float32)
    ours = JaccardDistances(longer[:20], longer[20:], metric="cosine").rows(0, 20)
    np.testing.assert_allclose(ours, fastreids(images, 20, 20, 6), atol=5e-6)
    assert np.abs(JaccardDistances(longer[:20], longer[20:]).rows(0, 20) - ours).max() > 0.1


def test_features_of_any_length():
    """Distances of thousands: e to their power is nothing in float32."""
    images = 60 * clustered(4)
    ours = JaccardDistances(images[:20], images[20:], k1=10, k2=3).rows(0, 20)
    np.testing.assert_allclose(ours, one_by_one(images, 20, 10, 3), atol=1e-4)


def test_more_copies_of_an_image_than_its_list_holds():
    """Their lists name some of them only, perhaps not the image itself; nobody else comes near."""
    images = np.repeat(clustered(5, 2, 1), 30, axis=0)
    distances = JaccardDistances(images, images, k1=5, k2=2).rows(0, 60)
    assert np.isfinite(distances).all() and distances.min() >= 0
    np.testing.assert_array_equal(distances[:30, 30:], 1)
    np.testing.assert_array_equal(distances[30:, :30], 1)


def test_low_precision_and_tensors():
    images = clustered(6).astype(np.float16)
    expected = JaccardDistances(images[:20].astype(np.float32), images[20:].astype(np.float32)).rows(0, 20)
    np.testing.assert_array_equal(
        JaccardDistances(images[:20], torch.from_numpy(images[20:])).rows(0, 20), expected
    )


@pytest.mark.parametrize("option", ["k1", "k2"])
def test_bad_options_are_named(option):
    with pytest.raises(fastreid_privacy.UserError, match=rf"{option} 0.*TEST\.RERANK"):
        JaccardDistances(np.eye(2), np.eye(2), **{option: 0})
