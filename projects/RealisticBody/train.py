#!/usr/bin/env python3
"""Train a network that fills new people in; README.md."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the package, where it is not installed

from fastreid_privacy.core.projects import load_projects

load_projects([Path(__file__).parent])

# isort: split
from realistic_body.learning import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
