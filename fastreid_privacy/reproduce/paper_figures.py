"""Figures 6 to 10 of the paper from the stored images and features of a reproduction's runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..core.domains import DOMAINS
from ..report.page import data_uri
from ..report.pictures import Column, columns_picture, letter, save_png
from ..report.tables import number
from ..results.results_json import config_value
from . import paper
from .embedding import Panel, draw_features, project
from .paper_runs import RAW, PaperRuns

FIGURE_10_OPERATORS = ("blur", "pixelate")
PROTECTED_BY = {"wo_upgrade": "protected images without upgradation", "full": "protected images"}
UPPER_BOUND_SHOWS = "for the upper bound desensitized ones"
ROWS_OF_6 = 5  # people; figures 7, 8 and 10 show all that are stored


@dataclass(frozen=True)
class PaperFigure:
    """A figure of the page.

    Attributes:
        title: with the paper's number.
        caption: what it shows; sentences.
        light: the picture as a data URI, dark: another one for dark pages; "" where there is none.
        missing: why the figure or a part of it is not there, a clause each.
        narrow: not to be shown over the whole width.
    """

    title: str
    caption: str = ""
    light: str = ""
    dark: str = ""
    missing: Sequence[str] = field(default_factory=list)
    narrow: bool = False


class Source(NamedTuple):
    """Of which images a column of a figure is: kind of run, operator, domain; and the column's heading."""

    kind: str
    operator: str
    domain: str
    heading: str


def picture_figures(runs: PaperRuns, folder: Path) -> list[PaperFigure]:
    """Figures 6, 7, 8 and 10.

    Those that there are images for are written to fig6_protection.png and so on in ``folder``.
    """
    pair = runs.first_operator(("full",), "blur")
    raw, recovered = Source("full", pair, "OI", "raw"), Source("full", pair, "RI", "recovered")
    compared = runs.first_operator(("wo_upgrade", "full"), "pixelate")
    both = [name for name in FIGURE_10_OPERATORS if name in runs.operators] or runs.operators[:1]
    protection = [
        Source("full", name, domain, title)
        for name, title in paper.OPERATORS.items()
        for domain in ("DI", "PI")
    ]
    psnr, ssim = (_figure_of(runs, "full", pair, "recovered", metric) for metric in ("PSNR", "SSIM"))
    before, after = (
        number(_figure_of(runs, kind, compared, "OI-PI", "Rank-1"), 1) for kind in ("wo_upgrade", "full")
    )
    return [
        _figure(
            runs,
            folder / "fig6_protection.png",
            "Figure 6: privacy protection",
            [raw, *protection],
            rows=ROWS_OF_6,
        ),
        _figure(
            runs,
            folder / "fig7_recovery.png",
            "Figure 7: recovery",
            [raw, recovered],
            blocks=4,
            note=f"Model guided by {paper.OPERATORS[pair]}; recovered images of the test set: PSNR "
            f"{number(psnr, 2)} dB, SSIM {number(ssim, 3)}.",
        ),
        _figure(
            runs,
            folder / "fig8_upgradation.png",
            "Figure 8: supervision upgradation",
            [Source("full", compared, "OI", "raw"), *_upgradation(compared)],
            blocks=2,
            note=f"OI→PI rank-1 without upgradation {before} %, with upgradation {after} %.",
        ),
        _figure(
            runs,
            folder / "fig10_all.png",
            "Figure 10: protection, recovery and upgradation",
            [raw, recovered, *(source for name in both for source in _upgradation(name))],
        ),
    ]


def _upgradation(operator: str) -> list[Source]:
    """Desensitized images, and protected ones before and after upgradation."""
    shown = (("full", "DI"), ("wo_upgrade", "PI"), ("full", "PI"))
    return [Source(kind, operator, domain, paper.OPERATORS[operator]) for kind, domain in shown]


def _figure_of(runs: PaperRuns, kind: str, operator: str, where: str, metric: str) -> float | None:
    run = runs.of(kind, operator)
    return run.figure(where, metric) if run else None


