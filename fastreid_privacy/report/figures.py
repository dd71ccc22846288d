"""The figures of the report: sample images row by row, and the training curve with the record of checks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import cycle, product
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..core.domains import DOMAINS
from ..core.files import write_atomically
from ..results.stored import checked_images
from .look import CHANGES, DARK, GREEN, LIGHT, ORANGE, PURPLE, SKY, VERMILLION

GRID_DPI = 128  # a power of two: pixels / dpi · dpi is exact, so a figure has exactly the size asked for
GRID_LABEL, GRID_GAP = 144, 6  # pixels: the column of row labels, the space around pictures
CURVE_WIDTH, CURVE_DPI = 6.0, 160  # inches, narrow so that its text stays readable on a phone

PANEL_HEIGHTS = {"loss": 3.8, "rank1": 2.0, "psnr": 1.8, "ssim": 2.1}  # inches
CHECK_PANELS = {  # name: ((key of a check, name in the legend), …), label of the axis
    "rank1": ((("rank1", "rank-1"), ("best", "to beat")), "rank-1, %"),
    "psnr": ((("psnr_protected", "protected"), ("psnr_desensitized", "desensitized")), "PSNR, dB"),
    "ssim": ((("ssim_protected", "protected"), ("ssim_desensitized", "desensitized")), "SSIM"),
}
LEGEND = {
    "loc": "lower left",
    "bbox_to_anchor": (0, 1),
    "borderaxespad": 0.2,
    "fontsize": 8.5,
    "frameon": False,
    "handlelength": 2.2,
    "columnspacing": 1.2,
}


def image_grid(images: Mapping[str, np.ndarray], path: str | Path) -> None:
    """Write the pictures as a PNG: a labelled row for each domain, a column for each person.

    Small pictures are enlarged by whole factors, each pixel repeated, to about 256 pixels height.

    Args:
        images: domain → RGB uint8 N×H×W×3, 0–255.
        path: of the PNG; written atomically.

    Raises:
        ValueError: for other domains, types or shapes.
    """
    images = checked_images(images)
    count, height, width = next(iter(images.values())).shape[:3]
    scale = max(1, round(256 / height))
    cell_height, cell_width = height * scale + GRID_GAP, width * scale + GRID_GAP
    canvas = np.full(
        (len(images) * cell_height + GRID_GAP, GRID_LABEL + count * cell_width + GRID_GAP, 3), 255, np.uint8
    )
    figure = Figure((canvas.shape[1] / GRID_DPI, canvas.shape[0] / GRID_DPI), dpi=GRID_DPI, facecolor="white")
    for row, (domain, batch) in enumerate(images.items()):
        top = GRID_GAP + row * cell_height
        for column, picture in enumerate(batch):
            left = GRID_LABEL + GRID_GAP + column * cell_width
            large = picture.repeat(scale, axis=0).repeat(scale, axis=1)
            canvas[top : top + height * scale, left : left + width * scale] = large
        place = GRID_LABEL / canvas.shape[1], 1 - (top + height * scale / 2) / canvas.shape[0]
        label = f"{DOMAINS[domain]}\n{domain}"
        figure.text(*place, label, ha="right", va="center", fontsize=10, color=LIGHT["ink"], linespacing=1.6)
    figure.figimage(canvas)
    save_figure(figure, Path(path), GRID_DPI)


def save_figure(figure: Figure, path: Path, dpi: int) -> None:
    """Write a figure as PNG, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(
        path, lambda file: figure.savefig(file, format="png", dpi=dpi, metadata={"Software": None})
    )


