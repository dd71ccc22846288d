"""The trainer: fastreid's ``DefaultTrainer`` with a seeded order per epoch, the paper's optimisation, and evaluation over all domains."""

from __future__ import annotations

import logging
from collections import OrderedDict

import torch
import torch.distributed as dist
from fastreid.config import CfgNode
from fastreid.engine import hooks as fastreid_hooks
from fastreid.engine.defaults import DefaultTrainer
from fastreid.engine.train_loop import AMPTrainer, TrainerBase
from fastreid.evaluation import inference_on_dataset
from fastreid.modeling import build_model
from fastreid.utils import comm
from fastreid.utils.env import seed_all_rng
from torch import nn

from . import data, solver
from .checkpoint import PrivacyCheckpointer
from .data.loaders import epoch_iterator
from .errors import UserError
from .evaluation import HybridEvaluator
from .hooks import CheckpointHook, FreezeHook, UpgradeHook
from .supervision import Thresholds, UpgradeRecord

logger = logging.getLogger(__name__)


class TrainingDiverged(UserError):
    """A loss became infinite or NaN; the message names the losses and the images of the batch."""


class DomainExtractor(nn.Module):
    """``model.extract_domains`` as a module, for fastreid's ``inference_on_dataset``."""

    def __init__(self, model: nn.Module, flip: bool = False):
        super().__init__()
        self.model, self.flip = model, flip
        self.train(model.training)  # fastreid restores the mode that it finds here

    def forward(self, batch: dict) -> dict:
        return self.model.extract_domains(batch, self.flip)


class BFloat16Trainer(AMPTrainer):
    """fastreid's AMP step in bfloat16, which needs no loss scaling; its own is float16 with a scaler (train_loop.py:333)."""

    def __init__(self, model, data_loader, optimizer, param_wrapper=None):
        super().__init__(model, data_loader, optimizer, param_wrapper, torch.amp.GradScaler(enabled=False))

    def run_step(self) -> None:
        with torch.autocast("cuda", torch.bfloat16):
            super().run_step()


class _Batches:
    """An iterator that remembers the images of its last batch, to name them if training stops."""

    def __init__(self, iterator):
        self._iterator, self.paths = iterator, []

    def __next__(self) -> dict:
        batch = next(self._iterator)
        self.paths = list(batch["img_paths"])
        return batch


