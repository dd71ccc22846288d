"""Building an index: features of a gallery's pictures, or its templates; then the kind that was asked for."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing

import faiss
import numpy as np

from ..core.errors import UserError
from ..core.members import TarMember
from ..core.remote import Place
from ..evaluation.neighbours import as_float32
from ..keys.pairs import PrivateKey
from .extract import Extractor
from .features import Engine, Look, Looked, gallery_features
from .gallery import gallery_root, gallery_source, unsearched
from .index import EFFORT, GalleryIndex, check_kind, flat_index, inexact_index
from .measure import compare_with_exact
from .templates import gallery_templates


def build_index(
    gallery: str | Place,
    extract: Extractor,
    kind: str = "flat",
    metric: str = "",
    *,
    protect: bool = False,
    batch_size: int = 64,
    engine: Engine | None = None,
) -> GalleryIndex:
    """Index the pictures of a gallery.

    Files that cannot be read, and folders that cannot be searched, are in ``left_out`` of the result. Beside
    the features, which every kind is made from, only the batches that are worked on are in memory. Their
    bytes depend neither on the number of cores nor on the engine.

    Example:
        >>> index = build_index("gallery", load_extractor("output/demo/model_best.pth"))  # doctest: +SKIP

    Args:
        gallery: of raw images, protected ones, or both: as of
            :func:`fastreid_privacy.retrieval.gallery.gallery_source`.
        extract: the model.
        kind: "flat", "ivfpq" or "hnsw"; the latter two are measured against the exact search.
        metric: "cosine" or "euclidean"; by default the one of the model's config.
        protect: put every image through the model's anonymizer first.
        batch_size: images at a time.
        engine: what makes the features; None: threads of this process, as many as there are cores.

    Raises:
        UserError: for a gallery without readable images, too few images for the kind, or a model without what
            is asked of it.
    """
    source, metric = gallery_source(gallery), metric or extract.metric
    if protect:
        extract.check_anonymizes(source)
    check_kind(kind, len(source.paths))
    root, left_out = gallery_root(gallery), unsearched(source)
    look = Look(extract, protect)
    with closing(gallery_features(source, look, batch_size=batch_size, engine=engine)) as batches:
        flat, indexed = _filled(batches, metric, left_out)
    if flat is None:
        raise UserError(
            f"gallery {root}: none of its {len(source.paths)} images can be read; the first: "
            f"{left_out[source.paths[0]]}"
        )
    return _of_kind(
        GalleryIndex(flat, kind, metric, indexed, root, extract.fingerprint, protect, left_out), flat
    )


def build_from_templates(
    gallery: str | Place,
    key: PrivateKey,
    kind: str = "flat",
    metric: str = "",
    *,
    model: str | None = None,
) -> GalleryIndex:
    """Index a folder of protected files by the templates that they carry; no network is run.

    Files without a template that the key opens, and those of another model, are in ``left_out``.

    Args:
        gallery: the folder, of this machine or of a store.
        key: the search key.
        kind, metric: as of :func:`build_index`, but cosine by default.
        model: fingerprint of the Re-ID model that must have made the templates; None: the one of the first.

    Raises:
        UserError: for a folder without images, too few for the kind, or none with a template; for tar files.
    """
    source, metric = gallery_source(gallery), metric or "cosine"
    if any(isinstance(file, TarMember) for file in source.listed.values()):
        raise UserError(
            f"gallery {source.root} is of tar files, and templates are read beside files, too: unpack them"
        )
    check_kind(kind, len(source.paths))
    root, left_out = gallery_root(gallery), unsearched(source)

    def batches() -> Iterable[Looked]:
        nonlocal model
        for path, found in gallery_templates(root, source.paths, key, model):
            if isinstance(found, UserError):
                yield Looked([], np.empty((0, 0), np.float32), {path: f"image {root / path}: {found}"})
            else:
                model = found.model
                yield Looked([path], found.feature[None], {})

    flat, indexed = _filled(batches(), metric, left_out)
    if flat is None or model is None:
        raise UserError(
            f"gallery {root}: none of its {len(source.paths)} images has a template; the first: "
            f"{left_out[source.paths[0]]}"
        )
    return _of_kind(GalleryIndex(flat, kind, metric, indexed, root, model, False, left_out), flat)


def _filled(
    batches: Iterable[Looked], metric: str, left_out: dict[str, str]
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
