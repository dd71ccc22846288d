#!/usr/bin/env python3
"""Human verification, the paper's table 2: ``make`` its pages, ``score`` the answers; docs/human_study.md."""

import sys

from fastreid_privacy.commands.human_study import main

if __name__ == "__main__":
    sys.exit(main())
