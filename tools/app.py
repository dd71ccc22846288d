#!/usr/bin/env python3
"""A page in the browser of this computer, to see what others will see; docs/app.md."""

import sys

from fastreid_privacy.commands.app import main

if __name__ == "__main__":
    sys.exit(main())
