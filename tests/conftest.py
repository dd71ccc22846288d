"""What several test files use: a small data set on the disk, and the options of a run of seconds."""

from __future__ import annotations

from fastreid_privacy.data import SyntheticPedestrians  # before fastreid: importing the package makes it work

# isort: split
import logging
import os
import shutil
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from browser import chromium
from fastreid.modeling import build_model
from fastreid.utils.logger import setup_logger

from fastreid_privacy.commands.train import run
from fastreid_privacy.config import load_config
from fastreid_privacy.core import projects
from fastreid_privacy.desensitize import DESENSITIZER_REGISTRY, noise_stream
from fastreid_privacy.networks import GENERATOR_REGISTRY

__all__ = ["SMALL_CONFIG", "SMALL_DATASET", "chromium", "close_folders", "small_options"]

SMALL_CONFIG = Path(__file__).parent / "small.yml"
SMALL_DATASET = {
    "train_identities": 12,
    "test_identities": 6,
    "cameras": 4,
    "images_per_camera": 2,
    "height": 64,
    "width": 32,
    "seed": 0,
    "cues": "all",
}


@pytest.fixture(scope="session")
def small_dataset(tmp_path_factory):
    """FASTREID_DATASETS, for the session: SyntheticPedestrians of ``small_options``, 12 + 6 people, 64×32."""
    folder = tmp_path_factory.mktemp("datasets")
    SyntheticPedestrians(folder, verbose=False, **SMALL_DATASET)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTREID_DATASETS", str(folder))
        yield folder


@pytest.fixture(scope="session")
def raw(small_dataset):
    """The folder of that data set, laid out as Market-1501; some test files have raw images of their own."""
    return next(small_dataset.glob("SyntheticPedestrians*"))


@pytest.fixture
def linked_dataset(small_dataset, tmp_path, monkeypatch):
    """The link that the same data set is in another FASTREID_DATASETS, to a folder of another name."""
    (folder,) = small_dataset.glob("SyntheticPedestrians*")
    shutil.copytree(folder, tmp_path / "disk" / "people")
    link = tmp_path / "datasets" / folder.name
    link.parent.mkdir()
    link.symlink_to(tmp_path / "disk" / "people")
    monkeypatch.setenv("FASTREID_DATASETS", str(link.parent))
    return link


def small_options(output_dir: Path | str, **overrides) -> list[str]:
    """KEY VALUE overrides for a run of seconds: the learned model, two epochs of two iterations, two checks.

    They name no backbone: any config file may stand before them, ``SMALL_CONFIG`` is the cheapest. Base's
    rank-1 is given as 0, so that no baseline is trained and any private model upgrades.

    Args:
        output_dir: OUTPUT_DIR.
        **overrides: further keys, or other values of these: ``**{"SOLVER.MAX_EPOCH": 3}``.

    Returns:
        the pairs as a command line has them.
    """
    options = {
        "MODEL.DEVICE": "cpu",
        "PRIVACY.ANONYMIZER.WIDTH": 8,
        "PRIVACY.RECOVERY.WIDTH": 8,
        "PRIVACY.DISCRIMINATOR.WIDTH": 8,
        "PRIVACY.UPGRADE.BASELINE_RANK1": 0,
        "PRIVACY.UPPER_BOUND": "",
        "INPUT.SIZE_TRAIN": [64, 32],
        "INPUT.SIZE_TEST": [64, 32],
        "DATALOADER.NUM_WORKERS": 0,
        "SOLVER.MAX_EPOCH": 2,
        "SOLVER.WARMUP_EPOCHS": 0,
        "SOLVER.IMS_PER_BATCH": 16,
        "TEST.EVAL_PERIOD": 1,
        "TEST.IMS_PER_BATCH": 32,
        **{f"DATASETS.SYNTHETIC.{key.upper()}": value for key, value in SMALL_DATASET.items()},
        "OUTPUT_DIR": output_dir,
        **overrides,
    }
    return [str(word) for pair in options.items() for word in pair]


@pytest.fixture(scope="session")
def small_run(small_dataset, tmp_path_factory):
    """OUTPUT_DIR of a finished run of ``small_options``; to be read, not to be written."""
    output = tmp_path_factory.mktemp("runs") / "finished"
    assert run(["--config-file", str(SMALL_CONFIG), *small_options(output)]) == 0
    return output


@pytest.fixture(scope="session")
def weights(small_run, tmp_path_factory):
    """The small run's checkpoint, with image networks that give pictures of full contrast.

    After four steps their own pictures differ from grey by a few levels, so that whatever is written is near
    them: a test of pixels would pass for any network, or none.
    """
    checkpoint = torch.load(small_run / "model_best.pth", weights_only=True)
    for part in ("anonymizer", "recovery"):
        checkpoint["model"][f"{part}.up.0.0.weight"] *= 100
    path = tmp_path_factory.mktemp("contrast") / "model_best.pth"
    torch.save(checkpoint, path)
    return path


def initial_weights(path: Path, **options) -> Path:
    """A checkpoint with the initial weights of the small model, whose image networks give pictures of full
    contrast."""
    cfg = load_config(SMALL_CONFIG, small_options("", **{"MODEL.HEADS.NUM_CLASSES": 4, **options}))
    torch.manual_seed(0)
    tensors = build_model(cfg).state_dict()
    for part in ("anonymizer", "recovery"):
        tensors[f"{part}.up.0.0.weight"] *= 100
    torch.save({"model": tensors, "config": cfg.dump()}, path)
    return path


@pytest.fixture(scope="session")
def noise_weights(tmp_path_factory):
    """Initial weights of a model under noise, whose anonymizer sees noisy images beside raw ones."""
    path = tmp_path_factory.mktemp("noise") / "model_best.pth"
    return initial_weights(path, **{"PRIVACY.DESENSITIZER.NAME": "noise"})


@pytest.fixture
def own_imports(monkeypatch):
    """What is registered in a test, and what it imports of projects, ends with it."""
    for registry in (DESENSITIZER_REGISTRY, GENERATOR_REGISTRY):
        monkeypatch.setattr(registry, "_obj_map", dict(registry._obj_map))
    monkeypatch.setattr(projects, "_imported", {})
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.path)
    yield
    added = tuple(set(sys.path) - before)
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(added):
            del sys.modules[name]


@pytest.fixture
def stream_keys(monkeypatch):
    """The keys of noise that were asked for."""
    seen, stream = [], noise_stream._stream
    monkeypatch.setattr(noise_stream, "_stream", lambda key, *rest: seen.append(key) or stream(key, *rest))
    return seen


@pytest.fixture
def in_process(monkeypatch):
    """Puts a cluster of this process in Ray's place, with options of ``RayInProcess``; returns it."""
    from ray_in_process import stand_in  # Ray takes its time

    return partial(stand_in, monkeypatch)


def close_folders(patch: pytest.MonkeyPatch) -> None:
    """Folders whose names end in "shut" cannot be listed; for root, who may run tests, none is closed."""
    scandir = os.scandir

    def refuse(path):
        if os.fspath(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    patch.setattr(os, "scandir", refuse)


@pytest.fixture(autouse=True)
def no_handlers_left():
    """fastreid's loggers keep the streams and log files of every run here; each test starts without them."""
    yield
    forget_log_handlers()


def forget_log_handlers() -> None:
    """Take all handlers off the loggers of runs in this process."""
    for name in ("fastreid", "fastreid_privacy"):
        logging.getLogger(name).handlers.clear()
    setup_logger.cache_clear()
