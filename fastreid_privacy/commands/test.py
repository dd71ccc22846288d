"""``fastreid-privacy test``: ``train --eval-only`` under a name of its own."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from . import train
from .running import run_command


def main(argv: Sequence[str] | None = None) -> int:
    """Test a trained model; returns the exit code of ``train``."""
    words = sys.argv[1:] if argv is None else argv
    # so that --help and what is wrong are said in this command's name
    wrong = run_command(build_parser(), words, lambda options: None, "interrupted")
    return wrong or train.run(["--eval-only", *words])


def build_parser() -> argparse.ArgumentParser:
    """The options of ``train``."""
    return train.build_parser("test", "Test a trained model again; write its results and its report.")
