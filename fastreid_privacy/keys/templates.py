"""A search template: the Re-ID feature of a raw picture, sealed to search keys.

Before it is sealed it has the fingerprint of the Re-ID model (32 bytes), the number of values (2 bytes), the
largest value (float32), and each value as a share of the largest (float16), all big-endian. Zeros behind them
may fill up the carrier. With 8 bits a value, single queries found another image first.

Sealed, it has the form of ``envelope``, with a purpose of its own: no key of originals opens it, and no
search key an original.

Beside a protected file, a template is a file of its own. The SHA-256 of the protected file is bound.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..core.errors import UserError
from .envelope import TEMPLATE, Purpose, close, disclose, overhead
from .pairs import PrivateKey, PublicKey

LONGEST = 2**16 - 1  # values
_HEAD = struct.Struct(">32sHf")


class Template(NamedTuple):
    """The feature of a raw picture.

    Attributes:
        model: fingerprint of the Re-ID model that made it, 64 hexadecimal digits
            (:func:`fastreid_privacy.checkpoints.fingerprints.reid_fingerprint`).
        feature: D float32, as precise as float16.
    """

    model: str
    feature: np.ndarray


class Searchable(NamedTuple):
    """A template, and to whom it is sealed.

    Attributes:
        content: what :func:`packed_template` gave.
        keys: of whom may open it.
    """

    content: bytes
    keys: Sequence[PublicKey]

    @property
    def length(self) -> int:
        """Bytes that it has when it is sealed."""
        return len(self.content) + overhead(self.keys, TEMPLATE)

    def closed(self, bound: bytes, length: int = 0) -> bytes:
        """Sealed; filled up with zeros to a length, where that is longer."""
        free = max(0, length - self.length)
        return close(self.content + bytes(free), self.keys, bound, TEMPLATE)


def packed_template(feature: np.ndarray, model: str) -> bytes:
    """A feature as bytes, to be sealed.

    Args:
        feature: D float values.
        model: fingerprint of the model that made it.

    Raises:
        UserError: when a value is not finite, or there are none or too many.
    """
    largest = np.float32(np.abs(feature).max(initial=0))
    if not 0 < len(feature) <= LONGEST:
        raise UserError(f"a template has 1 to {LONGEST:,} values; this Re-ID model gives {len(feature):,}")
    if not np.isfinite(largest):
        raise UserError("a feature of the Re-ID model is not finite: its weights are broken")
    values = (feature / (largest or np.float32(1))).astype(">f2")
    return _HEAD.pack(bytes.fromhex(model), len(feature), largest) + values.tobytes()


def unpacked_template(plain: bytes) -> Template:
    """The feature in decrypted bytes; anybody who has the public key can seal, so they are looked at.

    Raises:
        UserError: the reason, without the path, when no run seals such bytes.
    """
    try:
        model, length, largest = _HEAD.unpack_from(plain)
        values, rest = plain[_HEAD.size :][: 2 * length], plain[_HEAD.size + 2 * length :]
        if not length or len(values) < 2 * length or any(rest):
            raise ValueError(f"it announces {length} values, and {len(plain) - _HEAD.size} bytes are there")
        feature = np.frombuffer(values, ">f2").astype(np.float32) * np.float32(largest)
        if not np.isfinite(feature).all():
            raise ValueError("its values are not finite")
    except (ValueError, struct.error) as error:
        raise UserError(f"it is no template that tools/anonymize.py has sealed ({error})") from None
    return Template(model.hex(), feature)


def seal_beside(searchable: Searchable, protected: bytes) -> bytes:
    """The content of a template's file beside a protected one, whose content is bound."""
    return TEMPLATE.name + searchable.closed(_beside(protected))


def find_beside(content: bytes, protected: bytes, key: PrivateKey) -> Template | None:
    """The template in a file beside a protected one.

    Returns:
        None where the key opens nothing: it is of another file, sealed to others, or changed.

    Raises:
        UserError: as :func:`unpacked_template`.
    """
    if not content.startswith(TEMPLATE.name):
        return None
    return opened(content[len(TEMPLATE.name) :], key, _beside(protected))


def opened(closed: bytes, key: PrivateKey, bound: bytes, purpose: Purpose = TEMPLATE) -> Template | None:
    """The template in what :meth:`Searchable.closed` gave; None where the key opens nothing."""
    plain = disclose(closed, key, bound, purpose)
    return None if plain is None else unpacked_template(plain)


def _beside(protected: bytes) -> bytes:
    return b"beside " + hashlib.sha256(protected).digest()
