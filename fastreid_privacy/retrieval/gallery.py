"""A folder of pictures: which images it holds, and their features batch by batch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ..core.errors import UserError
from ..core.folders import FolderImages, images_below
from ..core.pictures import open_picture
from .extract import Extractor


def gallery_files(root: Path) -> FolderImages:
    """Images of a folder at any depth, found as those of a collection are (:func:`images_below`).

    Raises:
        UserError: when it is no folder or holds no image.
    """
    if not root.is_dir():
        raise UserError(f"gallery {root} is no folder; name the folder of pictures with --gallery")
    return images_below(root, f"gallery {root}")


class _Pictures(Dataset):
    """(relative path, image or the reason why there is none)."""

    def __init__(self, root: Path, paths: Sequence[str], transform: Callable):
        self.root, self.paths, self.transform = root, paths, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[str, Tensor | str]:
        path = self.paths[index]
        try:
            return path, self.transform(open_picture(self.root / path))
        except UserError as error:
            return path, str(error)


def _batch(items: list[tuple[str, Tensor | str]]) -> tuple[list[str], Tensor | None, dict[str, str]]:
    """Paths and images of what could be read, and the reason for each path that could not."""
    images = [image for _, image in items if isinstance(image, Tensor)]
    read = [path for path, image in items if isinstance(image, Tensor)]
    reasons = {path: reason for path, reason in items if isinstance(reason, str)}
    return read, torch.stack(images) if images else None, reasons


def gallery_features(
    root: Path, paths: Sequence[str], extract: Extractor, *, protect: bool = False, batch_size: int = 64
) -> Iterator[tuple[list[str], np.ndarray, dict[str, str]]]:
    """Features of image files, with a progress bar where standard error is a terminal.

    Args:
        root: the folder.
        paths: relative to it.
        extract: the model.
        protect: put every image through the anonymizer first.
        batch_size: images at a time.

    Yields:
        For each batch, in the order of ``paths``: the n paths that could be read, their features n×D float32,
        and the reason for each path that could not.

    Raises:
        UserError: when features are not finite.
    """
    workers = min(extract.workers, os.cpu_count() or 1, -(-len(paths) // batch_size) - 1)
    loader = DataLoader(
        _Pictures(root, paths, extract.transform), batch_size, num_workers=workers, collate_fn=_batch
    )
    with tqdm(total=len(paths), unit=" images", desc="features", disable=None) as progress:
        for read, images, reasons in loader:
            features = np.empty((0, 0), np.float32)
            if images is not None:
                files = [str(root / path) for path in read]
                features = extract(extract.protect(images, files) if protect else images).numpy()
                bad = np.flatnonzero(~np.isfinite(features).all(1))
                if len(bad):
                    raise UserError(
                        f"the features of {root / read[bad[0]]} are not finite: the checkpoint's weights "
                        "are broken"
                    )
            progress.update(len(read) + len(reasons))
            yield read, features, reasons
