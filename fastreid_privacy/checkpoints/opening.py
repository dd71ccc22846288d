"""Anonymizers and recovery decoders from their files, without config, trainer or data set.

What a file holds decides the way it takes:

==========================================  ==============  ====================================
file                                        opened as       then
==========================================  ==============  ====================================
checkpoint or ``.safetensors``              tensors         built, as a graph where runtime is onnx
``recovery.key``                            decrypted       as tensors
``.onnx``                                   graph           run by onnxruntime
``recovery.onnx.key``                       decrypted       as a graph
==========================================  ==============  ====================================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from fastreid.config import CfgNode
from torch import nn

from ..config import changed, image_device, parse_config
from ..core.errors import UserError, brief, named
from ..core.privacy import WORDS
from ..desensitize import Desensitizer
from ..desensitize.desensitizer import REGIONS_KEY
from ..model.anonymizer import channels_seen, second_input
from ..model.storage import ImageStorage
from ..model.verdict import constraint_of
from .fingerprints import anonymizer_fingerprint
from .image_maps import ImageMap
from .onnx_export import image_graph
from .onnx_runtime import OnnxNetwork, read_graph
from .reading import TrainedCheckpoint, read_safetensors, read_trained, trained_checkpoint
from .rebuilding import build_part
from .release import read_part

RUNTIMES = ("torch", "onnx")
PRECISIONS = ("float32", "bfloat16", "float16")
GRAPH, KEY = ".onnx", ".key"  # endings of files: a graph, and an encrypted file


def load_anonymizer(
    path: str | Path,
    device: str = "auto",
    *,
    runtime: str | None = None,
    precision: str = "float32",
    regions: str | None = None,
) -> ImageMap:
    """The anonymizer of a checkpoint, followed by the storage it was trained with.

    It is the network G_X, or Base's conventional operator.

    Example:
        >>> protect = load_anonymizer("output/demo/model_best.pth")  # doctest: +SKIP
        >>> protected = protect(images)                              # doctest: +SKIP

    Args:
        path: of a checkpoint, ``anonymizer.safetensors`` or ``anonymizer.onnx``.
        device: auto (a GPU where there is one), cpu, cuda or cuda:N.
        runtime: "torch", or "onnx" (onnxruntime, for which other files are converted in memory); None: onnx
            for ``.onnx`` files.
        precision: of the network, see :class:`ImageMap`; onnx has float32 only.
        regions: ``DATASETS.REGIONS`` of the images that are to be protected, for a model whose operator
            changes a part of each; None: as in its training.

    Raises:
        UserError: when the file is missing, is no checkpoint of this project, holds no anonymizer, or cannot
            run like this.
    """
    wanted = _Wanted("anonymizer", path, device, runtime, precision, regions)
    opened = _open(path)
    if isinstance(opened, bytes):
        return _map_of_graph(wanted, opened)
    if opened.cfg.PRIVACY.PROTECTION == "conventional":
        return _map_of_operator(wanted, opened)
    return _map_of_tensors(wanted, opened)


def load_recovery(
    path: str | Path,
    device: str = "auto",
    passphrase: Callable[[], str] | None = None,
    *,
    runtime: str | None = None,
    precision: str = "float32",
) -> ImageMap:
    """The recovery decoder G_Y: protected images to recovered ones, kept in 8 bits.

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
    wanted = _Wanted("recovery", path, device, runtime, precision)
    opened = _open_key(path, passphrase) if Path(path).suffix == KEY else _open(path)
    if isinstance(opened, bytes):
        return _map_of_graph(wanted, opened)
    if opened.cfg.PRIVACY.PROTECTION == "learned" and opened.cfg.PRIVACY.LAMBDA_REC == 0:
        raise UserError(
            f"{path} holds no recovery decoder: its model was trained without one (PRIVACY.LAMBDA_REC 0), "
            "so that protected images carry nothing for it; only sealed originals give raw images back"
        )
    return _map_of_tensors(wanted, opened)


@dataclass(frozen=True)
class _Wanted:
    """The part that is wanted of a file, and how it is to run: as :func:`load_anonymizer` is asked."""

    part: str
    path: str | Path
    device: str
    runtime: str | None
    precision: str
    regions: str | None = None

    def told(self, cfg: CfgNode) -> CfgNode:
        """The config that a file carries, with the regions of other images."""
        return cfg if self.regions is None else changed(cfg, {REGIONS_KEY: self.regions})

    def __post_init__(self) -> None:
        if self.runtime not in (None, *RUNTIMES) or self.precision not in PRECISIONS:
            raise UserError(
                f"runtime {self.runtime}, precision {self.precision}: give one of {', '.join(RUNTIMES)} and "
                f"of {', '.join(PRECISIONS)}"
            )
        image_device(self.device)  # also where an operator or a graph has no use for it


def _open(path: str | Path) -> bytes | TrainedCheckpoint:
    """The bytes of a graph; of any other file, its tensors and its config."""
    return read_part(path) if Path(path).suffix == GRAPH else read_trained(path)


