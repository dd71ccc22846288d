"""Splitting a checkpoint: the anonymizer for the camera side, the recovery decoder as a key, the Re-ID model for researchers.

``anonymizer.safetensors`` and ``recovery.key`` (or ``recovery.safetensors``) are read without pickle; ``reid.pth`` is a plain fastreid
checkpoint, for fastreid reads no other kind.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import torch
from fastreid.config import CfgNode
from safetensors.torch import save
from torch import Tensor

from .. import __version__
from ..anonymizer import anonymizer_fingerprint
from ..checkpoint_files import read_checkpoint
from ..config import RUN_KEYS, default_config, parse_config
from ..errors import UserError
from ..evaluate_only import NOT_REID
from ..files import write_atomically
from .encryption import encrypt

ANONYMIZER, RECOVERY, KEY, REID = "anonymizer.safetensors", "recovery.safetensors", "recovery.key", "reid.pth"
# Where the training ran, not what came out of it.
PLACES = (
    *RUN_KEYS, "MODEL.WEIGHTS", "DATASETS.FOLDER.TRAIN", "DATASETS.FOLDER.QUERY", "DATASETS.FOLDER.GALLERY", "DATASETS.PROTECTED",
    "PRIVACY.UPPER_BOUND", "PRIVACY.UPGRADE.BASELINE_RANK1",
)  # fmt: skip


def export(weights: str | Path, folder: str | Path, passphrase: Callable[[], str] | None) -> dict[str, Path]:
    """Split a checkpoint into the files that its holders get.

    Args:
        weights: a checkpoint of this package.
        folder: for the files; made where it is missing.
        passphrase: asked for that which encrypts the recovery decoder, where there is one; None writes it unencrypted.

    Returns:
        {"anonymizer", "recovery", "reid": path}; without the first where the model has no learned anonymizer, without the second where it
        has no recovery decoder.

    Raises:
        UserError: when the checkpoint is none, or a file of such a name is there already; nothing is written then.
    """
    folder, checkpoint = Path(folder), read_checkpoint(weights)
    if not isinstance(checkpoint.get("config"), str) or not checkpoint["config"]:
        raise UserError(f"{weights} carries no config: it is no checkpoint of fastreid_privacy")
    cfg = parse_config(checkpoint["config"], str(weights))
    tensors = checkpoint["model"]
    parts = {name: {key: value for key, value in tensors.items() if key.startswith(f"{name}.")} for name in ("anonymizer", "recovery")}
    reid = {key: value for key, value in tensors.items() if key.partition(".")[0] not in NOT_REID}
    if not reid and not any(parts.values()):
        raise UserError(f"{weights} holds neither an anonymizer, a recovery decoder nor a Re-ID model")
    about = {
        "format": "fastreid_privacy", "version": __version__, "config": _config(cfg), "fingerprint": anonymizer_fingerprint(tensors, cfg),
    }  # fmt: skip
    contents: dict[str, tuple[Path, bytes]] = {}
    if parts["anonymizer"]:
        contents["anonymizer"] = folder / ANONYMIZER, _safetensors(parts["anonymizer"], {**about, "part": "anonymizer"})
    if parts["recovery"]:
        plain = _safetensors(parts["recovery"], {**about, "part": "recovery"})
        public = {"part": "recovery", "version": about["version"], "fingerprint": about["fingerprint"]}
        contents["recovery"] = (folder / RECOVERY, plain) if passphrase is None else (folder / KEY, encrypt(plain, passphrase(), public))
    if reid:
        buffer = io.BytesIO()
        torch.save({"model": reid, "config": about["config"], "version": about["version"]}, buffer)
        contents["reid"] = folder / REID, buffer.getvalue()
    there = [str(path) for path in (folder / name for name in (ANONYMIZER, RECOVERY, KEY, REID)) if path.exists()]
    if there:
        raise UserError(f"{', '.join(there)}: there already; choose another --output folder")
    folder.mkdir(parents=True, exist_ok=True)
    for part, (path, content) in contents.items():
        write_private(path, content) if part == "recovery" else write_atomically(path, lambda file, content=content: file.write(content))
    return {part: path for part, (path, _) in contents.items()}


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read."""

    def write(file) -> None:
        os.chmod(file.fileno(), 0o600)
        file.write(content)

    write_atomically(path, write)


def _config(cfg: CfgNode) -> str:
    """The config as YAML, with nothing of the machine it was trained on."""
    cfg, defaults = cfg.clone(), default_config()
    cfg.defrost()
    for key in PLACES:
        *path, leaf = key.split(".")
        node, default = cfg, defaults
        for name in path:
            node, default = node[name], default[name]
        if key != "MODEL.HEADS.NUM_CLASSES":
            node[leaf] = "cpu" if key == "MODEL.DEVICE" else default[leaf]
    return cfg.dump()


def _safetensors(tensors: dict[str, Tensor], about: dict[str, str]) -> bytes:
    return save({name: tensor.contiguous() for name, tensor in sorted(tensors.items())}, about)
