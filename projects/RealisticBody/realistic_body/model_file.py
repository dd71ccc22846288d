"""The one file of a trained body network: safetensors, read without running code, and strictly."""

from __future__ import annotations

import json

import torch

from fastreid_privacy import UserError
from fastreid_privacy.checkpoints.network_file import filled, network_file_content, read_network_file
from fastreid_privacy.core.errors import brief
from fastreid_privacy.core.files import read_once
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
    about = {"schema": SCHEMA, "shape": shape, "learned_from": learned_from}
    return network_file_content(network, FORMAT, about)


def load_model(path: str, part: str) -> BodyNetwork:
    """The network of a file, in evaluation mode; the same object while the file stays as it is.

    Args:
        path: of the file.
        part: what it has to fill.

    Raises:
        UserError: when no file is named, it cannot be read, is damaged, or is of another method or part.
    """
    network, _ = _loaded(path)
    if network.shape.part != part:
        raise UserError(f"{KEY} {path} fills {network.shape.part}, and realistic_{_word(part)} needs {part}")
    return network


def model_hash(path: str) -> str:
    """SHA-256 of the file, in hexadecimal digits.

    Raises:
        UserError: as of :func:`load_model`, but for the part.
    """
    return _loaded(path)[1]


def _word(part: str) -> str:
    return part.removeprefix("full_")


@read_once
@torch.inference_mode(False)
def _loaded(path: str) -> tuple[BodyNetwork, str]:
    """The network, and the SHA-256 of its file."""
    if not path:
        raise UserError(f"{KEY} names no file; it has to name a trained network: {MAKE}")
    try:
        file = read_network_file(path, FORMAT, MAKE)
        if file.about.get("schema") != SCHEMA:
            raise ValueError(f"its schema is {file.about.get('schema')!r}, and {SCHEMA} is known")
        told = parse_json(file.about["shape"].encode())
        shape = Shape(**{**told, "size": tuple(told["size"]), "joints": tuple(told["joints"])})
        return filled(lambda: BodyNetwork(shape), file.tensors), file.sha256
    except UserError as error:
        raise UserError(f"{KEY} {error}") from None
    except (ValueError, TypeError, KeyError, RuntimeError) as error:
        raise UserError(f"{KEY} {path} is damaged: {brief(error)}") from None
