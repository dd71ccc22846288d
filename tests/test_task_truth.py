"""Truth of images for other tasks: the renderer's, the same written to files and read back, and bad files."""

from __future__ import annotations

import fastreid_privacy  # before fastreid

# isort: split
import csv
import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastreid_privacy.attack.subjects import read_subjects
from fastreid_privacy.data.synthetic.truth import JOINTS
from fastreid_privacy.tasks.files import Pose
from fastreid_privacy.tasks.truth import people, read_truth


@pytest.fixture(scope="module")
def subjects(raw):
    return read_subjects(str(raw), str(raw))


@pytest.fixture(scope="module")
def truth(subjects, raw):
    return read_truth(subjects, str(raw))


@pytest.fixture(scope="module")
def own(raw, tmp_path_factory):
    """The same images in a folder that tells nothing, as a data set of one's own."""
    folder = tmp_path_factory.mktemp("own") / "images"
    shutil.copytree(raw, folder)
    return folder


@pytest.fixture(scope="module")
def strangers(own):
    """The images of ``own``."""
    return read_subjects(str(own), str(own))


def coco(truth, names) -> dict:
    """COCO keypoints of some images."""
    annotations = []
    for number, name in enumerate(names):
        pose = truth.poses[name]
        marks = np.column_stack([pose.points, pose.visibility]).ravel().tolist()
        box = [0, 0, 10, pose.height]
        annotations.append(
            {"id": number, "image_id": number, "category_id": 1, "keypoints": marks, "bbox": box}
        )
    return {
        "images": [{"id": number, "file_name": f"{name}.jpg"} for number, name in enumerate(names)],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person", "keypoints": list(truth.joint_names)}],
    }


def written(truth, folder: Path) -> dict[str, Path]:
    """The truth in files, as :func:`read_truth` takes them."""
    for name, mask in truth.masks.items():
        path = folder / "masks" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(path)
    (folder / "keypoints.json").write_text(json.dumps(coco(truth, list(truth.poses))))
    with open(folder / "attributes.csv", "w", newline="") as file:
        columns = sorted(next(iter(truth.attributes.values())))
        table = csv.DictWriter(file, ["name", *columns])
        table.writeheader()
        table.writerows({"name": name, **kinds} for name, kinds in truth.attributes.items())
    return {
        "masks": folder / "masks",
        "keypoints": folder / "keypoints.json",
        "attributes": folder / "attributes.csv",
    }


@pytest.fixture(scope="module")
def files(truth, tmp_path_factory):
    return written(truth, tmp_path_factory.mktemp("files"))


def assert_same(one, other):
    assert one.size == other.size and one.joint_names == other.joint_names
    assert one.attributes == other.attributes
    assert one.masks.keys() == other.masks.keys() and one.poses.keys() == other.poses.keys()
    for name, mask in one.masks.items():
        np.testing.assert_array_equal(mask, other.masks[name])
    for name, pose in one.poses.items():
        np.testing.assert_array_equal(pose.points, other.poses[name].points)
        np.testing.assert_array_equal(pose.visibility, other.poses[name].visibility)
        assert pose.height == other.poses[name].height


# -- where truth comes from ----------------------------------------------------------------------------------


def test_rendered_people_bring_their_truth(subjects, truth):
    names = {each.name for each in (*subjects.known, *people(subjects))}
    assert truth.masks.keys() == truth.poses.keys() == truth.attributes.keys() == names
    assert truth.size == (64, 32) and truth.joint_names == JOINTS and not truth.missing
    # one person wears the same in all images
    worn = {(each.pid, tuple(truth.attributes[each.name].items())) for each in subjects.known}
    assert len(worn) == len({each.pid for each in subjects.known})
    # a mask is where the person's joints are, as far as they are seen
    for name, pose in truth.poses.items():
        places = np.rint(pose.points[pose.visibility == 2]).astype(int)
        x, y = places.clip(0, (31, 63)).T
        assert truth.masks[name][y, x].mean() > 0.7


def test_truth_has_the_names_of_the_images_and_not_of_the_renderer(raw, subjects, truth):
    """Of a data set by its name the images' names begin with the data set's folder."""
    longer = {
        part: [replace(each, name=f"{raw.name}/{each.name}") for each in getattr(subjects, part)[:3]]
        for part in ("known", "query", "gallery")
    }
    found = read_truth(replace(subjects, **longer), "SyntheticPedestrians")
    assert len(found.masks) >= 6
    for name, mask in found.masks.items():
        np.testing.assert_array_equal(mask, truth.masks[name.removeprefix(f"{raw.name}/")])


def test_a_data_set_that_is_a_link_brings_its_truth(linked_dataset, truth):
    linked = read_subjects(str(linked_dataset), str(linked_dataset))
    assert_same(read_truth(linked, str(linked_dataset)), truth)


def test_files_read_back_equal_what_the_renderer_says(truth, files, strangers, own):
    assert_same(read_truth(strangers, str(own), **files), truth)


