"""The benchmark of training steps: operations counted by hand, a clock of our own, and what it prints."""

from __future__ import annotations

from conftest import SMALL_CONFIG, small_options  # before fastreid: importing the package makes it work

# isort: split
import itertools
import re
from types import SimpleNamespace

import pytest
import torch

from fastreid_privacy.bench import checks, steps
from fastreid_privacy.config import load_config


def test_the_ratio_is_time_over_operations_at_the_rate_of_products(monkeypatch):
    """A layer of 64×32 weights and 8 rows: forward, then the gradients of weights and rows."""
    layer, rows = torch.nn.Linear(32, 64, bias=False), torch.randn(8, 32, requires_grad=True)
    # one product takes 0.25 s, the two runs of the step 3 s and 2 s
    durations = iter([0.5, 0.25, 0.5, 0.5, 0.5, 3.0, 0.5, 0.5, 0.5, 0.5, 0.5, 2.0])
    monkeypatch.setattr(steps, "seconds_of", lambda function, device: function() or next(durations))
    monkeypatch.setitem(steps.SIDES, "cpu", 16)
    times = steps.measured({"layer": lambda: layer(rows).sum().backward()}, "cpu", torch.float32, runs=2)
    assert times.operations == {"layer": 3 * 2 * 8 * 32 * 64}
    assert times.rate == 2 * 16**3 / 0.25 and times.seconds == {"layer": 2.0}
    assert times.ratio("layer") == pytest.approx(2.0 * times.rate / (3 * 2 * 8 * 32 * 64))


def test_cpu_seconds_leave_out_what_others_do(monkeypatch):
    ticks = itertools.count(step=3)
    clocks = SimpleNamespace(process_time=lambda: next(ticks), perf_counter=lambda: pytest.fail("wall time"))
    monkeypatch.setattr(steps, "time", clocks)
    assert steps.seconds_of(lambda: None, "cpu") == 3


@pytest.mark.parametrize(
    ("has", "expected"),
    [({}, False), ({"avx2": True, "avx512_bf16": False}, False), ({"avx512_bf16": True}, True)],
)
def test_bfloat16_only_where_the_cpu_has_it(monkeypatch, has, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    assert steps.has_bfloat16("cpu") is expected


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_step_computes_in_the_precision_asked_for_and_changes_weights(precision):
    class Reid(torch.nn.Linear):
        def forward(self, batch):
            self.output = super().forward(batch["images"].flatten(1))
            return {"loss": self.output.sum()}

    model = Reid(12, 2)
    before = model.weight.detach().clone()
    images, optimizer = torch.rand(4, 3, 2, 2), torch.optim.SGD(model.parameters(), lr=1)
    steps.step_of(model, optimizer, images, torch.zeros(4).long(), precision)()
    assert model.output.dtype is precision and not torch.equal(model.weight, before)


def test_every_model_and_the_networks_alone(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(steps, "has_bfloat16", lambda device: False)  # emulated, it takes minutes
    monkeypatch.setitem(steps.SIDES, "cpu", 64)
    backbone = {"MODEL.BACKBONE.NAME": "build_osnet_backbone", "MODEL.BACKBONE.DEPTH": "x0_25"}
    size = {"SOLVER.IMS_PER_BATCH": 4, "MODEL.BACKBONE.FEAT_DIM": 128}
    steps.bench_steps(1, small_options("", **backbone, **size))
    printed = capsys.readouterr().out
    assert "float32, cpu, 4 images" in printed and "bfloat16" not in printed
    assert "demo's models, " in printed and "SOLVER.IMS_PER_BATCH 4, " in printed
    row = r"^  (\S.*?) +([\d.]+) s +([\d.]+) GFLOP +([\d.]+) × .* ([\d.]+) × fastreid"
    rows = re.findall(row, printed, re.MULTILINE)
    assert [row[0] for row in rows] == [*steps.MODELS, steps.NETWORKS, checks.CHECK]
    operations = {row[0]: row[2] for row in rows}
    # the networks alone do what they do in a step, and the demo's upper bound is fastreid's AGW
    assert operations[steps.NETWORKS] == operations["full method"]
    assert operations["upper bound"] == operations["fastreid AGW"] != operations["full method"]
    assert rows[0][4] == "1.00"
    assert re.search(r"checks after every epoch take \d+\.\d % of a run", printed)


@pytest.mark.parametrize(
    "options",
    [
        {"PRIVACY.DESENSITIZER.NAME": "noise"},  # six channels
        {"PRIVACY.LAMBDA_REC": 0.0},
        {"SOLVER.IMS_PER_BATCH": 328, "INPUT.SIZE_TRAIN": [24, 24], "INPUT.SIZE_TEST": [24, 24]},  # 82 people
    ],
)
def test_other_methods_and_batches_are_measured_too(monkeypatch, options):
    monkeypatch.setattr(steps, "MODELS", {steps.METHOD: steps.MODELS[steps.METHOD]})
    backbone = {"MODEL.BACKBONE.NAME": "build_osnet_backbone", "MODEL.BACKBONE.DEPTH": "x0_25"}
    size = {"SOLVER.IMS_PER_BATCH": 4, "MODEL.BACKBONE.FEAT_DIM": 128, "PRIVACY.ANONYMIZER.DEPTH": 2}
    words = small_options("", **{**backbone, **size, "PRIVACY.RECOVERY.DEPTH": 2, **options})
    found, count = steps._steps("cpu", torch.float32, words)
    for step in found.values():
        step()
    assert count == options.get("SOLVER.IMS_PER_BATCH", 4)


def test_checks_of_a_fifth_of_the_images_take_their_share():
    cfg = load_config(SMALL_CONFIG, ["DATASETS.VALIDATION.FRACTION", "0.2"])
    # of 10 images, 2 are checked for 1 s each, and 8 are trained on for 4.75 s each
    assert checks.share_of_checks(check=1.0, step=4.75, cfg=cfg) == pytest.approx(5.0)
