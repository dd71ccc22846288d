"""One file, folder or link stops no collection: bounded work and memory, and the offender named."""

from __future__ import annotations

# before fastreid: importing the package makes it work
from in_process import anonymize, recover

from fastreid_privacy.commands import anonymize as anonymize_command
from fastreid_privacy.commands import recover as recover_command
from fastreid_privacy.commands import retrieve as retrieve_command

# isort: split
import errno
import os
import re
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest
from conftest import close_folders
from PIL import Image, ImageFile
from rendered_video import write_video

from fastreid_privacy.checkpoints.image_maps import ImageMap
from fastreid_privacy.collection import pipeline, unseal
from fastreid_privacy.collection.pipeline import Room, side_by_side
from fastreid_privacy.collection.stamps import STAMPS
from fastreid_privacy.core.errors import UserError, exit_code, say
from fastreid_privacy.core.folders import DEEPEST, MOST_PATHS, images_below
from fastreid_privacy.core.pictures import read_picture
from fastreid_privacy.keys.sealing import new_identity
from fastreid_privacy.manifest import JOURNAL, MANIFEST, read_manifest
from fastreid_privacy.video import protect as video_protect
from fastreid_privacy.video.boxes import MOST_BOXES, ManifestBoxes, MotBoxes
from fastreid_privacy.video.people import Person
from fastreid_privacy.video.regions import protect_regions
from fastreid_privacy.video.run import _chunks, chunk_and_workers
from fastreid_privacy.video.stream import Frame, read_frames


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
    close_folders(monkeypatch)
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


# -- files ---------------------------------------------------------------------------------------------------


def test_a_file_of_many_bytes_is_refused_before_it_is_read(raw, words, capsys):
    with (raw / "sparse.png").open("wb") as file:
        file.truncate(60 * 10**9)
    assert anonymize(*words) == 2
    told = capsys.readouterr()
    assert "sparse.png: it has 60,000,000,000 bytes, more than 1,073,741,824" in told.err
    assert "1 of 2 images protected" in told.out


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        OSError("out of memory error when reading image file"),
    ],
)
def test_a_good_picture_is_not_called_damaged_when_memory_is_short(raw, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    with pytest.raises(UserError, match=r"^there is not enough memory to read it$"):
        read_picture(raw / "good.png")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    ],
)
def test_a_picture_that_the_memory_does_not_hold_is_named(raw, words, tmp_path, monkeypatch, capsys, error):
    Image.effect_noise((40, 50), 60).save(raw / "large.png")
    levels = ImageMap.levels

    def short(self, images, *about):
        if images.shape[2] == 50:
            raise error
        return levels(self, images, *about)

    with monkeypatch.context() as patch:
        patch.setattr(ImageMap, "levels", short)
        assert anonymize(*words) == 2
    told = capsys.readouterr()
    assert "large.png: there is not enough memory for it" in told.err and "1 of 2 images" in told.out
    assert anonymize(*words) == 0


@pytest.mark.parametrize("error", [MemoryError("8 GiB"), RuntimeError("std::bad_alloc")])
def test_commands_say_that_memory_is_short(error, capsys):
    def fail():
        raise error

    assert exit_code(fail, "") == 2
    assert capsys.readouterr().err.startswith(f"error: there is not enough memory ({error})")
    with pytest.raises(RuntimeError, match="another"):
        exit_code(lambda: (_ for _ in ()).throw(RuntimeError("another")), "")


def test_pictures_that_threads_read_at_once_leave_warnings_alone(raw, monkeypatch):
    """The second begins while the first is being read, and ends after it."""
    opened, inside, first_done = Image.open, threading.Event(), threading.Event()

    def open_slowly(file, **options):
        picture = opened(file, **options)
        if threading.current_thread() is second:
            inside.set()
            assert first_done.wait(60)
        else:
            second.start()
            assert inside.wait(60)
        return picture

    monkeypatch.setattr(Image, "open", open_slowly)
    second = threading.Thread(target=read_picture, args=[raw / "good.png"])
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        before = list(warnings.filters)
        read_picture(raw / "good.png")
        first_done.set()
        second.join()
        assert warnings.filters == before
        warnings.warn("of somebody else", stacklevel=1)
    assert [str(each.message) for each in seen] == ["of somebody else"]


