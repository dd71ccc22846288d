"""A checksum inside a file: neither ``.safetensors`` nor ``.onnx`` has one, and damaged weights compute.

The metadata of a part hold ``sha256``: the SHA-256 of the whole file, taken with zeros in the place of its 64
digits. It finds damage; whoever changes a file on purpose can write it anew.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

KEY = "sha256"  # in the metadata
NOT_YET = "0" * 64


def with_checksum(content: bytes) -> bytes:
    """The content of a file with its checksum filled in.

    Args:
        content: of a file whose metadata hold ``NOT_YET`` under ``KEY``.

    Raises:
        ValueError: unless those zeros are there once.
    """
    if content.count(NOT_YET.encode()) != 1:
        raise ValueError(f"the file must hold {NOT_YET} once, as {KEY} of its metadata")
    return content.replace(NOT_YET.encode(), hashlib.sha256(content).hexdigest().encode())


def check_checksum(content: bytes, about: Mapping[str, str]) -> None:
    """Compare a file with the checksum that it carries; older files carry none and pass.

    Args:
        content: of the file.
        about: its metadata.

    Raises:
        ValueError: when it is another, or what it carries is none.
    """
    if KEY not in about:
        return
    told = about[KEY]
    if not re.fullmatch("[0-9a-f]{64}", told):  # what is shorter, or empty, may be there very often
        raise ValueError("its checksum is none")
    if hashlib.sha256(content.replace(told.encode(), NOT_YET.encode())).hexdigest() != told:
        raise ValueError("its checksum is wrong")
