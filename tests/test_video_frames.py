"""Frames and boxes through a whole run: their order, number and times, and what stands in the way."""

from __future__ import annotations

import fastreid_privacy  # before fastreid

# isort: split
import io
import json
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from forged_manifests import write_forged
from in_process import anonymize, contents, recover
from PIL import Image
from rendered_video import number_of, numbered, write_video
from test_video import frames_of
from test_video_detection import graph

from fastreid_privacy.checkpoints.image_maps import ImageMap
from fastreid_privacy.collection.protect import ProtectionOptions
from fastreid_privacy.core.errors import UserError
from fastreid_privacy.desensitize import Desensitizer
from fastreid_privacy.manifest import read_manifest
from fastreid_privacy.model.storage import ImageStorage
from fastreid_privacy.video import PersonDetector, protect
from fastreid_privacy.video.people import Person
from fastreid_privacy.video.protecting import FrameProtector
from fastreid_privacy.video.recover import compare_videos
from fastreid_privacy.video.regions import protect_regions, recover_regions
from fastreid_privacy.video.stream import Frame, count_frames, read_frames

assert fastreid_privacy

# boxes that overlap in a chain, so that each is cut where the one before it was put
CHAIN = [(5, 5, 45, 75), (25, 15, 65, 85), (45, 25, 85, 95), (30, 40, 70, 90), (0, 60, 90, 96)]


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)


def people(boxes):
    """Somebody in each box."""
    return [Person(box) for box in boxes]


# -- boxes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 2, 5, 8])
def test_boxes_are_cut_from_the_raw_frame_whatever_the_batch(picture, batch_size):
    """Of a box that was cut from what is protected already, the pixels would be inverted twice."""
    frames, seen = [Frame(1, 0, picture, people(CHAIN)), Frame(2, 1, picture[::-1], people(CHAIN[:3]))], []

    def inverted(pictures):
        seen.append(len(pictures))
        return [255 - each for each in pictures]

    protect_regions(frames, inverted, None, batch_size, conventional=True)
    assert max(seen) <= batch_size and sum(seen) == 8
    for frame, raw in zip(frames, (picture, picture[::-1]), strict=True):
        expected = raw.copy()
        for left, top, right, bottom in frame.boxes:
            expected[top:bottom, left:right] = 255 - raw[top:bottom, left:right]
        assert np.array_equal(frame.pixels, expected)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_boxes_are_recovered_from_the_protected_frame_whatever_the_batch(picture, batch_size):
    frame = Frame(1, 0, picture, people(CHAIN))
    recover_regions([frame], lambda pictures: [255 - each for each in pictures], (8, 8), batch_size)
    for number, (left, top, right, bottom) in enumerate(CHAIN):
        alone = Frame(1, 0, picture, people([CHAIN[number]]))
        recover_regions([alone], lambda pictures: [255 - each for each in pictures], (8, 8), 1)
        on_top = np.ones((96, 96), bool)
        for other in CHAIN[number + 1 :]:
            on_top[other[1] : other[3], other[0] : other[2]] = False
        here = np.zeros((96, 96), bool)
        here[top:bottom, left:right] = True
        assert np.array_equal(frame.pixels[here & on_top], alone.pixels[here & on_top])


def mot(path, frame_boxes):
    """Boxes as a MOT file that says them from pixel 1: what is protected is as given."""
    rows = [
        f"{frame},1,{left + 1},{top + 1},{right - left - 1},{bottom - top - 1}"
        for frame, (left, top, right, bottom) in frame_boxes
    ]
    path.write_text("\n".join(rows))
    return path


def test_bytes_do_not_depend_on_the_batch(picture, tmp_path):
    video = write_video(tmp_path / "video.mkv", [picture, picture[::-1]])
    boxes = mot(tmp_path / "boxes.txt", [(number, box) for number in (1, 2) for box in CHAIN])
    written = []
    for size in (1, 3, 32):
        words = ["--method", "blur", "--input", video, "--boxes", boxes, "--batch-size", size]
        assert anonymize(*words, "--output", tmp_path / str(size)) == 0
        written.append(frames_of(tmp_path / str(size) / "video.mkv"))
    assert np.array_equal(written[0], written[2]) and np.array_equal(written[1], written[2])


