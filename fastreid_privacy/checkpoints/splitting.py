"""Splitting a checkpoint: the anonymizer for the camera side, the recovery decoder as a key, the Re-ID model
for researchers.

``anonymizer.safetensors`` and ``recovery.key`` (or ``recovery.safetensors``) are read without pickle;
``reid.pth`` is a plain fastreid checkpoint, for fastreid reads no other kind. Each part can be written as an
ONNX graph too, with the same metadata and as carefully kept.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import torch
from fastreid.config import CfgNode
from safetensors.torch import save
from torch import Tensor

from ..config import RUN_KEYS, default_config, parse_config
from ..core.errors import UserError
from ..core.files import write_atomically, write_private
from ..core.version import __version__
from ..keys.encryption import encrypt
from ..model.meta_arch import PrivacyStages
from ..model.parts import NOT_REID
from .fingerprints import anonymizer_fingerprint
from .onnx_export import image_graph, reid_graph
from .reading import read_checkpoint
from .rebuilding import build_part, rebuild

ANONYMIZER, RECOVERY, KEY, REID = "anonymizer.safetensors", "recovery.safetensors", "recovery.key", "reid.pth"
RECOVERY_ONNX, KEY_ONNX = "recovery.onnx", "recovery.onnx.key"
NAMES = (ANONYMIZER, RECOVERY, KEY, REID, "anonymizer.onnx", RECOVERY_ONNX, KEY_ONNX, "reid.onnx")
SECRET = ("recovery", "recovery_onnx")
# Where the training ran, not what came out of it.
PLACES = (
    *RUN_KEYS,
    "MODEL.WEIGHTS",
    "DATASETS.FOLDER.TRAIN",
    "DATASETS.FOLDER.QUERY",
    "DATASETS.FOLDER.GALLERY",
    "DATASETS.PROTECTED",
    "PRIVACY.UPPER_BOUND",
    "PRIVACY.UPGRADE.BASELINE_RANK1",
)


def export(
    weights: str | Path, folder: str | Path, passphrase: Callable[[], str] | None, *, onnx: bool = False
) -> dict[str, Path]:
    """Split a checkpoint into the files that its holders get.

    Args:
        weights: a checkpoint of this package.
        folder: for the files; made where it is missing.
        passphrase: asked once for that which encrypts the recovery decoder, where there is one; None writes
            it unencrypted.
        onnx: whether every part is written as an ONNX graph besides.

    Returns:
        {"anonymizer", "recovery", "reid", and with ``onnx`` "anonymizer_onnx", "recovery_onnx", "reid_onnx":
        path}; no anonymizer where the model has no learned one, no recovery where it has no recovery decoder.

    Raises:
        UserError: when the checkpoint is none, a part cannot become a graph, or such a file is there already;
            nothing is written then.
    """
    folder, checkpoint = Path(folder), read_checkpoint(weights)
    if not isinstance(checkpoint.get("config"), str) or not checkpoint["config"]:
        raise UserError(f"{weights} carries no config: it is no checkpoint of fastreid_privacy")
    cfg = parse_config(checkpoint["config"], str(weights))
    tensors = checkpoint["model"]
    parts = {
        name: {key: value for key, value in tensors.items() if key.startswith(f"{name}.")}
        for name in ("anonymizer", "recovery")
    }
    reid = {key: value for key, value in tensors.items() if key.partition(".")[0] not in NOT_REID}
    if not reid and not any(parts.values()):
        raise UserError(f"{weights} holds neither an anonymizer, a recovery decoder nor a Re-ID model")
    there = [str(path) for path in (folder / name for name in NAMES) if path.exists()]
    if there:
        raise UserError(f"{', '.join(there)}: there already; choose another --output folder")
    about = {
        "format": "fastreid_privacy",
        "version": __version__,
        "config": _config(cfg),
        "fingerprint": anonymizer_fingerprint(tensors, cfg),
    }
    contents: dict[str, tuple[Path, bytes]] = {}
    if parts["anonymizer"]:
        contents["anonymizer"] = (
            folder / ANONYMIZER,
            _safetensors(parts["anonymizer"], {**about, "part": "anonymizer"}),
        )
    if parts["recovery"]:
        plain = _safetensors(parts["recovery"], {**about, "part": "recovery"})
        secret = None if passphrase is None else passphrase()
        contents["recovery"] = _locked(folder / RECOVERY, folder / KEY, plain, secret, about)
    if reid:
        buffer = io.BytesIO()
        torch.save({"model": reid, "config": about["config"], "version": about["version"]}, buffer)
        contents["reid"] = folder / REID, buffer.getvalue()
    if onnx:
        graphs = _graphs(cfg, parts, reid, about, Path(weights))
        if "recovery" in graphs:
            locked = _locked(
                folder / RECOVERY_ONNX,
                folder / KEY_ONNX,
                graphs.pop("recovery"),
                secret,
                {**about, "kind": "onnx"},
            )
            contents["recovery_onnx"] = locked
        contents.update(
            {f"{part}_onnx": (folder / f"{part}.onnx", content) for part, content in graphs.items()}
        )
    folder.mkdir(parents=True, exist_ok=True)
    for part, (path, content) in contents.items():
        write_private(path, content) if part in SECRET else write_atomically(
            path, lambda file, content=content: file.write(content)
        )
    return {part: path for part, (path, _) in contents.items()}


def _locked(
    plain: Path, key: Path, content: bytes, passphrase: str | None, about: dict[str, str]
) -> tuple[Path, bytes]:
    """Path and content of a recovery decoder, encrypted unless there is no passphrase; ``config`` is not told
    without it."""
    if passphrase is None:
        return plain, content
    public = {name: about[name] for name in ("version", "fingerprint", "kind") if name in about}
    return key, encrypt(content, passphrase, {"part": "recovery", **public})


def _graphs(
    cfg: CfgNode,
    parts: dict[str, dict[str, Tensor]],
    reid: dict[str, Tensor],
    about: dict[str, str],
    path: Path,
) -> dict[str, bytes]:
    """The parts that a checkpoint holds as ONNX graphs, by name; each is built of its own tensors alone."""
    graphs, size = {}, tuple(cfg.INPUT.SIZE_TEST)
    for part, options in (("anonymizer", cfg.PRIVACY.ANONYMIZER), ("recovery", cfg.PRIVACY.RECOVERY)):
        if parts[part]:
            network = build_part(path, parts[part], options, part, size)
            graphs[part] = image_graph(network, part, size, {**about, "part": part})
    if reid:
        alone = cfg.clone()
        alone.PRIVACY.PROTECTION, alone.PRIVACY.CENTER_LOSS.WEIGHT, alone.MODEL.DEVICE = "none", 0.0, "cpu"
        alone, model = rebuild(alone, reid, path)
        if not isinstance(model, PrivacyStages):
            raise UserError(
                f"{path} holds a {cfg.MODEL.META_ARCHITECTURE}, which is no model of fastreid_privacy; "
                "leave out --onnx"
            )
        graphs["reid"] = reid_graph(model, cfg.TEST.FLIP.ENABLED, size, {**about, "part": "reid"})
    return graphs


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
