"""Tar files as an input: the bytes of the same files in folders."""

from __future__ import annotations

# isort: split
import io
import tarfile

import numpy as np
import pytest
from in_process import anonymize, contents
from PIL import Image

from fastreid_privacy.collection.stamps import STAMPS
from fastreid_privacy.core.errors import UserError
from fastreid_privacy.core.files import read_regular
from fastreid_privacy.core.remote import place_of
from fastreid_privacy.core.tars import files_of_tar, named_tars, tars_in
from fastreid_privacy.manifest import MANIFEST, read_manifest


def picture(number):
    content = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (40 + number, 20, 3), np.uint8)
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def write_tar(path, files, kind=tarfile.GNU_FORMAT):
    """A tar of files by name; None makes a link, () a folder."""
    with tarfile.open(path, "w", format=kind) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.linkname = tarfile.SYMTYPE, "elsewhere"
            elif content == ():
                info.type, content = tarfile.DIRTYPE, None
            else:
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content or b""))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two shards as WebDataset has them, packed and unpacked: the folders of both."""
    packed, unpacked = tmp_path_factory.mktemp("packed"), tmp_path_factory.mktemp("unpacked")
    for shard in range(2):
        files = {f"{number:04d}.png": picture(number) for number in range(5 * shard, 5 * shard + 5)}
        files |= {f"{name[:4]}.cls": b"7" for name in files} | {"sub/pérson.png": picture(20 + shard)}
        write_tar(packed / f"crops-{shard:03d}.tar", files, (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)[shard])
        for name, content in files.items():
            target = unpacked / f"crops-{shard:03d}" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
    return packed, unpacked


@pytest.mark.parametrize("form", ["folder", "range", "single", "store"])
@pytest.mark.parametrize("method", ["learned", "blur"])
def test_tars_give_the_bytes_of_folders(weights, folders, tmp_path, capsys, form, method):
    packed, unpacked = folders
    words = ["--weights", weights] if method == "learned" else ["--method", "blur"]
    given = {"folder": packed, "range": packed / "crops-{000..001}.tar", "single": packed / "crops-001.tar"}
    given["store"] = f"local://{packed}"
    assert anonymize(*words, "--input", given[form], "--output", tmp_path / "tars", "--batch-size", 4) == 0
    said = capsys.readouterr().err
    assert "left out, for they are no images" in said and "crops-001.tar/0005.cls" in said
    wanted = unpacked
    if form == "single":
        import shutil

        wanted = tmp_path / "single"
        shutil.copytree(unpacked / "crops-001", wanted / "crops-001")
    assert anonymize(*words, "--input", wanted, "--output", tmp_path / "files", "--batch-size", 4) == 0
    tars, files = contents(tmp_path / "tars"), contents(tmp_path / "files")
    assert tars.keys() == files.keys() and "crops-001/sub/pérson.png" in tars
    assert {path for path in tars if tars[path] != files[path]} == {STAMPS}


def test_replaced_tars_are_compared_file_by_file(tmp_path, capsys):
    files = {f"{number}.png": picture(number) for number in range(3)}
    write_tar(tmp_path / "a.tar", files)
    words = ["--method", "blur", "--input", tmp_path / "a.tar", "--output", tmp_path / "out"]
    assert anonymize(*words) == 0
    write_tar(tmp_path / "a.tar", {**files, "1.png": picture(9)})
    capsys.readouterr()
    assert anonymize(*words) == 2
    said = capsys.readouterr().err
    assert "a/1.png" in said and "a/0.png" not in said and "a/2.png" not in said
    assert anonymize(*words, "--renew") == 0
    write_tar(tmp_path / "b.tar", {**files, "1.png": picture(9)})
    assert anonymize(*words[:2], "--input", tmp_path / "b.tar", "--output", tmp_path / "b") == 0
    renewed = contents(tmp_path / "out" / "a")
    assert renewed == contents(tmp_path / "b" / "b")


def test_what_is_wrong_with_tars_is_named_and_the_rest_goes_on(folders, tmp_path, capsys):
    packed, _ = folders
    whole = (packed / "crops-000.tar").read_bytes()
    root = tmp_path / "tars"
    root.mkdir()
    (root / "good.tar").write_bytes(whole)
    (root / "cut.tar").write_bytes(whole[:5000])
    (root / "none.tar").write_bytes(b"no tar at all" * 100)
    (root / "empty.tar").write_bytes(b"")
    write_tar(
        root / "odd.tar",
        {
            "../out.png": picture(1),
            "link.png": None,
            "folder.png": (),
            "broken.png": b"GIF",
            "fine.png": picture(2),
        },
    )
    assert anonymize("--method", "blur", "--input", root, "--output", tmp_path / "out") == 2
    said = capsys.readouterr().err
    for name in ("cut.tar", "none.tar", "empty.tar"):
        assert f"{name}: it is damaged, compressed or no tar file" in said
    assert "odd.tar/../out.png: the path '../out.png' leads out of its folder" in said
    assert "odd.tar/link.png: it is no regular file" in said and "odd/broken.png" in said
    entries = read_manifest(tmp_path / "out" / MANIFEST).entries
    assert sorted(path for path in entries if not path.startswith("good/")) == ["odd/fine.png"]
    assert sum(path.startswith("good/") for path in entries) == 6


def broken_after(content, number, damage):
    """A tar of which something is wrong behind its first files."""
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        begins = [info.offset for info in archive]
        end = archive.offset
    place = begins[number] if number < len(begins) else end
    return {
        "flipped": content[: place + 3] + bytes([content[place + 3] ^ 1]) + content[place + 4 :],
        "zeroed": content[:place] + bytes(512) + content[place + 512 :],
        "cut in a header": content[: place + 100],
        "cut before a header": content[:place],
        "joined": content + content,
    }[damage]


@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize(
    "number, damage",
    [
        *((2, damage) for damage in ("flipped", "zeroed", "cut in a header", "cut before a header")),
        (5, "cut before a header"),  # all files are there, but nothing says so
        (5, "cut in a header"),
        (5, "flipped"),
        (5, "joined"),
    ],
)
def test_a_tar_without_its_end_is_refused_since_files_may_be_missing(tmp_path, number, damage, kind):
    tar = tmp_path / "a.tar"
    write_tar(tar, {f"{each}.png": picture(each) for each in range(5)}, kind)
    assert list(files_of_tar(tar).members) == [f"{each}.png" for each in range(5)]
    whole = tar.read_bytes()
    tar.write_bytes(whole.rstrip(b"\0") + bytes(1024 + 511))  # as short as it may be, or a little longer
    assert len(files_of_tar(tar).members) == 5
    tar.write_bytes(broken_after(whole, number, damage))
    for place in (tar, place_of(f"local://{tar}")):
        with pytest.raises(UserError, match=r"damaged, compressed or no tar file \(it has no end"):
            files_of_tar(place)


@pytest.mark.parametrize("store", [False, True])
def test_a_folder_with_images_beside_its_tars_is_one_of_images(folders, tmp_path, capsys, store):
    packed, _ = folders
    root = tmp_path / "both"
    root.mkdir()
    (root / "a.png").write_bytes(picture(0))
    (root / "crops.tar").write_bytes((packed / "crops-000.tar").read_bytes())
    given = f"local://{root}" if store else root
    assert anonymize("--method", "blur", "--input", given, "--output", tmp_path / "out") == 2
    told = capsys.readouterr()
    assert "1 of 1 images protected" in told.out and "left out" not in told.err
    assert (
        "1 images were not protected:\n  crops.tar: a tar file among images is not read: unpack it"
        in told.err
    )
    assert list(read_manifest(tmp_path / "out" / MANIFEST).entries) == ["a.png"]


@pytest.mark.parametrize("store", [False, True])
def test_what_lies_beside_tars_is_told_and_pictures_there_are_not_passed_over(tmp_path, capsys, store):
    root = tmp_path / "both"
    (root / "more").mkdir(parents=True)
    write_tar(root / "crops.tar", {"a.png": picture(0), "notes.txt": b""})
    (root / "more" / "IMG_1.HEIC").write_bytes(b"of a phone")
    write_tar(root / "more" / "deeper.tar", {"b.png": picture(1)})
    given = f"local://{root}" if store else root
    assert anonymize("--method", "blur", "--input", given, "--output", tmp_path / "out") == 2
    told = capsys.readouterr()
    assert "left out, for they are no images: crops.tar/notes.txt" in told.err
    assert "2 images were not protected:\n  more/IMG_1.HEIC: HEIC pictures are not read" in told.err
    assert "  more/deeper.tar: a tar file among images is not read: unpack it" in told.err
    assert "1 of 1 images protected" in told.out
    assert list(read_manifest(tmp_path / "out" / MANIFEST).entries) == ["crops/a.png"]


def test_ranges_name_tars(tmp_path):
    for name in ("a-08-0.tar", "a-09-0.tar", "a-10-0.tar", "a-08-1.tar", "a-09-1.tar", "a-10-1.tar"):
        write_tar(tmp_path / name, {})
    found = named_tars(f"{tmp_path}/a-{{08..10}}-{{0..1}}.tar")
    assert [tar.name for tar in found] == [
        f"a-{first}-{last}.tar" for first in ("08", "09", "10") for last in (0, 1)
    ]
    assert tars_in(tmp_path) == sorted(found) and tars_in(tmp_path / "absent") == []
    for words, said in (
        ("a-{08..11}-0.tar", "a-11-0.tar does not exist"),
        ("a-{10..08}-0.tar", "must go up"),
        ("a-{8..10}-0.tar", "as many digits"),
    ):
        with pytest.raises(UserError, match=said):
            named_tars(f"{tmp_path}/{words}")


def test_a_member_is_read_alone_and_a_tar_that_shrank_is_noticed(tmp_path):
    write_tar(tmp_path / "a.tar", {"1": b"first", "2": b"second" * 500, "2b": b""})
    for tar in (tmp_path / "a.tar", place_of(f"local://{tmp_path}/a.tar")):
        members = files_of_tar(tar).members
        assert {name: read_regular(member) for name, member in members.items()} == {
            "1": b"first",
            "2": b"second" * 500,
            "2b": b"",
        }
        with pytest.raises(UserError, match="it has 3,000 bytes, more than 10"):
            read_regular(members["2"], 10)
        whole = (tmp_path / "a.tar").read_bytes()
        (tmp_path / "a.tar").write_bytes(whole[:2000])
        with pytest.raises(UserError, match="it cannot be read: its tar ends before it"):
            read_regular(members["2"])
        (tmp_path / "a.tar").unlink()
        with pytest.raises(UserError, match="it cannot be read"):
            read_regular(members["1"])
        (tmp_path / "a.tar").write_bytes(whole)


def test_tars_that_would_share_a_folder_or_leave_it_are_refused(tmp_path, capsys):
    for folder in ("cam-0", "cam-1"):
        (tmp_path / folder).mkdir()
        write_tar(tmp_path / folder / "shard.tar", {f"{folder}.png": picture(1)})
    out = tmp_path / "out" / "out"
    words = ["--method", "blur", "--output", out, "--input"]
    assert anonymize(*words, tmp_path / "cam-{0..1}" / "shard.tar") == 2
    said = capsys.readouterr().err
    assert "cam-0/shard.tar and" in said and "would share the folder shard" in said
    (tmp_path / "cam-0" / "shard.TAR").write_bytes((tmp_path / "cam-0" / "shard.tar").read_bytes())
    assert anonymize(*words, tmp_path / "cam-0") == 2
    assert "would share the folder shard" in capsys.readouterr().err
    for name in (".tar", "..tar", "...tar"):
        write_tar(tmp_path / name, {"a.png": picture(2)})
        assert anonymize(*words, tmp_path / name) == 2
        assert "rename it" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_templates_go_with_a_tar_file_as_with_folders(folders, tmp_path, capsys):
    """It is no video: what is missed is the key."""
    words = {"search": tmp_path / "search.pub", "reid": tmp_path / "reid.pth", "output": tmp_path / "out"}
    assert anonymize("--method", "mask", "--input", folders[0] / "crops-000.tar", **words) == 2
    told = capsys.readouterr().err
    assert "video" not in told and "search.pub" in told
