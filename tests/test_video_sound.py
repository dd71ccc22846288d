"""Sound that is kept, and the sheet of protected frames."""

from __future__ import annotations

import fastreid_privacy  # before fastreid

# isort: split
import json
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest
from in_process import anonymize, contents
from PIL import Image
from rendered_video import RATE, write_video

from fastreid_privacy.manifest import read_manifest
from fastreid_privacy.video.preview import COLOURS, TILE, chosen_frames, write_preview
from fastreid_privacy.video.stream import Frame, VideoFormat, read_frames
from fastreid_privacy.video.writer import VideoWriter

assert fastreid_privacy

PICTURES = [np.random.default_rng(number).integers(0, 256, (48, 64, 3), np.uint8) for number in range(13)]


def late_pictures(path):
    """A video whose pictures begin half a second after its sound, in packets of 0.2 seconds of one value."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("ffv1", rate=RATE)
        video.height, video.width, video.pix_fmt = 48, 64, "bgr0"
        video.codec_context.time_base = Fraction(1, 1000)
        sound = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound.metadata["title"], sound.metadata["language"] = "SECRET", "swe"
        for second, picture in enumerate(PICTURES):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = 500 + 80 * second, Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for part in range(10):  # of 0.2 seconds each, all of one value
            samples = np.full((1, 1600), 100 * (part + 1), np.int16)
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 8000, 1600 * part, Fraction(1, 8000)
            container.mux(sound.encode(frame))


@pytest.fixture
def street(tmp_path):
    """A noisy video of 13 frames, 1.04 seconds, with a second of noise to hear, and boxes."""
    write_video(tmp_path / "street.mkv", PICTURES, sound=True, title="SECRET")
    (tmp_path / "boxes.txt").write_text("1,1,13,9,16,24\n5,1,13,9,16,24\n5,2,40,9,16,24\n13,1,13,9,16,24\n")
    return tmp_path


def protect(street, out, *words, source="street.mkv"):
    words = ["--input", street / source, "--boxes", street / "boxes.txt", "--output", street / out, *words]
    return anonymize("--method", "mask", *words)


def heard(path):
    """The samples of the first sound, and when it begins."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
        return np.concatenate([frame.to_ndarray().ravel() for frame in frames]), float(frames[0].time)


# -- sound ---------------------------------------------------------------------------------------------------


def test_sound_is_kept_when_asked_for_and_warned_of(street, capsys):
    assert protect(street, "out", "--keep-audio") == 0
    told = capsys.readouterr().err
    assert "voices" in told and "left out" not in told
    (kept, start), (raw, _) = heard(street / "out" / "street.mkv"), heard(street / "street.mkv")
    assert np.array_equal(kept, raw) and len(raw) >= 8000 and start == 0
    assert read_manifest(street / "out" / "manifest.jsonl").header["audio"] == "kept"
    assert protect(street, "silent") == 0
    assert "left out: audio" in capsys.readouterr().err
    videos = [
        np.stack([frame.pixels for frame in read_frames(street / name / "street.mkv")])
        for name in ("out", "silent")
    ]
    assert np.array_equal(*videos)
    with av.open(str(street / "silent" / "street.mkv")) as container:
        assert not container.streams.audio
    assert protect(street, "out") == 2  # with and without sound are two runs
    assert "was made otherwise (audio" in capsys.readouterr().err


def test_the_same_sound_gives_the_same_bytes(street):
    for name in ("one", "other"):
        assert protect(street, name, "--keep-audio") == 0
    assert contents(street / "one") == contents(street / "other")


def test_sound_and_pictures_are_interleaved(street):
    """A player that reads from a pipe need not hold all of one to show the other."""
    late_pictures(street / "late.mkv")
    assert protect(street, "out", "--keep-audio", source="late.mkv") == 0
    with av.open(str(street / "out" / "late.mkv")) as container:
        kinds = [packet.stream.type for packet in container.demux() if packet.size]
    changes = sum(one != other for one, other in pairwise(kinds))
    assert kinds.count("video") == 13 and changes >= 10


def test_what_a_stream_says_of_itself_and_what_lies_before_the_first_frame_is_left_out(street):
    late_pictures(street / "late.mkv")
    assert protect(street, "out", "--keep-audio", source="late.mkv") == 0
    samples, start = heard(street / "out" / "late.mkv")
    assert samples[0] == 400 and start == pytest.approx(0.1)  # that of 0.6 seconds
    assert b"SECRET" not in (street / "out" / "late.mkv").read_bytes()
    with av.open(str(street / "out" / "late.mkv")) as container:
        assert container.streams.audio[0].metadata.get("language") in (None, "und", "eng")


def test_sound_that_a_file_cannot_hold_is_named(street, capsys):
    path = street / "wavpack.mkv"
    with av.open(str(street / "street.mkv")) as raw, av.open(str(path), "w") as container:
        video = container.add_stream_from_template(raw.streams.video[0])
        sound = container.add_stream("wavpack", rate=8000, layout="mono")
        for packet in raw.demux(raw.streams.video[0]):
            if packet.size:
                packet.stream = video
                container.mux(packet)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux([*sound.encode(frame), *sound.encode(None)])
    assert protect(street, "out", "--keep-audio", "--format", "mp4", source="wavpack.mkv") == 2
    told = capsys.readouterr().err
    assert "wavpack, cannot be kept in this kind of file" in told and "--format mkv" in told
    assert not list((street / "out").glob("*.mp4"))
    assert protect(street, "out", "--keep-audio", source="wavpack.mkv") == 0


