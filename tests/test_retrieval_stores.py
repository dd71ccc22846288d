"""Galleries in a store that speaks S3, and in tar files: the index and the strips of folders."""

from __future__ import annotations

# before fastreid: importing the package makes it work
from fastreid_privacy.core.errors import UserError

# isort: split
import json
import shutil
import tarfile
import zipfile

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from in_process import anonymize, contents, retrieve
from PIL import Image
from s3_server import s3_server

from fastreid_privacy.app.galleries import load_galleries
from fastreid_privacy.core.remote import RemotePath
from fastreid_privacy.keys.sealing import SEARCH, new_identity
from fastreid_privacy.retrieval import build_index, load_extractor, read_index, write_index
from fastreid_privacy.retrieval.index import stored_features

IMAGES = 7


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Pictures of two people in two folders, one damaged, and a hidden file."""
    root, rng = tmp_path_factory.mktemp("raw"), np.random.default_rng(0)
    for number in range(IMAGES):
        path = root / ("a" if number % 2 else "b") / f"{number % 2 + 1:04}_c1s1_{number:06}_00.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (64, 32, 3), np.uint8)).save(path)
    (root / "a" / "damaged.png").write_bytes(path.read_bytes()[:150])
    (root / ".hidden.png").write_bytes(path.read_bytes())
    return root


@pytest.fixture(scope="module")
def s3(raw):
    """The client of a store with the bucket ``crops``, that holds the pictures in ``raw``, and tars."""
    with s3_server() as client:
        client.create_bucket(Bucket="crops")
        for path, content in contents(raw).items():
            client.put_object(Bucket="crops", Key=f"raw/{path}", Body=content)
        yield client


@pytest.fixture(scope="module")
def tars(raw, tmp_path_factory):
    """The two folders as two tar files."""
    folder = tmp_path_factory.mktemp("tars")
    for name in ("a", "b"):
        with tarfile.open(folder / f"{name}.tar", "w") as archive:
            for file in sorted((raw / name).iterdir()):
                archive.add(file, file.name)
    return folder


@pytest.fixture
def build(weights, tmp_path):
    def build(name, gallery, *words):
        start = ["--weights", weights, "--device", "cpu", "--batch-size", 3]
        return retrieve("build", *start, "--gallery", gallery, "--index", tmp_path / name, *words)

    return build


@pytest.fixture
def strip(weights, raw, tmp_path):
    """The strip of a query, as a file's content."""

    def strip(index, *words):
        path = tmp_path / f"{index}.png"
        files = ["--index", tmp_path / index, "--output", path, "--force"]
        query = raw / "b" / "0001_c1s1_000002_00.png"
        assert retrieve("query", "--weights", weights, "--device", "cpu", *files, *words, query) == 0
        return path.read_bytes()

    return strip


def described(path):
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("index.json"))


# -- stores and tar files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("protect", [[], ["--protect"]])
def test_a_gallery_in_a_store_is_that_of_a_folder(raw, s3, build, strip, tmp_path, capsys, protect):
    assert build("here", raw, *protect) == 0
    capsys.readouterr()
    assert build("there", "s3://crops/raw/", *protect) == 0
    told = capsys.readouterr().err
    assert "image s3://crops/raw/a/damaged.png cannot be read: it is damaged" in told
    here, there = read_index(tmp_path / "here"), read_index(tmp_path / "there")
    assert there.root == RemotePath("s3://crops/raw")
    assert described(tmp_path / "there")["root"] == "s3://crops/raw"
    assert there.paths == here.paths and len(here.paths) == IMAGES
    assert list(there.left_out) == list(here.left_out) == ["a/damaged.png"]
    np.testing.assert_array_equal(stored_features(there.searched), stored_features(here.searched))
    expected = strip("here")
    assert strip("there") == expected
    assert "warning" not in capsys.readouterr().err
    # either is found where it is now
    assert strip("here", "--gallery", "s3://crops/raw") == strip("there", "--gallery", raw) == expected


