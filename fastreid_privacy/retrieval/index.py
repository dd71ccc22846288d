"""FAISS indexes of gallery features, and searching them.

The kinds are flat (exact), ivfpq (compressed) and hnsw (a graph of neighbours). Every kind begins as a flat
index, filled batch by batch; the others are made from it when it is complete.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import faiss
import numpy as np

from ..core.errors import UserError
from ..core.remote import Place
from ..evaluation.distances import METRICS
from ..evaluation.neighbours import as_float32
from .faiss_bytes import CODE_BITS

KINDS = ("flat", "ivfpq", "hnsw")
# images: ivfpq learns so many codes for every part; an inexact kind is measured on images without themselves
LEAST = {"flat": 1, "ivfpq": 2**CODE_BITS, "hnsw": 2}
ADVISED_PER_CELL = 39  # images per cell that FAISS asks for
HNSW_LINKS, HNSW_BUILD_EFFORT = 32, 200
EFFORT = {"ivfpq": "nprobe", "hnsw": "ef"}  # what a search of each inexact kind may be told to spend
BLOCK = 16  # queries; from 20 on FAISS multiplies matrices, which rounds equal features differently


@dataclass
class GalleryIndex:
    """A gallery that can be searched.

    Attributes:
        searched: the FAISS index; entry i is that of ``paths[i]``.
        kind: one of ``KINDS``.
        metric: "cosine" (features have length 1) or "euclidean".
        paths: of the images, relative to ``root``, sorted.
        root: the gallery's folder, or the tar files that it is; an index file has it without secrets.
        fingerprint: of the Re-ID model that made the features
            (:func:`fastreid_privacy.checkpoints.fingerprints.reid_fingerprint`).
        protected: whether the images went through the anonymizer first.
        left_out: relative path → why that file is not in the index; of a folder that was not searched, the
            path ends in "/".
        settings: parameters of an inexact kind.
        measured: figures of :func:`.measure.compare_with_exact`, for an inexact kind.
    """

    searched: faiss.Index
    kind: str
    metric: str
    paths: list[str]
    root: Place
    fingerprint: str
    protected: bool = False
    left_out: dict[str, str] = field(default_factory=dict)
    settings: dict[str, int] = field(default_factory=dict)
    measured: dict[str, float] = field(default_factory=dict)

    def search(
        self, features: np.ndarray, top: int, effort: int | None = None
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """The nearest gallery images of each query, the best first.

        Equal scores of a flat index are in the order of ``paths``.

        Args:
            features: Q×D, as the extractor gives them.
            top: how many; at most all are given. An inexact kind may find fewer.
            effort: ``nprobe`` of ivfpq (cells that are looked through) or ``ef`` of hnsw (candidates that are
                kept); the stored one by default.

        Returns:
            For each query the scores (cosine, or Euclidean distance; estimates from compressed features for
            ivfpq), float32, and the indices, int64.

        Raises:
            UserError: for features of another dimension.
        """
        if features.shape[1] != self.searched.d:
            raise UserError(
                f"the query has {features.shape[1]} dimensions, the index {self.searched.d}: build it "
                "again with this model"
            )
        queries, top = as_float32(features, self.metric), min(top, len(self.paths))
        if self.kind == "flat":
            found = [
                pair
                for start in range(0, len(queries), BLOCK)
                for pair in _exact(self.searched, queries[start : start + BLOCK], top)
            ]
        else:
            # nothing is found beyond all images, or all cells
            most = getattr(self.searched, "nlist", len(self.paths))
            effort = min(effort or self.settings[EFFORT[self.kind]], most)
            parameters = search_parameters(self.kind, effort)
            found = list(zip(*self.searched.search(queries, top, params=parameters), strict=True))
        found = [(scores[indices >= 0], indices[indices >= 0]) for scores, indices in found]
        if self.metric == "cosine":
            return found
        return [(np.sqrt(np.maximum(scores, 0)), indices) for scores, indices in found]


def flat_index(dimension: int, metric: str) -> faiss.IndexFlat:
    """An empty exact index for features of ``as_float32``.

    Raises:
        UserError: for another metric than cosine and euclidean.
    """
    if metric not in METRICS:
        raise UserError(f"unknown metric {metric!r}: choose {' or '.join(METRICS)}")
    return faiss.IndexFlatIP(dimension) if metric == "cosine" else faiss.IndexFlatL2(dimension)


def stored_features(flat: faiss.IndexFlat) -> np.ndarray:
    """The N×D features inside a flat index, without a copy: valid as long as the index lives."""
    return faiss.rev_swig_ptr(flat.get_xb(), flat.ntotal * flat.d).reshape(flat.ntotal, flat.d)


def check_kind(kind: str, count: int) -> None:
    """Refuse an unknown kind of index, and one that cannot be made of so few images.

    Raises:
        UserError: naming the kinds, or the least number of images.
    """
    if kind not in KINDS:
        raise UserError(f"unknown kind of index {kind!r}: choose one of {', '.join(KINDS)}")
    if count < LEAST[kind]:
        raise UserError(
            f"an {kind} index wants at least {LEAST[kind]} images, and there are {count}: choose --kind "
            "flat, which is exact and fast enough for so few"
        )


def inexact_index(flat: faiss.IndexFlat, kind: str) -> tuple[faiss.Index, dict[str, int]]:
    """An index of another kind over the features of a flat one.

    Args:
        flat: complete.
        kind: "ivfpq": features are compressed to D/4 bytes and lie in about 4√N cells; "hnsw": they stay
            whole, in a graph.

    Returns:
        the index and its parameters, with the effort of a search under the name of ``EFFORT``.

    Raises:
        UserError: as :func:`check_kind`.
    """
    check_kind(kind, flat.ntotal)
    count, dimension, metric, features = flat.ntotal, flat.d, flat.metric_type, stored_features(flat)
    if kind == "hnsw":
        graph = faiss.IndexHNSWFlat(dimension, HNSW_LINKS, metric)
        graph.hnsw.efConstruction = HNSW_BUILD_EFFORT
        graph.add(features)
        return graph, {"links": HNSW_LINKS, "ef_construction": HNSW_BUILD_EFFORT, "ef": 128}
    cells = max(1, min(round(4 * math.sqrt(count)), count // ADVISED_PER_CELL))
    parts = next(parts for parts in range(max(1, dimension // 4), 0, -1) if dimension % parts == 0)
    quantizer = faiss.IndexFlat(dimension, metric)
    compressed = faiss.IndexIVFPQ(quantizer, dimension, cells, parts, CODE_BITS, metric)
    # what is searched is what was trained on: few points per code lose nothing
    compressed.pq.cp.min_points_per_centroid = 1
    compressed.train(features)
    compressed.add(features)
    return compressed, {"cells": cells, "bytes": parts, "nprobe": max(1, min(cells, max(8, cells // 16)))}


def search_parameters(kind: str, effort: int) -> faiss.SearchParameters:
    """FAISS's parameters for the effort of one search, ``EFFORT``."""
    if kind == "hnsw":  # FAISS's types lack both
        return faiss.SearchParametersHNSW(efSearch=effort)  # type: ignore[attr-defined]
    return faiss.SearchParametersIVF(nprobe=effort)  # type: ignore[call-arg]


def _exact(index: faiss.Index, queries: np.ndarray, top: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The ``top`` best of a flat index, by score, then by index.

    FAISS's own selection promises no order among equals.
    """
    larger = index.metric_type == faiss.METRIC_INNER_PRODUCT
    scores, indices = index.search(queries, min(top + 1, index.ntotal))
    answers = []
    for row, query in enumerate(queries):
        found, places = scores[row], indices[row]
        if len(found) > top and found[top] == found[top - 1]:  # equals beyond the end: fetch all, then choose
            just_beyond = np.nextafter(found[top], np.float32(-np.inf if larger else np.inf))
            _, found, places = index.range_search(query[None], float(just_beyond))
        order = np.lexsort((places, -found if larger else found))[:top]
        answers.append((found[order], places[order]))
    return answers
