"""The trainer: fastreid's ``DefaultTrainer`` with a seeded order per epoch, the paper's optimisation, and
evaluation over all domains."""

from __future__ import annotations

import logging
from collections import OrderedDict

import torch
import torch.distributed as dist
from fastreid.config import CfgNode
from fastreid.engine import hooks as fastreid_hooks
from fastreid.engine.defaults import DefaultTrainer
from fastreid.engine.train_loop import TrainerBase
from fastreid.evaluation import inference_on_dataset
from fastreid.modeling import build_model
from fastreid.utils import comm
from fastreid.utils.env import seed_all_rng
from torch import nn

from .. import data
from ..core.errors import UserError, some_of
from ..data.loaders import epoch_iterator
from ..evaluation import picture_rank_lists
from ..evaluation.lpips import lpips_of_config
from ..model.supervision import Thresholds, UpgradeRecord
from . import solver
from .checkpointer import PrivacyCheckpointer
from .hooks import CheckpointHook, FreezeHook, UpgradeHook
from .testing import DomainExtractor, hybrid_evaluator

logger = logging.getLogger(__name__)


class TrainingDiverged(UserError):
    """A loss became infinite or NaN; the message names the losses and the images of the batch."""


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
        baseline_rank1: Base's OI→DI rank-1 on the validation split, percent; needed where supervision is
            upgraded.

    Raises:
        UserError: when the baseline is missing, or pretrained weights cannot be had.
    """

    def __init__(self, cfg: CfgNode, baseline_rank1: float | None = None):
        upgrade = cfg.PRIVACY.UPGRADE
        upgrades = cfg.PRIVACY.PROTECTION == "learned" and upgrade.ENABLED
        if upgrades and baseline_rank1 is None:
            raise UserError(
                "supervision upgradation needs Base's validation rank-1: PRIVACY.UPGRADE.BASELINE_RANK1"
            )
        thresholds = Thresholds(upgrade.EPS_PSNR, upgrade.EPS_SSIM, upgrade.EPS_RANK1)
        self.record = UpgradeRecord(baseline_rank1 if upgrades else None, thresholds)
        seed_all_rng(cfg.SEED)
        self._bfloat16 = uses_bfloat16(
            cfg
        )  # needs no loss scaling; fastreid's AMP trainer is float16 with a scaler (train_loop.py:333)
        super().__init__(_with_amp(cfg, False) if self._bfloat16 else cfg)
        self.delay_epochs = 0  # solver.lr_factor counts the delay itself
        unwrap(self.model).mixed_precision = self._bfloat16
        write_metrics = (
            self._trainer._write_metrics
        )  # the last call before the optimizer's step, with the losses of this process

        def checked_metrics(losses: dict[str, torch.Tensor], data_time: float) -> None:
            self.stop_if_diverged(losses)
            write_metrics(losses, data_time)

        self._trainer._write_metrics = checked_metrics
        solver.freeze_groups(self.optimizer, lambda: self.iter < cfg.SOLVER.FREEZE_ITERS)

    # -- what fastreid lets a trainer choose -----------------------------------------------------------------

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        try:
            return build_model(cfg)
        except (
            Exception
        ) as error:  # no network, a refused download, a cut or foreign file: each ends in errors of its own
            if isinstance(error, UserError) or not cfg.MODEL.BACKBONE.PRETRAIN:
                raise
            path = cfg.MODEL.BACKBONE.PRETRAIN_PATH
            source = f"from {path}" if path else "by download"
            raise UserError(
                f"ImageNet weights for {cfg.MODEL.BACKBONE.NAME} could not be had {source} "
                f"({type(error).__name__}: "
                f"{str(error).partition(chr(10))[0]}). Give a local file with "
                "MODEL.BACKBONE.PRETRAIN_PATH, or train from scratch with "
                "MODEL.BACKBONE.PRETRAIN False"
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
        if self._bfloat16:
            self.cfg = _with_amp(self.cfg, True)  # the user's again, before anything saves it
        cfg = self.cfg
        model = unwrap(self.model)
        # DefaultTrainer has just built fastreid's checkpointer; ours takes its place before any hook holds
        # it.
        self.checkpointer = PrivacyCheckpointer(
            model,
            cfg.OUTPUT_DIR,
            save_to_disk=comm.is_main_process(),
            config=cfg.dump(),
            keep=cfg.SOLVER.KEEP_CHECKPOINTS,
            optimizer=self.optimizer,
            upgrade_record=self.record,
            **self.scheduler,
        )
        if self.grad_scaler is not None:
            self.checkpointer.checkpointables["grad_scaler"] = self.grad_scaler
        ret = [
            fastreid_hooks.IterationTimer(),
            fastreid_hooks.LRScheduler(self.optimizer, self.scheduler),
            FreezeHook(model, cfg.MODEL.FREEZE_LAYERS, cfg.SOLVER.FREEZE_ITERS),
            UpgradeHook(
                model,
                lambda: self.validate(self.cfg, model),
                self.record,
                self.checkpointer,
                cfg.TEST.EVAL_PERIOD,
            ),
            CheckpointHook(self.checkpointer, cfg.SOLVER.CHECKPOINT_PERIOD),
        ]
        if comm.is_main_process():
            ret.append(fastreid_hooks.PeriodicWriter(self.build_writers(), 20))
        return ret

    # -- the loop --------------------------------------------------------------------------------------------

    def resume_or_load(self, resume: bool = True) -> None:
        """Continue from OUTPUT_DIR's last whole checkpoint, or start from ``MODEL.WEIGHTS`` where one is
        named."""
        if resume and self.checkpointer.has_checkpoint():
            self.start_epoch = self.checkpointer.resume()["epoch"] + 1
        elif self.cfg.MODEL.WEIGHTS:
            self.checkpointer.load_weights(self.cfg.MODEL.WEIGHTS)

    def train(self) -> None:
        try:
            TrainerBase.train(self, self.start_epoch, self.max_epoch, self.iters_per_epoch)
        finally:
            # its order has no end; workers left to the garbage collector take 5 s each to notice
            self.data_loader.shutdown()

    def before_epoch(self) -> None:
        super().before_epoch()
        self._trainer._data_loader_iter = _Batches(
            epoch_iterator(self.data_loader, self.cfg.SEED, self.epoch, comm.get_rank())
        )

    def stop_if_diverged(self, losses: dict[str, torch.Tensor]) -> None:
        """Before a step changes the weights, in the process that has the images: fastreid looks at the mean
        over all processes.

        Raises:
            TrainingDiverged: when a loss, or their sum, is infinite or NaN.
        """
        if not torch.isfinite(sum(losses.values())):
            bad = [name for name, loss in losses.items() if not torch.isfinite(loss)]
            raise TrainingDiverged(
                f"training stopped at iteration {self.iter}: {', '.join(bad) or 'the sum of the losses'} "
                "became infinite or NaN; a lower "
                "SOLVER.BASE_LR may help. Images of the batch: "
                f"{', '.join(self._trainer._data_loader_iter.paths)}"
            )

    def stop_if_not_finite(self) -> None:
        """Before an epoch's weights are tested and saved: a finite loss can have an infinite gradient.

        Raises:
            TrainingDiverged: naming the first weights that are infinite or NaN.
        """
        bad = [
            name for name, value in unwrap(self.model).state_dict().items() if not torch.isfinite(value).all()
        ]
        if bad:
            raise TrainingDiverged(
                f"training stopped after epoch {self.epoch + 1}, whose weights are not saved: "
                f"{some_of(bad)} became infinite or NaN though "
                f"the losses are finite; a lower SOLVER.BASE_LR may help. Images of the last batch: "
                f"{', '.join(self._trainer._data_loader_iter.paths)}"
            )

    def after_epoch(self) -> None:
        sync_buffers(unwrap(self.model))
        self.stop_if_not_finite()
        super().after_epoch()

    # -- evaluation ------------------------------------------------------------------------------------------

    @classmethod
    def validate(cls, cfg: CfgNode, model: nn.Module) -> dict:
        """Retrieval and image quality on the validation split; {} off rank 0."""
        loader, num_query = data.build_validation_loader(cfg)
        return inference_on_dataset(
            DomainExtractor(model, cfg.TEST.FLIP.ENABLED),
            loader,
            hybrid_evaluator(cfg, num_query),
        )

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str, output_dir=None):
        loader, num_query = cls.build_test_loader(cfg, dataset_name)
        return loader, hybrid_evaluator(cfg, num_query, lpips=lpips_of_config(cfg))

    @classmethod
    def test(cls, cfg: CfgNode, model: nn.Module) -> OrderedDict:
        """What an evaluation gives on each test set, by name; empty off rank 0.

        That is "retrieval" and "image_quality" of the evaluator, the "rankings" they come from, and for the
        report "samples", "rank_lists" and "embedding".
        """
        results = OrderedDict()
        extractor = DomainExtractor(unwrap(model), cfg.TEST.FLIP.ENABLED)
        for name in cfg.DATASETS.TESTS:
            loader, evaluator = cls.build_evaluator(cfg, name)
            result = inference_on_dataset(extractor, loader, evaluator)
            if comm.is_main_process():
                results[name] = {
                    **result,
                    "rankings": evaluator.rankings,
                    "samples": evaluator.sample_images,
                    "embedding": evaluator.embedding,
                    "rank_lists": picture_rank_lists(
                        evaluator.rankings,
                        evaluator.shown_queries,
                        loader.dataset,
                        evaluator.num_query,
                        extractor.images,
                    ),
                }
        return results


def uses_bfloat16(cfg: CfgNode) -> bool:
    """Whether mixed precision (``SOLVER.AMP.ENABLED``) is bfloat16: on CPUs, and on GPUs that have it."""
    on_gpu = cfg.MODEL.DEVICE.startswith("cuda")
    return cfg.SOLVER.AMP.ENABLED and (not on_gpu or torch.cuda.is_bf16_supported(including_emulation=False))


def _with_amp(cfg: CfgNode, enabled: bool) -> CfgNode:
    cfg = cfg.clone()
    cfg.defrost()
    cfg.SOLVER.AMP.ENABLED = enabled
    cfg.freeze()
    return cfg


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside DistributedDataParallel, or the model itself."""
    return model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model


def sync_buffers(model: nn.Module) -> None:
    """Give every rank the buffers of rank 0: BatchNorm statistics are local, and a checkpoint holds those of
    rank 0 only."""
    if comm.get_world_size() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)


def without_user_error_tracebacks(record: logging.LogRecord) -> bool:
    """A logging filter: fastreid logs every exception with its traceback (train_loop.py:154); a user error is
    told by the command line."""
    return not (record.exc_info and isinstance(record.exc_info[1], UserError))
