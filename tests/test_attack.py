"""The threat grid: planted weaknesses are found, what is strong is not called weak, bad input is refused."""

from __future__ import annotations

from in_process import attack

import fastreid_privacy  # before fastreid

# isort: split
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import yaml
from onnx import helper
from PIL import Image

from fastreid_privacy.attack import grid, measures, rows
from fastreid_privacy.attack.grid import AttackRequest, run_attacks
from fastreid_privacy.attack.inversion import best_inversion
from fastreid_privacy.attack.learned import Attacker
from fastreid_privacy.attack.observers import load_observer
from fastreid_privacy.attack.page import word
from fastreid_privacy.attack.stored import result_of
from fastreid_privacy.attack.subjects import Subject, Subjects, read_subjects
from fastreid_privacy.attack.views import Files, Held
from fastreid_privacy.desensitize import Desensitizer


def protect(raw: Path, folder: Path, change: Callable[[np.ndarray], np.ndarray]) -> Path:
    """The images of a folder, changed, as PNG files of the same names."""
    for file in sorted(raw.glob("*/*.jpg")):
        target = folder / file.relative_to(raw).with_suffix(".png")
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(change(np.asarray(Image.open(file).convert("RGB")))).save(target)
    return folder


def in_low_bits(pixels: np.ndarray) -> np.ndarray:
    """Grey to the eye; the last four bits are the raw image's first four."""
    return 0x70 | pixels >> 4


def grey(pixels: np.ndarray) -> np.ndarray:
    return np.full_like(pixels, 128)


def blurred(pixels: np.ndarray) -> np.ndarray:
    images = torch.from_numpy(pixels.transpose(2, 0, 1)[None].copy())
    return Desensitizer("blur")(images)[0].numpy().transpose(1, 2, 0)


def attacked(raw, protected, output, stranger, **options):
    """The grid of a request, as attack.json has it."""
    given = {"stranger": stranger, "beside": (), "width": 8, "device": "cpu", **options}
    request = AttackRequest(str(raw), str(protected), output, **given)
    return result_of(request, run_attacks(request))


def graph(path: Path, node: onnx.NodeProto, size: tuple[int, int], first: int | str = "n") -> Path:
    """A graph of images with a single node, from x to y."""
    value = helper.make_tensor_value_info
    sides = [value("x", 1, [first, 3, *size])], [value("y", 1, None)]
    model = helper.make_model(
        helper.make_graph([node], "g", *sides), opset_imports=[helper.make_opsetid("", 20)]
    )
    model.ir_version = 10
    onnx.save(model, str(path))
    return path


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    """A Re-ID model that knows people by the colours of 8×8 pixels: a stranger's .onnx with its .yaml."""
    pool = helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[8, 8], strides=[8, 8])
    path = graph(tmp_path_factory.mktemp("stranger") / "colours.onnx", pool, (64, 32))
    path.with_suffix(".yaml").write_text("mean: [120, 120, 120]\nstd: [60, 60, 60]\n")
    return path


# -- rows ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def planted(raw, colours, tmp_path_factory):
    """Rows A0 and A3 on files that hide nothing from who learns, and on files that hold nothing."""
    folder = tmp_path_factory.mktemp("planted")
    results = {}
    for change, budget in ((in_low_bits, 0.03), (grey, 0.003)):
        files = protect(raw, folder / change.__name__, change)
        output = folder / f"{change.__name__}_attacked"
        results[change.__name__] = attacked(
            raw, files, output, colours, rows=("A0", "A3"), pairs=("all",), budget=budget, width=16
        )
    return results


def test_pairs_break_what_is_hidden_in_low_bits(planted):
    broken, held = (planted[name]["rows"]["A3"]["all"]["recovery"] for name in ("in_low_bits", "grey"))
    assert broken["PSNR"] > held["PSNR"] + 5 and broken["SSIM"] > 0.7 > held["SSIM"] + 0.3
    # the same judge finds on the recovered images about the people that it finds on raw ones
    judge = planted["grey"]["judge"]
    assert broken["rank1"] >= 0.75 * judge["raw"] and broken["mAP"] > held["mAP"]


