"""``tools/retrieve.py`` from a folder of pictures to the ranked strip."""

from __future__ import annotations

import fastreid_privacy  # before fastreid

# isort: split
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SMALL_CONFIG, close_folders, small_options
from in_process import retrieve
from PIL import Image

from fastreid_privacy.checkpoints.fingerprints import reid_fingerprint
from fastreid_privacy.checkpoints.reading import read_checkpoint
from fastreid_privacy.commands import indexing
from fastreid_privacy.config import changed, load_config, parse_config
from fastreid_privacy.core.pictures import open_picture
from fastreid_privacy.data.loaders import build_test_loader
from fastreid_privacy.retrieval import ask, build_index, load_extractor, read_index
from fastreid_privacy.retrieval.index import stored_features
from fastreid_privacy.retrieval.strip import FRAME, GAP, MARGIN, TILE, same_person
from fastreid_privacy.training.checkpointer import PrivacyCheckpointer
from fastreid_privacy.training.trainer import PrivacyTrainer

GREEN, VERMILLION = (0, 158, 115), (213, 94, 0)


@pytest.fixture(scope="module")
def gallery(small_dataset, weights, tmp_path_factory):
    """The test pictures, every second one protected, in two folders with names that are not ASCII; one file
    is no picture."""
    root = tmp_path_factory.mktemp("gallery")
    (root / "räw").mkdir()
    (root / "z" / "保護").mkdir(parents=True)
    protect = fastreid_privacy.load_anonymizer(weights, "cpu")
    files = sorted(small_dataset.glob("*/bounding_box_test/*"))
    for number, file in enumerate(files):
        if number % 2:
            shutil.copy(file, root / "räw")
        else:
            protected = protect(torch.from_numpy(pixels(file)).permute(2, 0, 1)[None])[0]
            Image.fromarray(protected.permute(1, 2, 0).numpy()).save(root / "z" / "保護" / f"{file.stem}.png")
    (root / "räw" / "broken.jpg").write_bytes(files[1].read_bytes()[:300])
    (root / "notes.txt").write_text("no picture")
    (root / ".hidden.png").write_bytes(b"no picture")
    return root


@pytest.fixture(scope="module")
def query_files(small_dataset):
    return sorted(small_dataset.glob("*/query/*"))[:3]


