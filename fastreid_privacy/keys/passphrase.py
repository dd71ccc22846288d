"""A passphrase from a prompt, an environment variable or a file descriptor; never from the command line,
which others can read."""

from __future__ import annotations

import argparse
import getpass
import os
import sys

from ..core.errors import UserError


def read_passphrase(options: argparse.Namespace, *, confirm: bool = False) -> str:
    """The passphrase.

    Args:
        options: parsed, with those of :func:`add_passphrase_options`.
        confirm: whether a prompt asks twice, as for a new passphrase.

    Raises:
        UserError: when it is empty, cannot be had, or was not repeated alike.
    """
    if options.passphrase_env is not None:
        where, passphrase = (
            f"environment variable {options.passphrase_env}",
            os.environ.get(options.passphrase_env, ""),
        )
    elif options.passphrase_fd is not None:
        where = f"file descriptor {options.passphrase_fd}"
        try:
            with open(options.passphrase_fd, encoding="utf-8", closefd=False) as file:
                passphrase = file.readline().rstrip("\r\n")
        except (OSError, ValueError) as error:
            raise UserError(f"{where} cannot be read: {error}") from None
    else:
        if not sys.stdin.isatty():
            raise UserError(
                "a passphrase is needed and there is no terminal to ask for it: give --passphrase-env or "
                "--passphrase-fd"
            )
        where, passphrase = "what was typed", getpass.getpass("passphrase: ")
        if confirm and passphrase and getpass.getpass("once more: ") != passphrase:
            raise UserError("the two passphrases differ")
    if not passphrase:
        raise UserError(f"the passphrase is empty ({where})")
    return passphrase
