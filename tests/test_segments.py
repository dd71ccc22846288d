"""Originals in application segments of JPEG files."""

from __future__ import annotations

# before fastreid: importing the package makes it work
from fastreid_privacy.collection.carrying import same_but_for_the_carried

# isort: split
import hashlib
import io
import random
from collections import Counter

import cv2
import numpy as np
import pytest
from in_process import anonymize, recover
from PIL import Image
from test_carrying import KEY, NAMES, OTHER, files, noise
from test_carrying import keys as keys  # a fixture
from test_carrying import raw as raw  # likewise

from fastreid_privacy.core.errors import UserError
from fastreid_privacy.core.pictures import read_picture
from fastreid_privacy.keys import segments
from fastreid_privacy.keys.envelope import Original, close, disclose, overhead, packed
from fastreid_privacy.keys.segments import carry, find
from fastreid_privacy.manifest import MANIFEST, read_manifest


def jpeg(size=(24, 16), seed=0, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(noise(*size, 3, seed=seed)).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def original(length: int) -> Original:
    return Original("a/ü.jpg", noise(length).tobytes())


def segments_of(content: bytes) -> list[tuple[int, bytes]]:
    """(marker, what is in it) of the segments before the first scan, read as the standard describes them."""
    file, found = io.BytesIO(content), []
    assert file.read(2) == b"\xff\xd8"
    while (marker := file.read(2)) != b"\xff\xda":
        found.append((marker[1], file.read(int.from_bytes(file.read(2), "big") - 2)))
    return found


# 65,517 bytes of a segment are of the box: what fills one, two, and what does not
@pytest.mark.parametrize("length", [0, 1, 65_000, 65_517 - 249, 65_517 - 248, 65_517 - 247, 200_000])
@pytest.mark.parametrize("options", [{"quality": 90}, {"progressive": True, "exif": b"Exif\0\0x"}])
def test_it_is_in_boxes_of_the_standard(length, options):
    before = jpeg(**options)
    after = carry(before, original(length), [KEY.public_key])
    assert np.array_equal(read_picture(after), read_picture(before))
    found = segments_of(after)
    ours = [part for marker, part in found if marker == 0xEB]
    assert [segment for segment in found if segment[0] != 0xEB] == segments_of(before)
    box = b""
    for number, part in enumerate(ours, start=1):
        assert part[:2] == b"JP" and int.from_bytes(part[4:8], "big") == number
        assert part[2:4] == ours[0][2:4] and part[8:16] == ours[0][8:16]
        box += part[16:]
    size, kind = int.from_bytes(ours[0][8:12], "big"), ours[0][12:16]
    assert kind == b"jumb" and size == len(box) + 8
    described = int.from_bytes(box[:4], "big")
    assert box[4:8] == b"jumd" and box[24:25] == b"\x03"  # requestable, and it has a label
    assert box[25:described] == b"fastreid_privacy.sealed\0"
    data = box[described:]
    assert data[4:8] == b"uuid" and int.from_bytes(data[:4], "big") == len(data)
    assert data[8:24] == box[8:24]
    bound = b"".join(
        bytes([0xFF, marker]) + (len(part) + 2).to_bytes(2, "big") + part
        for marker, part in segments_of(before)
        if marker not in (0xE1, 0xE2, 0xEB, 0xED, 0xFE)
    )
    scan = before[before.index(b"\xff\xda") :]
    digest = hashlib.sha256(bound + scan).digest()
    assert disclose(data[24:], KEY, b"segment " + digest) == packed(original(length))
    assert len(data[24:]) == len(packed(original(length))) + overhead([KEY.public_key])
    assert find(after, KEY) == original(length) and find(after, OTHER) is None and find(before, KEY) is None


def with_segment(content: bytes, marker: int, part: bytes, place: int = 2) -> bytes:
    segment = bytes([0xFF, marker]) + (len(part) + 2).to_bytes(2, "big") + part
    return content[:place] + segment + content[place:]


def test_metadata_of_others_may_come_and_go():
    content = carry(jpeg(exif=b"Exif\0\0x", comment=b"mine"), original(300), [KEY.public_key])
    for marker, part in ((0xE1, b"Exif\0\0y"), (0xFE, b"a comment"), (0xEB, b"JP\0\1\0\0\0\1another's box")):
        assert find(with_segment(content, marker, part), KEY) == original(300)
    start = content.index(b"\xff\xe1")
    end = start + 2 + int.from_bytes(content[start + 2 : start + 4], "big")
    assert find(content[:start] + content[end:], KEY) == original(300)


def test_a_changed_picture_opens_nothing():
    content = carry(jpeg(), original(300), [KEY.public_key])
    other = carry(jpeg(seed=1), original(300), [KEY.public_key])
    ours = content[content.index(b"\xff\xeb") : content.index(b"\xff\xdb")]
    moved = jpeg(seed=1).replace(b"\xff\xdb", ours + b"\xff\xdb", 1)
    twice = content.replace(ours, ours + ours)
    colours = with_segment(content, 0xEE, b"Adobe\0\x64\0\0\0\0\0")  # red, green and blue as they are
    encoded = cv2.imencode(".jpg", cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR))[1]
    assert find(other, KEY) == original(300)
    for wrong in (
        moved,
        twice,
        colours,
        encoded.tobytes(),
        content + b"more",
        content[:-2],
        content[:50],
        b"",
    ):
        assert find(wrong, KEY) is None


