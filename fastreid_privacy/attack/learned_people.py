"""Whether a model has learned from measured images: then its figures are not those of new people."""

from __future__ import annotations

import filecmp
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from fastreid.config import CfgNode

from ..checkpoints.reading import read_checkpoint, read_trained, trained_checkpoint
from ..compat.labels import identity_number
from ..core.errors import UserError, say, some_of
from ..data.datasets import datasets_root, load_dataset
from ..data.loaders import validation_split
from ..data.synthetic.plan import SyntheticOptions
from ..training.teaching import is_taught
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
    content, who = read_checkpoint(path), f"--stranger {path}"
    cfg = trained_checkpoint(content, path).cfg
    doubts = check_learned_from_others(cfg, measured, who, "name another model, or none")
    if is_taught(cfg):
        doubts.append("it had a teacher, of which its file does not tell")
    if "epoch" not in content:
        doubts = ["it is a part that was split off, which tells nothing of its training"]
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
    cfg, who = read_trained(path).cfg, f"{option} {path}"
    remedy = "what it finds and recovers is of people whom it has seen, others would be found less"
    try:
        doubts = check_learned_from_others(cfg, measured, who, remedy)
    except UserError as error:
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


def check_learned_from_others(cfg: CfgNode, measured: Sequence[Subject], who: str, remedy: str) -> list[str]:
    """Refuse a model that has learned from some images, raw or protected ones.

    Looked for are the same files, and copies of the same name and bytes.

    Args:
        cfg: that it was trained with.
        measured: the images.
        who: it is, for the message.
        remedy: what to do about it, for the message.

    Returns:
        Why it may have learned from some of them all the same: its images are not here, it began with weights
        of another model, or learned from people in a folder whose numbers measured ones have, too.

    Raises:
        UserError: naming some of the images.
    """
    files, numbers, doubts = _training_images(cfg)
    if seen := _among(measured, files):
        people = [str(pid) for pid in sorted({each.pid for each in seen})]
        raise UserError(
            f"{who} has learned from {len(seen):,} of the images that are measured "
            f"({some_of([each.raw.name for each in seen], 3)}; identities {some_of(people)}): {remedy}"
        )
    if both := sorted(numbers & {each.pid for each in measured}):
        numbered = some_of(list(map(str, both)))
        doubts.append(f"it learned from people of the numbers {numbered}, as measured ones are numbered")
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


def _training_images(cfg: CfgNode) -> tuple[list[Path], set[int], list[str]]:
    """The images here that a model learned from, the people of folders, and why there may be others."""
    files: list[Path] = []
    numbers: set[int] = set()
    doubts = begun_with(cfg)
    # not what would be rendered now: nothing that is measured lies there
    unrendered = {"SyntheticPedestrians"} if not _rendered_folder(cfg).is_dir() else set()
    for name in set(cfg.DATASETS.NAMES) - unrendered:
        with suppress(UserError):  # the split fails, too, where one is not here
            items = load_dataset(cfg, name).train
            files += [Path(item[0]) for item in items]
            if name == "MarketFolder":
                numbers |= {identity_number(item[1]) for item in items}
    if unrendered & set(cfg.DATASETS.NAMES):
        return files, numbers, doubts
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
    """The measured images that are among files, raw or protected, or of which a copy is."""
    places = {file.resolve() for file in files}
    named: defaultdict[str, list[Path]] = defaultdict(list)
    for file in files:
        named[file.name].append(file)

    def known(path: Path) -> bool:
        same = (filecmp.cmp(path, file, shallow=False) for file in named.get(path.name, ()))
        return path.resolve() in places or any(same)

    return [each for each in measured if known(each.raw) or known(each.protected)]
