"""ONNX graphs under onnxruntime: a graph of images as the network of an image map (``image_maps``).

Graphs are data: onnxruntime runs no code of theirs. A graph that wants further files is refused here, and the
memory of graphs is bounded. A graph of images may not branch or loop, nor have nodes of another domain; how
long it computes is not bounded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from ..config import resolve_device
from ..core.errors import UserError
from ..core.extras import load, onnx, onnxruntime
from ..core.images import LARGEST, to_levels, to_unit
from .checksum import check_checksum

if TYPE_CHECKING:
    from google.protobuf.message import Message

CUDA = "CUDAExecutionProvider"
GRAPH_MEMORY = 2**33  # bytes that graphs may take at a time, 8 GiB
# Nodes that run a graph of their own, as often as they like; no export of this project has one.
CONTROL_FLOW = ("If", "Loop", "Scan", "SequenceMap")
STANDARD = ("", "ai.onnx")  # domains of ONNX's own nodes
SILENT = 4  # onnxruntime's severity "fatal": what goes wrong is said by the exception


class OnnxNetwork(nn.Module):
    """A graph of images as a network: N×C×H×W in [−1, 1] → N×3×H×W in [−1, 1], H×W as exported.

    C is 3, or 6 of an anonymizer that sees desensitized images beside the raw ones. The graph itself has
    images 0–255. It computes in float32, in the thread that calls; several threads may call at once.

    Args:
        content: of an ONNX file.
        path: of the file, for messages.
        device: auto (a GPU where torch sees one and onnxruntime has CUDA), cpu, cuda or cuda:N.

    Raises:
        UserError: when the content is damaged, is no graph of images, or the device is none of onnxruntime's.
    """

    def __init__(self, content: bytes, path: object, device: str = "auto"):
        super().__init__()
        self.made_of = content, path, device
        _refuse_loops(content, path)
        self.session = open_session(content, path, device, channels=(3, 6))
        self.channels, *size = self.session.get_inputs()[0].shape[1:]
        self.size = tuple(size)
        if self.size[0] * self.size[1] > LARGEST:
            raise UserError(
                f"{path} is a graph of {self.size[1]:,}×{self.size[0]:,} pixels, more than {LARGEST:,}"
            )
        # A file that was changed can be a valid graph of something else.
        black = torch.zeros(1, self.channels, *self.size)
        if _first_run(self.session, black, path).shape != (1, 3, *self.size):
            raise UserError(f"{path} is damaged or no graph of images: what it computes has another shape")

    def __reduce__(self) -> tuple[type[OnnxNetwork], tuple[bytes, object, str]]:
        """In another process it is opened anew: sessions cannot be sent."""
        return OnnxNetwork, self.made_of

    def forward(self, images: Tensor) -> Tensor:
        if tuple(images.shape[1:]) != (self.channels, *self.size):
            raise ValueError(
                f"images must be {'×'.join(map(str, (self.channels, *self.size)))} for this ONNX graph, got "
                f"{tuple(images.shape)}"
            )
        mapped = to_unit(run_graph(self.session, to_levels(images)))
        if mapped.shape != (len(images), 3, *self.size):
            raise UserError(
                f"the ONNX graph gives {tuple(mapped.shape)} for images of {tuple(images.shape)}: it is "
                "none of tools/export.py"
            )
        return mapped


def open_session(
    content: bytes, path: object, device: str = "auto", *, channels: Sequence[int] = (3,)
) -> onnxruntime.InferenceSession:
    """A session of a graph that has one input, N×C×H×W float32 images.

    Args:
        content: of an ONNX file.
        path: of the file, for messages.
        device: as :class:`OnnxNetwork`.
        channels: what C may be.

    Raises:
        UserError: as :class:`OnnxNetwork`.
    """
    options = onnxruntime.SessionOptions()
    # a collection has a thread for each batch
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = SILENT
    provider = _provider(device)
    _refuse_other_files(content, path)
    _bound_memory()
    options.add_session_config_entry("session.use_env_allocators", "1")
    try:
        session = onnxruntime.InferenceSession(
            content,
            options,
            providers=[provider],
            # it would compute huge constants before anything bounds them
            disabled_optimizers=["ConstantFolding"],
            enable_fallback=0,
        )
    except Exception as error:  # onnxruntime's errors have no base of their own
        raise UserError(
            f"{path} is damaged or no ONNX graph that onnxruntime runs ({_first_line(error)})"
        ) from None
    # onnxruntime goes on without CUDA where a library of it is missing
    if provider[0] not in session.get_providers():
        raise UserError(
            f"onnxruntime could not start CUDA for device {device}: give cpu, or install the libraries of "
            "onnxruntime-gpu"
        )
    inputs = session.get_inputs()
    shape = inputs[0].shape if len(inputs) == 1 and inputs[0].type == "tensor(float)" else []
    if len(shape) != 4 or shape[1] not in channels or not all(isinstance(side, int) for side in shape[2:]):
        raise UserError(
            f"{path} is no graph of images: it must have one input, float32 "
            f"N×{' or '.join(map(str, channels))}×H×W, with H×W fixed"
        )
    return session


@cache
def _bound_memory() -> None:
    """Bound what the graphs of this process take on the CPU, once for all."""
    memory = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    onnxruntime.create_and_register_allocator(memory, onnxruntime.OrtArenaCfg(GRAPH_MEMORY, -1, -1, -1))


def _refuse_other_files(content: bytes, path: object) -> None:
    """Refuse a graph that takes values from other files: they would come out in what it computes."""
    for message in messages_of(_parsed(content, path)):
        if isinstance(message, onnx.TensorProto) and (
            message.external_data or message.data_location == onnx.TensorProto.EXTERNAL
        ):
            raise UserError(
                f"{path} takes values from other files, which is refused: a graph must hold all that it needs"
            )


def _refuse_loops(content: bytes, path: object) -> None:
    """Refuse nodes that no export of this project has: a loop need not end."""
    for message in messages_of(_parsed(content, path)):
        if isinstance(message, onnx.NodeProto) and (
            message.op_type in CONTROL_FLOW or message.domain not in STANDARD
        ):
            raise UserError(
                f"{path} has a node {message.op_type[:40]!r} of {message.domain[:40] or 'ai.onnx'}, which is "
                "refused: branches, loops and nodes of other domains are in no export of this project"
            )


def _parsed(content: bytes, path: object) -> onnx.ModelProto:
    load("onnx")  # what is missing is not the graph's fault
    try:
        return onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's errors have no base of their own
        raise UserError(f"{path} is damaged or no ONNX graph ({_first_line(error)})") from None


def messages_of(model: Message) -> Iterator[Message]:
    """A protobuf message and all in it, each before those that it holds; it may be changed as it comes."""
    pending = [model]
    while pending:
        message = pending.pop()
        yield message
        for field, value in message.ListFields():
            if field.message_type:
                pending.extend(value if field.is_repeated else [value])


def read_graph(
    content: bytes, part: str, path: object, device: str = "auto"
) -> tuple[OnnxNetwork, dict[str, str]]:
    """A part of a model that ``tools/export.py --onnx`` wrote.

    Args:
        content: of the file.
        part: "anonymizer" or "recovery".
        path: of the file, for messages.
        device: as :class:`OnnxNetwork`.

    Returns:
        The network; and format, version, part, config, fingerprint and, in newer files, sha256.

    Raises:
        UserError: when the file is damaged, foreign, or another part.
    """
    network = OnnxNetwork(content, path, device)
    try:
        about = network.session.get_modelmeta().custom_metadata_map
    except UnicodeDecodeError:
        raise UserError(f"{path} is damaged: its metadata are no text") from None
    if about.get("format") != "fastreid_privacy" or {"version", "part", "config", "fingerprint"} - set(about):
        raise UserError(
            f"{path} is not written by fastreid_privacy: export a checkpoint with tools/export.py --onnx"
        )
    try:
        check_checksum(content, about)
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}") from None
    if about["part"] != part:
        raise UserError(f"{path} holds no {part} network, but the {about['part']}")
    return network, about


def run_graph(session: onnxruntime.InferenceSession, images: Tensor) -> Tensor:
    """The first result of a graph.

    Args:
        session: of :func:`open_session`.
        images: float32 N×3×H×W, on any device.

    Returns:
        float32, on the same device.
    """
    name = session.get_inputs()[0].name
    results = session.run(None, {name: np.ascontiguousarray(images.cpu().numpy())})
    return torch.from_numpy(results[0]).to(images.device)


def _first_run(session: onnxruntime.InferenceSession, images: Tensor, path: object) -> Tensor:
    try:
        return run_graph(session, images)
    except Exception as error:
        raise UserError(f"{path} is damaged or no graph of images ({_first_line(error)})") from None


def _provider(device: str) -> tuple[str, dict[str, str]]:
    name = resolve_device(device)
    available = CUDA in onnxruntime.get_available_providers()
    if name == "cpu" or (device == "auto" and not available):
        return "CPUExecutionProvider", {}
    if not name.startswith("cuda") or not available:
        raise UserError(
            f"onnxruntime has no {device} here: give device cpu, or install onnxruntime-gpu in place of "
            "onnxruntime"
        )
    # Full float32, and an algorithm that does not depend on a race between several: a continued run must give
    # the same bytes.
    return CUDA, {
        "device_id": name.partition(":")[2] or "0",
        "use_tf32": "0",
        "cudnn_conv_algo_search": "HEURISTIC",
    }


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
