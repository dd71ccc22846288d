"""The plan of a reproduction, its schedules, the paper's figures, and what is refused before anything is
run."""

from __future__ import annotations

from conftest import SMALL_CONFIG  # before fastreid: importing the package makes it work

# isort: split
import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

from fastreid_privacy.commands.reproduce import asked, build_parser
from fastreid_privacy.commands.reproduce import main as run
from fastreid_privacy.config import comparable, differing, flat_keys, load_config, paper_results
from fastreid_privacy.core.domains import SETTINGS
from fastreid_privacy.core.errors import UserError
from fastreid_privacy.core.signals import SignalsHeld
from fastreid_privacy.reproduce import paper, runs
from fastreid_privacy.reproduce.finished import FinishedRuns
from fastreid_privacy.reproduce.gains import claimed_on, paper_gain
from fastreid_privacy.reproduce.plan import Run, plan_runs
from fastreid_privacy.reproduce.reproduction import Reproduction, read_plan
from fastreid_privacy.reproduce.runs import is_finished, locked
from fastreid_privacy.training import own_process
from fastreid_privacy.training.own_process import last_error, save_config
from fastreid_privacy.training.schedule import scaled_schedule
from fastreid_privacy.training.siblings import comparisons
from fastreid_privacy.training.solver import build_lr_scheduler, lr_factor

CONFIGS = Path(__file__).parents[1] / "configs"
PAPER_SOLVER = {
    "MAX_EPOCH": 120,
    "STEPS": [40, 80],
    "WARMUP_EPOCHS": 10,
    "CHECKPOINT_PERIOD": 5,
    "FREEZE_ITERS": 0,
    "DELAY_EPOCHS": 0,
}
DEMO_SOLVER = {
    "MAX_EPOCH": 7,
    "STEPS": [6],
    "WARMUP_EPOCHS": 1,
    "CHECKPOINT_PERIOD": 1,
    "FREEZE_ITERS": 5,
    "DELAY_EPOCHS": 3,
}


# -- the paper's figures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["Market", "MSMT17", "CUHK03"])
@pytest.mark.parametrize("kind", ["upper_bound", "base", "wo_upgrade", "full"])
@pytest.mark.parametrize("operator", ["blur", "pixelate", "noise"])
def test_the_paper_s_figures_are_those_of_the_configs(folder, kind, operator):
    """Which were transcribed apart from these."""
    full = "privacy_agw" if operator == "blur" else f"privacy_agw_{operator}"
    name = {"upper_bound": "upper_bound", "full": full}.get(kind, f"{kind}_{operator}")
    config = load_config(CONFIGS / folder / f"{name}.yml", ["MODEL.DEVICE", "cpu"])
    entries = paper.entries(config.DATASETS.TESTS[0], kind, "" if kind == "upper_bound" else operator)
    ours = {(where, metric): value for where, metric, value in entries}
    theirs = paper_results(config)
    assert len(theirs) >= 4 and theirs.keys() <= ours.keys()
    assert {key: ours[key] for key in theirs} == theirs


# Market-1501, rank-1/mAP in the order of the pairs, and mINP of the full method: read from the paper by
# someone else.
PEERS = {
    ("blur", "base"): ((84.8, 67.4), (40.1, 25.4), (18.3, 15.5), (67.3, 44.2)),
    ("pixelate", "base"): ((87.4, 73.4), (75.3, 53.6), (70.9, 54.7), (64.3, 43.4)),
    ("noise", "base"): ((75.9, 51.5), (50.8, 30.2), (41.7, 26.5), (68.7, 43.2)),
    ("blur", "wo_upgrade"): ((83.1, 61.9), (68.3, 45.9), (46.8, 34.2), (75.8, 52.4)),
    ("pixelate", "wo_upgrade"): ((86.3, 69.8), (80.1, 57.4), (75.1, 57.1), (73.2, 49.7)),
    ("noise", "wo_upgrade"): ((90.4, 75.9), (77.5, 57.3), (67.5, 50.8), (84.4, 62.8)),
    ("blur", "full"): ((91.6, 79.4, 47.4), (88.2, 72.0, 37.0), (82.5, 67.5, 36.0), (89.2, 74.3, 39.4)),
    ("pixelate", "full"): ((89.4, 75.4, 42.4), (88.5, 71.9, 35.9), (86.8, 72.3, 39.1), (87.0, 70.5, 34.8)),
    ("noise", "full"): ((91.7, 78.2, 45.4), (83.5, 68.0, 33.6), (83.8, 67.3, 32.4), (91.2, 77.0, 44.3)),
}
PEERS_ELSEWHERE = {
    ("MSMT17", "blur"): (51.5, 51.1, 50.5, 48.7),
    ("MSMT17", "pixelate"): (48.6, 49.1, 48.5, 48.1),
    ("MSMT17", "noise"): (46.9, 48.1, 46.2, 46.0),
    ("CUHK03", "blur"): (41.9, 39.2, 35.3, 33.2),
    ("CUHK03", "pixelate"): (38.8, 37.8, 30.4, 27.6),
    ("CUHK03", "noise"): (35.8, 36.4, 37.9, 41.9),
}


