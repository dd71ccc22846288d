"""A live input to protected videos: whole files of so many seconds each, as they come.

Raw frames are in memory only, and nothing is written of a frame but what it is after protection. What is on
the disk at any moment is protected: whole files, and the one that is being written.
"""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from ..checkpoints.image_maps import ImageMap
from ..collection.carrying import write_beside
from ..collection.output import Journal, open_output, still_there
from ..collection.protect import ProtectionOptions, accounted, protection_header
from ..core.errors import UserError
from ..core.files import file_hash, is_unfinished, remove_unfinished
from ..core.signals import handled
from ..manifest import JOURNAL, LIVE, Manifest, write_manifest
from .boxes import Detector
from .chosen import LONGEST, Chosen, choose
from .live_input import TIME_BASE, LiveInput
from .placing import Placing, followed, found_in
from .protecting import FrameProtector
from .records import BOXES, audit_log, line_of, write_boxes
from .run import enter, write_video
from .stream import Frame
from .writer import DEFAULT_CRF, ENDINGS, LOSSLESS, VideoWriter

SEGMENT_SECONDS = 60.0
NAME = "live-{:05d}"  # of a file, without its ending
_NUMBER = re.compile(r"live-(\d{5,})\..+")  # also of what lies beside a file


@dataclass(frozen=True)
class LiveOptions:
    """How a live input is written.

    Attributes:
        seconds: of a file.
        duration: seconds after which it ends; None: when the stream ends, or Ctrl-C is pressed.
        codec, crf: as of :func:`.protect.protect_video`.

    Raises:
        UserError: for values that make no sense.
    """

    seconds: float = SEGMENT_SECONDS
    duration: float | None = None
    codec: str = LOSSLESS
    crf: int = DEFAULT_CRF

    def __post_init__(self) -> None:
        for option, value in (("--segment", self.seconds), ("--duration", self.duration)):
            if value is not None and not 0 < value < LONGEST:
                raise UserError(f"{option} is {value}; it is a number of seconds above 0")


def protect_live(
    source: LiveInput,
    output: str | Path,
    image_map: ImageMap,
    detector: Detector,
    options: ProtectionOptions,
    live: LiveOptions,
    placing: Placing,
    chosen: Chosen,
    tell: Callable[[dict], None],
) -> Manifest:
    """Protect the people of a live input until it ends, its time is over, or Ctrl-C is pressed.

    A killed run leaves the files that were whole; the same command goes on behind them.

    Args:
        source: the camera or the address.
        output: folder for the protected videos and their manifest: new, empty, or of an earlier run.
        image_map: the anonymizer.
        detector: finds people.
        options: how they are protected.
        live: how they are written.
        placing: what is made of the detector's boxes.
        chosen: who is protected.
        tell: gets the line of the manifest of each file that is whole.

    Returns:
        What the manifest holds: a line for each file, as of a video, and how many frames were "dropped" and
        came "damaged" while it was written.

    Raises:
        UserError: when the method depends on the person, nobody would be protected, too little would change,
            the output folder is no place for it, or the disk is full.
    """
    output, protector = Path(output), FrameProtector(image_map, options)
    protector.refuse_unlabelled(None, f"the boxes of a live input ({source.name})")
    chosen.check_live((source.format.width, source.format.height), live.duration)
    storage = live.codec if live.codec == LOSSLESS else f"{live.codec} crf {live.crf}"
    header = {
        **protection_header(protector.mapper, options, storage),
        "video": True,
        LIVE: True,
        **placing.about(detector),
        **chosen.about,
    }
    with open_output(output, header) as earlier:
        done = _lines(output, earlier)
        remove_unfinished(output)
        with Journal(output / JOURNAL, earlier.header, done.values()) as journal, stopped_by(source.stop):
            frames = _until(source, live.duration)
            people = followed(found_in(frames, detector, placing), placing)
            with closing(choose(people, chosen, TIME_BASE)) as frames:
                segments = _Segments(source, output, header, protector, live, journal)
                for entry in segments.write(frames, _next(output, done)):
                    done[entry["path"]] = entry
                    tell(entry)
            if not done:
                raise UserError(f"--input {source.name} ended before a frame came")
            told = accounted(image_map, [None for entry in done.values() for _ in entry["boxes"]])
            write_manifest(output, earlier.header, done.values(), {}, told)
        (output / JOURNAL).unlink()
        return Manifest(earlier.header, done, {}, True, told)


