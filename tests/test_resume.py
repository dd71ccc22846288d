"""``--resume`` after SIGKILL, wherever it strikes, ends where an uninterrupted run of the same seed ends, bit
for bit."""

from __future__ import annotations

from conftest import SMALL_CONFIG, small_options  # before fastreid: importing the package makes it work

# isort: split
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from in_process import train

from fastreid_privacy.config import changed, load_config
from fastreid_privacy.results.training_log import read_metrics
from fastreid_privacy.training.image_lists import test_images as images_of_test
from fastreid_privacy.training.image_lists import training_images

# Base first, then the learned model, three epochs each; whatever is private enough for these generous ε
# upgrades, at every check.
OPTIONS = {
    "SOLVER.MAX_EPOCH": 3,
    "PRIVACY.UPGRADE.BASELINE_RANK1": "auto",
    "PRIVACY.UPGRADE.EPS_PSNR": 100.0,
    "PRIVACY.UPGRADE.EPS_SSIM": 2.0,
    "PRIVACY.UPGRADE.EPS_RANK1": 101.0,
}
PARTS = {"TRAIN": "bounding_box_train", "QUERY": "query", "GALLERY": "bounding_box_test"}
STEP = "fastreid_privacy.training.trainer.PrivacyTrainer.run_step"
DRAW = random.Random(20240)
PLAN = [
    ["write", "baseline/.model_0000", DRAW.randrange(1, 1_000_000)],
    # Base's second or third epoch: the first is done again, as nothing was whole
    ["call", STEP, DRAW.randrange(3, 7)],
    # whole, but not yet the one to continue from
    ["call", "fastreid_privacy.training.checkpointer.PrivacyCheckpointer.tag_last_checkpoint", 1],
    # Base finished; decided, not yet done
    ["call", "fastreid_privacy.model.supervision.Supervision.upgrade", 1],
    ["call", STEP, DRAW.randrange(3, 7)],  # the learned model's second or third epoch, after the upgrade
    ["write", "/.model_", DRAW.randrange(1, 3_000_000)],  # the next checkpoint of whatever kind
    ["write", "/.model_final", DRAW.randrange(1, 9_000_000)],
    ["call", "fastreid_privacy.training.experiment.write_report", 1],  # all there but the report
]


def digest(value) -> str:
    """SHA-256 of nested containers, tensors bit by bit."""
    if isinstance(value, torch.Tensor):
        value = value.numpy()
    if isinstance(value, np.ndarray):
        text = f"{value.dtype}{value.shape}".encode() + np.ascontiguousarray(value).tobytes()
    elif isinstance(value, dict):
        text = repr(
            [(repr(key), digest(item)) for key, item in sorted(value.items(), key=lambda pair: repr(pair[0]))]
        ).encode()
    elif isinstance(value, list | tuple):
        text = repr([digest(item) for item in value]).encode()
    else:
        text = repr(value).encode()
    return hashlib.sha256(text).hexdigest()


def checkpoint_digests(path: Path) -> dict[str, str]:
    """What a checkpoint holds besides its config (which names OUTPUT_DIR)."""
    content = torch.load(path, weights_only=False)
    return {key: digest(value) for key, value in content.items() if key != "config"}


def results_of(folder: Path) -> dict:
    """results.json without the names of the folder."""
    return json.loads(
        (folder / "results.json").read_text().replace(str(folder), "").replace(str(folder.parent), "")
    )


def curves_of(folder: Path) -> list[dict]:
    """What the training curves show of each iteration that is logged. Losses there are medians over 20
    iterations since the last start."""
    keys = ("iteration", "lr", "total_loss")
    return [
        {
            key: key if key == "total_loss" else entry[key]
            for key in entry
            if key in keys or key.startswith("validation/")
        }
        for entry in read_metrics(folder / "metrics.json")
    ]


def files_of(folder: Path) -> list[str]:
    """Names, hidden ones included, without fastreid's TensorBoard files: each start writes one more."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if "tfevents" not in path.name)


@pytest.fixture(scope="module")
def twins(small_dataset, tmp_path_factory):
    """OUTPUT_DIR of an uninterrupted run, and of one that was killed wherever PLAN says."""
    folders = [tmp_path_factory.mktemp("uninterrupted") / "run", tmp_path_factory.mktemp("killed") / "run"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "FASTREID_DATASETS": str(small_dataset)}
    arguments = [
        ["--config-file", str(SMALL_CONFIG), *small_options(folder, **OPTIONS)] for folder in folders
    ]
    runs = json.dumps(list(zip(arguments, ([], PLAN), strict=True)))
    driver = [sys.executable, str(Path(__file__).with_name("killed_runs.py")), runs]
    done = subprocess.run(driver, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return folders


@pytest.mark.parametrize("part", ["", "baseline"], ids=["learned", "Base"])
def test_killed_and_resumed_equals_uninterrupted(twins, part):
    """Weights of all networks, optimizer, learning-rate schedule, upgrade record; the selected model;
    results; curves."""
    whole, killed = (folder / part for folder in twins)
    expected = checkpoint_digests(whole / "model_final.pth")
    assert {"model", "optimizer", "lr_sched", "upgrade_record", "epoch"} <= expected.keys()
    assert checkpoint_digests(killed / "model_final.pth") == expected
    assert checkpoint_digests(killed / "model_best.pth") == checkpoint_digests(whole / "model_best.pth")
    assert results_of(killed) == results_of(whole)
    assert len(curves_of(whole)) >= 3 and curves_of(killed) == curves_of(whole)
    assert files_of(killed) == files_of(whole)


def test_the_twins_upgraded(twins):
    """What is compared above has upgrades in it, so that the frozen target's weights are part of it."""
    checks = results_of(twins[1])["checks"]
    assert [check["epoch"] for check in checks] == [1, 2, 3]
    assert checks == results_of(twins[0])["checks"]
    assert "upgrade" in [check["decision"] for check in checks[:2]]
    assert results_of(twins[1])["upgrades"] == [check for check in checks if check["decision"] == "upgrade"]


