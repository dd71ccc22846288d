"""What happens to a file: bytes flipped, cut, put in, or something else in its place."""

from __future__ import annotations

import os
import random
import re
import resource
import socket
from collections.abc import Callable
from pathlib import Path

ABSURD = (0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
NUMBERS = (b"-1", b"0", b"1e308", b"NaN", b"2147483648", b"1" + b"0" * 30, b"9" * 5000, b"null", b"[[[[[[[[")
SPARSE = 20 * 2**30  # bytes of a file that the disk does not hold

Damage = Callable[[bytes, random.Random], bytes]


def flip_bit(content: bytes, rng: random.Random) -> bytes:
    """One bit."""
    changed = bytearray(content)
    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def flip_bytes(content: bytes, rng: random.Random) -> bytes:
    """Up to twenty bytes, each to any other."""
    changed = bytearray(content)
    for _ in range(rng.randint(2, 20)):
        changed[rng.randrange(len(changed))] ^= rng.randint(1, 255)
    return bytes(changed)


def flip_early(content: bytes, rng: random.Random) -> bytes:
    """A byte of the first 200, where headers are."""
    changed = bytearray(content)
    changed[rng.randrange(min(200, len(changed)))] ^= rng.randint(1, 255)
    return bytes(changed)


def cut_end(content: bytes, rng: random.Random) -> bytes:
    """As a broken copy: the beginning."""
    return content[: rng.randrange(len(content))]


def cut_out(content: bytes, rng: random.Random) -> bytes:
    """Without a piece."""
    start = rng.randrange(len(content))
    return content[:start] + content[start + rng.randint(1, 1000) :]


def insert(content: bytes, rng: random.Random) -> bytes:
    """Random bytes put in."""
    place = rng.randrange(len(content) + 1)
    return content[:place] + rng.randbytes(rng.randint(1, 64)) + content[place:]


def repeat(content: bytes, rng: random.Random) -> bytes:
    """A piece twice."""
    start = rng.randrange(len(content))
    stop = start + rng.randint(1, 2000)
    return content[:stop] + content[start:stop] + content[stop:]


def append(content: bytes, rng: random.Random) -> bytes:
    """Random bytes behind the end."""
    return content + rng.randbytes(rng.randint(1, 100))


def zero(content: bytes, rng: random.Random) -> bytes:
    """A piece of zeros, as a block that the disk has lost."""
    start = rng.randrange(len(content))
    size = min(rng.choice((1, 8, 64, 512)), len(content) - start)
    return content[:start] + bytes(size) + content[start + size :]


def absurd_length(content: bytes, rng: random.Random) -> bytes:
    """An absurd number in the place of four or eight bytes."""
    size = rng.choice((4, 8))
    value = (rng.choice(ABSURD) % 2 ** (8 * size)).to_bytes(size, rng.choice(("little", "big")))
    place = rng.randrange(len(content)) if rng.random() < 0.5 else rng.randrange(min(len(content), 256))
    return content[:place] + value + content[place + size :]


def absurd_number(content: bytes, rng: random.Random) -> bytes:
    """An absurd number in the place of one that is written in digits."""
    found = list(re.finditer(rb"-?\d+(\.\d+)?", content))
    if not found:
        return flip_bit(content, rng)
    place = rng.choice(found)
    return content[: place.start()] + rng.choice(NUMBERS) + content[place.end() :]


def brackets(content: bytes, rng: random.Random) -> bytes:
    """Very many brackets, in the place of the content or in it."""
    opening, closing = rng.choice(((b"[", b"]"), (b'{"a":', b"}")))
    count = rng.choice((200, 4000, 100_000))
    nested = opening * count + (b"1" + closing * count if rng.random() < 0.7 else b"")
    place = rng.randrange(len(content))
    return rng.choice((nested, nested + b"\n", content[:place] + nested + content[place:]))


def empty(content: bytes, rng: random.Random) -> bytes:
    """Nothing."""
    return b""


BINARY: tuple[Damage, ...] = (
    *(flip_bit, flip_bit, flip_bit, flip_bytes, flip_early, flip_early, cut_end, cut_out, insert),
    *(repeat, append, zero, absurd_length, absurd_length, empty),
)
TEXT: tuple[Damage, ...] = (
    *(flip_bit, flip_bit, flip_bytes, flip_early, cut_end, cut_out, insert, repeat, append, zero),
    *(absurd_number, absurd_number, absurd_number, brackets, empty),
)


def _directory(path: Path) -> None:
    path.mkdir()


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        here = os.getcwd()
        os.chdir(path.parent)  # the name of a socket is short
        listening.bind(path.name)
        os.chdir(here)


def _sparse(path: Path) -> None:
    path.touch()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, before[1]))
    os.truncate(path, SPARSE)
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _missing(path: Path) -> None:
    """Nothing is there."""


SPECIAL: dict[str, Callable[[Path], object]] = {
    "directory": _directory,
    "pipe": _pipe,
    "socket": _socket,
    "sparse file of 20 GiB": _sparse,
    "missing": _missing,
    "/dev/zero": lambda path: path.symlink_to("/dev/zero"),
    "/dev/urandom": lambda path: path.symlink_to("/dev/urandom"),
    "/dev/null": lambda path: path.symlink_to("/dev/null"),
    "link to itself": lambda path: path.symlink_to(path.name),
}
"""What is put in the place of a file, by name."""