def _until(source: LiveInput, duration: float | None) -> Generator[Frame]:
    """The frames of the first so many seconds."""
    for frame in source:
        if duration is not None and frame.time * TIME_BASE >= duration:
            source.stop()
            return
        yield frame


def _lines(output: Path, earlier: Manifest) -> dict[str, dict]:
    """The lines of earlier runs, by path; also of files that were moved away, whose boxes stand nowhere else.

    Raises:
        UserError: when a file was changed.
    """
    still_there(output, earlier, set(earlier.entries))
    # of a run that was killed between a line and the name of its file
    nameless = {file_hash(file) for file in output.iterdir() if is_unfinished(file.name)}
    return {path: entry for path, entry in earlier.entries.items() if entry["sha256"] not in nameless}


def _next(output: Path, done: dict[str, dict]) -> int:
    """The number of the next file: above all that were ever used, so that nothing is written over."""
    names = [*done, *(item.name for item in output.iterdir())]
    return max((int(found[1]) for name in names if (found := _NUMBER.fullmatch(name))), default=0) + 1


class _Segments:
    """Writes files of so many seconds.

    Args:
        source: of the frames, for what was lost of them.
        output: folder.
        header: what the files are made by.
        protector: of frames.
        live: how they are written.
        journal: gets the line of each.
    """

    def __init__(
        self,
        source: LiveInput,
        output: Path,
        header: dict,
        protector: FrameProtector,
        live: LiveOptions,
        journal: Journal,
    ):
        self.source, self.output, self.header, self.protector = source, output, header, protector
        self.live, self.journal, self.lost = live, journal, (0, 0)
        self.next: Frame | None = None

    def write(self, frames: Iterator[Frame], number: int) -> Iterator[dict]:
        """Write all frames; yields the line of each file when it is whole."""
        self.next = next(frames, None)
        while self.next is not None:
            path = NAME.format(number) + ENDINGS[self.live.codec]
            if (self.output / path).exists():
                raise UserError(
                    f"{self.output / path} is there already, and no run of this command wrote it; choose "
                    "another --output"
                )
            about = self.source.format
            entry = {"path": path, "width": about.width, "height": about.height, "frames": 0}
            begun = chain([self.next], frames)
            write_video(self.output / path, partial(self._fill, begun, entry))
            yield entry
            number += 1

    def _fill(self, frames: Iterator[Frame], entry: dict, file: BinaryIO) -> None:
        """Write one file; keeps the first frame of the next one, if there is one."""
        self.next = None
        writer = VideoWriter(file, self.source.format, self.live.codec, self.live.crf)
        start = 0
        for frame in frames:
            if not entry["frames"]:
                start = frame.time
            elif (frame.time - start) * TIME_BASE >= self.live.seconds:
                self.next = frame
                break
            frame.number, frame.time = entry["frames"] + 1, frame.time - start
            (protected,) = self.protector([frame])
            writer.write(protected)
            entry["frames"] += 1
        writer.close()
        records = self.protector.take()
        entry.update(line_of(records))
        lost = self.source.dropped, self.source.damaged
        entry["dropped"], entry["damaged"] = (now - then for now, then in zip(lost, self.lost, strict=True))
        self.lost = lost
        if not writer.lossless:
            entry["stored"] = writer.quality.figures()
        log = audit_log(self.header, entry, records, TIME_BASE)
        entry.update(write_beside(self.output, entry["path"], "audit", log))
        write_boxes(self.output / (entry["path"] + BOXES), entry)
        enter(file, entry, self.journal)


def stopped_by(stop: Callable[[], None]) -> AbstractContextManager[None]:
    """Let the first Ctrl-C stop something in its own time; the second one ends the program."""
    pressed = threading.Event()

    def once(number: int, frame: object) -> None:
        if pressed.is_set():
            raise KeyboardInterrupt
        pressed.set()
        stop()

    return handled(signal.SIGINT, once)
