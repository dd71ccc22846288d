"""The checks of a run, from the config to what is upgraded, saved and reported.

The trainer, its hooks and its files are the real ones. Scripted are the steps, which only number the weights
by epochs, and what evaluations find.
"""

from __future__ import annotations

from conftest import SMALL_CONFIG, small_options  # before fastreid: importing the package makes it work

# isort: split
import logging
from types import SimpleNamespace

import pytest
import torch

from fastreid_privacy.config import load_config
from fastreid_privacy.core.errors import UserError
from fastreid_privacy.model.supervision import FALL_BACK, KEEP, UPGRADE
from fastreid_privacy.results.results_json import build_results
from fastreid_privacy.training import experiment, testing, trainer
from fastreid_privacy.training.hooks import check_figures
from fastreid_privacy.training.image_lists import training_images
from fastreid_privacy.training.siblings import validation_rank1
from fastreid_privacy.training.step import PrivacyStep
from fastreid_privacy.training.trainer import PrivacyTrainer

WEIGHT = "anonymizer.down.0.0.weight"  # the steps set it to the epoch, from 1
COPY = f"supervision.frozen_{WEIGHT}"
OPTIONS = {
    "SOLVER.MAX_EPOCH": 10,
    "SOLVER.CHECKPOINT_PERIOD": 2,
    "SOLVER.KEEP_CHECKPOINTS": 3,
    "TEST.EVAL_PERIOD": 3,
    "PRIVACY.UPGRADE.EPS_PSNR": 2.0,
    "PRIVACY.UPGRADE.EPS_SSIM": 0.1,
    "PRIVACY.UPGRADE.EPS_RANK1": 8.0,
}
BASE = 40.0


def found(rank1: float, psnr: float | None = 19.5, ssim: float = 0.45) -> dict:
    """What an evaluation finds. Private under OPTIONS: below 20 dB, and below an SSIM of 0.5.

    All other pairs of domains would be above any rank-1 to beat.
    """
    return {
        "retrieval": {
            "OI-OI": {"Rank-1": 95.0},
            "OI-PI": {"Rank-1": rank1},
            "PI-PI": {"Rank-1": 96.0},
            "OI-DI": {"Rank-1": 97.0},
        },
        "image_quality": {
            "protected": {"PSNR": psnr, "SSIM": ssim},
            "desensitized": {"PSNR": 18.0, "SSIM": 0.40},
        },
    }


# epoch → what is found: above Base − ε; the raw pictures themselves, well found; above the best; private, but
# not above the best
SCRIPT = {3: found(33.0), 6: found(70.0, None, 0.1), 9: found(60.0), 10: found(50.0)}


def scripted_run(patch, output, script, **options):
    """A run with Base's rank-1 of 40 %, whose n-th check finds what the script's n-th epoch has.

    Returns:
        The results; after each check the epoch, whether the target is upgraded, and the target's number; the
        arguments of each epoch's order of images; the number of the weights that were tested.
    """
    states, orders, tested, answers = [], [], [], iter(script.values())

    def step(self):
        self.paths = ["image.jpg"]
        with torch.no_grad():
            self.model.get_parameter(WEIGHT).fill_(len(orders))

    def validate(cfg, model):
        return SimpleNamespace(figures=next(answers))

    def test(cfg, model):
        tested.append(model.get_parameter(WEIGHT).flatten()[0].item())
        return {}

    def report(cfg, evaluations, checkpoint, record, compared, private, teacher, trained_on):
        assert teacher is None  # no config here asks for one
        assert trained_on == training_images(cfg)
        figures = {"retrieval": {}, "image_quality": {}}
        return build_results(
            cfg, "any", figures, version="1", checkpoint=checkpoint, record=record, private=private
        )

    class Recorded(PrivacyTrainer):
        def after_epoch(self):
            checks = len(self.record.checks)
            super().after_epoch()
            if len(self.record.checks) > checks:
                upgraded, target = self.model.supervision.upgraded, self.model.get_parameter(COPY)
                states.append((self.epoch + 1, bool(upgraded), target.flatten()[0].item()))

    patch.setattr(PrivacyStep, "run_step", step)
    patch.setattr(testing, "validate", validate)
    patch.setattr(testing, "test", test)
    patch.setattr(experiment, "PrivacyTrainer", Recorded)
    patch.setattr(experiment, "report_results", report)
    patch.setattr(trainer, "epoch_iterator", lambda loader, *numbers: orders.append(numbers) or iter(()))
    cfg = load_config(SMALL_CONFIG, small_options(output, **{**OPTIONS, **options}))
    results = experiment.train_and_test(cfg, False, BASE)
    assert next(answers, None) is None, "a check of the script was not made"
    return SimpleNamespace(results=results, states=states, orders=orders, tested=tested, output=output)


