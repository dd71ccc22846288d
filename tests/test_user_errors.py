"""What users get wrong, through the training command: exit code 2, one message that names the item, and
nothing trained or written."""

from __future__ import annotations

from conftest import SMALL_CONFIG, small_options  # before fastreid: importing the package makes it work
from in_process import train

# isort: split
import json
import re
import shutil

import numpy as np
import pytest
import torch
from fastreid.modeling.backbones import osnet

from fastreid_privacy.commands import train as command_line
from fastreid_privacy.config import load_config
from fastreid_privacy.core.errors import UserError
from fastreid_privacy.training.experiment import versus_baseline
from fastreid_privacy.training.model_checks import build_on_cpu, check_pretrained

pytestmark = pytest.mark.usefixtures("small_dataset")


@pytest.fixture
def refused(tmp_path, capfd, monkeypatch):
    """A function that runs the command with some overrides of a small run, makes sure that it is refused, and
    returns the message."""
    monkeypatch.setattr(command_line, "main", lambda args: pytest.fail("training was started"))

    def refuse(overrides=None, flags=(), config=SMALL_CONFIG):
        output = tmp_path / "new"
        assert train("--config-file", config, *flags, *small_options(output, **(overrides or {}))) == 2
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        assert not output.exists(), f"{sorted(output.iterdir())} written"
        assert err.startswith("error: ")
        assert err.count("\n") == 1, err
        return err

    return refuse


# -- config: files, keys, values -----------------------------------------------------------------------------


def test_a_missing_config_file(refused, tmp_path):
    assert str(tmp_path / "privacy.yml") in refused(config=tmp_path / "privacy.yml")


def test_a_config_that_extends_a_missing_one(refused, tmp_path):
    config = tmp_path / "mine.yml"
    config.write_text("_BASE_: absent.yml\n")
    message = refused(config=config)
    assert "mine.yml" in message and "absent.yml" in message


@pytest.mark.parametrize("text", ["MODEL: [1, 2", "just words", "- a\n- list\n", "\x00\x01"])
def test_a_file_that_is_no_config(refused, tmp_path, text):
    config = tmp_path / "mine.yml"
    config.write_text(text)
    assert "mine.yml" in refused(config=config)


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("PRIVACY.PROTECTOIN", "PRIVACY.PROTECTION"),
        ("SOLVER.MAX_EPOCHS", "SOLVER.MAX_EPOCH"),
        ("privacy.storage", "PRIVACY.STORAGE"),
        ("MODEL.BACKBONE.PRETRAINED", "MODEL.BACKBONE.PRETRAIN"),
    ],
)
def test_an_unknown_key_and_its_nearest(refused, key, nearest):
    message = refused({key: 1})
    assert key in message and re.search(rf"\b{re.escape(nearest)}\b", message.split("nearest")[1])


def test_an_unknown_key_in_the_file(refused, tmp_path):
    config = tmp_path / "mine.yml"
    config.write_text(f"_BASE_: {SMALL_CONFIG}\nSOLVER:\n  WARMUP_EPOCH: 3\n")
    message = refused(config=config)
    assert all(word in message for word in ("mine.yml", "SOLVER.WARMUP_EPOCH ", "SOLVER.WARMUP_EPOCHS"))


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [
        ("SOLVER.MAX_EPOCH", "many", "int"),
        ("SOLVER.MAX_EPOCH", 2.5, "int"),
        ("SOLVER.BASE_LR", "fast", "float"),
        ("PRIVACY.JOINT_BATCH", "1", "bool"),
        ("PRIVACY.STORAGE", 8, "str"),
        ("DATASETS.NAMES", "SyntheticPedestrians", "tuple"),
        ("SOLVER.BASE_LR", 10**400, "float"),
        ("SOLVER.GAN_BETAS", ("a", "b"), "float"),
        ("SOLVER.STEPS", ["x"], "int"),
        ("SOLVER.STEPS", [40, True], "int"),
        ("INPUT.SIZE_TRAIN", [64.0, 32], "int"),
        ("MODEL.LOSSES.NAME", (3,), "str"),
        ("MODEL.FREEZE_LAYERS", [1], "str"),
        ("PRIVACY.DESENSITIZER.MASK_REGION", ["top", 0, 1, 1], "float"),
    ],
)
def test_a_value_of_another_type(refused, key, value, kind):
    message = refused({key: value})
    assert all(word in message for word in (key, str(value), kind))