@pytest.fixture(scope="module")
def index(gallery, weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("index") / "my.index"
    assert retrieve("build", weights=weights, gallery=gallery, index=path, batch_size=7, device="cpu") == 0
    return path


def pixels(path) -> np.ndarray:
    return np.array(Image.open(path).convert("RGB"))


def features_of(files, extract) -> np.ndarray:
    """Of pictures that have the model's size: no resizing, one at a time."""
    return np.concatenate(
        [extract(torch.from_numpy(pixels(file)).permute(2, 0, 1)[None]).numpy() for file in files]
    )


def untrained(folder, protection, desensitizer="blur") -> Path:
    """A checkpoint of random weights, as a run of another PRIVACY.PROTECTION would leave it."""
    overrides = {
        "PRIVACY.PROTECTION": protection,
        "PRIVACY.DESENSITIZER.NAME": desensitizer,
        "MODEL.HEADS.NUM_CLASSES": 5,
    }
    cfg = load_config(SMALL_CONFIG, small_options(folder, **overrides))
    torch.manual_seed(0)
    PrivacyCheckpointer(PrivacyTrainer.build_model(cfg), str(folder), config=cfg.dump()).save(
        "other", weights_only=True
    )
    return folder / "other.pth"


# -- features ------------------------------------------------------------------------------------------------


def rebuilt(path):
    """(model in evaluation, config) of a checkpoint, without the extractor."""
    cfg = parse_config(read_checkpoint(path)["config"], str(path))
    cfg.MODEL.DEVICE, cfg.MODEL.HEADS.NUM_CLASSES = "cpu", len(read_checkpoint(path)["model"]["heads.weight"])
    model = PrivacyTrainer.build_model(cfg)
    model.load_state_dict(read_checkpoint(path)["model"])
    return model.eval(), cfg


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("kind", ["learned", "noise"])
def test_features_are_those_of_the_evaluation(weights, small_dataset, tmp_path, kind, flip):
    path = weights if kind == "learned" else untrained(tmp_path, "conventional", "noise")
    model, cfg = rebuilt(path)
    extract = load_extractor(path, "cpu")
    assert extract.flip is False and extract.size == (64, 32) and extract.metric == "cosine"
    extract.flip = flip
    batch = next(iter(build_test_loader(cfg, "SyntheticPedestrians")[0]))
    expected = model.extract_domains(batch, flip)
    raw = extract(batch["images"].to(torch.uint8))
    protected = extract.protect(batch["images"], batch["img_paths"])
    assert raw.dtype == torch.float32 and not torch.equal(protected, batch["images"])
    torch.testing.assert_close(raw, expected["features"]["OI"])
    torch.testing.assert_close(protected, expected["images"]["PI"])
    torch.testing.assert_close(extract(protected), expected["features"]["PI"])


def test_fingerprint_is_of_the_reid_part(weights, tmp_path):
    checkpoint, expected = read_checkpoint(weights), load_extractor(weights, "cpu").fingerprint

    def fingerprint(name, change=0.0, pixel_mean=None):
        cfg = parse_config(checkpoint["config"], "the checkpoint")
        cfg.MODEL.PIXEL_MEAN = pixel_mean or cfg.MODEL.PIXEL_MEAN
        model = {**checkpoint["model"], name: checkpoint["model"][name] + change}
        torch.save({"model": model, "config": cfg.dump()}, tmp_path / "changed.pth")
        return load_extractor(tmp_path / "changed.pth", "cpu").fingerprint

    image_weight = next(
        name for name in checkpoint["model"] if name.startswith("anonymizer.") and name.endswith("weight")
    )
    reid_weight = next(
        name for name in checkpoint["model"] if name.startswith("backbone.") and name.endswith("weight")
    )
    assert fingerprint(image_weight, 1.0) == fingerprint(reid_weight) == expected
    assert fingerprint(reid_weight, 1.0) != expected
    assert fingerprint(reid_weight, pixel_mean=[1.0, 2.0, 3.0]) != expected


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("TEST.FLIP.ENABLED", True),
        ("INPUT.SIZE_TEST", [128, 64]),
        ("INPUT.CROP.ENABLED", True),
        ("INPUT.CROP.SIZE", [32, 32]),
        ("MODEL.PIXEL_MEAN", [1.0, 2.0, 3.0]),
        ("MODEL.PIXEL_STD", [1.0, 2.0, 3.0]),
    ],
)
def test_a_fingerprint_is_of_all_that_a_feature_depends_on(key, value):
    cfg, weights = load_config(), {"backbone.a": torch.arange(6.0), "centers": torch.ones(2)}
    own = reid_fingerprint(weights, cfg)
    assert reid_fingerprint(weights, changed(cfg, {key: value})) != own
    assert reid_fingerprint(weights, changed(cfg, {"PRIVACY.STORAGE": "jpeg75", "SEED": 9})) == own
    assert reid_fingerprint({"backbone.a": torch.arange(6.0)}, cfg) == own
    assert reid_fingerprint({"backbone.a": torch.arange(6.0).flip(0)}, cfg) != own
    assert reid_fingerprint({"backbone.b": torch.arange(6.0)}, cfg) != own


def test_an_index_without_mirror_images_is_not_asked_with_them(index, weights, query_files, tmp_path, capsys):
    checkpoint = torch.load(weights, weights_only=True)
    cfg = changed(parse_config(checkpoint["config"], "checkpoint"), {"TEST.FLIP.ENABLED": True})
    torch.save({**checkpoint, "config": cfg.dump()}, tmp_path / "flip.pth")
    assert retrieve("query", "--weights", tmp_path / "flip.pth", "--index", index, query_files[0]) == 2
    assert "built with another Re-ID model" in capsys.readouterr().err


# -- build and query -----------------------------------------------------------------------------------------


