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
from ..core.errors import UserError, say
from ..core.folders import ENDINGS as IMAGE_ENDINGS
from ..core.folders import why_not_read
from ..core.pictures import is_film
from ..core.remote import is_url, shown
from ..core.tars import is_tars
from ..manifest import KEPT, LIVE, MANIFEST
from ..video.boxes import named_lines
from ..video.detection import OVERLAP, measure_detection
from ..video.hog import HogDetector
from ..video.placing import Detector
from ..video.preview import write_preview
from ..video.protect import protect_video
from ..video.records import BOXES, LEFT
from ..video.recover import compare_videos, entries_there, recover_video
from ..video.sound import AUDIO
from ..video.stream import count_frames, video_format
from ..video.writer import DEFAULT_CRF, ENDINGS, LOSSLESS, LOSSY
from .box_options import BOX_OPTIONS, WEAK, add_box_options, boxes_of, chosen_of, placing_of
from .options import say_accounted, say_guarded

FORMATS = {ending.removeprefix("."): codec for codec, ending in ENDINGS.items()}
"""mkv and mp4, and the codec of each."""
STILL = tuple({*IMAGE_ENDINGS} - {".gif", ".apng"})
"""Endings of files that are images, unless they hold a film."""
VOICES = "warning: the sound is copied as it is: voices, names and what is said identify people"
VIDEO_OPTIONS = (*BOX_OPTIONS, "measure_detection", "preview", "keep_audio", "crf")


