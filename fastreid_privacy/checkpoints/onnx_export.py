"""Trained networks as ONNX graphs: images 0–255 in, images or features out, all between them inside."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..core.errors import UserError
from ..core.extras import load
from ..core.images import to_levels, to_unit
from ..model.meta_arch import PrivacyStages
from .checksum import KEY, NOT_YET, with_checksum
from .onnx_runtime import messages_of, open_session, run_graph

if TYPE_CHECKING:
    from google.protobuf.message import Message

OPSET = 20
TRACED, CHECKED = 2, 3  # images that a graph is made with, and with which it is compared with torch
TOLERANCE = 1e-4  # of the comparison, as a share of the largest value
INSTEAD = "use it with torch: without --onnx or --runtime onnx"


def image_graph(
    network: nn.Module,
    part: str,
    size: tuple[int, int],
    about: Mapping[str, str] | None = None,
    *,
    channels: int = 3,
) -> bytes:
    """An image network as a graph: ``images`` → ``protected``, or ``protected`` → ``recovered``.

    Both are N×3×H×W float32 RGB, N any number; the result is nominally 0–255, neither rounded nor clamped.
    ``images`` are N×6×H×W for an anonymizer that sees desensitized images beside the raw ones: first the raw
    image, then the desensitized one, both 0–255.

    Args:
        network: in evaluation, on the CPU; images in [−1, 1] to the same.
        part: "anonymizer" or "recovery".
        size: (height, width), which the graph has fixed.
        about: the file's metadata, to which a checksum is added; None: without either.
        channels: that the network sees, 3 or 6.

    Returns:
        The content of an ONNX file.

    Raises:
        UserError: when torch cannot export the network, or onnxruntime computes something else of it.
    """
    names = {"anonymizer": ("images", "protected"), "recovery": ("protected", "recovered")}[part]
    return _graph(_Levels(network, part), part, (channels, *size), names, about or {})


def reid_graph(
    model: PrivacyStages, flip: bool, size: tuple[int, int], about: Mapping[str, str] | None = None
) -> bytes:
    """A Re-ID model as a graph: ``images`` → ``features``.

    Images are N×3×H×W float32 RGB 0–255, N any number; features are N×D float32.

    Args:
        model: in evaluation, on the CPU, without image networks.
        flip: whether features are the mean of an image and its mirror image (the config's ``TEST.FLIP``).
        size: (height, width), which the graph has fixed.
        about: as of :func:`image_graph`.

    Returns:
        The content of an ONNX file.

    Raises:
        UserError: as :func:`image_graph`.
    """
    return _graph(_Features(model, flip), "Re-ID model", (3, *size), ("images", "features"), about or {})


class _Levels(nn.Module):
    """A generator between the ranges of files; its tensors are called after the part."""

    def __init__(self, network: nn.Module, part: str):
        super().__init__()
        self.part = part
        self.add_module(part, network)

    def forward(self, images: Tensor) -> Tensor:
        return to_levels(self.get_submodule(self.part)(to_unit(images)).float())


class _Features(nn.Module):
    def __init__(self, model: PrivacyStages, flip: bool):
        super().__init__()
        self.model, self.flip = model, flip

    def forward(self, images: Tensor) -> Tensor:
        return self.model.reid_features(images, self.flip)


def _graph(
    module: nn.Module,
    part: str,
    shape: tuple[int, int, int],
    names: tuple[str, str],
    about: Mapping[str, str],
) -> bytes:
    for library in ("onnx", "onnxscript", "onnxruntime"):  # torch's exporter wants the first two
        load(library)
    module.eval().requires_grad_(False)
    examples = 255 * torch.rand(TRACED + CHECKED, *shape, generator=torch.Generator().manual_seed(0))
    try:
        with _silence():
            program = torch.onnx.export(
                module,
                (examples[:TRACED],),
                dynamo=True,
                input_names=names[:1],
                output_names=names[1:],
                opset_version=OPSET,
                dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
                external_data=False,
                verbose=False,
            )
            assert program is not None  # of dynamo=True
            model = program.model_proto
        _forget_source(model)
        for key, value in sorted({**about, **({KEY: NOT_YET} if about else {})}.items()):
            model.metadata_props.add(key=key, value=value)
        content = model.SerializeToString(deterministic=True)
        content = with_checksum(content) if about else content
        expected = module(examples[TRACED:])
        found = run_graph(open_session(content, "its graph", "cpu", channels=shape[:1]), examples[TRACED:])
    except Exception as error:  # a network of the user's own can end in any of torch's tracer and onnxruntime
        raise UserError(f"the {part} cannot be exported to ONNX ({_reason(error)}); {INSTEAD}") from error
    if not torch.allclose(expected, found, rtol=0, atol=TOLERANCE * max(1.0, float(expected.abs().max()))):
        raise UserError(f"the {part} gives other values under onnxruntime than under torch; {INSTEAD}")
    return content


@contextmanager
def _silence() -> Iterator[None]:
    """Keep the exporter's warnings and progress from the terminal: its exception tells what goes wrong."""
    before = logging.root.manager.disable
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.ERROR)
        try:
            yield
        finally:
            logging.disable(before)


def _reason(error: BaseException) -> str:
    """The first line of the exception that began it; torch's own on top tells how to report a bug."""
    while error.__cause__:
        error = error.__cause__
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def _forget_source(model: Message) -> None:
    """Take out what torch notes of the code: stack traces with this machine's paths."""
    for message in messages_of(model):
        for field, _ in message.ListFields():
            if field.name in ("metadata_props", "doc_string"):
                message.ClearField(field.name)
