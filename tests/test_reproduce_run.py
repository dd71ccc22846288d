"""A whole reproduction in small: killed in the middle, continued, called again; and its extra evaluation
against one made here."""

from __future__ import annotations

from conftest import SMALL_CONFIG, small_options  # before fastreid: importing the package makes it work

# isort: split
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import fastreid_privacy
from fastreid_privacy import data
from fastreid_privacy.checkpoints.reading import read_checkpoint
from fastreid_privacy.commands.reproduce import main as run
from fastreid_privacy.config import parse_config
from fastreid_privacy.core.errors import UserError
from fastreid_privacy.evaluation import evaluate_retrieval
from fastreid_privacy.model.image_stages import path_seeds
from fastreid_privacy.reproduce import runs
from fastreid_privacy.reproduce.raw_agw import evaluate_raw_agw, put_in_reid
from fastreid_privacy.training.trainer import PrivacyTrainer

TOOL = Path(__file__).parents[1] / "tools" / "reproduce.py"
# of small_options: set by the reproduction
OWN = ("OUTPUT_DIR", "PRIVACY.UPGRADE.BASELINE_RANK1", "PRIVACY.UPPER_BOUND")


def arguments(output: Path, *flags: str) -> list[str]:
    """A reproduction of two epochs of two iterations, with blur."""
    words = small_options(output)
    overrides = [
        word for pair in zip(words[0::2], words[1::2], strict=True) if pair[0] not in OWN for word in pair
    ]
    return [
        "--config-file",
        str(SMALL_CONFIG),
        "--operators",
        "blur",
        "--output-dir",
        str(output),
        *flags,
        *overrides,
    ]


def results_of(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


@pytest.fixture(scope="module")
def reproduction(small_dataset, tmp_path_factory):
    """Tables 1 and 3 of a reproduction that was killed with all its processes while Base trained, then called
    again."""
    output = tmp_path_factory.mktemp("reproduction") / "tables"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, str(TOOL), *arguments(output, "--tables", "1,3")],
        env=environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    base, deadline = output / "seed0" / "base_blur", time.monotonic() + 900  # a busy machine is no failure
    while not (base / "model_0000.pth").is_file():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    upper_bound = (output / "seed0" / "upper_bound" / "results.json").stat().st_mtime_ns
    assert not (base / "results.json").exists()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        assert run(arguments(output, "--tables", "1,3")) == 0
    assert (output / "seed0" / "upper_bound" / "results.json").stat().st_mtime_ns == upper_bound
    return output


def test_it_went_on_where_it_was_killed(reproduction):
    assert "Resuming from" in (reproduction / "seed0" / "base_blur" / "reproduce.log").read_text()
    assert (reproduction / "report.html").is_file()
    assert sorted(path.name for path in (reproduction / "seed0").iterdir()) == [
        "base_blur",
        "full_blur",
        "upper_bound",
    ]
    text = (reproduction / "tables.md").read_text()
    assert "missing" not in text and "Table 1" in text and "Table 3" in text and "Table 5" not in text


def test_the_full_model_was_compared_with_the_two_others(reproduction):
    full, base, upper_bound = (
        results_of(reproduction / "seed0" / name) for name in ("full_blur", "base_blur", "upper_bound")
    )
    assert full["baseline"] == base and full["upper_bound"] == upper_bound
    assert (
        full["config"]["PRIVACY"]["UPGRADE"]["ENABLED"]
        and not (reproduction / "seed0" / "full_blur" / "baseline").exists()
    )


def test_a_finished_reproduction_only_writes_its_tables_again(reproduction, tmp_path, monkeypatch):
    """Also on a machine without the data."""
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    # not subprocess.Popen, by which libraries count cores
    monkeypatch.setattr(runs, "run_logged", lambda *args: pytest.fail("nothing is left to run"))
    (reproduction / "tables.md").unlink()
    assert run(arguments(reproduction, "--tables", "1,3")) == 0
    assert (reproduction / "tables.md").is_file() and not list(tmp_path.iterdir())


