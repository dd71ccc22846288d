"""Market-1501's protocol: which gallery images match a query, and which are left out of its ranking."""

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
    def checked(cls, given: tuple[ArrayLike, ArrayLike], count: int, side: str) -> Labels:
        """Identities and cameras of ``count`` features.

        Raises:
            UserError: when there are more or fewer of them.
        """
        pids, camids = given
        labels = cls(np.asarray(pids), np.asarray(camids))
        for name, values in labels._asdict().items():
            if values.shape != (count,):
                raise UserError(
                    f"{side}_{name} has shape {values.shape} beside {count} {side} features: one value per "
                    "feature is needed"
                )
        return labels


class TrueMatches:
    """The gallery images of each query's identity: true matches, or left out under the query's own camera.

    Every other identity, distractors included, is wrong; identities are compared as they are.

    Args:
        query, gallery: labels of both sides.

    Attributes:
        counts: true matches of each query, Q.

    Raises:
        UserError: when no query has a true match.

    Reference:
        Zheng et al., Scalable Person Re-identification: A Benchmark, ICCV 2015, section 4.
    """

    def __init__(self, query: Labels, gallery: Labels):
        # In a gallery sorted by identity, a query's candidates stand next to each other.
        by_pid = np.argsort(gallery.pids, kind="stable")
        starts = np.searchsorted(gallery.pids, query.pids, "left", sorter=by_pid)
        ends = np.searchsorted(gallery.pids, query.pids, "right", sorter=by_pid)
        # One entry for each pair of a query (its row) and a candidate (its gallery image), sorted by query.
        rows = np.repeat(np.arange(len(starts)), ends - starts)
        images = by_pid[_ranges(starts, ends)]
        own_camera = gallery.camids[images] == query.camids[rows]
        self._left_out = rows[own_camera], images[own_camera]
        self._rows, self._images = rows[~own_camera], images[~own_camera]
        self.counts = np.bincount(self._rows, minlength=len(starts))
        if not len(self._rows):
            raise _nothing_to_rank(query.camids, gallery.camids)

    def of(self, start: int, stop: int) -> np.ndarray:
        """Gallery indices of the true matches of the queries from start to stop.

        Returns:
            rows×M, filled up with −1; at least one column.
        """
        counts = self.counts[start:stop]
        first, last = np.searchsorted(self._rows, (start, stop))
        filled = np.full((len(counts), max(counts.max(initial=0), 1)), -1, dtype=np.int64)
        filled[np.arange(filled.shape[1]) < counts[:, None]] = self._images[first:last]
        return filled

    def left_out_of(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """What is left out of the rankings of the queries from start to stop.

        Returns:
            The row, counted from start, and the gallery index of each.
        """
        rows, images = self._left_out
        first, last = np.searchsorted(rows, (start, stop))
        return rows[first:last] - start, images[first:last]


def _ranges(starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The whole numbers of several ranges, one range after the other.

    Example:
        >>> _ranges(np.array([7, 2, 0]), np.array([9, 2, 3]))
        array([7, 8, 0, 1, 2])
    """
    sizes = ends - starts
    begins = np.cumsum(sizes) - sizes  # where each range begins in the result
    return np.arange(sizes.sum()) + np.repeat(starts - begins, sizes)


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
