"""The tables of a reproduction against figures formed here from the same results.json files."""

from __future__ import annotations

# Before fastreid: importing the package makes it work.
from fastreid_privacy.reproduce.formats import html_tables, write_tables

# isort: split
import csv
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from fastreid_privacy.core.errors import UserError
from fastreid_privacy.reproduce import paper
from fastreid_privacy.reproduce.cells import build_tables
from fastreid_privacy.reproduce.finished import FinishedRuns
from fastreid_privacy.reproduce.plan import Run, plan_runs

PAIRS = {
    "upper_bound": ("OI-OI", "OI-DI"),
    "base": ("OI-OI", "OI-PI", "PI-OI", "PI-PI", "OI-DI"),
    "wo_upgrade": ("OI-OI", "OI-PI", "PI-OI", "PI-PI", "OI-DI", "RI-RI"),
    "full": ("OI-OI", "OI-PI", "PI-OI", "PI-PI", "OI-DI", "RI-RI"),
    "raw_agw": ("OI-OI", "DI-DI", "PI-PI", "RI-RI"),
}


def make(
    folder,
    seeds=(0, 1, 2),
    operators=("blur", "noise"),
    tables=(1, 3, 4, 5),
    dataset="SyntheticPedestrians",
    budget=1.0,
    **changes,
):
    """A reproduction with made-up figures; returns them by run folder."""
    draw, everything = np.random.default_rng(7), {}
    plan = {
        "schema": 1,
        "dataset": dataset,
        "budget": budget,
        "epochs": 3,
        "epochs_of_config": 7,
        "tables": list(tables),
        "operators": list(operators),
        "seeds": list(seeds),
    }
    folder.mkdir(exist_ok=True)
    (folder / "plan.json").write_text(json.dumps(plan))
    for run in plan_runs((1, 3, 4, 5), operators, seeds):
        retrieval = {
            pair: {
                metric: float(draw.uniform(1, 99))
                for metric in ("Rank-1", "Rank-5", "Rank-10", "mAP", "mINP")
            }
            | {"excluded_queries": changes.get("excluded", 0) if pair == "OI-OI" else 0}
            for pair in PAIRS[run.kind]
        }
        quality = {
            name: {"PSNR": float(draw.uniform(10, 30)), "SSIM": float(draw.uniform(0, 1))}
            for name in ("protected", "desensitized", "recovered")
        }
        everything[run.name] = results = {
            "schema": 1,
            "config": {},
            "retrieval": retrieval,
            "image_quality": quality,
        }
        (folder / run.folder).mkdir(parents=True, exist_ok=True)
        (folder / run.folder / "results.json").write_text(json.dumps(results))
    return everything


def lines_of(folder):
    """tables.csv by (table, operator, model, where, metric)."""
    with (folder / "tables.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    found = {
        (int(line["table"]), line["operator"], line["model"], line["where"], line["metric"]): line
        for line in lines
    }
    assert len(found) == len(lines)
    return found


