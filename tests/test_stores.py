"""Collections in places that fsspec opens: a store that speaks S3 on this machine, and the memory."""

from __future__ import annotations

# isort: split
import errno
import io
import os
import shutil
import socket
from urllib.parse import quote

import fsspec
import fsspec.implementations.memory
import numpy as np
import pytest
from fsspec.exceptions import FSTimeoutError
from fsspec.implementations.local import LocalFileSystem
from in_process import anonymize, contents, recover
from PIL import Image
from s3_server import s3_server

from fastreid_privacy.collection import protected_files
from fastreid_privacy.collection import run as run_module
from fastreid_privacy.collection.output import SHARDS
from fastreid_privacy.collection.review import decide, made_by
from fastreid_privacy.collection.shards import InShards
from fastreid_privacy.collection.stamps import STAMPS
from fastreid_privacy.core.errors import UserError
from fastreid_privacy.core.files import read_regular, write_atomically
from fastreid_privacy.core.remote import RemotePath, place_of
from fastreid_privacy.keys.sealing import new_identity
from fastreid_privacy.manifest import JOURNAL, MANIFEST, read_manifest

IMAGES = 7


def picture(number, size=(40, 20)):
    content = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Pictures, a list and a hidden file."""
    root = tmp_path_factory.mktemp("raw")
    (root / "cam 1").mkdir()
    for number in range(IMAGES):
        name = f"cam 1/pérson {number}.png" if number % 2 else f"{number}.PNG"
        (root / name).write_bytes(picture(number))
    (root / "list.txt").write_text("of images")
    (root / ".hidden.png").write_bytes(picture(99))
    return root


@pytest.fixture(scope="module")
def s3():
    """The client of a store that speaks S3."""
    with s3_server() as client:
        yield client


@pytest.fixture
def bucket(s3, raw, request):
    """A bucket of the test's own that holds the raw pictures: its URL."""
    name = f"b{abs(hash(request.node.name))}"
    s3.create_bucket(Bucket=name)
    for path, content in contents(raw).items():
        s3.put_object(Bucket=name, Key=f"raw/{path}", Body=content)
    return f"s3://{name}"


def test_a_collection_in_a_store_has_the_bytes_of_a_folder(weights, raw, bucket, tmp_path, capsys):
    words = ["--weights", weights, "--batch-size", 2, "--device", "cpu"]
    assert anonymize(*words, "--input", raw, "--output", tmp_path / "one") == 0
    said = capsys.readouterr()
    assert anonymize(*words, "--input", f"{bucket}/raw/", "--output", f"{bucket}/out") == 0
    assert capsys.readouterr().err == said.err and "left out" in said.err and "list.txt" in said.err
    one, many = contents(tmp_path / "one"), contents(place_of(f"{bucket}/out"))
    assert many.keys() == one.keys()
    assert {path for path in one if many[path] != one[path]} == {STAMPS}  # of times, which differ
    # there and back
    words = ["--key", weights, "--batch-size", 2]
    assert recover(*words, "--input", tmp_path / "one", "--output", tmp_path / "r", "--verify", raw) == 0
    figures = capsys.readouterr().out.replace(str(tmp_path / "r"), "r")
    again = f"{bucket}/recovered"
    assert recover(*words, "--input", f"{bucket}/out", "--output", again, "--verify", raw) == 0
    assert capsys.readouterr().out.replace(again, "r") == figures
    assert contents(place_of(again)) == contents(tmp_path / "r")


