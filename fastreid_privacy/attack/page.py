"""attack.html: the grid with words and pictures; one self-contained page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..core.images import png_bytes, to_pictures
from ..report.page import data_uri, render_into
from ..report.pictures import image_strip
from .cells import HOLDS, Cell
from .grid import Outcome
from .judging import shown
from .stored import strongest
from .targets import PROTECTED

PAGE = "attack.html"
MOST_EXPOSED = 6  # images
TELLING = 10.0  # points of rank-1 on raw images above guessing, below which a Re-ID model says nothing


def write_page(result: Mapping[str, Any], outcome: Outcome, folder: Path) -> Path:
    """Write attack.html beside attack.json, whole or not at all.

    Args:
        result: as :func:`.stored.result_of` gives it.
        outcome: whose images are shown.
        folder: of the result; the strips of its cells lie below it.
    """
    targets = {PROTECTED: result, **result["beside"]}
    return render_into(
        folder / PAGE,
        "attack.html",
        Path(__file__).parent,
        page_title="What an attacker gets back",
        result=result,
        targets=list(targets),
        rows=[_row(*each, targets, result) for each in _named_rows(result["rows"])],
        visible={name: each["visible"] for name, each in targets.items()},
        quality={name: each["protected_quality"] for name, each in targets.items()},
        best=strongest(result["rows"]),
        keyed=keyed_lines({name: each["rows"].get("A5", {}) for name, each in targets.items()}),
        strips=_strips(result, outcome, folder),
        exposed=_exposed(outcome),
        holds=HOLDS,
    )


def word(psnr: float | None, rank1: float, chance: float, raw: float) -> str:
    """What a cell says beside its figures: how far from guessing to the raw images an attack comes.

    Args:
        psnr: of what is recovered; None where all of it is; nan where nothing is recovered.
        rank1, chance, raw: in percent: of the attack, of guessing, of the raw images.
    """
    if psnr is None:
        return "open"
    if raw - chance < TELLING:
        return "unclear"
    share = (rank1 - chance) / (raw - chance)
    if share >= 0.75:
        return "open"
    if share >= 0.4:
        return "weak"
    return "partial" if share >= 0.15 else "holds"


def _named_rows(rows: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Each line of the grid: its row, and the pairs of A3."""
    named: list[tuple[str, str]] = []
    for row, cell in rows.items():
        named += [(row, count) for count in cell] if row == "A3" else [(row, "")]
    return named


def _row(row: str, count: str, targets: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    cells = []
    for each in targets.values():
        cell = each["rows"].get(row, {})
        cells.append(_cell(cell.get(count, {}) if count else cell, result))
    title = f"{row} · {HOLDS[row]}" + (f" ({count})" if count else "")
    return {"title": title, "cells": cells}


def _cell(cell: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    if "recovery" in cell:
        figures, who = cell["recovery"], result["judge"]
        lines = [_db(figures["PSNR"]), f"rank-1 {figures['rank1']:.1f} %"]
        if "inverted" in cell:
            alone = cell["inverted"]
            lines.append(f"template alone {_db(alone['PSNR'])}, rank-1 {alone['rank1']:.1f} %")
            lines.append(f"templates find {cell['singling_out']['rank1']:.1f} %")
        return {
            "lines": lines,
            "word": word(figures["PSNR"], figures["rank1"], who["chance"], who["raw"]),
            "why": "",
        }
    if "linkage" in cell:
        link, single = cell["linkage"], cell["singling_out"]
        lines = [f"PI→OI {link['rank1']:.1f} %", f"PI→PI {single['rank1']:.1f} %", f"raw {link['raw']:.1f} %"]
        strongest_way = max(link["rank1"], single["rank1"])
        said = word(float("nan"), strongest_way, link["chance"], link["raw"])
        return {"lines": lines, "word": said, "why": ""}
    return {"lines": ["–"], "word": "", "why": cell.get("not_applicable", "")}


def keyed_lines(cells: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """What row A5 found besides its cell: each line's title, and its text for each target; [] without it.

    Args:
        cells: of row A5, by target.
    """
    lines: dict[str, dict[str, str]] = {}
    for target, cell in cells.items():
        if "differencing" not in cell:
            continue
        taken = cell["differencing"]
        lines.setdefault("undone", {})[target] = f"{taken['chosen']} ({taken['queries']:,} queries)"
        for name, psnr in taken["PSNR_on_known_people"].items():
            lines.setdefault(f"known people: {name}", {})[target] = _db(psnr)
        for name, shares in cell["two_images"].items():
            if name != "pairs":
                said = " / ".join(
                    "–" if shares[whose] is None else f"{shares[whose]:.2f}"
                    for whose in ("same_person", "other_people")
                )
                lines.setdefault(f"two images, {name}: same person / others", {})[target] = said
        for name, figures in cell.get("near_keys", {}).items():
            said = figures.get("refused") or f"{_db(figures['PSNR'])}, SSIM {figures['SSIM']:.3f}"
            lines.setdefault(f"near key: {name}", {})[target] = said
        if guessed := cell.get("guessed_labels"):
            said = f"{guessed['found']:.1f} % of {guessed['images']} ({guessed['chance']:.2f} % by chance)"
            title = f"labels guessed, 0 to {guessed['labels'] - 1:,}"
            lines.setdefault(title, {})[target] = f"{said}, {_db(guessed['PSNR'])}"
    return [(title, [texts.get(name, "–") for name in cells]) for title, texts in lines.items()]


def _db(psnr: float | None) -> str:
    return "identical" if psnr is None else f"{psnr:.2f} dB"


def _strips(result: Mapping[str, Any], outcome: Outcome, folder: Path) -> list[tuple[str, str, str]]:
    """(name, small print, picture) of some queries: raw, protected, and what each attack makes of them."""
    some = shown(outcome.subjects.query)
    strips = [
        ("raw", "", _strip(outcome.raw(some))),
        ("protected", "", _strip(outcome.targets[PROTECTED].view(some))),
    ]
    for cell in outcome.found:
        for way, held in (("recovery", HOLDS[cell.row]), ("inverted", "the template alone")):
            file = folder / "cells" / cell.strip(way)
            if cell.target == PROTECTED and file.exists():
                strips.append((_title(cell), held, data_uri(file.read_bytes())))
    return strips


def _title(cell: Cell) -> str:
    return f"{cell.row}{f', {cell.pairs}' if cell.pairs else ''}" + (
        f", seed {cell.seed}" if cell.seed else ""
    )


def _exposed(outcome: Outcome) -> dict[str, str]:
    """The images that show most of their fine pattern: raw above, protected below."""
    values = outcome.exposure[PROTECTED]
    worst = [outcome.subjects.query[index] for index in np.argsort(-values)[:MOST_EXPOSED]]
    return {
        "raw": _strip(outcome.raw(worst)),
        "protected": _strip(outcome.targets[PROTECTED].view(worst)),
        "values": ", ".join(f"{value:.2f}" for value in np.sort(values)[::-1][:MOST_EXPOSED]),
    }


def _strip(images) -> str:
    return data_uri(png_bytes(image_strip(to_pictures(images))))
