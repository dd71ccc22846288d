"""The learning rate of each epoch, and one Adam against separate ones."""

import copy
import math

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
    separate = [torch.optim.Adam(apart.backbone.parameters(), fused=True, **settings)]
    separate += [
        torch.optim.Adam(part.parameters(), betas=(0.5, 0.999), fused=True, **settings)
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


class Convolutions(Parts):
    """Some that the image networks have, and one of the Re-ID model."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Conv2d(3, 4, 3)
        self.anonymizer = nn.ConvTranspose2d(4, 6, 3)
        self.recovery_discriminator = nn.Conv2d(6, 1, 3)


@pytest.mark.parametrize("opt", ["Adam", "AdamW"])
def test_a_state_that_an_older_version_wrote_goes_on_fused(opt):
    """It says that its optimizer was not fused, and its moments lie as torch's weights do.

    What follows equals the older version's own next steps.
    """
    cfg = load_config("configs/Market/privacy_agw.yml", ["MODEL.DEVICE", "cpu", "SOLVER.OPT", opt])
    torch.manual_seed(0)
    old = Convolutions()
    built = solver.build_optimizer(cfg, old).param_groups
    groups = [{key: value for key, value in group.items() if key != "fused"} for group in built]
    older = getattr(torch.optim, opt)(groups)
    assert all(group["fused"] is None for group in older.param_groups)
    x = torch.randn(8, 3, 9, 9)

    def steps(model, optimizer):
        for _ in range(3):
            optimizer.zero_grad()
            model(x).backward()
            optimizer.step()

    steps(old, older)
    new = copy.deepcopy(old).to(memory_format=torch.channels_last)
    optimizer = solver.build_optimizer(cfg, new)
    optimizer.load_state_dict(copy.deepcopy(older.state_dict()))
    assert all(group["fused"] is True for group in optimizer.param_groups)
    for weight, state in optimizer.state.items():
        assert state["exp_avg"].stride() == state["exp_avg_sq"].stride() == weight.stride()
    steps(old, older)
    steps(new, optimizer)
    for mine, theirs in zip(new.parameters(), old.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)

    again = solver.build_optimizer(cfg, resumed := copy.deepcopy(new))
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    steps(resumed, again)
    steps(new, optimizer)
    assert all(map(torch.equal, resumed.parameters(), new.parameters()))


def test_a_state_that_does_not_fit_is_told_as_ever():
    cfg = load_config("configs/Market/privacy_agw.yml", ["MODEL.DEVICE", "cpu"])
    state = torch.optim.Adam([nn.Parameter(torch.zeros(1))], lr=1e-3).state_dict()
    with pytest.raises(ValueError, match="different number of parameter groups"):
        solver.build_optimizer(cfg, Parts()).load_state_dict(state)


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


class WithHeads(Parts):
    def __init__(self):
        super().__init__()
        self.heads = nn.Linear(4, 2)


def groups_by_parameter(model, *words):
    """The options of each parameter's group, by its name."""
    optimizer = solver.build_optimizer(options_of(*words), model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(each)]: group for group in optimizer.param_groups for each in group["params"]}


def test_each_parameter_has_the_options_of_its_kind():
    """Biases, normalization layers, heads: rate and decay of each, from the keys of the config."""
    words = [
        "SOLVER.WEIGHT_DECAY",
        "0.1",
        "SOLVER.WEIGHT_DECAY_NORM",
        "0.2",
        "SOLVER.WEIGHT_DECAY_BIAS",
        "0.3",
    ]
    words += ["SOLVER.BIAS_LR_FACTOR", "2.0", "SOLVER.HEADS_LR_FACTOR", "5.0"]
    groups = groups_by_parameter(WithHeads(), *words)
    found = {name: (group["lr"], group["weight_decay"]) for name, group in groups.items()}
    assert found == {
        "backbone.0.weight": (0.5, 0.1),
        "backbone.0.bias": (1.0, 0.3),
        "backbone.1.weight": (0.5, 0.2),  # BatchNorm's
        "backbone.1.bias": (1.0, 0.3),
        "heads.weight": (2.5, 0.1),
        "heads.bias": (5.0, 0.3),
        "anonymizer.weight": (0.5, 0.1),
        "anonymizer.bias": (1.0, 0.3),
        "recovery_discriminator.weight": (0.5, 0.1),
        "recovery_discriminator.bias": (1.0, 0.3),
    }