def test_the_paper_s_figures_are_those_of_a_second_reading():
    market = paper.figures("Market1501")
    for (operator, model), rows in PEERS.items():
        for pair, row in zip(("OI-OI", "OI-PI", "PI-OI", "PI-PI"), rows, strict=True):
            for metric, value in zip(("Rank-1", "mAP", "mINP"), row, strict=False):
                assert market[5, operator, model, pair, metric] == value
    for (dataset, operator), rank1 in PEERS_ELSEWHERE.items():
        found = paper.figures(dataset)
        assert tuple(found[5, operator, "full", pair, "Rank-1"] for pair in SETTINGS) == rank1
    for dataset, row in {
        "Market1501": (95.7, 88.6, 66.7),
        "MSMT17": (68.6, 49.8, 15.0),
        "CUHK03": (67.3, 65.8, 54.6),
    }.items():
        assert (
            tuple(
                paper.figures(dataset)[5, "", "upper_bound", "OI-OI", metric]
                for metric in ("Rank-1", "mAP", "mINP")
            )
            == row
        )
    for operator, quality, protects in (
        ("blur", (26.78, 0.92), (20.6, 18.4)),
        ("pixelate", (29.74, 0.93), (20.2, 17.5)),
        ("noise", (26.80, 0.92), (0.6, 1.4)),
    ):
        assert (
            tuple(market[3, operator, "full", "recovered", metric] for metric in ("PSNR", "SSIM")) == quality
        )
        assert (
            tuple(market[1, operator, "raw_agw", pair, "Rank-1"] for pair in ("DI-DI", "PI-PI")) == protects
        )
    assert [market[4, "noise", "raw_agw", "RI-RI", metric] for metric in ("Rank-1", "mAP")] == [93.8, 84.0]
    assert [
        paper.TABLE_2_UPPER_BOUND,
        *(paper.TABLE_2[name]["full"]["PI-PI"] for name in ("blur", "pixelate", "noise")),
    ] == [
        92,
        82,
        64,
        84,
    ]


@pytest.mark.parametrize("dataset", paper.DATASETS)
def test_table_4_stands_beside_the_model_that_it_is_of(dataset):
    """Its "Ours" on raw images is a row of table 5."""
    found = paper.figures(dataset)
    (operator,) = {key[1] for key in found if key[0] == 4}
    for metric in ("Rank-1", "mAP"):
        assert found[4, operator, "full", "OI-OI", metric] == found[5, operator, "full", "OI-OI", metric]
        assert found[4, operator, "raw_agw", "OI-OI", metric] == found[5, "", "upper_bound", "OI-OI", metric]


def test_figures_of_the_rows_that_slipped():
    """What can be inferred, and the three that cannot be read."""
    recovered, agw = (3, "pixelate", "full", "recovered"), (1, "noise", "raw_agw")
    msmt17, cuhk03 = paper.figures("MSMT17"), paper.figures("CUHK03")
    assert (msmt17[*recovered, "PSNR"], msmt17[*recovered, "SSIM"], cuhk03[*recovered, "SSIM"]) == (
        25.94,
        0.89,
        0.93,
    )
    assert [msmt17[*agw, pair, "mAP"] for pair in ("DI-DI", "PI-PI")] == [0.1, 0.1]
    assert [cuhk03[*agw, pair, "mAP"] for pair in ("DI-DI", "PI-PI")] == [0.3, 0.4]
    assert (*recovered, "PSNR") not in cuhk03
    assert not {(*agw, "DI-DI", "Rank-1"), (*agw, "PI-PI", "Rank-1")} & cuhk03.keys()
    assert len(msmt17) == len(paper.figures("Market1501")) == len(cuhk03) + 3
    assert {dataset for dataset, _ in paper.INFERRED} == {"MSMT17", "CUHK03"}
    assert all(key in paper.figures(dataset) for dataset, key in paper.INFERRED) and len(paper.INFERRED) == 5


