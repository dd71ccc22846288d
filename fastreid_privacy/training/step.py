"""One training step, in float32, bfloat16 or float16."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext

import torch
from fastreid.config import CfgNode
from fastreid.engine.train_loop import SimpleTrainer
from torch import Tensor, nn

from ..core.errors import UserError
from .processes import unwrap


class TrainingDiverged(UserError):
    """A loss became infinite or NaN; the message names the losses and the images of the batch."""


def training_precision(cfg: CfgNode) -> torch.dtype:
    """What a step computes in: with ``SOLVER.AMP.ENABLED`` bfloat16, or float16 on GPUs without it."""
    if not cfg.SOLVER.AMP.ENABLED:
        return torch.float32
    on_gpu = cfg.MODEL.DEVICE.startswith("cuda")
    if on_gpu and not torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.float16
    return torch.bfloat16


class PrivacyStep(SimpleTrainer):
    """fastreid's step (train_loop.py:225, :330), which stops before the weights change if a loss diverges.

    Args:
        model: in training; in DistributedDataParallel or not.
        data_loader: fastreid's.
        optimizer: of the whole model.
        precision: torch.float32; torch.bfloat16, for which the model's own forward turns autocast on; or
            torch.float16, under autocast here and with scaled losses.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Iterable[dict],
        optimizer: torch.optim.Optimizer,
        precision: torch.dtype = torch.float32,
    ):
        super().__init__(model, data_loader, optimizer, None)
        unwrap(model).mixed_precision = precision is torch.bfloat16
        self._float16 = precision is torch.float16
        self._scaler = torch.amp.GradScaler("cuda", enabled=self._float16)  # passes all through if not
        self.paths: list[str] = []
        """Of the images of the last batch."""

    @property
    def grad_scaler(self) -> torch.amp.GradScaler | None:
        """What a checkpoint keeps of the scaling of losses; None where none are scaled."""
        return self._scaler if self._float16 else None

    def read_from(self, batches: Iterator[dict]) -> None:
        """Take the batches of the steps to come from here."""
        self._data_loader_iter = batches

    def run_step(self) -> None:
        """One step of all networks.

        Raises:
            TrainingDiverged: when a loss, or their sum, is infinite or NaN; the weights are unchanged then.
        """
        assert self.model.training, "an evaluation left the model in evaluation mode"
        start = time.perf_counter()
        batch = next(self._data_loader_iter)
        data_time = time.perf_counter() - start
        self.paths = list(batch["img_paths"])

        with torch.autocast("cuda", torch.float16) if self._float16 else nullcontext():
            losses = self.model(batch)
            total = sum(losses.values())
        self.optimizer.zero_grad()
        self._scaler.scale(total).backward()
        # here, and not before backward, where the other processes would wait for this one's gradients
        self.stop_if_diverged(losses, total)
        self._write_metrics(losses, data_time)
        # before the step: a fused optimizer would do it after gradients are clipped
        self._scaler.unscale_(self.optimizer)
        self._scaler.step(self.optimizer)
        self._scaler.update()

    def stop_if_diverged(self, losses: Mapping[str, Tensor], total: Tensor) -> None:
        """Stop in the process that has the images: fastreid looks at the mean over all (train_loop.py:293).

        Raises:
            TrainingDiverged: when a loss, or their sum ``total``, is infinite or NaN.
        """
        if not torch.isfinite(total):
            bad = [name for name, loss in losses.items() if not torch.isfinite(loss)]
            raise TrainingDiverged(
                f"training stopped at iteration {self.iter}: {', '.join(bad) or 'the sum of the losses'} "
                "became infinite or NaN; a lower SOLVER.BASE_LR may help. Images of the batch: "
                f"{', '.join(self.paths)}"
            )
