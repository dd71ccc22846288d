"""Detectors on raw and on protected frames: HOG, torchvision and ONNX, and the recall of their boxes."""

from __future__ import annotations

import fastreid_privacy  # before fastreid

# isort: split
import json

import cv2
import numpy as np
import onnx
import pytest
from in_process import anonymize
from onnx import TensorProto, helper, numpy_helper
from rendered_video import people_of, render, walkers, write_video

from fastreid_privacy.core.errors import UserError
from fastreid_privacy.manifest import read_manifest
from fastreid_privacy.video import HogDetector, OnnxDetector, measure_detection
from fastreid_privacy.video.detection import count_found, overlap

assert fastreid_privacy

SIZE = (240, 320)


def drawn(box):
    """The pixels of a box, as a picture."""
    picture = np.zeros((60, 60), bool)
    picture[box[1] : box[3], box[0] : box[2]] = True
    return picture


@pytest.mark.parametrize("seed", range(5))
def test_overlap_is_that_of_the_pixels(seed):
    draw = np.random.default_rng(seed)
    for _ in range(40):
        one, other = (
            (*corner, *(corner + draw.integers(1, 30, 2))) for corner in draw.integers(0, 30, (2, 2))
        )
        shared, either = drawn(one) & drawn(other), drawn(one) | drawn(other)
        assert overlap(one, other) == pytest.approx(shared.sum() / either.sum())


def by_rule(people, found):
    """Recall by its definition, slowly: each found box, the surest first, takes the best person left."""
    free = dict(enumerate(people))
    for box in found[::-1]:
        rated = sorted(
            (-(drawn(person) & drawn(box)).sum() / (drawn(person) | drawn(box)).sum(), name)
            for name, person in free.items()
        )
        if rated and -rated[0][0] >= 0.5:
            del free[rated[0][1]]
    return len(people) - len(free)


@pytest.mark.parametrize("seed", range(5))
def test_found_people_are_counted_once(seed):
    draw = np.random.default_rng(seed)
    people = [(x, y, x + 14, y + 28) for x, y in draw.integers(0, 30, (4, 2)).tolist()]
    found = [
        tuple(int(value + step) for value, step in zip(person, draw.integers(-3, 4, 4), strict=True))
        for person in people * 3
    ]
    found = [(max(0, a), max(0, b), c, d) for a, b, c, d in found]
    assert count_found(people, found) == by_rule(people, found)
    assert count_found(people[:1], [people[0]] * 5) == 1
    assert count_found(people, []) == count_found([], found) == 0


def test_half_an_overlap_counts_and_less_does_not():
    assert count_found([(0, 0, 10, 10)], [(0, 0, 10, 5)]) == 1
    assert count_found([(0, 0, 10, 10)], [(0, 0, 10, 4)]) == 0


@pytest.fixture(scope="module")
def street(small_dataset, tmp_path_factory):
    """Two rendered people of 160 and 190 pixels who walk, in 3 frames, and their boxes."""
    folder = tmp_path_factory.mktemp("street")
    people = people_of(next(small_dataset.glob("*/bounding_box_test")))[:2]
    pictures, lines = render(walkers(people, (160, 190), 40, SIZE), 3, SIZE)
    write_video(folder / "video.mkv", pictures)
    (folder / "boxes.txt").write_text("\n".join(lines) + "\n")
    np.save(folder / "frames.npy", np.stack(pictures))
    return folder


def protect(street, output, *words):
    return anonymize(
        *("--method", "mask", "--input", street / "video.mkv"),
        *("--boxes", street / "boxes.txt", "--output", output, *words),
    )


def people_in(street):
    """frame → boxes of the file, as they are protected."""
    people = {}
    for line in (street / "boxes.txt").read_text().splitlines():
        frame, _, left, top, width, height = map(int, line.split(",")[:6])
        box = max(0, left - 1), max(0, top - 1), min(320, left + width), min(240, top + height)
        people.setdefault(frame, []).append(box)
    return people


def test_hog_finds_people_and_not_what_is_left_of_them(street, tmp_path, capsys):
    assert protect(street, tmp_path / "out", "--measure-detection") == 0
    printed = capsys.readouterr().out
    detector, people = HogDetector(), people_in(street)
    found = sum(
        by_large_rule(boxes, detector(frame, picture))
        for (frame, boxes), picture in zip(
            sorted(people.items()), np.load(street / "frames.npy"), strict=True
        )
    )
    assert found >= 3
    of = sum(map(len, people.values()))
    assert (
        f"of {of} boxes OpenCV's HOG finds at IoU 0.5: raw {found} ({found / of:.1%}), protected 0 (0.0%)"
        in printed
    )
    # the same command again finds the video there, and measures
    assert protect(street, tmp_path / "out", "--measure-detection") == 0
    assert f"raw {found} ({found / of:.1%}), protected 0 (0.0%)" in capsys.readouterr().out