@pytest.mark.parametrize("form", ["folder", "range", "store"])
def test_a_gallery_of_tar_files_is_that_of_folders(raw, s3, tars, build, strip, tmp_path, capsys, form):
    gallery = tars
    if form == "range":
        gallery = tmp_path / "part-{0..1}.tar"
        for number, name in enumerate("ab"):
            shutil.copy(tars / f"{name}.tar", tmp_path / f"part-{number}.tar")
    if form == "store":
        for tar in tars.iterdir():
            s3.put_object(Bucket="crops", Key=f"tars/{tar.name}", Body=tar.read_bytes())
        gallery = "s3://crops/tars"
    assert build("folders", raw) == 0
    assert build("tars", gallery) == 0
    assert "a/damaged.png" in capsys.readouterr().err.replace("part-0", "a")
    folders, packed = read_index(tmp_path / "folders"), read_index(tmp_path / "tars")
    assert str(packed.root) == str(gallery)
    assert [path.replace("part-0", "a").replace("part-1", "b") for path in packed.paths] == folders.paths
    np.testing.assert_array_equal(stored_features(packed.searched), stored_features(folders.searched))
    assert strip("tars") == strip("folders")
    assert "warning" not in capsys.readouterr().err


def test_what_is_missing_of_a_moved_gallery_is_grey(s3, tars, build, strip, tmp_path, capsys):
    some = shutil.copytree(tars, tmp_path / "some")
    assert build("i", some) == 0
    whole = strip("i")
    capsys.readouterr()
    (some / "a.tar").unlink()
    assert strip("i") != whole
    said = capsys.readouterr().err
    assert "holds no readable picture of that name" in said and "a/0002_c1s1_000001_00.png" in said
    assert "  b/" not in said
    for words, message in (
        ("s3://crops/nowhere", "gallery s3://crops/nowhere is no folder"),
        (tmp_path / "no-{0..1}.tar", "no-0.tar does not exist"),
    ):
        query = ["query", "--index", tmp_path / "i", "--gallery", words, some / "b.tar"]
        assert retrieve(*query, "--weights", tmp_path / "w") == 2
        assert message in capsys.readouterr().err


def test_mistakes_end_with_one_message(s3, build, tars, tmp_path, capsys):
    s3.put_object(Bucket="crops", Key="none/list.txt", Body=b"of images")
    (tmp_path / "bad.tar").write_bytes(b"no tar file" * 99)
    for gallery, message in (
        ("s3://crops/none", "gallery s3://crops/none holds no image"),
        ("s3://nobucket/raw", "gallery s3://nobucket/raw cannot be listed"),
        ("nosuch://crops/raw", "nosuch://crops/raw cannot be opened"),
        (tmp_path / "no-{0..1}.tar", "no-0.tar does not exist"),
        (tmp_path / "bad.tar", "no tar file holds an image"),
    ):
        assert build("i", gallery) == 2
        said = capsys.readouterr().err
        assert message in said and said.count("error:") == 1 and "--input" not in said
    assert not (tmp_path / "i").exists()


def test_names_that_are_no_paths_are_left_out_and_the_index_opens(s3, tars, raw, build, tmp_path, capsys):
    folder = shutil.copytree(tars, tmp_path / "tars")
    shutil.copy(folder / "a.tar", folder / "c.tar")
    with tarfile.open(folder / "c.tar", "a") as archive:
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        archive.addfile(tarfile.TarInfo("../../out.png"))
    (folder / "d.tar").write_bytes(b"no tar file" * 99)
    assert build("i", folder) == 0
    said = capsys.readouterr().err
    odd = {"c.tar/link.png", "c.tar%2F..%2F..%2Fout.png", "d.tar/"}
    assert set(read_index(tmp_path / "i").left_out) == {"a/damaged.png", "c/damaged.png", *odd}
    assert "c.tar/../../out.png was not read: the path" in said
    assert f"tar file {folder}/d.tar was not searched: it is damaged" in said
    picture = (raw / "b" / "0001_c1s1_000002_00.png").read_bytes()
    for key in ("odd//x.png", "odd/y.png"):
        s3.put_object(Bucket="crops", Key=key, Body=picture)
    assert build("j", "s3://crops/odd") == 0
    index = read_index(tmp_path / "j")
    assert index.paths == ["y.png"] and list(index.left_out) == ["%2Fx.png"]


# -- addresses -----------------------------------------------------------------------------------------------


