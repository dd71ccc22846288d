"""The options that say where people are in a video, and what is made of their boxes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..config import image_device
from ..core.errors import UserError
from ..video.boxes import UNITS, MotBoxes
from ..video.chosen import Chosen, people, region, span
from ..video.detector import DEFAULT_MODEL, PersonDetector, detector_names
from ..video.hog import HogDetector
from ..video.onnx_detector import OnnxDetector
from ..video.placing import KEEP_FRAMES, MARGIN, Boxes, Detector, Placing

HOG = "hog"
NEEDS_BOXES = (
    "needs either --boxes, a MOT file, or --detector: weights of torchvision, an .onnx graph, or hog, "
    "which is weak"
)
WEAK = (
    "warning: hog is a weak detector: of boxes of rendered people it finds 57 %; whoever it misses is not "
    "protected"
)
CHOSEN = {  # option: (what reads a word, where the words go, an example)
    "only_between": (span, "only_between", "00:10-00:20"),
    "only_region": (region, "only_regions", "10,20,300,400 or 0,0.5,1,0.5"),
    "leave_region": (region, "leave_regions", "10,20,300,400 or 0,0.5,1,0.5"),
    "only_people": (people, "only_people", "3,7"),
    "leave_people": (people, "leave_people", "3,7"),
}
BOX_OPTIONS = (
    "boxes",
    "box_units",
    "detector",
    "detector_model",
    "min_score",
    "detect_every",
    "keep_frames",
    "margin",
    *CHOSEN,
)


def add_box_options(group: argparse._ArgumentGroup) -> None:
    """The options that say where people are."""
    group.add_argument(
        "--boxes",
        type=Path,
        metavar="MOT",
        help="file of boxes: frame, identity, left, top, width, height in each line",
    )
    group.add_argument(
        "--box-units",
        choices=UNITS,
        help="of --boxes: pixel (default), or fraction (0 to 1) or percent of the picture's sides",
    )
    group.add_argument(
        "--detector",
        metavar="WEIGHTS",
        help="find people with a detector instead: the weights of a torchvision model, an .onnx graph, or "
        "hog: OpenCV's, which needs no file but is weak and misses many people",
    )
    group.add_argument(
        "--detector-model",
        metavar="NAME",
        help=f"what they are the weights of (default {DEFAULT_MODEL}): {', '.join(detector_names())}",
    )
    group.add_argument(
        "--min-score",
        type=float,
        metavar="SCORE",
        help="lowest score of a detected person, 0 to 1 (default 0.5)",
    )
    group.add_argument(
        "--detect-every",
        type=int,
        metavar="N",
        help="ask the detector for every N-th frame (default 1); between them people are followed",
    )
    group.add_argument(
        "--keep-frames",
        type=int,
        metavar="N",
        help=f"keep somebody protected for N frames in which the detector misses them (default "
        f"{KEEP_FRAMES}); 0: each frame by itself",
    )
    group.add_argument(
        "--margin",
        type=float,
        metavar="SHARE",
        help="by how much boxes grow on each side, as a share of their width or height (default "
        f"{MARGIN} with --detector, 0 with --boxes)",
    )
    helps = {
        "only_between": "protect people only between these times from the first frame",
        "only_region": "protect only people whose boxes touch this part of the picture: left,top,width,"
        "height in pixels or, all up to 1, in fractions of its sides",
        "leave_region": "leave people whose boxes lie wholly in this part as they are",
        "only_people": "protect only people of these numbers, the second ones of the lines of --boxes",
        "leave_people": "leave people of these numbers as they are",
    }
    for name, text in helps.items():
        group.add_argument(
            f"--{name.replace('_', '-')}", action="append", metavar=CHOSEN[name][2].split()[0], help=text
        )


def chosen_of(options: argparse.Namespace) -> Chosen:
    """Who is protected.

    Raises:
        UserError: naming the option that cannot be read.
    """
    found: dict[str, Any] = {}
    for name, (read, field, example) in CHOSEN.items():
        words = getattr(options, name) or ()
        try:
            values = [read(word) for word in words]
        except (ValueError, OverflowError):
            raise UserError(
                f"--{name.replace('_', '-')} {' '.join(words)} cannot be read; it is written like {example}"
            ) from None
        found[field] = frozenset[int]().union(*values) if read is people else tuple(values)
    return Chosen(**found)


def placing_of(options: argparse.Namespace) -> Placing:
    """What is made of the boxes; by default the safer thing for those of a detector."""
    given = {name: getattr(options, name) for name in ("detect_every", "keep_frames", "margin")}
    given = {name: value for name, value in given.items() if value is not None}
    if options.boxes is None:
        return Placing(**{"keep_frames": KEEP_FRAMES, "margin": MARGIN, **given})
    if others := [f"--{name.replace('_', '-')}" for name in given if name != "margin"]:
        raise UserError(f"{' and '.join(others)}: for a detector; the boxes of --boxes are taken as they are")
    return Placing(**given)


def boxes_of(options: argparse.Namespace) -> tuple[Boxes, Detector | None]:
    """Where the people are, and the detector of --detector: which may be the same."""
    if options.boxes is None and options.detector is None:
        raise UserError(f"a video {NEEDS_BOXES}")
    if options.boxes is None and options.box_units is not None:
        raise UserError("--box-units goes with --boxes: a detector's boxes are in pixels")
    if options.boxes is not None and options.detector is not None and not options.measure_detection:
        raise UserError(f"a video {NEEDS_BOXES}; both go with --measure-detection")
    detector = _detector(options)
    boxes = detector if options.boxes is None else MotBoxes(options.boxes, options.box_units)
    assert boxes is not None  # one of the two is given
    return boxes, detector


def _detector(options: argparse.Namespace) -> Detector | None:
    """The detector of --detector, if it is given."""
    if options.detector is None:
        if options.detector_model is not None or options.min_score is not None:
            raise UserError(
                "--detector-model and --min-score go with --detector: every line of --boxes counts"
            )
        return None
    if options.detector == HOG:
        if options.detector_model is not None or options.min_score is not None:
            raise UserError("--detector-model and --min-score are for other detectors than hog")
        return HogDetector()
    score = 0.5 if options.min_score is None else options.min_score
    device = image_device(options.device, "--device")
    if not options.detector.lower().endswith(".onnx"):
        model = options.detector_model or DEFAULT_MODEL
        return PersonDetector(options.detector, model, score, device)
    if options.detector_model is not None:
        raise UserError("--detector-model is for the weights of torchvision; an .onnx file holds its model")
    return OnnxDetector(options.detector, score, device)