def _positive(value: object) -> float:
    """What a log scale can show; a gap in the line for everything else."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) and value > 0 else math.nan


def _family(name: str) -> str:
    return next((family for family in ("anonymization", "recovery") if family in name), "")


def loss_names(metrics: Sequence[Mapping]) -> list[str]:
    """The logged losses: total_loss, those of Re-ID, of the anonymizer, of the recovery."""
    names = {key for entry in metrics for key in entry if key == "total_loss" or key.startswith("loss")}
    return sorted(names, key=lambda name: (name != "total_loss", _family(name), name))


def iterations_per_epoch(metrics: Sequence[Mapping], checks: Sequence[Mapping]) -> int | None:
    """The length of an epoch, from the log lines that carry a check's rank-1.

    They stand at iteration epoch · length.

    Returns:
        The one length that fits every such line; None where no line or more than one length does.
    """
    lengths: set[int] | None = None
    for entry in metrics:
        if "validation/rank1" in entry:
            same = [check["epoch"] for check in checks if check.get("rank1") == entry["validation/rank1"]]
            fitting = {
                entry["iteration"] // epoch
                for epoch in same
                if entry["iteration"] and entry["iteration"] % epoch == 0
            }
            lengths = fitting if lengths is None else lengths & fitting
    return lengths.pop() if lengths and len(lengths) == 1 else None


def training_curve(
    metrics: Sequence[Mapping],
    checks: Sequence[Mapping],
    path: str | Path,
    iters_per_epoch: int | None,
    dark: bool = False,
) -> None:
    """Draw the losses (log scale), and beneath them what the checks measured.

    That is validation rank-1 with the one to beat, and PSNR and SSIM of protected and desensitized. The
    rank-1 is that of OI→PI, or of OI→OI for a model without protected images, whose checks have no PSNR
    and SSIM: those panels are left out. Each change of the supervision is marked.

    Args:
        metrics: entries of ``read_metrics``; may be empty.
        checks: ``checks`` of results.json, ``epoch`` counting finished epochs; may be empty, but not both.
        path: of the PNG; written atomically.
        iters_per_epoch: puts losses and checks on one axis; None: losses over iterations, checks over epochs.
        dark: colours for a dark page.

    Raises:
        ValueError: when there is neither a loss nor a check.
    """
    names = loss_names(metrics)
    panels = ["loss"] if names else []
    panels += [
        name
        for name, (keys, _) in CHECK_PANELS.items()
        if any(check.get(key) is not None for check in checks for key, _ in keys)
    ]
    if not panels:
        raise ValueError("neither losses nor checks to draw")
    theme = DARK if dark else LIGHT
    heights = [PANEL_HEIGHTS[panel] for panel in panels]
    figure = Figure((CURVE_WIDTH, sum(heights)), facecolor=theme["paper"], layout="constrained")
    axes = dict(
        zip(panels, figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0], strict=True)
    )
    for panel, axis in axes.items():
        if panel == "loss":
            _draw_losses(axis, metrics, names, iters_per_epoch or 1, theme)
        else:
            _draw_checks(axis, checks, *CHECK_PANELS[panel], theme)
        _style(axis, theme)
    over_epochs = [axis for panel, axis in axes.items() if panel != "loss" or iters_per_epoch]
    _mark_decisions(over_epochs, axes, checks)
    ends = [check["epoch"] for check in checks] + (
        [(metrics[-1]["iteration"] + 1) / iters_per_epoch] if names and iters_per_epoch else []
    )
    for axis in over_epochs:
        axis.set_xlim(0, max(ends) * 1.02)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    if "loss" in axes and not iters_per_epoch:
        axes["loss"].set_xlabel("iteration")
    for axis in over_epochs[:-1]:
        axis.tick_params(labelbottom=False)
    if over_epochs:
        over_epochs[-1].set_xlabel("epoch")
    for panel, axis in axes.items():
        axis.legend(ncols=2 if panel == "loss" else 4, labelcolor=theme["ink"], **LEGEND)
    save_figure(figure, Path(path), CURVE_DPI)


def _draw_losses(
    axis, metrics: Sequence[Mapping], names: Sequence[str], iters_per_epoch: int, theme: Mapping[str, str]
) -> None:
    # a colour for each image network, several for Re-ID; the kinds of loss differ in line style too
    colours = {"anonymization": (theme["blue"],), "recovery": (VERMILLION,), "": (GREEN, ORANGE, PURPLE, SKY)}
    styles = {
        family: cycle((colour, line) for line, colour in product(("-", "--", ":", "-."), colours[family]))
        for family in colours
    }
    for name in names:
        logged = [entry for entry in metrics if name in entry]  # validation figures have lines of their own
        position = [(entry["iteration"] + 1) / iters_per_epoch for entry in logged]
        colour, line, width = (
            (theme["ink"], "-", 2.0) if name == "total_loss" else (*next(styles[_family(name)]), 1.4)
        )
        label = "total" if name == "total_loss" else name.removeprefix("loss_").replace("_", " ")
        marker = "o" if len(logged) == 1 else None  # a line of one point is invisible
        axis.plot(
            position,
            [_positive(entry[name]) for entry in logged],
            line,
            color=colour,
            lw=width,
            marker=marker,
            label=label,
        )
    axis.set(yscale="log", ylabel="loss")


def _draw_checks(
    axis, checks: Sequence[Mapping], keys: Sequence[tuple[str, str]], label: str, theme: Mapping[str, str]
) -> None:
    epochs = [check["epoch"] for check in checks]
    pair = "OI→PI" if any("psnr_protected" in check for check in checks) else "OI→OI"
    for (key, name), (colour, style) in zip(keys, ((theme["blue"], "o-"), (ORANGE, "s--")), strict=True):
        if any(check.get(key) is not None for check in checks):
            values = [math.nan if check.get(key) is None else check[key] for check in checks]
            axis.plot(
                epochs,
                values,
                style,
                color=colour,
                lw=1.6,
                ms=4,
                label=f"rank-1 {pair}" if key == "rank1" else name,
            )
    axis.set_ylabel(label)
    axis.margins(y=0.15)


def _mark_decisions(over_epochs: Sequence, axes: Mapping, checks: Sequence[Mapping]) -> None:
    """A vertical line on every panel for each change of the supervision.

    On the panel of rank-1 also a triangle, up or down, named in its legend.
    """
    named = axes.get("rank1")
    for decision, (colour, style, shape) in CHANGES.items():
        epochs = [check["epoch"] for check in checks if check.get("decision") == decision]
        for axis in over_epochs:
            for epoch in epochs:
                axis.axvline(epoch, color=colour, ls=style, lw=1.1, alpha=0.7, zorder=1)
        if epochs and named:
            at_bottom = {"transform": named.get_xaxis_transform(), "clip_on": False, "zorder": 3}
            named.plot(epochs, [0.0] * len(epochs), shape, color=colour, ms=7, label=decision, **at_bottom)


def _style(axis, theme: Mapping[str, str]) -> None:
    axis.set_facecolor(theme["paper"])
    axis.grid(color=theme["grid"], lw=0.7)
    axis.set_axisbelow(True)
    axis.tick_params(colors=theme["ink"], which="both", labelsize=9.5)
    axis.xaxis.label.set(color=theme["ink"], size=10.5)
    axis.yaxis.label.set(color=theme["ink"], size=10.5)
    for name, spine in axis.spines.items():
        spine.set(visible=name in ("left", "bottom"), color=theme["grid"])
