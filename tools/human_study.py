#!/usr/bin/env python3
"""Human verification, the paper's table 2: ``make`` writes a web page for each participant, ``score`` a table
of their answers."""

import sys

from fastreid_privacy.commands.human_study import main

if __name__ == "__main__":
    sys.exit(main())
