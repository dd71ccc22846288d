"""Figure 9: Re-ID features of raw and protected images of a few people, brought to the plane by t-SNE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib import color_sequences
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from sklearn.manifold import TSNE
from sklearn.preprocessing import normalize

from ..report.figures import CURVE_DPI, CURVE_WIDTH, DARK, LIGHT, save_figure

COLOURS = color_sequences["petroff10"]  # ten that stay apart with all common colour-vision deficiencies
MOST_PEOPLE = len(COLOURS)
FEWEST_FEATURES = 4  # t-SNE of fewer says nothing
PERPLEXITY = 30.0
RAW, PROTECTED = "o", "^"  # markers
PANEL, LEGEND_HEIGHT = 3.3, 0.45  # inches


class Points(NamedTuple):
    """The points of one person in one domain, n×2: of one colour and one marker."""

    person: int
    marker: str
    xy: np.ndarray


@dataclass(frozen=True)
class Panel:
    """One model of the figure: its name, a line beneath it, and its points, None where it has none."""

    title: str
    note: str
    points: list[Points] | None


def project(embedding: Mapping[str, np.ndarray], protected: str) -> list[Points] | None:
    """One t-SNE of the raw and the protected features of a model, on the angles between them.

    Args:
        embedding: "pids" n and domain → n×D, as ``EMBEDDING.load`` gives it; of the first ten people.
        protected: the domain that stands beside the raw one: "PI", or "DI" for a model without protected
            images.

    Returns:
        The points of each person in each domain; None with fewer than four features, or without one of the
        domains.

    Reference:
        Figure 9 of the paper.
    """
    if not {"OI", protected} <= embedding.keys():
        return None
    people = np.unique(embedding["pids"])[:MOST_PEOPLE]
    shown = np.isin(embedding["pids"], people)
    pids = embedding["pids"][shown]
    features = normalize(
        np.concatenate([embedding[domain][shown] for domain in ("OI", protected)]).astype(np.float64)
    )
    if len(features) < FEWEST_FEATURES:
        return None
    # of features of length 1, Euclidean distances order as angles do; a start from PCA would be NaN where a
    # model gives one feature to all
    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
    raw, other = np.split(
        TSNE(perplexity=perplexity, init="random", random_state=0).fit_transform(features), 2
    )
    return [
        Points(int(person), marker, xy[pids == person])
        for marker, xy in ((RAW, raw), (PROTECTED, other))
        for person in people
    ]


def draw_features(panels: Sequence[Panel], path: Path, dark: bool = False) -> None:
    """Write the panels, two in a row, as PNG.

    A colour is a person, in every panel the same; the marker is the domain.

    Args:
        panels: at least one.
        path: of the PNG; written atomically.
        dark: colours for a dark page.
    """
    theme = DARK if dark else LIGHT
    people = sorted({points.person for panel in panels for points in panel.points or ()})
    rows = -(-len(panels) // 2)
    layout = ConstrainedLayoutEngine(hspace=0.06, wspace=0.04)
    size = (CURVE_WIDTH, rows * PANEL + LEGEND_HEIGHT)
    figure = Figure(size, facecolor=theme["paper"], layout=layout)
    axes = figure.subplots(rows, 2, squeeze=False).ravel()
    for axis, panel in zip(axes, panels, strict=False):
        axis.set(facecolor=theme["paper"], xticks=[], yticks=[])
        axis.set_title(panel.title, color=theme["ink"], fontsize=12, loc="left", pad=20)
        axis.text(
            0, 1.02, panel.note, color=theme["ink"], fontsize=10.5, va="bottom", transform=axis.transAxes
        )
        axis.set_box_aspect(1)
        for spine in axis.spines.values():
            spine.set_color(theme["grid"])
        if panel.points is None:
            style = {"color": theme["ink"], "fontsize": 11, "ha": "center", "va": "center"}
            axis.text(0.5, 0.5, "no features", **style, transform=axis.transAxes)
        for points in panel.points or ():
            colour = COLOURS[people.index(points.person) % MOST_PEOPLE]
            axis.scatter(
                *points.xy.T,
                s=30 if points.marker == PROTECTED else 26,
                color=colour,
                marker=points.marker,
                edgecolors=theme["ink"],
                linewidths=0.4,
                alpha=0.9,
            )
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    handles = [
        Line2D([], [], ls="", marker=marker, ms=7, color=theme["ink"], label=name)
        for marker, name in ((RAW, "raw images"), (PROTECTED, "protected images"))
    ]
    figure.legend(
        handles=handles,
        loc="outside upper left",
        ncols=2,
        frameon=False,
        labelcolor=theme["ink"],
        fontsize=11,
        handletextpad=0.2,
        columnspacing=1.4,
    )
    save_figure(figure, path, CURVE_DPI)
