"""report.html and its command: the numbers of results.json, a page that stands alone, missing parts named."""

from __future__ import annotations

import base64
import copy
import io
from html.parser import HTMLParser

import numpy as np
import pytest
from in_process import report
from PIL import Image
from report_examples import (
    METRICS,
    NASTY,
    base_results,
    entry,
    full_results,
    pictures,
    put,
    rank_lists,
    upper_results,
)

from fastreid_privacy.report import format_markdown, format_terminal, retrieval_table, tables, write_report
from fastreid_privacy.results.stored import SAMPLES


class Page(HTMLParser):
    """Tags with attributes, the text, and the cells of every table row, of an HTML file."""

    VOID = ("meta", "link", "img", "source")

    def __init__(self, path):
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags, self.rows, self.open, self.text, self.styles = [], [], [], "", ""
        self.feed(self.source)
        assert not self.open, f"tags left open: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open:
            self.styles += data
            return
        self.text += data
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data

    def images(self) -> list[bytes]:
        uris = [attrs.get("src") or attrs["srcset"] for tag, attrs in self.tags if tag in ("img", "source")]
        return [base64.b64decode(uri.removeprefix("data:image/png;base64,"), validate=True) for uri in uris]


@pytest.mark.parametrize(
    "results", [full_results(), base_results(), upper_results()], ids=["full", "base", "upper"]
)
def test_page_shows_the_numbers_of_results(tmp_path, results):
    page = Page(write_report(put(tmp_path, results)))
    rows = retrieval_table(results)
    shown = [row for row in page.rows if len(row) == 7][1:]
    assert [row[0] for row in shown] == [row.model for row in rows]
    assert [row[1:-1] for row in shown] == [
        ["–" if v is None else f"{v:.1f}" for v in row.values.values()] for row in rows
    ]
    assert [row[-1] for row in shown] == ["–" if row.share is None else f"{row.share:.1f}" for row in rows]
    groups = [row[0] for row in page.rows if len(row) == 1]
    assert [group[:5] for group in groups] == [pair.replace("-", "→") for pair in results["retrieval"]]
    for domain, values in results["image_quality"].items():
        assert [
            domain,
            f"{values['PSNR']:.2f}",
            f"{values['PSNR_per_image']:.2f}",
            f"{values['SSIM']:.3f}",
        ] in page.rows
    for item in results["checks"]:
        assert any(
            row[:2] == [str(item["epoch"]), f"{item['rank1']:.1f}"] and row[-1] == item["decision"]
            for row in page.rows
        )
    for fact in ("Market1501", "model_best.pth", "png", "0.1.0", tables.method_name(results)):
        assert fact in page.text


def test_page_of_the_full_method(tmp_path):
    results = full_results()
    page = Page(write_report(put(tmp_path, results)))
    assert ["recovered, paper", "26.78", "–", "0.920"] in page.rows
    assert (
        "3 checks on the validation split: 1 upgrade, 1 fall back, 0 restores." in page.text
        and "Base reaches 43.2 % rank-1" in page.text
    )
    assert "120 epochs, batch 64, lr 0.00035, images 256 × 128" in page.text
    share = (
        100 * results["retrieval"]["PI-PI"]["Rank-1"] / results["upper_bound"]["retrieval"]["OI-OI"]["Rank-1"]
    )
    assert (
        f"{share:.1f} % of the upper bound" in page.text
        and f"Base {results['baseline']['retrieval']['PI-PI']['Rank-1']:.1f}" in page.text
    )
    assert "MAX_EPOCH: 120" in page.text and ("details", {}) in page.tags
    assert "Missing" not in page.text
    for name in ("samples.png", "training_curve.png", "training_curve_dark.png"):
        with Image.open(tmp_path / "figures" / name) as image:
            image.load()
    shown = [np.asarray(Image.open(io.BytesIO(png)).convert("RGB")) for png in page.images()]
    ranked = sum(
        int((matches >= 0).sum()) + len(matches)
        for pair, matches in rank_lists().items()
        if pair.endswith(".matches")
    )
    # a strip for each domain, queries with their lists, the curve in dark and light
    assert len(shown) == 4 + ranked + 2
    for strip, batch in zip(shown, pictures().values(), strict=False):
        assert strip.shape == (128, 3 * 64, 3)
        assert all(np.array_equal(strip[:, 64 * i : 64 * i + 64], picture) for i, picture in enumerate(batch))


def test_page_shows_lpips_and_verification_where_they_were_measured(tmp_path):
    results = full_results()
    page = Page(write_report(put(tmp_path, results)))
    assert tables.NO_LPIPS in page.text and "Verification" not in page.text
    results["image_quality"]["recovered"]["LPIPS"] = 0.0874
    results["retrieval"]["OI-PI"].update({"TPR@FPR=1e-04": 31.26})
    page = Page(write_report(put(tmp_path, results)))
    assert tables.NO_LPIPS not in page.text
    assert ["recovered", "27.12", "27.80", "0.931", "0.087"] in page.rows and [
        "protected",
        "20.51",
        "20.94",
        "0.603",
        "–",
    ] in page.rows
    assert ["OI→PI", "Full method", "31.3"] in page.rows and ["Pair", "Model", "FPR=1e-04"] in page.rows