def test_every_figure_comes_from_the_right_run(tmp_path):
    """Each cell of tables.csv against numpy over the made-up results of the run that the paper's table
    means."""
    made = make(tmp_path)
    write_tables(tmp_path)
    lines = lines_of(tmp_path)

    def of(folder, part, where, metric):
        return np.array([made[f"seed{seed}/{folder}"][part][where][metric] for seed in (0, 1, 2)])

    upper = of("upper_bound", "retrieval", "OI-OI", "Rank-1")
    sources = {
        (1, "", "raw_agw", "OI-OI"): ("upper_bound", "OI-OI"),
        (5, "", "upper_bound", "OI-OI"): ("upper_bound", "OI-OI"),
    }
    for op in ("blur", "noise"):
        agw = f"full_{op}/raw_agw"
        sources |= {(1, op, "raw_agw", pair): (agw, pair) for pair in ("DI-DI", "PI-PI")}
        sources |= {
            (4, op, "raw_agw", "OI-OI"): ("upper_bound", "OI-OI"),
            (4, op, "raw_agw", "RI-RI"): (agw, "RI-RI"),
        }
        sources |= {(4, op, "full", pair): (f"full_{op}", pair) for pair in ("OI-OI", "RI-RI")}
        sources |= {
            (5, op, model, f"{q}-{g}"): (f"{model}_{op}", f"{q}-{g}")
            for model in ("base", "wo_upgrade", "full")
            for q in ("OI", "PI")
            for g in ("OI", "PI")
        }
    expected = set()
    for (table, op, model, where), (folder, pair) in sources.items():
        for metric in ("Rank-1", "Rank-5", "mAP", "mINP") if table == 5 else ("Rank-1", "mAP"):
            key = (table, op, model, where, metric)
            values, line = of(folder, "retrieval", pair, metric), lines[key]
            expected.add(key)
            assert int(line["seeds"]) == 3
            assert float(line["ours_mean"]) == pytest.approx(values.mean())
            assert float(line["ours_deviation"]) == pytest.approx(values.std(ddof=1))
            if metric == "Rank-1":
                assert float(line["ours_share"]) == pytest.approx((100 * values / upper).mean())
            else:
                assert line["ours_share"] == line["paper_share"] == ""
    for op in ("blur", "noise"):
        for where in ("recovered", "protected", "desensitized"):
            for metric in ("PSNR", "SSIM"):
                key = (3, op, "full", where, metric)
                expected.add(key)
                assert float(lines[key]["ours_mean"]) == pytest.approx(
                    of(f"full_{op}", "image_quality", where, metric).mean()
                )
    assert set(lines) == expected


@pytest.mark.parametrize("dataset", ["SyntheticPedestrians", "MSMT17"])
def test_the_paper_s_figures_stand_beside_ours(tmp_path, dataset):
    make(tmp_path, dataset=dataset)
    write_tables(tmp_path)
    lines, theirs = lines_of(tmp_path), paper.figures(dataset if dataset in paper.DATASETS else "Market1501")
    upper = theirs[5, "", "upper_bound", "OI-OI", "Rank-1"]
    for key, line in lines.items():
        assert line["paper"] == (str(theirs[key]) if key in theirs else "")
        if key in theirs and key[4] == "Rank-1":
            assert float(line["paper_share"]) == pytest.approx(100 * theirs[key] / upper)
    assert lines[5, "noise", "full", "PI-OI", "mINP"]["paper"] == {"MSMT17": "4.4"}.get(dataset, "32.4")
    captions = [table.caption for table in build_tables(tmp_path)]
    assert all(("the paper has no" in caption) == (dataset not in paper.DATASETS) for caption in captions)


@pytest.mark.parametrize("dataset", ["Market1501", "MSMT17", "CUHK03"])
def test_inferred_figures_are_marked(tmp_path, dataset):
    make(tmp_path, dataset=dataset, operators=("pixelate", "noise"), seeds=(0,))
    write_tables(tmp_path)
    lines = lines_of(tmp_path)
    marked = {key for key, line in lines.items() if line["paper_inferred"] == "1"}
    assert marked == {key for name, key in paper.INFERRED if name == dataset}
    text = (tmp_path / "tables.md").read_text()
    assert ("† inferred" in text) == bool(marked)
    cells = re.findall(r"([0-9.]+)†", text)
    assert sorted(cells) == sorted(
        {"MSMT17": ["0.1", "0.1", "25.94", "0.89"], "CUHK03": ["0.93"]}.get(dataset, [])
    )


