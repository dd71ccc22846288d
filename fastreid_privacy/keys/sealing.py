"""Sealed originals: raw files encrypted to a public key, so that whoever seals them cannot open them again.

X25519 sealed boxes of libsodium (PyNaCl): each has a key pair of its own, whose private half is thrown away.
The relative path of the raw file is inside.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import UserError
from ..core.extras import from_extra
from ..core.files import read_file, relative_path, write_private
from .encryption import decrypt, encrypt, is_encrypted

if TYPE_CHECKING:
    from nacl import exceptions
    from nacl import public as nacl_public
else:
    exceptions, nacl_public = from_extra("nacl.exceptions"), from_extra("nacl.public")

MAGIC = b"fastreid_privacy sealed 1\n"
PUBLIC, PRIVATE = "identity.pub", "identity.key"
PUBLIC_PREFIX, PRIVATE_PREFIX = "fastreid_privacy-public-", "fastreid_privacy-PRIVATE-"


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
    content = f"{PRIVATE_PREFIX}{bytes(key).hex()}\n".encode()
    folder.mkdir(parents=True, exist_ok=True)
    if passphrase is not None:
        content = encrypt(content, passphrase, {"part": "identity"})
    write_private(private, content)
    public.write_text(f"{PUBLIC_PREFIX}{bytes(key.public_key).hex()}\n")
    return public, private


def read_public_key(path: str | Path) -> nacl_public.PublicKey:
    """The public key of a file that :func:`new_identity` wrote, ``identity.pub``.

    Raises:
        UserError: when the file is something else, a private key above all.
    """
    text = read_file(path).decode(errors="replace").strip()
    if text.startswith(PRIVATE_PREFIX) or text.startswith('{"format"'):
        raise UserError(f"{path} is a private key: keep it away from the camera side, and seal with {PUBLIC}")
    return nacl_public.PublicKey(_digits(text, PUBLIC_PREFIX, path))


def read_identity(path: str | Path, passphrase: str | None = None) -> nacl_public.PrivateKey:
    """The private key of ``identity.key``.

    Raises:
        UserError: when the file is something else, or the passphrase is missing or wrong.
    """
    content = read_file(path)
    if is_encrypted(content):
        if passphrase is None:
            raise UserError(f"{path} is encrypted: its passphrase is needed")
        content, _ = decrypt(content, passphrase, path)
    return nacl_public.PrivateKey(_digits(content.decode(errors="replace").strip(), PRIVATE_PREFIX, path))


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
        return relative_path(json.loads(name)), content  # anybody who has the public key can seal
    except (ValueError, RecursionError) as error:
        raise UserError(f"it is no file that tools/anonymize.py has sealed ({error})") from None


def _digits(text: str, prefix: str, path: object) -> bytes:
    try:
        if not text.startswith(prefix) or len(text) != len(prefix) + 64:
            raise ValueError
        return bytes.fromhex(text.removeprefix(prefix))
    except ValueError:
        raise UserError(f"{path} is damaged or no key of this kind (it must begin with {prefix})") from None
