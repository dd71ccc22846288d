"""The models that a run is compared with, Base and the upper bound, and what a folder of a run holds.

Every model of a comparison trains on the same images, with the same Re-ID network, budget and seed. Base and
the upper bound have no image networks: one of each serves models of every generator.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import yaml
from fastreid.config import CfgNode

from ..config import METHOD_KEYS, RESUMABLE_KEYS, RUN_KEYS, changed, comparable, differing, given_rank1
from ..core.errors import UserError, brief
from ..results.results_json import CONFIG_FILE, config_value, read_results, results_in, results_path
from ..results.stored import load_query_ranks
from .image_lists import TEST, TRAIN, test_images, told_images, training_images
from .teaching import check_taught, is_taught, teacher_fingerprint

logger = logging.getLogger(__name__)

# the models compared with, and what makes them so
PROTECTION_OF = {"baseline": "conventional", "upper_bound": "none"}
# what neither of them has
IMAGE_NETWORKS = ("PRIVACY.ANONYMIZER.", "PRIVACY.RECOVERY.", "PRIVACY.DISCRIMINATOR.")


def upgrades(cfg: CfgNode) -> bool:
    """Whether supervision is upgraded, for which Base's rank-1 is needed."""
    return cfg.PRIVACY.PROTECTION == "learned" and cfg.PRIVACY.UPGRADE.ENABLED


def comparisons(cfg: CfgNode) -> dict[str, Path | None]:
    """What the config asks to be compared with, by kind; the upper bound, which may teach Base, first.

    Returns:
        "upper_bound" and "baseline", as far as asked for → the file of results that the config names, or None
        for a model to be trained beside this one.
    """
    asked: dict[str, Path | None] = {}
    if cfg.PRIVACY.UPPER_BOUND:
        asked["upper_bound"] = None if cfg.PRIVACY.UPPER_BOUND == "auto" else Path(cfg.PRIVACY.UPPER_BOUND)
    rank1 = given_rank1(cfg)
    if upgrades(cfg) and not isinstance(rank1, float):
        asked["baseline"] = rank1
    return asked


def sibling_config(cfg: CfgNode, kind: str) -> CfgNode:
    """The config of Base or the upper bound, in a folder below OUTPUT_DIR: only the method differs.

    Base has the teacher that the method has.
    """
    taught = is_taught(cfg) and kind == "baseline"
    return changed(
        cfg,
        {
            "PRIVACY.PROTECTION": PROTECTION_OF[kind],
            "PRIVACY.ATTACKER.WEIGHT": 0.0,
            "PRIVACY.TEACHER.WEIGHT": cfg.PRIVACY.TEACHER.WEIGHT if taught else 0.0,
            "PRIVACY.TEACHER.INIT": cfg.PRIVACY.TEACHER.INIT and taught,
            "PRIVACY.UPPER_BOUND": str(teachers_results(cfg)) if taught else "",
            "TEST.PAPER_RESULTS": [],
            "OUTPUT_DIR": str(Path(cfg.OUTPUT_DIR, kind)),
        },
    )


def results_files(cfg: CfgNode, kind: str) -> dict[str, Path]:
    """For each test set, where the results of a comparison are, or will be.

    Beside a file that the config names lie those of the other test sets; where one lacks, it is the file that
    is named, of whatever test set that is.
    """
    given, names = comparisons(cfg).get(kind), cfg.DATASETS.TESTS
    if not given:
        return {name: Path(cfg.OUTPUT_DIR, kind, results_path(cfg, name).name) for name in names}
    beside = {name: given.with_name(f"results_{name}.json") for name in names}
    return {name: file if len(names) > 1 and file.is_file() else given for name, file in beside.items()}


def teachers_results(cfg: CfgNode) -> Path:
    """Where the results of the teacher are, or will be: of the first test set, for all are of one model."""
    return next(iter(results_files(cfg, "upper_bound").values()))


def finished(cfg: CfgNode, kind: str, trained_on: Mapping | None = None) -> dict[str, dict] | None:
    """The results of a comparison by test set, or None where they are still to be made beside this run.

    Results that the user names are taken as given, and what differs from this run is logged, as where one is
    of another test set, or of other images of it, whose figures are not to be compared; those found beside it
    must fit.

    Args:
        cfg: of this run.
        kind: "baseline" or "upper_bound".
        trained_on: what is known of the images that this run was trained on, as of :func:`training_images`;
            {}: nothing. None: it is trained on those of the config.

    Raises:
        UserError: when results are of another method, those beside this run of other data, budget, seed or
            Re-ID network, or unreadable, with Base's query ranks.
    """
    given, files = comparisons(cfg).get(kind), results_files(cfg, kind)
    if not given and not all(file.is_file() for file in files.values()):
        return None
    results = {name: read_results(file) for name, file in files.items()}
    if kind == "baseline":
        for file in files.values():
            load_query_ranks(file)  # needed when all is evaluated; a damaged file is to be known before
    for name, found in results.items():
        protection = config_value(found, "PRIVACY.PROTECTION")
        if protection != PROTECTION_OF[kind]:
            raise UserError(
                f"{files[name]} is of PRIVACY.PROTECTION {protection}; the {kind.replace('_', ' ')} is "
                f"{PROTECTION_OF[kind]}"
            )
        if not is_of(cfg, found, name):
            other = found.get("dataset", name)
            logger.warning(
                "%s is of %s: on %s nothing is compared with the %s",
                files[name],
                f"other images of {name}" if other == name else other,
                name,
                kind.replace("_", " "),
            )
        different = differences_from(cfg, found.get("config") or {})
        different = [text for text in different if not text.startswith(IMAGE_NETWORKS)]
        if kind == "upper_bound":  # trained on raw images alone: one serves models of every desensitizer
            own = ["PRIVACY.DESENSITIZER"]
            own += [] if is_taught(found.get("config") or {}) else ["PRIVACY.TEACHER"]
            different = [text for text in different if not text.startswith(tuple(own))]
        elif _has_another_teacher(cfg, found):
            different.append("its teacher is another upper bound")
        if _trained_on_others(cfg, found, trained_on):
            different.append("its training images have other names, identities or cameras")
        if different and given:
            logger.warning("%s was run differently: %s", given, "; ".join(different))
        elif different:
            raise UserError(
                f"{files[name]} is of another run ({'; '.join(different[:3])}); choose another OUTPUT_DIR, "
                "or move it away"
            )
    return results


