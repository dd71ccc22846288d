"""What is told of a protected video, and who of its people is protected."""

from __future__ import annotations

import fastreid_privacy  # before fastreid

# isort: split
import json
import os
from fractions import Fraction

import numpy as np
import pytest
from in_process import anonymize, contents
from rendered_video import write_video

from fastreid_privacy.collection.output import Journal
from fastreid_privacy.manifest import read_manifest
from fastreid_privacy.video import HogDetector, MotBoxes
from fastreid_privacy.video.chosen import Chosen, Region, Span, people, region, span
from fastreid_privacy.video.people import GIVEN, Person
from fastreid_privacy.video.records import mot_lines
from fastreid_privacy.video.stream import read_frames

assert fastreid_privacy

RATE = 12.5  # frames a second of rendered videos
LEFT_BOX, RIGHT_BOX = (5, 8, 15, 28), (40, 20, 52, 44)  # left, top, right, bottom
MOT = "".join(
    f"{frame},{number},{left + 1},{top + 1},{right - left - 1},{bottom - top - 1}\n"
    for frame in range(1, 7)
    for number, (left, top, right, bottom) in ((3, LEFT_BOX), (7, RIGHT_BOX))
)


@pytest.fixture
def street(tmp_path):
    """A noisy video of 6 frames, 64×48, with two people who stand still, and their boxes."""
    draw = np.random.default_rng(0)
    write_video(tmp_path / "street.mkv", [draw.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(6)])
    (tmp_path / "boxes.txt").write_text(MOT)
    return tmp_path


def protect(street, out, *words, boxes="boxes.txt"):
    asked = ["--boxes", street / boxes] if boxes else ["--detector", "hog"]
    words = ["--input", street / "street.mkv", *asked, "--output", street / out, *words]
    return anonymize("--method", "mask", *words)


def told(street, out):
    """The line of the manifest, and the lines of the audit log."""
    (entry,) = read_manifest(street / out / "manifest.jsonl").entries.values()
    log = (street / out / "street.mkv.audit.jsonl").read_text().splitlines()
    return entry, [json.loads(text) for text in log]


def grey(street, out, box):
    """In which frames all of a box is the mask's grey."""
    left, top, right, bottom = box
    frames = read_frames(street / out / "street.mkv")
    return [frame.number for frame in frames if (frame.pixels[top:bottom, left:right] == 128).all()]


# -- records -------------------------------------------------------------------------------------------------


def test_the_audit_log_says_what_was_done_to_each_frame(street):
    assert protect(street, "out", "--leave-people", 7, "--only-between", "0-0.3") == 0
    entry, (first, *frames, last) = told(street, "out")
    header = read_manifest(street / "out" / "manifest.jsonl").header
    assert first == {
        **header,
        "kind": "fastreid_privacy video audit",
        "path": "street.mkv",
        "width": 64,
        "height": 48,
    }
    assert [frame["frame"] for frame in frames] == [1, 2, 3, 4, 5, 6]
    assert [frame["time"] for frame in frames] == pytest.approx([number / RATE for number in range(6)])
    three, seven = {"box": [5, 8, 10, 20], "identity": 3}, {"box": [40, 20, 12, 24], "identity": 7}
    given = {"how": GIVEN}
    for frame in frames:  # the fourth one is at 0.24 seconds, the fifth at 0.32
        if frame["frame"] <= 4:
            expected = [three | given, seven | given | {"left": "person"}]
        else:
            expected = [three | given | {"left": "time"}, seven | given | {"left": "time"}]
        assert frame["people"] == expected
    assert last == {"frames": 6, "boxes": 4, "left": 8}
    assert entry["audit"] == "street.mkv.audit.jsonl" and len(entry["audit_sha256"]) == 64


def test_a_log_that_was_changed_is_noticed(street, capsys):
    assert protect(street, "out") == 0
    log = street / "out" / "street.mkv.audit.jsonl"
    log.write_text(log.read_text().replace('"boxes": 12', '"boxes": 11'))
    assert protect(street, "out") == 2
    assert ".audit.jsonl" in capsys.readouterr().err


def test_the_guard_is_in_the_log(street, weights):
    words = ["--input", street / "street.mkv", "--boxes", street / "boxes.txt", "--output", street / "out"]
    assert anonymize("--weights", weights, *words) == 0
    entry, (_, *frames, _) = told(street, "out")
    assert [person["kept"] for frame in frames for person in frame["people"]] == entry["kept"]
    assert len(entry["kept"]) == 12


