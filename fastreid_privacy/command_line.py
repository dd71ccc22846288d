"""The training command for a script that brings its own parts: ``fastreid_privacy.command_line.run``."""

from .commands.train import run

__all__ = ["run"]