def test_an_override_without_a_value(refused, capfd, tmp_path):
    assert train("--config-file", SMALL_CONFIG, "SOLVER.MAX_EPOCH") == 2
    assert "SOLVER.MAX_EPOCH has no value" in capfd.readouterr().err


REFUSED_VALUES = [
    ("PRIVACY.PROTECTION", "blurred", "conventional"),
    ("TEST.CHECKPOINT", "worst", "best, final"),
    ("TEST.METRIC", "jaccard", "cosine"),
    ("SOLVER.SCHED", "StepLR", "MultiStepLR"),
    ("PRIVACY.DESENSITIZER.PIXEL_REDUCE", "max", "corner"),
    ("SOLVER.MAX_EPOCH", 0, "at least 1"),
    ("DATALOADER.NUM_INSTANCE", 0, "at least 1"),  # also where no sampler reads it
    ("SOLVER.CHECKPOINT_PERIOD", 0, "at least 1"),
    ("SOLVER.KEEP_CHECKPOINTS", 0, "at least 1"),
    ("SOLVER.WARMUP_EPOCHS", -1, "at least 0"),
    ("SOLVER.IMS_PER_BATCH", 0, "at least 1"),
    ("SOLVER.BASE_LR", 0.0, "above 0"),
    ("MODEL.HEADS.CLASSIFIER_STD", 0.0, "above 0"),
    ("TEST.EVAL_PERIOD", 0, "at least 1"),
    ("TEST.IMS_PER_BATCH", 0, "at least 1"),
    ("PRIVACY.LAMBDA_L1", -1, "at least 0"),
    ("PRIVACY.LAMBDA_REC", -0.5, "at least 0"),
    ("PRIVACY.ATTACKER.WEIGHT", -0.5, "at least 0 (no attacker), and finite"),
    ("PRIVACY.ATTACKER.WEIGHT", 2.5, "PRIVACY.LAMBDA_REC, which is 1.0, to 0"),
    ("PRIVACY.TEACHER.WEIGHT", -1, "at least 0 (no term), and finite"),
    ("PRIVACY.TEACHER.INIT", True, "PRIVACY.UPPER_BOUND to auto, or to the path of its results.json"),
    ("PRIVACY.TEACHER.WEIGHT", 2.5, "PRIVACY.UPPER_BOUND to auto, or to the path of its results.json"),
    ("PRIVACY.CENTER_LOSS.WEIGHT", -0.1, "at least 0"),
    ("PRIVACY.CENTER_LOSS.LR", -0.5, "at least 0"),
    ("SOLVER.WARMUP_FACTOR", 0.0, "above 0"),
    ("SOLVER.WARMUP_FACTOR", 1.5, "at most 1"),
    ("SOLVER.GAMMA", 0.0, "above 0"),
    ("SOLVER.GAMMA", 10.0, "at most 1"),
    ("SEED", -1, "at least 0"),
    ("SEED", 2**32, "below 4294967296"),
    ("INPUT.SIZE_TEST", [128, 64], "INPUT.SIZE_TRAIN"),
    ("DATALOADER.NUM_INSTANCE", 3, "SOLVER.IMS_PER_BATCH 16"),
    ("DATALOADER.NUM_INSTANCE", 1, "at least 2"),
    ("DATASETS.VALIDATION.FRACTION", 0.0, "between 0 and 1"),
    ("DATASETS.VALIDATION.FRACTION", 1.0, "between 0 and 1"),
    ("DATASETS.VALIDATION.QUERY_FRACTION", 1.5, "between 0 and 1"),
    ("PRIVACY.UPGRADE.BASELINE_RANK1", "no/results.json", "auto"),
    ("PRIVACY.UPGRADE.BASELINE_RANK1", 101, "between 0 and 100"),
    ("PRIVACY.UPGRADE.BASELINE_RANK1", "nan", "between 0 and 100"),
    ("PRIVACY.UPPER_BOUND", "no/results.json", "auto"),
    ("TEST.AQE.QE_TIME", 0, "at least 1"),
    ("TEST.AQE.QE_K", 0, "at least 1"),
    ("TEST.AQE.ALPHA", -0.5, "at least 0"),
    ("TEST.RERANK.K1", 0, "at least 1"),
    ("TEST.RERANK.K2", 0, "at least 1"),
    ("TEST.RERANK.LAMBDA", -0.1, "between 0"),
    ("TEST.RERANK.LAMBDA", 1.1, "between 0"),
    ("TEST.FEATURES", "bfloat16", "float32, float16"),
    ("TEST.LPIPS_WEIGHTS", "no/alexnet.pth", "does not exist"),
    ("TEST.PRECISE_BN.ENABLED", True, "not supported"),
    ("DATASETS.COMBINEALL", True, "not supported"),
    ("SOLVER.WARMUP_ITERS", 100, "SOLVER.WARMUP_EPOCHS"),
    ("SOLVER.WARMUP_METHOD", "constant", "SOLVER.WARMUP_EPOCHS"),
    ("DATALOADER.SET_WEIGHT", [1, 2], "not supported"),
    ("MODEL.QUEUE_SIZE", 4096, "8192"),
    ("MODEL.LOSSES.FL.GAMMA", 3, "not supported"),
    ("KD.MODEL_CONFIG", ["teacher.yml"], "not supported"),
    ("KD.MODEL_WEIGHTS", ["teacher.pth"], "not supported"),
    ("KD.EMA.ENABLED", True, "not supported"),
    ("INPUT.CROP.ENABLED", True, "not supported"),
    ("INPUT.RPT.ENABLED", True, "not supported"),
    ("PRIVACY.DESENSITIZER.BLUR_SIGMA", -1.0, "sigma"),
    ("PRIVACY.DESENSITIZER.MASK_REGION", [0.5, 2.0], "region"),
    ("PRIVACY.STORAGE", "jpeg0", "jpeg"),
    ("PRIVACY.STORAGE", "tiff", "png"),
    ("SOLVER.GAN_BETAS", [1.5, 0.999], "below 1"),
    ("SOLVER.GAN_BETAS", [0.5, 0.9, 0.999], "two"),
    ("DATALOADER.NUM_WORKERS", -1, "NUM_WORKERS"),
]


