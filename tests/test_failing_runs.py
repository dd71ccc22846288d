"""Data that cannot be trained on is refused before training; images and losses that go wrong during it stop
the run, by name."""

from __future__ import annotations

from conftest import SMALL_CONFIG, small_options  # before fastreid: importing the package makes it work
from in_process import report, train

# isort: split
import json
import multiprocessing
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from fastreid_privacy import data
from fastreid_privacy.commands import train as command_line
from fastreid_privacy.config import load_config

pytestmark = pytest.mark.usefixtures("small_dataset")


def command(output, config=SMALL_CONFIG, **overrides):
    return ["--config-file", str(config), *small_options(output, **overrides)]


@pytest.fixture
def stopped(tmp_path, capfd):
    """A function that runs the command, makes sure that it stops with one message, and returns the message
    and the files left."""

    def stop(**overrides):
        output = tmp_path / "run"
        assert train(*command(output, **overrides)) == 2
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        assert err.startswith("error: ") and err.count("\n") == 1, err
        return err, sorted(path.name for path in output.glob("*")) if output.exists() else None

    return stop


@pytest.fixture
def refused(stopped, monkeypatch):
    """``stopped``, before training: nothing is written."""
    monkeypatch.setattr(command_line, "main", lambda args: pytest.fail("training was started"))

    def refuse(**overrides):
        message, left = stopped(**overrides)
        assert left is None
        return message

    return refuse


# -- data sets that are missing or cannot be used ------------------------------------------------------------


@pytest.mark.parametrize("name", ["Market1501", "MSMT17", "CUHK03", "DukeMTMC"])
def test_a_data_set_that_is_not_there(refused, small_dataset, name):
    message = refused(**{"DATASETS.TESTS": (name,)})
    assert all(
        word in message
        for word in (name, str(small_dataset), "FASTREID_DATASETS", "configs/Synthetic/privacy_agw.yml")
    )


def test_rendered_people_of_impossible_number(refused):
    assert "DATASETS.SYNTHETIC.CAMERAS is 1" in refused(**{"DATASETS.SYNTHETIC.CAMERAS": 1})


def test_a_data_folder_that_cannot_be_written(refused, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path / "file" / "datasets"))
    assert "FASTREID_DATASETS" in refused()


def market_folders(folder, identities=8, cameras=2, images=2, test_cameras=None):
    """Overrides for a data set of noise in Market-1501's naming: 32×16, ``images`` of each identity under
    each camera."""
    rng = np.random.default_rng(0)
    seen_by = {"train": cameras, "query": test_cameras or cameras, "gallery": test_cameras or cameras}
    for part, count in seen_by.items():
        (folder / part).mkdir(parents=True)
        for pid in range(1, identities + 1):
            for camera in range(1, count + 1):
                for number in range(images):
                    picture = Image.fromarray(rng.integers(0, 256, (32, 16, 3), dtype=np.uint8))
                    picture.save(folder / part / f"{pid:04d}_c{camera}s1_{number:06d}_00.png")
    paths = {f"DATASETS.FOLDER.{part.upper()}": folder / part for part in seen_by}
    return {
        "DATASETS.NAMES": ("MarketFolder",),
        "DATASETS.TESTS": ("MarketFolder",),
        "DATALOADER.NUM_INSTANCE": 2,
        **paths,
    }


@pytest.mark.parametrize("key", ["TRAIN", "QUERY", "GALLERY"])
def test_folders_that_are_missing_empty_or_named_otherwise(refused, tmp_path, key):
    folders = market_folders(tmp_path)
    key = f"DATASETS.FOLDER.{key}"
    assert key in refused(**{**folders, key: tmp_path / "absent"})
    (tmp_path / "empty").mkdir()
    message = refused(**{**folders, key: tmp_path / "empty"})
    assert key in message and "holds no image" in message
    (tmp_path / "empty" / "person.jpg").write_bytes(b"")
    message = refused(**{**folders, key: tmp_path / "empty"})
    assert key in message and "person.jpg" in message and "0002_c1s1" in message


def test_one_camera_gives_no_validation_split(refused, tmp_path):
    message = refused(**market_folders(tmp_path, cameras=1, test_cameras=2))
    assert "none of the 8 training identities has images under two cameras" in message
    assert "DATASETS.VALIDATION.SAME_CAMERA True" in message


def test_one_camera_is_enough_with_the_key_that_the_message_names(tmp_path, capsys):
    """Trained, validated and tested; the report says what its validation figures mean."""
    options = market_folders(tmp_path, identities=12, cameras=1, images=4, test_cameras=2)
    key = {"DATASETS.VALIDATION.SAME_CAMERA": True, "SOLVER.MAX_EPOCH": 1}
    output = tmp_path / "run"
    assert train(*command(output, **options, **key)) == 0
    results = json.loads((output / "results.json").read_text())
    assert 0 <= results["validation"]["OI-PI"]["Rank-1"] <= 100
    assert results["validation"]["OI-PI"]["excluded_queries"] == 0
    assert results["config"]["DATASETS"]["VALIDATION"]["SAME_CAMERA"] is True
    said = "images of the same camera count as matches"
    assert said in (output / "report.html").read_text()
    capsys.readouterr()
    assert report(output) == 0
    assert f"Checks on the validation split ({said})" in capsys.readouterr().out


