"""What all runs of a reproduction share, the config of each, and the record of what was asked: plan.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fastreid.config import CfgNode

from ..config import METHOD_KEYS, RUN_KEYS, changed, comparable, differing, load_config, value_of
from ..core.errors import UserError
from ..core.files import write_whole
from ..core.json_text import json_bytes, json_value, parse_json
from ..results.results_json import RESULTS
from ..training.schedule import scaled_schedule
from ..training.teaching import is_taught
from . import paper
from .plan import OPERATORS, TABLES, Run, plan_runs
from .protocols import OWN_KEYS, PAPER, operator_values, protocol_of, protocol_values

PLAN_FILE = "plan.json"
PLAN_SCHEMA = 1
CONFIG_FILE = "run.yml"  # in the folder of a training: all that it is asked
# What makes a run one or the other of a reproduction. Everything else of the method (σ of the blur,
# thresholds, …) is shared.
MADE_BY_RUN = (
    "PRIVACY.PROTECTION",
    "PRIVACY.DESENSITIZER.NAME",
    "PRIVACY.UPGRADE.ENABLED",
    "PRIVACY.UPGRADE.BASELINE_RANK1",
    "PRIVACY.UPPER_BOUND",
    "TEST.PAPER_RESULTS",
    "SEED",
)
OWN_FLAGS = {"OUTPUT_DIR": "--output (or --output-dir)", "SEED": "--seeds"}
PROTECTIONS = {"upper_bound": "none", "base": "conventional", "wo_upgrade": "learned", "full": "learned"}


@dataclass
class Reproduction:
    """A request: which tables, from which config, where.

    Attributes:
        config_file: any config of the data set; its method keys are set for each run.
        overrides: KEY VALUE words for every run.
        tables, operators, seeds: what is asked now.
        budget: the fraction of the config's epochs to train, above 0 and at most 1.
        protocol: of :data:`.protocols.PROTOCOLS`.
        output_dir: "" for ``output/<config's folder>/reproduce``, with the protocol's name behind it where it
            is not the paper's; absolute after construction.
        processes: per run, as ``--num-gpus`` of the training command.
        config: what all runs share (filled in, as all below).
        shared: the keys of it that protocol and budget set.
        dataset: that the tables are of.
        epochs, epochs_of_config: of a training, and of one with the whole budget.

    Raises:
        UserError: for a config that cannot be trained or has no recovery, a method key among the overrides,
            or several test sets.
    """

    config_file: str
    overrides: Sequence[str] = ()
    tables: Sequence[int] = TABLES
    operators: Sequence[str] = OPERATORS
    seeds: Sequence[int] = (0,)
    budget: float = 1.0
    protocol: str = PAPER
    output_dir: str | Path = ""
    processes: int = 1
    config: CfgNode = field(init=False)
    shared: Mapping[str, object] = field(init=False)
    dataset: str = field(init=False)
    epochs: int = field(init=False)
    epochs_of_config: int = field(init=False)

    def __post_init__(self):
        refuse_own_keys(self.overrides[0::2])
        cfg = load_config(self.config_file, self.overrides)
        if len(cfg.DATASETS.TESTS) != 1:
            raise UserError(
                f"DATASETS.TESTS is {cfg.DATASETS.TESTS}; the tables are of one test set: give "
                "DATASETS.TESTS with one name"
            )
        if cfg.PRIVACY.LAMBDA_REC == 0:
            raise UserError(
                f"{self.config_file} trains without recovery (PRIVACY.LAMBDA_REC 0), but the paper's method "
                "recovers: give a config with recovery, such as privacy_agw.yml beside it"
            )
        if is_taught(cfg):
            raise UserError(
                f"{self.config_file} trains with a teacher (PRIVACY.TEACHER), but the paper's method has "
                "none: give a config without one, such as privacy_agw.yml beside it"
            )
        self.dataset = cfg.DATASETS.TESTS[0]
        by_protocol = protocol_values(cfg, self.protocol)
        solver = changed(cfg, by_protocol).SOLVER
        self.shared = {**by_protocol, **scaled_schedule(solver, cfg.TEST.EVAL_PERIOD, self.budget)}
        self.config = changed(cfg, self.shared)
        self.epochs, self.epochs_of_config = (each.SOLVER.MAX_EPOCH for each in (self.config, cfg))
        name = "reproduce" if self.protocol == PAPER else f"reproduce_{self.protocol}"
        default = Path("output", Path(self.config_file).resolve().parent.name, name)
        self.output_dir = Path(self.output_dir or default).resolve()

    @property
    def runs(self) -> list[Run]:
        """The runs of the plan, in the order in which they are made."""
        return plan_runs(self.tables, self.operators, self.seeds)

    def folder(self, run: Run) -> Path:
        """OUTPUT_DIR of a run."""
        return Path(self.output_dir) / run.folder

    def values(self, run: Run) -> dict[str, object]:
        """The config keys that make a training what it is, and where.

        Base's and the upper bound's results are named by their path.
        """
        base, upper_bound = (
            str(self.folder(other) / RESULTS)
            for other in (Run("base", run.seed, run.operator), Run("upper_bound", run.seed))
        )
        values: dict[str, object] = {
            "PRIVACY.PROTECTION": PROTECTIONS[run.kind],
            "PRIVACY.UPGRADE.ENABLED": run.kind == "full",
            "PRIVACY.UPGRADE.BASELINE_RANK1": base if run.kind == "full" else "auto",
            "PRIVACY.UPPER_BOUND": upper_bound if PROTECTIONS[run.kind] == "learned" else "",
            "TEST.PAPER_RESULTS": paper.entries(self.dataset, run.kind, run.operator),
            "SEED": run.seed,
            "OUTPUT_DIR": str(self.folder(run)),
        }
        if run.operator:
            values |= operator_values(self.config, self.protocol, run.operator)
        return values

    def config_of(self, run: Run) -> CfgNode:
        """The config of a training; of a "raw_agw" that of its full model."""
        model = run if run.trains else Run("full", run.seed, run.operator)
        return changed(self.config, self.values(model))

    def checkable_config(self, run: Run) -> CfgNode:
        """:meth:`config_of`, with stand-ins for the results of other runs that are not there yet."""
        cfg = self.config_of(run)
        stand_ins = {"PRIVACY.UPGRADE.BASELINE_RANK1": "0", "PRIVACY.UPPER_BOUND": ""}
        given = {key: str(value_of(cfg, key)) for key in stand_ins}
        later = [key for key, value in given.items() if value.endswith(".json") and not Path(value).is_file()]
        return changed(cfg, {key: stand_ins[key] for key in later})

    def record(self) -> dict:
        """plan.json: what was asked, together with what earlier calls asked of the same folder.

        Raises:
            UserError: when the folder holds a reproduction of another config, protocol or budget, or a
                plan.json that cannot be read.
        """
        settings = json_value(comparable(self.config, (*MADE_BY_RUN, *RUN_KEYS)))
        record = {
            "schema": PLAN_SCHEMA,
            "config": str(self.config_file),
            "overrides": list(self.overrides),
            "dataset": self.dataset,
            "protocol": self.protocol,
            "budget": self.budget,
            "epochs": self.epochs,
            "epochs_of_config": self.epochs_of_config,
            "tables": sorted(self.tables),
            "operators": list(self.operators),
            "seeds": sorted(self.seeds),
            "settings": settings,
        }
        path = Path(self.output_dir) / PLAN_FILE
        if path.exists():
            earlier = read_plan(self.output_dir)
            lists = dict.fromkeys(("tables", "seeds", "operators"), list)
            kinds = {"budget": int | float, "settings": dict, **lists}
            if damaged := [key for key, kind in kinds.items() if not isinstance(earlier.get(key), kind)]:
                raise UserError(
                    f"{path} is damaged ({', '.join(damaged)}); move it away or choose another --output"
                )
            if protocol_of(earlier) != self.protocol:
                raise UserError(
                    f"{self.output_dir} holds a reproduction with --protocol {protocol_of(earlier)}; give "
                    f"--protocol {protocol_of(earlier)} --output {self.output_dir} to go on with it, or "
                    "choose another --output"
                )
            if earlier["budget"] != self.budget:
                raise UserError(
                    f"{self.output_dir} holds a reproduction with --budget {earlier['budget']:g}; give the "
                    "same, or another --output"
                )
            if different := differing(earlier["settings"], settings):
                raise UserError(
                    f"{self.output_dir} holds a reproduction of another config than {self.config_file} "
                    f"({'; '.join(different[:3])}); choose another --output"
                )
            for key in ("tables", "seeds"):
                record[key] = sorted({*record[key], *earlier[key]})
            record["operators"] = [
                name for name in OPERATORS if name in {*record["operators"], *earlier["operators"]}
            ]
        return record

    def save_plan(self) -> None:
        """Write plan.json."""
        write_whole(Path(self.output_dir) / PLAN_FILE, json_bytes(self.record()))


def refuse_own_keys(keys: Sequence[str]) -> None:
    """Refuse overrides of what this command sets itself.

    Raises:
        UserError: naming the key.
    """
    for key in keys:
        if key in OWN_FLAGS:
            raise UserError(f"{key} is set by this command for each run; give {OWN_FLAGS[key]} instead")
        if key in OWN_KEYS:
            raise UserError(f"{key} is set by --protocol: paper or joint; leave it out")
        if any(key == name or key.startswith(f"{name}.") for name in METHOD_KEYS):
            raise UserError(
                f"{key} is part of what the runs of a reproduction differ in, and cannot be given for all; "
                "set it in the config file where it is the same for every run"
            )


def read_plan(output_dir: str | Path) -> dict:
    """plan.json of a folder.

    Raises:
        UserError: when there is none that can be read.
    """
    path = Path(output_dir) / PLAN_FILE
    try:
        plan = parse_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"{path} does not exist: {output_dir} holds no reproduction (tools/reproduce.py makes one)"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); move it away or choose another --output") from None
    if not isinstance(plan, dict) or plan.get("schema") != PLAN_SCHEMA:
        raise UserError(
            f"{path} is no plan of a reproduction of schema {PLAN_SCHEMA}; move it away or choose another "
            "--output"
        )
    return plan
