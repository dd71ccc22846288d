"""The upgrade rule as a truth table, and the state that it moves."""

import itertools

import pytest
import torch
from torch import nn

from fastreid_privacy.model.supervision import (
    FALL_BACK,
    KEEP,
    UPGRADE,
    Supervision,
    Thresholds,
    UpgradeRecord,
    decide,
    is_private,
)

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
def test_truth_table(psnr, ssim, better, upgraded):
    expected = {(True, True): UPGRADE, (True, False): KEEP, (False, True): FALL_BACK, (False, False): KEEP}
    wanted = expected[True, better] if psnr and ssim else expected[False, upgraded]
    assert (
        decide(
            figures(psnr, ssim, 50.1 if better else 50.0),
            best=50.0,
            upgraded=upgraded,
            thresholds=Thresholds(),
        )
        == wanted
    )


def test_thresholds_are_strict():
    edge = {"rank1": 60.0, "psnr_protected": 19.0, "ssim_protected": 0.40, **DESENSITIZED}
    assert not is_private(edge, Thresholds(psnr=1.0))
    assert is_private({**edge, "psnr_protected": 18.999}, Thresholds(psnr=1.0))


def test_best_starts_below_base_and_moves_on_upgrades_only():
    record = UpgradeRecord(40.0, Thresholds(rank1=5.0))
    decisions = []
    for epoch, (private, rank1) in enumerate(
        [(True, 35.0), (True, 36.0), (False, 70.0), (True, 36.0), (True, 50.0)], start=1
    ):
        upgraded = any(decision == UPGRADE for decision in decisions) and decisions[-1] != FALL_BACK
        entry, _ = record.add({"epoch": epoch, **figures(private, private, rank1)}, upgraded)
        decisions.append(entry["decision"])
    assert decisions == [KEEP, UPGRADE, FALL_BACK, KEEP, UPGRADE]
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
    record = UpgradeRecord(None)
    entry, select = record.add({"epoch": 1, "rank1": 50.0}, False)
    assert entry == {"epoch": 1, "rank1": 50.0, "best": None, "decision": KEEP} and select


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
