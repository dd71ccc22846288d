"""The one file of a model: its tensors, its sizes, and what it learned from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fastreid_privacy import UserError
from fastreid_privacy.checkpoints.network_file import filled, network_file_content, read_network_file
from fastreid_privacy.core.errors import brief
from fastreid_privacy.core.json_text import parse_json

from .networks import IdentityNetworks, Sizes

KIND, SCHEMA = "identity_dp", 1
MAKE = "identity_dp needs the identity_dp.safetensors that projects/IdentityDP/train.py writes"


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
    return network_file_content(networks, KIND, {"model": json.dumps(told)})


def read_model(path: str | Path) -> Model:
    """A model that ``train.py`` wrote.

    Raises:
        UserError: naming the file, when it is missing, damaged, or of another method.
    """
    file = read_network_file(path, KIND, MAKE)
    try:
        told = parse_json(file.about["model"])
        if told["schema"] != SCHEMA:
            raise ValueError(f"it has format {told['schema']}, and this version reads {SCHEMA}")
        sizes, about = Sizes(**told["sizes"]), dict(told["about"])
        if not all(type(size) is int for size in asdict(sizes).values()):
            raise ValueError("its sizes are no whole numbers")
        sizes.check()
        networks = filled(lambda: IdentityNetworks(sizes), file.tensors)
    except (ValueError, TypeError, KeyError, RuntimeError) as error:  # UserError is a RuntimeError
        raise UserError(f"{path} is damaged: {brief(error)}") from None
    return Model(networks, file.sha256, about)