def test_a_constant_image_gives_nothing_away(planted):
    result = planted["grey"]
    chance = result["judge"]["chance"]
    assert result["rows"]["A0"]["membership"]["AUC"] == pytest.approx(0.5)
    assert result["visible"]["worst"] < 0.05
    for way in ("linkage", "singling_out"):
        # all features are equal, and equal ones rank in gallery order: one place for each query
        assert result["rows"]["A0"][way]["rank1"] <= 3 * chance
    assert result["rows"]["A3"]["all"]["attacker"]["images"] == result["images"]["known"]


def test_a_blur_is_undone_by_its_name_and_a_mask_is_not(raw, colours, tmp_path):
    files = protect(raw, tmp_path / "blurred", blurred)
    result = attacked(raw, files, tmp_path / "out", colours, rows=("A1",), beside=("mask",))
    found = result["rows"]["A1"]
    assert found["recovery"]["PSNR"] > result["protected_quality"]["PSNR"] + 1
    assert found["attacker"]["images"] == 0 and found["attacker"]["network"].partition(",")[0] in (
        "Wiener",
        "Richardson-Lucy",
        "optimisation",
    )
    assert "nothing to undo" in result["beside"]["mask"]["rows"]["A1"]["not_applicable"]


def test_who_holds_the_model_is_the_reference(raw, small_run, tmp_path):
    """Rows A2, A4 and A6 against what the model itself gives."""
    anonymizer = fastreid_privacy.load_anonymizer(small_run / "model_best.pth", "cpu")

    def change(pixels):
        images = torch.from_numpy(pixels.transpose(2, 0, 1)[None].copy())
        return anonymizer(images)[0].numpy().transpose(1, 2, 0)

    files = protect(raw, tmp_path / "p", change)
    result = attacked(
        raw,
        files,
        tmp_path / "out",
        small_run / "model_best.pth",
        rows=("A2", "A4", "A6"),
        model=small_run / "model_best.pth",
        foreign=str(raw / "bounding_box_train"),
        budget=0.002,
    )
    subjects = read_subjects(str(raw), str(files))
    stored = Files(subjects.size, protected=True)(subjects.query)
    originals = Files(subjects.size)(subjects.query)
    recovered = fastreid_privacy.load_recovery(small_run / "model_best.pth", "cpu")(stored)
    error = (recovered - originals).double().square().mean()
    psnr = 10 * np.log10(255**2 / float(error))
    assert result["rows"]["A6"]["recovery"]["PSNR"] == pytest.approx(psnr, abs=1e-3)
    assert result["rows"]["A4"]["observer"] == "authorised"
    # of one model for both: the authorised one sees raw images as the stranger does
    assert result["rows"]["A4"]["linkage"]["raw"] == result["judge"]["raw"]
    assert result["rows"]["A2"]["attacker"]["images"] == len(list((raw / "bounding_box_train").glob("*.jpg")))


@pytest.mark.parametrize(
    ("row", "missing"),
    [
        ("A2", "--model and --foreign"),
        ("A4", "--model"),
        ("A6", "--recovery-key or --model"),
        ("A7", "--search-key"),
    ],
)
def test_rows_whose_means_are_missing_are_refused(raw, tmp_path, row, missing):
    with pytest.raises(fastreid_privacy.UserError, match=f"name it with {missing}"):
        run_attacks(AttackRequest(str(raw), str(raw), tmp_path / "out", rows=(row,)))
    assert not (tmp_path / "out").exists()


# -- the run -------------------------------------------------------------------------------------------------


def words_of(raw, protected, output, stranger, *more):
    return [
        *("--raw", str(raw), "--protected", str(protected), "--output", str(output), "--device", "cpu"),
        *("--stranger", str(stranger), "--beside", "blur", "--width", "8", "--budget", "0.001"),
        *more,
    ]


