"""``--eval-only`` on a finished run: nothing of its record is lost, and the checkpoint asked for is
tested."""

import json
import shutil

import numpy as np
import pytest
import torch
from conftest import SMALL_CONFIG, small_options
from in_process import train


@pytest.fixture(scope="module")
def compared_run(small_dataset, tmp_path_factory):
    """OUTPUT_DIR of a finished run with its own Base and upper bound."""
    output = tmp_path_factory.mktemp("compared") / "run"
    assert train("--config-file", SMALL_CONFIG, *options(output)) == 0
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
    assert train("--config-file", SMALL_CONFIG, "--eval-only", *options(output, **more)) == 0
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


def edited(path, **changes):
    """The checkpoint, with other values for some of its keys."""
    content = torch.load(path, weights_only=False)
    torch.save({**content, **changes}, path)
    return content


def test_the_checks_after_the_best_one_and_the_teacher_are_kept(compared_run, tmp_path):
    output = tmp_path / "copy"
    shutil.copytree(compared_run, output)
    record = torch.load(output / "model_final.pth", weights_only=False)["upgrade_record"]
    later = {**record["checks"][0], "epoch": 2, "decision": "fall back"}
    longer = {**record, "checks": [*record["checks"], later]}
    edited(output / "model_final.pth", upgrade_record=longer, teacher={"fingerprint": "ab"})
    after = evaluate(output)
    assert after["checkpoint"] == "model_best.pth" and after["teacher"] == "ab"
    assert [check["decision"] for check in after["checks"]][1:] == ["fall back"]
    assert after["validation"] == record["validation"]["best"]


def test_checks_of_another_run_are_not_taken_for_those_of_the_best_model(compared_run, tmp_path, caplog):
    output = tmp_path / "copy"
    shutil.copytree(compared_run, output)
    final = output / "model_final.pth"
    record = torch.load(final, weights_only=False)["upgrade_record"]
    another = {**record["checks"][0], "rank1": -1.0}
    edited(final, upgrade_record={**record, "checks": [another, another]})
    assert [check["rank1"] for check in evaluate(output)["checks"]] == [record["checks"][0]["rank1"]]
    final.write_bytes(final.read_bytes()[:-1000])
    assert len(evaluate(output)["checks"]) == 1
    assert f"The checks after that of {output / 'model_best.pth'} are not known" in caplog.text


def test_base_keeps_the_upper_bound_that_it_is_compared_with(compared_run, tmp_path):
    output = tmp_path / "copy"
    shutil.copytree(compared_run / "baseline", output)
    of_base = {"PRIVACY.PROTECTION": "conventional", "PRIVACY.UPPER_BOUND": ""}
    assert evaluate(output, **of_base)["upper_bound"] is None
    of_base["PRIVACY.UPPER_BOUND"] = compared_run / "upper_bound" / "results.json"
    assert evaluate(output, **of_base)["upper_bound"]["retrieval"]["OI-OI"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("PRIVACY.STORAGE", "jpeg50"),
        ("TEST.RERANK.ENABLED", True),
        ("SEED", 5),
        ("DATASETS.TESTS", "('SyntheticPedestrians', 'Market1501')"),  # its files have other names
    ],
)
def test_results_of_another_test_are_not_written_over(compared_run, tmp_path, capsys, key, value):
    """Base's, whose other test nothing beside it would refuse."""
    output = tmp_path / "copy"
    shutil.copytree(compared_run / "baseline", output)
    before = {file: file.read_bytes() for file in output.rglob("*.*") if file.is_file()}
    given = {"PRIVACY.PROTECTION": "conventional", "PRIVACY.UPPER_BOUND": "", key: value}
    assert train("--config-file", SMALL_CONFIG, "--eval-only", *options(output, **given)) == 2
    said = capsys.readouterr().err
    assert f"results of another test of model_best.pth ({key} " in said and "another OUTPUT_DIR" in said
    assert {file: file.read_bytes() for file in output.rglob("*.*") if file.is_file()} == before


