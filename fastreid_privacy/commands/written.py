"""What commands write and name: a file that must not replace another, a few of many lines."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from ..core.errors import UserError, first_of, say
from ..core.files import write_atomically


def check_target(path: Path, force: bool) -> None:
    """Refuse, before anything is computed, a file that could not be written or must not be replaced."""
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a file")
    if path.exists() and not force:
        raise UserError(f"{path} exists; choose another name, or --force to replace it")
    # missing folders are made when there is something to write
    nearest = next(folder for folder in path.absolute().parents if folder.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise UserError(f"{path} cannot be written: {nearest} is no folder that you may write to")


def write_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file, whole or not at all; its folder is made."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, write)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from None


def say_some(lines: Sequence[str]) -> None:
    """The first of a list of lines, and how many more there are."""
    for line in first_of(lines):
        say(f"  {line}")


def report_failed(failed: Mapping[str, str], what: str) -> None:
    """Name the files that were left out, with the reason of each.

    Args:
        failed: path → reason.
        what: that was not done to them: "protected".

    Raises:
        UserError: when there are any.
    """
    if failed:
        reasons = [f"{path}: {reason}" for path, reason in sorted(failed.items())]
        listed = "\n  ".join(first_of(reasons))
        raise UserError(f"{len(failed):,} images were not {what}:\n  {listed}")
