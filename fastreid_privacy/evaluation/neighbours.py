"""The nearest images of each image, exact, by FAISS: what query expansion and re-ranking start from.

Both sides are read in parts, so features kept as float16, or mapped from a file, are never converted as a
whole, and no matrix of all distances is made.
"""

from __future__ import annotations

from collections.abc import Callable

import faiss
import numpy as np
import torch
from torch import Tensor

from ..core.errors import UserError
from .distances import METRICS, choose_device

QUERY_BYTES, GALLERY_BYTES = 64 * 2**20, 256 * 2**20  # of one part, as float32
# (queries, gallery, k) → distances or inner products, and indices
Search = Callable[[np.ndarray, np.ndarray, int], tuple[np.ndarray, np.ndarray]]
MOST_ON_GPU = 2048  # neighbours that FAISS's GPU search can give


def nearest(
    queries: np.ndarray | Tensor,
    gallery: np.ndarray | Tensor,
    k: int,
    device: str = "auto",
    *,
    metric: str = "euclidean",
    query_bytes: int = QUERY_BYTES,
    gallery_bytes: int = GALLERY_BYTES,
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest gallery images of each query.

    Args:
        queries: Q×D finite features of any float type; a memory-mapped array is read part by part.
        gallery: G×D.
        k: how many, 1–G.
        device: where they are searched: "cpu", "cuda" or "cuda:N"; "auto": a GPU where there is one. The CPU
            does it where FAISS was built without GPUs, and where k is above 2,048.
        metric: "euclidean" (squared) or "cosine".
        query_bytes, gallery_bytes: memory for one part of each side as float32.

    Returns:
        Distances Q×k float32, ascending: squared Euclidean, or 1 − cosine (features of zeros have a cosine of
        0). Gallery indices Q×k int64. Equal distances are in gallery order; where place k is shared, which of
        these images is left out is not defined.

    Raises:
        UserError: for an unknown metric or device, sides of different dimensions, or k outside 1–G.

    Example:
        >>> nearest(np.eye(3), np.eye(3)[::-1], 1)[1].ravel()
        array([2, 1, 0])
    """
    if metric not in METRICS:
        raise UserError(f"unknown retrieval metric {metric!r}: choose {' or '.join(METRICS)}")
    queries, gallery = as_array(queries), as_array(gallery)
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1]:
        raise UserError(
            f"neighbours are searched among Q×D and G×D features of one model: got {queries.shape} and "
            f"{gallery.shape}"
        )
    if not 1 <= k <= len(gallery):
        raise UserError(
            f"{k} neighbours of each image were asked for among {len(gallery)} images: give 1 to "
            f"{len(gallery)}"
        )
    search = _search_of(device, k, metric)
    distances = np.empty((len(queries), k), dtype=np.float32)
    indices = np.empty((len(queries), k), dtype=np.int64)
    row_bytes = 4 * queries.shape[1]
    rows, part = max(1, query_bytes // row_bytes), max(1, gallery_bytes // row_bytes)
    for offset in range(0, len(gallery), part):
        candidates = as_float32(gallery[offset : offset + part], metric)
        for start in range(0, len(queries), rows):
            block = slice(start, min(start + rows, len(queries)))
            found = min(k, len(candidates))
            near, places = search(as_float32(queries[block], metric), candidates, found)
            if metric == "cosine":
                near = 1 - near
            places += offset
            if offset:  # what is already there comes first, and is earlier in the gallery
                known = min(k, offset)
                near = np.concatenate([distances[block, :known], near], axis=1)
                places = np.concatenate([indices[block, :known], places], axis=1)
            order = np.lexsort((places, near), axis=1)[:, :k]
            distances[block, : order.shape[1]] = np.take_along_axis(near, order, axis=1)
            indices[block, : order.shape[1]] = np.take_along_axis(places, order, axis=1)
    return distances, indices


def as_array(features: np.ndarray | Tensor) -> np.ndarray:
    """Features as an array on the CPU in their own type, without a copy where possible.

    numpy has no bfloat16, which becomes float32.
    """
    if not isinstance(features, Tensor):
        return np.asarray(features)
    features = features.detach().cpu()
    return (features.float() if features.dtype == torch.bfloat16 else features).numpy()


def as_float32(rows: np.ndarray, metric: str) -> np.ndarray:
    """Some rows as a contiguous float32 array; for the cosine of length 1, but for rows of zeros."""
    rows = np.ascontiguousarray(rows, dtype=np.float32)
    if metric == "cosine":
        rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return rows


def _search_of(device: str, k: int, metric: str) -> Search:
    """FAISS's search on this device."""
    kind = faiss.METRIC_INNER_PRODUCT if metric == "cosine" else faiss.METRIC_L2
    chosen = choose_device(device)
    if chosen.type != "cuda" or k > MOST_ON_GPU or not faiss.get_num_gpus():
        return lambda queries, gallery, count: faiss.knn(queries, gallery, count, kind)
    resources, number = faiss.StandardGpuResources(), -1 if chosen.index is None else chosen.index
    return lambda queries, gallery, count: faiss.knn_gpu(
        resources, queries, gallery, count, metric=kind, device=number
    )
