"""Which frames a video has, and what counts as damage: compared with the numbers that its pictures show."""

from __future__ import annotations

import fastreid_privacy  # before fastreid

# isort: split
import logging
import struct
import subprocess
import sys
import threading

import av
import pytest
from in_process import anonymize
from rendered_video import RATE, number_of, numbered, write_video
from test_video import frames_of

from fastreid_privacy.core.errors import UserError
from fastreid_privacy.video.decoding import libav_said
from fastreid_privacy.video.stream import count_frames, read_frames

assert fastreid_privacy

GROUP = 10  # pictures from one whole picture to the next
OPEN = f"open-gop=1:keyint={GROUP}:min-keyint={GROUP}:bframes=2:b-adapt=0:scenecut=0"
OPEN_GROUPS = {  # pictures before a whole one, in the order of times, need that and one of the group before
    "libx264": {"x264-params": OPEN},
    "libx265": {"x265-params": f"{OPEN}:log-level=none"},
    "mpeg2video": {"g": str(GROUP), "bf": "2", "sc_threshold": "1000000000"},
}


def numbers(path):
    """The numbers of the frames that are read, which must be as many as are counted."""
    found = [number_of(frame.pixels) for frame in read_frames(path)]
    assert count_frames(path) == len(found)
    return found


def trimmed(path, first, count):
    """An MP4 of 60 pictures, its index first, whose edit list shows ``count`` from ``first`` on."""
    options = {"g": "24", "bf": "2", "sc_threshold": "0"}
    whole = write_video(path.with_name("whole.mp4"), numbered(60), codec="libx264", options=options)
    with (
        av.open(str(whole)) as container,
        av.open(str(path), "w", options={"movflags": "+faststart"}) as out,
    ):
        copy = out.add_stream_from_template(container.streams.video[0])
        for packet in container.demux(video=0):
            packet.stream = copy
            if packet.size:
                out.mux(packet)
    content = bytearray(path.read_bytes())
    ticks = struct.unpack(">I", content[(at := content.index(b"mvhd") + 16) : at + 4])[0]
    own_ticks = struct.unpack(">I", content[(at := content.index(b"mdhd") + 16) : at + 4])[0]
    at = content.index(b"elst") + 12  # behind version, flags and the number of edits
    (start,) = struct.unpack(">i", content[at + 4 : at + 8])
    edit = round(count / RATE * ticks), start + round(first / RATE * own_ticks)
    content[at : at + 8] = struct.pack(">Ii", *edit)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("first", "count"), [(12, 40), (0, 30), (24, 36), (25, 1), (0, 60)])
def test_a_trimmed_video_has_the_frames_of_its_edit_list(tmp_path, first, count):
    path = trimmed(tmp_path / "trimmed.mp4", first, count)
    assert numbers(path) == list(range(first, first + count))
    assert list(map(number_of, frames_of(path))) == numbers(path)  # OpenCV's
    assert next(read_frames(path)).time == 0


def test_boxes_of_a_trimmed_video_count_from_the_first_frame_that_is_shown(tmp_path, capsys):
    path = trimmed(tmp_path / "trimmed.mp4", 12, 40)
    (tmp_path / "boxes.txt").write_text("40,1,5,9,40,31")
    words = ["--method", "mask", "--input", path, "--boxes", tmp_path / "boxes.txt"]
    assert anonymize(*words, "--output", tmp_path / "out") == 0
    assert "1 boxes in 1 of 40 frames protected" in capsys.readouterr().out
    written = frames_of(tmp_path / "out" / "trimmed.mkv")
    assert (
        list(map(number_of, written[:-1])) == list(range(12, 51)) and (written[-1][9:40, 5:45] == 128).all()
    )
    (tmp_path / "boxes.txt").write_text("41,1,5,9,40,31")
    assert anonymize(*words, "--output", tmp_path / "other") == 2
    assert "has 40 frames" in capsys.readouterr().err


def test_a_trimmed_video_that_is_cut_short_is_damaged(tmp_path):
    path = trimmed(tmp_path / "trimmed.mp4", 12, 40)
    with av.open(str(path)) as container:
        last = [packet.pos for packet in container.demux(video=0) if packet.size][-8]
    path.write_bytes(path.read_bytes()[:last])
    with pytest.raises(UserError, match="damaged"):
        numbers(path)


def test_damage_in_the_part_that_an_edit_list_hides_is_damage_of_what_is_built_upon_it(tmp_path):
    path = trimmed(tmp_path / "trimmed.mp4", 12, 40)
    with av.open(str(path)) as container:
        hidden = [packet for packet in container.demux(video=0) if packet.is_discard][5]
        at, size = hidden.pos, hidden.size
    content = bytearray(path.read_bytes())
    content[at + 5 : at + size] = b"\xff" * (size - 5)
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        numbers(path)


