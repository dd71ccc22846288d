"""A protected video to a recovered one, and how near the people in its boxes come to the raw ones."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from ..checkpoints.image_maps import ImageMap
from ..collection.batch_mapper import BatchMapper
from ..collection.compare import compare
from ..collection.pipeline import side_by_side
from ..collection.recover import ProtectedFolder, begin_recovery
from ..collection.source import targets
from ..core.errors import UserError
from ..manifest import LIVE, MANIFEST, Manifest, unchanged
from .boxes import ManifestBoxes
from .people import Person
from .regions import recover_regions, region
from .run import VideoWork, make_videos
from .stream import Frame, read_frames, video_format
from .writer import ENDINGS, LOSSLESS, VideoWriter


def recover_video(
    protected: ProtectedFolder,
    output: str | Path,
    image_map: ImageMap,
    *,
    batch_size: int = 32,
    workers: int | None = None,
) -> Manifest:
    """Recover what is in the boxes of a protected video, or of those of a live input, without loss.

    Args:
        protected: what :func:`fastreid_privacy.video.protect_video` wrote.
        output: folder for the recovered videos and a manifest of their own.
        image_map: the recovery decoder that belongs to the video's anonymizer.
        batch_size: boxes at a time.
        workers: threads, each of which has a few frames; None: as many as there are cores.

    Returns:
        What the manifest of ``output`` holds.

    Raises:
        UserError: when the protected video is not what was written, or was made by another anonymizer.
    """
    output = Path(output)
    header, size = begin_recovery(protected, output, image_map, batch_size)
    header, names = {**header, "video": True}, targets(protected.manifest.entries, ENDINGS[LOSSLESS])
    if LIVE in protected.manifest.header:
        header[LIVE] = True
    folder, mapper = protected.folder, BatchMapper(image_map, batch_size)
    assert isinstance(folder, Path)  # stores are refused before
    videos = [
        _work(folder, entry, names[path], header, mapper, size)
        for path, entry in entries_there(protected).items()
    ]
    return make_videos(videos, output, workers=workers, describe="recovering")


def entries_there(protected: ProtectedFolder) -> dict[str, dict]:
    """The lines of the manifest, by path; of a live input those whose files were not moved away.

    Raises:
        UserError: when all were.
    """
    folder, entries = protected.folder, protected.manifest.entries
    if LIVE not in protected.manifest.header:
        return entries
    there = {path: entry for path, entry in entries.items() if (folder / path).exists()}
    if not there:
        raise UserError(f"none of the {len(entries):,} videos of {folder / MANIFEST} is in its folder")
    return there


def _work(
    folder: Path, entry: dict, path: str, header: dict, mapper: BatchMapper, size: tuple[int, int]
) -> VideoWork:
    """What is done with a protected video, which is looked at first."""
    source, boxes = folder / entry["path"], ManifestBoxes(entry)
    if not unchanged(folder, entry, [entry["path"]]):
        raise UserError(
            f"{source} is not what was written: it is missing, or its SHA-256 differs from the manifest's"
        )
    source_format = video_format(source)
    if (source_format.width, source_format.height) != (entry["width"], entry["height"]):
        raise UserError(
            f"{source} is {source_format.width}×{source_format.height}, but its manifest says "
            f"{entry['width']}×{entry['height']}"
        )

    def work(frames: list[Frame]) -> list[Frame]:
        for frame in frames:
            frame.people = [Person(box) for box in boxes(frame.number, frame.pixels)]
        recover_regions(frames, mapper, size, mapper.batch_size)
        return frames

    def finish(made: dict, writer: VideoWriter, before: dict | None) -> None:
        if made["frames"] != entry["frames"]:
            raise UserError(
                f"{source} has {made['frames']:,} frames, but its manifest says {entry['frames']:,}"
            )

    frames = entry["frames"]
    return VideoWork(source, path, header, source_format, frames, lambda: read_frames(source), work, finish)


def compare_videos(
    recovered: str | Path, raw: str | Path, entry: dict, workers: int | None = None
) -> Iterator[dict]:
    """Compare what is in the boxes of two videos.

    Args:
        recovered: a video that :func:`recover_video` wrote.
        raw: the raw video.
        entry: of the protected video in its manifest.
        workers: threads; None: as many as there are cores.

    Yields:
        For each box, in the manifest's order: "frame", "box" (left, top, right, bottom), and the figures of
        :func:`fastreid_privacy.collection.compare.compare`.

    Raises:
        UserError: when the videos differ in their frames' size or number.
    """
    boxes = ManifestBoxes(entry)

    def measure(pair: tuple[Frame | None, Frame | None]) -> list[dict]:
        ours, theirs = pair
        if ours is None or theirs is None:
            raise UserError(
                f"{raw} and {recovered} differ in their number of frames; is it the video that was protected?"
            )
        if ours.pixels.shape != theirs.pixels.shape:
            sizes = ["{1}×{0}".format(*frame.pixels.shape) for frame in (theirs, ours)]
            raise UserError(f"{raw} is {sizes[0]}, but the video that was protected is {sizes[1]}")
        here = boxes(ours.number, ours.pixels)
        figures = [compare(region(ours.pixels, box), region(theirs.pixels, box)) for box in here]
        return [{"frame": ours.number, "box": box, **each} for box, each in zip(here, figures, strict=True)]

    pairs = zip_longest(read_frames(recovered), read_frames(raw))
    for figures in side_by_side(pairs, measure, workers):
        yield from figures
