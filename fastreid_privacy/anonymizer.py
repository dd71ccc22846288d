"""Anonymizers as files: what a trained checkpoint does to images, without config, trainer or data set.

An anonymizer is anything that maps N×3×H×W images, RGB 0–255, to the same; conventional operators (``desensitize``) and trained networks
are called alike.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from fastreid.config import CfgNode
from torch import Tensor, nn

from .checkpoint_files import read_checkpoint, read_safetensors
from .config import parse_config, resolve_device
from .custody.encryption import decrypt
from .desensitize import Desensitizer
from .errors import UserError
from .image_storage import ImageStorage
from .images import to_levels, to_unit
from .networks import build_generator


class ImageMap(nn.Module):
    """A trained generator or a conventional operator, and the storage that follows it, as a map of images.

    Args:
        network: images in [−1, 1] to the same, or None.
        operator: images 0–255 to the same, used where ``network`` is None.
        storage: what a stored image keeps; the result is that.
        size: (height, width) that the network was trained for.
        fingerprint: of the anonymizer that this is, or whose images it recovers (:func:`anonymizer_fingerprint`).
        trained_on: names of the data sets that the network learned from.
    """

    def __init__(
        self, network: nn.Module | None, operator: nn.Module | None, storage: ImageStorage, size: tuple[int, int], *,
        fingerprint: str = "", trained_on: tuple[str, ...] = (),
    ):  # fmt: skip
        super().__init__()
        self.network, self.operator, self.storage, self.size = network, operator, storage, size
        self.fingerprint, self.trained_on = fingerprint, trained_on
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Map images.

        Args:
            images: N×3×H×W, RGB 0–255, uint8 or float, on any device; H×W as in training (``size``) is what the network knows best, other
                sizes must be halvable as often.

        Returns:
            The same shape, kind and device, 0–255.

        Raises:
            ValueError: for another shape.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images must be N×3×H×W, got {tuple(images.shape)}")
        device = next((p.device for p in self.parameters()), images.device)
        stored = self.storage(self.levels(images.to(device, torch.float32))).to(images.device)
        return stored.round().clamp(0, 255).to(torch.uint8) if images.dtype == torch.uint8 else stored.to(images.dtype)

    @torch.no_grad()
    def levels(self, images: Tensor, seeds: Tensor | None = None) -> Tensor:
        """The mapped images before any storage.

        Args:
            images: float32 N×3×H×W, RGB 0–255, on the network's device.
            seeds: one whole number per image, on which alone conventional noise depends; None: the default generator.

        Returns:
            float32, the same shape and device, nominally 0–255, neither rounded nor clamped.
        """
        if self.network is None:
            return self.operator(images, seeds).float()
        return to_levels(self.network(to_unit(images)).float())


def anonymizer_fingerprint(weights: Mapping[str, Tensor], cfg: CfgNode) -> str:
    """SHA-256 of all that a protected image depends on before it is stored: G_X's tensors with their names, or the conventional operator's
    options, and the size of the images. Checkpoints of one training differ; the parts that one checkpoint is split into agree.

    Args:
        weights: tensors by name, as a checkpoint has them; only ``anonymizer.*`` count.
        cfg: the checkpoint's config.

    Returns:
        64 hexadecimal digits.
    """
    learned = cfg.PRIVACY.PROTECTION == "learned"
    seen = {"size": list(cfg.INPUT.SIZE_TEST), "operator": cfg.PRIVACY.ANONYMIZER if learned else cfg.PRIVACY.DESENSITIZER}
    digest = hashlib.sha256(json.dumps(seen, sort_keys=True).encode())
    for name in sorted(name for name in weights if learned and name.startswith("anonymizer.")):
        digest.update(name.encode())
        digest.update(weights[name].contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def load_anonymizer(path: str | Path, device: str = "auto") -> ImageMap:
    """The anonymizer of a checkpoint: the network G_X, or Base's conventional operator, followed by the storage it was trained with.

    Example:
        >>> protect = load_anonymizer("output/demo/model_best.pth")  # doctest: +SKIP
        >>> protected = protect(images)                              # doctest: +SKIP

    Raises:
        UserError: when the file is missing, is no checkpoint of this project, or holds no anonymizer.
    """
    checkpoint, cfg = _read(path)
    weights, size = checkpoint["model"], tuple(cfg.INPUT.SIZE_TEST)
    about = {"fingerprint": anonymizer_fingerprint(weights, cfg), "trained_on": tuple(cfg.DATASETS.NAMES)}
    if cfg.PRIVACY.PROTECTION == "conventional":
        return ImageMap(None, Desensitizer.from_config(cfg), ImageStorage(cfg.PRIVACY.STORAGE), size, **about)
    network = _network(path, weights, cfg.PRIVACY.ANONYMIZER, "anonymizer", size)
    return ImageMap(network, None, ImageStorage(cfg.PRIVACY.STORAGE), size, **about).to(resolve_device(device))


def load_recovery(path: str | Path, device: str = "auto", passphrase: Callable[[], str] | None = None) -> ImageMap:
    """The recovery decoder G_Y of a checkpoint or of a key file: protected images to recovered ones, kept in 8 bits.

    Args:
        path: of a checkpoint, ``recovery.safetensors`` or an encrypted ``recovery.key``.
        device: auto (a GPU where there is one), cpu, cuda or cuda:N.
        passphrase: asked for that of an encrypted file, and not called for others.

    Raises:
        UserError: when the file is missing, is no checkpoint of this project, holds no recovery decoder, or does not open.
    """
    checkpoint, cfg = _read_key(path, passphrase) if Path(path).suffix == ".key" else _read(path)
    weights, size = checkpoint["model"], tuple(cfg.INPUT.SIZE_TEST)
    if cfg.PRIVACY.PROTECTION == "learned" and cfg.PRIVACY.LAMBDA_REC == 0:
        raise UserError(f"{path} holds no recovery decoder: its model was trained without one (PRIVACY.LAMBDA_REC 0), so that protected "
                        "images carry nothing for it; only sealed originals give raw images back")  # fmt: skip
    network = _network(path, weights, cfg.PRIVACY.RECOVERY, "recovery", size)
    fingerprint = checkpoint.get("fingerprint") or anonymizer_fingerprint(weights, cfg)  # a recovery file of its own says it
    return ImageMap(
        network, None, ImageStorage("png"), size, fingerprint=fingerprint, trained_on=tuple(cfg.DATASETS.NAMES)
    ).to(resolve_device(device))  # fmt: skip


def _read(path: str | Path) -> tuple[dict, CfgNode]:
    checkpoint = read_checkpoint(path)
    if not checkpoint.get("config"):
        raise UserError(f"{path} carries no config: it is no checkpoint of fastreid_privacy")
    return checkpoint, parse_config(checkpoint["config"], str(path))


def _read_key(path: str | Path, passphrase: Callable[[], str] | None) -> tuple[dict, CfgNode]:
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    if passphrase is None:
        raise UserError(f"{path} is encrypted: its passphrase is needed")
    checkpoint = read_safetensors(decrypt(content, passphrase(), path)[0])
    return checkpoint, parse_config(checkpoint["config"], str(path))


def _network(path: str | Path, weights: dict[str, Tensor], options: CfgNode, prefix: str, size: tuple[int, int]) -> nn.Module:
    own = {key.removeprefix(f"{prefix}."): value for key, value in weights.items() if key.startswith(f"{prefix}.")}
    if not own:
        raise UserError(f"{path} holds no {prefix} network; it was trained without one (PRIVACY.PROTECTION)")
    network = build_generator(options, size)
    network.load_state_dict(own)
    return network
