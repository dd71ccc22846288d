"""What ``anonymize`` and ``recover`` do with a video."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..checkpoints.image_maps import ImageMap
from ..collection.carrying import BESIDE
from ..collection.compare import figures_text, in_all
from ..collection.protect import ProtectionOptions
from ..collection.recover import ProtectedFolder
from ..collection.source import is_dataset
from ..config import image_device
from ..core.errors import UserError, say
from ..core.folders import ENDINGS as IMAGE_ENDINGS
from ..core.remote import is_url
from ..manifest import KEPT, MANIFEST
from ..video.boxes import UNITS, MotBoxes, named_lines
from ..video.detection import OVERLAP, measure_detection
from ..video.detector import DEFAULT_MODEL, PersonDetector, detector_names
from ..video.hog import HogDetector
from ..video.onnx_detector import OnnxDetector
from ..video.protect import protect_video
from ..video.recover import compare_videos, recover_video
from ..video.stream import count_frames, video_format
from ..video.writer import DEFAULT_CRF, ENDINGS, LOSSLESS, LOSSY
from .options import say_accounted, say_guarded

FORMATS = {ending.removeprefix("."): codec for codec, ending in ENDINGS.items()}
"""mkv and mp4, and the codec of each."""
NEEDS_BOXES = "needs either --boxes, a MOT file, or --detector: weights of torchvision, or an .onnx graph"
Detector = PersonDetector | OnnxDetector
VIDEO_OPTIONS = (
    "boxes",
    "box_units",
    "detector",
    "detector_model",
    "min_score",
    "measure_detection",
    "crf",
)


def add_video_options(parser: argparse.ArgumentParser) -> None:
    """The options of a video, to protect."""
    group = parser.add_argument_group(
        "videos", "people in boxes are protected; sound and subtitles are left out"
    )
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
        type=Path,
        metavar="WEIGHTS",
        help="find people with a detector instead: the weights of a torchvision model, or an .onnx graph",
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
        "--measure-detection",
        action="store_const",
        const=True,
        help="print how many of the boxes a detector finds in the raw and in the protected video, at an IoU "
        "of 0.5: OpenCV's HOG, or that of --detector, which may then stand beside --boxes",
    )
    group.add_argument(
        "--crf",
        type=int,
        help=f"of mp4 files, which are lossy: 0 to 51, best to smallest (default {DEFAULT_CRF})",
    )


def refuse_video_options(options: argparse.Namespace) -> None:
    """Refuse what only a video has, and an input that is not there.

    Raises:
        UserError: naming the option.
    """
    if not is_url(options.input) and not Path(options.input).exists() and not is_dataset(options.input):
        raise UserError(f"--input {options.input} does not exist, nor is it a data set that fastreid knows")
    given = [name for name in VIDEO_OPTIONS if getattr(options, name) is not None]
    if given or options.format in FORMATS:
        name = f"--{given[0].replace('_', '-')}" if given else f"--format {options.format}"
        raise UserError(f"{name} is for a video, which --input {options.input} is not")


def anonymize_video(options: argparse.Namespace, image_map: ImageMap, protection: ProtectionOptions) -> None:
    """Protect the video ``--input``.

    Args:
        options: parsed.
        image_map: the anonymizer.
        protection: what every kind of input has.
    """
    if options.input.lower().endswith(tuple(ending for ending in IMAGE_ENDINGS if ending != ".gif")):
        raise UserError(f"--input {options.input} is an image: give its folder")
    if options.format not in (None, *FORMATS):
        raise UserError(f"--format {options.format} is for images; a video becomes {' or '.join(FORMATS)}")
    if options.carry not in (None, BESIDE):
        raise UserError(
            f"--carry {options.carry} is for images: the sealed original of a video lies beside it, for its "
            "boxes have no room for all of it"
        )
    if options.quality is not None:
        raise UserError("--quality is for jpg files; the quality of mp4 files is --crf")
    codec = FORMATS[options.format or "mkv"]
    if codec == LOSSLESS and options.crf is not None:
        raise UserError("--crf is for --format mp4; mkv is lossless")
    crf = DEFAULT_CRF if options.crf is None else options.crf
    if not 0 <= crf <= 51:
        raise UserError(f"--crf is {crf}; it lies between 0 and 51")
    left_out = video_format(options.input).others
    boxes, detector = _boxes(options)
    if image_map.is_random:
        say(
            "warning: noise differs from frame to frame; whoever averages the frames of somebody who "
            "stands still sees them"
        )
    if left_out:
        say(f"left out: {', '.join(left_out)}")
    done = protect_video(options.input, options.output, image_map, boxes, protection, codec=codec, crf=crf)
    (entry,) = done.entries.values()
    protected, frames = entry["boxes"], {row[0] for row in entry["boxes"]}
    where = options.output / entry["path"]
    say(
        f"{len(protected):,} boxes in {len(frames):,} of {entry['frames']:,} frames protected: {where}",
        sys.stdout,
    )
    say_guarded(protection.guard, entry.get(KEPT, []))
    say_accounted(done)
    if outside := entry.get("boxes_outside"):
        say(
            f"{len(outside):,} boxes lie outside of the picture and protect nothing: {named_lines(outside)} "
            f"of --boxes {options.boxes}"
        )
    if "stored" in entry:
        boxes_psnr, frames_psnr = (_psnr(entry["stored"][name]) for name in ("boxes", "frames"))
        say(
            f"stored by the lossy codec: {boxes_psnr} in the boxes, {frames_psnr} in whole frames", sys.stdout
        )
    if codec == LOSSY and image_map.network is not None:
        say("warning: recovery from a lossy video is worse than from mkv, which is lossless")
    if options.measure_detection:
        _say_detection(options, entry, detector or HogDetector())


def _boxes(options: argparse.Namespace) -> tuple[MotBoxes | Detector, Detector | None]:
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
    score = 0.5 if options.min_score is None else options.min_score
    device = image_device(options.device, "--device")
    if options.detector.suffix.lower() != ".onnx":
        model = options.detector_model or DEFAULT_MODEL
        return PersonDetector(options.detector, model, score, device)
    if options.detector_model is not None:
        raise UserError("--detector-model is for the weights of torchvision; an .onnx file holds its model")
    return OnnxDetector(options.detector, score, device)


def _say_detection(options: argparse.Namespace, entry: dict, detector: Detector | HogDetector) -> None:
    path = options.output / entry["path"]
    counts = measure_detection(options.input, path, entry, detector, options.workers)
    people = counts["people"]
    found = (f"{name} {counts[name]:,} ({counts[name] / people:.1%})" for name in ("raw", "protected"))
    say(f"of {people:,} boxes {detector.name} finds at IoU {OVERLAP}: {', '.join(found)}", sys.stdout)


def recover_video_of(options: argparse.Namespace, protected: ProtectedFolder, image_map: ImageMap) -> None:
    """Recover the protected video of ``--input``, and compare it with the raw video ``--verify``."""
    if options.pseudonymize:
        raise UserError(
            "--pseudonymize finds raw images; of a video, --verify is the file itself: leave it out"
        )
    (entry,) = protected.manifest.entries.values()
    # before anything is recovered
    if options.verify and (frames := count_frames(options.verify)) != entry["frames"]:
        raise UserError(
            f"--verify {options.verify} has {frames:,} frames, the video that was protected "
            f"{entry['frames']:,}"
        )
    done = recover_video(
        protected, options.output, image_map, batch_size=options.batch_size, workers=options.workers
    )
    (made,) = done.entries.values()
    path = options.output / made["path"]
    if options.verify:
        compared = []
        for figures in compare_videos(path, options.verify, entry, options.workers):
            box = ", ".join(map(str, figures["box"]))
            say(f"{figures_text(figures)}  frame {figures['frame']}, box {box}", sys.stdout)
            compared.append(figures)
        say(f"{figures_text(in_all(compared))}  in all, {len(compared):,} boxes", sys.stdout)
    say(
        f"{len(entry['boxes']):,} boxes in {made['frames']:,} frames recovered: {path}, "
        f"{options.output / MANIFEST}",
        sys.stdout,
    )


def _psnr(value: float | None) -> str:
    return "no difference" if value is None else f"{value:.2f} dB"
