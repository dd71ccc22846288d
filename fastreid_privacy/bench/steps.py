"""One training step of each model of the demo, beside the time of its arithmetic and fastreid's plain AGW."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import torch
from fastreid.modeling import build_model
from fastreid.utils.events import EventStorage
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ..config import load_config
from ..core.errors import UserError
from ..core.images import to_unit
from ..model.losses import frozen
from ..model.meta_arch import PrivacyStages
from ..training.solver import build_optimizer
from .checks import CHECK, check_of, share_of_checks

CONFIG = Path(__file__).parents[2] / "configs" / "Synthetic" / "privacy_agw.yml"
PER_PERSON = 4
LEAST_CLASSES = 80  # of the classifier, as the demo has them
METHOD = "full method"
PLAIN = ["MODEL.META_ARCHITECTURE", "Baseline"]
MODELS = {
    "fastreid AGW": ["PRIVACY.PROTECTION", "none", *PLAIN],
    "upper bound": ["PRIVACY.PROTECTION", "none"],
    "Base": ["PRIVACY.PROTECTION", "conventional"],
    METHOD: ["PRIVACY.PROTECTION", "learned"],
}
"""Rows of the table and their configs; the first is the peer."""
NETWORKS = "its networks alone"
SIDES = {"cpu": 1024, "cuda": 8192}
"""Of the square matrices whose product tells the rate of a device: large enough for its full speed."""
Step = Callable[[], None]


class Times(NamedTuple):
    """Of the steps of one device and precision."""

    rate: float
    """Floating-point operations a second of the matrix product."""
    seconds: dict[str, float]
    operations: dict[str, int]

    def ratio(self, name: str) -> float:
        """The time of a step over the time of its operations at the rate of the matrix product."""
        return self.seconds[name] * self.rate / self.operations[name]


def check_config(options: Sequence[str] = (), device: str | None = None) -> None:
    """Refuse to begin where the package is installed without the project's configs, or asked for what is not.

    Raises:
        UserError: naming the file, the key or the device.
    """
    if not CONFIG.exists():
        raise UserError(f"training steps need {CONFIG}: measure them in a clone of the project")
    load_config(CONFIG, [*options, "MODEL.DEVICE", device or "cpu"])


def bench_steps(runs: int, options: Sequence[str] = (), device: str | None = None) -> None:
    """Print what a step of each model takes, in float32 and, where there are instructions for it, bfloat16.

    Args:
        runs: steps of each, in turns, after one that is not counted; the fastest is shown.
        options: KEY VALUE words on top of the demo's config.
        device: "cpu" or "cuda"; None: the CPU, and a GPU where there is one.
    """
    devices = [device] if device else ["cpu"] + ["cuda"] * torch.cuda.is_available()
    for device in devices:
        for precision in [torch.float32] + [torch.bfloat16] * has_bfloat16(device):
            steps, images = _steps(device, precision, options)
            times = measured(steps, device, precision, runs)
            _print(times, f"{str(precision).removeprefix('torch.')}, {device}, {images} images", options)


def has_bfloat16(device: str) -> bool:
    """Whether a device computes bfloat16 itself: emulated, a step takes a hundred times as long."""
    if device != "cpu":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    has = torch.cpu.get_capabilities()
    return any(has.get(instructions, False) for instructions in ("avx512_bf16", "amx_bf16", "bf16"))


def measured(steps: dict[str, Step], device: str, precision: torch.dtype, runs: int) -> Times:
    """The fastest step of each, the fastest product, and the operations of each step.

    Steps and products take turns, for what else a machine does comes and goes. On the CPU, seconds are CPU
    seconds of all threads, of products and steps alike: others who use the machine add nothing to them.
    """
    operations = {}
    for name, step in steps.items():
        with FlopCounterMode(display=False) as counter:
            step()
        operations[name] = counter.get_total_flops()
    side = SIDES[device]
    left, right = torch.randn(2, side, side, device=device, dtype=precision)

    def product() -> None:
        left @ right

    products, seconds = [], {name: float("inf") for name in steps}
    for _ in range(runs):
        for name, step in steps.items():
            products += [seconds_of(product, device) for _ in range(5)]
            seconds[name] = min(seconds[name], seconds_of(step, device))
    return Times(2 * side**3 / min(products), seconds, operations)


def seconds_of(function: Step, device: str) -> float:
    """CPU seconds of a call on the CPU, seconds of one on a GPU."""
    if device == "cpu":
        start = time.process_time()
        function()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    function()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def _steps(device: str, precision: torch.dtype, options: Sequence[str]) -> tuple[dict[str, Step], int]:
    """A step of each model by its name, and the number of raw images in each."""
    steps: dict[str, Step] = {}
    count = load_config(CONFIG, options).SOLVER.IMS_PER_BATCH
    classes = max(LEAST_CLASSES, -(-count // PER_PERSON))
    for name, words in MODELS.items():
        torch.manual_seed(0)
        words = ["MODEL.HEADS.NUM_CLASSES", str(classes), *options, *words, "MODEL.DEVICE", device]
        cfg = load_config(CONFIG, words)
        model = build_model(cfg).train()
        images = torch.randint(0, 256, (count, 3, *cfg.INPUT.SIZE_TRAIN)).float().to(device)
        targets = (torch.arange(count) // PER_PERSON).to(device)
        steps[name] = step_of(model, build_optimizer(cfg, model), images, targets, precision)
    # of the last, the full method
    steps[NETWORKS] = networks_of(model, images, targets, precision)
    steps[CHECK] = check_of(model, cfg, images, targets, precision)
    return steps, count


def step_of(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    targets: Tensor,
    precision: torch.dtype,
) -> Step:
    """A function that takes one training step.

    Args:
        model: ours or fastreid's own, in training.
        images: N×3×H×W, 0–255, on the model's device.
        targets: N identities.
        precision: float32, or bfloat16 for autocast.
    """

    def step() -> None:
        with EventStorage(0), _computing_in(precision, images.device):
            losses = model({"images": images.clone(), "targets": targets})
        optimizer.zero_grad()
        torch.stack([loss.float() for loss in losses.values()]).sum().backward()
        optimizer.step()

    return step


def networks_of(model: PrivacyStages, images: Tensor, targets: Tensor, precision: torch.dtype) -> Step:
    """The networks of the full method, forward and backward as in a step, and nothing else.

    No desensitizing, storing, erasing or losses, and no optimizer.

    Args:
        model: that learns to protect; in training.
        images: N×3×H×W, 0–255, on the model's device.
        targets: N identities.
        precision: float32, or bfloat16 for autocast.
    """
    x, both = to_unit(images), targets.repeat(2)
    seen = model.seen(images, images if model.sees_desensitized else None)
    recovery, d_y, d_x = model.recovery, model.anonymization_discriminator, model.recovery_discriminator
    backbone, heads = model.backbone, model.heads
    assert isinstance(backbone, nn.Module) and isinstance(heads, nn.Module)  # fastreid's

    def step() -> None:
        model.zero_grad()
        with EventStorage(0), _computing_in(precision, images.device):
            p = model.anonymizer(seen)
            outputs = list(heads(backbone(torch.cat([x, p])), both).values())
            judged = [(d_y, x, p)]
            if recovery is not None and d_x is not None:
                judged.append((d_x, p.detach(), recovery(p)))
            for discriminator, condition, made in judged:
                with frozen(discriminator):
                    outputs.append(discriminator(condition, made))
                outputs += [discriminator(condition, x), discriminator(condition, made.detach())]
        torch.stack([output.float().mean() for output in outputs]).sum().backward()

    return step


def _computing_in(precision: torch.dtype, device: torch.device):
    return torch.autocast(device.type, precision) if precision is not torch.float32 else nullcontext()


def _print(times: Times, setting: str, options: Sequence[str]) -> None:
    models = ", ".join(["demo's models", *map(" ".join, zip(options[::2], options[1::2], strict=True))])
    print(f"\nTraining step, {models}, {setting}; matrix product {times.rate / 1e9:,.0f} GFLOP/s")
    peer = times.seconds[next(iter(MODELS))]
    for name, seconds in times.seconds.items():
        amount = f"{times.operations[name] / 1e9:8.1f} GFLOP"
        ratio = f"{times.ratio(name):6.2f} × its operations at that rate"
        print(
            f"  {name:20} {seconds:8.3f} s {amount} {ratio} {seconds / peer:6.2f} × fastreid AGW", flush=True
        )
    share = share_of_checks(times.seconds[CHECK], times.seconds[METHOD], load_config(CONFIG, options))
    print(f"  checks after every epoch take {share:.1f} % of a run of the full method", flush=True)
