"""Whether a model has learned from measured images: then its figures are not those of new people."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
import yaml
from fastreid.config import CfgNode

from ..checkpoints.reading import read_checkpoint, trained_checkpoint
from ..compat.labels import identity_number
from ..config import parse_config
from ..core.errors import UserError, say, some_of
from ..core.files import read_once
from ..core.pictures import read_picture
from ..data.datasets import datasets_root, load_dataset
from ..data.loaders import validation_split
from ..data.synthetic.plan import SyntheticOptions
from ..results.results_json import read_results, results_in, tested_checkpoint
from ..training.teaching import is_taught
from .pairing import rough
from .subjects import Subject

SAME, RELATED = 0.98, 0.75
"""Correlation of rough pictures of one name, from which one is a copy, and from which most are related.

Of 1,375 rendered images of 50 people, 128×64: a copy (JPEG of quality 50, WebP of 30, a quarter to twice the
sides) has at least 0.985, another person under the same camera at most 0.969, raw or blurred. An image and
itself blurred or pixelated have at least 0.908, with noise 0.96 in the median (0.87 at 64×32). Of other
people under the same camera one in 20 at most has 0.75, and the median is 0.3. Of 1,500 photographs of
Market-1501 no two of other people have more than 0.955, and copies (JPEG of 50, half the sides) at least
0.994.
"""

ROUGH_KEPT = 100_000  # rough pictures of files, of about 1 kB each


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
    who = f"--stranger {path}"
    doubts = check_checkpoint(path, measured, who, "name another model, or none")
    warn_of_doubts(doubts, who)
    return None if doubts else True


def model_learned_from_others(path: Path, measured: Sequence[Subject], option: str) -> bool | None:
    """Whether the authorised model has learned from none of some images; a warning tells where it has.

    It is not refused: an owner may protect what the model was trained on. Its figures are then those of
    people whom it has seen.

    Args:
        path: a checkpoint of this package.
        measured: the images.
        option: that names it, for messages.

    Returns:
        True, False, or None where that is not known, which a warning tells, too.
    """
    who = f"{option} {path}"
    remedy = "what it finds and recovers is of people whom it has seen, others would be found less"
    try:
        doubts = check_checkpoint(path, measured, who, remedy)
    except LearnedFromThem as error:
        say(f"warning: {error}")
        return False
    warn_of_doubts(doubts, who)
    return None if doubts else True


def check_foreign(foreign: Sequence[Subject], measured: Sequence[Subject]) -> None:
    """Refuse foreign images, which an attacker learns from, that are among the measured ones.

    Raises:
        UserError: naming some of them.
    """
    if seen := _among(measured, [each.raw for each in foreign]):
        raise UserError(
            f"{len(seen):,} of the measured images ({some_of([each.raw.name for each in seen], 3)}) are "
            "among the foreign ones, from which the attacker learns: give images of other people"
        )


class LearnedFromThem(UserError):
    """A model has learned from images that are measured."""


def check_checkpoint(path: Path, measured: Sequence[Subject], who: str, remedy: str) -> list[str]:
    """Refuse a model that has learned from some images, raw or protected ones, by itself or by its teacher.

    Looked for are the same files, and files of the same name but for the ending that show the same picture.
    Of the teacher the results of the run tell, where they lie beside the checkpoint.

    Args:
        path: a checkpoint of this package, or a part of one.
        measured: the images.
        who: it is, for the message.
        remedy: what to do about it, for the message.

    Returns:
        Why it may have learned from some of them all the same: its images are not here, it began with weights
        of another model, learned from people in a folder whose numbers measured ones have, too, had a teacher
        of which nothing tells, or is a part, which tells nothing of its training.

    Raises:
        LearnedFromThem: naming some of the images.
        UserError: for a file that is no checkpoint.
    """
    content = read_checkpoint(path)
    cfg = trained_checkpoint(content, path).cfg
    doubts = _check_config(cfg, measured, who, remedy)
    if "epoch" not in content:
        return ["it is a part that was split off, which tells nothing of its training"]
    if is_taught(cfg):
        teacher = _teacher_beside(path)
        if isinstance(teacher, str):
            return [*doubts, teacher]
        theirs = _check_config(teacher, measured, f"the teacher of {who}", remedy)
        doubts += [f"of its teacher: {doubt}" for doubt in theirs]
    return doubts


def warn_of_doubts(doubts: Sequence[str], who: str) -> None:
    """Tell each reason why a model may have learned from measured people."""
    for doubt in doubts:
        say(f"warning: {who}: whether it has learned from measured people is not known: {doubt}")


def begun_with(cfg: CfgNode) -> list[str]:
    """The doubt that a model leaves which began with the weights of another one; [] where it did not.

    A backbone's weights, ``MODEL.BACKBONE.PRETRAIN_PATH``, are taken for those of ImageNet.
    """
    return [f"it began with the weights of {cfg.MODEL.WEIGHTS}"] if cfg.MODEL.WEIGHTS else []


def _check_config(cfg: CfgNode, measured: Sequence[Subject], who: str, remedy: str) -> list[str]:
    """:func:`check_checkpoint` of the config that a model was trained with."""
    files, numbers, doubts = _training_images(cfg)
    if seen := _among(measured, files):
        people = [str(pid) for pid in sorted({each.pid for each in seen})]
        raise LearnedFromThem(
            f"{who} has learned from {len(seen):,} of the images that are measured "
            f"({some_of([each.raw.name for each in seen], 3)}; identities {some_of(people)}): {remedy}"
        )
    if both := sorted(numbers & {each.pid for each in measured}):
        numbered = some_of(list(map(str, both)))
        doubts.append(f"it learned from people of the numbers {numbered}, as measured ones are numbered")
    return doubts


def _teacher_beside(path: Path) -> CfgNode | str:
    """The config of a checkpoint's teacher, of results of that checkpoint in its folder; or why none tell it.

    Any of them is enough, for all are of one run: which cannot be read is told only where no other one tells.
    """
    unread = []
    for file in results_in(path.parent):
        try:
            results = read_results(file)
            config = (results.get("upper_bound") or {}).get("config")
            if config and tested_checkpoint(results, path.parent).resolve() == path.resolve():
                return parse_config(yaml.safe_dump(config), f"the teacher in {file}")
        except UserError as error:
            unread.append(str(error))
    doubt = "it had a teacher, of which no results beside it tell"
    return f"{doubt}: {'; '.join(unread)}" if unread else doubt


def _training_images(cfg: CfgNode) -> tuple[list[Path], set[int], list[str]]:
    """The images here that a model learned from, the people of folders, and why there may be others."""
    files: list[Path] = []
    numbers: set[int] = set()
    doubts = begun_with(cfg)
    # not what would be rendered now: nothing that is measured lies there
    unrendered = {"SyntheticPedestrians"} if not _rendered_folder(cfg).is_dir() else set()
    absent = []
    for name in set(cfg.DATASETS.NAMES) - unrendered:
        try:
            items = load_dataset(cfg, name).train
        except UserError as error:  # the split fails, too
            absent.append(str(error))
            continue
        files += [Path(item[0]) for item in items]
        if name == "MarketFolder":
            numbers |= {identity_number(item[1]) for item in items}
    if unrendered & set(cfg.DATASETS.NAMES):
        return files, numbers, doubts + absent
    try:
        people = len({item[1] for item in validation_split(cfg).train})
    except UserError as error:
        return files, numbers, [*doubts, str(error)]
    classes = cfg.MODEL.HEADS.NUM_CLASSES
    if classes not in (0, people):  # 0: not told
        doubts.append(f"its head is for {classes:,} identities, and its training data have {people:,} here")
    return files, numbers, doubts


def _rendered_folder(cfg: CfgNode) -> Path:
    options = {key.lower(): value for key, value in cfg.DATASETS.SYNTHETIC.items()}
    return datasets_root() / SyntheticOptions(**options).folder_name


def _among(measured: Sequence[Subject], files: Sequence[Path]) -> list[Subject]:
    """The measured images that are among files, raw or protected, or of which a file shows the picture.

    Pictures of the same name but for the ending are compared. One counts by itself from ``SAME`` on. Where
    more than half of all, and more than one, are ``RELATED``, those count: so are poor copies, and the same
    images under another operator.
    """
    places = {file.resolve() for file in files}
    named: defaultdict[str, list[Path]] = defaultdict(list)
    for file in files:
        named[file.stem].append(file)
    likeness: dict[int, float] = {}
    for index, each in enumerate(measured):
        own = (each.raw, each.protected)
        if not places.isdisjoint(path.resolve() for path in own):
            likeness[index] = 1
        elif each.raw.stem in named:
            theirs = np.stack([_rough(str(file)) for file in named[each.raw.stem]])
            likeness[index] = max(float((theirs @ _rough(str(path))).max()) for path in own)
    related = [index for index, value in likeness.items() if value >= RELATED]
    enough = RELATED if len(related) > max(1, len(likeness) / 2) else SAME
    return [measured[index] for index in related if likeness[index] >= enough]


def _read_rough(path: str) -> np.ndarray:
    """:func:`~.pairing.rough` of a file; 0 of one that is no picture."""
    with suppress(UserError):
        return rough(torch.from_numpy(read_picture(path)).permute(2, 0, 1)[None].float())[0]
    return rough(torch.zeros(1, 3, 1, 1))[0]


# each model and each method of a comparison is checked against the same pictures
_rough = read_once(_read_rough, ROUGH_KEPT)
