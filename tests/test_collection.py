"""``tools/anonymize.py`` and ``tools/recover.py`` on folders and data sets."""

from __future__ import annotations

import fastreid_privacy  # before fastreid

# isort: split
import hashlib
import hmac
import io
import json
import os
import re
import shutil
import struct
import tarfile
import threading
import time
from collections import Counter

import numpy as np
import pytest
import torch
from conftest import SMALL_DATASET
from forged_manifests import write_forged
from in_process import anonymize, contents, recover
from killed_protecting import ends_of_killed_runs
from PIL import Image, PngImagePlugin
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from fastreid_privacy.collection import floor, protected_files, staging
from fastreid_privacy.collection import run as run_module
from fastreid_privacy.collection.pipeline import AHEAD, side_by_side
from fastreid_privacy.collection.source import folder_source
from fastreid_privacy.collection.stamps import STAMPS
from fastreid_privacy.compat.labels import MARKET_FOLDER
from fastreid_privacy.core.errors import UserError
from fastreid_privacy.core.folders import ENDINGS
from fastreid_privacy.core.pictures import FORMATS, read_picture
from fastreid_privacy.keys.sealing import new_identity
from fastreid_privacy.manifest import JOURNAL, MANIFEST, read_manifest

SMALL_KEYS = [
    word for key, value in SMALL_DATASET.items() for word in (f"DATASETS.SYNTHETIC.{key.upper()}", value)
]


def pixels(path):
    with Image.open(path) as file:
        return np.array(file.convert("RGB"))


def differences(first, second):
    """Of two pictures, in levels."""
    assert first.shape == second.shape
    return np.abs(first.astype(int) - second)


