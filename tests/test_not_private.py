"""A model that did not meet the privacy constraint says so where it is shown, and is not used by mistake."""

from __future__ import annotations

from conftest import SMALL_CONFIG, small_options  # before fastreid: importing the package makes it work
from in_process import export, train

# isort: split
import csv
import json
import shutil

import pytest
import torch
from in_process import anonymize, contents
from report_examples import full_results, put
from safetensors import safe_open
from test_report import Page
from test_reproduce_tables import make

from fastreid_privacy import load_anonymizer
from fastreid_privacy.checkpoints.reading import read_trained
from fastreid_privacy.checkpoints.splitting import split_checkpoint
from fastreid_privacy.config import load_config
from fastreid_privacy.core.errors import UserError
from fastreid_privacy.manifest import read_manifest
from fastreid_privacy.model.verdict import verdict
from fastreid_privacy.report import format_markdown, format_terminal, write_report
from fastreid_privacy.reproduce.formats import write_tables
from fastreid_privacy.results.results_json import read_results

SAID = "NOT PRIVATE"


def check(psnr, ssim=0.4):
    """Of images that are 18 dB and 0.4 from the raw ones when they are desensitized."""
    desensitized = {"psnr_desensitized": 18.0, "ssim_desensitized": 0.4}
    return {"epoch": 1, "rank1": 50.0, "psnr_protected": psnr, "ssim_protected": ssim, **desensitized}


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (None, None),
        ({"checks": []}, None),
        ({"checks": [check(18.9)]}, True),
        ({"checks": [check(19.1)]}, False),
        ({"checks": [check(18.0, 0.46)]}, False),
        ({"checks": [check(float("inf"))]}, False),
        ({"checks": [check(30.0), check(18.0)]}, True),
        ({"checks": [check(18.0), check(30.0)]}, False),  # the first one was of other weights
    ],
)
def test_the_last_check_decides(record, expected):
    assert verdict(load_config(), record) is expected
    for protection in ("none", "conventional"):
        assert verdict(load_config("", ["PRIVACY.PROTECTION", protection]), record) is None


def test_the_thresholds_are_the_configs():
    assert verdict(load_config("", ["PRIVACY.UPGRADE.EPS_PSNR", "20"]), {"checks": [check(30.0)]}) is True


@pytest.mark.parametrize("record", [3, [], {}, {"checks": 7}, {"checks": [{}]}, {"checks": [check("x")]}])
def test_a_forged_record_is_refused(record, weights, tmp_path):
    with pytest.raises(ValueError, match="record of checks is damaged"):
        verdict(load_config(), record)
    path = changed_record(weights, tmp_path / "forged.pth", record)
    with pytest.raises(UserError, match=r"forged\.pth is damaged: its record of checks"):
        read_trained(path)


# -- files ---------------------------------------------------------------------------------------------------


def changed_record(weights, path, record):
    """The checkpoint with another record of checks; without one of None."""
    checkpoint = torch.load(weights, weights_only=True)
    checkpoint["upgrade_record"] = record
    if record is None:
        del checkpoint["upgrade_record"]
    torch.save(checkpoint, path)
    return path


@pytest.fixture(scope="module")
def shown(weights, tmp_path_factory):
    """The small run's checkpoint, as if its last check had found that protected images show too much."""
    path = tmp_path_factory.mktemp("shown") / "model_final.pth"
    return changed_record(weights, path, {"checks": [check(18.0), check(30.0)]})


