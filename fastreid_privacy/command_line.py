"""The training command for a script that brings parts of its own: ``from fastreid_privacy.command_line import
run``."""

from .commands.train import run

__all__ = ["run"]