class Guarded(MemoryFileSystem):
    """A store whose addresses have a name and a password, which its errors repeat."""

    protocol = "guarded"
    cachable = False

    @classmethod
    def _strip_protocol(cls, path):
        return "/" + path.split("@")[-1].split("://")[-1].strip("/")

    def cat_file(self, path, start=None, end=None, **words):
        if "2" in path.rpartition("/")[2][:4]:
            raise FileNotFoundError("guarded://me:hush@hush@host/" + path)
        return super().cat_file(path, start, end, **words)


@pytest.fixture
def guarded(raw, monkeypatch):
    fsspec.register_implementation("guarded", Guarded, clobber=True)
    monkeypatch.setattr(Guarded, "store", {})
    for path, content in contents(raw).items():
        Guarded().pipe_file(f"/host/raw/{path}", content)
    return "guarded://me:hush@hush@host/raw"


def test_no_index_holds_a_password(guarded, build, strip, tmp_path, weights, capsys):
    assert build("i", guarded) == 0
    out, said = capsys.readouterr()
    index = read_index(tmp_path / "i")
    assert index.root == RemotePath("guarded://host/raw") and len(index.left_out) == 4
    for told in (out, said, (tmp_path / "i").read_bytes().decode("latin-1")):
        assert "hush" not in told and "me:" not in told and "guarded://host/raw" in told
    built = build_index(guarded, load_extractor(weights, "cpu"))
    assert built.root == RemotePath(guarded)  # in memory it can be opened
    write_index(built, tmp_path / "j")
    assert b"hush" not in (tmp_path / "j").read_bytes()


def test_an_index_alone_opens_no_other_store(guarded, raw, build, strip, weights, tmp_path, capsys):
    """Somebody else may have written the index."""
    assert build("i", guarded) == 0
    capsys.readouterr()
    query = ["query", "--weights", weights, "--index", tmp_path / "i", raw / "b" / "0001_c1s1_000002_00.png"]
    assert retrieve(*query) == 0  # nothing is opened
    assert retrieve(*query, "--output", tmp_path / "s.png") == 2
    assert "guarded://host/raw; such an address is opened only where you name it" in capsys.readouterr().err
    assert strip("i", "--gallery", guarded)
    with pytest.raises(UserError, match="only where you name it"):
        load_galleries([tmp_path / "i"], weights, "cpu")


# -- templates, and operators that ask for regions -----------------------------------------------------------


def test_templates_are_read_from_a_store_and_not_from_tar_files(raw, s3, weights, tmp_path, capsys, tars):
    public, private = new_identity(tmp_path / "keys", None, holder=SEARCH)
    some = shutil.copytree(raw, tmp_path / "raw")
    (some / "a" / "damaged.png").unlink()
    words = ["--method", "blur", "--input", some, "--search", public, "--reid", weights, "--device", "cpu"]
    for carry in ("pixels", "beside"):
        assert anonymize(*words, "--carry", carry, "--output", tmp_path / carry) == 0
        for path, content in contents(tmp_path / carry).items():
            s3.put_object(Bucket="crops", Key=f"{carry}/{path}", Body=content)
        build = ["build", "--search-key", private, "--gallery"]
        assert retrieve(*build, tmp_path / carry, "--index", tmp_path / f"{carry}.here") == 0
        assert retrieve(*build, f"s3://crops/{carry}", "--index", tmp_path / f"{carry}.there") == 0
        here, there = (read_index(tmp_path / f"{carry}.{side}") for side in ("here", "there"))
        assert here.paths == there.paths and len(here.paths) == IMAGES
        np.testing.assert_array_equal(stored_features(there.searched), stored_features(here.searched))
    capsys.readouterr()
    assert retrieve(*build, tars, "--index", tmp_path / "i") == 2
    assert "templates are read beside files, too: unpack them" in capsys.readouterr().err


def test_regions_are_told_of_files_of_this_machine_alone(s3, weights):
    extract = load_extractor(weights, "cpu")
    extract.model.sees_desensitized = True
    extract.model.desensitizer.per_batch = ["regions"]
    with pytest.raises(UserError, match="reads files of this machine: copy the images"):
        build_index("s3://crops/raw", extract, protect=True)
