"""results.json as tables: every number as it stands, shares of the upper bound, what is missing left out."""

from __future__ import annotations

import re

import pytest
from report_examples import METRICS, NASTY, base_results, check, full_results, upper_results

from fastreid_privacy.config import paper_results
from fastreid_privacy.core.errors import UserError
from fastreid_privacy.report import format_markdown, format_terminal, quality_table, retrieval_table, tables
from fastreid_privacy.results.results_json import read_results


def expected_cells(values: dict, share: float | None) -> list[str]:
    return [*(f"{values[metric]:.1f}" for metric in METRICS), "–" if share is None else f"{share:.1f}"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "does not exist"),
        (b"{broken", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[1, 2]", "schema None"),
        (b'{"schema": 2, "retrieval": {}}', "schema 2"),
        (b'{"schema": 1}', "retrieval"),
    ],
)
def test_unreadable_results_are_named(tmp_path, content, words):
    path = tmp_path / "results.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=words) as error:
        read_results(path)
    assert str(path) in str(error.value)


def test_retrieval_rows_of_the_full_method():
    results = full_results()
    upper = results["upper_bound"]["retrieval"]["OI-OI"]["Rank-1"]
    rows = {(row.where, row.kind): row for row in retrieval_table(results)}
    assert list(dict.fromkeys(where for where, _ in rows)) == [
        "OI-OI",
        "OI-PI",
        "PI-OI",
        "PI-PI",
        "OI-DI",
        "RI-RI",
    ]
    for kind, source in (
        ("ours", results),
        ("baseline", results["baseline"]),
        ("upper_bound", results["upper_bound"]),
    ):
        assert {where for where, k in rows if k == kind} == set(source["retrieval"])
        for pair, values in source["retrieval"].items():
            assert dict(rows[pair, kind].values) == {metric: values[metric] for metric in METRICS}
            assert rows[pair, kind].share == pytest.approx(values["Rank-1"] / upper * 100, rel=1e-12)
    assert [key for key in rows if key[1] == "paper"] == [("OI-PI", "paper")]
    assert dict(rows["OI-PI", "paper"].values) == {
        "Rank-1": 88.2,
        "Rank-5": None,
        "Rank-10": None,
        "mAP": 72.0,
        "mINP": None,
    }
    assert rows["OI-PI", "paper"].share == pytest.approx(92.163, abs=1e-3)  # 88.2 of 95.7


@pytest.mark.parametrize(
    ("protection", "upgrade", "name"),
    [
        ("none", True, "Upper bound"),
        ("conventional", True, "Base"),
        ("learned", True, "Full method"),
        ("learned", False, "Without upgradation"),
    ],
)
def test_the_model_is_named_by_its_config(protection, upgrade, name):
    results = full_results()
    results["config"]["PRIVACY"].update(PROTECTION=protection, UPGRADE={"ENABLED": upgrade})
    assert {row.model for row in retrieval_table(results) if row.kind == "ours"} == {name}


@pytest.mark.parametrize("siblings", [None, {}])
def test_models_show_only_what_they_have(siblings):
    results = upper_results()
    results.update(baseline=siblings, upper_bound=siblings)
    assert [(row.where, row.kind, row.share) for row in retrieval_table(results)] == [
        ("OI-OI", "ours", None),
        ("OI-DI", "ours", None),
    ]
    assert quality_table(results) == []
    assert "Image quality" not in format_terminal(results) and "PSNR" not in format_terminal(results)
    base = base_results()
    assert [row.where for row in quality_table(base)] == ["desensitized"]
    assert tables.share_of(50.0, 0.0) is None


@pytest.mark.parametrize(
    "results", [full_results(), base_results(), upper_results()], ids=["full", "base", "upper"]
)
def test_terminal_and_markdown_show_every_number(results):
    terminal, markdown = format_terminal(results), format_markdown(results)
    upper = ((results.get("upper_bound") or {}).get("retrieval") or {}).get("OI-OI", {}).get("Rank-1")
    for pair, values in results["retrieval"].items():
        cells = expected_cells(values, upper and 100 * values["Rank-1"] / upper)
        for text in (terminal, markdown):
            lines = [
                re.split(r"[|\s]+", line)
                for line in text.splitlines()
                if re.match(rf"\|?\s*{pair.replace('-', '→')}\b", line)
            ]
            assert len(lines) == 1 and [cell for cell in lines[0] if cell][-6:] == cells
    for values in results["image_quality"].values():
        numbers = [f"{values['PSNR']:.2f}", f"{values['PSNR_per_image']:.2f}", f"{values['SSIM']:.3f}"]
        assert re.search(r"\s+".join(map(re.escape, numbers)), terminal) and re.search(
            r"[|\s]+".join(map(re.escape, numbers)), markdown
        )
    for item in results["checks"]:
        line = next(line for line in terminal.splitlines() if re.match(rf"\s+{item['epoch']} ", line))
        assert f"{item['rank1']:.1f}" in line and line.rstrip().endswith(item["decision"])


