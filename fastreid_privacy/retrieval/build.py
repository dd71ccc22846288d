"""Building an index: features of a folder's pictures, or its templates; then the kind that was asked for."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import faiss
import numpy as np

from ..core.errors import UserError
from ..evaluation.neighbours import as_float32
from ..keys.pairs import PrivateKey
from .extract import Extractor
from .gallery import gallery_features, gallery_files
from .index import EFFORT, GalleryIndex, check_kind, flat_index, inexact_index
from .measure import compare_with_exact
from .templates import gallery_templates


def build_index(
    gallery: str | Path,
    extract: Extractor,
    kind: str = "flat",
    metric: str = "",
    *,
    protect: bool = False,
    batch_size: int = 64,
) -> GalleryIndex:
    """Index the pictures of a folder, at any depth.

    Files that cannot be read, and folders that cannot be searched, are in ``left_out`` of the result. Beside
    the features, which every kind is made from, only one batch is in memory.

    Example:
        >>> index = build_index("gallery", load_extractor("output/demo/model_best.pth"))  # doctest: +SKIP

    Args:
        gallery: the folder, of raw images, protected ones, or both.
        extract: the model.
        kind: "flat", "ivfpq" or "hnsw"; the latter two are measured against the exact search.
        metric: "cosine" or "euclidean"; by default the one of the model's config.
        protect: put every image through the model's anonymizer first.
        batch_size: images at a time.

    Raises:
        UserError: for a folder without readable images, too few images for the kind, or a model without what
            is asked of it.
    """
    root, metric = Path(gallery).absolute(), metric or extract.metric
    paths, left_out = _files(root, kind)
    batches = gallery_features(root, paths, extract, protect=protect, batch_size=batch_size)
    flat, indexed = _filled(batches, metric, left_out)
    if flat is None:
        raise UserError(
            f"gallery {root}: none of its {len(paths)} images can be read; the first: {left_out[paths[0]]}"
        )
    return _of_kind(
        GalleryIndex(flat, kind, metric, indexed, root, extract.fingerprint, protect, left_out), flat
    )


def build_from_templates(
    gallery: str | Path,
    key: PrivateKey,
    kind: str = "flat",
    metric: str = "",
    *,
    model: str | None = None,
) -> GalleryIndex:
    """Index a folder of protected files by the templates that they carry; no network is run.

    Files without a template that the key opens, and those of another model, are in ``left_out``.

    Args:
        gallery: the folder.
        key: the search key.
        kind, metric: as of :func:`build_index`, but cosine by default.
        model: fingerprint of the Re-ID model that must have made the templates; None: the one of the first.

    Raises:
        UserError: for a folder without images, too few for the kind, or none with a template.
    """
    root, metric = Path(gallery).absolute(), metric or "cosine"
    paths, left_out = _files(root, kind)

    def batches() -> Iterable[tuple[list[str], np.ndarray, dict[str, str]]]:
        nonlocal model
        for path, found in gallery_templates(root, paths, key, model):
            if isinstance(found, UserError):
                yield [], np.empty((0, 0), np.float32), {path: f"image {root / path}: {found}"}
            else:
                model = found.model
                yield [path], found.feature[None], {}

    flat, indexed = _filled(batches(), metric, left_out)
    if flat is None or model is None:
        raise UserError(
            f"gallery {root}: none of its {len(paths)} images has a template; the first: {left_out[paths[0]]}"
        )
    return _of_kind(GalleryIndex(flat, kind, metric, indexed, root, model, False, left_out), flat)


def _files(root: Path, kind: str) -> tuple[list[str], dict[str, str]]:
    """The images of a folder, enough for the kind of index, and why some folders were not searched."""
    paths, _, unread = gallery_files(root)
    check_kind(kind, len(paths))
    return paths, {
        path: f"folder {root / path} was not searched: {reason}" for path, reason in unread.items()
    }


def _filled(
    batches: Iterable[tuple[list[str], np.ndarray, dict[str, str]]], metric: str, left_out: dict[str, str]
) -> tuple[faiss.IndexFlat | None, list[str]]:
    """A flat index of features, None of none, and the paths in it; reasons go to ``left_out``."""
    flat: faiss.IndexFlat | None = None
    indexed: list[str] = []
    for read, features, reasons in batches:
        left_out.update(reasons)
        if read:
            flat = flat or flat_index(features.shape[1], metric)
            flat.add(as_float32(features, metric))
            indexed += read
    return flat, indexed


def _of_kind(index: GalleryIndex, flat: faiss.IndexFlat) -> GalleryIndex:
    """An index that searches a flat one, as the kind that it is to be."""
    kind = index.kind
    if kind != "flat":
        index.searched, index.settings = inexact_index(flat, kind)
        index.measured = compare_with_exact(index.searched, flat, kind, index.settings[EFFORT[kind]])
    return index
