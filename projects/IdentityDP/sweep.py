#!/usr/bin/env python3
"""Measure IdentityDP over its privacy budget; see README.md beside this file."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from identity_dp.commands import sweep_command

if __name__ == "__main__":
    sys.exit(sweep_command())
