"""What each row of the grid does to a target, cell by cell."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..checkpoints.image_maps import ImageMap
from ..core.images import to_pictures
from ..desensitize import Desensitizer
from . import measures
from .differencing import difference, two_images
from .inversion import OPERATORS, best_inversion
from .keyed import NearKeys, guess_labels, recovered_by
from .learned import Attacker
from .observers import Observer, load_observer
from .stranger import train_reid
from .subjects import Subject, Subjects, choose
from .views import Files, Held, Mapped, View, at_size_of

HOLDS = {
    "A0": "nothing: a Re-ID model of other raw images",
    "A1": "the operator's name",
    "A2": "the anonymizer, and foreign raw images",
    "A3": "leaked pairs of raw and protected files",
    "A4": "the authorised Re-ID model",
    "A5": "originals of other images, near keys",
    "A6": "the right key",
}
SHOWN = 6  # queries in the pictures
OTHERS = 2_000  # images of people who are not in the set, for membership, at most


@dataclass(frozen=True)
class Target:
    """What is attacked: the protected files, or the raw ones under an operator beside them.

    Attributes:
        name: "protected", or the operator's.
        view: the protected images of subjects.
        operator: whose inverse row A1 tries.
        protect: raw images of other people to protected ones, as who holds the anonymizer makes them; None:
            nobody holds it.
        key: what the right key recovers; None: there is no key.
        keyless: why the method has no key at all; "": it has one, or may have one.
        near: keys that are not the right one.
        personal: the operator that made it, where it depends on the person.
    """

    name: str
    view: View
    operator: str
    protect: Callable[[View], View] | None = None
    key: ImageMap | None = None
    keyless: str = ""
    near: NearKeys = field(default_factory=dict)
    personal: Desensitizer | None = None

    def impossible(self, row: str) -> str:
        """Why a row cannot be made of this target; "": it can."""
        undone = self.operator in OPERATORS
        if row == "A2" and self.personal is not None:
            return f"{self.personal.name} depends on the person, and nobody is known in foreign images"
        return {
            "A1": "" if undone else f"{self.operator} leaves nothing to undo",
            "A2": "" if self.protect else "nobody holds the anonymizer: name it with --model",
            "A5": self.keyless,
            "A6": "" if self.key else "there is no key",
        }.get(row, "")


@dataclass(frozen=True)
class Cell:
    """One attack: of a row, on a target.

    Attributes:
        row: of ``HOLDS``.
        target: its name.
        pairs: how many of them leaked, or "all"; "" of other rows than A3.
        seed: of what is trained.
    """

    row: str
    target: str
    pairs: str = ""
    seed: int = 0

    @property
    def name(self) -> str:
        """What its files are called."""
        return "_".join(filter(None, (self.target, self.row, self.pairs, f"seed{self.seed}")))


@dataclass(frozen=True)
class Found:
    """What an attack brought.

    Attributes:
        figures: as attack.json has them.
        hits: of each way of looking for people, whether its queries found theirs.
        pictures: uint8 n×H×W×3, recovered queries; None of attacks that recover nothing.
    """

    figures: dict[str, Any]
    hits: dict[str, measures.Hits] = field(default_factory=dict)
    pictures: np.ndarray | None = None


@dataclass(frozen=True)
class Means:
    """What all attacks of one run share.

    Attributes:
        subjects: the images.
        targets: by name; "protected" first.
        attacker: the network of rows A2 and A3.
        judge: a Re-ID model of raw images, for A0 and for recovered images.
        authorised: of row A4; None: not held.
        foreign: raw images of row A2; empty: not held.
        parrots: backbones that learn from protected files.
        epochs: of their training.
        folder: of what is trained.
    """

    subjects: Subjects
    targets: dict[str, Target]
    attacker: Attacker
    judge: Observer
    authorised: Observer | None
    foreign: Sequence[Subject]
    parrots: Sequence[str]
    epochs: int
    folder: Path

    @cached_property
    def raw(self) -> View:
        """Raw images, those of other people too."""
        return Files(self.subjects.size)

    @cached_property
    def sides(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Features of the raw queries and gallery, by observer."""
        return {
            each.name: (each.look(self.raw, self.subjects.query), each.look(self.raw, self.subjects.gallery))
            for each in (self.judge, self.authorised)
            if each is not None
        }

    @cached_property
    def on_raw(self) -> dict[str, dict[str, float]]:
        """Rank-1 of guessing and of raw images, in percent, by observer."""
        chance = measures.chance(self.subjects)
        found = {name: measures.found(*sides, self.subjects)[0] for name, sides in self.sides.items()}
        return {name: {"chance": chance, "raw": figures["rank1"]} for name, figures in found.items()}

    @cached_property
    def outside(self) -> list[Subject]:
        """Known people, none of whom is in the measured set."""
        return choose(self.subjects.known, OTHERS, 0)


