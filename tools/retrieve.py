#!/usr/bin/env python3
"""Find people in a folder of pictures: ``retrieve.py build`` indexes the folder, ``retrieve.py query`` ranks
it for a picture.

Raw and protected pictures may be mixed; ``build --help`` and ``query --help`` say how.
"""

import sys

from fastreid_privacy.commands.retrieve import main

if __name__ == "__main__":
    sys.exit(main())