def test_gains_are_of_table_5_s_own_cells(tmp_path):
    """Each seed's difference by itself, the paper's on the same data set, and what section 4.5 claims."""
    made = make(tmp_path, dataset="MSMT17", operators=("blur", "pixelate"))
    (tmp_path / "seed1/base_blur/results.json").unlink()
    *_, table = build_tables(tmp_path)
    found = {(gain.operator, gain.over, gain.where): gain for gain in table.gains.lines}
    assert list(found) == [
        (operator, *rest)
        for operator in ("blur", "pixelate")
        for rest in (("base", "PI-PI"), ("base", "OI-PI"), ("base", "PI-OI"), ("wo_upgrade", "all four"))
    ]

    def rank1(seed, folder, pair):
        return made[f"seed{seed}/{folder}"]["retrieval"][pair]["Rank-1"]

    gain = found["blur", "base", "OI-PI"]
    values = {seed: rank1(seed, "full_blur", "OI-PI") - rank1(seed, "base_blur", "OI-PI") for seed in (0, 2)}
    assert gain.figure.values == pytest.approx(values)
    assert (gain.figure.paper, gain.claimed) == (pytest.approx(51.1 - 21.3), 34.2)
    gain = found["blur", "wo_upgrade", "all four"]
    pairs = ("OI-OI", "OI-PI", "PI-OI", "PI-PI")
    values = {
        seed: np.mean(
            [rank1(seed, "full_blur", pair) - rank1(seed, "wo_upgrade_blur", pair) for pair in pairs]
        )
        for seed in (0, 1, 2)
    }
    assert gain.figure.values == pytest.approx(values) and gain.claimed == 19.4
    theirs = np.mean([51.5 - 43.6, 51.1 - 28.4, 50.5 - 10.0, 48.7 - 14.7])
    assert gain.figure.paper == pytest.approx(theirs)
    assert found["pixelate", "wo_upgrade", "all four"].claimed is None
    assert "The 22.4 of pixelation, OI→PI are 22.0 by the paper's table 5." in table.gains.caption
    write_tables(tmp_path)
    line = next(
        line
        for line in (tmp_path / "tables.md").read_text().splitlines()
        if re.match(r"\| Blurring +\| Base +\| OI→PI", line)
    )
    assert [cell.strip() for cell in line.strip("|").split("|")][3:] == [
        found["blur", "base", "OI-PI"].figure.text(3),
        "29.8",
        "34.2",
    ]
    assert "(n = 2)" in line


def text_of(table, operator, model, where, metric):
    row = next(row for row in table.rows if (row.operator, row.model, row.where) == (operator, model, where))
    return row.figures[metric].text(table.most_seeds)


def test_one_seed_has_no_deviation(tmp_path):
    made = make(tmp_path, seeds=(4,), tables=(3, 5))
    three, five = build_tables(tmp_path)
    value = made["seed4/full_blur"]["retrieval"]["OI-PI"]["mAP"]
    assert text_of(five, "blur", "full", "OI-PI", "mAP") == f"{value:.1f}"
    assert (
        text_of(three, "blur", "full", "recovered", "PSNR")
        == f"{made['seed4/full_blur']['image_quality']['recovered']['PSNR']:.2f}"
    )
    assert "one seed" in five.caption and "±" not in five.caption
    write_tables(tmp_path)
    assert lines_of(tmp_path)[5, "blur", "full", "OI-PI", "mAP"]["ours_deviation"] == ""


def test_cells_of_fewer_seeds_and_missing_ones_say_so(tmp_path):
    made = make(tmp_path, tables=(5,))
    (tmp_path / "seed1/full_blur/results.json").unlink()
    for seed in (0, 1, 2):
        (tmp_path / f"seed{seed}/base_noise/results.json").unlink()
    (table,) = build_tables(tmp_path)
    values = [made[f"seed{seed}/full_blur"]["retrieval"]["PI-PI"]["Rank-1"] for seed in (0, 2)]
    assert (
        text_of(table, "blur", "full", "PI-PI", "Rank-1")
        == f"{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f} (n = 2)"
    )
    assert "(n" not in text_of(table, "blur", "base", "PI-PI", "Rank-1")
    assert (
        text_of(table, "noise", "base", "PI-PI", "Rank-1")
        == text_of(table, "noise", "base", "PI-PI", "share")
        == "–"
    )
    # four pairs of Base with noise, each with four metrics and a share
    assert "20 of 125 cells are still missing" in table.caption
    assert "n = 3 seeds" in table.caption and "cells of fewer seeds say their n" in table.caption


