"""Files that appear whole or not at all, whoever writes them."""

from __future__ import annotations

# before fastreid: importing the package makes it work
from fastreid_privacy.results.stored import save_query_ranks

# isort: split
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from fastreid_privacy.core.files import remove_unfinished, write_atomically
from fastreid_privacy.evaluation.ranking import QueryRanks
from fastreid_privacy.model.storage import ImageStorage
from fastreid_privacy.report import image_grid
from fastreid_privacy.results.results_json import save_results
from fastreid_privacy.results.stored import save_samples

IMAGES = {"OI": np.zeros((1, 32, 16, 3), np.uint8)}
RANKS = {"OI-OI": QueryRanks(np.array([1, 2]), np.ones(2), np.ones(2))}
WRITERS = {
    "results": lambda folder: save_results({"schema": 1}, folder / "results.json"),
    "query ranks": lambda folder: save_query_ranks(RANKS, folder / "results.json"),
    "image": lambda folder: ImageStorage("png").save(torch.zeros(3, 4, 4), folder / "image.png"),
    "samples": lambda folder: save_samples(IMAGES, folder),
    "figure": lambda folder: image_grid(IMAGES, folder / "grid.png"),
}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("sync", [False, True])
def test_whole(tmp_path, sync):
    for content in (b"first", b"second"):
        write_atomically(tmp_path / "file", lambda file, content=content: file.write(content), sync=sync)
        assert contents(tmp_path) == {"file": content}


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_write_that_fails_changes_nothing(tmp_path, error):
    (tmp_path / "file").write_bytes(b"before")

    def fail(file):
        file.write(b"half")
        raise error

    with pytest.raises(error):
        write_atomically(tmp_path / "file", fail)
    assert contents(tmp_path) == {"file": b"before"}


@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
def test_every_writer_moves_whole_files(tmp_path, monkeypatch, writer):
    """Where the move fails, what was there before is still there, and nothing else."""
    writer(tmp_path)
    before = contents(tmp_path)
    assert len(before) == 1
    for path in tmp_path.rglob("*"):
        if path.is_file():
            path.write_bytes(b"before")

    def full(source, target):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", full)
        with pytest.raises(OSError, match="disk full"):
            writer(tmp_path)
    assert list(contents(tmp_path).values()) == [b"before"]
    writer(tmp_path)
    assert contents(tmp_path).keys() == before.keys() and list(contents(tmp_path).values()) != [b"before"]


def test_leftovers_of_a_killed_process_can_be_found(tmp_path):
    killed = "import os, pathlib, sys; from fastreid_privacy.core.files import write_atomically as w; "
    killed += "w(pathlib.Path(sys.argv[1]), lambda file: os.kill(os.getpid(), 9))"
    subprocess.run([sys.executable, "-c", killed, str(tmp_path / "file")], check=False)
    assert len(contents(tmp_path)) == 1
    remove_unfinished(tmp_path)
    assert contents(tmp_path) == {}
