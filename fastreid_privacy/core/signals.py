"""Signals that end this process: handled for a while, or held back while it starts another one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType

HELD = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def handled(number: int, handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Handle a signal in this way inside of the block; outside of the main thread nothing is done."""
    if threading.current_thread() is not threading.main_thread():  # no other one gets signals
        yield
        return
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


def sigterm_interrupts() -> AbstractContextManager[None]:
    """Let SIGTERM end this process as Ctrl-C does, so that ``finally`` ends what it has started."""
    return handled(signal.SIGTERM, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


class SignalsHeld:
    """Hold SIGINT and SIGTERM back from here to :meth:`release`, or to the end of the block.

    A signal that ends this process between the start of another one and the ``try`` that ends that one too
    would leave it behind.

    Example:
        >>> import subprocess
        >>> with SignalsHeld() as held:
        ...     process = subprocess.Popen(["true"])
        ...     try:
        ...         held.release()
        ...         code = process.wait()
        ...     finally:
        ...         process.terminate()
        >>> code
        0
    """

    def __init__(self):
        self._caught: list[int] = []
        self._handlers: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}

    def __enter__(self) -> SignalsHeld:
        if threading.current_thread() is threading.main_thread():  # no other one gets signals
            self._handlers = {number: signal.getsignal(number) for number in HELD}
            for number in HELD:
                signal.signal(number, self._catch)
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()

    def release(self) -> None:
        """Let signals do again what they did before, those too that came in the meantime."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        while self._caught:
            signal.raise_signal(self._caught.pop())

    def _catch(self, number: int, frame: FrameType | None) -> None:
        self._caught.append(number)