@pytest.mark.parametrize(
    ("key", "value", "named"), REFUSED_VALUES, ids=[f"{key}={value}" for key, value, _ in REFUSED_VALUES]
)
def test_a_value_that_is_refused(refused, key, value, named):
    message = refused({key: value})
    assert str(value).strip("[]") in message and named in message
    assert key in message or key.rpartition(".")[0] in message


@pytest.mark.parametrize("weight", [".nan", ".inf"])
def test_a_weight_that_is_no_number(refused, tmp_path, weight):
    config = tmp_path / "mine.yml"
    config.write_text(f"_BASE_: {SMALL_CONFIG}\nPRIVACY:\n  LAMBDA_REC: {weight}\n")
    assert (
        f"PRIVACY.LAMBDA_REC is {weight[1:]}; it must be at least 0 (without recovery), and finite"
        in refused(config=config)
    )


@pytest.mark.parametrize("protection", ["none", "conventional"])
def test_an_attacker_without_an_anonymizer(refused, protection):
    message = refused({"PRIVACY.PROTECTION": protection, "PRIVACY.ATTACKER.WEIGHT": 2})
    assert f"PRIVACY.ATTACKER.WEIGHT 2.0 does nothing with PRIVACY.PROTECTION {protection}" in message


@pytest.mark.parametrize("weight", [".nan", ".inf"])
def test_an_attacker_of_a_weight_that_is_no_number(refused, tmp_path, weight):
    config = tmp_path / "mine.yml"
    config.write_text(
        f"_BASE_: {SMALL_CONFIG}\nPRIVACY:\n  LAMBDA_REC: 0.0\n  ATTACKER:\n    WEIGHT: {weight}\n"
    )
    assert f"PRIVACY.ATTACKER.WEIGHT is {weight[1:]}; it must be at least 0" in refused(config=config)


