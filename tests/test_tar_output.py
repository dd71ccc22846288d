"""Tar files as an output: the files of a folder, in tars that are written whole, continued and read again."""

from __future__ import annotations

# isort: split
import io
import os
import shutil
import tarfile

import numpy as np
import pytest
from in_process import anonymize, contents, ended_before, random_pictures, recover, retrieve
from PIL import Image
from s3_server import s3_server

from fastreid_privacy.app.release import check_release, open_release
from fastreid_privacy.app.worst import find_suspects
from fastreid_privacy.collection import packing as packing_module
from fastreid_privacy.collection import shards as shards_module
from fastreid_privacy.collection.output import SHARDS, begin_journal
from fastreid_privacy.collection.review import WITHHELD, decide, made_by
from fastreid_privacy.collection.run import Threads
from fastreid_privacy.collection.stamps import STAMPS
from fastreid_privacy.collection.work import Left
from fastreid_privacy.core.errors import UserError
from fastreid_privacy.core.remote import place_of
from fastreid_privacy.keys.sealing import SEARCH, new_identity
from fastreid_privacy.manifest import JOURNAL, MANIFEST, files_of, read_manifest, unchanged, write_manifest

IMAGES = 11


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return random_pictures(tmp_path_factory.mktemp("raw"), IMAGES)


def tars(folder):
    return sorted(path.name for path in folder.glob("*.tar"))


def unpacked(folder, target):
    """A folder's tars unpacked by the library, and its other files beside them."""
    target.mkdir()
    for path in sorted(folder.iterdir()):
        if path.suffix == ".tar":
            with tarfile.open(path) as archive:
                archive.extractall(target, filter="data")
        else:
            shutil.copy(path, target)
    return target


def without_tars(manifest):
    """Header and lines of a manifest, but for what they say of tars."""
    manifest = read_manifest(manifest)
    lines = [{key: line[key] for key in line if key != "tar"} for line in manifest.entries.values()]
    return {key: manifest.header[key] for key in manifest.header if key != "tars"}, lines


@pytest.mark.parametrize("kind", ["learned", "blur", "pseudonyms", "jpg"])
def test_tars_hold_the_files_of_a_folder(weights, raw, tmp_path, kind):
    words = ["--input", raw, "--batch-size", 2, "--device", "cpu"]
    words += ["--method", "blur"] if kind in ("blur", "jpg") else ["--weights", weights]
    if kind == "jpg":
        words += ["--format", "jpg"]
    if kind == "pseudonyms":
        (tmp_path / "key").write_bytes(bytes(range(32)))
        words += ["--pseudonymize", tmp_path / "key"]
    alone, packed = tmp_path / "alone", tmp_path / "packed"
    assert anonymize(*words, "--output", alone) == 0
    assert anonymize(*words, "--output", packed, "--tars", 4) == 0
    assert tars(packed) == ["000000.tar", "000001.tar", "000002.tar"]
    assert {path.name for path in packed.iterdir()} == {*tars(packed), MANIFEST, STAMPS}
    one, other = contents(alone), contents(unpacked(packed, tmp_path / "unpacked"))
    assert one.keys() == other.keys()
    assert {path for path in one if one[path] != other[path]} == {MANIFEST}
    assert without_tars(alone / MANIFEST) == without_tars(packed / MANIFEST)
    manifest = read_manifest(packed / MANIFEST)
    assert manifest.header["tars"] == 4
    held = [
        [line["path"] for line in manifest.entries.values() if line["tar"] == tar] for tar in tars(packed)
    ]
    for tar, paths in zip(tars(packed), held, strict=True):  # in the order of the manifest, and nothing else
        with tarfile.open(packed / tar) as archive:
            assert archive.getnames() == paths
            assert {(info.mtime, info.uid, info.mode) for info in archive} == {(0, 0, 0o644)}
    assert list(map(len, held)) == [4, 4, 3]