def test_common_agw_sees_the_full_model_s_images(reproduction, tmp_path):
    """results.json of raw_agw against the upper bound's own model, on images that the two public functions
    make.

    Measured again in this process: a model of a few steps separates people by less than processes of other
    threads differ in rounding.
    """
    full, upper_bound = tmp_path / "full_blur", reproduction / "seed0" / "upper_bound"
    shutil.copytree(reproduction / "seed0" / "full_blur", full)
    by_command = results_of(full / "raw_agw")
    shutil.rmtree(full / "raw_agw")
    evaluate_raw_agw(full, upper_bound, "cpu")
    found, whole = results_of(full / "raw_agw"), results_of(full)
    assert found.keys() == by_command.keys()
    checkpoint = upper_bound / results_of(upper_bound)["checkpoint"]
    weights = read_checkpoint(checkpoint)
    cfg = parse_config(weights["config"], str(checkpoint))
    cfg.MODEL.HEADS.NUM_CLASSES = len(weights["model"]["heads.weight"])
    model = PrivacyTrainer.build_model(cfg)
    model.load_state_dict(weights["model"])
    tested = str(full / whole["checkpoint"])
    protect, recover = fastreid_privacy.load_anonymizer(tested), fastreid_privacy.load_recovery(tested)
    loader, queries = data.build_test_loader(cfg, "SyntheticPedestrians")
    features, pids, camids = {name: [] for name in ("OI", "DI", "PI", "RI")}, [], []
    with torch.no_grad():
        for batch in loader:
            images = {
                "OI": batch["images"],
                "DI": model.desensitize(batch["images"], path_seeds(batch["img_paths"])),
            }
            images["PI"] = protect(batch["images"])
            images["RI"] = recover(images["PI"]).round()
            for name in features:
                features[name].append(model.eval()({"images": images[name]}))
            pids += batch["targets"].tolist()
            camids += batch["camids"].tolist()
    assert set(found["retrieval"]) == {"OI-OI", "DI-DI", "PI-PI", "RI-RI"}
    for name, parts in features.items():
        rows = torch.cat(parts)
        expected = evaluate_retrieval(
            rows[:queries], rows[queries:], pids[:queries], pids[queries:], camids[:queries], camids[queries:]
        )
        assert found["retrieval"][f"{name}-{name}"] == pytest.approx(expected)
    assert by_command["retrieval"]["OI-OI"] == results_of(upper_bound)["retrieval"]["OI-OI"]
    assert by_command["retrieval"]["RI-RI"] != whole["retrieval"]["RI-RI"]
    assert by_command["image_quality"] == whole["image_quality"]
    files = {"checkpoint": full / whole["checkpoint"], "reid_checkpoint": checkpoint}
    sums = {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items()}
    assert by_command["sha256"] == found["sha256"] == sums
    named = reproduction / "seed0" / "full_blur" / "raw_agw" / by_command["reid_checkpoint"]
    assert named.resolve() == checkpoint.resolve()


def test_a_failing_run_is_named_with_its_log(reproduction, tmp_path, capsys, monkeypatch):
    """Its process says what is wrong; what it said at an earlier call does not count."""
    process = [sys.executable, "-c", "import sys; sys.exit('error: the disk is full')"]
    monkeypatch.setattr(runs, "command", lambda reproduction, run: process)
    folder = tmp_path / "seed0" / "upper_bound"
    folder.mkdir(parents=True)
    (folder / "reproduce.log").write_text("error: of an earlier call\n")
    assert run(arguments(tmp_path, "--tables", "3")) == 2
    error = capsys.readouterr().err
    assert "error: run seed0/upper_bound failed with exit code 1: the disk is full" in error
    assert str(folder / "reproduce.log") in error and "Traceback" not in error


def test_an_interrupted_run_ends_the_command(reproduction, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        runs, "command", lambda reproduction, run: [sys.executable, "-c", "import sys; sys.exit(130)"]
    )
    assert run(arguments(tmp_path, "--tables", "3")) == 130
    assert "the same command continues" in capsys.readouterr().err


def test_sigterm_ends_the_run_too(small_dataset, tmp_path):
    """A scheduler's signal leaves no process behind."""
    process = subprocess.Popen(
        [sys.executable, str(TOOL), *arguments(tmp_path, "--tables", "3")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    log, deadline = (
        tmp_path / "seed0" / "upper_bound" / "reproduce.log",
        time.monotonic() + 900,
    )  # a busy machine is no failure
    while not log.is_file():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.terminate()
    assert process.wait(timeout=60) == 130
    with runs.locked(tmp_path):
        pass


def test_another_re_id_model_is_refused():
    model = torch.nn.ModuleDict({"backbone": torch.nn.Linear(2, 2), "anonymizer": torch.nn.Linear(2, 2)})
    before = model["backbone"].weight.clone()
    for weights in ({}, {"backbone.weight": torch.ones(3, 2), "backbone.bias": torch.ones(2)}):
        with pytest.raises(
            UserError, match=r"upper\.pth has another Re-ID model than the full one \(backbone.weight"
        ):
            put_in_reid(model, weights, "upper.pth")
    assert torch.equal(model["backbone"].weight, before)
