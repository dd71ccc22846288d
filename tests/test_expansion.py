"""Query expansion against fastreid's own and a loop over images."""

from __future__ import annotations

import fastreid_privacy  # before fastreid: importing the package makes it work

# isort: split
import numpy as np
import pytest
import torch
from fastreid.evaluation.query_expansion import aqe

from fastreid_privacy.config import load_config
from fastreid_privacy.evaluation.expansion import expand


def sides(seed, queries=12, gallery=40, dimension=16, positive=False):
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(queries + gallery, dimension)).astype(np.float32)
    images = np.abs(images) if positive else images
    return images[:queries], images[queries:]


def one_by_one(images, k, alpha):
    """The expansion of each image, in float64."""
    images = images.astype(np.float64)
    expanded = []
    for image in images:
        cosines = [float(image @ other / np.linalg.norm(image) / np.linalg.norm(other)) for other in images]
        total = np.zeros_like(image)
        for index in sorted(range(len(images)), key=lambda index: -cosines[index])[:k]:
            cosine = cosines[index]
            total += images[index] * (0 if cosine < 0 and alpha % 1 else cosine**alpha)
        expanded.append(total / k)
    return np.array(expanded)


@pytest.mark.parametrize("seed", range(20))
def test_equals_fastreid(seed):
    query, gallery = sides(seed)
    times, k, alpha = seed % 3 + 1, (1, 5, 10, 25)[seed % 4], (3.0, 1.0, 0.0, 2.0)[seed // 2 % 4]
    ours = expand(query, gallery, times=times, k=k, alpha=alpha, device="cpu")
    theirs = aqe(torch.from_numpy(query), torch.from_numpy(gallery), times, k, alpha)
    for side, expected in zip(ours, theirs, strict=True):
        assert side.dtype == np.float32 and side.shape == expected.shape
        np.testing.assert_allclose(side, expected.numpy(), rtol=5e-6, atol=2e-6)


def test_equals_fastreid_with_a_fractional_power():
    query, gallery = sides(0, positive=True)
    theirs = aqe(torch.from_numpy(query), torch.from_numpy(gallery), 2, 8, 2.5)
    for side, expected in zip(expand(query, gallery, times=2, k=8, alpha=2.5), theirs, strict=True):
        np.testing.assert_allclose(side, expected.numpy(), rtol=5e-6, atol=2e-6)


@pytest.mark.parametrize("alpha", [0.5, 2.5, 3.0])
@pytest.mark.parametrize("k", [1, 6, 20])
def test_equals_a_loop_where_cosines_are_negative(alpha, k):
    query, gallery = sides(1, 5, 15, 4)
    expected = one_by_one(np.concatenate([query, gallery]), k, alpha)
    np.testing.assert_allclose(np.concatenate(expand(query, gallery, k=k, alpha=alpha)), expected, atol=1e-5)
    if k == 20 and alpha == 0.5:
        with np.errstate(invalid="ignore"):
            theirs = aqe(torch.from_numpy(query), torch.from_numpy(gallery), 1, 19, alpha)
        assert torch.isnan(theirs[0]).any()


def test_inputs_are_kept_and_may_be_of_low_precision():
    query, gallery = (side.astype(np.float16) for side in sides(2))
    copies = query.copy(), gallery.copy()
    low = expand(query, torch.from_numpy(gallery))
    full = expand(query.astype(np.float32), gallery.astype(np.float32))
    for ours, expected, given, copy in zip(low, full, (query, gallery), copies, strict=True):
        np.testing.assert_array_equal(ours, expected)
        np.testing.assert_array_equal(given, copy)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 53}, "TEST.AQE.QE_K.* 52 together"),
        ({"k": 0}, "TEST.AQE.QE_K"),
        ({"times": 0}, "TEST.AQE.QE_TIME"),
        ({"alpha": -1.0}, "TEST.AQE.ALPHA"),
        ({"alpha": float("nan")}, "TEST.AQE.ALPHA"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(fastreid_privacy.UserError, match=message):
        expand(*sides(3), **options)


@pytest.mark.parametrize("alpha", ["1e999", "-0.1"])
def test_a_power_that_a_config_may_not_ask_for(alpha):
    with pytest.raises(fastreid_privacy.UserError, match=r"TEST\.AQE\.ALPHA is"):
        load_config("", ["TEST.AQE.ALPHA", alpha])
