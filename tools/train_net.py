#!/usr/bin/env python3
"""Train and test; the flags are fastreid's, and trailing KEY VALUE pairs override the config."""

import sys

from fastreid_privacy.commands.train import run

if __name__ == "__main__":
    sys.exit(run())