def cut(path, codec, begin, total=30):
    """A video without the packets before one of its whole pictures, or before the one ``begin`` behind it.

    Returns:
        The number of the whole picture from which a player shows it.
    """
    whole = write_video(
        path.with_name(f"whole{path.suffix}"), numbered(total), codec=codec, options=OPEN_GROUPS[codec]
    )
    with av.open(str(whole)) as container, av.open(str(path), "w") as out:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        keys = [at for at, packet in enumerate(packets) if packet.is_keyframe]
        times = sorted(packet.pts for packet in packets)
        shown = keys[1] if begin == 0 else keys[2]
        number = times.index(packets[shown].pts)
        copy = out.add_stream_from_template(stream)
        for packet in packets[keys[1] + begin :]:
            packet.stream = copy
            out.mux(packet)
    return number


@pytest.mark.parametrize("begin", [0, 4])
@pytest.mark.parametrize("ending", ["ts", "mkv"])
@pytest.mark.parametrize("codec", OPEN_GROUPS)
def test_a_video_that_was_cut_out_begins_with_its_first_whole_picture(tmp_path, capfd, codec, ending, begin):
    path = tmp_path / f"cut.{ending}"
    first = cut(path, codec, begin)
    assert numbers(path) == list(range(first, 30)) and 5 < first < 25
    assert "warning" not in capfd.readouterr().err
    assert list(map(number_of, frames_of(path))) == numbers(path)


@pytest.mark.parametrize(("codec", "ending"), [("libx264", "h264"), ("libx265", "hevc")])
def test_a_cut_stream_without_times_has_the_frames_that_can_be_decoded(tmp_path, codec, ending):
    first = cut(tmp_path / "cut.ts", codec, 0)
    with av.open(str(tmp_path / "cut.ts")) as container:
        raw = b"".join(bytes(packet) for packet in container.demux(video=0))
    (tmp_path / f"cut.{ending}").write_bytes(raw)
    assert numbers(tmp_path / f"cut.{ending}") == list(range(first, 30))


def test_a_first_picture_that_is_damaged_is_not_passed_over(tmp_path):
    path = tmp_path / "cut.mkv"
    cut(path, "libx264", 0)
    with av.open(str(path)) as container:
        first = next(container.demux(video=0))
        assert first.is_keyframe
        content = bytes(first)
    broken = path.read_bytes().replace(content[-40:], b"\xff" * 40)
    path.write_bytes(broken)
    with pytest.raises(UserError, match="damaged"):
        numbers(path)


def test_pictures_without_their_whole_one_are_refused_where_a_player_shows_them(tmp_path):
    """MPEG-4's decoder shows grey with what moves in it, up to the next whole picture."""
    whole = write_video(tmp_path / "whole.mkv", numbered(30), codec="mpeg4", options={"g": "12"})
    with av.open(str(whole)) as container, av.open(str(tmp_path / "cut.mkv"), "w") as out:
        copy = out.add_stream_from_template(container.streams.video[0])
        for packet in list(container.demux(video=0))[3:-1]:
            packet.stream = copy
            out.mux(packet)
    with pytest.raises(UserError, match="no keyframe"):
        numbers(tmp_path / "cut.mkv")


def test_the_same_damage_is_seen_each_time(tmp_path):
    path = write_video(tmp_path / "broken.mp4", numbered(20), codec="libx264")
    content = bytearray(path.read_bytes())
    at = content.index(b"mdat") + 900
    content[at : at + 60] = b"\xff" * 60
    path.write_bytes(content)
    for _ in range(3):  # libav leaves out a line that it said before
        with pytest.raises(UserError, match="damaged"):
            list(read_frames(path))


# -- what libav says of data beside the pictures -------------------------------------------------------------


def with_segment(path, codec, segment, **options):
    """A video without and with something that is put into each of its packets, beside the picture."""
    whole = write_video(path.with_name(f"whole{path.suffix}"), numbered(12), codec=codec, **options)
    at = 2 if codec == "mjpeg" else 0  # behind the mark that begins a JPEG
    with av.open(str(whole)) as container, av.open(str(path), "w") as out:
        copy = out.add_stream_from_template(container.streams.video[0])
        for packet in container.demux(video=0):
            if packet.size:
                content = bytes(packet)
                more = av.Packet(content[:at] + segment + content[at:])
                more.pts, more.dts, more.time_base = packet.pts, packet.dts, packet.time_base
                more.is_keyframe, more.stream = packet.is_keyframe, copy
                out.mux(more)
    return whole, path


