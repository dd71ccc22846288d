"""Distances of queries to a gallery, a block of queries at a time: features in memory or on the disk, on the
CPU or a GPU.

The gallery is read in parts that are converted, scaled and multiplied one after the other, so features kept
as float16, or mapped from a file, are never converted as a whole, and beside one block of distances only one
part of the gallery is held.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from ..config import resolve_device
from ..core.errors import UserError

METRICS = ("cosine", "euclidean")
BLOCK_BYTES = 256 * 2**20  # of distances
PART_BYTES = (
    16 * 2**20
)  # of the gallery, as float32: parts that stay in a processor's cache multiply faster than the whole
LONGEST = 2.0**126  # squared: the squared distance of two such features is still a float32


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

    Raises:
        UserError: when they are not N×D with at least one row, or hold values that are not finite or too
            large to be squared.
    """

    def __init__(self, rows: np.ndarray | Tensor, side: str, device: torch.device):
        try:
            self._rows = rows.detach() if isinstance(rows, Tensor) else np.asarray(rows)
        except ValueError as error:  # rows of different lengths
            raise UserError(f"{side} features are no N×D array: {error}") from None
        if not isinstance(rows, Tensor) and self._rows.dtype.kind not in "fiub":
            raise UserError(f"{side} features are of type {self._rows.dtype}: real numbers are needed")
        if isinstance(rows, Tensor) and rows.is_complex():
            raise UserError(f"{side} features are of type {rows.dtype}: real numbers are needed")
        if self._rows.ndim != 2 or not all(self._rows.shape):
            raise UserError(
                f"{side} features have shape {tuple(self._rows.shape)}: at least one row of at least one "
                "dimension is needed, N×D"
            )
        self.device, self.dimension = device, self._rows.shape[1]
        self.part = max(1, PART_BYTES // (4 * self.dimension))
        self.squared_lengths = torch.cat(
            [self.read(start).square_().sum(1) for start in range(0, len(self), self.part)]
        )
        bad = (~(self.squared_lengths <= LONGEST)).nonzero()[:, 0].tolist()  # NaN is not ≤ either
        if bad:
            raise UserError(
                f"{len(bad)} of {len(self)} {side} features hold NaN, infinite or overflowing values, the "
                f"first at index {bad[0]}: "
                "look at the weights and at that image"
            )

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, start: int, stop: int | None = None, unit_length: bool = False) -> Tensor:
        """Rows from ``start``, by default one part of them, as a new float32 tensor on the device; scaled to
        length 1 where asked.

        Features of zeros stay as they are.
        """
        rows = self._rows[start : start + self.part if stop is None else stop]
        if isinstance(rows, Tensor):
            rows = rows.to(self.device, torch.float32, copy=True)
        else:
            with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite and is named
                rows = torch.from_numpy(rows.astype(np.float32)).to(self.device)
        if unit_length:
            rows /= self.squared_lengths[start : start + len(rows), None].sqrt().clamp_(min=1e-12)
        return rows

    def repeated(self) -> tuple[Tensor, Tensor]:
        """Indices of the rows that equal an earlier one, and for each the index of the first row that it
        equals."""
        columns = np.unique(np.linspace(0, self.dimension - 1, 8).astype(int))
        picked = self._rows[:, columns]
        picked = picked.float().cpu().numpy() if isinstance(picked, Tensor) else picked.astype(np.float32)
        # Equal rows have equal keys; few others share one, and only rows that do are compared as a whole.
        keys = picked.view(np.int32).astype(np.int64) @ (
            2 * np.random.default_rng(0).integers(2**61, size=len(columns)) + 1
        )
        _, group, sizes = np.unique(keys, return_inverse=True, return_counts=True)
        first: dict[bytes, int] = {}
        pairs = []
        for index in np.flatnonzero(sizes[group] > 1).tolist():
            row = self.read(index, index + 1).cpu().numpy()
            earlier = first.setdefault(hashlib.blake2b(row, digest_size=16).digest(), index)
            if earlier != index:
                pairs.append((index, earlier))
        copies, originals = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).to(self.device).unbind(1)
        return copies, originals


class Gallery:
    """The features that queries are compared with; serves any number of query sets.

    Args:
        features: checked, on their device.
        metric: "cosine" or "euclidean".
    """

    def __init__(self, features: Features, metric: str):
        self.features, self.metric = features, metric
        self.copies, self.originals = features.repeated()

    def __len__(self) -> int:
        return len(self.features)

    def distances(
        self, queries: Sequence[Features], block_bytes: int | None = None
    ) -> Iterator[tuple[int, Tensor]]:
        """Distances of the queries of several sets, one set after the other: every part of the gallery serves
        a block of all of them.

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
            if len(
                self.copies
            ):  # a matrix product rounds equal columns differently, depending on where they stand
                block[:, self.copies] = block[:, self.originals]
            yield start, block

    def _fill(self, block: Tensor, queries: Tensor, squared_lengths: Tensor) -> None:
        gallery = self.features
        with torch.autocast(gallery.device.type, enabled=False):
            for start in range(0, len(gallery), gallery.part):
                part = gallery.read(start, unit_length=self.metric == "cosine")
                columns = block[:, start : start + len(part)]
                if self.metric == "cosine":
                    torch.mm(queries, part.T, out=columns)
                else:
                    torch.add(
                        squared_lengths[:, None],
                        gallery.squared_lengths[start : start + len(part)],
                        out=columns,
                    )
                    columns.addmm_(queries, part.T)


def _read_stacked(sets: Sequence[Features], start: int, stop: int, metric: str) -> tuple[Tensor, Tensor]:
    """Queries from several sets, already times the factor that their products have in a distance, and their
    squared lengths."""
    rows, lengths, offset = [], [], 0
    for features in sets:
        first, last = max(start - offset, 0), min(stop - offset, len(features))
        if first < last:
            rows.append(features.read(first, last, unit_length=metric == "cosine"))
            lengths.append(features.squared_lengths[first:last])
        offset += len(features)
    return torch.cat(rows).mul_(-1 if metric == "cosine" else -2), torch.cat(lengths)
