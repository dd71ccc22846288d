"""report.html of a run: one self-contained page (pictures inline, no script, nothing fetched)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

import yaml

from ..core.domains import DOMAINS, SETTINGS
from ..core.images import png_bytes
from ..core.json_text import json_value
from ..results.results_json import REPORT, config_value, read_results, results_files, results_name
from ..results.stored import RANK_LISTS, SAMPLES
from ..results.training_log import read_metrics
from . import check_table, tables
from .figures import image_grid, iterations_per_epoch, loss_names, training_curve
from .look import CHANGES
from .page import data_uri, rank_lists, render_into
from .pictures import image_strip

OPEN_CHECKS = 15  # a longer record of checks starts folded


def write_report(output_dir: str | Path) -> Path:
    """Write report.html, and its pictures as PNG files into figures/, from what an output folder holds.

    What is missing (log, sample images, checks) is left out, and the page says so.

    Args:
        output_dir: with results.json or results_<name>.json; beside them metrics.json and figures/samples.npz
            where there are any.

    Returns:
        The path of report.html, which is written whole or not at all.

    Raises:
        UserError: when there are no results, or one of them is no JSON or of another schema.
    """
    folder = Path(output_dir)
    files = results_files(folder)
    everything = [read_results(path) for path in files]
    sections = [_section(results, path, folder) for results, path in zip(everything, files, strict=True)]
    runs: list[tuple[dict, list[str]]] = []  # training is told once where the test sets share it
    for results, section in zip(everything, sections, strict=True):
        same = next((datasets for other, datasets in runs if _trained_alike(other, results)), None)
        if same is None:
            runs.append((results, same := []))
        same.append(section["dataset"])
    metrics = read_metrics(folder / "metrics.json")
    trainings = [
        {"datasets": datasets, **_training(results, metrics, folder, f"_{number}" if number > 1 else "")}
        for number, (results, datasets) in enumerate(runs, start=1)
    ]
    title = " · ".join(section["dataset"] for section in sections)
    return render_into(
        folder / REPORT,
        "template.html",
        sections=sections,
        runs=trainings,
        tables=tables,
        check_table=check_table,
        domains=DOMAINS,
        legend=tables.legend(everything),
        title=title,
        page_title=f"Report: {title}",
    )


def _trained_alike(first: Mapping, second: Mapping) -> bool:
    return all(
        first.get(key) == second.get(key) for key in ("config", "checkpoint", "seed", "version", "checks")
    )


def _section(results: Mapping, path: Path, folder: Path) -> dict:
    """What the page says about one test set."""
    name = results_name(path)
    dataset = str(results.get("dataset") or name or "unnamed data set")
    return {
        "id": f"set-{name or 'test'}",
        "dataset": dataset,
        "warning": tables.privacy_warning(results),
        "run": _what_was_run(results, dataset),
        "headline": _headline(results),
        "retrieval": [
            (pair, list(rows))
            for pair, rows in groupby(tables.retrieval_table(results), key=lambda row: row.where)
        ],
        "excluded": tables.excluded_queries(results),
        "comparison": tables.comparison_rows(results),
        "comparison_title": tables.comparison_title(results),
        "verification": (verification := tables.verification_table(results)),
        "verification_heads": [
            metric.removeprefix("TPR@") for metric in (verification[0].values if verification else ())
        ],
        "quality": (quality := tables.quality_table(results)),
        "lpips": tables.has_lpips(quality),
        "exposure": tables.exposure_note(results),
        **_pictures(folder, name),
    }


def _what_was_run(results: Mapping, dataset: str) -> list[tuple[str, str]]:
    """Name and value of each fact about the run that the results hold."""

    def config(key: str) -> str:
        value = config_value(results, key)
        if isinstance(value, list | tuple):
            return " × ".join(map(str, value))
        return "" if value is None else str(value)

    protection = config_value(results, "PRIVACY.PROTECTION")
    backbone = config("MODEL.BACKBONE.NAME").removeprefix("build_").removesuffix("_backbone")
    backbone = " ".join(filter(None, (backbone, config("MODEL.BACKBONE.DEPTH"))))
    schedule = {
        "{} epochs": config("SOLVER.MAX_EPOCH"),
        "batch {}": config("SOLVER.IMS_PER_BATCH"),
        "lr {}": config("SOLVER.BASE_LR"),
        "images {}": config("INPUT.SIZE_TRAIN"),
    }
    facts = [
        ("Data set", dataset),
        ("Model", f"{tables.method_name(results)}{f', {backbone}' if backbone else ''}"),
        ("Desensitized by", "" if protection == "none" else config("PRIVACY.DESENSITIZER.NAME")),
        ("Storage", str(results.get("storage") or "")),
        ("Schedule", ", ".join(text.format(value) for text, value in schedule.items() if value)),
        ("Checkpoint", str(results.get("checkpoint") or "")),
        ("Validation split", check_table.validation_matches(results)),
        ("Seed", "" if results.get("seed") is None else str(results["seed"])),
        ("Version", str(results.get("version") or "")),
    ]
    return [(name, value) for name, value in facts if value]


def _headline(results: Mapping) -> list[dict]:
    """The figures to see first: rank-1 of the four settings, PSNR of protected and recovered images."""
    rows = tables.retrieval_table(results)
    ours = {row.where: row for row in rows if row.kind == "ours"}
    base = {row.where: row for row in rows if row.kind == "baseline"}
    tiles = []
    settings = SETTINGS if "OI-PI" in ours else ("OI-OI", "PI-OI", "PI-PI", "OI-DI")
    for pair in [pair for pair in settings if pair in ours]:
        notes = []
        if ours[pair].share is not None:
            notes.append(f"{tables.number(ours[pair].share, 1)} % of the upper bound")
        if pair in base:
            notes.append(f"Base {tables.number(base[pair].values['Rank-1'], 1)}")
        value = tables.number(ours[pair].values["Rank-1"], 1)
        tiles.append({"label": f"{tables.arrow(pair)} rank-1", "value": value, "unit": "%", "notes": notes})
    quality = {row.where: row.values["PSNR"] for row in tables.quality_table(results) if row.kind == "ours"}
    notes = []
    if "desensitized" in quality:
        notes = [f"desensitized {tables.number(quality['desensitized'], 2)}"]
    for domain in [domain for domain in ("protected", "recovered") if domain in quality]:
        value = tables.number(quality[domain], 2)
        tiles.append({"label": f"{domain} PSNR", "value": value, "unit": "dB", "notes": notes})
    return tiles


def _pictures(folder: Path, name: str) -> dict:
    """One strip of sample images for each domain, and the rank lists; both also become files in figures/."""
    images = SAMPLES.load(folder, name)
    suffix = f"_{name}" if name else ""
    shown = rank_lists(RANK_LISTS.load(folder, name), folder / "figures" / f"rank_lists{suffix}")
    pictures = {
        "rank_lists": shown,
        "stored_rank_lists": f"figures/rank_lists{suffix}.npz",
        "stored": f"figures/samples{suffix}.npz",
    }
    if images is None:
        return {**pictures, "strips": [], "count": 0}
    image_grid(images, folder / "figures" / f"samples{suffix}.png")
    strips = [(domain, data_uri(png_bytes(image_strip(batch)))) for domain, batch in images.items()]
    return {**pictures, "strips": strips, "count": len(next(iter(images.values())))}


def _training(results: Mapping, metrics: Sequence[Mapping], folder: Path, suffix: str) -> dict:
    """Checks, training curve in light and dark, and the config."""
    checks = results.get("checks") or []
    counts = {decision: sum(check.get("decision") == decision for check in checks) for decision in CHANGES}
    caption = ["Losses on a logarithmic scale."] if loss_names(metrics) else []
    caption += ["Vertical lines: changes of the supervision."] if any(counts.values()) else []
    return {
        "checks": checks,
        "columns": check_table.check_columns(checks),
        "checks_note": check_table.checks_note(results),
        "supervised": any(check.get("best") is not None for check in checks),
        "counts": counts,
        "open": len(checks) <= OPEN_CHECKS,
        "curve": curves(results, metrics, folder / "figures" / f"training_curve{suffix}.png"),
        "curve_caption": " ".join(caption),
        "has_log": bool(loss_names(metrics)),
        "base_validation": ((results.get("baseline") or {}).get("validation") or {})
        .get("OI-DI", {})
        .get("Rank-1"),
        # through JSON, because YAML would write Python's own types with tags
        "config": yaml.safe_dump(
            json_value(results.get("config") or {}), sort_keys=True, allow_unicode=True, width=100
        ),
    }


def curves(results: Mapping, metrics: Sequence[Mapping], path: Path) -> dict[str, str]:
    """The training curve for light and dark pages, inline; {} of nothing to draw.

    Args:
        results: whose checks are drawn.
        metrics: the log.
        path: of the light curve's PNG; the dark one is ``<stem>_dark.png`` beside it.
    """
    checks = results.get("checks") or []
    if not checks and not loss_names(metrics):
        return {}
    pictures = {"light": path, "dark": path.with_stem(f"{path.stem}_dark")}
    for theme, file in pictures.items():
        training_curve(metrics, checks, file, iterations_per_epoch(metrics, checks), dark=theme == "dark")
    return {theme: data_uri(file.read_bytes()) for theme, file in pictures.items()}
