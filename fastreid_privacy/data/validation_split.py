"""The validation split: some identities of the training set, as queries and gallery."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np

from ..core.errors import UserError

_EASIER = "DATASETS.VALIDATION.SAME_CAMERA True, other images of the same camera count as matches"
Item = tuple[str, Hashable, Hashable]  # image path, identity, camera: fastreid's training items


class Split(NamedTuple):
    """A training set taken apart.

    ``train`` keeps fastreid's items; validation identities and cameras are whole numbers from 0.
    """

    train: list[Item]
    query: list[tuple[str, int, int]]
    gallery: list[tuple[str, int, int]]


def split_training_set(
    items: Sequence[Item],
    fraction: float = 0.2,
    query_fraction: float = 0.2,
    seed: int = 0,
    *,
    same_camera: bool = False,
) -> Split:
    """Split training items by identity, and the validation part into query and gallery.

    Identities are drawn at random until they hold ``fraction`` of the images; only identities seen by two
    cameras or more are drawn, as the others cannot be queried. Then images are drawn as queries, each only if
    the gallery keeps an image of the same person under another camera for it and for the queries drawn
    before. The result depends on the set of items and the seed, not on their order.

    Args:
        items: (path, identity, camera) of every training image.
        fraction: share of the images for validation (the paper: 4 : 1, section 4.2).
        query_fraction: share of the validation images that are queries (the paper: 4 : 1).
        seed: of the draw.
        same_camera: any other image of a person is a match, also one of the same camera; any identity with
            two images or more may be drawn. Validation items then have a camera number of their own each.

    Raises:
        UserError: when no identity has images under two cameras (two images, with ``same_camera``), or too
            few images are left to train on.
    """
    items = sorted(items, key=lambda item: (str(item[1]), str(item[2]), item[0]))
    of_identity: dict[Hashable, list[Item]] = defaultdict(list)
    for item in items:
        of_identity[item[1]].append(item)
    draw = np.random.default_rng(seed)
    view = 0 if same_camera else 2  # of an item: what differs between a query and its match
    seen_twice = [pid for pid, images in of_identity.items() if len({item[view] for item in images}) > 1]
    if not seen_twice:
        lacking = "two images" if same_camera else "images under two cameras; with " + _EASIER
        raise UserError(
            f"no validation split: none of the {len(of_identity)} training identities has {lacking}"
        )

    chosen: set[Hashable] = set()
    count, wanted = 0, fraction * len(items)
    for index in draw.permutation(len(seen_twice)):
        if count >= wanted:
            break
        chosen.add(seen_twice[index])
        count += len(of_identity[seen_twice[index]])
    train = [item for item in items if item[1] not in chosen]
    if len({pid for _, pid, _ in train}) < 2:
        raise UserError(
            f"no validation split: of {len(of_identity)} training identities, {len(chosen)} would be taken "
            "for validation; two at least must be left to train on (DATASETS.VALIDATION.FRACTION)"
        )

    validation = [(item[0], item[1], item[view]) for item in items if item[1] in chosen]
    queries = _draw_queries(validation, round(query_fraction * len(validation)), draw)
    pids, cameras = _numbers(chosen), _numbers({item[view] for item in items})
    numbered = [(path, pids[pid], cameras[camera]) for path, pid, camera in validation]
    taken = set(queries)
    gallery = [item for index, item in enumerate(numbered) if index not in taken]
    return Split(train, [numbered[index] for index in queries], gallery)


def _numbers(labels: set[Hashable]) -> dict[Hashable, int]:
    """Whole numbers from 0 for labels, in the order of their texts."""
    return {label: number for number, label in enumerate(sorted(labels, key=str))}


def _draw_queries(validation: list[Item], wanted: int, draw: np.random.Generator) -> list[int]:
    """Indices of the images taken as queries: at least one.

    Each keeps a match under another camera in the gallery.
    """
    gallery: dict[Hashable, Counter] = defaultdict(Counter)  # images left in it, by identity and camera
    for _, pid, camera in validation:
        gallery[pid][camera] += 1
    cameras_of: dict[Hashable, set[Hashable]] = defaultdict(set)  # cameras of the queries, by identity
    queries: list[int] = []
    for index in draw.permutation(len(validation)):
        if len(queries) >= max(wanted, 1):
            break
        _, pid, camera = validation[index]
        gallery[pid][camera] -= 1
        left = {cam for cam, images in gallery[pid].items() if images > 0}
        if all(left - {query_camera} for query_camera in cameras_of[pid] | {camera}):
            queries.append(int(index))
            cameras_of[pid].add(camera)
        else:
            gallery[pid][camera] += 1
    return sorted(queries)