def test_a_run_goes_on_cell_by_cell_and_writes_its_result(raw, colours, tmp_path, capsys, monkeypatch):
    files, out = protect(raw, tmp_path / "p", blurred), tmp_path / "out"
    words = words_of(raw, files, out, colours, "--rows", "A0,A3", "--pairs", "8,all", "--seeds", "0,1")
    made = []
    learn = Attacker.learn

    def killed(self, *arguments):
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append(arguments[-1])
        return learn(self, *arguments)

    monkeypatch.setattr(Attacker, "learn", killed)
    assert attack(*words) == 130
    assert not (out / "attack.json").exists() and len(list((out / "cells").glob("*_A3_*.json"))) == 3
    monkeypatch.setattr(Attacker, "learn", lambda self, *rest: made.append(rest[-1]) or learn(self, *rest))
    assert attack(*words) == 0
    assert len(made) == len(set(made)) == 8  # two targets, two numbers of pairs, two seeds: each once
    said = capsys.readouterr().out
    assert "A3 8 pairs" in said and str(out / "attack.html") in said
    result = json.loads((out / "attack.json").read_text())
    cell = result["rows"]["A3"]["all"]
    assert result["schema"] == 1 and list(cell["per_seed"]) == ["0", "1"]
    assert cell["recovery"]["PSNR"] == max(cell["per_seed"].values())
    assert cell["recovery"]["rank1_minus_blur"]["low"] <= cell["recovery"]["rank1_minus_blur"]["high"]
    assert (
        set(result["beside"]) == {"blur"} and "rank1_minus_blur" not in result["beside"]["blur"]["rows"]["A0"]
    )
    # the same files, blurred here and there: the same figures
    assert result["protected_quality"] == pytest.approx(
        result["beside"]["blur"]["protected_quality"], abs=0.01
    )
    page = (out / "attack.html").read_text()
    assert page.count("data:image/png") >= 8 and "http" not in page.replace("http-equiv", "")
    before = (out / "attack.json").read_bytes()
    assert attack(*words) == 0 and (out / "attack.json").read_bytes() == before

    assert attack(*words, "--width", "16") == 2
    assert "attacks with other settings (width " in capsys.readouterr().err
    (out / "cells" / "protected_A0_seed0.json").write_text("{}")
    assert attack(*words) == 2 and "is damaged; remove it" in capsys.readouterr().err
    forged = {"figures": {}, "hits": {"judge": [[10**30], [1]]}}
    (out / "cells" / "protected_A0_seed0.json").write_text(json.dumps(forged))
    assert attack(*words) == 2 and "is damaged; remove it" in capsys.readouterr().err


def test_cells_of_another_preprocessing_or_other_foreign_images_are_not_kept(raw, colours, tmp_path, capsys):
    files, out = protect(raw, tmp_path / "p", blurred), tmp_path / "out"
    stranger = Path(shutil.copy(colours, tmp_path / "stranger.onnx"))
    (tmp_path / "others").mkdir()
    first = sorted(raw.glob("bounding_box_train/*.jpg"))[0]
    other = Path(shutil.copy(first, tmp_path / "others" / "a.jpg"))
    words = words_of(raw, files, out, stranger, "--rows", "A0", "--foreign", str(other.parent))
    assert attack(*words) == 0 and attack(*words) == 0

    def changed(what):
        assert attack(*words) == 2
        assert f"attacks with other settings ({what}" in capsys.readouterr().err

    for text in ("channels: BGR", "mean: [1, 2, 3]"):
        stranger.with_suffix(".yaml").write_text(text)
        changed("stranger")
    stranger.with_suffix(".yaml").unlink()
    assert attack(*words) == 0
    other.write_bytes(other.read_bytes() + b"\0")
    changed("foreign_files")
    shutil.copy2(first, other)
    shutil.copy(first, other.with_name("b.jpg"))
    changed("foreign_files")