def test_claims_of_section_4_5_are_those_of_table_5():
    """But for one, by four tenths."""
    differing = {}
    for (operator, over, where), claimed in paper.SECTION_4_5.items():
        rows = [paper.TABLE_5[operator][model] for model in ("full", over)]
        pairs = range(4) if where == "all four" else [SETTINGS.index(where)]
        columns = [0] if over == "wo_upgrade" else [0, 4, 8]  # rank-1 of Market-1501, of all three
        found = np.mean(
            [rows[0][pair][column] - rows[1][pair][column] for pair in pairs for column in columns]
        )
        assert found == pytest.approx(paper_gain(operator, over, where, claimed_on(over)))
        if f"{found:.1f}" != f"{claimed:.1f}":
            differing[operator, over, where] = (claimed, round(found, 1))
    assert differing == {("pixelate", "base", "OI-PI"): (22.4, 22.0)} and len(paper.SECTION_4_5) == 10
    assert paper.entries("SyntheticPedestrians", "full", "blur") == []


# -- schedules -----------------------------------------------------------------------------------------------


def test_the_whole_budget_changes_nothing():
    assert scaled_schedule(PAPER_SOLVER, 5, 1.0) == {}


@pytest.mark.parametrize(
    ("solver", "period", "budget", "expected"),
    [
        (PAPER_SOLVER, 5, 0.5, (60, [20, 40], 5, 2, 2, 0, 0)),
        (PAPER_SOLVER, 5, 0.1, (12, [4, 8], 1, 1, 1, 0, 0)),
        (PAPER_SOLVER, 5, 0.001, (1, [], 1, 1, 1, 0, 0)),
        (DEMO_SOLVER, 2, 0.4, (3, [2], 1, 1, 1, 2, 1)),
        (DEMO_SOLVER, 2, 0.01, (1, [], 1, 1, 1, 1, 0)),
        ({**DEMO_SOLVER, "WARMUP_EPOCHS": 0, "STEPS": [7, 9]}, 2, 0.5, (4, [4, 5], 0, 1, 1, 2, 1)),
    ],
)
def test_smaller_budgets(solver, period, budget, expected):
    names = (
        "SOLVER.MAX_EPOCH",
        "SOLVER.STEPS",
        "SOLVER.WARMUP_EPOCHS",
        "TEST.EVAL_PERIOD",
        "SOLVER.CHECKPOINT_PERIOD",
        "SOLVER.FREEZE_ITERS",
        "SOLVER.DELAY_EPOCHS",
    )
    assert scaled_schedule(solver, period, budget) == dict(zip(names, expected, strict=True))


@pytest.mark.parametrize("budget", [0.05, 0.1, 0.25, 0.4, 0.77, 0.99])
@pytest.mark.parametrize("solver", [PAPER_SOLVER, DEMO_SOLVER], ids=["paper", "demo"])
def test_every_schedule_begins_at_a_full_rate_and_keeps_its_checks(solver, budget):
    keys = scaled_schedule(solver, 2, budget)
    epochs, steps = keys["SOLVER.MAX_EPOCH"], keys["SOLVER.STEPS"]
    rates = [
        lr_factor(epoch, warmup_epochs=keys["SOLVER.WARMUP_EPOCHS"], steps=steps) for epoch in range(epochs)
    ]
    assert max(rates) == 1
    if epochs > len(solver["STEPS"]):
        assert rates[-1] == pytest.approx(0.1 ** len(solver["STEPS"]))
    assert epochs // keys["TEST.EVAL_PERIOD"] >= min(solver["MAX_EPOCH"] // 2, epochs)


# -- the plan ------------------------------------------------------------------------------------------------


def test_what_tables_need():
    def names(*tables):
        return [run.name for run in plan_runs(tables, ["blur"], [0])]

    assert names(3) == ["seed0/upper_bound", "seed0/base_blur", "seed0/full_blur"]
    assert names(1) == names(4) == names(1, 3, 4) == [*names(3), "seed0/full_blur/raw_agw"]
    assert names(5) == ["seed0/upper_bound", "seed0/base_blur", "seed0/wo_upgrade_blur", "seed0/full_blur"]
    everything = plan_runs((1, 3, 4, 5), ["blur", "noise"], [0, 4])
    assert len(everything) == len(set(everything)) == 2 * (1 + 2 * 4)


