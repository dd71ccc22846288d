"""Live input: a stream of MPEG-TS over TCP on this machine, protected as it comes."""

from __future__ import annotations

import fastreid_privacy  # before fastreid

# isort: split
import json
import signal
import socket
import struct
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
from in_process import anonymize, contents, recover
from rendered_video import RATE, number_of, numbered, write_video
from rtsp_server import rtsp_camera

from fastreid_privacy.core.errors import UserError
from fastreid_privacy.core.remote import shown
from fastreid_privacy.manifest import read_manifest
from fastreid_privacy.video import HogDetector, live_input
from fastreid_privacy.video.live import LiveOptions
from fastreid_privacy.video.live_input import LiveInput, is_live
from fastreid_privacy.video.stream import read_frames
from fastreid_privacy.video.writer import VideoWriter

assert fastreid_privacy

FRAMES = 40  # 3.2 seconds
BOX = (8, 40, 24, 47)  # below the bars that show a frame's number


@pytest.fixture(scope="module")
def sent(tmp_path_factory):
    """The bytes of a stream of frames that show their numbers from 0, over noise."""
    draw = np.random.default_rng(0)
    pictures = [
        np.maximum(picture, draw.integers(0, 60, picture.shape, np.uint8)) for picture in numbered(FRAMES)
    ]
    path = tmp_path_factory.mktemp("sent") / "stream.ts"
    write_video(path, pictures, codec="libx264", options={"crf": "10", "g": "10", "bf": "0"})
    return path.read_bytes()


