"""``--eval-only`` on a finished run: nothing of its record is lost, and the checkpoint asked for is
tested."""

import json
import shutil

import numpy as np
import pytest
from conftest import SMALL_CONFIG, run, small_options


@pytest.fixture(scope="module")
def compared_run(small_dataset, tmp_path_factory):
    """OUTPUT_DIR of a finished run with its own Base and upper bound."""
    output = tmp_path_factory.mktemp("compared") / "run"
    assert run(["--config-file", str(SMALL_CONFIG), *options(output)]) == 0
    return output


def options(output, **more):
    return small_options(
        output,
        **{
            "PRIVACY.UPGRADE.BASELINE_RANK1": "auto",
            "PRIVACY.UPPER_BOUND": "auto",
            "SOLVER.MAX_EPOCH": 1,
            **more,
        },
    )


def evaluate(output, **more) -> dict:
    assert run(["--config-file", str(SMALL_CONFIG), "--eval-only", *options(output, **more)]) == 0
    return json.loads((output / "results.json").read_text())


def test_a_second_evaluation_gives_the_same_results(compared_run, tmp_path):
    output = tmp_path / "copy"
    shutil.copytree(compared_run, output)
    before = json.loads((output / "results.json").read_text())
    assert (
        before["checks"]
        and before["validation"]
        and before["baseline"]
        and before["upper_bound"]
        and before["versus_baseline"]
    )
    after = evaluate(output)
    for results in (before, after):
        results["config"].pop("OUTPUT_DIR")
        results["config"]["MODEL"]["HEADS"].pop("NUM_CLASSES")
    assert after == before


def test_the_final_checkpoint_is_tested_where_the_config_says_so(compared_run, tmp_path):
    output = tmp_path / "copy"
    shutil.copytree(compared_run, output)
    (output / "results.json").unlink()
    assert evaluate(output, **{"TEST.CHECKPOINT": "final"})["checkpoint"] == "model_final.pth"


@pytest.mark.parametrize(
    ("key", "folder"),
    [("PRIVACY.UPGRADE.BASELINE_RANK1", "upper_bound"), ("PRIVACY.UPPER_BOUND", "baseline")],
)
def test_results_of_another_method_do_not_serve(compared_run, tmp_path, capsys, key, folder):
    choice = {key: compared_run / folder / "results.json"}
    assert run(["--config-file", str(SMALL_CONFIG), *options(tmp_path / "new", **choice)]) == 2
    assert "PRIVACY.PROTECTION" in capsys.readouterr().err and not (tmp_path / "new").exists()


def test_base_results_of_another_test_set_are_taken_but_not_bootstrapped(compared_run, tmp_path):
    folder = tmp_path / "base"
    shutil.copytree(compared_run / "baseline", folder)
    np.savez(folder / "query_ranks.npz", **{"OI-PI": np.array([1, 2])})
    output = tmp_path / "run"
    choice = {"PRIVACY.UPGRADE.BASELINE_RANK1": folder / "results.json", "PRIVACY.UPPER_BOUND": ""}
    assert run(["--config-file", str(SMALL_CONFIG), *options(output, **choice)]) == 0
    assert json.loads((output / "results.json").read_text())["versus_baseline"] == {}