@pytest.mark.parametrize("method", ["blur", "noise"])
def test_a_killed_run_in_a_store_is_continued(raw, bucket, tmp_path, monkeypatch, method, stream_keys):
    out = place_of(f"{bucket}/out")
    words = ["--method", method, "--input", f"{bucket}/raw"]

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(InShards, "__init__", lambda self, threads: vars(self).update(threads=1, images=2))
        patch.setattr(run_module, "write_manifest", killed)
        assert anonymize(*words, "--output", out) == 130
    left = contents(out)
    assert JOURNAL in left and sum(path.startswith(SHARDS) for path in left) == 4 and MANIFEST not in left
    key = left.get(protected_files.NOISE_KEY, b"")
    written = []
    monkeypatch.setattr(
        RemotePath,
        "write_bytes",
        lambda self, _, write=RemotePath.write_bytes: (written.append(self.name), write(self, _)),
    )
    assert anonymize(*words, "--output", out) == 0
    assert not [name for name in written if name.endswith(".png")]  # all of them were there
    monkeypatch.setattr(protected_files.secrets, "token_bytes", lambda count: key[:count])
    assert anonymize(*words[:2], "--input", raw, "--output", tmp_path / "one") == 0
    one, many = contents(tmp_path / "one"), contents(out)
    assert many.keys() == one.keys() and all(many[path] == one[path] for path in one if path != STAMPS)


def test_the_rules_of_a_run_hold_in_a_store(s3, bucket, raw, tmp_path, capsys):
    out, name = f"{bucket}/out", bucket.removeprefix("s3://")
    words = ["--method", "blur", "--input", f"{bucket}/raw", "--output", out]

    def refusal(*words):
        assert anonymize(*words) == 2
        said = capsys.readouterr().err
        assert "Traceback" not in said
        return said

    s3.put_object(Bucket=name, Key="out/others", Body=b"of somebody else")
    assert "is not empty, and no earlier run wrote it" in refusal(*words)
    s3.delete_object(Bucket=name, Key="out/others")
    assert "lie in each other" in refusal(*words[:-1], f"{bucket}/raw/out")
    s3.put_object(Bucket=name, Key="raw/broken.png", Body=picture(3)[:100])
    assert "broken.png" in refusal(*words)
    s3.delete_object(Bucket=name, Key="raw/broken.png")
    assert anonymize(*words) == 0
    assert "was made otherwise" in refusal(*words, "PRIVACY.DESENSITIZER.BLUR_SIGMA", 4)
    # a source of another size under the old name
    s3.put_object(Bucket=name, Key="raw/2.PNG", Body=picture(50, (50, 30)))
    assert "2.PNG" in refusal(*words)
    assert anonymize(*words, "--renew") == 0
    s3.put_object(Bucket=name, Key="out/0.png", Body=b"changed")
    assert f"{out}/0.png was changed since it was written" in refusal(*words)
    s3.delete_object(Bucket=name, Key="raw/0.PNG")
    assert "of images that --input has no more" in refusal(*words)


def test_what_is_sealed_lies_in_the_store(bucket, raw, tmp_path):
    public, private = new_identity(tmp_path / "keys", None)
    words = ["--method", "blur", "--input", f"{bucket}/raw", "--output", f"{bucket}/out", "--seal", public]
    assert anonymize(*words) == 0
    for path, content in contents(place_of(f"{bucket}/out")).items():
        target = tmp_path / "copy" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    assert recover("--identity", private, "--input", tmp_path / "copy", "--output", tmp_path / "raw") == 0
    images = {path: content for path, content in contents(raw).items() if path.lower().endswith(".png")}
    images.pop(".hidden.png")
    assert contents(tmp_path / "raw") == images


@pytest.mark.parametrize("missing", ["", ".sealed"])
def test_nothing_of_a_no_stays_in_a_store(s3, bucket, tmp_path, missing):
    public, _ = new_identity(tmp_path / "keys", None)
    words = ["--method", "blur", "--input", f"{bucket}/raw", "--output", f"{bucket}/out", "--seal", public]
    assert anonymize(*words) == 0
    out, review = place_of(f"{bucket}/out"), tmp_path / "review.jsonl"
    before, manifest = contents(out), read_manifest(out / MANIFEST)
    decide(review, made_by(manifest.header), manifest.entries["2.png"], False, "Ada", {})
    s3.delete_object(Bucket=bucket.removeprefix("s3://"), Key=f"out/2.png{missing}")
    assert anonymize(*words, "--review", review) == 0
    assert contents(out).keys() == before.keys() - {"2.png", "2.png.sealed"}