def test_the_index_names_what_it_holds_and_what_it_leaves_out(gallery, weights, tmp_path, capsys):
    assert (
        retrieve("build", "--weights", weights, "--gallery", gallery, "--index", tmp_path / "a" / "my.index")
        == 0
    )
    out, err = capsys.readouterr()
    built, files = (
        read_index(tmp_path / "a" / "my.index"),
        [path.relative_to(gallery).as_posix() for path in gallery.rglob("*")],
    )
    assert (
        built.paths == sorted(path for path in files if re.search(r"\d_\d+\.(jpg|png)$", path))
        and len(built.paths) == 19
    )
    assert list(built.left_out) == ["räw/broken.jpg"] and built.root == gallery and not built.protected
    assert "19 of 20 images" in out and "flat, cosine, 128 dimensions" in out
    assert (
        "warning: 1 of 20 images are not in the index" in err and str(gallery / "räw" / "broken.jpg") in err
    )


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_the_bytes_of_an_index_do_not_depend_on_threads(gallery, weights, tmp_path, kind):
    """Torch with more threads may round otherwise; no more than one has a batch."""
    words = ["--weights", weights, "--gallery", gallery, "--batch-size", 3, "--device", "cpu", "--kind", kind]
    for workers in (1, 3):
        torch.set_num_threads(workers)
        assert retrieve("build", *words, "--index", tmp_path / str(workers), "--workers", workers) == 0
        assert torch.get_num_threads() == workers
    torch.set_num_threads(1)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "3").read_bytes()
    assert len(read_index(tmp_path / "1").paths) == 19


def test_pictures_are_found_and_read_as_those_of_a_collection(small_dataset, weights, tmp_path):
    """One picture has one score in 8 and 16 bits, in other formats, transparent, turned by EXIF."""
    levels = np.array(Image.open(next(small_dataset.glob("*/query/*"))).convert("L"))
    levels[:8] = 255
    folder, grey = tmp_path / "gallery", Image.fromarray(levels)
    (folder / "deep").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    grey.save(folder / "a8.png")
    Image.fromarray(levels.astype(np.uint16) * 257).save(folder / "b16.PNG")
    grey.save(folder / "c.tif")
    grey.convert("RGB").save(folder / "deep" / "d.webp", lossless=True)
    seen = np.dstack([levels] * 3 + [np.full_like(levels, 255)])
    seen[:8] = (7, 8, 9, 0)  # hidden colours under full transparency
    Image.fromarray(seen).save(folder / "e.png")
    turned = Image.Exif()
    turned[0x0112] = 6  # a viewer turns it clockwise
    grey.transpose(Image.Transpose.ROTATE_90).save(folder / "f.png", exif=turned)
    (folder / "g.png").symlink_to(folder / "a8.png")
    (folder / "back").symlink_to(folder, target_is_directory=True)
    grey.save(folder / ".hidden" / "h.png")
    grey.save(folder / ".i.png")
    extract = load_extractor(weights, "cpu")
    index = build_index(folder, extract)
    assert index.paths == ["a8.png", "b16.PNG", "c.tif", "deep/d.webp", "e.png", "f.png", "g.png"]
    assert not index.left_out
    for path in index.paths:
        np.testing.assert_array_equal(np.array(open_picture(folder / path))[..., 0], levels)
    (answer,) = ask(index, extract, [folder / "b16.PNG"])
    assert answer.scores == pytest.approx([1.0] * 7, abs=1e-5)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("protect", [False, True])
def test_ranking_is_that_of_brute_force(gallery, weights, query_files, tmp_path, capsys, metric, protect):
    extra = ["--protect"] if protect else []
    common = ("--weights", weights, "--index", tmp_path / "i", *extra)
    assert retrieve("build", *common, "--gallery", gallery, "--metric", metric) == 0
    assert retrieve("query", *common, "--json", tmp_path / "ranks.json", "--top", 9, *query_files) == 0
    written, shown = json.loads((tmp_path / "ranks.json").read_text()), capsys.readouterr().out

    extract, paths = load_extractor(weights, "cpu"), read_index(tmp_path / "i").paths
    protected_features = {}
    for files, root in ((paths, gallery), (query_files, Path())):
        images = torch.stack([torch.from_numpy(pixels(root / file)).permute(2, 0, 1) for file in files])
        protected_features[root] = (
            extract(extract.protect(images, []) if protect else images).double().numpy()
        )
    for features in protected_features.values():
        if metric == "cosine":
            features /= np.linalg.norm(features, axis=1, keepdims=True)
    queries, images = protected_features[Path()], protected_features[gallery]
    scores = queries @ images.T if metric == "cosine" else np.linalg.norm(queries[:, None] - images, axis=2)
    assert (written["metric"], written["query_protected"], written["gallery_protected"]) == (
        metric,
        protect,
        protect,
    )
    for answer, query, row in zip(written["queries"], query_files, scores, strict=True):
        assert answer["query"] == str(query)
        order = np.argsort(-row if metric == "cosine" else row, kind="stable")[:9]
        assert [entry["rank"] for entry in answer["ranks"]] == list(range(1, 10))
        np.testing.assert_allclose(
            [entry["score"] for entry in answer["ranks"]], row[order], rtol=1e-3, atol=1e-5
        )
        assert [row[paths.index(entry["image"])] for entry in answer["ranks"]] == pytest.approx(
            row[order], rel=1e-4, abs=1e-6
        )
        for entry in answer["ranks"]:
            assert entry["same_person"] == (query.name[:4] == Path(entry["image"]).name[:4])
            assert re.search(
                rf"^ +{entry['rank']} +{entry['score']:.4f} .*{re.escape(entry['image'])}$", shown, re.M
            )