def test_another_seed_ends_elsewhere(small_run, small_dataset, tmp_path):
    """The hashes above can differ."""
    assert train("--config-file", SMALL_CONFIG, *small_options(tmp_path, SEED=1)) == 0
    first, second = (checkpoint_digests(folder / "model_final.pth") for folder in (small_run, tmp_path))
    assert first["model"] != second["model"] and first["optimizer"] != second["optimizer"]


def test_a_damaged_last_checkpoint_is_named_and_the_one_before_taken(small_run, tmp_path, capfd):
    folder = tmp_path / "run"
    shutil.copytree(small_run, folder)
    (folder / "results.json").unlink()
    last = folder / (folder / "last_checkpoint").read_text()
    content = bytearray(last.read_bytes())
    weight = torch.load(last, weights_only=False)["model"]["anonymizer.down.0.0.weight"]
    content[content.index(bytes(weight.untyped_storage()))] ^= 1  # torch reads such a file without a word
    last.write_bytes(content)
    assert train("--resume", "--config-file", SMALL_CONFIG, *small_options(folder)) == 0
    out = capfd.readouterr().out
    assert f"Cannot resume from {last} is damaged" in out
    assert f"Resuming from {folder / 'model_0000.pth'}" in out
    assert checkpoint_digests(folder / "model_final.pth") == checkpoint_digests(small_run / "model_final.pth")
    assert results_of(folder) == results_of(small_run)


def interrupted(small_run, folder):
    """A run that was killed in its second epoch: its folder, and its best model."""
    shutil.copytree(small_run, folder)
    for name in ("results.json", "model_final.pth"):
        (folder / name).unlink()
    (folder / "last_checkpoint").write_text("model_0000.pth")
    return folder, folder / "model_best.pth"


def test_a_better_model_than_the_checkpoint_knows_of_is_kept_with_its_figures(small_run, tmp_path):
    """A kill can come between a check and the next checkpoint, and a GPU repeats no epoch exactly."""
    folder, best = interrupted(small_run, tmp_path / "run")
    content = torch.load(best, weights_only=False)
    record = content["upgrade_record"]
    figures = {"OI-PI": {**record["validation"]["best"]["OI-PI"], "Rank-1": 99.0}}
    later = {**record, "selected": 99.0, "validation": {**record["validation"], "best": figures}}
    torch.save({**content, "epoch": 1, "upgrade_record": later}, best)
    before = best.read_bytes()
    assert train("--resume", "--config-file", SMALL_CONFIG, *small_options(folder)) == 0
    assert best.read_bytes() == before and results_of(folder)["validation"] == figures
    final = torch.load(folder / "model_final.pth", weights_only=False)
    assert final["upgrade_record"]["selected"] == 99.0 and len(final["upgrade_record"]["checks"]) == 2


@pytest.mark.parametrize("damage", [Path.unlink, lambda best: best.write_bytes(best.read_bytes()[:-1000])])
def test_a_best_model_that_is_lost_or_damaged_is_chosen_anew(small_run, tmp_path, capfd, damage):
    folder, best = interrupted(small_run, tmp_path / "run")
    assert torch.load(folder / "model_0000.pth", weights_only=False)["upgrade_record"]["selected"] is not None
    damage(best)
    assert train("--resume", "--config-file", SMALL_CONFIG, *small_options(folder)) == 0
    assert "the best of the checks to come takes its place" in capfd.readouterr().out
    assert torch.load(best, weights_only=False)["epoch"] == 1
    assert results_of(folder)["checkpoint"] == "model_best.pth"


def test_no_whole_checkpoint(small_run, tmp_path, capfd):
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("model_final.pth", "model_0000.pth"):
        (folder / name).write_bytes((small_run / name).read_bytes()[:-1000])
    (folder / "last_checkpoint").write_text("model_final.pth")
    assert train("--resume", "--config-file", SMALL_CONFIG, *small_options(folder)) == 2
    message = capfd.readouterr().err
    assert (
        all(str(folder / name) in message for name in ("model_final.pth", "model_0000.pth"))
        and "Traceback" not in message
    )


