"""A run over videos: files that appear whole, with their manifest, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from ..collection.output import Journal, open_output, still_there, unwritten
from ..collection.pipeline import side_by_side
from ..collection.stamps import STAMP, Stamper, write_stamps
from ..collection.suspects import replaced
from ..compat.distributed import available_cores
from ..core.errors import UserError
from ..core.files import HOPELESS, file_hash, remove_unfinished, write_atomically
from ..core.images import LARGEST
from ..manifest import JOURNAL, Manifest, names_of, unchanged, write_manifest
from .sound import Sound
from .stream import Frame, VideoFormat
from .writer import DEFAULT_CRF, LOSSLESS, VideoWriter

FRAMES_AT_ONCE = 8  # of a chunk at most; of frames larger than full HD fewer
PIXELS_AT_ONCE = 2**24  # of a chunk, of at least one frame
RENEWED = "renewed"  # of a video's line in the journal: what is there of it may be replaced already
PIXELS_IN_WORK = 4 * LARGEST  # of all threads, 6 bytes each, which bounds the memory


@dataclass(frozen=True)
class VideoWork:
    """What is done with a video.

    Attributes:
        source: the video to read.
        path: of the video to write, relative to the output folder.
        header: what it is made by; a run continues only what has the same.
        format: size and times of both.
        frames: how many the source should have.
        read: gives the frames of the source, in order.
        work: changes what is in the boxes of each frame of a chunk.
        finish: gets the line of the manifest, the writer, and the line of a video whose place this one takes,
            or None, when all frames are written; adds to the line, and raises UserError when the video must
            not appear.
        codec, crf: of the video to write.
        stamp: tells whether the source was replaced since; None: it is not looked at.
        renew: replace what was made of a source that was replaced since; else it is refused.
        account: as of :class:`..collection.work.Work`.
        keep_audio: whether the sound of the source is copied.
    """

    source: Path
    path: str
    header: dict
    format: VideoFormat
    frames: int
    read: Callable[[], Generator[Frame]]
    work: Callable[[list[Frame]], list[Frame]]
    finish: Callable[[dict, VideoWriter, dict | None], None]
    codec: str = LOSSLESS
    crf: int = DEFAULT_CRF
    stamp: Stamper | None = None
    renew: bool = False
    account: Callable[[Sequence[dict]], Mapping[str, object]] | None = None
    keep_audio: bool = False


def make_videos(videos: Sequence[VideoWork], output: Path, *, workers: int | None, describe: str) -> Manifest:
    """Make videos from others, unless they are there already.

    A killed run begins again with the video that it was at, and ends with the same bytes.

    Args:
        videos: what is done with each; all by the same header.
        output: folder for them and their manifest: new, empty, or of an earlier run of the same header.
        workers: threads, each of which has a chunk of frames; None: as many as there are cores.
        describe: of the progress bar.

    Returns:
        What manifest.jsonl holds now.

    Raises:
        UserError: as :func:`open_output`, when a source is damaged or was replaced since, or when a full or
            read-only disk ends the run.
    """
    account = videos[0].account
    with open_output(output, videos[0].header) as earlier:
        renewed = _take_renewed(output, earlier)
        done = still_there(output, earlier, {video.path for video in videos})
        for video in videos:
            _refuse_others(video, output, done, renewed, earlier)
        remove_unfinished(output)
        # what was made of a video that was replaced stays until what is made of the new one is there
        going = [{**entry, RENEWED: True} for entry in renewed.values()]
        with Journal(output / JOURNAL, earlier.header, [*done.values(), *going]) as journal:
            for video in videos:
                if video.path not in done:
                    before = renewed.get(video.path)
                    done[video.path] = _make(video, output, journal, workers, describe, before)
            write_stamps(output, done.values())
            told = account(list(done.values())) if account else {}
            write_manifest(output, earlier.header, done.values(), {}, told)
        (output / JOURNAL).unlink()
        return Manifest(earlier.header, done, {}, True, told)


def _take_renewed(output: Path, earlier: Manifest) -> dict[str, dict]:
    """Take the lines of videos out that were being replaced when a run was killed, and are by now."""
    renewed = {}
    for path, entry in [*earlier.entries.items()]:
        if entry.pop(RENEWED, False) and not unchanged(output, entry):
            renewed[path] = earlier.entries.pop(path)
    return renewed


def _refuse_others(
    video: VideoWork, output: Path, done: dict[str, dict], renewed: dict[str, dict], earlier: Manifest
) -> None:
    """Refuse to write over a file of somebody else; one that is to be replaced goes from those done to those
    renewed."""
    target, mine = output / video.path, {path: done[path] for path in (video.path,) if path in done}
    if replaced(output, mine, {video.path: video.source}, video.stamp):
        if not video.renew:
            raise UserError(
                f"{video.source} was replaced since {target} was made from it (size or time differ); --renew "
                "protects it anew, and replaces what was written"
            )
        renewed[video.path] = done.pop(video.path)
    ours = video.path in done or video.path in renewed
    if not ours and (target.is_symlink() or target.exists()):
        names = names_of(earlier.entries[video.path]) if video.path in earlier.entries else ()
        if lost := [str(output / name) for name in names if not (output / name).exists()]:
            raise UserError(
                f"{', '.join(lost)} is not there any more, and {target} was written with it: put it back, or "
                "delete the video to have it made again"
            )
        raise UserError(
            f"{target} is there already, and no run of this command wrote it; choose another --output"
        )


def _make(
    video: VideoWork,
    output: Path,
    journal: Journal,
    workers: int | None,
    describe: str,
    before: dict | None,
) -> dict:
    """Write a video, in the place of one whose line is ``before``; returns its line of the manifest."""
    entry = {
        "path": video.path,
        "width": video.format.width,
        "height": video.format.height,
        "frames": 0,
    }
    if video.stamp and (stamp := video.stamp(video.path, video.source)):
        entry[STAMP] = stamp

    def write(file: BinaryIO) -> None:
        video.finish(entry, _write(file, video, entry, workers, describe), before)
        enter(file, entry, journal, renews=before is not None)

    write_video(output / video.path, write)
    return entry


def write_video(target: Path, write: Callable[[BinaryIO], None]) -> None:
    """Let a video appear whole or not at all.

    Raises:
        UserError: when a full or read-only disk ends it.
    """
    try:
        write_atomically(target, write)
    except OSError as error:
        if error.errno in HOPELESS:
            raise unwritten(error, target) from None
        raise


def enter(file: BinaryIO, entry: dict, journal: Journal, *, renews: bool = False) -> None:
    """Enter a video that is written into the journal, before it gets its name: a run that is killed in
    between knows it again, also where it ``renews`` one that has this name until then."""
    file.flush()
    entry.update(size=Path(file.name).stat().st_size, sha256=file_hash(Path(file.name)))
    journal.add([{**entry, RENEWED: True} if renews else entry])


def _write(file: BinaryIO, video: VideoWork, entry: dict, workers: int | None, describe: str) -> VideoWriter:
    """Write all frames, and count them in the video's line."""
    some, workers = chunk_and_workers(video.format.width * video.format.height, workers)
    with ExitStack() as opened:
        sound = opened.enter_context(closing(Sound(video.source))) if video.keep_audio else None
        writer = VideoWriter(file, video.format, video.codec, video.crf, sound)
        progress = opened.enter_context(tqdm(total=video.frames, unit=" frames", desc=describe, disable=None))
        # reading may have threads of its own: they begin before these, and end after them
        chunks = opened.enter_context(closing(_chunks(video.read(), some)))
        begun = chain(list(islice(chunks, 1)), chunks)
        for frames in opened.enter_context(closing(side_by_side(begun, video.work, workers))):
            for frame in frames:
                writer.write(frame)
            entry["frames"] += len(frames)
            progress.update(len(frames))
        writer.close()
    return writer


def chunk_and_workers(pixels: int, workers: int | None) -> tuple[int, int]:
    """How many frames a chunk has, and how many threads each have one.

    Args:
        pixels: of a frame.
        workers: threads that are asked for; None: as many as there are cores.
    """
    some = max(1, min(FRAMES_AT_ONCE, PIXELS_AT_ONCE // pixels))
    return some, max(1, min(workers or available_cores(), PIXELS_IN_WORK // (some * pixels)))


def _chunks(frames: Generator[Frame], some: int) -> Generator[list[Frame]]:
    with closing(frames):
        while chunk := list(islice(frames, some)):
            yield chunk