def test_queries_left_out_are_told():
    assert "left out: 2 in RI→RI" in format_terminal(full_results())
    assert "left out" not in format_terminal(upper_results())


def test_a_long_record_of_checks_is_shortened_on_the_terminal_only():
    results = full_results()
    results["checks"] = [
        check(epoch, epoch / 2, 30.0, "upgrade" if epoch in (7, 80) else "keep") for epoch in range(1, 101)
    ]
    epochs = [
        int(m[1])
        for m in re.finditer(r"^ +(\d+) .*(?:keep|upgrade)$", format_terminal(results), re.MULTILINE)
    ]
    assert epochs == [7, 80, 100] and "3 of 100" in format_terminal(results)
    assert len(re.findall(r"^\|.*(?:keep|upgrade) +\|$", format_markdown(results), re.MULTILINE)) == 100


def test_markdown_keeps_pipes_and_tags_harmless():
    results = full_results()
    results["dataset"] = NASTY
    results["checks"][0]["decision"] = "a|b"
    markdown = format_markdown(results)
    assert "<script" not in markdown and r"a\|b" in markdown and r"\| pipe" in markdown


def test_paper_results_are_read_and_checked():
    assert paper_results(full_results()["config"])["OI-PI", "Rank-1"] == 88.2
    assert paper_results({"TEST": {}}) == paper_results({}) == {}
    for entry in (["OI-PI", 88.2], ["OI-PI", "Rank-1", "high"], 7):
        with pytest.raises(UserError, match=r"TEST\.PAPER_RESULTS"):
            paper_results({"TEST": {"PAPER_RESULTS": [entry]}})


def test_numbers_that_are_none():
    assert [tables.number(v, 2) for v in (None, float("inf"), float("nan"), 0.005, 12, "keep")] == [
        "–",
        "∞",
        "nan",
        "0.01",
        "12.00",
        "keep",
    ]


def test_an_upper_bound_says_nothing_about_another_desensitizer():
    """One upper bound serves blur, pixelation and noise; its OI→DI is of one of them."""
    results = full_results()
    kinds = [row.kind for row in retrieval_table(results) if row.where == "OI-DI"]
    results["upper_bound"]["config"]["PRIVACY"]["DESENSITIZER"] = {"NAME": "noise"}
    rows = retrieval_table(results)
    assert "upper_bound" in kinds and [row.kind for row in rows if row.where == "OI-DI"] == [
        kind for kind in kinds if kind != "upper_bound"
    ]
    assert [row.kind for row in rows if row.where == "OI-OI"][-1] == "upper_bound"


def test_verification_stands_where_it_was_measured():
    results = full_results()
    assert tables.verification_table(results) == [] and "TPR" not in format_terminal(results)
    results["retrieval"]["OI-PI"].update({"TPR@FPR=1e-02": 81.04, "TPR@FPR=1e-04": 31.26})
    results["baseline"]["retrieval"]["OI-PI"].update({"TPR@FPR=1e-03": 47.5})
    rows = {(row.where, row.kind): dict(row.values) for row in tables.verification_table(results)}
    assert rows == {
        ("OI-PI", "ours"): {"TPR@FPR=1e-04": 31.26, "TPR@FPR=1e-03": None, "TPR@FPR=1e-02": 81.04},
        ("OI-PI", "baseline"): {"TPR@FPR=1e-04": None, "TPR@FPR=1e-03": 47.5, "TPR@FPR=1e-02": None},
    }
    by_rate = ["TPR@FPR=1e-04", "TPR@FPR=1e-03", "TPR@FPR=1e-02"]
    assert all(list(values) == by_rate for values in rows.values())  # not as found
    assert re.search(r"OI→PI +Full method +31\.3 +– +81\.0\n +Base +– +47\.5 +–", format_terminal(results))


def test_lpips_has_a_column_where_any_image_has_it():
    results = full_results()
    results["image_quality"]["protected"]["LPIPS"] = None
    assert "LPIPS" not in format_terminal(results)
    results["image_quality"]["recovered"]["LPIPS"] = 0.0874
    text = format_terminal(results)
    assert re.search(r"recovered +Full method +27\.12 +27\.80 +0\.931 +0\.087\n", text)
    assert re.search(r"protected +Full method +20\.51 +20\.94 +0\.603 +–\n", text)