# -- faults --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("s3://no-such-bucket/raw", "--input s3://no-such-bucket/raw"),
        ("nosuch://bucket/raw", "nosuch://bucket/raw cannot be opened: Protocol not known: nosuch"),
        ("memory://empty", "--input memory://empty holds no image"),
    ],
)
def test_a_place_that_cannot_be_read_is_one_message(s3, tmp_path, capsys, place, said):
    assert anonymize("--method", "blur", "--input", place, "--output", tmp_path / "out") == 2
    told = capsys.readouterr().err
    assert said in told and "Traceback" not in told and not (tmp_path / "out").exists()


def test_a_store_that_nobody_serves_is_one_message(tmp_path, capsys):
    """Errors of aiohttp are the system's, made otherwise: of another number of words."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # where nobody listens
        place = f"http://127.0.0.1:{taken.getsockname()[1]}/x"
        (tmp_path / "key").write_bytes(b"")
        assert recover("--key", tmp_path / "key", "--input", place, "--output", tmp_path / "out") == 2
    told = capsys.readouterr().err
    assert f"error: {place}" in told and "Connect call failed" in told and "Traceback" not in told


class OfALibrary(ConnectionError):
    """An error of the system with a constructor of its own, as aiohttp's are."""

    def __init__(self, key, number, reason):
        super().__init__(number, reason)


@pytest.mark.parametrize(
    ("raised", "kind", "number"),
    [
        (OfALibrary("key", errno.ECONNREFUSED, "no"), ConnectionRefusedError, errno.ECONNREFUSED),
        (OSError(errno.ENOENT, "no"), FileNotFoundError, errno.ENOENT),
        (FileNotFoundError("no"), FileNotFoundError, errno.ENOENT),  # as fsspec raises it
        (PermissionError("no"), PermissionError, errno.EACCES),
        (FSTimeoutError("no"), TimeoutError, errno.ETIMEDOUT),
        (OSError("no"), OSError, errno.EIO),
        (KeyError("no"), OSError, errno.EIO),
    ],
)
@pytest.mark.parametrize("reading", [True, False])
def test_whatever_a_library_raises_is_an_error_of_the_system(monkeypatch, raised, kind, number, reading):
    """What it says is told but for files that are read: their names may be in it."""

    def fail(self, path, *content):
        raise raised

    place, system = RemotePath("memory://a.png"), fsspec.implementations.memory.MemoryFileSystem
    monkeypatch.setattr(system, "cat_file", fail)
    monkeypatch.setattr(system, "pipe_file", fail)
    with pytest.raises(OSError) as told:
        place.read_bytes() if reading else place.write_bytes(b"")
    assert (type(told.value), told.value.errno, told.value.filename) == (kind, number, "memory://a.png")
    if not reading:
        assert "no" in told.value.strerror
    elif number != errno.EIO:
        assert told.value.strerror == os.strerror(number)
    else:
        assert told.value.strerror == type(raised).__name__


@pytest.mark.parametrize(
    ("raised", "reason"),
    [
        (lambda path: FileNotFoundError(path), "No such file or directory"),  # as fsspec raises it
        (lambda path: OSError(f"Forbidden: https://x.test/o/{quote(path, safe='')}"), "OSError"),  # as gcsfs
        (lambda path: PermissionError(13, f"AccessDenied: {path.replace(' ', '+')}"), "Permission denied"),
        (lambda path: KeyError(path), "KeyError"),
    ],
)
def test_a_reason_in_the_manifest_does_not_undo_a_pseudonym(raw, monkeypatch, tmp_path, raised, reason):
    system = fsspec.implementations.memory.MemoryFileSystem
    for path, content in contents(raw).items():
        RemotePath(f"memory://told/{path}").write_bytes(content)
    read = system.cat_file

    def cat_file(self, path, *more, **how):
        if path.endswith("pérson 3.png"):
            raise raised(path)
        return read(self, path, *more, **how)

    monkeypatch.setattr(system, "cat_file", cat_file)
    (tmp_path / "key").write_bytes(bytes(range(16)))
    words = ["--method", "blur", "--input", "memory://told", "--output", tmp_path / "out"]
    assert anonymize(*words, "--pseudonymize", tmp_path / "key") == 2
    (told,) = read_manifest(tmp_path / "out" / MANIFEST).failed.values()
    assert told == f"it cannot be read: {reason}"


