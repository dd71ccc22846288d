"""The one form of what is sealed, wherever it is carried: an original, or a template (``templates``).

First a slot for each recipient: HPKE (``pairs``) seals to it a fresh key and the number of slots. Then the
content, encrypted with that key by ChaCha20-Poly1305. The slots are authenticated with it, and what describes
the carrier is bound into them: nothing can be changed, or moved elsewhere. Nothing is told in the clear,
neither a length nor who the recipients are; their slots are tried one after the other.

What is sealed for one purpose does not open for another, even with the same key: the :class:`Purpose` is
bound into the slots, too.

The content of an original is a line of JSON and the raw file. The line has ``name``, the relative path of the
raw file, and ``length``, its bytes; zeros behind them may fill up the carrier. Where the file was
encoded anew to fit, it also has ``fitted`` (:class:`Fitted`).

Files of version 1 are X25519 sealed boxes of libsodium (PyNaCl), and still open.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..core.errors import UserError
from ..core.extras import aead, exceptions, nacl_exceptions, nacl_public
from ..core.files import relative_path
from ..core.json_text import parse_json
from .pairs import KINDS, X25519, PrivateKey, PublicKey

MAGIC_1, MAGIC = b"fastreid_privacy sealed 1\n", b"fastreid_privacy sealed 2\n"


class Purpose(NamedTuple):
    """What something is sealed for.

    Attributes:
        name: bound into the slots.
        measured: whether slots have the length of the content, so that other things may follow it.
        holds_rest: whether what follows is authenticated with it.
    """

    name: bytes
    measured: bool
    holds_rest: bool


ORIGINAL = Purpose(MAGIC, False, False)
BEFORE_TEMPLATE = Purpose(b"fastreid_privacy sealed 3\n", True, True)
"""An original in pixels that hold a template behind it."""
TEMPLATE = Purpose(b"fastreid_privacy template 1\n", True, True)
TEMPLATE_BEHIND = TEMPLATE._replace(holds_rest=False)
"""A template in pixels, which are read from their end: what comes before it there may be anything."""
BESIDE = b"beside"  # bound to a sealed file that stands alone
MOST_RECIPIENTS = 16
_KEY, _TAG, _LENGTH = 32, 16, 4  # bytes of the fresh key, of what authenticates, and of a length
_HIGHEST_PSNR = 200  # dB; one level in 100 million pixels is 133
_NONCE = bytes(12)  # each key encrypts once
DAMAGED = "it is no file that tools/anonymize.py has sealed"
UNOPENED = "it does not open: it was sealed to another key, or changed"


class Fitted(NamedTuple):
    """How an original was encoded anew.

    Attributes:
        format: "webp".
        quality: 0 to 100; None: without loss.
        psnr: in dB, against the raw picture; None: no pixel differs.
    """

    format: str
    quality: int | None
    psnr: float | None


class Original(NamedTuple):
    """A raw file that was sealed.

    Attributes:
        name: its relative path, "/" between the parts.
        content: its bytes.
        fitted: None: these are the raw file's; else it was encoded anew.
    """

    name: str
    content: bytes
    fitted: Fitted | None = None

    def pieces(self) -> Iterator[bytes]:
        """The bytes."""
        yield self.content


class Secret(NamedTuple):
    """What a recipient's slot holds.

    Attributes:
        key: the fresh key.
        begin: where what it encrypts begins, behind the slots.
        length: of that; None: all that follows.
    """

    key: bytes
    begin: int
    length: int | None


def overhead(keys: Sequence[PublicKey], purpose: Purpose = ORIGINAL) -> int:
    """Bytes that sealing to these keys adds to the content."""
    return sum(_slot(key.kind, purpose) for key in keys) + _TAG


def _slot(kind: str, purpose: Purpose) -> int:
    """Bytes of one recipient's slot."""
    return KINDS[kind].added + _KEY + 1 + (_LENGTH if purpose.measured else 0)


def packed(original: Original) -> bytes:
    """The line of JSON and the raw file, to be encrypted."""
    return line_of(original.name, len(original.content), original.fitted) + original.content


def line_of(name: str, length: int, fitted: Fitted | None = None) -> bytes:
    """The line of JSON before a raw file."""
    about: dict = {"name": name, "length": length}
    if fitted:
        about["fitted"] = fitted._asdict()
    return json.dumps(about).encode() + b"\n"


def new_slots(
    key: bytes, keys: Sequence[PublicKey], bound: bytes, purpose: Purpose = ORIGINAL, length: bytes = b""
) -> bytes:
    """The slots of all recipients: a fresh key, sealed to each.

    Args:
        key: the fresh key.
        keys: of whom may open it.
        bound, purpose: as of :func:`close`.
        length: of what is encrypted, where the purpose has it.
    """
    return b"".join(one.seal(key + bytes([len(keys)]) + length, purpose.name + bound) for one in keys)


def secret_in(closed: bytes, key: PrivateKey, bound: bytes, purpose: Purpose = ORIGINAL) -> Secret | None:
    """What the slot of a recipient holds, None where there is none for this key.

    Args:
        closed: what :func:`close` gave, or a beginning of it that holds all slots.
        key, bound, purpose: as of :func:`disclose`.
    """
    size = _slot(key.kind, purpose)
    for start in range(0, min(MOST_RECIPIENTS * size, len(closed) - size - _TAG + 1), size):
        secret = key.open(closed[start : start + size], purpose.name + bound)
        if secret is not None:
            length = int.from_bytes(secret[_KEY + 1 :], "big") if purpose.measured else None
            return Secret(secret[:_KEY], secret[_KEY] * size, length)
    return None


