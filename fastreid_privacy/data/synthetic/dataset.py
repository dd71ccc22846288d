"""Writing the rendered pedestrians in Market-1501's layout, once, and serving them as a fastreid data set."""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset
from tqdm import tqdm

from ...core.errors import UserError
from ...manifest import MANIFEST
from .plan import GALLERY, QUERY, TRAIN, SyntheticOptions, count_images, planned_images


def generate(folder: Path, options: SyntheticOptions) -> None:
    """Render and write a data set, unless ``folder`` exists.

    The images are written to a temporary folder beside ``folder`` that is renamed when the last one is there,
    so ``folder`` is either complete or absent; of several processes that write at once, the first to finish
    gives the folder and the others discard theirs.

    Args:
        folder: what to make, with ``bounding_box_train``, ``query`` and ``bounding_box_test`` inside.
        options: what is rendered.

    Raises:
        UserError: where nothing can be written.
    """
    folder = Path(folder)
    if folder.is_dir():
        return
    unfinished = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:12]}.unfinished")
    try:
        for part in (TRAIN, QUERY, GALLERY):
            (unfinished / part).mkdir(parents=True)
        for name, data in _images(options):
            (unfinished / name).write_bytes(data)
        try:
            unfinished.rename(folder)
        except OSError:
            # another process finished first: its images are the same
            if not folder.is_dir():
                raise
    except OSError as error:
        raise UserError(
            f"cannot write the embedded data set to {folder.parent}: {error.strerror or error}; "
            "set the environment variable FASTREID_DATASETS to a folder that can be written to"
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _images(options: SyntheticOptions) -> Iterator[tuple[str, bytes]]:
    """(name inside the data set's folder, JPEG file) of all images, with a progress bar."""
    for shot in tqdm(
        planned_images(options),
        total=count_images(options),
        desc="rendering SyntheticPedestrians",
        unit="image",
        mininterval=1.0,
    ):
        picture = shot.camera.shoot(shot.rng, shot.person, shot.track, shot.missed_by)
        yield shot.name, shot.camera.encode(picture)


@DATASET_REGISTRY.register()
class SyntheticPedestrians(ImageDataset):
    """Rendered pedestrians, written under ``root`` at first use.

    Training items hold strings (``syntheticpedestrians_12``, ``syntheticpedestrians_0``), query and gallery
    items whole numbers; cameras count from 0; files are in sorted order. Distractors have pid 0.

    Args:
        root: fastreid's data set folder.
        **kwargs: of :class:`SyntheticOptions`; others are for fastreid's ``ImageDataset``.

    Raises:
        UserError: where nothing can be written, or the data set is there and has lost images or got others.
    """

    _junk_pids = (0, -1)
    dataset_name = "syntheticpedestrians"

    def __init__(self, root: str | Path = "datasets", **kwargs) -> None:
        options = SyntheticOptions(
            **{each.name: kwargs.pop(each.name) for each in fields(SyntheticOptions) if each.name in kwargs}
        )
        self.folder = Path(root) / options.folder_name
        generate(self.folder, options)
        parts = [self._items(part) for part in (TRAIN, QUERY, GALLERY)]
        self._check_complete(sum(map(len, parts)), count_images(options))
        super().__init__(*parts, **kwargs)

    def _items(self, part: str) -> list[tuple]:
        items: list[tuple] = []
        for path in sorted((self.folder / part).glob("*.jpg")):
            name = re.match(r"(\d+)_c(\d+)s", path.name)
            if name is None:
                raise UserError(f"{path} is no image of the embedded data set: take it out of its folder")
            pid, camera, prefix = int(name[1]), int(name[2]) - 1, f"{self.dataset_name}_"
            items.append(
                (str(path), f"{prefix}{pid}", f"{prefix}{camera}")
                if part == TRAIN
                else (str(path), pid, camera)
            )
        return items

    def _check_complete(self, found: int, rendered: int) -> None:
        """Refuse a folder that has lost images since it was written, or got others."""
        if found == rendered:
            return
        remedy = "remove the folder, and it is made again at the next use"
        if (self.folder.parent / MANIFEST).exists():  # an output of anonymize, which may withhold some
            remedy = "protected files are read as the data set ProtectedCollection (DATASETS.PROTECTED)"
        raise UserError(
            f"{self.folder} has {found:,} JPEG images, and the data set that was rendered there "
            f"{rendered:,}: {remedy}"
        )
