"""Checkpoints, evaluators and scripts of plain fastreid beside this package's."""

from __future__ import annotations

from conftest import SMALL_CONFIG, SMALL_DATASET, small_options

# before fastreid: importing the package makes it work
from in_process import train

# isort: split
import json
import os
import subprocess
import sys

import pytest
import torch
from fastreid.evaluation import ReidEvaluator, inference_on_dataset
from fastreid.modeling import build_model
from fastreid.modeling.meta_arch import Baseline
from fastreid.utils.checkpoint import Checkpointer

from fastreid_privacy import load_anonymizer, load_recovery
from fastreid_privacy.checkpoints.reading import read_checkpoint
from fastreid_privacy.compat.patching import original_of
from fastreid_privacy.config import load_config
from fastreid_privacy.data import build_test_loader
from fastreid_privacy.data.synthetic.dataset import SyntheticOptions
from fastreid_privacy.model.memory_layout import to_channels_last
from fastreid_privacy.training.checkpointer import PrivacyCheckpointer
from fastreid_privacy.training.trainer import PrivacyTrainer

pytestmark = pytest.mark.usefixtures("small_dataset")


def small_config(output="", **overrides):
    """The small run's config, thawed, for a model of as many identities as its training part has."""
    cfg = load_config(SMALL_CONFIG, small_options(output, **overrides))
    cfg.defrost()
    cfg.MODEL.HEADS.NUM_CLASSES = 9
    return cfg


def plain_agw(seed: int, **overrides):
    """fastreid's own model of the same config, its BatchNorm statistics and classifier unlike their initial
    values."""
    cfg = small_config(**overrides)
    cfg.MODEL.META_ARCHITECTURE = "Baseline"
    torch.manual_seed(seed)
    model = build_model(cfg)
    assert type(model) is Baseline
    for buffer in model.buffers():
        if buffer.is_floating_point() and buffer.ndim == 1:
            buffer.uniform_(0.5, 1.5)
    return model.eval()


@pytest.fixture(scope="module")
def trained(small_run):
    """The finished run's model_best, in evaluation mode."""
    model = build_model(small_config()).eval()
    PrivacyCheckpointer(model).load_weights(small_run / "model_best.pth")
    return model


@pytest.fixture(scope="module")
def batch(small_dataset):
    """The first test batch, as fastreid's loader gives it."""
    loader, _ = build_test_loader(small_config(), "SyntheticPedestrians")
    return next(iter(loader))


# -- checkpoints ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrapped", [False, True], ids=["saved alone", "saved from DataParallel"])
def test_a_plain_agw_checkpoint_loads(tmp_path, batch, wrapped):
    """Written by fastreid's Checkpointer: every tensor of it arrives, and training starts from there."""
    plain = plain_agw(seed=5)
    Checkpointer(torch.nn.DataParallel(plain) if wrapped else plain, str(tmp_path)).save("agw")
    cfg = small_config(tmp_path / "run", **{"MODEL.WEIGHTS": tmp_path / "agw.pth"})
    (tmp_path / "run").mkdir()
    trainer = PrivacyTrainer(cfg, baseline_rank1=0.0)
    trainer.resume_or_load(resume=False)
    weights = trainer.model.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in plain.state_dict().items())
    with torch.no_grad():
        assert torch.equal(trainer.model.eval()(batch), plain(batch))


def test_a_plain_agw_checkpoint_is_evaluated_by_the_command(tmp_path, batch):
    """As an upper bound trained elsewhere; with OI→DI for the desensitizer of the config."""
    plain = plain_agw(seed=5)
    Checkpointer(plain, str(tmp_path)).save("agw")
    options = small_options(
        tmp_path / "run", **{"MODEL.WEIGHTS": tmp_path / "agw.pth", "PRIVACY.PROTECTION": "none"}
    )
    assert train("--eval-only", "--config-file", SMALL_CONFIG, *options) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["retrieval"].keys() == {"OI-OI", "OI-DI"} and results["checkpoint"] == str(
        tmp_path / "agw.pth"
    )
    loader, num_query = build_test_loader(small_config(), "SyntheticPedestrians")
    expected = inference_on_dataset(plain, loader, ReidEvaluator(small_config(), num_query))
    for metric in ("Rank-1", "Rank-5", "Rank-10", "mAP", "mINP"):
        assert results["retrieval"]["OI-OI"][metric] == pytest.approx(expected[metric], abs=1e-4), metric


def test_the_reid_part_loads_into_plain_fastreid(small_run, trained, batch):
    """fastreid's Checkpointer, with its own way of loading, takes model_best.pth; its Baseline then gives the
    same features."""
    plain = plain_agw(seed=6)
    with torch.no_grad():
        before = plain(batch)
    incompatible = original_of_load(plain, small_run / "model_best.pth")
    assert incompatible.missing_keys == [] and incompatible.incorrect_shapes == []
    weights = read_checkpoint(small_run / "model_best.pth")["model"]
    assert all(torch.equal(value, weights[name]) for name, value in plain.state_dict().items())
    to_channels_last(plain)  # as ours: convolutions of another layout round otherwise
    with torch.no_grad():
        features = plain(batch)
        assert not torch.allclose(features, before)
        assert (features - trained(batch)).abs().max() == 0
        assert (features - trained.extract_domains(batch)["features"]["OI"]).abs().max() == 0


