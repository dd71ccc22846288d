"""Manifests and journals that were damaged, and those of older versions, which carry no checksums."""

from __future__ import annotations

import fastreid_privacy  # before fastreid

# isort: split
import json
import os

import pytest

from fastreid_privacy.collection.output import Journal
from fastreid_privacy.core import files
from fastreid_privacy.core.json_text import parse_json
from fastreid_privacy.manifest import JOURNAL, MANIFEST, read_manifest, unchanged, write_manifest

HEADER = {"kind": "fastreid_privacy collection", "schema": 1, "batch_size": 32}
ENTRIES = [
    {"path": f"{name}.png", "size": 100, "sha256": name * 64, "width": 40, "height": 80} for name in "abc"
]


@pytest.fixture
def manifest(tmp_path):
    write_manifest(tmp_path, HEADER, ENTRIES, {"d.png": "it is damaged"})
    return tmp_path / MANIFEST


@pytest.fixture
def journal(tmp_path):
    with Journal(tmp_path / JOURNAL, HEADER, ENTRIES[:1]) as journal:
        journal.add(ENTRIES[1:])
    return tmp_path / JOURNAL


def test_both_give_back_what_was_written(manifest, journal):
    for path, complete in ((manifest, True), (journal, False)):
        read = read_manifest(path, torn=not complete)
        assert (read.header, list(read.entries.values()), read.complete) == (HEADER, ENTRIES, complete)
    assert read_manifest(manifest).failed == {"d.png": "it is damaged"}


@pytest.mark.parametrize(("before", "after"), [(b'"width": 40', b'"width": 41'), (b"b.png", b"x.png")])
def test_a_changed_value_is_refused(manifest, journal, before, after):
    """A width that differs by one, which was taken for the raw picture's before."""
    for path in (manifest, journal):
        path.write_bytes(path.read_bytes().replace(before, after))
        with pytest.raises(fastreid_privacy.UserError, match=f"{path.name} is damaged.*checksum"):
            read_manifest(path, torn=path == journal)


def test_a_line_less_is_refused(manifest):
    lines = manifest.read_bytes().splitlines(keepends=True)
    manifest.write_bytes(b"".join(lines[:2] + lines[3:]))
    with pytest.raises(fastreid_privacy.UserError, match="checksum in its last line"):
        read_manifest(manifest)


def test_files_of_older_versions_are_read(manifest, journal):
    for path, key in ((manifest, "sha256"), (journal, "sum")):
        records = [json.loads(text) for text in path.read_text().splitlines()]
        for record in records:
            if "path" not in record or key == "sum":
                record.pop(key, None)
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        assert list(read_manifest(path, torn=path == journal).entries.values()) == ENTRIES


@pytest.mark.parametrize("sign", ["", "-"])
def test_whole_numbers_are_refused_that_no_float_holds(sign):
    """Who reckons with one, or shows its digits behind a point, ends in an OverflowError."""
    assert parse_json(sign + "9" * 300) == int(sign + "9" * 300)
    assert parse_json(b'\xef\xbb\xbf{"\xc3\xa9": [-1, 2.5, 1e400]}') == {"é": [-1, 2.5, float("inf")]}
    with pytest.raises(ValueError, match="a number of it has 3"):
        parse_json(f'{{"psnr": {sign}1{"0" * 309}}}'.encode())


def test_deep_brackets_and_what_is_no_file_are_refused(tmp_path):
    path = tmp_path / MANIFEST
    path.write_text("[" * 100_000 + "\n")
    with pytest.raises(fastreid_privacy.UserError, match="nested too deep"):
        read_manifest(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(fastreid_privacy.UserError, match="no regular file"):
        read_manifest(path)
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(fastreid_privacy.UserError, match="no regular file"):
        read_manifest(path)
    path.unlink()
    path.touch()
    os.truncate(path, files.LARGEST_INPUT + 1)
    with pytest.raises(fastreid_privacy.UserError, match="more than"):
        read_manifest(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes")
def test_a_pipe_under_the_name_of_a_file_is_no_such_file(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    assert not unchanged(tmp_path, {"path": "a.png", "size": 0, "sha256": "a" * 64})
