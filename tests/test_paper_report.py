"""The report of a reproduction: its pictures pixel by pixel, its numbers from results.json, and the page in a
real browser."""

from fastreid_privacy.report import write_report  # before fastreid: importing the package makes it work
from fastreid_privacy.reproduce.paper_report import write_paper_report

# isort: split
import json
import re

import numpy as np
import pytest
from PIL import Image
from report_examples import embedding, full_results, pictures, put, put_reproduction, rank_lists

from fastreid_privacy.core.errors import UserError
from fastreid_privacy.report.figures import GREEN, VERMILLION
from fastreid_privacy.report.pictures import Column, columns_picture, rank_list_picture
from fastreid_privacy.reproduce.embedding import PROTECTED, RAW, project
from fastreid_privacy.results.stored import EMBEDDING, RANK_LISTS

FIGURES = (
    "fig6_protection",
    "fig7_recovery",
    "fig8_upgradation",
    "fig9_features",
    "fig9_features_dark",
    "fig10_all",
)
TABLES = "<section><h2>Table 5</h2><table><tr><td>tables of the reproduction</td></tr></table></section>"


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[start : start + 2], 16) for start in (1, 3, 5))


def contains(picture: np.ndarray, image: np.ndarray, scale: int) -> bool:
    """Whether an image, each pixel repeated, stands somewhere in a picture."""
    tile = image.repeat(scale, 0).repeat(scale, 1)
    height, width = tile.shape[:2]
    for top, left in np.argwhere((picture[:, :, :3] == tile[0, 0]).all(2)):
        if np.array_equal(picture[top : top + height, left : left + width, :3], tile):
            return True
    return False


@pytest.mark.parametrize("blocks", [1, 2])
def test_columns_hold_every_image_under_its_letter(blocks):
    raw, protected = (pictures(count=4, height=64, width=32)[domain] for domain in ("OI", "PI"))
    picture = np.asarray(
        columns_picture(
            [Column("raw", "raw images", raw), Column("blurring", "protected", protected)], blocks
        )
    )
    assert all(contains(picture, image, 4) for image in (*raw, *protected))
    # nothing behind the images: right on light and dark pages
    assert picture.shape[2] == 4 and (picture[:, :, 3] == 0).any()
    one = columns_picture([Column("raw", "raw images", raw), Column("blurring", "protected", protected)], 1)
    assert picture.shape[0] * blocks <= one.height + 100 * blocks


def test_rank_lists_are_framed_by_what_is_true():
    lists = rank_lists(("OI-PI",), n=2, k=3)
    picture = np.asarray(rank_list_picture(lists["OI-PI"], lists["OI-PI.matches"]))
    assert all(contains(picture, image, 4) for image in lists["OI-PI"][0])
    # the gallery has no third one
    assert contains(picture, lists["OI-PI"][1, 0], 4) and not contains(picture, lists["OI-PI"][1, 3], 4)
    first = picture[: picture.shape[0] // 2]
    step = first.shape[1] // 4
    for place, colour in ((1, GREEN), (2, VERMILLION), (3, VERMILLION)):
        tile = first[:, place * step : (place + 1) * step, :3]
        framed = (tile == rgb(colour)).all(2).sum()
        assert framed > 500
        other = VERMILLION if colour == GREEN else GREEN
        assert not (tile == rgb(other)).all(2).any()
    green, dashed = (
        (first[:, place * step : (place + 1) * step, :3] == rgb(colour)).all(2).sum()
        for place, colour in ((1, GREEN), (2, VERMILLION))
    )
    assert dashed < 0.75 * green  # told apart without colours too


def test_one_point_for_each_feature():
    stored = embedding()
    points = project(stored, "PI")
    assert {(point.person, point.marker) for point in points} == {
        (pid, marker) for pid in (3, 8, 11) for marker in (RAW, PROTECTED)
    }
    assert all(len(point.xy) == 4 and np.isfinite(point.xy).all() for point in points)
    again = project(stored, "PI")
    assert all(np.array_equal(first.xy, second.xy) for first, second in zip(points, again, strict=True))


def test_equal_features_fall_together_and_people_apart():
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(3, 16))
    pids = np.repeat([1, 2, 3], 8)
    features = centers[pids - 1] + 0.01 * rng.normal(size=(24, 16))
    by_person = {}
    for point in project(
        {"pids": pids, "OI": features, "PI": features * 7}, "PI"
    ):  # of another length, at equal angles
        by_person.setdefault(point.person, []).append(point.xy)
    middles = {person: np.concatenate(xy).mean(0) for person, xy in by_person.items()}
    spread = max(
        np.linalg.norm(np.concatenate(xy) - middles[person], axis=1).max() for person, xy in by_person.items()
    )
    apart = min(np.linalg.norm(middles[a] - middles[b]) for a in middles for b in middles if a < b)
    assert apart > spread


@pytest.mark.parametrize(
    "stored",
    [{}, {"pids": np.arange(3), "OI": np.eye(3)}, {"pids": np.arange(1), "OI": np.eye(1), "PI": np.eye(1)}],
)
def test_too_little_for_a_projection(stored):
    assert project(stored, "PI") is None


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("lists", {"OI-PI.matches": None}, "pairs with their matches"),
        (
            "lists",
            {"OI-XX": np.zeros((1, 2, 4, 4, 3), np.uint8), "OI-XX.matches": np.zeros((1, 1), np.int8)},
            "unknown pair 'OI-XX'",
        ),
        ("lists", {"OI-PI": np.zeros((2, 4, 8, 4, 3))}, "must be uint8"),
        ("lists", {"OI-PI.matches": np.full((2, 3), 2, np.int8)}, "−1, 0, 1"),
        ("embedding", {"pids": None}, "must be 'pids' and domains"),
        ("embedding", {"PI": np.zeros((5, 8), np.float16)}, "with n = 12"),
        ("embedding", {"PI": np.full((12, 8), np.nan, np.float16)}, "not all finite"),
    ],
)
def test_what_cannot_be_stored(kind, change, message, tmp_path):
    arrays = {**(rank_lists() if kind == "lists" else embedding()), **change}
    arrays = {key: value for key, value in arrays.items() if value is not None}
    with pytest.raises(ValueError, match=message):
        (RANK_LISTS.save if kind == "lists" else EMBEDDING.save)(arrays, tmp_path)
    assert not list(tmp_path.rglob("*.npz"))


