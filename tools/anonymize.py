#!/usr/bin/env python3
"""Protect a folder of images or a data set: raw images in, protected files and a manifest out;
docs/collections.md."""

import sys

from fastreid_privacy.commands.anonymize import main

if __name__ == "__main__":
    sys.exit(main())
