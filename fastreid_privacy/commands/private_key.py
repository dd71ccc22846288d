"""A private key that a command line names, and the passphrase of an encrypted one."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..keys import sealing
from ..keys.pairs import PrivateKey
from ..keys.sealing import Holder
from .options import passphrase_of


def read_private_key(path: Path, options: argparse.Namespace, holder: Holder) -> PrivateKey:
    """The key; a passphrase is only asked for, or read as ``options`` say, where the file is encrypted.

    Raises:
        UserError: as :func:`fastreid_privacy.keys.sealing.read_identity`.
    """
    return sealing.read_private_key(path, passphrase_of(options), holder)
