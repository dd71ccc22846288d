"""Originals inside the pixels of protected files: where they are, what opens them, and what must not."""

from __future__ import annotations

# before fastreid: importing the package makes it work

# isort: split
import hashlib
import io
import json
import random
import shutil
from collections import Counter
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from forged_manifests import write_forged
from in_process import anonymize, recover
from PIL import Image, ImageEnhance
from rendered_video import write_video

from fastreid_privacy.collection import protected_files, run
from fastreid_privacy.collection.fitting import fitted
from fastreid_privacy.core.errors import UserError
from fastreid_privacy.core.images import png_bytes
from fastreid_privacy.core.lock import locked
from fastreid_privacy.core.pictures import read_picture
from fastreid_privacy.keys import pixels
from fastreid_privacy.keys.envelope import MAGIC, Fitted, Original, close, disclose, overhead, packed
from fastreid_privacy.keys.pairs import HYBRID, X25519, PrivateKey
from fastreid_privacy.keys.pixels import carry, find
from fastreid_privacy.keys.sealing import new_identity, read_public_key
from fastreid_privacy.manifest import JOURNAL, MANIFEST, read_manifest

KEY, OTHER = PrivateKey.generate(), PrivateKey.generate()
NAMES = ["folder/two.jpg", "one.jpg", "three.png"]


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def noise(*shape, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def carrier(size=(24, 16), length=100, key=KEY, seed=0) -> tuple[np.ndarray, Original]:
    original = Original("a/ü.jpg", noise(length, seed=seed + 1).tobytes())
    found = carry(noise(*size, 3, seed=seed), original, [key.public_key])
    assert found is not None
    return found[0], original


@pytest.fixture
def raw(tmp_path):
    """Three pictures of 96 × 48 pixels; the smooth JPEGs have about 1 KB, the PNG with noise more than 5."""
    (tmp_path / "raw" / "folder").mkdir(parents=True)
    for place, name in enumerate(NAMES):
        picture = Image.fromarray(noise(6, 3, 3, seed=place)).resize((48, 96), Image.Resampling.BICUBIC)
        if name == "three.png":
            picture = Image.fromarray(np.array(picture) ^ noise(96, 48, 3) % 32)
        picture.save(tmp_path / "raw" / name)
    return tmp_path / "raw"


@pytest.fixture
def keys(tmp_path):
    return new_identity(tmp_path / "keys", None)


@pytest.fixture
def carried(raw, keys, tmp_path):
    """The folder of protected files that carry their originals."""
    words = ["--method", "blur", "--seal", keys[0], "--carry", "pixels", "--carry-fit", "best"]
    assert anonymize(*words, "--input", raw, "--output", tmp_path / "p") == 0
    return tmp_path / "p"


# -- bits ----------------------------------------------------------------------------------------------------


def bits_by_loops(picture: np.ndarray, planes: int) -> tuple[bytes, np.ndarray]:
    """The bytes in the lowest planes, and the picture with zeros in their place, one bit after the other."""
    values, rest = [int(value) for value in picture.flatten()], picture.flatten()
    content = bytearray()
    for plane in range(planes):
        for start in range(0, len(values) // 8 * 8, 8):
            byte = 0
            for value in values[start : start + 8]:
                byte = byte * 2 + (value // 2**plane) % 2
            content.append(byte)
    for place in range(len(values) // 8 * 8):
        rest[place] = values[place] // 2**planes * 2**planes
    return bytes(content), rest.reshape(picture.shape)


@pytest.mark.parametrize("size", [(24, 16), (23, 17), (7, 61)])
@pytest.mark.parametrize("planes", [1, 2, 3])
def test_where_the_bits_are(size, planes):
    before = noise(*size, 3)
    key = PrivateKey.generate()
    length = before.size // 8 * (planes - 1) + 1 if planes > 1 else 1
    original = Original("a", bytes(length - overhead([key.public_key])) if planes > 1 else b"x")
    after, used = carry(before, original, [key.public_key])
    assert used == planes
    body, rest = bits_by_loops(after, planes)
    assert np.array_equal(rest, bits_by_loops(before, planes)[1])  # nothing else was changed
    bound = b"pixels %d %d %d " % (*size, planes) + hashlib.sha256(rest.tobytes()).digest()
    plain = disclose(body, key, bound)
    assert plain == packed(original) + bytes(len(plain) - len(packed(original)))
    assert len(body) == before.size // 8 * planes and find(after, key) == original


@pytest.mark.parametrize("kind", [X25519, HYBRID])
@pytest.mark.parametrize("owners", [1, 3])
def test_as_few_planes_as_hold_it(kind, owners):
    keys = [PrivateKey.generate(kind) for _ in range(owners)]
    public = [key.public_key for key in keys]
    before = noise(128, 96, 3)
    plane = before.size // 8
    for planes in (1, 2, 3):
        most = plane * planes - overhead(public) - len(b'{"name": "a", "length": 12345}\n')
        most += 1 if most < 10_000 else 0  # the length has a digit less
        for length, expected in ((most, planes), (most + 1, planes + 1)):
            original = Original("a", noise(length).tobytes())
            found = carry(before, original, public)
            if expected > 3:
                assert found is None
                continue
            assert found is not None and found[1] == expected
            assert all(find(found[0], key) == original for key in keys)


@pytest.mark.parametrize("size", [(0, 5), (1, 1), (2, 3), (5, 7)])
def test_an_image_of_a_few_pixels_carries_nothing(size):
    assert carry(noise(*size, 3), Original("a", b""), [KEY.public_key]) is None
    assert find(noise(*size, 3), KEY) is None


def test_the_planes_look_random_and_tell_no_length():
    """Also of an empty original; but for the numbers of X25519, which are below 2**255."""
    for length in (0, 2500):
        picture, _ = carrier((96, 72), length)
        content, _ = bits_by_loops(picture, 1)
        counts = np.bincount(np.frombuffer(content, np.uint8), minlength=256)
        expected = len(content) / 256
        # chi-square of 255 degrees of freedom, six standard deviations
        assert (np.square(counts - expected) / expected).sum() < 255 + 6 * np.sqrt(2 * 255)


# -- what must not open --------------------------------------------------------------------------------------


def test_every_flipped_bit_is_refused():
    """Of the original, of what fills up the planes, and of the bits above."""
    picture, original = carrier((8, 21), 10)
    assert find(picture, KEY) == original and find(picture, OTHER) is None
    flat = picture.reshape(-1)
    for place in range(flat.size):
        for bit in (0, 1, 7) if place % 8 else range(8):
            flat[place] ^= 1 << bit
            assert find(picture, KEY) is None
            flat[place] ^= 1 << bit
    assert find(picture, KEY) == original


def jpeg(picture, quality=100):
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality, subsampling=0)
    return np.array(Image.open(buffer))


CHANGES = {
    "saved as jpeg": jpeg,
    "resized and back": lambda picture: np.array(Image.fromarray(picture).resize((40, 60)).resize((48, 72))),
    "cropped": lambda picture: picture[1:],
    "cropped at the end": lambda picture: picture[:-1],
    "framed": lambda picture: np.pad(picture, ((1, 1), (1, 1), (0, 0))),
    "brightened": lambda picture: np.array(ImageEnhance.Brightness(Image.fromarray(picture)).enhance(1.02)),
    "one level more": lambda picture: np.where(picture < 255, picture + 1, picture).astype(np.uint8),
    "mirrored": lambda picture: picture[:, ::-1],
    "turned": lambda picture: np.rot90(picture),
    "another order": lambda picture: picture[..., ::-1],
    "another shape": lambda picture: picture.reshape(36, 96, 3),
    "lowest plane zeroed": lambda picture: picture & 254,
    "planes zeroed": lambda picture: picture & 248,
    "lowest plane drawn": lambda picture: picture & 254 | noise(*picture.shape, seed=9) & 1,
    "palette of 256 colours": lambda picture: np.array(Image.fromarray(picture).quantize(256).convert("RGB")),
    "moved to another picture": lambda picture: noise(*picture.shape, seed=9) & 252 | picture & 3,
    "an object put in": lambda picture: np.where(np.arange(72)[:, None, None] < 10, 0, picture).astype(
        np.uint8
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_picture_that_was_changed_opens_nothing(change):
    picture, original = carrier((72, 48), 2000)
    assert find(picture, KEY) == original
    assert find(np.ascontiguousarray(CHANGES[change](picture)), KEY) is None


def mutate(picture: np.ndarray, rng: random.Random) -> np.ndarray:
    """One of the mutations that the fuzz draws."""
    changed = picture.copy()
    flat, size = changed.reshape(-1), changed.size
    how = rng.randrange(8)
    start = rng.randrange(size)
    end = min(size, start + rng.choice((1, 2, 8, 80 * 8, size)))
    if how == 0:
        for _ in range(rng.choice((1, 1, 1, 5, 100))):
            flat[rng.randrange(size)] ^= 1 << rng.randrange(8)
    elif how == 1:
        flat[start:end] &= 256 - 2 ** rng.randrange(1, 9)
    elif how == 2:
        flat[start:end] = np.frombuffer(rng.randbytes(end - start), np.uint8)
    elif how == 3:
        flat[start:end] ^= rng.randrange(1, 8)
    elif how == 4:
        flat[:] = np.roll(flat, rng.randrange(1, size))
    elif how == 5:
        changed = changed[: rng.randrange(changed.shape[0] + 1), : rng.randrange(1, changed.shape[1] + 1)]
    elif how == 6:
        changed = np.concatenate([changed, changed[: rng.randrange(1, 5)]], axis=rng.randrange(1))
    else:
        other, _ = carrier(picture.shape[:2], 1, seed=rng.randrange(100))
        bits = 2 ** rng.randrange(1, 4) - 1
        changed = other & (255 - bits) | changed & bits
    return np.ascontiguousarray(changed)


def fuzz_pixels(count: int, seed: int = 0) -> Counter:
    """How many mutated carriers opened nothing, and how many were not changed at all; none opens wrongly."""
    rng, outcomes = random.Random(seed), Counter()
    carriers = [carrier(size, length) for size, length in (((8, 21), 10), ((24, 16), 150), ((9, 33), 60))]
    while sum(outcomes.values()) < count:
        picture, original = carriers[rng.randrange(len(carriers))]
        changed = mutate(picture, rng)
        found = find(changed, KEY)
        if np.array_equal(changed, picture):
            assert found == original
        else:
            assert found is None
        outcomes["same" if found else "refused"] += 1
    return outcomes


def test_mutations_open_nothing_wrong():
    assert fuzz_pixels(300)["refused"] > 250


@pytest.mark.parametrize(
    "first",
    [
        b"[]",
        b'{"name": "../a", "length": 0}',
        b'{"name": "a", "length": 999999}',
        *(
            b'{"name": "a", "length": 0, "fitted": {"format": "webp", "quality": 90, "psnr": %s}}' % psnr
            for psnr in (b"1" + b"0" * 400, b"1e300", b"Infinity", b"NaN", b"-1", b"true")
        ),
    ],
)
def test_a_payload_that_somebody_forged_is_named(first):
    picture = noise(96, 48, 3)
    plain = first + b"\n"
    plain += bytes(pixels.room(picture, [KEY.public_key], 1) - len(plain))
    closed = close(plain, [KEY.public_key], pixels._bound(picture, 1))
    with pytest.raises(UserError, match="it is no file that"):
        find(pixels._with_planes(picture, 1, closed), KEY)


# -- the commands --------------------------------------------------------------------------------------------


def by_av(picture: np.ndarray, codec: str, kind: str) -> bytes:
    """A picture through ffmpeg's encoder."""
    encoder = av.CodecContext.create(codec, "w")
    encoder.height, encoder.width, encoder.pix_fmt, encoder.time_base = *picture.shape[:2], kind, Fraction(1)
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=kind)
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


def by_pillow(picture: np.ndarray, format: str, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format, **options)
    return buffer.getvalue()


def by_opencv(picture: np.ndarray, ending: str, *options: int) -> bytes:
    done, content = cv2.imencode(ending, picture[..., ::-1], options)
    assert done
    return content.tobytes()


def array(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, picture)
    return buffer.getvalue()


RESAVED = {
    "pillow.png": lambda picture: by_pillow(picture, "PNG", optimize=True),
    "pillow.bmp": lambda picture: by_pillow(picture, "BMP"),
    "pillow.tiff": lambda picture: by_pillow(picture, "TIFF", compression="tiff_lzw"),
    "pillow.webp": lambda picture: by_pillow(picture, "WEBP", lossless=True),
    "opencv.png": lambda picture: by_opencv(picture, ".png", cv2.IMWRITE_PNG_COMPRESSION, 9),
    "opencv.ppm": lambda picture: by_opencv(picture, ".ppm"),
    "ffmpeg.png": lambda picture: by_av(picture, "png", "rgb24"),
    "ffmpeg.bmp": lambda picture: by_av(picture, "bmp", "bgr24"),
    "opaque.png": lambda picture: by_pillow(np.dstack([picture, np.full_like(picture[..., :1], 255)]), "PNG"),
    "deep.png": lambda picture: cv2.imencode(".png", picture[..., ::-1].astype(np.uint16) * 257)[1].tobytes(),
    "array.npy": array,
}
LOST = {
    "small.jpg": lambda picture: by_pillow(picture, "JPEG", quality=100, subsampling=0),
    "lossy.webp": lambda picture: by_pillow(picture, "WEBP", quality=100),
    "palette.png": lambda picture: by_pillow(
        np.array(Image.fromarray(picture).quantize(256).convert("RGB")), "PNG"
    ),
    "clear.png": lambda picture: by_pillow(np.dstack([picture, np.full_like(picture[..., :1], 254)]), "PNG"),
    "grey.png": lambda picture: by_pillow(picture[..., 0], "PNG"),
    "damaged.png": lambda picture: by_pillow(picture, "PNG")[:-100],
    "empty.png": lambda picture: b"",
    "fortran.npy": lambda picture: array(np.asfortranarray(picture)),
    "floats.npy": lambda picture: array(picture.astype(np.float32)),
    "cut.npy": lambda picture: array(picture)[:-1],
    "huge.npy": lambda picture: array(picture).replace(b"(96, 48, 3)", b"(9**9, 48,)"),
    "pickle.npy": lambda picture: array(np.array([print], dtype=object)),
}


def test_every_file_opens_without_a_manifest(raw, keys, carried, tmp_path):
    for place, path in enumerate(sorted(carried.rglob("*.png"))):
        picture = read_picture(path)
        for name, save in RESAVED.items():
            folder = tmp_path / "elsewhere" / str(place) / name.partition(".")[0]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"x{place}.{name.partition('.')[2]}").write_bytes(save(picture))
    pictures = np.stack([read_picture(path) for path in sorted(carried.rglob("*.png"))])
    np.save(tmp_path / "elsewhere" / "all.npy", pictures)
    expected = {name: content for name, content in files(raw).items() if name.endswith(".jpg")}
    for given in (tmp_path / "elsewhere", tmp_path / "elsewhere" / "0", tmp_path / "elsewhere" / "all.npy"):
        out = tmp_path / f"again {given.name}"
        assert recover("--identity", keys[1], "--input", given, "--output", out) == 0
        opened = files(out)
        if given.name == "0":
            assert set(opened) == {NAMES[0]}
        else:
            webp = read_picture(opened.pop("three.webp"))
            assert np.abs(webp.astype(int) - read_picture(raw / "three.png")).mean() < 8
            assert opened == expected
    assert recover("--identity", keys[1], "--input", carried / "one.png", "--output", tmp_path / "o") == 0
    assert files(tmp_path / "o") == {"one.jpg": (raw / "one.jpg").read_bytes()}


def test_what_lost_a_bit_is_named_and_the_rest_goes_on(raw, keys, carried, tmp_path, capsys):
    picture = read_picture(carried / "one.png")
    (tmp_path / "in").mkdir()
    for name, save in LOST.items():
        (tmp_path / "in" / name).write_bytes(save(picture))
    shutil.copy(carried / "one.png", tmp_path / "in" / "good.png")
    Image.fromarray(noise(96, 48, 3)).save(tmp_path / "in" / "somebody else's.png")
    Image.new("RGB", (1, 1)).save(tmp_path / "in" / "pixel.png")
    (tmp_path / "in" / "x.png.sealed").write_bytes(MAGIC)
    capsys.readouterr()
    assert recover("--identity", keys[1], "--input", tmp_path / "in", "--output", tmp_path / "o") == 2
    out, err = capsys.readouterr()
    assert "1 sealed originals opened" in out and "Traceback" not in err
    assert f"{len(LOST) + 3} images were not opened" in err
    assert err.count("it carries nothing that can be opened") == 7
    assert (
        err.count("it is no array of pictures") == 5 and "the manifest.jsonl that names it is needed" in err
    )
    assert files(tmp_path / "o") == {"one.jpg": (raw / "one.jpg").read_bytes()}
    _, other = new_identity(tmp_path / "other", None)
    assert recover("--identity", other, "--input", tmp_path / "in", "--output", tmp_path / "o2") == 2
    assert "0 sealed originals opened" in capsys.readouterr().out and not files(tmp_path / "o2")


def test_what_a_killed_run_left_of_raw_files_is_removed(keys, carried, tmp_path, monkeypatch):
    out, killed = tmp_path / "o", (".one.jpg.17.unfinished", "folder/.three.png.4.unfinished")
    words = ["--identity", keys[1], "--input", carried, "--output", out]
    assert recover(*words) == 0
    opened = files(out)
    for left in (*killed, ".mine.unfinished"):
        (out / left).write_bytes(b"a part of a raw file")
    with locked(out, "in use"):
        assert recover(*words) == 2
    assert files(out).keys() == {*opened, *killed, ".mine.unfinished"}
    assert recover(*words) == 0
    assert files(out) == {**opened, ".mine.unfinished": b"a part of a raw file"}


NO_PICTURES = {
    "empty": array(np.zeros((0, 128, 3), np.uint8)),
    "not closed": array(noise(1, 2, 3)).replace(b"}", b" "),  # tokenize.TokenError
    "no words": array(noise(1, 2, 3)).replace(b"'descr': '|u1'", b"['descr']: '|1'"),  # TypeError
    "negative": array(noise(1, 2, 3)).replace(b"(1, 2, 3), ", b"(-1, -2, 3)"),
    "true": array(noise(1, 2, 3)).replace(b"(1, 2, 3), }  ", b"(True, 2, 3),}"),
}


def test_tar_files_without_a_manifest_are_to_be_unpacked(keys, tmp_path, capsys):
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "000000.tar").write_bytes(bytes(1024))
    assert recover("--identity", keys[1], "--input", tmp_path / "given", "--output", tmp_path / "again") == 2
    assert "at any depth; it holds tar files: unpack them there (tar -xf)" in capsys.readouterr().err


def test_arrays_of_no_pictures_are_named_and_the_rest_goes_on(raw, keys, carried, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    for name, content in NO_PICTURES.items():
        (tmp_path / "in" / f"{name}.npy").write_bytes(content)
    np.save(tmp_path / "in" / "z.npy", read_picture(carried / "one.png"))
    capsys.readouterr()
    assert recover("--identity", keys[1], "--input", tmp_path / "in", "--output", tmp_path / "o") == 2
    said = capsys.readouterr().err
    for name in NO_PICTURES:
        assert f"{name}.npy: it is no array of pictures" in said
    assert files(tmp_path / "o") == {"one.jpg": (raw / "one.jpg").read_bytes()}


def test_the_folder_with_its_manifest(raw, keys, carried, tmp_path, capsys):
    header, entries = (manifest := read_manifest(carried / MANIFEST)).header, manifest.entries
    assert header["carry"] == "pixels" and header["carry_fit"] == "best" and header["sealed"]
    assert {path: entry["carried"] for path, entry in entries.items()} == dict.fromkeys(entries, "pixels")
    assert not list(carried.rglob("*.sealed"))
    before = files(carried)
    words = ["--method", "blur", "--seal", keys[0], "--carry", "pixels", "--input", raw, "--output", carried]
    capsys.readouterr()
    assert anonymize(*words) == 2 and "carry_fit best there, None here" in capsys.readouterr().err
    assert anonymize(*words, "--carry-fit", "best") == 0 and files(carried) == before
    out = capsys.readouterr().out
    psnr = entries["three.png"]["fitted"]["psnr"]
    assert "3 originals are carried in the files (pixels)" in out
    assert f"1 of them did not fit and were encoded anew as WebP: {psnr:.2f} dB at worst" in out

    opened = ["--identity", keys[1], "--input", carried, "--output", tmp_path / "again"]
    assert recover(*opened) == 0
    out = capsys.readouterr().out
    quality = entries["three.png"]["fitted"]["quality"]
    assert f"three.webp: encoded anew to fit, quality {quality}, {psnr:.2f} dB\n" in out
    assert "3 sealed originals opened" in out and set(files(tmp_path / "again")) == {*NAMES[:2], "three.webp"}
    difference = read_picture(tmp_path / "again" / "three.webp").astype(float) - read_picture(raw / NAMES[2])
    assert psnr == pytest.approx(10 * np.log10(255**2 / np.square(difference).mean()), abs=0.006)
    assert recover(*opened) == 0  # again: all is there

    (carried / "one.png").rename(carried / "renamed.png")
    assert recover(*opened) == 0
    (carried / "renamed.png").rename(tmp_path / "away.png")
    capsys.readouterr()
    assert recover(*opened) == 2
    assert "one.png: its original was not found" in capsys.readouterr().err
    shutil.copy(carried / "three.png", carried / "one.png")
    assert recover(*opened) == 2
    err = capsys.readouterr().err
    assert "1 images were not opened" in err and "one.png: its original was not found" in err
    # one of somebody else does not make up for it
    original = Original("four.jpg", b"raw")
    key = read_public_key(keys[0])
    (carried / "four.png").write_bytes(png_bytes(carry(noise(96, 48, 3), original, [key])[0]))
    assert recover(*opened) == 2
    err = capsys.readouterr().err
    assert "1 images were not opened" in err and "one.png: its original was not found" in err
    _, other = new_identity(tmp_path / "other", None)
    assert recover("--identity", other, *opened[2:]) == 2
    assert "was sealed to the key with the fingerprint" in capsys.readouterr().err


def test_of_pseudonyms_the_files_that_may_be_to_blame_are_named(raw, keys, tmp_path, capsys):
    (tmp_path / "names.key").write_bytes(bytes(16))
    words = {"method": "blur", "seal": keys[0], "carry": "pixels", "carry_fit": "best", "input": raw}
    out = tmp_path / "p"
    assert anonymize("--pseudonymize", tmp_path / "names.key", "--output", out, **words) == 0
    first, second, _ = sorted(out.glob("*.png"))
    first.rename(out / "renamed.png")
    opened = ["--identity", keys[1], "--input", out, "--output", tmp_path / "again"]
    assert recover(*opened) == 0 and len(files(tmp_path / "again")) == 3
    second.unlink()
    capsys.readouterr()
    assert recover(*opened) == 2
    err = capsys.readouterr().err
    assert "2 images were not opened" in err and all(path.name in err for path in (first, second))


@pytest.mark.parametrize(
    ("before", "after"), [('"recipient": "', '"recipient": 7, "": "'), ('"psnr": ', '"psnr": "much", "": ')]
)
def test_a_forged_manifest_is_damaged(keys, carried, tmp_path, capsys, before, after):
    text = (carried / MANIFEST).read_text()
    assert before in text
    write_forged(carried / MANIFEST, text.replace(before, after))
    opened = ["--identity", keys[1], "--input", carried, "--output", tmp_path / "again"]
    assert recover(*opened) == 2 and "is damaged" in capsys.readouterr().err


def test_what_does_not_fit_lies_beside(raw, keys, tmp_path, capsys):
    words = ["--method", "blur", "--seal", keys[0], "--carry", "pixels", "--input", raw]
    assert anonymize(*words, "--output", tmp_path / "p") == 0
    out, err = capsys.readouterr()
    assert "2 originals are carried in the files" in out and "1 originals did not fit: they lie beside" in err
    sealed = list((tmp_path / "p").rglob("*.sealed"))
    assert [path.name for path in sealed] == ["three.png.sealed"]
    opened = ["--identity", keys[1], "--input", tmp_path / "p"]
    assert recover(*opened, "--output", tmp_path / "again") == 0
    assert files(tmp_path / "again") == files(raw)
    sealed[0].write_bytes(sealed[0].read_bytes()[:-1])
    assert recover(*opened, "--output", tmp_path / "o") == 2
    assert "three.png.sealed: it does not open" in capsys.readouterr().err
    assert set(files(tmp_path / "o")) == set(NAMES[:2])


def test_a_protected_picture_changes_in_its_lowest_bits_only(raw, keys, carried, tmp_path):
    words = ["--method", "blur", "--input", raw, "--output", tmp_path / "plain"]
    assert anonymize(*words) == 0
    for path, entry in read_manifest(carried / MANIFEST).entries.items():
        before, after = read_picture(tmp_path / "plain" / path), read_picture(carried / path)
        assert np.array_equal(before >> entry["planes"], after >> entry["planes"])
        error = np.square(before.astype(float) - after).mean()
        # two numbers drawn from 0 to n - 1 differ by (n² - 1) / 6 on average, squared
        assert error == pytest.approx((4 ** entry["planes"] - 1) / 6, rel=0.1)


def test_learned_files_carry_and_are_recovered_by_both_keys(weights, raw, keys, tmp_path, capsys):
    words = ["--weights", weights, "--input", raw]
    assert anonymize(*words, "--output", tmp_path / "plain") == 0
    carry_words = ["--seal", keys[0], "--carry", "pixels"]
    for name in NAMES:  # small enough for images of 64 × 32
        Image.open(raw / name).convert("RGB").resize((8, 16)).save(raw / name)
    assert anonymize(*words, *carry_words, "--output", tmp_path / "p") == 0
    assert "3 originals are carried" in capsys.readouterr().out
    assert recover("--key", weights, "--input", tmp_path / "p", "--output", tmp_path / "learned") == 0
    assert len(list((tmp_path / "learned").rglob("*.png"))) == 3
    opened = ["--identity", keys[1], "--input", tmp_path / "p", "--output", tmp_path / "again"]
    assert recover(*opened) == 0 and files(tmp_path / "again") == files(raw)


@pytest.mark.parametrize("method", ["blur", "noise"])
def test_a_killed_run_goes_on(raw, keys, tmp_path, method, monkeypatch, capsys):
    """Sealing gives other bytes each time, so what was written before the kill is made anew and replaced."""
    out = tmp_path / "p"
    words = ["--method", method, "--seal", keys[0], "--carry", "pixels", "--input", raw, "--output", out]

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "write_manifest", killed)
    assert anonymize(*words) == 130
    monkeypatch.undo()
    header, *lines = (out / JOURNAL).read_bytes().splitlines(keepends=True)
    told = {json.loads(line)["path"]: line for line in lines}  # in any order: threads write them
    assert {*told} == {"folder/two.png", "one.png", "three.png"}
    (out / JOURNAL).write_bytes(header + told["folder/two.png"])
    before = {path: read_picture(path) for path in out.rglob("*.png")}
    if method == "blur":  # a run that ends forgets the key of its noise
        mine = by_pillow(before[out / "one.png"] ^ 8, "PNG")  # not only in the bits that may carry something
        (out / "one.png").write_bytes(mine)
        assert anonymize(*words) == 2
        assert "one.jpg: one.png is there already, which this run did not write" in capsys.readouterr().err
        assert (out / "one.png").read_bytes() == mine
        (out / "one.png").unlink()
    assert anonymize(*words) == 0
    for path, picture in before.items():
        assert np.array_equal(read_picture(path) >> 3, picture >> 3)
    opened = ["--identity", keys[1], "--input", out, "--output", tmp_path / "again"]
    assert recover(*opened) == 0 and files(tmp_path / "again") == files(raw)


def test_what_is_sealed_is_what_was_protected(raw, keys, tmp_path, monkeypatch):
    """Each raw file is read once: here every one becomes another picture right after its first read."""
    before, read = files(raw), protected_files.read_regular

    def read_and_replace(path, *bound):
        content = read(path, *bound)
        Image.effect_noise((50, 70), 50).save(path)
        return content

    monkeypatch.setattr(protected_files, "read_regular", read_and_replace)
    words = ["--method", "blur", "--seal", keys[0], "--carry", "pixels", "--input", raw]
    assert anonymize(*words, "--output", tmp_path / "p") == 0
    assert files(raw) != before
    opened = ["--identity", keys[1], "--input", tmp_path / "p", "--output", tmp_path / "again"]
    assert recover(*opened) == 0 and files(tmp_path / "again") == before


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--carry", "pixels"], "--carry says where sealed originals go"),
        (["--seal", "KEY", "--carry-fit", "best"], "--carry-fit goes with --carry pixels"),
        (
            ["--seal", "KEY", "--carry", "beside", "--carry-fit", "beside"],
            "--carry-fit goes with --carry pixels",
        ),
        (["--seal", "KEY", "--carry", "pixels", "--format", "jpg"], "--carry pixels needs --format png"),
        (["--seal", "KEY", "--carry", "segment"], "--carry segment needs --format jpg"),
        (
            ["--seal", "KEY", "--carry", "segment", "--format", "jpg", "--carry-fit", "best"],
            "--carry-fit goes",
        ),
        (["--seal", "PRIVATE", "--carry", "pixels"], "is a private key"),
    ],
)
def test_options_that_do_not_go_together(raw, keys, tmp_path, capsys, more, said):
    words = [{"KEY": keys[0], "PRIVATE": keys[1]}.get(word, word) for word in more]
    assert anonymize("--method", "blur", "--input", raw, "--output", tmp_path / "p", *words) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "p").exists()


