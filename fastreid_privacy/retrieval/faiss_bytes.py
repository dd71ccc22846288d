"""The bytes of a FAISS index, walked through before FAISS reads them: only what this project writes passes.

FAISS trusts its files: one may say that its lists lie in another file, which FAISS then maps into memory, or
name neighbours that do not exist. Each record begins with four letters: ``IxFI`` and ``IxF2`` (flat, inner
product or L2), ``IHNf`` (a graph over a flat index) and ``IwPQ`` (compressed, with a flat index of the cells
and its lists in memory, ``ilar``). All numbers are little-endian.
"""

from __future__ import annotations

import struct

import numpy as np

FLAT = {"cosine": b"IxFI", "euclidean": b"IxF2"}
METRIC_TYPE = {"cosine": 0, "euclidean": 1}
CODE_BITS = 8  # of each part of a compressed feature
MOST_LEVELS = 64  # of a graph; FAISS makes about log N / log 32


def check_bytes(content: bytes, kind: str, metric: str, count: int, dimension: int) -> None:
    """Refuse bytes that are no index of this kind as this project writes it.

    Args:
        content: of ``index.faiss``.
        kind: "flat", "hnsw" or "ivfpq".
        metric: "cosine" or "euclidean".
        count: of features.
        dimension: of features.

    Raises:
        ValueError: saying what is wrong.
    """
    record = _Record(content)
    {"flat": _flat, "hnsw": _graph, "ivfpq": _compressed}[kind](record, metric, count, dimension)
    _equal("the rest", len(content) - record.place, 0)


class _Record:
    """Bytes that are read one field after the other."""

    def __init__(self, content: bytes):
        self.content, self.place = content, 0

    def values(self, form: str) -> tuple:
        """Fields, by ``struct``'s letters."""
        fields = struct.Struct(f"<{form}")
        return fields.unpack(self.raw(fields.size))

    def raw(self, size: int) -> bytes:
        if not 0 <= size <= len(self.content) - self.place:
            raise ValueError("a record of FAISS is longer than the file")
        self.place += size
        return self.content[self.place - size : self.place]

    def vector(self, dtype: str, size: int | None = None) -> np.ndarray:
        """An array with its length before it; ``size``: which it must have."""
        (length,) = self.values("Q")
        if size is not None:
            _equal("the length of an array", length, size)
        return np.frombuffer(self.raw(length * np.dtype(dtype).itemsize), dtype)


def _equal(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise ValueError(f"{what} is {found!r} where this project writes {expected!r}")


def _header(record: _Record, letters: bytes, metric: str, count: int, dimension: int) -> None:
    _equal("the kind of a record", record.raw(4), letters)
    found = record.values("iqqqBi")
    names = ("dimension", "count", "filler", "filler", "trained", "metric")
    for name, value, right in zip(
        names, found, (dimension, count, 2**20, 2**20, 1, METRIC_TYPE[metric]), strict=True
    ):
        _equal(f"{name} in a record", value, right)


def _flat(record: _Record, metric: str, count: int, dimension: int) -> None:
    _header(record, FLAT[metric], metric, count, dimension)
    record.vector("<f4", count * dimension)


def _graph(record: _Record, metric: str, count: int, dimension: int) -> None:
    _header(record, b"IHNf", metric, count, dimension)
    record.vector("<f8")  # how probable each level is
    before = record.vector("<i4").astype(np.int64)  # neighbours of a feature below each level
    levels = record.vector("<i4", count)
    starts = record.vector("<u8", count + 1).astype(np.int64)
    neighbours = record.vector("<i4")
    entry, highest, _, _, _ = record.values("iiiii")
    _flat(record, metric, count, dimension)
    if not 2 <= len(before) <= MOST_LEVELS + 1 or before[0] or (np.diff(before) < 1).any():
        raise ValueError("the levels of the graph do not follow each other")
    if not (levels >= 1).all() or not (levels < len(before)).all():
        raise ValueError("a feature is on a level that the graph does not have")
    if starts[0] or not np.array_equal(np.diff(starts), before[levels]) or starts[-1] != len(neighbours):
        raise ValueError("the neighbours of the graph do not lie where they should")
    if not 0 <= entry < count or not 0 <= highest < levels[entry] or (levels > highest + 1).any():
        raise ValueError("the graph begins at a feature that is not on its highest level")
    if not ((neighbours >= -1) & (neighbours < count)).all():
        raise ValueError("the graph names a feature that there is not")
    for level in range(1, highest + 1):
        on_level = starts[:-1][levels > level]
        named = neighbours[on_level[:, None] + np.arange(before[level], before[level + 1])]
        if (levels[named[named >= 0]] <= level).any():
            raise ValueError("the graph names a feature on a level that it is not on")


def _compressed(record: _Record, metric: str, count: int, dimension: int) -> None:
    _header(record, b"IwPQ", metric, count, dimension)
    cells, probed = record.values("QQ")
    if not 1 <= cells <= count or not 1 <= probed <= cells:
        raise ValueError(f"{cells} cells, {probed} to be searched, for {count} features")
    _flat(record, metric, cells, dimension)
    _equal("the kind of the map to the lists", record.values("b"), (0,))
    record.vector("<i8", 0)
    _, size = record.values("BQ")  # whether residuals are compressed; bytes of a code
    wide, parts, bits = record.values("QQQ")
    if size < 1 or dimension % size:
        raise ValueError(f"codes of {size} bytes for {dimension} dimensions")
    _equal("the code of a feature", (wide, parts, bits), (dimension, size, CODE_BITS))
    record.vector("<f4", dimension * 2**CODE_BITS)
    _equal("the kind of the lists", record.raw(4), b"ilar")
    _equal("the shape of the lists", record.values("QQ"), (cells, size))
    lengths = np.zeros(cells, np.int64)
    form = record.raw(4)
    if form == b"full":
        lengths[:] = record.vector("<u8", cells)
    elif form == b"sprs":  # most lists are empty: number and length of the others
        pairs = record.vector("<u8").astype(np.int64)
        if len(pairs) % 2 or (pairs[::2] < 0).any() or (pairs[::2] >= cells).any():
            raise ValueError("a list that there is not")
        _equal("lists named twice", len(pairs) // 2 - len(np.unique(pairs[::2])), 0)
        lengths[pairs[::2]] = pairs[1::2]
    else:
        raise ValueError(f"the form of the lists is {form!r}")
    numbers = []
    for length in lengths.tolist():
        record.raw(length * size)
        numbers.append(np.frombuffer(record.raw(length * 8), "<i8"))
    if not np.array_equal(np.sort(np.concatenate(numbers)), np.arange(count)):
        raise ValueError("the lists do not hold each feature once")