def test_a_share_needs_the_upper_bound_of_its_own_seed(tmp_path):
    made = make(tmp_path, tables=(5,))
    (tmp_path / "seed0/upper_bound/results.json").unlink()
    (table,) = build_tables(tmp_path)
    row = next(row for row in table.rows if (row.operator, row.model, row.where) == ("blur", "full", "OI-PI"))
    shares = {
        seed: 100
        * made[f"seed{seed}/full_blur"]["retrieval"]["OI-PI"]["Rank-1"]
        / made[f"seed{seed}/upper_bound"]["retrieval"]["OI-OI"]["Rank-1"]
        for seed in (1, 2)
    }
    assert row.figures["share"].values == pytest.approx(shares)
    assert len(row.figures["Rank-1"].values) == 3


def test_nothing_finished_yet(tmp_path):
    make(tmp_path)
    for file in tmp_path.rglob("results.json"):
        file.unlink()
    write_tables(tmp_path)
    text = (tmp_path / "tables.md").read_text()
    assert "125 of 125 cells are still missing" in text and "| 88.2 |" in re.sub(" +", " ", text)


def test_budget_and_excluded_queries_are_told(tmp_path):
    make(tmp_path, budget=0.4, excluded=3)
    for table in build_tables(tmp_path):
        assert "schedule scaled to 3 of 7 epochs (--budget 0.4)" in table.caption
        assert any(note.endswith("left out: 3 in OI→OI.") for note in table.notes) == (table.number != 3)
    make(tmp_path, budget=1.0)
    for table in build_tables(tmp_path):
        assert "scaled" not in table.caption and not any("left out" in note for note in table.notes)


SETTINGS = {
    "PRIVACY.JOINT_BATCH": False,
    "PRIVACY.DESENSITIZE_BEFORE_CROP": True,
    "PRIVACY.DESENSITIZER.PIXEL_REDUCE": "corner",
    "SOLVER.SCHED": "MultiStepLR",
    "SOLVER.STEPS": [39, 79],
    "DATASETS.VALIDATION.FRACTION": 0.2,
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"protocol": "paper", "settings": SETTINGS},
            "--protocol paper (raw and protected images in two passes through Re-ID, desensitized before "
            "padding and cropping, pixelation by the corner of a block, learning rate divided at the start "
            "of epoch 40 and 80)",
        ),
        (
            {
                "settings": {
                    **SETTINGS,
                    "PRIVACY.JOINT_BATCH": True,
                    "PRIVACY.DESENSITIZE_BEFORE_CROP": False,
                    "PRIVACY.DESENSITIZER.PIXEL_REDUCE": "mean",
                    "SOLVER.STEPS": [40],
                }
            },
            "--protocol joint (raw and protected images in one batch through Re-ID, pixelation by the "
            "mean of a block, learning rate divided at the start of epoch 41)",
        ),
        (
            {"protocol": "paper", "operators": ["blur"], "settings": {**SETTINGS, "SOLVER.STEPS": []}},
            "--protocol paper (raw and protected images in two passes through Re-ID, desensitized before "
            "padding and cropping);",
        ),
    ],
)
def test_captions_tell_the_protocol_and_what_models_were_trained_on(tmp_path, changes, expected):
    make(tmp_path, operators=("blur", "pixelate"), seeds=(0,))
    plan = json.loads((tmp_path / "plan.json").read_text())
    (tmp_path / "plan.json").write_text(json.dumps({**plan, **changes, "budget": 0.5}))
    write_tables(tmp_path)
    for table in build_tables(tmp_path):
        assert expected in table.caption
        assert ("trains on 80 % of the training images" in table.caption) == (table.number != 3)
        assert table.caption in (tmp_path / "tables.md").read_text()
    assert {line["protocol"] for line in lines_of(tmp_path).values()} == {changes.get("protocol", "joint")}