def by_large_rule(people, found):
    """As :func:`by_rule`, by areas: people are far from each other here."""
    count = 0
    for person in people:
        best = 0.0
        for box in found:
            rectangle = [(a, b, c - a, d - b) for a, b, c, d in (person, box)]
            shared = cv2.rotatedRectangleIntersection(
                *(((x + w / 2, y + h / 2), (w, h), 0) for x, y, w, h in rectangle)
            )[1]
            inside = 0 if shared is None else cv2.contourArea(cv2.convexHull(shared))
            best = max(best, inside / (sum(w * h for _, _, w, h in rectangle) - inside))
        count += best >= 0.5
    return count


@pytest.mark.parametrize("size", [(48, 64), (1, 1), (60, 200), (95, 31), (300, 20)])
def test_hog_looks_at_frames_smaller_than_its_window(size):
    """OpenCV ended the process at them."""
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    for left, top, right, bottom in HogDetector()(1, pixels):
        assert 0 <= left < right <= size[1] and 0 <= top < bottom <= size[0]


def test_hogs_surest_box_comes_last():
    class Hog:
        def detectMultiScale(self, image, **options):
            assert image.shape == (100, 100, 3) and image[0, 0].tolist() == [3, 2, 1]  # BGR
            return np.array([[0, 0, 40, 80], [50, 10, 40, 80]]), np.array([[0.9], [0.2]])

    detector = HogDetector()
    detector.hog = Hog()
    picture = np.full((100, 100, 3), (1, 2, 3), np.uint8)
    assert detector(1, picture) == [(54, 15, 86, 80), (4, 5, 36, 70)]


# -- ONNX ----------------------------------------------------------------------------------------------------


