"""Market-1501's protocol: which gallery images are a query's true matches, and which are left out of its
ranking."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..core.errors import UserError


class Labels(NamedTuple):
    """Identity and camera of each image of one side, N each."""

    pids: np.ndarray
    camids: np.ndarray

    @classmethod
    def checked(cls, pids: ArrayLike, camids: ArrayLike, count: int, side: str) -> Labels:
        """Labels of ``count`` features.

        Raises:
            UserError: when there are more or fewer of them.
        """
        labels = cls(np.asarray(pids), np.asarray(camids))
        for name, values in labels._asdict().items():
            if values.shape != (count,):
                raise UserError(
                    f"{side}_{name} has shape {values.shape} beside {count} {side} features: one value per "
                    "feature is needed"
                )
        return labels


class TrueMatches:
    """The gallery images of each query's identity: under another camera true matches, under its own camera
    left out.

    Every other identity, distractors included, is wrong; identities are compared as they are.

    Args:
        query, gallery: labels of both sides.

    Raises:
        UserError: when no query has a true match.

    Reference:
        Zheng et al., Scalable Person Re-identification: A Benchmark, ICCV 2015, section 4.
    """

    def __init__(self, query: Labels, gallery: Labels):
        by_pid = np.argsort(gallery.pids, kind="stable")
        starts, ends = (
            np.searchsorted(gallery.pids, query.pids, side, sorter=by_pid) for side in ("left", "right")
        )
        sizes = ends - starts
        rows = np.repeat(np.arange(len(sizes)), sizes)
        images = by_pid[np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes) + starts[rows]]
        own_camera = gallery.camids[images] == query.camids[rows]
        self.left_out = (
            rows[own_camera],
            images[own_camera],
        )  # (query, gallery image) of each, sorted by query
        self._rows, self._images = rows[~own_camera], images[~own_camera]
        self.counts = np.bincount(self._rows, minlength=len(sizes))  # true matches of each query
        if not len(self._rows):
            raise _nothing_to_rank(query.camids, gallery.camids)

    def of(self, start: int, stop: int) -> np.ndarray:
        """Gallery indices of the true matches of the queries from start to stop: rows×M, filled up with −1;
        at least one column."""
        counts = self.counts[start:stop]
        first, last = np.searchsorted(self._rows, (start, stop))
        filled = np.full((len(counts), max(counts.max(initial=0), 1)), -1, dtype=np.int64)
        filled[np.arange(filled.shape[1]) < counts[:, None]] = self._images[first:last]
        return filled

    def left_out_of(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """(row from start, gallery index) of what is left out of the rankings of the queries from start to
        stop."""
        first, last = np.searchsorted(self.left_out[0], (start, stop))
        return self.left_out[0][first:last] - start, self.left_out[1][first:last]


def _nothing_to_rank(query_camids: np.ndarray, gallery_camids: np.ndarray) -> UserError:
    rule = "matches under the query's own camera do not count"
    cameras = np.union1d(query_camids, gallery_camids)
    if len(cameras) == 1:
        return UserError(
            f"all query and gallery images are from one camera ({cameras[0]}) and {rule}: add images of "
            "another camera"
        )
    return UserError(
        f"none of the {len(query_camids)} queries has its identity in the gallery under another camera, "
        f"and {rule}"
    )
