"""What tells that a run, or a test, is of other images: a digest of their names, identities and cameras.

The place does not count, so that a data set may be moved; nor does what is in the files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

from fastreid.config import CfgNode

from ..data.datasets import load_dataset, training_items

TRAIN, TEST = "train", "test"  # in "data" of results.json


def training_images(cfg: CfgNode) -> dict[str, Any]:
    """What a run keeps of its training images, those of the validation split included.

    Returns:
        "images" and "people", counts, and "sha256", whatever the order of the images.

    Raises:
        UserError: when a data set is not there.
    """
    return _told(sorted(map(_named, training_items(cfg))))


def test_images(cfg: CfgNode, name: str) -> dict[str, Any]:
    """What results keep of a test set, as :func:`training_images`: of queries, in their order, and gallery.

    Raises:
        UserError: when the data set is not there.
    """
    data = load_dataset(cfg, name)
    # sorted by their paths, as loaders have them: a result of each query is compared with that of another run
    parts = {part: map(_named, sorted(getattr(data, part))) for part in ("query", "gallery")}
    return _told([part, *item] for part, items in parts.items() for item in items)


def told_images(results: Mapping[str, Any], part: str) -> Mapping[str, Any] | None:
    """What results tell of their images; None where an older version made them.

    Args:
        results: of results.json.
        part: ``TRAIN`` or ``TEST``.
    """
    return (results.get("data") or {}).get(part)


def _named(item: tuple) -> list[str]:
    path, person, camera = item
    return [PurePath(path).name, str(person), str(camera)]


def _told(items: Iterable[list[str]]) -> dict[str, Any]:
    listed = list(items)
    digest = hashlib.sha256(json.dumps(listed).encode())  # ASCII, whatever a file's name holds
    people = {item[-2] for item in listed}
    return {"images": len(listed), "people": len(people), "sha256": digest.hexdigest()}
