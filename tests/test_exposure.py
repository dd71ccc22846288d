"""Protected images that show too much one by one, though their mean keeps the thresholds."""

from __future__ import annotations

from conftest import SMALL_CONFIG  # before fastreid: importing the package makes it work
from test_hybrid_evaluator import NUM_QUERY, batches, run, test_set

# isort: split
import math

import numpy as np
import pytest
import torch
from report_examples import check, full_results, put
from torchmetrics.functional.image import structural_similarity_index_measure

from fastreid_privacy.config import load_config
from fastreid_privacy.core.errors import UserError
from fastreid_privacy.evaluation import HybridEvaluator
from fastreid_privacy.evaluation.exposure import Exposure, figures_of
from fastreid_privacy.evaluation.image_quality import Shown
from fastreid_privacy.model.supervision import KEEP, UPGRADE, Thresholds, UpgradeRecord, is_private
from fastreid_privacy.model.verdict import verdict
from fastreid_privacy.report import format_markdown, format_terminal, write_report
from fastreid_privacy.training.hooks import check_figures
from fastreid_privacy.training.testing import hybrid_evaluator


def shown(psnr, ssim=None):
    psnr = torch.tensor(psnr, dtype=torch.float64)
    return Shown(psnr, torch.zeros_like(psnr) if ssim is None else torch.tensor(ssim, dtype=torch.float64))


def gathered(psnr, ssim=None, limits=(1.0, 0.05)):
    """Figures of images with these excesses."""
    exposure = Exposure(*limits)
    exposure.update(shown(psnr, ssim), shown([0.0] * len(psnr)))
    return exposure.compute()


