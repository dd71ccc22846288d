"""A data set protected by its name, read again, item by item the raw one, trained and tested on."""

from __future__ import annotations

# before fastreid: importing the package makes it work
from conftest import SMALL_CONFIG, SMALL_DATASET, small_options

# isort: split
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset
from forged_manifests import write_forged
from in_process import call
from PIL import Image

from fastreid_privacy.checkpoints.splitting import split_checkpoint
from fastreid_privacy.collection.source import targets
from fastreid_privacy.config import load_config, parse_config
from fastreid_privacy.core.errors import UserError
from fastreid_privacy.data import load_dataset
from fastreid_privacy.data.loaders import validation_split

PARTS = ("train", "query", "gallery")
EMBEDDED = [
    str(word) for key, value in SMALL_DATASET.items() for word in (f"DATASETS.SYNTHETIC.{key.upper()}", value)
]
KEY = bytes(range(32))
READ = {"DATASETS.NAMES": "('ProtectedCollection',)", "DATASETS.TESTS": "('ProtectedCollection',)"}


def anonymize(name: str, output: Path, *words) -> None:
    assert call("anonymize", "--input", name, "--output", output, *words) == 0


def config(folder="", *options):
    return load_config("", ["MODEL.DEVICE", "cpu", "DATASETS.PROTECTED", str(folder), *options])


def items(cfg, name: str) -> dict[str, list[tuple]]:
    data = load_dataset(cfg, name)
    return {part: [tuple(item) for item in getattr(data, part)] for part in PARTS}


def same_items(
    raw: dict, read: dict, root: Path, folder: Path, ending: str, key: bytes | None = None
) -> None:
    """Each raw item once, with its file's name in the collection for its path, in the order of the names.

    The order counts: equal scores rank in that of the gallery.
    """
    paths = {item[0] for part in PARTS for item in raw[part]}
    named = targets([Path(path).relative_to(root).as_posix() for path in paths], ending, key)
    for part in PARTS:
        expected = [
            (str(folder / named[Path(path).relative_to(root).as_posix()]), *label)
            for path, *label in raw[part]
        ]
        expected.sort(key=lambda item: item[0])
        assert read[part] == expected and expected, part
        assert [list(map(type, item)) for item in read[part]] == [
            list(map(type, item)) for item in expected
        ], part


@pytest.fixture(scope="module")
def weights(small_run):
    """The run's own, for results.json beside it has the figures of these."""
    return small_run / "model_best.pth"


@pytest.fixture(scope="module")
def collection(weights, small_dataset, tmp_path_factory):
    """The embedded data set, protected by the small model to PNG files."""
    folder = tmp_path_factory.mktemp("protected") / "png"
    anonymize("SyntheticPedestrians", folder, "--weights", weights, *EMBEDDED)
    return folder


@pytest.mark.parametrize(
    "words", [[], ["--pseudonymize", "names.key"], ["--format", "jpg"]], ids=["png", "pseudonyms", "jpg"]
)
def test_the_items_are_those_of_the_raw_data_set(small_dataset, tmp_path, words):
    (tmp_path / "names.key").write_bytes(KEY)
    words = [tmp_path / word if word == "names.key" else word for word in words]
    folder = tmp_path / "out"
    anonymize("SyntheticPedestrians", folder, "--method", "pixelate", *words, *EMBEDDED)
    raw, read = (
        items(config("", *EMBEDDED), "SyntheticPedestrians"),
        items(config(folder), "ProtectedCollection"),
    )
    ending = ".jpg" if "jpg" in words else ".png"
    same_items(raw, read, small_dataset.resolve(), folder, ending, KEY if "--pseudonymize" in words else None)
    header, *lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    assert (header["dataset"], header["label_prefix"]) == ("SyntheticPedestrians", "syntheticpedestrians_")
    assert {type(value) for line in lines[:-1] for _, *label in line["labels"] for value in label} == {int}


def test_training_on_both_sets_knows_who_is_the_same(collection, small_dataset):
    def split(names: str):
        return validation_split(config(collection, *EMBEDDED, "DATASETS.NAMES", names))

    alone, both = split("('SyntheticPedestrians',)"), split("('SyntheticPedestrians', 'ProtectedCollection')")
    assert {item[1] for item in both.train} == {item[1] for item in alone.train}
    assert len(both.train) == 2 * len(alone.train)


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(len(path.name)).integers(0, 256, (16, 8, 3), np.uint8)).save(path)


def msmt17(root: Path) -> None:
    """Six people under three cameras in MSMT17's layout; test identities count from 0 in its lists."""
    lists = {"train": [], "val": [], "query": [], "gallery": []}
    for pid in range(6):
        for camera in (1, 7, 15):
            part = "train" if pid < 3 else "query" if camera == 1 else "gallery"
            name = f"{pid % 3:04d}/{pid % 3:04d}_000_{camera:02d}_0303morning_0008_0.jpg"
            picture(root / "MSMT17_V1" / ("train" if part == "train" else "test") / name)
            lists[part].append(f"{name} {pid % 3}")
    for name, lines in lists.items():
        (root / "MSMT17_V1" / f"list_{name}.txt").write_text("".join(f"{line}\n" for line in lines))