BESIDE = {
    "zero length": (b"\xff\xe1\x00\x00", "app: invalid len 0"),
    "too long": (b"\xff\xe2\xf0\x00ICC_PROFILE\x00", "app: invalid len 61440"),
    "bad exif": (b"\xff\xe1\x00\x40Exif\x00\x00II*\x00" + b"\xff" * 52, "EXIF"),
}


@pytest.mark.parametrize("ending", ["avi", "mkv"])
@pytest.mark.parametrize("name", BESIDE)
def test_damage_beside_the_pictures_is_a_warning(tmp_path, capfd, name, ending):
    segment, message = BESIDE[name]
    whole, path = with_segment(tmp_path / f"v.{ending}", "mjpeg", segment, pix_fmt="yuvj420p")
    (tmp_path / "boxes.txt").write_text("1,1,5,9,40,31")
    words = ["--method", "mask", "--boxes", tmp_path / "boxes.txt"]
    assert anonymize(*words, "--input", path, "--output", tmp_path / "out") == 0
    told = capfd.readouterr().err
    assert "warning: data beside the pictures is damaged in 12 packets" in told and message in told
    assert told.count("warning") == told.count(message) == 1 and "mjpeg @" not in told
    assert anonymize(*words, "--input", whole, "--output", tmp_path / "plain") == 0
    assert "warning" not in capfd.readouterr().err
    written = [frames_of(tmp_path / folder) for folder in ("out/v.mkv", "plain/whole.mkv")]
    assert (written[0] == written[1]).all()


def test_a_message_of_a_camera_that_is_cut_short_is_a_warning(tmp_path, capfd):
    message = b"\x06\x05\xff\xff\x10abc\x80"
    _, path = with_segment(tmp_path / "v.mkv", "libx264", len(message).to_bytes(4, "big") + message)
    assert numbers(path) == list(range(12))
    assert "every frame is whole" in capfd.readouterr().err


def test_damage_of_pictures_stays_damage_where_there_is_more_beside_them(tmp_path, capfd):
    _, path = with_segment(tmp_path / "v.mkv", "mjpeg", BESIDE["zero length"][0], pix_fmt="yuvj420p")
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0)]
    content = path.read_bytes()
    middle = packets[6][len(packets[6]) // 2 :]
    path.write_bytes(content.replace(middle, b"\xff\xd9" + bytes(len(middle) - 2)))
    with pytest.raises(UserError, match="damaged"):
        list(read_frames(path))
    assert capfd.readouterr().err == ""


def test_nothing_that_libav_says_in_another_thread_is_printed(capfd, monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # of pytest
    with libav_said() as said:
        thread = threading.Thread(target=av.logging.log, args=(av.logging.ERROR, "x264", "RAW LINE"))
        thread.start()
        thread.join()
    told = capfd.readouterr()
    assert not said and "RAW LINE" not in told.err + told.out


def test_what_libav_says_is_heard_whichever_thread_stops_listening_first():
    """Its log level is one of the process: who listens first must not turn it off for who listens longer."""
    before = av.logging.get_level(), av.logging.get_skip_repeated()
    second_listens, first_is_done, heard = threading.Event(), threading.Event(), []

    def second():
        with libav_said() as said:
            second_listens.set()
            assert first_is_done.wait(10)
            for _ in range(2):  # the same line twice is two lines
                av.logging.log(av.logging.ERROR, "h264", "concealing")
            heard.extend(text for _, _, text in said)

    thread = threading.Thread(target=second)
    with libav_said() as said:
        thread.start()
        assert second_listens.wait(10)
    first_is_done.set()
    thread.join()
    assert heard == ["concealing", "concealing"] and not said
    assert (av.logging.get_level(), av.logging.get_skip_repeated()) == before


FORKED = """
import gc, os, sys
import fastreid_privacy
import numpy as np
import av
from fastreid_privacy.video.pixels import stored, upright

def in_a_cycle(frame):
    cycle = [frame]
    cycle.append(cycle)
    upright(frame)

gc.disable()
for make in (
    lambda: stored(np.zeros((200, 200, 3), np.uint8), "yuv420p", 1),
    lambda: av.VideoFrame(200, 200, "rgb24").reformat(format="yuv420p", threads=4),
):
    in_a_cycle(make())
    child = os.fork()
    if not child:
        gc.enable()
        gc.collect()
        os._exit(0)
    if code := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        sys.exit(code)
"""


def test_a_forked_process_does_not_wait_for_the_threads_of_frames():
    """As a loader's worker beside videos that were read: what lies in cycles has threads of its parent."""
    assert subprocess.run([sys.executable, "-c", FORKED], timeout=120).returncode == 0
