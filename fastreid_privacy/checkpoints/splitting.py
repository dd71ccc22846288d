"""Splitting a checkpoint: each holder of a model gets the part that is theirs.

The anonymizer is for the camera side, the recovery decoder is a key, the Re-ID model is for researchers.
``anonymizer.safetensors`` and ``recovery.key`` (or ``recovery.safetensors``) are read without pickle;
``reid.pth`` is a plain fastreid checkpoint, for fastreid reads no other kind. Each part can be written as an
ONNX graph too, with the same metadata and as carefully kept. ``release.json`` lists the files.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from fastreid.config import CfgNode
from torch import Tensor

from ..config import RUN_KEYS, changed, default_config, value_of
from ..core.errors import UserError
from ..core.files import refuse_existing, write_new
from ..core.operators import NODE, added_keys
from ..core.privacy import word_of
from ..core.version import __version__
from ..keys.encryption import encrypt
from ..model.anonymizer import channels_seen
from ..model.meta_arch import PrivacyStages
from ..model.parts import NOT_REID
from .fingerprints import anonymizer_fingerprint
from .not_private import check_private
from .onnx_export import image_graph, reid_graph
from .reading import read_trained, write_safetensors
from .rebuilding import build_part, rebuild
from .release import LIST, release_list

FILES = {
    "anonymizer": "anonymizer.safetensors",
    "recovery": "recovery.safetensors",
    "reid": "reid.pth",
    "anonymizer_onnx": "anonymizer.onnx",
    "recovery_onnx": "recovery.onnx",
    "reid_onnx": "reid.onnx",
}
SECRET = {"recovery": "recovery.key", "recovery_onnx": "recovery.onnx.key"}  # and their names when encrypted
# Keys that tell where the training ran, not what came out of it; the number of identities shapes the weights.
PLACES = (
    *(key for key in RUN_KEYS if key != "MODEL.HEADS.NUM_CLASSES"),
    "MODEL.WEIGHTS",
    "KD.MODEL_CONFIG",
    "KD.MODEL_WEIGHTS",
    "DATASETS.FOLDER.TRAIN",
    "DATASETS.FOLDER.QUERY",
    "DATASETS.FOLDER.GALLERY",
    "DATASETS.PROTECTED",
    "DATASETS.REGIONS",
    "PRIVACY.UPPER_BOUND",
    "PRIVACY.UPGRADE.BASELINE_RANK1",
)


def split_checkpoint(
    weights: str | Path,
    folder: str | Path,
    passphrase: Callable[[], str] | None,
    *,
    onnx: bool = False,
    not_private: bool = False,
) -> dict[str, Path]:
    """Split a checkpoint into the files that its holders get.

    Args:
        weights: a checkpoint of this package.
        folder: for the files; made where it is missing.
        passphrase: asked once for that which encrypts the recovery decoder, where there is one; None writes
            it unencrypted.
        onnx: whether every part is written as an ONNX graph besides.
        not_private: whether a model that is NOT PRIVATE is meant; its files say so.

    Returns:
        {"anonymizer", "recovery", "reid", and with ``onnx`` "anonymizer_onnx", "recovery_onnx", "reid_onnx":
        path}; no anonymizer where the model has no learned one, no recovery where it has no recovery decoder.

    Raises:
        UserError: when the checkpoint is none, or is NOT PRIVATE and that is not meant, a part cannot become
            a graph, or such a file is there already; nothing is written then.
    """
    folder, trained = Path(folder), read_trained(weights)
    parts = _parts(trained.weights)
    if not parts:
        raise UserError(f"{weights} holds neither an anonymizer, a recovery decoder nor a Re-ID model")
    check_private(trained, weights, not_private)
    refuse_existing(folder, (*FILES.values(), *SECRET.values(), LIST))
    secret = passphrase() if passphrase is not None and "recovery" in parts else None
    about = {
        "format": "fastreid_privacy",
        "version": __version__,
        "config": _config_without_places(trained.cfg),
        "fingerprint": anonymizer_fingerprint(trained.weights, trained.cfg, trained.operator),
        **word_of(trained.private),
    }
    contents = {part: _tensors(part, tensors, about) for part, tensors in parts.items()}
    if onnx:
        contents |= {
            f"{part}_onnx": _graph(part, tensors, trained.cfg, about, weights)
            for part, tensors in parts.items()
        }
    files = {name: FILES[name] for name in contents}
    if secret is not None:
        for name, encrypted_name in SECRET.items():
            if name in contents:
                files[name] = encrypted_name
                contents[name] = _encrypted(name, contents[name], secret, about)
    private = [file for name, file in files.items() if name in SECRET]
    by_name = {file: contents[name] for name, file in files.items()}
    write_new(folder, {**by_name, LIST: release_list(by_name, word_of(trained.private))}, private)
    return {name: folder / file for name, file in files.items()}


def _parts(weights: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The tensors of "anonymizer", "recovery" and "reid", by name; without the parts that are not there."""
    parts = {
        part: {name: value for name, value in weights.items() if name.startswith(f"{part}.")}
        for part in ("anonymizer", "recovery")
    }
    parts["reid"] = {name: value for name, value in weights.items() if name.partition(".")[0] not in NOT_REID}
    # a tensor that is a view is pickled with all that it is a view of, which may be other holders' parts
    return {
        part: {name: value.clone() for name, value in tensors.items()}
        for part, tensors in parts.items()
        if tensors
    }


