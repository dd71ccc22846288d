"""results.json with parts of another kind than an evaluation writes: one message, whoever reads it."""

from __future__ import annotations

import json

import pytest
from in_process import report
from report_examples import full_results, put

from fastreid_privacy import UserError
from fastreid_privacy.results.results_json import read_results

WRONG = [
    ("retrieval", {"OI-OI": 3}),
    ("retrieval", {"OI-OI": {"Rank-1": "x"}}),
    ("retrieval", {"OI-OI": {"Rank-1": True}}),
    ("retrieval", {"OI-OI": {"Rank-1": 10**300}}),
    ("image_quality", {"protected": [1]}),
    ("image_quality", 1),
    ("checks", 1),
    ("checks", [1]),
    ("checks", [{"epoch": "x"}]),
    ("checks", [{"rank1": 50.0}]),
    ("checks", [{"epoch": None}]),
    ("checks", [{"epoch": 0}]),
    ("checks", [{"epoch": 1.5}]),
    ("checks", [{"epoch": True}]),
    ("upgrades", [{"epoch": 0}]),
    ("config", {"TEST": {"PAPER_RESULTS": 5}}),
    ("config", {"TEST": {"PAPER_RESULTS": "abc"}}),
    ("config", []),
    ("config", {"TEST": 1}),
    ("validation", {"OI-DI": 1}),
    ("versus_baseline", {"OI-PI": {"difference": 1.0}}),
    ("versus_baseline", {"OI-PI": True}),
    ("baseline", 5),
    ("baseline", {"retrieval": {"OI-OI": None}}),
    ("upper_bound", {"config": {"PRIVACY": "x"}}),
    ("dataset", 3),
    ("data", 1),
    ("data", {"train": "ab"}),
    ("data", {"test": {"sha256": ["ab"]}}),
]


@pytest.mark.parametrize(("part", "value"), WRONG)
def test_parts_of_another_kind_are_refused(tmp_path, part, value, capfd):
    run = put(tmp_path / "run", {**full_results(), part: value}, samples=False)
    with pytest.raises(UserError, match=rf"results\.json is damaged \({part}"):
        read_results(run / "results.json")
    assert report(run) == 2
    assert "Traceback" not in capfd.readouterr().err


def test_infinite_figures_and_missing_parts_are_read(tmp_path):
    """The PSNR of equal images is infinite where somebody wrote it so; older files lack parts."""
    results = {
        "schema": 1,
        "retrieval": {},
        "image_quality": {"recovered": {"PSNR": float("inf"), "SSIM": None}},
    }
    (tmp_path / "results.json").write_text(json.dumps(results))
    assert read_results(tmp_path / "results.json") == results