def test_what_pillow_warns_of_is_not_shown(tmp_path):
    """Broken tags, and more pixels than it likes."""
    Image.new("RGB", (20, 20)).save(tmp_path / "tags.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01")
    Image.new("1", (9500, 9500)).save(tmp_path / "large.png")
    code = f"""
import warnings
from fastreid_privacy.core import pictures
for name in ("tags.jpg", "large.png"):
    with pictures.Image.open(rf"{tmp_path}/{{name}}") as file:
        file.getexif()
print(pictures.read_picture(r"{tmp_path}/tags.jpg").shape)
warnings.warn("of somebody else")
"""
    done = subprocess.run([sys.executable, "-W", "always", "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["(20,", "20,", "3)"], done.stderr
    assert "of somebody else" in done.stderr and "EXIF" not in done.stderr and "Bomb" not in done.stderr


def test_large_pictures_wait_for_each_other():
    room, inside, most = Room(100), [], []

    def work(pixels):
        with room.taken(pixels):
            inside.append(pixels)
            most.append(sum(inside))
            time.sleep(0.001)
            inside.remove(pixels)
        return pixels

    sizes = [60, 60, 30, 1000, 10, 100, 40, 40, 40]
    assert list(side_by_side(sizes, work, 4)) == sizes
    assert max(total for total in most if total < 1000) <= 100 and 1000 in most


@pytest.mark.parametrize("seal", [False, True])
def test_names_that_are_too_long_when_sealed_are_named(raw, words, tmp_path, capsys, seal):
    for length in (248, 249, 255):
        os.link(raw / "good.png", raw / ("n" * (length - 4) + ".png"))
    public, _ = new_identity(tmp_path / "keys", None)
    assert anonymize(*words, *(["--seal", public] if seal else [])) == (2 if seal else 0)
    told = capsys.readouterr()
    assert f"{2 if seal else 4} of 4 images" in told.out
    if seal:
        assert told.err.count("with the .sealed that is put behind it (at most 255): shorten it") == 2
        assert "its name is 7 bytes too long" in told.err and "its name is 1 bytes too long" in told.err
        assert not any(path.name.startswith("n" * 245) for path in (tmp_path / "out").iterdir())


# -- threads -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("startable", [0, 1, 3])
@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), MemoryError()])
def test_where_threads_cannot_start_fewer_do_the_work(monkeypatch, startable, error):
    start, started = threading.Thread.start, []

    def start_some(thread):
        if len(started) == startable:
            raise error
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_some)
    seen = set()

    def work(batch):
        seen.add(threading.current_thread())
        return batch * 10

    assert list(side_by_side(range(20), work, 8)) == [batch * 10 for batch in range(20)]
    assert len(started) == startable and seen <= {*started, threading.main_thread()}
    assert not any(thread.is_alive() for thread in started)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_ends_for_want_of_memory_is_not_waited_for(monkeypatch):
    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(pipeline, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(pipeline._Crew, "_take", fail)
    with pytest.raises(UserError, match="a thread ended for want of memory"):
        list(side_by_side(range(20), lambda batch: batch, 2))


# -- videos --------------------------------------------------------------------------------------------------


def test_chunks_of_large_frames_are_bounded():
    assert chunk_and_workers(320 * 240, 3) == (8, 3)
    assert chunk_and_workers(1920 * 1080, 16) == (8, 16)
    assert chunk_and_workers(3840 * 2160, 64) == (2, 24)
    assert chunk_and_workers(8176 * 8176, 64) == (1, 5)
    assert chunk_and_workers(10_000 * 10_000, 64) == (1, 4)
    assert chunk_and_workers(1, None)[1] >= 1


def test_frames_come_in_chunks_of_that_size(tmp_path):
    frames = [np.full((16, 16, 3), 10 * number, np.uint8) for number in range(7)]
    video = write_video(tmp_path / "video.mkv", frames)
    chunks = _chunks(read_frames(video), 3)
    assert [[frame.number for frame in chunk] for chunk in chunks] == [[1, 2, 3], [4, 5, 6], [7]]


@pytest.mark.parametrize("seal", [False, True])
def test_a_video_whose_name_is_too_long_is_refused_at_once(tmp_path, capsys, seal):
    frames = [np.random.default_rng(number).integers(0, 256, (48, 64, 3), np.uint8) for number in range(2)]
    video = write_video(tmp_path / "video.avi", frames)
    video = video.rename(tmp_path / ("v" * 251 + ".avi" if seal else "v" * 252 + ".ts"))
    (tmp_path / "boxes.txt").write_text("1,1,8,8,20,30\n")
    public, _ = new_identity(tmp_path / "keys", None)
    words = ["--method", "blur", "--input", video, "--boxes", tmp_path / "boxes.txt"]
    assert anonymize(*words, "--output", tmp_path / "out", *(["--seal", public] if seal else [])) == 2
    told = capsys.readouterr().err
    assert f"its name is {7 if seal else 1} bytes too long" in told and not (tmp_path / "out").exists()


# -- names ---------------------------------------------------------------------------------------------------


def test_names_of_several_lines_are_protected_and_told_in_one(raw, words, tmp_path, capsys):
    names = ["two\nlines.png", "red\x1b[31m.png", "\u2028.png", "no unicode \udcff.png"]
    for name in names:
        os.link(raw / "good.png", raw / name)
    (raw / "bad\nfile.png").write_bytes(b"")
    (raw / "notes\n.txt").touch()
    public, private = new_identity(tmp_path / "keys", None)
    assert anonymize(*words, "--seal", public) == 2
    told = capsys.readouterr()
    assert "5 of 6 images" in told.out and told.err.splitlines()[-3:] == [
        r"left out, for they are no images: notes\n.txt",
        "error: 1 images were not protected:",
        r"  bad\nfile.png: the file is empty",
    ]
    assert set(read_manifest(tmp_path / "out" / MANIFEST).entries) == {"good.png", *names}
    opened = ["--identity", private, "--input", tmp_path / "out", "--output", tmp_path / "again"]
    assert recover(*opened) == 0
    assert sorted(os.listdir(tmp_path / "again")) == sorted(["good.png", *names])


def test_what_is_printed_does_nothing_to_a_terminal(capsys):
    say("one\ntwo \x1b]0;title\x07 \x9b2J \r end")
    assert capsys.readouterr().err == "one\ntwo \\x1b]0;title\\x07 \\x9b2J \\r end\n"


# -- options -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "option", "value"),
    [
        (anonymize_command, "--batch-size", 10**9),
        (anonymize_command, "--workers", 100_000),
        (recover_command, "--batch-size", 10**9),
        (recover_command, "--workers", 100_000),
        (retrieve_command, "--batch-size", 10**9),
        (retrieve_command, "--ef", 2**31),
        (retrieve_command, "--nprobe", 10**30),
    ],
)
def test_numbers_that_no_machine_holds_are_refused(command, option, value, capsys):
    words = ["query" if option in ("--ef", "--nprobe") else "build"] if command is retrieve_command else []
    with pytest.raises(SystemExit) as end:
        command.main([*words, option, str(value)])
    assert end.value.code == 2
    assert re.search(rf"argument {option}: {value} is more than [\d,]+\n$", capsys.readouterr().err)


