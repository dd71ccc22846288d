"""A file that only a passphrase opens: scrypt makes the key, ChaCha20-Poly1305 encrypts and authenticates.

Line 1 is a JSON header, readable without the passphrase and authenticated with it; the rest is ciphertext.
"""

from __future__ import annotations

import json
import os

from ..core.errors import UserError
from ..core.extras import aead, exceptions, scrypt
from ..core.json_text import parse_json

FORMAT, VERSION = "fastreid_privacy encrypted", 1
COST = {"n": 2**17, "r": 8, "p": 1}  # 128 MiB and about half a second for each guess
LONGEST_HEADER = 4096


def encrypt(content: bytes, passphrase: str, about: dict[str, str]) -> bytes:
    """Encrypt under a passphrase, with a fresh salt and nonce.

    Args:
        content: any bytes.
        passphrase: not empty.
        about: what may be known without the passphrase; it cannot be changed without notice either.

    Returns:
        The content of the encrypted file.

    Raises:
        UserError: when the passphrase is empty.
    """
    if not passphrase:
        raise UserError("the passphrase is empty")
    salt, nonce = os.urandom(16), os.urandom(12)
    header = {
        "format": FORMAT,
        "version": VERSION,
        "scrypt": COST,
        "salt": salt.hex(),
        "nonce": nonce.hex(),
        "about": about,
    }
    first = json.dumps(header).encode() + b"\n"
    return first + aead.ChaCha20Poly1305(_key(passphrase, salt)).encrypt(nonce, content, first)


def is_encrypted(content: bytes) -> bool:
    """Whether bytes begin as :func:`encrypt` writes them."""
    return content.startswith(b'{"format": "' + FORMAT.encode() + b'"')


def told(content: bytes) -> dict[str, str]:
    """``about`` of what :func:`encrypt` gave, unauthenticated, for hints; {} where it cannot be read."""
    try:
        about = parse_json(content[:LONGEST_HEADER].partition(b"\n")[0])["about"]
    except (ValueError, KeyError, TypeError):
        return {}
    return about if isinstance(about, dict) else {}


def decrypt(content: bytes, passphrase: str, path: object) -> tuple[bytes, dict[str, str]]:
    """Decrypt what :func:`encrypt` gave.

    Args:
        content: of the file.
        passphrase: it was encrypted under.
        path: of the file, for messages.

    Returns:
        The bytes, and ``about``.

    Raises:
        UserError: when the passphrase is wrong, or any bit of the file was changed; the two cannot be told
            apart.
    """
    first, _, ciphertext = content[:LONGEST_HEADER].partition(b"\n")
    ciphertext += content[LONGEST_HEADER:]
    try:
        header = parse_json(first)
        salt, nonce, about = bytes.fromhex(header["salt"]), bytes.fromhex(header["nonce"]), header["about"]
        # other costs are refused: a forged header could ask for all memory
        written_by_us = (header["format"], header["version"], header["scrypt"]) == (FORMAT, VERSION, COST)
        if not written_by_us or (len(salt), len(nonce)) != (16, 12) or not isinstance(about, dict):
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} is damaged or no encrypted file of this version") from None
    try:
        return aead.ChaCha20Poly1305(_key(passphrase, salt)).decrypt(nonce, ciphertext, first + b"\n"), about
    except exceptions.InvalidTag:
        raise UserError(f"{path} does not open: the passphrase is wrong, or the file was changed") from None


def _key(passphrase: str, salt: bytes) -> bytes:
    return scrypt.Scrypt(salt=salt, length=32, **COST).derive(passphrase.encode("utf-8", "surrogateescape"))
