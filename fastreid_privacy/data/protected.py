"""A protected collection as a data set again: its manifest says who is on which file, and in which part."""

from __future__ import annotations

import logging
from pathlib import Path

from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset

from ..core.errors import UserError, some_of
from ..manifest import MANIFEST, PARTS, read_manifest

logger = logging.getLogger(__name__)


@DATASET_REGISTRY.register()
class ProtectedCollection(ImageDataset):
    """What ``tools/anonymize.py`` made of a data set by its name, with its names or pseudonyms.

    Items are those of the raw data set, in the order of the manifest, with the protected files in place of
    the raw ones. So training items have the raw data set's identities (``market1501_2``), and a training on
    both sets knows that they show the same people.

    Args:
        root: not used; the folder comes from ``DATASETS.PROTECTED``.
        folder: with the protected files and manifest.jsonl.

    Raises:
        UserError: when there is no such collection, it is unfinished, has no labels, lacks files, or a part
            of it is empty.
    """

    def __init__(self, root: str = "", *, folder: str, **kwargs):
        super().__init__(*read_protected_items(folder).values(), **kwargs)


def read_protected_items(folder: str | Path) -> dict[str, list[tuple]]:
    """fastreid's items of a protected collection.

    Args:
        folder: that ``tools/anonymize.py`` made of a data set by its name.

    Returns:
        "train", "query" and "gallery" → (path, identity, camera) of each.

    Raises:
        UserError: as :class:`ProtectedCollection`.
    """
    if not str(folder) or not Path(folder).expanduser().is_dir():
        raise UserError(
            f"DATASETS.PROTECTED is {str(folder)!r}, which is no folder; give one that tools/anonymize.py "
            "made of a data set"
        )
    folder = Path(folder).expanduser()
    manifest = read_manifest(folder / MANIFEST)
    if not manifest.complete:
        raise UserError(
            f"{folder} (DATASETS.PROTECTED) is unfinished; run the same tools/anonymize.py command again to "
            "finish it"
        )
    prefix = manifest.header.get("label_prefix")
    if not isinstance(prefix, str) or not all("labels" in entry for entry in manifest.entries.values()):
        raise UserError(
            f"{folder} (DATASETS.PROTECTED) has no labels: protect the data set by its name "
            "(tools/anonymize.py --input Market1501), or read a folder in Market-1501 naming with "
            "MarketFolder (DATASETS.FOLDER)"
        )
    if lost := [path for path in manifest.entries if not (folder / path).is_file()]:
        raise UserError(
            f"{folder} (DATASETS.PROTECTED) lacks {some_of(lost, 1)} of its manifest; run the same "
            "tools/anonymize.py command again to make what is lost"
        )
    items: dict[str, list[tuple]] = {part: [] for part in PARTS}
    for path, entry in manifest.entries.items():
        for part, *label in entry["labels"]:
            if part == "train" and prefix:
                label = [f"{prefix}{value}" for value in label]
            items[part].append((str(folder / path), *label))
    if empty := [part for part in PARTS if not items[part]]:
        raise UserError(f"{folder} (DATASETS.PROTECTED) holds no {' and no '.join(empty)} images")
    if manifest.failed:
        logger.warning(
            "%s lacks %d of the raw data set's images, which could not be protected",
            folder,
            len(manifest.failed),
        )
    return items
