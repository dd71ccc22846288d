"""Whether a model has learned from the images that are measured: then it cannot be compared with others."""

from __future__ import annotations

import filecmp
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import yaml
from fastreid.config import CfgNode

from ..attack.subjects import Subject
from ..checkpoints.reading import read_trained
from ..config import parse_config
from ..core.errors import UserError, say, some_of
from ..data.datasets import load_dataset
from ..data.loaders import validation_split
from ..training.teaching import is_taught
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
        doubts = _begun(cfg)
    elif method.run:
        for who, told in _configs(method.name, method.run):
            files, unknown = (
                _training_files(told) if told else ([], [f"{method.run} does not tell of the {who}"])
            )
            doubts += unknown
            if seen := _among(measured, files):
                people = [str(pid) for pid in sorted({each.pid for each in seen})]
                raise UserError(
                    f"{method.name}: the {who} of {method.run} has learned from {len(seen):,} of the images "
                    f"that are measured ({some_of([each.raw.name for each in seen], 3)}; identities "
                    f"{some_of(people)}): leave the method out, or measure other people"
                )
    for doubt in doubts:
        say(f"warning: {method.name}: whether it has learned from measured people is not known: {doubt}")
    return None if doubts or method.protected else True


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


def _training_files(cfg: CfgNode) -> tuple[list[Path], list[str]]:
    """The images here that a model learned from, and why there may be others."""
    files: list[Path] = []
    doubts = _begun(cfg)
    for name in cfg.DATASETS.NAMES:
        with suppress(UserError):  # the split fails, too, where one is not here
            files += [Path(item[0]) for item in load_dataset(cfg, name).train]
    try:
        people = len({item[1] for item in validation_split(cfg).train})
    except UserError as error:
        return files, [*doubts, str(error)]
    classes = cfg.MODEL.HEADS.NUM_CLASSES
    if classes not in (0, people):  # 0: not told
        doubts.append(f"its head is for {classes:,} identities, and its training data have {people:,} here")
    return files, doubts


def _begun(cfg: CfgNode) -> list[str]:
    return [f"it began with the weights of {cfg.MODEL.WEIGHTS}"] if cfg.MODEL.WEIGHTS else []


def _among(measured: Sequence[Subject], files: Sequence[Path]) -> list[Subject]:
    """The measured images that are among files, or of which a copy is."""
    places = {file.resolve() for file in files}
    named: defaultdict[str, list[Path]] = defaultdict(list)
    for file in files:
        named[file.name].append(file)
    return [
        each
        for each in measured
        if each.raw.resolve() in places
        or any(filecmp.cmp(each.raw, file, shallow=False) for file in named.get(each.raw.name, ()))
    ]