def test_each_run_comes_after_those_it_takes_results_of():
    runs = plan_runs((1, 3, 4, 5), ("blur", "pixelate", "noise"), (0, 1))
    for place, made in enumerate(runs):
        needed = {
            "full": ("upper_bound", "base"),
            "wo_upgrade": ("upper_bound",),
            "raw_agw": ("upper_bound", "full"),
        }.get(made.kind, ())
        for kind in needed:
            assert Run(kind, made.seed, "" if kind == "upper_bound" else made.operator) in runs[:place]


def small(tmp_path, **options) -> Reproduction:
    return Reproduction(
        str(SMALL_CONFIG),
        output_dir=tmp_path,
        overrides=options.pop("overrides", ["MODEL.DEVICE", "cpu"]),
        **options,
    )


@pytest.mark.parametrize(
    "file", ["privacy_agw.yml", "base_noise.yml", "wo_upgrade_pixelate.yml", "upper_bound.yml"]
)
def test_any_config_of_a_data_set_gives_the_same_runs(tmp_path, file):
    """What a run is made of is set, whatever the file that is named has there."""
    reproduction = Reproduction(
        str(CONFIGS / "Synthetic" / file), ["MODEL.DEVICE", "cpu"], output_dir=tmp_path
    )
    methods = {}
    for kind, operator in (
        ("upper_bound", ""),
        ("base", "noise"),
        ("wo_upgrade", "pixelate"),
        ("full", "blur"),
    ):
        privacy = reproduction.config_of(Run(kind, 3, operator)).PRIVACY
        methods[kind] = (privacy.PROTECTION, privacy.UPGRADE.ENABLED, operator and privacy.DESENSITIZER.NAME)
    assert methods == {
        "upper_bound": ("none", False, ""),
        "base": ("conventional", False, "noise"),
        "wo_upgrade": ("learned", False, "pixelate"),
        "full": ("learned", True, "blur"),
    }
    assert reproduction.config_of(Run("full", 3, "blur")).SEED == 3


def words_of(reproduction: Reproduction, run: Run) -> list[str]:
    """The KEY VALUE words that make the same training by hand, after the config file that was given."""
    values = {**reproduction.shared, **reproduction.values(run)}
    return [*reproduction.overrides, *(str(word) for pair in values.items() for word in pair)]


