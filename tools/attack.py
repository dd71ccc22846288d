#!/usr/bin/env python3
"""Attack protected files of any tool: what others get back, who hold more or less; docs/attack.md."""

import sys

from fastreid_privacy.commands.attack import main

if __name__ == "__main__":
    sys.exit(main())