def test_cells_with_the_membership_of_an_older_version_are_not_kept(raw, colours, tmp_path, capsys):
    files, out = protect(raw, tmp_path / "p", blurred), tmp_path / "out"
    words = words_of(raw, files, out, colours, "--rows", "A0")
    assert attack(*words) == 0
    settings = json.loads((out / "cells" / "settings.json").read_text())
    del settings["membership"]
    (out / "cells" / "settings.json").write_text(json.dumps(settings))
    assert attack(*words) == 2
    assert 'attacks with other settings (membership null → "halves")' in capsys.readouterr().err


def test_the_stranger_is_trained_where_none_is_given(raw, tmp_path):
    request = AttackRequest(
        str(raw), str(raw), tmp_path / "out", rows=("A0",), beside=(), budget=0.001, device="cpu"
    )
    result = result_of(request, run_attacks(request))
    row = result["rows"]["A0"]
    # raw files "protected" by nothing
    assert row["linkage"]["rank1"] == row["singling_out"]["rank1"] == result["judge"]["raw"]
    assert result["protected_quality"] == {"PSNR": None, "SSIM": 1.0} and result["visible"]["mean"] > 0.99
    assert (tmp_path / "out/reid/raw_resnet18/run/model_final.pth").is_file()


def test_of_several_parrots_the_worst_counts(raw, small_run, tmp_path, monkeypatch):
    """Each learns from the protected files; two checkpoints of a run stand for what they learn."""
    learned = {"osnet": small_run / "model_best.pth", "resnet18": small_run / "model_final.pth"}
    asked = []

    def train(folder, view, subjects, *, backbone, **rest):
        asked.append((folder.name, torch.equal(view(subjects.known[:2]), files(subjects.known[:2]))))
        return learned[backbone]

    monkeypatch.setattr(rows, "train_reid", train)
    protected = protect(raw, tmp_path / "p", blurred)
    files = Files((64, 32), protected=True)
    result = attacked(
        raw, protected, tmp_path / "out", small_run / "model_best.pth", rows=("A0",), parrots=tuple(learned)
    )
    parrot = result["rows"]["A0"]["parrot"]
    assert asked == [("protected_osnet", True), ("protected_resnet18", True)]
    assert parrot["rank1"] == max(each["rank1"] for each in parrot["backbones"].values())
    assert parrot["backbones"]["osnet"]["rank1"] == result["rows"]["A0"]["singling_out"]["rank1"]


@pytest.mark.parametrize("trained", ["judge", "parrots"])
def test_judge_and_parrots_are_of_the_first_seed_and_no_other_goes_on_with_them(
    raw, small_run, tmp_path, monkeypatch, trained
):
    seeds = []

    def train(folder, *_, seed, **rest):
        seeds.append(seed)
        return small_run / "model_best.pth"

    monkeypatch.setattr(grid, "train_reid", train)
    monkeypatch.setattr(rows, "train_reid", train)
    stranger = None if trained == "judge" else small_run / "model_best.pth"
    options = {"rows": ("A0",), "parrots": ("osnet",) if trained == "parrots" else ()}
    files, out = protect(raw, tmp_path / "p", blurred), tmp_path / "out"
    first = attacked(raw, files, out, stranger, seeds=(3, 4), **options)
    assert seeds == [3]
    with pytest.raises(fastreid_privacy.UserError, match=r"other settings .*reid_seed 3 → 4"):
        attacked(raw, files, out, stranger, seeds=(4, 3), **options)
    assert seeds == [3]
    assert attacked(raw, files, out, stranger, seeds=(3,), **options)["rows"] == first["rows"]


def test_where_no_reid_is_trained_another_seed_goes_on(raw, colours, tmp_path):
    files, out = protect(raw, tmp_path / "p", blurred), tmp_path / "out"
    results = [attacked(raw, files, out, colours, rows=("A0",), seeds=(seed,)) for seed in (0, 1)]
    assert results[0]["rows"] == results[1]["rows"] and results[1]["seeds"] == [1]


