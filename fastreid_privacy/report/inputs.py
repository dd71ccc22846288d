"""What the report reads: results.json, fastreid's log metrics.json, and the sample images that the evaluation stores."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..evaluation.results import SCHEMA
from ..files import write_atomically

DOMAINS = {"OI": "raw", "DI": "desensitized", "PI": "protected", "RI": "recovered"}


def read_results(path: str | Path) -> dict:
    """Read one results.json.

    Raises:
        UserError: when the file is missing, no JSON, or of another schema; the message names the file and what is wrong.
    """
    path = Path(path)
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise UserError(f"{path} does not exist; tools/train_net.py writes it when it evaluates on a test set (also --eval-only)") from None
    except ValueError as error:  # broken JSON and broken UTF-8
        raise UserError(f"{path} is not JSON ({error}); evaluate again to rewrite it") from None
    schema = results.get("schema") if isinstance(results, dict) else None
    if schema != SCHEMA:
        raise UserError(f"{path} has schema {schema!r}; this version reads schema {SCHEMA}; evaluate again to rewrite it")
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


def read_metrics(path: str | Path) -> list[dict]:
    """fastreid's metrics.json as one dict per logged iteration, in order; empty where there is no log.

    A resumed run repeats iterations: the last line counts. A line torn by a killed process is dropped; the line that the resumed run
    then appended to it is kept.
    """
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    lines: dict[int, dict] = {}
    for line in text.splitlines():
        try:
            entry = json.loads(line[max(line.rfind("{"), 0) :])  # fastreid's lines are flat: the last brace opens the last entry
        except ValueError:
            continue
        if isinstance(entry, dict) and isinstance(entry.get("iteration"), int):
            lines[entry["iteration"]] = entry
    return [lines[iteration] for iteration in sorted(lines)]


def checked_images(images: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The pictures in the order of ``DOMAINS``, after checking domain, type and shape."""
    if unknown := set(images) - set(DOMAINS):
        raise ValueError(f"sample images of unknown domains {sorted(unknown)}; known: {', '.join(DOMAINS)}")
    images = {domain: np.asarray(images[domain]) for domain in DOMAINS if domain in images}
    shapes = {domain: batch.shape for domain, batch in images.items()}
    if not images or any(batch.dtype != np.uint8 or batch.ndim != 4 or batch.shape[3] != 3 or not batch.size for batch in images.values()):
        raise ValueError(f"sample images must be uint8 N×H×W×3 with N ≥ 1; got {shapes or 'none'}")
    if len(set(shapes.values())) > 1:
        raise ValueError(f"sample images of the domains differ in shape: {shapes}")
    return images


def _samples_path(output_dir: str | Path, name: str) -> Path:
    return Path(output_dir) / "figures" / (f"samples_{name}.npz" if name else "samples.npz")


def save_samples(images: Mapping[str, np.ndarray], output_dir: str | Path, name: str = "") -> Path:
    """Store sample images for the report in ``OUTPUT_DIR/figures/samples.npz`` (``samples_<name>.npz`` with a name).

    Args:
        images: domain (OI, DI, PI, RI; any of them) → RGB uint8 N×H×W×3, 0–255; the same N people in every domain, equal sizes.
        output_dir: folder of results.json.
        name: of the test set where there are several, as in ``results_<name>.json``.

    Raises:
        ValueError: for other domains, types or shapes.
    """
    images, path = checked_images(images), _samples_path(output_dir, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda file: np.savez_compressed(file, **images))
    return path


def load_samples(output_dir: str | Path, name: str = "") -> dict[str, np.ndarray] | None:
    """The sample images as ``save_samples`` got them, or None where none are stored or the file is damaged."""
    try:
        with np.load(_samples_path(output_dir, name), allow_pickle=False) as stored:
            return checked_images({domain: stored[domain] for domain in stored.files})
    except Exception:  # missing, torn or foreign: zip, zlib and numpy each raise their own types; the report says what it lacks
        return None
