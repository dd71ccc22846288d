"""Whom a method has learned from: not from the images that are measured, and from the teacher of now."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fastreid.config import CfgNode

from ..attack.learned_people import begun_with, check_checkpoint, warn_of_doubts
from ..attack.subjects import Subject
from ..core.errors import UserError, named
from ..results.results_json import checkpoint_of, is_finished
from ..training.teaching import is_taught, teacher_fingerprint
from . import training
from .methods import Method


def learned_from_others(method: Method, cfg: CfgNode | None, measured: Sequence[Subject]) -> bool | None:
    """Whether a method's model, and the teacher of a finished run, have learned from none of some images.

    Args:
        method: one of a comparison.
        cfg: how its model is trained here; None: it is not.
        measured: the images.

    Returns:
        True; or None where that is not known, which a warning tells. None also of files of another tool.

    Raises:
        UserError: naming some images where it has learned from any. Also for a run whose model cannot be
            read.
    """
    doubts: list[str] = []
    if cfg is not None:  # from the training part of the data
        doubts = begun_with(cfg)
    elif method.run:
        remedy = "leave the method out, or measure other people"
        with named(method.name):
            path = checkpoint_of(method.run)
            doubts = check_checkpoint(path, measured, f"the model of {method.run}", remedy)
    warn_of_doubts(doubts, method.name)
    return None if doubts or method.protected else True


def check_teacher(method: Method, cfg: CfgNode, run: Path) -> None:
    """Make sure that a finished model had the teacher that it would have now, where that one is finished.

    Args:
        method: one of a comparison.
        cfg: how its model is trained here.
        run: the folder of its training, which is finished.

    Raises:
        UserError: when its results tell of another teacher; those of older versions tell none.
    """
    teacher = Path(cfg.PRIVACY.UPPER_BOUND)
    if not is_taught(cfg) or not is_finished(teacher.parent):
        return
    theirs = training.results_of(run).get("teacher")
    if theirs and theirs != teacher_fingerprint(teacher):
        raise UserError(
            f"{method.name}: the model in {run} had another teacher than {teacher.parent} now is: give that "
            "one its model back, or choose another --output"
        )
