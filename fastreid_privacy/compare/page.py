"""compare.html: the table, the scatters with their fronts, the tasks; one self-contained page."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ..core.domains import SETTINGS
from ..report.figures import save_figure
from ..report.look import GREEN, LIGHT, PURPLE, VERMILLION
from ..report.page import data_uri, render_into
from .fronts import AXES, Axis
from .stored import COLUMNS, cells_of

PAGE = "compare.html"
MARKS = "osD^vPX*<>"  # one for each method; colours tell kinds apart
COLOURS = {
    "none": LIGHT["ink"],
    "conventional": LIGHT["blue"],
    "learned": VERMILLION,
    "files": PURPLE,
}
MEASURES = {  # of each task: its key, and its name
    "segmentation": ("IoU", "IoU of the person, %"),
    "keypoints": ("PCK", "joints within a tenth of the person's height (PCK), %"),
    "attributes": ("balanced_accuracy", "balanced accuracy, %"),
}
SIZE, DPI = (7.5, 4.0), 150  # inches


def write_page(result: Mapping[str, Any], folder: Path) -> Path:
    """Write compare.html and its figures, each whole or not at all.

    Args:
        result: as :func:`.stored.result_of` gives it.
        folder: of the comparison; the figures come into ``figures`` below it.
    """
    scatters = []
    for axis in AXES:
        file = folder / "figures" / f"{axis.name}.png"
        save_figure(scatter(result, axis), file, DPI)
        scatters.append((axis.title, data_uri(file.read_bytes()), result["fronts"][axis.name]))
    return render_into(
        folder / PAGE,
        "compare.html",
        Path(__file__).parent,
        page_title="Methods beside each other",
        result=result,
        columns=[title for title, _ in COLUMNS],
        lines=[cells_of(name, about) for name, about in result["methods"].items()],
        strongest={name: about["summary"] for name, about in result["methods"].items()},
        settings=SETTINGS,
        unknown=[name for name, about in result["methods"].items() if about["trained_on_others"] is None],
        tasks=_tasks(result),
        scatters=scatters,
    )


def scatter(result: Mapping[str, Any], axis: Axis) -> Figure:
    """Leak to the right, use upwards; the methods that nobody beats are joined by a line.

    A method whose files hide nothing has no place to the right: its use is a dashed line.
    """
    found = result["fronts"][axis.name]
    figure = Figure(SIZE, layout="constrained")
    axes = figure.add_subplot()
    for (name, point), mark in zip(found["points"].items(), cycle(MARKS)):
        colour = COLOURS[result["methods"][name]["kind"]]
        axes.plot(point["leak"], point["use"], mark, color=colour, ms=9, mec="white", zorder=3, label=name)
    line = sorted((found["points"][name] for name in found["front"]), key=lambda point: point["leak"])
    axes.plot(
        [point["leak"] for point in line],
        [point["use"] for point in line],
        "--",
        color=GREEN,
        lw=1.4,
        zorder=2,
        label="nobody beats these",
    )
    for name, about in result["methods"].items():
        use = about["summary"][axis.use]
        if name not in found["points"] and use is not None:
            axes.axhline(use, color=LIGHT["ink"], ls=":", lw=1, label=f"{name} (recovered whole)")
    axes.set(xlabel=f"{axis.leak_label} (less is better)", ylabel=axis.use_label)
    axes.margins(0.1)
    axes.grid(color=LIGHT["grid"], lw=0.7)
    axes.set_axisbelow(True)
    axes.legend(fontsize=8.5, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def _tasks(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of each task: its name, its measure, and for each method what it is on raw and on protected images."""
    found = []
    for task, (measure, said) in MEASURES.items():
        lines = {
            method: [about["tasks"][task][part][measure] for part in ("raw", "protected", "guess")]
            for method, about in result["methods"].items()
            if measure in about["tasks"].get(task, {}).get("raw", {})
        }
        if lines:
            found.append({"task": task, "measure": said, "lines": lines})
    return found
