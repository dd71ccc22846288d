"""Writing files whole or not at all."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from .errors import UserError

UNFINISHED = ".unfinished"  # end of the name of a file that is being written; the name begins with a dot


def write_atomically(path: Path, write: Callable[[BinaryIO], Any], *, sync: bool = False) -> None:
    """Let ``write`` fill a file beside ``path`` and move it there when it is whole.

    An exception or the end of this process at any moment leaves ``path`` either as it was or complete.

    Args:
        path: of the file; its folder exists.
        write: gets the open binary file.
        sync: wait until the disk has it, so that a power cut leaves ``path`` whole too.
    """
    # several processes may write one file: the last one counts
    unfinished = path.with_name(f".{path.name}.{os.getpid()}{UNFINISHED}")
    try:
        with unfinished.open("wb") as file:
            write(file)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    if sync and os.name == "posix":  # the move reaches the disk with the folder; Windows opens no folders
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def read_file(path: str | Path) -> bytes:
    """The content of a file that the user named.

    Raises:
        UserError: when it cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def relative_path(text: object) -> str:
    """A path that leads to a file below any folder that it is put behind; one from somebody else might not.

    Raises:
        ValueError: saying why it does not.
    """
    if not isinstance(text, str) or not PurePosixPath(text).name:
        raise ValueError(f"the path {text!r} names no file")
    if PurePosixPath(text).is_absolute() or ".." in PurePosixPath(text).parts or "\0" in text:
        raise ValueError(f"the path {text!r} leads out of its folder")
    os.fsencode(text)
    return text


def remove_unfinished(folder: Path) -> None:
    """Delete what interrupted ``write_atomically`` calls have left in a folder."""
    for leftover in folder.glob(f".*{UNFINISHED}"):
        if is_unfinished(leftover.name):
            leftover.unlink()


def is_unfinished(name: str) -> bool:
    """Whether :func:`write_atomically` gives files such a name."""
    return re.fullmatch(rf"\..+\.\d+{re.escape(UNFINISHED)}", name) is not None


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read."""

    def write(file: BinaryIO) -> None:
        os.chmod(file.fileno(), 0o600)
        file.write(content)

    write_atomically(path, write)
