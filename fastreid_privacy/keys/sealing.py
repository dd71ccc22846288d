"""Sealed originals: raw files encrypted to a public key, so that whoever seals them cannot open them again.

X25519 sealed boxes of libsodium (PyNaCl): each has a key pair of its own, whose private half is thrown away.
The relative path of the raw file is inside.

A key file is one line: a prefix, 64 hexadecimal digits of the key, "-", and 16 of the SHA-256 of all before
that, so that a wrong digit is noticed before anything is sealed to nobody.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import UserError, say
from ..core.extras import from_extra
from ..core.files import read_file, relative_path, write_new
from ..core.json_text import parse_json
from .encryption import decrypt, encrypt, is_encrypted, told

if TYPE_CHECKING:
    from nacl import exceptions
    from nacl import public as nacl_public
else:
    exceptions, nacl_public = from_extra("nacl.exceptions"), from_extra("nacl.public")

MAGIC = b"fastreid_privacy sealed 1\n"
PUBLIC, PRIVATE = "identity.pub", "identity.key"
PUBLIC_PREFIX, PRIVATE_PREFIX = "fastreid_privacy-public-", "fastreid_privacy-PRIVATE-"
LARGEST_KEY = 2**16  # bytes of a key file
BLANK = " \t\r\n"  # around the line of a key file
FIELD = 2**255 - 19  # a public key is a number below it


@dataclass(frozen=True)
class Sealer:
    """Seals raw files to one public key.

    Attributes:
        key: of whom may open them.
    """

    key: nacl_public.PublicKey

    def __call__(self, name: str, content: bytes) -> bytes:
        """As :func:`seal`."""
        return seal(name, content, self.key)

    @property
    def recipient(self) -> str:
        """See :func:`recipient`."""
        return recipient(self.key)


def recipient(key: nacl_public.PublicKey) -> str:
    """Whose key it is: the first 32 hexadecimal digits of the SHA-256 of a public key."""
    return hashlib.sha256(bytes(key)).hexdigest()[:32]


def new_identity(folder: str | Path, passphrase: str | None) -> tuple[Path, Path]:
    """Make a key pair: ``identity.pub`` for the camera side, ``identity.key`` for the owner.

    Args:
        folder: for both; made where it is missing.
        passphrase: encrypts the private key; None writes it unencrypted.

    Raises:
        UserError: when one is there already.
    """
    folder = Path(folder)
    public, private = folder / PUBLIC, folder / PRIVATE
    for path in (public, private):
        if path.exists():
            raise UserError(
                f"{path} is there already; choose another folder: what is sealed to it needs its private key"
            )
    key = nacl_public.PrivateKey.generate()
    content = _key_line(PRIVATE_PREFIX, bytes(key)).encode()
    if passphrase is not None:
        content = encrypt(content, passphrase, {"part": "identity", "recipient": recipient(key.public_key)})
    public_line = _key_line(PUBLIC_PREFIX, bytes(key.public_key)).encode()
    write_new(folder, {PRIVATE: content, PUBLIC: public_line}, private=[PRIVATE])
    return public, private


def read_public_key(path: str | Path) -> nacl_public.PublicKey:
    """The public key of a file that :func:`new_identity` wrote, ``identity.pub``.

    A file of an older version has no checksum, and is read with a warning.

    Raises:
        UserError: when the file is something else, a private key above all, has a wrong digit, or holds a
            number that is nobody's key.
    """
    text = _text(read_file(path, LARGEST_KEY))
    if text.startswith(PRIVATE_PREFIX) or text.startswith('{"format"'):
        raise UserError(f"{path} is a private key: keep it away from the camera side, and seal with {PUBLIC}")
    content, checked = _digits(text, PUBLIC_PREFIX, path)
    key = nacl_public.PublicKey(content)
    if int.from_bytes(content, "little") >= FIELD or not _can_seal(key):
        raise UserError(
            f"{path} holds nobody's key (a number that X25519 cannot use): ask the owner for it again"
        )
    if not checked:
        say(
            f"warning: {path} is of an older version and has no checksum, so a wrong digit would seal to "
            f"nobody; ask the owner whether the key's fingerprint is {recipient(key)}, or for a new pair "
            "(tools/export.py --new-identity)"
        )
    return key


def read_sealer(path: str | Path) -> Sealer:
    """What seals to the public key of a file; the key is tried first.

    A probe is sealed. Where ``identity.key`` lies beside the file, the probe is opened with it, or, where it
    is encrypted, the fingerprint that it carries is compared.

    Raises:
        UserError: as :func:`read_public_key`, or when the two files are no pair.
    """
    sealer = Sealer(read_public_key(path))
    beside = Path(path).with_name(PRIVATE)
    probe = sealer("probe", b"")
    if beside.is_file() and not _opens(beside, probe, sealer.recipient):
        raise UserError(
            f"{path} and {beside} beside it are no pair: what is sealed with the one would not open with the "
            "other"
        )
    return sealer


def _opens(private: Path, probe: bytes, whose: str) -> bool:
    """Whether a private key opens a probe, as far as can be told without a passphrase."""
    content = read_file(private, LARGEST_KEY)
    if is_encrypted(content):
        return told(content).get("recipient", whose) == whose
    try:
        open_sealed(probe, read_identity(private))
    except UserError:
        return False
    return True


def read_identity(path: str | Path, passphrase: str | None = None) -> nacl_public.PrivateKey:
    """The private key of ``identity.key``.

    An unencrypted file of an older version has no checksum, and is read with a warning.

    Raises:
        UserError: when the file is something else, has a wrong digit, or the passphrase is missing or wrong.
    """
    content = read_file(path, LARGEST_KEY)
    encrypted = is_encrypted(content)
    if encrypted:
        if passphrase is None:
            raise UserError(f"{path} is encrypted: its passphrase is needed")
        content, _ = decrypt(content, passphrase, path)
    digits, checked = _digits(_text(content), PRIVATE_PREFIX, path)
    key = nacl_public.PrivateKey(digits)
    if not (checked or encrypted):  # encryption notices every change, too
        say(
            f"warning: {path} is of an older version and has no checksum; the fingerprint of its public key "
            f"is {recipient(key.public_key)}. Seal what is new to a new pair (tools/export.py "
            "--new-identity), and keep this file for what was sealed to it"
        )
    return key


def seal(name: str, content: bytes, key: nacl_public.PublicKey) -> bytes:
    """Seal a file.

    Args:
        name: its relative path, "/" between the parts.
        content: its bytes.
        key: of whom may open it.

    Returns:
        The content of the sealed file.
    """
    return MAGIC + nacl_public.SealedBox(key).encrypt(json.dumps(name).encode() + b"\n" + content)


def open_sealed(sealed: bytes, key: nacl_public.PrivateKey) -> tuple[str, bytes]:
    """(relative path, content) of a sealed file.

    Raises:
        UserError: the reason, without the path, when the key is another one, a bit was changed, or its path
            leads out of a folder.
    """
    if not sealed.startswith(MAGIC):
        raise UserError("it is no sealed file of this version")
    try:
        opened = nacl_public.SealedBox(key).decrypt(sealed[len(MAGIC) :])
    except (exceptions.CryptoError, ValueError, TypeError):
        raise UserError("it does not open: it was sealed to another key, or changed") from None
    name, _, content = opened.partition(b"\n")
    try:
        return relative_path(parse_json(name)), content  # anybody who has the public key can seal
    except ValueError as error:
        raise UserError(f"it is no file that tools/anonymize.py has sealed ({error})") from None


def _can_seal(key: nacl_public.PublicKey) -> bool:
    """Whether X25519 makes a secret with a key; it does not with zero and other points of low order."""
    try:
        nacl_public.SealedBox(key).encrypt(b"probe")
    except (exceptions.CryptoError, RuntimeError):
        return False
    return True


def _text(content: bytes) -> str:
    return content.decode(errors="replace").strip(BLANK)


def _key_line(prefix: str, key: bytes) -> str:
    """The line of a key file, with its checksum."""
    return f"{prefix}{key.hex()}-{_checksum(prefix + key.hex())}\n"


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _digits(text: str, prefix: str, path: object) -> tuple[bytes, bool]:
    """The key in a key file's line, and whether a checksum stood behind it."""
    try:
        if not text.startswith(prefix):
            raise ValueError
        digits, dash, checksum = text.removeprefix(prefix).partition("-")
        key = bytes.fromhex(digits)
        if len(key) != 32 or key.hex() != digits:
            raise ValueError
    except ValueError:
        raise UserError(f"{path} is damaged or no key of this kind (it must begin with {prefix})") from None
    if dash and checksum != _checksum(prefix + digits):
        raise UserError(f"{path} is damaged: its checksum does not fit; copy it again from whom you have it")
    return key, bool(dash)
