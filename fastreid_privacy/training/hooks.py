"""Hooks of the trainer: freezing, supervision upgradation on the validation split, and checkpoints.

Order of calls after an epoch: the learning rate, :class:`UpgradeHook`, :class:`CheckpointHook` (so that a
checkpoint holds the decision of its epoch), and fastreid's writers.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from fastreid.engine.hooks import HookBase
from fastreid.utils import comm
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from ..evaluation import Evaluation
from ..model.meta_arch import PrivacyStages
from ..model.supervision import FALL_BACK, RESTORE, UPGRADE, UpgradeRecord
from ..results.results_json import BEST, FINAL
from .checkpointer import PrivacyCheckpointer

logger = logging.getLogger(__name__)


class FreezeHook(HookBase):
    """Hold the layers of ``MODEL.FREEZE_LAYERS`` for the first ``SOLVER.FREEZE_ITERS`` steps.

    Parameters are held by the optimizer (``solver.freeze_groups``), BatchNorm statistics here: again before
    each step, as an evaluation in between sets every module back to training. A pure function of the
    iteration, so resuming needs no state.

    Args:
        model: the network, not in DistributedDataParallel.
        patterns: regular expressions, matched from the start of a module's name and a dot.
        iterations: how many steps they are held.
    """

    def __init__(self, model: nn.Module, patterns: Sequence[str], iterations: int):
        self.model, self.iterations = model, iterations
        # Norms alone: a whole head in evaluation mode would return features instead of logits.
        self.norms = [
            module
            for name, module in model.named_modules()
            if isinstance(module, _NormBase) and any(re.match(pattern, f"{name}.") for pattern in patterns)
        ]

    def before_step(self) -> None:
        if self.trainer.iter < self.iterations:
            for norm in self.norms:
                norm.eval()
        elif self.trainer.iter == self.iterations:
            self.model.train()


class UpgradeHook(HookBase):
    """Check the model on the validation split, carry out what is decided (section 3.4), and keep the best.

    Rank 0 decides; the record is sent to all ranks, so every rank takes the same step.

    Args:
        model: the network, not in DistributedDataParallel.
        evaluate: evaluates the validation split: on rank 0 the evaluation, None elsewhere.
        record: of the checks; its state is in the checkpoint.
        checkpointer: saves model_best.
        period: epochs between two checks; the last epoch is always checked.
    """

    def __init__(
        self,
        model: PrivacyStages,
        evaluate: Callable[[], Evaluation | None],
        record: UpgradeRecord,
        checkpointer: PrivacyCheckpointer,
        period: int,
    ):
        self.model, self.evaluate, self.record = model, evaluate, record
        self.checkpointer, self.period = checkpointer, period

    def after_epoch(self) -> None:
        epoch = self.trainer.epoch + 1
        if epoch % self.period == 0 or epoch == self.trainer.max_epoch:
            self._check(epoch)

    def _check(self, epoch: int) -> None:
        evaluation, supervision = self.evaluate(), self.model.supervision
        decided = None
        if evaluation:  # on rank 0
            figures = evaluation.figures
            upgraded = supervision is not None and bool(supervision.upgraded)
            entry, select = self.record.add(check_figures(epoch, figures), upgraded)
            self.record.validation = {**self.record.validation, "final": figures["retrieval"]}
            if select:
                self.record.validation["best"] = figures["retrieval"]
            decided = (self.record.state_dict(), entry, select)
        state, entry, select = comm.all_gather(decided)[0]
        self.record.load_state_dict(state)
        if supervision is not None and entry["decision"] == UPGRADE:
            supervision.upgrade(self.model.anonymizer)
        elif supervision is not None and entry["decision"] == FALL_BACK:
            supervision.fall_back()
        elif supervision is not None and entry["decision"] == RESTORE:
            supervision.restore()
        self._log(entry)
        if select:
            name = Path(BEST).stem
            self.checkpointer.save(
                name, tag=False, weights_only=True, epoch=self.trainer.epoch, upgrade_record=state
            )
        comm.synchronize()

    def _log(self, entry: dict) -> None:
        figures = {key: value for key, value in entry.items() if isinstance(value, float)}
        told = ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
        logger.info("Check after epoch %d: %s: %s", entry["epoch"], entry["decision"], told)
        # At the iteration to come: fastreid's writers drop scalars of an iteration they have already written
        # (events.py:105).
        storage = self.trainer.storage
        storage.iter = self.trainer.iter
        named = {f"validation/{name}": value for name, value in figures.items()}
        storage.put_scalars(**named, smoothing_hint=False)


def check_figures(epoch: int, figures: dict[str, dict]) -> dict:
    """What the rule of supervision upgradation looks at, after an epoch.

    Args:
        epoch: from 1.
        figures: of an evaluation: "retrieval" and "image_quality".

    Returns:
        epoch; rank1 of OI→PI (OI→OI where nothing is protected), percent; and, where images are protected,
        psnr_protected, psnr_desensitized (dB; infinite for identical images, which are never private),
        ssim_protected and ssim_desensitized; and of single images beyond, excess_psnr and excess_ssim
        (:class:`..evaluation.exposure.Exposure`).
    """
    retrieval, quality = figures["retrieval"], figures["image_quality"]
    check = {"epoch": epoch, "rank1": retrieval["OI-PI" if "OI-PI" in retrieval else "OI-OI"]["Rank-1"]}
    if "protected" in quality:
        for domain in ("protected", "desensitized"):
            psnr = quality[domain]["PSNR"]
            check[f"psnr_{domain}"] = float("inf") if psnr is None else psnr
            check[f"ssim_{domain}"] = quality[domain]["SSIM"]
        for key in ("beyond", "excess_PSNR", "excess_SSIM"):
            if key in quality["protected"]:
                figure = quality["protected"][key]
                check[key.lower()] = float("inf") if figure is None else figure
    return check


class CheckpointHook(HookBase):
    """Save ``model_NNNN`` every ``period`` epochs and ``model_final`` after the last; only rank 0 writes."""

    def __init__(self, checkpointer: PrivacyCheckpointer, period: int):
        self.checkpointer, self.period = checkpointer, period

    def after_epoch(self) -> None:
        epoch = self.trainer.epoch
        if epoch + 1 == self.trainer.max_epoch:
            self.checkpointer.save(Path(FINAL).stem, epoch=epoch)
        elif (epoch + 1) % self.period == 0:
            self.checkpointer.save(f"model_{epoch:04d}", epoch=epoch)
        comm.synchronize()
