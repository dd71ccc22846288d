"""The commands in this process, which is quicker than a new one, and what is given to them and got back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastreid_privacy.commands.main import main
from fastreid_privacy.core.remote import Place, RemotePath


def call(command: str, *words: object, **options: object) -> int:
    """The exit code of a command.

    Args:
        command: of ``fastreid-privacy``.
        *words: of its command line.
        **options: behind them: ``carry_fit="best"`` is ``--carry-fit best``.
    """
    named = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
    return main([command, *map(str, [*words, *named])])


anonymize = partial(call, "anonymize")
attack = partial(call, "attack")
compare = partial(call, "compare")
export = partial(call, "export")
human_study = partial(call, "human-study")
recover = partial(call, "recover")
report = partial(call, "report")
retrieve = partial(call, "retrieve")
train = partial(call, "train")


def random_pictures(root: Path, images: int) -> Path:
    """Pictures of several sizes, in two folders; all of their pixels are random."""
    draw = np.random.default_rng(0)
    for number in range(images):
        folder = root / ("cam 1" if number % 2 else "保護")
        folder.mkdir(exist_ok=True)
        picture = draw.integers(0, 256, (32 + number, 16 + number, 3), np.uint8)
        Image.fromarray(picture).save(folder / f"pérson {number:02d}.png")
    return root


def contents(place: Place) -> dict[str, bytes]:
    """Every file below a folder or a place of a store, by relative path."""
    if isinstance(place, RemotePath):
        return {path: file.read_bytes() for path, file in place.files_below().files.items()}
    files = (path for path in sorted(Path(place).rglob("*")) if path.is_file())
    return {path.relative_to(place).as_posix(): path.read_bytes() for path in files}


@contextmanager
def ended_before(name: str | int) -> Iterator[None]:
    """Commands end as at Ctrl-C before a file of this name gets it, or before the n-th file gets its name."""
    replace, write_bytes, files = os.replace, RemotePath.write_bytes, count(1)

    def ending(target: Path | RemotePath) -> None:
        if name in (next(files), target.name):
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", lambda source, target: (ending(target), replace(source, target)))
        patch.setattr(
            RemotePath, "write_bytes", lambda self, content: (ending(self), write_bytes(self, content))
        )
        yield
