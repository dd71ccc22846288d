"""The tracker against hand-worked cases and least squares, and frames that a detector misses in a video."""

from __future__ import annotations

import fastreid_privacy  # before fastreid

# isort: split
import json

import numpy as np
import pytest
from in_process import anonymize
from rendered_video import write_video

from fastreid_privacy.manifest import read_manifest
from fastreid_privacy.video import HogDetector, MotBoxes
from fastreid_privacy.video.people import CARRIED, DETECTED, GIVEN
from fastreid_privacy.video.placing import Placing, found_in, placed
from fastreid_privacy.video.placing import followed as followed_frames
from fastreid_privacy.video.stream import Frame, read_frames
from fastreid_privacy.video.tracker import ACCELERATION, FIRST_SPEED, Tracker

assert fastreid_privacy


def followed(found, keep, ahead):
    """The boxes of each frame by a tracker that is asked ``ahead`` frames late, as a video is."""
    tracker, given = Tracker(keep, ahead), []
    for frame, boxes in enumerate(found, start=1):
        tracker.see(boxes)
        if frame > ahead:
            given.append(tracker.boxes(frame - ahead))
    return given + [tracker.boxes(frame) for frame in range(len(given) + 1, len(found) + 1)]


def covers(outer, inner):
    return outer[0] <= inner[0] and outer[1] <= inner[1] and outer[2] >= inner[2] and outer[3] >= inner[3]


def by_least_squares(found, frame):
    """The most probable place of an edge in a frame: one system of all that is known.

    Args:
        found: frame → place, from frame 0 on.
        frame: asked for.
    """
    last = max([*found, frame])
    # unknown: place and speed in frame 0, then how much the speed changes in each frame
    place, speed = np.zeros((last + 1, 2 + last)), np.zeros(2 + last)
    place[0, 0], speed[1] = 1, 1
    for at in range(last):
        place[at + 1] = place[at] + speed
        place[at + 1, 2 + at] += 0.5
        speed[2 + at] += 1
    rows, values = [], []
    for at, value in found.items():
        rows.append(place[at])
        values.append(value)
    for at, deviation in enumerate([FIRST_SPEED, *[ACCELERATION] * last], start=1):
        rows.append(np.eye(2 + last)[at] / deviation)
        values.append(0.0)
    return place[frame] @ np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0]


@pytest.mark.parametrize("missed", [(), (3, 4), (5,), (1, 2, 6)])
@pytest.mark.parametrize("ahead", [0, 2, 5])
def test_boxes_are_those_of_least_squares_and_cover_what_was_found(missed, ahead):
    draw, frames = np.random.default_rng(0), 9
    boxes = {
        frame: tuple(
            int(value) for value in np.array([10, 20, 50, 100]) + 3 * frame + draw.integers(-2, 3, 4)
        )
        for frame in range(frames)
        if frame not in missed
    }
    given = followed([[boxes[frame]] if frame in boxes else [] for frame in range(frames)], 5, ahead)
    for frame, (box,) in enumerate(given):
        known = {at: value for at, value in boxes.items() if at <= frame + ahead}
        expected = [
            by_least_squares({at: box[edge] for at, box in known.items()}, frame) for edge in range(4)
        ]
        cover = boxes.get(frame)
        if cover is None and max(known) < frame:  # who may have stopped
            cover = known[max(known)]
        if cover:
            expected = [*np.minimum(expected[:2], cover[:2]), *np.maximum(expected[2:], cover[2:])]
        np.testing.assert_allclose(box.edges, expected, atol=1e-6)
        assert (box.identity, box.place is None) == (1, frame not in boxes)


def test_somebody_who_is_lost_is_carried_for_so_many_frames_and_no_more():
    box = (10, 10, 30, 50)
    given = followed([[box]] * 3 + [[]] * 6, keep=4, ahead=0)
    assert [len(boxes) for boxes in given] == [1, 1, 1, 1, 1, 1, 1, 0, 0]
    assert all(covers(boxes[0].edges, box) for boxes in given[:7])  # whoever stands still stays inside
    assert [boxes[0].place for boxes in given[:7]] == [0, 0, 0, None, None, None, None]


def test_who_walks_on_and_who_stops_are_both_inside_a_carried_box():
    walk = [(10 + 4 * frame, 10, 30 + 4 * frame, 50) for frame in range(12)]
    given = followed([[box] for box in walk[:8]] + [[]] * 4, keep=9, ahead=0)
    for frame in range(8, 12):
        (box,) = given[frame]
        assert covers(box.edges, walk[7])
        assert box.edges[2] == pytest.approx(walk[frame][2], abs=0.5 * (frame - 7))


def test_somebody_who_is_found_late_is_protected_before():
    box = (10, 10, 30, 50)
    given = followed([[]] * 4 + [[box]] * 3, keep=9, ahead=2)
    assert [len(boxes) for boxes in given] == [0, 0, 1, 1, 1, 1, 1]
    assert covers(given[2][0].edges, box) and given[2][0].place is None
    assert [len(boxes) for boxes in followed([[]] * 4 + [[box]] * 3, keep=1, ahead=2)] == [
        0,
        0,
        0,
        1,
        1,
        1,
        1,
    ]