# -- names ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "known"),
    [
        ("MODEL.META_ARCHITECTURE", "PrivacyReID"),
        ("MODEL.BACKBONE.NAME", "build_resnet_backbone"),
        ("MODEL.HEADS.NAME", "EmbeddingHead"),
        ("MODEL.HEADS.POOL_LAYER", "GeneralizedMeanPooling"),
        ("MODEL.HEADS.CLS_LAYER", "Linear"),
        ("MODEL.HEADS.NECK_FEAT", "before"),
        ("DATALOADER.SAMPLER_TRAIN", "NaiveIdentitySampler"),
        ("SOLVER.OPT", "AdamW"),
        ("PRIVACY.ANONYMIZER.NAME", "UNetGenerator"),
        ("PRIVACY.RECOVERY.NAME", "UNetGenerator"),
        ("PRIVACY.DISCRIMINATOR.NAME", "PatchDiscriminator"),
        ("PRIVACY.DESENSITIZER.NAME", "pixelate"),
    ],
)
def test_an_unknown_name_and_the_known_ones(refused, key, known):
    message = refused({key: "MyOwn"})
    assert all(word in message for word in (key, "MyOwn", known))


@pytest.mark.parametrize("key", ["DATASETS.NAMES", "DATASETS.TESTS"])
def test_an_unknown_data_set(refused, key):
    message = refused({key: ("MyPedestrians",)})
    assert "MyPedestrians" in message and "SyntheticPedestrians" in message and "Market1501" in message


def test_an_unknown_loss(refused):
    message = refused({"MODEL.LOSSES.NAME": ("CrossEntropyLoss", "TripletLos")})
    assert "MODEL.LOSSES.NAME" in message and "'TripletLos'" in message and "CircleLoss" in message


def test_a_meta_architecture_without_the_method(refused):
    message = refused({"MODEL.META_ARCHITECTURE": "Baseline"})
    assert "MODEL.META_ARCHITECTURE" in message and "PrivacyReID" in message


def test_a_sampler_of_fastreid_that_never_yields_a_batch(refused):
    assert "NaiveIdentitySampler" in refused({"DATALOADER.SAMPLER_TRAIN": "SetReWeightSampler"})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("MODEL.BACKBONE.DEPTH", "x7"),
        ("MODEL.BACKBONE.FEAT_DIM", 512),
        ("MODEL.HEADS.NUM_CLASSES", 3),
        ("PRIVACY.ANONYMIZER.DEPTH", 1),
    ],
)
def test_values_that_the_networks_do_not_fit(refused, key, value):
    message = refused({key: value})
    assert key in message and str(value) in message


@pytest.mark.parametrize("size", [[63, 32], [66, 33]])
def test_a_size_that_the_unet_cannot_halve(refused, size):
    message = refused({"INPUT.SIZE_TRAIN": size, "INPUT.SIZE_TEST": size})
    assert all(str(side) in message for side in size) and "INPUT.SIZE_TRAIN" in message


# -- machine -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["cuda", "cuda:7", "toaster"])
def test_a_device_that_is_not_there(refused, monkeypatch, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert f"MODEL.DEVICE {device}" in refused({"MODEL.DEVICE": device}).replace(" is", "")


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--num-gpus", "0"), "--num-gpus is 0"),
        (("--num-gpus", "3"), "SOLVER.IMS_PER_BATCH 16"),
        (("--num-gpus", "8"), "DATALOADER.NUM_INSTANCE"),
        (("--num-gpus", "2", "--num-machines", "0"), "--num-machines"),
    ],
)
def test_numbers_of_processes_that_do_not_fit(refused, flags, named):
    assert named in refused(flags=flags)