def test_names_say_who_is_the_same_person():
    assert same_person("0002_c1s1_000451_03.jpg", "x/0002_c5s1_000001_01.png") is True
    assert same_person("0002_c1s1_000451_03.jpg", "0020_c1.jpg") is False
    # distractors: different people under one number
    assert same_person("0000_c1s1_1.jpg", "0000_c2s1_1.jpg") is False
    assert same_person("0002_c1s1_000451_03.jpg", "-1_c1s1_1.jpg") is None
    assert same_person("holiday.jpg", "0002_c1s1_1.jpg") is None


def test_hnsw_is_measured_and_ranks_like_flat(small_dataset, weights, query_files, tmp_path, capsys):
    """Two neighbours may change places where their scores differ by less than the two searches round."""
    (folder,) = small_dataset.glob("*/bounding_box_test")
    build = ("build", "--weights", weights, "--gallery", folder)
    assert retrieve(*build, "--index", tmp_path / "f") == 0
    flat_index = read_index(tmp_path / "f")  # whose memory the features are
    features = stored_features(flat_index.searched).astype(np.float64)
    assert len(features) == 19
    assert retrieve(*build, "--index", tmp_path / "h", "--kind", "hnsw") == 0
    assert re.search(r"hnsw +1\.000 +1\.000 +0\.\d MiB +\d+\.\d\d ms\nflat", capsys.readouterr().out)
    assert read_index(tmp_path / "h").measured["recall@10"] == 1
    for name, path, effort in (("flat", tmp_path / "f", []), ("hnsw", tmp_path / "h", ["--ef", 64])):
        assert (
            retrieve("query", *effort, *query_files, weights=weights, index=path, json=tmp_path / name) == 0
        )
    flat, hnsw = (json.loads((tmp_path / name).read_text())["queries"] for name in ("flat", "hnsw"))
    assert len(flat) == len(hnsw) == len(query_files)
    for one, other in zip(flat, hnsw, strict=True):
        exact = {entry["image"]: entry["score"] for entry in one["ranks"]}
        assert [entry["score"] for entry in other["ranks"]] == pytest.approx([*exact.values()], abs=1e-5)
        for entry in other["ranks"]:
            assert entry["score"] == pytest.approx(exact.get(entry["image"], min(exact.values())), abs=1e-5)


# -- the strip -----------------------------------------------------------------------------------------------


def box(place: int, line: int = 0) -> tuple[int, int, int, int]:
    """Where the picture of a place is (0: the query), without its frame, as PIL crops."""
    step_x, left = TILE[0] + 2 * FRAME + GAP, MARGIN + FRAME + (GAP if place else 0)
    step_y = TILE[1] + 2 * FRAME + 42 + GAP
    return (
        left + place * step_x,
        MARGIN + FRAME + line * step_y,
        left + place * step_x + TILE[0],
        MARGIN + FRAME + line * step_y + TILE[1],
    )


def frame_colour(strip, place, line=0):
    left, top, *_ = box(place, line)
    return strip.getpixel((left - 2, top + 100))


@pytest.fixture
def colours(weights, tmp_path):
    """An index of twelve plain pictures of two people: (index file, folder)."""
    folder = tmp_path / "colours"
    folder.mkdir()
    for number in range(12):
        name = f"{number % 2 + 1:04}_c1s1_{number:06}_00.png"
        Image.new("RGB", (32, 64), (20 * number, 255 - 20 * number, 40 + 9 * number)).save(folder / name)
    assert retrieve("build", "--weights", weights, "--gallery", folder, "--index", tmp_path / "c") == 0
    return tmp_path / "c", folder


