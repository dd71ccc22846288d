"""The paired bootstrap against one that draws queries one by one."""

import numpy as np
import pytest
from scipy.stats import binom

from fastreid_privacy.core.errors import UserError
from fastreid_privacy.evaluation import paired_bootstrap
from fastreid_privacy.evaluation.bootstrap import compare_pairs
from fastreid_privacy.results.stored import save_query_ranks
from fastreid_privacy.training.experiment import versus_baseline


@pytest.mark.parametrize("seed", range(3))
def test_interval_equals_drawing_queries_one_by_one(seed):
    draw = np.random.default_rng(seed)
    ours, theirs = draw.integers(1, 4, 200), draw.integers(1, 5, 200)
    gain = (ours == 1).astype(float) - (theirs == 1)
    means = [100 * gain[draw.integers(0, 200, 200)].mean() for _ in range(10_000)]
    low, high = np.percentile(means, [2.5, 97.5])
    result = paired_bootstrap(ours, theirs)
    assert result["difference"] == pytest.approx(100 * gain.mean())
    assert result["low"] == pytest.approx(low, abs=0.6) and result["high"] == pytest.approx(high, abs=0.6)


def test_the_interval_leaves_out_the_2_5_percent_of_either_side():
    """Where the other model never ranks first, gains are binomial."""
    ours, theirs = np.where(np.arange(2000) % 10 < 3, 1, 2), np.full(2000, 2)
    result = paired_bootstrap(ours, theirs, draws=100_000)
    low, high = binom.ppf([0.025, 0.975], 2000, 0.3) / 20
    assert result["low"] == pytest.approx(low, abs=0.06) and result["high"] == pytest.approx(high, abs=0.06)


def test_the_draws_follow_from_the_seed():
    draw = np.random.default_rng(0)
    places = draw.integers(1, 4, 5000), draw.integers(1, 4, 5000)
    assert paired_bootstrap(*places) == paired_bootstrap(*places, draws=10_000, seed=0)
    assert paired_bootstrap(*places, draws=40, seed=1) == paired_bootstrap(*places, draws=40, seed=1)
    assert len({paired_bootstrap(*places, draws=40, seed=seed)["low"] for seed in range(8)}) > 1


def test_equal_models_have_an_interval_of_zero():
    places = np.array([1, 2, 0, 5, 1])
    assert paired_bootstrap(places, places) == {"difference": 0.0, "low": 0.0, "high": 0.0}


def test_excluded_queries_do_not_count():
    assert paired_bootstrap(np.array([1, 0, 0]), np.array([2, 0, 0]))["difference"] == 100.0


def test_other_queries_are_refused():
    with pytest.raises(UserError, match="different queries"):
        paired_bootstrap(np.array([1, 2]), np.array([1, 2, 3]))
    with pytest.raises(UserError, match="different queries"):
        paired_bootstrap(np.array([1, 0]), np.array([1, 2]))


def test_more_than_base_is_a_gain(tmp_path):
    """Every pair of domains that both have; ours minus theirs, also where theirs are read from a run."""
    ours = {"OI-PI": np.array([1, 1, 1, 2]), "PI-PI": np.array([1, 4, 5, 2]), "RI-RI": np.array([1, 1, 1, 1])}
    base = {"OI-PI": np.array([1, 3, 9, 2]), "PI-PI": np.array([1, 1, 1, 1]), "OI-DI": np.array([1, 1, 1, 1])}
    compared = compare_pairs(ours, base)
    assert {pair: entry["difference"] for pair, entry in compared.items()} == {"OI-PI": 50.0, "PI-PI": -75.0}
    assert compared["OI-PI"]["low"] >= 0 and compared["PI-PI"]["high"] <= 0
    save_query_ranks(base, tmp_path / "results.json")
    assert versus_baseline(ours, tmp_path / "results.json") == compared