def test_more_gpus_than_there_are(refused, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    message = refused({"MODEL.DEVICE": "cuda", "SOLVER.AMP.ENABLED": False}, flags=("--num-gpus", "2"))
    assert "--num-gpus 2" in message and "1 GPU" in message


def test_an_output_folder_that_cannot_be_written(tmp_path, capfd):
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", "/proc/self"):
        assert train("--config-file", SMALL_CONFIG, *small_options(folder)) == 2
        out, err = capfd.readouterr()
        assert f"OUTPUT_DIR {folder}" in err and "Traceback" not in out + err
    assert (tmp_path / "file").read_text() == "in the way"


# -- weights -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [(), ("--eval-only",)], ids=["train", "eval-only"])
@pytest.mark.parametrize("content", [None, b"", b"no checkpoint", "torn", "tensor", "foreign"])
def test_weights_that_cannot_be_loaded(refused, monkeypatch, tmp_path, small_run, content, flags):
    path = tmp_path / "mine.pth"
    if content == "torn":
        whole = (small_run / "model_best.pth").read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif content == "tensor":
        torch.save(torch.zeros(3), path)
    elif content == "foreign":
        torch.save({"model": {"layer.weight": torch.zeros(3, 3)}}, path)
    elif content is not None:
        path.write_bytes(content)
    message = refused({"MODEL.WEIGHTS": path}, flags)
    assert str(path) in message
    assert ("another model" in message or "no anonymizer" in message) == (content == "foreign")


@pytest.mark.parametrize(
    ("key", "value", "part"),
    [
        ("PRIVACY.ANONYMIZER.WIDTH", 4, "anonymizer"),
        ("PRIVACY.RECOVERY.DEPTH", 3, "recovery"),
        ("MODEL.HEADS.EMBEDDING_DIM", 32, "heads"),
    ],
)
def test_evaluating_with_networks_that_the_file_lacks(refused, small_run, key, value, part):
    """They would be tested with random weights."""
    message = refused({"MODEL.WEIGHTS": small_run / "model_best.pth", key: value}, ("--eval-only",))
    assert str(small_run / "model_best.pth") in message and f"does not hold the {part}" in message


def test_evaluating_into_the_results_of_another_checkpoint(small_run, tmp_path, capfd):
    shutil.copy(small_run / "results.json", tmp_path)
    options = small_options(tmp_path, **{"MODEL.WEIGHTS": small_run / "model_final.pth"})
    assert train("--eval-only", "--config-file", SMALL_CONFIG, *options) == 2
    message = capfd.readouterr().err
    assert (
        str(tmp_path / "results.json") in message
        and "model_best.pth" in message
        and str(small_run / "model_final.pth") in message
    )
    assert (tmp_path / "results.json").read_bytes() == (small_run / "results.json").read_bytes()


def test_evaluating_nothing(refused, tmp_path):
    message = refused(flags=("--eval-only",))
    assert str(tmp_path / "new" / "model_best.pth") in message and "MODEL.WEIGHTS" in message


@pytest.mark.parametrize("content", [None, b"no weights", "foreign"])
def test_pretrained_weights_from_a_file(refused, tmp_path, content):
    path = tmp_path / "imagenet.pth"
    if content == "foreign":
        torch.save({"layer.weight": torch.zeros(3, 3)}, path)
    elif content is not None:
        path.write_bytes(content)
    message = refused({"MODEL.BACKBONE.PRETRAIN": True, "MODEL.BACKBONE.PRETRAIN_PATH": path})
    assert (
        str(path) in message
        and "MODEL.BACKBONE.PRETRAIN_PATH" in message
        and "MODEL.BACKBONE.PRETRAIN False" in message
    )


@pytest.mark.parametrize(("share", "fits"), [(0.3, False), (0.45, False), (0.55, True), (1, True)])
def test_pretrained_weights_that_fit_in_part(tmp_path, share, fits):
    """fastreid loads what fits, and says no more than a line of the log."""
    path = tmp_path / "imagenet.pth"
    options = {"MODEL.BACKBONE.PRETRAIN": True, "MODEL.BACKBONE.PRETRAIN_PATH": path}
    cfg = load_config(SMALL_CONFIG, small_options(tmp_path, **options))
    backbone = build_on_cpu(cfg, 4).backbone.state_dict()
    matrices = [name for name, value in backbone.items() if value.ndim > 1]
    fitting = set(matrices[: round(share * len(matrices))])
    donor = {
        name: torch.randn(value.shape)
        for name, value in backbone.items()
        if value.is_floating_point() and (value.ndim < 2 or name in fitting)
    }
    torch.save(donor, path)
    if fits:
        check_pretrained(cfg, 4)
        return
    said = f"it sets {len(fitting)} of {len(matrices)} weights"
    with pytest.raises(UserError, match=f"{path} is of another backbone than build_osnet_backbone: {said}"):
        check_pretrained(cfg, 4)


@pytest.mark.parametrize(
    "error", [OSError("no route to host"), ModuleNotFoundError("No module named 'gdown'"), Exception("quota")]
)
def test_pretrained_weights_that_cannot_be_fetched(refused, monkeypatch, error):
    def fetch(*args):
        raise error

    monkeypatch.setattr(osnet, "init_pretrained_weights", fetch)
    message = refused({"MODEL.BACKBONE.PRETRAIN": True})
    assert (
        str(error) in message
        and "MODEL.BACKBONE.PRETRAIN_PATH" in message
        and "MODEL.BACKBONE.PRETRAIN False" in message
    )


# -- runs before this one ------------------------------------------------------------------------------------


def contents(folder):
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}


