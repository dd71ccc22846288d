"""Anonymizers as files: what a trained checkpoint does to images, without config, trainer or data set.

An anonymizer is anything that maps N×3×H×W images, RGB 0–255, to the same; conventional operators
(``desensitize``) and trained networks are called alike.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from fastreid.config import CfgNode
from torch import Tensor, nn

from ..config import parse_config, resolve_device
from ..core.errors import UserError, brief
from ..core.images import to_levels, to_unit
from ..desensitize import Desensitizer
from ..keys.encryption import decrypt
from ..model.storage import ImageStorage
from .fingerprints import anonymizer_fingerprint
from .onnx_export import image_graph
from .onnx_runtime import OnnxNetwork, read_graph
from .reading import read_checkpoint, read_safetensors
from .rebuilding import build_part

RUNTIMES = ("torch", "onnx")
PRECISIONS = ("float32", "bfloat16", "float16")
GRAPH = ".onnx"  # ending of a file that onnxruntime runs


class ImageMap(nn.Module):
    """A trained generator or a conventional operator, and the storage that follows it, as a map of images.

    Args:
        network: images in [−1, 1] to the same, or None.
        operator: images 0–255 to the same, used where ``network`` is None.
        storage: what a stored image keeps; the result is that.
        size: (height, width) that the network was trained for.
        fingerprint: of the anonymizer that this is, or whose images it recovers
            (:func:`anonymizer_fingerprint`).
        trained_on: names of the data sets that the network learned from.
        precision: "float32", "bfloat16" or "float16": what the network's convolutions compute in; all else is
            float32.
    """

    def __init__(
        self,
        network: nn.Module | None,
        operator: nn.Module | None,
        storage: ImageStorage,
        size: tuple[int, int],
        *,
        fingerprint: str = "",
        trained_on: tuple[str, ...] = (),
        precision: str = "float32",
    ):
        super().__init__()
        self.network, self.operator, self.storage, self.size = network, operator, storage, size
        self.fingerprint, self.trained_on, self.precision = fingerprint, trained_on, precision
        self.runtime = "onnx" if isinstance(network, OnnxNetwork) else "torch"
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Map images.

        Args:
            images: N×3×H×W, RGB 0–255, uint8 or float, on any device; H×W as in training (``size``) is what
                the network knows best, other sizes must be halvable as often.

        Returns:
            The same shape, kind and device, 0–255.

        Raises:
            ValueError: for another shape.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images must be N×3×H×W, got {tuple(images.shape)}")
        device = next((p.device for p in self.parameters()), images.device)
        stored = self.storage(self.levels(images.to(device, torch.float32))).to(images.device)
        return (
            stored.round().clamp(0, 255).to(torch.uint8)
            if images.dtype == torch.uint8
            else stored.to(images.dtype)
        )

    @torch.no_grad()
    def levels(self, images: Tensor, seeds: Tensor | None = None) -> Tensor:
        """The mapped images before any storage.

        Args:
            images: float32 N×3×H×W, RGB 0–255, on the network's device.
            seeds: one whole number per image, on which alone conventional noise depends; None: the default
                generator.

        Returns:
            float32, the same shape and device, nominally 0–255, neither rounded nor clamped.
        """
        if self.network is None:
            return self.operator(images, seeds).float()
        with torch.autocast(
            images.device.type, getattr(torch, self.precision), enabled=self.precision != "float32"
        ):
            mapped = self.network(to_unit(images))
        return to_levels(mapped.float())


def load_anonymizer(
    path: str | Path, device: str = "auto", *, runtime: str | None = None, precision: str = "float32"
) -> ImageMap:
    """The anonymizer of a checkpoint: the network G_X, or Base's conventional operator, followed by the
    storage it was trained with.

    Example:
        >>> protect = load_anonymizer("output/demo/model_best.pth")  # doctest: +SKIP
        >>> protected = protect(images)                              # doctest: +SKIP

    Args:
        path: of a checkpoint, ``anonymizer.safetensors`` or ``anonymizer.onnx``.
        device: auto (a GPU where there is one), cpu, cuda or cuda:N.
        runtime: "torch", or "onnx" (onnxruntime, for which other files are converted in memory); None: onnx
            for ``.onnx`` files.
        precision: of the network, see :class:`ImageMap`; onnx has float32 only.

    Raises:
        UserError: when the file is missing, is no checkpoint of this project, holds no anonymizer, or cannot
            run like this.
    """
    if Path(path).suffix == GRAPH:
        return _graph_map(_content(path), "anonymizer", path, device, runtime, precision)
    checkpoint, cfg = _read(path)
    weights, size = checkpoint["model"], tuple(cfg.INPUT.SIZE_TEST)
    fingerprint = anonymizer_fingerprint(weights, cfg)
    if cfg.PRIVACY.PROTECTION == "conventional":
        if runtime or precision != "float32":
            raise UserError(
                f"{path} protects with a conventional operator, which is no network: it has neither "
                "runtime nor precision"
            )
        operator, storage = Desensitizer.from_config(cfg), ImageStorage(cfg.PRIVACY.STORAGE)
        return ImageMap(
            None, operator, storage, size, fingerprint=fingerprint, trained_on=tuple(cfg.DATASETS.NAMES)
        )
    network = build_part(path, weights, cfg.PRIVACY.ANONYMIZER, "anonymizer", size)
    return _image_map(network, "anonymizer", cfg, fingerprint, path, device, runtime, precision)


def load_recovery(
    path: str | Path,
    device: str = "auto",
    passphrase: Callable[[], str] | None = None,
    *,
    runtime: str | None = None,
    precision: str = "float32",
) -> ImageMap:
    """The recovery decoder G_Y of a checkpoint or of a key file: protected images to recovered ones, kept in
    8 bits.

    Args:
        path: of a checkpoint, ``recovery.safetensors``, ``recovery.onnx``, or an encrypted ``recovery.key``
            or ``recovery.onnx.key``.
        device: auto (a GPU where there is one), cpu, cuda or cuda:N.
        passphrase: asked for that of an encrypted file, and not called for others.
        runtime, precision: as :func:`load_anonymizer`.

    Raises:
        UserError: when the file is missing, is no checkpoint of this project, holds no recovery decoder, does
            not open, or cannot run like this.
    """
    if Path(path).suffix == ".key":
        content, about = _decrypted(path, passphrase)
        if isinstance(about, dict) and about.get("kind") == "onnx":
            return _graph_map(content, "recovery", path, device, runtime, precision)
        try:
            if not isinstance(about, dict) or about.get("part") != "recovery":
                raise ValueError("it is another key")
            checkpoint = read_safetensors(content)
        except Exception as error:  # safetensors' errors have no base of their own
            raise UserError(f"{path} is no recovery key of tools/export.py ({brief(error)})") from None
        cfg = parse_config(checkpoint["config"], str(path))
    elif Path(path).suffix == GRAPH:
        return _graph_map(_content(path), "recovery", path, device, runtime, precision)
    else:
        checkpoint, cfg = _read(path)
    if cfg.PRIVACY.PROTECTION == "learned" and cfg.PRIVACY.LAMBDA_REC == 0:
        raise UserError(
            f"{path} holds no recovery decoder: its model was trained without one (PRIVACY.LAMBDA_REC 0), "
            "so that protected "
            "images carry nothing for it; only sealed originals give raw images back"
        )
    weights = checkpoint["model"]
    network = build_part(path, weights, cfg.PRIVACY.RECOVERY, "recovery", tuple(cfg.INPUT.SIZE_TEST))
    fingerprint = checkpoint.get("fingerprint") or anonymizer_fingerprint(
        weights, cfg
    )  # a recovery file of its own says it
    return _image_map(network, "recovery", cfg, fingerprint, path, device, runtime, precision)


def _image_map(
    network: nn.Module,
    part: str,
    cfg: CfgNode,
    fingerprint: str,
    path: str | Path,
    device: str,
    runtime: str | None,
    precision: str,
) -> ImageMap:
    """A network on its device and under its runtime, with the storage that follows it; an
    :class:`OnnxNetwork` is there already."""
    if runtime not in (None, *RUNTIMES) or precision not in PRECISIONS:
        raise UserError(
            f"runtime {runtime}, precision {precision}: give one of {', '.join(RUNTIMES)} and of "
            f"{', '.join(PRECISIONS)}"
        )
    size = tuple(cfg.INPUT.SIZE_TEST)
    if runtime == "onnx" and not isinstance(network, OnnxNetwork):
        network = OnnxNetwork(image_graph(network, part, size), path, device)
    if isinstance(network, OnnxNetwork):
        if precision != "float32":
            raise UserError(
                f"{path}: onnx runs in float32, not {precision}; take the checkpoint or its .safetensors "
                "part with torch"
            )
        device = "cpu"  # of the tensors: onnxruntime has its own
    storage = ImageStorage(cfg.PRIVACY.STORAGE if part == "anonymizer" else "png")
    return ImageMap(
        network,
        None,
        storage,
        size,
        fingerprint=fingerprint,
        trained_on=tuple(cfg.DATASETS.NAMES),
        precision=precision,
    ).to(resolve_device(device))


def _graph_map(
    content: bytes, part: str, path: str | Path, device: str, runtime: str | None, precision: str
) -> ImageMap:
    if runtime == "torch":
        raise UserError(
            f"{path} is an ONNX graph, which torch does not run: leave out the runtime, or take a file of "
            "tensors"
        )
    network, about = read_graph(content, part, path, device)
    cfg = parse_config(about["config"], str(path))
    if network.size != tuple(cfg.INPUT.SIZE_TEST):
        raise UserError(f"{path} is damaged: its graph and its config have other image sizes")
    return _image_map(network, part, cfg, about["fingerprint"], path, device, runtime, precision)


def _read(path: str | Path) -> tuple[dict, CfgNode]:
    checkpoint = read_checkpoint(path)
    if not checkpoint.get("config"):
        raise UserError(f"{path} carries no config: it is no checkpoint of fastreid_privacy")
    return checkpoint, parse_config(checkpoint["config"], str(path))


def _content(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def _decrypted(path: str | Path, passphrase: Callable[[], str] | None) -> tuple[bytes, dict[str, str]]:
    content = _content(path)
    if passphrase is None:
        raise UserError(f"{path} is encrypted: its passphrase is needed")
    return decrypt(content, passphrase(), path)
