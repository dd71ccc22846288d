"""Files that appear whole or not at all, whoever writes them."""

from __future__ import annotations

# before fastreid: importing the package makes it work
from fastreid_privacy.results.stored import save_query_ranks

# isort: split
import errno
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from small_checkpoints import make

from fastreid_privacy.collection.output import Journal
from fastreid_privacy.core import files as files_module
from fastreid_privacy.core.errors import UserError, to_mend
from fastreid_privacy.core.files import (
    _unfinished,
    is_unfinished,
    read_once,
    remove_unfinished,
    write_atomically,
    write_new,
    write_whole,
)
from fastreid_privacy.core.lock import locked
from fastreid_privacy.evaluation.ranking import QueryRanks
from fastreid_privacy.manifest import write_manifest
from fastreid_privacy.model.storage import ImageStorage
from fastreid_privacy.report import image_grid
from fastreid_privacy.results.results_json import save_results
from fastreid_privacy.results.stored import SAMPLES

IMAGES = {"OI": np.zeros((1, 32, 16, 3), np.uint8)}
RANKS = {"OI-OI": QueryRanks(np.array([1, 2]), np.ones(2), np.ones(2))}
WRITERS = {
    "results": lambda folder: save_results({"schema": 1}, folder / "results.json"),
    "query ranks": lambda folder: save_query_ranks(RANKS, folder / "results.json"),
    "image": lambda folder: ImageStorage("png").save(torch.zeros(3, 4, 4), folder / "image.png"),
    "samples": lambda folder: SAMPLES.save(IMAGES, folder),
    "figure": lambda folder: image_grid(IMAGES, folder / "grid.png"),
}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("sync", [False, True])
def test_whole(tmp_path, sync):
    for content in (b"first", b"second"):
        write_atomically(tmp_path / "file", lambda file, content=content: file.write(content), sync=sync)
        assert contents(tmp_path) == {"file": content}


@pytest.fixture
def disk(monkeypatch):
    """What reached the disk, in order: ("written", content), ("named", name), ("folder", path)."""
    events, fsync, replace = [], os.fsync, os.replace

    def seen_fsync(descriptor):
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        events.append(("folder", path) if path.is_dir() else ("written", path.read_bytes()))
        fsync(descriptor)

    def seen_replace(source, target):
        replace(source, target)
        events.append(("named", Path(target).name))

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(os, "replace", seen_replace)
    return events


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="files are named by /proc")
@pytest.mark.parametrize("writer", ["manifest", "checkpoint", "any"])
def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, disk, writer):
    """Else a power cut leaves an empty file in the place of the old one."""
    if writer == "manifest":
        write_manifest(tmp_path, {"kind": "x"}, [], {})
    elif writer == "checkpoint":
        make(tmp_path).save("model_0001", weights_only=True)
    else:
        write_atomically(tmp_path / "file", lambda file: file.write(b"x" * 100_000), sync=True)
    names = [what for event, what in disk if event == "named"]
    assert names
    for name in names:
        at = disk.index(("named", name))
        assert disk[at - 1] == ("written", (tmp_path / name).read_bytes())
        assert disk[at + 1 : at + 2] == [("folder", tmp_path)]


def test_private_files_are_so_from_their_first_byte(tmp_path, monkeypatch):
    modes = []
    umask = os.umask(0)
    try:
        stale = _unfinished(tmp_path / "key")
        stale.touch(0o666)
        monkeypatch.setattr(os, "chmod", None)  # too late: who opened the file before can read on
        write_whole(tmp_path / "key", b"secret", private=True)
        write_atomically(
            tmp_path / "other",
            lambda file: modes.append(os.fstat(file.fileno()).st_mode & 0o777),
            private=True,
        )
        write_new(tmp_path, {"secret": b"1", "known": b"2"}, private=["secret"])
    finally:
        os.umask(umask)
    modes += [(tmp_path / name).stat().st_mode & 0o777 for name in ("key", "other", "secret", "known")]
    assert modes == [0o600] * 4 + [0o666]


def test_of_several_who_write_new_files_at_once_one_does(tmp_path):
    def write(number):
        try:
            write_new(tmp_path, {name: name.encode() + bytes([number]) * 100_000 for name in "abc"}, "a")
            return number
        except UserError as error:
            assert "another command writes" in str(error) or "there already" in str(error)
            return None

    with ThreadPoolExecutor(8) as pool:
        (winner,) = [number for number in pool.map(write, range(8)) if number is not None]
    assert contents(tmp_path) == {name: name.encode() + bytes([winner]) * 100_000 for name in "abc"}


def full(*_):
    """A file on a full disk."""
    return open("/dev/full", "wb", buffering=0)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="of Linux")
