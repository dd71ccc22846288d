"""Who is where in a frame: a box, whose it is over time, and how it came about."""

from __future__ import annotations

from typing import NamedTuple

Box = tuple[int, int, int, int]
"""(left, top, right, bottom) in pixels from 0; right and bottom are not inside."""

GIVEN, DETECTED, CARRIED = "given", "detected", "carried"
"""A box of a file; one in which a detector found somebody; one that the tracker has put where it did not."""


class Person(NamedTuple):
    """Somebody in a frame.

    Attributes:
        box: where.
        identity: whole number from 1, the same over time; 0: not known.
        how: "given", "detected" or "carried".
    """

    box: Box
    identity: int = 0
    how: str = GIVEN


class Left(NamedTuple):
    """Somebody who was left as they are.

    Attributes:
        person: who.
        why: "time", "region" or "person", of the option that says so.
    """

    person: Person
    why: str