def test_resuming_under_another_model(small_run, tmp_path, capfd):
    folder = tmp_path / "run"
    shutil.copytree(small_run, folder)
    (folder / "results.json").unlink()
    (folder / "config.yaml").unlink()  # which is compared first
    options = small_options(folder, **{"PRIVACY.ANONYMIZER.WIDTH": 4})
    assert train("--resume", "--config-file", SMALL_CONFIG, *options) == 2
    message = capfd.readouterr().err
    assert (
        str(folder / "model_final.pth") in message and "anonymizer" in message and "Traceback" not in message
    )


def test_resuming_nothing_starts_from_the_beginning(small_run, tmp_path):
    """``make demo`` is one command for the first and for every later call."""
    assert train("--resume", "--config-file", SMALL_CONFIG, *small_options(tmp_path / "run")) == 0
    assert checkpoint_digests(tmp_path / "run" / "model_final.pth") == checkpoint_digests(
        small_run / "model_final.pth"
    )


def test_a_finished_run_in_mixed_precision_goes_on_as_it_was_begun(small_dataset, tmp_path):
    command = [
        "--resume",
        "--config-file",
        str(SMALL_CONFIG),
        *small_options(tmp_path, **{"SOLVER.MAX_EPOCH": 1, "SOLVER.AMP.ENABLED": True}),
    ]
    assert train(*command) == 0
    assert train(*command) == 0


@pytest.fixture(scope="module")
def folders(small_dataset, tmp_path_factory):
    """The small data set as three folders of one's own, and the options of a run on it."""
    place = tmp_path_factory.mktemp("folders") / "mine"
    shutil.copytree(next(small_dataset.glob("SyntheticPedestrians*")), place)

    def options(output, **more):
        keys = {f"DATASETS.FOLDER.{part}": place / name for part, name in PARTS.items()}
        keys |= {f"DATASETS.{key}": "('MarketFolder',)" for key in ("NAMES", "TESTS")}
        return ["--config-file", str(SMALL_CONFIG), *small_options(output, **keys, **more)]

    return place, options


def swap(folder, first, second):
    """Give two people of a folder each other's identity."""
    for old, new in ((first, "9999"), (second, first), ("9999", second)):
        for file in folder.glob(f"{old}_*"):
            file.rename(file.with_name(file.name.replace(old, new, 1)))


def test_a_run_whose_training_images_were_renumbered_is_not_continued(folders, tmp_path, capsys):
    """Its validation split would be another, with a person that it has learned from."""
    place, options = folders
    assert train(*options(tmp_path / "whole")) == 0
    results = json.loads((tmp_path / "whole" / "results.json").read_text())
    folder, _ = interrupted(tmp_path / "whole", tmp_path / "run")
    before = (folder / "model_0000.pth").read_bytes()
    training = place / "bounding_box_train"
    swap(training, "0001", "0007")
    try:
        capsys.readouterr()
        assert train("--resume", *options(folder)) == 2
        said = capsys.readouterr().err
        assert "was trained on other images: of its training images (names, identities, cameras)" in said
        assert results["data"]["train"]["sha256"] in said and not (folder / "results.json").exists()
        # a run of an older version does not tell
        older, _ = interrupted(tmp_path / "whole", tmp_path / "older")
        for file in older.glob("model_*.pth"):
            content = torch.load(file, weights_only=False)
            content.pop("data")
            torch.save(content, file)
        assert train("--resume", *options(older)) == 0
    finally:
        swap(training, "0001", "0007")
    assert (folder / "model_0000.pth").read_bytes() == before
    assert train("--resume", *options(folder)) == 0
    assert results_of(folder) == results_of(tmp_path / "whole")


def test_the_digest_is_of_names_identities_and_cameras(folders, tmp_path):
    place, options = folders
    cfg = load_config(SMALL_CONFIG, options(tmp_path)[2:])
    told = {"train": training_images(cfg), "test": images_of_test(cfg, "MarketFolder")}
    counts = {part: len(list((place / name).iterdir())) for part, name in PARTS.items()}
    assert told["train"]["images"] == counts["TRAIN"] and told["train"]["people"] == 12
    assert told["test"]["images"] == counts["QUERY"] + counts["GALLERY"]
    copied = shutil.copytree(place, tmp_path / "elsewhere" / place.name)
    keys = {f"DATASETS.FOLDER.{part}": str(copied / name) for part, name in PARTS.items()}
    moved = changed(cfg, keys)

    def now():
        return {"train": training_images(moved), "test": images_of_test(moved, "MarketFolder")}

    assert now() == told
    for part, folder in (("train", PARTS["TRAIN"]), ("test", PARTS["QUERY"]), ("test", PARTS["GALLERY"])):
        first = min((copied / folder).iterdir())
        for name in ("0098_c9s9_000000_09.jpg", first.name.replace("_c", "_c1"), first.name[:-4] + "x.jpg"):
            first.rename(first.with_name(name))
            found = now()
            assert {key for key in told if found[key] != told[key]} == {part}, name
            first.with_name(name).rename(first)
    query = min((copied / PARTS["QUERY"]).iterdir())
    query.rename(copied / PARTS["GALLERY"] / query.name)
    found = now()["test"]
    assert found["sha256"] != told["test"]["sha256"] and found["images"] == told["test"]["images"]