@pytest.fixture(scope="module")
def checked(small_dataset, tmp_path_factory):
    """A run of SCRIPT."""
    with pytest.MonkeyPatch.context() as patch:
        return scripted_run(patch, tmp_path_factory.mktemp("checked") / "run", SCRIPT)


def weights_of(checked, name: str) -> dict:
    return torch.load(checked.output / name, weights_only=True)["model"]


def test_checks_come_every_period_and_after_the_last_epoch(checked):
    assert [check["epoch"] for check in checked.results["checks"]] == [3, 6, 9, 10]


def test_the_rule_sees_each_threshold_in_its_place_and_the_search_of_protected_images(checked):
    checks = checked.results["checks"]
    assert [check["rank1"] for check in checks] == [33.0, 70.0, 60.0, 50.0]
    assert [check["best"] for check in checks] == [32.0, 33.0, 33.0, 60.0]
    assert [check["decision"] for check in checks] == [UPGRADE, FALL_BACK, UPGRADE, KEEP]


def test_what_is_decided_is_done(checked):
    """The target in force after each check, and the weights that it was taken from."""
    assert checked.states == [(3, True, 3.0), (6, False, 3.0), (9, True, 9.0), (10, True, 9.0)]


def test_the_best_private_model_is_kept_and_tested(checked):
    best, final = (weights_of(checked, f"model_{name}.pth") for name in ("best", "final"))
    assert best[WEIGHT].unique().tolist() == [9.0] and final[WEIGHT].unique().tolist() == [10.0]
    # with the decision of its epoch
    assert [(weights["supervision.upgraded"].item()) for weights in (best, final)] == [True, True]
    assert best[COPY].unique().tolist() == [9.0]
    assert checked.results["checkpoint"] == "model_best.pth" and checked.tested == [9.0]
    assert checked.results["private"] is True
    assert checked.results["validation"] == SCRIPT[9]["retrieval"]


def test_checkpoints_come_every_period_and_the_last_few_stay(checked):
    names = sorted(path.name for path in checked.output.glob("*.pth"))
    periodic = ["model_0003.pth", "model_0005.pth", "model_0007.pth"]
    assert names == [*periodic, "model_best.pth", "model_final.pth"]
    for name, epoch in zip((*periodic, "model_final.pth"), (4, 6, 8, 10), strict=True):
        assert weights_of(checked, name)[WEIGHT].unique().tolist() == [epoch]


def test_every_epoch_asks_for_an_order_of_its_own(checked):
    assert checked.orders == [(0, epoch, 0) for epoch in range(10)]  # seed, epoch, rank


def test_no_check_met_the_privacy_constraint(small_dataset, tmp_path, monkeypatch, caplog):
    """The last model is tested and its figures reported, with a warning."""
    script = {1: found(60.0, 30.0), 2: found(61.0, 31.0)}
    options = {"SOLVER.MAX_EPOCH": 2, "TEST.EVAL_PERIOD": 1}
    with caplog.at_level(logging.WARNING):
        checked = scripted_run(monkeypatch, tmp_path, script, **options)
    told = "No check met the privacy constraint: model_final.pth is tested, whose protected images are not"
    assert told in caplog.text
    assert not (tmp_path / "model_best.pth").exists()
    assert checked.results["checkpoint"] == "model_final.pth" and checked.tested == [2.0]
    assert checked.results["validation"] == script[2]["retrieval"]
    assert [check["decision"] for check in checked.results["checks"]] == [KEEP, KEEP]
    assert checked.results["private"] is False


