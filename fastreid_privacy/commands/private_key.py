"""A private key that a command line names, and the passphrase of an encrypted one."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..core.files import read_file
from ..keys.encryption import is_encrypted
from ..keys.pairs import PrivateKey
from ..keys.passphrase import read_passphrase
from ..keys.sealing import LARGEST_KEY, Holder, read_identity


def read_private_key(path: Path, options: argparse.Namespace, holder: Holder) -> PrivateKey:
    """The key; a passphrase is only asked for, or read as ``options`` say, where the file is encrypted.

    Raises:
        UserError: as :func:`fastreid_privacy.keys.sealing.read_identity`.
    """
    encrypted = is_encrypted(read_file(path, LARGEST_KEY))
    passphrase = read_passphrase(options.passphrase_env, options.passphrase_fd) if encrypted else None
    return read_identity(path, passphrase, holder)
