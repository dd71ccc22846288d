"""The training command for a script that brings parts of its own: ``from fastreid_privacy.command_line import
run``."""

import sys

from .commands.train import run

__all__ = ["run"]

if __name__ == "__main__":
    sys.exit(run())
