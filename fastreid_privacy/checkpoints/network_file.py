"""The one file of a network of a project: safetensors with a checksum, read strictly, and no code is run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from ..core.errors import UserError, brief
from ..core.files import read_file
from .checksum import KEY, check_checksum
from .reading import parsed_safetensors, write_safetensors

LARGEST_FILE = 2**30  # bytes

Network = TypeVar("Network", bound=nn.Module)


class NetworkFile(NamedTuple):
    """What a file holds.

    Attributes:
        tensors: by name, on the CPU.
        about: what :func:`network_file_content` was told.
        sha256: of the file, 64 hexadecimal digits.
    """

    tensors: dict[str, Tensor]
    about: Mapping[str, str]
    sha256: str


def network_file_content(network: nn.Module, kind: str, about: Mapping[str, str]) -> bytes:
    """The content of a file; :func:`read_network_file` reads it.

    Args:
        network: trained.
        kind: a word for the method, so that no other takes the file for its own.
        about: words by name, of which ``format`` is taken.
    """
    return write_safetensors(network.state_dict(), {**about, "format": kind})


def read_network_file(path: str | Path, kind: str, remedy: str) -> NetworkFile:
    """Read a file, and compare it with its checksum.

    Args:
        path: of the file.
        kind: as of :func:`network_file_content`.
        remedy: for messages: what makes such a file.

    Raises:
        UserError: naming the file, when it cannot be read, is damaged, or is of another method.
    """
    try:
        content = read_file(path, LARGEST_FILE)
    except UserError as error:
        raise UserError(f"{error}; {remedy}") from None
    try:
        tensors, about = parsed_safetensors(content)
    except Exception as error:  # safetensors' errors have no base of their own
        raise UserError(f"{path} is no file of a network, or damaged ({brief(error)}); {remedy}") from None
    if about.get("format") != kind:
        told = about.get("format", "it does not say which")
        raise UserError(f"{path} is of another method ({told}) than {kind}; {remedy}")
    try:
        if KEY not in about:
            raise ValueError("it has no checksum")
        check_checksum(content, about)
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}") from None
    return NetworkFile(tensors, about, hashlib.sha256(content).hexdigest())


def filled(make: Callable[[], Network], tensors: Mapping[str, Tensor]) -> Network:
    """A network with the tensors of a file, in evaluation mode and without gradients.

    Args:
        make: gives the network; it takes no memory, so that a forged size does not.
        tensors: by name.

    Raises:
        ValueError: when they are not those of the network, or are not finite.
    """
    with torch.device("meta"):
        network = make()
    wanted, found = (
        {name: (tuple(value.shape), value.dtype) for name, value in each.items()}
        for each in (network.state_dict(), tensors)
    )
    if wanted != found:
        raise ValueError("its tensors are not those of a network of its sizes")
    if not all(bool(torch.isfinite(value).all()) for value in tensors.values()):
        raise ValueError("its tensors are not finite")
    network.load_state_dict(dict(tensors), assign=True)
    return network.requires_grad_(False).eval()