@pytest.mark.parametrize("place", [0, 500, -1])
def test_what_is_no_jpeg_file_is_refused(place):
    content = bytearray(jpeg())
    content[place] ^= 0xFF
    if place == 0:
        with pytest.raises(ValueError, match="no JPEG"):
            carry(bytes(content), original(1), [KEY.public_key])
    for end in (2, 3, 20, content.index(b"\xff\xda")):
        with pytest.raises(ValueError, match=r"no JPEG|no scan"):
            carry(bytes(content[:end]), original(1), [KEY.public_key])
        assert find(bytes(content[:end]), KEY) is None


def mutate(content: bytes, rng: random.Random) -> bytes:
    """One of the mutations that the fuzz draws."""
    changed, how = bytearray(content), rng.randrange(5)
    start = rng.randrange(len(content))
    end = min(len(content), start + rng.choice((1, 2, 4, 64, 2000)))
    if how == 0:
        for _ in range(rng.choice((1, 1, 5))):
            changed[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    elif how == 1:
        changed[start:end] = rng.randbytes(end - start)
    elif how == 2:
        del changed[start:end]
    elif how == 3:
        changed[start:start] = changed[start:end]
    else:
        changed[start : start + 4] = rng.choice((0, 1, 65535, 2**31, 2**32 - 1)).to_bytes(4, "big")
    return bytes(changed)


def fuzz_segments(count: int, seed: int = 0) -> Counter:
    """How many mutated files opened nothing, and how many the original: none opens wrongly."""
    rng, outcomes = random.Random(seed), Counter()
    content = carry(jpeg(), original(150), [KEY.public_key])
    while sum(outcomes.values()) < count:
        changed = mutate(content, rng)
        found = find(changed, KEY)
        assert found in (None, original(150))
        # what opens has the same segments, but for others' metadata, of which this file has none
        assert found is None or changed == content
        outcomes["same" if found else "refused"] += 1
    return outcomes


def test_mutations_open_nothing_wrong():
    assert fuzz_segments(500)["refused"] > 400


def test_a_payload_that_somebody_forged_is_named():
    parts = list(segments._parts(jpeg()))
    ours = segments._segments(
        segments.ORIGINAL, close(b'{"name": "../a", "length": 0}\n', [KEY.public_key], segments._bound(parts))
    )
    with pytest.raises(UserError, match="it is no file that"):
        find(b"\xff\xd8" + ours + jpeg()[2:], KEY)


def test_a_collection_of_jpeg_files(raw, keys, tmp_path, capsys):
    words = ["--method", "blur", "--seal", keys[0], "--carry", "segment", "--format", "jpg", "--input", raw]
    out = tmp_path / "p"
    assert anonymize(*words, "--output", out) == 0
    assert "3 originals are carried in the files (segment)" in capsys.readouterr().out
    entries = read_manifest(out / MANIFEST).entries
    assert {entry["carried"] for entry in entries.values()} == {"segment"} and not list(out.rglob("*.sealed"))
    assert (
        anonymize("--method", "blur", "--format", "jpg", "--input", raw, "--output", tmp_path / "plain") == 0
    )
    for path in entries:
        assert np.array_equal(read_picture(out / path), read_picture(tmp_path / "plain" / path))
        before, after = ((folder / path).read_bytes() for folder in (tmp_path / "plain", out))
        assert same_but_for_the_carried(before, after) and not same_but_for_the_carried(before, b"mine")
    opened = ["--identity", keys[1], "--input", out, "--output", tmp_path / "again"]
    assert recover(*opened) == 0 and files(tmp_path / "again") == files(raw)

    (out / MANIFEST).unlink()
    (out / "one.jpg").rename(out / "renamed.jpeg")
    assert recover(*opened[:-1], tmp_path / "without") == 0 and files(tmp_path / "without") == files(raw)
    path = out / NAMES[0]
    Image.open(path).save(path, quality="keep")  # Pillow keeps the data, and none of these segments
    capsys.readouterr()
    assert recover(*opened[:-1], tmp_path / "less") == 2
    assert f"{NAMES[0]}: it carries nothing that can be opened" in capsys.readouterr().err
    assert set(files(tmp_path / "less")) == set(NAMES[1:])