def cells(
    rows: Sequence[str], targets: Sequence[Target], pairs: Sequence[str], seeds: Sequence[int]
) -> Iterator[Cell]:
    """All attacks of a run, in the order in which they are made."""
    for row in rows:
        for target in targets:
            if row == "A3":
                yield from (Cell(row, target.name, count, seed) for count in pairs for seed in seeds)
            elif row == "A2":
                yield from (Cell(row, target.name, "", seed) for seed in seeds)
            else:
                yield Cell(row, target.name)


def attack(cell: Cell, means: Means) -> Found:
    """Make one attack, which is possible."""
    target = means.targets[cell.target]
    start = time.perf_counter()
    found = _ROWS[cell.row](cell, target, means)
    if "attacker" in found.figures:
        found.figures["attacker"]["seconds"] = round(time.perf_counter() - start, 1)
    return found


def _stranger(cell: Cell, target: Target, means: Means) -> Found:
    found = _look(means.judge, target, means)
    if means.parrots:
        found.figures["parrot"] = _parrots(cell, target, means)
    return found


def _look(observer: Observer, target: Target, means: Means) -> Found:
    """Linkage, singling out and membership by one Re-ID model."""
    subjects = means.subjects
    query = observer.look(target.view, subjects.query)
    gallery = observer.look(target.view, subjects.gallery)
    _, raw_gallery = means.sides[observer.name]
    beside = means.on_raw[observer.name]
    linkage, linked = measures.found(query, raw_gallery, subjects)
    single, singled = measures.found(query, gallery, subjects)
    figures = {
        "linkage": {**linkage, **beside},
        "singling_out": {**single, **beside},
        "membership": measures.membership(observer, target.view, means.raw, subjects, means.outside),
        "observer": observer.name,
    }
    return Found(figures, {"linkage": linked, "singling_out": singled})


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
        found[backbone], _ = measures.found(query, gallery, means.subjects)
    worst = max(found, key=lambda backbone: found[backbone]["rank1"])
    return {**found[worst], "backbone": worst, "backbones": found}


def _inverted(cell: Cell, target: Target, means: Means) -> Found:
    way, undo = best_inversion(target.operator, means.raw, means.subjects.known)
    attacker = {"network": way, "operator": target.operator, "images": 0, "steps": 0}
    return _recovered(Mapped(target.view, undo), means, attacker)


def _learned_elsewhere(cell: Cell, target: Target, means: Means) -> Found:
    assert target.protect is not None
    seen = target.protect(means.raw)
    recovery = means.attacker.learn(seen, means.raw, means.foreign, cell.seed, cell.name)
    return _recovered(Mapped(target.view, recovery), means, _network(means, len(means.foreign)))


def _learned_from_pairs(cell: Cell, target: Target, means: Means) -> Found:
    known = means.subjects.known
    leaked = known if cell.pairs == "all" else choose(known, int(cell.pairs), cell.seed)
    recovery = means.attacker.learn(target.view, means.raw, leaked, cell.seed, cell.name)
    return _recovered(Mapped(target.view, recovery), means, _network(means, len(leaked)))


def _network(means: Means, images: int) -> dict[str, Any]:
    attacker = means.attacker
    return {"network": f"U-Net, width {attacker.width}", "images": images, "steps": attacker.steps}


def _authorised(cell: Cell, target: Target, means: Means) -> Found:
    assert means.authorised is not None
    return _look(means.authorised, target, means)


def _with_the_key(cell: Cell, target: Target, means: Means) -> Found:
    assert target.key is not None
    return _recovered(
        Mapped(target.view, at_size_of(target.key)), means, {"network": "the key", "images": 0, "steps": 0}
    )


def _with_other_keys(cell: Cell, target: Target, means: Means) -> Found:
    raw, subjects = means.raw, means.subjects
    taken = difference(target.view, raw, subjects)
    attacker = {"network": f"differencing: {taken.name}", "images": taken.held, "steps": 0}
    found = _recovered(taken.view, means, attacker, taken.asked)
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


def _recovered(
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
    query = means.judge.look(view, subjects.query)
    figures, hits = measures.found(query, means.sides[means.judge.name][1], subjects)
    recovery = {**measures.quality(view, means.raw, subjects.query), **figures}
    return Found({"recovery": recovery, "attacker": attacker}, {"recovery": hits}, pictures(view, means))


def pictures(view: View, means: Means) -> np.ndarray:
    """Some queries as a view shows them: uint8 n×H×W×3."""
    return to_pictures(view(shown(means.subjects.query)))


def shown(subjects: Sequence[Subject]) -> list[Subject]:
    """The queries of the pictures, spread over all."""
    spread = np.linspace(0, len(subjects) - 1, min(SHOWN, len(subjects))).round().astype(int)
    return [subjects[index] for index in spread]


_ROWS: dict[str, Callable[[Cell, Target, Means], Found]] = {
    "A0": _stranger,
    "A1": _inverted,
    "A2": _learned_elsewhere,
    "A3": _learned_from_pairs,
    "A4": _authorised,
    "A5": _with_other_keys,
    "A6": _with_the_key,
}
