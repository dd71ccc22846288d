"""Key files, and what seals raw files to those that they name: whoever seals cannot open again.

A key file is one line: a prefix that tells its kind, the hexadecimal digits of the key, "-", and 16 of the
SHA-256 of all before that, so that a wrong digit is noticed before anything is sealed to nobody.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ..core.errors import UserError, say
from ..core.files import read_file, write_new
from .encryption import decrypt, encrypt, is_encrypted, told
from .envelope import MOST_RECIPIENTS, open_sealed, seal
from .pairs import HYBRID, KINDS, X25519, PrivateKey, PublicKey, check_recipients, recipient
from .streaming import seal_stream


class Holder(NamedTuple):
    """Who has a pair of keys: its files are called so.

    Attributes:
        name: "identity", of who opens originals, or "search", of who opens templates.
        option: that names its public key.
        new: that makes a pair.
        seals: what is sealed to it.
        prefixes: of the lines of public and private keys, by kind.
    """

    name: str
    option: str
    new: str
    seals: str
    prefixes: dict[str, tuple[str, str]]

    @property
    def public(self) -> str:
        """The file of the public key."""
        return f"{self.name}.pub"

    @property
    def private(self) -> str:
        """The file of the private key."""
        return f"{self.name}.key"


def _prefixes(start: str) -> dict[str, tuple[str, str]]:
    # the longer ones first, for they begin as the others do
    return {
        kind: (f"{start}-public-{behind}", f"{start}-PRIVATE-{behind}")
        for kind, behind in ((HYBRID, f"{HYBRID}-"), (X25519, ""))
    }


IDENTITY = Holder("identity", "--seal", "--new-identity", "originals", _prefixes("fastreid_privacy"))
SEARCH = Holder("search", "--search", "--new-search", "templates", _prefixes("fastreid_privacy-search"))
LARGEST_KEY = 2**16  # bytes of a key file
BLANK = " \t\r\n"  # around the line of a key file


@dataclass(frozen=True)
class Sealer:
    """Seals to public keys of one kind.

    Attributes:
        keys: of whom may open what is sealed.
        holder: who these are.

    Raises:
        UserError: as :func:`fastreid_privacy.keys.pairs.check_recipients`.
    """

    keys: tuple[PublicKey, ...]
    holder: Holder = IDENTITY

    def __post_init__(self) -> None:
        check_recipients(self.keys, MOST_RECIPIENTS, self.holder.option)

    def __call__(self, name: str, content: bytes) -> bytes:
        """As :func:`fastreid_privacy.keys.envelope.seal`."""
        return seal(name, content, self.keys)

    def seal_into(self, target: BinaryIO, name: str, content: Iterable[bytes], length: int) -> None:
        """As :func:`fastreid_privacy.keys.streaming.seal_stream`."""
        seal_stream(target, name, content, length, self.keys)

    @property
    def recipient(self) -> str:
        """The fingerprints of the keys (:func:`fastreid_privacy.keys.pairs.recipient`), sorted."""
        return ", ".join(sorted(map(recipient, self.keys)))


def new_identity(
    folder: str | Path, passphrase: str | None, kind: str = X25519, holder: Holder = IDENTITY
) -> tuple[Path, Path]:
    """Make a key pair: ``identity.pub`` for the camera side, ``identity.key`` for the owner.

    Args:
        folder: for both; made where it is missing.
        passphrase: encrypts the private key; None writes it unencrypted.
        kind: "x25519", or "hybrid" for archives that must outlast today's cryptography.
        holder: whose it is; those of ``SEARCH`` are ``search.pub`` and ``search.key``.

    Raises:
        UserError: when one is there already.
    """
    folder = Path(folder)
    public, private = folder / holder.public, folder / holder.private
    for path in (public, private):
        if path.exists():
            raise UserError(
                f"{path} is there already; choose another folder: what is sealed to it needs its private key"
            )
    key = PrivateKey.generate(kind)
    public_prefix, private_prefix = holder.prefixes[kind]
    content = _key_line(private_prefix, bytes(key)).encode()
    if passphrase is not None:
        content = encrypt(content, passphrase, {"part": holder.name, "recipient": recipient(key.public_key)})
    public_line = _key_line(public_prefix, bytes(key.public_key)).encode()
    write_new(folder, {private.name: content, public.name: public_line}, private=[private.name])
    return public, private


def read_public_key(path: str | Path, holder: Holder = IDENTITY) -> PublicKey:
    """The public key of a file that :func:`new_identity` wrote, ``identity.pub`` or ``search.pub``.

    A file of an older version has no checksum, and is read with a warning.

    Args:
        path: of the file.
        holder: whose it has to be.

    Raises:
        UserError: when the file is something else, a private key above all, another holder's, has a wrong
            digit, or holds a number that is nobody's key.
    """
    text = _text(read_file(path, LARGEST_KEY))
    private = tuple(pair[1] for one in (IDENTITY, SEARCH) for pair in one.prefixes.values())
    if text.startswith((*private, '{"format"')):
        raise UserError(
            f"{path} is a private key: keep it away from the camera side, and seal with {holder.public}"
        )
    kind, content, checked = _digits(text, path, holder, private=False)
    try:
        key = PublicKey(kind, content)
    except ValueError:
        raise UserError(
            f"{path} holds nobody's key: nothing can be sealed to it; ask the owner for it again"
        ) from None
    if not checked:
        say(
            f"warning: {path} is of an older version and has no checksum, so a wrong digit would seal to "
            f"nobody; ask the owner whether the key's fingerprint is {recipient(key)}, or for a new pair "
            "(tools/export.py --new-identity)"
        )
    return key


def read_sealer(paths: Sequence[str | Path], holder: Holder = IDENTITY) -> Sealer:
    """What seals to the public keys of files; each key is tried first.

    A probe is sealed. Where the private key of the holder, ``identity.key``, lies beside a file, the probe is
    opened with it, or, where it is encrypted, the fingerprint that it carries is compared.

    Raises:
        UserError: as :func:`read_public_key` and :class:`Sealer`, or when the two files are no pair.
    """
    keys = []
    for path in paths:
        key, beside = read_public_key(path, holder), Path(path).with_name(holder.private)
        if beside.is_file() and not _opens(beside, seal("probe", b"", [key]), recipient(key), holder):
            raise UserError(
                f"{path} and {beside} beside it are no pair: what is sealed with the one would not open with "
                "the other"
            )
        keys.append(key)
    return Sealer(tuple(keys), holder)


def _opens(private: Path, probe: bytes, whose: str, holder: Holder) -> bool:
    """Whether a private key opens a probe, as far as can be told without a passphrase."""
    content = read_file(private, LARGEST_KEY)
    if is_encrypted(content):
        return told(content).get("recipient", whose) == whose
    try:
        open_sealed(probe, read_identity(private, holder=holder))
    except UserError:
        return False
    return True


def read_private_key(
    path: str | Path, passphrase: Callable[[], str] | None = None, holder: Holder = IDENTITY
) -> PrivateKey:
    """As :func:`read_identity`; ``passphrase`` is asked for that of an encrypted file, not for others."""
    if passphrase is not None and is_encrypted(read_file(path, LARGEST_KEY)):
        return read_identity(path, passphrase(), holder)
    return read_identity(path, None, holder)


def read_identity(path: str | Path, passphrase: str | None = None, holder: Holder = IDENTITY) -> PrivateKey:
    """The private key of ``identity.key`` or ``search.key``.

    An unencrypted file of an older version has no checksum, and is read with a warning.

    Args:
        path: of the file.
        passphrase: of an encrypted one.
        holder: whose it has to be.

    Raises:
        UserError: when the file is something else or another holder's, has a wrong digit, or the passphrase
            is missing or wrong.
    """
    content = read_file(path, LARGEST_KEY)
    encrypted = is_encrypted(content)
    if encrypted:
        if passphrase is None:
            raise UserError(f"{path} is encrypted: its passphrase is needed")
        content, _ = decrypt(content, passphrase, path)
    kind, digits, checked = _digits(_text(content), path, holder, private=True)
    key = PrivateKey(kind, digits)
    if not (checked or encrypted):  # encryption notices every change, too
        say(
            f"warning: {path} is of an older version and has no checksum; the fingerprint of its public key "
            f"is {recipient(key.public_key)}. Seal what is new to a new pair (tools/export.py "
            "--new-identity), and keep this file for what was sealed to it"
        )
    return key


def _text(content: bytes) -> str:
    return content.decode(errors="replace").strip(BLANK)


def _key_line(prefix: str, key: bytes) -> str:
    """The line of a key file, with its checksum."""
    return f"{prefix}{key.hex()}-{_checksum(prefix + key.hex())}\n"


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _digits(text: str, path: object, holder: Holder, *, private: bool) -> tuple[str, bytes, bool]:
    """The kind and the key in a key file's line, and whether a checksum stood behind it."""
    for other in (IDENTITY, SEARCH):
        begins = tuple(prefixes[private] for prefixes in other.prefixes.values())
        if other != holder and text.startswith(begins):
            wanted = holder.private if private else holder.public
            raise UserError(f"{path} is a key of {other.seals}; for {holder.seals} take {wanted}")
    known = holder.prefixes
    kind = next((kind for kind, prefixes in known.items() if text.startswith(prefixes[private])), X25519)
    prefix = known[kind][private]
    length = KINDS[kind].private if private else KINDS[kind].public
    try:
        if not text.startswith(prefix):
            raise ValueError
        digits, dash, checksum = text.removeprefix(prefix).partition("-")
        key = bytes.fromhex(digits)
        if len(key) != length or key.hex() != digits:
            raise ValueError
        if not dash and (kind, holder) != (X25519, IDENTITY):  # older versions, without one, knew no other
            raise ValueError
    except ValueError:
        raise UserError(f"{path} is damaged or no key of this kind (it must begin with {prefix})") from None
    if dash and checksum != _checksum(prefix + digits):
        raise UserError(f"{path} is damaged: its checksum does not fit; copy it again from whom you have it")
    return kind, key, bool(dash)
