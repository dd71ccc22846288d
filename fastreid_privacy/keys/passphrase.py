"""A passphrase from a prompt, an environment variable or a file descriptor; never from the command line.

Others can read the command line of a running process.
"""

from __future__ import annotations

import getpass
import os
import sys

from ..core.errors import UserError


def read_passphrase(
    variable: str | None = None, descriptor: int | None = None, *, confirm: bool = False
) -> str:
    """The passphrase, from the one place that is given; a prompt asks where none is.

    Args:
        variable: name of the environment variable that holds it.
        descriptor: number of an open file descriptor, whose first line it is.
        confirm: whether a prompt asks twice, as for a new passphrase.

    Raises:
        UserError: when it is empty, cannot be had, or was not repeated alike.
    """
    if variable is not None:
        where, passphrase = f"environment variable {variable}", os.environ.get(variable, "")
    elif descriptor is not None:
        where, passphrase = f"file descriptor {descriptor}", _first_line(descriptor)
    else:
        where, passphrase = "what was typed", _typed(confirm)
    if not passphrase:
        raise UserError(f"the passphrase is empty ({where})")
    return passphrase


def _first_line(descriptor: int) -> str:
    try:
        with open(descriptor, encoding="utf-8", closefd=False) as file:
            return file.readline().rstrip("\r\n")
    except (OSError, ValueError) as error:
        raise UserError(f"file descriptor {descriptor} cannot be read: {error}") from None


def _typed(confirm: bool) -> str:
    if not sys.stdin.isatty():
        raise UserError(
            "a passphrase is needed and there is no terminal to ask for it: give --passphrase-env or "
            "--passphrase-fd"
        )
    passphrase = getpass.getpass("passphrase: ")
    if confirm and passphrase and getpass.getpass("once more: ") != passphrase:
        raise UserError("the two passphrases differ")
    return passphrase
