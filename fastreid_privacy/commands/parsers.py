"""What the parsers of all commands have: one name for the program, an example, ``--version``."""

from __future__ import annotations

import argparse
import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from ..core.errors import UserError
from ..core.remote import Place, RemotePath, place_of
from ..core.version import __version__

PROGRAM = "fastreid-privacy"

Number = TypeVar("Number", int, float)


def command_parser(
    name: str, description: str, *examples: str, parser: argparse.ArgumentParser | None = None
) -> argparse.ArgumentParser:
    """The parser of a command, without options of its own yet.

    Args:
        name: of the command: ``fastreid-privacy NAME``; "retrieve build" of a part of one.
        description: what it does, a sentence or two.
        *examples: the words of a command line each, without the program; ``--help`` shows them.
        parser: takes the place of a new one, with the options that it has.
    """
    parser = parser or argparse.ArgumentParser()
    script = Path(sys.argv[0])
    if script.suffix == ".py" and script.name != "__main__.py":  # tools/train_net.py, or somebody's own
        called = f"tools/{script.name}" if script.absolute().parent.name == "tools" else script.name
        parser.prog = " ".join([called, *name.split()[1:]])
        start = f"python {parser.prog}"
    else:
        parser.prog = start = f"{PROGRAM} {name}"
    parser.description = textwrap.fill(description, shutil.get_terminal_size().columns - 2)
    heading = "examples:" if len(examples) > 1 else "example:"
    parser.epilog = "\n  ".join([heading, *(f"{start} {words}" for words in examples)])
    parser.formatter_class = argparse.RawDescriptionHelpFormatter  # an example is a line, not a paragraph
    add_version(parser)
    return parser


def place(text: str) -> Place:
    """A folder of this machine, or a place that fsspec opens, for argparse."""
    try:
        return place_of(text)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def words(text: str) -> tuple[str, ...]:
    """Words with commas between them, each once, for argparse; "" is none."""
    found = tuple(word.strip() for word in text.split(",")) if text else ()
    if not all(found) or len(set(found)) < len(found):
        raise argparse.ArgumentTypeError(f"{text!r}: give words with commas between them, each once")
    return found


def names_of(known: Sequence[str], reasons: Mapping[str, str] = {}) -> Callable[[str], tuple[str, ...]]:
    """What reads one or several of some names, in their order, for argparse.

    Args:
        known: the names.
        reasons: why a word is none of them, where there is more to say.
    """

    def names(text: str) -> tuple[str, ...]:
        found = words(text) or ("",)
        for word in found:
            if word not in known:
                why = reasons.get(word, "unknown")
                raise argparse.ArgumentTypeError(f"{word!r}: {why}; known: {', '.join(known)}")
        return tuple(name for name in known if name in found)

    return names


def numbers(text: str, kind: Callable[[str], Number]) -> tuple[Number, ...]:
    """Numbers with commas between them; () where a word is none, there are none, or two are equal.

    Args:
        text: of the command line.
        kind: int or float.

    Raises:
        argparse.ArgumentTypeError: as :func:`words`.
    """
    try:
        found = tuple(map(kind, words(text)))
    except ValueError:
        return ()
    return found if len(set(found)) == len(found) else ()


def seeds(text: str) -> tuple[int, ...]:
    """Seeds with commas between them, each once, for argparse."""
    found = numbers(text, int)
    if not found or any(not 0 <= seed < 2**31 for seed in found):
        raise argparse.ArgumentTypeError(
            f"{text!r}: give whole numbers from 0 to {2**31 - 1}, each once, as in 0,1,2"
        )
    return found


def refuse_stores(options: argparse.Namespace, what: str) -> None:
    """Refuse places of stores for what is done with files of this machine alone.

    Args:
        options: parsed, with ``input`` and ``output``.
        what: this is.

    Raises:
        UserError: naming the option.
    """
    for name in ("input", "output"):
        if isinstance(getattr(options, name), RemotePath):
            raise UserError(f"--{name} {getattr(options, name)}: {what} needs a folder of this machine")


def add_version(parser: argparse.ArgumentParser) -> None:
    """``--version``, the same of the program and of each command."""
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
