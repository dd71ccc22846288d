"""The trainer: fastreid's loop with a seeded order per epoch, the paper's optimisation, and upgrades."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from fastreid.config import CfgNode
from fastreid.engine import hooks as fastreid_hooks
from fastreid.engine.defaults import DefaultTrainer
from fastreid.engine.hooks import HookBase
from fastreid.engine.train_loop import TrainerBase
from fastreid.modeling import build_model
from fastreid.utils import comm
from fastreid.utils.env import seed_all_rng
from fastreid.utils.logger import setup_logger
from torch import nn

from .. import data
from ..checkpoints.reading import read_checkpoint
from ..config import changed
from ..core.errors import UserError, some_of
from ..data.loaders import epoch_iterator
from ..desensitize.desensitizer import about_operator, about_regions
from ..evaluation import Evaluation
from ..model.meta_arch import PrivacyStages
from ..model.supervision import UpgradeRecord
from ..model.teacher import Teacher
from ..model.verdict import is_constrained, thresholds_of
from ..results.results_json import BEST
from . import solver, testing
from .checkpointer import PrivacyCheckpointer
from .hooks import CheckpointHook, FreezeHook, UpgradeHook
from .image_lists import training_images
from .processes import sync_buffers, unwrap, wrap
from .siblings import upgrades
from .step import PrivacyStep, TrainingDiverged, training_precision
from .teaching import is_taught, pretrains

logger = logging.getLogger(__name__)

LOG_PERIOD = 20  # iterations between two lines of metrics.json


class PrivacyTrainer(DefaultTrainer):
    """Train a privacy meta-architecture with fastreid's loop.

    Args:
        cfg: a checked config.
        baseline_rank1: Base's OI→DI rank-1 on the validation split, percent; needed where supervision is
            upgraded.
        teacher: of the Re-ID model; None: there is none.

    Raises:
        UserError: when the baseline is missing, or pretrained weights cannot be had, or the teacher does not
            fit.
    """

    def __init__(self, cfg: CfgNode, baseline_rank1: float | None = None, teacher: Teacher | None = None):
        if upgrades(cfg) and baseline_rank1 is None:
            raise UserError(
                "supervision upgradation needs Base's validation rank-1: PRIVACY.UPGRADE.BASELINE_RANK1"
            )
        # DefaultTrainer's own __init__ (defaults.py:190) chooses the step and the checkpointer itself; this
        # builds the same in the same order, with ours.
        TrainerBase.__init__(self)
        if not logging.getLogger("fastreid").isEnabledFor(logging.INFO):
            setup_logger()
        seed_all_rng(cfg.SEED)
        data_loader = self.build_train_loader(cfg)
        # not by auto_scale_hyperparams, which writes config.yaml in place, so that a kill can leave it empty
        classes = cfg.MODEL.HEADS.NUM_CLASSES or data_loader.dataset.num_classes
        self.cfg = cfg = changed(cfg, {"MODEL.HEADS.NUM_CLASSES": classes})
        model = self.build_model(cfg)
        if is_taught(cfg) and teacher is None:
            raise UserError("PRIVACY.TEACHER needs a teacher, and none is given")
        if teacher:
            teacher.check(model)
            assert isinstance(model, PrivacyStages)
            model.teacher = teacher
        self.teacher = teacher
        optimizer = solver.build_optimizer(cfg, model)
        self._trainer = PrivacyStep(wrap(model), data_loader, optimizer, training_precision(cfg))

        self.start_epoch, self.max_epoch = 0, cfg.SOLVER.MAX_EPOCH
        self.iters_per_epoch = len(data_loader.dataset) // cfg.SOLVER.IMS_PER_BATCH
        self.max_iter = self.max_epoch * self.iters_per_epoch
        # of fastreid's hook for the learning rate: solver.lr_factor counts warm-up and delay itself
        self.warmup_iters, self.delay_epochs = cfg.SOLVER.WARMUP_ITERS, 0
        self.scheduler = solver.build_lr_scheduler(cfg, optimizer)
        solver.freeze_groups(optimizer, lambda: self.iter < cfg.SOLVER.FREEZE_ITERS)

        self.record = UpgradeRecord(
            baseline_rank1 if upgrades(cfg) else None, thresholds_of(cfg) if is_constrained(cfg) else None
        )
        self.checkpointer = self._build_checkpointer()
        self.register_hooks(self.build_hooks())

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        """The model of a config with its initial weights.

        Where Re-ID is to begin with a teacher's weights, pretrained ones are neither fetched nor read.

        Raises:
            UserError: when pretrained weights cannot be had.
        """
        if not pretrains(cfg):
            cfg = changed(cfg, {"MODEL.BACKBONE.PRETRAIN": False})
        try:
            return build_model(cfg)
        # no network, a refused download, a cut or foreign file: each ends in errors of its own
        except Exception as error:
            if isinstance(error, UserError) or not cfg.MODEL.BACKBONE.PRETRAIN:
                raise
            path = cfg.MODEL.BACKBONE.PRETRAIN_PATH
            source = f"from {path}" if path else "by download"
            reason = str(error).partition("\n")[0]
            raise UserError(
                f"ImageNet weights for {cfg.MODEL.BACKBONE.NAME} could not be had {source} "
                f"({type(error).__name__}: {reason}). Give a local file with MODEL.BACKBONE.PRETRAIN_PATH, "
                "or train from scratch with MODEL.BACKBONE.PRETRAIN False"
            ) from None

    @classmethod
    def build_train_loader(cls, cfg: CfgNode):
        """Batches of the training part of the validation split."""
        return data.build_train_loader(cfg)

    def _build_checkpointer(self) -> PrivacyCheckpointer:
        more = {"grad_scaler": self.grad_scaler, "teacher": self.teacher}
        return PrivacyCheckpointer(
            unwrap(self.model),
            self.cfg.OUTPUT_DIR,
            save_to_disk=comm.is_main_process(),
            config=self.cfg.dump(),
            keep=self.cfg.SOLVER.KEEP_CHECKPOINTS,
            about={
                "operator": about_operator(self.cfg),
                "regions": about_regions(self.cfg),
                "data": training_images(self.cfg),
            },
            optimizer=self.optimizer,
            upgrade_record=self.record,
            **self.scheduler,
            **{name: item for name, item in more.items() if item is not None},
        )

    def build_hooks(self) -> list[HookBase]:
        """The hooks in the order in which they are called; see :mod:`.hooks`."""
        cfg, model = self.cfg, unwrap(self.model)

        def validate() -> Evaluation | None:
            return testing.validate(cfg, model)

        hooks: list[HookBase] = [
            fastreid_hooks.IterationTimer(),
            fastreid_hooks.LRScheduler(self.optimizer, self.scheduler),
            FreezeHook(model, cfg.MODEL.FREEZE_LAYERS, cfg.SOLVER.FREEZE_ITERS),
            UpgradeHook(model, validate, self.record, self.checkpointer, cfg.TEST.EVAL_PERIOD),
            CheckpointHook(self.checkpointer, cfg.SOLVER.CHECKPOINT_PERIOD),
        ]
        if comm.is_main_process():
            hooks.append(fastreid_hooks.PeriodicWriter(self.build_writers(), LOG_PERIOD))
        return hooks

    def resume_or_load(self, resume: bool = True) -> None:
        """Continue from OUTPUT_DIR's last whole checkpoint, or start from ``MODEL.WEIGHTS`` where given.

        Re-ID starts from the teacher's weights where ``PRIVACY.TEACHER.INIT`` says so.
        """
        if resume and self.checkpointer.has_checkpoint():
            self.start_epoch = self.checkpointer.resume()["epoch"] + 1
            self._take_over_best()
            return
        if self.cfg.MODEL.WEIGHTS:
            self.checkpointer.load_weights(self.cfg.MODEL.WEIGHTS)
        if self.teacher and self.teacher.initializes:
            logger.info(self.teacher.initialize(unwrap(self.model)))

    def _take_over_best(self) -> None:
        """Let only a better model replace a best one of after the checkpoint that the run goes on from.

        The epochs between are trained again, and on another device, or on a GPU, they can end otherwise.
        """
        file = Path(self.cfg.OUTPUT_DIR, BEST)
        if self.record.selected is None and not file.is_file():
            return
        try:
            best = read_checkpoint(file)
        except UserError as error:
            logger.warning("%s: the best of the checks to come takes its place", error)
            self.record.selected = None
        else:
            if best.get("epoch", -1) >= self.start_epoch:
                self.record.take_over_selected(best["upgrade_record"])

    def train(self) -> None:
        """Train from the epoch to start with to the last."""
        try:
            TrainerBase.train(self, self.start_epoch, self.max_epoch, self.iters_per_epoch)
        finally:
            # its order has no end; workers left to the garbage collector take 5 s each to notice
            self.data_loader.shutdown()

    def before_epoch(self) -> None:
        super().before_epoch()
        self._trainer.read_from(epoch_iterator(self.data_loader, self.cfg.SEED, self.epoch, comm.get_rank()))

    def after_epoch(self) -> None:
        sync_buffers(unwrap(self.model))
        self.stop_if_not_finite()
        super().after_epoch()

    def stop_if_not_finite(self) -> None:
        """Before an epoch's weights are tested and saved: a finite loss can have an infinite gradient.

        Raises:
            TrainingDiverged: naming the first weights that are infinite or NaN.
        """
        weights = unwrap(self.model).state_dict()
        bad = [name for name, value in weights.items() if not torch.isfinite(value).all()]
        if bad:
            raise TrainingDiverged(
                f"training stopped after epoch {self.epoch + 1}, whose weights are not saved: {some_of(bad)} "
                "became infinite or NaN though the losses are finite; a lower SOLVER.BASE_LR may help. "
                f"Images of the last batch: {', '.join(self._trainer.paths)}"
            )

    @classmethod
    def test(cls, cfg: CfgNode, model: nn.Module) -> dict[str, Evaluation]:
        """fastreid's name for :func:`.testing.test`."""
        return testing.test(cfg, model)


def without_user_error_tracebacks(record: logging.LogRecord) -> bool:
    """A logging filter: fastreid logs every exception with its traceback (train_loop.py:154).

    A user error is told by the command line.
    """
    return not (record.exc_info and isinstance(record.exc_info[1], UserError))
