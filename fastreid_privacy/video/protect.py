"""A raw video to a protected one: what is in the boxes of its frames is protected, everything else stays."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from ..checkpoints.image_maps import ImageMap
from ..collection.carrying import write_beside
from ..collection.protect import accounted, protection_header
from ..collection.protected_files import ProtectionOptions
from ..collection.source import check_apart, targets
from ..collection.stamps import stamper
from ..core.errors import UserError, named
from ..core.files import check_length, file_hash
from ..core.regular import open_regular
from ..keys.sealing import Sealer
from ..keys.streaming import pieces
from ..manifest import AUDIT, SEALED, Manifest
from .boxes import MotBoxes
from .chosen import Chosen, choose
from .placing import Boxes, Placing, placed
from .preview import PREVIEW
from .protecting import FrameProtector
from .records import BOXES, LEFT, audit_log, line_of, remove_boxes, write_boxes
from .run import VideoWork, chunk_and_workers, make_videos
from .stream import Frame, count_frames, read_frames, video_format
from .writer import DEFAULT_CRF, ENDINGS, LOSSLESS, LOSSY, VideoWriter

AS_THEY_ARE, EVERYBODY = Placing(), Chosen()


def protect_video(
    source: str | Path,
    output: str | Path,
    image_map: ImageMap,
    boxes: Boxes,
    options: ProtectionOptions,
    *,
    placing: Placing = AS_THEY_ARE,
    chosen: Chosen = EVERYBODY,
    codec: str = LOSSLESS,
    crf: int = DEFAULT_CRF,
    keep_audio: bool = False,
) -> Manifest:
    """Protect the people in the boxes of a video.

    Subtitles and whatever the file says of itself are left out, and sound unless it is asked for. A video is
    read frame by frame, so what is sealed is read once more: its hash must be that of the file before the
    first frame was read.

    Args:
        source: the raw video.
        output: folder for the protected video and ``manifest.jsonl``, whose line keeps the boxes for
            recovery.
        image_map: the anonymizer; a box is protected at the network's size.
        boxes: a file of boxes, or a detector.
        options: how.
        placing: what is made of the boxes.
        chosen: who is protected.
        codec: "ffv1", lossless, or "h264".
        crf: quality of "h264", 0 to 51, larger is smaller and worse.
        keep_audio: copy the sound as it is.

    Returns:
        What the manifest holds. Its one entry has "frames", what :func:`.records.line_of` says, and for
        "h264" "stored": PSNR in dB of the stored frames against those before compression, inside the "boxes"
        and of whole "frames". Where boxes of a file lie outside of the picture, "boxes_outside" has their
        line numbers.

    Raises:
        UserError: when the method depends on the person, the video cannot be read, boxes and frames do not
            belong together, no frame has a box, too little would change, the file changes while it is to be
            sealed, or the output folder is no place for it.
    """
    source, output, seal = Path(source), Path(output), options.seal
    protector = FrameProtector(image_map, options)
    mapper = protector.mapper
    if protector.named and chosen.only_people:
        raise UserError(
            "--only-people would stand in the manifest, and the numbers may be the key of this method: "
            "delete the lines of the others, or name these with --leave-people"
        )
    protector.refuse_unlabelled(boxes, f"the boxes of a video ({source})")
    check_apart(source, output)
    stamp = stamper(options.pseudonym_key)
    read_hash = _hash(source) if seal else ""
    source_format = video_format(source)
    announced = count_frames(source)
    video_size = source_format.width, source_format.height
    boxes.check(announced, video_size, source)  # before anything is written
    chosen.check(boxes)
    path = targets([source.name], ENDINGS[codec], options.pseudonym_key)[source.name]
    with named(source):
        check_length(path, SEALED if seal else "")
        check_length(path, AUDIT)
    storage = codec if codec == LOSSLESS else f"{codec} crf {crf}"
    header = {
        **protection_header(mapper, options, storage),
        "video": True,
        **placing.about(boxes),
        **chosen.about,
        **({"audio": "kept"} if keep_audio else {}),
    }

    # a detector has threads of its own, whose frames count as those of the others
    _, detecting = chunk_and_workers(source_format.width * source_format.height, options.workers)

    def read() -> Generator[Frame]:
        frames = placed(read_frames(source), boxes, placing, detecting)
        return choose(frames, chosen, source_format.time_base)

    def finish(entry: dict, writer: VideoWriter, before: dict | None) -> None:
        if entry["frames"] != announced:
            raise UserError(
                f"{source} is damaged: {announced:,} frames are announced, {entry['frames']:,} could be "
                "decoded; boxes would lie on the wrong ones. Encode it anew, and find the boxes of that"
            )
        records = protector.take()
        entry.update(line_of(records))
        if not entry["boxes"]:
            if LEFT in entry:
                raise UserError(
                    f"all {entry[LEFT]['boxes']:,} boxes of {source} are to be left as they are: nothing "
                    "would be protected"
                )
            raise UserError(f"no box lies in any frame of {source}: nothing would be protected")
        if not protector.any_changed:
            raise UserError(
                f"no pixel of {source} would change: its boxes lie on areas of one colour; are they those of "
                "this video, and in its units (--box-units)?"
            )
        if outside := boxes.outside(video_size):
            entry["boxes_outside"] = outside
        if codec == LOSSY:
            entry["stored"] = writer.quality.figures()
        if seal is not None:
            entry.update(
                write_beside(output, path, "sealed", lambda file: _seal(file, source, seal, read_hash))
            )
        log = audit_log(header, entry, records, source_format.time_base)
        entry.update(write_beside(output, path, "audit", log))
        if before is not None:
            remove_boxes(output / (path + BOXES), before)
            (output / (path + PREVIEW)).unlink(missing_ok=True)
        if not isinstance(boxes, MotBoxes):
            write_boxes(output / (path + BOXES), entry)

    def account(entries: Sequence[dict]) -> Mapping[str, object]:
        return accounted(image_map, [None for entry in entries for _ in entry["boxes"]])

    video = VideoWork(
        source,
        path,
        header,
        source_format,
        announced,
        read,
        protector,
        finish,
        codec,
        crf,
        stamp,
        options.renew,
        account,
        keep_audio,
    )
    return make_videos([video], output, workers=options.workers, describe="protecting")


def _seal(file: BinaryIO, source: Path, seal: Sealer, read_hash: str) -> None:
    """Seal a video, piece by piece, as long as it is the one that was read."""
    digest = hashlib.sha256()

    def read(raw: BinaryIO) -> Iterator[bytes]:
        for piece in pieces(raw):
            digest.update(piece)
            yield piece

    with named(source), open_regular(source) as raw:
        seal.seal_into(file, source.name, read(raw), os.fstat(raw.fileno()).st_size)
    if digest.hexdigest() != read_hash:
        raise UserError(
            f"{source} was changed while it was protected, so that another video would be sealed; run the "
            "same command again"
        )


def _hash(source: Path) -> str:
    try:
        return file_hash(source)
    except UserError as error:
        raise UserError(f"{source} {str(error).removeprefix('it ')}") from None
