"""compare.json: what is known of every method; and the same as a table for a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..attack import measures
from ..attack.stored import strongest
from ..core.domains import SETTINGS
from ..core.kept import write_kept
from ..core.privacy import NOT_PRIVATE
from ..core.version import __version__
from .fronts import AXES, beaten_by, front, points_of
from .methods import Methods
from .request import CompareRequest
from .stages import Finding
from .utility import mean_rank1

SCHEMA = 1
RESULT = "compare.json"


def result_of(request: CompareRequest, methods: Methods, findings: Mapping[str, Finding]) -> dict[str, Any]:
    """The content of compare.json; docs/compare.md tells of its keys."""
    summaries = {name: summary(finding) for name, finding in findings.items()}
    reference = methods.reference
    first = next(iter(findings.values())).attack
    return {
        "schema": SCHEMA,
        "data": methods.data,
        "version": __version__,
        "schedule": request.schedule,
        "budget": request.budget,
        "seed": request.seed,
        "images": {key: first["images"][key] for key in ("known", "query", "gallery", "size")},
        "judge": first["judge"],
        "reference": reference,
        "methods": {
            name: {
                "kind": finding.kind,
                "operator": finding.operator,
                "trained_on_others": finding.trained_on_others,
                "summary": summaries[name],
                "files": finding.files,
                "utility": finding.utility,
                "tasks": finding.tasks,
                "attack": finding.attack,
                "joint_minus_reference": _gains(finding, findings[reference])
                if reference and name != reference
                else {},
            }
            for name, finding in findings.items()
        },
        "fronts": {axis.name: _front(summaries, axis, reference) for axis in AXES},
    }


def summary(finding: Finding) -> dict[str, Any]:
    """The figures that methods are compared by.

    Returns:
        "identical": nothing is hidden. "private": whether the last check in training met the privacy
        constraint; None: not known, or there is none. "PSNR", "SSIM" of the protected files.
        "recovered_PSNR", "recovered_SSIM", "recovered_rank1", "recovered_by": of the strongest attack
        without the right key; the files as they are count as one. "stranger_rank1", "stranger_by": the best
        of all who look for people without the authorised model, also of Re-ID learned from the files.
        "joint_rank1", "raw_trained_rank1", "protected_only_rank1": means of OI→PI, PI→OI and PI→PI.
        "key_PSNR", "key": what the owner gets back: "exact", "learned" or "none". "bytes_per_image" with
        sealed originals; "images_per_second". Percent and dB; None: not there, or no number.
    """
    attack, utility, files = finding.attack, finding.utility, finding.files
    quality = attack["protected_quality"]
    identical = quality["PSNR"] is None
    best = strongest(attack["rows"])
    by, recovery = (best[0], best[1]["recovery"]) if best else ("", None)
    if recovery is None or (
        recovery["PSNR"] is not None and recovery["PSNR"] < (quality["PSNR"] or math.inf)
    ):
        by, recovery = "the files as they are", {**quality, "rank1": None}
    rank1, who = max([*_strangers(attack["rows"]), *_parrots(utility)], default=(None, ""))
    key = attack["rows"].get("A6", {}).get("recovery")
    exact = "opened" in files
    return {
        "identical": identical,
        "private": files.get("private"),
        "PSNR": quality["PSNR"],
        "SSIM": quality["SSIM"],
        "recovered_PSNR": recovery["PSNR"],
        "recovered_SSIM": recovery["SSIM"],
        "recovered_rank1": recovery["rank1"],
        "recovered_by": by,
        "stranger_rank1": rank1,
        "stranger_by": who,
        "joint_rank1": mean_rank1(utility.get("joint")),
        "raw_trained_rank1": mean_rank1(utility.get("raw")),
        "protected_only_rank1": mean_rank1(utility.get("protected_only")),
        "key": "exact" if exact else "learned" if key else "none",
        "key_PSNR": key["PSNR"] if key and not exact else None,
        "bytes_per_image": files["bytes_per_image"] + files.get("sealed_bytes_per_image", 0),
        "images_per_second": files["images_per_second"],
    }


def save_result(result: Mapping[str, Any], folder: Path) -> Path:
    """Write compare.json, whole or not at all."""
    write_kept(folder / RESULT, result)
    return folder / RESULT


def table(result: Mapping[str, Any]) -> str:
    """The comparison for a terminal: a line for each method, then who stands on each front."""
    lines = ["  ".join(_cells(COLUMNS)), "  ".join("-" * width for _, width in COLUMNS)]
    lines += [
        "  ".join(_cells(list(zip(cells_of(name, about), (width for _, width in COLUMNS), strict=True))))
        for name, about in result["methods"].items()
    ]
    for axis in AXES:
        found = result["fronts"][axis.name]
        lines.append(f"{axis.title}: nobody beats {', '.join(found['front']) or '–'}")
    return "\n".join(lines)


COLUMNS = (
    ("method", 24),
    ("last check", 11),
    ("PSNR/SSIM", 11),
    ("attacked dB", 11),
    ("stranger", 8),
    ("joint", 6),
    ("own files", 9),
    ("raw-trained", 11),
    ("key", 8),
    ("bytes", 7),
    ("img/s", 6),
)


def cells_of(name: str, about: Mapping[str, Any]) -> list[str]:
    """One method's line: words and numbers, in the order of ``COLUMNS``."""
    found = about["summary"]
    return [
        name,
        {True: "private", False: NOT_PRIVATE, None: "–"}[found["private"]],
        "identical" if found["identical"] else f"{found['PSNR']:.1f}/{found['SSIM']:.2f}",
        "identical" if found["recovered_PSNR"] is None else f"{found['recovered_PSNR']:.2f}",
        *(_number(found[key]) for key in ("stranger_rank1", "joint_rank1", "protected_only_rank1")),
        _number(found["raw_trained_rank1"]),
        {"exact": "exact", "none": "–"}.get(found["key"], _number(found["key_PSNR"], 2)),
        f"{found['bytes_per_image']:,.0f}",
        _number(found["images_per_second"]),
    ]


