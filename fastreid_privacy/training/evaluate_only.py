"""Testing a checkpoint without training (``--eval-only``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastreid.config import CfgNode

from ..checkpoints.reading import read_checkpoint
from ..checkpoints.rebuilding import rebuild
from ..config import changed
from ..core.errors import UserError
from ..model.verdict import verdict
from ..results.results_json import read_results, results_path
from . import testing
from .experiment import Results, report_results, tested_checkpoints
from .siblings import PROTECTION_OF, finished


def evaluate_only(cfg: CfgNode) -> Results:
    """Test ``MODEL.WEIGHTS``, or OUTPUT_DIR's best or final checkpoint (``TEST.CHECKPOINT``).

    Returns:
        The results by test set on rank 0, {} on other ranks.

    Raises:
        UserError: when there is no checkpoint, it lacks networks that the config asks for, or results of
            another one would be overwritten.
    """
    path, checkpoint = checkpoint_to_evaluate(cfg)
    compared = compared_results(cfg)
    built, model = rebuild(cfg, checkpoint["model"], path)
    tested, record = _name_of_tested(cfg, path), checkpoint.get("upgrade_record")
    try:
        private = verdict(cfg, record)
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}") from None
    return report_results(cfg, testing.test(built, model), tested, record, compared, private)


def compared_results(cfg: CfgNode) -> dict[str, Results]:
    """The finished results of Base and the upper bound that the config names or that lie beside this run."""
    if cfg.PRIVACY.PROTECTION != "learned":
        return {}
    # MODEL.WEIGHTS names what is tested here, not what training began with
    trained = changed(cfg, {"MODEL.WEIGHTS": ""})
    found = {kind: finished(trained, kind) for kind in PROTECTION_OF}
    return {kind: results for kind, results in found.items() if results}


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
    for file in (results_path(cfg, name) for name in cfg.DATASETS.TESTS):
        before = read_results(file)["checkpoint"] if file.is_file() else None
        if before is not None and before != _name_of_tested(cfg, path):
            raise UserError(
                f"{file} holds results of {before}; choose another OUTPUT_DIR for those of {path}"
            )
    checkpoint = read_checkpoint(path)
    anonymizes = any(name.startswith("anonymizer.") for name in checkpoint["model"])
    if cfg.PRIVACY.PROTECTION == "learned" and not anonymizes:
        raise UserError(
            f"{path} holds no anonymizer; evaluate it with PRIVACY.PROTECTION none (AGW) or conventional "
            "(Base)"
        )
    return path, checkpoint


def _name_of_tested(cfg: CfgNode, path: Path) -> str:
    """A checkpoint's name in results.json: its file's where it lies in OUTPUT_DIR, else the whole path."""
    return path.name if path.parent.resolve() == Path(cfg.OUTPUT_DIR).resolve() else str(path.resolve())