def _figure(
    runs: PaperRuns,
    path: Path,
    title: str,
    sources: Sequence[Source],
    rows: int | None = None,
    blocks: int = 1,
    note: str = "",
) -> PaperFigure:
    """One figure of the columns as far as they are there; none if only raw images are."""
    columns: list[Column] = []
    missing: list[str] = []
    raw: dict[str, np.ndarray | None] = {}  # run → its raw images
    for kind, operator, domain, heading in sources:
        images, reason = runs.images(kind, operator, domain)
        if images is None:
            missing += [reason] if reason not in missing else []
            continue
        columns.append(Column(heading, _meaning(kind, operator, domain), images))
        raw[runs.name(kind, operator)] = runs.images(kind, operator, "OI")[0]
    if all(column.group == "raw" for column in columns):
        return PaperFigure(title, missing=missing)
    first, *others = raw
    if differing := [name for name in others if not _same(raw[first], raw[name])]:
        return PaperFigure(
            title, missing=[f"{first} and {name} do not store the same raw images" for name in differing]
        )
    columns = [Column(column.group, column.meaning, column.images[:rows]) for column in columns]
    save_png(columns_picture(columns, min(blocks, len(columns[0].images))), path)
    caption = "; ".join(f"{letter(index)} {column.meaning}" for index, column in enumerate(columns))
    return PaperFigure(title, f"{caption}. {note}".strip(), data_uri(path.read_bytes()), missing=missing)


def _same(first: np.ndarray | None, second: np.ndarray | None) -> bool:
    """Whether two runs store the same raw images, or neither any."""
    if first is None or second is None:
        return first is second
    return np.array_equal(first, second)


def _meaning(kind: str, operator: str, domain: str) -> str:
    if domain in ("OI", "RI"):
        return f"{DOMAINS[domain]} images"
    if domain == "DI":
        return f"desensitized by {paper.OPERATORS[operator]}"
    return f"{PROTECTED_BY[kind]}, guided by {paper.OPERATORS[operator]}"


def feature_figure(runs: PaperRuns, folder: Path) -> PaperFigure:
    """Figure 9, written to fig9_features.png and fig9_features_dark.png in ``folder``.

    Without any features, what is missing.
    """
    title = "Figure 9: features of raw and protected images"
    operator = runs.first_operator(tuple(paper.LONG_MODELS), "blur")
    panels, missing = [], []
    for kind, name in paper.LONG_MODELS.items():
        run, folder_name = runs.of(kind, operator), runs.name(kind, operator)
        if run is None:
            missing.append(f"{folder_name} is not finished")
            continue
        protected = "DI" if kind == RAW else "PI"
        points = project(run.embedding, protected)
        if points is None:
            missing.append(
                f"{folder_name}/figures/embedding.npz holds too few raw or {DOMAINS[protected]} features, or "
                "cannot be read"
            )
        by = config_value(run.results, "PRIVACY.DESENSITIZER.NAME") if kind == RAW else operator
        title_of_panel = f"{name}, {paper.OPERATORS.get(by, by) if by else 'desensitized'}"
        rank1 = number(run.figure(f"OI-{protected}", "Rank-1"), 1)
        panels.append(Panel(title_of_panel, f"OI→{protected} rank-1 {rank1} %", points))
    if all(panel.points is None for panel in panels):
        return PaperFigure(title, missing=missing)
    light, dark = folder / "fig9_features.png", folder / "fig9_features_dark.png"
    draw_features(panels, light)
    draw_features(panels, dark, dark=True)
    told = "; ".join(f"{panel.title}: {panel.note}" for panel in panels)
    caption = (
        "One t-SNE per model. A colour is a person, the same in every panel; ● raw, ▲ protected images, "
        f"{UPPER_BOUND_SHOWS}. {told}."
    )
    pictures = {"light": data_uri(light.read_bytes()), "dark": data_uri(dark.read_bytes())}
    return PaperFigure(title, caption, **pictures, missing=missing, narrow=True)
