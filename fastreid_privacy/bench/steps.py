"""One optimisation step of each model of the demo, beside fastreid's plain AGW on the same images."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from fastreid.modeling import build_model
from fastreid.utils.events import EventStorage
from torch import nn

from ..config import load_config
from ..core.errors import UserError
from ..training.solver import build_optimizer

CONFIG = Path(__file__).parents[2] / "configs" / "Synthetic" / "privacy_agw.yml"
IMAGES, PER_PERSON = 32, 4
PLAIN = ["MODEL.META_ARCHITECTURE", "Baseline"]
MODELS = {
    "fastreid AGW": ["PRIVACY.PROTECTION", "none", *PLAIN],
    "upper bound": ["PRIVACY.PROTECTION", "none"],
    "Base": ["PRIVACY.PROTECTION", "conventional"],
    "full method": ["PRIVACY.PROTECTION", "learned"],
}
"""Rows of the table and their configs; the first is the peer."""


def check_config() -> None:
    """Refuse to begin where the package is installed without the project's configs.

    Raises:
        UserError: naming the file.
    """
    if not CONFIG.exists():
        raise UserError(f"training steps need {CONFIG}: measure them in a clone of the project")


def bench_steps(runs: int) -> None:
    """Print the median seconds of a step of each model, on the device of the demo's config.

    Args:
        runs: steps of each, after one that is not counted.
    """
    print(f"\nTraining step, demo size ({IMAGES} images)")
    images = torch.randint(0, 256, (IMAGES, 3, 128, 64)).float()
    targets = torch.arange(IMAGES) // PER_PERSON
    peer = None
    for name, options in MODELS.items():
        cfg = load_config(CONFIG, ["MODEL.HEADS.NUM_CLASSES", "80", *options])
        model = build_model(cfg).train()
        seconds = median_time(step_of(model, build_optimizer(cfg, model), images, targets), runs)
        peer = peer or seconds
        print(f"  {name:22}  {seconds:8.2f} s   {seconds / peer:6.2f} × fastreid AGW")


def step_of(
    model: nn.Module, optimizer: torch.optim.Optimizer, images: torch.Tensor, targets: torch.Tensor
) -> Callable[[], None]:
    """A function that takes one training step.

    Args:
        images: N×3×H×W, 0–255.
        targets: N identities.
    """

    device = next(model.parameters()).device

    def step() -> None:
        with EventStorage(0):
            losses = model({"images": images.clone().to(device), "targets": targets.to(device)})
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()

    return step


def median_time(function: Callable[[], object], runs: int) -> float:
    """Median seconds of ``runs`` calls after one that is not counted."""
    times = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])
