"""``python -m fastreid_privacy``: the same as ``fastreid-privacy``."""

import sys

from .commands.main import main

if __name__ == "__main__":
    sys.exit(main())