def assert_decoded(weights, protected, recovered, levels=2):
    """Each recovered file is what the decoder gives of its protected one, in raw size, and not that itself.

    Args:
        weights: the checkpoint.
        protected, recovered: folders.
        levels: how far a value may be off: one that a batch's last digits round otherwise, stretched by the
            bicubic resizing.
    """
    key, entries = fastreid_privacy.load_recovery(weights, "cpu"), read_manifest(protected / MANIFEST).entries
    assert entries
    for name, entry in entries.items():
        picture, size = pixels(protected / name), (entry["width"], entry["height"])
        decoded = key(torch.from_numpy(picture).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()
        stored, expected = (
            np.array(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
            for image in (picture, decoded)
        )
        written = pixels((recovered / name).with_suffix(".png"))
        assert differences(written, expected).max() <= levels
        assert differences(written, stored).mean() > 5 or size == (1, 1)


@pytest.fixture(scope="module")
def raw(small_dataset, tmp_path_factory):
    """Pictures of several sizes in folders with spaces and other alphabets."""
    root = tmp_path_factory.mktemp("raw")
    (root / "cam 1").mkdir()
    (root / "保護" / "tief").mkdir(parents=True)
    for number, file in enumerate(sorted(small_dataset.glob("*/bounding_box_test/*"))[:14]):
        folder = root / ("cam 1" if number % 2 else "保護/tief")
        with Image.open(file) as picture:
            picture.resize((32 + 3 * number, 64 + 5 * number)).save(
                folder / f"pérson {number:02d}.jpg", quality=95
            )
    return root


@pytest.fixture(scope="module")
def protected(weights, raw, tmp_path_factory):
    """The raw pictures, protected; to be read, or copied."""
    out = tmp_path_factory.mktemp("collections") / "protected"
    assert anonymize("--weights", weights, "--input", raw, "--output", out) == 0
    return out


def test_protected_files_are_what_the_anonymizer_gives(weights, raw, tmp_path):
    out = tmp_path / "out"
    assert (
        anonymize("--weights", weights, "--input", raw, "--output", out, "--batch-size", 4, "--workers", 2)
        == 0
    )
    protect_images = fastreid_privacy.load_anonymizer(weights, "cpu")
    sources = sorted(raw.rglob("*.jpg"))
    assert sorted(contents(out)) == sorted(
        [
            STAMPS,
            "manifest.jsonl",
            *(path.relative_to(raw).with_suffix(".png").as_posix() for path in sources),
        ]
    )
    manifest = read_manifest(out / "manifest.jsonl")
    assert manifest.complete and manifest.header["anonymizer"] == protect_images.fingerprint
    for path in sources:
        with Image.open(path) as picture:
            size = picture.size
            image = torch.from_numpy(np.array(picture.resize((32, 64), Image.Resampling.BICUBIC)))
        expected = protect_images(image.permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()
        name = path.relative_to(raw).with_suffix(".png").as_posix()
        assert expected.std() > 10  # of a picture without contrast, a level says nothing
        # a batch's last digits can round a level differently than a single image
        assert differences(pixels(out / name), expected).max() <= 1
        entry = manifest.entries[name]
        assert (entry["width"], entry["height"]) == size
        assert entry["sha256"] == hashlib.sha256((out / name).read_bytes()).hexdigest()


def assert_printed(printed, name, psnr, ssim):
    """The line of an image has these figures, but for how the last digit is rounded."""
    (line,) = (line for line in printed.splitlines() if line.endswith(f"  {name}"))
    words = line.split()
    assert (words[1], words[2]) == ("dB", "SSIM")
    assert float(words[0]) == pytest.approx(psnr, abs=0.0051)
    assert float(words[3]) == pytest.approx(ssim, abs=6e-5)


def test_recovered_files_are_what_the_decoder_gives_and_are_measured(
    weights, protected, raw, tmp_path, capsys
):
    shutil.copytree(protected, tmp_path / "p")
    assert (
        recover("--key", weights, "--input", tmp_path / "p", "--output", tmp_path / "r", "--verify", raw) == 0
    )
    printed = capsys.readouterr().out
    assert_decoded(weights, tmp_path / "p", tmp_path / "r")  # the figures are of these
    errors, values, ssims = 0.0, 0, []
    for path in sorted(raw.rglob("*.jpg")):
        name = path.relative_to(raw).with_suffix(".png")
        original, recovered = (
            torch.from_numpy(pixels(file)).permute(2, 0, 1)[None].float()
            for file in (path, tmp_path / "r" / name)
        )
        assert original.shape == recovered.shape
        psnr = peak_signal_noise_ratio(recovered, original, data_range=255.0)
        ssims.append(float(structural_similarity_index_measure(recovered, original, data_range=255.0)))
        assert_printed(printed, str(name), float(psnr), ssims[-1])
        errors, values = errors + float((recovered - original).square().sum()), values + original.numel()
    in_all = 10 * np.log10(255**2 * values / errors)
    assert_printed(printed, f"in all, {len(ssims)} images", in_all, float(np.mean(ssims)))


def test_what_has_no_raw_image_is_recovered_all_the_same(weights, protected, raw, tmp_path, capsys):
    words = ["--key", weights, "--input", tmp_path / "p"]
    shutil.copytree(protected, tmp_path / "p")
    assert recover(*words, "--output", tmp_path / "r") == 0
    some = shutil.copytree(raw, tmp_path / "some")
    gone = sorted(some.rglob("*.jpg"))[0]
    gone.unlink()
    capsys.readouterr()
    # into the same folder, which is finished
    assert recover(*words, "--output", tmp_path / "r", "--verify", some) == 2
    printed = capsys.readouterr()
    assert (
        "1 images were not compared" in printed.err
        and gone.relative_to(some).with_suffix(".png").as_posix() in printed.err
    )
    assert "in all, 13 images" in printed.out and "14 of 14 images recovered" in printed.out
    assert len(list((tmp_path / "r").rglob("*.png"))) == 14
    assert recover(*words, "--output", tmp_path / "r", "--verify", tmp_path / "absent") == 2
    assert "--verify" in capsys.readouterr().err


def test_no_key_undoes_a_conventional_operator(weights, raw, tmp_path, capsys):
    assert anonymize("--method", "blur", "--input", raw, "--output", tmp_path / "p") == 0
    assert recover("--key", weights, "--input", tmp_path / "p", "--output", tmp_path / "r") == 2
    assert "protected by blur, which no key undoes" in capsys.readouterr().err


@pytest.mark.parametrize("quality", [90, 50])
def test_jpg_files_have_that_quality(weights, raw, tmp_path, quality, capsys):
    words = ["--weights", weights, "--input", raw]
    assert anonymize(*words, "--output", tmp_path / "png") == 0
    assert anonymize(*words, "--output", tmp_path / "jpg", "--format", "jpg", "--quality", quality) == 0
    assert f"trained for png files; recovery and Re-ID on jpeg{quality}" in capsys.readouterr().err
    for path in (tmp_path / "png").rglob("*.png"):
        buffer = io.BytesIO()
        Image.fromarray(pixels(path)).save(buffer, format="JPEG", quality=quality, subsampling="4:2:0")
        stored = tmp_path / "jpg" / path.relative_to(tmp_path / "png").with_suffix(".jpg")
        assert stored.read_bytes() == buffer.getvalue()
    assert recover("--key", weights, "--input", tmp_path / "jpg", "--output", tmp_path / "r") == 0
    assert_decoded(weights, tmp_path / "jpg", tmp_path / "r")


def test_a_data_set_stays_a_data_set(weights, small_dataset, tmp_path, monkeypatch):
    words = ["--weights", weights, "--input", "SyntheticPedestrians", "--format", "jpg", "--output", tmp_path]
    assert anonymize(*words, *SMALL_KEYS) == 0
    (raw_folder,), (folder,) = small_dataset.glob("Synthetic*"), tmp_path.glob("Synthetic*")
    assert folder.name == raw_folder.name
    again = fastreid_privacy.data.SyntheticPedestrians(tmp_path, verbose=False, **SMALL_DATASET)
    before = fastreid_privacy.data.SyntheticPedestrians(small_dataset, verbose=False, **SMALL_DATASET)
    for part in ("train", "query", "gallery"):
        assert [item[1:] for item in getattr(again, part)] == [item[1:] for item in getattr(before, part)]
        assert all(str(item[0]).startswith(str(tmp_path)) for item in getattr(again, part))


def test_a_data_set_that_is_a_link_keeps_its_name(linked_dataset, tmp_path, capsys):
    words = ["--method", "blur", "--input", "SyntheticPedestrians", *SMALL_KEYS]
    assert anonymize(*words, "--output", tmp_path / "out") == 0
    raw = {path.relative_to(linked_dataset.parent).with_suffix(".png") for path in linked_dataset.glob("*/*")}
    assert {path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*.png")} == raw
    # the link's folder is no place for protected files, nor one around it: they have the names of raw ones
    for output in (tmp_path / "disk", tmp_path / "disk" / "people" / "query" / "out"):
        before = contents(tmp_path / "disk")
        assert anonymize(*words, "--output", output) == 2
        assert "lie in each other" in capsys.readouterr().err
        assert contents(tmp_path / "disk") == before


# -- killed runs ---------------------------------------------------------------------------------------------


def test_killed_at_random_points_it_ends_byte_identical(weights, raw, tmp_path):
    words = ["--weights", weights, "--input", raw, "--batch-size", 3, "--workers", 2, "--device", "cpu"]
    random = np.random.default_rng(0)
    ends = ends_of_killed_runs(random.integers(3, 23, 40).tolist(), *words, "--output", tmp_path / "killed")
    assert len(ends) > 3
    assert anonymize(*words, "--output", tmp_path / "whole") == 0
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_a_torn_line_of_the_journal_is_made_again(weights, raw, tmp_path, monkeypatch):
    words = ["--weights", weights, "--input", raw, "--batch-size", 3]
    assert anonymize(*words, "--output", tmp_path / "whole") == 0
    interrupted(monkeypatch, *words, "--output", tmp_path / "torn")
    journal = tmp_path / "torn" / run_module.JOURNAL
    journal.write_bytes(journal.read_bytes()[:-40])
    assert anonymize(*words, "--output", tmp_path / "torn") == 0
    assert contents(tmp_path / "torn") == contents(tmp_path / "whole")


def interrupted(monkeypatch, *words):
    """A run that ends before its manifest, as at Ctrl-C."""
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "write_manifest", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert anonymize(*words) == 130


@pytest.mark.parametrize(
    ("method", "key", "value", "other"),
    [
        ("blur", "BLUR_SIGMA", 12, 4),
        ("pixelate", "PIXEL_BLOCK", 24, 12),
        ("pixelate", "PIXEL_REDUCE", "mean", "corner"),
        ("noise", "NOISE_STD", 0.5, 0.2),
        ("mask", "MASK_REGION", "(0, 0, 1, 1)", "(0, 0, 0.5, 1)"),
    ],
)
def test_a_run_begun_with_other_options_is_not_continued(
    raw, tmp_path, monkeypatch, capsys, method, key, value, other
):
    out, key = tmp_path / "out", f"PRIVACY.DESENSITIZER.{key}"
    words = ["--method", method, "--input", raw, "--output", out, key]
    interrupted(monkeypatch, *words, value)
    for finished in (False, True):
        before = contents(out)
        assert anonymize(*words, other) == 2
        assert f"--output {out} was made otherwise (anonymizer " in capsys.readouterr().err
        assert contents(out) == before
        assert finished or anonymize(*words, value) == 0


@pytest.mark.parametrize(("when", "method"), [(1, "noise"), (4, "noise"), (9, "noise"), (4, "learned")])
def test_the_key_of_noise_outlives_a_killed_run(raw, noise_weights, tmp_path, monkeypatch, when, method):
    """A second key would leave pictures of the first as files of others, or a batch in two noises."""
    drawn, add, batches = [], run_module.Journal.add, []

    def token_bytes(count):
        drawn.append(hashlib.sha256(bytes([len(drawn)])).digest()[:count])
        return drawn[-1]

    def killed(self, entries):
        entries = [*entries]
        add(self, entries)
        batches.extend([None] * bool(entries))  # a batch without new lines asks, too
        if entries and len(batches) == when:
            raise KeyboardInterrupt  # a line of the journal is there, and not its file

    monkeypatch.setattr(protected_files.secrets, "token_bytes", token_bytes)
    weights = ["--weights", noise_weights] if method == "learned" else []
    words = ["--method", method, *weights, "--input", raw, "--batch-size", 1, "--workers", 1, "--output"]
    with monkeypatch.context() as patch:
        patch.setattr(run_module.Journal, "add", killed)
        assert anonymize(*words, tmp_path / "killed") == 130
    path = tmp_path / "killed" / protected_files.NOISE_KEY
    assert path.read_bytes() == drawn[0] and path.stat().st_mode & 0o777 == 0o600
    assert len(list((tmp_path / "killed").rglob("*.png"))) >= when - 1
    assert anonymize(*words, tmp_path / "killed") == 0
    assert len(drawn) == 1 and not path.exists()
    drawn.clear()  # the same key again, for a run that nothing interrupts
    assert anonymize(*words, tmp_path / "whole") == 0
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_a_second_run_into_the_same_folder_waits_for_nothing(weights, raw, tmp_path, capsys):
    words = ["--weights", weights, "--input", raw, "--output", tmp_path / "out"]
    with run_module.open_output(tmp_path / "out", {}):
        assert anonymize(*words) == 2
        assert "another run writes to" in capsys.readouterr().err and not contents(tmp_path / "out")
    assert anonymize(*words) == 0


# -- odd inputs ----------------------------------------------------------------------------------------------


def save(picture, path, **options):
    picture.save(path, **options)
    return path


def grey_tiff(levels, bits, photometric):
    """A TIFF file of one strip, as its specification says; ``photometric`` 0: white is 0; None: not said.

    Bits of several samples follow each other, the first ones of each in front; whole bytes are the other way
    round, as the file's "II" says.
    """
    if bits == 16:
        strip = levels.astype("<u2").tobytes()
    else:
        strip = np.packbits((levels[..., None] >> np.arange(bits)[::-1] & 1).astype(np.uint8)).tobytes()
    height, width = levels.shape
    values = {256: width, 257: height, 258: bits, 259: 1, 273: 8, 277: 1, 278: height, 279: len(strip)}
    values |= {} if photometric is None else {262: photometric}
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(values.items()))
    head = struct.pack("<2sHI", b"II", 42, 8 + len(strip))
    return head + strip + struct.pack("<H", len(values)) + directory + bytes(4)


def odd_files(folder):
    """name → the picture that is to be seen, or the reason why there is none."""
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (20, 12, 3), np.uint8)
    picture, grey = Image.fromarray(rgb), Image.fromarray(rgb[..., 0])
    expected = {}
    save(grey, folder / "grey.png")
    expected["grey.png"] = np.repeat(rgb[..., :1], 3, axis=2)
    deep = rng.integers(0, 65536, (20, 12), np.uint16)
    save(Image.fromarray(deep), folder / "deep.png")
    expected["deep.png"] = np.repeat(np.round(deep / 257).astype(np.uint8)[..., None], 3, axis=2)
    seen_through = Image.fromarray(deep)
    seen_through.save(folder / "deep and transparent.png", transparency=int(deep[3, 4]))
    expected["deep and transparent.png"] = expected["deep.png"].copy()
    expected["deep and transparent.png"][deep == deep[3, 4]] = 255
    (folder / "deeper.pgm").write_bytes(b"P5 12 20 65535\n" + deep.astype(">u2").tobytes())
    expected["deeper.pgm"] = expected["deep.png"]
    (folder / "twelve bits.pgm").write_bytes(b"P5 12 20 4095\n" + (deep >> 4).astype(">u2").tobytes())
    expected["twelve bits.pgm"] = expected["deep.png"]
    Image.frombytes("I;16B", (12, 20), deep.astype(">u2").tobytes()).save(folder / "turned bytes.tif")
    expected["turned bytes.tif"] = expected["deep.png"]
    twelve, sixteen = (
        np.round(deep.astype(float) // 2 ** (16 - bits) / (2**bits - 1) * 255) for bits in (12, 16)
    )
    kinds = ((12, 1, twelve), (16, 1, sixteen), (16, 0, 255 - sixteen), (16, None, 255 - sixteen))
    for bits, photometric, seen in kinds:
        name = f"{bits} bits, photometric {photometric}.tif"
        (folder / name).write_bytes(grey_tiff(deep >> 16 - bits, bits, photometric))
        expected[name] = np.repeat(seen[..., None], 3, axis=2)
    palette = picture.quantize(16)
    save(palette, folder / "palette.png")
    expected["palette.png"] = np.array(palette.convert("RGB"))
    alpha = rng.integers(0, 256, (20, 12), np.uint8)
    save(Image.fromarray(np.dstack([rgb, alpha])), folder / "alpha.png")
    share = alpha[..., None] / 255
    expected["alpha.png"] = np.round(rgb * share + 255 * (1 - share))
    picture.save(
        folder / "stereo.mpo", "MPO", save_all=True, append_images=[picture.rotate(180)], quality=100
    )
    expected["stereo.mpo"] = np.array(Image.open(folder / "stereo.mpo").convert("RGB"))
    save(picture.convert("CMYK"), folder / "cmyk.jpg", quality=100)
    expected["cmyk.jpg"] = np.array(Image.open(folder / "cmyk.jpg").convert("RGB"))
    exif = picture.getexif()
    exif[0x0112] = 6
    save(picture, folder / "rotated.png", exif=exif)
    expected["rotated.png"] = np.rot90(rgb, -1)
    save(picture.crop((0, 0, 1, 1)), folder / "one.png")
    expected["one.png"] = rgb[:1, :1]
    save(picture.convert("1"), folder / "black-white.png")
    expected["black-white.png"] = np.array(picture.convert("1").convert("RGB"))
    save(picture, folder / "web.webp", lossless=True)
    expected["web.webp"] = rgb
    picture.save(folder / "of a browser.jfif", quality=100, subsampling=0)
    expected["of a browser.jfif"] = np.array(Image.open(folder / "of a browser.jfif"))
    picture.save(folder / "small.avif")
    expected["small.avif"] = np.array(Image.open(folder / "small.avif"))
    (folder / "empty.jpg").write_bytes(b"")
    expected["empty.jpg"] = "empty"
    (folder / "text.jpg").write_text("no picture")
    expected["text.jpg"] = "no image file"
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (200, 100, 3), np.uint8)).save(buffer, format="JPEG")
    (folder / "cut.jpg").write_bytes(buffer.getvalue()[:2000])
    expected["cut.jpg"] = "damaged"
    for name in ("moves.gif", "moves too.png", "film.webp", "clip.avif", "pages.tif"):
        picture.save(folder / name, save_all=True, append_images=[picture.rotate(180)])
        expected[name] = "2 pictures .*: save each as an image of its own$"
    for name in ("moves.gif", "moves too.png"):
        expected[name] = "2 pictures .*: save each as an image of its own, or protect the file as a video$"
    save(Image.fromarray(rng.random((20, 12), np.float32)), folder / "float.tiff")
    expected["float.tiff"] = "its values are floating-point numbers, whose black"
    save(Image.fromarray(deep.astype(np.int32)), folder / "whole.tiff")
    expected["whole.tiff"] = "its values are whole numbers with a sign or of more than 16 bits, whose black"
    huge = bytearray(buffer.getvalue())
    at = huge.index(b"\xff\xc0")
    huge[at + 5 : at + 9] = b"\xff\xff\xff\xff"
    (folder / "huge.jpg").write_bytes(huge)
    expected["huge.jpg"] = "pixels"
    # Pillow would start Ghostscript with it
    picture.save(folder / "program.jpg", format="EPS")
    expected["program.jpg"] = "it is no image file"
    os.mkfifo(folder / "pipe.jpg")
    expected["pipe.jpg"] = "no regular file"
    (folder / "nowhere.jpg").symlink_to(folder / "absent.jpg")
    expected["nowhere.jpg"] = "cannot be read"
    return expected


def test_the_kinds_that_are_opened_are_those_that_are_searched_for():
    assert {Image.registered_extensions()[ending] for ending in ENDINGS} == {*FORMATS, "MPO"}


def test_odd_pictures_are_seen_or_named(tmp_path):
    for name, seen in odd_files(tmp_path).items():
        if isinstance(seen, str):
            with pytest.raises(UserError, match=seen):
                read_picture(tmp_path / name)
        else:
            read = read_picture(tmp_path / name)
            assert read.shape == seen.shape and read.dtype == np.uint8, name
            assert np.abs(read.astype(float) - seen).max() <= 1, name


def test_odd_files_are_reported_by_name_and_the_rest_goes_on(weights, tmp_path, capsys):
    raw, out = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    expected = odd_files(raw)
    (raw / "loop").symlink_to(raw)
    (raw / "notes.txt").write_text("no picture")
    assert anonymize("--weights", weights, "--input", raw, "--output", out) == 2
    told = capsys.readouterr().err
    assert "notes.txt" in told and "loop" in told
    manifest = read_manifest(out / "manifest.jsonl")
    for name, seen in expected.items():
        target = os.path.splitext(name)[0] + ".png"
        if isinstance(seen, str):
            assert re.search(seen, manifest.failed[target]) and f"  {name}: " in told
            assert not (out / target).exists()
        else:
            assert (manifest.entries[target]["width"], manifest.entries[target]["height"]) == seen.shape[
                1::-1
            ]
            assert pixels(out / target).shape == (64, 32, 3)
    assert recover("--key", weights, "--input", out, "--output", tmp_path / "recovered") == 0
    assert_decoded(weights, out, tmp_path / "recovered")
    assert pixels(tmp_path / "recovered" / "one.png").shape == (1, 1, 3)


def test_nothing_of_the_raw_file_but_its_size_is_kept(weights, small_dataset, tmp_path):
    source = next(small_dataset.glob("*/query/*"))
    secret = b"SECRET of the camera"
    raw, text, exif = tmp_path / "raw", PngImagePlugin.PngInfo(), Image.Exif()
    raw.mkdir()
    text.add_text("comment", secret.decode())
    exif[0x010E] = secret.decode()
    with Image.open(source) as picture:
        picture.save(raw / "a.jpg", exif=exif, comment=secret, icc_profile=secret)
        picture.save(raw / "b.png", pnginfo=text, exif=exif, icc_profile=secret)
    for kind in ("png", "jpg"):
        out = tmp_path / kind
        assert anonymize("--weights", weights, "--input", raw, "--output", out, "--format", kind) == 0
        for name, content in contents(out).items():
            assert secret not in content, name
            if name not in (STAMPS, "manifest.jsonl"):
                with Image.open(io.BytesIO(content)) as file:
                    assert not file.getexif() and not {"icc_profile", "comment", "exif"} & set(file.info)
    hashes = {hashlib.sha256(path.read_bytes()).hexdigest() for path in raw.iterdir()}
    assert not any(value in (tmp_path / "png" / "manifest.jsonl").read_text() for value in hashes)


def test_what_is_sealed_is_what_was_protected(raw, tmp_path, monkeypatch):
    """Each raw file is read once: here every one becomes another picture right after its first read."""
    folder, reads, read = shutil.copytree(raw, tmp_path / "raw"), Counter(), protected_files.read_regular
    before = contents(folder)
    public, private = new_identity(tmp_path / "keys", None)

    def read_and_replace(path, *bound):
        content = read(path, *bound)
        reads[path] += 1
        Image.effect_noise((50, 70), 50 * reads[path]).save(path)
        return content

    words = ["--method", "blur", "--seal", public]
    monkeypatch.setattr(protected_files, "read_regular", read_and_replace)
    assert anonymize(*words, "--input", folder, "--output", tmp_path / "p") == 0
    assert len(reads) == 14 and set(reads.values()) == {1} and contents(folder) != before
    monkeypatch.undo()
    assert anonymize(*words, "--input", raw, "--output", tmp_path / "unchanged") == 0
    protected, unchanged = contents(tmp_path / "p"), contents(tmp_path / "unchanged")
    assert all(protected[name] == unchanged[name] for name in unchanged if name.endswith(".png"))
    assert recover("--identity", private, "--input", tmp_path / "p", "--output", tmp_path / "again") == 0
    assert contents(tmp_path / "again") == before


@pytest.mark.parametrize("where", ["folder", "tar", "store"])
def test_pictures_of_kinds_that_are_not_read_are_named_as_unprotected(raw, tmp_path, capsys, where):
    """Beside others, and alone; a JPEG picture of the same name is none of a shared name."""
    folder = tmp_path / "phone"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "IMG_1.HEIC").write_bytes(b"of a phone")
    (folder / ".hidden.heic").write_bytes(b"of a phone")
    (folder / "notes.txt").touch()
    given = {"folder": folder, "store": f"local://{folder}", "tar": tmp_path / "phone.tar"}[where]
    told = {"tar": "phone.tar/inner/IMG_1.HEIC"}.get(where, "inner/IMG_1.HEIC")
    told += ": HEIC pictures are not read: convert it to JPEG or PNG"

    def protect():
        if where == "tar":
            with tarfile.open(given, "w") as archive:
                for file in folder.rglob("*"):
                    archive.add(file, file.relative_to(folder), recursive=False)
        code = anonymize("--method", "blur", "--input", given, "--output", tmp_path / "out")
        return code, *capsys.readouterr()

    code, _, err = protect()
    assert code == 2 and told in err and not (tmp_path / "out").exists()
    shutil.copy(next(raw.rglob("*.jpg")), folder / "inner" / "IMG_1.jpg")
    code, out, err = protect()
    assert code == 2 and "1 of 1 images protected" in out
    assert f"error: 1 images were not protected:\n  {told}\n" in err
    (left_out,) = [line for line in err.splitlines() if line.startswith("left out, for they are no images")]
    assert "notes.txt" in left_out and ".hidden.heic" in left_out and "IMG_1" not in left_out


