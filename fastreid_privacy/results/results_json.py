"""results.json, schema 1: what an evaluation on a test set leaves behind for the report and later runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from fastreid.config import CfgNode

from ..core.dotted import value_of
from ..core.errors import UserError
from ..core.files import read_file, write_whole
from ..core.json_text import json_bytes, parse_json
from ..core.projects import about_projects
from .shape import check_shape

SCHEMA = 1
# of a run, in OUTPUT_DIR: its config, there from its start, its checkpoints, and the report, the last
# file that it writes
CONFIG_FILE, BEST, FINAL, REPORT = "config.yaml", "model_best.pth", "model_final.pth", "report.html"
RESULTS = "results.json"


def results_path(cfg: CfgNode, dataset: str) -> Path:
    """``OUTPUT_DIR/results.json``, or ``results_<name>.json`` when the config names several test sets."""
    name = RESULTS if len(cfg.DATASETS.TESTS) == 1 else f"results_{dataset}.json"
    return Path(cfg.OUTPUT_DIR) / name


def results_name(path: Path) -> str:
    """The name of the test set in the name of a results file, "" in ``results.json``.

    Example:
        >>> results_name(Path("output/results_Market1501.json"))
        'Market1501'
    """
    return path.stem.removeprefix("results").removeprefix("_")


def results_in(folder: Path) -> list[Path]:
    """results.json and results_<name>.json of a folder, the first in front; [] where there are none."""
    return [file for file in (folder / RESULTS, *sorted(folder.glob("results_*.json"))) if file.is_file()]


def results_files(output_dir: str | Path) -> list[Path]:
    """As :func:`results_in`.

    Raises:
        UserError: when the folder does not exist or holds none.
    """
    folder = Path(output_dir)
    if not folder.is_dir():
        raise UserError(
            f"{folder} is no folder; give the OUTPUT_DIR of a run, the folder that holds results.json"
        )
    files = results_in(folder)
    if not files:
        raise UserError(
            f"{folder} holds no results.json; tools/train_net.py writes it when it evaluates on a test set "
            "(also --eval-only)"
        )
    return files


def build_results(
    cfg: CfgNode,
    dataset: str,
    evaluation: dict,
    *,
    version: str,
    checkpoint: str,
    record: dict | None = None,
    private: bool | None = None,
    baseline: dict | None = None,
    upper_bound: dict | None = None,
    teacher: str | None = None,
    data: Mapping[str, Mapping[str, Any] | None] | None = None,
) -> dict:
    """Put one evaluation in the form of results.json.

    Args:
        cfg: of the run.
        dataset: the name of the test set.
        evaluation: of the hybrid evaluator: retrieval and image_quality.
        version: of this package.
        checkpoint: the file that was tested, relative to OUTPUT_DIR where it lies there.
        record: state of the upgrade record: checks and validation figures.
        private: whether the tested model met the privacy constraint at its last check; None where that is not
            known, or no constraint applies (``model.verdict``).
        baseline, upper_bound: results of the Base model and of AGW on raw images, where they were run.
        teacher: fingerprint of the model that taught this one; None where none did, or it is not known.
        data: "train" and "test": the images that the model was trained on, and those of the test set: their
            number, that of their people, and "sha256" of names, identities and cameras; None: not known.
    """
    record = record or {"checks": [], "validation": {}}
    tested = "best" if Path(checkpoint).name == BEST else "final"
    results = {
        "schema": SCHEMA,
        "dataset": dataset,
        "checkpoint": checkpoint,
        "config": yaml.safe_load(cfg.dump()),
        "version": version,
        "seed": cfg.SEED,
        "storage": cfg.PRIVACY.STORAGE,
        "projects": about_projects(),
        "retrieval": evaluation["retrieval"],
        "image_quality": evaluation["image_quality"],
        "validation": record["validation"].get(tested, {}),
        "private": private,
        "checks": record["checks"],
        "upgrades": [check for check in record["checks"] if check["decision"] == "upgrade"],
        # rank-1 minus Base's on the same queries with its bootstrap interval: filled in where both are known
        "versus_baseline": {},
        "intervals_over": "people",  # older versions drew queries, and did not say so
        "baseline": baseline,
        "upper_bound": upper_bound,
        "teacher": teacher,
        "data": {part: dict(told) for part, told in (data or {}).items() if told},
    }
    return _plain(results)


def save_results(results: dict, path: Path) -> None:
    """Write results.json, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json_bytes(results))


def read_results(path: str | Path) -> dict:
    """Read one results.json.

    Raises:
        UserError: when the file is missing, no JSON, of another schema, or has parts of another kind.
    """
    path = Path(path)
    if not path.exists() or path.is_dir():
        raise UserError(
            f"{path} does not exist; tools/train_net.py writes it when it evaluates on a test set (also "
            "--eval-only)"
        )
    try:
        results = parse_json(read_file(path))
    except ValueError as error:  # broken JSON and broken UTF-8
        raise UserError(f"{path} is not JSON ({error}); evaluate again to rewrite it") from None
    schema = results.get("schema") if isinstance(results, dict) else None
    if schema != SCHEMA:
        raise UserError(
            f"{path} has schema {schema!r}; this version reads schema {SCHEMA}; evaluate again to rewrite it"
        )
    if not isinstance(results.get("retrieval"), dict):
        raise UserError(f"{path} has no entry 'retrieval'; evaluate again to rewrite it")
    try:
        check_shape(results)
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); evaluate again to rewrite it") from None
    return results


def tested_checkpoint(results: Mapping, folder: Path) -> Path:
    """The checkpoint that the results of a folder are of, whether it still is there or not.

    Raises:
        UserError: when they name none.
    """
    name = results.get("checkpoint")
    if not name:
        raise UserError(f"the results in {folder} name no checkpoint; evaluate again to rewrite them")
    return folder / name  # an absolute path where it lies elsewhere


def checkpoint_of(run: Path) -> Path:
    """The model of a run: the one that it tested; before there are results, the best, else the last.

    Raises:
        UserError: when its results cannot be read, or name none.
    """
    if files := results_in(run):
        return tested_checkpoint(read_results(files[0]), run)
    return run / (BEST if (run / BEST).is_file() else FINAL)


def lost_checkpoint(run: Path) -> str:
    """Which model a run tested that is not there any more, and what to do about it; "" of all other runs.

    Raises:
        UserError: as :func:`checkpoint_of`.
    """
    files, path = results_in(run), checkpoint_of(run)
    if not files or path.is_file():
        return ""
    gone = f"{path}, which the results of {run} are of, is not there any more: give it back"
    left = next((run / name for name in (BEST, FINAL) if (run / name).is_file()), None)
    if left is None:
        return f"{gone}, or train the model again"
    moved = " and ".join(file.name for file in files)
    return (
        f"{gone}, or move {moved} away and test {left.name} in its place: fastreid-privacy test "
        f"--config-file {run / CONFIG_FILE} --output {run} MODEL.WEIGHTS {left}"
    )


def is_finished(run: Path) -> bool:
    """Whether a folder holds a run that came to its end, and the model that it tested."""
    return (run / REPORT).is_file() and bool(results_in(run)) and checkpoint_of(run).is_file()


def config_value(results: Mapping, key: str, default: Any = None) -> Any:
    """The value of a dotted key in the config that results keep, or the default where it lacks the key."""
    return value_of(results.get("config") or {}, key, default)


def _plain(value: Any) -> Any:
    """JSON has no infinity and no NaN: they become null."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