def _open_key(path: str | Path, passphrase: Callable[[], str] | None) -> bytes | TrainedCheckpoint:
    """As :func:`_open`, of an encrypted file."""
    from ..keys.encryption import decrypt, is_encrypted, told  # needed for encrypted files alone

    encrypted = read_part(path)
    if not is_encrypted(encrypted) or "recipient" in told(encrypted):
        raise UserError(
            f"{path} is damaged or no recovery key of tools/export.py; the key of sealed originals is "
            "given with --identity, that of search templates with --search-key"
        )
    if passphrase is None:
        raise UserError(f"{path} is encrypted: its passphrase is needed")
    content, about = decrypt(encrypted, passphrase(), path)
    if about.get("kind") == "onnx":
        return content
    try:
        if about.get("part") != "recovery":
            raise ValueError("it is another key")
        tensors = read_safetensors(content)
    except Exception as error:  # safetensors' errors have no base of their own
        raise UserError(f"{path} is no recovery key of tools/export.py ({brief(error)})") from None
    return trained_checkpoint(tensors, path)


def _map_of_operator(wanted: _Wanted, trained: TrainedCheckpoint) -> ImageMap:
    if wanted.runtime or wanted.precision != "float32":
        raise UserError(
            f"{wanted.path} protects with a conventional operator, which is no network: it has neither "
            "runtime nor precision"
        )
    cfg = wanted.told(trained.cfg)
    with named(wanted.path):
        operator = Desensitizer.from_config(cfg)
    if trained.operator is not None and trained.operator != operator.about:
        raise UserError(
            f"{wanted.path} was trained on images of {operator.name} with other files: it tells "
            f"{trained.operator}, and now that is {operator.about}; give it its own files back"
        )
    return ImageMap(
        None,
        operator,
        ImageStorage(cfg.PRIVACY.STORAGE),
        tuple(cfg.INPUT.SIZE_TEST),
        fingerprint=anonymizer_fingerprint(trained.weights, cfg),
        trained_on=tuple(cfg.DATASETS.NAMES),
    )


def _map_of_tensors(wanted: _Wanted, trained: TrainedCheckpoint) -> ImageMap:
    weights, cfg = trained.weights, wanted.told(trained.cfg)
    network = build_part(cfg, weights, wanted.part, wanted.path)
    network.to(memory_format=torch.channels_last)  # as in training, so that it gives the same bits
    if wanted.runtime == "onnx":
        channels = channels_seen(cfg, wanted.part)
        graph = image_graph(network, wanted.part, tuple(cfg.INPUT.SIZE_TEST), channels=channels)
        network = OnnxNetwork(graph, wanted.path, wanted.device)
    # a recovery file of its own tells whose images it recovers; an anonymizer is what its tensors are
    told = trained.fingerprint if wanted.part == "recovery" else ""
    fingerprint = told or anonymizer_fingerprint(weights, cfg)
    return _map_of_network(wanted, network, cfg, fingerprint, trained.private)


def _map_of_graph(wanted: _Wanted, content: bytes) -> ImageMap:
    if wanted.runtime == "torch":
        raise UserError(
            f"{wanted.path} is an ONNX graph, which torch does not run: leave out the runtime, or take a "
            "file of tensors"
        )
    network, about = read_graph(content, wanted.part, wanted.path, wanted.device)
    cfg = wanted.told(parse_config(about["config"], str(wanted.path)))
    if network.size != tuple(cfg.INPUT.SIZE_TEST) or network.channels != channels_seen(cfg, wanted.part):
        raise UserError(f"{wanted.path} is damaged: its graph and its config have other images")
    return _map_of_network(wanted, network, cfg, about["fingerprint"], WORDS.get(about.get("privacy", "")))


def _map_of_network(
    wanted: _Wanted, network: nn.Module, cfg: CfgNode, fingerprint: str, private: bool | None
) -> ImageMap:
    """A network on its device, with the storage that follows it."""
    device, beside = wanted.device, second_input(cfg) if wanted.part == "anonymizer" else None
    if isinstance(network, OnnxNetwork):
        if wanted.precision != "float32":
            raise UserError(
                f"{wanted.path}: onnx runs in float32, not {wanted.precision}; take the checkpoint or its "
                ".safetensors part with torch"
            )
        device = "cpu"  # of the tensors: onnxruntime has its own
    return ImageMap(
        network,
        None,
        ImageStorage(cfg.PRIVACY.STORAGE if wanted.part == "anonymizer" else "png"),
        tuple(cfg.INPUT.SIZE_TEST),
        beside=beside,
        constraint=constraint_of(cfg) if wanted.part == "anonymizer" else None,
        fingerprint=fingerprint,
        trained_on=tuple(cfg.DATASETS.NAMES),
        private=private,
        precision=wanted.precision,
    ).to(image_device(device))