def test_the_surest_box_lies_on_top(picture, tmp_path):
    """Where boxes overlap, the frame shows what protecting the surest one alone gives."""
    boxes = np.array([[10, 10, 50, 90], [20, 12, 60, 92], [30, 5, 70, 85]], np.float32)
    scores = np.array([0.7, 0.9, 0.8], np.float32)
    outputs = {"boxes": boxes, "labels": np.ones(3, np.int64), "scores": scores}
    video = write_video(tmp_path / "video.mkv", [picture])
    words = ["--method", "pixelate", "--input", video]
    detector = graph(tmp_path / "d.onnx", outputs, (96, 96))
    assert anonymize(*words, "--detector", detector, "--margin", 0, "--output", tmp_path / "out") == 0
    (entry,) = read_manifest(tmp_path / "out" / "manifest.jsonl").entries.values()
    assert entry["boxes"] == [[1, 10, 10, 40, 80], [1, 30, 5, 40, 80], [1, 20, 12, 40, 80]]
    alone = mot(tmp_path / "alone.txt", [(1, (20, 12, 60, 92))])
    assert anonymize(*words, "--boxes", alone, "--output", tmp_path / "alone") == 0
    both = [frames_of(tmp_path / name / "video.mkv")[0, 12:92, 20:60] for name in ("out", "alone")]
    assert np.array_equal(*both) and not np.array_equal(both[0], picture[12:92, 20:60])


def test_a_torchvision_detector_gives_the_surest_person_last():
    found = {
        "boxes": torch.tensor([[10.0, 10, 50, 90], [20, 12, 60, 92], [30, 5, 70, 85], [0, 0, 9, 9]]),
        "scores": torch.tensor([0.7, 0.9, 0.8, 0.95]),
        "labels": torch.tensor([1, 1, 1, 3]),
    }
    finder = object.__new__(PersonDetector)  # without weights
    finder.network, finder.min_score, finder.device = lambda images: [found], 0.5, "cpu"
    boxes = finder(1, np.zeros((96, 96, 3), np.uint8))
    assert boxes == [(10, 10, 50, 90), (30, 5, 70, 85), (20, 12, 60, 92)]


# -- frames --------------------------------------------------------------------------------------------------


def small(tmp_path, count=12):
    """A video of numbered frames, and words that protect it."""
    video = write_video(tmp_path / "video.mkv", numbered(count))
    boxes = mot(tmp_path / "boxes.txt", [(1, (4, 8, 44, 40))])
    return video, ["--method", "mask", "--input", video, "--boxes", boxes]


@pytest.mark.parametrize("announced", [11, 13])
def test_another_number_of_frames_than_was_counted_is_damage(tmp_path, monkeypatch, capsys, announced):
    _, words = small(tmp_path)
    monkeypatch.setattr(protect, "count_frames", lambda path: announced)
    assert anonymize(*words, "--output", tmp_path / "out") == 2
    assert f"{announced} frames are announced, 12 could be decoded" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("*.mkv")) and not list((tmp_path / "out").glob(".*"))[1:]


def test_the_manifest_says_how_many_frames_there_are_and_recovery_compares(small_run, tmp_path, capsys):
    video, words = small(tmp_path)
    words[:2] = ["--weights", small_run / "model_best.pth"]
    assert anonymize(*words, "--output", tmp_path / "out") == 0
    path = tmp_path / "out" / "manifest.jsonl"
    (entry,) = read_manifest(path).entries.values()
    assert entry["frames"] == 12 == len(frames_of(tmp_path / "out" / "video.mkv"))
    lines = path.read_text().splitlines()
    for forged in (11, 13):
        line = json.loads(lines[1])
        write_forged(path, "\n".join([lines[0], json.dumps({**line, "frames": forged}), *lines[2:]]) + "\n")
        key = ["--key", small_run / "model_best.pth", "--input", tmp_path / "out"]
        assert recover(*key, "--output", tmp_path / f"r{forged}") == 2
        assert f"has 12 frames, but its manifest says {forged}" in capsys.readouterr().err
        assert not list((tmp_path / f"r{forged}").glob("*.mkv"))
    longer = write_video(tmp_path / "longer.mkv", numbered(13))
    with pytest.raises(UserError, match="differ in their number of frames"):
        list(compare_videos(video, longer, entry))


