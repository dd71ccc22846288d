"""The upgrade rule as a truth table and as the reference implementation's loop, and the state it moves."""

import itertools
import random
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from fastreid_privacy.model.supervision import (
    FALL_BACK,
    KEEP,
    RESTORE,
    UPGRADE,
    Supervision,
    Thresholds,
    UpgradeRecord,
    decide,
    is_private,
)
from fastreid_privacy.training.hooks import UpgradeHook

DESENSITIZED = {"psnr_desensitized": 18.0, "ssim_desensitized": 0.40}


def figures(psnr_private: bool, ssim_private: bool, rank1: float) -> dict:
    return {
        "rank1": rank1,
        "psnr_protected": 18.9 if psnr_private else 19.1,
        "ssim_protected": 0.44 if ssim_private else 0.46,
        **DESENSITIZED,
    }


@pytest.mark.parametrize(
    ("psnr", "ssim", "better", "upgraded"), list(itertools.product((True, False), repeat=4))
)
@pytest.mark.parametrize("start", [None, 40.0])
def test_truth_table(psnr, ssim, better, upgraded, start):
    """What the older rule and today's agree on, and where G* is stored but not in force, a restore."""
    stays = KEEP if upgraded or start is None else RESTORE
    expected = {(True, True): UPGRADE, (True, False): stays, (False, True): FALL_BACK, (False, False): KEEP}
    wanted = expected[True, better] if psnr and ssim else expected[False, upgraded]
    got = decide(figures(psnr, ssim, 50.1 if better else 50.0), 50.0, upgraded, Thresholds(), start)
    assert got == wanted


@pytest.mark.parametrize(
    ("rank1", "best", "upgraded", "wanted"),
    [
        (45.0, 50.0, False, RESTORE),  # private again and above Base: the stored G* comes back
        (45.0, 50.0, True, KEEP),  # below the best, but above Base: G* stays
        (40.0, 50.0, True, FALL_BACK),  # private, but no better than Base
        (40.0, 50.0, False, KEEP),
        (40.0, 40.0, False, KEEP),  # nothing is stored yet
        (40.1, 40.0, False, UPGRADE),
    ],
)
def test_truth_table_of_private_images_between_base_and_the_best(rank1, best, upgraded, wanted):
    assert decide(figures(True, True, rank1), best, upgraded, Thresholds(), start=40.0) == wanted


class Targets:
    """The target in force as the decisions of a record move it: the number of a check's anonymizer, or DI."""

    def __init__(self, record: UpgradeRecord):
        self.record, self.stored, self.target = record, None, "DI"

    def check(self, number: int, private: bool, rank1: float) -> None:
        entry, _ = self.record.add({"epoch": number, **figures(private, True, rank1)}, self.target != "DI")
        if entry["decision"] == UPGRADE:
            self.stored = self.target = number
        elif entry["decision"] == RESTORE:
            self.target = self.stored
        elif entry["decision"] == FALL_BACK:
            self.target = "DI"


def checks_of_a_run(generator: random.Random) -> list[tuple[bool, float]]:
    return [(generator.random() < 0.7, float(generator.randrange(30, 60))) for _ in range(24)]


def test_targets_are_those_of_the_reference_implementation():
    """The paper's code asks before every step: privacy and rank-1 above Base, else desensitized images; and
    G* is replaced where rank-1 is above its own."""
    generator, changed = random.Random(0), 0
    for _ in range(300):
        ours, older = Targets(UpgradeRecord(45.0)), Targets(UpgradeRecord(45.0))
        older.record.start = None
        stored, best = None, 40.0
        for number, (private, rank1) in enumerate(checks_of_a_run(generator)):
            target = "DI"
            if private and rank1 > 40.0:
                if rank1 > best:
                    stored, best = number, rank1
                target = stored
            ours.check(number, private, rank1)
            older.check(number, private, rank1)
            assert (ours.target, ours.record.best) == (target, best)
            changed += older.target != target
    assert changed  # the older rule has other targets


def test_a_run_that_0_1_0_began_goes_on_by_its_own_rule():
    state = {"best": 50.0, "selected": 50.0, "checks": [], "validation": {}}  # as 0.1.0 wrote it
    record = UpgradeRecord(45.0)
    record.load_state_dict(state)
    again = UpgradeRecord(45.0)
    again.load_state_dict(record.state_dict())
    for each in (record, again):
        assert each.add({"epoch": 1, **figures(True, True, 45.0)}, False)[0]["decision"] == KEEP
        assert each.add({"epoch": 2, **figures(True, True, 39.0)}, True)[0]["decision"] == KEEP
        assert each.add({"epoch": 3, **figures(True, True, 51.0)}, False)[0]["decision"] == UPGRADE


def test_thresholds_are_strict():
    edge = {"rank1": 60.0, "psnr_protected": 19.0, "ssim_protected": 0.40, **DESENSITIZED}
    assert not is_private(edge, Thresholds(psnr=1.0))
    assert is_private({**edge, "psnr_protected": 18.999}, Thresholds(psnr=1.0))
    edge = {**edge, "psnr_protected": 18.0, "ssim_protected": 0.65, "ssim_desensitized": 0.40}
    assert not is_private(edge, Thresholds(ssim=0.25))  # 0.40 + 0.25 is 0.65 in floats, too
    assert is_private({**edge, "ssim_protected": 0.649}, Thresholds(ssim=0.25))