def test_a_picture_that_is_not_read_is_no_video_either(tmp_path, capsys):
    (tmp_path / "IMG_1.HEIC").write_bytes(b"of a phone")
    words = ["--boxes", tmp_path / "boxes.txt", "--output", tmp_path / "out"]
    assert anonymize("--method", "blur", "--input", tmp_path / "IMG_1.HEIC", *words) == 2
    assert "IMG_1.HEIC is an image: HEIC pictures are not read" in capsys.readouterr().err


# -- refusals ------------------------------------------------------------------------------------------------


def test_folders_that_hold_no_images_are_named_with_their_option(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    for name, said in {
        "absent": r"absent does not exist, nor a data set that fastreid knows, nor a video",
        "file": r"file is no folder, nor a data set that fastreid knows, nor a video",
        "empty": r"empty holds no image \(\.jpg, .*\), at any depth",
    }.items():
        with pytest.raises(UserError, match=f"^--input {tmp_path}/{said}$"):
            folder_source(tmp_path / name)
    with pytest.raises(UserError, match=f"^--verify {tmp_path}/absent does not exist$"):
        folder_source(tmp_path / "absent", "--verify")

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    said = f"folder {tmp_path} cannot be listed: Permission denied; make it readable, or take another --input"
    with pytest.raises(UserError, match=f"^{said}$"):
        folder_source(tmp_path)


def test_two_images_that_would_share_a_name_are_named(weights, raw, tmp_path, capsys):
    folder = shutil.copytree(raw, tmp_path / "raw")
    shutil.copy(folder / "cam 1" / "pérson 01.jpg", folder / "cam 1" / "pérson 01.jpeg")
    assert anonymize("--weights", weights, "--input", folder, "--output", tmp_path / "out") == 2
    assert "cam 1/pérson 01.jpeg and cam 1/pérson 01.jpg" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("where", ["raw", "raw/out", "."])
def test_input_and_output_lie_apart(weights, raw, tmp_path, capsys, where):
    folder = shutil.copytree(raw, tmp_path / "raw")
    before = contents(tmp_path)
    assert anonymize("--weights", weights, "--input", folder, "--output", tmp_path / where) == 2
    assert "lie in each other" in capsys.readouterr().err
    assert contents(tmp_path) == before


def test_long_names_are_protected(raw, tmp_path):
    source = next(raw.rglob("*.jpg"))
    names = ["n" * (length - 4) + ".jpg" for length in (239, 240, 247, 255)]
    (tmp_path / "raw").mkdir()
    for name in names:
        shutil.copy(source, tmp_path / "raw" / name)
    assert anonymize("--method", "blur", "--input", tmp_path / "raw", "--output", tmp_path / "out") == 0
    expected = [STAMPS, "manifest.jsonl", *(name.replace(".jpg", ".png") for name in names)]
    assert sorted(contents(tmp_path / "out")) == sorted(expected)


def test_files_of_others_stay(weights, raw, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    words = ["--weights", weights, "--input", raw, "--output", out]
    assert anonymize(*words) == 2
    assert "not empty" in capsys.readouterr().err
    (out / "mine.txt").unlink()
    assert anonymize(*words) == 0
    whole = contents(out)
    assert anonymize(*words) == 0  # again: nothing to do
    assert contents(out) == whole
    assert anonymize(*words, "--batch-size", 5) == 2
    assert "batch_size 32 there, 5 here" in capsys.readouterr().err
    path = next(out.rglob("*.png"))
    path.write_bytes(b"mine")
    assert anonymize(*words) == 2
    assert f"{path} was changed" in capsys.readouterr().err
    assert path.read_bytes() == b"mine"
    path.unlink()
    assert anonymize(*words) == 0
    assert contents(out) == whole


def test_a_full_disk_ends_the_run_and_it_continues(weights, raw, tmp_path, monkeypatch, capsys):
    import errno

    words = ["--weights", weights, "--input", raw, "--batch-size", 3]
    assert anonymize(*words, "--output", tmp_path / "whole") == 0
    written = []

    def full(path, content, **options):
        if path.suffix == ".png":
            written.append(path)
            if len(written) > 5:
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return original(path, content, **options)

    original = staging.write_whole
    monkeypatch.setattr(staging, "write_whole", full)
    assert anonymize(*words, "--output", tmp_path / "full") == 2
    assert "No space left on device; run the same command again" in capsys.readouterr().err
    assert not (tmp_path / "full" / "manifest.jsonl").exists()
    assert recover("--key", weights, "--input", tmp_path / "full", "--output", tmp_path / "r") == 2
    monkeypatch.setattr(staging, "write_whole", original)
    assert anonymize(*words, "--output", tmp_path / "full") == 0
    assert contents(tmp_path / "full") == contents(tmp_path / "whole")


def test_recovery_refuses_another_anonymizers_set_and_changed_files(
    weights, protected, small_run, tmp_path, capsys
):
    checkpoint = torch.load(weights, weights_only=True)
    checkpoint["model"] = {
        name: value + 1e-3 if name == "anonymizer.up.0.0.bias" else value
        for name, value in checkpoint["model"].items()
    }
    torch.save(checkpoint, tmp_path / "other.pth")
    shutil.copytree(protected, tmp_path / "p")
    words = ["--input", tmp_path / "p", "--output", tmp_path / "r"]
    assert recover("--key", tmp_path / "other.pth", *words) == 2
    assert "another anonymizer" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()
    changed = sorted((tmp_path / "p").rglob("*.png"))[3]
    content = bytearray(changed.read_bytes())
    content[len(content) // 2] ^= 1
    changed.write_bytes(content)
    assert recover("--key", weights, *words) == 2
    assert f"{changed.relative_to(tmp_path / 'p')}: it is not what was written" in capsys.readouterr().err


# -- names and methods ---------------------------------------------------------------------------------------


def test_pseudonyms_depend_on_the_key_alone(weights, raw, tmp_path, capsys):
    key = tmp_path / "key"
    key.write_bytes(bytes(range(32)))
    words = ["--weights", weights, "--input", raw, "--pseudonymize", key]
    assert anonymize(*words, "--output", tmp_path / "p") == 0
    names = set(contents(tmp_path / "p"))
    manifest = (tmp_path / "p" / "manifest.jsonl").read_text()
    assert (
        len(names) == 16
        and not any("rson" in name or "cam" in name for name in names)
        and "rson" not in manifest
    )
    assert (
        recover(key=weights, input=tmp_path / "p", output=tmp_path / "r", verify=raw, pseudonymize=key) == 0
    )
    assert "in all, 14 images" in capsys.readouterr().out
    assert_decoded(weights, tmp_path / "p", tmp_path / "r")
    for path in raw.rglob("*.jpg"):
        named = os.fsencode(path.relative_to(raw).with_suffix(""))  # its folders too
        assert hmac.new(bytes(range(32)), named, hashlib.sha256).hexdigest()[:32] + ".png" in names
    key.write_bytes(bytes(32))
    assert anonymize(*words, "--output", tmp_path / "other") == 0
    assert set(contents(tmp_path / "other")) & names == {"manifest.jsonl", STAMPS}
    key.write_bytes(b"short")
    assert anonymize(*words, "--output", tmp_path / "short") == 2
    assert "at least 16" in capsys.readouterr().err


def test_pictures_of_one_name_in_two_folders_have_two_pseudonyms(raw, tmp_path):
    for place, source in zip(("a", "b", "b/a"), raw.rglob("*.jpg"), strict=False):
        (tmp_path / "raw" / place).mkdir(parents=True)
        shutil.copy(source, tmp_path / "raw" / place / "0001.jpg")
    (tmp_path / "key").write_bytes(bytes(32))
    words = ["--method", "blur", "--input", tmp_path / "raw", "--pseudonymize", tmp_path / "key"]
    assert anonymize(*words, "--output", tmp_path / "p") == 0
    assert len(list((tmp_path / "p").glob("*.png"))) == 3


@pytest.mark.parametrize("method", ["blur", "pixelate", "noise", "mask"])
def test_conventional_operators_keep_sizes(raw, tmp_path, method):
    options = ["PRIVACY.DESENSITIZER.BLUR_SIGMA", 20] if method == "blur" else []
    assert anonymize("--method", method, "--input", raw, "--output", tmp_path / "p", *options) == 0
    for path in raw.rglob("*.jpg"):
        image = torch.from_numpy(pixels(path)).permute(2, 0, 1)[None]
        target = tmp_path / "p" / path.relative_to(raw).with_suffix(".png")
        written = torch.from_numpy(pixels(target)).permute(2, 0, 1)[None]
        assert written.shape == image.shape
        if method == "blur":
            scale = image.shape[2] / 256
            expected = fastreid_privacy.desensitize.gaussian_blur(image.float(), 20 * scale).round()
            assert (written.float() - expected).abs().max() <= 1


@pytest.mark.parametrize("method", ["noise", "learned"])
def test_noise_is_not_to_be_repeated(raw, noise_weights, tmp_path, method):
    words = ["--weights", noise_weights] if method == "learned" else ["--method", method]
    for name in ("a", "b"):
        assert anonymize(*words, "--input", raw, "--output", tmp_path / name) == 0
    first, second = contents(tmp_path / "a"), contents(tmp_path / "b")
    assert first.keys() == second.keys() and protected_files.NOISE_KEY not in first
    assert all((first[name] != second[name]) == (name != STAMPS) for name in first)
    header = read_manifest(tmp_path / "a" / MANIFEST).header
    assert (header["noise"], header["method"]) == ("shake256", method)


@pytest.mark.parametrize("method", ["noise", "learned"])
def test_noise_has_the_whole_secret_of_each_picture(raw, noise_weights, tmp_path, stream_keys, method):
    words = ["--weights", noise_weights] if method == "learned" else ["--method", method]
    # a learned anonymizer takes whole batches, places without a picture too
    assert anonymize(*words, "--input", raw, "--batch-size", 1, "--output", tmp_path / "p") == 0
    assert len(set(stream_keys)) == len(stream_keys) == len(list(raw.rglob("*.jpg")))
    assert all(len(key) == 32 for key in stream_keys)
    bits = np.unpackbits(np.array([list(key) for key in stream_keys], np.uint8), axis=1)
    assert (bits.any(0) & ~bits.all(0)).mean() > 0.5  # no part of the keys is constant
    for part in range(0, 32, 4):
        assert len({key[part : part + 4] for key in stream_keys}) == len(stream_keys)


def test_noise_of_an_older_stream_is_not_continued(raw, tmp_path, capsys):
    output = tmp_path / "p"
    arguments = ("--method", "noise", "--input", raw, "--output", output)
    assert anonymize(*arguments) == 0
    manifest = output / MANIFEST
    header, *lines = manifest.read_text().splitlines()
    older = json.loads(header)
    assert older.pop("noise") == "shake256"
    manifest.unlink()
    (output / JOURNAL).write_text("\n".join([json.dumps(older), *lines[:1], ""]))
    (output / protected_files.NOISE_KEY).write_bytes(bytes(range(32)))
    capsys.readouterr()
    assert anonymize(*arguments) == 2
    assert "was made otherwise (noise None there, shake256 here)" in capsys.readouterr().err
    # other operators draw no noise: what an older version began goes on
    assert anonymize("--method", "blur", "--input", raw, "--output", tmp_path / "b") == 0
    assert "noise" not in json.loads((tmp_path / "b" / MANIFEST).read_text().splitlines()[0])


def test_damaged_noise_keys_are_refused(tmp_path):
    (tmp_path / protected_files.NOISE_KEY).write_bytes(b"")
    with pytest.raises(UserError, match="no key of 32 bytes"):
        protected_files.noise_key(tmp_path)


def test_models_of_rendered_people_warn_about_photographs(weights, raw, small_dataset, tmp_path, capsys):
    assert anonymize("--weights", weights, "--input", raw, "--output", tmp_path / "p") == 0
    assert "trained on rendered people only" in capsys.readouterr().err
    rendered = next(small_dataset.glob("*/query"))
    assert anonymize("--weights", weights, "--input", rendered, "--output", tmp_path / "q") == 0
    assert "rendered people" not in capsys.readouterr().err
    assert all(MARKET_FOLDER.read(path) for path in (tmp_path / "q").glob("*.png"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--weights is missing"),
        (["--weights", "WEIGHTS", "--method", "blur"], "uses no weights"),
        (["--method", "smear"], "smear"),
        (["--weights", "WEIGHTS", "--quality", 80], "png is lossless"),
        (["--weights", "WEIGHTS", "--format", "jpg", "--quality", 0], "1 to 100"),
        (["--weights", "WEIGHTS", "--device", "cuda:99"], "GPUs"),
        (["--weights", "absent.pth"], "does not exist"),
    ],
)
def test_contradicting_options_are_refused(weights, raw, tmp_path, capsys, words, message):
    words = [weights if word == "WEIGHTS" else word for word in words]
    assert anonymize(*words, "--input", raw, "--output", tmp_path / "out") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["--weights", "WEIGHTS"], "PRIVACY.DESENSITIZER.BLUR_SIGMA"),
        (["--weights", "WEIGHTS"], "PRIVACY.STORAGE"),
        (["--weights", "WEIGHTS"], "NO.SUCH_KEY"),
        (["--weights", "WEIGHTS"], "DATASETS.SYNTHETIC.SEED"),
        (["--method", "blur"], "PRIVACY.DESENSITIZER.NAME"),
        (["--method", "blur"], "PRIVACY.DESENSITIZER.NOISE_STD"),
        (["--method", "blur"], "PRIVACY.DESENSITIZER.BLUR_SIGMAS"),
        (["--method", "blur"], "PRIVACY.DESENSITIZER.SCALE"),
        (["--method", "noise"], "PRIVACY.DESENSITIZER.SEEDS"),
        (["--method", "blur"], "NO.SUCH_KEY"),
        (["--method", "blur"], "DATASETS.SYNTHETIC.SEED"),
        (["--method", "blur", "--input", "SyntheticPedestrians"], "DATASETS.FOLDER.ROOT"),
    ],
)
def test_keys_that_nothing_reads_are_refused(weights, raw, tmp_path, capsys, words, key):
    words = [weights if word == "WEIGHTS" else word for word in words]
    words = ["--input", raw, *words, "--output", tmp_path / "out"]  # the last --input counts
    assert anonymize(*words, key, "mask") == 2
    assert f"error: {key} " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_batches_run_side_by_side_in_order_and_within_bounds():
    started, taken, together = [], [], threading.Barrier(2, timeout=20)

    def work(batch):
        started.append(batch)
        if batch < 2:
            together.wait()  # ends only when two threads are here at once
        time.sleep(0.001 * (batch % 3))
        assert torch.get_num_threads() == 1
        return batch * 10

    threads = torch.get_num_threads()
    for result in side_by_side(range(20), work, 2):
        taken.append(result)
        assert len(started) - len(taken) <= 2 + AHEAD
    assert taken == [batch * 10 for batch in range(20)]
    assert torch.get_num_threads() == threads

    def broken(batch):
        if batch > 1:
            raise ValueError("third" if batch == 2 else "later")

    with pytest.raises(ValueError, match="third"):
        list(side_by_side(range(20), broken, 2))
    assert torch.get_num_threads() == threads


