"""What an attack has brought, judged: how near recovered images come, and who is recognised on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..core.images import to_pictures
from . import measures
from .cells import Found, Means, Target
from .observers import Observer
from .subjects import Subject
from .views import Held, View

SHOWN = 6  # queries in the pictures


def looked_at(observer: Observer, target: Target, means: Means) -> Found:
    """Linkage, singling out and membership by one Re-ID model."""
    subjects = means.subjects
    query = observer.look(target.view, subjects.query)
    gallery = observer.look(target.view, subjects.gallery)
    raw_query, raw_gallery = means.sides[observer.name]
    beside = means.on_raw[observer.name]
    linkage, linked = measures.found(query, raw_gallery, subjects, observer.metric)
    single, singled = measures.found(query, gallery, subjects, observer.metric)
    figures = {
        "linkage": {**linkage, **beside},
        "singling_out": {**single, **beside},
        "membership": measures.membership(raw_query, gallery, subjects, observer.metric),
        "observer": observer.name,
    }
    return Found(figures, {"linkage": linked, "singling_out": singled})


def recovered(
    view: View, means: Means, attacker: dict[str, Any], asked: Sequence[Subject] | None = None
) -> Found:
    """How near the recovered queries come to the raw ones, and who is recognised on them.

    Args:
        view: the recovered images.
        means: of the run.
        attacker: what the result says of them.
        asked: the queries that are measured; None: all.
    """
    subjects = replace(means.subjects, query=list(asked)) if asked is not None else means.subjects
    view = Held(view, means.subjects.query)
    judge = means.judge
    query = judge.look(view, subjects.query)
    figures, hits = measures.found(query, means.sides[judge.name][1], subjects, judge.metric)
    recovery = {**measures.quality(view, means.raw, subjects.query), **figures}
    strips = {"recovery": to_pictures(view(shown(means.subjects.query)))}
    return Found({"recovery": recovery, "attacker": attacker}, {"recovery": hits}, strips)


def shown(subjects: Sequence[Subject]) -> list[Subject]:
    """The queries of the pictures, spread over all."""
    spread = np.linspace(0, len(subjects) - 1, min(SHOWN, len(subjects))).round().astype(int)
    return [subjects[index] for index in spread]
