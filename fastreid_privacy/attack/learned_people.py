"""Whether a model has learned from measured images: then its figures are not those of new people."""

from __future__ import annotations

import filecmp
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from fastreid.config import CfgNode

from ..checkpoints.reading import read_trained
from ..core.errors import UserError, say, some_of
from ..data.datasets import load_dataset
from ..data.loaders import validation_split
from .subjects import Subject


def stranger_learned_from_others(path: Path, measured: Sequence[Subject]) -> bool | None:
    """Whether a stranger's model has learned from none of some images.

    Args:
        path: a checkpoint of this package, or an ``.onnx`` graph.
        measured: the images.

    Returns:
        True; or None where that is not known, as of any graph. Of a checkpoint a warning tells why.

    Raises:
        UserError: naming some images where it has learned from any, and for a file that is no checkpoint.
    """
    if path.suffix == ".onnx":
        return None
    doubts = check_learned_from_others(
        read_trained(path).cfg, measured, f"--stranger {path}", "name another model, or none"
    )
    warn_of_doubts(doubts, f"--stranger {path}")
    return None if doubts else True


def check_learned_from_others(cfg: CfgNode, measured: Sequence[Subject], who: str, remedy: str) -> list[str]:
    """Refuse a model that has learned from some images: the same files, or copies of the same name and bytes.

    Args:
        cfg: that it was trained with.
        measured: the images.
        who: it is, for the message.
        remedy: what to do about it, for the message.

    Returns:
        Why it may have learned from some of them all the same: its images are not here, or it began with
        weights of another model.

    Raises:
        UserError: naming some of the images.
    """
    files, doubts = _training_files(cfg)
    if seen := _among(measured, files):
        people = [str(pid) for pid in sorted({each.pid for each in seen})]
        raise UserError(
            f"{who} has learned from {len(seen):,} of the images that are measured "
            f"({some_of([each.raw.name for each in seen], 3)}; identities {some_of(people)}): {remedy}"
        )
    return doubts


def warn_of_doubts(doubts: Sequence[str], who: str) -> None:
    """Tell each reason why a model may have learned from measured people."""
    for doubt in doubts:
        say(f"warning: {who}: whether it has learned from measured people is not known: {doubt}")


def begun_with(cfg: CfgNode) -> list[str]:
    """The doubt that a model leaves which began with the weights of another one; [] where it did not."""
    return [f"it began with the weights of {cfg.MODEL.WEIGHTS}"] if cfg.MODEL.WEIGHTS else []


def _training_files(cfg: CfgNode) -> tuple[list[Path], list[str]]:
    """The images here that a model learned from, and why there may be others."""
    files: list[Path] = []
    doubts = begun_with(cfg)
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