def _tensors(part: str, tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> bytes:
    """The content of a part's own file: a pickled checkpoint of fastreid, or safetensors."""
    if part == "reid":
        buffer = io.BytesIO()
        torch.save({"model": tensors, "config": about["config"], "version": about["version"]}, buffer)
        return buffer.getvalue()
    return write_safetensors(tensors, {**about, "part": part})


def _graph(
    part: str, tensors: Mapping[str, Tensor], cfg: CfgNode, about: Mapping[str, str], path: str | Path
) -> bytes:
    """A part as an ONNX graph; it is built of its own tensors alone."""
    size, about = tuple(cfg.INPUT.SIZE_TEST), {**about, "part": part}
    if part != "reid":
        network, channels = build_part(cfg, tensors, part, path), channels_seen(cfg, part)
        return image_graph(network, part, size, about, channels=channels)
    alone = {"PRIVACY.PROTECTION": "none", "PRIVACY.CENTER_LOSS.WEIGHT": 0.0, "MODEL.DEVICE": "cpu"}
    _, model = rebuild(changed(cfg, alone), tensors, path)
    if not isinstance(model, PrivacyStages):
        raise UserError(
            f"{path} holds a {cfg.MODEL.META_ARCHITECTURE}, which is no model of fastreid_privacy; leave out "
            "--onnx"
        )
    return reid_graph(model, cfg.TEST.FLIP.ENABLED, size, about)


def _encrypted(name: str, content: bytes, passphrase: str, about: Mapping[str, str]) -> bytes:
    """A recovery decoder under a passphrase; without it, all is told but the config."""
    told = {"part": "recovery", "version": about["version"], "fingerprint": about["fingerprint"]}
    if name.endswith("_onnx"):
        told["kind"] = "onnx"
    return encrypt(content, passphrase, told)


def _config_without_places(cfg: CfgNode) -> str:
    """The config as YAML, with nothing of the machine it was trained on; of an operator's files the names."""
    defaults = default_config()
    unplaced = {key: value_of(defaults, key) for key in PLACES}
    operator = cfg.PRIVACY.DESENSITIZER
    for key in added_keys(operator.NAME, defaults.PRIVACY.DESENSITIZER):
        unplaced[f"{NODE}.{key}"] = names_alone(operator[key])
    return changed(cfg, {**unplaced, "MODEL.DEVICE": "cpu"}).dump()


def names_alone(value: Any) -> Any:
    """An option of an operator: of a path, or of each in a list, the name alone."""
    if isinstance(value, list | tuple):
        return type(value)(names_alone(each) for each in value)
    return Path(value).name if isinstance(value, str) else value