def test_the_strip_shows_the_ranked_pictures(colours, weights, tmp_path, capsys):
    index, folder = colours
    query = folder / "0001_c1s1_000004_00.png"
    files = ("--output", tmp_path / "new" / "strip.png", "--json", tmp_path / "ranks.json")
    assert retrieve("query", "--weights", weights, "--index", index, *files, "--top", 12, query) == 0
    strip = Image.open(tmp_path / "new" / "strip.png")
    ranks = json.loads((tmp_path / "ranks.json").read_text())["queries"][0]["ranks"]
    assert (
        ranks[0]["image"] == query.name
        and ranks[0]["score"] == pytest.approx(1, abs=1e-5)
        and len(ranks) == 12
    )
    assert strip.crop(box(0)).getcolors() == [(TILE[0] * TILE[1], tuple(pixels(query)[0, 0]))]
    assert frame_colour(strip, 0) == (255, 255, 255)
    for entry in ranks:
        line, column = divmod(entry["rank"] - 1, 10)  # ten beside each other, then the next line
        picture = strip.crop(box(column + 1, line))
        assert picture.getcolors() == [(TILE[0] * TILE[1], tuple(pixels(folder / entry["image"])[0, 0]))]
        assert frame_colour(strip, column + 1, line) == (
            GREEN if entry["image"].startswith("0001") else VERMILLION
        )


def test_a_moved_gallery_and_missing_pictures(colours, weights, tmp_path, capsys):
    index, folder = colours
    query = shutil.copy(folder / "0001_c1s1_000004_00.png", tmp_path / "asked.png")
    moved = folder.rename(tmp_path / "moved")
    (moved / "0002_c1s1_000005_00.png").unlink()
    common = ("query", "--weights", weights, "--index", index, query)
    files = ("--output", tmp_path / "strip.png", "--json", tmp_path / "ranks.json")
    assert retrieve(*common, *files, "--gallery", moved) == 0
    out, err = capsys.readouterr()
    assert (
        f"{moved} holds no readable picture" in err
        and err.count("_00.png") == 1
        and "0002_c1s1_000005_00.png" in out
    )
    ranks = json.loads((tmp_path / "ranks.json").read_text())["queries"][0]["ranks"]
    grey = [entry["rank"] for entry in ranks if entry["image"] == "0002_c1s1_000005_00.png"]
    strip = Image.open(tmp_path / "strip.png")
    for entry in ranks:
        corner = strip.crop(box(entry["rank"])).getpixel((30, 30))
        expected = (201, 206, 212) if entry["rank"] in grey else tuple(pixels(moved / entry["image"])[0, 0])
        assert corner == expected
        assert frame_colour(strip, entry["rank"]) == (255, 255, 255)  # "asked.png" does not say who it is
    assert retrieve(*common, "--output", tmp_path / "strip.jpg") == 0
    assert (
        Image.open(tmp_path / "strip.jpg").format == "JPEG"
        and Image.open(tmp_path / "strip.jpg").size == strip.size
    )
    assert capsys.readouterr().err.count("_00.png") == 10  # ten are shown, none is where it was


