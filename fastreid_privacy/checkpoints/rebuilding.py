"""The networks of a checkpoint, built again from the config that it carries."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from fastreid.config import CfgNode
from fastreid.modeling import build_model
from torch import Tensor, nn

from ..core.errors import UserError, brief, some_of
from ..model.parts import TRAINING_ONLY
from ..networks import build_generator
from .reading import load_matching_weights

logger = logging.getLogger(__name__)


def rebuild(cfg: CfgNode, weights: dict, path: Path) -> tuple[CfgNode, nn.Module]:
    """The model of a checkpoint, in evaluation, and the config that it is built from: the given one with as
    many classes as the file has.

    Args:
        cfg: with the device to build on.
        weights: of the file, by name.
        path: of the file, for messages.

    Raises:
        UserError: when the config names a part that is not registered, or the file lacks networks that it
            names.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.HEADS.NUM_CLASSES, cfg.MODEL.BACKBONE.PRETRAIN = classes_of(weights), False
    cfg.freeze()
    try:
        model = build_model(cfg)
    except KeyError as error:  # fastreid's registries
        raise UserError(
            f"{path} needs a part that is not registered here: {error.args[0]}; import the file that "
            "registers it"
        ) from None
    logger.info(load_matching_weights(model, weights, str(path)))
    check_complete(model, weights, path)
    return cfg, model.eval()


def classes_of(weights: dict) -> int:
    """How many identities a checkpoint was trained on, or 1 where its head does not say: evaluation uses no
    classifier."""
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
        if part not in TRAINING_ONLY and (
            name not in weights or (weights[name].shape != value.shape and "head" not in part)
        ):
            missing.append(name)
    if missing:
        parts = ", ".join(dict.fromkeys(name.split(".")[0] for name in missing))
        raise UserError(
            f"{path} does not hold the {parts} of this config ({some_of(missing)}); evaluate it with the "
            "config it was "
            "trained with, which it carries"
        )


def build_part(
    path: str | Path, weights: Mapping[str, Tensor], options: CfgNode, prefix: str, size: tuple[int, int]
) -> nn.Module:
    """An image network of a checkpoint.

    Args:
        path: of the checkpoint, for messages.
        weights: tensors by name; those below ``prefix`` count.
        options: ``PRIVACY.ANONYMIZER`` or ``PRIVACY.RECOVERY`` of its config.
        prefix: "anonymizer" or "recovery".
        size: (height, width) of its images.

    Raises:
        UserError: when the checkpoint does not hold it, or not as its config says.
    """
    own = {
        key.removeprefix(f"{prefix}."): value
        for key, value in weights.items()
        if key.startswith(f"{prefix}.")
    }
    if not own:
        raise UserError(f"{path} holds no {prefix} network; it was trained without one (PRIVACY.PROTECTION)")
    try:
        network = build_generator(options, size)
        network.load_state_dict(own)
    except (RuntimeError, ValueError, TypeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"the {prefix} network of {path} does not fit the config that it carries ({brief(error)})"
        ) from None
    return network
