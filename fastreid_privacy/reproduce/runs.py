"""Making the runs of a plan: everything checked first, each run a process of its own, what is finished left
alone."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from ..config import RUN_KEYS, comparable, differing
from ..core.errors import UserError
from ..data.loaders import validation_split
from ..results.results_json import read_results
from ..results.training_log import read_metrics
from ..training.preflight import check_writable, preflight
from ..training.siblings import check_outputs
from .plan import WEIGHTS, Run
from .reproduction import Reproduction

LOG_FILE = "reproduce.log"  # in a run's folder: all that its process says
LOCK_FILE = ".reproduce.lock"
POLL_SECONDS = 1.0
TRAIN = "import sys; from fastreid_privacy.command_line import run; sys.exit(run())"
NOT_COMPARED = (*RUN_KEYS, "TEST.PAPER_RESULTS", "PRIVACY.UPPER_BOUND", "PRIVACY.UPGRADE.BASELINE_RANK1")


def is_finished(reproduction: Reproduction, run: Run) -> bool:
    """Whether a run's results are there.

    Raises:
        UserError: when the results in its place are of another run, or cannot be read.
    """
    file = reproduction.folder(run) / "results.json"
    if not file.is_file():
        return False
    config = read_results(file).get("config")
    if not isinstance(config, dict):
        raise UserError(f"{file} holds no config; move it away, or choose another --output-dir")
    theirs = comparable(config, NOT_COMPARED)
    changed = differing(theirs, comparable(reproduction.config_of(run), NOT_COMPARED))
    if changed:
        raise UserError(
            f"{file} is of another run than {run.name} of this plan ({'; '.join(changed[:3])}); move it "
            "away, or choose "
            "another --output-dir"
        )
    return (
        not run.trains or (file.parent / "report.html").is_file()
    )  # the last file that a training run writes


def check_plan(reproduction: Reproduction) -> list[Run]:
    """Check every run as far as it can be checked before anything is trained.

    Returns:
        the runs that are still to be made.

    Raises:
        UserError: as the training command, for any of them, and for results of foreign runs in their places.
    """
    missing = [run for run in reproduction.runs if not is_finished(reproduction, run)]
    checked: set[str] = set()  # data and networks are the same for every seed and operator
    for run in (run for run in missing if run.trains):
        options = reproduction.checkable_options(run)
        if run.kind in checked:
            check_outputs(reproduction.config_of(run), resume=True)
        else:
            preflight(
                argparse.Namespace(
                    config_file=reproduction.config_file,
                    opts=options,
                    num_gpus=reproduction.processes,
                    num_machines=1,
                    eval_only=False,
                    resume=True,
                )
            )
            checked.add(run.kind)
    return missing


def _lock(file: BinaryIO) -> bool:
    import fcntl  # not on every system

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def locked(folder: Path, patience: float = 5.0) -> Iterator[int | None]:
    """Hold a folder for this process and the runs that it starts, which keep it if this process dies before
    them.

    Args:
        patience: seconds to wait for one who holds it: a killed process takes a moment to be gone.

    Yields:
        the descriptor to be inherited; None where the system has no such locks.

    Raises:
        UserError: when another one holds it.
    """
    check_writable(folder)
    if os.name != "posix":
        yield None
        return
    with (folder / LOCK_FILE).open("ab") as file:
        deadline = time.monotonic() + patience
        while not _lock(file):
            if time.monotonic() < deadline:
                time.sleep(0.1)
                continue
            raise UserError(
                f"{folder} is in use: another reproduction, or a run that one has left, is still writing "
                "to it; wait for it or "
                "end it"
            )
        yield file.fileno()


def make_runs(
    reproduction: Reproduction, missing: list[Run], lock: int | None, after_each: Callable[[], object]
) -> None:
    """Make the missing runs one after the other, with a bar over the whole plan.

    Args:
        missing: of :func:`check_plan`.
        lock: of :func:`locked`.
        after_each: called when a run has finished.

    Raises:
        UserError: when a run fails; it names the run, its log and the last error line.
    """
    if not missing:  # tables can be written again without the data
        return
    plan = reproduction.runs
    cfg = reproduction.config_of(plan[0])
    iterations = reproduction.epochs * (len(validation_split(cfg).train) // cfg.SOLVER.IMS_PER_BATCH)
    done = sum(WEIGHTS[run.kind] for run in plan if run not in missing)
    with tqdm(
        total=sum(WEIGHTS[run.kind] for run in plan),
        initial=done,
        smoothing=0,
        miniters=0,
        mininterval=0.5 if sys.stderr.isatty() else 60,
        bar_format="{desc} |{bar}| {percentage:3.0f} % [{elapsed}, {remaining} left]",
    ) as bar:
        for run in missing:
            title = f"run {plan.index(run) + 1} of {len(plan)}, {run.name}"
            before = bar.n

            def show(fraction: float, title: str = title, before: float = before, run: Run = run) -> None:
                epoch = min(int(fraction * reproduction.epochs) + 1, reproduction.epochs)
                bar.set_description_str(
                    f"{title}, epoch {epoch} of {reproduction.epochs}" if run.trains else title, refresh=False
                )
                bar.update(max(before + fraction * WEIGHTS[run.kind] - bar.n, 0))

            _make(
                reproduction,
                run,
                lock,
                lambda run=run, show=show: show(_progress(reproduction.folder(run), iterations)),
            )
            show(1.0)
            after_each()


def _progress(folder: Path, iterations: int) -> float:
    """The fraction of a training that its log says is done, 0–1."""
    metrics = read_metrics(folder / "metrics.json")
    return min(metrics[-1]["iteration"] / max(iterations, 1), 1.0) if metrics else 0.0


def command(reproduction: Reproduction, run: Run) -> list[str]:
    """The command of a run's process."""
    if not run.trains:
        upper_bound = reproduction.folder(Run("upper_bound", run.seed))
        module = f"{__package__}.raw_agw"
        return [
            sys.executable,
            "-m",
            module,
            str(reproduction.folder(run).parent),
            str(upper_bound),
            reproduction.config.MODEL.DEVICE,
        ]
    return [
        sys.executable,
        "-c",
        TRAIN,
        "--resume",
        "--config-file",
        str(reproduction.config_file),
        "--num-gpus",
        str(reproduction.processes),
        *reproduction.options(run),
    ]


def _make(reproduction: Reproduction, run: Run, lock: int | None, show: Callable[[], None]) -> None:
    folder = reproduction.folder(run)
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / LOG_FILE
    with log.open("ab") as output:
        start = output.tell()
        process = subprocess.Popen(
            command(reproduction, run),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[] if lock is None else [lock],
        )
    try:
        while process.poll() is None:
            show()
            try:
                process.wait(POLL_SECONDS)
            except subprocess.TimeoutExpired:
                continue
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
    if process.returncode == 130:
        raise KeyboardInterrupt
    if process.returncode:
        raise UserError(
            f"run {run.name} failed with exit code {process.returncode}: {last_error(log, start)} (its "
            f"log: {log}). The same "
            "command goes on from what is finished"
        )


def last_error(log: Path, start: int = 0) -> str:
    """The last line of a log that begins with "error:", else the last line, from a byte on."""
    with log.open("rb") as file:
        file.seek(start)
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error:")]
    return (errors or lines or ["it said nothing"])[-1].removeprefix("error: ")