def test_a_tar_ends_with_a_batch(raw, weights, tmp_path):
    words = {"weights": weights, "input": raw, "batch_size": 3, "tars": 4, "output": tmp_path / "out"}
    assert anonymize(**words) == 0
    lines = read_manifest(tmp_path / "out" / MANIFEST).entries.values()
    assert [line["tar"] for line in lines] == ["000000.tar"] * 6 + ["000001.tar"] * 5


def test_a_finished_run_is_left_as_it_is_and_another_number_is_refused(raw, tmp_path, capsys, monkeypatch):
    words = ["--method", "blur", "--input", raw, "--output", tmp_path / "out"]
    assert anonymize(*words, "--tars", 4) == 0
    before = contents(tmp_path / "out")
    monkeypatch.setattr(shards_module, "Packing", None)  # nothing is packed
    assert anonymize(*words, "--tars", 4) == 0
    assert contents(tmp_path / "out") == before
    for other in (["--tars", 5], []):
        assert anonymize(*words, *other) == 2
        assert "was made otherwise (tars" in capsys.readouterr().err
    more = shutil.copytree(raw, tmp_path / "more")
    shutil.copy(next(raw.rglob("*.png")), more / "another.png")
    words[3] = more
    assert anonymize(*words, "--tars", 4) == 2
    said = capsys.readouterr().err
    assert "images that came or went since would move it to 000001.tar; choose another folder" in said
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize("method", ["blur", "noise"])
def test_a_killed_run_continues_by_tars(raw, tmp_path, monkeypatch, method):
    words = ["--method", method, "--input", raw, "--tars", 4, "--output"]
    if method == "noise":
        from types import SimpleNamespace

        from fastreid_privacy.collection import protected_files

        drawn = SimpleNamespace(token_bytes=lambda count: bytes(range(count)))
        monkeypatch.setattr(protected_files, "secrets", drawn)
    assert anonymize(*words, tmp_path / "whole") == 0
    whole, output = shards_module.whole, tmp_path / "killed"

    def killed(left, work, batch, put):
        if left.tars[0] == "000001.tar" and batch is left.batches[-1]:
            raise KeyboardInterrupt
        return whole(left, work, batch, put)

    with monkeypatch.context() as patch:
        patch.setattr(shards_module, "whole", killed)
        assert anonymize(*words, output) == 130
    assert tars(output) == ["000000.tar"] and len(list((output / SHARDS).iterdir())) == 1
    first = (output / "000000.tar").stat()
    assert anonymize(*words, output) == 0
    assert contents(output) == contents(tmp_path / "whole")
    assert (output / "000000.tar").stat().st_mtime_ns == first.st_mtime_ns  # it was not written again


def test_a_tar_that_was_told_before_it_got_its_name_is_made_again(raw, tmp_path):
    words = ["--method", "blur", "--input", raw, "--tars", 4, "--output"]
    assert anonymize(*words, tmp_path / "whole") == 0
    with ended_before("000000.tar"):
        assert anonymize(*words, tmp_path / "killed") == 130
    assert tars(tmp_path / "killed") == [] and len(list((tmp_path / "killed" / SHARDS).iterdir())) == 1
    assert anonymize(*words, tmp_path / "killed") == 0
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_a_failed_image_leaves_the_others_of_its_tar(raw, tmp_path, capsys):
    some = shutil.copytree(raw, tmp_path / "raw")
    broken = some / "cam 1" / "pérson 03.png"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:100])
    words = ["--method", "blur", "--input", some, "--tars", 4, "--output"]
    assert anonymize(*words, tmp_path / "out") == 2
    assert "pérson 03.png" in capsys.readouterr().err
    manifest = read_manifest(tmp_path / "out" / MANIFEST)
    assert len(manifest.entries) == IMAGES - 1 and list(manifest.failed) == ["cam 1/pérson 03.png"]
    broken.write_bytes(whole)
    assert anonymize(*words, tmp_path / "out") == 0
    assert anonymize(*words, tmp_path / "whole") == 0
    one, other = contents(tmp_path / "out"), contents(tmp_path / "whole")
    assert one == other