def original_of_load(model, path):
    """What fastreid's ``Checkpointer._load_model`` says of a file."""
    checkpointer = Checkpointer(model)
    return checkpointer._load_model(checkpointer._load_file(str(path)))


def test_fastreid_alone_reads_the_file(small_run):
    """torch's own safe loading, without this package's, is enough for model_best.pth: weights, a config as
    text, plain values."""
    assert original_of(Checkpointer, "_load_file")(
        Checkpointer(torch.nn.Linear(1, 1)), str(small_run / "model_best.pth")
    ).keys() == {"model", "config", "epoch", "upgrade_record", "data"}


# -- evaluation ----------------------------------------------------------------------------------------------


def test_fastreids_evaluator_on_the_wrapped_model(small_run, trained):
    """The model in evaluation mode is a Re-ID model of raw images: fastreid's figures are those of OI→OI."""
    cfg = small_config()
    loader, num_query = build_test_loader(cfg, "SyntheticPedestrians")
    figures = inference_on_dataset(trained, loader, ReidEvaluator(cfg, num_query))
    ours = json.loads((small_run / "results.json").read_text())["retrieval"]["OI-OI"]
    for metric in ("Rank-1", "Rank-5", "Rank-10", "mAP", "mINP"):
        assert figures[metric] == pytest.approx(ours[metric], abs=1e-4), metric


# -- images --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("storage", ["png", "jpeg60", "none"])
def test_the_anonymizer_alone_gives_the_models_images(small_run, trained, batch, tmp_path, storage):
    """A checkpoint as a function of images: bit for bit what the evaluation ranked and compared, also for
    uint8."""
    checkpoint = torch.load(small_run / "model_best.pth", weights_only=False)
    checkpoint["config"] = checkpoint["config"].replace("STORAGE: png", f"STORAGE: {storage}")
    torch.save(checkpoint, tmp_path / "model.pth")
    model = build_model(small_config(**{"PRIVACY.STORAGE": storage})).eval()
    PrivacyCheckpointer(model).load_weights(tmp_path / "model.pth")
    images = model.extract_domains(batch)["images"]

    protect, recover = (
        load_anonymizer(tmp_path / "model.pth", "cpu"),
        load_recovery(tmp_path / "model.pth", "cpu"),
    )
    protected = protect(batch["images"])
    assert protected.dtype == torch.float32 and protected.min() >= 0 and protected.max() <= 255
    assert torch.equal(protected, images["PI"])
    assert torch.equal(recover(protected), images["RI"])
    assert torch.equal(protected, protected.round()) == (storage != "none")

    raw = batch["images"].to(torch.uint8)
    assert torch.equal(raw.float(), batch["images"])
    levels = protect(raw)
    assert levels.dtype == torch.uint8 and torch.equal(levels, images["PI"].round().to(torch.uint8))
    assert recover(levels).dtype == torch.uint8
    if storage != "none":
        assert torch.equal(recover(levels).float(), images["RI"])


# -- scripts -------------------------------------------------------------------------------------------------

SCRIPT = """
import fastreid_privacy
import sys
import torch
from fastreid.config import get_cfg
from fastreid.engine import DefaultTrainer, default_setup

cfg = get_cfg()
fastreid_privacy.add_privacy_config(cfg)
cfg.merge_from_list([
    "MODEL.BACKBONE.DEPTH", "18x", "MODEL.BACKBONE.FEAT_DIM", 512, "MODEL.BACKBONE.PRETRAIN", False,
    "DATASETS.NAMES", ("Market1501",), "DATASETS.TESTS", ("Market1501",),
    "INPUT.SIZE_TRAIN", [64, 32], "INPUT.SIZE_TEST", [64, 32], "DATALOADER.NUM_INSTANCE", 4,
    "DATALOADER.NUM_WORKERS", 0, "SOLVER.IMS_PER_BATCH", 32, "SOLVER.MAX_EPOCH", 1,
    "SOLVER.CHECKPOINT_PERIOD", 1, "TEST.EVAL_PERIOD", 1, "OUTPUT_DIR", sys.argv[1],
])
trainer = DefaultTrainer(cfg)
assert cfg.MODEL.DEVICE in ("cpu", "cuda") and type(trainer.model).__name__ == "Baseline"
before = {name: value.clone() for name, value in trainer.model.named_parameters()}
results = trainer.train()
assert 0 <= results["Rank-1"] <= 100
trained = [(name, value) for name, value in trainer.model.named_parameters() if value.requires_grad]
unmoved = [name for name, value in trained if torch.equal(value, before[name])]
assert not unmoved, unmoved
print("iterations", trainer.iter)
"""


def test_a_plain_fastreid_script_trains(small_dataset, tmp_path):
    """``import fastreid_privacy`` first, then fastreid as its own documentation has it, on its own class for
    the data set's layout."""
    (tmp_path / "Market-1501-v15.09.15").symlink_to(
        small_dataset / SyntheticOptions(**SMALL_DATASET).folder_name
    )
    environment = {**os.environ, "FASTREID_DATASETS": str(tmp_path), "OMP_NUM_THREADS": "1"}
    output = tmp_path / "output"
    output.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(output)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "iterations 1" in done.stdout or "iterations 2" in done.stdout
    assert (output / "model_final.pth").is_file()
