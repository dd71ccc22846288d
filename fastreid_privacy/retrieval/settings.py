"""The four settings of a protected data set, without and with the search key.

A query and a gallery image are each raw (OI) or protected (PI). Without the key, the model looks at the
protected file; with it, the file's template stands for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from ..collection.source import Source
from ..core.domains import SETTINGS
from ..core.errors import UserError
from ..evaluation.ranking import evaluate_retrieval
from ..keys.pairs import PrivateKey
from .extract import Extractor
from .features import Look, gallery_features
from .templates import required_templates


class Item(Protocol):
    """One image of the data set."""

    @property
    def raw(self) -> Path:
        """The raw file."""

    @property
    def protected(self) -> Path:
        """The protected one."""

    @property
    def pid(self) -> int:
        """Identity."""

    @property
    def camid(self) -> int:
        """Camera."""


def measure_settings(
    query: Sequence[Item], gallery: Sequence[Item], extract: Extractor, key: PrivateKey | None
) -> dict[str, dict[str, dict]]:
    """Retrieval in each setting.

    Args:
        query, gallery: of the data set.
        extract: the Re-ID model; templates must be of it.
        key: the search key; None: not held.

    Returns:
        "without" and, where there is a key, "with" it → setting, such as "OI-PI" → figures of
        :func:`fastreid_privacy.evaluation.evaluate_retrieval`.

    Raises:
        UserError: when a file cannot be read, or has no template of the model that the key opens.
    """
    images = [*query, *gallery]
    raw = _looked_at([each.raw for each in images], extract)
    protected = [each.protected for each in images]
    sources = {"without": _looked_at(protected, extract)}
    if key is not None:
        sources["with"] = required_templates(protected, key, extract.fingerprint)
    sides = (query, gallery)
    query_pids, gallery_pids = (np.array([each.pid for each in side]) for side in sides)
    query_camids, gallery_camids = (np.array([each.camid for each in side]) for side in sides)
    found: dict[str, dict[str, dict]] = {}
    for name, stored in sources.items():
        domains, n = {"OI": raw, "PI": stored}, len(query)
        found[name] = {}
        for setting in SETTINGS:
            asked, searched = setting.split("-")
            found[name][setting] = evaluate_retrieval(
                domains[asked][:n],
                domains[searched][n:],
                query_pids,
                gallery_pids,
                query_camids,
                gallery_camids,
                extract.metric,
            )
    return found


def _looked_at(files: Sequence[Path], extract: Extractor) -> np.ndarray:
    """Features of files, by the model: N×D float32."""
    found = []
    for looked in gallery_features(Source(Path(), [*map(str, files)]), Look(extract)):
        if looked.reasons:
            raise UserError(next(iter(looked.reasons.values())))
        found.append(looked.features)
    return np.concatenate(found)


def settings_table(found: dict[str, dict[str, dict]]) -> str:
    """The figures of :func:`measure_settings` as lines for a terminal."""
    lines = [f"{'search key':12}" + "".join(f"{setting.replace('-', '→'):>16}" for setting in SETTINGS)]
    for name, figures in found.items():
        cells = (f"{figures[one]['Rank-1']:.1f} / {figures[one]['mAP']:.1f}" for one in SETTINGS)
        lines.append(f"{name:12}" + "".join(f"{cell:>16}" for cell in cells))
    lines.append("rank-1 / mAP, percent")
    return "\n".join(lines)
