"""Search templates: their form, where protected files carry them, and what must not open."""

from __future__ import annotations

# before fastreid: importing the package makes it work

# isort: split
import io
import random
import shutil
import struct
from collections import Counter

import numpy as np
import pytest
import torch
from in_process import anonymize, export, recover
from PIL import Image
from test_carrying import mutate as mutate_picture
from test_segments import mutate as mutate_file

from fastreid_privacy.checkpoints.splitting import split_checkpoint
from fastreid_privacy.core.errors import UserError
from fastreid_privacy.core.pictures import read_picture
from fastreid_privacy.keys import pixels, segments
from fastreid_privacy.keys.envelope import MAGIC, Original, close, seal
from fastreid_privacy.keys.pairs import HYBRID, X25519, PrivateKey
from fastreid_privacy.keys.sealing import SEARCH, new_identity, read_identity, read_sealer
from fastreid_privacy.keys.templates import (
    Searchable,
    find_beside,
    packed_template,
    seal_beside,
    unpacked_template,
)
from fastreid_privacy.manifest import MANIFEST, read_manifest
from fastreid_privacy.retrieval import load_extractor

KEY, OWNER = PrivateKey.generate(), PrivateKey.generate()
MODEL = "0123456789abcdef" * 4


def noise(*shape, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def a_feature(length=24, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 3, length).astype(np.float32)


def searchable(*keys: PrivateKey, length=24) -> Searchable:
    return Searchable(packed_template(a_feature(length), MODEL), [key.public_key for key in keys or (KEY,)])


def same(template) -> bool:
    return template.model == MODEL and np.allclose(template.feature, a_feature(), rtol=1e-3, atol=1e-3)


@pytest.fixture
def raw(tmp_path):
    """A JPEG and a PNG of another size than the model's; one below a folder."""
    (tmp_path / "raw" / "folder").mkdir(parents=True)
    for place, name in enumerate(("folder/one.jpg", "two.png")):
        picture = Image.fromarray(noise(6, 3, 3, seed=place)).resize((44, 90), Image.Resampling.BICUBIC)
        picture.save(tmp_path / "raw" / name)
    return tmp_path / "raw"


@pytest.fixture
def search(tmp_path):
    return new_identity(tmp_path / "search", None, holder=SEARCH)


@pytest.fixture
def owner(tmp_path):
    return new_identity(tmp_path / "owner", None)


# -- the form ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-6, 1, 1e6])
@pytest.mark.parametrize("length", [1, 128, 2048])
def test_a_feature_comes_back(length, scale):
    before = a_feature(length) * np.float32(scale)
    plain = packed_template(before, MODEL)
    assert len(plain) == 38 + 2 * length
    template = unpacked_template(plain + bytes(5))
    assert template.model == MODEL and template.feature.dtype == np.float32
    assert np.abs(template.feature - before).max() <= np.abs(before).max() / 2**11
    assert not unpacked_template(packed_template(np.zeros(4, np.float32), MODEL)).feature.any()


@pytest.mark.parametrize("values", [[np.nan, 1], [np.inf, 1], []])
def test_what_is_no_feature_is_not_stored(values):
    with pytest.raises(UserError):
        packed_template(np.array(values, np.float32), MODEL)


def test_forged_content_is_named():
    """Anybody who has the public key can seal."""
    head, good = struct.Struct(">32sHf"), packed_template(a_feature(3), MODEL)
    forged = (
        b"",
        good[:20],
        good[:-1],
        good + b"\1",
        head.pack(bytes(32), 0, 1.0),
        head.pack(bytes(32), 65535, 1.0) + bytes(10),
        head.pack(bytes(32), 1, np.nan) + b"\0\0",
        head.pack(bytes(32), 1, np.inf) + struct.pack(">e", 1),
        head.pack(bytes(32), 1, 1.0) + struct.pack(">e", np.inf),
    )
    picture = noise(24, 16, 3)
    for content in forged:
        with pytest.raises(UserError, match="it is no template"):
            unpacked_template(content)
        carried, _ = pixels.carry(picture, None, (), Searchable(content, [KEY.public_key]))
        if content != good[:-1]:  # which the zeros behind it complete
            with pytest.raises(UserError, match="it is no template"):
                pixels.find_template(carried, KEY)


@pytest.mark.parametrize("kind", [X25519, HYBRID])
@pytest.mark.parametrize("holders", [1, 3])
def test_every_holder_opens_and_nobody_else(kind, holders):
    keys = [PrivateKey.generate(kind) for _ in range(holders)]
    owner, other = PrivateKey.generate(kind), PrivateKey.generate(kind)
    original = Original("a", noise(90, seed=3).tobytes())
    picture, jpeg = noise(96, 96, 3), jpeg_file()
    for one in (None, original):
        template = searchable(*keys)
        carried, _ = pixels.carry(picture, one, [owner.public_key], template)
        segment = segments.carry(jpeg, one, [owner.public_key], template)
        for key in keys:
            assert same(pixels.find_template(carried, key)) and same(segments.find_template(segment, key))
            assert pixels.find(carried, key) is None and segments.find(segment, key) is None
        for key in (owner, other):
            assert pixels.find_template(carried, key) is None and segments.find_template(segment, key) is None
        assert pixels.find(carried, owner) == segments.find(segment, owner) == one


def jpeg_file(seed=0) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(noise(16, 16, 3, seed=seed)).save(buffer, "JPEG")
    return buffer.getvalue()


def test_one_pair_for_both_opens_each_as_what_it_is():
    """The purpose is bound: not even the right key takes a template for an original, or the other way."""
    template, original = searchable(KEY), Original("a", b"b" * 40)
    picture = noise(48, 24, 3)
    alone, _ = pixels.carry(picture, None, (), template)
    assert same(pixels.find_template(alone, KEY)) and pixels.find(alone, KEY) is None
    sealed, _ = pixels.carry(picture, original, [KEY.public_key])
    assert pixels.find_template(sealed, KEY) is None and pixels.find_template(sealed[::-1], KEY) is None
    both, _ = pixels.carry(picture, original, [KEY.public_key], template)
    assert same(pixels.find_template(both, KEY)) and pixels.find(both, KEY) == original
    beside = seal_beside(template, b"file")
    assert find_beside(MAGIC + beside[len(MAGIC) :], b"file", KEY) is None
    assert find_beside(seal("a", template.content, template.keys), b"file", KEY) is None
    # the content of a template, sealed as an original with the template's own words around it
    wrong = close(template.content, template.keys, b"beside " + bytes(32))
    assert find_beside(b"fastreid_privacy template 1\n" + wrong, b"file", KEY) is None


# -- in pixels -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_original", [False, True])
def test_every_flipped_bit_is_refused(with_original):
    """Of the template, of what fills up the planes and of the bits above; the original holds all of them."""
    original = Original("a", b"b" * 30) if with_original else None
    before = noise(9, 41, 3) if with_original else noise(8, 31, 3)
    picture, planes = pixels.carry(before, original, [OWNER.public_key], searchable(length=24))
    flat, whole = picture.reshape(-1), picture.size // 8 * 8
    section = searchable().length * 8 if with_original else whole * planes
    assert same(pixels.find_template(picture, KEY))
    for place in range(0, flat.size, 1 if planes == 1 else 3):
        for bit in range(planes + 1):
            flat[place] ^= 1 << bit
            held = bit * whole + place >= whole * planes - section or bit >= planes or place >= whole
            if held:
                assert pixels.find_template(picture, KEY) is None
            if with_original:
                assert pixels.find(picture, OWNER) is None
            flat[place] ^= 1 << bit
    assert same(pixels.find_template(picture, KEY)) and pixels.find(picture, OWNER) == original


def test_a_template_does_not_move_to_another_picture():
    picture, planes = pixels.carry(noise(24, 24, 3), None, (), searchable())
    bits = 2**planes - 1
    moved = noise(24, 24, 3, seed=5) & (255 - bits) | picture & bits
    assert pixels.find_template(moved, KEY) is None and pixels.find_template(picture & 248, KEY) is None
    segment = segments.carry(jpeg_file(), None, (), searchable())
    ours = segment[2 : len(segment) - len(jpeg_file()) + 2]
    assert segments.find_template(segment, KEY) and b"fastreid_privacy.template" in segment
    assert segments.find_template(jpeg_file(1)[:20] + ours + jpeg_file(1)[20:], KEY) is None
    assert find_beside(seal_beside(searchable(), b"file"), b"File", KEY) is None
    assert same(find_beside(seal_beside(searchable(), b"file"), b"file", KEY))


def fuzz_templates(count: int, seed: int = 0) -> Counter:
    """How many mutated carriers opened nothing, by the way, and how many were not changed.

    The carriers are a picture, a JPEG file, and a file with its template beside it. None opens wrongly.
    """
    rng, outcomes = random.Random(seed), Counter()
    picture, _ = pixels.carry(noise(16, 24, 3), None, (), searchable())
    segment, beside = segments.carry(jpeg_file(), None, (), searchable()), seal_beside(searchable(), b"file")
    for turn in range(count):
        way = ("pixels", "segment", "beside")[turn % 3]
        if way == "pixels":
            changed = mutate_picture(picture, rng)
            found, whole = pixels.find_template(changed, KEY), np.array_equal(changed, picture)
        elif way == "segment":
            changed = mutate_file(segment, rng)
            found, whole = segments.find_template(changed, KEY), changed == segment
        else:
            changed = mutate_file(beside, rng)
            found, whole = find_beside(changed, b"file", KEY), changed == beside
        assert same(found) if whole else found is None
        outcomes["same" if whole else way] += 1
    return outcomes


def test_mutations_open_nothing_wrong():
    outcomes = fuzz_templates(450)
    assert min(outcomes[way] for way in ("pixels", "segment", "beside")) > 130


def test_as_few_planes_as_hold_both_and_all_filled():
    """The planes look random to the last byte, whatever is in them."""
    for length in (0, 100, 1500, 3000):
        original = Original("a", noise(length).tobytes())
        picture, planes = pixels.carry(noise(64, 64, 3), original, [OWNER.public_key], searchable())
        assert planes == (1 if length < 1500 else 2 if length < 3000 else 3)
        for plane in range(planes):
            values = np.packbits(picture.reshape(-1) >> plane & 1)
            counts = np.bincount(values, minlength=256)
            assert (np.square(counts - 6).sum() / 6) < 255 + 6 * np.sqrt(2 * 255)
    assert pixels.carry(noise(2, 3, 3), None, (), searchable()) is None
    assert pixels.find_template(noise(2, 3, 3), KEY) is None


# -- key files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [X25519, HYBRID])
def test_a_search_key_is_no_key_of_originals(tmp_path, kind, capsys):
    words = ["--new-search", "--output", tmp_path / "s", "--unencrypted", "--key-type", kind]
    assert export(*words) == 0 and "those who may search" in capsys.readouterr().out
    public, private = tmp_path / "s" / "search.pub", tmp_path / "s" / "search.key"
    identity, secret = new_identity(tmp_path / "i", None, kind)
    assert read_sealer([public], SEARCH).keys[0] == read_identity(private, holder=SEARCH).public_key
    for wrong in (lambda: read_sealer([public]), lambda: read_identity(private)):
        with pytest.raises(UserError, match="is a key of templates; for originals take identity"):
            wrong()
    for wrong in (
        lambda: read_sealer([identity], SEARCH),
        lambda: read_identity(secret, holder=SEARCH),
    ):
        with pytest.raises(UserError, match="is a key of originals; for templates take search"):
            wrong()
    for path in (private, secret):
        with pytest.raises(UserError, match=r"is a private key: .* seal with search\.pub"):
            read_sealer([path], SEARCH)
    assert export(*words) == 2 and "is there already" in capsys.readouterr().err
    shutil.copy(identity, public)
    with pytest.raises(UserError, match="is a key of originals"):
        read_sealer([public], SEARCH)


# -- collections ---------------------------------------------------------------------------------------------


def words_of(way: str) -> list[str]:
    return ["--carry", way, *(["--format", "jpg"] if way == "segment" else [])] if way != "beside" else []


def found_in(path, key):
    content = path.read_bytes()
    beside = path.with_name(f"{path.name}.template")
    if beside.exists():
        return find_beside(beside.read_bytes(), content, key)
    if path.suffix == ".jpg":
        return segments.find_template(content, key)
    return pixels.find_template(read_picture(content), key)


@pytest.mark.parametrize("way", ["beside", "pixels", "segment"])
@pytest.mark.parametrize("sealed", [False, True])
def test_protected_files_carry_the_feature_of_the_raw_picture(
    raw, search, owner, weights, tmp_path, capsys, way, sealed
):
    out = tmp_path / "p"
    words = ["--method", "blur", "--input", raw, "--output", out, "--search", search[0], "--reid", weights]
    words += [*words_of(way), *(["--seal", owner[0]] if sealed else []), "--device", "cpu"]
    assert anonymize(*words) == 0
    said = capsys.readouterr().out
    inside = 0 if way == "beside" else 2
    assert f"{inside} templates are carried in the files, {2 - inside} lie beside" in said
    manifest = read_manifest(out / MANIFEST)
    key, extract = read_identity(search[1], holder=SEARCH), load_extractor(weights, "cpu")
    assert manifest.header["reid"] == extract.fingerprint and manifest.header["sealed"] is sealed
    for path, entry in manifest.entries.items():
        source = next(raw.rglob(f"{path.split('/')[-1].split('.')[0]}.*"))
        expected = extract(extract.transform(Image.fromarray(read_picture(source)))[None])[0].numpy()
        template = found_in(out / path, key)
        assert template.model == extract.fingerprint
        assert np.abs(template.feature - expected).max() < np.abs(expected).max() / 1000
        assert ("template" in entry) == (way == "beside") and entry.get("template_carried", "beside") == way
    if sealed:
        opened = ["--identity", owner[1], "--input", out, "--output", tmp_path / "again"]
        assert recover(*opened) == 0
        for path in raw.rglob("*.*"):
            assert (tmp_path / "again" / path.relative_to(raw)).read_bytes() == path.read_bytes()
    else:
        assert recover("--identity", owner[1], "--input", out, "--output", tmp_path / "again") == 2
    # a killed run goes on, and a template that somebody changed is noticed
    lost = out / sorted(manifest.entries)[0]
    lost.unlink()
    assert anonymize(*words) == 0 and found_in(lost, key) is not None
    changed = next(out.rglob("*.template"), None)
    if changed:
        changed.write_bytes(changed.read_bytes()[:-1])
        assert anonymize(*words) == 2 and "was changed since it was written" in capsys.readouterr().err


def test_learned_files_and_the_part_for_researchers(raw, search, weights, tmp_path):
    """reid.pth has the fingerprint of the checkpoint that it was split from, and gives the same templates."""
    assert export("--weights", weights, "--output", tmp_path / "r", "--unencrypted") == 0
    key, found = read_identity(search[1], holder=SEARCH), {}
    for name, model in (("whole", weights), ("part", tmp_path / "r" / "reid.pth")):
        words = ["--weights", weights, "--input", raw, "--output", tmp_path / name, "--carry", "pixels"]
        assert anonymize(*words, "--search", search[0], "--reid", model, "--device", "cpu") == 0
        found[name] = [found_in(path, key) for path in sorted((tmp_path / name).rglob("*.png"))]
    for one, other in zip(*found.values(), strict=True):
        assert one.model == other.model and np.array_equal(one.feature, other.feature)
    assert not load_extractor(tmp_path / "r" / "reid.pth", "cpu").anonymizes


def test_what_does_not_fit_lies_beside(search, owner, weights, tmp_path, capsys):
    """A picture of a few pixels has no room; one where either fits alone keeps the original as it is."""
    (tmp_path / "raw").mkdir()
    Image.fromarray(noise(9, 4, 3)).save(tmp_path / "raw" / "few.png")
    Image.fromarray(noise(8, 8, 3)).resize((30, 40)).save(tmp_path / "raw" / "some.jpg", quality=60)
    words = ["--method", "blur", "--input", tmp_path / "raw", "--carry", "pixels", "--seal", owner[0]]
    words += ["--search", search[0], "--reid", weights, "--device", "cpu", "--output", tmp_path / "p"]
    assert anonymize(*words) == 0
    assert "0 templates are carried in the files, 2 lie beside" in capsys.readouterr().out
    entries = read_manifest(tmp_path / "p" / MANIFEST).entries
    assert "sealed" in entries["few.png"] and entries["some.png"]["carried"] == "pixels"
    key = read_identity(search[1], holder=SEARCH)
    assert all(found_in(tmp_path / "p" / path, key) for path in entries)
    assert recover("--identity", owner[1], "--input", tmp_path / "p", "--output", tmp_path / "again") == 0


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--search", "SEARCH"], "--search needs the Re-ID model"),
        (["--reid", "WEIGHTS"], "give the key with --search"),
        (["--search", "OWNER", "--reid", "WEIGHTS"], "is a key of originals"),
        (["--search", "PRIVATE", "--reid", "WEIGHTS"], "is a private key"),
        (["--search", "SEARCH", "--search", "SEARCH", "--reid", "WEIGHTS"], "--search names one key twice"),
        (
            ["--search", "SEARCH", "--reid", "MISSING"],
            "MISSING does not exist; name a model_best.pth, or the reid.pth",
        ),
        (
            ["--search", "SEARCH", "--reid", "WEIGHTS", "--carry", "pixels", "--carry-fit", "best"],
            "--carry-fit says what becomes of originals",
        ),
    ],
)
def test_options_that_do_not_go_together(raw, search, owner, weights, tmp_path, capsys, more, said):
    known = {"SEARCH": search[0], "PRIVATE": search[1], "OWNER": owner[0], "WEIGHTS": weights}
    words = [known.get(word, tmp_path / word if word == "MISSING" else word) for word in more]
    assert anonymize("--method", "blur", "--input", raw, "--output", tmp_path / "p", *words) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "p").exists()


def test_the_part_of_somebody_else_is_no_reid_model(raw, search, weights, tmp_path, capsys):
    parts = split_checkpoint(weights, tmp_path / "release", None)
    words = ["--method", "blur", "--input", raw, "--output", tmp_path / "p", "--search", search[0]]
    for part in ("anonymizer", "recovery"):
        assert anonymize(*words, "--reid", parts[part]) == 2
        assert f"{parts[part]} holds no Re-ID model; name a model_best.pth" in capsys.readouterr().err


def test_broken_weights_end_the_run(raw, search, weights, tmp_path, capsys):
    checkpoint = torch.load(weights, weights_only=True)
    name = next(name for name in checkpoint["model"] if name.startswith("backbone") and "weight" in name)
    checkpoint["model"][name].fill_(float("nan"))
    torch.save(checkpoint, tmp_path / "broken.pth")
    words = ["--method", "blur", "--input", raw, "--output", tmp_path / "p", "--search", search[0]]
    assert anonymize(*words, "--reid", tmp_path / "broken.pth", "--device", "cpu") == 2
    assert "is not finite: its weights are broken" in capsys.readouterr().err
