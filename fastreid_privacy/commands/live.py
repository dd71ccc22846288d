"""What ``anonymize`` does with a camera or the address of a stream."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing

from ..checkpoints.image_maps import ImageMap
from ..collection.carrying import BESIDE
from ..collection.protect import ProtectionOptions
from ..core.errors import UserError, say
from ..manifest import KEPT
from ..video.hog import HogDetector
from ..video.live import SEGMENT_SECONDS, LiveOptions, protect_live
from ..video.live_input import LiveInput
from ..video.preview import write_preview
from ..video.records import LEFT, UNPROTECTED
from .box_options import WEAK, boxes_of, chosen_of, placing_of
from .options import say_accounted, say_guarded
from .video import codec_of, say_left, warn_of_noise

OF_FILES = {  # options that need a file, and why
    "boxes": "nobody knows before where people will be; take --detector",
    "measure_detection": "the raw frames are not kept",
    "keep_audio": "its sound is left out",
    "pseudonymize": "its files have no names of raw ones",
    "seal": "the raw frames are not kept, so that there is nothing to seal",
    "renew": "it cannot be read again",
    "workers": "its frames are protected one after the other, as they come",
}


def add_live_options(parser: argparse.ArgumentParser) -> None:
    """The options of a live input."""
    group = parser.add_argument_group(
        "live input",
        "--input camera:0, or the address of a stream, rtsp://…: its people are found by --detector",
    )
    group.add_argument(
        "--duration", type=float, metavar="SECONDS", help="end after so many seconds; Ctrl-C ends it, too"
    )
    group.add_argument(
        "--segment",
        type=float,
        metavar="SECONDS",
        help=f"write a whole file each so many seconds (default {SEGMENT_SECONDS:g})",
    )


def anonymize_live(options: argparse.Namespace, image_map: ImageMap, protection: ProtectionOptions) -> None:
    """Protect the live input ``--input``.

    Args:
        options: parsed.
        image_map: the anonymizer.
        protection: what every kind of input has.

    Raises:
        UserError: for options that a live input does not have, as :func:`protect_live`, and at the end, when
            all files are whole, where the input failed or everybody was left as they are.
    """
    for name, why in OF_FILES.items():
        if getattr(options, name):
            raise UserError(f"--{name.replace('_', '-')} is not for a live input: {why}")
    if options.carry not in (None, BESIDE):
        raise UserError(f"--carry {options.carry} is not for a live input: {OF_FILES['seal']}")
    codec, crf = codec_of(options)
    given = {"duration": options.duration, "seconds": options.segment, "codec": codec, "crf": crf}
    live = LiveOptions(**{name: value for name, value in given.items() if value is not None})
    placing, chosen = placing_of(options), chosen_of(options)
    if options.detector is None:
        raise UserError("a live input needs --detector: weights of torchvision, an .onnx graph, or hog")
    _, detector = boxes_of(options)
    assert detector is not None  # it was asked for
    chosen.check(detector)
    if isinstance(detector, HogDetector):
        say(WEAK)
    warn_of_noise(image_map)
    say("whoever the detector does not find is not protected, and nobody looks before the files are written")

    told: list[dict] = []

    def tell(entry: dict) -> None:
        told.append(entry)
        say(
            f"{entry['path']}: {len(entry['boxes']):,} boxes in {entry['frames']:,} frames protected",
            sys.stdout,
        )
        say_left(entry)
        if UNPROTECTED in entry:
            found = "everybody was left as they are" if LEFT in entry else "nobody was found"
            say(f"warning: {entry['path']} is RAW: {found} in it; look at it before anybody else does")
        if options.preview:
            say(f"look at {write_preview(options.output, entry)} before you give the video away")

    with closing(LiveInput(options.input)) as source:
        done = protect_live(
            source, options.output, image_map, detector, protection, live, placing, chosen, tell
        )
        failed = "" if source.stopped.is_set() else source.failed
    say(f"{len(done.entries):,} files in {options.output}", sys.stdout)
    came = f"warning: of {source.read + source.damaged:,} frames "
    if source.dropped:
        say(f"{came}{source.dropped:,} were dropped, for protecting is slower than {source.name}")
    if source.damaged:
        say(f"{came}{source.damaged:,} came damaged, and were left out")
    say_guarded(protection.guard, [share for entry in done.entries.values() for share in entry.get(KEPT, [])])
    say_accounted(done)
    if failed:
        raise UserError(
            f"{source.name} ended before it was stopped {failed}: the {len(told):,} new files and the "
            "manifest are whole; the same command goes on behind them"
        )
    if any(LEFT in entry for entry in told) and all(UNPROTECTED in entry for entry in told):
        raise UserError(
            f"nobody was protected: all boxes in the {len(told):,} new files of {options.output} were left "
            "as they are, as was asked for; these files are raw"
        )
