"""Who is better than whom, where an owner wants little to be found and much to be left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Point(NamedTuple):
    """A method in one comparison of two figures.

    Attributes:
        leak: what an attacker gets; less is better.
        use: what is left to work with; more is better.
    """

    leak: float
    use: float


def front(points: Mapping[str, Point]) -> list[str]:
    """The Pareto front: methods that no other one beats, by falling use.

    A method beats another when it leaks no more and is of no less use, and is better in one of both.

    Example:
        >>> front({"a": Point(10, 5), "b": Point(20, 9), "c": Point(20, 5)})
        ['b', 'a']
    """
    best = [name for name, point in points.items() if not beaten_by(point, points)]
    return sorted(best, key=lambda name: -points[name].use)


def beaten_by(point: Point, points: Mapping[str, Point]) -> list[str]:
    """The methods that beat a point."""
    return [
        name
        for name, other in points.items()
        if other.leak <= point.leak and other.use >= point.use and other != point
    ]


class Axis(NamedTuple):
    """One comparison of leak and use.

    Attributes:
        name: in compare.json.
        leak, use: keys of a method's summary.
        leak_label, use_label: what the axes of its scatter say.
        title: above it.
    """

    name: str
    leak: str
    use: str
    leak_label: str
    use_label: str
    title: str


AXES = (
    Axis(
        "recovery_joint",
        "recovered_PSNR",
        "joint_rank1",
        "PSNR of the strongest attack, dB",
        "rank-1 of the method's own Re-ID, %",
        "What an attacker recovers, and who finds people",
    ),
    Axis(
        "stranger_joint",
        "stranger_rank1",
        "joint_rank1",
        "rank-1 of the best stranger, %",
        "rank-1 of the method's own Re-ID, %",
        "Whom strangers find, and whom the owner finds",
    ),
    Axis(
        "recovery_protected_only",
        "recovered_PSNR",
        "protected_only_rank1",
        "PSNR of the strongest attack, dB",
        "rank-1 of Re-ID learned from protected files, %",
        "What an attacker recovers, and what researchers can learn",
    ),
)


def points_of(summaries: Mapping[str, Mapping[str, Any]], axis: Axis) -> dict[str, Point]:
    """The methods that have both figures of a comparison; what is recovered whole has no point in it."""
    return {
        name: Point(each[axis.leak], each[axis.use])
        for name, each in summaries.items()
        if each[axis.leak] is not None and each[axis.use] is not None
    }
