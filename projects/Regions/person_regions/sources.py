"""Where a part of a person is: by the user's file, else by the renderer, else as a part of the crop."""

from __future__ import annotations

import logging
import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from fastreid_privacy import UserError
from fastreid_privacy.core.pictures import read_picture
from fastreid_privacy.data.datasets import path_below_root
from fastreid_privacy.desensitize import Region
from fastreid_privacy.desensitize.desensitizer import REGIONS_KEY as KEY

from .coco import CocoFile
from .files import MaskFolder, MotFile
from .parts import part_of_crop
from .rendered import rendered_part

RENDERER, CROP = "renderer", "crop"  # in the manifest; a file's words are its own
KEPT = 1 << 14  # regions that are remembered, each one bit a pixel

logger = logging.getLogger("fastreid_privacy.regions")

Told = MaskFolder | CocoFile | MotFile


class PersonRegions:
    """Finds a part of the person in image files.

    Where a file is named, it has to tell of every image. Else rendered people are known by their renderer,
    and of all others the part of the crop is taken that the part has of a person who fills it.

    Args:
        part: of :data:`.parts.PARTS`.
        file: ``DATASETS.REGIONS``: a folder of masks, a COCO file (.json) or a MOT file; "": none.

    Attributes:
        about: for the manifest: the part, and what file told it.

    Raises:
        UserError: when the file is missing or is none of these.
    """

    def __init__(self, part: str, file: str = ""):
        self.part = part
        self.told = read_told(Path(file)) if file else None
        self.about = {"part": part, **(self.told.about if self.told else {})}
        self._kept: OrderedDict[Path, tuple[np.ndarray, tuple[int, int], str]] = OrderedDict()
        self._lock = threading.Lock()
        self._warned = False

    def __getstate__(self) -> dict[str, Any]:
        """For copies, which another process may use: they have a lock of their own and remember nothing."""
        return {name: value for name, value in vars(self).items() if name not in ("_lock", "_kept")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.Lock(), _kept=OrderedDict())

    def __call__(self, path: Path, name: str | None, size: tuple[int, int] | None) -> Region:
        """The part of the person in one image: see :class:`fastreid_privacy.desensitize.RegionFinder`."""
        if size is not None:  # of a file that is looked at once
            return self._found(path, name, size)
        with self._lock:
            kept = self._kept.get(path)
        if kept is not None:
            bits, size, source = kept
            return Region(np.unpackbits(bits, count=size[0] * size[1]).reshape(size).astype(bool), source)
        mask, source = found = self._found(path, name, read_picture(path).shape[:2])
        with self._lock:
            self._kept[path] = np.packbits(mask), mask.shape, source
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return found

    def _found(self, path: Path, name: str | None, size: tuple[int, int]) -> Region:
        if self.told is not None:
            mask, source = self.told(self.part, name or name_of(path), size)
            if not mask.any():
                raise UserError(
                    f"the {self.part} of those whom {KEY} {self.told.path} marks lies outside of the image: "
                    "nothing would be hidden"
                )
            return Region(mask, source)
        mask = rendered_part(self.part, path)
        if mask is not None and mask.shape == size:
            return Region(mask, RENDERER)
        return self.untold(path, size)

    def untold(self, path: Path, size: tuple[int, int]) -> Region:
        """The part in an image of which nothing tells where it is."""
        if not self._warned:
            self._warned = True
            logger.warning(
                "nothing tells where the %s is in %s and maybe others: it is taken where it is expected in "
                "the crop; %s names a file that tells it",
                self.part.replace("_", " "),
                path,
                KEY,
            )
        return Region(part_of_crop(self.part, size), CROP)


def read_told(path: Path) -> Told:
    """What a file or folder of the user's tells, by its kind.

    Raises:
        UserError: when it is missing or not as it should be.
    """
    if path.is_dir():
        return MaskFolder(path)
    if not path.is_file():
        raise UserError(
            f"{KEY} {path} does not exist; give a folder of masks, a COCO file (.json) or a MOT file"
        )
    return CocoFile(path) if path.suffix.lower() == ".json" else MotFile(path)


def name_of(path: Path) -> str:
    """What an image is called in the user's file: its path below FASTREID_DATASETS, else folder and file."""
    return path_below_root(path) or "/".join(Path(os.path.abspath(path)).parts[-2:])
