"""The model of a method: a run of ``fastreid-privacy train`` on the data and the budget of the comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastreid.config import CfgNode

from ..attack.subjects import PARTS
from ..collection.source import is_dataset
from ..config import changed, load_config, value_of
from ..core.errors import UserError, named
from ..results.results_json import (
    CONFIG_FILE,
    is_finished,
    lost_checkpoint,
    read_results,
    results_in,
    results_path,
)
from ..training.model_checks import check_future_teacher
from ..training.own_process import run_logged, save_config, training_command
from ..training.preflight import preflight
from ..training.request import TrainingRequest
from ..training.schedule import scaled_schedule
from ..training.siblings import saved_config, upgrades
from ..training.teaching import is_taught
from .methods import Method

RUN, CONFIG, LOG = "run", "config.yaml", "train.log"  # in a method's folder


@dataclass(frozen=True)
class Plan:
    """How the models of a comparison are trained.

    Attributes:
        data: a data set by name, or a folder with those of Market-1501.
        output: of the comparison.
        schedule: share of each config's own schedule, above 0, at most 1.
        seed: of every run.
        device: where it is trained.
    """

    data: str
    output: Path
    schedule: float
    seed: int
    device: str

    def folder(self, method: Method) -> Path:
        """Of all that is made of a method."""
        return self.output / method.name

    def run(self, method: Method) -> Path:
        """The folder of its training."""
        return method.run or self.folder(method) / RUN


def configs(plan: Plan, methods: Sequence[Method]) -> dict[str, CfgNode]:
    """The config of each method that has one, by name; the models of ``run`` have theirs.

    A learned method that upgrades its supervision starts from the Base model of the same operator and teacher
    where the comparison trains one; else it trains its own. The first model of raw images is the teacher of
    those that are taught.

    Raises:
        UserError: as of :func:`load_config`; when a finished run is none, or a taught method has no teacher.
            The method is named.
    """
    found: dict[str, CfgNode] = {}
    for method in methods:
        if method.run and not is_finished(method.run):
            unfinished = f"{method.run} holds no finished run (results.json, report.html and a model)"
            raise UserError(f"{method.name}: {lost_checkpoint(method.run) or unfinished}")
        if method.config:
            with named(method.name):
                cfg = _config(plan, method)
            if method.seal and cfg.PRIVACY.PROTECTION == "none":
                raise UserError(f"{method.name}: seal is for protected files, and nothing is protected here")
            found[method.name] = cfg
    bases: dict[tuple[str, str], Path] = {}
    for method in methods:
        cfg = found.get(method.name)
        if cfg is not None and cfg.PRIVACY.PROTECTION == "conventional":
            bases.setdefault(_base(cfg), _results(cfg))
    for name, cfg in found.items():
        base = _begun_from(cfg) or bases.get(_base(cfg))
        if base and upgrades(cfg) and cfg.PRIVACY.UPGRADE.BASELINE_RANK1 == "auto":
            found[name] = changed(cfg, {"PRIVACY.UPGRADE.BASELINE_RANK1": str(base)})
    teachers = [cfg for cfg in found.values() if cfg.PRIVACY.PROTECTION == "none" and not is_taught(cfg)]
    for name, cfg in found.items():
        if is_taught(cfg):
            if not teachers:
                raise UserError(
                    f"{name}: PRIVACY.TEACHER needs a teacher in this comparison: add a method of a config "
                    "with PRIVACY.PROTECTION none"
                )
            found[name] = changed(cfg, {"PRIVACY.UPPER_BOUND": str(_results(teachers[0]))})
    return found


def in_order(methods: Sequence[Method], found: dict[str, CfgNode]) -> list[Method]:
    """Models of raw images before those they teach, and Base models before those that start from them."""
    kinds = ("none", "conventional", "learned")

    def place(method: Method) -> tuple[int, bool]:
        cfg = found.get(method.name)
        return (kinds.index(cfg.PRIVACY.PROTECTION), is_taught(cfg)) if cfg else (0, False)

    return sorted(methods, key=place)


def check(plan: Plan, methods: Sequence[Method], found: dict[str, CfgNode]) -> None:
    """Check every training that is still to be made, before any is begun.

    Raises:
        UserError: as the training command, naming the method.
    """
    made = {str(_results(cfg)): cfg for cfg in found.values()}
    for method in in_order(methods, found):
        cfg = found.get(method.name)
        if cfg is None or is_finished(plan.run(method)):
            continue
        base = cfg.PRIVACY.UPGRADE.BASELINE_RANK1
        if base in made and not Path(base).is_file():  # an earlier run of this comparison will write it
            cfg = changed(cfg, {"PRIVACY.UPGRADE.BASELINE_RANK1": "50"})
        teacher = None if Path(cfg.PRIVACY.UPPER_BOUND).is_file() else made.get(cfg.PRIVACY.UPPER_BOUND)
        if teacher:
            cfg = changed(cfg, {"PRIVACY.UPPER_BOUND": "auto"})
        file = plan.folder(method) / CONFIG
        file.parent.mkdir(parents=True, exist_ok=True)
        save_config(cfg, file)
        with named(method.name):
            preflight(TrainingRequest(config_file=str(file), overrides=(), resume=True, processes=1))
            if teacher:
                check_future_teacher(cfg, teacher)


def train(plan: Plan, method: Method, cfg: CfgNode) -> None:
    """Train a model, or go on with it.

    Raises:
        UserError: when the run fails; its log is named. Also when what is there is another run's.
    """
    folder = plan.folder(method)
    folder.mkdir(parents=True, exist_ok=True)
    save_config(cfg, folder / CONFIG)
    log = folder / LOG
    run_logged(training_command(folder / CONFIG), log, f"the training of {method.name}")


def results_of(run: Path) -> dict[str, Any]:
    """results.json of a finished run; of the first test set where there are several."""
    return read_results(results_in(run)[0])


def _config(plan: Plan, method: Method) -> CfgNode:
    data = plan.data if is_dataset(plan.data) else "MarketFolder"
    folders = (
        {}
        if is_dataset(plan.data)
        else {f"DATASETS.FOLDER.{part.upper()}": str(Path(plan.data, name)) for name, part in PARTS.items()}
    )
    assert method.config is not None
    cfg = load_config(method.config, method.options)
    schedule = scaled_schedule(cfg.SOLVER, cfg.TEST.EVAL_PERIOD, plan.schedule)
    places = {"DATASETS.NAMES": (data,), "DATASETS.TESTS": (data,), **folders}
    run: dict[str, object] = {
        "OUTPUT_DIR": str(plan.folder(method) / RUN),
        "PRIVACY.UPPER_BOUND": "",
        "TEST.PAPER_RESULTS": [],
        "SEED": plan.seed,
        "MODEL.DEVICE": cfg.MODEL.DEVICE if plan.device == "auto" else plan.device,
    }
    return changed(cfg, {**schedule, **places, **run})


def _begun_from(cfg: CfgNode) -> str:
    """What a run that is there already was begun from; "" where there is none."""
    try:
        begun = saved_config(Path(cfg.OUTPUT_DIR, CONFIG_FILE))
    except (OSError, UserError):
        return ""  # none, or damaged: the training command says so
    return str(value_of(begun, "PRIVACY.UPGRADE.BASELINE_RANK1", ""))


def _base(cfg: CfgNode) -> tuple[str, str]:
    """What a method shares with the Base model that it starts from: the operator, and the teacher."""
    return cfg.PRIVACY.DESENSITIZER.dump(), cfg.PRIVACY.TEACHER.dump()


def _results(cfg: CfgNode) -> Path:
    return results_path(cfg, cfg.DATASETS.TESTS[0])