@pytest.fixture
def found(monkeypatch):
    """What OpenCV's detector finds, to be changed by the test."""
    boxes = [LEFT_BOX, RIGHT_BOX, (63, 47, 64, 48)]
    monkeypatch.setattr(HogDetector, "__call__", lambda self, number, pixels: list(boxes))
    return boxes


def test_boxes_beside_the_video_give_the_same_video_again(street, found, capsys):
    assert protect(street, "out", boxes=None) == 0
    assert "street.mkv.boxes.txt: correct them" in capsys.readouterr().err
    assert protect(street, "again", boxes="out/street.mkv.boxes.txt") == 0
    one, other = (street / name / "street.mkv" for name in ("out", "again"))
    assert one.read_bytes() == other.read_bytes()
    entries = [told(street, name)[0] for name in ("out", "again")]
    assert entries[0]["boxes"] == entries[1]["boxes"] and len(entries[0]["boxes"]) == 18
    assert entries[0]["identities"] == entries[1]["identities"] and set(entries[0]["identities"]) == {1, 2, 3}
    assert not (street / "again" / "street.mkv.boxes.txt").exists()  # they were given


def test_boxes_of_a_file_come_back_exactly(tmp_path):
    """Also at the edges; a side of one pixel, which the form does not know, is two where there is room."""
    boxes = [(0, 0, 2, 2), (5, 6, 7, 9), (63, 47, 64, 48), (0, 0, 64, 48), (1, 1, 3, 40)]
    rows = [[1, left, top, right - left, bottom - top] for left, top, right, bottom in boxes]
    (tmp_path / "b.txt").write_bytes(mot_lines({"boxes": rows, "identities": [1, 2, 0, 4, 5]}))
    read = MotBoxes(tmp_path / "b.txt").people(1, np.zeros((48, 64, 3), np.uint8))
    assert read == [Person(box, number) for box, number in zip(boxes, (1, 2, 0, 4, 5), strict=True)]


def test_the_sheet_of_a_video_that_is_renewed_goes_with_it(street, found):
    sheet = street / "out" / "street.mkv.preview.png"
    assert protect(street, "out", "--preview", boxes=None) == 0
    before = sheet.read_bytes()
    assert protect(street, "out", boxes=None) == 0 and sheet.read_bytes() == before  # nothing is left to do
    os.utime(street / "street.mkv", (1, 1))
    found.pop()
    assert protect(street, "out", "--renew", boxes=None) == 0 and not sheet.exists()
    assert protect(street, "out", "--preview", boxes=None) == 0
    assert sheet.read_bytes() != before


def test_boxes_that_a_person_corrected_are_never_overwritten(street, found, capsys):
    corrected = street / "out" / "street.mkv.boxes.txt"
    assert protect(street, "out", boxes=None) == 0
    written = corrected.read_bytes()
    corrected.write_text("1,1,2,3,4,5\n")
    assert protect(street, "out", boxes=None) == 0  # nothing is left to do
    os.utime(street / "street.mkv", (1, 1))
    found.pop()
    assert protect(street, "out", "--renew", boxes=None) == 0
    assert corrected.read_text() == "1,1,2,3,4,5\n"
    assert f"{corrected} is there already, with other boxes: it stays" in capsys.readouterr().err
    corrected.write_bytes(mot_lines(told(street, "out")[0]))  # as if nobody had
    os.utime(street / "street.mkv", (2, 2))
    found.pop()
    assert protect(street, "out", "--renew", boxes=None) == 0
    assert corrected.read_bytes() == mot_lines(told(street, "out")[0]) != written


def test_a_run_that_ended_behind_its_boxes_ends_with_the_same_bytes(street, found, monkeypatch, capsys):
    """Log and boxes are there, the video is not: they are no obstacle, and written the same again."""
    assert protect(street, "whole", boxes=None) == 0

    def full(self, entries):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "add", full)
        assert protect(street, "out", boxes=None) == 2
    left = {path.name for path in (street / "out").iterdir()}
    assert {"street.mkv.audit.jsonl", "street.mkv.boxes.txt"} <= left and "street.mkv" not in left
    assert protect(street, "out", boxes=None) == 0
    assert contents(street / "out") == contents(street / "whole")
    assert "it stays as it is" not in capsys.readouterr().err


