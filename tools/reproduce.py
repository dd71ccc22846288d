#!/usr/bin/env python3
"""The tables and figures of the paper's section 4; docs/reproduction.md shows what it writes."""

import sys

from fastreid_privacy.commands.reproduce import main

if __name__ == "__main__":
    sys.exit(main())