def slowly(data, limits):
    """The figures, image by image, with SSIM as torchmetrics has it."""
    raw, protected, desensitized = (data[2][domain].double() for domain in ("OI", "PI", "DI"))
    excess = []
    for one, ours, theirs in zip(raw, protected, desensitized, strict=True):
        psnr = [10 * math.log10(255**2 / ((each - one) ** 2).mean().item()) for each in (ours, theirs)]
        ssim = [
            structural_similarity_index_measure(each[None], one[None], data_range=255.0).item()
            for each in (ours, theirs)
        ]
        excess.append((psnr[0] - psnr[1], ssim[0] - ssim[1]))
    beyond = [psnr >= limits[0] or ssim >= limits[1] for psnr, ssim in excess]
    worst = [sorted(column)[len(excess) - len(excess) // 20 - 1] for column in zip(*excess, strict=True)]
    return 100 * sum(beyond) / len(beyond), *worst


def uneven_set():
    """Images that are hidden unequally: each third one hardly, in the protected domain."""
    data = test_set()
    raw = data[2]["OI"]
    data[2]["PI"][::3] = (raw[::3] + 3).clamp(0, 255)
    return data


@pytest.mark.parametrize("limits", [(1.0, 0.05), (40.0, 0.6), (0.0, -1.0)])
def test_figures_are_those_of_single_images(limits):
    data = uneven_set()
    found = run(HybridEvaluator(NUM_QUERY, limits=limits), data)["image_quality"]
    beyond, psnr, ssim = slowly(data, limits)
    assert found["protected"]["beyond"] == pytest.approx(beyond)
    assert found["protected"]["excess_PSNR"] == pytest.approx(psnr, abs=1e-4)
    assert found["protected"]["excess_SSIM"] == pytest.approx(ssim, abs=1e-4)
    assert "beyond" not in found["desensitized"] and "beyond" not in found["recovered"]


def test_nothing_is_counted_without_two_kinds_of_images():
    for domains in (("OI", "PI"), ("OI", "DI"), ("OI", "PI", "RI")):
        found = run(HybridEvaluator(NUM_QUERY, limits=(1.0, 0.05)), test_set(), domains=domains)
        assert not [quality for quality in found["image_quality"].values() if "beyond" in quality]
    evaluator = HybridEvaluator(NUM_QUERY, limits=(1.0, 0.05))  # a conventional operator: PI is DI
    for inputs, outputs in batches(test_set()):
        evaluator.process(inputs, {**outputs, "same_images": {"PI": "DI"}})
    assert "beyond" not in evaluator.evaluate().figures["image_quality"]["protected"]
    assert "beyond" not in run(HybridEvaluator(NUM_QUERY), test_set())["image_quality"]["protected"]


def test_one_image_of_twenty_may_be_worse_than_the_worst_figure():
    assert gathered([5.0] + [0.5] * 19)["excess_PSNR"] == 0.5
    assert gathered([5.0, 4.0] + [0.5] * 18)["excess_PSNR"] == 4.0
    assert gathered([5.0] + [0.5] * 18)["excess_PSNR"] == 5.0  # one of nineteen is more than 5 %
    assert gathered([5.0] + [0.5] * 19)["beyond"] == 5.0


def test_an_image_is_beyond_when_either_difference_reaches_its_threshold():
    found = gathered([0.99, 1.0, -3.0, -3.0], [0.0, 0.0, 0.05, 0.049])
    assert found == {"beyond": 50.0, "excess_PSNR": 1.0, "excess_SSIM": 0.05}


def test_images_equal_to_the_raw_ones():
    exposure = Exposure(1.0, 0.05)
    exposure.update(shown([math.inf] * 3 + [20.0]), shown([math.inf, math.inf, 18.0, math.inf]))
    assert exposure.compute() == {"beyond": 25.0, "excess_PSNR": None, "excess_SSIM": 0.0}
    quality = {"protected": {"PSNR": 20.0, "SSIM": 0.3, **exposure.compute()}}
    quality["desensitized"] = {"PSNR": 19.5, "SSIM": 0.3}
    figures = {"retrieval": {"OI-PI": {"Rank-1": 9.0}}, "image_quality": quality}
    entry = check_figures(1, figures)
    assert entry["excess_psnr"] == math.inf
    assert is_private(entry, Thresholds()) and not is_private(entry, Thresholds(worst=True))


def test_several_processes_count_as_one():
    parts = [Exposure(1.0, 0.05) for _ in range(3)]
    draw = np.random.default_rng(0)
    columns = draw.normal(size=(2, 37))
    for part, rows in zip(parts, ([0, 20], [20, 20], [20, 37]), strict=True):
        part.update(shown(*columns[:, slice(*rows)]), shown([0.0] * (rows[1] - rows[0])))
    assert figures_of(parts) == gathered(*columns)


def test_the_rule_can_ask_for_the_worst_images():
    means = {f"psnr_{domain}": 18.0 for domain in ("protected", "desensitized")}
    means |= {f"ssim_{domain}": 0.4 for domain in ("protected", "desensitized")}
    exposed = {"epoch": 1, "rank1": 60.0, **means, "beyond": 30.0, "excess_psnr": 1.0, "excess_ssim": 0.0}
    hidden = {**exposed, "excess_psnr": 0.999, "excess_ssim": 0.0499}
    by_mean, worst = Thresholds(), Thresholds(worst=True)
    assert is_private(exposed, by_mean) and is_private(hidden, by_mean)
    assert not is_private(exposed, worst) and is_private(hidden, worst)
    assert not is_private({**hidden, "excess_ssim": 0.05}, worst)
    for thresholds, decision in ((by_mean, UPGRADE), (worst, KEEP)):
        entry, select = UpgradeRecord(40.0, thresholds).add(exposed, False)
        assert entry["decision"] == decision and select is (decision == UPGRADE)
    record = {"checks": [exposed]}
    assert verdict(load_config(), record) is True
    assert verdict(load_config("", ["PRIVACY.UPGRADE.PRIVACY", "worst"]), record) is False


def test_the_config_gives_the_thresholds_and_the_measure():
    options = ["PRIVACY.UPGRADE.EPS_PSNR", "2.5", "PRIVACY.UPGRADE.EPS_SSIM", "0.2"]
    assert hybrid_evaluator(load_config(SMALL_CONFIG, options), 1).limits == (2.5, 0.2)
    assert load_config().PRIVACY.UPGRADE.PRIVACY == "mean"
    with pytest.raises(UserError, match=r"PRIVACY\.UPGRADE\.PRIVACY is median; allowed: mean, worst"):
        load_config("", ["PRIVACY.UPGRADE.PRIVACY", "median"])


def test_terminal_markdown_and_report_tell_of_single_images(tmp_path):
    results = full_results()
    for text in (format_terminal(results), format_markdown(results)):
        assert "beyond" not in text and "excess" not in text  # results of an older version
    results["image_quality"]["protected"].update(beyond=12.34, excess_PSNR=None, excess_SSIM=0.0714)
    results["checks"] = [
        {**check(2, 30.0, 38.0, "keep"), "beyond": 43.21, "excess_psnr": 2.345, "excess_ssim": 0.0987}
    ]
    page = write_report(put(tmp_path, results)).read_text(encoding="utf-8")
    for text in (format_terminal(results), format_markdown(results), page):
        assert "12.3 % of the protected images are beyond ε_psnr or ε_ssim by themselves" in text
        assert "at most 5 % show more than ∞ dB PSNR or 0.071 SSIM above" in text
        assert all(figure in text for figure in ("43.2", "2.35", "0.099"))
        assert "the upgrades ask for these" not in text
    results["config"]["PRIVACY"]["UPGRADE"] = {"PRIVACY": "worst"}
    assert "the upgrades ask for these to be under ε" in format_terminal(results)
