"""The one file of a trained body network: safetensors, read without running code, and strictly."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path

import safetensors.torch
import torch

from fastreid_privacy import UserError
from fastreid_privacy.checkpoints.checksum import check_checksum
from fastreid_privacy.checkpoints.reading import write_safetensors
from fastreid_privacy.core.errors import brief
from fastreid_privacy.core.files import read_file
from fastreid_privacy.core.json_text import parse_json

from .networks import BodyNetwork, Shape

FORMAT = "realistic_body"
SCHEMA = "1"
KEY = "PRIVACY.DESENSITIZER.REALISTIC_BODY_MODEL"
MAKE = "python projects/RealisticBody/train.py makes one"


def model_content(network: BodyNetwork, learned_from: str) -> bytes:
    """The content of a network's file.

    Args:
        network: trained.
        learned_from: what it learned from, in words.
    """
    shape = json.dumps(network.shape.described())
    about = {"format": FORMAT, "schema": SCHEMA, "shape": shape, "learned_from": learned_from}
    return write_safetensors(network.state_dict(), about)


def load_model(path: str, part: str) -> BodyNetwork:
    """The network of a file, in evaluation mode; the same object while the file stays as it is.

    Args:
        path: of the file.
        part: what it has to fill.

    Raises:
        UserError: when no file is named, it cannot be read, is damaged, or is of another method or part.
    """
    network = _loaded(*_key(path))
    if network.shape.part != part:
        raise UserError(f"{KEY} {path} fills {network.shape.part}, and realistic_{_word(part)} needs {part}")
    return network


def model_hash(path: str) -> str:
    """SHA-256 of the file, in hexadecimal digits.

    Raises:
        UserError: when no file is named, or it cannot be read.
    """
    _key(path)
    return hashlib.sha256(read_file(path)).hexdigest()


def _word(part: str) -> str:
    return part.removeprefix("full_")


def _key(path: str) -> tuple[str, int, int]:
    """What tells that a file is the one that was read before."""
    if not path:
        raise UserError(f"{KEY} names no file; it has to name a trained network: {MAKE}")
    try:
        about = Path(path).stat()
    except OSError as error:
        raise UserError(f"{KEY} {path} cannot be read: {error.strerror}; {MAKE}") from None
    return path, about.st_mtime_ns, about.st_size


@lru_cache(maxsize=4)
def _loaded(path: str, *_when: int) -> BodyNetwork:
    try:
        content = read_file(path)
    except UserError as error:
        raise UserError(f"{KEY} {error}; {MAKE}") from None
    try:
        tensors = safetensors.torch.load(content)  # checks the header
        length = int.from_bytes(content[:8], "little")
        about = parse_json(content[8 : 8 + length]).get("__metadata__", {})
    except Exception as error:  # safetensors' errors have no base of their own
        raise UserError(f"{KEY} {path} is no file of a network, or damaged: {brief(error)}") from None
    if about.get("format") != FORMAT:
        raise UserError(
            f"{KEY} {path} is of another method ({about.get('format') or 'it does not say which'}); it has "
            f"to be a network of this project: {MAKE}"
        )
    try:
        if about.get("schema") != SCHEMA:
            raise ValueError(f"its schema is {about.get('schema')!r}, and {SCHEMA} is known")
        check_checksum(content, about)
        told = parse_json(about["shape"].encode())
        shape = Shape(**{**told, "size": tuple(told["size"]), "joints": tuple(told["joints"])})
        with torch.device("meta"):
            network = BodyNetwork(shape)
        network.load_state_dict(tensors, assign=True)
    except (ValueError, TypeError, KeyError, RuntimeError) as error:
        raise UserError(f"{KEY} {path} is damaged: {brief(error)}") from None
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise UserError(f"{KEY} {path} is damaged: it holds numbers that are not finite")
    return network.requires_grad_(False).eval()
