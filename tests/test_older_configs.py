"""What a config of an older version means where it lacks a key of today's."""

import json
from pathlib import Path

import pytest
import yaml

from fastreid_privacy.config import changed, comparable, differing, flat_keys, load_config, parse_config
from fastreid_privacy.core.errors import UserError
from fastreid_privacy.reproduce.cells import build_tables
from fastreid_privacy.results.results_json import CONFIG_FILE
from fastreid_privacy.training.siblings import refuse_to_overwrite

LABELED = "DATASETS.CUHK03.LABELED"
MARKET = Path(__file__).parents[1] / "configs" / "Market" / "privacy_agw.yml"


def config(name: str, *options: str):
    return load_config("", ["DATASETS.NAMES", f"('{name}',)", "DATASETS.TESTS", f"('{name}',)", *options])


def older(cfg) -> dict:
    """The same config as 0.1.0 wrote it."""
    values = yaml.safe_load(cfg.dump())
    del values["DATASETS"]["CUHK03"]
    return values


@pytest.mark.parametrize(("name", "labelled"), [("CUHK03", True), ("Market1501", False)])
def test_a_checkpoint_of_0_1_0_is_of_labelled_boxes(name, labelled):
    cfg = config(name)
    assert flat_keys(cfg)[LABELED] is False
    assert flat_keys(parse_config(cfg.dump(), ""))[LABELED] is False
    assert flat_keys(parse_config(yaml.safe_dump(older(cfg)), ""))[LABELED] is labelled
    mixed = changed(cfg, {"DATASETS.TESTS": (name, "Market1501")})
    assert flat_keys(parse_config(yaml.safe_dump(older(mixed)), ""))[LABELED] is labelled


def test_a_checkpoint_of_0_1_0_keeps_its_heads():
    cfg = load_config(MARKET, ["MODEL.HEADS.POOL_LAYER", "GeneralizedMeanPooling"])
    values = older(cfg)
    del values["MODEL"]["HEADS"]["CLASSIFIER_STD"]
    heads = parse_config(yaml.safe_dump(values), "").MODEL.HEADS
    assert (heads.POOL_LAYER, heads.CLASSIFIER_STD) == ("GeneralizedMeanPooling", 0.01)
    assert differing(comparable(values, ()), comparable(load_config(MARKET), ())) == [
        "MODEL.HEADS.CLASSIFIER_STD 0.01 ≠ 0.001",
        "MODEL.HEADS.POOL_LAYER GeneralizedMeanPooling ≠ GeneralizedMeanPoolingP",
    ]


@pytest.mark.parametrize("side", [0, 1])
def test_a_run_of_0_1_0_differs_from_one_of_detected_boxes(side):
    cfg = config("CUHK03")
    pair = [comparable(older(cfg), ()), comparable(cfg, ())]
    assert differing(*(pair if side == 0 else pair[::-1])) == [
        f"{LABELED} True ≠ False" if side == 0 else f"{LABELED} False ≠ True"
    ]
    assert differing(comparable(older(cfg), ()), comparable(config("CUHK03", LABELED, "True"), ())) == []
    market = config("Market1501")
    assert differing(comparable(older(market), ()), comparable(market, ())) == []


def test_values_of_foreign_files_are_compared_as_they_are():
    assert differing({"DATASETS.NAMES": 5, "DATASETS.TESTS": None}, {"DATASETS.NAMES": 5}) == [
        "DATASETS.TESTS None ≠ ['Market1501']"
    ]


def test_a_run_of_0_1_0_continues_with_its_boxes_only(tmp_path):
    cfg = config("CUHK03", "OUTPUT_DIR", str(tmp_path))
    (tmp_path / "model_0004.pth").touch()
    (tmp_path / CONFIG_FILE).write_text(yaml.safe_dump(older(cfg)))
    with pytest.raises(UserError, match=f"{LABELED} True → False"):
        refuse_to_overwrite(cfg, resume=True)
    refuse_to_overwrite(changed(cfg, {LABELED: True}), resume=True)
    market = config("Market1501", "OUTPUT_DIR", str(tmp_path))
    (tmp_path / CONFIG_FILE).write_text(yaml.safe_dump(older(market)))
    refuse_to_overwrite(market, resume=True)


@pytest.mark.parametrize(("settings", "said"), [("older", True), ("labelled", True), ("detected", False)])
def test_tables_say_where_boxes_are_not_the_paper_s(tmp_path, settings, said):
    cfg = config("CUHK03", LABELED, str(settings == "labelled"))
    whole = comparable(older(cfg) if settings == "older" else cfg, ())
    plan = {
        "schema": 1,
        "dataset": "CUHK03",
        "budget": 1.0,
        "tables": [3],
        "operators": ["blur"],
        "seeds": [0],
        "settings": json.loads(json.dumps(whole)),
    }
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    (table,) = build_tables(tmp_path)
    assert ("labelled boxes here, detected ones in the paper" in table.caption) is said
