"""Raw files that were replaced under their old name: noticed by a continued and by a repeated run."""

from __future__ import annotations

# before fastreid: importing the package makes it work
from fastreid_privacy.collection import run as run_module

# isort: split
import json
import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from rendered_video import write_video

from fastreid_privacy.collection.stamps import STAMPS
from fastreid_privacy.commands import anonymize as anonymize_command
from fastreid_privacy.commands import recover as recover_command
from fastreid_privacy.core.pictures import read_picture
from fastreid_privacy.desensitize import Desensitizer
from fastreid_privacy.keys.sealing import new_identity
from fastreid_privacy.manifest import JOURNAL, MANIFEST, read_manifest

NAMES = [f"{number}.png" for number in range(5)]


def anonymize(*words) -> int:
    return anonymize_command.main([str(word) for word in words])


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (48, 24, 3), np.uint8))


def blurred(path) -> np.ndarray:
    """What is to be written of a raw file."""
    images = torch.from_numpy(read_picture(path)).permute(2, 0, 1)[None]
    return Desensitizer("blur")(images)[0].permute(1, 2, 0).numpy()


def replace(path, seed=99) -> None:
    """Put another picture in the place of a raw file, as old as the one before and of the same size."""
    before = path.stat()
    picture(seed).save(path)
    size = path.stat().st_size
    with path.open("ab") as file:  # what follows a PNG's end is not looked at
        file.write(b"\0" * max(0, before.st_size - size))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        picture(number).save(folder / name)
    return folder


@pytest.fixture
def words(raw, tmp_path):
    return ["--method", "blur", "--input", raw, "--output", tmp_path / "out", "--batch-size", 2]


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*")}


def stop_before_the_end(monkeypatch, words):
    """A run that is interrupted when all files are written and journalled."""
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "write_manifest", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert anonymize(*words) == 130


@pytest.mark.parametrize("finished", [True, False])
def test_a_replaced_picture_is_named_and_protected_anew_when_asked(
    raw, words, tmp_path, monkeypatch, capsys, finished
):
    out = tmp_path / "out"
    if finished:
        assert anonymize(*words) == 0
    else:
        stop_before_the_end(monkeypatch, words)
        assert (out / JOURNAL).stat().st_mode & 0o777 == 0o600
    before = contents(out)
    replace(raw / NAMES[3])
    for _ in range(2):  # it is not forgotten
        capsys.readouterr()
        assert anonymize(*words) == 2
        told = capsys.readouterr()
        assert "1 images were not protected:\n  3.png: its raw file was replaced since" in told.err
        assert "--renew protects it anew" in told.err and "4 of 5 images protected" in told.out
        after = contents(out)
        assert all(after[name] == before[name] for name in NAMES)
        assert read_manifest(out / MANIFEST).complete and len(read_manifest(out / MANIFEST).entries) == 5
    assert anonymize(*words, "--renew") == 0
    for name in NAMES:
        assert np.array_equal(read_picture(out / name), blurred(raw / name)), name
    assert {name for name in NAMES if (out / name).read_bytes() != before[name]} == {NAMES[3]}
    assert anonymize(*words) == 0  # and now it is known


def test_pictures_that_only_have_another_time_are_the_same(raw, words, tmp_path, capsys):
    assert anonymize(*words) == 0
    before = contents(tmp_path / "out")
    for name in NAMES:
        os.utime(raw / name, (1, 1))  # as a copy may have it
    assert anonymize(*words) == 0
    after = contents(tmp_path / "out")
    assert {name for name in after if after[name] != before[name]} == {STAMPS}
    assert anonymize(*words) == 0 and contents(tmp_path / "out") == after
    assert "replaced" not in capsys.readouterr().err