@contextmanager
def served(content, end=lambda taker: None):
    """The address of a camera that sends bytes to the first who asks, and ends in some way."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            taker, _ = server.accept()
            with taker:
                try:
                    taker.sendall(content)
                    end(taker)
                except OSError:  # who takes them has had enough
                    return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
        thread.join(10)


@pytest.fixture
def seen(monkeypatch):
    """The detector finds somebody in every frame but each third; the numbers of frames that it saw.

    Nothing is dropped, however slow this machine is."""
    numbers: list[int] = []

    def find(self, number, pixels):
        numbers.append(number)
        return [] if number % 3 == 0 else [BOX]

    monkeypatch.setattr(HogDetector, "__call__", find)
    monkeypatch.setattr(live_input, "WAITING", 1000)
    return numbers


def protect(address, out, *words, method=("--method", "mask")):
    return anonymize(*method, "--detector", "hog", "--input", address, "--output", out, *words)


def entries(out):
    return list(read_manifest(out / "manifest.jsonl").entries.values())


def assert_protected(out, numbers):
    """Files hold frames of these numbers, in which nothing of the box is left."""
    found = []
    for entry in entries(out):
        frames = list(read_frames(out / entry["path"]))
        assert len(frames) == entry["frames"]
        assert [row[0] for row in entry["boxes"]] == list(range(1, entry["frames"] + 1))
        assert frames[0].time == 0
        for frame in frames:
            found.append(number_of(frame.pixels))
            assert (frame.pixels[BOX[1] : BOX[3], BOX[0] : BOX[2]] == 128).all()
    assert found == list(numbers)


def test_a_stream_becomes_whole_files_with_a_manifest(sent, seen, tmp_path, capsys):
    with served(sent) as address:
        assert protect(address, tmp_path / "out", "--segment", 1.2) == 0
    assert_protected(tmp_path / "out", range(FRAMES))
    assert [entry["frames"] for entry in entries(tmp_path / "out")] == [15, 15, 10]  # of 12.5 a second
    manifest = read_manifest(tmp_path / "out" / "manifest.jsonl")
    assert manifest.complete and manifest.header["live"] and manifest.header["boxes"] == "hog"
    for entry in manifest.entries.values():
        assert (entry["dropped"], entry["damaged"]) == (0, 0)
        *_, last = (tmp_path / "out" / entry["audit"]).read_text().splitlines()
        assert json.loads(last) == {"frames": entry["frames"], "boxes": entry["frames"], "left": 0}
    told = capsys.readouterr()
    assert "live-00002.mkv: 15 boxes in 15 frames protected" in told.out and "3 files in" in told.out
    assert "hog is a weak detector" in told.err and "dropped" not in told.err
    assert not [name for name in contents(tmp_path / "out") if "unfinished" in name or "journal" in name]


def test_a_camera_that_speaks_rtsp(sent, seen, tmp_path, capsys):
    """It takes no packets of UDP, so that they come over its line."""
    with rtsp_camera(sent) as (address, asked):
        assert protect(address, tmp_path / "out", "--segment", 1.2, "--duration", 2) == 0
    assert asked[:3] == ["OPTIONS", "DESCRIBE", "SETUP"] and asked.count("SETUP") == 2 and "PLAY" in asked
    assert_protected(tmp_path / "out", range(25))
    assert [entry["frames"] for entry in entries(tmp_path / "out")] == [15, 10]
    assert read_manifest(tmp_path / "out" / "manifest.jsonl").complete
    assert "Traceback" not in capsys.readouterr().err


def test_lossy_files_say_what_they_lost(sent, seen, tmp_path):
    with served(sent) as address:
        assert protect(address, tmp_path / "out", "--format", "mp4", "--segment", 1.2, "--duration", 2) == 0
    assert [(entry["path"], entry["frames"]) for entry in entries(tmp_path / "out")] == [
        ("live-00001.mp4", 15),
        ("live-00002.mp4", 10),
    ]
    for entry in entries(tmp_path / "out"):
        assert entry["stored"]["frames"] > 25
        frames = list(read_frames(tmp_path / "out" / entry["path"]))
        assert [number_of(frame.pixels) % 15 for frame in frames] == list(range(entry["frames"]))


def test_pictures_of_another_size_end_it_and_that_is_said(sent, seen, tmp_path, monkeypatch, capsys):
    upright = live_input.upright

    def smaller(frame):
        pixels = upright(frame)
        return pixels[:40] if number_of(pixels) == 20 else pixels

    monkeypatch.setattr(live_input, "upright", smaller)
    with served(sent) as address:
        assert protect(address, tmp_path / "out") == 2
    assert_protected(tmp_path / "out", range(20))
    assert "ended before it was stopped (frames of 64×40 pixels came): the 1 new" in capsys.readouterr().err
    with served(sent) as address:  # whoever asked for less has all of it
        assert protect(address, tmp_path / "less", "--duration", 1) == 0


def test_pictures_of_a_larger_size_go_into_files_of_the_next_run(sent, seen, tmp_path, capsys):
    larger = tmp_path / "larger.ts"
    pictures = [np.kron(picture, np.ones((2, 2, 1), np.uint8)) for picture in numbered(10)]
    write_video(larger, pictures, codec="libx264", options={"crf": "10", "g": "10", "bf": "0"})
    with served(sent + larger.read_bytes()) as address:
        assert protect(address, tmp_path / "out") == 2
    told = capsys.readouterr().err
    assert "(frames of 128×96 pixels came)" in told and "dropped" not in told
    with served(larger.read_bytes()) as address:
        assert protect(address, tmp_path / "out") == 0
    sizes = [(entry["width"], entry["height"]) for entry in entries(tmp_path / "out")]
    assert sizes == [(64, 48), (128, 96)]


def reset(taker):
    """End a connection as a broken network does, when all was read."""
    time.sleep(1)
    taker.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize(
    ("end", "reason"),
    [(reset, "Connection reset by peer"), (lambda taker: time.sleep(4), "nothing came for 1 seconds")],
)
def test_a_network_that_breaks_is_said_with_whole_files(
    sent, seen, tmp_path, monkeypatch, capsys, end, reason
):
    monkeypatch.setattr(live_input, "SECONDS", 1.0)
    with served(sent, end) as address:
        assert protect(address, tmp_path / "out", "--segment", 1.2) == 2
    told = capsys.readouterr()
    assert f"ended before it was stopped ({reason}): the 3 new files and the manifest are whole" in told.err
    assert "3 files in" in told.out
    frames = sum(entry["frames"] for entry in entries(tmp_path / "out"))
    assert frames >= FRAMES - 1  # the last picture of a stream ends with the next one
    assert_protected(tmp_path / "out", range(frames))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--leave-region", "0,0,1,1"], "--leave-region is the whole picture (64×48)"),
        (["--leave-region", "0,0,9,9", "--leave-region", "0,0,99,48"], "--leave-region is the whole picture"),
        (["--only-region", "64,0,9,9"], "--only-region lies outside of the picture (64×48)"),
        (["--only-between", "5:00-6:00", "--duration", 300], "--only-between begins when --duration 300 is"),
    ],
)
def test_what_would_leave_everybody_is_refused_before_a_frame_is_written(
    sent, seen, tmp_path, capsys, words, message
):
    with served(sent) as address:
        assert protect(address, tmp_path / "out", *words) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_files_in_which_nobody_is_protected_are_said_to_be_raw(sent, seen, tmp_path, monkeypatch, capsys):
    def early(self, number, pixels):
        return [BOX] if number_of(pixels) < 5 else []

    monkeypatch.setattr(HogDetector, "__call__", early)
    with served(sent) as address:
        assert protect(address, tmp_path / "out", "--segment", 1.2, "--keep-frames", 0) == 0
    assert [entry.get("unprotected") for entry in entries(tmp_path / "out")] == [None, True, True]
    told = capsys.readouterr().err
    assert "live-00001.mkv is RAW" not in told
    assert "warning: live-00002.mkv is RAW: nobody was found in it" in told
    assert "live-00003.mkv is RAW" in told


def test_a_run_that_left_everybody_as_they_are_ends_with_an_error(sent, seen, tmp_path, capsys):
    with served(sent) as address:
        assert protect(address, tmp_path / "out", "--only-between", "5:00-6:00", "--segment", 1.2) == 2
    told = capsys.readouterr().err
    assert "live-00001.mkv is RAW: everybody was left as they are" in told
    assert "nobody was protected: all boxes in the 3 new files of" in told
    assert all(entry["unprotected"] and entry["left"]["boxes"] for entry in entries(tmp_path / "out"))
    with served(sent) as address:  # part of the time is enough
        assert protect(address, tmp_path / "more", "--only-between", "1-6") == 0


def test_it_ends_when_its_time_is_over(sent, seen, tmp_path):
    with served(sent) as address:
        assert protect(address, tmp_path / "out", "--duration", 1.2) == 0
    assert_protected(tmp_path / "out", range(15))


def test_the_first_ctrl_c_ends_it_with_a_whole_manifest(sent, seen, tmp_path, monkeypatch):
    find = HogDetector.__call__

    def pressed(self, number, pixels):
        if number == 5:
            signal.raise_signal(signal.SIGINT)
        return find(self, number, pixels)

    monkeypatch.setattr(HogDetector, "__call__", pressed)
    before = signal.getsignal(signal.SIGINT)
    with served(sent) as address:
        assert protect(address, tmp_path / "out") == 0
    assert signal.getsignal(signal.SIGINT) is before
    (entry,) = entries(tmp_path / "out")
    assert entry["frames"] >= 5
    assert_protected(tmp_path / "out", range(entry["frames"]))


def test_frames_that_nobody_takes_in_time_are_dropped_and_counted(sent, tmp_path, monkeypatch, capsys):
    """The detector waits until all has been read: the queue has room for four."""
    monkeypatch.setattr(live_input, "WAITING", 4)
    sources, begin = [], LiveInput.__init__

    def remembered(self, address):
        sources.append(self)
        begin(self, address)

    monkeypatch.setattr(LiveInput, "__init__", remembered)

    def slow(self, number, pixels):
        sources[0].thread.join(60)
        return [BOX]

    monkeypatch.setattr(HogDetector, "__call__", slow)
    with served(sent) as address:
        assert protect(address, tmp_path / "out") == 0
    (entry,) = entries(tmp_path / "out")
    assert 4 <= entry["frames"] <= 5 and entry["frames"] + entry["dropped"] == FRAMES
    assert f"of {FRAMES} frames {entry['dropped']} were dropped" in capsys.readouterr().err
    times = [frame.time for frame in read_frames(tmp_path / "out" / entry["path"])]
    assert times == sorted(set(times))


def test_a_full_disk_leaves_whole_files_and_the_next_run_goes_on_behind_them(
    sent, seen, tmp_path, monkeypatch, capsys
):
    write, out = VideoWriter.write, tmp_path / "out"
    written = []

    def full(self, frame):
        written.append(frame)
        if len(written) == 20:
            raise OSError(28, "No space left on device")
        write(self, frame)

    with monkeypatch.context() as patch, served(sent) as address:
        patch.setattr(VideoWriter, "write", full)
        assert protect(address, out, "--segment", 1.2) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert [path.name for path in sorted(out.glob("live-*.mkv"))] == ["live-00001.mkv"]
    assert not list(out.glob(".*unfinished"))
    first = (out / "live-00001.mkv").read_bytes()
    with served(sent) as address:
        assert protect(address, out, "--segment", 1.2, "--duration", 1) == 0
    assert [entry["path"] for entry in entries(out)] == ["live-00001.mkv", "live-00002.mkv"]
    assert (out / "live-00001.mkv").read_bytes() == first
    assert_protected(out, [*range(15), *range(13)])


def test_files_that_were_moved_away_keep_their_lines_and_their_numbers(sent, seen, weights, tmp_path, capsys):
    out, away, method = tmp_path / "out", tmp_path / "away", ("--weights", weights)
    with served(sent) as address:
        assert protect(address, out, "--segment", 1.2, "--no-guard", method=method) == 0
    before = {entry["path"]: entry for entry in entries(out)}
    away.mkdir()
    for path in ("live-00001.mkv", "live-00003.mkv"):
        (out / path).rename(away / path)
    (out / "live-00005.mkv.audit.jsonl").write_text("left by a killed run\n")
    logs = {path.name: path.read_bytes() for path in out.glob("live-*.*.*")}
    with served(sent) as address:
        assert protect(address, out, "--duration", 1, "--no-guard", method=method) == 0
    after = {entry["path"]: entry for entry in entries(out)}
    assert {path: after.pop(path) for path in before} == before
    assert list(after) == ["live-00006.mkv"]
    assert all((out / name).read_bytes() == content for name, content in logs.items())
    capsys.readouterr()
    assert recover("--key", weights, "--input", out, "--output", tmp_path / "rest") == 0
    assert [path.name for path in sorted((tmp_path / "rest").glob("live-*"))] == [
        "live-00002.mkv",
        "live-00006.mkv",
    ]
    told = capsys.readouterr()
    assert "2 videos of the manifest are not in" in told.err and "28 boxes in 28 frames" in told.out
    (away / "manifest.jsonl").write_bytes((out / "manifest.jsonl").read_bytes())
    assert recover("--key", weights, "--input", away, "--output", tmp_path / "archive") == 0
    assert "25 boxes in 25 frames recovered: 2 videos" in capsys.readouterr().out
    for path in away.glob("live-*"):
        path.unlink()
    assert recover("--key", weights, "--input", away, "--output", tmp_path / "none") == 2
    assert "none of the 4 videos of" in capsys.readouterr().err


def test_a_line_whose_file_never_got_its_name_goes(sent, seen, tmp_path, monkeypatch):
    """The run was killed between the two."""
    out = tmp_path / "out"
    with served(sent) as address:
        assert protect(address, out, "--segment", 1.2, "--duration", 2) == 0
    (out / "live-00002.mkv").rename(out / ".live-00002.mkv.1.unfinished")
    with served(sent) as address:
        assert protect(address, out, "--duration", 1) == 0
    assert [entry["path"] for entry in entries(out)] == ["live-00001.mkv", "live-00003.mkv"]
    assert not list(out.glob(".*unfinished"))


def test_what_is_lost_on_the_way_is_counted_and_never_shown(sent, seen, tmp_path, capsys):
    """Packets of 188 bytes from the middle of the stream are gone."""
    broken = sent[: 188 * (len(sent) // 188 // 2)] + sent[188 * (len(sent) // 188 // 2 + 25) :]
    with served(broken) as address:
        assert protect(address, tmp_path / "out") == 0
    (entry,) = entries(tmp_path / "out")
    assert entry["damaged"] >= 1 and entry["frames"] >= 20
    assert f"{entry['damaged']} came damaged" in capsys.readouterr().err
    for frame in read_frames(tmp_path / "out" / entry["path"]):
        assert (frame.pixels[BOX[1] : BOX[3], BOX[0] : BOX[2]] == 128).all()


def test_what_a_live_input_left_is_recovered_file_by_file(sent, seen, weights, tmp_path, capsys):
    with served(sent) as address:
        words = ("--segment", 1.2, "--duration", 2, "--no-guard")
        assert protect(address, tmp_path / "out", *words, method=("--weights", weights)) == 0
    for entry in entries(tmp_path / "out"):  # the logs need not go with the videos
        (tmp_path / "out" / entry["audit"]).unlink()
    words = ["--key", weights, "--input", tmp_path / "out", "--output", tmp_path / "again"]
    assert recover(*words) == 0
    assert f"25 boxes in 25 frames recovered: 2 videos in {tmp_path / 'again'}" in capsys.readouterr().out
    for name in ("live-00001.mkv", "live-00002.mkv"):
        protected, recovered = (list(read_frames(tmp_path / folder / name)) for folder in ("out", "again"))
        assert len(protected) == len(recovered) > 5
        assert not np.array_equal(protected[0].pixels, recovered[0].pixels)
        assert np.array_equal(protected[0].pixels[:30], recovered[0].pixels[:30])
    assert recover(*words, "--verify", tmp_path / "out" / "live-00001.mkv") == 2
    assert "the raw frames of a live input were never stored" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--boxes", "x"], "--boxes is not for a live input"),
        (["--seal", "x"], "--seal is not for a live input: the raw frames are not kept"),
        (["--keep-audio"], "its sound is left out"),
        (["--measure-detection"], "--measure-detection is not for a live input"),
        (["--renew"], "it cannot be read again"),
        (["--workers", 2], "--workers is not for a live input"),
        (["--search", "x", "--reid", "y"], "--search is for images: the boxes of a video carry no templates"),
        (["--duration", 0], "--duration is 0.0; it is a number of seconds above 0"),
        (["--segment", "nan"], "--segment is nan"),
        (["--only-people", "3"], "go with --boxes"),
        ([], "cannot be read: Connection refused"),
    ],
)
def test_what_a_live_input_cannot_have_is_refused(tmp_path, capsys, monkeypatch, words, message):
    monkeypatch.setattr("fastreid_privacy.commands.anonymize.sealing", lambda options: {})
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]  # nobody listens any more
    assert protect(f"tcp://127.0.0.1:{port}", tmp_path / "out", *words) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_live_input_needs_a_detector(tmp_path, capsys):
    words = ["--method", "mask", "--input", "camera:0", "--output", tmp_path / "out"]
    assert anonymize(*words) == 2
    assert "a live input needs --detector" in capsys.readouterr().err


def test_bytes_that_are_no_video_are_named(tmp_path, capsys):
    with served(b"no video" * 1000) as address:
        assert protect(address, tmp_path / "out") == 2
    assert f"--input {address} " in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_options_of_live_inputs_are_refused_for_files(tmp_path, capsys):
    write_video(tmp_path / "v.mkv", numbered(2))
    assert protect(tmp_path / "v.mkv", tmp_path / "out", "--duration", 3) == 2
    assert "--duration is for a camera or the address of a stream" in capsys.readouterr().err
    assert protect(tmp_path, tmp_path / "out", "--segment", 3) == 2
    assert "--segment is for a camera" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("rtsp://user:GE/HEIM@h/x", "rtsp://h/x"),
        ("rtsp://user:GE@HEIM@h:554/x", "rtsp://h:554/x"),
        ("rtsp://user:GE#HEIM@h/x", "rtsp://…"),
        ("rtsp://user:GE?HEIM@h/x", "rtsp://…"),
        ("rtsp://h/x?word=HE@GEIM", "rtsp://…"),
        ("http://h:80/user=a&password=HEIM&channel=1", "http://h:80/…"),
        ("tcp://[::1]:99#GE", "tcp://[::1]:99"),
        ("s3://bucket/a@b=c", "s3://bucket/a@b=c"),
        ("file:///a@b", "file:///a@b"),
        ("a@b?c", "a@b?c"),
        ("camera:0", "camera:0"),
    ],
)
def test_nothing_secret_of_an_address_is_shown(address, told):
    assert shown(address) == told


@pytest.mark.parametrize(
    ("address", "words", "message"),
    [
        ("rtmp://user:GE/HEIM@h/x", [], "--input rtmp://h/x: streams of rtmp are not read"),
        ("SRT://user:GE/HEIM@h:9", ["--duration", 3], "streams of srt are not read"),
        ("unknown://user:GE/HEIM@h/x", [], "--detector is for a video, which --input unknown://h/x is not"),
        ("unknown://user:GE/HEIM@h/x", ["--segment", 9], "--segment is for a camera"),
        (
            "rtsp://user:GE/HEIM@h/x",
            ["PRIVACY.DESENSITIZER.BLUR_SIGMA", 3],
            "and --input rtsp://h/x: read are",
        ),
        ("rtsp://user:GE/HEIM@127.0.0.1:1/x", [], "--input rtsp://127.0.0.1:1/x cannot be read"),
    ],
)
def test_no_message_of_the_command_has_a_password(tmp_path, capsys, address, words, message):
    assert protect(address, tmp_path / "out", *words) == 2
    told = "".join(capsys.readouterr())
    assert message in told and "GE" not in told and "HEIM" not in told


def test_addresses_are_told_from_files_and_their_secrets_are_not_shown(tmp_path):
    assert all(map(is_live, ("camera:0", "rtsp://a/b", "RTSPS://a", "udp://127.0.0.1:99")))
    assert not any(
        map(is_live, ("camera:x", "camera", "a/b.mp4", "file:///etc/passwd", "C:/a.mp4", "concat:a"))
    )
    assert shown("rtsp://name:word@host:554/a?token=secret") == "rtsp://host:554/a"
    with pytest.raises(UserError, match=r"--input camera:99: there is no /dev/video99"):
        LiveInput("camera:99")
    with pytest.raises(UserError) as error:
        LiveInput("rtsp://name:word@127.0.0.1:1/a?token=secret")
    assert "word" not in str(error.value) and "secret" not in str(error.value)
    with pytest.raises(UserError, match="--segment is 0"):
        LiveOptions(seconds=0)
    assert RATE == 12.5
