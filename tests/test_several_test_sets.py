"""A run of two test sets: each is compared with the figures that Base and the upper bound have on it."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import SMALL_CONFIG, small_options
from in_process import train

from fastreid_privacy.config import load_config
from fastreid_privacy.data.datasets import load_dataset

TESTS = ("SyntheticPedestrians", "MarketFolder")


@pytest.fixture(scope="module")
def options(small_dataset, tmp_path_factory):
    """MarketFolder is the synthetic set with query and gallery changed over."""
    data = load_dataset(load_config(SMALL_CONFIG, small_options("unused")), TESTS[0])
    folders = tmp_path_factory.mktemp("market")
    for part, items in (("TRAIN", data.train), ("QUERY", data.gallery), ("GALLERY", data.query)):
        (folders / part).mkdir()
        for path, *_ in items:
            shutil.copy(path, folders / part)
    places = {f"DATASETS.FOLDER.{part}": folders / part for part in ("TRAIN", "QUERY", "GALLERY")}

    def of(output, **more):
        keys = {"DATASETS.TESTS": TESTS, "SOLVER.MAX_EPOCH": 1, "PRIVACY.TEACHER.WEIGHT": 10.0}
        return ["--config-file", str(SMALL_CONFIG), *small_options(output, **places, **keys, **more)]

    return of


@pytest.fixture(scope="module")
def trained(options, tmp_path_factory):
    """OUTPUT_DIR with Base and the upper bound beside it; to be read, not to be written."""
    output = tmp_path_factory.mktemp("several") / "run"
    auto = {"PRIVACY.UPGRADE.BASELINE_RANK1": "auto", "PRIVACY.UPPER_BOUND": "auto"}
    assert train(*options(output, **auto)) == 0
    return output


def results(folder, name):
    return json.loads((folder / f"results_{name}.json").read_text())


def compared(folder, name):
    """What results on a test set are compared with: the retrieval of each kind, where there is one."""
    found = results(folder, name)
    return {kind: found[kind] and found[kind]["retrieval"] for kind in ("baseline", "upper_bound")}


def theirs(trained, name):
    return {kind: results(trained / kind, name)["retrieval"] for kind in ("baseline", "upper_bound")}


def test_beside_the_run(trained):
    assert theirs(trained, TESTS[0]) != theirs(trained, TESTS[1])
    for name in TESTS:
        assert compared(trained, name) == theirs(trained, name)
        ours, base = (results(folder, name)["retrieval"] for folder in (trained, trained / "baseline"))
        difference = results(trained, name)["versus_baseline"]["OI-PI"]["difference"]
        assert difference == pytest.approx(ours["OI-PI"]["Rank-1"] - base["OI-PI"]["Rank-1"], abs=1e-3)


def evaluate(options, trained, output, baseline, upper_bound):
    named = {
        "MODEL.WEIGHTS": trained / "model_best.pth",
        "PRIVACY.UPGRADE.BASELINE_RANK1": baseline,
        "PRIVACY.UPPER_BOUND": upper_bound,
    }
    assert train("--eval-only", *options(output, **named)) == 0


@pytest.mark.parametrize("name", TESTS)
def test_beside_a_file_that_is_named_lie_those_of_the_others(options, trained, tmp_path, name):
    files = (trained / kind / f"results_{name}.json" for kind in ("baseline", "upper_bound"))
    evaluate(options, trained, tmp_path, *files)
    assert [compared(tmp_path, test) for test in TESTS] == [theirs(trained, test) for test in TESTS]


def test_a_file_of_one_test_set_serves_no_other(options, trained, tmp_path, caplog):
    for kind in ("baseline", "upper_bound"):
        (tmp_path / kind).mkdir()
        for ending in (".json", ".npz"):
            stem = "results" if ending == ".json" else "query_ranks"
            shutil.copy(trained / kind / f"{stem}_{TESTS[0]}{ending}", tmp_path / kind / f"{stem}{ending}")
    files = (tmp_path / kind / "results.json" for kind in ("baseline", "upper_bound"))
    evaluate(options, trained, tmp_path / "run", *files)
    assert compared(tmp_path / "run", TESTS[0]) == theirs(trained, TESTS[0])
    assert compared(tmp_path / "run", TESTS[1]) == {"baseline": None, "upper_bound": None}
    assert results(tmp_path / "run", TESTS[1])["versus_baseline"] == {}
    assert f"is of {TESTS[0]}: on {TESTS[1]} nothing is compared with the upper bound" in caplog.text


def test_nobody_is_paired_with_other_people_of_a_test_set(options, trained, tmp_path, caplog):
    """As many queries as before, of which two people are others."""
    words = options("unused")
    folders = [Path(words[words.index(f"DATASETS.FOLDER.{part}") + 1]) for part in ("QUERY", "GALLERY")]
    named = [file for folder in folders for file in folder.iterdir()]
    first, second = sorted({file.name[:4] for file in named} - {"0000"})[:2]
    others = [
        (file, file.with_name("8" + file.name[1:])) for file in named if file.name[:4] in (first, second)
    ]
    try:
        for old, new in others:
            old.rename(new)
        files = (trained / kind / f"results_{TESTS[0]}.json" for kind in ("baseline", "upper_bound"))
        evaluate(options, trained, tmp_path, *files)
    finally:
        for old, new in others:
            new.rename(old)
    assert compared(tmp_path, TESTS[0]) == theirs(trained, TESTS[0])
    assert results(tmp_path, TESTS[0])["versus_baseline"]
    assert compared(tmp_path, TESTS[1]) == {"baseline": None, "upper_bound": None}
    assert results(tmp_path, TESTS[1])["versus_baseline"] == {}
    assert f"is of other images of {TESTS[1]}: on {TESTS[1]} nothing is compared with" in caplog.text