def rates(cfg) -> list[float]:
    """The learning rate of each epoch, as fastreid's hook sets it."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=cfg.SOLVER.BASE_LR)
    scheduler = build_lr_scheduler(cfg, optimizer)["lr_sched"]
    found = []
    for _ in range(cfg.SOLVER.MAX_EPOCH):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize(("protocol", "last"), [("paper", (39, 79)), ("joint", (40, 80))])
def test_what_a_protocol_is(tmp_path, protocol, last):
    """Of every run: the passes through Re-ID, the colour of a block, and which epochs have the whole rate."""
    shipped = load_config(CONFIGS / "Market" / "privacy_agw.yml", ["MODEL.DEVICE", "cpu"])
    reproduction = Reproduction(
        str(CONFIGS / "Market" / "privacy_agw.yml"),
        ["MODEL.DEVICE", "cpu"],
        protocol=protocol,
        output_dir=tmp_path,
    )
    for made in reproduction.runs:
        cfg = reproduction.config_of(made)
        assert cfg.PRIVACY.JOINT_BATCH is (protocol == "joint")
        assert cfg.PRIVACY.DESENSITIZE_BEFORE_CROP is (protocol == "paper")
        colour = cfg.PRIVACY.DESENSITIZER.PIXEL_REDUCE
        assert colour == ("corner" if protocol == "paper" else "mean")
        others = ("PRIVACY", "SEED", "OUTPUT_DIR", "SOLVER.STEPS", "TEST.PAPER_RESULTS")
        assert not differing(comparable(shipped, others), comparable(cfg, others))
    by_epoch = rates(cfg)
    for epochs, rate in ((range(10, last[0] + 1), 3.5e-4), (range(last[0] + 1, last[1] + 1), 3.5e-5)):
        assert [by_epoch[epoch - 1] for epoch in epochs] == pytest.approx([rate] * len(epochs))  # from 1
    assert by_epoch[last[1] :] == pytest.approx([3.5e-6] * (120 - last[1]))
    assert by_epoch[0] == pytest.approx(3.5e-5)


def test_the_paper_s_protocol_is_the_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["--config-file", str(SMALL_CONFIG), "MODEL.DEVICE", "cpu"]
    by_default, joint = (
        asked(build_parser().parse_args([*flags, *words])) for flags in ([], ["--protocol", "joint"])
    )
    assert (by_default.protocol, joint.protocol) == ("paper", "joint")
    folder = tmp_path / "output" / SMALL_CONFIG.parent.name
    assert by_default.output_dir == folder / "reproduce" and joint.output_dir == folder / "reproduce_joint"
    assert by_default.config.SOLVER.STEPS == [5] and joint.config.SOLVER.STEPS == [6]
    with pytest.raises(SystemExit):
        build_parser().parse_args(["--protocol", "both", *words])


@pytest.mark.parametrize(
    ("steps", "budget", "expected"),
    [("[40, 80]", 0.1, [3, 7]), ("[1, 2]", 1.0, [1]), ("[1]", 1.0, []), ("[6]", 0.02, [])],
)
def test_steps_of_the_paper_s_protocol_never_reach_the_first_epoch(tmp_path, steps, budget, expected):
    words = ["MODEL.DEVICE", "cpu", "SOLVER.MAX_EPOCH", "120", "SOLVER.STEPS", steps]
    reproduction = small(tmp_path, overrides=words, budget=budget)
    assert list(reproduction.config.SOLVER.STEPS) == expected


def test_the_full_model_takes_what_is_there(tmp_path):
    words = words_of(small(tmp_path), Run("full", 1, "blur"))
    options = dict(zip(words[0::2], words[1::2], strict=True))
    assert options["PRIVACY.UPGRADE.BASELINE_RANK1"] == str(tmp_path / "seed1" / "base_blur" / "results.json")
    assert options["PRIVACY.UPPER_BOUND"] == str(tmp_path / "seed1" / "upper_bound" / "results.json")
    assert options["OUTPUT_DIR"] == str(tmp_path / "seed1" / "full_blur")


@pytest.mark.parametrize(
    ("budget", "file", "protocol"),
    [(1.0, "privacy_agw.yml", "joint"), (0.4, "upper_bound.yml", "joint"), (0.4, "base_blur.yml", "paper")],
)
@pytest.mark.parametrize("folder", ["Market", "Synthetic"])
def test_a_run_s_config_file_says_what_its_words_say(tmp_path, folder, file, budget, protocol):
    """To the last value and its type: the words trained the runs that an earlier version began."""
    overrides = ["MODEL.DEVICE", "cpu", "SOLVER.STEPS", "(3, 5)", "SOLVER.GAN_BETAS", "[0.5, 1e-05]"]
    config_file = CONFIGS / folder / file
    reproduction = Reproduction(
        str(config_file), overrides, budget=budget, protocol=protocol, output_dir=tmp_path / "a 'b' 50"
    )
    trainings = [made for made in reproduction.runs if made.trains]
    files = {reproduction.folder(made) / "results.json" for made in trainings}
    for results in files:
        results.parent.mkdir(parents=True)
        results.touch()
    for made in trainings:
        save_config(reproduction.config_of(made), tmp_path / "run.yml")
        by_file = load_config(tmp_path / "run.yml")
        by_words = load_config(config_file, words_of(reproduction, made))
        assert repr(flat_keys(by_file)) == repr(flat_keys(by_words))
        assert repr(flat_keys(by_file)) == repr(flat_keys(reproduction.config_of(made)))
        assert set(comparisons(by_file).values()) <= files


def test_results_that_are_not_there_yet_have_stand_ins(tmp_path):
    reproduction, made = small(tmp_path), Run("full", 0, "blur")
    assert comparisons(reproduction.checkable_config(made)) == {}
    base = reproduction.folder(Run("base", 0, "blur")) / "results.json"
    base.parent.mkdir(parents=True)
    base.touch()
    assert comparisons(reproduction.checkable_config(made)) == {"baseline": base}
    assert reproduction.config_of(made).PRIVACY.UPPER_BOUND.endswith("upper_bound/results.json")


@pytest.fixture
def tested(tmp_path):
    """A reproduction whose "raw_agw" is a test of an upper bound and a full model, each with a checkpoint."""
    reproduction = small(tmp_path, tables=(1,), operators=("blur",))
    *_, raw_agw = reproduction.runs
    for made in (Run("upper_bound", 0), Run("base", 0, "blur"), Run("full", 0, "blur"), raw_agw):
        results = {"schema": 1, "checkpoint": "model_final.pth", "retrieval": {}}
        results["config"] = yaml.safe_load(reproduction.config_of(made).dump())
        if made == raw_agw:
            results["sha256"] = {
                "checkpoint": hashlib.sha256(b"full_blur").hexdigest(),
                "reid_checkpoint": hashlib.sha256(b"upper_bound").hexdigest(),
            }
        folder = reproduction.folder(made)
        folder.mkdir(parents=True)
        (folder / "results.json").write_text(json.dumps(results))
        (folder / "report.html").touch()
        (folder / "model_final.pth").write_text(folder.name)
    assert is_finished(reproduction, raw_agw) and FinishedRuns(tmp_path).of(raw_agw)
    return reproduction, raw_agw


@pytest.mark.parametrize("model", ["upper_bound", "full_blur"])
def test_a_test_of_models_that_were_trained_again_is_made_again(tested, model):
    """Its old figures are in no table until then."""
    reproduction, raw_agw = tested
    folder = reproduction.output_dir / "seed0" / model
    (folder / "model_final.pth").write_text("trained again")
    assert not is_finished(reproduction, raw_agw)
    assert FinishedRuns(reproduction.output_dir).of(raw_agw) is None
    (folder / "model_final.pth").unlink()  # to save room: there is nothing to hold it against
    assert is_finished(reproduction, raw_agw) and FinishedRuns(reproduction.output_dir).of(raw_agw)


@pytest.mark.parametrize("lost", ["upper_bound/results.json", "full_blur/report.html"])
def test_a_test_of_a_model_that_is_still_to_be_trained_is_made_again(tested, lost):
    reproduction, raw_agw = tested
    (reproduction.output_dir / "seed0" / lost).unlink()
    assert not is_finished(reproduction, raw_agw)


def test_a_test_of_an_older_version_that_does_not_tell_its_models_is_made_again(tested):
    reproduction, raw_agw = tested
    file = reproduction.folder(raw_agw) / "results.json"
    results = json.loads(file.read_text())
    del results["sha256"]
    file.write_text(json.dumps(results))
    assert not is_finished(reproduction, raw_agw)


def test_plan_json_grows_with_what_is_asked(tmp_path):
    small(tmp_path, tables=(5,), operators=("noise",), seeds=(2,)).save_plan()
    small(tmp_path, tables=(1,), operators=("blur",), seeds=(0,)).save_plan()
    plan = read_plan(tmp_path)
    assert (plan["tables"], plan["operators"], plan["seeds"]) == ([1, 5], ["blur", "noise"], [0, 2])
    assert (plan["dataset"], plan["budget"], plan["epochs"], plan["epochs_of_config"]) == (
        "SyntheticPedestrians",
        1.0,
        7,
        7,
    )


def test_the_machine_may_change_between_calls(tmp_path):
    small(tmp_path).save_plan()
    small(
        tmp_path, overrides=["MODEL.DEVICE", "cpu", "TEST.IMS_PER_BATCH", "8", "DATALOADER.NUM_WORKERS", "1"]
    ).save_plan()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"budget": 0.5}, "reproduction with --budget 1;"),
        ({"protocol": "joint"}, "with --protocol paper; give --protocol paper --output"),
        ({"overrides": ["MODEL.DEVICE", "cpu", "SOLVER.BASE_LR", "0.1"]}, "SOLVER.BASE_LR 0.00035 ≠ 0.1"),
        (
            {"overrides": ["MODEL.DEVICE", "cpu", "DATASETS.SYNTHETIC.SEED", "1"]},
            "DATASETS.SYNTHETIC.SEED 0 ≠ 1",
        ),
    ],
)
def test_a_folder_of_another_reproduction_is_refused(tmp_path, changed, message):
    small(tmp_path).save_plan()
    with pytest.raises(UserError, match=message) as error:
        small(tmp_path, **changed).record()
    assert str(tmp_path) in str(error.value)


def test_a_reproduction_of_0_1_0_goes_on_as_the_joint_one(tmp_path):
    reproduction = small(tmp_path, protocol="joint")
    reproduction.save_plan()
    plan = read_plan(tmp_path)
    assert plan.pop("protocol") == "joint"
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(UserError, match="give --protocol joint --output"):
        small(tmp_path).record()
    reproduction.save_plan()
    assert read_plan(tmp_path)["protocol"] == "joint"


def test_a_key_that_a_plan_does_not_know_had_its_default(tmp_path):
    """A plan of an earlier version goes on."""
    reproduction = small(tmp_path)
    reproduction.save_plan()
    plan = read_plan(tmp_path)
    del plan["settings"]["PRIVACY.LAMBDA_L1"]
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    reproduction.record()
    with pytest.raises(UserError, match=r"PRIVACY.UPGRADE|cannot be given"):
        small(tmp_path, overrides=["PRIVACY.UPGRADE.EPS_PSNR", "2.0"])
    with pytest.raises(UserError, match=r"PRIVACY.LAMBDA_L1 100.0 ≠ 50.0"):
        small(tmp_path, overrides=["MODEL.DEVICE", "cpu", "PRIVACY.LAMBDA_L1", "50"]).record()


# -- what is refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--budget", "0"], "--budget is 0"),
        (["--budget", "1.01"], "--budget is 1.01"),
        (["--budget", "nan"], "--budget is nan"),
        (["--budget", "half"], "--budget is half"),
        (["PRIVACY.PROTECTION", "none"], "PRIVACY.PROTECTION"),
        (["PRIVACY.DESENSITIZER.NAME", "mask"], "PRIVACY.DESENSITIZER.NAME"),
        (["OUTPUT_DIR", "x"], "--output-dir"),
        (["PRIVACY.JOINT_BATCH", "True"], "PRIVACY.JOINT_BATCH is set by --protocol"),
        (["PRIVACY.DESENSITIZE_BEFORE_CROP", "False"], "BEFORE_CROP is set by --protocol"),
        (["SEED", "1"], "--seeds"),
        (["SOLVER.MAX_EPOCHS", "1"], "SOLVER.MAX_EPOCH"),
        (["DATASETS.TESTS", "('SyntheticPedestrians', 'Market1501')"], "one test set"),
    ],
)
def test_what_cannot_be_asked(tmp_path, capsys, arguments, message):
    assert run(["--config-file", str(SMALL_CONFIG), "--output-dir", str(tmp_path / "new"), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_missing_things_are_named_before_anything_is_written(tmp_path, capsys, monkeypatch):
    assert run(["--config-file", str(tmp_path / "none.yml")]) == 2
    assert "none.yml does not exist" in capsys.readouterr().err
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path / "data"))
    output = tmp_path / "new"
    assert (
        run(
            [
                "--config-file",
                str(CONFIGS / "Market" / "base_blur.yml"),
                "--output-dir",
                str(output),
                "MODEL.DEVICE",
                "cpu",
            ]
        )
        == 2
    )
    assert "Market1501 is not under" in capsys.readouterr().err
    assert not list(output.glob("*.json"))
    (tmp_path / "file").touch()
    assert (
        run(
            [
                "--config-file",
                str(SMALL_CONFIG),
                "--output-dir",
                str(tmp_path / "file" / "new"),
                "MODEL.DEVICE",
                "cpu",
            ]
        )
        == 2
    )
    assert "cannot be written to" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["tables.md", "report.html", "figures"])
def test_a_folder_of_something_else_is_left_alone(name, tmp_path, capsys):
    (tmp_path / name).write_text("mine")
    assert (
        run(["--config-file", str(SMALL_CONFIG), "--output-dir", str(tmp_path), "MODEL.DEVICE", "cpu"]) == 2
    )
    assert f"holds {name} and no plan.json" in capsys.readouterr().err
    assert (tmp_path / name).read_text() == "mine" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("flag", ["--output", "--output-dir"])
def test_the_folder_has_two_flags(flag, tmp_path, capsys):
    (tmp_path / "figures").touch()
    assert run(["--config-file", str(SMALL_CONFIG), flag, str(tmp_path), "MODEL.DEVICE", "cpu"]) == 2
    assert f"{tmp_path} holds figures and no plan.json" in capsys.readouterr().err


def test_a_damaged_plan_and_results_without_a_config(tmp_path, capsys):
    (tmp_path / "plan.json").write_text('{"schema": 1, "budget": 1, "settings": []}')
    assert (
        run(["--config-file", str(SMALL_CONFIG), "--output-dir", str(tmp_path), "MODEL.DEVICE", "cpu"]) == 2
    )
    assert "plan.json is damaged (settings, tables, seeds, operators)" in capsys.readouterr().err
    reproduction, made = small(tmp_path / "other"), Run("upper_bound", 0)
    file = put_results(reproduction, made, made)
    file.write_text('{"schema": 1, "retrieval": {}}')
    with pytest.raises(UserError, match=r"results.json holds no config"):
        is_finished(reproduction, made)


def put_results(reproduction: Reproduction, made: Run, config_of: Run, schema: int = 1) -> Path:
    """The results.json of one run, and the report, in the place of another's."""
    folder = reproduction.folder(made)
    folder.mkdir(parents=True)
    config = json.loads(json.dumps(reproduction.config_of(config_of)))
    (folder / "results.json").write_text(json.dumps({"schema": schema, "retrieval": {}, "config": config}))
    (folder / "report.html").touch()
    return folder / "results.json"


