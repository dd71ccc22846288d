"""Which small changes to the code no test notices: ``make mutants PART=model.supervision`` (docs/mutants.md).

mutmut changes one function at a time, in a copy below ``output/mutants/``, and runs the tests that call it. A
change that no test fails on survives: an assertion is missing, or the change makes no difference. This file
says which tests belong to which module, and shows the survivors.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
WORK = ROOT / "output" / "mutants"
# Test files, without test_ and .py, of a module or of all other modules of a wing. mutmut finds out by itself
# which of their tests call a function.
TESTS = {
    "model.anonymizer": "noise_input",
    "model.attacker": "attacker",
    "model.heads": "meta_arch teacher",
    "model.image_stages": "meta_arch noise_input placing",
    "model.losses": "losses",
    "model.memory_layout": "memory_layout",
    "model.meta_arch": "meta_arch without_recovery attacker",
    "model.parts": "custody interoperability meta_arch",
    "model.reid_losses": "meta_arch attacker teacher",
    "model.storage": "image_storage",
    "model.supervision": "supervision",
    "model.teacher": "teacher",
    "model.verdict": "not_private",
    "training": "checks_of_a_run evaluate_only failing_runs user_errors",
    "training.checkpointer": "checkpoint",
    "training.evaluate_only": "evaluate_only several_test_sets",
    "training.experiment": "bootstrap checks_of_a_run evaluate_only several_test_sets",
    "training.hooks": "checks_of_a_run compat_processes",
    "training.model_checks": "checks_of_a_run compare teacher user_errors",
    "training.siblings": "checks_of_a_run user_errors resume several_test_sets teacher",
    "training.solver": "solver",
    "training.teaching": "teacher",
    "training.step": "step",
    "training.testing": "hybrid_evaluator evaluate_only",
    "training.trainer": "checks_of_a_run failing_runs meta_arch resume teacher",
    "evaluation": "ranking hybrid_evaluator",
    "evaluation.bootstrap": "bootstrap",
    "evaluation.expansion": "expansion",
    "evaluation.exposure": "exposure",
    "evaluation.hybrid_evaluator": "hybrid_evaluator",
    "evaluation.image_quality": "image_quality",
    "evaluation.lpips": "lpips",
    "evaluation.neighbours": "neighbours",
    "evaluation.rank_lists": "rank_lists",
    "evaluation.rerank": "rerank",
    "evaluation.roc": "roc",
    "collection": "collection custody",
    "collection.batch_mapper": "collection broken_weights",
    "collection.carriers": "carrying segments",
    "collection.carrying": "carrying segments",
    "collection.fitting": "carrying",
    "collection.unseal": "carrying custody",
    "keys": "custody",
    "keys.envelope": "sealing",
    "keys.pairs": "sealing",
    "keys.pixels": "carrying",
    "keys.segments": "segments",
}
MADE = {"output", "datasets", "logs", "site", "setup.cfg"}  # beside the repository's own files
WINGS = ("model", "training", "evaluation", "collection", "keys")
# Not changed: what is said to users and in logs, which tests hold by a few words.
LEFT_ALONE = r"^\s*(raise |logger\.)"
CONFIG = """[mutmut]
source_paths=fastreid_privacy
only_mutate=fastreid_privacy/{module}.py
also_copy=
{copied}
pytest_add_cli_args=
    -p
    no:cacheprovider
pytest_add_cli_args_test_selection=
{tests}
do_not_mutate_patterns={left_alone}
"""


def parts() -> list[str]:
    """Every module of the core wings that holds code, as "wing.module"."""
    files = [file for wing in WINGS for file in sorted((ROOT / "fastreid_privacy" / wing).glob("*.py"))]
    return [f"{file.parent.name}.{file.stem}" for file in files if file.stem != "__init__"]


def tests_of(part: str) -> list[str]:
    """The test files of a module, relative to the repository."""
    names = TESTS[part] if part in TESTS else TESTS[part.partition(".")[0]]
    return [f"tests/test_{name}.py" for name in names.split()]


def run(part: str, jobs: int) -> None:
    """Try every change to a module, and print how many there were and those that survived.

    Raises:
        SystemExit: when mutmut cannot run, as when a test fails without any change.
    """
    folder = WORK / part
    shutil.rmtree(folder, ignore_errors=True)  # mutmut keeps what it found, whatever became of the tests
    folder.mkdir(parents=True)
    for entry in ROOT.iterdir():
        if not entry.name.startswith(".") and entry.name not in MADE and entry.suffix != ".egg-info":
            (folder / entry.name).symlink_to(entry)
    copied = sorted({entry.name for entry in folder.iterdir()} - {"fastreid_privacy", "tests"})
    config = CONFIG.format(
        module=part.replace(".", "/"),
        copied="\n".join(f"    {name}" for name in copied),
        tests="\n".join(f"    {name}" for name in tests_of(part)),
        left_alone=LEFT_ALONE,
    )
    (folder / "setup.cfg").write_text(config)
    print(f"{part}: {' '.join(tests_of(part))}", flush=True)
    log = folder / "log"
    with log.open("w") as file:
        done = mutmut(folder, "run", "--max-children", str(jobs), stdout=file, stderr=subprocess.STDOUT)
    if done.returncode:
        sys.exit(f"error: mutmut cannot run on {part}; its log, {log}, ends with\n{log.read_text()[-2000:]}")
    lines = mutmut(folder, "results", "--all", "true", capture_output=True).stdout.splitlines()
    statuses = dict(line.strip().rsplit(": ", 1) for line in lines if ": " in line)
    counts = ", ".join(f"{count} {status}" for status, count in Counter(statuses.values()).most_common())
    print(f"{part}: {len(statuses)} changes: {counts}")
    for name, status in statuses.items():
        if status != "killed":
            shown = mutmut(folder, "show", name, capture_output=True).stdout.splitlines()
            change = [line for line in shown if line.startswith(("-", "+")) and line[1:3] not in ("--", "++")]
            print("\n".join([f"\n{status}: {name.rpartition('.')[2]}", *change]))


def mutmut(folder: Path, *words: str, **options: object) -> subprocess.CompletedProcess:
    """A command of mutmut in a folder.

    Its processes have one thread, as they are forked when torch is loaded; what tests write is in the folder.
    """
    temporary = folder / "temporary"
    temporary.mkdir(exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTEST_DEBUG_TEMPROOT": str(temporary)}
    command = [sys.executable, "-m", "mutmut", *words]
    return subprocess.run(command, cwd=folder, env=environment, text=True, check=False, **options)


def main() -> None:
    """The command line of ``make mutants``."""
    parser = argparse.ArgumentParser(description="Which small changes to a module no test notices.")
    parser.add_argument("parts", nargs="*", metavar="PART", help="as model.supervision (default: all, hours)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="changes tried side by side")
    args = parser.parse_args()
    if unknown := sorted(set(args.parts) - set(parts())):
        sys.exit(f"error: no part {unknown[0]}; known: {', '.join(parts())}")
    for part in args.parts or parts():
        run(part, args.jobs)


if __name__ == "__main__":
    main()
