"""What travels to the processes of a cluster: pickled, and encrypted on the way.

Ray keeps large arguments of tasks in the shared memory of machines, and spills them to disks when that is
full. So they are encrypted there, with a key that is made for one run: ChaCha20-Poly1305. The key itself is a
small argument of each task, which Ray hands over in its messages and keeps in no store.
"""

from __future__ import annotations

import secrets
from typing import Any

from ..core.errors import UserError
from ..core.extras import aead, cloudpickle, exceptions

KEY_BYTES, NONCE_BYTES = 32, 12


class Parcels:
    """Closes what is sent, and opens what was sent.

    Args:
        key: 32 bytes; None: a new one.
    """

    def __init__(self, key: bytes | None = None):
        self.key = secrets.token_bytes(KEY_BYTES) if key is None else key

    def close(self, content: object) -> bytes:
        """Anything that can be pickled, functions inside of functions too, as bytes that tell nothing."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + aead.ChaCha20Poly1305(self.key).encrypt(nonce, cloudpickle.dumps(content), None)

    def open(self, closed: bytes) -> Any:
        """What was closed with the same key; nothing of it is run unless it was.

        Raises:
            UserError: when it was not, or was changed since.
        """
        nonce, ciphertext = closed[:NONCE_BYTES], closed[NONCE_BYTES:]
        try:
            return cloudpickle.loads(aead.ChaCha20Poly1305(self.key).decrypt(nonce, ciphertext, None))
        except exceptions.InvalidTag:
            raise UserError("what the cluster handed over was changed on the way") from None
