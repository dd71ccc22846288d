"""Optimisation of section 4.2: one Adam with betas per network, and the learning rate of each epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from fastreid.config import CfgNode
from fastreid.solver.build import get_default_optimizer_params, maybe_add_gradient_clipping
from torch import nn

from ..model.parts import GAN_MODULES

FUSED = ("Adam", "AdamW")
"""Optimizers that step in one kernel for all weights of a group, instead of a dozen calls for each."""


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """fastreid's optimizer with its parameter options, and ``SOLVER.GAN_BETAS`` for the image networks.

    Groups of equal options are merged: fewer, larger groups step faster and to the same weights.
    """
    solver = cfg.SOLVER
    groups = get_default_optimizer_params(
        model,
        base_lr=solver.BASE_LR,
        weight_decay=solver.WEIGHT_DECAY,
        weight_decay_norm=solver.WEIGHT_DECAY_NORM,
        bias_lr_factor=solver.BIAS_LR_FACTOR,
        heads_lr_factor=solver.HEADS_LR_FACTOR,
        weight_decay_bias=solver.WEIGHT_DECAY_BIAS,
        freeze_layers=cfg.MODEL.FREEZE_LAYERS if solver.FREEZE_ITERS > 0 else [],
    )
    part_of = {id(parameter): name.split(".")[0] for name, parameter in model.named_parameters()}
    merged: dict[tuple, dict] = {}
    for group in groups:
        parameters = group.pop("params")
        if part_of[id(parameters[0])] in GAN_MODULES:
            group["freeze_status"] = "normal"  # MODEL.FREEZE_LAYERS means the Re-ID model
            if solver.OPT.startswith(("Adam", "NAdam", "RAdam")):
                group["betas"] = tuple(solver.GAN_BETAS)
        same_options = merged.setdefault(tuple(sorted(group.items())), {**group, "params": []})
        same_options["params"].extend(parameters)
    options: dict[str, Any] = {"fused": True} if solver.OPT in FUSED else {}
    if solver.OPT == "SGD":
        options = {"momentum": solver.MOMENTUM, "nesterov": solver.NESTEROV}
    optimizer_type = maybe_add_gradient_clipping(cfg, getattr(torch.optim, solver.OPT))
    optimizer = optimizer_type(list(merged.values()), lr=solver.BASE_LR, **options)
    _step_as_built(optimizer)
    return optimizer


def _step_as_built(optimizer: torch.optim.Optimizer) -> None:
    """Let the optimizer step in its own way after it has loaded a state that another version wrote.

    A saved state brings along whether its optimizer was fused, and moments as its weights lay in memory then.
    A fused step reads the moments in the order of the weights, so that another layout would mix them up.
    """

    def keep_fused(optimizer: torch.optim.Optimizer, state: dict) -> dict:
        ways = [{"fused": group["fused"]} for group in optimizer.param_groups if "fused" in group]
        if len(ways) != len(state["param_groups"]):
            return state  # it does not fit, which the optimizer tells
        groups = [{**group, **way} for group, way in zip(state["param_groups"], ways, strict=True)]
        return {**state, "param_groups": groups}

    def lay_out(optimizer: torch.optim.Optimizer) -> None:
        for weight, state in optimizer.state.items():
            for name, value in state.items():
                if (
                    torch.is_tensor(value)
                    and value.shape == weight.shape
                    and value.stride() != weight.stride()
                ):
                    state[name] = torch.empty_like(weight, dtype=value.dtype).copy_(value)

    optimizer.register_load_state_dict_pre_hook(keep_fused)
    optimizer.register_load_state_dict_post_hook(lay_out)


def freeze_groups(optimizer: torch.optim.Optimizer, is_frozen: Callable[[], bool]) -> None:
    """Leave the groups that ``MODEL.FREEZE_LAYERS`` names unchanged as long as ``is_frozen()`` holds.

    fastreid counts the frozen steps inside the optimizer (solver/build.py:121), where a resumed run starts
    from zero again.
    """

    def skip_frozen(optimizer: torch.optim.Optimizer, args: tuple, kwargs: dict) -> None:
        if is_frozen():
            for group in optimizer.param_groups:
                if group["freeze_status"] == "freeze":
                    for parameter in group["params"]:
                        parameter.grad = None

    optimizer.register_step_pre_hook(skip_frozen)


def lr_factor(
    epoch: int,
    *,
    warmup_epochs: int = 10,
    warmup_factor: float = 0.1,
    schedule: str = "MultiStepLR",
    steps: Sequence[int] = (40, 80),
    gamma: float = 0.1,
    delay_epochs: int = 0,
    max_epoch: int = 120,
    final_factor: float = 0.0,
) -> float:
    """The learning rate of an epoch as a fraction of the base rate.

    Linear from ``warmup_factor`` in epoch 0 to 1 in epoch ``warmup_epochs − 1`` (3.5e-5 to 3.5e-4 over the
    first 10 epochs), then, counted from epoch 0, × ``gamma`` at each of ``steps``, or half a cosine from the
    end of warm-up and delay to ``final_factor`` in the last.

    Args:
        epoch: from 0.
        schedule: "MultiStepLR" or "CosineAnnealingLR".
        delay_epochs: the cosine starts after these (``SOLVER.DELAY_EPOCHS``).

    Example:
        >>> [round(lr_factor(epoch), 3) for epoch in (0, 9, 39, 40, 80)]
        [0.1, 1.0, 1.0, 0.1, 0.01]
    """
    if epoch < warmup_epochs - 1:
        return warmup_factor + (1 - warmup_factor) * epoch / (warmup_epochs - 1)
    if schedule == "MultiStepLR":
        return gamma ** sum(epoch >= step for step in steps)
    start = max(warmup_epochs - 1, delay_epochs)
    progress = min(max(epoch - start, 0) / max(max_epoch - 1 - start, 1), 1)
    return final_factor + (1 - final_factor) * (1 + math.cos(math.pi * progress)) / 2


def build_lr_scheduler(
    cfg: CfgNode, optimizer: torch.optim.Optimizer
) -> dict[str, torch.optim.lr_scheduler.LRScheduler]:
    """:func:`lr_factor` as the dict of schedulers that fastreid's hook steps, once after each epoch.

    fastreid's own schedulers count ``STEPS`` from the end of a warm-up in iterations and step one epoch
    early.
    """
    solver = cfg.SOLVER
    options = {
        "warmup_epochs": solver.WARMUP_EPOCHS,
        "warmup_factor": solver.WARMUP_FACTOR,
        "schedule": solver.SCHED,
        "steps": tuple(solver.STEPS),
        "gamma": solver.GAMMA,
        "delay_epochs": solver.DELAY_EPOCHS,
        "max_epoch": solver.MAX_EPOCH,
        "final_factor": solver.ETA_MIN_LR / solver.BASE_LR,
    }
    return {
        "lr_sched": torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: lr_factor(epoch, **options))
    }
