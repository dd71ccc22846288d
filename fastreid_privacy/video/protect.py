"""A raw video to a protected one: what is in the boxes of its frames is protected, everything else stays."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from ..checkpoints.image_maps import ImageMap
from ..collection.carrying import write_beside
from ..collection.protect import accounted, protection_header
from ..collection.protected_files import NOISE_KEY_BYTES, ProtectionOptions
from ..collection.protecting import ProtectingBatches
from ..collection.source import check_apart, targets
from ..collection.stamps import stamper
from ..core.errors import UserError
from ..core.files import check_length, read_regular
from ..manifest import KEPT, SEALED, Manifest, file_hash
from ..model.storage import ImageStorage
from .boxes import manifest_rows
from .people import Person
from .placing import Boxes, Placing, placed
from .regions import protect_regions
from .run import VideoWork, make_video
from .stream import Frame, count_frames, read_frames, video_format
from .writer import DEFAULT_CRF, ENDINGS, LOSSLESS, LOSSY, VideoWriter

AS_THEY_ARE = Placing()


def protect_video(
    source: str | Path,
    output: str | Path,
    image_map: ImageMap,
    boxes: Boxes,
    options: ProtectionOptions,
    *,
    placing: Placing = AS_THEY_ARE,
    codec: str = LOSSLESS,
    crf: int = DEFAULT_CRF,
) -> Manifest:
    """Protect the people in the boxes of a video.

    Sound, subtitles and whatever the file says of itself are left out. A video is read frame by frame, so
    what is sealed is read once more: its hash must be that of the file before the first frame was read.

    Args:
        source: the raw video.
        output: folder for the protected video and ``manifest.jsonl``, whose line keeps the boxes for
            recovery.
        image_map: the anonymizer; a box is protected at the network's size.
        boxes: a file of boxes, or a detector.
        options: how.
        placing: what is made of the boxes.
        codec: "ffv1", lossless, or "h264".
        crf: quality of "h264", 0 to 51, larger is smaller and worse.

    Returns:
        What the manifest holds. Its one entry has "frames", "boxes" ([frame, left, top, width, height] each),
        and for "h264" "stored": PSNR in dB of the stored frames against those before compression, inside the
        "boxes" and of whole "frames". With a guard "kept" has the share of the anonymizer's image in each
        box. Where boxes are numbered, by their file or by the tracker, "identities" has whose each is, or 0.
        Where boxes of a file lie outside of the picture, "boxes_outside" has their line numbers.

    Raises:
        UserError: when the method depends on the person, the video cannot be read, boxes and frames do not
            belong together, no frame has a box, too little would change, the file changes while it is to be
            sealed, or the output folder is no place for it.
    """
    source, output, seal = Path(source), Path(output), options.seal
    mapper = ProtectingBatches(
        image_map,
        options.batch_size,
        lambda: secrets.token_bytes(NOISE_KEY_BYTES),
        ImageStorage("png"),  # boxes as they are before the video is encoded
        options.guard,
    )
    if (operator := image_map.operator or mapper.desensitizer or image_map.beside) is not None:
        operator.refuse_unlabelled(f"the boxes of a video ({source})")
    check_apart(source, output)
    stamp = stamper(options.pseudonym_key)
    read_hash = _hash(source) if seal else ""
    source_format = video_format(source)
    announced = count_frames(source)
    video_size = source_format.width, source_format.height
    boxes.check(announced, video_size, source)  # before anything is written
    path = targets([source.name], ENDINGS[codec], options.pseudonym_key)[source.name]
    try:
        check_length(path, SEALED if seal else "")
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
    conventional = image_map.network is None
    storage = codec if codec == LOSSLESS else f"{codec} crf {crf}"
    header = {**protection_header(mapper, options, storage), "video": True, **placing.about(boxes)}
    found: dict[int, list[Person]] = {}
    kept: dict[int, list[float]] = {}  # by frame: of the guard
    any_changed: list[bool] = []  # by several threads

    def work(frames: list[Frame]) -> list[Frame]:
        found.update({frame.number: frame.people for frame in frames})
        raw = [frame.pixels for frame in frames]
        shares: list[float] = []  # of the boxes of these frames, in order

        def pictures(regions: Sequence[np.ndarray]) -> list[np.ndarray]:
            protected = mapper(regions)
            shares.extend(share for _, share in protected if share is not None)
            return [picture for picture, _ in protected]

        protect_regions(frames, pictures, image_map.size, options.batch_size, conventional=conventional)
        if shares:
            rest = iter(shares)
            kept.update({frame.number: list(islice(rest, len(frame.boxes))) for frame in frames})
        if not any_changed and any(
            not np.array_equal(frame.pixels, pixels) for frame, pixels in zip(frames, raw, strict=True)
        ):
            any_changed.append(True)
        return frames

    def finish(entry: dict, writer: VideoWriter) -> None:
        if entry["frames"] != announced:
            raise UserError(
                f"{source} is damaged: {announced:,} frames are announced, {entry['frames']:,} could be "
                "decoded; boxes would lie on the wrong ones. Encode it anew, and find the boxes of that"
            )
        people = sorted(found.items())
        entry["boxes"] = manifest_rows((number, [person.box for person in here]) for number, here in people)
        identities = [person.identity for _, here in people for person in here]
        if any(identities):
            entry["identities"] = identities
        if not entry["boxes"]:
            raise UserError(f"no box lies in any frame of {source}: nothing would be protected")
        if not any_changed:
            raise UserError(
                f"no pixel of {source} would change: its boxes lie on areas of one colour; are they those of "
                "this video, and in its units (--box-units)?"
            )
        if kept:
            entry[KEPT] = [share for _, shares in sorted(kept.items()) for share in shares]
        if outside := boxes.outside(video_size):
            entry["boxes_outside"] = outside
        if codec == LOSSY:
            entry["stored"] = writer.quality.figures()
        if seal is not None:
            try:
                content = read_regular(source)
            except UserError as error:
                raise UserError(f"{source}: {error}") from None
            if hashlib.sha256(content).hexdigest() != read_hash:
                raise UserError(
                    f"{source} was changed while it was protected, so that another video would be sealed; "
                    "run the same command again"
                )
            entry.update(write_beside(output, path, "sealed", seal(source.name, content)))

    def account(entries: Sequence[dict]) -> Mapping[str, object]:
        return accounted(image_map, [None for entry in entries for _ in entry["boxes"]])

    video = VideoWork(
        source,
        path,
        header,
        source_format,
        announced,
        lambda: placed(read_frames(source), boxes, placing, options.workers),
        work,
        finish,
        codec,
        crf,
        stamp,
        options.renew,
        account,
    )
    return make_video(video, output, workers=options.workers, describe="protecting")


def _hash(source: Path) -> str:
    try:
        return file_hash(source)
    except OSError as error:
        raise UserError(f"{source} cannot be read: {error.strerror}") from None
