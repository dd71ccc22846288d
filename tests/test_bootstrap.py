"""The paired bootstrap against one that draws queries one by one."""

import json
import shutil

import numpy as np
import pytest
from scipy.stats import binom

from fastreid_privacy.core.errors import UserError
from fastreid_privacy.evaluation import bootstrap, paired_bootstrap
from fastreid_privacy.evaluation.bootstrap import compare_pairs
from fastreid_privacy.report import format_terminal, write_report
from fastreid_privacy.results.results_json import read_results
from fastreid_privacy.results.stored import save_query_ranks
from fastreid_privacy.training.experiment import versus_baseline


@pytest.mark.parametrize("seed", range(3))
def test_interval_equals_drawing_people_one_by_one(seed):
    """People have one to six queries each, and are alike: queries drawn one by one would differ less."""
    draw = np.random.default_rng(seed)
    people = np.repeat(np.arange(60), draw.integers(1, 7, 60))
    alike = draw.integers(1, 4, 60)[people], draw.integers(1, 5, 60)[people]
    order = draw.permutation(len(people))
    people, ours, theirs = people[order], alike[0][order], alike[1][order]
    gain = (ours == 1).astype(float) - (theirs == 1)
    means = []
    for _ in range(10_000):
        drawn = np.concatenate([gain[people == each] for each in draw.integers(0, 60, 60)])
        means.append(100 * drawn.mean())
    low, high = np.percentile(means, [2.5, 97.5])
    result = paired_bootstrap(ours, theirs, people)
    assert result["difference"] == pytest.approx(100 * gain.mean())
    assert result["low"] == pytest.approx(low, abs=0.8) and result["high"] == pytest.approx(high, abs=0.8)


def test_the_interval_leaves_out_the_2_5_percent_of_either_side():
    """Where the other model never ranks first, and each query is of another person, gains are binomial."""
    ours, theirs = np.where(np.arange(2000) % 10 < 3, 1, 2), np.full(2000, 2)
    result = paired_bootstrap(ours, theirs, np.arange(2000), draws=40_000)
    low, high = binom.ppf([0.025, 0.975], 2000, 0.3) / 20
    assert result["low"] == pytest.approx(low, abs=0.1) and result["high"] == pytest.approx(high, abs=0.1)


def test_the_draws_follow_from_the_seed():
    draw = np.random.default_rng(0)
    people = draw.integers(0, 1000, 5000)  # with so many queries each that hardly two draws are equal
    given = draw.integers(1, 4, 5000), draw.integers(1, 4, 5000), people
    gains = draw.normal(size=5000)
    said = {"draws": 10_000, "seed": 0}
    assert paired_bootstrap(*given) == paired_bootstrap(*given, **said)
    assert bootstrap.mean_over_people(gains, people) == bootstrap.mean_over_people(gains, people, **said)
    assert paired_bootstrap(*given, draws=40, seed=1) == paired_bootstrap(*given, draws=40, seed=1)
    assert len({paired_bootstrap(*given, draws=40, seed=seed)["low"] for seed in range(8)}) > 1


@pytest.mark.parametrize("draws", [1, 2, 7])
def test_so_many_draws_are_made_as_one_says(draws):
    """Each of as many people as there are: against a loop over both."""
    draw = np.random.default_rng(0)
    people, ours, theirs = draw.integers(0, 9, 60), draw.integers(1, 4, 60), draw.integers(1, 4, 60)
    gain = (ours == 1).astype(float) - (theirs == 1)
    random, names = np.random.default_rng(5), sorted(set(people.tolist()))
    means = []
    for _ in range(draws):
        drawn = [gain[people == names[each]] for each in random.integers(len(names), size=len(names))]
        means.append(100 * np.concatenate(drawn).mean())
    found = paired_bootstrap(ours, theirs, people, draws=draws, seed=5)
    assert [found["low"], found["high"]] == pytest.approx(np.percentile(means, [2.5, 97.5]))


def test_the_draws_are_the_same_however_many_are_made_at_a_time(monkeypatch):
    """Many people need memory, and a last block is smaller."""
    draw = np.random.default_rng(0)
    gains, people = draw.normal(size=900), draw.integers(0, 70, 900)
    whole = bootstrap.mean_over_people(gains, people, draws=500)
    monkeypatch.setattr(bootstrap, "BLOCK", 70 * 64)
    assert bootstrap.mean_over_people(gains, people, draws=500) == whole
    monkeypatch.setattr(bootstrap, "BLOCK", 1)
    assert bootstrap.mean_over_people(gains, people, draws=500) == whole


def test_one_person_has_no_interval():
    gains = np.array([1, 0, 0, 1])
    assert bootstrap.mean_over_people(gains, np.full(4, 7)) == {"difference": 50.0, "low": 50.0, "high": 50.0}


def test_equal_models_have_an_interval_of_zero():
    places = np.array([1, 2, 0, 5, 1])
    equal = paired_bootstrap(places, places, np.array([0, 0, 1, 1, 2]))
    assert equal == {"difference": 0.0, "low": 0.0, "high": 0.0}


def test_excluded_queries_do_not_count():
    found = paired_bootstrap(np.array([1, 0, 0]), np.array([2, 0, 0]), np.array([0, 0, 1]))
    assert found == {"difference": 100.0, "low": 100.0, "high": 100.0}


def test_other_queries_are_refused():
    for theirs in (np.array([1, 2, 3]), np.array([1, 0])):
        with pytest.raises(UserError, match="different queries"):
            paired_bootstrap(np.array([1, 2]), theirs, np.arange(2))


def test_more_than_base_is_a_gain(tmp_path):
    """Every pair of domains that both have; ours minus theirs, also where theirs are read from a run."""
    ours = {"OI-PI": np.array([1, 1, 1, 2]), "PI-PI": np.array([1, 4, 5, 2]), "RI-RI": np.array([1, 1, 1, 1])}
    base = {"OI-PI": np.array([1, 3, 9, 2]), "PI-PI": np.array([1, 1, 1, 1]), "OI-DI": np.array([1, 1, 1, 1])}
    people = np.array([0, 1, 2, 3])
    compared = compare_pairs(ours, base, people)
    assert {pair: entry["difference"] for pair, entry in compared.items()} == {"OI-PI": 50.0, "PI-PI": -75.0}
    assert compared["OI-PI"]["low"] >= 0 and compared["PI-PI"]["high"] <= 0
    save_query_ranks(base, tmp_path / "results.json")
    assert versus_baseline(ours, tmp_path / "results.json", people) == compared


def test_the_report_says_what_was_drawn(small_run, tmp_path):
    """Results of older versions do not tell; they drew queries."""
    shutil.copytree(small_run, tmp_path / "run")
    file = tmp_path / "run" / "results.json"
    results = json.loads(file.read_text())
    assert results["intervals_over"] == "people"
    results["versus_baseline"] = {"OI-PI": {"difference": 1.0, "low": 0.0, "high": 2.0}}
    for told, drawn in (("people", "people"), (None, "queries")):
        file.write_text(json.dumps({**results, "intervals_over": told}))
        page = write_report(tmp_path / "run").read_text()
        for text in (page, format_terminal(read_results(file))):
            assert f"95 % interval of the paired bootstrap over {drawn}" in text
