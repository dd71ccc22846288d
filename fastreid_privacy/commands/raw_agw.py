"""The process of a reproduction that tests AGW of raw images on a full model's: no command of a user's.

python -m fastreid_privacy.commands.raw_agw FULL_DIR UPPER_BOUND_DIR DEVICE
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ..core.errors import exit_code
from ..reproduce.raw_agw import evaluate_raw_agw


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code (:func:`fastreid_privacy.core.errors.exit_code`)."""
    parser = argparse.ArgumentParser(prog="python -m fastreid_privacy.commands.raw_agw")
    parser.add_argument("full", type=Path, metavar="FULL_DIR")
    parser.add_argument("upper_bound", type=Path, metavar="UPPER_BOUND_DIR")
    parser.add_argument("device", metavar="DEVICE")
    options = parser.parse_args(argv)
    folders = options.full, options.upper_bound
    return exit_code(
        lambda: print(evaluate_raw_agw(*folders, options.device)), "interrupted", os_errors=False
    )


if __name__ == "__main__":
    sys.exit(main())
