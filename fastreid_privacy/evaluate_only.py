"""Testing a checkpoint without training (``--eval-only``)."""

from __future__ import annotations

import logging
from pathlib import Path

from fastreid.config import CfgNode
from torch import nn

from .checkpoint_files import load_matching_weights, read_checkpoint, some_of
from .comparison import PROTECTION_OF, finished
from .errors import UserError
from .evaluation.results import results_path
from .experiment import Results, report_results, tested_checkpoints
from .report import read_results
from .solver import GAN_MODULES
from .trainer import PrivacyTrainer

logger = logging.getLogger(__name__)

TRAINING_ONLY = ("centers", "supervision", "anonymization_discriminator", "recovery_discriminator")
NOT_REID = (*GAN_MODULES, *TRAINING_ONLY)  # parts of a checkpoint that retrieval does not use


def evaluate_only(cfg: CfgNode) -> Results:
    """Test the weights of ``MODEL.WEIGHTS``, or of OUTPUT_DIR's best or final checkpoint (``TEST.CHECKPOINT``), without training.

    Raises:
        UserError: when there is no checkpoint, it lacks networks that the config asks for, or results of another one would be overwritten.
    """
    path, checkpoint = checkpoint_to_evaluate(cfg)
    compared = compared_results(cfg)
    built, model = rebuild(cfg, checkpoint["model"], path)
    evaluations = PrivacyTrainer.test(built, model)
    return report_results(cfg, evaluations, _name_of_tested(cfg, path), checkpoint.get("upgrade_record"), compared)


def rebuild(cfg: CfgNode, weights: dict, path: Path) -> tuple[CfgNode, nn.Module]:
    """The model of a checkpoint, in evaluation, and the config that it is built from: the given one with as many classes as the file has.

    Args:
        cfg: with the device to build on.
        weights: of the file, by name.
        path: of the file, for messages.

    Raises:
        UserError: when the config names a part that is not registered, or the file lacks networks that it names.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.HEADS.NUM_CLASSES, cfg.MODEL.BACKBONE.PRETRAIN = classes_of(weights), False
    cfg.freeze()
    try:
        model = PrivacyTrainer.build_model(cfg)
    except KeyError as error:  # fastreid's registries
        raise UserError(f"{path} needs a part that is not registered here: {error.args[0]}; import the file that registers it") from None
    logger.info(load_matching_weights(model, weights, str(path)))
    check_complete(model, weights, path)
    return cfg, model.eval()


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
        raise UserError(f"no weights to evaluate: {' and '.join(map(str, named))} not found; name a checkpoint with MODEL.WEIGHTS")
    for name in cfg.DATASETS.TESTS:
        file, tested = results_path(cfg, name), _name_of_tested(cfg, path)
        if file.is_file() and read_results(file)["checkpoint"] != tested:
            raise UserError(f"{file} holds results of {read_results(file)['checkpoint']}; choose another OUTPUT_DIR for those of {path}")
    checkpoint = read_checkpoint(path)
    if cfg.PRIVACY.PROTECTION == "learned" and not any(key.startswith("anonymizer.") for key in checkpoint["model"]):
        raise UserError(f"{path} holds no anonymizer; evaluate it with PRIVACY.PROTECTION none (AGW) or conventional (Base)")
    return path, checkpoint


def classes_of(weights: dict) -> int:
    """How many identities a checkpoint was trained on, or 1 where its head does not say: evaluation uses no classifier."""
    return len(weights["heads.weight"]) if "heads.weight" in weights else 1


def check_complete(model: nn.Module, weights: dict, path: Path) -> None:
    """Refuse to test networks that the file does not hold: they would be tested with random weights.

    Classifiers may differ in shape, and what only training uses may be absent.

    Raises:
        UserError: naming the networks and the file.
    """
    missing = []
    for name, value in model.state_dict().items():
        part = name.split(".")[0]
        if part not in TRAINING_ONLY and (name not in weights or (weights[name].shape != value.shape and "head" not in part)):
            missing.append(name)
    if missing:
        parts = ", ".join(dict.fromkeys(name.split(".")[0] for name in missing))
        raise UserError(f"{path} does not hold the {parts} of this config ({some_of(missing)}); evaluate it with the config it was "
                        "trained with, which it carries")  # fmt: skip


def _name_of_tested(cfg: CfgNode, path: Path) -> str:
    return path.name if path.parent.resolve() == Path(cfg.OUTPUT_DIR).resolve() else str(path)