def test_page_stands_alone(tmp_path):
    results = full_results()
    results["config"]["MODEL"] = {"WEIGHTS": "https://example.org/weights.pth"}
    page = Page(write_report(put(tmp_path, results)))
    assert not [tag for tag, _ in page.tags if tag in ("script", "iframe", "object", "embed", "base", "form")]
    for tag, attrs in page.tags:
        assert not [name for name in attrs if name.startswith("on")]
        for name in ("src", "srcset", "href", "action", "poster", "data"):
            assert attrs.get(name, "data:").startswith(("data:", "#")), (tag, attrs)
    assert (
        "url(" not in page.styles
        and "@import" not in page.styles
        and "prefers-color-scheme: dark" in page.styles
    )
    policies = [
        attrs["content"]
        for tag, attrs in page.tags
        if tag == "meta" and attrs.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_values_are_escaped(tmp_path):
    results = full_results()
    results.update(dataset=NASTY, checkpoint=NASTY, version=NASTY, storage=NASTY)
    results["config"]["NOTE"] = NASTY
    results["checks"][0]["decision"] = NASTY
    results["retrieval"]["<i>-<b>"] = entry(99)
    page = Page(write_report(put(tmp_path, results)))
    assert not [tag for tag, _ in page.tags if tag in ("script", "i")]
    assert page.text.count(NASTY) >= 6 and "<i>→<b>" in page.text


def test_several_test_sets_share_a_page(tmp_path):
    first, second = full_results(), full_results()
    second["dataset"] = "MSMT17"
    second["retrieval"]["OI-PI"] = entry(77)
    put(tmp_path, first, "results_Market1501.json", samples=False)
    put(tmp_path, second, "results_MSMT17.json", samples=False)
    SAMPLES.save(pictures(count=2), tmp_path, "MSMT17")
    page = Page(write_report(tmp_path))
    rows = [row for row in page.rows if len(row) == 7 and row[0] != "Model"]
    assert len(rows) == 2 * len(retrieval_table(first))
    for results in (first, second):
        values = results["retrieval"]["OI-PI"]
        assert any(row[1:6] == [f"{values[m]:.1f}" for m in METRICS] for row in rows)
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert ids == ["set-MSMT17", "set-Market1501", "training"]
    assert [attrs["href"] for tag, attrs in page.tags if tag == "a"] == [f"#{name}" for name in ids]
    assert (
        "no sample images are stored in figures/samples_Market1501.npz" in page.text
        and len(page.images()) == 4 + 2
    )
    assert page.text.count("Supervision upgradation") == 1, "one training, told once"
    retrained = copy.deepcopy(second)
    retrained["seed"] = 4
    put(tmp_path, retrained, "results_MSMT17.json", samples=False)
    again = Page(write_report(tmp_path))
    assert (
        again.text.count("Supervision upgradation") == 2
        and (tmp_path / "figures" / "training_curve_2.png").is_file()
    )


def test_missing_parts_are_named(tmp_path):
    results = full_results()
    results.update(checks=[], image_quality={}, config={})
    page = Page(write_report(put(tmp_path, results, samples=False, log=False)))
    for words in (
        "no sample images are stored in figures/samples.npz",
        "no image quality",
        "no checks",
        "metrics.json holds no losses",
    ):
        assert f"Missing: {words}" in page.text or f"Missing: these results hold {words}" in page.text
    assert page.images() == []


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    put(tmp_path, full_results())
    page = write_report(tmp_path)
    before = page.read_bytes()
    files = sorted(tmp_path.rglob("*"))

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_report(tmp_path)
    assert page.read_bytes() == before and sorted(tmp_path.rglob("*")) == files


def test_a_damaged_samples_file_does_not_stop_the_report(tmp_path):
    put(tmp_path, full_results())
    (tmp_path / "figures" / "samples.npz").write_bytes(b"PK damaged")
    assert "no sample images" in Page(write_report(tmp_path)).text


def test_command_writes_the_page_and_prints_the_tables(tmp_path, capsys):
    results = full_results()
    put(tmp_path, results)
    assert report(tmp_path) == 0
    printed = capsys.readouterr().out
    assert (
        format_terminal(results) in printed
        and str(tmp_path / "report.html") in printed
        and (tmp_path / "report.html").is_file()
    )
    assert report(tmp_path, "--markdown") == 0
    assert format_markdown(results) in capsys.readouterr().out


@pytest.mark.parametrize("case", ["missing", "file", "empty", "broken"])
def test_command_refuses_a_wrong_folder(tmp_path, capsys, case):
    folder = tmp_path / "run"
    if case == "file":
        folder.write_text("")
    elif case != "missing":
        folder.mkdir()
    if case == "broken":
        (folder / "results.json").write_text("{")
    assert report(folder) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and str(folder) in captured.err and captured.out == ""
    assert not folder.is_dir() or not (folder / "report.html").exists()
