"""The shipped configs: they load, siblings differ in method keys only, and overrides are read strictly."""

from pathlib import Path

import pytest

from fastreid_privacy.compare.methods import read_methods
from fastreid_privacy.compare.training import Plan, configs
from fastreid_privacy.config import RUN_KEYS, comparable, flat_keys, load_config, parse_config, value_of
from fastreid_privacy.core.errors import UserError
from fastreid_privacy.results.results_json import config_value

CONFIGS = Path(__file__).parents[1] / "configs"
FOLDERS = ("Market", "MSMT17", "CUHK03", "Synthetic")
OPERATORS = {"": "blur", "_pixelate": "pixelate", "_noise": "noise"}


def load(path: Path):
    return load_config(path, ["MODEL.DEVICE", "cpu"])


def names() -> list[str]:
    learned = [f"privacy_agw{suffix}.yml" for suffix in OPERATORS]
    others = [f"{kind}_{operator}.yml" for kind in ("wo_upgrade", "base") for operator in OPERATORS.values()]
    return [*learned, *others, "wo_recovery_blur.yml", "upper_bound.yml"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_siblings_differ_in_method_keys_only(folder):
    shared = comparable(load(CONFIGS / folder / "privacy_agw.yml"))
    outputs = set()
    for name in names():
        cfg = load(CONFIGS / folder / name)
        assert comparable(cfg) == shared, name
        outputs.add(cfg.OUTPUT_DIR)
    assert len(outputs) == len(names())  # and none writes over another


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize(("suffix", "operator"), OPERATORS.items())
def test_each_config_is_the_method_its_name_says(folder, suffix, operator):
    full, without, base = (
        load(CONFIGS / folder / name)
        for name in (f"privacy_agw{suffix}.yml", f"wo_upgrade_{operator}.yml", f"base_{operator}.yml")
    )
    assert [cfg.PRIVACY.PROTECTION for cfg in (full, without, base)] == ["learned", "learned", "conventional"]
    assert full.PRIVACY.UPGRADE.ENABLED and not without.PRIVACY.UPGRADE.ENABLED
    assert {cfg.PRIVACY.DESENSITIZER.NAME for cfg in (full, without, base)} == {operator}
    assert load(CONFIGS / folder / "upper_bound.yml").PRIVACY.PROTECTION == "none"


@pytest.mark.parametrize("folder", FOLDERS)
def test_without_recovery_is_the_full_method_but_for_lambda_rec(folder):
    full, without = (load(CONFIGS / folder / name) for name in ("privacy_agw.yml", "wo_recovery_blur.yml"))
    assert without.TEST.PAPER_RESULTS == []  # the paper has no such model
    differing = {key for key, value in flat_keys(full).items() if flat_keys(without)[key] != value}
    assert differing - {"TEST.PAPER_RESULTS", "PRIVACY.UPPER_BOUND"} == {"PRIVACY.LAMBDA_REC", "OUTPUT_DIR"}
    assert (full.PRIVACY.LAMBDA_REC, without.PRIVACY.LAMBDA_REC) == (1.0, 0.0)


@pytest.mark.parametrize("folder", ["Market", "Synthetic"])
def test_the_attacker_is_all_that_is_added_to_the_method_without_recovery(folder):
    without, against = (
        load(CONFIGS / folder / name) for name in ("wo_recovery_blur.yml", "attacker_blur.yml")
    )
    assert comparable(without) == comparable(against)
    differing = {key for key, value in flat_keys(without).items() if flat_keys(against)[key] != value}
    assert differing == {"PRIVACY.ATTACKER.WEIGHT", "OUTPUT_DIR"} and against.PRIVACY.ATTACKER.WEIGHT > 0


@pytest.mark.parametrize("folder", ["Market", "Synthetic"])
def test_the_teacher_and_its_guard_are_all_that_is_added_to_the_full_method(folder):
    full, taught = (load(CONFIGS / folder / name) for name in ("privacy_agw.yml", "teacher_blur.yml"))
    assert taught.TEST.PAPER_RESULTS == []  # the paper has no such model
    differing = {key for key, value in flat_keys(full).items() if flat_keys(taught)[key] != value}
    compared = {"TEST.PAPER_RESULTS", "PRIVACY.UPPER_BOUND"}
    teacher = {"PRIVACY.TEACHER.WEIGHT", "PRIVACY.TEACHER.INIT"}
    assert differing - compared == teacher | {"PRIVACY.UPGRADE.PRIVACY", "OUTPUT_DIR"}
    assert (full.PRIVACY.TEACHER.WEIGHT, full.PRIVACY.TEACHER.INIT) == (0.0, False)
    assert (full.PRIVACY.UPGRADE.PRIVACY, taught.PRIVACY.UPGRADE.PRIVACY) == ("mean", "worst")
    assert taught.PRIVACY.UPPER_BOUND == "auto"


@pytest.mark.parametrize("file", sorted((CONFIGS / "compare").glob("*.yml")), ids=lambda file: file.stem)
def test_shipped_comparisons_are_of_methods_alone(file, tmp_path):
    """Every method loads, and differs from the reference in method keys only."""
    given = read_methods(file)
    found = configs(Plan(given.data, tmp_path, 0.7, 0, "cpu"), given.methods)
    assert set(found) == {method.name for method in given.methods} and given.reference in found
    shared = comparable(found[given.reference])
    assert [name for name, cfg in found.items() if comparable(cfg) != shared] == []


def test_the_sweep_of_the_attacker_is_of_its_weight_alone(tmp_path):
    given = read_methods(CONFIGS / "compare" / "attacker.yml")
    found = configs(Plan(given.data, tmp_path, 0.7, 0, "cpu"), given.methods)
    sweep = [cfg for name, cfg in found.items() if name.startswith("attacker_")]
    assert [cfg.PRIVACY.ATTACKER.WEIGHT for cfg in sweep] == [10.0, 100.0, 1000.0]
    for cfg in sweep:
        keys = flat_keys(cfg)
        others = flat_keys(found["learned_without_recovery"])
        assert {key for key in keys if keys[key] != others[key]} == {"PRIVACY.ATTACKER.WEIGHT", "OUTPUT_DIR"}


@pytest.mark.parametrize(
    ("folder", "name", "pooling", "std"),
    [
        ("Market", "privacy_agw", "GeneralizedMeanPoolingP", 0.001),
        ("MSMT17", "base_noise", "GeneralizedMeanPoolingP", 0.001),
        ("CUHK03", "upper_bound", "GeneralizedMeanPoolingP", 0.001),
        ("Synthetic", "privacy_agw", "GeneralizedMeanPooling", 0.01),  # as the README's figures were made
        ("Market", "reduced", "GeneralizedMeanPooling", 0.01),
    ],
)
def test_heads_are_agw_s(folder, name, pooling, std):
    keys = flat_keys(load(CONFIGS / folder / f"{name}.yml"))
    assert keys["MODEL.HEADS.POOL_LAYER"] == pooling and keys["MODEL.HEADS.CLASSIFIER_STD"] == std


@pytest.mark.parametrize("value", ["1e999", "-0.01"])
def test_a_classifier_of_no_spread_is_refused(value):
    with pytest.raises(UserError, match=r"CLASSIFIER_STD is (inf|-0\.01); it must be above 0, and finite"):
        load_config("", ["MODEL.HEADS.CLASSIFIER_STD", value])


def test_run_keys_say_nothing_about_what_is_learned():
    known = flat_keys(load_config("", ["MODEL.DEVICE", "cpu"]))
    assert set(RUN_KEYS) <= set(known)
    assert not [key for key in RUN_KEYS if key.startswith(("INPUT", "PRIVACY"))]


def test_the_paper_figures_of_the_full_method_are_those_of_table_5():
    cfg = load(CONFIGS / "Market" / "privacy_agw.yml")
    figures = {(where, metric): value for where, metric, value in cfg.TEST.PAPER_RESULTS}
    rank1 = {"OI-OI": 91.6, "OI-PI": 88.2, "PI-OI": 82.5, "PI-PI": 89.2}
    assert {pair: figures[pair, "Rank-1"] for pair in rank1} == rank1
    assert figures["recovered", "PSNR"] == 26.78 and figures["OI-PI", "mINP"] == 37.0


def test_whole_numbers_stand_for_floats_and_lists_for_tuples():
    cfg = load_config(
        "", ["MODEL.DEVICE", "cpu", "PRIVACY.LAMBDA_L1", "50", "DATASETS.NAMES", "['Market1501']"]
    )
    assert cfg.PRIVACY.LAMBDA_L1 == 50.0 and isinstance(cfg.PRIVACY.LAMBDA_L1, float)
    assert cfg.DATASETS.NAMES == ("Market1501",)


@pytest.mark.parametrize(
    ("typed", "nearest"),
    [
        ("PRIVACY.LAMDA_L1", "PRIVACY.LAMBDA_L1"),
        ("SOLVER.MAX_EPOCHS", "SOLVER.MAX_EPOCH"),
        ("PRIVACY.STORAGES", "PRIVACY.STORAGE"),
    ],
)
def test_unknown_keys_name_the_nearest_known_one(typed, nearest, tmp_path):
    with pytest.raises(
        UserError,
        match=rf"unknown config key {typed} in the command line; the nearest known key is {nearest}$",
    ):
        load_config("", [typed, "1"])
    *path, leaf = typed.split(".")
    file = tmp_path / "typo.yml"
    file.write_text(f"{path[0]}:\n  {leaf}: 1\n")
    with pytest.raises(UserError, match=rf"{typed} in .*typo\.yml; the nearest known key is {nearest}$"):
        load_config(file)


def test_a_config_of_defaults_can_be_read_back():
    """fastreid has one tuple for two keys: YAML wrote an alias, which a checkpoint may not carry."""
    cfg = load_config("", ["MODEL.DEVICE", "cpu"])
    assert flat_keys(parse_config(cfg.dump(), "a checkpoint")) == flat_keys(cfg)
    assert cfg.DATASETS.TESTS == cfg.DATASETS.NAMES == ("Market1501",)


def test_the_value_of_a_key_or_its_default():
    """Of a config, of what a file keeps of one, and of results, which may keep none."""
    cfg = load_config("", ["SEED", "7"])
    kept = {"PRIVACY": {"LAMBDA_REC": 0.0}, "SEED": 7}
    for config in (cfg, kept, {"PRIVACY": kept["PRIVACY"], "SEED": 7, "TEST": None}):
        assert value_of(config, "SEED") == config_value({"config": config}, "SEED") == 7
        for key in ("PRIVACY.NONE", "NONE.OF", "SEED.BELOW"):
            assert value_of(config, key, "default") == config_value({"config": config}, key, "default")
            assert value_of(config, key, "default") == "default" and value_of(config, key, None) is None
            with pytest.raises(KeyError, match=key):
                value_of(config, key)
    assert value_of(kept, "PRIVACY.LAMBDA_REC", 1.0) == 0.0
    assert config_value({}, "SEED") is config_value({"config": None}, "SEED") is None
