"""Searching by templates: an index that no network made, and the four settings with the search key."""

from __future__ import annotations

# before fastreid: importing the package makes it work
from fastreid_privacy.config import load_config

# isort: split
import json
import shutil

import numpy as np
import pytest
import torch
from conftest import SMALL_CONFIG, SMALL_DATASET, small_options
from fastreid.modeling import build_model
from in_process import anonymize, retrieve
from PIL import Image

from fastreid_privacy.evaluation import evaluate_retrieval
from fastreid_privacy.keys.sealing import SEARCH, new_identity, read_public_key
from fastreid_privacy.keys.templates import Searchable, packed_template, seal_beside
from fastreid_privacy.retrieval import load_extractor, read_index
from fastreid_privacy.retrieval.extract import Extractor
from fastreid_privacy.retrieval.index import stored_features

SEARCHED = ("query", "bounding_box_test")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A checkpoint of initial weights: what they find does not matter here, but that it is the same."""
    cfg = load_config(SMALL_CONFIG, small_options("", **{"MODEL.HEADS.NUM_CLASSES": 4}))
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "model_best.pth"
    torch.save({"model": build_model(cfg).state_dict(), "config": cfg.dump()}, path)
    return path


@pytest.fixture(scope="module")
def search(tmp_path_factory):
    return new_identity(tmp_path_factory.mktemp("keys"), None, holder=SEARCH)


@pytest.fixture(scope="module")
def protected(small_dataset, weights, search, tmp_path_factory):
    """The small data set under a strong blur; its files carry templates in their pixels."""
    out = tmp_path_factory.mktemp("p") / "protected"
    words = ["--method", "blur", "--input", "SyntheticPedestrians", "--output", out, "--carry", "pixels"]
    words += ["--search", search[0], "--reid", weights, "--device", "cpu"]
    options = [f"DATASETS.SYNTHETIC.{key.upper()} {value}" for key, value in SMALL_DATASET.items()]
    assert anonymize(*words, *" ".join(options).split(), "PRIVACY.DESENSITIZER.BLUR_SIGMA", 12) == 0
    return out


@pytest.fixture
def some(protected, tmp_path):
    """A folder of six protected files, by their names alone."""
    (tmp_path / "some").mkdir()
    for path in sorted(protected.glob("*/bounding_box_test/*.png"))[:6]:
        shutil.copy(path, tmp_path / "some")
    return tmp_path / "some"


def raw_of(small_dataset, name):
    return next(small_dataset.glob(f"*/bounding_box_test/{name.removesuffix('.png')}.*"))


def test_an_index_of_templates_is_that_of_the_raw_pictures(
    some, small_dataset, weights, search, tmp_path, monkeypatch, capsys
):
    """Renamed files, no manifest, no network: the features are those of the raw pictures, and it is asked as
    any other index."""
    extract = load_extractor(weights, "cpu")
    names = sorted(path.name for path in some.iterdir())
    expected = np.concatenate(
        [extract(extract.transform(Image.open(raw_of(small_dataset, name)))[None]).numpy() for name in names]
    )
    monkeypatch.setattr(Extractor, "__call__", None)  # nothing may run it
    assert retrieve("build", "--search-key", search[1], "--gallery", some, "--index", tmp_path / "i") == 0
    monkeypatch.undo()
    index = read_index(tmp_path / "i")
    assert index.fingerprint == extract.fingerprint and index.paths == names and index.metric == "cosine"
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.abs(stored_features(index.searched) - expected).max() < 1e-3
    query = ["query", "--weights", weights, "--index", tmp_path / "i", "--json", tmp_path / "j"]
    assert retrieve(*query, raw_of(small_dataset, names[2]), "--top", 6, "--device", "cpu") == 0
    (answer,) = json.loads((tmp_path / "j").read_text())["queries"]
    assert answer["ranks"][0]["image"] == names[2] and answer["ranks"][0]["score"] > 0.9999


def test_what_has_no_template_is_named_and_counted(some, weights, search, tmp_path, capsys):
    paths = sorted(some.iterdir())
    Image.open(paths[0]).save(paths[0].with_suffix(".jpg"))  # with loss: the template is gone
    paths[0].unlink()
    other = new_identity(tmp_path / "other", None, holder=SEARCH)
    words = ["build", "--gallery", some, "--index", tmp_path / "i"]
    assert retrieve(*words, "--search-key", search[1]) == 2
    said = capsys.readouterr().err
    assert f"{paths[0].stem}.jpg: it carries no template that this key opens" in said
    assert "1 images have no template" in said and len(read_index(tmp_path / "i").paths) == 5
    assert retrieve(*words, "--search-key", other[1], "--force") == 2
    assert "none of its 6 images has a template; the first" in capsys.readouterr().err
    identity = new_identity(tmp_path / "identity", None)
    for key, why in ((identity[1], "is a key of originals"), (search[0], "no key of this kind")):
        assert retrieve(*words, "--search-key", key, "--force") == 2 and why in capsys.readouterr().err
    assert len(read_index(tmp_path / "i").paths) == 5


def test_a_template_of_another_model_is_refused_by_name(some, weights, search, tmp_path, capsys):
    checkpoint = torch.load(weights, weights_only=True)
    name = next(name for name in checkpoint["model"] if name.startswith("backbone") and "weight" in name)
    checkpoint["model"][name] *= 1.5
    torch.save(checkpoint, tmp_path / "other.pth")
    one, other = (load_extractor(path, "cpu").fingerprint[:12] for path in (weights, tmp_path / "other.pth"))
    words = ["build", "--gallery", some, "--index", tmp_path / "i", "--search-key", search[1]]
    assert retrieve(*words, "--weights", tmp_path / "other.pth", "--device", "cpu") == 2
    assert f"is of the Re-ID model {one}…, not of {other}…" in capsys.readouterr().err
    assert not (tmp_path / "i").exists()
    assert retrieve(*words, "--weights", weights, "--device", "cpu") == 0


def test_a_forged_template_of_another_length_is_left_out(search, tmp_path, capsys):
    """Whoever has the public key can seal one, under the fingerprint of the model of the others."""
    key, gallery = read_public_key(search[0], SEARCH), tmp_path / "gallery"
    gallery.mkdir()
    for number, length in enumerate((24, 23, 24)):
        file = gallery / f"{number}.png"
        Image.new("RGB", (4, 8), (number, 0, 0)).save(file)
        forged = Searchable(packed_template(np.arange(1.0, length + 1), "ab" * 32), [key])
        file.with_name(file.name + ".template").write_bytes(seal_beside(forged, file.read_bytes()))
    assert retrieve("build", "--search-key", search[1], "--gallery", gallery, "--index", tmp_path / "i") == 2
    said = capsys.readouterr().err
    assert "1.png: its template has 23 values and the first one 24" in said and "Traceback" not in said
    assert read_index(tmp_path / "i").paths == ["0.png", "2.png"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "--weights is missing: name a checkpoint, or the key of templates"),
        (["--search-key", "KEY", "--protect"], "leave one out"),
    ],
)
def test_options_that_do_not_go_together(some, search, tmp_path, capsys, more, said):
    words = [search[1] if word == "KEY" else word for word in more]
    assert retrieve("build", "--gallery", some, "--index", tmp_path / "i", *words) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "i").exists()


def test_with_the_key_every_setting_is_that_of_raw_images(
    protected, small_dataset, weights, search, tmp_path, capsys
):
    """And without it, it is not: the blur leaves the model little."""
    (root,) = small_dataset.glob("*Pedestrians*")
    (files,) = protected.glob("*Pedestrians*")
    words = ["measure", "--weights", weights, "--raw", root, "--protected", files, "--device", "cpu"]
    assert retrieve(*words, "--search-key", search[1], "--json", tmp_path / "j") == 0
    assert "OI→PI" in capsys.readouterr().out
    found = json.loads((tmp_path / "j").read_text())
    features, labels = [], []
    extract = load_extractor(weights, "cpu")
    for part in SEARCHED:
        paths = [path for path in sorted((root / part).iterdir()) if path.name[0] != "-"]
        seen = torch.stack([extract.transform(Image.open(path)) for path in paths])
        features.append(extract(seen).numpy())
        labels.append([(int(path.name[:4]), path.name.split("_")[1]) for path in paths])
    pids = [np.array([pid for pid, _ in side]) for side in labels]
    cameras = [np.array([int(camera[1 : camera.index("s")]) for _, camera in side]) for side in labels]
    raw = evaluate_retrieval(*features, *pids, *cameras, extract.metric)
    assert found["without"]["OI-OI"] == pytest.approx(raw, abs=0.1)
    for setting in ("OI-OI", "OI-PI", "PI-OI", "PI-PI"):
        assert found["with"][setting] == pytest.approx(raw, abs=0.1)
    assert abs(found["without"]["OI-PI"]["mAP"] - raw["mAP"]) > 1
    told = capsys.readouterr()
    assert "half of the people" not in told.err
    assert retrieve(*words) == 0 and "\nwith " not in capsys.readouterr().out
    for part in SEARCHED:  # without the people of the training
        shutil.copytree(files / part, tmp_path / "tests" / part)
    words[words.index(files)] = tmp_path / "tests"
    assert retrieve(*words) == 0
    assert "half of the people count as known" in capsys.readouterr().err
    words[words.index(tmp_path / "tests")] = files
    assert retrieve(*words, "--search-key", search[1], "--json", tmp_path / "j") == 2


def test_a_file_without_template_ends_the_measurement(
    protected, small_dataset, weights, search, tmp_path, capsys
):
    (root,) = small_dataset.glob("*Pedestrians*")
    (files,) = protected.glob("*Pedestrians*")
    shutil.copytree(files, tmp_path / "copy")
    lost = sorted((tmp_path / "copy" / "query").iterdir())[0]
    Image.fromarray(np.asarray(Image.open(lost)) & 248).save(lost)
    words = ["measure", "--weights", weights, "--raw", root, "--protected", tmp_path / "copy"]
    assert retrieve(*words, "--search-key", search[1], "--device", "cpu") == 2
    assert "1 of" in (said := capsys.readouterr().err) and lost.name in said
