"""Row A5, with files alone: a mask that several images share is taken off one and undone on another.

Who holds the raw original of one protected image knows what was done to it. Where the same was done to
another image, of the same person or of anybody, it is undone there. Without any original, a shared mask still
cancels between two images: the difference of the protected ones is the difference of the raw ones.

What a mask is, and how it is taken off, stands in :mod:`.masks`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from ..evaluation.image_quality import psnr_of_sum
from .masks import COMBINATIONS, Combination, inside, take_off
from .subjects import Subject, Subjects, choose
from .views import View, batches

HELD = 64  # images whose originals tell a mask that everybody shares
TRIED_ON = 64  # known images on which the attacker chooses
COMPARED = 200  # pairs of two images, at most
NOTHING = "nothing"  # undone: no mask brings known images nearer
GUESS = "the mean of known images"  # for any image: what comes without looking at it
GAIN = 1.0  # dB that undoing must bring over both, on known people: less is no find


def partners(asked: Sequence[Subject], among: Sequence[Subject]) -> dict[str, Subject]:
    """Another image of the same person, by another camera: the first of them, by the name of who has one."""
    by_person: dict[int, list[Subject]] = {}
    for each in among:
        by_person.setdefault(each.pid, []).append(each)
    found = {}
    for each in asked:
        others = (other for other in by_person.get(each.pid, ()) if other.camid != each.camid)
        if (other := next(others, None)) is not None:
            found[each.name] = other
    return found


@dataclass(frozen=True)
class Undone:
    """Protected images after a mask is undone; a view.

    Attributes:
        protected, raw: the views of what the attacker sees, and of the originals that they hold.
        combination: how image and mask were combined.
        shared: the mask that everybody has, 3×H×W; None: each has that of their own partner.
        partner: of each image, by its name; an image without one stays as it is.
    """

    protected: View
    raw: View
    combination: Combination
    shared: Tensor | None
    partner: Mapping[str, Subject]

    def __call__(self, subjects: Sequence[Subject]) -> Tensor:
        """float32 N×3×H×W, 0–255."""
        seen = self.protected(subjects)
        if self.shared is not None:
            return take_off(self.combination, seen.int(), self.shared)
        some = [index for index, each in enumerate(subjects) if each.name in self.partner]
        if some:
            held = [self.partner[subjects[index].name] for index in some]
            theirs = self.protected(held).int()
            masks = self.combination.mask(theirs, self.raw(held).int())
            seen[some] = take_off(self.combination, seen[some].int(), masks, inside(theirs))
        return seen


@dataclass(frozen=True)
class Differencing:
    """What known-plaintext differencing found.

    Attributes:
        view: the measured images, undone.
        name: of the combination and of whose mask it is; :data:`NOTHING` where none brings the known images
            :data:`GAIN` nearer than they are, and than their mean is.
        asked: the queries that it can undo: of a person's own mask, those with a partner.
        held: how many originals the attacker holds.
        tried: PSNR in dB on known people of each way, of :data:`NOTHING` and of :data:`GUESS`; None:
            identical.
        seen_twice: whether known people have a second image, by another camera.
    """

    view: View
    name: str
    asked: list[Subject]
    held: int
    tried: dict[str, float | None]
    seen_twice: bool


def difference(protected: View, raw: View, subjects: Subjects) -> Differencing:
    """Choose on known people what is undone, and how; then undo it on the queries.

    Args:
        protected, raw: views of the images.
        subjects: originals of the known people are held, and of the measured ones those of other images than
            the queries.
    """
    drawn = choose(subjects.known, HELD + TRIED_ON, 0)
    own, tried_on = drawn[::2], drawn[1::2] or drawn
    known, measured = partners(tried_on, subjects.known), partners(subjects.query, subjects.measured)
    seen, originals = protected(own).int(), raw(own).int()
    ways: dict[str, tuple[Combination, Tensor | None]] = {}
    for name, combination in COMBINATIONS.items():
        shared = combination.common(seen, combination.mask(seen, originals))
        ways[f"{name}, mask of everybody"] = combination, shared  # first: of equals it needs least
        if known and measured:
            ways[f"{name}, mask of the person"] = combination, None
    mean = originals.double().mean(0).round().float()
    views: dict[str, View] = {NOTHING: protected, GUESS: lambda some: mean.expand(len(some), *mean.shape)}
    views |= {name: Undone(protected, raw, *way, known) for name, way in ways.items()}
    fair = [each for each in tried_on if each.name in known] or tried_on
    tried = {name: _psnr(view, raw, fair) for name, view in views.items()}
    best = max(ways, key=lambda name: _in_order(tried[name]))
    if not _in_order(tried[best]) > GAIN + max(_in_order(tried[name]) for name in (NOTHING, GUESS)):
        return Differencing(protected, NOTHING, subjects.query, 0, tried, bool(known))
    combination, mask = ways[best]
    view = Undone(protected, raw, combination, mask, measured)
    if mask is not None:
        return Differencing(view, best, subjects.query, len(own), tried, bool(known))
    asked = [each for each in subjects.query if each.name in measured]
    held = len({measured[each.name].name for each in asked})
    return Differencing(view, best, asked, held, tried, True)


def two_images(protected: View, raw: View, subjects: Subjects) -> dict[str, Any]:
    """Whether a mask cancels between two protected images of a person, without any original.

    Returns:
        "pairs", and for each combination what share of the variance of the raw difference the protected
        difference explains, 0–1: "same_person", and beside it "other_people", where none would have cancelled
        unless everybody's mask is the same.
    """
    measured = partners(subjects.query, subjects.measured)
    asked = [each for each in choose(subjects.query, COMPARED, 0) if each.name in measured]
    others = [_first_other(index, asked, measured) for index in range(len(asked))]
    pairs = {
        "same_person": [(each, measured[each.name]) for each in asked],
        "other_people": [(each, other) for each, other in zip(asked, others, strict=True) if other],
    }
    found: dict[str, Any] = {"pairs": len(asked)}
    for name, combination in COMBINATIONS.items():
        found[name] = {
            whose: _mean(_explained(some, combination, protected, raw)) for whose, some in pairs.items()
        }
    return found


def _first_other(index: int, asked: Sequence[Subject], measured: Mapping[str, Subject]) -> Subject | None:
    """The partner of the next query of somebody else."""
    following = (*asked[index + 1 :], *asked[:index])
    return next((measured[each.name] for each in following if each.pid != asked[index].pid), None)


def _explained(
    pairs: Sequence[tuple[Subject, Subject]], combination: Combination, protected: View, raw: View
) -> Iterable[float]:
    """The squared correlation of both differences, of each pair."""
    for some in batches(pairs):
        ones, others = ([pair[side] for pair in some] for side in (0, 1))
        differences = [
            combination.difference(view(ones).int(), view(others).int()).double().flatten(1)
            for view in (protected, raw)
        ]
        seen, wanted = (each - each.mean(1, keepdim=True) for each in differences)
        spread = (seen.square().sum(1) * wanted.square().sum(1)).sqrt()
        yield from ((seen * wanted).sum(1) / spread.clamp(min=1e-9)).square().tolist()


def _in_order(psnr: float | None) -> float:
    return np.inf if psnr is None else psnr


def _mean(values: Iterable[float]) -> float | None:
    gathered = list(values)
    return float(np.mean(gathered)) if gathered else None


def _psnr(view: View, raw: View, subjects: Sequence[Subject]) -> float | None:
    total, count = 0.0, 0
    for some in batches(subjects):
        error = (view(some) - raw(some)).double().square()
        total, count = total + float(error.sum()), count + error.numel()
    return psnr_of_sum(total, count)