def cuhk03(root: Path) -> None:
    """CUHK03 as fastreid unpacks it: PNG files and lists of (path, identity, camera), a file in two parts.

    Its second person has no detected box.
    """
    folder = root / "cuhk03"
    for boxes, pids in (("labeled", range(4)), ("detected", (0, 2, 3))):
        split: dict[str, list] = {part: [] for part in PARTS}
        for pid in pids:
            for camera in (0, 1):
                path = folder / f"images_{boxes}" / f"1_{pid + 1:03d}_{camera + 1}_01.png"
                picture(path)
                for part in ("train",) if pid < 2 else ("query", "gallery"):
                    split[part].append([str(path), pid, camera])
        for protocol in ("classic", "new"):
            (folder / f"splits_{protocol}_{boxes}.json").write_text(json.dumps([split]))
    (folder / "cuhk03_release").mkdir()
    for name in (
        "cuhk03_release/cuhk-03.mat",
        *(f"cuhk03_new_protocol_config_{kind}.mat" for kind in ("detected", "labeled")),
    ):
        (folder / name).touch()


def market1501(root: Path) -> None:
    for part, pids in (
        ("bounding_box_train", (2, 7)),
        ("query", (1, 3)),
        ("bounding_box_test", (-1, 0, 1, 3)),
    ):
        for pid in pids:
            for camera in (1,) if part == "query" else (1, 4):
                picture(
                    root
                    / "Market-1501-v15.09.15"
                    / part
                    / f"{pid if pid < 0 else format(pid, '04d')}_c{camera}s1_000451_03.jpg"
                )


@pytest.mark.parametrize(
    ("name", "write"), [("Market1501", market1501), ("MSMT17", msmt17), ("CUHK03", cuhk03)]
)
def test_fastreid_s_own_data_sets(tmp_path, monkeypatch, name, write):
    root = tmp_path / "datasets"
    write(root)
    monkeypatch.setenv("FASTREID_DATASETS", str(root))
    anonymize(name, tmp_path / "out", "--method", "blur")
    raw, read = items(config(), name), items(config(tmp_path / "out"), "ProtectedCollection")
    same_items(raw, read, root, tmp_path / "out", ".png")
    assert all(pid.startswith(f"{name.lower()}_") for _, pid, _ in read["train"])


@pytest.mark.parametrize(
    ("words", "boxes", "people"),
    [([], "detected", 3), (["DATASETS.CUHK03.LABELED", "True"], "labeled", 4)],
    ids=["default", "labelled"],
)
def test_boxes_of_cuhk03_are_the_detected_ones_unless_asked(tmp_path, monkeypatch, words, boxes, people):
    root = tmp_path / "datasets"
    cuhk03(root)
    monkeypatch.setenv("FASTREID_DATASETS", str(root))
    read = items(config("", *words), "CUHK03")
    paths = {Path(path) for part in PARTS for path, *_ in read[part]}
    assert {path.parent.name for path in paths} == {f"images_{boxes}"} and len(paths) == 2 * people
    anonymize("CUHK03", tmp_path / "out", "--method", "blur", *words)
    protected = {path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*.png")}
    assert protected == {path.relative_to(root) for path in paths}


class OddLabels(ImageDataset):
    """A data set of the user's own whose training labels are words, or numbers without a prefix."""

    def __init__(self, root="", **kwargs):
        path = sorted(Path(root).glob("*.png"))
        train = [
            (str(path[0]), "scene1-007", "north"),
            (str(path[0]), "0", "1"),
            (str(path[1]), 8, np.int64(0)),
        ]
        super().__init__(train, [(str(path[0]), -5, 0)], [(str(path[1]), np.int64(7), 1)], **kwargs)


def test_labels_of_other_kinds_stay_apart(tmp_path, monkeypatch):
    for number in range(2):
        picture(tmp_path / "datasets" / f"{number}.png")
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path / "datasets"))
    monkeypatch.setitem(DATASET_REGISTRY._obj_map, "OddLabels", OddLabels)
    anonymize("OddLabels", tmp_path / "out", "--method", "blur")
    read = items(config(tmp_path / "out"), "ProtectedCollection")
    assert [item[1:] for item in read["train"]] == [("scene1-007", "north"), (0, 1), (8, 0)]
    assert [item[1:] for item in read["query"] + read["gallery"]] == [(-5, 0), (7, 1)]


# -- what is refused -----------------------------------------------------------------------------------------


