"""Operators of projects that have options of their own, and that tell what their images depend on."""

from __future__ import annotations

from conftest import SMALL_CONFIG, small_options  # before fastreid: importing the package makes it work
from in_process import anonymize, export, train

# isort: split
import json
from collections import Counter

import av
import numpy as np
import pytest
import torch
from PIL import Image

from fastreid_privacy import UserError, load_anonymizer, load_config
from fastreid_privacy.checkpoints.fingerprints import anonymizer_fingerprint
from fastreid_privacy.config import comparable, differing, parse_config
from fastreid_privacy.core import operators
from fastreid_privacy.desensitize import DESENSITIZER_REGISTRY, Description, Desensitizer, described
from fastreid_privacy.manifest import MANIFEST, read_manifest

NODE = "PRIVACY.DESENSITIZER"
SIZE = (32, 16)


@pytest.fixture
def registry(monkeypatch):
    """Operators are registered for one test only."""
    monkeypatch.setattr(DESENSITIZER_REGISTRY, "_obj_map", dict(DESENSITIZER_REGISTRY._obj_map))
    return DESENSITIZER_REGISTRY._obj_map


@pytest.fixture
def faded(registry):
    """An operator with options of its own; its list has the sizes of the batches that it got."""
    batches = []

    @DESENSITIZER_REGISTRY.register()
    def faded(images, faded_share=0.25, faded_word="soft", blur_sigma=3.0):
        batches.append(tuple(images.shape))
        return images * faded_share

    return batches


@pytest.fixture
def counted(registry):
    """An operator that makes images of one size, and accounts for the images of each person."""
    batches, hashes = [], {}

    def account(people):
        unknown = people.count(None)
        most = max(Counter(people).values())
        return {"most_images_of_one": most, **({"unknown": unknown} if unknown else {})}

    def describe(counted_share, counted_file):
        if counted_share <= 0:
            raise UserError(f"{NODE}.COUNTED_SHARE is {counted_share}; it must be positive")
        about = {"share": counted_share, "file_sha256": hashes.get(counted_file, len(counted_file) * "0")}
        return Description(about, SIZE, account)

    @DESENSITIZER_REGISTRY.register()
    @described(describe)
    def counted(images, counted_share=0.5, counted_file="a"):
        batches.append(tuple(images.shape))
        return images * counted_share

    counted.hashes = hashes
    return batches


def pictures(folder, names, size=(20, 10)):
    folder.mkdir()
    for place, name in enumerate(names):
        pixels = np.random.default_rng(place).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return folder


# options as config keys


def test_an_option_is_a_key_of_the_configs_that_name_its_operator(faded, tmp_path):
    file = tmp_path / "faded.yml"
    file.write_text("PRIVACY: {DESENSITIZER: {NAME: faded, FADED_SHARE: 0.5}}\n")
    cfg = load_config(file, [f"{NODE}.FADED_WORD", "hard"])
    node = cfg.PRIVACY.DESENSITIZER
    assert (node.FADED_SHARE, node.FADED_WORD, node.BLUR_SIGMA) == (0.5, "hard", 12.0)
    assert Desensitizer.from_config(cfg).options == {
        "faded_share": 0.5,
        "faded_word": "hard",
        "blur_sigma": 12.0,  # a key of the package keeps its default
    }
    # others do not depend on what else is registered
    assert not any("FADED" in key for key in load_config(file, [f"{NODE}.NAME", "blur"]).PRIVACY.DESENSITIZER)
    assert not any("FADED" in key for key in load_config().PRIVACY.DESENSITIZER)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("NAME", "faded", "FADED_SHARE", "much"), "FADED_SHARE is 'much' in .*; it must be of type float"),
        (("NAME", "faded", "FADED_SHAR", "1"), "the nearest known key is PRIVACY.DESENSITIZER.FADED_SHARE"),
        (("NAME", "blur", "FADED_SHARE", "1"), "unknown config key PRIVACY.DESENSITIZER.FADED_SHARE"),
        (("NAME", "fadde", "FADED_SHARE", "1"), "'fadde', which is not registered; .*--project"),
    ],
)
def test_a_wrong_option_is_refused(faded, options, message):
    words = [f"{NODE}.{word}" if place % 2 == 0 else word for place, word in enumerate(options)]
    with pytest.raises(UserError, match=message):
        load_config("", words)