def test_files_go_before_the_renderer_and_the_rest_is_rendered(truth, subjects, raw, tmp_path):
    files = written(truth, tmp_path)
    for path in files["masks"].rglob("*.png"):
        Image.fromarray(~np.array(Image.open(path))).save(path)
    mixed = read_truth(subjects, str(raw), masks=files["masks"])
    for name, mask in truth.masks.items():
        np.testing.assert_array_equal(mixed.masks[name], ~mask)
    assert mixed.attributes == truth.attributes and mixed.poses.keys() == truth.poses.keys()


def test_what_is_missing_is_left_out_and_said(truth, files, strangers, own):
    found = read_truth(strangers, str(own), keypoints=files["keypoints"])
    assert set(found.missing) == {"segmentation", "attributes"}
    assert "no file of masks is named" in found.missing["segmentation"]
    assert not found.masks and not found.attributes and len(found.poses) == len(truth.poses)


def test_where_nothing_is_known_every_task_is_left_out(strangers, own):
    found = read_truth(strangers, str(own))
    assert set(found.missing) == {"segmentation", "keypoints", "attributes"}
    assert not found.masks and not found.poses and not found.attributes


def test_truth_is_brought_to_the_size_of_the_attack(truth, files, raw, strangers, own, tmp_path):
    """Protected files of twice the size: masks, joints and heights grow with them."""
    for path in raw.rglob("*.jpg"):
        target = tmp_path / "large" / path.relative_to(raw).with_suffix(".png")
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.open(path).resize((64, 128)).save(target)
    large = read_subjects(str(raw), str(tmp_path / "large"))
    for found in (
        read_truth(large, str(raw)),
        read_truth(read_subjects(str(own), str(tmp_path / "large")), str(own), **files),
    ):
        assert found.size == (128, 64)
        for name, mask in truth.masks.items():
            grown = found.masks[name]
            assert grown.shape == (128, 64)
            assert (grown != np.kron(mask, np.ones((2, 2), bool))).mean() < 0.05
            pose, old = found.poses[name], truth.poses[name]
            # the middle of a pixel is the middle of four
            np.testing.assert_allclose(pose.points, 2 * old.points + 0.5, atol=1e-4)
            assert pose.height == 2 * old.height


def test_a_pose_scales_its_sides_apart():
    pose = Pose(np.array([[0, 0], [9, 4]], np.float32), np.array([2, 2]), 10.0).scaled((10, 20), (30, 10))
    np.testing.assert_allclose(pose.points, [[-0.25, 1], [4.25, 13]])
    assert pose.height == 30


def test_people_can_be_told_by_their_numbers(strangers, own, tmp_path):
    pids = sorted({each.pid for each in (*strangers.known, *people(strangers))})
    lines = ["bag , pid,hat", *(f"{'yes' if pid % 2 else 'no'},{pid:04d}," for pid in pids)]
    (tmp_path / "people.csv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    found = read_truth(strangers, str(own), attributes=tmp_path / "people.csv")
    for each in (*strangers.known, *people(strangers)):
        assert found.attributes[each.name] == {"bag": "yes" if each.pid % 2 else "no"}


def test_a_height_that_no_box_tells_is_that_of_the_image(truth, strangers, own, tmp_path):
    content = coco(truth, list(truth.poses))
    for annotation in content["annotations"]:
        del annotation["bbox"]
    (tmp_path / "k.json").write_text(json.dumps(content))
    found = read_truth(strangers, str(own), keypoints=tmp_path / "k.json")
    assert {pose.height for pose in found.poses.values()} == {64}


def test_names_of_no_image_are_passed_over_and_said(truth, files, strangers, own, tmp_path, caplog):
    content = coco(truth, list(truth.poses))
    content["images"].append({"id": 10_000, "file_name": "query/absent.jpg"})
    content["annotations"].append({**content["annotations"][0], "image_id": 10_000})
    (tmp_path / "k.json").write_text(json.dumps(content))
    with caplog.at_level(logging.WARNING):
        found = read_truth(strangers, str(own), keypoints=tmp_path / "k.json")
    assert found.poses.keys() == truth.poses.keys()
    assert "passed over" in caplog.text and "query/absent" in caplog.text


# -- bad files: one clear message ----------------------------------------------------------------------------


def refused(strangers, own, message: str, **files) -> None:
    with pytest.raises(fastreid_privacy.UserError, match=message):
        read_truth(strangers, str(own), **files)


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (Image.new("1", (32, 65), 1), r"a\.png is 65×32 .* its image .* is 64×32"),
        (Image.new("L", (32, 64), 1), r"a\.png has no value above half, its largest is 1 of 255"),
        (None, r"a\.png: .*no image"),
        (Image.new("RGBA", (32, 64), (255, 255, 255, 0)), r"a\.png is transparent in places"),
        (Image.new("LA", (32, 64), (255, 254)), r"a\.png is transparent in places"),
    ],
)
def test_bad_masks_are_refused_by_name(picture, message, strangers, own, tmp_path):
    (tmp_path / "bounding_box_train").mkdir()
    named = tmp_path / "bounding_box_train" / "a.png"
    picture.save(named) if picture else named.write_bytes(b"none")
    first = strangers.known[0].name
    named.rename(tmp_path / f"{first}.png")
    refused(strangers, own, message.replace(r"a\.png", Path(first).name + r"\.png"), masks=tmp_path)