def test_an_output_that_cannot_be_written_is_one_message(s3, raw, capsys):
    assert anonymize("--method", "blur", "--input", raw, "--output", "s3://no-such-bucket/out") == 2
    told = capsys.readouterr().err
    assert "s3://no-such-bucket/out" in told and "Traceback" not in told
    with pytest.raises(SystemExit):
        anonymize("--method", "blur", "--input", raw, "--output", "nosuch://bucket/out")
    assert "argument --output: nosuch://bucket/out cannot be opened" in capsys.readouterr().err


def test_files_that_a_store_refuses_are_named(bucket, tmp_path, capsys, monkeypatch):
    write, read = RemotePath.write_bytes, RemotePath.read_bytes

    def refuse(name, function):
        def wrapper(self, *content):
            if self.name == name:
                raise OSError(errno.EIO, "ClientError: slow down", str(self))
            return function(self, *content)

        return wrapper

    monkeypatch.setattr(RemotePath, "write_bytes", refuse("2.png", write))
    monkeypatch.setattr(RemotePath, "read_bytes", refuse("4.PNG", read))
    words = ["--method", "blur", "--input", f"{bucket}/raw", "--output", f"{bucket}/out"]
    assert anonymize(*words) == 2
    said = capsys.readouterr().err
    assert "2.PNG: it cannot be written: ClientError: slow down" in said
    assert "4.PNG: it cannot be read: ClientError: slow down" in said
    monkeypatch.undo()
    assert anonymize(*words) == 0


def test_videos_and_sealed_originals_need_a_folder(raw, tmp_path, capsys):
    (tmp_path / "video.mkv").write_bytes(b"")
    words = ["--method", "blur", "--input", tmp_path / "video.mkv", "--output", "memory://out"]
    assert anonymize(*words) == 2
    assert "--output memory://out: a video needs a folder of this machine" in capsys.readouterr().err
    _, private = new_identity(tmp_path / "keys", None)
    assert recover("--identity", private, "--input", "memory://in", "--output", tmp_path / "out") == 2
    assert "--input memory://in: opening sealed originals needs a folder" in capsys.readouterr().err


# -- places --------------------------------------------------------------------------------------------------


def test_words_become_places(tmp_path):
    assert place_of("a/b") == type(tmp_path)("a/b") and place_of(f"file://{tmp_path}") == tmp_path
    place = place_of("memory://folder/")
    assert str(place / "a" / "b.png") == "memory://folder/a/b.png"
    assert (place / "a").parent == place and (place / "a/b.png").name == "b.png" and place / "." == place
    with pytest.raises(TypeError, match="no path of this machine"):
        os.fspath(place)


def test_folders_of_a_store_that_are_not_searched_are_named(raw, tmp_path, monkeypatch, capsys):
    """fsspec's walk passes over both without a word."""
    folder = tmp_path / "in"
    shutil.copytree(raw, folder / "open")
    for closed in ("closed", ".closed", "open/closed"):
        shutil.copytree(raw, folder / closed)
    (folder / "link").symlink_to("open")
    (folder / "image.png").symlink_to(folder / "open" / "0.PNG")
    ls = LocalFileSystem.ls

    def some_closed(self, path, **options):
        if path.endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return ls(self, path, **options)

    monkeypatch.setattr(LocalFileSystem, "ls", some_closed)
    assert anonymize("--method", "blur", "--input", f"local://{folder}", "--output", tmp_path / "out") == 2
    said = capsys.readouterr()
    assert f"{IMAGES + 1} of {IMAGES + 1} images protected" in said.out
    assert "3 images were not protected:\n  closed/: it cannot be listed: Permission denied\n" in said.err
    assert "  link/: links to folders are not followed in a store\n" in said.err
    assert "  open/closed/: it cannot be listed" in said.err and ".closed" not in said.err
    monkeypatch.setattr(LocalFileSystem, "ls", lambda self, path, **_: some_closed(self, "closed"))
    assert anonymize("--method", "blur", "--input", f"local://{folder}", "--output", tmp_path / "no") == 2
    assert "cannot be listed: Permission denied" in capsys.readouterr().err


