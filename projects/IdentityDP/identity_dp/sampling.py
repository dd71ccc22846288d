"""Laplace noise on a grid, drawn exactly: with whole numbers alone, from a cryptographic source.

Noise that is computed with floating-point numbers has gaps, which tell what it was added to (Mironov, 2012).
Here no such number is part of it. :func:`laplace_steps` gives the whole number nearest to Laplace noise, with
exactly the probability that it has: adding it to a whole number is the continuous mechanism, rounded, so
that all that is proven of the continuous one holds. The way is that of Canonne, Kamath and Steinke (2020),
algorithms 1 and 2.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence

BLOCK = 136  # bytes that SHAKE-256 gives at a time


class ShakeStream(random.Random):
    """Random whole numbers as a function of a key: SHAKE-256, the same on every machine.

    Args:
        key: whose secrecy is that of the numbers.
        purpose: what they are for; streams for other purposes have nothing in common.
    """

    def __new__(cls, key: bytes, purpose: str) -> ShakeStream:
        return super().__new__(cls)

    def __init__(self, key: bytes, purpose: str):
        self._start = hashlib.shake_256(b"identity_dp " + purpose.encode() + b"\0" + key)
        self._blocks, self._bits, self._left = 0, 0, 0

    def getrandbits(self, count: int) -> int:
        """A whole number of ``count`` bits; all other methods are made of it."""
        while self._left < count:
            block = self._start.copy()
            block.update(self._blocks.to_bytes(8, "little"))
            self._bits |= int.from_bytes(block.digest(BLOCK), "little") << self._left
            self._blocks, self._left = self._blocks + 1, self._left + 8 * BLOCK
        taken = self._bits & ((1 << count) - 1)
        self._bits, self._left = self._bits >> count, self._left - count
        return taken


def laplace_steps(count: int, halves: int, source: random.Random) -> list[int]:
    """Independent whole numbers, each the nearest to a draw from Laplace(``halves`` / 2).

    Args:
        count: how many.
        halves: twice the scale of the noise, in steps of the grid: at least 1.
        source: of the randomness, its ``getrandbits`` alone; ``random.SystemRandom()`` where it is to be
            secret and forgotten.

    Raises:
        ValueError: for a scale that is none.
    """
    if halves < 1:
        raise ValueError(f"the scale of noise must be at least half a step, not {halves} / 2")
    return [_signed(_geometric(halves, source), source) for _ in range(count)]


def _signed(half_steps: int, source: random.Random) -> int:
    """The nearest whole number to ± a size that lies between ``half_steps`` / 2 and half a step more."""
    steps = (half_steps + 1) // 2
    return steps if source.getrandbits(1) else -steps


def _geometric(scale: int, source: random.Random) -> int:
    """k = 0, 1, … with probability (1 − q) q^k, q = exp(−1 / scale): a draw of Exp(1) times scale, cut."""
    while True:
        rest = _below(scale, source)
        if _flip(rest, scale, source):
            break
    whole = 0
    while _flip(1, 1, source):
        whole += 1
    return rest + scale * whole


def _flip(above: int, below: int, source: random.Random) -> bool:
    """True with probability exp(−``above`` / ``below``), for a fraction from 0 to 1."""
    turn = 1
    while _below(below * turn, source) < above:
        turn += 1
    return turn % 2 == 1


def _below(limit: int, source: random.Random) -> int:
    """A whole number from 0 to below ``limit``, each equally likely."""
    bits = limit.bit_length()
    while (number := source.getrandbits(bits)) >= limit:
        pass
    return number


def source_of(seed: int | None) -> random.Random:
    """The randomness of one image: a stream of its secret seed, or the operating system's.

    Args:
        seed: a whole number; None: the operating system's randomness.
    """
    if seed is None:
        return random.SystemRandom()
    return ShakeStream(seed.to_bytes(max(33, (seed.bit_length() + 8) // 8), "little", signed=True), "noise")


def sources_of(seeds: Sequence[int] | None, count: int) -> list[random.Random]:
    """:func:`source_of` for each of ``count`` images."""
    return [source_of(None if seeds is None else int(seeds[number])) for number in range(count)]