def test_a_mask_with_an_opaque_alpha_channel_is_read(strangers, own, tmp_path):
    for each in (*strangers.known, *strangers.measured):
        named = tmp_path / f"{each.name}.png"
        named.parent.mkdir(exist_ok=True)
        Image.new("RGBA", (32, 64), "white").save(named)
    assert all(mask.all() for mask in read_truth(strangers, str(own), masks=tmp_path).masks.values())


def test_masks_of_other_names_or_no_folder(strangers, own, tmp_path):
    refused(strangers, own, "masks .*absent does not exist", masks=tmp_path / "absent")
    Image.new("1", (32, 64), 1).save(tmp_path / "other.png")
    refused(strangers, own, "tells of other, .*names must be the same but for the ending", masks=tmp_path)


def test_truth_of_known_people_only_is_refused(truth, strangers, own, tmp_path):
    (tmp_path / "k.json").write_text(json.dumps(coco(truth, [each.name for each in strangers.known])))
    refused(
        strangers,
        own,
        r"k\.json: none of the \d+ measured images has truth for keypoints",
        keypoints=tmp_path / "k.json",
    )


def changed(key: str, value):
    """A change to the first annotation."""
    return lambda content: content["annotations"][0].__setitem__(key, value)


BAD_MARKS = [0, 0, 0] * 14


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("images"), "'images' is missing or unknown"),
        (changed("keypoints", [10**400, *BAD_MARKS[1:]]), "a number of it has 401 digits"),
        (lambda content: content["images"].pop(), r"\d+ is missing or unknown"),
        (lambda content: content["categories"].clear(), "0 of its categories name keypoints"),
        (
            lambda content: content["categories"].append({"id": 2, "keypoints": ["nose"]}),
            "2 of its categories name keypoints",
        ),
        (lambda content: content["categories"][0].update(keypoints=["nose", "nose"]), "different words"),
        (lambda content: content["annotations"].append(content["annotations"][0]), "2 people are annotated"),
        (changed("keypoints", [1, 2, 3]), "three numbers, x, y and visibility, for each of 14"),
        (changed("keypoints", [40, 5, 2, *BAD_MARKS[3:]]), r"head at 40, 5 lies outside of the image"),
        (changed("keypoints", [4, -3, 1, *BAD_MARKS[3:]]), r"head at 4, -3 lies outside"),
        (changed("keypoints", [4, 5, 3, *BAD_MARKS[3:]]), "a visibility is 0"),
        (changed("keypoints", ["x", 5, 2, *BAD_MARKS[3:]]), "could not convert"),
        (changed("keypoints", [float("nan"), 5, 2, *BAD_MARKS[3:]]), "must be three numbers"),
        (changed("keypoints", 7), "not iterable"),
        (changed("bbox", [0, 0, 5, 0]), "a bbox has four numbers, .* some height"),
        (changed("bbox", [0]), "a bbox has four numbers"),
        (changed("image_id", [1]), "unhashable"),
    ],
)
def test_bad_keypoints_are_refused(change, message, truth, strangers, own, tmp_path):
    content = coco(truth, list(truth.poses))
    change(content)
    path = tmp_path / "k.json"
    path.write_text(json.dumps(content))
    refused(strangers, own, rf"k\.json.*{message}", keypoints=path)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "[" * 200 + "]" * 200, '{"images": 3}'])
def test_what_is_no_coco_file_is_refused(text, strangers, own, tmp_path):
    (tmp_path / "k.json").write_text(text)
    refused(strangers, own, r"k\.json is no file of COCO keypoints: ", keypoints=tmp_path / "k.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "its first line must name the columns"),
        ("image,bag\n", "its first line must name the columns"),
        ("name,pid,bag\n", "its first line must name the columns"),
        ("name,bag,bag\n", "its first line must name the columns"),
        ("name\na\n", "its first line must name the columns"),
        ("name,bag\na,yes,no\n", "line 2 has 3 fields, and the first line 2"),
        ("name,bag\na.jpg,yes\na.png,no\n", "line 3 names a.png again"),
        ("pid,bag\nTom,yes\n", "invalid literal"),
        ('name,bag\n"a,yes\n', "unexpected end of data"),
        ("name,bag\na,yes\n", "tells of a, and the images are"),
        ("pid,bag\n7777,yes\n", "names none of the people of the images: 7777"),
        (
            "name,age\n" + "".join(f"a{number},{number}\n" for number in range(101)),
            "the column age has 101 different values",
        ),
    ],
)
def test_bad_tables_are_refused(text, message, strangers, own, tmp_path):
    (tmp_path / "a.csv").write_text(text)
    refused(strangers, own, rf"a\.csv.*{message}", attributes=tmp_path / "a.csv")


def test_a_table_in_another_encoding_is_refused(strangers, own, tmp_path):
    (tmp_path / "a.csv").write_bytes(b"name,bag\nM\xfcller,yes\n")
    refused(strangers, own, r"a\.csv is no table of attributes: .*utf-8", attributes=tmp_path / "a.csv")