def test_one_camera_cannot_be_tested_on(refused, tmp_path):
    message = refused(**market_folders(tmp_path, test_cameras=1))
    assert "MarketFolder" in message and "under another camera" in message
    assert "give the queries' files another camera number" in message


def test_two_cameras_are_enough(tmp_path, monkeypatch):
    """The smallest data set that can be ranked: its queries all have a match, in the validation part too."""
    monkeypatch.setattr(command_line, "main", lambda args: None)
    options = market_folders(tmp_path, identities=12)
    assert train(*command(tmp_path / "run", **options)) == 0
    split = data.loaders.validation_split(
        load_config(SMALL_CONFIG, small_options(tmp_path / "run", **options))
    )
    for _, pid, camera in split.query:
        assert any(item[1] == pid and item[2] != camera for item in split.gallery)


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ({"DATASETS.VALIDATION.FRACTION": 0.95}, "DATASETS.VALIDATION.FRACTION"),
        ({"SOLVER.IMS_PER_BATCH": 80}, "SOLVER.IMS_PER_BATCH 80"),
        (
            {"SOLVER.IMS_PER_BATCH": 32, "DATALOADER.NUM_INSTANCE": 2},
            "DATALOADER.NUM_INSTANCE 2 needs 16 identities",
        ),
    ],
)
def test_nothing_or_too_little_left_to_train_on(refused, overrides, named):
    assert named in refused(**overrides)


# -- images --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "workers", "damage"),
    [
        ("bounding_box_train", 0, "truncated"),
        ("bounding_box_train", 2, "truncated"),
        ("bounding_box_train", 0, "empty"),
        ("bounding_box_train", 0, "no image"),
        ("query", 0, "truncated"),
    ],
)
def test_an_unreadable_image_is_named(stopped, small_dataset, tmp_path, monkeypatch, part, workers, damage):
    shutil.copytree(small_dataset, tmp_path / "datasets")
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path / "datasets"))
    images = sorted((tmp_path / "datasets").glob(f"*/{part}/*.jpg"))
    for image in images:
        image.write_bytes(
            {"truncated": image.read_bytes()[:600], "empty": b"", "no image": b"<html>404</html>"}[damage]
        )
    message, left = stopped(**{"DATALOADER.NUM_WORKERS": workers, "SOLVER.MAX_EPOCH": 1})
    assert sum(str(image) in message for image in images) == 1 and "cannot be read" in message
    assert ("model_final.pth" in left) == (part == "query") and "results.json" not in left
    assert not multiprocessing.active_children()  # a loader's workers do not outlive the run


# -- losses --------------------------------------------------------------------------------------------------


def finite(path):
    content = torch.load(path, weights_only=False)
    return all(torch.isfinite(value).all() for value in content["model"].values())


def images_named(message, small_dataset):
    return sum(path.name in message for path in small_dataset.glob("*/bounding_box_train/*.jpg"))


def test_a_loss_that_is_nan_from_the_start(stopped, small_dataset, small_run, tmp_path):
    """A NaN in the recovery decoder: only its own losses are named."""
    checkpoint = torch.load(small_run / "model_best.pth", weights_only=False)
    name = next(
        name for name in checkpoint["model"] if name.startswith("recovery.up") and name.endswith("weight")
    )
    checkpoint["model"][name][0] = float("nan")
    torch.save(checkpoint, tmp_path / "poisoned.pth")
    message, left = stopped(**{"MODEL.WEIGHTS": tmp_path / "poisoned.pth"})
    named = message.split("became")[0]
    assert (
        "iteration 0:" in named
        and "loss_recovery_l1" in named
        and "loss_anonymization_l1" not in named
        and "loss_cls" not in named
    )
    assert images_named(message, small_dataset) > 4
    assert not [name for name in left if name.endswith(".pth")]


def test_a_learning_rate_that_is_too_high(stopped, small_dataset, tmp_path):
    message, left = stopped(**{"SOLVER.BASE_LR": 1e30, "SOLVER.MAX_EPOCH": 4})
    assert "loss_" in message and "SOLVER.BASE_LR" in message and images_named(message, small_dataset) > 4
    assert "model_final.pth" not in left
    assert all(finite(tmp_path / "run" / name) for name in left if name.endswith(".pth"))


def test_weights_that_are_infinite_after_a_finite_loss(stopped, small_dataset, tmp_path):
    """One step in an epoch, of a length that float32 cannot hold: the loss before it is finite, and nobody
    computes one after it."""
    options = {"SOLVER.OPT": "SGD", "SOLVER.BASE_LR": 1e38, "SOLVER.IMS_PER_BATCH": 32, "SOLVER.MAX_EPOCH": 1}
    message, left = stopped(**options)
    assert "after epoch 1" in message and "backbone." in message and images_named(message, small_dataset) > 4
    assert not [name for name in left if name.endswith(".pth")]
