"""What tells that files are other ones, without reading them."""

from __future__ import annotations

import os

import pytest
from PIL import Image

from fastreid_privacy.core.errors import UserError
from fastreid_privacy.core.kept import stamp_of


@pytest.fixture
def masks(tmp_path):
    """A folder of one image and of a link to a folder with another one."""
    for name in ("real", "masks"):
        (tmp_path / name).mkdir()
        Image.new("1", (2, 2)).save(tmp_path / name / "a.png")
    (tmp_path / "masks" / "gallery").symlink_to(tmp_path / "real")
    return tmp_path / "masks"


def changed(file):
    os.utime(file, ns=(1, 1))


@pytest.mark.parametrize("name", ["a.png", "gallery/a.png"])
def test_an_image_that_was_written_again_tells_also_behind_a_link(masks, name):
    before = stamp_of(masks)
    assert stamp_of(masks) == before
    changed(masks / name)
    assert stamp_of(masks) != before


def test_a_link_that_leads_nowhere_counts_as_such(masks, tmp_path):
    stamps = {stamp_of(masks)}
    (masks / "gone.png").symlink_to(tmp_path / "absent.png")
    stamps.add(stamp_of(masks))
    Image.new("1", (2, 2)).save(tmp_path / "absent.png")
    stamps.add(stamp_of(masks))
    assert len(stamps) == 3
    (masks / "back").symlink_to(masks)
    (masks / "notes.txt").write_text("no image")
    assert stamp_of(masks) in stamps


def test_of_a_file_and_of_a_folder_without_images(masks, tmp_path):
    file = masks / "a.png"
    before = stamp_of(file)
    changed(file)
    assert stamp_of(file) != before
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="holds no image"):
        stamp_of(tmp_path / "none")
