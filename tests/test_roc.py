"""Verification figures against a loop over thresholds, scikit-learn and what fastreid gives it."""

from __future__ import annotations

from fastreid_privacy.evaluation.roc import RocCounter  # before fastreid: importing the package makes it work

# isort: split
import numpy as np
import pytest
from fastreid.evaluation.roc import evaluate_roc_py
from sklearn.metrics import roc_curve

RATES = {"TPR@FPR=1e-04": 1e-4, "TPR@FPR=1e-03": 1e-3, "TPR@FPR=1e-02": 1e-2}


def pairs(seed, true=300, false=25_000, levels=None):
    """Distances of true and of false pairs, which overlap; whole multiples of 1/levels where there are to be
    ties."""
    rng = np.random.default_rng(seed)
    sides = rng.normal(1.0, 0.3, true), rng.normal(2.0, 0.3, false)
    return tuple(
        (side if levels is None else np.round(side * levels) / levels).astype(np.float32) for side in sides
    )


def counted(true, false, blocks=1, at_most=None):
    counter = RocCounter(len(false) if at_most is None else at_most)
    for block in zip(np.array_split(true, blocks), np.array_split(false, blocks), strict=True):
        counter.update(*block)
    return counter.compute()


def threshold_by_threshold(true, false):
    """The share of true pairs at the highest threshold, among all distances and one below them, that keeps to
    the rate."""
    figures = {}
    thresholds = [-np.inf, *np.unique(np.concatenate([true, false]))]
    for name, rate in RATES.items():
        allowed = [threshold for threshold in thresholds if (false <= threshold).sum() <= rate * len(false)]
        figures[name] = 100 * (true <= max(allowed)).mean()
    return figures


def scikit_learns(distances, labels):
    """With label 1 for true pairs."""
    fprs, tprs, _ = roc_curve(labels, -distances, drop_intermediate=False)
    return {name: 100 * tprs[fprs <= rate].max() for name, rate in RATES.items()}


@pytest.mark.parametrize("levels", [None, 50, 4])
@pytest.mark.parametrize("seed", range(4))
def test_equals_scikit_learn(seed, levels):
    true, false = pairs(seed, levels=levels)
    expected = scikit_learns(np.concatenate([true, false]), np.repeat([1, 0], [len(true), len(false)]))
    for blocks in (1, 7, 200):
        assert counted(true, false, blocks) == pytest.approx(expected)


@pytest.mark.parametrize("levels", [None, 20])
@pytest.mark.parametrize("false", [1, 99, 100, 101, 2000])
def test_equals_a_loop(false, levels):
    true, false = pairs(false, 50, false, levels)
    assert counted(true, false, 5) == pytest.approx(threshold_by_threshold(true, false))


def test_the_bound_changes_nothing_but_memory():
    true, false = pairs(5)
    assert counted(true, false, 50) == counted(true, false, 50, at_most=10 * len(false))
    counter = RocCounter(len(false))
    for block in np.array_split(false, 100):
        counter.update(true[:0], block)
    assert sum(map(len, counter._nearest)) <= 2 * (len(false) // 100 + 1)


def test_more_false_pairs_than_announced():
    counter = RocCounter(3)
    counter.update(np.zeros(1), np.ones(3))
    with pytest.raises(ValueError, match="4 false pairs, where at most 3"):
        counter.update(np.zeros(1), np.ones(1))


def test_pairs_at_one_distance_are_accepted_together_or_not_at_all():
    false = np.concatenate([np.full(2, 1.0), np.full(98, 2.0)])
    assert counted(np.array([0.5, 1.0]), false)["TPR@FPR=1e-02"] == 50  # two false pairs at 1 would be 2 %
    false[0] = 1.5
    assert counted(np.array([0.5, 1.0]), false)["TPR@FPR=1e-02"] == 100


def test_separated_and_swapped():
    near, far = np.linspace(0, 1, 500), np.linspace(2, 3, 500)
    assert set(counted(near, far).values()) == {100}
    assert set(counted(far, near).values()) == {0}


def test_no_pairs_have_no_figures():
    for true, false in ((0, 5), (5, 0), (0, 0)):
        assert counted(np.zeros(true), np.ones(false)) == dict.fromkeys(RATES)
    assert RocCounter(0).compute() == dict.fromkeys(RATES)


def test_fastreids_pairs_with_the_labels_the_right_way_round():
    rng = np.random.default_rng(8)
    pids, cams = rng.integers(0, 12, 260), rng.integers(0, 3, 260)
    centers = rng.normal(size=(12, 8))
    features = centers[pids] + 0.8 * rng.normal(size=(260, 8))
    distances = ((features[:60, None] - features[None, 60:]) ** 2).sum(2)
    scores, labels = evaluate_roc_py(distances, pids[:60], pids[60:], cams[:60], cams[60:])
    counter = RocCounter(distances.size)
    for row, pid, cam in zip(distances, pids[:60], cams[:60], strict=True):
        same = pids[60:] == pid
        counter.update(row[same & (cams[60:] != cam)], row[~same])
    assert counter.compute() == pytest.approx(scikit_learns(scores, 1 - labels))
    assert 0 < counter.compute()["TPR@FPR=1e-02"] < 100
