"""What protected files are still good for: Re-ID in all settings, however it was trained, and other tasks."""

from __future__ import annotations

from typing import Any

from ..attack import measures
from ..attack.measures import Hits
from ..attack.observers import Observer
from ..attack.subjects import Subjects
from ..attack.views import View
from ..core.domains import SETTINGS

NEED_PROTECTED = SETTINGS[1:]  # whose mean says how useful the protected files are


def settings_of(
    observer: Observer, raw: View, protected: View, subjects: Subjects
) -> tuple[dict[str, dict[str, float]], dict[str, Hits]]:
    """Rank-1 and mAP, in percent, of one Re-ID model in the four settings, on stored files.

    Args:
        observer: the model.
        raw, protected: the images of both domains.
        subjects: whose queries and gallery are looked at.

    Returns:
        "OI-OI" … "PI-PI" to rank-1 and mAP, and to whether each query was a hit.
    """
    sides = {
        domain: (observer.look(view, subjects.query), observer.look(view, subjects.gallery))
        for domain, view in (("OI", raw), ("PI", protected))
    }
    found = {
        setting: measures.found(sides[setting[:2]][0], sides[setting[-2:]][1], subjects, observer.metric)
        for setting in SETTINGS
    }
    return (
        {setting: figures for setting, (figures, _) in found.items()},
        {setting: hits for setting, (_, hits) in found.items()},
    )


def mean_rank1(figures: dict[str, Any] | None) -> float | None:
    """The mean rank-1 of the settings with protected images, in percent; None of no figures."""
    if not figures:
        return None
    return sum(figures[setting]["rank1"] for setting in NEED_PROTECTED) / len(NEED_PROTECTED)