def add_video_options(parser: argparse.ArgumentParser) -> None:
    """The options of a video, to protect."""
    group = parser.add_argument_group(
        "videos", "people in boxes are protected; subtitles are left out, and sound without --keep-audio"
    )
    add_box_options(group)
    group.add_argument(
        "--measure-detection",
        action="store_const",
        const=True,
        help="print how many of the boxes a detector finds in the raw and in the protected video, at an IoU "
        "of 0.5: OpenCV's HOG, or that of --detector, which may then stand beside --boxes",
    )
    group.add_argument(
        "--preview",
        action="store_const",
        const=True,
        help="write a sheet of protected frames beside the video, to look at before a release",
    )
    group.add_argument(
        "--keep-audio",
        action="store_const",
        const=True,
        help="copy the sound as it is: voices identify people",
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
    elsewhere = is_url(options.input) or is_tars(options.input)
    if not elsewhere and not Path(options.input).exists() and not is_dataset(options.input):
        raise UserError(
            f"--input {shown(options.input)} does not exist, nor is it a data set that fastreid knows"
        )
    refuse_live_options(options)
    given = [name for name in VIDEO_OPTIONS if getattr(options, name) is not None]
    if given or options.format in FORMATS:
        name = f"--{given[0].replace('_', '-')}" if given else f"--format {options.format}"
        raise UserError(f"{name} is for a video, which --input {shown(options.input)} is not")


def refuse_live_options(options: argparse.Namespace) -> None:
    """Refuse what only a live input has."""
    for name in ("duration", "segment"):
        if getattr(options, name) is not None:
            raise UserError(
                f"--{name} is for a camera or the address of a stream, not --input {shown(options.input)}"
            )


def anonymize_video(options: argparse.Namespace, image_map: ImageMap, protection: ProtectionOptions) -> None:
    """Protect the video ``--input``.

    Args:
        options: parsed.
        image_map: the anonymizer.
        protection: what every kind of input has.
    """
    unread, name = why_not_read(options.input), options.input.lower()
    if unread or (name.endswith(STILL) and not is_film(options.input)):
        raise UserError(f"--input {shown(options.input)} is an image: {unread or 'give its folder'}")
    refuse_live_options(options)
    codec, crf = codec_of(options)
    if options.carry not in (None, BESIDE):
        raise UserError(
            f"--carry {options.carry} is for images: the sealed original of a video lies beside it, for its "
            "boxes have no room for all of it"
        )
    left_out = list(video_format(options.input).others)
    if options.keep_audio:
        if AUDIO not in left_out:
            raise UserError(f"--keep-audio: {options.input} has no sound; leave the option out")
        left_out = [kind for kind in left_out if kind != AUDIO]
        say(VOICES)
    placing, chosen = placing_of(options), chosen_of(options)
    boxes, detector = boxes_of(options)
    if isinstance(boxes, HogDetector):
        say(WEAK)
    warn_of_noise(image_map)
    if left_out:
        say(f"left out: {', '.join(left_out)}")
    done = protect_video(
        options.input,
        options.output,
        image_map,
        boxes,
        protection,
        placing=placing,
        chosen=chosen,
        codec=codec,
        crf=crf,
        keep_audio=bool(options.keep_audio),
    )
    (entry,) = done.entries.values()
    protected, frames = entry["boxes"], {row[0] for row in entry["boxes"]}
    where = options.output / entry["path"]
    say(
        f"{len(protected):,} boxes in {len(frames):,} of {entry['frames']:,} frames protected: {where}",
        sys.stdout,
    )
    say_left(entry)
    if (corrected := where.with_name(where.name + BOXES)).exists():
        say(
            f"the boxes are in {corrected}: correct them, and protect the video again with --boxes and "
            "another --output"
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
    if options.preview:
        say(f"look at {write_preview(options.output, entry)} before you give the video away")
    if options.measure_detection:
        _say_detection(options, entry, detector or HogDetector())


def warn_of_noise(image_map: ImageMap) -> None:
    """Warn of what an average of frames shows."""
    if image_map.is_random:
        say(
            "warning: noise differs from frame to frame; whoever averages the frames of somebody who "
            "stands still sees them"
        )


def say_left(entry: dict) -> None:
    """Say how many boxes of a video's line were left as they are."""
    if left := entry.get(LEFT):
        why = ", ".join(f"by {word} {count:,}" for word, count in left["why"].items())
        say(
            f"warning: {left['boxes']:,} boxes in {left['frames']:,} frames were left as they are, as was "
            f"asked for ({why}): whoever is in them is not protected, and neither is whoever has no box"
        )


def codec_of(options: argparse.Namespace) -> tuple[str, int]:
    """The codec of --format, and the quality of a lossy one.

    Raises:
        UserError: for formats and qualities that a video does not have.
    """
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
    return codec, crf


def _say_detection(options: argparse.Namespace, entry: dict, detector: Detector) -> None:
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
    entries = list(entries_there(protected).values())
    if away := len(protected.manifest.entries) - len(entries):
        say(f"{away:,} videos of the manifest are not in {protected.folder}: they were moved away")
    if options.verify and LIVE in protected.manifest.header:
        raise UserError("--verify: the raw frames of a live input were never stored; leave it out")
    # before anything is recovered
    if options.verify and (frames := count_frames(options.verify)) != entries[0]["frames"]:
        raise UserError(
            f"--verify {options.verify} has {frames:,} frames, the video that was protected "
            f"{entries[0]['frames']:,}"
        )
    done = recover_video(
        protected, options.output, image_map, batch_size=options.batch_size, workers=options.workers
    )
    paths = sorted(done.entries)
    if options.verify:
        compared = []
        for figures in compare_videos(options.output / paths[0], options.verify, entries[0], options.workers):
            box = ", ".join(map(str, figures["box"]))
            say(f"{figures_text(figures)}  frame {figures['frame']}, box {box}", sys.stdout)
            compared.append(figures)
        say(f"{figures_text(in_all(compared))}  in all, {len(compared):,} boxes", sys.stdout)
    boxes = sum(len(entry["boxes"]) for entry in entries)
    count = sum(entry["frames"] for entry in done.entries.values())
    where = options.output / paths[0] if len(paths) == 1 else f"{len(paths):,} videos in {options.output}"
    say(f"{boxes:,} boxes in {count:,} frames recovered: {where}, {options.output / MANIFEST}", sys.stdout)


def _psnr(value: float | None) -> str:
    return "no difference" if value is None else f"{value:.2f} dB"
