"""Opening regular files alone: a pipe would wait, and some devices never end."""

from __future__ import annotations

import os
import stat
from io import BufferedReader
from pathlib import Path

from .errors import UserError

_NO_WAITING = getattr(os, "O_NONBLOCK", 0)  # opening a pipe waits for who writes to it


def open_regular(path: str | Path) -> BufferedReader:
    """Open a regular file to read: a pipe would wait, and some devices never end.

    Raises:
        UserError: the reason, without the path, when it is no such file or cannot be read.
    """
    try:
        # who asked for it closes it
        file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | _NO_WAITING))  # noqa: SIM115
    except (OSError, ValueError) as error:  # a name with a zero byte is a ValueError
        raise UserError(f"it cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise UserError("it is no regular file")
    return file
