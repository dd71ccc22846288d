"""The one file of a model: its tensors, its sizes, and what it learned from; safetensors, read strictly."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from fastreid_privacy import UserError
from fastreid_privacy.checkpoints.checksum import KEY, check_checksum
from fastreid_privacy.checkpoints.reading import write_safetensors
from fastreid_privacy.core.errors import brief
from fastreid_privacy.core.files import read_file
from fastreid_privacy.core.json_text import parse_json

from .networks import IdentityNetworks, Sizes

KIND, SCHEMA = "identity_dp", 1
LARGEST_FILE = 2**30  # bytes


@dataclass(frozen=True)
class Model:
    """What a file holds.

    Attributes:
        networks: in evaluation mode, without gradients.
        sha256: of the file.
        about: "trained_on" and what else the training noted.
    """

    networks: IdentityNetworks
    sha256: str
    about: Mapping[str, Any]


def model_bytes(networks: IdentityNetworks, about: Mapping[str, Any]) -> bytes:
    """The content of a file; :func:`read_model` reads it.

    Args:
        networks: trained.
        about: what JSON can hold.
    """
    told = {"schema": SCHEMA, "sizes": asdict(networks.sizes), "about": dict(about)}
    return write_safetensors(networks.state_dict(), {"format": KIND, "model": json.dumps(told)})


def read_model(path: str | Path) -> Model:
    """A model that ``train.py`` wrote.

    Raises:
        UserError: naming the file, when it is missing, damaged, or of another method.
    """
    content = read_file(path, LARGEST_FILE)
    try:
        tensors = safetensors.torch.load(content)  # checks the header
        length = int.from_bytes(content[:8], "little")
        metadata = parse_json(content[8 : 8 + length]).get("__metadata__", {})
    except Exception as error:  # safetensors' errors have no base of their own
        raise UserError(f"{path} is no model of projects/IdentityDP, or damaged ({brief(error)})") from None
    if metadata.get("format") != KIND:
        raise UserError(
            f"{path} is a file of another method ({metadata.get('format', 'it does not say which')}): "
            "identity_dp needs the identity_dp.safetensors that projects/IdentityDP/train.py writes"
        )
    try:
        if KEY not in metadata:
            raise ValueError("it has no checksum")
        check_checksum(content, metadata)
        told = parse_json(metadata["model"])
        if told["schema"] != SCHEMA:
            raise ValueError(f"it has format {told['schema']}, and this version reads {SCHEMA}")
        sizes, about = Sizes(**told["sizes"]), dict(told["about"])
        if not all(type(size) is int for size in asdict(sizes).values()):
            raise ValueError("its sizes are no whole numbers")
        sizes.check()
        networks = _filled(sizes, tensors)
    except (ValueError, TypeError, KeyError, RuntimeError) as error:  # UserError is a RuntimeError
        raise UserError(f"{path} is damaged: {brief(error)}") from None
    return Model(networks.requires_grad_(False).eval(), hashlib.sha256(content).hexdigest(), about)


def _filled(sizes: Sizes, tensors: Mapping[str, torch.Tensor]) -> IdentityNetworks:
    """The networks of some sizes, with these tensors.

    Raises:
        ValueError: when they are not those of the networks, or are not finite.
    """
    with torch.device("meta"):  # a forged size takes no memory
        networks = IdentityNetworks(sizes)
    wanted = {name: (tuple(value.shape), value.dtype) for name, value in networks.state_dict().items()}
    found = {name: (tuple(value.shape), value.dtype) for name, value in tensors.items()}
    if wanted != found:
        raise ValueError("its tensors are not those of networks of its sizes")
    if not all(bool(torch.isfinite(value).all()) for value in tensors.values()):
        raise ValueError("its tensors are not finite")
    networks.load_state_dict(dict(tensors), assign=True)
    return networks
