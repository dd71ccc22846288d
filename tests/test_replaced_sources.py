"""Raw files that were replaced under their old name: noticed by a continued and by a repeated run."""

from __future__ import annotations

# before fastreid: importing the package makes it work
from in_process import anonymize, ended_before, recover

from fastreid_privacy.collection import run as run_module
from fastreid_privacy.collection import staging

# isort: split
import errno
import json
import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from rendered_video import write_video

from fastreid_privacy.collection.stamps import STAMPS
from fastreid_privacy.core.pictures import read_picture
from fastreid_privacy.desensitize import Desensitizer
from fastreid_privacy.keys.sealing import new_identity
from fastreid_privacy.manifest import JOURNAL, MANIFEST, files_of, read_manifest
from fastreid_privacy.video import run as video_run

NAMES = [f"{number}.png" for number in range(5)]


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


def written(out):
    """What the files of a manifest are, those beside them among them, in tar files or not."""
    entries = read_manifest(out / MANIFEST).entries
    return {
        name: (files_of(out, entries.values()) / name).read_bytes()
        for entry in entries.values()
        for name in (entry["path"], entry["sealed"])
    }


@pytest.mark.parametrize("tars", [[], ["--tars", 1], ["--tars", 3]])
def test_a_renewal_that_fails_keeps_what_was_written(raw, words, tmp_path, capsys, tars):
    """Also what is sealed, which may be all that is left of the raw file; the next run still tells."""
    public, private = new_identity(tmp_path / "keys", None)
    words = [*words, "--seal", public, *tars]
    assert anonymize(*words) == 0
    before, good = written(tmp_path / "out"), (raw / NAMES[1]).read_bytes()
    (raw / NAMES[1]).write_bytes(good[:100])  # a disk went bad, or a copy is under way
    for option, reason in (("--renew", "it is damaged"), ("--renew", "it is damaged"), (None, "--renew pro")):
        assert anonymize(*words, *([option] if option else [])) == 2
        told = capsys.readouterr()
        assert f"1.png: {'its raw file was replaced' if option is None else reason}" in told.err
        assert "4 of 5 images protected" in told.out
        assert written(tmp_path / "out") == before
    opening = ["--identity", private, "--input", tmp_path / "out"]
    assert recover(*opening, "--output", tmp_path / "again") == 0
    assert (tmp_path / "again" / NAMES[1]).read_bytes() == good
    picture(77).save(raw / NAMES[1])  # whole by now
    assert anonymize(*words, "--renew") == 0
    after = written(tmp_path / "out")
    assert {name for name in after if after[name] != before[name]} == {NAMES[1], f"{NAMES[1]}.sealed"}
    assert recover(*opening, "--output", tmp_path / "third") == 0
    assert contents(tmp_path / "third") == contents(raw)


def test_a_tar_whose_raw_files_were_all_replaced_stays(raw, words, tmp_path, capsys):
    assert anonymize(*words, "--tars", 1) == 0
    before = contents(tmp_path / "out")
    replace(raw / NAMES[2])
    for _ in range(2):
        assert anonymize(*words, "--tars", 1) == 2
        assert "2.png: its raw file was replaced" in capsys.readouterr().err
        after = contents(tmp_path / "out")
        assert all(after[name] == before[name] for name in before if name.endswith(".tar"))


@pytest.mark.parametrize("moment", [f"{NAMES[3]}.sealed", NAMES[3], STAMPS])
def test_a_renewal_that_is_killed_goes_on(raw, words, tmp_path, moment):
    """With the old files, with the new sealed file beside the old picture, or with both."""
    public, private = new_identity(tmp_path / "keys", None)
    words = [*words, "--seal", public]
    assert anonymize(*words) == 0
    replace(raw / NAMES[3])
    with ended_before(moment):
        assert anonymize(*words, "--renew") == 130
    assert anonymize(*words, "--renew") == 0 and not (tmp_path / "out" / JOURNAL).exists()
    opening = ["--identity", private, "--input", tmp_path / "out"]
    assert recover(*opening, "--output", tmp_path / "again") == 0
    assert contents(tmp_path / "again") == contents(raw)
    for name in NAMES:
        assert np.array_equal(read_picture(tmp_path / "out" / name), blurred(raw / name)), name


def test_a_renewal_whose_second_write_fails_is_continued(raw, words, tmp_path, monkeypatch, capsys):
    """The sealed file is the new one by then: a manifest with the line of the old one opens neither."""
    public, private = new_identity(tmp_path / "keys", None)
    words, write = [*words, "--seal", public], staging.write_whole
    assert anonymize(*words) == 0
    replace(raw / NAMES[3])

    def refused(target, content, **options):
        if target.name == NAMES[3]:
            raise OSError(errno.EIO, "slow down")
        write(target, content, **options)

    with monkeypatch.context() as patch:
        patch.setattr(staging, "write_whole", refused)
        assert anonymize(*words, "--renew") == 2
    told = capsys.readouterr().err
    assert "3.png cannot be written: slow down; run the same command again to continue" in told
    assert anonymize(*words, "--renew") == 0
    assert recover("--identity", private, "--input", tmp_path / "out", "--output", tmp_path / "again") == 0
    assert contents(tmp_path / "again") == contents(raw)