def test_best_starts_below_base_and_moves_on_upgrades_only():
    record = UpgradeRecord(40.0, Thresholds(rank1=5.0))
    decisions = []
    for epoch, (private, rank1) in enumerate(
        [(True, 35.0), (True, 36.0), (False, 70.0), (True, 36.0), (True, 50.0)], start=1
    ):
        upgraded = any(decision == UPGRADE for decision in decisions) and decisions[-1] != FALL_BACK
        entry, _ = record.add({"epoch": epoch, **figures(private, private, rank1)}, upgraded)
        decisions.append(entry["decision"])
    assert decisions == [KEEP, UPGRADE, FALL_BACK, RESTORE, UPGRADE]
    assert [check["best"] for check in record.checks] == [35.0, 35.0, 36.0, 36.0, 36.0]
    assert record.best == 50.0


def test_the_model_selected_is_the_best_private_one():
    record = UpgradeRecord(90.0)
    selected = [
        record.add({"epoch": 1, **figures(private, True, rank1)}, False)[1]
        for private, rank1 in [(True, 30.0), (False, 80.0), (True, 31.0), (True, 31.0)]
    ]
    assert selected == [True, False, True, False]


def test_without_a_baseline_nothing_is_upgraded_but_the_best_is_selected():
    record = UpgradeRecord(None)  # of an anonymizer
    checks = [
        {"epoch": 1, **figures(private, True, rank1)} for private, rank1 in ((True, 50.0), (False, 60.0))
    ]
    assert [record.add(check, False) for check in checks] == [
        ({**checks[0], "best": None, "decision": KEEP}, True),
        ({**checks[1], "best": None, "decision": KEEP}, False),
    ]


@pytest.mark.parametrize("shown", [{}, figures(True, True, 0.0), figures(False, False, 0.0)])
def test_where_nothing_is_learned_no_constraint_decides_what_is_selected(shown):
    """Base shows what its operator shows: no more, but not less than an ε of 0 asks for either."""
    record = UpgradeRecord(None, None)
    checks = [{"epoch": 1, **shown, "rank1": rank1} for rank1 in (40.0, 60.0, 50.0)]
    added = [record.add(check, False) for check in checks]
    assert [select for _, select in added] == [True, True, False] and record.selected == 60.0
    assert added[1][0] == {**checks[1], "best": None, "decision": KEEP}


def test_a_new_record_knows_nothing():
    assert UpgradeRecord(40.0).state_dict() == {
        "start": 35.0,
        "best": 35.0,
        "selected": None,
        "checks": [],
        "validation": {},
    }


def test_record_survives_its_own_state():
    record = UpgradeRecord(40.0)
    record.add({"epoch": 1, **figures(True, True, 60.0)}, False)
    record.validation = {"best": {"OI-PI": {"Rank-1": 60.0}}}
    copy = UpgradeRecord(0.0)
    copy.load_state_dict(record.state_dict())
    assert copy.state_dict() == record.state_dict()


def test_target_is_the_desensitized_image_until_an_upgrade_and_after_a_fall_back():
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    supervision = Supervision(network)
    images, desensitized = torch.rand(4, 3, 8, 8), torch.rand(4, 3, 8, 8)
    assert torch.equal(supervision(images, desensitized), desensitized)
    assert supervision.state_dict()["upgraded"].dtype == torch.bool
    with torch.no_grad():
        network[0].weight.mul_(3)
    supervision.train()
    supervision.upgrade(network)
    expected = network.eval()(images)
    network.train()
    with torch.no_grad():
        network[0].weight.zero_()  # the target must not follow the anonymizer
    target = supervision(images, desensitized)
    assert torch.equal(target, expected) and not target.requires_grad
    assert not supervision.frozen_anonymizer.training
    assert not any(parameter.requires_grad for parameter in supervision.parameters())
    supervision.fall_back()
    assert torch.equal(supervision(images, desensitized), desensitized)
    supervision.restore()
    assert torch.equal(supervision(images, desensitized), expected)


def test_what_is_decided_is_carried_out():
    """Upgrade, lost privacy, privacy again at a rank-1 between Base's and the best, a rank-1 below Base's."""
    anonymizer = nn.Conv2d(3, 3, 1)
    model = SimpleNamespace(anonymizer=anonymizer, supervision=Supervision(anonymizer))
    seen = []
    for private, rank1 in [(True, 30.0), (True, 50.0), (False, 60.0), (True, 45.0), (True, 40.0)]:
        seen.append((18.9 if private else 19.1, rank1))
    evaluations = (
        SimpleNamespace(
            figures={
                "retrieval": {"OI-PI": {"Rank-1": rank1}, "OI-OI": {"Rank-1": 99.0}},
                "image_quality": {
                    "protected": {"PSNR": psnr, "SSIM": 0.4},
                    "desensitized": {"PSNR": 18.0, "SSIM": 0.4},
                },
            }
        )
        for psnr, rank1 in seen
    )
    saved = []
    checkpointer = SimpleNamespace(save=lambda name, **more: saved.append((name, more["epoch"])))
    hook = UpgradeHook(model, lambda: next(evaluations), UpgradeRecord(45.0), checkpointer, period=2)
    hook.trainer = SimpleNamespace(max_epoch=9, iter=0, storage=SimpleNamespace(put_scalars=lambda **_: None))
    in_force, stored = [], []
    for epoch in range(9):
        hook.trainer.epoch = epoch
        nn.init.constant_(anonymizer.weight, epoch + 1)
        hook.after_epoch()
        in_force.append(bool(model.supervision.upgraded))
        stored.append(model.supervision.frozen_anonymizer.weight.mean().item())
    decisions = [(check["epoch"], check["decision"]) for check in hook.record.checks]
    assert decisions == [(2, KEEP), (4, UPGRADE), (6, FALL_BACK), (8, RESTORE), (9, FALL_BACK)]
    assert in_force == [False, False, False, True, True, False, False, True, False]
    assert stored[3:] == [4.0] * 6  # G* stays what it was at the upgrade
    assert saved == [("model_best", 1), ("model_best", 3)]