@pytest.mark.parametrize(("steps", "frozen"), [(0, False), (1, True)])
def test_what_is_frozen(steps, frozen):
    """Layers of the Re-ID model alone, and only where there are steps to freeze them for."""
    words = ["MODEL.FREEZE_LAYERS", "['backbone', 'anonymizer']", "SOLVER.FREEZE_ITERS", str(steps)]
    groups = groups_by_parameter(WithHeads(), *words)
    status = {name.split(".")[0]: group["freeze_status"] for name, group in groups.items()}
    assert status.pop("backbone") == ("freeze" if frozen else "normal")
    assert set(status.values()) == {"normal"} and "anonymizer" in status


@pytest.mark.parametrize("name", ["Adam", "AdamW", "Adamax", "NAdam", "RAdam"])
def test_the_image_networks_have_betas_of_their_own(name):
    groups = groups_by_parameter(WithHeads(), "SOLVER.OPT", name, "SOLVER.GAN_BETAS", "(0.25, 0.75)")
    betas = {part.split(".")[0]: group["betas"] for part, group in groups.items()}
    own, default = (0.25, 0.75), (0.9, 0.999)
    assert betas == {"backbone": default, "heads": default, "anonymizer": own, "recovery_discriminator": own}


def test_groups_of_other_optimizers_have_no_betas():
    groups = groups_by_parameter(WithHeads(), "SOLVER.OPT", "SGD")
    assert not [name for name, group in groups.items() if "betas" in group]


def test_lr_factor_is_the_papers_by_default():
    for epoch in range(120):
        assert solver.lr_factor(epoch) == pytest.approx(paper_lr(epoch) / 3.5e-4)
    for epoch in range(9, 140):  # half a cosine from epoch 9 to 119, and 0 from there on
        half = math.pi * min((epoch - 9) / 110, 1)
        expected = (1 + math.cos(half)) / 2
        assert solver.lr_factor(epoch, schedule="CosineAnnealingLR") == pytest.approx(expected, abs=1e-12)
    assert solver.lr_factor(1, warmup_epochs=0, schedule="CosineAnnealingLR") < 1  # no delay


def test_short_schedules():
    """A warm-up of one epoch has the base rate in it; a run of two epochs ends at the final rate."""
    assert solver.lr_factor(0, warmup_epochs=1) == 1
    short = {"warmup_epochs": 0, "schedule": "CosineAnnealingLR", "max_epoch": 2, "final_factor": 0.25}
    assert [solver.lr_factor(epoch, **short) for epoch in (0, 1, 2)] == pytest.approx([1, 0.25, 0.25])
    assert solver.lr_factor(0, **{**short, "max_epoch": 1}) == 1


@pytest.mark.parametrize("schedule", ["MultiStepLR", "CosineAnnealingLR"])
def test_every_key_of_the_schedule_is_read(schedule):
    words = ["SOLVER.SCHED", schedule, "SOLVER.MAX_EPOCH", "12", "SOLVER.WARMUP_EPOCHS", "3"]
    words += ["SOLVER.WARMUP_FACTOR", "0.2", "SOLVER.STEPS", "(6, 9)", "SOLVER.GAMMA", "0.5"]
    words += ["SOLVER.DELAY_EPOCHS", "4", "SOLVER.ETA_MIN_LR", "0.05"]
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.5)
    scheduler = solver.build_lr_scheduler(options_of(*words), optimizer)["lr_sched"]
    rates = []
    for _ in range(12):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    if schedule == "MultiStepLR":
        after = [0.5] * 3 + [0.25] * 3 + [0.125] * 3
    else:  # from 0.5 in epoch 4 to 0.05 in epoch 11
        after = [0.5] + [0.05 + 0.45 * (1 + math.cos(math.pi * step / 7)) / 2 for step in range(8)]
    assert rates == pytest.approx([0.1, 0.3, 0.5, *after])