def test_a_full_disk_is_told_with_the_file(tmp_path, monkeypatch):
    """The system names none where an open file cannot be written."""
    with monkeypatch.context() as patch:
        patch.setattr(files_module, "_create", full)
        for write in (write_whole, lambda path, content: write_new(path.parent, {path.name: content})):
            with pytest.raises(OSError, match="No space left on device") as error:
                write(tmp_path / "file", b"content")
            assert to_mend(error.value) == f"{tmp_path / 'file'}: No space left on device"
    with Journal(tmp_path / "journal", {}, []) as journal:
        journal.file.close()
        journal.file = full()
        with pytest.raises(OSError, match="No space left on device") as error:
            journal.add([{"path": "a.png"}])
        assert to_mend(error.value) == f"{tmp_path / 'journal'}: No space left on device"
    assert contents(tmp_path).keys() == {"journal"}


@pytest.mark.parametrize("when", ["writing", "naming"])
def test_new_files_appear_together_or_not_at_all(tmp_path, monkeypatch, when):
    (tmp_path / "foreign").touch()
    files, calls, replace = {"a": b"1", "b": b"2"}, [], os.replace
    if when == "writing":
        files["b"] = "no bytes"
    else:

        def fail_once(source, target):
            calls.append(target)
            if len(calls) == 2:
                raise OSError(errno.ENOSPC, "full")
            replace(source, target)

        monkeypatch.setattr(os, "replace", fail_once)
    with pytest.raises((OSError, TypeError)):
        write_new(tmp_path, files)
    assert set(contents(tmp_path)) == {"foreign"}
    own, others = (
        _unfinished(tmp_path / name).name.replace(str(os.getpid()), "1") for name in ("a", "other")
    )
    (tmp_path / own).touch()  # of a killed process
    (tmp_path / others).touch()  # of somebody else
    write_new(tmp_path, {"a": b"1", "b": b"2"})
    assert set(contents(tmp_path)) == {"foreign", "a", "b", others}


def test_processes_that_are_forked_do_not_hold_the_lock(tmp_path):
    """A loader's workers outlive a killed run for seconds."""
    with locked(tmp_path, "in use"):
        child = os.fork()
        if not child:
            time.sleep(60)
            os._exit(0)
        with pytest.raises(UserError, match="in use"), locked(tmp_path, "in use"):
            pass
    try:
        with locked(tmp_path, "in use", patience=10.0):  # the child may still be on its way
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.parametrize("name", ["n" * 200, "n" * 240, "n" * 255, "é" * 127, "保" * 85])
def test_names_may_be_as_long_as_the_system_allows(tmp_path, name):
    unfinished = []

    def write(file):
        unfinished.extend(path.name for path in tmp_path.iterdir())
        file.write(b"whole")

    write_atomically(tmp_path / name, write)
    write_atomically(tmp_path / (name[:-1] + "x"), write)
    assert contents(tmp_path) == {name: b"whole", name[:-1] + "x": b"whole"}
    found = [other for other in unfinished if other not in contents(tmp_path)]
    assert len(set(found)) == 2 and all(is_unfinished(other) for other in found)  # one for each target
    assert all(str(os.getpid()) in other for other in found)


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
    long = "é" * 120
    for name in ("a.1", "b", long):
        (tmp_path / _unfinished(tmp_path / name).name).touch()
    remove_unfinished(tmp_path, ["a.1", "a", long])
    assert list(contents(tmp_path)) == [_unfinished(tmp_path / "b").name]


def test_so_many_of_the_files_that_are_read_are_kept_as_one_says(tmp_path):
    for most, again in ((2, []), (1, ["a", "b"])):
        read = []
        name_of = read_once(lambda path, read=read: read.append(Path(path).name), most)
        for name in ("a", "b", "a", "b"):
            (tmp_path / name).touch(exist_ok=True)
            os.utime(tmp_path / name, ns=(0, 0))
            name_of(str(tmp_path / name))
        assert read == ["a", "b", *again]


def test_a_file_is_read_once_as_long_as_it_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    read = []

    @read_once
    def content(path: str) -> list[str]:
        read.append(path)
        return [Path(path).read_text()]

    Path("a").write_text("one")
    assert content("a") is content("a") and read == ["a"]
    Path("a").write_text("two!")
    assert content("a") == ["two!"] and len(read) == 2
    Path("b").write_text("two?")
    os.utime("b", ns=(os.stat("a").st_atime_ns, os.stat("a").st_mtime_ns))
    os.replace("b", "a")  # of one size and one time
    assert content("a") == ["two?"] and len(read) == 3
    Path("a").unlink()
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            content("a")