def test_people_who_pass_each_other_keep_their_numbers():
    """By hand: their boxes overlap by half in the middle, where one of them is missed for three frames."""
    right = [(5 * frame, 10, 20 + 5 * frame, 50) for frame in range(20)]
    left = [(100 - 5 * frame, 16, 120 - 5 * frame, 56) for frame in range(20)]
    found = [
        [left[frame]] if frame in (9, 10, 11) else [left[frame], right[frame]][:: (-1) ** frame]
        for frame in range(20)
    ]
    given = followed(found, keep=5, ahead=5)
    for frame in range(20):
        places = {box.identity: box.edges for box in given[frame]}
        assert set(places) == {1, 2}, frame
        for identity, walk in ((1, left), (2, right)):
            assert np.abs(np.array(places[identity]) - walk[frame]).max() < 4


def test_the_largest_overlap_is_taken_first_and_each_box_once():
    tracker = Tracker(5, 0)
    tracker.see([(0, 0, 20, 40), (14, 0, 34, 40)])
    tracker.boxes(1)
    tracker.see([(12, 0, 32, 40)])  # overlaps with both; by hand 8/32 and 18/22
    assert [(box.identity, box.place) for box in tracker.boxes(2)] == [(1, None), (2, 0)]
    tracker.see([(200, 0, 220, 40)])  # nobody's
    assert [(box.identity, box.place) for box in tracker.boxes(3)] == [(1, None), (2, None), (3, 0)]


def test_boxes_of_a_frame_lie_as_the_detector_ordered_them_with_carried_ones_below():
    tracker = Tracker(5, 0)
    boxes = [(0, 0, 20, 40), (50, 0, 70, 40), (100, 0, 120, 40)]
    tracker.see(boxes)
    tracker.boxes(1)
    tracker.see([boxes[2], boxes[0]])
    assert [box.identity for box in tracker.boxes(2)] == [2, 3, 1]


def test_memory_of_a_long_video_is_bounded():
    tracker = Tracker(10, 5)
    draw = np.random.default_rng(0)
    for frame in range(1, 600):
        corner = draw.integers(0, 2000, 2)
        tracker.see([(5, 5, 20, 40), (*corner.tolist(), *(corner + 30).tolist())])
        if frame > 5:
            tracker.boxes(frame - 5)
    assert len(tracker.tracks) <= 2 + 10 + 5 + 1
    assert all(len(track.found) <= 5 + 2 and len(track.past) <= 5 for track in tracker.tracks)
    assert next(track.identity for track in tracker.tracks) == 1


def test_people_go_on_over_frames_that_are_missing():
    """As of a live input, whose numbers count frames that were dropped. By hand: 4 pixels a frame."""
    pixels = np.zeros((60, 200, 3), np.uint8)
    numbers = [*range(1, 11), 16, 17, 40]

    def walked(number):
        return (10 + 4 * number, 10, 30 + 4 * number, 50)

    found = [(Frame(number, 0, pixels), [walked(number)] if number <= 10 else None) for number in numbers]
    given = {frame.number: frame.people for frame in followed_frames(found, Placing(keep_frames=20))}
    assert list(given) == numbers
    for number in numbers[:-1]:
        ((box, identity, _),) = given[number]
        assert identity == 1 and box[0] <= walked(number)[0] and box[2] >= walked(number)[2] - 2
    assert given[40] == []  # lost for 30 frames


def test_a_detector_is_asked_again_when_its_turn_was_missed():
    pixels = np.zeros((60, 200, 3), np.uint8)
    detector = Scripted({1, 6, 9})
    frames = [Frame(number, 0, pixels) for number in (1, 2, 3, 6, 7, 8, 9)]
    found = list(found_in(frames, detector, Placing(keep_frames=9, detect_every=3)))
    assert detector.asked == [1, 6, 9] and [boxes is None for _, boxes in found] == [0, 1, 1, 0, 1, 1, 0]


# -- in a video ----------------------------------------------------------------------------------------------

BOX = (12, 8, 28, 40)


class Scripted(HogDetector):
    """Finds one person, who stands still, in certain frames."""

    def __init__(self, frames):
        self.frames, self.asked = frames, []

    def __call__(self, number, pixels):
        self.asked.append(number)
        return [BOX] if number in self.frames else []


def people_by_frame(detector, placing, count=12):
    pixels = np.zeros((48, 64, 3), np.uint8)
    frames = (Frame(number, number, pixels) for number in range(1, count + 1))
    return {frame.number: frame.people for frame in placed(frames, detector, placing, 2)}


def test_the_detector_is_asked_for_every_nth_frame_and_nobody_is_lost_between():
    detector = Scripted(range(1, 13))
    people = people_by_frame(detector, Placing(keep_frames=4, detect_every=4))
    assert sorted(detector.asked) == [1, 5, 9]
    assert [[person.how for person in people[number]] for number in range(1, 13)] == [
        [DETECTED if number in (1, 5, 9) else CARRIED] for number in range(1, 13)
    ]
    assert {person.identity for here in people.values() for person in here} == {1}
    assert all(covers(person.box, BOX) for here in people.values() for person in here)


