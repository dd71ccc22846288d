"""Whom a method has learned from: not from the images that are measured, and from the teacher of now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml
from fastreid.config import CfgNode

from ..attack.learned_people import begun_with, check_learned_from_others, warn_of_doubts
from ..attack.subjects import Subject
from ..checkpoints.reading import read_trained
from ..config import parse_config
from ..core.errors import UserError
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
        True; or None where that is not known, which a warning tells: the images that a finished run learned
        from are not here, or it began with weights of another model. None also of files of another tool.

    Raises:
        UserError: naming some images where it has learned from any: the same file, or a copy of the same name
            and bytes. Also for a run whose model cannot be read.
    """
    doubts: list[str] = []
    if cfg is not None:  # from the training part of the data
        doubts = begun_with(cfg)
    elif method.run:
        remedy = "leave the method out, or measure other people"
        for who, told in _configs(method.name, method.run):
            if told is None:
                doubts.append(f"{method.run} does not tell of the {who}")
            else:
                named = f"{method.name}: the {who} of {method.run}"
                doubts += check_learned_from_others(told, measured, named, remedy)
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
    if not is_taught(cfg) or not training.finished(teacher.parent):
        return
    theirs = training.results_of(run).get("teacher")
    if theirs and theirs != teacher_fingerprint(teacher):
        raise UserError(
            f"{method.name}: the model in {run} had another teacher than {teacher.parent} now is: give that "
            "one its model back, or choose another --output"
        )


def _configs(name: str, run: Path) -> Iterator[tuple[str, CfgNode | None]]:
    """The configs of the model of a run and of its teacher; None where the latter is not told."""
    try:
        cfg = read_trained(training.checkpoint_of(run)).cfg
        yield "model", cfg
        if is_taught(cfg):
            config = (training.results_of(run).get("upper_bound") or {}).get("config")
            yield "teacher", parse_config(yaml.safe_dump(config), f"the teacher of {run}") if config else None
    except UserError as error:
        raise UserError(f"{name}: {error}") from None
