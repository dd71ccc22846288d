"""Files of any size sealed and opened piece by piece, in the one form of ``envelope``: memory stays flat.

ChaCha20-Poly1305 (RFC 8439, section 2.8) is put together from its two halves, for the library's own call
takes the whole content at once, and 2 GiB at most. What it gives is the same, byte for byte.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from ..core.errors import UserError
from ..core.extras import ciphers, poly1305
from ..core.regular import open_regular
from .envelope import (
    BESIDE,
    DAMAGED,
    MAGIC,
    UNOPENED,
    Fitted,
    Original,
    line_of,
    new_slots,
    open_sealed,
    read_line,
    secret_in,
)
from .pairs import PrivateKey, PublicKey

PIECE = 2**18  # bytes at a time
TAG = 16  # bytes that authenticate
LARGEST = 64 * (2**32 - 1)  # bytes that one key can encrypt: ChaCha20 counts blocks of 64 with 32 bits
LONGEST_LINE = 2**16  # bytes of the line before the raw file
MOST_SLOTS = 2**15  # bytes that hold the slots of all recipients


class _Cipher:
    """ChaCha20-Poly1305 over pieces, with a key that is used once.

    Args:
        key: 32 bytes.
        bound: authenticated, not encrypted.
    """

    def __init__(self, key: bytes, bound: bytes):
        first, rest = (
            ciphers.Cipher(ciphers.algorithms.ChaCha20(key, block.to_bytes(4, "little") + bytes(12)), None)
            for block in (0, 1)
        )
        self.mac = poly1305.Poly1305(first.encryptor().update(bytes(32)))
        self.stream = rest.encryptor()  # to decrypt is to encrypt again
        self.lengths, self.bound = [len(bound), 0], bound
        self._authenticate(bound)
        self._fill(len(bound))

    def encrypt(self, piece: bytes) -> bytes:
        """The next piece, encrypted."""
        closed = self.stream.update(piece)
        self.see(closed)
        return closed

    def decrypt(self, closed: bytes) -> bytes:
        """The next piece, decrypted; nothing says yet that it is what was encrypted."""
        self.see(closed)
        return self.stream.update(closed)

    def see(self, closed: bytes) -> None:
        """Take an encrypted piece into what authenticates."""
        self.lengths[1] += len(closed)
        self._authenticate(closed)

    def tag(self) -> bytes:
        """What authenticates all of it."""
        self._fill(self.lengths[1])
        self._authenticate(b"".join(length.to_bytes(8, "little") for length in self.lengths))
        return self.mac.finalize()

    def _authenticate(self, content: bytes) -> None:
        if content:
            self.mac.update(content)

    def _fill(self, length: int) -> None:
        self._authenticate(bytes(-length % 16))


def seal_stream(
    target: BinaryIO, name: str, content: Iterable[bytes], length: int, keys: Sequence[PublicKey]
) -> None:
    """Seal a raw file, as :func:`.envelope.seal` does, piece by piece.

    Args:
        target: to write to.
        name: the raw file's relative path, "/" between the parts.
        content: its bytes, in pieces.
        length: how many these are.
        keys: of whom may open it.

    Raises:
        UserError: the reason, without the path, when it is too large or has another length.
    """
    if length > LARGEST - LONGEST_LINE:
        raise UserError(f"it has {length:,} bytes, more than can be sealed at once ({LARGEST:,})")
    key = os.urandom(32)
    slots = new_slots(key, keys, BESIDE)
    cipher = _Cipher(key, slots)
    target.write(MAGIC + slots + cipher.encrypt(line_of(name, length)))
    left = length
    for piece in content:
        left -= len(piece)
        target.write(cipher.encrypt(piece))
    if left:
        raise UserError("its length changed while it was sealed; run the same command again")
    target.write(cipher.tag())


class SealedFile:
    """A raw file in a sealed one, which stays where it is; its bytes are decrypted when they are asked for.

    Attributes:
        name: the raw file's relative path, "/" between the parts.
        fitted: as of :class:`.envelope.Original`.
    """

    def __init__(self, name: str, length: int, fitted: Fitted | None, content: Callable[[], Iterator[bytes]]):
        self.name, self.fitted, self._length, self._content = name, fitted, length, content

    def pieces(self) -> Iterator[bytes]:
        """The raw file's bytes.

        Raises:
            UserError: the reason, without the path, when the sealed file is another one than when it was
                opened; what was given until then is to be thrown away.
        """
        left = self._length
        for piece in self._content():
            yield piece[:left]
            if any(piece[left:]):
                raise UserError(f"{DAMAGED} (something follows its {self._length:,} bytes)")
            left = max(0, left - len(piece))


def open_sealed_file(path: Path, key: PrivateKey) -> SealedFile | Original:
    """The raw file in a sealed one, also of version 1, which is read as a whole.

    All of it is authenticated before a byte of it is looked at, and once more when it is given.

    Raises:
        UserError: the reason, without the path: as of :func:`.envelope.open_sealed`, or when it cannot be
            read.
    """
    with open_regular(path) as file:
        if file.read(len(MAGIC)) != MAGIC:
            file.seek(0)
            return open_sealed(file.read(), key)
        size = os.fstat(file.fileno()).st_size - len(MAGIC)
        found = secret_in(file.read(MOST_SLOTS), key, BESIDE)
        length = size - found.begin - TAG if found else -1
        if found is None or length < 0:
            raise UserError(UNOPENED)
        file.seek(len(MAGIC))
        bound = file.read(found.begin)

    def cipher_and_file() -> tuple[_Cipher, BinaryIO]:
        again = open_regular(path)
        again.seek(len(MAGIC) + len(bound))
        return _Cipher(found.key, bound), again

    def plain() -> Iterator[bytes]:
        cipher, again = cipher_and_file()
        with again:
            for piece in pieces(again, length):
                yield cipher.decrypt(piece)
            _check(cipher, again)

    cipher, whole = cipher_and_file()
    with whole:
        for piece in pieces(whole, length):
            cipher.see(piece)
        _check(cipher, whole)
    first = next(iter(plain()), b"")[: LONGEST_LINE + 1]
    line, _, _ = first.partition(b"\n")
    name, raw, fitted = read_line(line, length - len(line) - 1)
    return SealedFile(name, raw, fitted, lambda: _behind(plain(), len(line) + 1))


def _check(cipher: _Cipher, file: BinaryIO) -> None:
    if not hmac.compare_digest(cipher.tag(), file.read(TAG)) or file.read(1):
        raise UserError(UNOPENED)


def pieces(file: BinaryIO, length: int | None = None) -> Iterator[bytes]:
    """A file in pieces, to its end or so many bytes."""
    while piece := file.read(PIECE if length is None else min(PIECE, length)):
        length = None if length is None else length - len(piece)
        yield piece


def _behind(pieces: Iterator[bytes], start: int) -> Iterator[bytes]:
    """Pieces without the first bytes, which are fewer than the first piece has."""
    yield next(pieces, b"")[start:]
    yield from pieces
