"""fastreid's log of a training, metrics.json."""

from __future__ import annotations

from pathlib import Path

from ..core.json_text import parse_json


def read_metrics(path: str | Path) -> list[dict]:
    """fastreid's metrics.json as one dict per logged iteration, in order; empty where there is no log.

    A resumed run repeats iterations: the last line counts. A line torn by a killed process is dropped; the
    line that the resumed run then appended to it is kept.
    """
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    lines: dict[int, dict] = {}
    for line in text.splitlines():
        try:
            # fastreid's lines are flat: the last brace opens the last entry
            entry = parse_json(line[max(line.rfind("{"), 0) :])
        except ValueError:
            continue
        if isinstance(entry, dict) and isinstance(entry.get("iteration"), int):
            lines[entry["iteration"]] = entry
    return [lines[iteration] for iteration in sorted(lines)]
