"""The pictures of the report, and the log and sample images that they are drawn from."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from report_examples import check, full_results, pictures, upper_results

from fastreid_privacy.report import figures, image_grid, training_curve
from fastreid_privacy.results.stored import SAMPLES
from fastreid_privacy.results.training_log import read_metrics


def test_metrics_of_a_killed_and_resumed_run(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text(
        '{"iteration": 19, "total_loss": 4.0}\n{"iteration": 39, "total_loss": 3.0}\n'
        # torn by the kill; the resumed run appends to it
        '{"iteration": 59, "total_l{"iteration": 39, "total_loss": 2.5}\n'
        '\n[1]\nnull\n{"total_loss": 9}\n{"iteration": 59, "total_loss": NaN}\n{"iteration": 79, "total'
    )
    metrics = read_metrics(path)
    assert [(line["iteration"], str(line["total_loss"])) for line in metrics] == [
        (19, "4.0"),
        (39, "2.5"),
        (59, "nan"),
    ]
    assert read_metrics(tmp_path / "nowhere.json") == []


def test_samples_come_back_as_stored(tmp_path):
    images = pictures(domains=("RI", "OI"))
    assert SAMPLES.save(images, tmp_path) == tmp_path / "figures" / "samples.npz"
    SAMPLES.save({"OI": images["RI"]}, tmp_path, "MSMT17")
    loaded = SAMPLES.load(tmp_path)
    assert list(loaded) == ["OI", "RI"] and all(
        np.array_equal(loaded[domain], images[domain]) for domain in images
    )
    assert np.array_equal(SAMPLES.load(tmp_path, "MSMT17")["OI"], images["RI"])
    assert SAMPLES.load(tmp_path, "CUHK03") is None
    stored = tmp_path / "figures" / "samples.npz"
    stored.write_bytes(stored.read_bytes()[:200])
    assert SAMPLES.load(tmp_path) is None


@pytest.mark.parametrize(
    "images",
    [
        {},
        {"XX": pictures()["OI"]},
        {"OI": pictures()["OI"].astype(np.float32)},
        {"OI": pictures()["OI"].transpose(0, 3, 1, 2)},
        {"OI": pictures()["OI"], "PI": pictures(count=2)["OI"]},
        {"OI": pictures()["OI"][:0]},
    ],
)
def test_wrong_samples_are_refused(tmp_path, images):
    with pytest.raises(ValueError, match="sample images"):
        SAMPLES.save(images, tmp_path)


@pytest.mark.parametrize(
    ("height", "width", "count", "domains", "scale"),
    [
        (128, 64, 3, ("OI", "DI", "PI", "RI"), 2),
        (256, 128, 1, ("OI", "DI"), 1),
        (32, 16, 5, ("PI",), 8),
        (384, 128, 2, ("OI",), 1),
    ],
)
def test_grid_shows_every_pixel_in_its_place(tmp_path, height, width, count, domains, scale):
    images = pictures(count, height, width, domains)
    image_grid(images, tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as file:
        grid = file.convert("RGB")
    label, gap = figures.GRID_LABEL, figures.GRID_GAP
    assert grid.size == (
        label + gap + count * (width * scale + gap),
        gap + len(domains) * (height * scale + gap),
    )
    for row, domain in enumerate(domains):
        for column in range(count):
            left, top = label + gap + column * (width * scale + gap), gap + row * (height * scale + gap)
            shown = grid.crop((left, top, left + width * scale, top + height * scale))
            wanted = Image.fromarray(images[domain][column]).resize(
                (width * scale, height * scale), Image.Resampling.NEAREST
            )
            assert np.array_equal(np.asarray(shown), np.asarray(wanted))
        labels = np.asarray(grid.crop((0, top, label, top + height * scale)))
        assert labels.min() < 100, "a row has no label"


@pytest.fixture
def drawn(monkeypatch) -> dict:
    """The figures that are drawn, by file name; they are saved all the same."""
    seen, save = {}, figures.save_figure

    def keep(figure, path, dpi):
        seen[path.name] = figure
        save(figure, path, dpi)

    monkeypatch.setattr(figures, "save_figure", keep)
    return seen


def lines_of(axis) -> dict:
    return {
        line.get_label(): (list(line.get_xdata()), list(line.get_ydata()))
        for line in axis.get_lines()
        if line.get_label()[0] != "_"
    }


def test_curve_draws_losses_checks_and_decisions(tmp_path, drawn):
    metrics = [
        {"iteration": 9, "total_loss": 4.0, "loss_cls": 2.0},
        {"iteration": 10, "validation/rank1": 30.0},
        {"iteration": 19, "total_loss": 3.0, "loss_cls": 0.0},
        {"iteration": 29, "total_loss": float("nan"), "loss_cls": 1.0},
    ]
    checks = full_results()["checks"]
    for dark in (False, True):
        training_curve(metrics, checks, tmp_path / "curve.png", 5, dark=dark)
        with Image.open(tmp_path / "curve.png") as image:
            corner = image.convert("RGB").getpixel((2, 2))
            assert image.size == (960, round(sum(figures.PANEL_HEIGHTS.values()) * 160))
            assert corner in ((255, 255, 255), (0x16, 0x19, 0x1D))
    loss, rank1, psnr, ssim = drawn["curve.png"].axes
    losses = lines_of(loss)
    assert (
        losses["total"][0] == [2.0, 4.0, 6.0]
        and losses["total"][1][:2] == [4.0, 3.0]
        and np.isnan(losses["total"][1][2])
    )
    assert losses["cls"][1][0] == 2.0 and np.isnan(losses["cls"][1][1]) and losses["cls"][1][2] == 1.0
    assert loss.get_yscale() == "log"
    assert lines_of(rank1)["rank-1 OI→PI"] == ([2, 4, 6], [30.0, 41.5, 47.25]) and lines_of(rank1)["to beat"][
        1
    ] == [38.0, 38.0, 41.5]
    assert lines_of(rank1)["upgrade"][0] == [4] and lines_of(rank1)["fall back"][0] == [6]
    assert (
        lines_of(psnr)["protected"][1] == [22.25, 24.25, 26.25]
        and lines_of(ssim)["desensitized"][1] == [0.612] * 3
    )
    for axis in (loss, rank1, psnr, ssim):
        vertical = [line.get_xdata()[0] for line in axis.get_lines() if list(line.get_ydata()) == [0, 1]]
        assert vertical == [4, 6]
        assert axis.get_xlim()[1] >= 6


@pytest.mark.parametrize(
    ("metrics", "checks", "iters", "labels"),
    [
        ([{"iteration": 4, "total_loss": 1.0}], [], None, ["loss"]),
        ([], full_results()["checks"], None, ["rank-1, %", "PSNR, dB", "SSIM"]),
        ([{"iteration": 4, "total_loss": 1.0}], upper_results()["checks"], None, ["loss", "rank-1, %"]),
        ([{"iteration": 4, "lr": 1.0}], upper_results()["checks"], 5, ["rank-1, %"]),
    ],
)
def test_curve_leaves_out_what_there_is_not(tmp_path, drawn, metrics, checks, iters, labels):
    training_curve(metrics, checks, tmp_path / "curve.png", iters)
    assert [axis.get_ylabel() for axis in drawn["curve.png"].axes] == labels
    if labels[0] == "loss":
        assert drawn["curve.png"].axes[0].get_xlabel() == "iteration"
    if "psnr_protected" not in (checks or [{}])[0] and checks:
        assert "rank-1 OI→OI" in lines_of(drawn["curve.png"].axes[-1]) and "to beat" not in lines_of(
            drawn["curve.png"].axes[-1]
        )


def test_curve_of_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match="neither"):
        training_curve([{"iteration": 1, "lr": 0.1}], [], tmp_path / "curve.png", None)


@pytest.mark.parametrize(
    ("logged", "length"),
    [
        ([], None),
        ([(100, 30.0)], 50),  # one check has rank-1 30, after epoch 2
        ([(200, 41.5), (300, 41.5)], 50),  # two checks have 41.5; only 50 fits both lines
        ([(600, 41.5)], None),  # 150 and 100 both fit
        ([(100, 30.0), (120, 30.0)], None),  # a log of two different runs
        ([(100, 77.0)], None),
    ],
)
def test_length_of_an_epoch_is_read_from_the_log(logged, length):
    checks = [check(2, 30.0, 38.0, "keep"), check(4, 41.5, 38.0, "upgrade"), check(6, 41.5, 41.5, "keep")]
    metrics = [{"iteration": 19, "total_loss": 1.0}] + [
        {"iteration": iteration, "validation/rank1": rank1} for iteration, rank1 in logged
    ]
    assert figures.iterations_per_epoch(metrics, checks) == length