def test_the_manifest_is_json_lines(protected, tmp_path):
    shutil.copytree(protected, tmp_path / "p")
    header, *entries, last = map(json.loads, (tmp_path / "p" / "manifest.jsonl").read_text().splitlines())
    assert header["method"] == "learned"
    above = b"".join((tmp_path / "p" / "manifest.jsonl").read_bytes().splitlines(keepends=True)[:-1])
    assert last == {"complete": [14, 0], "sha256": hashlib.sha256(above).hexdigest()}
    assert [entry["path"] for entry in entries] == sorted(entry["path"] for entry in entries)
    cut = tmp_path / "p" / "manifest.jsonl"
    cut.write_text("\n".join(cut.read_text().splitlines()[:-1]) + "\n")
    assert not read_manifest(cut).complete


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"path": "../outside.png"}, "leads out of its folder"),
        ({"path": "/outside.png"}, "leads out of its folder"),
        ({"sealed": "../../key"}, "leads out of its folder"),
        ({"width": 10**6, "height": 10**6}, "has a size of"),
        ({"height": -1}, "has a size of"),
        ({"height": "9"}, "has a size of"),
        ({"sha256": None}, "lacks sha256"),
    ],
)
def test_a_forged_manifest_is_refused_before_anything_is_written(
    weights, protected, tmp_path, capsys, change, message
):
    shutil.copytree(protected, tmp_path / "p")
    manifest = tmp_path / "p" / "manifest.jsonl"
    header, entry, *rest = map(json.loads, manifest.read_text().splitlines())
    entry = {key: value for key, value in {**entry, **change}.items() if value is not None}
    write_forged(manifest, "".join(json.dumps(record) + "\n" for record in (header, entry, *rest)))
    assert recover("--key", weights, "--input", tmp_path / "p", "--output", tmp_path / "r") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "r").exists() and not (tmp_path / "outside.png").exists()


