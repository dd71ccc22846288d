"""Decoding, the network and encoding at the same time, batch by batch, in order and with bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Job, Loaded, Mapped, Done = TypeVar("Job"), TypeVar("Loaded"), TypeVar("Mapped"), TypeVar("Done")

AHEAD = 2  # batches that are being decoded, and batches that are being encoded, while the network has another one


def overlapped(
    batches: Iterable[Sequence[Job]],
    decode: Callable[[Job], Loaded],
    network: Callable[[Sequence[Loaded]], Sequence[Mapped]],
    encode: Callable[[Job, Loaded, Mapped], Done],
    workers: int,
) -> Iterator[list[Done]]:
    """Run every batch through three stages. Decoding and encoding happen in threads (image codecs let other threads run), the network in
    the calling one.

    Args:
        batches: of jobs.
        decode: a job to what the network takes.
        network: all of a batch at once.
        encode: what becomes of each.
        workers: threads.

    Yields:
        The results of each batch, in order, when all of them are there. An exception of any stage ends the whole.
    """
    decoding: deque = deque()
    encoding: deque = deque()
    remaining = iter(batches)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="images")
    try:
        while True:
            while len(decoding) < AHEAD and (batch := next(remaining, None)) is not None:
                decoding.append((batch, [pool.submit(decode, job) for job in batch]))
            if not decoding:
                break
            batch, futures = decoding.popleft()
            loaded = [future.result() for future in futures]
            mapped = network(loaded)
            encoding.append([pool.submit(encode, *work) for work in zip(batch, loaded, mapped, strict=True)])
            if len(encoding) > AHEAD:
                yield [future.result() for future in encoding.popleft()]
        while encoding:
            yield [future.result() for future in encoding.popleft()]
    finally:
        pool.shutdown(cancel_futures=True)