def test_finished_runs_are_known(tmp_path):
    reproduction, made = small(tmp_path), Run("base", 0, "blur")
    assert not is_finished(reproduction, made)
    file = put_results(reproduction, made, made)
    assert is_finished(reproduction, made)
    (file.parent / "report.html").unlink()  # killed between the two
    assert not is_finished(reproduction, made)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Run("base", 0, "noise"), "PRIVACY.DESENSITIZER.NAME noise ≠ blur"),
        (Run("wo_upgrade", 0, "blur"), "PRIVACY.PROTECTION learned ≠ conventional"),
        (Run("base", 1, "blur"), "SEED 1 ≠ 0"),
    ],
)
def test_results_of_another_run_are_named(tmp_path, other, message):
    reproduction, made = small(tmp_path), Run("base", 0, "blur")
    file = put_results(reproduction, made, other)
    with pytest.raises(UserError, match=message) as error:
        is_finished(reproduction, made)
    assert str(file) in str(error.value)


def test_results_of_another_schema_are_named(tmp_path):
    reproduction, made = small(tmp_path), Run("upper_bound", 0)
    file = put_results(reproduction, made, made, schema=9)
    with pytest.raises(UserError, match="schema 9") as error:
        is_finished(reproduction, made)
    assert str(file) in str(error.value)