@pytest.fixture
def raw(small_dataset, tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    shutil.copy(next(small_dataset.glob("*/query/*")), folder)
    return folder


def test_export_refuses_it_and_says_so_where_it_is_meant(shown, tmp_path, capsys, raw):
    words = ["--weights", shown, "--output", tmp_path / "release", "--unencrypted", "--onnx"]
    assert export(*words) == 2
    assert f"{shown} is NOT PRIVATE: at the last check" in capsys.readouterr().err
    assert not (tmp_path / "release").exists()
    assert export(*words, "--not-private") == 0
    release = tmp_path / "release"
    assert json.loads((release / "release.json").read_text())["privacy"] == "not private"
    with safe_open(release / "anonymizer.safetensors", "pt") as file:
        assert file.metadata()["privacy"] == "not private"
    for file in (shown, release / "anonymizer.safetensors", release / "anonymizer.onnx"):
        assert load_anonymizer(file, "cpu").private is False
        words = ["--weights", file, "--input", raw, "--output", tmp_path / "p"]
        capsys.readouterr()
        assert anonymize(*words) == 2
        assert f"{file} is NOT PRIVATE" in capsys.readouterr().err and not (tmp_path / "p").exists()
    assert anonymize(*words, "--not-private") == 0
    assert read_manifest(tmp_path / "p" / "manifest.jsonl").header["privacy"] == "not private"


def test_a_private_model_needs_no_word(weights, tmp_path, capsys, raw):
    assert load_anonymizer(weights, "cpu").private is True
    parts = split_checkpoint(weights, tmp_path / "release", None)
    assert json.loads((tmp_path / "release" / "release.json").read_text())["privacy"] == "private"
    words = ["--weights", parts["anonymizer"], "--input", raw, "--output", tmp_path / "p"]
    assert anonymize(*words, "--not-private") == 2
    assert export("--weights", weights, "--output", tmp_path / "q", "--unencrypted", "--not-private") == 2
    assert capsys.readouterr().err.count("leave it out") == 2
    assert anonymize(*words) == 0
    assert "does not tell" not in capsys.readouterr().err
    # the header of before: a collection that an older version began goes on
    assert "privacy" not in read_manifest(tmp_path / "p" / "manifest.jsonl").header


def test_a_checkpoint_without_a_record_is_warned_of_once(weights, tmp_path, capsys, raw):
    older = changed_record(weights, tmp_path / "older.pth", None)
    assert load_anonymizer(older, "cpu").private is None
    assert export("--weights", older, "--output", tmp_path / "release", "--unencrypted") == 0
    told = "does not tell whether its protected images are private"
    assert capsys.readouterr().err.count(told) == 1
    assert "privacy" not in json.loads((tmp_path / "release" / "release.json").read_text())
    words = ["--weights", older, "--input", raw]
    assert anonymize(*words, "--output", tmp_path / "p") == 0
    assert capsys.readouterr().err.count(told) == 1
    assert anonymize(*words, "--output", tmp_path / "q", "--not-private") == 0  # who says so is not told
    assert told not in capsys.readouterr().err
    assert contents(tmp_path / "p").keys() == contents(tmp_path / "q").keys()


@pytest.mark.parametrize("protection", ["conventional", "none"])
def test_no_constraint_applies_where_nothing_is_learned(weights, tmp_path, capsys, raw, protection):
    checkpoint = torch.load(weights, weights_only=True)
    config = checkpoint["config"].replace("PROTECTION: learned", f"PROTECTION: {protection}")
    names = [name for name in checkpoint["model"] if name.split(".")[0] in ("backbone", "heads")]
    checkpoint.update(config=config, model={name: checkpoint["model"][name] for name in names})
    checkpoint["upgrade_record"] = {"checks": [{"epoch": 1, "rank1": 50.0}]}
    torch.save(checkpoint, tmp_path / "base.pth")
    words = ["--weights", tmp_path / "base.pth", "--output", tmp_path / "release"]
    assert export(*words) == 0
    assert "does not tell" not in capsys.readouterr().err
    assert "privacy" not in json.loads((tmp_path / "release" / "release.json").read_text())
    if protection == "conventional":
        words = ["--weights", tmp_path / "base.pth", "--input", raw, "--output", tmp_path / "p"]
        assert anonymize(*words, "--not-private") == 2
        assert anonymize(*words) == 0


def test_an_operator_and_a_key_pair_have_no_model(raw, tmp_path, capsys):
    words = ["--method", "blur", "--input", raw, "--output", tmp_path / "p", "--not-private"]
    assert anonymize(*words) == 2
    assert export("--new-identity", "--output", tmp_path / "k", "--unencrypted", "--not-private") == 2
    assert capsys.readouterr().err.count("--not-private") == 2


# -- results, reports and tables -----------------------------------------------------------------------------


def test_a_run_says_it_in_the_terminal_and_in_its_files(small_dataset, tmp_path, caplog):
    """A run with thresholds that nothing meets; then tested again."""
    options = small_options(tmp_path, **{"PRIVACY.UPGRADE.EPS_PSNR": -50.0, "SOLVER.MAX_EPOCH": 1})
    words = ["--config-file", str(SMALL_CONFIG)]
    with caplog.at_level("INFO"):
        assert train(*words, *options) == 0
    assert SAID in caplog.text and not (tmp_path / "model_best.pth").exists()
    assert read_results(tmp_path / "results.json")["private"] is False
    assert SAID in Page(tmp_path / "report.html").text
    assert read_trained(tmp_path / "model_final.pth").private is False
    (tmp_path / "results.json").unlink()
    assert train(*words, "--eval-only", *options) == 0
    assert read_results(tmp_path / "results.json")["private"] is False


@pytest.mark.parametrize(("private", "said"), [(False, True), (True, False), (None, False)])
def test_reports_and_texts(tmp_path, private, said):
    results = {**full_results(), "private": private}
    put(tmp_path, results, samples=False)
    for text in (format_terminal(results), format_markdown(results), Page(write_report(tmp_path)).text):
        assert (SAID in text) == said
    older = {key: value for key, value in results.items() if key != "private"}
    assert SAID not in format_terminal(older)


def test_results_that_say_something_else_are_refused(tmp_path):
    put(tmp_path, {**full_results(), "private": "yes"}, samples=False)
    with pytest.raises(UserError, match="private is 'yes', not true or false"):
        read_results(tmp_path / "results.json")


def test_tables_of_a_reproduction(tmp_path):
    make(tmp_path / "made", seeds=(0, 1), tables=(1, 3, 5))
    for seed, private in ((0, False), (1, True)):
        for name in ("full_noise", "full_noise/raw_agw"):
            file = tmp_path / "made" / f"seed{seed}" / name / "results.json"
            file.write_text(json.dumps({**json.loads(file.read_text()), "private": private}))
    write_tables(tmp_path / "made")
    lines = (tmp_path / "made" / "tables.md").read_text().splitlines()
    where = [line.split("|")[2].strip() for line in lines if line.startswith("| Ours, NOT PRIVATE")]
    assert where == ["PI→PI", "recovered", "protected", "OI→OI", "OI→PI", "PI→OI", "PI→PI"]
    assert sum(line.startswith("NOT PRIVATE: at the last check") for line in lines) == 3  # below each table
    with (tmp_path / "made" / "tables.csv").open() as file:
        rows = list(csv.DictReader(file))
    marked = {(row["operator"], row["model"]) for row in rows if row["not_private"] != "0"}
    assert marked == {("noise", "raw_agw"), ("noise", "full")}
    assert {row["not_private"] for row in rows} == {"0", "1"}  # seeds
    assert "Ours, NOT PRIVATE" in Page(tmp_path / "made" / "tables.html").text
