"""On which device each process of the training command computes."""

from __future__ import annotations

from conftest import SMALL_CONFIG, small_options  # before fastreid: importing the package makes it work

# isort: split
import pytest
import torch

from fastreid_privacy import compat
from fastreid_privacy.commands import train as command_line
from fastreid_privacy.config import load_config
from fastreid_privacy.core.errors import UserError
from fastreid_privacy.core.lock import locked
from fastreid_privacy.evaluation import hybrid_evaluator
from fastreid_privacy.training import experiment, testing
from fastreid_privacy.training.request import TrainingRequest
from fastreid_privacy.training.trainer import PrivacyTrainer


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:1"])
def test_the_gpu_that_is_named_becomes_the_current_one(tmp_path, monkeypatch, device):
    """Of an allocation without a number, of FAISS and of fastreid's ``.cuda()``; of several processes, each
    has its GPU from launch."""
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    monkeypatch.setattr(compat.data, "loader_device", compat.data.loader_device)
    monkeypatch.setattr(command_line, "run_experiment", lambda cfg, resume: chosen.append("trained"))
    options = small_options(tmp_path, **{"MODEL.DEVICE": device})
    command_line.main(TrainingRequest(config_file=str(SMALL_CONFIG), overrides=tuple(options)))
    assert chosen == ([device] if ":" in device else []) + ["trained"]


@pytest.mark.parametrize("evaluates", [False, True])
def test_two_runs_do_not_share_a_folder(tmp_path, monkeypatch, evaluates):
    held = []

    def held_run(cfg, *resume):
        with pytest.raises(UserError, match="in use"), locked(tmp_path, "in use"):
            pass
        held.append(True)

    for name in ("run_experiment", "evaluate_only"):
        monkeypatch.setattr(command_line, name, held_run)
    request = TrainingRequest(
        config_file=str(SMALL_CONFIG), overrides=tuple(small_options(tmp_path)), eval_only=evaluates
    )
    with (
        locked(tmp_path, "another"),
        pytest.raises(UserError, match=f"OUTPUT_DIR {tmp_path} is in use by another run"),
    ):
        command_line.main(request)
    assert not held and not list(tmp_path.iterdir())
    command_line.main(request)  # as soon as the other one has ended
    assert held == [True]


def test_the_folders_of_the_models_compared_with_are_held_too(tmp_path, monkeypatch):
    class Trained(Exception):
        pass

    def train_and_test(cfg, resume):
        with pytest.raises(UserError, match="in use"), locked(tmp_path / "baseline", "in use"):
            pass
        assert str(tmp_path / "baseline") == cfg.OUTPUT_DIR
        raise Trained

    monkeypatch.setattr(experiment, "train_and_test", train_and_test)
    options = small_options(tmp_path, **{"PRIVACY.UPGRADE.BASELINE_RANK1": "auto"})
    cfg = load_config(SMALL_CONFIG, options)
    assert "baseline" in experiment.comparisons(cfg)
    with experiment.hold_folder(cfg), pytest.raises(Trained):
        experiment.run_experiment(cfg)


def test_ranking_is_done_on_the_device_of_the_config(small_dataset, tmp_path, monkeypatch):
    """Not on GPU 0 because FAISS sees one: on the validation split and on the test set."""
    devices = []
    rank = hybrid_evaluator.rank
    monkeypatch.setattr(
        hybrid_evaluator, "rank", lambda *args, device, **kw: [devices.append(device), rank(*args, **kw)][1]
    )
    cfg = load_config(
        SMALL_CONFIG, small_options(tmp_path, **{"MODEL.HEADS.NUM_CLASSES": 12, "PRIVACY.PROTECTION": "none"})
    )
    model = PrivacyTrainer.build_model(cfg)
    for evaluate, galleries in ((testing.validate, 1), (testing.test, 2)):
        devices.clear()
        evaluate(cfg, model.eval())
        assert devices == ["cpu"] * galleries


def test_ranking_knows_the_cpu_and_gpus_only():
    """Training may be on any device of torch: validation must not stop it after its first epochs."""
    cfg = load_config(SMALL_CONFIG, ["MODEL.DEVICE", "cpu"])
    cfg.defrost()
    for device, expected in (("mps", "cpu"), ("cpu", "cpu"), ("cuda:1", "cuda:1")):
        cfg.MODEL.DEVICE = device
        assert testing.hybrid_evaluator(cfg, 1).device == expected


def test_the_request_holds_what_the_options_say():
    parser = command_line.default_argument_parser()
    words = "--config-file a.yml --num-gpus 2 --num-machines 3 --machine-rank 1 --dist-url tcp://b:1 --resume"
    request = command_line.request_of(parser.parse_args([*words.split(), "SEED", "7"]))
    assert request == TrainingRequest(
        config_file="a.yml",
        overrides=("SEED", "7"),
        resume=True,
        processes=2,
        machines=3,
        machine_rank=1,
        dist_url="tcp://b:1",
    )
    assert command_line.request_of(parser.parse_args(["--eval-only"])).eval_only