def refuses(folder, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_dataset(config(folder), "ProtectedCollection")


def relabelled(labels):
    """A change of a manifest: other labels for every file."""
    return lambda lines: [{**line, "labels": labels} if "labels" in line else line for line in lines]


def rewritten(collection: Path, folder: Path, change) -> Path:
    """A copy of a collection with another manifest."""
    shutil.copytree(collection, folder)
    lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    write_forged(folder / "manifest.jsonl", "".join(f"{json.dumps(line)}\n" for line in change(lines)))
    return folder


def test_folders_that_are_no_such_collection(collection, small_dataset, tmp_path):
    refuses("", r"DATASETS.PROTECTED is '', which is no folder")
    refuses(tmp_path / "absent", r"DATASETS.PROTECTED is .*absent', which is no folder")
    (tmp_path / "empty").mkdir()
    refuses(tmp_path / "empty", "manifest.jsonl cannot be read")
    refuses(
        rewritten(collection, tmp_path / "open", lambda lines: lines[:-1]),
        "open .* is unfinished; run the same",
    )
    refuses(
        rewritten(collection, tmp_path / "train", relabelled([["train", 1, 0]])),
        "holds no query and no gallery images",
    )


def test_a_collection_without_labels_names_both_ways_out(small_dataset, tmp_path):
    (raw,) = small_dataset.glob("Synthetic*")
    anonymize(str(raw / "query"), tmp_path / "out", "--method", "blur")
    assert "labels" not in (tmp_path / "out" / "manifest.jsonl").read_text()
    refuses(
        tmp_path / "out", r"has no labels: protect the data set by its name .* or read .* with MarketFolder"
    )


def test_a_missing_file_is_named(collection, tmp_path):
    folder = shutil.copytree(collection, tmp_path / "copy")
    first, second, *_ = sorted(folder.rglob("*.png"))
    first.unlink()
    refuses(folder, rf"lacks {re.escape(str(first.relative_to(folder)))} of its manifest")
    second.unlink()
    refuses(folder, rf"lacks {re.escape(str(first.relative_to(folder)))} and 1 more of its manifest")


@pytest.mark.parametrize(
    "labels",
    [None, [["test", 1, 0]], [["query", "1", 0]], [["query", 1]], [["train", 1, 0.5]], [["query", True, 0]]],
)
def test_labels_that_no_run_has_written(collection, tmp_path, labels):
    refuses(rewritten(collection, tmp_path / "copy", relabelled(labels)), "damaged or no manifest")


def test_images_that_could_not_be_protected_are_counted(tmp_path, monkeypatch, caplog):
    root = tmp_path / "datasets"
    market1501(root)
    (root / "Market-1501-v15.09.15" / "bounding_box_test" / "0003_c4s1_000451_03.jpg").write_bytes(b"broken")
    monkeypatch.setenv("FASTREID_DATASETS", str(root))
    words = ["--input", "Market1501", "--output", tmp_path / "out"]
    assert call("anonymize", *words, "--method", "blur") == 2
    with caplog.at_level("WARNING"):
        read = items(config(tmp_path / "out"), "ProtectedCollection")
    assert sorted(item[1:] for item in read["gallery"]) == [(0, 0), (0, 3), (1, 0), (1, 3), (3, 0)]
    assert "lacks 1 of the raw data set's images" in caplog.text


# -- in use --------------------------------------------------------------------------------------------------


def test_retrieval_on_the_files_is_that_of_the_evaluation(collection, small_run, weights, tmp_path):
    """Re-ID alone on the stored files as raw images, against PI→PI of the evaluation that protects them."""
    options = small_options(
        tmp_path,
        **READ,
        **{
            "PRIVACY.PROTECTION": "none",
            "DATASETS.PROTECTED": collection,
            "MODEL.WEIGHTS": weights,
            "PRIVACY.UPGRADE.BASELINE_RANK1": "auto",
        },
    )
    assert call("train", "--config-file", SMALL_CONFIG, "--eval-only", *options) == 0
    read = json.loads((tmp_path / "results.json").read_text())
    evaluated = json.loads((small_run / "results.json").read_text())
    assert read["dataset"] == "ProtectedCollection"
    assert read["retrieval"]["OI-OI"] == pytest.approx(evaluated["retrieval"]["PI-PI"], abs=0.5)
    assert evaluated["retrieval"]["PI-PI"] != pytest.approx(evaluated["retrieval"]["OI-OI"], abs=0.5)


def test_training_on_a_collection(collection, tmp_path, small_dataset):
    output = tmp_path / "run"
    options = small_options(
        output,
        **READ,
        **{"PRIVACY.PROTECTION": "none", "DATASETS.PROTECTED": collection, "SOLVER.MAX_EPOCH": 1},
    )
    assert call("train", "--config-file", "configs/Synthetic/upper_bound.yml", *options) == 0
    results = json.loads((output / "results.json").read_text())
    assert set(results["retrieval"]) == {"OI-OI", "OI-DI"} and (output / "report.html").is_file()
    released = split_checkpoint(output / "model_final.pth", tmp_path / "release", None)["reid"]
    assert str(collection).encode() not in released.read_bytes()
    assert parse_config(torch.load(released, weights_only=True)["config"], "").DATASETS.PROTECTED == ""