@pytest.mark.parametrize("content", ["{", "[]", '{"schema": 2}'])
def test_a_damaged_plan_is_named(tmp_path, content):
    (tmp_path / "plan.json").write_text(content)
    with pytest.raises(UserError, match=r"plan\.json"):
        small(tmp_path).record()


def test_a_folder_has_one_writer(tmp_path):
    other = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)  # as a run that outlived its reproduction
    with pytest.raises(UserError, match="in use"), locked(tmp_path, patience=0.2):
        pass
    os.close(other)
    with locked(tmp_path) as lock:
        assert isinstance(lock, int)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_until_it_is_released(number):
    caught = []
    before = signal.signal(number, lambda *received: caught.append(received[0]))
    try:
        with SignalsHeld() as held:
            signal.raise_signal(number)
            assert not caught
            held.release()
            assert caught == [number]
            signal.raise_signal(number)
            assert caught == [number] * 2
        with SignalsHeld():
            signal.raise_signal(number)
        assert caught == [number] * 3
    finally:
        signal.signal(number, before)


def test_a_signal_while_a_run_is_started_ends_the_run(tmp_path, monkeypatch, request):
    """It comes when the process is there and nothing but its starter knows it."""
    started = []

    def popen(*words, **options):
        started.append(real(*words, **options))
        signal.raise_signal(signal.SIGINT)
        return started[0]

    real = own_process.subprocess.Popen
    # the processes of a parallel test run ignore Ctrl-C
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    monkeypatch.setattr(own_process.subprocess, "Popen", popen)
    waiting = [sys.executable, "-c", "import time; time.sleep(600)"]
    monkeypatch.setattr(runs, "command", lambda reproduction, run: waiting)
    monkeypatch.setattr(runs, "validation_split", lambda cfg: SimpleNamespace(train=range(8)))
    reproduction = small(tmp_path, tables=(3,))
    with pytest.raises(KeyboardInterrupt):
        runs.make_runs(reproduction, reproduction.runs, None, lambda: None)
    assert started[0].poll() is not None


def test_sigterm_ends_a_run_with_the_command_that_waits_for_it(tmp_path):
    """Whichever command that is: without a handler, Python would end at once and leave the run behind."""
    code = f"""
from pathlib import Path
from fastreid_privacy.training.own_process import run_logged
told = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
run_logged([{sys.executable!r}, "-c", told], Path({str(tmp_path / "log")!r}), "a run")
"""
    (tmp_path / "log").touch()
    waiting = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE)
    for _ in range(600):
        if text := (tmp_path / "log").read_text():
            break
        time.sleep(0.1)
    waiting.terminate()
    assert b"KeyboardInterrupt" in waiting.communicate(timeout=60)[1]
    with pytest.raises(ProcessLookupError):
        os.kill(int(text), 0)


def test_the_last_error_of_a_log(tmp_path):
    log = tmp_path / "log"
    log.write_text("error: of an earlier call\n")
    start = log.stat().st_size
    assert last_error(log, start) == "it said nothing"
    log.write_text(log.read_text() + "Traceback\nValueError: odd\n\n")
    assert last_error(log, start) == "ValueError: odd"
    log.write_text(log.read_text() + "error: the disk is full\nbye\n")
    assert last_error(log, start) == "the disk is full"