def graph(path, outputs, size=(120, 160), batch=1):
    """An ONNX graph that gives constants, whatever the picture, and needs it: its mean times 0 is added.

    Args:
        outputs: name → array.
    """
    nodes, infos = [helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0)], []
    nodes.append(helper.make_node("Mul", ["mean", "zero"], ["nothing"]))
    constants = [numpy_helper.from_array(np.float32(0), "zero")]
    for name, array in outputs.items():
        constants.append(numpy_helper.from_array(array, f"{name}_value"))
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        nodes.append(helper.make_node("Cast", ["nothing"], [f"{name}_nothing"], to=kind))
        nodes.append(helper.make_node("Add", [f"{name}_value", f"{name}_nothing"], [name]))
        infos.append(helper.make_tensor_value_info(name, kind, array.shape))
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, *size])
    made = helper.make_graph(nodes, "detector", [images], infos, constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.save(model, str(path))
    return path


BOXES = np.array([[10, 20, 50, 100], [60, 20, 100, 100], [5, 5, 9, 9], [110, 20, 150, 119]], np.float32)
SCORES, LABELS = np.array([0.9, 0.6, 0.3, 0.8], np.float32), np.array([1, 1, 1, 2])
OUTPUTS = {
    "three": {"scores": SCORES, "boxes": BOXES, "labels": LABELS},
    "three with a side of 1": {"labels": LABELS[None], "boxes": BOXES[None], "scores": SCORES[None]},
    "rows": {"output0": np.column_stack([BOXES, SCORES, LABELS - 1]).astype(np.float32)[None]},
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_an_onnx_detector_gives_people_in_pixels_of_the_frame(tmp_path, name):
    detector = OnnxDetector(graph(tmp_path / "d.onnx", OUTPUTS[name]))
    frame = np.zeros((240, 320, 3), np.uint8)
    assert detector(1, frame) == [(120, 40, 200, 200), (20, 40, 100, 200)]  # the surest last
    tall = np.zeros((240, 200, 3), np.uint8)  # as high as the graph's picture, and beside it is a border
    assert detector(1, tall) == [(120, 40, 200, 200), (20, 40, 100, 200)]
    assert OnnxDetector(tmp_path / "d.onnx", 0.2)(1, frame)[0] == (10, 10, 18, 18)


def test_an_onnx_detector_sees_the_frame_in_its_range_with_a_border(tmp_path, monkeypatch):
    detector, seen = OnnxDetector(graph(tmp_path / "d.onnx", OUTPUTS["three"])), []
    session = detector.session

    class Watched:
        def run(self, names, inputs):
            seen.append(inputs["images"])
            return session.run(names, inputs)

    detector.session = Watched()
    frame = np.zeros((240, 160, 3), np.uint8)
    frame[...] = (255, 0, 51)
    detector(1, frame)
    (image,) = seen
    assert image.shape == (1, 3, 120, 160) and image.dtype == np.float32
    assert np.allclose(image[0, :, :, :80], np.array([1, 0, 0.2]).reshape(3, 1, 1))
    assert np.allclose(image[0, :, :, 80:], 114 / 255)


def test_a_video_is_protected_and_measured_by_an_onnx_detector(street, tmp_path, capsys):
    people = [box for boxes in people_in(street).values() for box in boxes]
    boxes = np.array(people, np.float32)
    ones = np.ones(len(people), np.int64)
    outputs = {"boxes": boxes, "labels": ones, "scores": np.linspace(0.9, 0.6, len(people), dtype=np.float32)}
    path = graph(tmp_path / "d.onnx", outputs, SIZE)
    words = ["--method", "mask", "--input", street / "video.mkv", "--detector", path]
    assert anonymize(*words, "--output", tmp_path / "out", "--measure-detection") == 0
    number = 3 * len(people)
    assert f"of {number} boxes {path} finds at IoU 0.5: raw {number} (100.0%)" in capsys.readouterr().out
    header = json.loads((tmp_path / "out" / "manifest.jsonl").read_text().splitlines()[0])
    assert header["boxes"] == "onnx" and header["min_score"] == 0.5 and len(header["boxes_sha256"]) == 64
    # beside a file of boxes it only measures
    assert protect(street, tmp_path / "both", "--measure-detection", "--detector", path) == 0
    assert f"of {len(people)} boxes {path} finds" in capsys.readouterr().out
    header = json.loads((tmp_path / "both" / "manifest.jsonl").read_text().splitlines()[0])
    assert header["boxes"] == "mot"


BAD = {
    "two results": ({"boxes": BOXES, "scores": SCORES}, {}, "is no detector"),
    "float labels": (
        {"boxes": BOXES, "labels": LABELS.astype(np.float32), "scores": SCORES},
        {},
        "is no detector",
    ),
    "raw grid": ({"output0": np.zeros((1, 84, 100), np.float32)}, {}, "float32 84×100"),
    "no fixed size": (OUTPUTS["rows"], {"size": ("h", "w")}, "H×W fixed"),
    "two pictures": (OUTPUTS["rows"], {"batch": 2}, "damaged or no detector"),
}


@pytest.mark.parametrize("name", BAD)
def test_graphs_that_are_no_detectors_are_refused(street, tmp_path, capsys, name):
    outputs, options, message = BAD[name]
    path = graph(tmp_path / "d.onnx", outputs, **options)
    words = ["--method", "mask", "--input", street / "video.mkv", "--output", tmp_path / "out"]
    assert anonymize(*words, "--detector", path) == 2
    told = capsys.readouterr().err
    assert message in told and str(path) in told and not (tmp_path / "out").exists()


def test_labels_and_boxes_of_other_lengths_are_refused(tmp_path):
    outputs = {"boxes": BOXES, "labels": LABELS[:2], "scores": SCORES}
    with pytest.raises(UserError, match="is no detector"):
        OnnxDetector(graph(tmp_path / "d.onnx", outputs))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--detector", "absent.onnx"], "absent.onnx cannot be read"),
        (["--detector", "absent.onnx", "--detector-model", "yolo"], "--detector-model is for the weights"),
        (["--boxes", "x", "--detector", "absent.onnx"], "both go with --measure-detection"),
        (["--measure-detection"], "needs either --boxes"),
        (["--boxes", "x", "--measure-detection", "--min-score", "0.1"], "go with --detector"),
    ],
)
def test_options_of_detectors_that_do_not_fit_are_refused(street, tmp_path, capsys, words, message):
    asked = ["--method", "mask", "--input", street / "video.mkv", "--output", tmp_path / "out"]
    assert anonymize(*asked, *words) == 2
    assert message in capsys.readouterr().err


def test_measuring_is_for_videos(street, tmp_path, capsys):
    words = ["--method", "blur", "--input", street, "--output", tmp_path / "out", "--measure-detection"]
    assert anonymize(*words) == 2
    assert "--measure-detection is for a video" in capsys.readouterr().err


def test_another_video_is_not_measured(street, tmp_path):
    assert protect(street, tmp_path / "out") == 0
    (entry,) = read_manifest(tmp_path / "out" / "manifest.jsonl").entries.values()
    shorter = write_video(tmp_path / "shorter.mkv", np.load(street / "frames.npy")[:2])
    smaller = write_video(tmp_path / "smaller.mkv", np.load(street / "frames.npy")[:, :200])
    for other in (shorter, smaller):
        with pytest.raises(UserError, match="another video"):
            measure_detection(other, tmp_path / "out" / "video.mkv", entry, lambda *_: [])
