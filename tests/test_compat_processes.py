"""Several processes under fastreid_privacy.compat: started, joined over gloo, and their errors told."""

from __future__ import annotations

from fastreid_privacy import compat  # before fastreid: importing the package makes it work

# isort: split
import multiprocessing
import sys

import plain_fastreid
import pytest
import torch

from fastreid_privacy.compat import distributed
from fastreid_privacy.core.errors import UserError


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    """What two CPU processes over gloo left, through the name a plain script imports, and what one raised."""
    from fastreid.engine import launch

    folder = tmp_path_factory.mktemp("launched")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(UserError) as raised:
        patch.delenv("OMP_NUM_THREADS", raising=False)
        launch(plain_fastreid.train_in_two_processes, 2, args=(str(folder),), device="cpu")
    return folder, raised.value


def test_two_processes_train_alike(launched):
    """Same weights, and what they tell each other."""
    folder, _ = launched
    seen = [torch.load(folder / f"seen_{number}.pt") for number in range(2)]
    for number, process in enumerate(seen):
        assert process["sum"] == 3.0 and process["backend"] == "gloo" and process["loader_device"] == "cpu"
        assert process["local"] == (number, 2) and process["gathered"] == [{"rank": 0}, {"rank": 1}]
        assert process["threads"] == max(1, distributed.available_cores() // 2)
        assert process["start_method"] == multiprocessing.get_start_method()
        assert "device_ids" in process["upstream_ddp"]
        assert process["moved"] > 0.9 * len(process["weights"])
    assert all(torch.equal(value, seen[1]["weights"][name]) for name, value in seen[0]["weights"].items())
    assert (folder / "model_final.pth").is_file()


def test_user_errors_of_processes_reach_the_caller(launched):
    assert str(launched[1]) == "MODEL.WEIGHTS names no file"


def test_faults_of_processes_keep_their_traceback(monkeypatch):
    def start_processes(*args, **kwargs):
        raise torch.multiprocessing.ProcessRaisedException("ZeroDivisionError in rank 1", 1, 1)

    monkeypatch.setattr(torch.multiprocessing, "start_processes", start_processes)
    with pytest.raises(torch.multiprocessing.ProcessRaisedException, match="ZeroDivisionError in rank 1"):
        compat.launch(print, 2, device="cpu")


def test_one_process_runs_here():
    calls = []
    compat.launch(lambda *args: calls.append(args), 1, args=(1, 2))
    assert calls == [(1, 2)] and not torch.distributed.is_initialized()


@pytest.mark.parametrize(
    "gpus, arguments, message",
    [
        (1, {"num_gpus_per_machine": 2}, "2 processes were asked for and 1 GPUs"),
        (0, {"num_gpus_per_machine": 1, "device": "cuda"}, "MODEL.DEVICE"),
        (0, {"num_gpus_per_machine": 1, "device": "gpu"}, "'gpu': choose auto, cpu or cuda"),
        (0, {"num_gpus_per_machine": 1, "num_machines": 2, "dist_url": "auto"}, "--dist-url"),
    ],
)
def test_launch_refuses(monkeypatch, gpus, arguments, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with pytest.raises(UserError, match=message):
        compat.launch(print, **arguments)


def test_launch_upstream_wants_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    worker = sys.modules["fastreid.engine.launch"]._distributed_worker
    with pytest.raises(AssertionError, match="cuda is not available"):
        worker(0, print, 2, 2, 0, "tcp://127.0.0.1:1", ())


@pytest.mark.parametrize("variable, expected", [(None, 1), ("3", None)])
def test_processes_share_the_cores(monkeypatch, variable, expected):
    asked = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if variable:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    distributed.share_cores(10_000)
    assert asked == ([] if expected is None else [expected])
