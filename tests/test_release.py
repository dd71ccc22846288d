"""release.json: the parts of an export are the listed files, or they are not read."""

from __future__ import annotations

import hashlib
import json
import shutil

import pytest
from in_process import export

from fastreid_privacy import UserError, load_anonymizer, load_recovery
from fastreid_privacy.checkpoints.reading import read_trained
from fastreid_privacy.checkpoints.splitting import split_checkpoint
from fastreid_privacy.keys import encryption

READERS = {
    "anonymizer.safetensors": load_anonymizer,
    "anonymizer.onnx": load_anonymizer,
    "recovery.key": lambda path: load_recovery(path, passphrase=lambda: "pass"),
    "recovery.onnx.key": lambda path: load_recovery(path, passphrase=lambda: "pass"),
    "reid.pth": read_trained,
}


@pytest.fixture(scope="module")
def released(small_run, tmp_path_factory):
    """Two releases of one run: the files of one are whole, and not those that the other lists."""
    folder = tmp_path_factory.mktemp("release")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encryption, "COST", {"n": 2**10, "r": 8, "p": 1})
        for name, weights in (("one", "model_best.pth"), ("two", "model_final.pth")):
            split_checkpoint(small_run / weights, folder / name, lambda: "pass", onnx=True)
        yield folder


@pytest.fixture
def release(released, tmp_path):
    return shutil.copytree(released / "one", tmp_path / "release")


def test_the_list_names_every_file(release):
    about = json.loads((release / "release.json").read_text())
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in release.iterdir()}
    del files["release.json"]
    assert about["files"] == files and set(READERS) < set(files)
    assert about["schema"] == 1 and about["format"] == "fastreid_privacy" and about["version"]


@pytest.mark.parametrize("name", READERS)
def test_a_part_is_the_listed_file_or_is_not_read(release, released, name):
    """An exchanged file is whole: its own checksum says nothing."""
    read, path = READERS[name], release / name
    read(path)
    shutil.copy(released / "two" / name, path)
    if path.read_bytes() == (released / "one" / name).read_bytes():  # of one check: best and final may agree
        path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(UserError, match=rf"{name} is not the file that .*release\.json lists"):
        read(path)
    shutil.copy(released / "one" / name, path)
    read(path)


def test_files_beside_a_list_that_are_not_on_it_are_read(release, small_run):
    shutil.copy(small_run / "model_final.pth", release / "other.pth")
    load_anonymizer(release / "other.pth")
    (release / "release.json").unlink()  # of a holder who got the part alone
    load_anonymizer(release / "anonymizer.safetensors")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[" * 5000,
        '{"schema": 2, "format": "fastreid_privacy", "files": {}}',
        '{"schema": 1, "format": "fastreid_privacy", "files": 3}',
        '{"schema": 1, "format": "fastreid_privacy", "files": {"reid.pth": null}}',
        '{"schema": 1, "format": "fastreid_privacy"}',
    ],
)
def test_a_damaged_list_is_refused_by_name(release, text):
    (release / "release.json").write_text(text)
    with pytest.raises(UserError, match=r"release\.json is damaged or no list of a release"):
        load_anonymizer(release / "anonymizer.safetensors")


def test_export_says_the_sum_of_the_list_and_overwrites_none(small_run, tmp_path, capsys):
    words = ["--weights", str(small_run / "model_best.pth"), "--unencrypted", "--output", str(tmp_path)]
    assert export(*words) == 0
    listed = (tmp_path / "release.json").read_bytes()
    assert f"its SHA-256 is {hashlib.sha256(listed).hexdigest()}" in capsys.readouterr().out
    for path in tmp_path.iterdir():
        if path.name != "release.json":
            path.unlink()
    assert export(*words) == 2 and "release.json: there already" in capsys.readouterr().err
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [listed]