def is_of(cfg: CfgNode, results: Mapping, dataset: str) -> bool:
    """Whether results are of the images of a test set, as far as they tell."""
    told = told_images(results, TEST)
    return results.get("dataset", dataset) == dataset and (not told or told == test_images(cfg, dataset))


def _trained_on_others(cfg: CfgNode, found: Mapping, trained_on: Mapping | None) -> bool:
    """Whether results are of a model of other training images, as far as both are known."""
    told = told_images(found, TRAIN)
    if not told or trained_on == {}:
        return False
    return told != (training_images(cfg) if trained_on is None else trained_on)


def _has_another_teacher(cfg: CfgNode, found: dict) -> bool:
    """Whether results are of a model that another upper bound taught, as far as both are known."""
    theirs, results = found.get("teacher"), teachers_results(cfg)
    if not theirs or not is_taught(cfg) or not results.is_file():
        return False
    try:
        return theirs != teacher_fingerprint(results)
    except UserError:  # its checkpoint is gone: a training says so, a test needs none
        return False


def differences_from(cfg: CfgNode, other: dict) -> list[str]:
    """Where two runs differ in what a comparison must share, desensitizer included: "KEY this ≠ that"."""
    skip = (*(key for key in METHOD_KEYS if key != "PRIVACY.DESENSITIZER"), *RUN_KEYS, "TEST.CHECKPOINT")
    return differing(comparable(cfg, skip), comparable(other, skip))


def validation_rank1(baseline: dict[str, dict]) -> float:
    """Base's OI→DI rank-1 on the validation split, percent: what upgrades start from (section 3.4).

    Args:
        baseline: Base's results by test set.

    Raises:
        UserError: when they hold none.
    """
    name, results = next(iter(baseline.items()))
    try:
        return results["validation"]["OI-DI"]["Rank-1"]
    except (KeyError, TypeError):
        raise UserError(
            f"the baseline's results ({name}) hold no validation OI-DI rank-1; give results.json of a Base "
            "model"
        ) from None


def refuse_to_overwrite(cfg: CfgNode, resume: bool) -> None:
    """Refuse a folder that holds a run, unless this is to continue it and is the same run.

    Raises:
        UserError: naming what the folder holds, or where the configs differ.
    """
    folder = Path(cfg.OUTPUT_DIR)
    found = sorted(path.name for path in folder.glob("model_*.pth"))
    found += [path.name for path in results_in(folder)]
    if found and not resume:
        raise UserError(
            f"{folder} holds a run already ({', '.join(found[:3])}); continue it with --resume, or choose "
            "another OUTPUT_DIR"
        )
    saved = folder / CONFIG_FILE
    if found and saved.is_file():
        theirs = comparable(saved_config(saved), skip=RESUMABLE_KEYS)
        ours = comparable(yaml.safe_load(cfg.dump()), skip=RESUMABLE_KEYS)
        if differences := differing(theirs, ours, "→"):
            raise UserError(
                f"{folder} holds a run of another config ({'; '.join(differences[:3])}); --resume continues "
                "a run as it was begun: choose another OUTPUT_DIR"
            )


def saved_config(path: Path) -> dict:
    """The ``config.yaml`` of a run.

    Raises:
        UserError: when it is empty or damaged.
    """
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("it holds no keys")
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path} is empty or damaged ({brief(error)}): whether the run was begun with this config cannot "
            "be told. If you know that it was, delete this file and use --resume again"
        ) from None
    return config


def _refuse_without_teacher(cfg: CfgNode) -> None:
    """Refuse to train another teacher for models that were begun with one.

    Raises:
        UserError: naming the folder where it was.
    """
    folder = Path(cfg.OUTPUT_DIR)
    if any(list(place.glob("model_*.pth")) for place in (folder, folder / "baseline")):
        raise UserError(
            f"{folder} holds a run that was begun with a teacher, whose results are no longer in "
            f"{folder / 'upper_bound'}: give them back, with their checkpoint, or choose another OUTPUT_DIR"
        )


def check_outputs(cfg: CfgNode, resume: bool) -> None:
    """Read what a run will read of other runs, and refuse what it would refuse, before anything is trained.

    Raises:
        UserError: for a folder that holds another run, an unfinished one that is not to be resumed, or
            results that do not serve.
    """
    refuse_to_overwrite(cfg, resume)
    check_taught(cfg)
    for kind in comparisons(cfg):
        results = finished(cfg, kind)
        if results is None:
            refuse_to_overwrite(sibling_config(cfg, kind), resume)
            if kind == "upper_bound" and is_taught(cfg):
                _refuse_without_teacher(cfg)
        elif kind == "baseline":
            validation_rank1({str(file): results[name] for name, file in results_files(cfg, kind).items()})