def test_what_stands_as_protected_is_shown_protected(gallery, weights, query_files, tmp_path):
    common = ("--weights", weights, "--index", tmp_path / "i", "--protect", "--device", "cpu")
    assert retrieve("build", *common, "--gallery", gallery) == 0
    files = ("--output", tmp_path / "s.png", "--json", tmp_path / "r.json")
    assert retrieve("query", *common, *files, "--top", 2, query_files[0]) == 0
    strip, protect = Image.open(tmp_path / "s.png"), fastreid_privacy.load_anonymizer(weights, "cpu")
    ranks = json.loads((tmp_path / "r.json").read_text())["queries"][0]["ranks"]
    for place, file in enumerate([query_files[0], *(gallery / entry["image"] for entry in ranks)]):
        protected = protect(torch.from_numpy(pixels(file)).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()
        enlarged = Image.fromarray(protected).resize(TILE, Image.Resampling.LANCZOS)
        np.testing.assert_array_equal(np.array(strip.crop(box(place))), np.array(enlarged))


# -- mistakes ------------------------------------------------------------------------------------------------


@pytest.fixture
def places(gallery, index, weights, query_files, tmp_path):
    """Files for mistakes, by name."""
    plain = {
        name: value
        for name, value in read_checkpoint(weights)["model"].items()
        if name.startswith(("backbone.", "heads."))
    }
    torch.save({"model": plain}, tmp_path / "plain.pth")
    for folder in ("empty", "words", "broken", "single", "half"):
        (tmp_path / folder).mkdir()
    for folder in ("single", "half"):  # one picture that can be read, alone or beside one that cannot
        shutil.copy(query_files[0], tmp_path / folder / "b.jpg")
    (tmp_path / "half" / "a.png").write_bytes(b"no picture")
    (tmp_path / "words" / "a.txt").write_text("a")
    (tmp_path / "broken" / "a.png").write_bytes(b"no picture")
    (tmp_path / "kept.png").write_bytes(b"the user's")
    return {"gallery": gallery, "index": index, "weights": weights, "query": query_files[0], "tmp": tmp_path}


BUILD = "build --weights {weights} --gallery {gallery} --index {tmp}/new "
QUERY = "query --weights {weights} --index {index} {query} "


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            BUILD + "--index {tmp}/made/new --weights {tmp}/no.pth",
            "checkpoint .*no.pth does not exist; name a model_best.pth, or the reid.pth of tools/export.py",
        ),
        (BUILD + "--weights {query}", "is damaged or no checkpoint"),
        (BUILD + "--weights {tmp}/plain.pth", "plain.pth carries no config"),
        (BUILD + "--device tpu9", "tpu9"),
        (BUILD + "--gallery {tmp}/nowhere", "nowhere is no folder"),
        (BUILD + "--gallery {tmp}/empty", "empty holds no image"),
        (BUILD + "--gallery {tmp}/words", "words holds no image"),
        (BUILD + "--gallery {tmp}/broken", "none of its 1 images can be read; the first: image .*a.png"),
        (
            BUILD + "--kind hnsw --gallery {tmp}/single",
            "at least 2 images, and there are 1: choose --kind flat",
        ),
        (
            BUILD + "--kind hnsw --gallery {tmp}/half",
            "at least 2 images, and there are 1: choose --kind flat",
        ),
        (BUILD + "--kind ivfpq", "at least 256 images, and there are 20"),
        (BUILD + "--index {index}", "exists; choose another name, or --force"),
        (BUILD + "--index {tmp}/empty", "is a folder"),
        (BUILD + "--index {tmp}/kept.png/new", "cannot be written"),
        (QUERY + "{tmp}/nobody.png", "image .*nobody.png cannot be read: No such file"),
        (QUERY + "{tmp}/broken/a.png", "a.png cannot be read: it is no image file"),
        (QUERY + "--index {tmp}/no.index", "no.index does not exist; build it"),
        (QUERY + "--index {tmp}/kept.png", "kept.png is damaged or no index"),
        (QUERY + "--output {tmp}/same.png --json {tmp}/same.png", "must be files of their own"),
        (QUERY + "--json {index} --force", "none of the index, the weights and the queries"),
        (QUERY + "--output {tmp}/kept.png", "kept.png exists; choose another name, or --force"),
        (QUERY + "--json {tmp}/kept.png", "kept.png exists; choose another name, or --force"),
        (QUERY + "--output {tmp}/strip.svg", "strip.svg is no picture's name; let it end in .png"),
        (QUERY + "--output {tmp}/kept.png/strip.png", "cannot be written"),
        (QUERY + "--gallery {tmp}/nowhere", "nowhere is no folder"),
        (QUERY + "--nprobe 4", "--nprobe does nothing .*of kind flat"),
    ],
)
def test_mistakes_end_with_one_message(places, capsys, command, message):
    before = sorted(places["tmp"].iterdir())
    assert retrieve(*(word.format(**places) for word in command.split())) == 2
    out, err = capsys.readouterr()
    assert re.match(rf"error: .*{message}", err) and err.count("\n") == 1 and out == ""
    assert (
        sorted(places["tmp"].iterdir()) == before
        and (places["tmp"] / "kept.png").read_bytes() == b"the user's"
    )


@pytest.mark.parametrize(
    "command", [BUILD + "--batch-size 0", QUERY + "--top 0", QUERY + "--top many", "build", "find"]
)
def test_the_parser_refuses_what_is_no_command(places, capsys, command):
    with pytest.raises(SystemExit) as end:
        retrieve(*(word.format(**places) for word in command.split()))
    assert end.value.code == 2 and "error:" in capsys.readouterr().err