def _cells(columns: Sequence[tuple[str, int]]) -> list[str]:
    return [
        f"{text[:width]:{'<' if number == 0 else '>'}{width}}" for number, (text, width) in enumerate(columns)
    ]


def _number(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _strangers(rows: Mapping[str, Any]) -> list[tuple[float, str]]:
    """(rank-1, attack) of everybody who looks for people without the authorised model or the right key."""
    found = []
    for row, cell in rows.items():
        if row in ("A4", "A6"):
            continue
        for count, figures in cell.items() if row == "A3" else [("", cell)]:
            name = f"{row}, {count} pairs" if count else row
            for way, said in (("linkage", "PI→OI"), ("singling_out", "PI→PI"), ("recovery", "recovered")):
                if way in figures:
                    found.append((figures[way]["rank1"], f"{name}, {said}"))
    return found


def _parrots(utility: Mapping[str, Any]) -> list[tuple[float, str]]:
    """The same of Re-ID that has learned from the released files."""
    found = utility.get("protected_only", {})
    ways = {"PI-OI": "PI→OI", "PI-PI": "PI→PI"}
    return [(found[pair]["rank1"], f"learned from the files, {said}") for pair, said in ways.items() if found]


def _gains(finding: Finding, reference: Finding) -> dict[str, Any]:
    """Rank-1 of the joint models in each setting, minus the reference's, with 95 % intervals."""
    if not finding.hits or not reference.hits:
        return {}
    return {
        setting: measures.difference(finding.hits[setting], reference.hits[setting]) for setting in SETTINGS
    }


def _front(summaries: Mapping[str, Mapping[str, Any]], axis: Any, reference: str) -> dict[str, Any]:
    points = points_of(summaries, axis)
    return {
        "points": {name: {"leak": point.leak, "use": point.use} for name, point in points.items()},
        "front": front(points),
        "beat_reference": beaten_by(points[reference], points) if reference in points else [],
    }
