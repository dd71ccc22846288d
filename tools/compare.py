#!/usr/bin/env python3
"""Compare methods on one data set and one budget; docs/compare.md."""

import sys

from fastreid_privacy.commands.compare import main

if __name__ == "__main__":
    sys.exit(main())
