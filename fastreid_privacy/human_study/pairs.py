"""Drawing the pairs of images that people judge, and dealing them to participants."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ..core.errors import UserError

TRIES = 100  # draws for a person's next pair


class Pair(NamedTuple):
    """Two images: indices into the test images.

    In a group of two domains the first is shown raw and the second protected.
    """

    first: int
    second: int
    same: bool


def draw_pairs(
    pids: Sequence[int], camids: Sequence[int], count: int, rng: np.random.Generator
) -> list[Pair]:
    """Pairs of images from two cameras, half of them of one person, the others of two people.

    So neither the camera nor the number of either answer is a cue. People take turns, so that nobody is shown
    much more often than others. No two images are paired twice.

    Args:
        pids: identity of each image; 0 and below, distractors and junk, are not shown.
        camids: camera of each image.
        count: even.
        rng: draws.

    Raises:
        UserError: when the images do not allow as many different pairs.
    """
    images: dict[int, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for index, (pid, camera) in enumerate(zip(pids, camids, strict=True)):
        if pid > 0:
            images[pid][camera].append(index)
    seen: set[frozenset[int]] = set()
    half, people = count // 2, [pid for pid in images if len(images[pid]) > 1]
    same = _draw(half, people, lambda pid: _of_one_person(images[pid], rng), seen, rng, "one person")
    others = _draw(half, list(images), lambda pid: _of_two_people(images, pid, rng), seen, rng, "two people")
    return [*(Pair(*pair, True) for pair in same), *(Pair(*pair, False) for pair in others)]


def _draw(
    count: int,
    people: Sequence[int],
    draw: Callable[[int], tuple[int, int] | None],
    seen: set[frozenset[int]],
    rng: np.random.Generator,
    of_whom: str,
) -> list[tuple[int, int]]:
    """``count`` pairs that were not seen before. People take turns; who has no further one is passed over."""
    pairs: list[tuple[int, int]] = []
    while len(pairs) < count:
        before = len(pairs)
        for pid in rng.permutation(people)[: count - before].tolist():
            pair = next(
                (pair for _ in range(TRIES) if (pair := draw(pid)) and frozenset(pair) not in seen), None
            )
            if pair:
                seen.add(frozenset(pair))
                pairs.append(pair)
        if len(pairs) == before:
            raise UserError(
                f"the test set has no {count} different pairs of images of {of_whom} under two cameras: ask "
                "for fewer with --pairs"
            )
    return pairs


def _of_one_person(cameras: dict[int, list[int]], rng: np.random.Generator) -> tuple[int, int]:
    first, second = rng.choice(sorted(cameras), 2, replace=False)
    return int(rng.choice(cameras[first])), int(rng.choice(cameras[second]))


def _of_two_people(
    images: dict[int, dict[int, list[int]]], pid: int, rng: np.random.Generator
) -> tuple[int, int] | None:
    camera = int(rng.choice(sorted(images[pid])))
    other = int(rng.choice(sorted(images)))
    cameras = sorted(set(images[other]) - {camera})
    if other == pid or not cameras:
        return None
    return int(rng.choice(images[pid][camera])), int(rng.choice(images[other][int(rng.choice(cameras))]))


def deal(pairs: Sequence[Pair], participants: int, rng: np.random.Generator) -> list[list[Pair]]:
    """Share the pairs of a group equally.

    Each participant gets as many of either kind as the others, give or take one.

    Args:
        pairs: a multiple of ``participants``.
        participants: at least 1.
        rng: draws who gets which.
    """
    ordered = []
    for same in (True, False):
        kind = [pair for pair in pairs if pair.same == same]
        ordered += [kind[index] for index in rng.permutation(len(kind))]
    # Where a kind cannot be shared equally, another participant gets more of it in each group.
    return [ordered[start::participants] for start in rng.permutation(participants)]