def test_a_video_has_no_room_for_itself(keys, tmp_path, capsys):
    write_video(tmp_path / "video.mkv", [noise(48, 64, 3, seed=place) for place in range(2)])
    (tmp_path / "boxes.txt").write_text("1,1,2,2,20,40,1,-1,-1,-1\n")
    words = ["--method", "blur", "--input", tmp_path / "video.mkv", "--boxes", tmp_path / "boxes.txt"]
    carry_words = ["--seal", keys[0], "--carry", "pixels"]
    assert anonymize(*words, *carry_words, "--output", tmp_path / "p") == 2
    assert "the sealed original of a video lies beside it" in capsys.readouterr().err
    assert not (tmp_path / "p").exists()


# -- originals encoded anew ----------------------------------------------------------------------------------


def test_the_best_quality_that_fits_is_taken():
    raw = np.array(Image.fromarray(noise(12, 6, 3)).resize((48, 96), Image.Resampling.BICUBIC))
    whole = len(by_pillow(raw, "WEBP", lossless=True, exact=True))
    original = fitted("a/b.jpg", raw, whole + 200)
    assert original.name == "a/b.webp" and original.fitted == Fitted("webp", None, None)
    assert np.array_equal(read_picture(original.content), raw)
    qualities = []
    for room in (whole, 2000, 1200, 700):
        original = fitted("a/b.jpg", raw, room)
        name, content, (format, quality, psnr) = original
        assert name == "a/b.webp" and format == "webp" and len(packed(original)) <= room
        better = [
            by_pillow(raw, "WEBP", quality=more, method=6, exact=True) for more in range(quality + 1, 101)
        ]
        assert all(len(packed(Original(name, one, original.fitted))) > room for one in better)
        error = np.square(read_picture(content).astype(float) - raw).mean()
        assert psnr == pytest.approx(10 * np.log10(255**2 / error), abs=0.006)
        qualities.append(quality)
    assert qualities == sorted(qualities, reverse=True) and len(set(qualities)) > 1
    assert fitted("a/b.jpg", raw, 100) is None
    assert fitted("a.png", np.zeros((1, 16384, 3), np.uint8), 10**6) is None


def test_a_picture_without_any_room_is_not_encoded(keys, tmp_path, capsys):
    (tmp_path / "raw").mkdir()
    Image.fromarray(noise(9, 4, 3)).save(tmp_path / "raw" / "small.png")
    words = ["--method", "blur", "--seal", keys[0], "--carry", "pixels", "--carry-fit", "best"]
    assert anonymize(*words, "--input", tmp_path / "raw", "--output", tmp_path / "p") == 0
    assert "1 originals did not fit" in capsys.readouterr().err
    opened = ["--identity", keys[1], "--input", tmp_path / "p", "--output", tmp_path / "again"]
    assert recover(*opened) == 0 and files(tmp_path / "again") == files(tmp_path / "raw")


def test_png_files_hold_nothing_but_pixels(carried):
    """What is carried is in the pixels: written again, the file is the same."""
    for path in carried.rglob("*.png"):
        assert png_bytes(read_picture(path)) == path.read_bytes()