class Cells(HTMLParser):
    """The texts of the body cells of a page, table by table, and what it would fetch."""

    def __init__(self):
        super().__init__()
        self.tables, self.fetched, self._cell, self._body = [], [], None, False

    def handle_starttag(self, tag, attrs):
        self.fetched += [
            value for name, value in attrs if name in ("src", "href") and not value.startswith(("data:", "#"))
        ]
        self._body = {"tbody": True, "table": False}.get(tag, self._body)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr" and self._body:
            self.tables[-1].append([])
        elif tag in ("td", "th") and self._body:
            self.tables[-1][-1].append("")
            self._cell = True

    def handle_endtag(self, tag):
        self._cell = self._cell and tag not in ("td", "th")

    def handle_data(self, data):
        if self._cell:
            self.tables[-1][-1][-1] += data


def test_markdown_and_page_show_the_same_cells(tmp_path):
    make(tmp_path)
    write_tables(tmp_path)
    page = (tmp_path / "tables.html").read_text()
    cells = Cells()
    cells.feed(page)
    assert (
        not cells.fetched
        and "<script" not in page
        and "prefers-color-scheme: dark" in page
        and 'name="viewport"' in page
    )
    markdown = re.split(r"\*\*(?:Table|Gains) ", (tmp_path / "tables.md").read_text())[1:]
    assert len(markdown) == len(cells.tables) == 5
    for text, table in zip(markdown, cells.tables, strict=True):
        lines = [
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in text.splitlines()
            if line.startswith("|")
        ][2:]
        assert [[line[0].strip("*")] if line[0].startswith("**") else line for line in lines] == table


def test_the_fragment_is_part_of_the_page(tmp_path):
    make(tmp_path)
    write_tables(tmp_path)
    fragment = html_tables(tmp_path)
    assert fragment.count("<section") == 4 and "<html" not in fragment and "<style" not in fragment
    assert fragment.strip() in (tmp_path / "tables.html").read_text()


def test_a_data_set_s_name_is_text(tmp_path):
    make(tmp_path, dataset="<b>mine</b>", seeds=(0,))
    write_tables(tmp_path)
    assert "<b>mine" not in (tmp_path / "tables.html").read_text()


def test_finished_runs_are_read_once(tmp_path):
    made = make(tmp_path, seeds=(10, 2), operators=("noise",))
    finished = FinishedRuns(tmp_path)
    trainings = finished.trainings(("upper_bound", "full"))
    assert [run.name for run in trainings] == [
        "seed2/upper_bound",
        "seed2/full_noise",
        "seed10/upper_bound",
        "seed10/full_noise",
    ]
    for file in tmp_path.rglob("results.json"):
        file.unlink()
    assert {seed: trainings[Run("full", seed, "noise")].results for seed in (2, 10)} == {
        seed: made[f"seed{seed}/full_noise"] for seed in (2, 10)
    }
    assert finished.figures(trainings, "OI-OI", "mAP").keys() == {2, 10}
    assert finished.of(Run("base", 2, "noise")) is None and not FinishedRuns(tmp_path).trainings(("full",))


def test_what_is_no_reproduction(tmp_path):
    with pytest.raises(UserError, match="holds no reproduction"):
        write_tables(tmp_path)
    make(tmp_path, seeds=(0,))
    (tmp_path / "seed0/upper_bound/results.json").write_text('{"schema": 2}')
    with pytest.raises(UserError, match=r"upper_bound/results\.json has schema 2"):
        write_tables(tmp_path)