def test_frames_that_repeat_a_time_are_all_kept(tmp_path):
    """Broken recorders give several frames one time; files that are written must have rising ones."""
    video, times = tmp_path / "video.mkv", [0, 40, 40, 40, 41, 200]
    with av.open(str(video), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "bgr0"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, picture in enumerate(numbered(len(times))):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 1000)
            for packet in stream.encode(frame):
                packet.pts = packet.dts = times[number]
                container.mux(packet)
    assert [frame.time for frame in read_frames(video)] == [0, 40, 41, 42, 43, 200]
    boxes = mot(tmp_path / "boxes.txt", [(4, (4, 8, 44, 40))])
    words = ["--method", "mask", "--input", video, "--boxes", boxes]
    assert anonymize(*words, "--output", tmp_path / "out") == 0
    written = list(read_frames(tmp_path / "out" / "video.mkv"))
    assert [number_of(frame.pixels) for frame in written if frame.number != 4] == [0, 1, 2, 4, 5]
    assert [frame.time for frame in written] == [0, 40, 41, 42, 43, 200]
    assert count_frames(video) == 6


# -- what stands in the way ----------------------------------------------------------------------------------


def test_a_foreign_video_at_the_target_stays(tmp_path, capsys):
    _, words = small(tmp_path)
    out = tmp_path / "out"
    plain = write_video(tmp_path / "plain.mkv", [np.full((48, 64, 3), 128, np.uint8)] * 2)
    # a run that was refused leaves its folder behind, and somebody puts a video there
    refused = ["--method", "mask", "--input", plain, "--boxes", words[-1], "--output", out]
    assert anonymize(*refused) == 2
    assert "no pixel of" in capsys.readouterr().err
    (out / "plain.mkv").write_bytes(b"somebody's video")
    before = contents(out)
    assert anonymize(*refused) == 2
    assert (
        f"{out / 'plain.mkv'} is there already, and no run of this command wrote it"
        in capsys.readouterr().err
    )
    assert contents(out) == before
    # the same for a link that leads nowhere
    (out / "plain.mkv").unlink()
    (out / "plain.mkv").symlink_to(tmp_path / "elsewhere")
    assert anonymize(*refused) == 2
    assert "is there already" in capsys.readouterr().err and not (tmp_path / "elsewhere").exists()
    # and in a folder that no run has seen
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "video.mkv").write_bytes(b"somebody's video")
    assert anonymize(*words, "--output", tmp_path / "foreign") == 2
    assert contents(tmp_path / "foreign") == {"video.mkv": b"somebody's video"}


@pytest.mark.parametrize(("other", "named"), [((60, 80), "80×60"), ((48, 32), "32×48"), ((64, 48), "48×64")])
def test_a_size_that_changes_within_a_video_is_named(tmp_path, capsys, other, named):
    video = tmp_path / "video.avi"
    with av.open(str(video), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuvj420p"
        for number in range(5):
            file = io.BytesIO()
            size = (48, 64) if number < 3 else other
            Image.fromarray(np.full((*size, 3), 40 * number, np.uint8)).save(file, "JPEG")
            packet = av.Packet(file.getvalue())
            packet.pts = packet.dts = number
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, 25), stream, True
            container.mux(packet)
    boxes = mot(tmp_path / "boxes.txt", [(1, (4, 8, 44, 40))])
    words = ["--method", "noise", "--input", video, "--boxes", boxes]
    assert anonymize(*words, "--output", tmp_path / "out") == 2
    assert f"frame 4 of {video} is {named}, the first one 64×48" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("*.mkv")) and not list((tmp_path / "out").glob(".*.unfinished"))


def test_a_change_is_not_forgotten_where_another_frame_has_none(monkeypatch):
    """One of several threads finds a change while another still compares a frame without boxes."""
    operator = ImageMap(None, Desensitizer("mask"), ImageStorage("png"), None)
    protector = FrameProtector(operator, ProtectionOptions())
    noise = np.random.default_rng(0).integers(0, 256, (2, 48, 64, 3), np.uint8)
    changed = Frame(1, 0, noise[0], [Person((8, 8, 16, 32))])
    equal = np.array_equal

    def meanwhile(one, other):
        monkeypatch.setattr(np, "array_equal", equal)
        protector([changed])
        assert protector.any_changed
        return equal(one, other)

    protector([Frame(3, 2, noise[1].copy())])
    assert not protector.any_changed
    monkeypatch.setattr(np, "array_equal", meanwhile)
    protector([Frame(2, 1, noise[1])])
    assert protector.any_changed