def test_what_is_stored_comes_back(tmp_path):
    RANK_LISTS.save(rank_lists(), tmp_path, "MSMT17")
    EMBEDDING.save(embedding(), tmp_path, "MSMT17")
    for loaded, expected in (
        (RANK_LISTS.load(tmp_path, "MSMT17"), rank_lists()),
        (EMBEDDING.load(tmp_path, "MSMT17"), embedding()),
    ):
        assert loaded.keys() == expected.keys()
        assert all(np.array_equal(loaded[key], expected[key]) for key in expected)
    assert RANK_LISTS.load(tmp_path) is None
    (tmp_path / "figures" / "embedding_MSMT17.npz").write_bytes(b"PK torn")
    assert EMBEDDING.load(tmp_path, "MSMT17") is None


@pytest.fixture(scope="module")
def reproduction(tmp_path_factory):
    """All runs of all operators, and their report."""
    folder = put_reproduction(tmp_path_factory.mktemp("reproduction"))
    write_report(folder / "seed0" / "full_blur")
    write_paper_report(folder, TABLES, "Schedule scaled.")
    return folder


def test_every_figure_is_there(reproduction):
    for name in FIGURES:
        with Image.open(reproduction / "figures" / f"{name}.png") as image:
            image.load()
    page = (reproduction / "report.html").read_text()
    assert TABLES in page and "Schedule scaled." in page
    assert [int(number) for number in re.findall(r"<h3>Figure (\d+):", page)] == [6, 7, 8, 9, 10]
    assert "Missing" not in page
    assert 'href="seed0/full_blur/report.html"' in page and 'href="seed0/base_blur/report.html"' not in page
    raw = pictures()["OI"]
    for name in ("fig6_protection", "fig7_recovery", "fig8_upgradation", "fig10_all"):
        assert contains(np.asarray(Image.open(reproduction / "figures" / f"{name}.png")), raw[0], 2), name


def test_figure_6_shows_what_each_operator_makes(tmp_path):
    folder = put_reproduction(tmp_path, ("blur", "noise"))
    write_paper_report(folder, "")
    picture = np.asarray(Image.open(folder / "figures" / "fig6_protection.png"))
    stored = pictures()
    assert all(contains(picture, stored[domain][0], 2) for domain in ("OI", "DI", "PI"))
    assert not contains(picture, stored["RI"][0], 2)


def test_numbers_come_from_results_json(tmp_path):
    folder = put_reproduction(tmp_path, ("blur",))
    write_paper_report(folder, "")
    file = folder / "seed0" / "full_blur" / "results.json"
    results = json.loads(file.read_text())
    assert "12.34" not in (folder / "report.html").read_text()
    results["image_quality"]["recovered"]["PSNR"] = 12.34
    results["retrieval"]["OI-PI"]["Rank-1"] = 98.7
    file.write_text(json.dumps(results))
    write_paper_report(folder, "")
    page = (folder / "report.html").read_text()
    assert "PSNR 12.34 dB" in page and "with upgradation 98.7 %" in page


def test_what_is_missing_is_named(tmp_path):
    folder = put_reproduction(tmp_path, ("blur",))
    for path in (
        "wo_upgrade_blur/results.json",
        "base_blur/figures/embedding.npz",
        "full_blur/figures/rank_lists.npz",
    ):
        (folder / "seed0" / path).unlink()
    write_paper_report(folder, "")
    page = (folder / "report.html").read_text()
    assert "seed0/wo_upgrade_blur is not finished" in page
    assert "seed0/base_blur/figures/embedding.npz holds too few" in page
    assert "no rank lists are stored in seed0/full_blur/figures/rank_lists.npz" in page


def test_other_raw_images_make_no_figure(tmp_path):
    folder = put_reproduction(tmp_path, ("pixelate",))
    other = pictures()
    other["OI"] = 255 - other["OI"]
    np.savez(folder / "seed0" / "wo_upgrade_pixelate" / "figures" / "samples.npz", **other)
    write_paper_report(folder, "")
    assert "do not store the same raw images" in (folder / "report.html").read_text()
    assert not (folder / "figures" / "fig8_upgradation.png").exists()


def test_no_runs_and_foreign_results(tmp_path):
    with pytest.raises(UserError, match="holds no finished run of a reproduction"):
        write_paper_report(tmp_path, "")
    put(tmp_path / "seed0" / "upper_bound", {**full_results(), "schema": 9})
    with pytest.raises(UserError, match=r"upper_bound/results.json has schema 9"):
        write_paper_report(tmp_path, "")


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_pages_in_a_browser(reproduction, chromium, width, dark):
    for page in (reproduction / "report.html", reproduction / "seed0" / "full_blur" / "report.html"):
        chromium.open(page, width, 800, dark)
        assert chromium.overflow() == 0
        assert (max(chromium.background()) < 60) == dark
        assert chromium.broken_images() == 0
        assert chromium.script("document.images.length") > 10
        assert chromium.errors() == [] and chromium.requests() == []
