"""One training step: what it computes in, and that nothing changes where a loss is not finite."""

from __future__ import annotations

from conftest import SMALL_CONFIG, small_options  # before fastreid: importing the package makes it work

# isort: split
import copy
from types import SimpleNamespace

import pytest
import torch
from fastreid.utils.events import EventStorage
from torch import nn
from torch.utils.data import DataLoader

from fastreid_privacy.config import load_config
from fastreid_privacy.model.meta_arch import PrivacyStages
from fastreid_privacy.training import step as step_module
from fastreid_privacy.training.step import PrivacyStep, TrainingDiverged, training_precision


class OneWeight(PrivacyStages):
    """Two losses of one weight, which a batch scales."""

    def __init__(self):
        nn.Module.__init__(self)
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, batch: dict) -> dict[str, torch.Tensor]:
        self.autocast = torch.is_autocast_enabled("cuda")
        scale = batch["images"].mean()
        return {"loss_a": (scale * self.weight).sum(), "loss_b": self.weight.square().sum()}


def step_of(model, precision=torch.float32):
    items = [{"images": torch.full((1,), 3.0), "img_paths": f"{index}.jpg"} for index in range(2)]
    step = PrivacyStep(model, DataLoader(items), torch.optim.SGD(model.parameters(), lr=0.1), precision)
    step.iter = 7
    assert step.paths == []
    return step


def test_a_step_follows_the_gradient_of_the_sum():
    model = OneWeight()
    step = step_of(model)
    with EventStorage(0) as storage:
        step.run_step()
    assert model.weight.item() == pytest.approx(1 - 0.1 * (3 + 2))
    assert storage.latest()["total_loss"][0] == pytest.approx(4.0)
    assert step.paths == ["0.jpg"] and step.grad_scaler is None


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_changes_nothing(value):
    model = OneWeight()
    step = step_of(model)
    step.read_from(iter([{"images": torch.full((1,), value), "img_paths": ["bad.jpg"]}]))
    before = copy.deepcopy(model.state_dict())
    with EventStorage(0), pytest.raises(TrainingDiverged, match=r"iteration 7: loss_a became .* bad\.jpg"):
        step.run_step()
    assert model.state_dict() == before


def test_the_time_for_data_is_that_of_the_batch(monkeypatch):
    clock = iter([5.0, 7.5])
    monkeypatch.setattr(step_module, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    step = step_of(OneWeight())
    with EventStorage(0) as storage:
        step.run_step()
    assert storage.latest()["data_time"][0] == 2.5


class RecordingScaler:
    """A scaler that notes what is asked of it, with a factor of 2 as torch's has of 65536."""

    def __init__(self):
        self.calls = []

    def scale(self, loss):
        self.calls.append("scale")
        return 2 * loss

    def unscale_(self, optimizer):
        self.calls.append("unscale_")
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad /= 2

    def step(self, optimizer):
        self.calls.append("step")
        optimizer.step()

    def update(self):
        self.calls.append("update")


@pytest.mark.parametrize(
    ("precision", "bfloat16", "scaled"),
    [(torch.float32, False, False), (torch.bfloat16, True, False), (torch.float16, False, True)],
)
@pytest.mark.filterwarnings("ignore")  # of float16 without a GPU
def test_precisions(monkeypatch, precision, bfloat16, scaled):
    """float16 is torch's autocast here and scales its losses; bfloat16 is the model's own affair."""
    asked = []

    def scaler(device, enabled):
        asked.append((device, enabled))
        return made(device, enabled=enabled)

    def autocast(*words):
        asked.append(words)
        return real(*words)

    made, real = torch.amp.GradScaler, torch.autocast
    monkeypatch.setattr(torch.amp, "GradScaler", scaler)
    monkeypatch.setattr(torch, "autocast", autocast)
    model = OneWeight()
    step = step_of(model, precision)
    assert model.mixed_precision is bfloat16
    assert (step.grad_scaler is not None) is scaled
    if scaled:
        step._scaler = RecordingScaler()
    with EventStorage(0):
        step.run_step()
    assert model.weight.item() == pytest.approx(0.5)
    assert asked == [("cuda", scaled), *([("cuda", torch.float16)] if scaled else [])]
    if scaled:
        assert step.grad_scaler.calls == ["scale", "unscale_", "step", "update"]
        assert model.autocast == torch.cuda.is_available()


@pytest.mark.parametrize(
    ("enabled", "device", "has_bfloat16", "expected"),
    [
        (False, "cuda", True, torch.float32),
        (True, "cuda", True, torch.bfloat16),
        (True, "cuda:1", False, torch.float16),
        (True, "cpu", False, torch.bfloat16),
    ],
)
def test_which_precision(monkeypatch, tmp_path, enabled, device, has_bfloat16, expected):
    supported = {False: has_bfloat16, True: True}  # with emulation, which is slower than float16
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation: supported[including_emulation]
    )
    cfg = load_config(SMALL_CONFIG, small_options(tmp_path, **{"SOLVER.AMP.ENABLED": enabled}))
    cfg.defrost()
    cfg.MODEL.DEVICE = device
    assert training_precision(cfg) is expected
