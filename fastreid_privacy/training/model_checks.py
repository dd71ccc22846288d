"""Whether a model can be built from a config, trained and loaded: found out on the CPU, before training."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from pathlib import Path

import torch
from fastreid.config import CfgNode
from fastreid.modeling.meta_arch import Baseline
from torch import Tensor, nn

from ..checkpoints.reading import load_matching_weights
from ..compat.checkpoints import load_safely
from ..config import changed
from ..core.errors import UserError, typed
from ..model.teacher import Teacher, check_teachable
from . import solver
from .siblings import teachers_results
from .teaching import check_size, is_taught, pretrains, teacher_of
from .trainer import PrivacyTrainer


def check_model(cfg: CfgNode, identities: int, weights: Mapping[str, Tensor] | None = None) -> None:
    """Build the model and its optimizer as training will, and load what is to be loaded; nothing is kept.

    Args:
        cfg: of the run.
        identities: in the training part.
        weights: of ``MODEL.WEIGHTS``.

    Raises:
        UserError: when that fails, ``MODEL.HEADS.NUM_CLASSES`` is less than the identities, or a teacher
            that is there already does not fit.
    """
    classes = cfg.MODEL.HEADS.NUM_CLASSES
    if 0 < classes < identities:
        raise UserError(
            f"MODEL.HEADS.NUM_CLASSES is {classes}, but the training part has {identities} identities; 0 "
            "counts them"
        )
    model = build_on_cpu(cfg, classes or identities)
    if weights:
        load_matching_weights(model, weights, cfg.MODEL.WEIGHTS)
    if is_taught(cfg):
        if cfg.PRIVACY.TEACHER.WEIGHT:
            check_teachable(model)
        results = teachers_results(cfg)
        there = teacher_of(changed(cfg, {"MODEL.DEVICE": "cpu"}), results) if results.is_file() else None
        if there:
            there.check(model)
    try:
        solver.build_optimizer(cfg, model)
    except (ValueError, TypeError) as error:
        raise UserError(
            f"SOLVER.OPT {cfg.SOLVER.OPT} cannot be built from the SOLVER keys: {error}"
        ) from error
    if pretrains(cfg):
        check_pretrained(cfg, classes or identities)


def check_future_teacher(cfg: CfgNode, teacher: CfgNode) -> None:
    """Make sure, before either is trained, that a model can learn from one of another config.

    Args:
        cfg: of the model that is taught.
        teacher: the config of its teacher.

    Raises:
        UserError: when it cannot, as of ``Teacher.check``, or one of them cannot be built.
    """
    check_size(cfg, teacher, f"of {teacher.OUTPUT_DIR}")
    options = cfg.PRIVACY.TEACHER
    Teacher(build_on_cpu(teacher, 1), options.WEIGHT, "", options.INIT).check(build_on_cpu(cfg, 1))


def build_on_cpu(cfg: CfgNode, classes: int) -> nn.Module:
    """The model of a config with its initial weights, in evaluation.

    Raises:
        UserError: when it cannot be built, or its backbone does not give the features that its head expects.
    """
    backbone = cfg.MODEL.BACKBONE
    cfg = changed(
        cfg, {"MODEL.DEVICE": "cpu", "MODEL.HEADS.NUM_CLASSES": classes, "MODEL.BACKBONE.PRETRAIN": False}
    )
    torch.manual_seed(cfg.SEED)
    try:
        model = PrivacyTrainer.build_model(cfg).eval()
    except UserError:
        raise
    except (KeyError, ValueError, TypeError, AssertionError, RuntimeError, OSError) as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(frame.filename).name}:{frame.lineno}, {frame.line}"
        raise UserError(
            f"no model can be built from this config: {type(error).__name__} {error} ({where}). "
            f"MODEL.BACKBONE.NAME is {backbone.NAME}, MODEL.BACKBONE.DEPTH {backbone.DEPTH}, "
            f"INPUT.SIZE_TRAIN {cfg.INPUT.SIZE_TRAIN}"
        ) from error
    if isinstance(model, Baseline):
        try:
            with torch.no_grad():
                channels = model.backbone(torch.zeros(1, 3, *cfg.INPUT.SIZE_TRAIN)).shape[1]
        except RuntimeError:
            return model  # a backbone of the user's own may run on a GPU only
        if channels != backbone.FEAT_DIM:
            raise UserError(
                f"MODEL.BACKBONE.FEAT_DIM is {backbone.FEAT_DIM}, but {backbone.NAME} of "
                f"MODEL.BACKBONE.DEPTH {backbone.DEPTH} gives {channels} features"
            )
    return model


def check_pretrained(cfg: CfgNode, classes: int) -> None:
    """Fetch ImageNet weights now, and find out whether they are the backbone's: fastreid loads what fits.

    Raises:
        UserError: when they cannot be had or read, or set less than half of the backbone's matrices.
    """
    path = cfg.MODEL.BACKBONE.PRETRAIN_PATH
    fix = (
        "Give the backbone's own file with MODEL.BACKBONE.PRETRAIN_PATH, or train from scratch with "
        "MODEL.BACKBONE.PRETRAIN False"
    )
    if path and Path(path).is_file():
        try:
            load_safely(path)
        except Exception as error:  # a damaged file can end in any exception of zipfile, pickle and torch
            raise UserError(f"{path} holds no weights that can be read ({typed(error)}). {fix}") from error
    random, pretrained = (_backbone_weights(cfg, classes, pretrain) for pretrain in (False, True))
    matrices = [name for name, value in random.items() if value.ndim > 1]
    loaded = sum(not torch.equal(random[name], pretrained[name]) for name in matrices)
    if 2 * loaded < len(matrices):
        raise UserError(
            f"{path or 'the downloaded file'} is of another backbone than {cfg.MODEL.BACKBONE.NAME}: it "
            f"sets {loaded} of {len(matrices)} weights. {fix}"
        )


def _backbone_weights(cfg: CfgNode, classes: int, pretrain: bool) -> dict[str, Tensor]:
    values = {"MODEL.DEVICE": "cpu", "MODEL.HEADS.NUM_CLASSES": classes, "MODEL.BACKBONE.PRETRAIN": pretrain}
    torch.manual_seed(cfg.SEED)
    backbone = PrivacyTrainer.build_model(changed(cfg, values)).get_submodule("backbone")
    return dict(backbone.named_parameters())
