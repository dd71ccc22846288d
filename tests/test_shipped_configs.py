"""Every shipped config of the synthetic data set runs to its end in miniature, with the models that it asks
for."""

import json
from pathlib import Path

import pytest
from conftest import small_options
from in_process import train

from fastreid_privacy.config import load_config

# siblings have one backbone, which privacy_agw keeps here; the others are quicker with that of small.yml
SMALL = {
    "MODEL.BACKBONE.NAME": "build_osnet_backbone",
    "MODEL.BACKBONE.DEPTH": "x0_25",
    "MODEL.BACKBONE.FEAT_DIM": 128,
}
CONFIGS = sorted(Path(__file__).parents[1].glob("configs/Synthetic/[!_]*.yml"))


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_it_trains_tests_and_reports(file, small_dataset, tmp_path):
    asked = load_config(file, ["MODEL.DEVICE", "cpu"]).PRIVACY
    own = {
        "PRIVACY.UPPER_BOUND": asked.UPPER_BOUND,
        "PRIVACY.UPGRADE.BASELINE_RANK1": asked.UPGRADE.BASELINE_RANK1,
        "SOLVER.MAX_EPOCH": 1,
        **({} if file.stem == "privacy_agw" else SMALL),
    }
    assert train("--config-file", file, *small_options(tmp_path / "run", **own)) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["checks"][0]["decision"] and (tmp_path / "run" / "report.html").is_file()
    for kind in ("baseline", "upper_bound"):
        assert bool(results[kind]) == (tmp_path / "run" / kind / "results.json").is_file()
