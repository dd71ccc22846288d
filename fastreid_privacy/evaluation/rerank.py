"""k-reciprocal re-ranking (fastreid's ``TEST.RERANK``), in linear memory.

Each image is encoded as a sparse vector over all images: its weights on those that are mutually near. The
Jaccard distance of two encodings says how much the neighbourhoods of two images differ. Only queries are
compared with the gallery, a few at a time.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.sparse import csr_array, vstack
from torch import Tensor

from ..core.errors import UserError
from .neighbours import as_array, as_float32, nearest

PAIR_BYTES = 64 * 2**20  # of the features whose distances are computed at once


class JaccardDistances:
    """The Jaccard distances of queries to a gallery. What is ranked is (1 − λ)·Jaccard + λ·original distance.

    Fewer than ``k1`` images are all neighbours of each other. (fastreid takes the last image for each that is
    missing.)

    Args:
        query: Q×D finite features of any float type.
        gallery: G×D.
        k1: images in a list of nearest ones, among which the image itself counts; at least 1.
        k2: how many of them an encoding is averaged over, at most k1; 1: none.
        metric: "euclidean", or "cosine": features are compared at unit length, as fastreid does where
            ``TEST.METRIC`` is cosine.
        device: where neighbours are searched, as of :func:`nearest`.

    Raises:
        UserError: when k1 or k2 is below 1.

    Example:
        >>> people = np.repeat(10 * np.eye(2), 3, axis=0)
        >>> JaccardDistances(people[::3], people, k1=4, k2=2).rows(0, 2)
        array([[0., 0., 0., 1., 1., 1.],
               [1., 1., 1., 0., 0., 0.]], dtype=float32)

    Reference:
        Zhong et al., Re-ranking Person Re-identification with k-reciprocal Encoding, CVPR 2017, sections
        3.2–3.4.
    """

    def __init__(
        self,
        query: np.ndarray | Tensor,
        gallery: np.ndarray | Tensor,
        *,
        k1: int = 20,
        k2: int = 6,
        metric: str = "euclidean",
        device: str = "auto",
    ):
        if k1 < 1 or k2 < 1:
            raise UserError(
                f"re-ranking was asked for with k1 {k1} and k2 {k2} (TEST.RERANK.K1, K2): give at least 1 "
                "for both"
            )
        images = np.concatenate([as_array(query), as_array(gallery)])
        neighbours = nearest(images, images, min(k1, len(images)), device, metric=metric)[1].astype(np.int32)
        encodings = _encodings(images, neighbours, k1, metric)
        if k2 > 1:  # local query expansion, section 3.4
            averaged = neighbours[:, :k2]
            encodings = _rows_of(averaged, np.float32(1 / averaged.shape[1])) @ encodings
        self._queries = encodings[: len(query)]
        # for each image, the gallery images that have it in their encoding
        self._images_with = encodings[len(query) :].T.tocsr()
        self._gallery_size = len(gallery)

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Distances of the queries from start to stop (not included): (stop − start)×G float32, 0–1."""
        distances = np.empty((stop - start, self._gallery_size), dtype=np.float32)
        for row, query in zip(distances, range(start, stop), strict=True):
            first, last = self._queries.indptr[query : query + 2]
            sharing = self._images_with[self._queries.indices[first:last]]
            own = np.repeat(self._queries.data[first:last], np.diff(sharing.indptr))
            # Encodings sum to 1: the sum of the larger weights is 2 minus that of the smaller ones.
            common = np.bincount(sharing.indices, np.minimum(own, sharing.data), minlength=self._gallery_size)
            row[:] = np.maximum(1 - common / (2 - common), 0)
        return distances


def _encodings(images: np.ndarray, neighbours: np.ndarray, k1: int, metric: str) -> csr_array:
    """Weights of each image on its expanded reciprocal neighbours (sections 3.2 and 3.3).

    Returns:
        N×N float32; each row sums to 1.
    """
    reciprocal = _reciprocal(neighbours)
    half = int(np.around(k1 / 2)) + 1  # of the list, and the image itself
    closest = _reciprocal(neighbours[:, :half])
    enough = 2 / 3 * np.diff(closest.indptr)
    closest_of = closest.T.tocsr()
    parts = []
    for rows in _row_blocks(np.diff(reciprocal.indptr), 4 * images.shape[1]):
        mutual = reciprocal[rows]
        # The candidates whose own closest images are mostly among the image's bring these along.
        candidates = (mutual @ closest_of).multiply(mutual).tocsr()
        candidates.data = (candidates.data > enough[candidates.indices]).astype(np.int32)
        candidates.eliminate_zeros()
        expanded = (mutual + candidates @ closest).tocsr()
        parts.append(_softmax(expanded, _squared_distances(images, rows, expanded, metric)))
    return vstack(parts, format="csr")


def _rows_of(columns: np.ndarray, value: np.generic) -> csr_array:
    """An N×N matrix with the value at the given columns of each row."""
    count, width = columns.shape
    ends = np.arange(0, columns.size + 1, width, dtype=np.int32 if columns.size < 2**31 else np.int64)
    return csr_array((np.full(columns.size, value), columns.ravel(), ends), shape=(count, count))


def _reciprocal(neighbours: np.ndarray) -> csr_array:
    """1 where two images are in each other's lists."""
    lists = _rows_of(neighbours, np.int32(1))
    return lists.multiply(lists.T.tocsr()).tocsr()


def _row_blocks(sizes: np.ndarray, row_bytes: int) -> Iterator[slice]:
    """Consecutive rows whose pairs fit PAIR_BYTES.

    An expansion may bring along about as many pairs again, or more where images repeat.
    """
    rows = max(1, int(PAIR_BYTES / (row_bytes * 2 * max(sizes.mean(), 1))))
    for start in range(0, len(sizes), rows):
        yield slice(start, min(start + rows, len(sizes)))


def _squared_distances(images: np.ndarray, rows: slice, pairs: csr_array, metric: str) -> np.ndarray:
    """Of each image of these rows to those that its row names."""
    own = as_float32(images[rows], metric)
    others = as_float32(images[pairs.indices], metric)
    difference = np.repeat(own, np.diff(pairs.indptr), axis=0)
    difference -= others
    return np.einsum("ij,ij->i", difference, difference)


def _softmax(pairs: csr_array, distances: np.ndarray) -> csr_array:
    """The matrix with softmax(−distance) over each row; rows without an entry stay empty."""
    sizes = np.diff(pairs.indptr)
    sizes, starts = sizes[sizes > 0], pairs.indptr[:-1][sizes > 0]
    if not len(starts):
        return pairs.astype(np.float32)
    weights = np.exp(np.repeat(np.minimum.reduceat(distances, starts), sizes) - distances)
    weights /= np.repeat(np.add.reduceat(weights, starts), sizes)
    return csr_array((weights, pairs.indices, pairs.indptr), shape=pairs.shape)
