"""Runs the training command until it finishes, killing it where a plan says; used by test_resume.py.

``python killed_runs.py '[[ARGUMENTS, PLAN], …]'`` imports everything once; every run is a fork of it, so that
only the first one pays for the imports. A plan is a list of what ends a run with SIGKILL, one after the
other:

- ``["call", "module.Class.function", n]``: just before the n-th call;
- ``["write", "part of the path", n]``: when ``torch.save`` has written n bytes to such a file.

The first run has no ``--resume``, all others do. The last run has no kill and must succeed.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys

import torch

from fastreid_privacy.commands.train import run


def die() -> None:
    """End this process at once, as an out-of-memory killer or a scheduler does."""
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def kill_before_call(name: str, number: int) -> None:
    """Replace a function by one that dies when it is called for the n-th time."""
    owner, _, attribute = name.rpartition(".")
    try:
        owner = importlib.import_module(owner)
    except ModuleNotFoundError:
        module, _, owner = owner.rpartition(".")
        owner = getattr(importlib.import_module(module), owner)
    original, calls = getattr(owner, attribute), []

    def deadly(*args, **kwargs):
        calls.append(None)
        if len(calls) == number:
            die()
        return original(*args, **kwargs)

    setattr(owner, attribute, deadly)


class DeadlyFile:
    """A file that holds what is written up to a number of bytes, and whose writer does not survive more."""

    def __init__(self, file, size: int):
        self.file, self.left = file, size

    def write(self, data) -> int:
        written = self.file.write(memoryview(data)[: self.left])
        self.left -= written
        if self.left <= 0:
            self.file.flush()
            die()
        return written

    def flush(self) -> None:
        self.file.flush()


def kill_while_writing(part: str, size: int) -> None:
    """Make ``torch.save`` die in the middle of a file."""
    save = torch.save
    torch.save = lambda content, file: save(content, DeadlyFile(file, size) if part in file.name else file)


def run_in_a_fork(argv: list[str], kill: list | None) -> int:
    """The exit code of one run, or minus the signal that ended it."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if kill:
        {"call": kill_before_call, "write": kill_while_writing}[kill[0]](*kill[1:])
    code = 1
    try:
        code = run(argv)
    finally:
        sys.stdout.flush()
        os._exit(code)


if __name__ == "__main__":
    for argv, plan in json.loads(sys.argv[1]):
        for number, kill in enumerate([*plan, None]):
            code = run_in_a_fork([*(["--resume"] if number else []), *argv], kill)
            expected = 0 if kill is None else -signal.SIGKILL
            if code != expected:
                sys.exit(f"run {number}, to be ended by {kill}: exit code {code}, expected {expected}")
