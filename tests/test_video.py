"""Videos: ``tools/anonymize.py`` and ``tools/recover.py`` on a video rendered from the embedded data set."""

from __future__ import annotations

import fastreid_privacy  # before fastreid

# isort: split
import hashlib
import json
import os
import random
import re
import shutil
import signal
import struct
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
import torchvision
from forged_manifests import write_forged
from in_process import anonymize, contents, recover
from killed_protecting import ends_of_killed_runs
from PIL import Image
from rendered_video import RATE, people_of, render, walkers, write_video

from fastreid_privacy.core.errors import UserError
from fastreid_privacy.keys.sealing import new_identity
from fastreid_privacy.manifest import read_manifest
from fastreid_privacy.video import MotBoxes, PersonDetector, detector
from fastreid_privacy.video.regions import gather, spread
from fastreid_privacy.video.run import FRAMES_AT_ONCE
from fastreid_privacy.video.stream import Frame, VideoFormat, count_frames, read_frames, video_format
from fastreid_privacy.video.writer import VideoWriter

FRAMES = 20  # more than two chunks; the last one has no box


@pytest.fixture(scope="module")
def walk(small_dataset, tmp_path_factory):
    """A folder with video.mkv (with sound), boxes.txt and the frames; four people of 40 to 130 pixels."""
    folder = tmp_path_factory.mktemp("walk")
    people = people_of(next(small_dataset.glob("*/bounding_box_test")))[:4]
    pictures, lines = render(walkers(people, (40, 64, 101, 130), FRAMES), FRAMES)
    write_video(folder / "video.mkv", pictures, sound=True, title="SECRET street")
    (folder / "boxes.txt").write_text("\n".join(lines) + "\n")
    np.save(folder / "frames.npy", np.stack(pictures))
    return folder


@pytest.fixture(scope="module")
def raw_frames(walk):
    return np.load(walk / "frames.npy")


@pytest.fixture(scope="module")
def protected(weights, walk, tmp_path_factory):
    out = tmp_path_factory.mktemp("videos") / "protected"
    assert anonymize("--weights", weights, *boxed(walk), "--output", out) == 0
    return out


def boxed(walk):
    """The options that name the video and the boxes of its people."""
    return ["--input", walk / "video.mkv", "--boxes", walk / "boxes.txt"]


def frames_of(path):
    """By OpenCV, an independent reader; BGR to RGB."""
    import cv2

    video, frames = cv2.VideoCapture(str(path)), []
    while True:
        there, frame = video.read()
        if not there:
            return np.stack(frames)
        frames.append(frame[..., ::-1])


def mot_rectangles(path):
    """frame → rectangles, read naively: one pixel further to the left and top, inside 240×320."""
    found = {}
    for line in path.read_text().splitlines():
        frame, _, left, top, width, height = map(int, line.split(",")[:6])
        box = max(0, left - 1), max(0, top - 1), min(320, left + width), min(240, top + height)
        found.setdefault(frame, []).append(box)
    return found


def recovered_box(key, stored, box, size=(64, 32)):
    """What a recovery decoder gives of one box of a protected frame: the means of the blocks that repeat each
    of the network's pixels, sent through it alone, at the box's size."""
    left, top, right, bottom = box
    (height, width), region = (bottom - top, right - left), stored[top:bottom, left:right].astype(float)
    rows, columns = np.arange(height) * size[0] // height, np.arange(width) * size[1] // width
    image = np.zeros((*size, 3))
    for row, column in np.ndindex(*size):
        image[row, column] = region[rows == row][:, columns == column].mean(axis=(0, 1)).round()
    recovered = key(torch.from_numpy(image.astype(np.uint8)).permute(2, 0, 1)[None])[0].permute(1, 2, 0)
    return np.array(Image.fromarray(recovered.numpy()).resize((width, height), Image.Resampling.BICUBIC))


def whole_boxes(walk):
    """(frame, rectangle) of boxes that are at least as large as the network's image and overlap no other."""
    for number, boxes in mot_rectangles(walk / "boxes.txt").items():
        for index, (left, top, right, bottom) in enumerate(boxes):
            others = boxes[:index] + boxes[index + 1 :]
            apart = all(a >= right or c <= left or b >= bottom or d <= top for a, b, c, d in others)
            if apart and bottom - top >= 64 and right - left >= 32:
                yield number, (left, top, right, bottom)


def assert_recovered(key, walk, protected, recovered, levels):
    """Each whole box of a recovered video is what the decoder gives of the protected one's, not that itself.

    Args:
        levels: how far a value may be off, as the picture that the decoder gets is rounded otherwise."""
    compared = 0
    for number, box in whole_boxes(walk):
        left, top, right, bottom = box
        stored, found = (frames[number - 1, top:bottom, left:right] for frames in (protected, recovered))
        expected = recovered_box(key, protected[number - 1], box)
        assert np.abs(found.astype(int) - expected).max() <= levels
        assert expected.std() > 5 and np.abs(found.astype(int) - stored).mean() > 5
        compared += 1
    assert compared > 10