def test_an_operator_that_does_nothing_protects_nothing(raw, tmp_path, capsys):
    words = [
        "--method",
        "pixelate",
        "--input",
        raw,
        "--output",
        tmp_path / "out",
        "PRIVACY.DESENSITIZER.PIXEL_BLOCK",
        1,
    ]
    assert anonymize(*words) == 2
    assert (
        "14 images were not protected" in (told := capsys.readouterr().err) and "would stay as it is" in told
    )
    assert list(contents(tmp_path / "out")) == ["manifest.jsonl"]


@pytest.mark.parametrize(
    ("method", "key", "value"),
    [
        ("mask", "MASK_REGION", "(0, 0, 1e-9, 1e-9)"),
        ("noise", "NOISE_STD", 0.002),
        ("blur", "BLUR_SIGMA", 0.1),
        ("blur", "BLUR_SIGMA", 0.8),
    ],
)
def test_an_operator_that_does_next_to_nothing_protects_nothing(raw, tmp_path, capsys, method, key, value):
    words = ["--method", method, "--input", raw, "--output", tmp_path / "out"]
    assert anonymize(*words, f"PRIVACY.DESENSITIZER.{key}", value) == 2
    told = capsys.readouterr().err
    assert "14 images were not protected" in told and "would stay" in told
    assert list(contents(tmp_path / "out")) == ["manifest.jsonl"]


