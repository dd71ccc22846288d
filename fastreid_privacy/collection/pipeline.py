"""Batches side by side: one thread decodes, another has the network, a third encodes; in order, in bounds."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

import torch

from ..compat.distributed import available_cores
from ..core.errors import UserError
from ..core.images import LARGEST

Batch = TypeVar("Batch")
Done = TypeVar("Done")

AHEAD = 2  # finished batches that wait for an earlier one, beyond one for each thread
MOST_WORKERS = 256  # threads
LOOK_SECONDS = 1.0  # how often who waits for a thread looks whether it is still there


def side_by_side(
    batches: Iterable[Batch], work: Callable[[Batch], Done], workers: int | None
) -> Generator[Done]:
    """Do the whole work of each batch in one of several threads.

    Image codecs and torch let other threads run meanwhile. Torch itself uses one thread in each: several that
    wait for each other cost more than they gain beside decoders and encoders, and with one the bytes of a
    result do not depend on the number of cores.

    Args:
        batches: what is worked on.
        work: all stages of one.
        workers: threads; None: as many as there are cores. Where the system starts fewer, they are fewer.

    Yields:
        The results in the order of the batches. An exception of any ends the whole.
    """
    workers = workers or min(available_cores(), MOST_WORKERS)
    running: deque[Future[Done]] = deque()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    crew = _Crew(work, workers)
    try:
        for batch in batches:
            running.append(crew.submit(batch))
            if len(running) >= workers + AHEAD:
                yield crew.result(running.popleft())
        while running:
            yield crew.result(running.popleft())
    finally:
        crew.dismiss()
        torch.set_num_threads(threads)


class _Crew(Generic[Batch, Done]):
    """Threads that take batches from one queue; where none can be started, who waits does the work.

    ``ThreadPoolExecutor`` loses a batch when no thread can be started for it, and waits for ever for one
    whose thread has ended for want of memory.

    Args:
        work: what is done with a batch.
        workers: threads at most.
    """

    def __init__(self, work: Callable[[Batch], Done], workers: int):
        self.work, self.workers = work, workers
        self.queue: SimpleQueue[tuple[Future[Done], Batch] | None] = SimpleQueue()
        self.threads: list[threading.Thread] = []

    def submit(self, batch: Batch) -> Future[Done]:
        """Put a batch into the queue, with a further thread where there may be one."""
        future: Future[Done] = Future()
        self.queue.put((future, batch))
        if len(self.threads) < self.workers:
            thread = threading.Thread(target=self._take_all, name="images", daemon=True)
            try:
                thread.start()
                self.threads.append(thread)
            except (RuntimeError, MemoryError):  # the system has no room for it
                self.workers = len(self.threads)
        return future

    def result(self, future: Future[Done]) -> Done:
        """Wait for a batch.

        Raises:
            UserError: when a thread has ended for want of memory.
        """
        while not future.done():
            if not self.threads:
                self._take(self.queue.get())
            elif not wait([future], LOOK_SECONDS).done and not all(
                map(threading.Thread.is_alive, self.threads)
            ):
                raise UserError(
                    "a thread ended for want of memory: take fewer --workers, and run the same command again"
                )
        return future.result()

    def dismiss(self) -> None:
        """End the threads when they are done with the batch that they have."""
        try:
            while True:
                self.queue.get_nowait()
        except Empty:
            pass
        for _ in self.threads:
            self.queue.put(None)
        for thread in self.threads:
            thread.join()

    def _take_all(self) -> None:
        torch.set_num_threads(1)
        while item := self.queue.get():
            self._take(item)
            del item  # the batch before is not kept while this thread waits

    def _take(self, item: tuple[Future[Done], Batch] | None) -> None:
        assert item is not None  # only a crew that is dismissed gets none
        future, batch = item
        try:
            future.set_result(self.work(batch))
        except BaseException as error:  # whoever waits for the batch gets it
            future.set_exception(error)


class Room:
    """Room for so many pixels at a time, so that several large pictures do not fill the memory together.

    Args:
        pixels: of all pictures that are worked on at once; one that has more has the room for itself.
    """

    def __init__(self, pixels: int = LARGEST):
        self.whole = self.left = pixels
        self.changed = threading.Condition()

    @contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        """Wait for the room, and take it."""
        pixels = min(pixels, self.whole)
        with self.changed:
            self.changed.wait_for(lambda: self.left >= pixels)
            self.left -= pixels
        try:
            yield
        finally:
            with self.changed:
                self.left += pixels
                self.changed.notify_all()