def test_only_boxes_change_and_hold_what_the_anonymizer_gives(weights, walk, raw_frames, protected):
    written = frames_of(protected / "video.mkv")
    assert len(written) == FRAMES
    protect, rectangles = fastreid_privacy.load_anonymizer(weights, "cpu"), mot_rectangles(walk / "boxes.txt")
    for number, (raw, stored) in enumerate(zip(raw_frames, written, strict=True), start=1):
        expected, known = raw.copy(), np.ones(raw.shape[:2], bool)
        for left, top, right, bottom in rectangles.get(number, ()):
            crop = Image.fromarray(raw[top:bottom, left:right]).resize((32, 64), Image.Resampling.BICUBIC)
            image = (
                protect(torch.from_numpy(np.array(crop)).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()
            )
            height, width = bottom - top, right - left
            known[top:bottom, left:right] = height >= 64 and width >= 32
            for row in range(height if height >= 64 and width >= 32 else 0):
                for column in range(width):
                    expected[top + row, left + column] = image[row * 64 // height, column * 32 // width]
        assert known.mean() > 0.7
        # a batch's last digits can round a level differently
        assert np.abs(expected.astype(int) - stored)[known].max() <= 1
        if rectangles.get(number):
            assert not np.array_equal(raw, stored)
    assert np.array_equal(raw_frames[-1], written[-1]) and FRAMES not in rectangles  # nobody is there


def test_the_manifest_says_what_recovery_needs_and_the_file_nothing_more(walk, protected):
    manifest = read_manifest(protected / "manifest.jsonl")
    (entry,) = manifest.entries.values()
    assert manifest.complete and entry["frames"] == FRAMES and (entry["width"], entry["height"]) == (320, 240)
    rectangles = mot_rectangles(walk / "boxes.txt")
    rows = [
        [frame, left, top, right - left, bottom - top]
        for frame in sorted(rectangles)
        for left, top, right, bottom in rectangles[frame]
    ]
    assert entry["boxes"] == rows
    content = (protected / "video.mkv").read_bytes()
    assert entry["sha256"] == hashlib.sha256(content).hexdigest() and entry["size"] == len(content)
    assert b"SECRET" in (walk / "video.mkv").read_bytes() and b"SECRET" not in content
    with av.open(str(protected / "video.mkv")) as container:
        assert [stream.type for stream in container.streams] == ["video"]
        assert container.streams.video[0].average_rate == RATE
    with av.open(str(walk / "video.mkv")) as container:
        assert sorted(stream.type for stream in container.streams) == ["audio", "video"]


def test_recovery_restores_the_boxes_and_is_measured(weights, walk, raw_frames, protected, tmp_path, capsys):
    out = tmp_path / "out"
    assert (
        recover("--key", weights, "--input", protected, "--output", out, "--verify", walk / "video.mkv") == 0
    )
    recovered, stored = frames_of(out / "video.mkv"), frames_of(protected / "video.mkv")
    printed = capsys.readouterr().out
    outside, total, values, number_of_boxes = np.ones(raw_frames.shape[:3], bool), 0.0, 0, 0
    for number, boxes in mot_rectangles(walk / "boxes.txt").items():
        for left, top, right, bottom in boxes:
            outside[number - 1, top:bottom, left:right] = False
            ours, theirs = (
                frames[number - 1, top:bottom, left:right].astype(float) for frames in (recovered, raw_frames)
            )
            error = np.square(ours - theirs)
            total, values, number_of_boxes = total + error.sum(), values + error.size, number_of_boxes + 1
            psnr = 10 * np.log10(255**2 / error.mean())
            assert (
                f"{psnr:6.2f} dB" in printed
                and f"frame {number}, box {left}, {top}, {right}, {bottom}" in printed
            )
    assert np.array_equal(recovered[outside], raw_frames[outside])
    assert_recovered(fastreid_privacy.load_recovery(weights, "cpu"), walk, stored, recovered, 2)
    assert (
        f"{10 * np.log10(255**2 * values / total):6.2f} dB" in printed
        and f"in all, {number_of_boxes} boxes" in printed
    )


@pytest.mark.parametrize("size", [(64, 32), (65, 33), (130, 71), (64, 200), (257, 32)])
def test_the_networks_image_comes_back_exactly_from_a_larger_box(size):
    picture = np.random.default_rng(0).integers(0, 256, (64, 32, 3), np.uint8)
    box = spread(picture, size)
    assert box.shape[:2] == size and np.array_equal(gather(box, (64, 32)), picture)


@pytest.mark.parametrize("size", [(1, 1), (30, 40), (100, 20), (63, 31)])
def test_smaller_boxes_lose_pixels_but_keep_their_shape(size):
    picture = np.full((64, 32, 3), 77, np.uint8)
    box = spread(picture, size)
    assert box.shape == (*size, 3) and (box == 77).all()
    assert gather(box, (64, 32)).shape == picture.shape and (gather(box, (64, 32)) == 77).all()


def test_a_lossy_video_says_what_it_lost(small_run, walk, tmp_path, capsys):
    """Of grey pictures: those of full contrast lose most to the colours of half the size, whatever crf is."""
    weights = small_run / "model_best.pth"
    words = ["--weights", weights, *boxed(walk), "--format", "mp4"]
    assert anonymize("--weights", weights, *boxed(walk), "--output", tmp_path / "lossless") == 0
    assert anonymize(*words, "--output", tmp_path / "good", "--crf", "12") == 0
    printed = capsys.readouterr()
    assert anonymize(*words, "--output", tmp_path / "bad", "--crf", "40") == 0
    assert "lossy" in printed.err
    before = frames_of(tmp_path / "lossless" / "video.mkv")
    inside = np.zeros(before.shape[:3], bool)
    for number, boxes in mot_rectangles(walk / "boxes.txt").items():
        for left, top, right, bottom in boxes:
            inside[number - 1, top:bottom, left:right] = True
    figures = {}
    for name in ("good", "bad"):
        ((path, entry),) = read_manifest(tmp_path / name / "manifest.jsonl").entries.items()
        assert path == "video.mp4"
        after = np.stack([frame.pixels for frame in read_frames(tmp_path / name / path)])
        error = np.square(before.astype(float) - after)
        counted = np.repeat(inside, np.ones(len(inside), int), axis=0)
        # each pixel of overlapping boxes counts once
        assert entry["stored"]["frames"] == pytest.approx(10 * np.log10(255**2 / error.mean()), abs=0.05)
        assert entry["stored"]["boxes"] == pytest.approx(
            10 * np.log10(255**2 / error[counted].mean()), abs=0.05
        )
        figures[name] = entry["stored"]["boxes"]
    assert f"{figures['good']:.2f} dB in the boxes" in printed.out
    assert figures["good"] > figures["bad"] + 5


def test_a_lossy_video_is_recovered_from_what_is_stored(weights, walk, tmp_path):
    words = ["--weights", weights, *boxed(walk), "--format", "mp4", "--crf", 12, "--output", tmp_path / "p"]
    assert anonymize(*words) == 0
    words = ["--input", tmp_path / "p", "--output", tmp_path / "r", "--verify", walk / "video.mkv"]
    assert recover("--key", weights, *words) == 0
    videos = (
        np.stack([frame.pixels for frame in read_frames(tmp_path / name)])
        for name in ("p/video.mp4", "r/video.mkv")
    )
    # the means of blocks that a codec has changed can be rounded otherwise
    assert_recovered(fastreid_privacy.load_recovery(weights, "cpu"), walk, *videos, 8)


@pytest.mark.parametrize("method", ["blur", "noise"])
def test_conventional_operators_take_each_box_as_it_is(walk, raw_frames, tmp_path, method):
    assert anonymize("--method", method, *boxed(walk), "--output", tmp_path / "out") == 0
    written, rectangles = frames_of(tmp_path / "out" / "video.mkv"), mot_rectangles(walk / "boxes.txt")
    (left, top, right, bottom) = rectangles[1][-1]
    crop, stored = raw_frames[0, top:bottom, left:right], written[0, top:bottom, left:right]
    if method == "blur":
        height, width = crop.shape[:2]
        # people are twice as high as wide
        whole = np.concatenate([crop, *([crop[-1:]] * (2 * width - height))])
        images = torch.from_numpy(whole).permute(2, 0, 1)[None].float()
        blurred = (
            fastreid_privacy.desensitize.gaussian_blur(images, 12 * len(whole) / 256)[0]
            .permute(1, 2, 0)
            .round()
            .numpy()[:height]
        )
        assert np.abs(blurred - stored).max() <= 1
    else:
        assert np.abs(crop.astype(int) - stored).mean() > 30
    assert np.array_equal(written[-1], raw_frames[-1])


@pytest.mark.parametrize("method", ["noise", "learned"])
def test_noise_of_each_box_has_the_whole_secret(walk, noise_weights, tmp_path, stream_keys, capsys, method):
    words = ["--weights", noise_weights, "--batch-size", 1] if method == "learned" else ["--method", method]
    assert anonymize(*words, *boxed(walk), "--output", tmp_path / "out") == 0
    assert "noise differs from frame to frame" in capsys.readouterr().err
    assert len(set(stream_keys)) == len(stream_keys) == len((walk / "boxes.txt").read_text().splitlines())
    for part in range(0, 32, 4):
        assert len({key[part : part + 4] for key in stream_keys}) == len(stream_keys)
    header = json.loads((tmp_path / "out" / "manifest.jsonl").read_text().splitlines()[0])
    assert header["noise"] == "shake256"


def test_sealed_and_pseudonymized_videos(weights, walk, tmp_path):
    public, private = new_identity(tmp_path / "keys", None)
    (tmp_path / "names.key").write_bytes(b"0123456789abcdef")
    words = ["--weights", weights, *boxed(walk), "--seal", public]
    assert anonymize(*words, "--pseudonymize", tmp_path / "names.key", "--output", tmp_path / "out") == 0
    names = sorted(contents(tmp_path / "out"))
    assert len(names) == 5 and not any("video" in name for name in names)
    assert recover("--identity", private, "--input", tmp_path / "out", "--output", tmp_path / "again") == 0
    assert contents(tmp_path / "again") == {"video.mkv": (walk / "video.mkv").read_bytes()}


def test_a_video_that_changes_meanwhile_is_not_sealed(walk, raw_frames, tmp_path, monkeypatch, capsys):
    """Frames come from the file that was opened; what lies under its name at the end is another one."""
    public, private = new_identity(tmp_path / "keys", None)
    video, other = tmp_path / "video.mkv", write_video(tmp_path / "other.mkv", raw_frames)
    shutil.copy(walk / "video.mkv", video)
    words = ["--method", "blur", "--input", video, "--boxes", walk / "boxes.txt", "--seal", public]
    out, write = tmp_path / "out", VideoWriter.write

    def replaced(self, frame):
        if frame.number == 10:
            os.replace(other, video)
        write(self, frame)

    with monkeypatch.context() as patch:
        patch.setattr(VideoWriter, "write", replaced)
        assert anonymize(*words, "--output", out) == 2
    assert f"{video} was changed while it was protected" in capsys.readouterr().err
    assert not list(out.glob("*.mkv")) and not list(out.glob("*.sealed"))
    assert anonymize(*words, "--output", out) == 0
    assert recover("--identity", private, "--input", out, "--output", tmp_path / "again") == 0
    assert contents(tmp_path / "again") == {"video.mkv": video.read_bytes()}


# -- runs ----------------------------------------------------------------------------------------------------


def test_a_killed_run_ends_byte_identical(weights, walk, protected, tmp_path):
    out = tmp_path / "killed"
    words = ["--weights", weights, *boxed(walk), "--output", out]
    # the journal, frames, the video's line, its name, the manifest, nothing
    ends = ends_of_killed_runs([1, 2, 9, 22, 23, 24, 100], *words)
    assert ends.count(-signal.SIGKILL) >= 5
    assert contents(out) == contents(protected)
    assert anonymize(*words) == 0  # nothing is left to do
    assert contents(out) == contents(protected)


def test_bytes_do_not_depend_on_workers(weights, walk, protected, tmp_path):
    words = ["--weights", weights, *boxed(walk), "--workers", 5]
    assert anonymize(*words, "--output", tmp_path / "out") == 0
    assert contents(tmp_path / "out") == contents(protected)


def test_runtime_and_precision_are_those_asked_for(weights, walk, protected, tmp_path):
    words = ["--weights", weights, *boxed(walk)]
    before = frames_of(protected / "video.mkv").astype(int)
    for name, options in {"onnx": ["--runtime", "onnx"], "half": ["--precision", "bfloat16"]}.items():
        assert anonymize(*words, "--output", tmp_path / name, *options) == 0
        header = read_manifest(tmp_path / name / "manifest.jsonl").header
        assert (header["runtime"], header["precision"]) == (
            ("onnx", "float32") if name == "onnx" else ("torch", "bfloat16")
        )
        differences = np.abs(frames_of(tmp_path / name / "video.mkv") - before)
        assert differences.max() <= (1 if name == "onnx" else 8) and differences.mean() < 0.3
        assert (
            recover(
                "--key", weights, "--input", tmp_path / name, "--output", tmp_path / f"{name}-r", *options
            )
            == 0
        )
        videos = (frames_of(tmp_path / folder / "video.mkv") for folder in (name, f"{name}-r"))
        key = fastreid_privacy.load_recovery(weights, "cpu", precision=header["precision"])
        assert_recovered(key, walk, *videos, 8)


def test_other_boxes_are_another_run(weights, walk, protected, tmp_path, capsys):
    fewer = tmp_path / "boxes.txt"
    fewer.write_text((walk / "boxes.txt").read_text().split("\n", 1)[1])
    before = contents(protected)
    assert (
        anonymize(
            "--weights", weights, "--input", walk / "video.mkv", "--boxes", fewer, "--output", protected
        )
        == 2
    )
    assert "was made otherwise (boxes_sha256" in capsys.readouterr().err
    assert contents(protected) == before


# -- refusals ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no box"),
        ("1,1,2,3,4", "line 1"),
        ("1,1,2,3,4,5\n2,1,x,3,4,5", "line 2"),
        ("0,1,2,3,4,5", "frames from 1"),
        ("1.5,1,2,3,4,5", "line 1"),
        ("1,1,2,3,0,5", "sides above 0"),
        ("1,1,nan,3,4,5", "line 1"),
        ("1,1,1.7e308,3,1.7e308,5", "line 1"),
        ("1,1,2,3,inf,5", "line 1"),
        ("1,1,2,3,4,5\n21,1,2,3,4,5", "boxes of frame 21, but "),
        ("1,1,900,3,4,5", "nothing would be protected"),
        # read as a box at 2, 3 of 40 × 1: an empty identity moved the others; so did decimal commas
        ("1,,20,30,40,50,1,-1,-1,-1", "line 1 of --boxes"),
        ("1\t1\t20,5\t30,5\t40,5\t50,5", "line 1 of --boxes"),
    ],
)
def test_boxes_that_are_none_are_refused(weights, walk, tmp_path, capsys, text, message):
    (tmp_path / "boxes.txt").write_text(text)
    out = tmp_path / "out"
    assert anonymize(weights=weights, input=walk / "video.mkv", boxes=tmp_path / "boxes.txt", output=out) == 2
    assert message in capsys.readouterr().err
    assert not list(out.glob("*.mkv")) and not list(out.glob(".*.unfinished"))


