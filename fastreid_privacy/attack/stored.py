"""attack.json: what every attacker had, did and found; and the same as a table for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.kept import write_kept
from ..core.projects import about_projects
from ..core.version import __version__
from . import measures
from .cells import HOLDS, Found
from .grid import Outcome
from .request import REFERENCE, AttackRequest
from .targets import PROTECTED

SCHEMA = 1
RESULT = "attack.json"


def result_of(request: AttackRequest, outcome: Outcome) -> dict[str, Any]:
    """The content of attack.json.

    ``rows`` are those of the protected files; ``beside`` has the same of each operator. Where a cell was made
    with several seeds, its figures are those of the attack that recovers most, and ``per_seed`` has the PSNR
    of each. Blur, which rank-1 is compared with, has its own strongest seed: one of as many.
    """
    about = {name: _about(name, outcome) for name in outcome.targets}
    grid = {name: _rows(name, outcome) for name in outcome.targets}
    subjects = outcome.subjects
    return {
        "schema": SCHEMA,
        "raw": request.raw,
        "protected": request.protected,
        "version": __version__,
        "projects": about_projects(),
        "budget": request.budget,
        "seeds": list(request.seeds),
        "images": {
            "known": len(subjects.known),
            "query": len(subjects.query),
            "gallery": len(subjects.gallery),
            "raw_without_protected": subjects.alone,
            "size": list(subjects.size),
            "compared_with_raw": outcome.pairing.looked_at,
            "like_another": outcome.pairing.like_another,
        },
        "judge": outcome.judge,
        "model": {"trained_on_others": outcome.model_on_others} if request.model else None,
        **about.pop(PROTECTED),
        "rows": grid.pop(PROTECTED),
        "beside": {name: {**about[name], "rows": rows} for name, rows in grid.items()},
    }


def save_result(result: Mapping[str, Any], folder: Path) -> Path:
    """Write attack.json, whole or not at all."""
    write_kept(folder / RESULT, result)
    return folder / RESULT


def table(result: Mapping[str, Any]) -> str:
    """The grid for a terminal: what is recovered, and who is recognised, by row and target."""
    targets = {PROTECTED: result, **result["beside"]}
    lines = [
        f"{'':34}" + "".join(f"{name:>18}" for name in targets),
        _line(
            "the files as they are, dB / SSIM",
            [_quality(each["protected_quality"]) for each in targets.values()],
        ),
    ]
    for row, label, pick in _lines(result):
        lines.append(_line(label, [pick(each["rows"].get(row, {})) for each in targets.values()]))
    return "\n".join(lines)


def strongest(rows: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    """The row whose attack without the right key recovers most, and its figures."""
    every = [
        (f"{row}, {count} pairs" if count else row, figures)
        for row, cell in rows.items()
        if row != "A6"
        for count, figures in (cell.items() if row == "A3" else [("", cell)])
        if "recovery" in figures
    ]
    return max(every, key=lambda each: _psnr(each[1]), default=None)


def _about(name: str, outcome: Outcome) -> dict[str, Any]:
    return {
        "protected_quality": outcome.quality[name],
        "visible": measures.exposure(outcome.exposure[name]),
    }


def _rows(target: str, outcome: Outcome) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for row in outcome.rows:
        counts = dict.fromkeys(cell.pairs for cell in outcome.found if cell.row == row)
        cells = {count: _figures(row, target, count, outcome) for count in counts}
        rows[row] = cells if row == "A3" else cells[""]
    return rows


def _figures(row: str, target: str, pairs: str, outcome: Outcome) -> dict[str, Any]:
    """An attack's figures: those of its strongest seed, beside those of the strongest one on blur."""
    seeds = _of_seeds(row, target, pairs, outcome)
    found = _strongest_seed(seeds)
    figures = dict(found.figures)
    if len(seeds) > 1 and "recovery" in figures:
        figures["per_seed"] = {str(each): other.figures["recovery"]["PSNR"] for each, other in seeds.items()}
    on_blur = _of_seeds(row, REFERENCE, pairs, outcome)
    if on_blur and target != REFERENCE:
        reference = _strongest_seed(on_blur)
        for name, hits in found.hits.items():
            if name in reference.hits:
                figures[name] = {
                    **figures[name],
                    "rank1_minus_blur": measures.difference(hits, reference.hits[name]),
                }
    return figures


def _of_seeds(row: str, target: str, pairs: str, outcome: Outcome) -> dict[int, Found]:
    return {
        cell.seed: found
        for cell, found in outcome.found.items()
        if (cell.row, cell.target, cell.pairs) == (row, target, pairs)
    }


def _strongest_seed(seeds: Mapping[int, Found]) -> Found:
    return max(seeds.values(), key=lambda each: _psnr(each.figures))


def _psnr(figures: Mapping[str, Any]) -> float:
    value = figures.get("recovery", {}).get("PSNR", float("-inf"))
    return float("inf") if value is None else value


def _lines(result: Mapping[str, Any]):  # -> rows of the table: row, label, what it says of a cell
    for row in result["rows"]:
        if row == "A3":
            for count in result["rows"]["A3"]:
                yield (
                    row,
                    f"A3 {count} pairs: dB, rank-1",
                    lambda cell, count=count: _recovery(cell.get(count, {})),
                )
        elif row in ("A0", "A4"):
            who = "stranger" if row == "A0" else "authorised"
            yield row, f"{row} {who}: PI→OI, PI→PI rank-1", _linkage
        else:
            yield row, f"{row} {HOLDS[row][:20]}: dB, rank-1", _recovery
        if row == "A7":
            yield row, "A7 template alone: dB, rank-1", lambda cell: _recovery(cell, "inverted")


def _line(label: str, values: Sequence[str]) -> str:
    return f"{label[:33]:34}" + "".join(f"{value:>18}" for value in values)


def _quality(figures: Mapping[str, Any]) -> str:
    return "as raw" if figures["PSNR"] is None else f"{figures['PSNR']:.2f} / {figures['SSIM']:.3f}"


def _recovery(cell: Mapping[str, Any], way: str = "recovery") -> str:
    if way not in cell:
        return "–"
    figures = cell[way]
    return f"{'all' if figures['PSNR'] is None else format(figures['PSNR'], '.2f')}, {figures['rank1']:.1f} %"


def _linkage(cell: Mapping[str, Any]) -> str:
    if "linkage" not in cell:
        return "–"
    return f"{cell['linkage']['rank1']:.1f}, {cell['singling_out']['rank1']:.1f} %"
