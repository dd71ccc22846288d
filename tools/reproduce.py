#!/usr/bin/env python3
"""The tables of the paper's section 4: ``python tools/reproduce.py --config-file
configs/Market/privacy_agw.yml [--tables 1,3,4,5] …``.

``--help`` shows the flags; trailing KEY VALUE pairs override the config of every run.
"""

import sys

from fastreid_privacy.commands.reproduce import main

if __name__ == "__main__":
    sys.exit(main())