def test_boxes_touch_pixels_of_both_conventions(tmp_path):
    (tmp_path / "boxes.txt").write_text("1 1 10.5 20 4.2 8 0.1\n\n3,1,-50,-60,51.5,61,0\n")
    boxes = MotBoxes(tmp_path / "boxes.txt")
    picture = np.zeros((100, 50, 3), np.uint8)
    assert boxes(1, picture) == [(9, 19, 15, 28)]
    assert boxes(2, picture) == []
    assert boxes(3, picture) == [(0, 0, 2, 1)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "needs either --boxes"),
        (["--boxes", "BOXES", "--detector", "BOXES"], "needs either --boxes"),
        (["--boxes", "BOXES", "--min-score", "0.3"], "go with --detector"),
        (["--boxes", "BOXES", "--format", "png"], "is for images"),
        (["--boxes", "BOXES", "--quality", "90"], "--crf"),
        (["--boxes", "BOXES", "--crf", "20"], "mkv is lossless"),
        (["--boxes", "BOXES", "--format", "mp4", "--crf", "52"], "between 0 and 51"),
        (["--boxes", "absent.txt"], "cannot be read"),
        (["--detector", "absent.pth"], "does not exist"),
        (["--detector", "absent.pth", "--box-units", "pixel"], "--box-units goes with --boxes"),
        (["--detector", "BOXES"], "does not hold the weights"),
        (["--detector", "BOXES", "--detector-model", "yolo"], "is not known"),
        (["--detector", "BOXES", "--min-score", "2"], "between 0 and 1"),
    ],
)
def test_options_that_contradict_are_refused(weights, walk, tmp_path, capsys, words, message):
    words = [walk / "boxes.txt" if word == "BOXES" else word for word in words]
    assert (
        anonymize("--weights", weights, "--input", walk / "video.mkv", "--output", tmp_path / "out", *words)
        == 2
    )
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "words",
    [["--boxes", "x"], ["--detector", "x"], ["--crf", "3"], ["--format", "mkv"], ["--min-score", "0.1"]],
)
def test_options_of_videos_are_refused_for_folders(weights, walk, tmp_path, capsys, words):
    assert anonymize("--weights", weights, "--input", walk, "--output", tmp_path / "out", *words) == 2
    assert (
        f"{' '.join(words[:2]) if words[0] == '--format' else words[0]} is for a video"
        in capsys.readouterr().err
    )


