"""A raw video to a protected one: what is in the boxes of its frames is protected, everything else stays."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from ..checkpoints.image_maps import ImageMap
from ..collection.protect import BatchOf, protection_header, write_sealed
from ..collection.source import check_apart, targets
from ..core.errors import UserError
from ..manifest import Manifest
from .boxes import MotBoxes, rows
from .detector import PersonDetector
from .regions import protect_regions
from .run import VideoWork, make_video
from .stream import DEFAULT_CRF, ENDINGS, LOSSLESS, LOSSY, Frame, VideoWriter, about_video, count_frames


def protect_video(
    source: str | Path,
    output: str | Path,
    image_map: ImageMap,
    boxes: MotBoxes | PersonDetector,
    *,
    method: str = "learned",
    codec: str = LOSSLESS,
    crf: int = DEFAULT_CRF,
    batch_size: int = 32,
    workers: int | None = None,
    pseudonym_key: bytes | None = None,
    seal: Callable[[str, bytes], bytes] | None = None,
) -> Manifest:
    """Protect the people in the boxes of a video. Sound, subtitles and whatever the file says of itself are
    left out.

    Args:
        source: the raw video.
        output: folder for the protected video and ``manifest.jsonl``, whose line keeps the boxes for
            recovery.
        image_map: the anonymizer; a box is protected at the network's size.
        boxes: a frame's number and pixels to the boxes.
        method: name of the anonymizer in the manifest.
        codec: "ffv1", lossless, or "h264".
        crf: quality of "h264", 0 to 51, larger is smaller and worse.
        batch_size: boxes at a time.
        workers: threads, each of which has a few frames; None: as many as there are cores.
        pseudonym_key: rename the file by a keyed hash of its name.
        seal: the raw file's name and content to what only the owner can open; it is written beside the
            protected video.

    Returns:
        What the manifest holds. Its one entry has "frames", "boxes" ([frame, left, top, width, height] each),
        and for "h264" "stored": PSNR in dB of the stored frames against those before compression, inside the
        "boxes" and of whole "frames".

    Raises:
        UserError: when the video cannot be read, boxes and frames do not belong together, no frame has a box,
            or the output folder is no place for it.
    """
    source, output = Path(source), Path(output)
    check_apart(source, output)
    about = about_video(source)
    announced = count_frames(source)
    boxes.check(announced, source)  # before anything is written
    path = targets([source.name], ENDINGS[codec], pseudonym_key)[source.name]
    conventional = image_map.network is None
    network = BatchOf(image_map, batch_size, (lambda: secrets.token_bytes(32)) if conventional else None)
    storage = codec if codec == LOSSLESS else f"{codec} crf {crf}"
    made_by = protection_header(
        image_map, method, storage, batch_size, pseudonym_key is not None, seal is not None
    )
    header = {**made_by, "video": True, **boxes.about}
    found: dict[int, list] = {}

    def work(frames: list[Frame]) -> list[Frame]:
        for frame in frames:
            frame.boxes = found[frame.number] = boxes(frame.number, frame.pixels)
        protect_regions(frames, network, image_map.size, batch_size)
        return frames

    def finish(entry: dict, writer: VideoWriter) -> None:
        if entry["frames"] != announced:
            raise UserError(
                f"{source} is damaged: {announced:,} frames are announced, {entry['frames']:,} could be "
                "decoded; boxes would "
                "lie on the wrong ones. Encode it anew, and find the boxes of that"
            )
        entry["boxes"] = rows(sorted(found.items()))
        if not entry["boxes"]:
            raise UserError(f"no box lies in any frame of {source}: nothing would be protected")
        if codec == LOSSY:
            entry["stored"] = writer.kept.figures()
        if seal is not None:
            entry.update(write_sealed(output, path, seal(source.name, source.read_bytes())))

    video = VideoWork(source, path, header, about, announced, work, finish, codec, crf)
    return make_video(video, output, workers=workers or os.cpu_count() or 1, describe="protecting")
