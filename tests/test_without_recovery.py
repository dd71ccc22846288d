"""Training without a recovery branch (``PRIVACY.LAMBDA_REC 0``), from the first step to the last page, and
runs of before the key."""

from __future__ import annotations

from conftest import SMALL_CONFIG, small_options  # before fastreid: importing the package makes it work
from in_process import export, train

# isort: split
import json
import shutil

import pytest
import torch
import yaml
from report_examples import put, put_reproduction
from test_report import Page

from fastreid_privacy import load_anonymizer, load_recovery
from fastreid_privacy.checkpoints.reading import read_checkpoint
from fastreid_privacy.commands import options as command_options
from fastreid_privacy.config import parse_config
from fastreid_privacy.core.errors import UserError
from fastreid_privacy.reproduce.paper_report import write_paper_report
from fastreid_privacy.reproduce.reproduction import Reproduction
from fastreid_privacy.results.stored import EMBEDDING, RANK_LISTS, SAMPLES
from fastreid_privacy.retrieval import load_extractor

WITHOUT = {
    "PRIVACY.LAMBDA_REC": 0,
    "PRIVACY.UPGRADE.BASELINE_RANK1": "auto",
    "PRIVACY.UPPER_BOUND": "auto",
    "PRIVACY.UPGRADE.EPS_PSNR": 100.0,
    "PRIVACY.UPGRADE.EPS_SSIM": 2.0,
    "PRIVACY.UPGRADE.EPS_RANK1": 101.0,  # the first check upgrades
}


@pytest.fixture(scope="module")
def without(small_dataset, tmp_path_factory):
    """OUTPUT_DIR of a finished run without recovery, with its Base and upper bound; to be read, not to be
    written."""
    output = tmp_path_factory.mktemp("without") / "run"
    assert train("--config-file", SMALL_CONFIG, *small_options(output, **WITHOUT)) == 0
    return output


def test_what_a_run_leaves(without):
    results = json.loads((without / "results.json").read_text())
    assert set(results["retrieval"]) == {"OI-OI", "OI-PI", "PI-OI", "PI-PI", "OI-DI"}
    assert set(results["image_quality"]) == {"protected", "desensitized"}
    assert results["upgrades"] and results["versus_baseline"] and results["upper_bound"]
    for name in ("model_best", "model_final"):
        assert not [key for key in read_checkpoint(without / f"{name}.pth")["model"] if "recovery" in key]
    assert set(SAMPLES.load(without)) == {"OI", "DI", "PI"} and set(EMBEDDING.load(without)) == {
        "pids",
        "OI",
        "DI",
        "PI",
    }
    assert not [pair for pair in RANK_LISTS.load(without) if "RI" in pair]
    losses = {key for line in (without / "metrics.json").read_text().splitlines() for key in json.loads(line)}
    assert "loss_anonymization_l1" in losses and not [name for name in losses if "recovery" in name]


def test_the_report_says_so_and_leaves_nothing_empty(without):
    page = Page(without / "report.html")
    assert [row[0] for row in page.rows if row[0].startswith("Without recovery")] == ["Without recovery"] * 5
    cells = [cell for row in page.rows for cell in row]
    assert not {"None", "nan"} & set(cells) and "recovered" not in cells
    # the corner of a table
    assert [row for row in page.rows if "" in row] == [["", "rank-1", "95\u00a0% interval"]]


def test_the_checkpoint_serves_everything_but_recovery(without, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        command_options, "read_passphrase", lambda *_, **__: pytest.fail("there is nothing to encrypt")
    )
    assert export("--weights", without / "model_best.pth", "--output", tmp_path / "release") == 0
    assert "no recovery: the checkpoint holds none" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "release").iterdir()) == [
        "anonymizer.safetensors",
        "reid.pth",
        "release.json",
    ]
    images = torch.randint(0, 256, (2, 3, 64, 32), dtype=torch.uint8)
    protect, extract = (
        load_anonymizer(tmp_path / "release" / "anonymizer.safetensors", "cpu"),
        load_extractor(without / "model_best.pth"),
    )
    assert torch.equal(protect(images).float(), extract.protect(images, ["a.jpg", "b.jpg"]).cpu())
    for path in (without / "model_best.pth", tmp_path / "release" / "anonymizer.safetensors"):
        with pytest.raises(
            UserError, match=r"trained without one \(PRIVACY.LAMBDA_REC 0\).*sealed originals"
        ):
            load_recovery(path)