@pytest.mark.parametrize("protocol", ["memory", "local"])
def test_a_place_is_as_a_path(tmp_path, protocol):
    """Where files of a store are not whole or not at all by themselves, they are moved."""
    place = place_of(f"{protocol}://{tmp_path}/folder")
    assert not place.exists() and not place.is_dir() and not list(place.iterdir())
    place.mkdir(parents=True, exist_ok=True)
    file = place / "a.png"
    with pytest.raises(UserError, match="it cannot be read: "):
        read_regular(file)
    write_atomically(file, lambda stream: stream.write(b"12345"), private=True)
    write_atomically(file, lambda stream: stream.write(b"123"))
    assert file.is_file() and file.exists() and place.is_dir() and not file.is_symlink()
    assert file.read_bytes() == b"123" and file.stat().st_size == 3 and file.stat().st_mtime_ns > 10**18
    assert list(place.iterdir()) == [file] == list(place.files_below().files.values())
    assert place.files_below().files["a.png"].stat() == file.stat()
    with pytest.raises(UserError, match="it has 3 bytes, more than 2"):
        read_regular(file, 2)
    file.unlink()
    file.unlink(missing_ok=True)
    assert not file.exists()
    place.rmdir()


def test_half_a_file_never_has_its_name(tmp_path, monkeypatch):
    place = place_of(f"local://{tmp_path}") / "a.png"
    place.write_bytes(b"before")
    system = type(fsspec.filesystem("local"))

    def torn(self, path, content):
        with open(path, "wb") as file:
            file.write(content[:1])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(system, "pipe_file", torn)
        with pytest.raises(KeyboardInterrupt):
            place.write_bytes(b"after")
    assert place.read_bytes() == b"before"


def test_keys_that_are_no_paths_below_a_folder_are_named_and_not_written(s3, tmp_path, capsys):
    elsewhere = tmp_path / "elsewhere"
    s3.create_bucket(Bucket="hostile")
    for number, key in enumerate(("a.png", f"/{elsewhere}/hit.png", "b//a.png", "b/../../hit.png")):
        s3.put_object(Bucket="hostile", Key=f"raw/{key}", Body=picture(number))
    out = tmp_path / "out" / "out"
    keys, _ = new_identity(tmp_path / "keys", None)
    assert anonymize("--method", "blur", "--input", "s3://hostile/raw", "--output", out, "--seal", keys) == 2
    said = capsys.readouterr().err
    for named in (f"{elsewhere}/hit.png", "b//a.png", "b/../../hit.png"):
        assert named in said
    assert "leads out of its folder" in said and "has empty parts" in said
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert {path for path in written if "png" in path} == {"out/out/a.png", "out/out/a.png.sealed"}
    assert set(read_manifest(out / MANIFEST).entries) == {"a.png"}
    s3.delete_object(Bucket="hostile", Key="raw/a.png")
    assert anonymize("--method", "blur", "--input", "s3://hostile/raw", "--output", tmp_path / "none") == 2
    assert "holds no image" in (said := capsys.readouterr().err) and "leads out of its folder" in said


def test_no_message_shows_the_password_of_a_store():
    place = RemotePath("sftp://user:PW@host/crops") / "a.png"
    assert (str(place), place.url) == ("sftp://host/crops/a.png", "sftp://user:PW@host/crops/a.png")
    with pytest.raises(TypeError, match=r"^sftp://host/crops/a\.png is no path of this machine$"):
        os.fspath(place)
    assert str(RemotePath("s3://bucket/crops@2/a=b.png")) == "s3://bucket/crops@2/a=b.png"
