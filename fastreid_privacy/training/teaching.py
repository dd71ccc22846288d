"""The teacher of a run: the tested checkpoint of the upper bound whose results.json the config leads to."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from fastreid.config import CfgNode

from ..checkpoints.fingerprints import reid_fingerprint
from ..checkpoints.reading import TrainedCheckpoint, read_trained
from ..checkpoints.rebuilding import rebuild
from ..config import changed, value_of
from ..core.errors import UserError
from ..model.teacher import Teacher
from ..results.results_json import read_results, tested_checkpoint

logger = logging.getLogger(__name__)


def is_taught(config: Mapping) -> bool:
    """Whether the upper bound teaches the model, by its features or by the weights that it begins with.

    Args:
        config: of the model, or what its results keep of it.
    """
    return any(value_of(config, f"PRIVACY.TEACHER.{key}", 0) for key in ("WEIGHT", "INIT"))


def pretrains(cfg: CfgNode) -> bool:
    """Whether the backbone begins with ImageNet weights: those of a teacher would take their place."""
    return cfg.MODEL.BACKBONE.PRETRAIN and not cfg.PRIVACY.TEACHER.INIT


def check_taught(cfg: CfgNode) -> None:
    """Make sure, before anything is trained, that a config which asks for a teacher says where it is.

    Raises:
        UserError: when ``PRIVACY.UPPER_BOUND`` is empty.
    """
    if is_taught(cfg) and not cfg.PRIVACY.UPPER_BOUND:
        asked = ", ".join(f"{key} {value}" for key, value in cfg.PRIVACY.TEACHER.items())
        raise UserError(
            f"PRIVACY.TEACHER ({asked}) needs the upper bound, which teaches: set PRIVACY.UPPER_BOUND to "
            "auto, or to the path of its results.json"
        )


def teacher_of(cfg: CfgNode, results: Path) -> Teacher | None:
    """The teacher that a config asks for, on its device; None where it asks for none.

    Args:
        cfg: of the model that is taught.
        results: the upper bound's results.json.

    Raises:
        UserError: when those or the checkpoint are missing or damaged, or its images have another size.
    """
    if not is_taught(cfg):
        return None
    path, trained = _read(results)
    check_size(cfg, trained.cfg, str(path))
    _, model = rebuild(changed(trained.cfg, {"MODEL.DEVICE": cfg.MODEL.DEVICE}), trained.weights, path)
    logger.info("The teacher is %s", path)
    return Teacher(model, cfg.PRIVACY.TEACHER.WEIGHT, _fingerprint(trained), cfg.PRIVACY.TEACHER.INIT)


def check_size(cfg: CfgNode, teacher: CfgNode, name: str) -> None:
    """Make sure that a teacher whose features are asked for sees images of the size that it learns from.

    Args:
        cfg: of the model that is taught.
        teacher: its config.
        name: of the teacher, for the message.

    Raises:
        UserError: when the sizes differ.
    """
    size, theirs = list(cfg.INPUT.SIZE_TRAIN), list(teacher.INPUT.SIZE_TEST)
    if cfg.PRIVACY.TEACHER.WEIGHT and size != theirs:
        raise UserError(
            f"the teacher {name} learns from images of {theirs[0]}×{theirs[1]}, INPUT.SIZE_TRAIN is "
            f"{size[0]}×{size[1]}; give both the same, or take another teacher"
        )


def teacher_fingerprint(results: Path) -> str:
    """What a taught model's checkpoints and results keep of its teacher: of the Re-ID part.

    Args:
        results: the upper bound's results.json.

    Raises:
        UserError: as :func:`teacher_of`.
    """
    return _fingerprint(_read(results)[1])


def _read(results: Path) -> tuple[Path, TrainedCheckpoint]:
    """The checkpoint that was tested."""
    path = tested_checkpoint(read_results(results), results.parent)
    if not path.is_file():
        raise UserError(
            f"the teacher {path} is not there any more: give it back, or name the results of another upper "
            "bound with PRIVACY.UPPER_BOUND"
        )
    return path, read_trained(path)


def _fingerprint(trained: TrainedCheckpoint) -> str:
    return reid_fingerprint(trained.weights, trained.cfg)
