#!/usr/bin/env python3
"""Protect a folder of images, a data set or a video; docs/collections.md, docs/videos.md."""

import sys

from fastreid_privacy.commands.anonymize import main

if __name__ == "__main__":
    sys.exit(main())
