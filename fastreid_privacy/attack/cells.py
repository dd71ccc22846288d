"""The cells of the grid: who holds what, what is attacked, and what an attack brings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..checkpoints.image_maps import ImageMap
from ..desensitize import Desensitizer
from . import measures
from .inversion import OPERATORS
from .keyed import NearKeys
from .learned import Attacker
from .observers import Observer
from .subjects import Subject, Subjects
from .views import Files, View

HOLDS = {
    "A0": "nothing: a Re-ID model of other raw images",
    "A1": "the operator's name",
    "A2": "the anonymizer, and foreign raw images",
    "A3": "leaked pairs of raw and protected files",
    "A4": "the authorised Re-ID model",
    "A5": "originals of other images, near keys",
    "A6": "the right key",
    "A7": "the search key",
}


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
        told: the operator that made it, where a file tells it the regions of these images.
        templates: of each image, by its name, what the search key opens: D float32; empty: not held.
    """

    name: str
    view: View
    operator: str
    protect: Callable[[View], View] | None = None
    key: ImageMap | None = None
    keyless: str = ""
    near: NearKeys = field(default_factory=dict)
    personal: Desensitizer | None = None
    told: Desensitizer | None = None
    templates: Mapping[str, Tensor] = field(default_factory=dict, repr=False)

    def impossible(self, row: str) -> str:
        """Why a row cannot be made of this target; "": it can."""
        undone = self.operator in OPERATORS
        no_way = "leaves nothing to undo" if self.operator == "mask" else "is undone by nothing that is known"
        if row == "A2" and self.personal is not None:
            return f"{self.personal.name} depends on the person, and nobody is known in foreign images"
        if row == "A2" and self.told is not None:
            return f"{self.told.regions_file} tells {self.told.name} no regions of foreign images"
        return {
            "A1": "" if undone else f"{self.operator} {no_way}",
            "A2": "" if self.protect else "nobody holds the anonymizer: name it with --model",
            "A5": self.keyless,
            "A6": "" if self.key else "there is no key",
            "A7": "" if self.templates else "the attack makes these files itself: they carry no templates",
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

    def strip(self, way: str) -> str:
        """Name of the file of pictures, of a way of :attr:`Found.pictures`."""
        return f"{self.name}{'' if way == 'recovery' else '_' + way}.png"


@dataclass(frozen=True)
class Found:
    """What an attack brought.

    Attributes:
        figures: as attack.json has them.
        hits: of each way of looking for people, whether its queries found theirs.
        pictures: recovered queries, uint8 n×H×W×3, by the figures that they belong to: "recovery", and
            "inverted" of row A7; empty of attacks that recover nothing.
    """

    figures: dict[str, Any]
    hits: dict[str, measures.Hits] = field(default_factory=dict)
    pictures: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Means:
    """What all attacks of one run share.

    Attributes:
        subjects: the images.
        targets: by name; "protected" first.
        attacker: who trains a network, in rows A2, A3 and A7.
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
            for each in self._observers
        }

    @cached_property
    def on_raw(self) -> dict[str, dict[str, float]]:
        """Rank-1 of guessing and of raw images, in percent, by observer."""
        chance = measures.chance(self.subjects)
        found = {
            each.name: measures.found(*self.sides[each.name], self.subjects, each.metric)[0]
            for each in self._observers
        }
        return {name: {"chance": chance, "raw": figures["rank1"]} for name, figures in found.items()}

    @property
    def _observers(self) -> list[Observer]:
        return [each for each in (self.judge, self.authorised) if each is not None]


def cells(
    rows: Sequence[str], targets: Sequence[Target], pairs: Sequence[str], seeds: Sequence[int]
) -> Iterator[Cell]:
    """All attacks of a run, in the order in which they are made; the parrots of A0 have the first seed."""
    for row in rows:
        for target in targets:
            if row == "A3":
                yield from (Cell(row, target.name, count, seed) for count in pairs for seed in seeds)
            elif row in ("A2", "A7"):
                yield from (Cell(row, target.name, "", seed) for seed in seeds)
            else:
                yield Cell(row, target.name, "", seeds[0] if row == "A0" else 0)
