"""Figures 6 to 10 of the paper from the stored images and features of a reproduction's runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..core.domains import DOMAINS
from ..report.page import data_uri
from ..report.pictures import Column, columns_picture, letter, save_png
from ..report.tables import number
from ..results.results_json import config_value
from .embedding import Panel, draw_features, project
from .paper_runs import KINDS, OPERATORS, RAW, PaperRuns

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


def picture_figures(runs: PaperRuns, folder: Path) -> list[PaperFigure]:
    """Figures 6, 7, 8 and 10; those that there are images for are written to fig6_protection.png and so on in
    ``folder``."""
    compared = runs.first_operator(("wo_upgrade", "full"), "pixelate")
    pair = runs.first_operator(("full",), "blur")
    both = [name for name in FIGURE_10_OPERATORS if name in runs.operators] or runs.operators[:1]
    recovered, upgraded = runs.of("full", pair), [runs.of(kind, compared) for kind in ("wo_upgrade", "full")]
    protection = [("full", name, domain, OPERATORS[name]) for name in OPERATORS for domain in ("DI", "PI")]
    upgradation = [("full", compared, "DI"), ("wo_upgrade", compared, "PI"), ("full", compared, "PI")]
    everything = [(kind, name, domain, OPERATORS[name]) for name in both for kind, _, domain in upgradation]
    quality = [recovered.figure("recovered", metric) if recovered else None for metric in ("PSNR", "SSIM")]
    rank1 = [run.figure("OI-PI", "Rank-1") if run else None for run in upgraded]
    return [
        _figure(
            runs,
            folder / "fig6_protection.png",
            "Figure 6: privacy protection",
            [("full", name_of_raw(runs), "OI", "raw"), *protection],
            rows=ROWS_OF_6,
        ),
        _figure(
            runs,
            folder / "fig7_recovery.png",
            "Figure 7: recovery",
            [("full", pair, "OI", "raw"), ("full", pair, "RI", "recovered")],
            blocks=4,
            note=f"Model guided by {OPERATORS[pair]}; recovered images of the test set: PSNR "
            f"{number(quality[0], 2)} dB, "
            f"SSIM {number(quality[1], 3)}.",
        ),
        _figure(
            runs,
            folder / "fig8_upgradation.png",
            "Figure 8: supervision upgradation",
            [("full", compared, "OI", "raw"), *((*source, OPERATORS[compared]) for source in upgradation)],
            blocks=2,
            note=f"OI→PI rank-1 without upgradation {number(rank1[0], 1)} %, with upgradation "
            f"{number(rank1[1], 1)} %.",
        ),
        _figure(
            runs,
            folder / "fig10_all.png",
            "Figure 10: protection, recovery and upgradation",
            [("full", pair, "OI", "raw"), ("full", pair, "RI", "recovered"), *everything],
        ),
    ]


def name_of_raw(runs: PaperRuns) -> str:
    """The operator of the run whose raw images stand for all."""
    return runs.first_operator(("full",), "blur")


def _figure(
    runs: PaperRuns,
    path: Path,
    title: str,
    sources: Sequence[tuple[str, str, str, str]],
    rows: int | None = None,
    blocks: int = 1,
    note: str = "",
) -> PaperFigure:
    """One figure of the columns (kind of run, operator, domain, heading) as far as they are there; none if
    only raw images are."""
    columns, missing, raw = [], [], {}
    for kind, operator, domain, heading in sources:
        images, reason = runs.images(kind, operator, domain)
        if images is None:
            missing += [reason] if reason not in missing else []
            continue
        columns.append(Column(heading, _meaning(kind, operator, domain), images))
        raw[runs.name(kind, operator)] = runs.of(kind, operator).samples.get("OI")
    if all(column.group == "raw" for column in columns):
        return PaperFigure(title, missing=missing)
    first, *others = raw
    if differing := [name for name in others if not np.array_equal(raw[first], raw[name])]:
        return PaperFigure(
            title, missing=[f"{first} and {name} do not store the same raw images" for name in differing]
        )
    columns = [Column(column.group, column.meaning, column.images[:rows]) for column in columns]
    save_png(columns_picture(columns, min(blocks, len(columns[0].images))), path)
    caption = "; ".join(f"{letter(index)} {column.meaning}" for index, column in enumerate(columns))
    return PaperFigure(title, f"{caption}. {note}".strip(), data_uri(path.read_bytes()), missing=missing)


def _meaning(kind: str, operator: str, domain: str) -> str:
    if domain in ("OI", "RI"):
        return f"{DOMAINS[domain]} images"
    if domain == "DI":
        return f"desensitized by {OPERATORS[operator]}"
    return f"{PROTECTED_BY[kind]}, guided by {OPERATORS[operator]}"


def feature_figure(runs: PaperRuns, folder: Path) -> PaperFigure:
    """Figure 9, written to fig9_features.png and fig9_features_dark.png in ``folder``; without any features,
    what is missing."""
    title = "Figure 9: features of raw and protected images"
    operator = runs.first_operator(tuple(KINDS), "blur")
    panels, missing = [], []
    for kind, name in KINDS.items():
        run = runs.of(kind, operator)
        if run is None:
            missing.append(f"{runs.name(kind, operator)} is not finished")
            continue
        protected = "DI" if kind == RAW else "PI"
        points = project(run.embedding, protected)
        if points is None:
            missing.append(
                f"{run.name}/figures/embedding.npz holds too few raw or {DOMAINS[protected]} features, or "
                "cannot be read"
            )
        by = config_value(run.results, "PRIVACY.DESENSITIZER.NAME") if kind == RAW else operator
        model = f"{name}, {OPERATORS.get(by, by) if by else 'desensitized'}"
        panels.append(
            Panel(
                model, f"OI→{protected} rank-1 {number(run.figure(f'OI-{protected}', 'Rank-1'), 1)} %", points
            )
        )
    if all(panel.points is None for panel in panels):
        return PaperFigure(title, missing=missing)
    files = [folder / "fig9_features.png", folder / "fig9_features_dark.png"]
    for file, dark in zip(files, (False, True), strict=True):
        draw_features(panels, file, dark)
    light, dark = (data_uri(file.read_bytes()) for file in files)
    told = "; ".join(f"{panel.title}: {panel.note}" for panel in panels)
    caption = (
        "One t-SNE per model. A colour is a person, the same in every panel; ● raw, ▲ protected images, "
        f"{UPPER_BOUND_SHOWS}. {told}."
    )
    return PaperFigure(title, caption, light, dark, missing, narrow=True)