def test_other_models_and_missing_anonymizers_are_refused(index, gallery, query_files, tmp_path, capsys):
    other = untrained(tmp_path, "none")
    assert retrieve("query", "--weights", other, "--index", index, query_files[0]) == 2
    assert "built with another Re-ID model" in capsys.readouterr().err
    assert (
        retrieve("build", "--weights", other, "--index", tmp_path / "i", "--gallery", gallery, "--protect")
        == 2
    )
    assert "other.pth holds no anonymizer" in capsys.readouterr().err and not (tmp_path / "i").exists()


def test_a_top_beyond_the_gallery_ranks_all(index, weights, query_files, capsys):
    assert retrieve("query", "--weights", weights, "--index", index, "--top", 5000, query_files[0]) == 0
    out, err = capsys.readouterr()
    assert "--top 5000 is more than the gallery's 19 images: all are ranked" in err
    assert len(re.findall(r"^ +\d+ +-?\d\.\d{4} ", out, re.M)) == 19


def test_force_replaces_and_names_that_are_no_unicode_can_be_printed(gallery, weights, tmp_path, capsys):
    (tmp_path / "i").write_text("old")
    assert (
        retrieve("build", "--weights", weights, "--gallery", gallery, "--index", tmp_path / "i", "--force")
        == 0
    )
    assert len(read_index(tmp_path / "i").paths) == 19
    assert retrieve("build", "--weights", weights, "--gallery", "/no\udcff", "--index", tmp_path / "j") == 2
    assert r"/no\udcff is no folder" in capsys.readouterr().err


def test_odd_names_and_files_are_read_as_those_of_a_collection(
    query_files, weights, tmp_path, capsys, monkeypatch
):
    folder, beside = tmp_path / "gallery", tmp_path / "beside"
    (folder / "shut").mkdir(parents=True)
    beside.mkdir()
    names = ["two\nlines.png", "red\x1b[31m.png", "no unicode \udcff.png"]
    for query, target in zip(
        query_files * 2, [*(folder / name for name in names), beside / "a.png"], strict=False
    ):
        Image.open(query).save(target)
    (folder / "linked").symlink_to(beside)
    (folder / "self").symlink_to("self")
    os.mkfifo(folder / "pipe\n.png")
    close_folders(monkeypatch)
    made = tmp_path / "my.index"
    assert retrieve("build", "--weights", weights, "--gallery", folder, "--output", made) == 0
    out, err = capsys.readouterr()
    assert read_index(made).paths == sorted([*names, "linked/a.png"])
    assert "4 of 5 images" in out and "warning: 1 of 5 images are not in the index" in err
    assert rf"image {folder}/pipe\n.png cannot be read: it is no regular file" in err
    assert "warning: 2 folders were not searched" in err
    assert f"folder {folder}/self was not searched: the link cannot be followed" in err
    assert f"folder {folder}/shut was not searched: it cannot be listed: Permission denied" in err
    shown = ("--weights", weights, "--gallery", folder, "--output", tmp_path / "protected.index")
    assert retrieve("build", "--protect", *shown) == 0
    assert read_index(tmp_path / "protected.index").paths == read_index(made).paths
    capsys.readouterr()
    words = {"weights": weights, "index": made, "output": tmp_path / "strip.png", "json": tmp_path / "j"}
    assert retrieve("query", folder / names[0], folder / names[2], **words) == 0
    out, err = capsys.readouterr()
    assert r"two\nlines.png" in out and r"red\x1b[31m.png" in out and r"no unicode \udcff.png" in out
    assert "\x1b" not in out and "warning" not in err
    assert len(re.findall(r"^ +\d+ +-?\d\.\d{4} ", out, re.M)) == 8
    found = json.loads((tmp_path / "j").read_text())["queries"][0]["ranks"]
    assert sorted(rank["image"] for rank in found) == read_index(made).paths
    assert retrieve("query", "--weights", weights, "--index", made, folder / "pipe\n.png") == 2
    assert "it is no regular file" in capsys.readouterr().err


def test_an_interruption_leaves_nothing(gallery, weights, tmp_path, capsys, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(indexing, "write_index", interrupted)
    assert retrieve("build", "--weights", weights, "--gallery", gallery, "--index", tmp_path / "i") == 130
    assert capsys.readouterr().err.splitlines()[-1].startswith("interrupted") and not list(tmp_path.iterdir())
