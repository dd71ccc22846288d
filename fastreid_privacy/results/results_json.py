"""results.json: what an evaluation on a test set leaves behind (schema 1); written atomically, read by the
report and by later runs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import yaml
from fastreid.config import CfgNode

from ..core.errors import UserError
from ..core.files import write_atomically

SCHEMA = 1


def results_path(cfg: CfgNode, dataset: str) -> Path:
    """``OUTPUT_DIR/results.json``, or ``results_<name>.json`` when the config names several test sets."""
    return Path(cfg.OUTPUT_DIR) / (
        "results.json" if len(cfg.DATASETS.TESTS) == 1 else f"results_{dataset}.json"
    )


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
        # rank-1 minus Base's on the same queries, with its bootstrap interval, where Base's query ranks are
        # at hand
        "versus_baseline": {},
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


def read_results(path: str | Path) -> dict:
    """Read one results.json.

    Raises:
        UserError: when the file is missing, no JSON, or of another schema; the message names the file and
            what is wrong.
    """
    path = Path(path)
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise UserError(
            f"{path} does not exist; tools/train_net.py writes it when it evaluates on a test set (also "
            "--eval-only)"
        ) from None
    except ValueError as error:  # broken JSON and broken UTF-8
        raise UserError(f"{path} is not JSON ({error}); evaluate again to rewrite it") from None
    schema = results.get("schema") if isinstance(results, dict) else None
    if schema != SCHEMA:
        raise UserError(
            f"{path} has schema {schema!r}; this version reads schema {SCHEMA}; evaluate again to rewrite it"
        )
    if not isinstance(results.get("retrieval"), dict):
        raise UserError(f"{path} has no entry 'retrieval'; evaluate again to rewrite it")
    return results


def config_value(results: Mapping, key: str, default=None):
    """The value of a dotted config key in ``results["config"]``, or the default where the config lacks it."""
    node = results.get("config") or {}
    for name in key.split("."):
        if not isinstance(node, Mapping) or name not in node:
            return default
        node = node[name]
    return node