def test_it_is_tested_again_with_its_own_config_only(without, tmp_path, capsys):
    output = shutil.copytree(without, tmp_path / "run")
    before = json.loads((output / "results.json").read_text())
    words = ["--config-file", str(SMALL_CONFIG), "--eval-only"]
    assert train(*words, *small_options(output, **WITHOUT)) == 0
    after = json.loads((output / "results.json").read_text())
    assert after["retrieval"] == before["retrieval"] and after["image_quality"] == before["image_quality"]
    weights = {"MODEL.WEIGHTS": without / "model_best.pth"}
    assert train(*words, *small_options(tmp_path / "new", **weights)) == 2
    assert "does not hold the recovery of this config" in capsys.readouterr().err


def test_base_serves_models_with_and_without(without, tmp_path, caplog):
    """They differ in a method key only: neither a warning nor a refusal."""
    choice = {"PRIVACY.UPGRADE.BASELINE_RANK1": without / "baseline" / "results.json", "SOLVER.MAX_EPOCH": 2}
    with caplog.at_level("WARNING"):
        assert train("--config-file", SMALL_CONFIG, *small_options(tmp_path / "with", **choice)) == 0
    assert "was run differently" not in caplog.text
    assert set(json.loads((tmp_path / "with" / "results.json").read_text())["versus_baseline"]) >= {
        "OI-PI",
        "PI-PI",
    }


def test_a_reproduction_needs_recovery(tmp_path):
    with pytest.raises(
        UserError, match=r"wo_recovery_blur.yml trains without recovery \(PRIVACY.LAMBDA_REC 0\)"
    ):
        Reproduction("configs/Market/wo_recovery_blur.yml", ["MODEL.DEVICE", "cpu"], output_dir=tmp_path)


def test_a_page_of_runs_names_what_they_lack(without, tmp_path):
    """Its figures take whatever results there are, also those of runs that no reproduction made."""
    put_reproduction(tmp_path, operators=("blur",))
    full = tmp_path / "seed0" / "full_blur"
    put(full, json.loads((without / "results.json").read_text()), samples=False)
    for file in full.glob("figures/*"):
        file.unlink()
    shutil.copytree(without / "figures", full / "figures", dirs_exist_ok=True)
    page = Page(write_paper_report(tmp_path, "<section></section>"))
    assert "seed0/full_blur/figures/samples.npz holds no recovered images" in page.text
    assert "None" not in page.text and "nan" not in page.text.split()


# -- runs that were made before the key ----------------------------------------------------------------------


@pytest.fixture
def before_the_key(small_run, tmp_path):
    """A finished run as an earlier version left it: no config in it knows ``PRIVACY.LAMBDA_REC``."""
    folder = shutil.copytree(small_run, tmp_path / "earlier")

    def forget(config: dict) -> dict:
        del config["PRIVACY"]["LAMBDA_REC"]
        return config

    (folder / "config.yaml").write_text(
        yaml.safe_dump(forget(yaml.safe_load((folder / "config.yaml").read_text())))
    )
    for path in folder.glob("*.pth"):
        checkpoint = torch.load(path, weights_only=False)
        torch.save(
            {**checkpoint, "config": yaml.safe_dump(forget(yaml.safe_load(checkpoint["config"])))}, path
        )
    results = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps({**results, "config": forget(results["config"])}))
    return folder


def test_earlier_runs_are_resumed_tested_and_loaded(before_the_key, small_run, capsys):
    path = before_the_key / "model_best.pth"
    assert parse_config(read_checkpoint(path)["config"], "").PRIVACY.LAMBDA_REC == 1.0
    images = torch.randint(0, 256, (2, 3, 64, 32), dtype=torch.uint8)
    assert torch.equal(
        load_recovery(path, "cpu")(images), load_recovery(small_run / "model_best.pth", "cpu")(images)
    )
    for flag in ("--resume", "--eval-only"):
        assert train("--config-file", SMALL_CONFIG, flag, *small_options(before_the_key)) == 0
    earlier, now = (
        json.loads((folder / "results.json").read_text()) for folder in (before_the_key, small_run)
    )
    assert earlier["retrieval"] == now["retrieval"] and earlier["image_quality"] == now["image_quality"]
    (before_the_key / "config.yaml").write_text(
        (before_the_key / "config.yaml").read_text().replace("LAMBDA_REC: 1.0", "")
    )
    words = small_options(before_the_key, **{"PRIVACY.LAMBDA_REC": 0.5})
    assert train("--config-file", SMALL_CONFIG, "--resume", *words) == 2
    assert "PRIVACY.LAMBDA_REC 1.0 → 0.5" in capsys.readouterr().err
