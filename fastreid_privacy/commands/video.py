"""What ``anonymize`` and ``recover`` do with a video."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..checkpoints.image_maps import ImageMap
from ..collection.compare import figures_text, in_all
from ..collection.protect import ProtectionOptions
from ..collection.recover import ProtectedFolder
from ..collection.source import is_dataset
from ..config import image_device
from ..core.errors import UserError, say
from ..core.folders import ENDINGS as IMAGE_ENDINGS
from ..manifest import MANIFEST
from ..video.boxes import UNITS, MotBoxes, named_lines
from ..video.detector import DEFAULT_MODEL, PersonDetector, detector_names
from ..video.protect import protect_video
from ..video.recover import compare_videos, recover_video
from ..video.stream import count_frames, video_format
from ..video.writer import DEFAULT_CRF, ENDINGS, LOSSLESS, LOSSY

FORMATS = {ending.removeprefix("."): codec for codec, ending in ENDINGS.items()}
"""mkv and mp4, and the codec of each."""


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
        help="find people with a torchvision detector instead: its weights",
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
        "--crf",
        type=int,
        help=f"of mp4 files, which are lossy: 0 to 51, best to smallest (default {DEFAULT_CRF})",
    )


def refuse_video_options(options: argparse.Namespace) -> None:
    """Refuse what only a video has, and an input that is not there.

    Raises:
        UserError: naming the option.
    """
    if not Path(options.input).exists() and not is_dataset(options.input):
        raise UserError(f"--input {options.input} does not exist, nor is it a data set that fastreid knows")
    given = [
        name
        for name in ("boxes", "box_units", "detector", "detector_model", "min_score", "crf")
        if getattr(options, name) is not None
    ]
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
    if options.quality is not None:
        raise UserError("--quality is for jpg files; the quality of mp4 files is --crf")
    codec = FORMATS[options.format or "mkv"]
    if codec == LOSSLESS and options.crf is not None:
        raise UserError("--crf is for --format mp4; mkv is lossless")
    crf = DEFAULT_CRF if options.crf is None else options.crf
    if not 0 <= crf <= 51:
        raise UserError(f"--crf is {crf}; it lies between 0 and 51")
    left_out = video_format(options.input).others
    boxes = _boxes(options)
    if protection.method == "noise":
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


def _boxes(options: argparse.Namespace) -> MotBoxes | PersonDetector:
    if (options.boxes is None) == (options.detector is None):
        raise UserError(
            "a video needs either --boxes, a MOT file, or --detector, the weights of a torchvision detector"
        )
    if options.boxes is not None:
        if options.detector_model is not None or options.min_score is not None:
            raise UserError(
                "--detector-model and --min-score go with --detector: every line of --boxes counts"
            )
        return MotBoxes(options.boxes, options.box_units)
    if options.box_units is not None:
        raise UserError("--box-units goes with --boxes: a detector's boxes are in pixels")
    score = 0.5 if options.min_score is None else options.min_score
    return PersonDetector(
        options.detector,
        options.detector_model or DEFAULT_MODEL,
        score,
        image_device(options.device, "--device"),
    )


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
