#!/usr/bin/env python3
"""Benchmarks, peers beside us in one run; ``--help`` tells the parts."""

import sys

from fastreid_privacy.commands.bench import main

if __name__ == "__main__":
    sys.exit(main())