def test_what_lay_beside_a_file_goes_when_the_new_one_carries_it(raw, words, tmp_path):
    """A sealed original that was too large for its pixels; that of the new raw file is not."""
    public, private = new_identity(tmp_path / "keys", None)
    words, sealed = [*words, "--seal", public, "--carry", "pixels"], tmp_path / "out" / f"{NAMES[0]}.sealed"
    assert anonymize(*words) == 0 and sealed.exists()
    Image.new("RGB", (24, 48), (200, 10, 10)).save(raw / NAMES[0])
    assert anonymize(*words, "--renew") == 0 and not sealed.exists()
    opening = ["--identity", private, "--input", tmp_path / "out"]
    assert recover(*opening, "--output", tmp_path / "again") == 0
    assert contents(tmp_path / "again") == contents(raw)


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
        opening = ["--identity", private, "--input", tmp_path / "out"]
        assert recover(*opening, "--output", tmp_path / "again") == 0
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


def test_a_replaced_picture_whose_sealed_file_was_moved_away_is_still_known(raw, words, tmp_path, capsys):
    """It was said that no run had written it, its line was lost, and nothing renewed it."""
    public, private = new_identity(tmp_path / "keys", None)
    words, sealed = [*words, "--seal", public], tmp_path / "out" / f"{NAMES[3]}.sealed"
    assert anonymize(*words) == 0
    before, line = contents(tmp_path / "out"), read_manifest(tmp_path / "out" / MANIFEST).entries[NAMES[3]]
    shutil.move(sealed, tmp_path / "for_the_owner")
    replace(raw / NAMES[3])
    assert anonymize(*words) == 2
    assert "3.png: its raw file was replaced" in capsys.readouterr().err
    assert read_manifest(tmp_path / "out" / MANIFEST).entries[NAMES[3]] == line
    after = contents(tmp_path / "out")
    assert after.keys() == before.keys() - {sealed.name} and after[NAMES[3]] == before[NAMES[3]]
    assert anonymize(*words, "--renew") == 0
    opening = ["--identity", private, "--input", tmp_path / "out"]
    assert recover(*opening, "--output", tmp_path / "again") == 0
    assert contents(tmp_path / "again") == contents(raw)


@pytest.fixture
def protected_video(tmp_path):
    """The words that made a video, another one that has taken its place since, and the private key."""
    video, rng = tmp_path / "video.mkv", np.random.default_rng(0)
    frames = [rng.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(3)]
    write_video(video, frames)
    (tmp_path / "boxes.txt").write_text("1,1,8,8,20,30\n2,1,8,8,20,30\n")
    public, private = new_identity(tmp_path / "keys", None)
    words = ["--method", "blur", "--input", video, "--boxes", tmp_path / "boxes.txt", "--seal", public]
    words += ["--output", tmp_path / "out"]
    assert anonymize(*words) == 0
    checked = {"level": "3", "slices": "4", "slicecrc": "1"}
    shutil.move(write_video(tmp_path / "other.mkv", frames[::-1], options=checked), video)
    return words, video, private


def opened(private, tmp_path, name):
    words = ["--identity", private, "--input", tmp_path / "out", "--output", tmp_path / name]
    assert recover(*words) == 0
    return (tmp_path / name / "video.mkv").read_bytes()


def test_a_video_whose_renewal_fails_stays(protected_video, tmp_path, capsys):
    words, video, private = protected_video
    before, whole = contents(tmp_path / "out"), video.read_bytes()
    place = len(whole) * 3 // 4  # in the last frame
    video.write_bytes(whole[:place] + bytes(20) + whole[place + 20 :])
    assert anonymize(*words, "--renew") == 2
    assert f"{video} is damaged" in capsys.readouterr().err
    after = contents(tmp_path / "out")
    assert after.pop(JOURNAL) and after == before
    assert opened(private, tmp_path, "first") != whole
    assert anonymize(*words) == 2
    assert "was replaced since" in capsys.readouterr().err
    video.write_bytes(whole)
    assert anonymize(*words, "--renew") == 0 and opened(private, tmp_path, "second") == whole
    assert not (tmp_path / "out" / JOURNAL).exists()


@pytest.mark.parametrize("moment", ["frames", "beside", "name"])
def test_a_video_whose_renewal_is_killed_goes_on(protected_video, tmp_path, monkeypatch, moment):
    """While frames are written, with the new sealed file beside the old video, or before it gets its name."""
    words, video, private = protected_video
    enter = video_run.enter

    def killed(*arguments, **options):
        if moment == "name":
            enter(*arguments, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(video_run, "_write" if moment == "frames" else "enter", killed)
        assert anonymize(*words, "--renew") == 130
    assert anonymize(*words, "--renew") == 0
    assert opened(private, tmp_path, "again") == video.read_bytes()
    entry = read_manifest(tmp_path / "out" / MANIFEST).entries["video.mkv"]
    assert not (tmp_path / "out" / JOURNAL).exists() and "renewed" not in entry
    assert anonymize(*words) == 0


def test_what_lay_beside_a_video_and_is_gone_is_named(protected_video, tmp_path, capsys):
    """It was said that no run had written the video."""
    words, _, _ = protected_video
    assert anonymize(*words, "--renew") == 0
    sealed = tmp_path / "out" / "video.mkv.sealed"
    shutil.move(sealed, tmp_path / "for_the_owner")
    before = contents(tmp_path / "out")
    assert anonymize(*words) == 2
    assert f"{sealed} is not there any more" in capsys.readouterr().err
    assert contents(tmp_path / "out") == before
    shutil.move(tmp_path / "for_the_owner", sealed)
    assert anonymize(*words) == 0
