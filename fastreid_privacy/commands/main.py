"""``fastreid-privacy COMMAND …``: every command of the package under one name.

``COMMANDS`` is the list of them. Only the module of the command that is asked for is imported; all of them
are for ``--print-completion``, whose script then completes words without starting Python.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from .parsers import PROGRAM, add_version, place

SHELLS = ("bash", "zsh", "tcsh")  # for which shtab writes completion
MORE = (
    f"{PROGRAM} COMMAND --help tells of one, with an example. Completion, for bash:",
    f"  {PROGRAM} --print-completion bash > ~/.local/share/bash-completion/completions/{PROGRAM}",
)


class Command(NamedTuple):
    """A command: a module of this folder with ``build_parser() -> ArgumentParser``, ``main(argv) -> int``."""

    module: str
    summary: str
    entry: str = "main"

    def load(self) -> ModuleType:
        """The module, imported now."""
        return importlib.import_module(f".{self.module}", __package__)


COMMANDS = {
    "train": Command("train", "train a model, test it, write its report", entry="run"),
    "test": Command("test", "test a trained model again: train --eval-only"),
    "anonymize": Command("anonymize", "protect a folder of images, a data set or a video"),
    "recover": Command("recover", "recover what was protected, with the key"),
    "export": Command("export", "split a checkpoint into anonymizer, key and Re-ID model; make key pairs"),
    "retrieve": Command("retrieve", "index a folder of pictures, find people in it"),
    "attack": Command("attack", "attack protected files of any tool: what others get back"),
    "compare": Command("compare", "compare methods: privacy, utility, recovery, size and speed"),
    "app": Command("app", "see in the browser what a picture becomes, and check a release"),
    "reproduce": Command("reproduce", "make the paper's tables and figures"),
    "human-study": Command("human_study", "make and score the paper's verification by people"),
    "report": Command("report", "write a run's report.html again, print its tables"),
    "mobilenet": Command("mobilenet", "ImageNet weights of torchvision's MobileNetV2 for fastreid's"),
    "bench": Command("bench", "measure ranking, training steps and protecting, beside their peers"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: its name and its words; None takes those of the process.

    Returns:
        The exit code: 0, 2 after a message on standard error, 130 when interrupted.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in COMMANDS:
        command = COMMANDS[words[0]]
        return getattr(command.load(), command.entry)(words[1:])
    parser = _parser()
    options, others = parser.parse_known_args(words)  # leaves with 0 after --help and --version
    if options.print_completion:
        print(completion(options.print_completion))
        return 0
    if options.command is None:
        if others:
            parser.error(f"unrecognized arguments: {' '.join(others)}")
        parser.error(f"name a command; {PROGRAM} --help lists them")
    near = difflib.get_close_matches(options.command, COMMANDS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"{PROGRAM} --help lists the commands"
    parser.error(f"there is no command {options.command!r}; {hint}")


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:{width}}{command.summary}" for name, command in COMMANDS.items()]
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        usage=f"{PROGRAM} [-h] [--version] [--print-completion {{{','.join(SHELLS)}}}] COMMAND …",
        description="Reversible, learnable anonymization of pedestrian images.",
        epilog="\n".join(["commands:", *lines, "", *MORE]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_version(parser)
    parser.add_argument(
        "--print-completion", choices=SHELLS, help="print the script that completes commands and options"
    )
    parser.add_argument("command", nargs="?", metavar="COMMAND", help="one of the commands below")
    return parser


def completion(shell: str) -> str:
    """The script that completes every command, its options and the names of files.

    Args:
        shell: of ``SHELLS``.
    """
    import shtab  # nothing else needs it

    whole = argparse.ArgumentParser(prog=PROGRAM)
    add_version(whole)
    whole.add_argument("--print-completion", choices=SHELLS, help="print the script of a shell")
    commands = whole.add_subparsers()
    for name, command in COMMANDS.items():
        own = command.load().build_parser()
        _complete_files(own)
        commands.add_parser(name, help=command.summary, parents=[own], add_help=False)
    return shtab.complete(whole, shell)


def _complete_files(parser: argparse.ArgumentParser) -> None:
    """Let what may be a path complete to files: values without choices that are no numbers."""
    import shtab

    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                _complete_files(sub)
        elif action.nargs != 0 and not action.choices and action.type in (None, Path, place):
            action.complete = shtab.FILE  # type: ignore[attr-defined]  # shtab asks for it there
