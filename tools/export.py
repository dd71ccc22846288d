#!/usr/bin/env python3
"""Split a checkpoint into anonymizer, recovery key and Re-ID model, or make a key pair; docs/custody.md."""

import sys

from fastreid_privacy.commands.export import main

if __name__ == "__main__":
    sys.exit(main())
