"""The images of a protected folder that show most, for a person's yes or no."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..collection.compare import compare, raw_files
from ..collection.pipeline import side_by_side
from ..core.errors import UserError
from ..core.packed import Folder
from ..core.pictures import read_picture, resize
from ..manifest import KEPT
from .release import Release

PSNR, SSIM = "PSNR", "SSIM"
IDENTICAL = 100.0  # dB, of a picture of which no pixel differs: higher than any other


@dataclass(frozen=True)
class Suspect:
    """An image that a person should look at.

    Attributes:
        path: of the protected file in its folder.
        figures: what is known of it: "PSNR" in dB and "SSIM" against the raw one, or "kept", the share that
            the guard left of the anonymizer's image.
        raw: the raw file; None: not at hand.
    """

    path: str
    figures: Mapping[str, float] = field(default_factory=dict)
    raw: Path | None = None

    def pictures(self, folder: Folder) -> tuple[np.ndarray, np.ndarray | None]:
        """The protected picture, and the raw one in its size; None where that is not at hand.

        Raises:
            UserError: when one cannot be read.
        """
        protected = read_picture(folder / self.path)
        if self.raw is None:
            return protected, None
        return protected, resize(read_picture(self.raw), protected.shape[:2])


def find_suspects(
    release: Release,
    most: int,
    raw: Path | None = None,
    pseudonym_key: bytes | None = None,
    workers: int | None = None,
) -> tuple[list[Suspect], str]:
    """The images that show most, the worst first.

    With the raw images at hand, these are the ones that come nearest to them: an image stands as high as the
    worse of its places by PSNR and by SSIM. Without, it is the share that the guard kept: an anonymizer that
    had to be held back showed too much. Where there is no guard either, nothing tells, and the first in the
    order of their names are given.

    Args:
        release: of :func:`.release.open_release`.
        most: how many.
        raw: folder of the raw images; None: not at hand.
        pseudonym_key: the key of the names, where they are pseudonyms.
        workers: threads; None: as many as there are cores.

    Returns:
        The images, and by what they were chosen, in a sentence.

    Raises:
        UserError: when it is a video, or the raw folder holds no image of these.
    """
    if "video" in release.manifest.header:
        raise UserError(f"{release.folder} holds a video; single images are judged of folders of images")
    entries = release.manifest.entries
    if raw is not None:
        found = _compared(release, raw, pseudonym_key, workers)
        kind = "They come nearest to their raw images, by PSNR or SSIM."
        missing = len(entries) - len(found)
        if missing:
            kind += (
                f" {missing:,} others could not be compared, for their files or raw images cannot be read."
            )
        return nearest_first(found)[:most], kind
    held = [Suspect(path, _kept(entry)) for path, entry in entries.items() if KEPT in entry]
    if held:
        held.sort(key=lambda each: (each.figures[KEPT], each.path))
        return held[:most], "The guard had to hold them back most. With --raw they are measured."
    first = [Suspect(path) for path in sorted(entries)]
    unknown = "Nothing tells which show most: they are the first by name. Give --raw to have them told."
    return first[:most], unknown


def _compared(release: Release, raw: Path, pseudonym_key: bytes | None, workers: int | None) -> list[Suspect]:
    raws = raw_files(raw, release.manifest.entries, pseudonym_key, "--raw")
    found = [Suspect(path, {}, raws[path]) for path in sorted(raws)]
    measured = side_by_side(found, lambda each: known_anew(each, release), workers)
    return [each for each in measured if each.figures]


def known_anew(suspect: Suspect, release: Release) -> Suspect:
    """An image with the figures of the file that is in the folder now.

    Args:
        suspect: the image; its figures are not asked.
        release: of :func:`.release.open_release`, which has a file of this path.

    Returns:
        The image; without figures where its file or its raw one cannot be read.
    """
    path, raw = suspect.path, suspect.raw
    if raw is None:
        return Suspect(path, _kept(release.manifest.entries[path]))
    try:
        protected, original = suspect.pictures(release.files)
        assert original is not None  # it has a raw file
        figures = compare(protected, original)
    except UserError:
        return Suspect(path, {}, raw)
    psnr, ssim = figures[PSNR], figures[SSIM]
    known = {PSNR: IDENTICAL if psnr is None else round(psnr, 2)}
    return Suspect(path, known if ssim is None else {**known, SSIM: round(ssim, 4)}, raw)


def _kept(entry: Mapping) -> dict[str, float]:
    """What the guard left of an image, for its figures."""
    return {KEPT: entry[KEPT]} if KEPT in entry else {}


def nearest_first(found: Sequence[Suspect]) -> list[Suspect]:
    """Sorted by the worse of their places by PSNR and by SSIM."""
    places = []
    for figure in (PSNR, SSIM):
        order = sorted(found, key=lambda each: (-each.figures.get(figure, -1.0), each.path))
        places.append({each.path: place for place, each in enumerate(order)})
    return sorted(found, key=lambda each: (min(place[each.path] for place in places), each.path))