def test_what_is_there_already_is_copied_as_it_is(raw, tmp_path):
    """Noise and sealed originals differ each time they are made."""
    new_identity(tmp_path / "keys", None)
    some = shutil.copytree(raw, tmp_path / "raw")
    broken = some / "cam 1" / "pérson 03.png"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:100])
    words = ["--method", "noise", "--input", some, "--seal", tmp_path / "keys" / "identity.pub"]
    words += ["--tars", 4, "--output", tmp_path / "out"]
    assert anonymize(*words) == 2
    before = contents(unpacked(tmp_path / "out", tmp_path / "before"))
    broken.write_bytes(whole)
    assert anonymize(*words) == 0
    after = contents(unpacked(tmp_path / "out", tmp_path / "after"))
    new = {"cam 1/pérson 03.png", "cam 1/pérson 03.png.sealed"}
    assert after.keys() - before.keys() == new
    assert {path for path in before if before[path] != after[path]} <= {MANIFEST, STAMPS}
    with tarfile.open(tmp_path / "out" / "000000.tar") as archive:
        assert archive.getnames() == sorted(archive.getnames())  # what lies beside a file follows it


@pytest.mark.parametrize("carry", ["beside", "pixels", "segment"])
def test_sealed_originals_open_from_tars(raw, tmp_path, carry, capsys):
    _, private = new_identity(tmp_path / "keys", None)
    words = ["--method", "blur", "--input", raw, "--seal", tmp_path / "keys" / "identity.pub"]
    words += ["--carry", carry, *(["--format", "jpg"] if carry == "segment" else [])]
    assert anonymize(*words, "--tars", 4, "--output", tmp_path / "out") == 0
    assert recover("--identity", private, "--input", tmp_path / "out", "--output", tmp_path / "raw") == 0
    assert contents(tmp_path / "raw") == contents(raw)
    capsys.readouterr()
    path = tmp_path / "out" / "000000.tar"
    content = bytearray(path.read_bytes())
    with tarfile.open(path) as archive:
        held = archive.getmembers()
        first = next((info for info in held if info.name.endswith(".sealed")), held[0])
    content[first.offset_data + first.size // 2] ^= 1
    path.write_bytes(content)
    assert recover("--identity", private, "--input", tmp_path / "out", "--output", tmp_path / "b") == 2
    assert len(contents(tmp_path / "b")) == IMAGES - 1
    assert "Traceback" not in capsys.readouterr().err


def test_recovery_reads_and_writes_tars(weights, raw, tmp_path, capsys):
    protect = ["--weights", weights, "--input", raw, "--device", "cpu", "--output"]
    assert anonymize(*protect, tmp_path / "alone") == 0
    assert anonymize(*protect, tmp_path / "packed", "--tars", 4) == 0
    words = ["--key", weights, "--device", "cpu", "--batch-size", 2, "--verify", raw]
    capsys.readouterr()
    assert recover(*words, "--input", tmp_path / "alone", "--output", tmp_path / "one") == 0
    told = capsys.readouterr().out
    assert recover(*words, "--input", tmp_path / "packed", "--output", tmp_path / "two", "--tars", 5) == 0
    assert capsys.readouterr().out.replace("two", "one") == told
    assert tars(tmp_path / "two") == ["000000.tar", "000001.tar"]
    one, two = contents(tmp_path / "one"), contents(unpacked(tmp_path / "two", tmp_path / "unpacked"))
    assert {path for path in one.keys() | two.keys() if one.get(path) != two.get(path)} == {MANIFEST}
    # and from tars that were unpacked beside their manifest
    there = unpacked(tmp_path / "packed", tmp_path / "there")
    assert recover(*words, "--input", there, "--output", tmp_path / "three") == 0
    three = contents(tmp_path / "three")
    assert {path for path in one if one[path] != three[path]} == {MANIFEST}


def test_a_no_takes_an_image_out_of_its_tar(raw, tmp_path, monkeypatch):
    words = ["--method", "blur", "--input", raw, "--output", tmp_path / "out", "--tars", 4]
    assert anonymize(*words) == 0
    before = contents(tmp_path / "out")
    manifest = read_manifest(tmp_path / "out" / MANIFEST)
    withheld = sorted(manifest.entries)[5]
    decide(tmp_path / "review", made_by(manifest.header), manifest.entries[withheld], False, "Ada", {})

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:  # before the tar is written: the next run does it
        patch.setattr(shards_module, "Packing", killed)
        assert anonymize(*words, "--review", tmp_path / "review") == 130
    assert anonymize(*words) == 2
    assert anonymize(*words, "--review", tmp_path / "review") == 0
    after = contents(tmp_path / "out")
    assert {name for name in before if before[name] != after[name]} == {"000001.tar", MANIFEST, STAMPS}
    with tarfile.open(tmp_path / "out" / "000001.tar") as archive:
        assert len(archive.getnames()) == 3 and withheld not in archive.getnames()
    assert read_manifest(tmp_path / "out" / MANIFEST).failed == {withheld: WITHHELD}
    monkeypatch.setattr(shards_module, "Packing", killed)  # and then nothing is left to do
    assert anonymize(*words, "--review", tmp_path / "review") == 0


def test_replaced_sources_are_named_and_renewed(raw, tmp_path, capsys):
    some = shutil.copytree(raw, tmp_path / "raw")
    words = ["--method", "blur", "--input", some, "--output", tmp_path / "out", "--tars", 4]
    assert anonymize(*words) == 0
    before = contents(tmp_path / "out")
    touched, replaced = some / "cam 1" / "pérson 01.png", some / "cam 1" / "pérson 05.png"
    os.utime(touched, (1, 1))
    Image.fromarray(np.random.default_rng(5).integers(0, 256, (40, 20, 3), np.uint8)).save(replaced)
    assert anonymize(*words) == 2
    said = capsys.readouterr().err
    assert "pérson 05.png" in said and "pérson 01.png" not in said and "--renew protects it anew" in said
    assert {name for name, content in contents(tmp_path / "out").items() if content != before[name]} <= {
        STAMPS
    }
    assert anonymize(*words, "--renew") == 0
    assert anonymize(*words[:4], "--output", tmp_path / "whole", "--tars", 4) == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_others_files_are_neither_lost_nor_taken(raw, tmp_path, capsys):
    words = ["--method", "blur", "--input", raw, "--output", tmp_path / "out", "--tars", 4]
    assert anonymize(*words) == 0
    tar = tmp_path / "out" / "000001.tar"
    whole = tar.read_bytes()
    (tmp_path / "out" / "000000.tar").unlink()

    def refused(content, *told):
        tar.write_bytes(content)
        assert anonymize(*words) == 2
        said = capsys.readouterr().err
        assert all(word in said for word in told) and "Traceback" not in said
        assert tar.read_bytes() == content

    refused(b"no tar at all" * 100, "000001.tar was changed since it was written", "delete it")
    changed = bytearray(whole)
    changed[700] ^= 1  # a pixel of the first file
    refused(bytes(changed), "000001.tar was changed since it was written", "delete it")
    # a tar of somebody else, where a killed run was to write one
    tar.write_bytes(whole)
    manifest = read_manifest(tmp_path / "out" / MANIFEST)
    lines = [line for line in manifest.entries.values() if line["tar"] != "000000.tar"]
    begin_journal(tmp_path / "out" / JOURNAL, manifest.header, lines)
    (tmp_path / "out" / MANIFEST).unlink()
    other = tmp_path / "out" / "000000.tar"
    with tarfile.open(other, "w") as archive:
        archive.add(raw / "cam 1" / "pérson 01.png", "theirs.png")
    content = other.read_bytes()
    assert anonymize(*words) == 2
    assert "holds theirs.png, which this run did not write" in capsys.readouterr().err
    with tarfile.open(other, "w") as archive:
        archive.add(raw / "cam 1" / "pérson 03.png", "cam 1/pérson 01.png")
    assert other.read_bytes() != content
    content = other.read_bytes()
    assert anonymize(*words) == 2
    assert "is not what this run makes" in capsys.readouterr().err
    assert other.read_bytes() == content


def test_a_full_disk_is_one_message(raw, tmp_path, capsys, monkeypatch):
    def full(self, batch):
        raise OSError(28, "No space left on device")

    words = ["--method", "blur", "--input", raw, "--output", tmp_path / "out", "--tars", 4]
    with monkeypatch.context() as patch:
        patch.setattr(packing_module.Packing, "add", full)
        assert anonymize(*words) == 2
    assert "000000.tar cannot be written: No space left on device; run the same" in capsys.readouterr().err
    assert not [path for path in (tmp_path / "out").iterdir() if "unfinished" in path.name]
    assert anonymize(*words) == 0


def test_a_store_gets_the_same_tars(raw, tmp_path):
    words = ["--method", "blur", "--input", raw, "--tars", 4, "--output"]
    with s3_server() as client:
        client.create_bucket(Bucket="crops")
        assert anonymize(*words, "s3://crops/out") == 0
        there = contents(place_of("s3://crops/out"))
        assert anonymize(*words, "s3://crops/out") == 0
        assert contents(place_of("s3://crops/out")) == there
    assert anonymize(*words, tmp_path / "here") == 0
    assert there == contents(tmp_path / "here")


def test_tars_are_refused_where_files_are_written_otherwise(raw, small_dataset, tmp_path, capsys):
    words = ["--tars", 4, "--output", tmp_path / "out"]
    (tmp_path / "video.mkv").write_bytes(b"")
    assert anonymize("--method", "blur", "--input", tmp_path / "video.mkv", *words) == 2
    assert "--tars is for collections of images, not a video" in capsys.readouterr().err
    assert anonymize("--method", "blur", "--input", "SyntheticPedestrians", *words) == 2
    assert "not a data set by its name" in capsys.readouterr().err
    _, private = new_identity(tmp_path / "keys", None)
    assert recover("--identity", private, "--input", raw, *words) == 2
    assert "not sealed originals" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_a_forged_manifest_says_of_tars_is_looked_at(raw, tmp_path):
    assert anonymize("--method", "blur", "--input", raw, "--output", tmp_path / "out", "--tars", 4) == 0
    manifest = read_manifest(tmp_path / "out" / MANIFEST)
    first, *others = manifest.entries.values()
    for tar in ("../x.tar", "/x.tar", "sub/x.tar", "x.png", 7, None):
        write_manifest(tmp_path / "out", manifest.header, [{**first, "tar": tar}, *others], {})
        with pytest.raises(UserError, match=r"has the tar file|leads out|names no file"):
            read_manifest(tmp_path / "out" / MANIFEST)


def test_files_are_found_in_tars_or_where_these_were_unpacked(raw, tmp_path):
    assert anonymize("--method", "blur", "--input", raw, "--output", tmp_path / "out", "--tars", 4) == 0
    folder = tmp_path / "out"
    manifest = read_manifest(folder / MANIFEST)
    files = files_of(folder, manifest.entries.values())
    assert all(unchanged(files, line) for line in manifest.entries.values())
    with tarfile.open(folder / "000001.tar") as archive:
        archive.extractall(folder, filter="data")
    (folder / "000001.tar").unlink()
    files = files_of(folder, manifest.entries.values())
    assert all(unchanged(files, line) for line in manifest.entries.values())
    (folder / "000002.tar").unlink()
    files = files_of(folder, manifest.entries.values())
    lost = [line["tar"] for line in manifest.entries.values() if not unchanged(files, line)]
    assert lost == ["000002.tar"] * 3


def test_a_release_in_tars_is_looked_at_file_by_file(raw, tmp_path):
    assert anonymize("--method", "blur", "--input", raw, "--output", tmp_path / "out", "--tars", 4) == 0
    release = open_release(tmp_path / "out")
    _, files, _, others, *_ = check_release(release)
    assert files.good and f"All {IMAGES} files are there" in files.title
    assert others.good is None and len(others.details) == 1 and STAMPS in others.details[0]
    suspects, _ = find_suspects(release, 3, raw)
    pictures = [suspect.pictures(release.files) for suspect in suspects]
    assert len(pictures) == 3 and all(one.shape == other.shape for one, other in pictures)
    with tarfile.open(tmp_path / "out" / "000001.tar", "a") as archive:
        archive.add(raw / "cam 1" / "pérson 01.png", "raw.png")
    _, files, _, others, *_ = check_release(release)
    assert (
        files.good and others.good is False and "000001.tar: it holds something else, too" in others.details
    )
    (tmp_path / "out" / "000002.tar").write_bytes(b"no tar")
    _, files, *_ = check_release(open_release(tmp_path / "out"))
    assert files.good is False and "3 of 11 files are missing" in files.title


@pytest.mark.parametrize("beside", [False, True])
def test_nothing_of_a_no_stays_where_tars_were_unpacked(raw, tmp_path, beside):
    words = ["--method", "blur", "--input", raw, "--output", tmp_path / "out", "--tars", 4]
    assert anonymize(*words) == 0
    manifest = read_manifest(tmp_path / "out" / MANIFEST)
    withheld = sorted(manifest.entries)[5]
    decide(tmp_path / "review", made_by(manifest.header), manifest.entries[withheld], False, "Ada", {})
    for tar in tars(tmp_path / "out"):
        with tarfile.open(tmp_path / "out" / tar) as archive:
            archive.extractall(tmp_path / "out", filter="data")
        if not beside:
            (tmp_path / "out" / tar).unlink()
    assert anonymize(*words, "--review", tmp_path / "review") == 0
    assert not (tmp_path / "out" / withheld).exists()
    for tar in tars(tmp_path / "out"):
        with tarfile.open(tmp_path / "out" / tar) as archive:
            assert withheld not in archive.getnames()


@pytest.mark.parametrize("place", [0, 5])
def test_a_no_also_takes_out_what_has_no_raw_image_any_more(raw, tmp_path, place):
    """The others stay where they are; a tar that would hold nothing is removed."""
    some = shutil.copytree(raw, tmp_path / "raw")
    words = ["--method", "blur", "--input", some, "--output", tmp_path / "out", "--tars", 1]
    assert anonymize(*words) == 0
    before = contents(tmp_path / "out")
    manifest = read_manifest(tmp_path / "out" / MANIFEST)
    withheld = sorted(manifest.entries)[place]
    tar = manifest.entries[withheld]["tar"]
    decide(tmp_path / "review", made_by(manifest.header), manifest.entries[withheld], False, "Ada", {})
    (some / withheld).unlink()
    assert anonymize(*words, "--review", tmp_path / "review") == 0
    after = contents(tmp_path / "out")
    assert after.keys() == before.keys() - {tar}
    assert {name for name in after if after[name] != before[name]} == {MANIFEST, STAMPS}
    assert read_manifest(tmp_path / "out" / MANIFEST).failed == {withheld: WITHHELD}
    assert anonymize(*words, "--review", tmp_path / "review") == 0
    assert contents(tmp_path / "out") == after


@pytest.mark.parametrize("how", ["blur", "noise", "sealed"])
@pytest.mark.parametrize("moment", ["00000000.jsonl", "000000.tar", MANIFEST])
def test_a_renewal_that_is_killed_goes_on(raw, tmp_path, capsys, how, moment):
    """Before the manifest of its shard is there, between that and the tar, or behind that."""
    some = shutil.copytree(raw, tmp_path / "raw")
    words = ["--method", "noise" if how == "noise" else "blur", "--input", some, "--tars", 4]
    words += ["--output", tmp_path / "out"]
    if how == "sealed":
        new_identity(tmp_path / "keys", None)
        words += ["--seal", tmp_path / "keys" / "identity.pub"]
    assert anonymize(*words) == 0
    before = contents(unpacked(tmp_path / "out", tmp_path / "before"))
    replaced = "cam 1/pérson 05.png"
    picture = np.random.default_rng(5).integers(0, 256, (40, 20, 3), np.uint8)
    Image.fromarray(picture).save(some / replaced)
    with ended_before(moment):
        assert anonymize(*words, "--renew") == 130
    assert anonymize(*words, "--renew") == 0
    after = contents(unpacked(tmp_path / "out", tmp_path / "after"))
    new = {path for path in after if after[path] != before[path]}
    assert {replaced} <= new <= {replaced, f"{replaced}.sealed", MANIFEST, STAMPS}
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["cut off", "missing", "folder", "pipe", "swapped"])
def test_what_one_tar_has_lost_is_named_and_the_rest_recovered(weights, raw, tmp_path, capsys, damage):
    words = ["--weights", weights, "--input", raw, "--device", "cpu", "--output", tmp_path / "out"]
    assert anonymize(*words, "--batch-size", 4, "--tars", 4) == 0
    tar = tmp_path / "out" / "000001.tar"
    whole = tar.read_bytes()
    tar.unlink()
    if damage == "cut off":
        tar.write_bytes(whole[: len(whole) // 2])
    elif damage == "folder":
        tar.mkdir()
    elif damage == "pipe":
        os.mkfifo(tar)
    elif damage == "swapped":
        shutil.copy(tmp_path / "out" / "000002.tar", tar)
    capsys.readouterr()
    words = ["--key", weights, "--device", "cpu", "--input", tmp_path / "out", "--output", tmp_path / "back"]
    assert recover(*words) == 2
    told = capsys.readouterr()
    assert "7 of 11 images recovered" in told.out and told.err.count("000001.tar") >= 4
    release = open_release(tmp_path / "out")
    assert "4 of 11 files are missing" in check_release(release)[1].title
    words = ["--weights", weights, "--input", raw, "--device", "cpu", "--output", tmp_path / "out"]
    code = anonymize(*words, "--batch-size", 4, "--tars", 4)
    told = capsys.readouterr().err
    assert code == 0 if damage == "missing" else "000001.tar was changed since it was written" in told


def test_sealed_originals_of_whole_tars_open_beside_a_damaged_one(raw, tmp_path, capsys):
    _, private = new_identity(tmp_path / "keys", None)
    words = ["--method", "mask", "--input", raw, "--seal", tmp_path / "keys" / "identity.pub"]
    words += ["--carry", "segment", "--format", "jpg"]
    assert anonymize(*words, "--tars", 4, "--output", tmp_path / "out") == 0
    (tmp_path / "out" / "000000.tar").write_bytes(b"no tar")
    assert recover("--identity", private, "--input", tmp_path / "out", "--output", tmp_path / "raw") == 2
    assert len(contents(tmp_path / "raw")) == IMAGES - 4
    assert "of 000000.tar: it is damaged" in capsys.readouterr().err


def test_other_names_in_as_many_images_are_refused_before_anything_is_written(raw, tmp_path, capsys):
    some = shutil.copytree(raw, tmp_path / "raw")
    (some / "cam 1" / "pérson 03.png").write_bytes(b"no picture")
    words = ["--method", "noise", "--input", some, "--output", tmp_path / "out", "--tars", 4]
    assert anonymize(*words) == 2
    before = contents(tmp_path / "out")
    (some / "cam 1" / "pérson 03.png").rename(some / "zoo.txt")
    shutil.copy(some / "cam 1" / "pérson 01.png", some / "龍.png")
    capsys.readouterr()
    assert anonymize(*words) == 2
    assert "would move it to 000000.tar; choose another folder" in capsys.readouterr().err
    assert contents(tmp_path / "out") == before
    (some / "zoo.txt").rename(some / "cam 1" / "pérson 03.png")
    assert anonymize(*words) == 2  # it is still no picture, but what comes last has a place
    assert len(read_manifest(tmp_path / "out" / MANIFEST).entries) == IMAGES


def test_a_raw_folder_that_is_called_as_a_tar_is_refused(raw, tmp_path, capsys):
    some = shutil.copytree(raw, tmp_path / "raw")
    (some / "cam 1").rename(some / "000000.tar")
    assert anonymize("--method", "blur", "--input", some, "--output", tmp_path / "out", "--tars", 4) == 2
    assert "lies in a folder that is called as a tar file is to be" in capsys.readouterr().err


def test_a_tar_of_images_that_all_failed_is_not_there(raw, tmp_path):
    some = shutil.copytree(raw, tmp_path / "raw")
    (some / "a.png").write_bytes(b"no picture")
    assert anonymize("--method", "blur", "--input", some, "--output", tmp_path / "out", "--tars", 1) == 2
    assert tars(tmp_path / "out") == [f"{number:06d}.tar" for number in range(1, IMAGES + 1)]


def test_a_release_passes_nothing_that_hides_in_tars_or_beside_them(raw, tmp_path):
    words = ["--method", "blur", "--input", raw, "--output", tmp_path / "good", "--tars", 4]
    assert anonymize(*words) == 0
    picture = (raw / "cam 1" / "pérson 01.png").read_bytes()

    def others(name, change):
        folder = shutil.copytree(tmp_path / "good", tmp_path / name)
        change(folder)
        return check_release(open_release(folder))[3]

    def added(member, tar="000001.tar", first=False):
        def change(folder):
            with tarfile.open(folder / tar) as archive:
                held = [(info.name, archive.extractfile(info).read()) for info in archive]
            with tarfile.open(folder / tar, "w", format=tarfile.GNU_FORMAT) as archive:
                for path, content in [(member, picture), *held] if first else [*held, (member, picture)]:
                    about = tarfile.TarInfo(path)
                    about.size = len(content)
                    archive.addfile(about, io.BytesIO(content))

        return change

    def behind(folder):
        with (folder / "000001.tar").open("ab") as file:
            file.write(picture)

    def unpack(folder):
        unpacked(folder, tmp_path / "all")
        shutil.copytree(tmp_path / "all", folder, dirs_exist_ok=True)

    assert others("as it is", lambda folder: None).good is None  # stamps, which are known
    assert others("unpacked", unpack).good is None
    first = read_manifest(tmp_path / "good" / MANIFEST).entries
    of_second = next(path for path, line in first.items() if line["tar"] == "000001.tar")
    of_first = next(path for path, line in first.items() if line["tar"] == "000000.tar")
    for name, change in {
        "raw files under protected paths": lambda folder: shutil.copytree(raw, folder, dirs_exist_ok=True),
        "one before the protected one": added(of_second, first=True),
        "one of another tar's name": added(of_first),
        "the manifest's name": added(MANIFEST),
        "behind the end": behind,
    }.items():
        assert others(name, change).good is False, name


def test_names_of_any_bytes_and_templates_travel_in_tars(raw, weights, tmp_path):
    some = shutil.copytree(raw, tmp_path / "raw")
    name = os.fsdecode(b"n\xe4me " + b"n" * 120 + b".png")
    shutil.copy(some / "cam 1" / "pérson 01.png", some / name)
    _, private = new_identity(tmp_path / "keys", None, holder=SEARCH)
    words = ["--method", "blur", "--input", some, "--search", tmp_path / "keys" / "search.pub"]
    words += ["--reid", weights, "--device", "cpu"]
    assert anonymize(*words, "--output", tmp_path / "out", "--tars", 5) == 0
    lines = read_manifest(tmp_path / "out" / MANIFEST).entries.values()
    assert len(lines) == IMAGES + 1 and all("template" in line for line in lines)
    files = files_of(tmp_path / "out", lines)
    assert all(unchanged(files, line) for line in lines)
    there = unpacked(tmp_path / "out", tmp_path / "there")
    assert all(unchanged(there, line) for line in lines)
    words = ["--search-key", private, "--gallery", there, "--index", tmp_path / "index"]
    assert retrieve("build", *words) == 0


def test_an_engine_of_single_files_takes_no_tars(tmp_path):
    with pytest.raises(ValueError, match="engine of shards"):
        next(Threads(1)(Left(tmp_path, {}, [], {}, [], {}, ["000000.tar"]), None))
