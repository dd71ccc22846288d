"""Distances of queries to a gallery, a block of queries at a time, on the CPU or a GPU.

Features are in memory or on the disk. The gallery is read in parts that are converted, scaled and multiplied
one after the other: features kept as float16, or mapped from a file, are never converted as a whole, and
beside one block of distances only one part of the gallery is held.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from ..config import resolve_device
from ..core.errors import UserError
from .products import products_on

METRICS = ("cosine", "euclidean")
BLOCK_BYTES = 256 * 2**20  # of distances
# Of the gallery, as float32: parts that stay in a processor's cache multiply faster than the whole.
PART_BYTES = 16 * 2**20
LONGEST = 2.0**126  # squared: the squared distance of two such features is still a float32
SAMPLED = 8  # columns that tell which rows may be equal


def choose_device(name: str) -> torch.device:
    """The torch device of "cpu", "cuda" or "cuda:N"; "auto": a GPU where there is one.

    Raises:
        UserError: for another name, or a GPU that is not there.
    """
    if str(name).partition(":")[0] not in ("auto", "cpu", "cuda"):
        raise UserError(f"device {name} is none that ranking can use; give auto, cpu, cuda or cuda:N")
    return torch.device(resolve_device(name, "device"))


class Features:
    """The features of one side, looked through once and then read in parts.

    Args:
        rows: N×D, an array (a memory-mapped one too) or a tensor, of any float type.
        side: "query" or "gallery", for messages.
        device: where parts are wanted.

    Attributes:
        rows: as they were given.
        dimension: D.
        part: how many rows one part has.
        squared_lengths: N float32, on the device.

    Raises:
        UserError: when they are not N×D with at least one row, or hold values that are not finite or too
            large to be squared.
    """

    def __init__(self, rows: np.ndarray | Tensor, side: str, device: torch.device):
        self.rows = _rows_of_real_numbers(rows, side)
        self.device, self.dimension = device, self.rows.shape[1]
        self.part = max(1, PART_BYTES // (4 * self.dimension))
        self.squared_lengths = torch.cat(
            [self.read(start).square_().sum(1) for start in range(0, len(self), self.part)]
        )
        bad = (~(self.squared_lengths <= LONGEST)).nonzero()[:, 0].tolist()  # NaN is not ≤ either
        if bad:
            raise UserError(
                f"{len(bad)} of {len(self)} {side} features hold NaN, infinite or overflowing values, the "
                f"first at index {bad[0]}: look at the weights and at that image"
            )

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, start: int, stop: int | None = None, unit_length: bool = False) -> Tensor:
        """Some rows as a new float32 tensor on the device.

        Args:
            start: the first row.
            stop: the row behind the last one; by default one part is read.
            unit_length: scale them to length 1; features of zeros stay as they are.
        """
        rows = self.rows[start : start + self.part if stop is None else stop]
        if isinstance(rows, Tensor):
            rows = rows.to(self.device, torch.float32, copy=True)
        else:
            with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite and is named
                rows = torch.from_numpy(rows.astype(np.float32)).to(self.device)
        if unit_length:
            rows /= self.squared_lengths[start : start + len(rows), None].sqrt().clamp_(min=1e-12)
        return rows

    def repeated(self) -> tuple[Tensor, Tensor]:
        """The rows that equal an earlier one.

        Returns:
            Their indices, and for each the index of the first row that it equals: n int64 each, on the
            device.
        """
        columns = np.linspace(0, self.dimension - 1, SAMPLED).astype(int)
        sampled = self.rows[:, columns]
        sampled = sampled.float().cpu().numpy() if isinstance(sampled, Tensor) else sampled.astype(np.float32)
        # digest of a row → the first that has it; whole rows could fill the memory
        first: dict[bytes, int] = {}
        pairs = []
        for index in _not_unique(sampled).tolist():
            row = self.read(index, index + 1).cpu().numpy()
            earlier = first.setdefault(hashlib.blake2b(row.tobytes(), digest_size=16).digest(), index)
            if earlier != index:
                pairs.append((index, earlier))
        copies, originals = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).to(self.device).unbind(1)
        return copies, originals


def _rows_of_real_numbers(rows: np.ndarray | Tensor, side: str) -> np.ndarray | Tensor:
    """The features as an array or a tensor without a graph, after checking type and shape."""
    checked: np.ndarray | Tensor
    if isinstance(rows, Tensor):
        checked, real = rows.detach(), not rows.is_complex()
    else:
        try:
            checked = np.asarray(rows)
        except ValueError as error:  # rows of different lengths
            raise UserError(f"{side} features are no N×D array: {error}") from None
        real = checked.dtype.kind in "fiub"
    if not real:
        raise UserError(f"{side} features are of type {checked.dtype}: real numbers are needed")
    if checked.ndim != 2 or not all(checked.shape):
        raise UserError(
            f"{side} features have shape {tuple(checked.shape)}: at least one row of at least one dimension "
            "is needed, N×D"
        )
    return checked


def _not_unique(rows: np.ndarray) -> np.ndarray:
    """Indices, ascending, of the rows that some other row equals, bit by bit.

    Rows that agree in the columns so far are one group. Two more columns, seen as one number of 64 bits, cut
    the groups finer, and a row that is left alone is done: sorting numbers is several times as fast as
    sorting whole rows, and few rows last beyond the first two columns.

    Args:
        rows: N×K float32, K even.

    Example:
        >>> _not_unique(np.array([[1, 2], [1, 3], [1, 2]], dtype=np.float32))
        array([0, 2])
    """
    indices, group = np.arange(len(rows)), np.zeros(len(rows), dtype=np.int64)
    for values in np.ascontiguousarray(rows).view(np.int64).T:
        value = np.unique(values[indices], return_inverse=True)[1]
        finer = group * len(rows) + value
        _, group, sizes = np.unique(finer, return_inverse=True, return_counts=True)
        shared = sizes[group] > 1
        indices, group = indices[shared], group[shared]
    return indices


class Gallery:
    """The features that queries are compared with; serves any number of query sets.

    Args:
        features: checked, on their device.
        metric: "cosine" or "euclidean".
    """

    def __init__(self, features: Features, metric: str):
        self.features, self.metric = features, metric
        self.copies, self.originals = features.repeated()
        self.products = products_on(features.device)

    def __len__(self) -> int:
        return len(self.features)

    def distances(
        self, queries: Sequence[Features], block_bytes: int | None = None
    ) -> Iterator[tuple[int, Tensor]]:
        """Distances of the queries of several sets, one set after the other.

        A block may hold the end of one set and the beginning of the next: every part of the gallery that is
        read serves all of them.

        Args:
            queries: Q×D each, of the gallery's dimension and device.
            block_bytes: memory for one block; by default 256 MiB.

        Yields:
            The place of a block's first query among all, and the block, rows×G float32 on the device: the
            negative cosine or the squared Euclidean distance. Equal gallery features are at equal distances.
            The block is overwritten by the next one, and may be by whoever gets it.
        """
        total = sum(map(len, queries))
        most = max(1, int(block_bytes or BLOCK_BYTES) // (4 * len(self)))
        rows = -(-total // -(-total // most))  # blocks of about equal size
        buffer = torch.empty((min(rows, total), len(self)), device=self.features.device)
        for start in range(0, total, rows):
            block = buffer[: min(rows, total - start)]
            self._fill(block, *_read_stacked(queries, start, start + len(block), self.metric))
            # A matrix product rounds equal columns differently, depending on where they stand.
            if len(self.copies):
                block[:, self.copies] = block[:, self.originals]
            yield start, block

    def _fill(self, block: Tensor, queries: Tensor, squared_lengths: Tensor) -> None:
        gallery = self.features
        with torch.autocast(gallery.device.type, enabled=False):
            for start in range(0, len(gallery), gallery.part):
                part = gallery.read(start, unit_length=self.metric == "cosine")
                columns = block[:, start : start + len(part)]
                self.products(queries, part, columns)
                if self.metric == "euclidean":
                    columns += squared_lengths[:, None]
                    columns += gallery.squared_lengths[start : start + len(part)]


def _read_stacked(sets: Sequence[Features], start: int, stop: int, metric: str) -> tuple[Tensor, Tensor]:
    """Some queries of several sets, times the factor of their products in a distance; squared lengths."""
    rows, lengths, offset = [], [], 0
    for features in sets:
        first, last = max(start - offset, 0), min(stop - offset, len(features))
        if first < last:
            rows.append(features.read(first, last, unit_length=metric == "cosine"))
            lengths.append(features.squared_lengths[first:last])
        offset += len(features)
    return torch.cat(rows).mul_(-1 if metric == "cosine" else -2), torch.cat(lengths)
