"""One file, folder or link stops no collection: bounded work and memory, and the offender named."""

from __future__ import annotations

# before fastreid: importing the package makes it work
from fastreid_privacy.commands import anonymize as anonymize_command

# isort: split
import os

import numpy as np
import pytest
from PIL import Image

from fastreid_privacy.core.folders import DEEPEST, MOST_PATHS, images_below


def anonymize(*words) -> int:
    return anonymize_command.main([str(word) for word in words])


@pytest.fixture
def raw(tmp_path):
    """A folder with one good picture, good.png."""
    folder = tmp_path / "raw"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (48, 24, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "good.png")
    return folder


@pytest.fixture
def words(raw, tmp_path):
    return ["--method", "blur", "--input", raw, "--output", tmp_path / "out"]


# -- folders and links ---------------------------------------------------------------------------------------


def test_folders_are_searched_to_a_depth_and_deeper_ones_named(raw, words, tmp_path, capsys):
    here = raw
    for depth in range(1, 301):
        os.mkdir(folder := os.path.join(here, "d"))
        if depth == DEEPEST:
            os.link(raw / "good.png", os.path.join(folder, "last.png"))
        here = folder
    assert anonymize(*words) == 2
    told = capsys.readouterr()
    deepest = "/".join("d" * DEEPEST)
    assert f"{deepest}/d/: it lies more than {DEEPEST} folders deep" in told.err
    assert "2 of 2 images protected" in told.out and (tmp_path / "out" / deepest / "last.png").is_file()


def test_links_in_circles_are_named(raw):
    (raw / "self").symlink_to("self")
    (raw / "a.png").symlink_to("b.png")
    (raw / "b.png").symlink_to("a.png")
    (raw / "nowhere").symlink_to("absent")
    (raw / "shut").mkdir()
    (raw / "inside").symlink_to("shut/folder")
    found = images_below(raw, "--input")
    assert found.paths == ["a.png", "b.png", "good.png"] and found.others == ["inside", "nowhere"]
    assert list(found.unread) == ["self/"] and "cannot be followed" in found.unread["self/"]


def test_a_closed_folder_is_named_and_the_rest_goes_on(raw, words, monkeypatch, capsys):
    (raw / "shut").mkdir()
    scandir = os.scandir

    def refuse(path):  # tests may run as root, for whom no folder is closed
        if os.fspath(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert anonymize(*words) == 2
    told = capsys.readouterr()
    assert "shut/: it cannot be listed: Permission denied" in told.err and "1 of 1 images" in told.out


def test_paths_through_links_are_bounded(raw):
    """Each of 18 folders has two links to the next: 2**18 paths lead to the last."""
    for level in range(18):
        folder = raw / f"f{level:02}"
        folder.mkdir()
        for name in ("x", "y"):
            (folder / name).symlink_to(f"../f{level + 1:02}")
    (raw / "f18").mkdir()
    os.link(raw / "good.png", raw / "f18" / "last.png")
    found = images_below(raw, "--input")
    assert sum(path.endswith("last.png") for path in found.paths) == MOST_PATHS
    assert all("more than 16 paths" in reason for reason in found.unread.values())
    assert 0 < len(found.unread) <= 2 * 19 * MOST_PATHS


def test_a_few_links_to_one_folder_are_followed(raw):
    (raw / "one").mkdir()
    os.link(raw / "good.png", raw / "one" / "a.png")
    (raw / "two").symlink_to("one")
    assert images_below(raw, "--input").paths == ["good.png", "one/a.png", "two/a.png"]
    assert not images_below(raw, "--input").unread


@pytest.mark.parametrize("target", ["out", "out/sub", "out/x.png", "."])
def test_a_link_from_the_input_to_the_output_is_refused(raw, words, tmp_path, capsys, target):
    (raw / "link.png").symlink_to(tmp_path / target)
    assert anonymize(*words) == 2
    assert "holds the link link.png, which leads to the output folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_other_links_are_no_way_to_the_output(raw, words, tmp_path):
    (tmp_path / "beside").mkdir()
    os.link(raw / "good.png", tmp_path / "beside" / "a.png")
    (raw / "beside").symlink_to(tmp_path / "beside")
    (raw / "loop").symlink_to(raw)
    assert anonymize(*words) == 0
    assert (tmp_path / "out" / "beside" / "a.png").is_file()