def damaged_videos(walk, folder):
    """name → what is said of it."""
    content = (walk / "video.mkv").read_bytes()
    (folder / "empty.mkv").write_bytes(b"")
    (folder / "text.mp4").write_text("no video")
    (folder / "sound.wav").write_bytes(
        b"RIFF"
        + struct.pack("<I", 44)
        + b"WAVEfmt "
        + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 16000, 2, 16)
        + b"data"
        + struct.pack("<I", 8)
        + bytes(8)
    )
    broken = bytearray(
        write_video(folder / "broken.mp4", np.load(walk / "frames.npy"), codec="libx264").read_bytes()
    )
    broken[len(broken) // 2 : len(broken) // 2 + 300] = random.Random(0).randbytes(300)
    (folder / "broken.mp4").write_bytes(broken)
    # has checksums of its own
    checked = write_frames(folder / "checked.mkv", np.load(walk / "frames.npy"), "ffv1")
    damaged = bytearray(checked.read_bytes())
    damaged[len(damaged) // 2 : len(damaged) // 2 + 300] = random.Random(0).randbytes(300)
    (folder / "checked.mkv").write_bytes(damaged)
    (folder / "half.mkv").write_bytes(checked.read_bytes()[: len(content) // 2])
    (folder / "cut.mkv").write_bytes(content[: len(content) // 2])
    Image.new("RGB", (64, 64)).save(folder / "picture.png")
    return {
        "empty.mkv": "no video that can be read",
        "text.mp4": "no video that can be read",
        "sound.wav": "holds no video",
        "broken.mp4": "damaged",
        "cut.mkv": "do they belong together",
        "checked.mkv": "CRC",
        "half.mkv": "do they belong together",
        "picture.png": "is an image",
    }


def test_damaged_videos_are_named(weights, walk, tmp_path, capsys):
    for name, message in damaged_videos(walk, tmp_path).items():
        out = tmp_path / f"out-{name}"
        assert anonymize(weights=weights, input=tmp_path / name, boxes=walk / "boxes.txt", output=out) == 2, (
            name
        )
        told = capsys.readouterr().err
        assert message in told and name in told, told
        assert (
            not list(out.glob("*.mp4"))
            and not list(out.glob("*.mkv"))
            and not list(out.glob(".*.unfinished"))
        )


def test_a_video_that_ends_too_soon_is_damaged_even_where_all_boxes_are_there(
    walk, raw_frames, tmp_path, capsys
):
    path = write_frames(tmp_path / "whole.mkv", raw_frames, "ffv1")
    path.write_bytes(path.read_bytes()[:-50_000])
    (tmp_path / "boxes.txt").write_text("1,1,5,5,20,40")
    assert anonymize(method="blur", input=path, boxes=tmp_path / "boxes.txt", output=tmp_path / "out") == 2
    assert "whole.mkv is damaged" in capsys.readouterr().err


def test_lost_frames_are_damage_for_boxes_would_lie_on_the_wrong_ones(walk, raw_frames, tmp_path, capsys):
    path = write_video(tmp_path / "lossy.avi", raw_frames, codec="mjpeg", pix_fmt="yuvj420p")
    content = bytearray(path.read_bytes())
    at = [index for index in range(len(content)) if content[index : index + 4] == b"00dc"][8]
    content[at] ^= 1  # the chunk is none of the video's any more
    path.write_bytes(content)
    (tmp_path / "boxes.txt").write_text("1,1,5,5,20,40")
    assert anonymize(method="blur", input=path, boxes=tmp_path / "boxes.txt", output=tmp_path / "out") == 2
    assert "is damaged" in capsys.readouterr().err and not list((tmp_path / "out").glob("*.mkv"))


@pytest.mark.parametrize("method", ["blur", "pixelate"])
@pytest.mark.parametrize("box", ["1,1,38,214,6,6", "1,1,50,231,120,240", "1,1,50,-100,120,110"])
def test_small_boxes_and_people_cut_by_the_edge_are_hidden(raw_frames, tmp_path, method, box):
    (tmp_path / "boxes.txt").write_text(box)
    short = write_video(tmp_path / "short.mkv", raw_frames[:1])
    words = ["--method", method, "--input", short, "--boxes", tmp_path / "boxes.txt"]
    assert anonymize(*words, "--output", tmp_path / "out") == 0
    ((left, top, right, bottom),) = mot_rectangles(tmp_path / "boxes.txt")[1]
    raw, stored = (
        frame[top:bottom, left:right].astype(float)
        for frame in (raw_frames[0], frames_of(tmp_path / "out" / "short.mkv")[0])
    )
    assert np.std(np.diff(stored, axis=1)) < 0.6 * np.std(np.diff(raw, axis=1))
    assert (raw == stored).all(axis=2).mean() < 0.5


def test_an_operator_that_does_nothing_protects_nothing(walk, tmp_path, capsys):
    words = ["--method", "pixelate", *boxed(walk), "--output", tmp_path / "out"]
    assert anonymize(*words, "PRIVACY.DESENSITIZER.PIXEL_BLOCK", 1) == 2
    assert "would stay as it is" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("method", "key", "value"),
    [
        ("mask", "MASK_REGION", "(0, 0, 1e-9, 1e-9)"),
        ("noise", "NOISE_STD", 0.002),
        ("blur", "BLUR_SIGMA", 0.1),
    ],
)
def test_an_operator_that_does_next_to_nothing_protects_no_box(walk, tmp_path, capsys, method, key, value):
    words = ["--method", method, *boxed(walk), "--output", tmp_path / "out"]
    assert anonymize(*words, f"PRIVACY.DESENSITIZER.{key}", value) == 2
    assert re.search(r"frame 1, box \d+, \d+, \d+, \d+: it would stay", capsys.readouterr().err)
    assert not list((tmp_path / "out").glob("*.mkv"))


def test_boxes_that_change_no_pixel_are_refused(tmp_path, capsys):
    plain = write_video(tmp_path / "plain.mkv", [np.full((240, 320, 3), 128, np.uint8)] * 3)
    (tmp_path / "boxes.txt").write_text("1,1,50,60,120,110")
    words = ["--method", "blur", "--input", plain, "--boxes", tmp_path / "boxes.txt"]
    assert anonymize(*words, "--output", tmp_path / "out") == 2
    assert "no pixel of" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("*.mkv"))


# -- units of boxes ------------------------------------------------------------------------------------------


def scaled_boxes(walk, path, across, down):
    """The boxes of the walk with their values multiplied."""
    lines = []
    for line in (walk / "boxes.txt").read_text().splitlines():
        frame, identity, *values = line.split(",")
        edges = [float(value) * scale for value, scale in zip(values[:4], (across, down) * 2, strict=True)]
        lines.append(",".join([frame, identity, *map(str, edges), *values[4:]]))
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize(("units", "whole"), [("fraction", 1), ("percent", 100)])
def test_boxes_in_other_units_are_refused_or_converted(walk, tmp_path, capsys, units, whole):
    boxes = scaled_boxes(walk, tmp_path / "boxes.txt", whole / 320, whole / 240)
    words = {"method": "blur", "input": walk / "video.mkv", "boxes": boxes, "output": tmp_path / "out"}
    assert anonymize(**words) == 2
    told = capsys.readouterr().err
    assert "--box-units fraction, percent or pixel" in told and f"({units} by the look of them)" in told
    assert not (tmp_path / "out").exists()
    assert anonymize("--box-units", units, **words) == 0
    plain = ["--method", "blur", *boxed(walk), "--output", tmp_path / "plain"]
    assert anonymize(*plain) == 0
    manifests = [read_manifest(tmp_path / name / "manifest.jsonl") for name in ("out", "plain")]
    assert [manifest.header.get("box_units") for manifest in manifests] == [units, None]
    converted, expected = (np.array(next(iter(each.entries.values()))["boxes"]) for each in manifests)
    # what a float rounds away can make a box a pixel larger, never smaller
    assert converted.shape == expected.shape and np.abs(converted - expected).max() <= 1
    ends = [np.stack([rows[:, 1] + rows[:, 3], rows[:, 2] + rows[:, 4]]) for rows in (converted, expected)]
    assert (ends[0] >= ends[1]).all() and (converted[:, 1:3] <= expected[:, 1:3]).all()


@pytest.mark.parametrize(
    ("text", "units", "message"),
    [
        ("1,1,0.125,0.229,0.1625,0.625,0.9,-1,-1,-1", None, "within one pixel"),
        ("1,1,0.125,0.229,0.1625,0.625", "percent", "within one pixel"),
        ("1,1,40,30,50,60", None, "end by 100"),
        ("1,1,40,30,90,60", "fraction", "reach 130"),
        ("1,1,40,30,290,60", "percent", "reach 330"),
        ("1,1,400,30,50,60", "pixel", "all 1 boxes"),
        ("1,1,400,30,50,60", "pixel", "nothing would be protected (line 1)"),
        ("1,1,40,30,90,90\n2,1,50,250,90,90", None, "1 of 2 boxes"),
        ("1,1,40,30,90,90\n\n2,1,50,250,90,90", None, "(line 3)"),
    ],
)
def test_boxes_that_fit_no_picture_are_refused(walk, tmp_path, capsys, text, units, message):
    (tmp_path / "boxes.txt").write_text(text)
    words = ["--method", "blur", "--input", walk / "video.mkv", "--boxes", tmp_path / "boxes.txt"]
    words += ["--box-units", units] if units else []
    assert anonymize(*words, "--output", tmp_path / "out") == 2
    told = capsys.readouterr().err
    assert message in told and "--box-units" in told
    assert not (tmp_path / "out").exists()


def test_boxes_of_a_larger_picture_are_refused(walk, tmp_path, capsys):
    boxes = scaled_boxes(walk, tmp_path / "boxes.txt", 3.2, 3.2)
    words = {"method": "blur", "input": walk / "video.mkv", "boxes": boxes, "output": tmp_path / "out"}
    assert anonymize(**words) == 2
    assert "lie outside of the 320 × 240 pixels" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_boxes_outside_are_counted_and_named(walk, tmp_path, capsys):
    lines = (walk / "boxes.txt").read_text().splitlines()
    lines[1:1] = ["1,9,330,20,40,90", "2,9,-60,20,40,90"]
    (tmp_path / "boxes.txt").write_text("\n".join(lines))
    words = ["--method", "blur", "--input", walk / "video.mkv", "--boxes", tmp_path / "boxes.txt"]
    assert anonymize(*words, "--output", tmp_path / "out") == 0
    assert "2 boxes lie outside of the picture and protect nothing: lines 2, 3" in capsys.readouterr().err
    (entry,) = read_manifest(tmp_path / "out" / "manifest.jsonl").entries.values()
    assert entry["boxes_outside"] == [2, 3] and len(entry["boxes"]) == len(lines) - 2


def test_boxes_in_a_corner_are_pixels_when_that_is_said(walk, tmp_path):
    (tmp_path / "boxes.txt").write_text("1,1,40,30,50,60")
    words = ["--method", "mask", "--input", walk / "video.mkv", "--boxes", tmp_path / "boxes.txt"]
    assert anonymize(*words, "--box-units", "pixel", "--output", tmp_path / "out") == 0
    manifest = read_manifest(tmp_path / "out" / "manifest.jsonl")
    (entry,) = manifest.entries.values()
    assert entry["boxes"] == [[1, 39, 29, 51, 61]] and "box_units" not in manifest.header


def test_covers_are_no_videos_and_playlists_are_refused(walk, raw_frames, weights, tmp_path, capsys):
    words = ["--weights", weights, "--boxes", walk / "boxes.txt"]
    (tmp_path / "list.m3u8").write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{walk / 'video.mkv'}\n#EXT-X-ENDLIST\n"
    )
    (tmp_path / "list.mp4").write_text(f"ffconcat version 1.0\nfile '{walk / 'video.mkv'}'\n")
    for name in ("list.m3u8", "list.mp4"):
        assert anonymize(*words, "--input", tmp_path / name, "--output", tmp_path / "out") == 2
        assert "no video that can be read" in capsys.readouterr().err
    with av.open(str(tmp_path / "cover:of a film.mp4"), "w", format="mp4") as container:
        cover = container.add_stream("png", rate=1)
        cover.height, cover.width, cover.pix_fmt = 48, 48, "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        film = container.add_stream("libx264", rate=RATE)
        film.height, film.width, film.pix_fmt = 240, 320, "yuv420p"
        container.mux(
            cover.encode(av.VideoFrame.from_ndarray(np.zeros((48, 48, 3), np.uint8), format="rgb24"))
        )
        for picture in raw_frames:
            container.mux(film.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(film.encode(None))
    assert video_format(tmp_path / "cover:of a film.mp4").width == 320


def test_hidden_pixels_stay_hidden(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (48, 64, 4), np.uint8)
    picture[..., 3] = 0
    with av.open(str(tmp_path / "alpha.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=RATE)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "bgra"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgba")))
        container.mux(stream.encode(None))
    (frame,) = read_frames(tmp_path / "alpha.mkv")
    assert (frame.pixels == 255).all()


def test_a_refused_run_does_not_stand_in_the_way(walk, protected, weights, tmp_path):
    (tmp_path / "boxes.txt").write_text("1,1,900,3,4,5")
    words = ["--weights", weights, "--input", walk / "video.mkv", "--output", tmp_path / "out"]
    assert anonymize(*words, "--boxes", tmp_path / "boxes.txt") == 2
    assert anonymize(*words, "--boxes", walk / "boxes.txt") == 0
    assert contents(tmp_path / "out") == contents(protected)


def test_a_full_disk_ends_the_run_and_it_continues(weights, walk, protected, tmp_path, monkeypatch, capsys):
    words = ["--weights", weights, *boxed(walk), "--output", tmp_path / "out"]
    write = VideoWriter.write

    def full(self, frame):
        if frame.number > 9:
            raise OSError(28, "No space left on device")
        write(self, frame)

    monkeypatch.setattr(VideoWriter, "write", full)
    assert anonymize(*words) == 2
    assert "No space left on device; run the same command again to continue" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("*.mkv"))
    monkeypatch.setattr(VideoWriter, "write", write)
    assert anonymize(*words) == 0
    assert contents(tmp_path / "out") == contents(protected)


@pytest.mark.parametrize("name", ["film.gif", "film.png", "film.apng", "film.webp"])
def test_an_animation_is_told_to_be_what_is_then_taken(walk, tmp_path, capsys, name):
    """A message that says to protect a file as a video is true of it."""
    first, *others = [Image.fromarray(frame) for frame in np.load(walk / "frames.npy")]
    (tmp_path / "raw").mkdir()
    first.save(tmp_path / "raw" / name, save_all=True, append_images=others, duration=100)
    words = ["--method", "blur", "--output", tmp_path / "out"]
    assert anonymize(*words, "--input", tmp_path / "raw") == 2
    told = f"it holds {FRAMES} pictures (an animation or pages): save each as an image of its own"
    said = capsys.readouterr().err
    assert told in said and ("or protect the file as a video" in said) == (name != "film.webp")
    words = ["--method", "blur", "--output", tmp_path / "video", *boxed(walk)[2:]]
    code = anonymize(*words, "--input", tmp_path / "raw" / name)
    assert code == (2 if name == "film.webp" else 0)
    if code:
        assert "film.webp is an image: give its folder" in capsys.readouterr().err
    else:
        assert count_frames(tmp_path / "video" / "film.mkv") == FRAMES


@pytest.mark.parametrize("lost", [-1, 1])
def test_an_unfinished_or_shortened_manifest_is_not_recovered(weights, protected, tmp_path, capsys, lost):
    folder = shutil.copytree(protected, tmp_path / "p")
    lines = (folder / "manifest.jsonl").read_text().splitlines(keepends=True)
    assert len(lines) == 3
    del lines[lost]
    write_forged(folder / "manifest.jsonl", "".join(lines))
    assert recover("--key", weights, "--input", folder, "--output", tmp_path / "r") == 2
    assert "not that of a finished protection" in capsys.readouterr().err and not (tmp_path / "r").exists()


def test_recovery_refuses_what_does_not_belong_together(
    weights, walk, raw_frames, protected, tmp_path, capsys
):
    changed = shutil.copytree(protected, tmp_path / "changed")
    content = bytearray((changed / "video.mkv").read_bytes())
    content[len(content) // 2] ^= 1
    (changed / "video.mkv").write_bytes(content)
    assert recover("--key", weights, "--input", changed, "--output", tmp_path / "a") == 2
    assert "is not what was written" in capsys.readouterr().err

    forged = shutil.copytree(protected, tmp_path / "forged")
    manifest = (forged / "manifest.jsonl").read_text()
    for box in (
        "[1, 0, 0, 321, 5]",
        "[0, 0, 0, 3, 5]",
        "[99, 0, 0, 3, 5]",
        "[1, -1, 0, 3, 5]",
        "[1, 0, 0, 3.5, 5]",
        "7",
    ):
        write_forged(forged / "manifest.jsonl", manifest.replace('"boxes": [[', f'"boxes": [{box}, ['))
        assert recover("--key", weights, "--input", forged, "--output", tmp_path / "b") == 2
        assert "boxes of video.mkv are damaged" in capsys.readouterr().err

    shorter = write_video(tmp_path / "shorter.mkv", raw_frames[:-1])
    assert (
        recover("--key", weights, "--input", protected, "--output", tmp_path / "c", "--verify", shorter) == 2
    )
    assert "has 19 frames, the video that was protected 20" in capsys.readouterr().err
    smaller = write_video(tmp_path / "smaller.mkv", raw_frames[:, :200])
    assert (
        recover("--key", weights, "--input", protected, "--output", tmp_path / "c", "--verify", smaller) == 2
    )
    assert "smaller.mkv is 320×200, but the video that was protected is 320×240" in capsys.readouterr().err


# -- reading and writing -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quarters", "matrix"),
    [(1, (0, 65536, -65536, 0)), (2, (-65536, 0, 0, -65536)), (3, (0, -65536, 65536, 0))],
)
def test_phones_videos_are_turned_upright(tmp_path, raw_frames, quarters, matrix):
    path = write_video(tmp_path / "phone.mp4", raw_frames[:3], codec="libx264")
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 44  # the matrix of a version 0 track header
    content[at : at + 20] = struct.pack(">iiiii", matrix[0], matrix[1], 0, matrix[2], matrix[3])
    path.write_bytes(content)
    about, (first, *_) = video_format(path), read_frames(path)
    assert (
        (about.height, about.width) == first.pixels.shape[:2] == ((320, 240) if quarters % 2 else (240, 320))
    )
    turned = np.rot90(raw_frames[0], -quarters)  # the matrices say: clockwise
    assert np.abs(first.pixels.astype(int) - turned).mean() < 8
    assert np.abs(first.pixels.astype(int) - turned[::-1, ::-1]).mean() > 20
    assert np.array_equal(first.pixels, frames_of(path)[0])  # OpenCV turns them too


def test_frames_keep_their_times(tmp_path, weights):
    """A camera that drops frames has uneven times."""
    path = tmp_path / "uneven.mkv"
    pictures, times = (
        np.zeros((6, 48, 64, 3), np.uint8) + np.arange(6, dtype=np.uint8)[:, None, None, None],
        [40, 80, 120, 360, 400, 1000],
    )
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "bgr0"
        stream.codec_context.time_base = Fraction(1, 1000)
        for picture, time in zip(pictures, times, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = time, stream.codec_context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    (tmp_path / "boxes.txt").write_text("2,1,5,5,20,40")
    assert anonymize(weights=weights, input=path, boxes=tmp_path / "boxes.txt", output=tmp_path / "out") == 0
    written = list(read_frames(tmp_path / "out" / "uneven.mkv"))
    assert [frame.time for frame in written] == [time - 40 for time in times]
    assert count_frames(tmp_path / "out" / "uneven.mkv") == 6 < FRAMES_AT_ONCE


@pytest.mark.parametrize("size", [(64, 32), (37, 51)])
@pytest.mark.parametrize("codec", ["ffv1", "h264"])
def test_even_and_odd_sizes_are_written(tmp_path, size, codec):
    pictures = np.random.default_rng(0).integers(0, 256, (3, *size, 3), np.uint8)
    write_frames(tmp_path / "video", pictures, codec)
    read = np.stack([frame.pixels for frame in read_frames(tmp_path / "video")])
    assert read.shape == pictures.shape
    if codec == "ffv1":
        assert np.array_equal(read, pictures)


def test_a_size_that_a_codec_does_not_know_is_named(tmp_path):
    with pytest.raises(UserError, match="1×1"):
        write_frames(tmp_path / "video", np.zeros((3, 1, 1, 3), np.uint8), "ffv1")


def write_frames(path, pictures, codec):
    with path.open("wb") as file:
        writer = VideoWriter(file, VideoFormat(pictures.shape[2], pictures.shape[1], RATE, 1 / RATE), codec)
        for number, picture in enumerate(pictures):
            writer.write(Frame(number + 1, number, picture))
        writer.close()
    return path


# -- detectors -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def detector_file(tmp_path_factory):
    """An untrained detector of torchvision that says "person" often: all that matters is its boxes."""
    torch.manual_seed(0)
    model = torchvision.models.get_model("ssdlite320_mobilenet_v3_large", weights=None, weights_backbone=None)
    path = tmp_path_factory.mktemp("detector") / "ssdlite.pth"
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "classification_head" in name and value.shape == (546,):  # six anchors of 91 classes
                value.view(-1, 91)[:, 1] += 6
    torch.save(model.state_dict(), path)
    return path


def test_detected_boxes_are_protected_and_kept(
    weights, walk, raw_frames, detector_file, tmp_path, monkeypatch
):
    words = {
        "detector": detector_file,
        "detector_model": "ssdlite320_mobilenet_v3_large",
        "min_score": "0.6",
        "keep_frames": "0",
        "margin": "0",
    }
    short = write_video(tmp_path / "short.mkv", raw_frames[:3])
    assert anonymize("--weights", weights, "--input", short, "--output", tmp_path / "out", **words) == 0
    (entry,) = read_manifest(tmp_path / "out" / "manifest.jsonl").entries.values()
    model = torchvision.models.get_model(
        "ssdlite320_mobilenet_v3_large", weights=None, weights_backbone=None
    ).eval()
    model.load_state_dict(torch.load(detector_file, weights_only=True))
    with torch.no_grad():
        found = [model([torch.from_numpy(frame).permute(2, 0, 1) / 255])[0] for frame in raw_frames[:3]]
    expected = []
    for number, result in enumerate(found, start=1):
        chosen = [
            (score, box)
            for score, box, label in zip(
                result["scores"].tolist(), result["boxes"].tolist(), result["labels"].tolist(), strict=True
            )
            if label == 1 and score >= 0.6
        ]
        for _, (left, top, right, bottom) in sorted(chosen, key=lambda item: item[0]):
            left, top, right, bottom = (
                int(np.floor(left)),
                int(np.floor(top)),
                int(np.ceil(right)),
                int(np.ceil(bottom)),
            )
            if right > left and bottom > top:
                expected.append([number, left, top, right - left, bottom - top])
    assert expected and sorted(entry["boxes"]) == sorted(expected)
    written = frames_of(tmp_path / "out" / "short.mkv")
    outside = np.ones(written.shape[:3], bool)
    for number, left, top, width, height in expected:
        outside[number - 1, top : top + height, left : left + width] = False
    assert np.array_equal(written[outside], raw_frames[:3][outside])
    assert (
        recover("--key", weights, "--input", tmp_path / "out", "--output", tmp_path / "r", "--verify", short)
        == 0
    )


def test_weights_of_another_detector_are_refused(detector_file):
    with pytest.raises(UserError, match="does not hold the weights of fasterrcnn_mobilenet_v3_large_fpn"):
        PersonDetector(detector_file, "fasterrcnn_mobilenet_v3_large_fpn")
    assert detector.DEFAULT_MODEL in detector.detector_names()
