"""Batches side by side: one thread decodes, another has the network, a third encodes; in order, in bounds."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Batch = TypeVar("Batch")
Done = TypeVar("Done")

AHEAD = 2  # finished batches that wait for an earlier one, beyond one for each thread


def side_by_side(
    batches: Iterable[Batch], work: Callable[[Batch], Done], workers: int | None
) -> Iterator[Done]:
    """Do the whole work of each batch in one of several threads.

    Image codecs and torch let other threads run meanwhile. Torch itself uses one thread in each: several that
    wait for each other cost more than they gain beside decoders and encoders, and with one the bytes of a
    result do not depend on the number of cores.

    Args:
        batches: what is worked on.
        work: all stages of one.
        workers: threads; None: as many as there are cores.

    Yields:
        The results in the order of the batches. An exception of any ends the whole.
    """
    workers = workers or os.cpu_count() or 1
    running: deque[Future[Done]] = deque()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    pool = ThreadPoolExecutor(
        workers, thread_name_prefix="images", initializer=torch.set_num_threads, initargs=(1,)
    )
    try:
        for batch in batches:
            running.append(pool.submit(work, batch))
            if len(running) >= workers + AHEAD:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)
