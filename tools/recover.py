#!/usr/bin/env python3
"""Recover the images of a protected collection, and compare them with the raw ones; docs/collections.md."""

import sys

from fastreid_privacy.commands.recover import main

if __name__ == "__main__":
    sys.exit(main())
