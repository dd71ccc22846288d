"""The networks of a checkpoint, built again from the config that it carries."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path

from fastreid.config import CfgNode
from fastreid.modeling import build_model
from torch import Tensor, nn

from ..config import changed
from ..core.errors import UserError, brief, some_of
from ..core.registry import REGISTERING
from ..model.anonymizer import build_anonymizer
from ..model.parts import TRAINING_ONLY
from ..networks import build_generator
from .reading import load_matching_weights

logger = logging.getLogger(__name__)


def rebuild(cfg: CfgNode, weights: Mapping[str, Tensor], path: str | Path) -> tuple[CfgNode, nn.Module]:
    """The whole model of a checkpoint, in evaluation.

    Args:
        cfg: with the device to build on.
        weights: of the file, by name.
        path: of the file, for messages.

    Returns:
        The config that the model is built from, which is the given one with as many classes as the file has;
        and the model.

    Raises:
        UserError: when the config names a part that is not registered, or the file lacks networks that it
            names.
    """
    cfg = changed(cfg, {"MODEL.HEADS.NUM_CLASSES": classes_of(weights), "MODEL.BACKBONE.PRETRAIN": False})
    try:
        model = build_model(cfg)
    except KeyError as error:  # fastreid's registries
        raise UserError(
            f"{path} needs a part that is not registered here: {error.args[0]}. {REGISTERING}"
        ) from None
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    logger.info(load_matching_weights(model, weights, str(path)))
    check_complete(model, weights, path)
    return cfg, model.eval()


def classes_of(weights: Mapping[str, Tensor]) -> int:
    """How many identities a checkpoint was trained on; 1 where its head does not say.

    Evaluation uses no classifier. fastreid's is ``heads.weight``, MGN's first of eight ``b1_head.weight``.
    """
    counts = [
        len(value) for name, value in weights.items() if re.fullmatch(r"(heads|\w+_head)\.weight", name)
    ]
    return counts[0] if counts else 1


def check_complete(model: nn.Module, weights: Mapping[str, Tensor], path: str | Path) -> None:
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
            "config it was trained with, which it carries"
        )


def build_part(cfg: CfgNode, weights: Mapping[str, Tensor], part: str, path: str | Path) -> nn.Module:
    """An image network of a checkpoint, on the CPU.

    Args:
        cfg: of the checkpoint.
        weights: tensors by name; those below ``part`` count.
        part: "anonymizer" or "recovery".
        path: of the checkpoint, for messages.

    Raises:
        UserError: when the checkpoint does not hold it, or not as its config says.
    """
    prefix = f"{part}."
    own = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    if not own:
        raise UserError(f"{path} holds no {part} network; it was trained without one (PRIVACY.PROTECTION)")
    try:
        size = tuple(cfg.INPUT.SIZE_TEST)
        recovers = part == "recovery"
        network = build_generator(cfg.PRIVACY.RECOVERY, size) if recovers else build_anonymizer(cfg, size)
        network.load_state_dict(own)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (RuntimeError, ValueError, TypeError) as error:
        raise UserError(
            f"the {part} network of {path} does not fit the config that it carries ({brief(error)})"
        ) from None
    return network
