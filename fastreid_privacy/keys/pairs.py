"""Key pairs, and a short secret sealed to one: HPKE (RFC 9180), base mode, one message for each.

Two kinds: X25519, and ML-KEM-768 with X25519 ("hybrid"), which stays closed as long as one of the two holds.
Both derive with HKDF-SHA256 and encrypt with ChaCha20-Poly1305.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from ..core.errors import UserError
from ..core.extras import exceptions, hpke, mlkem, x25519

X25519, HYBRID = "x25519", "hybrid"
FIELD = 2**255 - 19  # a public key of X25519 is a number below it
MLKEM_SEED, MLKEM_PUBLIC = 64, 1184  # bytes; those of X25519 follow, 32


class Kind(NamedTuple):
    """A kind of key pair.

    Attributes:
        name: "x25519" or "hybrid".
        public: bytes of a public key.
        private: bytes of a private key.
        added: bytes that sealing adds to a secret.
    """

    name: str
    public: int
    private: int
    added: int


KINDS = {
    X25519: Kind(X25519, 32, 32, 32 + 16),
    HYBRID: Kind(HYBRID, MLKEM_PUBLIC + 32, MLKEM_SEED + 32, 1120 + 16),
}


@dataclass(frozen=True)
class PublicKey:
    """A public key: who has it can seal.

    Attributes:
        kind: "x25519" or "hybrid".
        content: its bytes; of a hybrid one, those of ML-KEM and then those of X25519.

    Raises:
        ValueError: when the bytes are nobody's key.
    """

    kind: str
    content: bytes

    def __post_init__(self) -> None:
        if len(self.content) != KINDS[self.kind].public:
            raise ValueError(f"a public key of kind {self.kind} has {KINDS[self.kind].public} bytes")
        # X25519 takes greater numbers for smaller ones, whose fingerprint is another
        if int.from_bytes(self.content[-32:], "little") >= FIELD:
            raise ValueError("a number that X25519 cannot use")
        self.seal(b"", b"")  # with zero and other points of low order X25519 makes no secret

    def __bytes__(self) -> bytes:
        return self.content

    def __reduce__(self) -> tuple[type[PublicKey], tuple[str, bytes]]:
        """In another process it is made anew: what the library holds of it cannot be sent."""
        return PublicKey, (self.kind, self.content)

    @cached_property
    def _native(self) -> Any:
        last = x25519.X25519PublicKey.from_public_bytes(self.content[-32:])
        if self.kind == X25519:
            return last
        first = mlkem.MLKEM768PublicKey.from_public_bytes(self.content[:-32])
        return hpke.MLKEM768X25519PublicKey(first, last)

    def seal(self, secret: bytes, bound: bytes) -> bytes:
        """Seal a secret.

        Args:
            secret: any bytes, a few.
            bound: what opening needs as well; it is not inside.

        Returns:
            As many bytes as the secret has, and ``added`` of the kind.
        """
        return _suite(self.kind).encrypt(secret, self._native, bound)


@dataclass(frozen=True, repr=False)  # a message must not show it
class PrivateKey:
    """A private key: who has it can open.

    Attributes:
        kind: "x25519" or "hybrid".
        content: its bytes; of a hybrid one, the seed of ML-KEM and then the number of X25519.

    Raises:
        ValueError: when it has another length.
    """

    kind: str
    content: bytes

    def __post_init__(self) -> None:
        if len(self.content) != KINDS[self.kind].private:
            raise ValueError(f"a private key of kind {self.kind} has {KINDS[self.kind].private} bytes")

    @classmethod
    def generate(cls, kind: str = X25519) -> PrivateKey:
        """A new one."""
        content = x25519.X25519PrivateKey.generate().private_bytes_raw()
        if kind == HYBRID:
            content = mlkem.MLKEM768PrivateKey.generate().private_bytes_raw() + content
        return cls(kind, content)

    def __bytes__(self) -> bytes:
        return self.content

    @cached_property
    def _halves(self) -> tuple[Any, Any]:
        """The keys of ML-KEM, None where there is none, and of X25519."""
        last = x25519.X25519PrivateKey.from_private_bytes(self.content[-32:])
        if self.kind == X25519:
            return None, last
        return mlkem.MLKEM768PrivateKey.from_seed_bytes(self.content[:-32]), last

    @cached_property
    def _native(self) -> Any:
        first, last = self._halves
        return last if first is None else hpke.MLKEM768X25519PrivateKey(first, last)

    @cached_property
    def public_key(self) -> PublicKey:
        """Its public key."""
        halves = (half.public_key().public_bytes_raw() for half in self._halves if half is not None)
        return PublicKey(self.kind, b"".join(halves))

    def open(self, sealed: bytes, bound: bytes) -> bytes | None:
        """Open what :meth:`PublicKey.seal` gave.

        Returns:
            The secret; None where it was sealed to another key, bound to something else, or changed.
        """
        try:
            return _suite(self.kind).decrypt(sealed, self._native, bound)
        except (exceptions.InvalidTag, ValueError):
            return None


def recipient(key: PublicKey) -> str:
    """Whose key it is: the first 32 hexadecimal digits of the SHA-256 of a public key."""
    return hashlib.sha256(bytes(key)).hexdigest()[:32]


def check_recipients(keys: tuple[PublicKey, ...], most: int, option: str = "--seal") -> None:
    """Refuse recipients that do not go together.

    Args:
        keys: of the recipients.
        most: that there may be.
        option: that names them, for messages.

    Raises:
        UserError: when there are too many, one stands there twice, or their kinds differ: what is sealed to
            an X25519 key besides is not safer than that.
    """
    if len(keys) > most:
        raise UserError(f"{option} names {len(keys)} keys; at most {most} can open one file")
    if len({bytes(key) for key in keys}) < len(keys):
        raise UserError(f"{option} names one key twice: leave one of them out")
    if len({key.kind for key in keys}) > 1:
        raise UserError(
            f"{option} names keys of both kinds, hybrid and x25519: who breaks the weaker one opens "
            "everything; take keys of one kind"
        )


def _suite(kind: str) -> hpke.Suite:
    kem = {X25519: hpke.KEM.X25519, HYBRID: hpke.KEM.MLKEM768_X25519}[kind]
    return hpke.Suite(kem, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)
