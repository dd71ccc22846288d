"""Arrays beside results.json: what they announce is what they hold, and only regular files are read."""

from __future__ import annotations

import io
import os
import zipfile

import numpy as np
import pytest

from fastreid_privacy import UserError
from fastreid_privacy.results.stored import SAMPLES, load_query_ranks, ranks_path, save_query_ranks


def archive(path, name: str, content: bytes):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(name, content)


def announced(shape) -> bytes:
    """A header of whole numbers without the numbers."""
    data = io.BytesIO()
    np.lib.format.write_array_header_1_0(data, {"descr": "<i8", "fortran_order": False, "shape": shape})
    return data.getvalue()


def test_places_come_back_as_they_were(tmp_path):
    places = {"OI-OI": np.array([1, 0, 7]), "OI-PI": np.array([], dtype=np.int64)}
    save_query_ranks(places, tmp_path / "results.json")
    found = load_query_ranks(tmp_path / "results.json")
    assert found.keys() == places.keys() and all(np.array_equal(found[key], places[key]) for key in places)
    assert load_query_ranks(tmp_path / "results_other.json") == {}


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("8 TiB", "announces another size than it has"),
        ("no array", "is damaged"),
        ("pipe", "no regular file"),
        ("device", "no regular file"),
        ("folder", "is damaged"),
        ("empty link", "is damaged"),
        ("cut", "is damaged"),
    ],
)
def test_what_holds_no_places_is_named(tmp_path, kind, message):
    path = ranks_path(tmp_path / "results.json")
    if kind == "8 TiB":
        archive(path, "OI-OI.npy", announced((2**40,)))
    elif kind == "no array":
        archive(path, "index.faiss", b"IxFI")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "empty link":
        path.symlink_to(tmp_path / "gone")
    else:
        save_query_ranks({"OI-OI": np.arange(500)}, tmp_path / "results.json")
        path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(
        UserError, match=rf"query_ranks\.npz is damaged .*{message if message != 'is damaged' else ''}"
    ):
        load_query_ranks(tmp_path / "results.json")


def test_a_pipe_in_the_place_of_pictures_is_not_waited_for(tmp_path):
    (tmp_path / "figures").mkdir()
    os.mkfifo(tmp_path / "figures" / "samples.npz")
    assert SAMPLES.load(tmp_path) is None