def test_a_config_that_a_file_carries_is_read_with_and_without_the_project(faded, registry):
    cfg = load_config("", [f"{NODE}.NAME", "faded", f"{NODE}.FADED_SHARE", "0.5"])
    text = cfg.dump()
    assert parse_config(text, "file") == cfg
    with pytest.raises(UserError, match=r"unknown config key PRIVACY\.DESENSITIZER\.FADED_OTHER in file"):
        parse_config(text.replace("FADED_WORD", "FADED_OTHER"), "file")
    older = "\n".join(row for row in text.splitlines() if "FADED" not in row)
    assert parse_config(older, "file").PRIVACY.DESENSITIZER.FADED_SHARE == 0.25
    assert differing(comparable(parse_config(older, "file"), ()), comparable(cfg, ())) == [
        f"{NODE}.FADED_SHARE 0.25 ≠ 0.5"
    ]
    del registry["faded"]
    assert parse_config(text, "file").PRIVACY.DESENSITIZER.FADED_SHARE == 0.5
    with pytest.raises(UserError, match=r"unknown config key PRIVACY\.FADED"):
        parse_config(text.replace("  LAMBDA_L1", "  FADED: 1\n  LAMBDA_L1"), "file")


def test_the_fingerprint_counts_what_images_depend_on(faded, counted):
    def of(name, **options):
        words = [word for key, value in options.items() for word in (f"{NODE}.{key}", str(value))]
        cfg = load_config("", [f"{NODE}.NAME", name, "PRIVACY.PROTECTION", "conventional", *words])
        return anonymizer_fingerprint({}, cfg)

    assert of("faded") != of("faded", FADED_SHARE=0.5)
    # a default is what an older version's files have, whose configs had no such key
    cfg = load_config("", [f"{NODE}.NAME", "faded", "PRIVACY.PROTECTION", "conventional"])
    older = cfg.clone()
    older.defrost()
    del older.PRIVACY.DESENSITIZER["FADED_SHARE"], older.PRIVACY.DESENSITIZER["FADED_WORD"]
    assert anonymizer_fingerprint({}, older) == of("faded")
    # of a described operator what it tells counts, and not the path of a file
    assert of("counted", COUNTED_FILE="b") == of("counted", COUNTED_FILE="a")
    assert of("counted", COUNTED_FILE="bb") != of("counted", COUNTED_SHARE=0.25) != of("counted")
    assert operators.operator_keys("blur") == {}


# collections


def anonymized(source, output, method, *words):
    return anonymize("--method", method, "--input", source, "--output", output, *words)


def test_options_of_the_command_reach_the_operator(faded, tmp_path, capsys):
    source = pictures(tmp_path / "in", ["a.png"])
    assert anonymized(source, tmp_path / "out", "faded", f"{NODE}.FADED_SHARE", "0.5") == 0
    raw, made = (np.asarray(Image.open(tmp_path / folder / "a.png")) for folder in ("in", "out"))
    assert np.array_equal(made, np.rint(raw * np.float32(0.5)).astype(np.uint8))
    assert "operator" not in read_manifest(tmp_path / "out" / MANIFEST).header
    assert anonymized(source, tmp_path / "out", "faded", f"{NODE}.FADED_SHARE", "0.75") == 2
    assert "anonymizer" in capsys.readouterr().err  # another one, so the folder is not continued
    assert anonymized(source, tmp_path / "two", "blur", f"{NODE}.FADED_SHARE", "0.5") == 2
    assert "would change nothing" in capsys.readouterr().err and not (tmp_path / "two").exists()


def test_options_of_the_operator_and_of_the_data_set_go_together(faded, tmp_path, monkeypatch):
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path / "data"))
    size = [f"DATASETS.SYNTHETIC.{key}" for key in ("TRAIN_IDENTITIES", "TEST_IDENTITIES")]
    words = [*(word for key in size for word in (key, "4")), "DATASETS.SYNTHETIC.HEIGHT", "64"]
    words += ["DATASETS.SYNTHETIC.WIDTH", "32", f"{NODE}.FADED_SHARE", "0.5"]
    assert anonymized("SyntheticPedestrians", tmp_path / "out", "faded", *words) == 0
    manifest = read_manifest(tmp_path / "out" / MANIFEST)
    assert manifest.header["dataset"] == "SyntheticPedestrians" and len(manifest.entries) > 8


