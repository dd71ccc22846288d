"""The learning rate of each epoch, and one Adam against separate ones."""

import copy

import pytest
import torch
from torch import nn

from fastreid_privacy.config import load_config
from fastreid_privacy.training import solver


def paper_lr(epoch: int) -> float:
    """Section 4.2 in words: 3.5e-5 to 3.5e-4 over the first 10 epochs, then 3.5e-4, 3.5e-5 from epoch 40,
    3.5e-6 from epoch 80."""
    if epoch < 10:
        return 3.5e-5 + epoch * (3.5e-4 - 3.5e-5) / 9
    return 3.5e-4 if epoch < 40 else 3.5e-5 if epoch < 80 else 3.5e-6


def test_lr_of_each_epoch_is_the_papers():
    cfg = load_config("configs/Market/privacy_agw.yml", ["MODEL.DEVICE", "cpu"])
    assert cfg.SOLVER.MAX_EPOCH == 120
    optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(1))], lr=cfg.SOLVER.BASE_LR)
    scheduler = solver.build_lr_scheduler(cfg, optimizer)["lr_sched"]
    for epoch in range(120):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(paper_lr(epoch), rel=1e-9), epoch
        optimizer.step()
        scheduler.step()


def test_scheduler_state_holds_no_schedule():
    cfg = load_config("", ["MODEL.DEVICE", "cpu"])
    scheduler = solver.build_lr_scheduler(cfg, torch.optim.Adam([nn.Parameter(torch.zeros(1))], lr=1e-3))[
        "lr_sched"
    ]
    assert scheduler.state_dict()["lr_lambdas"] == [None]


@pytest.mark.parametrize(("warmup", "delay"), [(0, 0), (5, 0), (5, 20)])
def test_cosine_falls_from_one_to_its_end(warmup, delay):
    factors = [
        solver.lr_factor(
            e,
            warmup_epochs=warmup,
            schedule="CosineAnnealingLR",
            delay_epochs=delay,
            max_epoch=60,
            final_factor=0.01,
        )
        for e in range(60)
    ]
    start = max(warmup - 1, delay, 0)
    assert factors[start] == pytest.approx(1) and factors[-1] == pytest.approx(0.01)
    assert all(a >= b for a, b in zip(factors[start:], factors[start + 1 :], strict=False))


class Parts(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
        self.anonymizer = nn.Linear(4, 4)
        self.recovery_discriminator = nn.Linear(4, 1)

    def forward(self, x):
        return self.recovery_discriminator(self.anonymizer(self.backbone(x))).square().mean()


def test_one_adam_equals_separate_adams():
    cfg = load_config("configs/Market/privacy_agw.yml", ["MODEL.DEVICE", "cpu"])
    torch.manual_seed(0)
    together = Parts()
    apart = copy.deepcopy(together)
    optimizer = solver.build_optimizer(cfg, together)
    settings = {"lr": cfg.SOLVER.BASE_LR, "weight_decay": cfg.SOLVER.WEIGHT_DECAY}
    separate = [torch.optim.Adam(apart.backbone.parameters(), **settings)]
    separate += [
        torch.optim.Adam(part.parameters(), betas=(0.5, 0.999), **settings)
        for part in (apart.anonymizer, apart.recovery_discriminator)
    ]
    x = torch.randn(8, 4)
    for _ in range(20):
        for model, optimizers in ((together, [optimizer]), (apart, separate)):
            model.zero_grad()
            model(x).backward()
            for each in optimizers:
                each.step()
    for ours, theirs in zip(together.parameters(), apart.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert len(optimizer.param_groups) == 2


def test_frozen_groups_stay_and_then_move():
    cfg = load_config(
        "", ["MODEL.DEVICE", "cpu", "MODEL.FREEZE_LAYERS", "['backbone']", "SOLVER.FREEZE_ITERS", "2"]
    )
    model = Parts()
    optimizer = solver.build_optimizer(cfg, model)
    moved = []
    solver.freeze_groups(optimizer, lambda: len(moved) < 2)
    for _ in range(3):
        before = {name: value.clone() for name, value in model.named_parameters()}
        model.zero_grad()
        model(torch.randn(8, 4)).backward()
        optimizer.step()
        moved.append(
            {
                name.split(".")[0]
                for name, value in model.named_parameters()
                if not torch.equal(value, before[name])
            }
        )
    assert moved == [{"anonymizer", "recovery_discriminator"}] * 2 + [
        {"backbone", "anonymizer", "recovery_discriminator"}
    ]


def options_of(*words):
    return load_config("", ["MODEL.DEVICE", "cpu", "SOLVER.BASE_LR", "0.5", *words])


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.7, False), (0.95, True)])
def test_sgd_has_the_momentum_of_the_config(momentum, nesterov):
    words = ["SOLVER.OPT", "SGD", "SOLVER.MOMENTUM", str(momentum), "SOLVER.NESTEROV", str(nesterov)]
    cfg = options_of(*words)
    ours, plain = Parts(), Parts()
    plain.load_state_dict(ours.state_dict())
    optimizers = [
        solver.build_optimizer(cfg, ours),
        torch.optim.SGD(
            plain.parameters(),
            lr=0.5,
            momentum=momentum,
            nesterov=nesterov,
            weight_decay=cfg.SOLVER.WEIGHT_DECAY,
        ),
    ]
    x = torch.randn(8, 4)
    for _ in range(3):
        for model, optimizer in zip((ours, plain), optimizers, strict=True):
            optimizer.zero_grad()
            model(x).backward()
            optimizer.step()
    for mine, theirs in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("kind", ["value", "norm", ""])
def test_gradients_are_clipped_as_the_config_says(kind):
    """Each parameter's gradient by itself, in a step of plain SGD; not at all unless that is turned on."""
    words = ["SOLVER.OPT", "SGD", "SOLVER.MOMENTUM", "0.0", "SOLVER.WEIGHT_DECAY", "0.0"]
    words += ["SOLVER.WEIGHT_DECAY_NORM", "0.0", "SOLVER.WEIGHT_DECAY_BIAS", "0.0"]
    words += ["SOLVER.CLIP_GRADIENTS.CLIP_VALUE", "0.25"]
    if kind:
        words += ["SOLVER.CLIP_GRADIENTS.ENABLED", "True", "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", kind]
    model = Parts()
    optimizer = solver.build_optimizer(options_of(*words), model)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    (1000 * model(torch.randn(8, 4))).backward()
    expected = []
    for parameter in model.parameters():
        gradient = parameter.grad.clone()
        if kind == "value":
            gradient = gradient.clamp(-0.25, 0.25)
        elif kind == "norm":
            gradient *= min(1, 0.25 / gradient.norm().item())
        expected.append(gradient)
    assert max(gradient.abs().max().item() for gradient in expected) > (1 if not kind else 0.1)
    optimizer.step()
    for parameter, start, gradient in zip(model.parameters(), before, expected, strict=True):
        torch.testing.assert_close(parameter, start - 0.5 * gradient, rtol=1e-4, atol=1e-5)
