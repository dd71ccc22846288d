"""Gaussian noise from a cryptographic stream: whoever lacks the key can neither repeat nor search it.

A general-purpose generator is no place for a secret: torch's on the CPU keeps 32 bits of its seed, which are
searched in minutes. Here the whole key goes into SHAKE-256.
"""

from __future__ import annotations

import hashlib

import numpy as np
from scipy.special import ndtri

STREAM = "shake256"
"""Name of the stream in manifests: a run continues only noise of the same."""

KEY_BITS = 256  # at most; a shorter key is filled up with zeros
BLOCK = 1 << 20  # values at a time, which bounds the memory


def standard_normal(key: int, count: int) -> np.ndarray:
    """Independent values of N(0, 1), a function of the key alone: the same on every machine and device.

    SHAKE-256 of the key gives 32 bits for each value, the middle of one of 2³² intervals of (0, 1), through
    the inverse of the normal distribution in float64; so no value lies beyond 6.4.

    Args:
        key: a whole number from 0, of at most 256 bits.
        count: how many values; fewer are the beginning of more.

    Returns:
        float32, ``count``.

    Raises:
        ValueError: for another key.
    """
    if not 0 <= key < 1 << KEY_BITS:
        raise ValueError(
            f"a seed of noise must be a whole number from 0 of at most {KEY_BITS} bits, not {key}"
        )
    values = np.empty(count, np.float32)
    for block, start in enumerate(range(0, count, BLOCK)):
        part = values[start : start + BLOCK]
        numbers = np.frombuffer(_stream(key.to_bytes(KEY_BITS // 8, "little"), block, 4 * len(part)), "<u4")
        part[:] = ndtri((numbers + 0.5) / 2**32)
    return values


def _stream(key: bytes, block: int, length: int) -> bytes:
    """The first bytes of one block of a key's stream."""
    return hashlib.shake_256(b"fastreid_privacy noise" + key + block.to_bytes(8, "little")).digest(length)
