"""results.json: what an evaluation on a test set leaves behind (schema 1); written atomically, read by the report and by later runs."""

from __future__ import annotations

import json
import math
from pathlib import Path

import yaml
from fastreid.config import CfgNode

from ..files import write_atomically

SCHEMA = 1
PAIRS = ("OI-OI", "OI-PI", "PI-OI", "PI-PI", "OI-DI", "RI-RI")  # query domain, gallery domain
QUALITY_DOMAINS = {"protected": "PI", "desensitized": "DI", "recovered": "RI"}  # name of an image quality: domain


def results_path(cfg: CfgNode, dataset: str) -> Path:
    """``OUTPUT_DIR/results.json``, or ``results_<name>.json`` when the config names several test sets."""
    return Path(cfg.OUTPUT_DIR) / ("results.json" if len(cfg.DATASETS.TESTS) == 1 else f"results_{dataset}.json")


def build_results(
    cfg: CfgNode,
    dataset: str,
    evaluation: dict,
    *,
    version: str,
    checkpoint: str,
    record: dict | None = None,
    baseline: dict | None = None,
    upper_bound: dict | None = None,
) -> dict:
    """Put one evaluation in the form of results.json.

    Args:
        evaluation: of the hybrid evaluator: retrieval and image_quality.
        checkpoint: the file that was tested, relative to OUTPUT_DIR where it lies there.
        record: state of the upgrade record: checks and validation figures.
        baseline, upper_bound: results of the Base model and of AGW on raw images, where they were run.
    """
    record = record or {"checks": [], "validation": {}}
    tested = "best" if Path(checkpoint).stem == "model_best" else "final"
    results = {
        "schema": SCHEMA,
        "dataset": dataset,
        "checkpoint": checkpoint,
        "config": yaml.safe_load(cfg.dump()),
        "version": version,
        "seed": cfg.SEED,
        "storage": cfg.PRIVACY.STORAGE,
        "retrieval": evaluation["retrieval"],
        "image_quality": evaluation["image_quality"],
        "validation": record["validation"].get(tested, {}),
        "checks": record["checks"],
        "upgrades": [check for check in record["checks"] if check["decision"] == "upgrade"],
        "versus_baseline": {},  # rank-1 minus Base's on the same queries, with its bootstrap interval, where Base's query ranks are at hand
        "baseline": baseline,
        "upper_bound": upper_bound,
    }
    return _plain(results)


def _plain(value):
    """JSON has no infinity and no NaN: they become null."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def save_results(results: dict, path: Path) -> None:
    """Write results.json, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = json.dumps(results, indent=1).encode() + b"\n"
    write_atomically(path, lambda file: file.write(content))
