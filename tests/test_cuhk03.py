"""CUHK03 as it is downloaded, in small: unpacked, read, killed in between, damaged."""

from __future__ import annotations

from fastreid_privacy.config import load_config  # before fastreid: importing the package makes it work

# isort: split
import json
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from scipy import io

from fastreid_privacy.compat import cuhk03 as compat_cuhk03
from fastreid_privacy.core.errors import UserError
from fastreid_privacy.data import load_dataset

PEOPLE = (2, 1)  # of two pairs of cameras
SEEN = (
    0,
    1,
    5,
)  # of the ten images of a person, those that are there: two views of the first camera, one of the other


def pixels(kind, pair, person, number):
    """One image: H×W×3, of its own size and content."""
    rng = np.random.default_rng((kind == "labeled", pair, person, number))
    return rng.integers(0, 256, (12 + number, 6 + person, 3), dtype=np.uint8)


def name(pair, person, number):
    return f"{pair + 1}_{person + 1:03d}_{1 if number < 5 else 2}_{number + 1:02d}.png"


def write_cuhk03(root: Path) -> Path:
    """cuhk03/ below a folder: MATLAB 7.3 keeps cells as references to arrays whose axes run backwards."""
    folder = root / "cuhk03"
    (folder / "cuhk03_release").mkdir(parents=True)
    with h5py.File(folder / "cuhk03_release" / "cuhk-03.mat", "w") as file:
        count = 0

        def reference(array):
            nonlocal count
            count += 1
            return file.create_dataset(f"#refs#/{count}", data=array).ref

        empty = reference(np.zeros(2, np.uint64))  # of a cell that holds nothing
        for kind in ("detected", "labeled"):
            pairs = np.empty((1, len(PEOPLE)), h5py.ref_dtype)
            for pair, people in enumerate(PEOPLE):
                cells = np.empty((10, people), h5py.ref_dtype)
                for number in range(10):
                    for person in range(people):
                        image = pixels(kind, pair, person, number).T if number in SEEN else None
                        cells[number, person] = empty if image is None else reference(image)
                camera_pair = file.create_dataset(f"#refs#/{kind}{pair}", cells.shape, h5py.ref_dtype)
                camera_pair[...] = cells
                pairs[0, pair] = camera_pair.ref
            file.create_dataset(kind, pairs.shape, h5py.ref_dtype)[...] = pairs
        tests = np.empty((1, 1), h5py.ref_dtype)
        tests[0, 0] = reference(np.array([[2.0], [1.0]]))  # the first person of the second pair
        file.create_dataset("testsets", tests.shape, h5py.ref_dtype)[...] = tests
    files = [
        (pair, person, number)
        for pair, people in enumerate(PEOPLE)
        for person in range(people)
        for number in SEEN
    ]
    train = [index for index, (pair, _, _) in enumerate(files) if pair == 0]
    query, gallery = [6], [7, 8]
    protocol = {
        "train_idx": np.array([train]) + 1,
        "query_idx": np.array([query]) + 1,
        "gallery_idx": np.array([gallery]) + 1,
        "labels": np.array([[2 * pair + person + 1 for pair, person, _ in files]]),
        "filelist": np.array([[name(*file)] for file in files], dtype=object),
    }
    for kind in ("detected", "labeled"):
        io.savemat(folder / f"cuhk03_new_protocol_config_{kind}.mat", protocol)
    return folder


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    return write_cuhk03(tmp_path)


def load():
    return load_dataset(load_config("", ["MODEL.DEVICE", "cpu"]), "CUHK03")


def labels(items):
    return sorted((Path(path).name, pid, camera) for path, pid, camera in items)


def check(folder):
    data = load()
    assert labels(data.train) == [
        (name(0, person, number), f"cuhk03_{person}", f"cuhk03_{int(number >= 5)}")
        for person in range(2)
        for number in SEEN
    ]
    assert labels(data.query) == [(name(1, 0, 0), 3, 0)]
    assert labels(data.gallery) == [(name(1, 0, 1), 3, 0), (name(1, 0, 5), 3, 1)]
    for kind in ("detected", "labeled"):
        for pair, people in enumerate(PEOPLE):
            for person in range(people):
                for number in SEEN:
                    with Image.open(folder / f"images_{kind}" / name(pair, person, number)) as file:
                        np.testing.assert_array_equal(np.array(file), pixels(kind, pair, person, number))


def test_it_is_read_as_downloaded_without_imageio(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio", None)  # importing it fails
    check(folder)
    assert sys.modules["imageio"] is None
    (folder / "cuhk03_release" / "cuhk-03.mat").write_bytes(b"")  # unpacked once
    check(folder)
    assert not [path for path in folder.rglob("*") if path.name.endswith(".unfinished")]


def test_an_unpacking_that_was_killed_goes_on(folder, monkeypatch):
    write, written = compat_cuhk03.write_whole, []

    def killed(path, content):
        if len(written) == 7:
            path.with_name(f".{path.name}.1.unfinished").write_bytes(content[:40])
            raise KeyboardInterrupt
        written.append(path)
        write(path, content)

    monkeypatch.setattr(compat_cuhk03, "write_whole", killed)
    with pytest.raises(KeyboardInterrupt):
        load()
    monkeypatch.undo()
    monkeypatch.setenv("FASTREID_DATASETS", str(folder.parent))
    assert len(list(folder.glob("images_*/[0-9]*.png"))) == 7
    check(folder)


def test_lists_that_were_cut_short_are_not_left(folder, monkeypatch):
    dump = json.dump

    def full(splits, file, **options):
        if Path(file.name).name == "splits_new_labeled.json":
            file.write("[{")
            raise OSError(28, "No space left on device")
        dump(splits, file, **options)

    monkeypatch.setattr(json, "dump", full)
    with pytest.raises(UserError, match=r"CUHK03 cannot be unpacked .*No space left"):
        load()
    assert not list(folder.glob("splits_*.json"))
    monkeypatch.undo()
    monkeypatch.setenv("FASTREID_DATASETS", str(folder.parent))
    check(folder)


def test_a_damaged_list_is_said_by_name(folder):
    load()
    for kind in ("detected", "labeled"):
        (folder / f"splits_new_{kind}.json").write_text("[{")
    with pytest.raises(UserError) as error:
        load()
    assert str(folder / "splits_new_") in str(error.value) and "is not under" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"no HDF5", "cut", "empty"])
def test_a_damaged_file_is_said_by_name(folder, content):
    path = folder / "cuhk03_release" / "cuhk-03.mat"
    if content == "empty":  # HDF5 without what belongs in it
        h5py.File(path, "w").close()
    else:
        path.write_bytes(path.read_bytes()[:3000] if content == "cut" else content)
    with pytest.raises(UserError) as error:
        load()
    message = str(error.value)
    assert message.startswith("CUHK03 cannot be unpacked") and str(path) in message and "\n" not in message
