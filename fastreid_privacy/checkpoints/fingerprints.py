"""What an image or a feature depends on, as one number: files that agree in it belong together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import torch
from fastreid.config import CfgNode
from torch import Tensor

from ..config import default_config
from ..core.operators import added_keys
from ..desensitize import DESENSITIZER_REGISTRY, Desensitizer
from ..model.anonymizer import second_input
from ..model.parts import NOT_REID


def anonymizer_fingerprint(
    weights: Mapping[str, Tensor], cfg: CfgNode, about: Mapping[str, object] | None = None
) -> str:
    """SHA-256 of all that a protected image depends on before it is stored.

    That is the size of the images and G_X's tensors with their names, or the conventional operator's options;
    both, where G_X sees desensitized images beside the raw ones.
    Checkpoints of one training differ; the parts that one checkpoint is split into agree.

    Args:
        weights: tensors by name, as a checkpoint has them; only ``anonymizer.*`` count.
        cfg: the checkpoint's config.
        about: what the checkpoint tells of an operator that describes itself; None: the operator is asked.

    Returns:
        64 hexadecimal digits.
    """
    learned = cfg.PRIVACY.PROTECTION == "learned"
    # without the word for the input: that of a file of before this key is what it was
    network = {key: value for key, value in cfg.PRIVACY.ANONYMIZER.items() if key != "INPUT"}
    options = {
        "size": list(cfg.INPUT.SIZE_TEST),
        "operator": network if learned else _operator(cfg, about),
    }
    if learned and second_input(cfg) is not None:
        options["beside"] = {**_operator(cfg, about), "STORAGE": cfg.PRIVACY.STORAGE}
    own = {name: value for name, value in weights.items() if learned and name.startswith("anonymizer.")}
    return _fingerprint(options, own)


def _operator(cfg: CfgNode, about: Mapping[str, object] | None) -> dict[str, object]:
    """The options of the conventional operator; of a described one its description stands for its own.

    Its own options count where they are not its defaults: older files do not have them.
    """
    node = dict(cfg.PRIVACY.DESENSITIZER)
    if about is None and node["NAME"] in DESENSITIZER_REGISTRY._obj_map:
        about = Desensitizer.from_config(cfg).about
    for key, default in added_keys(node["NAME"], default_config().PRIVACY.DESENSITIZER).items():
        if about is not None or node.get(key) == default:
            node.pop(key, None)
    return node if about is None else {**node, "ABOUT": dict(about)}


def reid_fingerprint(weights: Mapping[str, Tensor], cfg: CfgNode) -> str:
    """SHA-256 of all that a feature depends on: the Re-ID tensors with their names, and the preprocessing.

    The image networks do not count: checkpoints that differ only there give comparable features.

    Args:
        weights: tensors by name, as a checkpoint has them.
        cfg: the checkpoint's config.

    Returns:
        64 hexadecimal digits.
    """
    options = {
        "size": list(cfg.INPUT.SIZE_TEST),
        "crop": cfg.INPUT.CROP,
        "flip": cfg.TEST.FLIP.ENABLED,
        "mean": list(cfg.MODEL.PIXEL_MEAN),
        "std": list(cfg.MODEL.PIXEL_STD),
    }
    reid = {name: value for name, value in weights.items() if name.partition(".")[0] not in NOT_REID}
    return _fingerprint(options, reid)


def _fingerprint(options: Mapping[str, object], tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of options as JSON, then of each tensor's name and bytes, in the order of the names."""
    digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