@pytest.mark.parametrize(
    ("method", "key", "value"),
    [
        ("blur", "BLUR_SIGMA", 4),
        ("pixelate", "PIXEL_BLOCK", 12),
        ("noise", "NOISE_STD", 0.1),
        ("mask", "MASK_REGION", "(0, 0, 0.3, 1)"),
    ],
)
def test_milder_operators_than_the_papers_pass(raw, tmp_path, method, key, value):
    words = ["--method", method, "--input", raw, "--output", tmp_path / "out"]
    assert anonymize(*words, f"PRIVACY.DESENSITIZER.{key}", value) == 0


@pytest.mark.parametrize("size", [(128, 64), (40, 90), (600, 300)])
def test_the_papers_blur_is_what_the_floor_is_measured_by(size):
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    picture[size[0] // 2 :] //= 8
    images = torch.from_numpy(picture).permute(2, 0, 1)[None]
    blurred = fastreid_privacy.desensitize.Desensitizer("blur")(images)[0].permute(1, 2, 0).numpy()
    change = np.abs(blurred.astype(float) - picture).mean()
    # of 600 rows every third is taken
    assert floor.change_of_blur(picture, picture) == pytest.approx(
        change, rel=1e-3 if size[0] < 256 else 0.05
    )
    floor.check_changed(picture, blurred, conventional=True)
    for share, passes in ((1.1, True), (0.9, False)):
        levels = np.zeros(picture.shape, int)
        levels.flat[:: round(20 / (share * floor.FLOOR * change))] = 20
        protected = np.where(picture < 128, picture + levels, picture - levels).astype(np.uint8)
        if passes:
            floor.check_changed(picture, protected, conventional=True)
            continue
        floor.check_changed(picture, protected, conventional=False)  # a network is not held to it
        with pytest.raises(UserError, match="would stay nearly as it is"):
            floor.check_changed(picture, protected, conventional=True)


def test_pictures_of_one_colour_may_stay():
    grey = np.full((64, 32, 3), 128, np.uint8)
    floor.check_changed(grey, grey, conventional=True)
    floor.check_changed(grey, grey, conventional=False)


@pytest.mark.parametrize("lost", ["last line", "an image", "count"])
def test_an_unfinished_or_shortened_manifest_is_not_recovered(weights, protected, tmp_path, lost, capsys):
    """Who recovers a part must not take it for the whole."""
    _, private = new_identity(tmp_path / "keys", None)
    shutil.copytree(protected, tmp_path / "p")
    manifest = tmp_path / "p" / MANIFEST
    lines = manifest.read_text().splitlines(keepends=True)
    assert json.loads(lines[-1])["complete"] == [14, 0]
    if lost == "last line":
        lines.pop()
    elif lost == "an image":
        del lines[5]
    else:
        lines[-1] = '{"complete": [13, 1]}\n'
    write_forged(manifest, "".join(lines))
    for key in (["--key", weights], ["--identity", private]):
        assert recover(*key, "--input", tmp_path / "p", "--output", tmp_path / "r") == 2
        assert f"{manifest} is not that of a finished protection" in capsys.readouterr().err
        assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"path": "", "size": 1, "sha256": "", "width": 1, "height": 1}',
        '{"path": "a\\ud800.png", "size": 1, "sha256": "", "width": 1, "height": 1}',
    ],
)
def test_forged_manifests_are_damaged(weights, protected, tmp_path, text, capsys):
    shutil.copytree(protected, tmp_path / "p")
    manifest = tmp_path / "p" / "manifest.jsonl"
    first, rest = manifest.read_text().split("\n", 1)
    write_forged(manifest, f"{first}\n{text}\n{rest}")
    assert recover("--key", weights, "--input", tmp_path / "p", "--output", tmp_path / "r") == 2
    assert "is damaged or no manifest" in capsys.readouterr().err


def test_files_of_the_users_own_are_not_cleaned_up(weights, raw, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".mine.unfinished").write_bytes(b"mine")
    assert anonymize("--weights", weights, "--input", raw, "--output", tmp_path / "out") == 2
    assert contents(tmp_path / "out") == {".mine.unfinished": b"mine"}