# -- input ---------------------------------------------------------------------------------------------------


def market(folder: Path, names: list[str], size=(32, 64)) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (hash(name) % 200, 90, 40)).save(folder / name)
    return folder


PEOPLE = [f"{pid:04}_c{camera}_{number}.png" for pid in range(1, 9) for camera in (1, 2) for number in (0, 1)]


def test_a_plain_folder_is_divided_by_identity(tmp_path):
    raw = market(tmp_path / "raw", [*PEOPLE, "-1_c1_0.png", "0000_c1_0.png"])
    subjects = read_subjects(str(raw), str(raw))
    known, measured = ({each.pid for each in side} for side in (subjects.known, subjects.gallery))
    assert len(known) == len(measured) == 4 and not known & measured and 0 not in known | measured
    assert len(subjects.query) == 8 and len(subjects.gallery) == 16 and subjects.size == (64, 32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing partner", r"has no image of extra"),
        ("another name", r"person\.png is not named as MarketFolder wants it"),
        ("overlap", r"identities 3 are in bounding_box_train and in the test images"),
        ("one person", r"too few to attack"),
        ("one camera", r"too few to attack"),
        ("damaged", r"0001_c1_0\.png: it is no image"),
        ("no folder", r"--protected .* does not exist"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(tmp_path, colours, capsys, change, message):
    names = {
        "one person": PEOPLE[:4],
        "one camera": [name for name in PEOPLE if "_c1_" in name],
        "another name": [*PEOPLE, "person.png"],
        "overlap": [
            f"{part}/{pid:04}_c{camera}_0.png"
            for part, pids in (
                ("bounding_box_train", (1, 2, 3)),
                ("query", (3, 4)),
                ("bounding_box_test", (3, 4)),
            )
            for pid in pids
            for camera in (1, 2)
        ],
    }.get(change, PEOPLE)
    raw, files, out = market(tmp_path / "raw", names), tmp_path / "p", tmp_path / "out"
    if change != "no folder":
        shutil.copytree(raw, files)
    if change == "missing partner":
        market(files, ["extra.png"])
    if change == "damaged":
        (files / PEOPLE[0]).write_bytes(b"no image")
    assert attack(*words_of(raw, files, out, colours)) == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert not (out / "attack.json").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rows", "A9"], "--rows knows A0, A1, A2, A3, A4, A5, A6, A7, not A9"),
        (["--beside", "smear"], "--beside knows"),
        (["--operator", "smear"], "--operator knows"),
        (["--parrots", "vgg"], "--parrots knows resnet18, osnet, mobilenet, not vgg"),
        (["--budget", "0"], "give a share of the full attack above 0"),
        (["--budget", "nan"], "give a share of the full attack above 0"),
        (["--pairs", ""], "--pairs names none"),
        (["--pairs", "0"], "give whole numbers of pairs from 1, or all"),
        (["--pairs", "5000"], "only 76 pairs of known people are there"),
    ],
)
def test_bad_options_are_refused(raw, colours, tmp_path, capsys, words, message):
    assert attack(*words_of(raw, raw, tmp_path / "out", colours, *words)) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


MEANS = helper.make_node("GlobalAveragePool", ["x"], ["y"])

# -- observers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["n", 1])
def test_a_strangers_graph_gets_the_preprocessing_of_its_file(tmp_path, first):
    images = torch.rand(3, 3, 8, 4, generator=torch.Generator().manual_seed(0)) * 255
    images = images.mean((2, 3), keepdim=True).expand(-1, -1, 8, 4)  # scaling does not change them
    path = graph(tmp_path / "reid.onnx", MEANS, (4, 2), first)
    plain = load_observer(path, "cpu", "stranger")
    assert plain.size == (4, 2)
    expected = images.mean((2, 3))
    assert torch.allclose(plain.features(images[..., :4, :2]), expected, atol=1e-3)
    path.with_suffix(".yaml").write_text("{mean: [1, 2, 3], std: [2, 2, 4], channels: BGR, range: 1}")
    prepared = (expected.flip(1) / 255 - torch.tensor([1.0, 2, 3])) / torch.tensor([2.0, 2, 4])
    found = load_observer(path, "cpu", "stranger").features(images[..., :4, :2])
    assert torch.allclose(found, prepared, atol=1e-5)


