#!/usr/bin/env python3
"""Train and test: ``python tools/train_net.py --config-file configs/Market/privacy_agw.yml [--resume]
[--eval-only] [KEY VALUE …]``.

The flags are fastreid's; trailing KEY VALUE pairs override the config.
"""

import sys

from fastreid_privacy.commands.train import run

if __name__ == "__main__":
    sys.exit(run())