class PrivacyTrainer(DefaultTrainer):
    """Train a privacy meta-architecture with fastreid's loop.

    Args:
        cfg: a checked config.
        baseline_rank1: Base's OI→DI rank-1 on the validation split, percent; needed where supervision is upgraded.

    Raises:
        UserError: when the baseline is missing, or pretrained weights cannot be had.
    """

    def __init__(self, cfg: CfgNode, baseline_rank1: float | None = None):
        upgrade = cfg.PRIVACY.UPGRADE
        upgrades = cfg.PRIVACY.PROTECTION == "learned" and upgrade.ENABLED
        if upgrades and baseline_rank1 is None:
            raise UserError("supervision upgradation needs Base's validation rank-1: PRIVACY.UPGRADE.BASELINE_RANK1")
        thresholds = Thresholds(upgrade.EPS_PSNR, upgrade.EPS_SSIM, upgrade.EPS_RANK1)
        self.record = UpgradeRecord(baseline_rank1 if upgrades else None, thresholds)
        seed_all_rng(cfg.SEED)
        super().__init__(cfg)
        self.delay_epochs = 0  # solver.lr_factor counts the delay itself
        if cfg.SOLVER.AMP.ENABLED and torch.cuda.is_bf16_supported():
            self._trainer = BFloat16Trainer(self._trainer.model, self.data_loader, self.optimizer)
        solver.freeze_groups(self.optimizer, lambda: self.iter < cfg.SOLVER.FREEZE_ITERS)

    # -- what fastreid lets a trainer choose -------------------------------------------------------------------------------------------

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        try:
            return build_model(cfg)
        except (OSError, EOFError, RuntimeError, ValueError, KeyError) as error:  # no network, a cut or foreign file, an unknown name
            if isinstance(error, UserError) or not cfg.MODEL.BACKBONE.PRETRAIN:
                raise
            path = cfg.MODEL.BACKBONE.PRETRAIN_PATH
            source = f"from {path}" if path else "by download"
            raise UserError(
                f"ImageNet weights for {cfg.MODEL.BACKBONE.NAME} could not be had {source} ({type(error).__name__}: {error}). Give a local "
                "file with MODEL.BACKBONE.PRETRAIN_PATH, or train from scratch with MODEL.BACKBONE.PRETRAIN False"
            ) from None

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module):
        return solver.build_optimizer(cfg, model), None

    @classmethod
    def build_lr_scheduler(cls, cfg: CfgNode, optimizer, iters_per_epoch: int) -> dict:
        return solver.build_lr_scheduler(cfg, optimizer)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode):
        return data.build_train_loader(cfg)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str):
        return data.build_test_loader(cfg, dataset_name)

    def build_hooks(self) -> list:
        cfg = self.cfg
        model = unwrap(self.model)
        # DefaultTrainer has just built fastreid's checkpointer; ours takes its place before any hook holds it.
        self.checkpointer = PrivacyCheckpointer(
            model, cfg.OUTPUT_DIR, save_to_disk=comm.is_main_process(), config=cfg.dump(), keep=cfg.SOLVER.KEEP_CHECKPOINTS,
            optimizer=self.optimizer, upgrade_record=self.record, **self.scheduler,
        )  # fmt: skip
        if self.grad_scaler is not None and not torch.cuda.is_bf16_supported():
            self.checkpointer.checkpointables["grad_scaler"] = self.grad_scaler
        ret = [
            fastreid_hooks.IterationTimer(),
            fastreid_hooks.LRScheduler(self.optimizer, self.scheduler),
            FreezeHook(model, cfg.MODEL.FREEZE_LAYERS, cfg.SOLVER.FREEZE_ITERS),
            UpgradeHook(model, lambda: self.validate(self.cfg, model), self.record, self.checkpointer, cfg.TEST.EVAL_PERIOD),
            CheckpointHook(self.checkpointer, cfg.SOLVER.CHECKPOINT_PERIOD),
        ]
        if comm.is_main_process():
            ret.append(fastreid_hooks.PeriodicWriter(self.build_writers(), 20))
        return ret

    # -- the loop ----------------------------------------------------------------------------------------------------------------------

    def resume_or_load(self, resume: bool = True) -> None:
        """Continue from OUTPUT_DIR's last whole checkpoint, or start from ``MODEL.WEIGHTS`` where one is named."""
        if resume and self.checkpointer.has_checkpoint():
            self.start_epoch = self.checkpointer.resume()["epoch"] + 1
        elif self.cfg.MODEL.WEIGHTS:
            self.checkpointer.load_weights(self.cfg.MODEL.WEIGHTS)

    def train(self) -> None:
        TrainerBase.train(self, self.start_epoch, self.max_epoch, self.iters_per_epoch)

    def before_epoch(self) -> None:
        super().before_epoch()
        self._trainer._data_loader_iter = _Batches(epoch_iterator(self.data_loader, self.cfg.SEED, self.epoch, comm.get_rank()))

    def run_step(self) -> None:
        try:
            super().run_step()
        except FloatingPointError as error:
            bad = [name for name, value in _losses_of(str(error)).items() if value in ("nan", "inf", "-inf")]
            raise TrainingDiverged(
                f"training stopped at iteration {self.iter}: {', '.join(bad) or 'the total loss'} became infinite or NaN. Images of the "
                f"batch: {', '.join(self._trainer._data_loader_iter.paths)}"
            ) from None

    def after_epoch(self) -> None:
        sync_buffers(unwrap(self.model))
        super().after_epoch()

    # -- evaluation --------------------------------------------------------------------------------------------------------------------

    @classmethod
    def validate(cls, cfg: CfgNode, model: nn.Module) -> dict:
        """Retrieval and image quality on the validation split; {} off rank 0."""
        loader, num_query = data.build_validation_loader(cfg)
        return inference_on_dataset(DomainExtractor(model, cfg.TEST.FLIP.ENABLED), loader, HybridEvaluator(num_query, metric=cfg.TEST.METRIC))

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str, output_dir=None):
        loader, num_query = cls.build_test_loader(cfg, dataset_name)
        return loader, HybridEvaluator(num_query, metric=cfg.TEST.METRIC)

    @classmethod
    def test(cls, cfg: CfgNode, model: nn.Module) -> OrderedDict:
        """Results on each test set, by name: retrieval, image_quality, and sample images; empty off rank 0."""
        results = OrderedDict()
        for name in cfg.DATASETS.TESTS:
            loader, evaluator = cls.build_evaluator(cfg, name)
            result = inference_on_dataset(DomainExtractor(unwrap(model), cfg.TEST.FLIP.ENABLED), loader, evaluator)
            if comm.is_main_process():
                results[name] = {**result, "samples": evaluator.sample_images}
        return results


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside DistributedDataParallel, or the model itself."""
    return model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model


def sync_buffers(model: nn.Module) -> None:
    """Give every rank the buffers of rank 0: BatchNorm statistics are local, and a checkpoint holds those of rank 0 only."""
    if comm.get_world_size() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)


def _losses_of(message: str) -> dict[str, str]:
    """The loss dict that fastreid prints in its error (train_loop.py:289), as strings."""
    pairs = message.partition("loss_dict = {")[2].rstrip("}\n").split(", ")
    items = (pair.split(": ") for pair in pairs if ": " in pair)
    return {name.strip("' "): value.replace("np.float64(", "").rstrip(")") for name, value in items}


def without_user_error_tracebacks(record: logging.LogRecord) -> bool:
    """A logging filter: fastreid logs every exception with its traceback (train_loop.py:154); a user error is told by the command line."""
    return not (record.exc_info and isinstance(record.exc_info[1], UserError))
