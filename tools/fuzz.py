#!/usr/bin/env python3
"""Damaged and forged files of every kind, given to the commands that read them; docs/security.md."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def build_parser() -> argparse.ArgumentParser:
    """The options of the script."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Example: python tools/fuzz.py --cases 300. Run it as a user who may write to little else.",
    )
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn (default 0)")
    parser.add_argument("--cases", type=int, default=6000, help="of all kinds together (default 6000)")
    parser.add_argument("--kinds", help="names, with commas between them (default: all)")
    parser.add_argument("--jobs", type=int, default=1, help="processes side by side (default 1)")
    parser.add_argument("--tree", type=Path, default=ROOT, help="an older tree of the project to be tried")
    parser.add_argument("--output", type=Path, help="write the table and what was found, as JSON")
    parser.add_argument("--only", metavar="KIND:NUMBER", help="one case of a kind, to look at it")
    parser.add_argument("--keep", type=Path, help="with --only: copy the folder of the case to here")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script; returns 1 where a case was silently wrong, ended in a traceback or hung."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    # a process is copied for each case, and threads would not be copied with it
    os.environ.update(dict.fromkeys(THREADS, "1"))
    from fuzzing.cases import HANG, OPTIONS, OUTCOMES, TRACEBACK, WRONG, share_out
    from fuzzing.kinds import KINDS
    from fuzzing.running import Run

    kinds = options.kinds.split(",") if options.kinds else [*KINDS, OPTIONS]
    only = None
    if options.only:
        name, _, number = options.only.rpartition(":")
        if not number.isdigit():
            parser.error(f"--only is {options.only}; give KIND:NUMBER")
        only, kinds = int(number), [name]
    if unknown := [kind for kind in kinds if kind not in (*KINDS, OPTIONS)]:
        parser.error(f"--kinds has {unknown[0]!r}; known: {', '.join((*KINDS, OPTIONS))}")
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz") as folder:
        run = Run(options.tree, Path(folder), options.seed, options.jobs)
        cases = [(kinds[0], only)] if only is not None else share_out(options.cases, kinds)
        found = run.all(cases)
        if options.keep and only is not None:
            shutil.copytree(run.folder_of(kinds[0], only), options.keep, symlinks=True)
    table = {kind: Counter(case.outcome for case in found if case.kind == kind) for kind in kinds}
    faults = [case for case in found if case.outcome in (WRONG, TRACEBACK, HANG)]
    for case in found if only is not None else faults:
        print(f"{case.outcome}: {case.kind}:{case.number} ({case.told}; {case.words})\n    {case.why}")
    print(f"\n{'kind':16}{'tried':>8}" + "".join(f"{outcome:>14}" for outcome in OUTCOMES))
    for kind, counts in [*table.items(), ("all", sum(table.values(), Counter()))]:
        print(f"{kind:16}{counts.total():8}" + "".join(f"{counts[outcome]:14}" for outcome in OUTCOMES))
    if options.output:
        content = {"seed": options.seed, "seconds": round(time.monotonic() - begun), "table": table}
        options.output.write_text(
            json.dumps({**content, "faults": [case.as_json() for case in faults]}, indent=1)
        )
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