def close(
    plain: bytes,
    keys: Sequence[PublicKey],
    bound: bytes,
    purpose: Purpose = ORIGINAL,
    rest: bytes = b"",
) -> bytes:
    """Encrypt to several recipients.

    Args:
        plain: what :func:`packed` gave, or a template; filled up with zeros where the carrier has more room.
        keys: of whom may open it.
        bound: what describes the carrier; opening needs it as well.
        purpose: what it is.
        rest: what will follow it in the carrier, where the purpose holds that.

    Returns:
        :func:`overhead` more bytes than ``plain`` has.
    """
    key = os.urandom(_KEY)
    length = (len(plain) + _TAG).to_bytes(_LENGTH, "big") if purpose.measured else b""
    slots = new_slots(key, keys, bound, purpose, length)
    return slots + aead.ChaCha20Poly1305(key).encrypt(_NONCE, plain, slots + rest)


def disclose(closed: bytes, key: PrivateKey, bound: bytes, purpose: Purpose = ORIGINAL) -> bytes | None:
    """Decrypt what :func:`close` gave, with whatever follows it in the carrier.

    Returns:
        The plain bytes; None where it was closed to another key or for another purpose, bound to something
        else, or changed. These cannot be told apart.
    """
    if (secret := secret_in(closed, key, bound, purpose)) is None:
        return None
    begin = secret.begin
    end = len(closed) if secret.length is None else begin + secret.length
    rest = closed[end:] if purpose.holds_rest else b""
    try:
        cipher = aead.ChaCha20Poly1305(secret.key)
        return cipher.decrypt(_NONCE, closed[begin:end], closed[:begin] + rest)
    except (exceptions.InvalidTag, ValueError):
        return None


def unpacked(plain: bytes) -> Original:
    """The raw file in decrypted bytes; anybody who has the public key can seal, so they are looked at.

    Raises:
        UserError: the reason, without the path, when no run seals such bytes.
    """
    first, _, rest = plain.partition(b"\n")
    name, length, fitted = read_line(first, len(rest))
    if any(rest[length:]):
        raise UserError(f"{DAMAGED} (it announces {length} bytes, and {len(rest)} are there)")
    return Original(name, rest[:length], fitted)


def read_line(first: bytes, most: int) -> tuple[str, int, Fitted | None]:
    """Name, length and encoding of a raw file, of the line before it.

    Args:
        first: the line.
        most: bytes that follow it.

    Raises:
        UserError: as of :func:`unpacked`.
    """
    try:
        about = parse_json(first)
        name, length, fitted = relative_path(about["name"]), about["length"], about.get("fitted")
        if type(length) is not int or not 0 <= length <= most:
            raise ValueError(f"it announces {length!r} bytes, and {most} are there")
        return name, length, None if fitted is None else _fitted(fitted)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{DAMAGED} ({error})") from None


def _fitted(about: dict) -> Fitted:
    fitted = Fitted(**about)
    quality, psnr = fitted.quality, fitted.psnr
    whole = quality is None or (type(quality) is int and 0 <= quality <= 100)
    known = psnr is None or (type(psnr) in (int, float) and 0 <= psnr <= _HIGHEST_PSNR)
    if fitted.format != "webp" or not whole or not known:
        raise ValueError("its encoding is none of this version")
    return fitted


def seal(name: str, content: bytes, keys: Sequence[PublicKey]) -> bytes:
    """Seal a raw file, to be written beside the protected one.

    Args:
        name: its relative path, "/" between the parts.
        content: its bytes.
        keys: of whom may open it.

    Returns:
        The content of the sealed file.
    """
    return MAGIC + close(packed(Original(name, content)), keys, BESIDE)


def open_sealed(sealed: bytes, key: PrivateKey) -> Original:
    """The raw file in a sealed one, also of version 1.

    Raises:
        UserError: the reason, without the path, when the key is another one, a bit was changed, or its path
            leads out of a folder.
    """
    if sealed.startswith(MAGIC):
        plain = disclose(sealed[len(MAGIC) :], key, BESIDE)
    elif sealed.startswith(MAGIC_1):
        plain = _open_box(sealed[len(MAGIC_1) :], key)
    else:
        raise UserError("it is no sealed file of this version")
    if plain is None:
        raise UserError(UNOPENED)
    if sealed.startswith(MAGIC):
        return unpacked(plain)
    name, _, content = plain.partition(b"\n")
    try:
        return Original(relative_path(parse_json(name)), content)
    except ValueError as error:
        raise UserError(f"{DAMAGED} ({error})") from None


def _open_box(box: bytes, key: PrivateKey) -> bytes | None:
    """What is in a sealed box of libsodium; None where it does not open."""
    if key.kind != X25519:  # no box was ever sealed to another kind
        return None
    try:
        return nacl_public.SealedBox(nacl_public.PrivateKey(bytes(key))).decrypt(box)
    except (nacl_exceptions.CryptoError, ValueError, TypeError):
        return None
