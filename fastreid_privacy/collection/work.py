"""What a run is told: its files, what is done with them, what is left to do, and what an engine is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from operator import eq
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from torch import Tensor

from ..core.members import Readable
from ..core.remote import Place
from ..keys.templates import Searchable
from .guard import Guard
from .stamps import Stamper

Mapped = TypeVar("Mapped")
Same = Callable[[bytes, bytes], bool]
"""Whether what a killed run has left, its content, is what this run makes, and may be replaced."""


@dataclass(frozen=True)
class Job:
    """One file to make.

    Attributes:
        name: of what it is made from, as its folder or manifest calls it.
        source: that file.
        path: of what is made, relative to the output folder.
        known: what is known of it before it is read.
    """

    name: str
    source: Readable
    path: str
    known: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Loaded:
    """A decoded image.

    Attributes:
        pixels: uint8 H×W×3, RGB.
        about: goes into the file's line of the manifest.
        content: of the file that was decoded, where it is to be sealed.
        person: who is shown, where what is done depends on that.
        region: the part that is to be changed, H×W bool, where what is done depends on that.
        seen: what a Re-ID model sees of the raw picture, 3×H×W, until it has its template.
        template: of the raw picture, where it is to be sealed.
    """

    pixels: np.ndarray
    about: dict = field(default_factory=dict)
    content: bytes = b""
    person: int | None = None
    region: np.ndarray | None = None
    seen: Tensor | None = None
    template: Searchable | None = None


class Made(NamedTuple):
    """A file that was made.

    Attributes:
        content: of the file.
        beside: of what is to lie beside it, by the words of :data:`fastreid_privacy.manifest.BESIDE`.
    """

    content: bytes
    beside: Mapping[str, bytes] = {}


@dataclass(frozen=True)
class Work(Generic[Mapped]):
    """What is done with the files of a collection.

    Attributes:
        header: what files are made by; a run continues only what has the same.
        load: reads a job; raises UserError with the reason, without the path.
        map_batch: the pictures of a whole batch, in its order, None where there is none, and the person and
            the region in each, None where not told, to as many pictures, or whatever else is made of them.
        finish: a job, what was loaded and what was made of its picture to the file; may add to ``about``.
        describe: gives all that was loaded of a batch its templates; None: there are none.
        stamp: tells whether a job's source was replaced since; None: sources are not looked at.
        repeatable: whether the same source gives the same picture again, so that one of another time can be
            compared.
        sealed: whether something is sealed, which gives other bytes each time.
        renew: what is made of sources that were replaced takes the place of what was; else they are named.
        account: what is accounted for over all files, given their lines; None: nothing is.
        same: of the contents of files.
        again: makes this work anew, but for its header and what is for the whole run, on a device ("cpu",
            "cuda"): in another process, to which it can be sent.
        guard: of the batches, which counts what it does.
    """

    header: dict
    load: Callable[[Job], Loaded]
    map_batch: Callable[
        [Sequence[np.ndarray | None], Sequence[int | None], Sequence[np.ndarray | None]],
        Sequence[Mapped | None],
    ]
    finish: Callable[[Job, Loaded, Mapped], Made]
    describe: Callable[[Sequence[Loaded]], None] | None = None
    stamp: Stamper | None = None
    repeatable: bool = True
    sealed: bool = False
    renew: bool = False
    account: Callable[[Sequence[dict]], Mapping[str, object]] | None = None
    same: Same = eq
    again: Callable[[str], Work[Mapped]] | None = None
    guard: Guard | None = None


Results = list[tuple[str, dict | str]]
"""Of each file, by its path: its line of the manifest, or the reason why there is no file."""


@dataclass(frozen=True)
class Left:
    """What is left to do of a run.

    Attributes:
        output: folder.
        header: the manifest's first line.
        batches: in which a file is missing; always the same files, whatever was done before.
        done: lines of the files that are there, by path.
        written: lines of all files that an earlier run has written.
        suspects: lines of files whose source may be another one, or of which a part was taken away: made
            again, and compared or put in their place.
        tars: the name of the tar file that each batch goes to; none where files lie alone.
        leaving: paths of files that are to be replaced, completed with what was taken away, or removed from
            their tar.
    """

    output: Place
    header: dict
    batches: Sequence[Sequence[Job]]
    done: Mapping[str, dict]
    written: Sequence[dict]
    suspects: Mapping[str, dict]
    tars: Sequence[str] = ()
    leaving: Set[str] = frozenset()


class Engine(Protocol):
    """Does the batches that are left, each by :func:`.making.whole`.

    It keeps the lines of finished files where the next run finds them, should this one be killed.
    """

    def __call__(self, left: Left, work: Work) -> Iterator[Results]:
        """Yields what became of one or several batches, in any order."""
        ...
