#!/usr/bin/env python3
"""Find people in a folder of pictures: ``build`` indexes it, ``query`` ranks it; docs/retrieval.md."""

import sys

from fastreid_privacy.commands.retrieve import main

if __name__ == "__main__":
    sys.exit(main())