def test_a_replaced_picture_that_cannot_be_read_keeps_what_was_written(raw, words, tmp_path, capsys):
    assert anonymize(*words) == 0
    before = contents(tmp_path / "out")
    (raw / NAMES[1]).write_bytes(b"")
    assert anonymize(*words) == 2
    assert "1.png: the file is empty" in capsys.readouterr().err
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize("kind", ["noise", "sealed"])
def test_what_cannot_be_made_again_is_named_by_its_time_alone(raw, words, tmp_path, capsys, kind):
    public, private = new_identity(tmp_path / "keys", None)
    words = [*words, *(["--seal", public] if kind == "sealed" else ["--method", "noise"])]
    assert anonymize(*words) == 0
    before = contents(tmp_path / "out")
    os.utime(raw / NAMES[0], (1, 1))
    replace(raw / NAMES[3])
    assert anonymize(*words) == 2
    told = capsys.readouterr().err
    assert "2 images were not protected" in told and "0.png: its raw file was" in told and "3.png" in told
    assert contents(tmp_path / "out") == before
    assert anonymize(*words, "--renew") == 0
    after = contents(tmp_path / "out")
    same = [name for name in NAMES[1:3] + NAMES[4:] if after[name] == before[name]]
    assert len(same) == 3 and after[NAMES[3]] != before[NAMES[3]]
    if kind == "sealed":
        main = [str(word) for word in ("--identity", private, "--input", tmp_path / "out")]
        assert recover_command.main([*main, "--output", str(tmp_path / "again")]) == 0
        assert contents(tmp_path / "again") == contents(raw)


def test_stamps_are_private_and_no_part_of_the_manifest(raw, words, tmp_path):
    assert anonymize(*words) == 0
    first, *lines = map(json.loads, (tmp_path / "out" / STAMPS).read_text().splitlines())
    assert first == {"kind": "fastreid_privacy sources", "schema": 1}
    assert [line["path"] for line in lines] == NAMES and all(len(line["stamp"]) == 8 for line in lines)
    assert (tmp_path / "out" / STAMPS).stat().st_mode & 0o777 == 0o600
    manifest = (tmp_path / "out" / MANIFEST).read_text()
    assert "stamp" not in manifest and not any(line["stamp"] in manifest for line in lines)
    # names that are pseudonyms are not undone by who has the raw files and no key
    (tmp_path / "key").write_bytes(bytes(16))
    assert anonymize(*words[:4], "--output", tmp_path / "p", "--pseudonymize", tmp_path / "key") == 0
    _, *hidden = map(json.loads, (tmp_path / "p" / STAMPS).read_text().splitlines())
    assert len(hidden) == 5 and not {line["stamp"] for line in hidden} & {line["stamp"] for line in lines}


def test_a_folder_of_an_older_version_learns_its_raw_files(raw, words, tmp_path, capsys):
    assert anonymize(*words) == 0
    (tmp_path / "out" / STAMPS).unlink()
    assert anonymize(*words) == 0 and (tmp_path / "out" / STAMPS).is_file()
    replace(raw / NAMES[2])
    assert anonymize(*words) == 2
    assert "2.png: its raw file was replaced" in capsys.readouterr().err


def test_damaged_stamps_are_said(words, tmp_path, capsys):
    assert anonymize(*words) == 0
    for content in (b"", b"{}\n", b"[" * 1000, b'{"kind": "fastreid_privacy sources", "schema": 1}\n{}\n'):
        (tmp_path / "out" / STAMPS).write_bytes(content)
        assert anonymize(*words) == 2
        assert f"{STAMPS} is damaged" in capsys.readouterr().err


def test_a_replaced_video_is_named_and_protected_anew_when_asked(tmp_path, capsys):
    video, out = tmp_path / "video.mkv", tmp_path / "out"
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(2)]
    write_video(video, frames)
    (tmp_path / "boxes.txt").write_text("1,1,8,8,20,30\n2,1,8,8,20,30\n")
    words = ["--method", "blur", "--input", video, "--boxes", tmp_path / "boxes.txt", "--output", out]
    assert anonymize(*words) == 0
    before = contents(out)
    assert anonymize(*words) == 0 and contents(out) == before
    shutil.move(write_video(tmp_path / "other.mkv", frames[::-1]), video)
    assert anonymize(*words) == 2
    assert f"{video} was replaced since {out / 'video.mkv'} was made from it" in capsys.readouterr().err
    assert contents(out) == before
    assert anonymize(*words, "--renew") == 0
    after = contents(out)
    assert after["video.mkv"] != before["video.mkv"] and set(after) == {
        MANIFEST,
        STAMPS,
        "video.mkv",
        "video.mkv.audit.jsonl",
    }
    assert anonymize(*words) == 0 and contents(out) == after
