"""Writing files whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

UNFINISHED = ".unfinished"  # end of the name of a file that is being written; the name begins with a dot


def write_atomically(path: Path, write: Callable[[BinaryIO], Any], *, sync: bool = False) -> None:
    """Let ``write`` fill a file beside ``path`` and move it there when it is whole.

    An exception or the end of this process at any moment leaves ``path`` either as it was or complete.

    Args:
        path: of the file; its folder exists.
        write: gets the open binary file.
        sync: wait until the disk has it, so that a power cut leaves ``path`` whole too.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}{UNFINISHED}")  # several processes may write one file: the last one counts
    try:
        with unfinished.open("wb") as file:
            write(file)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    if sync and os.name == "posix":  # the move itself reaches the disk with the folder; Windows opens no folders
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def remove_unfinished(folder: Path) -> None:
    """Delete what interrupted ``write_atomically`` calls have left in a folder."""
    for leftover in folder.glob(f".*{UNFINISHED}"):
        leftover.unlink()