def results_of(small_run, **changed):
    """A finished run's results.json with some config keys changed."""
    results = json.loads((small_run / "results.json").read_text())
    for key, value in changed.items():
        *path, leaf = key.split(".")
        node = results["config"]
        for name in path:
            node = node[name]
        node[leaf] = value
    return results


@pytest.mark.parametrize("left", ["results.json", "model_0000.pth"])
def test_an_output_folder_that_holds_a_run(small_run, tmp_path, capfd, left):
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(small_run / left, folder)
    before = contents(folder)
    options = small_options(folder, **{"PRIVACY.UPGRADE.BASELINE_RANK1": "auto"})
    assert train("--config-file", SMALL_CONFIG, *options) == 2
    out, err = capfd.readouterr()
    assert str(folder) in err and left in err and "--resume" in err and "Traceback" not in out + err
    assert contents(folder) == before


@pytest.mark.parametrize("sibling", ["baseline", "upper_bound"])
@pytest.mark.parametrize(
    ("key", "value"), [("SOLVER.MAX_EPOCH", 3), ("SEED", 1), ("PRIVACY.STORAGE", "jpeg80"), (None, None)]
)
def test_a_sibling_of_another_budget_or_unfinished(small_run, tmp_path, capfd, sibling, key, value):
    folder = tmp_path / "run" / sibling
    folder.mkdir(parents=True)
    if key:
        protection = {"baseline": "conventional", "upper_bound": "none"}[sibling]
        (folder / "results.json").write_text(
            json.dumps(results_of(small_run, **{key: value, "PRIVACY.PROTECTION": protection}))
        )
    else:
        shutil.copy(small_run / "model_0000.pth", folder)
    before = contents(folder.parent)
    options = {"PRIVACY.UPGRADE.BASELINE_RANK1": "auto", "PRIVACY.UPPER_BOUND": "auto"}
    assert train("--config-file", SMALL_CONFIG, *small_options(folder.parent, **options)) == 2
    out, err = capfd.readouterr()
    assert str(folder) in err and (key or "--resume") in err and "Traceback" not in out + err
    assert contents(folder.parent) == before


