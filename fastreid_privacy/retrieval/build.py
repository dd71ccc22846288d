"""Building an index: a folder's features, batch by batch, then the kind of index that was asked for."""

from __future__ import annotations

from pathlib import Path

import faiss

from ..core.errors import UserError
from ..evaluation.neighbours import as_float32
from .extract import Extractor
from .gallery import gallery_features, gallery_files
from .index import EFFORT, GalleryIndex, check_kind, flat_index, inexact_index
from .measure import compare_with_exact


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
    paths, _, unread = gallery_files(root)
    check_kind(kind, len(paths))
    flat: faiss.IndexFlat | None = None
    indexed: list[str] = []
    left_out = {path: f"folder {root / path} was not searched: {reason}" for path, reason in unread.items()}
    batches = gallery_features(root, paths, extract, protect=protect, batch_size=batch_size)
    for read, features, reasons in batches:
        left_out.update(reasons)
        if read:
            flat = flat or flat_index(features.shape[1], metric)
            flat.add(as_float32(features, metric))
            indexed += read
    if flat is None:
        raise UserError(
            f"gallery {root}: none of its {len(paths)} images can be read; the first: {left_out[paths[0]]}"
        )
    index = GalleryIndex(flat, kind, metric, indexed, root, extract.fingerprint, protect, left_out)
    if kind != "flat":
        index.searched, index.settings = inexact_index(flat, kind)
        index.measured = compare_with_exact(index.searched, flat, kind, index.settings[EFFORT[kind]])
    return index
