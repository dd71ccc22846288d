"""Checkpoint files: read without running code, and compared with a model before they change it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from fastreid.config import CfgNode
from fastreid.utils.file_io import PathManager
from torch import Tensor, nn

from ..compat.checkpoints import load_safely
from ..config import parse_config
from ..core.errors import UserError, some_of, typed
from ..core.files import read_file
from ..core.json_text import parse_json
from ..core.privacy import WORDS
from ..model.verdict import verdict
from .checksum import KEY, NOT_YET, check_checksum, with_checksum
from .fingerprints import anonymizer_fingerprint
from .release import compare_with_release

SAFETENSORS = ".safetensors"


@dataclass(frozen=True)
class TrainedCheckpoint:
    """A checkpoint that this package trained, or a part of one.

    Attributes:
        weights: tensors by name, on the CPU.
        cfg: the config that it was trained with, frozen.
        fingerprint: of its anonymizer, where the file tells it, as ``.safetensors`` parts do; else "".
        private: whether its anonymizer met the privacy constraint at its last check; None where the file does
            not tell it, or no constraint applies.
        operator: what the images of its operator depend on, where that describes itself; else None.
    """

    weights: dict[str, Tensor]
    cfg: CfgNode
    fingerprint: str = ""
    private: bool | None = None
    operator: dict[str, Any] | None = None


def read_trained(path: str | Path) -> TrainedCheckpoint:
    """Read a checkpoint that carries the config it was trained with.

    Args:
        path: as :func:`read_checkpoint`.

    Raises:
        UserError: as :func:`read_checkpoint`, and when there is no config or a damaged one.
    """
    return trained_checkpoint(read_checkpoint(path), path)


def trained_checkpoint(content: Mapping[str, Any], path: str | Path) -> TrainedCheckpoint:
    """What :func:`read_checkpoint` or :func:`read_safetensors` gave, with its config parsed.

    Args:
        content: "model", "config" and, where the file tells them, "part", "fingerprint", "sha256", "privacy"
            and "upgrade_record"; other keys do not count.
        path: of the file, for messages.

    Raises:
        UserError: when there is no config or a damaged one, or an anonymizer without a checksum has another
            fingerprint than it tells.
    """
    text = content.get("config")
    if not isinstance(text, str) or not text:
        raise UserError(f"{path} carries no config: it is no checkpoint of fastreid_privacy")
    cfg = parse_config(text, str(path))
    cfg.freeze()
    weights, fingerprint = content["model"], str(content.get("fingerprint") or "")
    only_told = (
        content.get("part") == "anonymizer" and KEY not in content
    )  # in older files nothing else tells
    if only_told and anonymizer_fingerprint(weights, cfg) != fingerprint:
        raise UserError(f"{path} is damaged: its tensors have another fingerprint than it tells")
    try:
        told = content.get("privacy")
        private = WORDS[told] if told in WORDS else verdict(cfg, content.get("upgrade_record"))
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} is damaged: {error}") from None
    operator = content.get("operator")
    return TrainedCheckpoint(
        weights, cfg, fingerprint, private, operator if isinstance(operator, dict) else None
    )


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU without running code from it.

    Args:
        path: written by this package or by plain fastreid, or a bare state dict; a ``.safetensors`` file of
            ``tools/export.py``.

    Returns:
        The file's content; ``"model"`` is the state dict, with tensors for values and no ``module.`` before
        its keys.

    Raises:
        UserError: no such file, a damaged one, one that is no checkpoint, or another than its release lists.
    """
    content = _read(path)
    for key in ("model", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            break
    else:
        key, content = "model", {"model": content}
    weights = content[key]
    if (
        not isinstance(weights, Mapping)
        or not weights
        or not all(isinstance(name, str) and _is_array(weights[name]) for name in weights)
    ):
        raise UserError(
            f"{path} is no checkpoint: it holds no tensors by name (MODEL.WEIGHTS and --resume want a .pth "
            "of fastreid)"
        )
    others = {name: value for name, value in content.items() if name not in ("model", key)}
    if hollow := [name for name, value in weights.items() if not _is_whole(value)]:
        raise UserError(
            f"{path} is damaged or forged: {some_of(hollow)} is no plain tensor, or holds "
            "fewer numbers than its shape announces"
        )
    prefix = "module." if all(name.startswith("module.") for name in weights) else ""
    tensors = {name.removeprefix(prefix): torch.as_tensor(value) for name, value in weights.items()}
    return {"model": tensors, **others}


def write_safetensors(tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> bytes:
    """The content of a ``.safetensors`` file with a checksum; :func:`read_safetensors` reads it.

    Args:
        tensors: by name.
        about: the file's metadata.
    """
    ordered = {name: tensors[name].contiguous() for name in sorted(tensors)}
    return with_checksum(safetensors.torch.save(ordered, metadata={**about, KEY: NOT_YET}))


def parsed_safetensors(content: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a ``.safetensors`` file by name, and its metadata; errors are those of its library."""
    tensors = safetensors.torch.load(content)  # checks the header
    length = int.from_bytes(content[:8], "little")
    return tensors, parse_json(content[8 : 8 + length]).get("__metadata__", {})


def read_safetensors(content: bytes) -> dict[str, Any]:
    """A part of a checkpoint, as :mod:`~fastreid_privacy.checkpoints.splitting` writes it.

    Args:
        content: of the file.

    Returns:
        ``model``, the tensors by name; ``config``, ``version``, ``part`` and ``fingerprint``; ``sha256`` and
        ``privacy``, which older files have not.

    Raises:
        ValueError: when it is something else or damaged; safetensors and JSON raise errors of their own, too.
    """
    tensors, about = parsed_safetensors(content)
    if about.get("format") != "fastreid_privacy":
        raise ValueError("it is not written by fastreid_privacy")
    check_checksum(content, about)
    keys = ("config", "version", "part", "fingerprint", *(key for key in (KEY, "privacy") if key in about))
    return {"model": tensors, **{key: about[key] for key in keys}}


def load_matching_weights(model: nn.Module, weights: Mapping[str, Tensor], path: str) -> str:
    """Copy the tensors that fit the model by name and shape into it.

    Args:
        model: changed in place; what does not fit keeps its value.
        weights: tensors by name.
        path: of the file, for messages.

    Returns:
        One line: what was loaded, what was kept, which shapes differ, what of the file is unused; by
        top-level module.

    Raises:
        UserError: when less than half of the model's backbone fits (of the model, where nothing is called
            backbone).
    """
    own = model.state_dict()
    fitting = {
        name: value for name, value in weights.items() if name in own and own[name].shape == value.shape
    }
    needed = [name for name in own if name.startswith("backbone.")] or list(own)
    found = sum(name in fitting for name in needed)
    if 2 * found < len(needed):
        bare = any(f"backbone.{name}" in own for name in weights)
        fix = (
            "a bare backbone's file is named with MODEL.BACKBONE.PRETRAIN_PATH"
            if bare
            else "mend MODEL.WEIGHTS or the config"
        )
        raise UserError(
            f"{path} is of another model: {found} of {len(needed)} tensors of the backbone fit by name and "
            f"shape. The file has {some_of(list(weights))}; the model has {some_of(needed)}. Fix: {fix}"
        )
    model.load_state_dict(fitting, strict=False)
    other = [name for name in weights if name in own and name not in fitting]
    shapes = [f"{name} ({_size(weights[name])} in the file, {_size(own[name])} here)" for name in other]
    parts = [
        f"{len(fitting)} tensors loaded from {path}",
        f"kept at their initial values: {_by_module(name for name in own if name not in weights)}",
        f"kept, for their shapes differ: {', '.join(shapes) or 'none'}",
        f"not used of the file: {_by_module(name for name in weights if name not in own)}",
    ]
    return "; ".join(parts)


def _read(path: str | Path) -> Any:
    if "://" in str(path):
        path = PathManager.get_local_path(str(path))
    if not Path(path).is_file():
        what = "is no file" if Path(path).exists() else "does not exist"
        raise UserError(f"{path} {what}: give the path of a checkpoint, or of a part that export made")
    if Path(path).stat().st_size == 0:
        raise UserError(f"{path} is empty")
    compare_with_release(path)
    content = read_file(path) if str(path).endswith(SAFETENSORS) else None
    try:
        return load_safely(path) if content is None else read_safetensors(content)
    except Exception as error:  # a damaged file can end in any exception of zipfile, pickle and torch
        raise UserError(f"{path} is damaged or no checkpoint ({typed(error)})") from error


def _is_array(value: Any) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, np.ndarray) and value.dtype.kind in "biufc")


def _is_whole(value: Any) -> bool:
    """Whether a tensor holds each of its numbers: a few bytes can stand for terabytes."""
    if not isinstance(value, Tensor):
        return True
    if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
        return False
    return value.numel() * value.element_size() <= value.untyped_storage().nbytes()


def _by_module(names: Iterable[str]) -> str:
    counts = Counter(name.partition(".")[0] for name in names)
    return ", ".join(f"{module} ({count})" for module, count in counts.items()) or "none"


def _size(tensor: Tensor) -> str:
    return "×".join(str(side) for side in tensor.shape) or "scalar"