def test_without_a_tracker_boxes_are_the_detectors():
    people = people_by_frame(Scripted({2, 5}), Placing())
    assert {number: here for number, here in people.items() if here} == {
        number: [(BOX, 0, DETECTED)] for number in (2, 5)
    }


def test_a_margin_grows_boxes_up_to_the_edge():
    people = people_by_frame(Scripted({2}), Placing(margin=0.5))
    assert people[2][0].box == (4, 0, 36, 48)  # 8 to the sides, 16 up and down, in a picture 48 high


@pytest.fixture
def street(tmp_path, monkeypatch):
    """A noisy video of 12 frames; OpenCV's detector finds its one person in five of them."""
    draw = np.random.default_rng(0)
    pictures = [draw.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(12)]
    detector = Scripted({2, 3, 6, 7, 11})
    monkeypatch.setattr(HogDetector, "__call__", lambda self, *frame: detector(*frame))
    return write_video(tmp_path / "street.mkv", pictures)


def protected(street, out, *words):
    assert anonymize("--method", "mask", "--input", street, "--output", out, *words) == 0
    (entry,) = read_manifest(out / "manifest.jsonl").entries.values()
    return entry, [frame.pixels for frame in read_frames(out / "street.mkv")]


def test_nobody_flickers_into_the_clear(street, tmp_path, capsys):
    entry, frames = protected(street, tmp_path / "out", "--detector", "hog")
    left, top, right, bottom = BOX
    assert all((frame[top:bottom, left:right] == 128).all() for frame in frames)
    assert entry["identities"] == [1] * 12 and [row[0] for row in entry["boxes"]] == list(range(1, 13))
    told = capsys.readouterr()
    assert "hog is a weak detector" in told.err and "12 boxes in 12 of 12 frames" in told.out
    header = json.loads((tmp_path / "out" / "manifest.jsonl").read_text().splitlines()[0])
    assert header["boxes"] == "hog" and header["opencv"]
    assert (header["keep_frames"], header["detect_every"], header["margin"]) == (25, 1, 0.1)


def test_frames_by_themselves_show_whom_the_detector_misses(street, tmp_path):
    entry, frames = protected(street, tmp_path / "out", *("--detector", "hog", "--keep-frames", 0))
    assert sorted(row[0] for row in entry["boxes"]) == [2, 3, 6, 7, 11] and "identities" not in entry
    assert (frames[3][10:40, 14:26] != 128).any() and (frames[2][10:40, 14:26] == 128).all()


def test_bytes_do_not_depend_on_workers(street, tmp_path):
    words = ("--detector", "hog", "--detect-every", 3, "--keep-frames", 3)
    for workers in (1, 5):
        protected(street, tmp_path / str(workers), *words, "--workers", workers)
    for name in ("street.mkv", "manifest.jsonl"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "5" / name).read_bytes()


def test_boxes_of_a_file_grow_and_keep_their_numbers(street, tmp_path):
    (tmp_path / "boxes.txt").write_text("1,7,13,9,16,32\n2,-1,13,9,16,32\n3,2.5,13,9,16,32\n")
    entry, _ = protected(street, tmp_path / "out", "--boxes", tmp_path / "boxes.txt", "--margin", 0.25)
    assert entry["boxes"][0] == [1, 7, 0, 27, 48] and entry["identities"] == [7, 0, 0]
    people = people_by_frame(MotBoxes(tmp_path / "boxes.txt"), Placing())
    assert people[1] == [((12, 8, 29, 41), 7, GIVEN)] and people[4] == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--detector", "hog", "--keep-frames", -1], "--keep-frames is -1"),
        (["--detector", "hog", "--detect-every", 0], "--detect-every is 0; it lies between 1 and 100"),
        (["--detector", "hog", "--detect-every", 9, "--keep-frames", 7], "needs --keep-frames 8 or more"),
        (["--detector", "hog", "--margin", 1.5], "--margin is 1.5"),
        (["--detector", "hog", "--margin", "nan"], "--margin is nan"),
        (["--detector", "hog", "--min-score", 0.5], "are for other detectors than hog"),
        (["--boxes", "BOXES", "--keep-frames", 3], "--keep-frames: for a detector"),
        (["--boxes", "BOXES", "--detect-every", 3], "--detect-every: for a detector"),
    ],
)
def test_options_that_make_no_sense_are_refused(street, tmp_path, capsys, words, message):
    (tmp_path / "boxes.txt").write_text("1,7,13,9,16,32\n")
    words = [tmp_path / "boxes.txt" if word == "BOXES" else word for word in words]
    assert anonymize("--method", "mask", "--input", street, "--output", tmp_path / "out", *words) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_options_of_detectors_are_refused_for_folders(street, tmp_path, capsys):
    words = ["--method", "mask", "--input", tmp_path, "--output", tmp_path / "out", "--detect-every", 2]
    assert anonymize(*words) == 2
    assert "--detect-every is for a video" in capsys.readouterr().err
