"""From the words of a command line to its exit code: flags, KEY VALUE pairs, projects, the work."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from itertools import zip_longest

from ..config import default_config, flat_keys
from ..core.errors import UserError, exit_code
from ..core.projects import load_projects

PAIRS = "KEY VALUE pairs, as in SOLVER.MAX_EPOCH 60"
# what is meant by a word behind a flag that takes none
INSTEAD = {
    "--resume": "it continues the run in the folder of --output",
    "--eval-only": "it tests the checkpoint of MODEL.WEIGHTS, or of the folder of --output",
}


def run_command(
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None,
    work: Callable[[argparse.Namespace], object],
    interrupted: str,
    intermixed: bool = False,
) -> int:
    """Run a command.

    Args:
        parser: of the command; KEY VALUE pairs are its ``opts``, folders of projects its ``project``.
        argv: its words; None takes those of the process.
        work: what it does with its options, when pairs are checked and projects loaded.
        interrupted: what is said after Ctrl-C.
        intermixed: whether pairs may stand before flags and between them.

    Returns:
        The exit code (:func:`fastreid_privacy.core.errors.exit_code`).
    """
    words = sys.argv[1:] if argv is None else argv
    options = (parser.parse_intermixed_args if intermixed else parser.parse_args)(words)

    def run() -> None:
        if pairs := getattr(options, "opts", ()):
            check_pairs(parser, pairs, words)
        load_projects(getattr(options, "project", ()))
        work(options)

    return exit_code(run, interrupted)


def chosen(options: argparse.Namespace) -> None:
    """Work of a command of several parts, for :func:`run_command`: the parser of each has its ``action``."""
    options.action(options)


def check_pairs(parser: argparse.ArgumentParser, pairs: Sequence[str], words: Sequence[str]) -> None:
    """Refuse words of a command line that are neither flags nor KEY VALUE pairs, the first of them by name.

    What looks like a key is left to :func:`fastreid_privacy.config.load_config`, which knows the nearest one.

    Args:
        parser: of the command.
        pairs: the words that it took for keys and values.
        words: all words of the command line.

    Raises:
        UserError: naming the word, and what to do.
    """
    known = flat_keys(default_config())
    sections = {key.partition(".")[0] for key in known}
    flags = parser._option_string_actions  # argparse has no public way to list them

    def is_flag(word: str) -> bool:
        return word.partition("=")[0] in flags

    for key, value in zip_longest(pairs[::2], pairs[1::2]):
        if is_flag(key):
            raise UserError(f"{key} stands behind {PAIRS}; give all flags of {parser.prog} before them")
        section, dot, _ = key.partition(".")
        if not (re.fullmatch(r"[A-Z][A-Z0-9_.]*", key) or (dot and section.upper() in sections)):
            before = words[list(words).index(key) - 1] if key in words[1:] else ""
            why = f": {before} takes no value, {INSTEAD[before]}" if before in INSTEAD else ""
            raise UserError(
                f"{key} is neither a flag of {parser.prog} nor a config key{why}. Leave it out; behind the "
                f"flags stand {PAIRS}"
            )
        if value is None or is_flag(value) or value in known:
            follows = f": {value} follows" if value is not None else ""
            raise UserError(f"{key} has no value{follows}; give {PAIRS}")