@pytest.mark.parametrize("key", ["PRIVACY.UPGRADE.BASELINE_RANK1", "PRIVACY.UPPER_BOUND"])
@pytest.mark.parametrize("change", [{"schema": 7}, {"retrieval": None}, "no JSON"])
def test_results_of_another_form(refused, small_run, tmp_path, key, change):
    path = tmp_path / "results_of_mine.json"
    path.write_text(change if isinstance(change, str) else json.dumps({**results_of(small_run), **change}))
    assert str(path) in refused({key: path})


def test_a_baseline_without_validation_figures(refused, small_run, tmp_path):
    path = tmp_path / "results_of_mine.json"
    path.write_text(
        json.dumps({**results_of(small_run, **{"PRIVACY.PROTECTION": "conventional"}), "validation": {}})
    )
    message = refused({"PRIVACY.UPGRADE.BASELINE_RANK1": path})
    assert str(path) in message and "validation" in message


def test_resuming_with_another_method_is_refused_and_changes_nothing(small_run, capsys):
    before = {path: path.read_bytes() for path in sorted(small_run.rglob("*")) if path.is_file()}
    options = small_options(small_run, **{"PRIVACY.LAMBDA_L1": 5.0})
    assert train("--config-file", SMALL_CONFIG, "--resume", *options) == 2
    assert "PRIVACY.LAMBDA_L1 100.0 → 5.0" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in sorted(small_run.rglob("*")) if path.is_file()} == before


@pytest.mark.parametrize("kind", ["cut", "empty", "text", "objects", "another shape"])
def test_damaged_query_ranks_of_base(refused, small_run, tmp_path, kind):
    """Before training: they are needed when all has been evaluated."""
    path, ranks = tmp_path / "results_of_mine.json", tmp_path / "query_ranks_of_mine.npz"
    path.write_text(json.dumps(results_of(small_run, **{"PRIVACY.PROTECTION": "conventional"})))
    whole = (small_run / "query_ranks.npz").read_bytes()
    if kind == "objects":
        np.savez(ranks, **{"OI-DI": np.array([{}], object)})
    elif kind == "another shape":
        np.savez(ranks, **{"OI-DI": np.zeros((2, 2))})
    else:
        ranks.write_bytes({"cut": whole[:-30], "empty": b"", "text": b"no archive"}[kind])
    message = refused({"PRIVACY.UPGRADE.BASELINE_RANK1": path})
    assert str(ranks) in message and "evaluate again" in message


def test_query_ranks_that_are_damaged_meanwhile_cost_no_results(small_run, tmp_path, caplog):
    shutil.copy(small_run / "results.json", tmp_path)
    (tmp_path / "query_ranks.npz").write_bytes(b"no archive")
    assert versus_baseline({"OI-DI": np.array([1])}, tmp_path / "results.json", np.array([0])) == {}
    assert "query_ranks.npz is damaged" in caplog.text


@pytest.mark.parametrize(
    "content", [b"", b"A: [", b"a text", b"- 1\n", b"\xff\xfe", b"[" * 5000], ids=lambda text: text[:6]
)
def test_resuming_beside_a_damaged_config(small_run, tmp_path, capfd, content):
    for name in ("model_0000.pth", "last_checkpoint"):
        shutil.copy(small_run / name, tmp_path)
    (tmp_path / "config.yaml").write_bytes(content)
    before = contents(tmp_path)
    assert train("--config-file", SMALL_CONFIG, "--resume", *small_options(tmp_path)) == 2
    out, err = capfd.readouterr()
    assert str(tmp_path / "config.yaml") in err and "empty or damaged" in err and "Traceback" not in out + err
    assert contents(tmp_path) == before


def test_the_config_of_a_run_is_written_whole(small_run, small_dataset, tmp_path, monkeypatch):
    """Not in place, by fastreid neither: where the move fails, what was there is still there."""
    options = small_options(tmp_path, **{"SOLVER.MAX_EPOCH": 1})
    (tmp_path / "config.yaml").write_text("before")

    def full(source, target):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="disk full"):
        train("--config-file", SMALL_CONFIG, *options)
    assert (tmp_path / "config.yaml").read_text() == "before"
