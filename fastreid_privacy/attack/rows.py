"""What each row of the grid does to a target, cell by cell."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from . import measures
from .cells import Cell, Found, Means, Target
from .differencing import difference, two_images
from .inversion import best_inversion
from .judging import looked_at, recovered
from .keyed import guess_labels, recovered_by
from .learned import Learned, Recovery, Seen, pictures_of
from .observers import load_observer
from .stranger import train_reid
from .subjects import Subject, choose
from .templated import search_key_held
from .views import Mapped, at_size_of


def attack(cell: Cell, means: Means) -> Found:
    """Make one attack, which is possible."""
    target = means.targets[cell.target]
    start = time.perf_counter()
    found = _ROWS[cell.row](cell, target, means)
    if "attacker" in found.figures:
        found.figures["attacker"]["seconds"] = round(time.perf_counter() - start, 1)
    return found


def _stranger(cell: Cell, target: Target, means: Means) -> Found:
    found = looked_at(means.judge, target, means)
    if means.parrots:
        found.figures["parrot"] = _parrots(cell, target, means)
    return found


def _parrots(cell: Cell, target: Target, means: Means) -> dict[str, Any]:
    """Re-ID learned from the protected files themselves; the worst backbone counts."""
    found = {}
    for backbone in means.parrots:
        folder = means.folder / "reid" / f"{target.name}_{backbone}"
        device = means.attacker.device
        weights = train_reid(
            folder,
            target.view,
            means.subjects,
            backbone=backbone,
            epochs=means.epochs,
            seed=cell.seed,
            device=device,
        )
        observer = load_observer(weights, device, backbone)
        query = observer.look(target.view, means.subjects.query)
        gallery = observer.look(target.view, means.subjects.gallery)
        found[backbone], _ = measures.found(query, gallery, means.subjects, observer.metric)
    worst = max(found, key=lambda backbone: found[backbone]["rank1"])
    return {**found[worst], "backbone": worst, "backbones": found}


def _inverted(cell: Cell, target: Target, means: Means) -> Found:
    way, undo = best_inversion(target.operator, means.raw, means.subjects.known)
    attacker = {"network": way, "operator": target.operator, "images": 0, "steps": 0}
    return recovered(Mapped(target.view, undo), means, attacker)


def _learned_elsewhere(cell: Cell, target: Target, means: Means) -> Found:
    assert target.protect is not None
    return _learned(cell, target, means, pictures_of(target.protect(means.raw)), means.foreign)


def _learned_from_pairs(cell: Cell, target: Target, means: Means) -> Found:
    known = means.subjects.known
    leaked = known if cell.pairs == "all" else choose(known, int(cell.pairs), cell.seed)
    return _learned(cell, target, means, pictures_of(target.view), leaked)


def _learned(cell: Cell, target: Target, means: Means, seen: Seen, pairs: Sequence[Subject]) -> Found:
    """The way back, learned from pairs, and gone with the protected queries."""
    attacker = means.attacker
    build = partial(Recovery, attacker.width)
    network = attacker.learn(build, seen, means.raw, pairs, cell.seed, cell.name)
    view = Learned(pictures_of(target.view), network, attacker.device)
    return recovered(view, means, attacker.told("U-Net", len(pairs)))


def _authorised(cell: Cell, target: Target, means: Means) -> Found:
    assert means.authorised is not None
    return looked_at(means.authorised, target, means)


def _with_the_key(cell: Cell, target: Target, means: Means) -> Found:
    assert target.key is not None
    return recovered(
        Mapped(target.view, at_size_of(target.key)), means, {"network": "the key", "images": 0, "steps": 0}
    )


def _with_other_keys(cell: Cell, target: Target, means: Means) -> Found:
    raw, subjects = means.raw, means.subjects
    taken = difference(target.view, raw, subjects)
    attacker = {"network": f"differencing: {taken.name}", "images": taken.held, "steps": 0}
    found = recovered(taken.view, means, attacker, taken.asked)
    found.figures["differencing"] = {
        "chosen": taken.name,
        "queries": len(taken.asked),
        "known_people_seen_twice": taken.seen_twice,
        "PSNR_on_known_people": taken.tried,
    }
    found.figures["two_images"] = two_images(target.view, raw, subjects)
    if target.near:
        found.figures["near_keys"] = recovered_by(target.near, target.view, raw, subjects.query)
    if target.personal is not None and not target.personal.is_seeded:
        found.figures["guessed_labels"] = guess_labels(
            target.personal, target.view, raw, subjects.query, subjects.known
        )
    return found


_ROWS: dict[str, Callable[[Cell, Target, Means], Found]] = {
    "A0": _stranger,
    "A1": _inverted,
    "A2": _learned_elsewhere,
    "A3": _learned_from_pairs,
    "A4": _authorised,
    "A5": _with_other_keys,
    "A6": _with_the_key,
    "A7": search_key_held,
}