@pytest.mark.parametrize(
    "option", ["--input", "--output", "--pseudonymize", "--seal", "--boxes", "--detector"]
)
def test_a_zero_byte_in_a_name_is_said(raw, words, tmp_path, capsys, option):
    if option in ("--boxes", "--detector"):
        words[3] = write_video(tmp_path / "video.mkv", [np.zeros((16, 16, 3), np.uint8)])
    assert anonymize(*words, option, f"{raw}\0x") == 2
    assert re.match(r"error: [^\n]+\n$", capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "line",
    [
        "recover --key {0} --input {1} --output {1}/o",
        "recover --identity {0} --input {1} --output {1}/o",
        "recover --identity {1}/key --input {0} --output {1}/o",
        "recover --key {1}/key --input {0} --output {1}/o",
        "retrieve build --weights {0} --gallery {1} --output {1}/o",
        "retrieve build --weights {1}/key --gallery {1} --output {0}",
        "retrieve query --weights {1}/key --index {0} {1}/good.png",
        "retrieve query --weights {1}/key --index {1}/key --json {0} {1}/good.png",
        "retrieve query --weights {1}/key --index {1}/key --output {0}.png {1}/good.png",
        "retrieve query --weights {1}/key --index {1}/key {0}",
    ],
)
def test_a_zero_byte_in_a_name_is_said_by_other_commands(raw, capsys, line):
    command, *words = (word.format(f"{raw}/a\0b", raw) for word in line.split())
    assert {"recover": recover_command, "retrieve": retrieve_command}[command].main(words) == 2
    assert re.match(r"error: [^\n]+\n$", capsys.readouterr().err)


@pytest.fixture(params=["device", "pipe", "sparse"])
def endless(request, tmp_path):
    """A file that never ends, or nearly so, and what is said of it."""
    if request.param == "device":
        return "/dev/urandom", "it is no regular file"
    if request.param == "pipe":
        os.mkfifo(tmp_path / "pipe")
        return tmp_path / "pipe", "it is no regular file"
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(60 * 10**9)
    return tmp_path / "sparse", "it has 60,000,000,000 bytes, more than"


