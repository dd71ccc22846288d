"""Testing a checkpoint without training (``--eval-only``)."""

from __future__ import annotations

import logging
from pathlib import Path

from fastreid.config import CfgNode

from ..checkpoints.reading import read_checkpoint
from ..checkpoints.rebuilding import rebuild
from ..core.errors import UserError
from ..results.results_json import read_results, results_path
from .experiment import Results, report_results, tested_checkpoints
from .siblings import PROTECTION_OF, finished
from .trainer import PrivacyTrainer

logger = logging.getLogger(__name__)


def evaluate_only(cfg: CfgNode) -> Results:
    """Test the weights of ``MODEL.WEIGHTS``, or of OUTPUT_DIR's best or final checkpoint
    (``TEST.CHECKPOINT``), without training.

    Raises:
        UserError: when there is no checkpoint, it lacks networks that the config asks for, or results of
            another one would be overwritten.
    """
    path, checkpoint = checkpoint_to_evaluate(cfg)
    compared = compared_results(cfg)
    built, model = rebuild(cfg, checkpoint["model"], path)
    evaluations = PrivacyTrainer.test(built, model)
    return report_results(
        cfg, evaluations, _name_of_tested(cfg, path), checkpoint.get("upgrade_record"), compared
    )


def compared_results(cfg: CfgNode) -> dict[str, Results]:
    """The finished results of Base and the upper bound that the config names or that lie beside this run."""
    trained = cfg.clone()
    trained.defrost()
    trained.MODEL.WEIGHTS = ""  # here it names what is tested, not what training began with
    found = {kind: finished(trained, kind) for kind in PROTECTION_OF if cfg.PRIVACY.PROTECTION == "learned"}
    return {kind: results for kind, results in found.items() if results}


def checkpoint_to_evaluate(cfg: CfgNode) -> tuple[Path, dict]:
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
    for name in cfg.DATASETS.TESTS:
        file, tested = results_path(cfg, name), _name_of_tested(cfg, path)
        if file.is_file() and read_results(file)["checkpoint"] != tested:
            raise UserError(
                f"{file} holds results of {read_results(file)['checkpoint']}; choose another OUTPUT_DIR "
                f"for those of {path}"
            )
    checkpoint = read_checkpoint(path)
    if cfg.PRIVACY.PROTECTION == "learned" and not any(
        key.startswith("anonymizer.") for key in checkpoint["model"]
    ):
        raise UserError(
            f"{path} holds no anonymizer; evaluate it with PRIVACY.PROTECTION none (AGW) or conventional "
            "(Base)"
        )
    return path, checkpoint


def _name_of_tested(cfg: CfgNode, path: Path) -> str:
    return path.name if path.parent.resolve() == Path(cfg.OUTPUT_DIR).resolve() else str(path)
