"""Anonymizers as files: what a trained checkpoint does to images, without config, trainer or data set.

An anonymizer is anything that maps N×3×H×W images, RGB 0–255, to the same; conventional operators (``desensitize``) and trained networks
are called alike.
"""

from __future__ import annotations

from pathlib import Path

import torch
from fastreid.config import CfgNode
from torch import Tensor, nn

from .checkpoint import read_checkpoint
from .config import parse_config, resolve_device
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
    """

    def __init__(self, network: nn.Module | None, operator: nn.Module | None, storage: ImageStorage, size: tuple[int, int]):
        super().__init__()
        self.network, self.operator, self.storage, self.size = network, operator, storage, size
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
        raw = images.to(device, torch.float32)
        mapped = self.operator(raw) if self.network is None else to_levels(self.network(to_unit(raw)))
        stored = self.storage(mapped).to(images.device)
        return stored.round().clamp(0, 255).to(torch.uint8) if images.dtype == torch.uint8 else stored.to(images.dtype)


def load_anonymizer(path: str | Path, device: str = "auto") -> ImageMap:
    """The anonymizer of a checkpoint: the network G_X, or Base's conventional operator, followed by the storage it was trained with.

    Example:
        >>> protect = load_anonymizer("output/demo/model_best.pth")  # doctest: +SKIP
        >>> protected = protect(images)                              # doctest: +SKIP

    Raises:
        UserError: when the file is missing, is no checkpoint of this project, or holds no anonymizer.
    """
    weights, cfg = _read(path)
    storage, size = ImageStorage(cfg.PRIVACY.STORAGE), tuple(cfg.INPUT.SIZE_TEST)
    if cfg.PRIVACY.PROTECTION == "conventional":
        return ImageMap(None, Desensitizer.from_config(cfg), storage, size)
    return ImageMap(_network(path, weights, cfg.PRIVACY.ANONYMIZER, "anonymizer", size), None, storage, size).to(resolve_device(device))


def load_recovery(path: str | Path, device: str = "auto") -> ImageMap:
    """The recovery decoder G_Y of a checkpoint: protected images to recovered ones, kept in 8 bits.

    Raises:
        UserError: when the file is missing, is no checkpoint of this project, or holds no recovery decoder.
    """
    weights, cfg = _read(path)
    size = tuple(cfg.INPUT.SIZE_TEST)
    return ImageMap(_network(path, weights, cfg.PRIVACY.RECOVERY, "recovery", size), None, ImageStorage("png"), size).to(
        resolve_device(device)
    )


def _read(path: str | Path) -> tuple[dict[str, Tensor], CfgNode]:
    checkpoint = read_checkpoint(path)
    if not checkpoint.get("config"):
        raise UserError(f"{path} carries no config: it is no checkpoint of fastreid_privacy")
    return checkpoint["model"], parse_config(checkpoint["config"], str(path))


def _network(path: str | Path, weights: dict[str, Tensor], options: CfgNode, prefix: str, size: tuple[int, int]) -> nn.Module:
    own = {key.removeprefix(f"{prefix}."): value for key, value in weights.items() if key.startswith(f"{prefix}.")}
    if not own:
        raise UserError(f"{path} holds no {prefix} network; it was trained without one (PRIVACY.PROTECTION)")
    network = build_generator(options, size)
    network.load_state_dict(own)
    return network