@pytest.mark.parametrize("option", ["--pseudonymize", "--seal", "--boxes", "--identity"])
def test_endless_files_are_no_keys_and_no_boxes(raw, words, tmp_path, capsys, endless, option):
    path, said = endless
    if option == "--identity":
        line = [option, path, "--input", raw, "--output", tmp_path / "out"]
        assert recover(*line) == 2
    else:
        if option == "--boxes":
            words[3] = write_video(tmp_path / "video.mkv", [np.zeros((16, 16, 3), np.uint8)])
        assert anonymize(*words, option, path) == 2
    told = capsys.readouterr().err
    assert said in told and str(path) in told and not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", [MANIFEST, JOURNAL, STAMPS])
def test_pipes_in_the_output_folder_are_not_waited_for(words, tmp_path, capsys, name):
    assert anonymize(*words) == 0
    (tmp_path / "out" / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / "out" / name)
    capsys.readouterr()
    assert anonymize(*words) == 2
    assert f"{name} cannot be read" in (told := capsys.readouterr().err) and "no regular file" in told


def test_boxes_of_a_frame_are_bounded(tmp_path):
    file = tmp_path / "boxes.txt"
    file.write_text("1,1,8,8,20,30\n" + "2,1,8,8,20,30\n" * MOST_BOXES)
    assert len(MotBoxes(file).of_frame[2]) == MOST_BOXES
    with file.open("a") as lines:
        lines.write("2,1,8,8,20,30\n")
    with pytest.raises(UserError, match=r"has 10,001 boxes of frame 2; a frame has at most 10,000$"):
        MotBoxes(file)
    entry = {
        "path": "v.mkv",
        "frames": 2,
        "width": 50,
        "height": 50,
        "boxes": [[1, 8, 8, 20, 30]] * MOST_BOXES,
    }
    assert len(ManifestBoxes(entry)(1, np.zeros(0))) == MOST_BOXES
    entry["boxes"].append([1, 8, 8, 20, 30])
    with pytest.raises(UserError, match=r"boxes of v\.mkv are damaged"):
        ManifestBoxes(entry)


def test_an_operator_gets_one_box_of_a_frame_at_a_time():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    boxes = [(0, 0, 20, 40), (20, 0, 40, 40), (10, 10, 30, 30)]
    frame = Frame(1, 0, pixels.copy(), [Person(box) for box in boxes])
    taken = []

    def inverted(pictures):
        taken.append(len(pictures))
        return [255 - picture for picture in pictures]

    protect_regions([frame], inverted, None, 32, conventional=True)
    assert taken == [1, 1, 1] and np.array_equal(frame.pixels, 255 - pixels)


# -- sealed originals ----------------------------------------------------------------------------------------


def test_a_sealed_original_that_the_memory_does_not_hold_is_named(raw, words, tmp_path, monkeypatch, capsys):
    Image.effect_noise((40, 50), 60).save(raw / "large.png")
    public, private = new_identity(tmp_path / "keys", None)
    assert anonymize(*words, "--seal", public) == 0
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "out").glob("*.sealed")}
    opened = unseal.open_sealed_file

    def short(path, key):
        if path.stat().st_size == sizes["large.png.sealed"]:
            raise MemoryError
        return opened(path, key)

    monkeypatch.setattr(unseal, "open_sealed_file", short)
    line = ["--identity", private, "--input", tmp_path / "out", "--output", tmp_path / "again"]
    assert recover(*line) == 2
    told = capsys.readouterr()
    assert (
        "large.png.sealed: there is not enough memory" in told.err and "1 sealed originals opened" in told.out
    )
    assert os.listdir(tmp_path / "again") == ["good.png"]


def test_a_video_that_cannot_be_read_is_named_when_it_is_sealed(tmp_path, monkeypatch, capsys):
    frames = [np.random.default_rng(number).integers(0, 256, (48, 64, 3), np.uint8) for number in range(2)]
    source = write_video(tmp_path / "video.mkv", frames)
    (tmp_path / "boxes.txt").write_text("1,1,8,8,20,30\n")
    public, _ = new_identity(tmp_path / "keys", None)

    def short(*_):
        raise UserError("it cannot be read: Input/output error")

    monkeypatch.setattr(video_protect, "open_regular", short)
    words = ["--method", "blur", "--input", source, "--boxes", tmp_path / "boxes.txt", "--seal", public]
    assert anonymize(*words, "--output", tmp_path / "out") == 2
    assert f"error: {source}: it cannot be read: Input/output error" in capsys.readouterr().err