def test_a_run_begun_with_weights_is_tested_again(compared_run, tmp_path):
    """Its Base and upper bound began with them, too; MODEL.WEIGHTS names another file now."""
    output = tmp_path / "run"
    begun = {"MODEL.WEIGHTS": compared_run / "model_final.pth"}
    assert train("--config-file", SMALL_CONFIG, *options(output, **begun)) == 0
    before = json.loads((output / "results.json").read_text())
    for tested in ("", output / "model_best.pth"):
        after = evaluate(output, **{"MODEL.WEIGHTS": tested})
        assert after["baseline"] == before["baseline"] and after["retrieval"] == before["retrieval"]


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
    assert train("--config-file", SMALL_CONFIG, *options(tmp_path / "new", **choice)) == 2
    assert "PRIVACY.PROTECTION" in capsys.readouterr().err and not (tmp_path / "new").exists()


def test_base_results_of_another_test_set_are_taken_but_not_bootstrapped(compared_run, tmp_path):
    folder = tmp_path / "base"
    shutil.copytree(compared_run / "baseline", folder)
    np.savez(folder / "query_ranks.npz", **{"OI-PI": np.array([1, 2])})
    output = tmp_path / "run"
    choice = {"PRIVACY.UPGRADE.BASELINE_RANK1": folder / "results.json", "PRIVACY.UPPER_BOUND": ""}
    assert train("--config-file", SMALL_CONFIG, *options(output, **choice)) == 0
    assert json.loads((output / "results.json").read_text())["versus_baseline"] == {}


def told(file, part, sha256):
    """Let results tell of other images; None: of none, as those of older versions."""
    results = json.loads(file.read_text())
    results["data"][part]["sha256"] = sha256
    if sha256 is None:
        results.pop("data")
    file.write_text(json.dumps(results))


@pytest.mark.parametrize("kind", ["baseline", "upper_bound"])
def test_results_of_a_model_of_other_training_images_do_not_serve_beside_a_run(
    compared_run, tmp_path, caplog, capsys, kind
):
    output = tmp_path / "copy"
    shutil.copytree(compared_run, output)
    file = output / kind / "results.json"
    told(file, "train", "ab")
    for way in ("--eval-only", "--resume"):
        assert train("--config-file", SMALL_CONFIG, way, *options(output)) == 2
        said = f"{file} is of another run (its training images have other names, identities or cameras)"
        assert said in capsys.readouterr().err
    key = {"baseline": "PRIVACY.UPGRADE.BASELINE_RANK1", "upper_bound": "PRIVACY.UPPER_BOUND"}[kind]
    weights = compared_run / "model_best.pth"
    named = evaluate(tmp_path / "named", **{key: file, "MODEL.WEIGHTS": weights})
    assert named[kind]["retrieval"]
    assert f"{file} was run differently: its training images have other names" in caplog.text
    told(file, "train", None)
    evaluate(output)


def test_a_test_knows_the_training_images_by_its_checkpoint(compared_run, tmp_path):
    """They need not be there; an older version's checkpoint does not tell, and is compared as before."""
    output = tmp_path / "copy"
    shutil.copytree(compared_run, output)
    before = json.loads((output / "results.json").read_text())["data"]
    assert set(before) == {"train", "test"} and before["train"] != before["test"]
    for file in output.glob("model_*.pth"):
        content = torch.load(file, weights_only=False)
        assert content.pop("data") == before["train"]
        torch.save(content, file)
    after = evaluate(output)
    assert after["data"] == {"test": before["test"]} and after["versus_baseline"]


def test_nothing_is_compared_with_results_on_other_test_images(compared_run, tmp_path, caplog):
    output = tmp_path / "copy"
    shutil.copytree(compared_run, output)
    for kind in ("baseline", "upper_bound"):
        told(output / kind / "results.json", "test", "ab")
    after = evaluate(output)
    assert after["baseline"] is None and after["upper_bound"] is None and after["versus_baseline"] == {}
    for kind in ("baseline", "upper bound"):
        name = "SyntheticPedestrians"
        assert f"is of other images of {name}: on {name} nothing is compared with the {kind}" in caplog.text
