"""Testing a checkpoint without training (``--eval-only``)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastreid.config import CfgNode

from ..checkpoints.reading import read_checkpoint
from ..checkpoints.rebuilding import rebuild
from ..config import RESUMABLE_KEYS, changed, comparable, differing, value_of
from ..core.errors import UserError, brief
from ..model.verdict import verdict
from ..results.results_json import BEST, CONFIG_FILE, FINAL, read_results, results_in
from . import testing
from .experiment import Results, report_results, tested_checkpoints
from .siblings import PROTECTION_OF, comparisons, finished, saved_config

logger = logging.getLogger(__name__)

# what a second test may change without being another one
MAY_DIFFER = (*RESUMABLE_KEYS, "MODEL.WEIGHTS", "PRIVACY.UPGRADE.BASELINE_RANK1")


def evaluate_only(cfg: CfgNode) -> Results:
    """Test ``MODEL.WEIGHTS``, or OUTPUT_DIR's best or final checkpoint (``TEST.CHECKPOINT``).

    Returns:
        The results by test set on rank 0, {} on other ranks.

    Raises:
        UserError: when there is no checkpoint, it lacks networks that the config asks for, or results of
            another one would be overwritten.
    """
    path, checkpoint = checkpoint_to_evaluate(cfg)
    compared, trained_on = compared_results(cfg, checkpoint), _trained_on(checkpoint)
    built, model = rebuild(cfg, checkpoint["model"], path)
    try:
        private = verdict(cfg, checkpoint.get("upgrade_record"))
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}") from None
    record, teacher = _of_its_run(path, checkpoint)
    evaluations = testing.test(built, model)
    tested = _name_of_tested(cfg, path)
    return report_results(cfg, evaluations, tested, record, compared, private, teacher, trained_on)


def _of_its_run(path: Path, checkpoint: Mapping[str, Any]) -> tuple[dict | None, str | None]:
    """The record of checks of the run that a checkpoint is of, and the fingerprint of its teacher.

    The best model knows of the checks up to its own; the run's last one, beside it, knows of all.
    """
    told, final = checkpoint, path.with_name(FINAL)
    own = checkpoint.get("upgrade_record")
    if path.name == BEST and own and final.is_file():
        try:
            last = read_checkpoint(final)
            goes_on = last["upgrade_record"]["checks"][: len(own["checks"])] == own["checks"]
            told = last if goes_on else checkpoint
        except (UserError, KeyError, TypeError) as error:
            logger.warning("The checks after that of %s are not known: %s: %s", path, final, brief(error))
    teacher = told.get("teacher")
    return told.get("upgrade_record"), teacher["fingerprint"] if teacher else None


def compared_results(cfg: CfgNode, checkpoint: Mapping[str, Any]) -> dict[str, Results]:
    """The finished results of Base and the upper bound that the config names or that lie beside this run.

    Args:
        cfg: of the test.
        checkpoint: that is tested.

    Raises:
        UserError: as :func:`.siblings.finished`.
    """
    kinds = PROTECTION_OF if cfg.PRIVACY.PROTECTION == "learned" else comparisons(cfg)
    # MODEL.WEIGHTS names what is tested here, not what training began with
    config = Path(cfg.OUTPUT_DIR, CONFIG_FILE)
    begun = value_of(saved_config(config), "MODEL.WEIGHTS", "") if config.is_file() else ""
    trained = changed(cfg, {"MODEL.WEIGHTS": begun})
    found = {kind: finished(trained, kind, _trained_on(checkpoint)) for kind in kinds}
    return {kind: results for kind, results in found.items() if results}


def _trained_on(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint tells of its training images; {} where that is nothing, as in older versions."""
    told = checkpoint.get("data")
    return told if isinstance(told, dict) else {}


def checkpoint_to_evaluate(cfg: CfgNode) -> tuple[Path, dict[str, Any]]:
    """The path and the content of the checkpoint that ``evaluate_only`` tests.

    Raises:
        UserError: as :func:`evaluate_only`.
    """
    named = [Path(cfg.MODEL.WEIGHTS)] if cfg.MODEL.WEIGHTS else tested_checkpoints(cfg)
    path = next((file for file in named if file.is_file()), None)
    if path is None:
        raise UserError(
            f"no weights to evaluate: {' and '.join(map(str, named))} not found; name a checkpoint with "
            "MODEL.WEIGHTS"
        )
    _refuse_another_test(cfg, _name_of_tested(cfg, path))
    checkpoint = read_checkpoint(path)
    anonymizes = any(name.startswith("anonymizer.") for name in checkpoint["model"])
    if cfg.PRIVACY.PROTECTION == "learned" and not anonymizes:
        raise UserError(
            f"{path} holds no anonymizer; evaluate it with PRIVACY.PROTECTION none (AGW) or conventional "
            "(Base)"
        )
    return path, checkpoint


def _refuse_another_test(cfg: CfgNode, tested: str) -> None:
    """Refuse a folder with results of another checkpoint, or of this one tested otherwise or on other sets.

    Raises:
        UserError: naming what is there.
    """
    for file in results_in(Path(cfg.OUTPUT_DIR)):
        before = read_results(file)
        if (other := before.get("checkpoint")) != tested:
            raise UserError(
                f"{file} holds results of {other}; choose another OUTPUT_DIR for those of {tested}"
            )
        theirs, ours = (comparable(side, MAY_DIFFER) for side in (before.get("config") or cfg, cfg))
        if different := differing(theirs, ours):
            raise UserError(
                f"{file} holds results of another test of {tested} ({'; '.join(different[:3])}); choose "
                "another OUTPUT_DIR for those of this one, with MODEL.WEIGHTS, and with the results to be "
                "compared with (PRIVACY.UPGRADE.BASELINE_RANK1, PRIVACY.UPPER_BOUND)"
            )


def _name_of_tested(cfg: CfgNode, path: Path) -> str:
    """A checkpoint's name in results.json: its file's where it lies in OUTPUT_DIR, else the whole path."""
    return path.name if path.parent.resolve() == Path(cfg.OUTPUT_DIR).resolve() else str(path.resolve())