@pytest.mark.parametrize(
    "text",
    [
        "[1]",
        "mean: 3",
        "mean: [1, 2]",
        "std: [1, 0, 1]",
        "range: 100",
        "channels: HSV",
        "size: 3",
        "{",
        "mean: [a, b, c]",
        'mean: "123"',
        "[" * 5000,
        "std: [1, 1, -1]",
        f"mean: [{10**400}, 0, 0]",
    ],
)
def test_damaged_preprocessing_is_refused_by_name(tmp_path, text):
    path = graph(tmp_path / "reid.onnx", MEANS, (4, 2))
    path.with_suffix(".yaml").write_text(text)
    with pytest.raises(fastreid_privacy.UserError, match=r"reid\.yaml tells no preprocessing"):
        load_observer(path, "cpu", "stranger")


@pytest.mark.parametrize("key", ["mean", "std"])
@pytest.mark.parametrize("value", ["1.0e+39", "1e39", "-1.0e+39", ".inf", "inf", ".nan"])
def test_numbers_beyond_float32_are_refused(tmp_path, key, value):
    """1e39 is finite to Python: the features would not be, or would be 0 for every image."""
    path = graph(tmp_path / "reid.onnx", MEANS, (4, 2))
    path.with_suffix(".yaml").write_text(f"{key}: [1, {value}, 1]")
    with pytest.raises(fastreid_privacy.UserError) as error:
        load_observer(path, "cpu", "stranger")
    given = yaml.safe_load(f"[1, {value}, 1]")
    assert f"reid.yaml tells no preprocessing: {key} is {given}; it wants three numbers" in str(error.value)


@pytest.mark.parametrize("text", ["std: [1, 1.0e-40, 1]", "{mean: [3.0e+38, 0, 0], std: [0.1, 1, 1]}"])
def test_numbers_that_lead_beyond_float32_are_refused(tmp_path, text):
    path = graph(tmp_path / "reid.onnx", MEANS, (4, 2))
    path.with_suffix(".yaml").write_text(text)
    with pytest.raises(fastreid_privacy.UserError, match=r"(mean|std) is .* it wants three numbers from"):
        load_observer(path, "cpu", "stranger")


def test_the_largest_numbers_that_are_allowed_give_finite_features(tmp_path):
    path = graph(tmp_path / "reid.onnx", MEANS, (4, 2))
    path.with_suffix(".yaml").write_text("{mean: [1.0e+6, -1.0e+6, 0], std: [1.0e-6, 1.0e-6, 1.0e+6]}")
    images = torch.tensor([0.0, 255.0])[:, None, None, None].expand(2, 3, 4, 2)
    assert load_observer(path, "cpu", "stranger").features(images).isfinite().all()


def test_numbers_that_yaml_takes_for_text_are_numbers(tmp_path):
    path = graph(tmp_path / "reid.onnx", MEANS, (4, 2))
    images = torch.rand(2, 3, 4, 2) * 255
    path.with_suffix(".yaml").write_text("mean: [100.0, 100.0, 100.0]")
    expected = load_observer(path, "cpu", "stranger").features(images)
    path.with_suffix(".yaml").write_text("mean: [1e2, '100', 100]")
    assert torch.equal(load_observer(path, "cpu", "stranger").features(images), expected)


# -- measures ------------------------------------------------------------------------------------------------


def people(pids, camids):
    return [
        Subject(f"{index}", pid, camid, Path(), Path())
        for index, (pid, camid) in enumerate(zip(pids, camids, strict=True))
    ]


