#!/usr/bin/env python3
"""Give ImageNet weights of torchvision's MobileNetV2 the names of fastreid's; ``--help`` tells how."""

import sys

from fastreid_privacy.commands.mobilenet import main

if __name__ == "__main__":
    sys.exit(main())