def test_the_final_model_is_tested_where_that_is_asked_for(small_dataset, tmp_path, monkeypatch, caplog):
    options = {"SOLVER.MAX_EPOCH": 2, "TEST.EVAL_PERIOD": 1, "TEST.CHECKPOINT": "final"}
    script = {1: found(60.0), 2: found(61.0, 31.0)}
    with caplog.at_level(logging.WARNING):
        checked = scripted_run(monkeypatch, tmp_path, script, **options)
    assert "No check met" not in caplog.text
    assert (tmp_path / "model_best.pth").exists()
    assert checked.results["checkpoint"] == "model_final.pth" and checked.tested == [2.0]
    assert checked.results["private"] is False  # at its own check, whatever the one before it found
    assert checked.results["validation"] == script[2]["retrieval"]


# -- what is handed on, by itself ----------------------------------------------------------------------------


def test_figures_of_a_check():
    assert check_figures(4, found(50.0)) == {
        "epoch": 4,
        "rank1": 50.0,
        "psnr_protected": 19.5,
        "ssim_protected": 0.45,
        "psnr_desensitized": 18.0,
        "ssim_desensitized": 0.40,
    }
    identical = check_figures(4, found(50.0, None))
    assert identical["psnr_protected"] == float("inf")
    unprotected = {"retrieval": {"OI-OI": {"Rank-1": 91.0}, "OI-DI": {"Rank-1": 20.0}}}
    quality = {"desensitized": {"PSNR": 18.0, "SSIM": 0.4}}
    assert check_figures(1, {**unprotected, "image_quality": quality}) == {"epoch": 1, "rank1": 91.0}


def test_upgrades_start_from_base_s_search_of_desensitized_images(tmp_path, monkeypatch):
    """A run hands Base's own rank-1 and results on to the model's training."""
    base = {"validation": {"OI-OI": {"Rank-1": 90.0}, "OI-DI": {"Rank-1": 47.5}, "OI-PI": {"Rank-1": 48.5}}}
    assert validation_rank1({"Market1501": base}) == 47.5
    with pytest.raises(UserError, match="no validation OI-DI rank-1"):
        validation_rank1({"Market1501": {"validation": {"OI-OI": {"Rank-1": 90.0}}}})
    made = []

    def train_and_test(cfg, resume, rank1=None, compared=None):
        made.append((cfg.PRIVACY.PROTECTION, resume, rank1, compared))
        return {"SyntheticPedestrians": base}

    monkeypatch.setattr(experiment, "train_and_test", train_and_test)
    options = {"PRIVACY.UPGRADE.BASELINE_RANK1": "auto"}
    experiment.run_experiment(load_config(SMALL_CONFIG, small_options(tmp_path, **options)), resume=True)
    compared = {"baseline": {"SyntheticPedestrians": base}}
    assert made == [("conventional", True, None, None), ("learned", True, 47.5, compared)]
    made.clear()
    options = {"PRIVACY.UPGRADE.BASELINE_RANK1": 61.5}
    experiment.run_experiment(load_config(SMALL_CONFIG, small_options(tmp_path, **options)))
    assert made == [("learned", False, 61.5, {})]


@pytest.mark.parametrize(
    ("checkpoint", "tested"),
    [("model_best.pth", "best"), ("model_final.pth", "final"), ("/elsewhere/model_0007.pth", "final")],
)
def test_results_show_the_validation_of_the_model_that_was_tested(tmp_path, checkpoint, tested):
    cfg = load_config(SMALL_CONFIG, small_options(tmp_path))
    record = {"checks": [], "validation": {name: {"OI-PI": {"Rank-1": name}} for name in ("best", "final")}}
    evaluation = {"retrieval": {}, "image_quality": {}}
    results = build_results(cfg, "Market1501", evaluation, version="1", checkpoint=checkpoint, record=record)
    assert results["validation"] == {"OI-PI": {"Rank-1": tested}}
