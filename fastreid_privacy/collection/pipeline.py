"""Batches side by side: while one thread decodes a batch, another has the network, a third encodes; in order
and with bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Batch, Done = TypeVar("Batch"), TypeVar("Done")

AHEAD = 2  # finished batches that wait for an earlier one, beyond one for each thread


def side_by_side(batches: Iterable[Batch], work: Callable[[Batch], Done], workers: int) -> Iterator[Done]:
    """Do the whole work of each batch in one of several threads. Image codecs and torch let other threads run
    meanwhile.

    Torch itself uses one thread in each: several that wait for each other cost more than they gain beside
    decoders and encoders, and with one the bytes of a result do not depend on the number of cores.

    Args:
        batches: what is worked on.
        work: all stages of one.
        workers: threads.

    Yields:
        The results in the order of the batches. An exception of any ends the whole.
    """
    running: deque = deque()
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
