#!/usr/bin/env python3
"""Train the networks of IdentityDP; see README.md beside this file."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from identity_dp.commands import train_command

if __name__ == "__main__":
    sys.exit(train_command())