def test_a_described_operator_has_its_size_and_its_account(counted, tmp_path, capsys):
    names = ["0001_c1s1_000001_01.png", "0001_c2s1_000002_01.png", "0002_c1s1_000003_01.png", "nobody.png"]
    source = pictures(tmp_path / "in", names)
    assert anonymized(source, tmp_path / "out", "counted", "--batch-size", "4", "--workers", "1") == 0
    told = capsys.readouterr().out
    assert "counted, share: 0.5" in told and "counted, most images of one: 2" in told
    manifest = read_manifest(tmp_path / "out" / MANIFEST)
    assert manifest.header["operator"] == {"share": 0.5, "file_sha256": "0"}
    assert manifest.header["network_size"] == list(SIZE)
    assert manifest.account == {"most_images_of_one": 2, "unknown": 1} and manifest.complete
    assert counted == [(4, 3, *SIZE)]  # in one batch
    assert Image.open(tmp_path / "out" / "nobody.png").size == SIZE[::-1]
    # a finished run is continued, and accounts for the same again
    assert anonymized(source, tmp_path / "out", "counted", "--batch-size", "4", "--workers", "1") == 0
    assert "most images of one: 2" in capsys.readouterr().out
    assert read_manifest(tmp_path / "out" / MANIFEST).account["most_images_of_one"] == 2


def test_options_that_make_no_sense_are_refused_before_anything_is_written(counted, tmp_path, capsys):
    source = pictures(tmp_path / "in", ["a.png"])
    assert anonymized(source, tmp_path / "out", "counted", f"{NODE}.COUNTED_SHARE", "-1.0") == 2
    assert "COUNTED_SHARE is -1.0; it must be positive" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_each_box_of_a_video_counts(counted, tmp_path, capsys):
    source, rows = tmp_path / "video.mkv", "1,1,4,4,12,24\n1,2,30,4,12,24\n2,1,5,4,12,24\n"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("ffv1", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "bgr0"
        for place in range(2):
            pixels = np.random.default_rng(place).integers(0, 256, (48, 64, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    (tmp_path / "boxes.txt").write_text(rows)
    words = ["--boxes", str(tmp_path / "boxes.txt")]
    assert anonymized(source, tmp_path / "out", "counted", *words) == 0
    assert "counted, most images of one: 3" in capsys.readouterr().out  # nothing tells who they are
    manifest = read_manifest(tmp_path / "out" / MANIFEST)
    assert (
        manifest.account == {"most_images_of_one": 3, "unknown": 3}
        and manifest.header["operator"]["share"] == 0.5
    )


def test_junk_and_distractors_may_be_anybody(counted, tmp_path):
    names = [f"{who}_c1s1_00000{place}_01.png" for place, who in enumerate(["-1", "0000", "0001", "0001"])]
    assert anonymized(pictures(tmp_path / "in", names), tmp_path / "out", "counted") == 0
    # the people are None, None, 1, 1: nobody is counted as a person of the number −1 or 0
    assert read_manifest(tmp_path / "out" / MANIFEST).account == {"most_images_of_one": 2, "unknown": 2}


# training


def test_base_is_trained_on_its_images_and_protects_with_it(
    counted, registry, small_dataset, tmp_path, capsys
):
    options = {"PRIVACY.PROTECTION": "conventional", f"{NODE}.NAME": "counted", "SOLVER.MAX_EPOCH": 1}
    own = {f"{NODE}.COUNTED_SHARE": 0.125, f"{NODE}.COUNTED_FILE": "/places/bb"}
    words, hashes = small_options(tmp_path / "run", **options, **own), registry["counted"].hashes
    assert train("--config-file", SMALL_CONFIG, *words) == 0
    kept = json.loads((tmp_path / "run" / "results.json").read_text())["config"]["PRIVACY"]["DESENSITIZER"]
    assert kept["COUNTED_SHARE"] == 0.125
    images = torch.full((2, 3, 64, 32), 200.0)
    checkpoint = tmp_path / "run" / "model_final.pth"
    assert load_anonymizer(checkpoint, "cpu")(images).unique().tolist() == [25.0]
    # what was released names no place of this machine, and needs no file of the operator
    assert export("--weights", checkpoint, "--output", tmp_path / "out", "--unencrypted") == 0
    (released,) = (tmp_path / "out").glob("reid.pth")
    told = torch.load(released, weights_only=True)["config"]
    assert "COUNTED_FILE: bb" in told and "/places/" not in told
    # the same path, another file
    hashes["/places/bb"] = "other"
    with pytest.raises(UserError, match=r"was trained on images of counted with other files.*'other'"):
        load_anonymizer(checkpoint, "cpu")
    assert train("--config-file", SMALL_CONFIG, "--resume", *words) == 2
    assert "was trained on other images: of its operator it tells" in capsys.readouterr().err
    del registry["counted"]
    with pytest.raises(UserError, match=r"'counted', which is not registered.*--project"):
        load_anonymizer(checkpoint, "cpu")
