"""Making the runs of a plan: all checked first, each run a process of its own, finished ones left alone."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from ..config import RUN_KEYS, comparable, differing, load_config
from ..core import lock
from ..core.errors import UserError
from ..data.loaders import validation_split
from ..results.results_json import REPORT, RESULTS
from ..training.own_process import run_logged, save_config, training_command
from ..training.preflight import check_writable, preflight
from ..training.request import TrainingRequest
from ..training.siblings import check_outputs
from .finished import FinishedRuns
from .plan import Run
from .progress import Progress
from .reproduction import CONFIG_FILE, Reproduction

LOG_FILE = "reproduce.log"  # in a run's folder: all that its process says
NOT_COMPARED = (*RUN_KEYS, "TEST.PAPER_RESULTS", "PRIVACY.UPPER_BOUND", "PRIVACY.UPGRADE.BASELINE_RANK1")


def is_finished(reproduction: Reproduction, run: Run) -> bool:
    """Whether a run's results are there; those of a test, when they are of the checkpoints that are there.

    Raises:
        UserError: when the results in its place are of another run, or cannot be read.
    """
    finished = FinishedRuns(reproduction.output_dir).of(run)
    if finished is None or not all(is_finished(reproduction, model) for model in run.tested.values()):
        return False
    file = finished.folder / RESULTS
    config = finished.results.get("config")
    if not isinstance(config, dict):
        raise UserError(f"{file} holds no config; move it away, or choose another --output")
    theirs, ours = (comparable(each, NOT_COMPARED) for each in (config, reproduction.config_of(run)))
    if changed := differing(theirs, ours):
        raise UserError(
            f"{file} is of another run than {run.name} of this plan ({'; '.join(changed[:3])}); move it "
            "away, or choose another --output"
        )
    return not run.trains or (finished.folder / REPORT).is_file()


def check_plan(reproduction: Reproduction) -> list[Run]:
    """Check every run as far as it can be checked before anything is trained.

    Returns:
        The runs that are still to be made.

    Raises:
        UserError: as the training command, for any of them, and for results of foreign runs in their places.
    """
    missing = [run for run in reproduction.runs if not is_finished(reproduction, run)]
    checked: set[str] = set()  # data and networks are the same for every seed and operator
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, CONFIG_FILE)
        for run in (run for run in missing if run.trains):
            save_config(reproduction.checkable_config(run), file)
            if run.kind in checked:
                check_outputs(load_config(file), resume=True)
            else:
                preflight(
                    TrainingRequest(
                        config_file=str(file), overrides=(), resume=True, processes=reproduction.processes
                    )
                )
                checked.add(run.kind)
    return missing


def locked(folder: Path, patience: float = 5.0) -> AbstractContextManager[int | None]:
    """Hold the folder of a reproduction for this process and the runs that it starts.

    They keep it if this process dies before them; see :func:`fastreid_privacy.core.lock.locked`.

    Args:
        folder: made where it is missing.
        patience: seconds to wait for one who holds it.

    Raises:
        UserError: when another one holds it, or it cannot be written to.
    """
    check_writable(folder)
    in_use = (
        f"{folder} is in use: another reproduction, or a run that one has left, is still writing to it; "
        "wait for it or end it"
    )
    return lock.locked(folder, in_use, patience=patience)


def make_runs(
    reproduction: Reproduction,
    missing: Sequence[Run],
    descriptor: int | None,
    after_each: Callable[[], object],
) -> None:
    """Make the missing runs one after the other, with a bar over the whole plan.

    Args:
        missing: of :func:`check_plan`.
        descriptor: of :func:`locked`.
        after_each: called when a run has finished.

    Raises:
        UserError: when a run fails; it names the run, its log and the last error line.
    """
    if not missing:  # tables can be written again without the data
        return
    cfg = reproduction.config_of(reproduction.runs[0])
    steps = len(validation_split(cfg).train) // cfg.SOLVER.IMS_PER_BATCH
    with Progress(reproduction, missing, steps) as progress:
        for run in missing:
            progress.begin(run)
            _make(reproduction, run, descriptor, progress)
            progress.finish()
            after_each()


def command(reproduction: Reproduction, run: Run) -> list[str]:
    """The command of a run's process."""
    if run.trains:
        file = reproduction.folder(run) / CONFIG_FILE
        return training_command(file, f"--num-gpus={reproduction.processes}")
    full, upper_bound = reproduction.folder(run).parent, reproduction.folder(Run("upper_bound", run.seed))
    words = [str(full), str(upper_bound), reproduction.config.MODEL.DEVICE]
    return [sys.executable, "-m", "fastreid_privacy.commands.raw_agw", *words]


def _make(reproduction: Reproduction, run: Run, descriptor: int | None, progress: Progress) -> None:
    folder = reproduction.folder(run)
    folder.mkdir(parents=True, exist_ok=True)
    if run.trains:
        save_config(reproduction.config_of(run), folder / CONFIG_FILE)
    run_logged(command(reproduction, run), folder / LOG_FILE, f"run {run.name}", descriptor, progress.update)