# -- who is protected ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "left", "right"),
    [
        (["--only-between", "00:00-0.1", "--only-between", "0.3-00:01"], [1, 2, 5, 6], [1, 2, 5, 6]),
        (["--only-region", "0,0,16,10"], range(1, 7), []),  # the left box reaches into it
        (["--only-region", "0.6,0,0.4,1"], [], range(1, 7)),
        (["--leave-region", "4,7,12,22"], [], range(1, 7)),  # all of the left box
        (["--only-people", "3"], range(1, 7), []),
        (["--leave-people", "3,3"], [], range(1, 7)),
        (["--only-people", "3", "--only-people", "7", "--leave-people", "7"], range(1, 7), []),
    ],
)
def test_only_those_who_are_chosen_are_protected_and_the_others_are_counted(
    street, capsys, words, left, right
):
    assert protect(street, "out", *words) == 0
    assert grey(street, "out", LEFT_BOX) == list(left) and grey(street, "out", RIGHT_BOX) == list(right)
    entry, _ = told(street, "out")
    count = 12 - len(left) - len(right)
    assert entry["left"]["boxes"] == count == sum(entry["left"]["why"].values())
    assert len(entry["boxes"]) == 12 - count
    printed = capsys.readouterr()
    assert f"warning: {count} boxes in {entry['left']['frames']} frames were left as they are" in printed.err
    assert "whoever is in them is not protected" in printed.err
    header = read_manifest(street / "out" / "manifest.jsonl").header
    assert header[words[0][2:].replace("-", "_")]
    assert protect(street, "out") == 2  # another run, which protects everybody
    assert "was made otherwise" in capsys.readouterr().err


def test_a_box_that_is_not_wholly_inside_is_not_left(street):
    assert protect(street, "out", "--leave-region", "6,7,12,22") == 0
    assert grey(street, "out", LEFT_BOX) == [1, 2, 3, 4, 5, 6] and "left" not in told(street, "out")[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only-between", "5"], "--only-between 5 cannot be read; it is written like 00:10-00:20"),
        (["--only-between", "9-5"], "--only-between 9-5 cannot be read"),
        (["--only-between", "0-" + "9" * 400], "cannot be read; it is written like 00:10-00:20"),
        (["--only-between", "9" * 5000 + ":00-1"], "cannot be read"),
        (["--only-people", "9" * 5000], "cannot be read"),
        (["--only-region", "0,0,1e999,1"], "cannot be read"),
        (["--only-region", "1,2,3"], "--only-region 1,2,3 cannot be read; it is written like 10,20,300,400"),
        (["--leave-region", "1,2,0,9"], "cannot be read"),
        (["--leave-region", "nan,2,3,9"], "cannot be read"),
        (["--only-people", "3,x"], "--only-people 3,x cannot be read; it is written like 3,7"),
        (["--only-people", "0"], "cannot be read"),
        (["--only-people", "8"], "has no boxes of number 8; there are: 3, 7"),
        (["--leave-people", "3,7"], "all 12 boxes of"),
        (["--only-between", "50-60"], "nothing would be protected"),
    ],
)
def test_choices_that_make_no_sense_are_refused(street, capsys, words, message):
    assert protect(street, "out", *words) == 2
    assert message in capsys.readouterr().err and not list(street.glob("out/*.mkv*"))


def test_numbers_of_people_need_boxes_of_a_file(street, found, capsys):
    assert protect(street, "out", "--only-people", "1", boxes=None) == 2
    assert "take the .boxes.txt that lies beside the video" in capsys.readouterr().err


def test_times_parts_and_numbers_are_read():
    assert span("1:02:03.5-1:02:10") == Span(Fraction("3723.5"), Fraction(3730))
    assert span("75-80.25") == Span(Fraction(75), Fraction("80.25"))
    assert region("0,0.5,1,0.5").pixels(200, 100) == (0, 50, 200, 100)
    assert Region(1, 2, 3, 4).pixels(200, 100) == (1, 2, 4, 6)
    assert people("3,7") == {3, 7}
    both_ends = Chosen(only_between=(Span(Fraction(1), Fraction(2)),))
    whys = [both_ends.why_left(Person((0, 0, 9, 9)), Fraction(at, 10), (20, 20)) for at in (9, 10, 20, 21)]
    assert whys == ["time", None, None, "time"]