def test_a_silent_video_has_no_sound_to_keep(street, capsys):
    write_video(street / "silent.mkv", PICTURES)
    assert protect(street, "out", "--keep-audio", source="silent.mkv") == 2
    assert "has no sound" in capsys.readouterr().err and not (street / "out").exists()


# -- the sheet -----------------------------------------------------------------------------------------------


def test_frames_of_the_sheet_lie_evenly(tmp_path):
    assert chosen_frames(3) == [1, 2, 3] and chosen_frames(1) == [1]
    assert chosen_frames(100, 5) == [1, 26, 50, 75, 100]


def test_the_sheet_shows_protected_frames_with_their_boxes(street, capsys):
    assert protect(street, "out", "--preview", "--leave-people", "2") == 0
    sheet = street / "out" / "street.mkv.preview.png"
    assert f"look at {sheet} before you give" in capsys.readouterr().err
    picture = np.array(Image.open(sheet))
    frames = list(read_frames(street / "out" / "street.mkv"))
    for place, frame in enumerate(frames):  # 13 of them, 4 in a row, 5 times as large
        row, column = divmod(place, 4)
        top, left = 18 + row * (240 + 18 + 4) + 18, 4 + column * (TILE + 4)
        tile = picture[top : top + 240, left : left + TILE].astype(int)
        own = Image.fromarray(frame.pixels).resize((TILE, 240), Image.Resampling.BICUBIC)
        same = np.abs(tile - np.array(own)).max(axis=2) <= 2
        boxes = {1: 1, 5: 2, 13: 1}.get(frame.number, 0)
        assert same.mean() > 0.95 and same.all() == (not boxes)
        raw = np.array(Image.fromarray(PICTURES[place]).resize((TILE, 240), Image.Resampling.BICUBIC))
        if boxes:  # what is in a box is the mask's grey, not the raw pixels
            inside = tile[60:150, 75:125]
            assert (np.abs(inside - 128) <= 2).all() and np.abs(inside - raw[60:150, 75:125]).mean() > 20
        given, left_out = ((tile == COLOURS[word]).all(axis=2).sum() for word in ("given", "left"))
        assert (given > 100) == bool(boxes) and (left_out > 100) == (frame.number == 5)


def test_a_finished_video_gets_its_sheet_later_and_without_a_log_it_is_refused(street, capsys):
    assert protect(street, "out") == 0
    assert not list((street / "out").glob("*.png"))
    assert protect(street, "out", "--preview") == 0
    assert (street / "out" / "street.mkv.preview.png").exists()
    (entry,) = read_manifest(street / "out" / "manifest.jsonl").entries.values()
    (street / "out" / entry["audit"]).write_text(json.dumps({}) + "\n[]\n{}\n")
    with pytest.raises(fastreid_privacy.core.errors.UserError, match="no audit log"):
        write_preview(street / "out", entry)
    del entry["audit"]
    with pytest.raises(fastreid_privacy.core.errors.UserError, match="older version"):
        write_preview(street / "out", entry)


@pytest.mark.parametrize(
    "person",
    [
        '{"how": "given"}',
        '{"box": [1, 2, 3, 4]}',
        '{"box": [1, 2, 3, 4], "how": "guessed"}',
        '{"box": [1, 2, 3, 4], "how": ["given"]}',
        '{"box": [1, 2, 3], "how": "given"}',
        '{"box": [1, 2, 3, "4"], "how": "given"}',
        '{"box": [1, 2, 3, 1e300], "how": "given"}',
        '{"box": [1, 2, 3, 99999999999999999999], "how": "given"}',
        '{"box": [1, 2, 3, -4], "left": "time"}',
        '{"box": [1, 2, 3, 4], "how": "given", "identity": "' + "9" * 1000 + '"}',
        '{"box": 7, "how": "given"}',
        "[1, 2, 3, 4]",
        '"given"',
        "7",
        "null",
    ],
)
def test_a_person_of_a_log_that_is_none_is_named(street, capsys, person):
    assert protect(street, "out") == 0
    (entry,) = read_manifest(street / "out" / "manifest.jsonl").entries.values()
    log = street / "out" / entry["audit"]
    log.write_text('{}\n{"frame": 1, "time": 0, "people": [' + person + "]}\n{}\n")
    with pytest.raises(fastreid_privacy.core.errors.UserError, match="no audit log") as error:
        write_preview(street / "out", entry)
    assert str(log) in str(error.value) and len(str(error.value)) < 1000
    assert not list((street / "out").glob("*.png"))


@pytest.mark.parametrize("people", ["7", "null", '"given"'])
def test_a_frame_of_a_log_without_people_is_named(tmp_path, people):
    (tmp_path / "log").write_text('{}\n{"frame": 1, "time": 0, "people": ' + people + "}\n{}\n")
    with pytest.raises(fastreid_privacy.core.errors.UserError, match="no audit log"):
        write_preview(tmp_path, {"path": "v.mkv", "frames": 1, "audit": "log"})


def test_a_high_video_has_high_tiles(tmp_path):
    with (tmp_path / "v.mkv").open("wb") as file:
        writer = VideoWriter(file, VideoFormat(20, 60, RATE, 1 / RATE))
        writer.write(Frame(1, 0, np.zeros((60, 20, 3), np.uint8)))
        writer.close()
    (tmp_path / "log").write_text('{}\n{"frame": 1, "time": 0, "people": []}\n{}\n')
    sheet = write_preview(tmp_path, {"path": "v.mkv", "frames": 1, "audit": "log"})
    assert Image.open(sheet).size == (TILE + 8, 18 + 18 + TILE + 4 + 4)
