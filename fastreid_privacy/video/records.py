"""What is told of a protected video: its line of the manifest, boxes to be corrected, and the audit log.

The audit log, ``NAME.audit.jsonl``, has no pixels. Line 1 is what the video was made by, as line 1 of the
manifest, and ``path``, ``width`` and ``height``. Then one line for each frame: ``frame``, its number from 1,
``time`` in seconds from the first one, and ``people``: of each ``box`` ([left, top, width, height] in
pixels), ``identity`` where it is known, ``how`` the box came about ("given", "detected", "carried"), and
``kept`` where there was a guard; or, in place of it, ``left``: why it was left as it is ("time", "region",
"person").
The last line counts frames, boxes that were protected, and boxes that were left.

Boxes of a detector are written beside the video, ``NAME.boxes.txt``, in the form of MOT, so that a person
corrects them and protects the video again with ``--boxes``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

from ..core.errors import say
from ..core.files import write_whole
from ..manifest import KEPT, line
from .boxes import manifest_rows
from .people import Person
from .protecting import FrameRecord

BOXES = ".boxes.txt"  # end of the name of a file of boxes, after the protected video's name
AUDIT_KIND = {"kind": "fastreid_privacy video audit", "schema": 1}
IDENTITIES, LEFT, UNPROTECTED = "identities", "left", "unprotected"  # of a video's line in the manifest


def line_of(records: Sequence[FrameRecord]) -> dict:
    """What the manifest keeps of the frames.

    Returns:
        "boxes": [frame, left, top, width, height] each. Where they are numbered "identities": whose each is,
        or 0; with a guard "kept", the share of each. Where boxes were left as they are "left": how many
        "boxes", in how many "frames", and "why". Where nobody was protected "unprotected": true, for every
        frame is raw.
    """
    boxes = manifest_rows((each.number, [person.box for person in each.people]) for each in records)
    about: dict = {"boxes": boxes} if boxes else {"boxes": boxes, UNPROTECTED: True}
    if any(identities := [person.identity for each in records for person in each.people]):
        about[IDENTITIES] = identities
    if kept := [share for each in records for share in each.kept]:
        about[KEPT] = kept
    if why := Counter(left.why for each in records for left in each.left):
        frames = sum(bool(each.left) for each in records)
        about[LEFT] = {"boxes": why.total(), "frames": frames, "why": dict(sorted(why.items()))}
    return about


def audit_log(header: dict, about: dict, records: Sequence[FrameRecord], time_base: Fraction) -> bytes:
    """The content of an audit log.

    Args:
        header: what the video was made by.
        about: of the video: "path", "width", "height".
        records: of all its frames.
        time_base: the unit of their times, in seconds.
    """
    return b"".join(map(line, _audit_records(header, about, records, time_base)))


def _audit_records(
    header: dict, about: dict, records: Sequence[FrameRecord], time_base: Fraction
) -> Iterator[dict]:
    yield {**AUDIT_KIND, **{word: about[word] for word in ("path", "width", "height")}, **header}
    for record in records:
        shares = [{KEPT: share} for share in record.kept] or [{}] * len(record.people)
        people = [_about(person) | share for person, share in zip(record.people, shares, strict=True)]
        people += [{**_about(left.person), "left": left.why} for left in record.left]
        seconds = round(float(record.time * time_base), 6)
        yield {"frame": record.number, "time": seconds, "people": people}
    protected = sum(len(record.people) for record in records)
    left = sum(len(record.left) for record in records)
    yield {"frames": len(records), "boxes": protected, "left": left}


def _about(person: Person) -> dict:
    left, top, right, bottom = person.box
    about: dict = {"box": [left, top, right - left, bottom - top]}
    if person.identity:
        about["identity"] = person.identity
    return {**about, "how": person.how}


def mot_lines(about: dict) -> bytes:
    """The boxes of a video's line in the manifest as a MOT file that gives exactly these again.

    A reader lets each box reach a pixel further to the left and top, for MOT counts pixels from 1. So a side
    of one pixel, which no such file can say, comes back as two.
    """
    rows, identities = about["boxes"], about.get(IDENTITIES)
    lines = []
    for (frame, left, top, width, height), identity in zip(rows, identities or [0] * len(rows), strict=True):
        sides = ",".join(str(side - 1 or 0.5) for side in (width, height))
        lines.append(f"{frame},{identity or -1},{left + 1},{top + 1},{sides},1,-1,-1,-1\n")
    return "".join(lines).encode()


def write_boxes(path: Path, about: dict) -> None:
    """Write the boxes of a video for a person to correct; a file that is there and says otherwise stays.

    Args:
        path: of the file.
        about: the video's line of the manifest.
    """
    content = mot_lines(about)
    if path.exists() and path.read_bytes() != content:
        say(f"{path} is there already, with other boxes: it stays as it is")
        return
    write_whole(path, content)


def remove_boxes(path: Path, about: dict) -> None:
    """Delete what :func:`write_boxes` wrote, unless somebody has changed it since."""
    if path.exists() and path.read_bytes() == mot_lines(about):
        path.unlink()