def test_chance_is_that_of_a_random_order():
    query, gallery = people([1, 2], [0, 0]), people([1, 1, 2, 3, 3], [0, 1, 1, 1, 2])
    subjects = Subjects([], query, gallery, (4, 2), 0)
    # the first query loses the gallery image of its own camera: 1 of 4 is right; the second has 1 of 5
    assert measures.chance(subjects) == pytest.approx(100 * (1 / 4 + 1 / 5) / 2)
    draw, hits = np.random.default_rng(0), []
    for _ in range(800):
        figures, _ = measures.found(draw.normal(size=(2, 3)), draw.normal(size=(5, 3)), subjects, "cosine")
        hits.append(figures["rank1"])
    assert np.mean(hits) == pytest.approx(measures.chance(subjects), abs=4)


def test_the_difference_is_drawn_by_identity():
    pids = np.repeat(np.arange(10), 20)  # 20 queries of a person are all hits or none: people are the sample
    ours = measures.Hits((pids < 5).astype(int), pids)
    theirs = measures.Hits(np.zeros(200, dtype=int), pids)
    found = measures.difference(ours, theirs)
    assert found["difference"] == 50
    draw = np.random.default_rng(1)
    by_loop = [100 * np.mean(draw.integers(10, size=10) < 5) for _ in range(4000)]
    assert (found["low"], found["high"]) == pytest.approx(tuple(np.percentile(by_loop, [2.5, 97.5])), abs=10)
    assert measures.difference(theirs, ours)["difference"] == -50
    with pytest.raises(fastreid_privacy.UserError, match="different queries"):
        measures.difference(ours, measures.Hits(theirs.first[:-1], pids[:-1]))


def test_fine_pattern_shines_through_where_it_is(raw):
    subjects = read_subjects(str(raw), str(raw))
    originals = Files(subjects.size)
    some = subjects.query[:4]

    def half(each):  # stripes of clothes at a tenth of their strength on grey
        return 128 + 0.1 * (originals(each) - 128)

    def flat(each):
        return torch.full_like(originals(each), 100)

    same, weak, none = (
        measures.shining_through(view, originals, some).mean() for view in (originals, half, flat)
    )
    assert same == pytest.approx(1) and none < 0.05 and none < weak < 0.6
    values = np.array([0.0] * 95 + [1.0] * 5)
    assert measures.exposure(values) == {"mean": 0.05, "worst": 1.0}


@pytest.mark.parametrize(
    ("psnr", "rank1", "said"),
    [
        (None, 0, "open"),
        (30, 80, "open"),
        (20, 40, "weak"),
        (20, 20, "partial"),
        (20, 5, "holds"),
        (float("nan"), 90, "open"),
    ],
)
def test_words_follow_the_share_of_what_raw_images_give(psnr, rank1, said):
    assert word(psnr, rank1, chance=2, raw=80) == said


def test_a_judge_that_does_not_know_raw_images_says_nothing():
    assert word(20, 5, chance=10, raw=18) == word(20, 18, chance=10, raw=18) == "unclear"
    assert word(None, 5, chance=10, raw=18) == "open"  # the raw pixels themselves


def test_the_operator_is_undone_best_by_what_was_best_on_own_images(raw):
    subjects = read_subjects(str(raw), str(raw))
    for name, way in (("blur", "Wiener"), ("noise", "optimisation")):
        found, undo = best_inversion(name, Files(subjects.size), subjects.known)
        assert found.startswith(way)
        originals = Files(subjects.size)(subjects.query[:4])
        seen = Desensitizer(name)(originals, torch.arange(4)).clamp(0, 255).round()
        assert (undo(seen) - originals).square().mean() < 0.8 * (seen - originals).square().mean()


def test_held_views_are_the_views(raw):
    subjects = read_subjects(str(raw), str(raw))
    view = Files(subjects.size)
    assert torch.equal(Held(view, subjects.query)(subjects.query[2:5]), view(subjects.query[2:5]))
