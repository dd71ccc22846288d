"""Methods beside each other: the file that names them, every stage once, the figures that compare them."""

from __future__ import annotations

import json
import os
import re
import shutil
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import SMALL_CONFIG, small_options
from in_process import anonymize, compare, train
from PIL import Image

from fastreid_privacy.attack.observers import load_observer
from fastreid_privacy.attack.subjects import read_subjects
from fastreid_privacy.attack.views import Files
from fastreid_privacy.compare import stages, training
from fastreid_privacy.compare.comparison import run_comparison
from fastreid_privacy.compare.fronts import Point, beaten_by, front
from fastreid_privacy.compare.methods import read_methods
from fastreid_privacy.compare.request import CompareRequest
from fastreid_privacy.compare.stages import Stages
from fastreid_privacy.compare.stored import result_of
from fastreid_privacy.config import changed, parse_config
from fastreid_privacy.core.errors import UserError
from fastreid_privacy.evaluation import evaluate_retrieval
from fastreid_privacy.manifest import read_manifest
from fastreid_privacy.results.results_json import checkpoint_of, is_finished
from fastreid_privacy.training.teaching import teacher_fingerprint

METHODS = ("learned", "blur", "finished", "grey")


@pytest.fixture(scope="module")
def grey(raw, tmp_path_factory):
    """Files of another tool, which hold nothing."""
    folder = tmp_path_factory.mktemp("grey")
    for file in raw.glob("*/*.jpg"):
        target = folder / file.relative_to(raw).with_suffix(".png")
        target.parent.mkdir(exist_ok=True)
        Image.new("RGB", Image.open(file).size, (128, 128, 128)).save(target)
    return folder


def overrides() -> str:
    """The keys of a run of seconds, as the file of methods has them."""
    words = small_options("", **{"SOLVER.MAX_EPOCH": 1})
    pairs = zip(words[::2], words[1::2], strict=True)
    skip = (
        "OUTPUT_DIR",
        "DATASETS.",
        "PRIVACY.UPGRADE.BASELINE_RANK1",
        "PRIVACY.UPPER_BOUND",
        "MODEL.DEVICE",
    )
    return "\n".join(f"  {key}: {value!r}" for key, value in pairs if not key.startswith(skip))


@pytest.fixture(scope="module")
def in_process():
    """Trainings of a comparison in this process, which saves a Python start each; their commands are kept."""
    commands: list[list[str]] = []

    def run(words, log, name):
        assert words[1:4] == ["-m", "fastreid_privacy", "train"]
        commands.append(words)
        assert train(*words[4:]) == 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "run_logged", run)
        yield commands


@pytest.fixture(scope="module")
def compared(raw, grey, small_run, in_process, tmp_path_factory):
    """The output of a comparison by the command, its file of methods and what it trained."""
    folder = tmp_path_factory.mktemp("compared")
    methods, bags = folder / "methods.yml", folder / "bags.csv"
    bags.write_text("pid,bag\n" + "".join(f"{pid},{pid % 2}\n" for pid in range(100)))
    methods.write_text(
        f"""data: {raw}
reference: blur
tasks: {{attributes: {bags}}}
set:
{overrides()}
methods:
  learned: {{config: {SMALL_CONFIG}}}
  blur: {{config: {SMALL_CONFIG}, set: {{PRIVACY.PROTECTION: conventional}}, seal: beside}}
  finished: {{run: {small_run}, guard: true}}
  grey: {{protected: {grey}}}
"""
    )
    parrots = []
    with pytest.MonkeyPatch.context() as patch:  # training Re-ID for attacks has tests of its own
        patch.setattr(
            stages,
            "train_reid",
            lambda folder, *_, **options: (
                parrots.append((folder.name, options)) or small_run / "model_best.pth"
            ),
        )
        words = ["--methods", methods, "--output", folder / "out", "--budget", 0.002, "--width", 8]
        assert compare(*words, "--device", "cpu") == 0
    return folder / "out", methods, list(in_process), parrots


def result(compared) -> dict:
    return json.loads((compared[0] / "compare.json").read_text())


def test_base_is_trained_before_the_method_that_starts_from_it(compared):
    output, _, commands, _ = compared
    names = [Path(words[-1].partition("=")[2]).parent.name for words in commands]
    assert names == ["blur", "learned"]
    config = (output / "learned" / "config.yaml").read_text()
    assert f"BASELINE_RANK1: {output / 'blur' / 'run' / 'results.json'}" in config


def test_every_method_is_judged_by_one_stranger_and_learned_from_by_one_parrot(compared):
    assert [name for name, _ in compared[3]] == ["stranger", *["parrot"] * 4]
    assert {options["seed"] for _, options in compared[3]} == {0}


@pytest.mark.parametrize("tested", ["model_best.pth", "model_final.pth"])
def test_the_checkpoint_of_a_method_is_the_one_that_its_run_tested(small_run, tmp_path, tested):
    """TEST.CHECKPOINT final leaves a best model beside it."""
    shutil.copytree(small_run, tmp_path / "run")
    file = tmp_path / "run" / "results.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "checkpoint": tested}))
    assert checkpoint_of(tmp_path / "run") == tmp_path / "run" / tested
    assert is_finished(tmp_path / "run")
    (tmp_path / "run" / tested).unlink()
    assert not is_finished(tmp_path / "run")


def test_joint_figures_are_those_of_the_evaluator_on_the_stored_files(compared, raw):
    output = compared[0]
    subjects = read_subjects(str(raw), str(output / "blur" / "protected"))
    model = load_observer(checkpoint_of(output / "blur" / "run"), "cpu", "joint")
    views = {"OI": Files(subjects.size), "PI": Files(subjects.size, protected=True)}
    found = result(compared)["methods"]["blur"]["utility"]["joint"]
    for query, gallery in product(views, views):
        labels = [
            [np.array([getattr(each, key) for each in side]) for side in (subjects.query, subjects.gallery)]
            for key in ("pid", "camid")
        ]
        expected = evaluate_retrieval(
            model.look(views[query], subjects.query),
            model.look(views[gallery], subjects.gallery),
            *labels[0],
            *labels[1],
        )
        ours = found[f"{query}-{gallery}"]
        assert (ours["rank1"], ours["mAP"]) == pytest.approx((expected["Rank-1"], expected["mAP"]), abs=1e-4)


def test_sealed_originals_are_opened_and_weighed(compared):
    output = compared[0]
    about = result(compared)["methods"]["blur"]
    files = list((output / "blur" / "protected").glob("*/*.png"))
    sealed = list((output / "blur" / "protected").glob("*/*.sealed"))
    assert about["files"]["opened"] == about["files"]["images"] == len(files) == len(sealed)
    mean = sum(file.stat().st_size for file in [*files, *sealed]) / len(files)
    assert about["summary"]["bytes_per_image"] == pytest.approx(mean)
    assert (about["summary"]["key"], about["summary"]["key_PSNR"]) == ("exact", None)
    assert not (output / "blur" / "opened").exists()  # raw images stay where they are


def test_guarded_files_are_those_of_anonymize(compared, raw, small_run, tmp_path):
    output = compared[0]
    words = ["--weights", small_run / "model_best.pth", "--input", raw, "--output", tmp_path / "protected"]
    assert anonymize(*words, "--device", "cpu") == 0
    wanted, found = (
        {entry["path"]: (entry["sha256"], entry["kept"]) for entry in read_manifest(path).entries.values()}
        for path in (tmp_path / "protected" / "manifest.jsonl", output / "finished/protected/manifest.jsonl")
    )
    assert found == wanted
    files = result(compared)["methods"]["finished"]["files"]
    assert files["blended"] == sum(kept < 1 for _, kept in wanted.values())
    assert "blended" not in result(compared)["methods"]["learned"]["files"]


def test_summaries_take_the_strongest_attack(compared):
    methods = result(compared)["methods"]
    learned, grey = methods["learned"]["summary"], methods["grey"]["summary"]
    rows = methods["learned"]["attack"]["rows"]
    attempts = [rows["A1"]["recovery"]["PSNR"], rows["A3"]["all"]["recovery"]["PSNR"]]
    assert learned["recovered_PSNR"] == max([*attempts, learned["PSNR"]])
    assert learned["key"] == "learned" and learned["key_PSNR"] == rows["A6"]["recovery"]["PSNR"]
    assert grey["key"] == "none" and grey["joint_rank1"] is None and methods["grey"]["kind"] == "files"
    used = methods["blur"]["utility"]["joint"]
    mean = np.mean([used[setting]["rank1"] for setting in ("OI-PI", "PI-OI", "PI-PI")])
    assert methods["blur"]["summary"]["joint_rank1"] == pytest.approx(mean)


def test_gains_over_the_reference_have_intervals(compared):
    methods = result(compared)["methods"]
    gains = methods["learned"]["joint_minus_reference"]
    for setting, gain in gains.items():
        ours, theirs = (methods[name]["utility"]["joint"][setting]["rank1"] for name in ("learned", "blur"))
        assert gain["difference"] == pytest.approx(ours - theirs, abs=1e-6)
        assert gain["low"] <= gain["difference"] <= gain["high"]
    assert methods["blur"]["joint_minus_reference"] == methods["grey"]["joint_minus_reference"] == {}


def test_tasks_are_learned_from_every_method(compared):
    """The folder is that of the renderer, so that truth of which no file is given is there, too."""
    for about in result(compared)["methods"].values():
        assert set(about["tasks"]) == {"segmentation", "keypoints", "attributes"}
        for task, measure in (
            ("segmentation", "IoU"),
            ("keypoints", "PCK"),
            ("attributes", "balanced_accuracy"),
        ):
            assert all(
                0 <= about["tasks"][task][part][measure] <= 100 for part in ("raw", "protected", "guess")
            )
    guesses = [about["tasks"]["keypoints"]["guess"] for about in result(compared)["methods"].values()]
    assert guesses == guesses[:1] * 4  # whoever looks at no image guesses the same


def test_the_page_shows_every_method_and_fetches_nothing(compared):
    page = (compared[0] / "compare.html").read_text()
    for name in ("learned", "blur", "finished", "grey"):
        assert f'<th scope="row">{name}</th>' in page
    assert "http" not in page.replace("http-equiv", "")
    for figure in ("recovery_joint", "stranger_joint", "recovery_protected_only"):
        assert Image.open(compared[0] / "figures" / f"{figure}.png").size == (1125, 600)


def finished_request(compared, monkeypatch, small_run):
    """The request of the comparison once more, which must not train or attack anything."""

    def finished_before(folder, *_, **__):
        assert folder.name == "stranger"  # whose finished run is only looked up
        return small_run / "model_best.pth"

    monkeypatch.setattr(stages, "train_reid", finished_before)
    monkeypatch.setattr(stages, "run_attacks", lambda *_: pytest.fail("attacked again"))
    return CompareRequest(compared[1], compared[0], budget=0.002, width=8, device="cpu")


def test_what_is_finished_is_not_made_again(compared, monkeypatch, small_run):
    output = compared[0]
    before = {
        file: file.stat().st_mtime_ns for file in output.glob("*/**/*.json") if file.name != "settings.json"
    }

    request = finished_request(compared, monkeypatch, small_run)
    assert result_of(request, *run_comparison(request)) == result(compared)
    assert before == {file: file.stat().st_mtime_ns for file in before}


def test_a_training_that_was_stopped_goes_on_as_it_was_begun(compared, in_process, monkeypatch, small_run):
    run = compared[0] / "learned" / "run"
    assert (run / "report.html").is_file()
    (run / "report.html").unlink()  # the last file that a training writes
    trained = len(in_process)
    run_comparison(finished_request(compared, monkeypatch, small_run))
    assert [words[-1] for words in in_process[trained:]] == [f"--config-file={run.parent / 'config.yaml'}"]
    assert (run / "report.html").is_file()


@pytest.mark.parametrize(
    ("change", "named"), [({"budget": 0.003}, r"budget 0.002 → 0.003"), ({"seed": 1}, "SEED 0 → 1")]
)
def test_other_settings_are_refused(compared, change, named):
    output, methods, _, _ = compared
    request = CompareRequest(methods, output, **{"budget": 0.002, "width": 8, "device": "cpu", **change})
    with pytest.raises(UserError, match=rf"other settings \(.*{named}"):
        run_comparison(request)


@pytest.mark.parametrize(
    ("key", "default"), [("PRIVACY.UPGRADE.ENABLED", True), ("SOLVER.CLIP_GRADIENTS.CLIP_VALUE", 5.0)]
)
def test_a_method_goes_on_that_an_older_version_began_without_a_key(
    compared, monkeypatch, small_run, key, default
):
    request = finished_request(compared, monkeypatch, small_run)
    file = request.output / "learned" / "settings.json"
    text = file.read_text()
    settings = json.loads(text)
    assert settings["method"].pop(key) == default
    try:
        file.write_text(json.dumps(settings))
        run_comparison(request)
        settings["method"][key] = 7
        file.write_text(json.dumps(settings))
        with pytest.raises(UserError, match=rf"other settings \({key} 7 → {default}\)"):
            run_comparison(request)
    finally:
        file.write_text(text)


def test_corrected_truth_is_another_setting(compared, monkeypatch, small_run):
    request = finished_request(compared, monkeypatch, small_run)
    bags = compared[1].with_name("bags.csv")
    text, about = bags.read_text(), bags.stat()
    try:
        bags.write_text(text.replace("1,1", "1,0"))
        with pytest.raises(UserError, match=r"the use of \w+ with other settings \(tasks_files"):
            run_comparison(request)
    finally:
        bags.write_text(text)
        os.utime(bags, ns=(about.st_atime_ns, about.st_mtime_ns))
    run_comparison(request)


def test_changed_raw_images_are_another_setting(compared, raw, monkeypatch, small_run):
    """Nothing of the config tells of them; a folder of an older version goes on without."""
    request = finished_request(compared, monkeypatch, small_run)
    image, kept = min(raw.glob("query/*.jpg")), [*request.output.glob("*/settings.json")]
    texts, about = {file: file.read_text() for file in kept}, image.stat()
    assert all(json.loads(texts[request.output / name / "settings.json"])["data_files"] for name in METHODS)
    try:
        os.utime(image, ns=(about.st_atime_ns, about.st_mtime_ns + 1))
        with pytest.raises(UserError, match=r"has the method \w+ with other settings \(data_files\)"):
            run_comparison(request)
    finally:
        os.utime(image, ns=(about.st_atime_ns, about.st_mtime_ns))
    try:
        for file, text in texts.items():
            older = {key: value for key, value in json.loads(text).items() if key not in stages.NEWER}
            file.write_text(json.dumps(older))
        run_comparison(request)
    finally:
        for file, text in texts.items():
            file.write_text(text)


def test_a_finished_model_had_the_teacher_of_now(raw, small_run, tmp_path):
    given, plan, found = planned(
        raw,
        tmp_path,
        f"""
  none: {{config: {SMALL_CONFIG}, set: {{PRIVACY.PROTECTION: none}}}}
  taught: {{config: {SMALL_CONFIG}, set: {{PRIVACY.TEACHER.WEIGHT: 2}}}}
  alone: {{config: {SMALL_CONFIG}}}
""",
    )
    made = Stages(CompareRequest(tmp_path / "methods.yml", tmp_path / "out"), given, plan, found, "cpu")
    for name in found:
        shutil.copytree(small_run, tmp_path / "out" / name / "run")
    told = json.loads((small_run / "results.json").read_text())

    def keep(teacher):
        for name in ("taught", "alone"):
            file = tmp_path / "out" / name / "run" / "results.json"
            file.write_text(json.dumps({**told, "teacher": teacher}))
        for method in given.methods:
            made.keep(method)

    keep(None)  # of an older version
    keep(teacher_fingerprint(tmp_path / "out" / "none" / "run" / "results.json"))
    with pytest.raises(UserError, match=r"^taught: the model in .* had another teacher than .*none/run now"):
        keep("another")
    report = tmp_path / "out" / "none" / "run" / "report.html"
    report.unlink()  # the teacher is to be trained again: what it will be is asked then
    keep("another")
    report.write_text("")
    with pytest.raises(UserError, match=r"^taught: the model in"):
        made.finding(given.methods[1])


def test_other_masks_are_another_setting(raw, tmp_path, monkeypatch):
    def keep(masks):
        monkeypatch.setattr(stages, "about_regions", lambda cfg: {"file": "masks", "sha256": masks})
        given, plan, found = planned(raw, tmp_path, f"\n  learned: {{config: {SMALL_CONFIG}}}\n")
        request = CompareRequest(tmp_path / "methods.yml", tmp_path / "out")
        Stages(request, given, plan, found, "cpu").keep(given.methods[0])

    keep("ab")
    keep("ab")
    with pytest.raises(UserError, match=r"the method learned with other settings \(regions .*cd"):
        keep("cd")


def test_a_front_holds_whoever_nobody_beats():
    draw = np.random.default_rng(0)
    points = {f"m{index}": Point(*draw.integers(0, 6, 2).tolist()) for index in range(40)}
    for name, point in points.items():
        better = [
            other
            for other, (leak, use) in points.items()
            if (leak < point.leak and use >= point.use) or (leak <= point.leak and use > point.use)
        ]
        assert beaten_by(point, points) == better
        assert (name in front(points)) == (not better)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be KEY: value lines"),
        ("methods: {a: {config: small.yml}}", "data must be a data set"),
        ("data: SyntheticPedestrians", "names no methods"),
        ("data: nowhere\nmethods: {a: {config: small.yml}}", "data: .*nowhere does not exist"),
        ("data: SyntheticPedestrians\nmethods: {a: {config: gone.yml}}", "a: config: .*gone.yml does not"),
        ("data: SyntheticPedestrians\nmethods: {a: {}}", "a must have one of config, run, protected, not 0"),
        ("data: SyntheticPedestrians\nmethods: {a: {config: small.yml, run: .}}", "one of .*, not 2"),
        ("data: SyntheticPedestrians\nmethods: {a: {run: ., set: {SEED: 1}}}", "set is for a config"),
        ("data: SyntheticPedestrians\nmethods: {a: {protected: ., seal: beside}}", "seal is for files"),
        ("data: SyntheticPedestrians\nmethods: {a: {protected: ., guard: true}}", "guard is for files"),
        (
            "data: SyntheticPedestrians\nmethods: {a: {config: small.yml, seal: 3}}",
            "seal is beside or pixels, not 3",
        ),
        (
            "data: SyntheticPedestrians\nmethods: {a: {config: small.yml, guard: 3}}",
            "guard is true or false, not 3",
        ),
        ("data: SyntheticPedestrians\nmethods: {../a: {config: small.yml}}", "the name of a method"),
        ("data: SyntheticPedestrians\nmethods: {a: {config: small.yml}, a: {run: .}}", "it has a twice"),
        ("data: SyntheticPedestrians\nmethods: &m {a: {config: small.yml}}\nset: *m", "alias"),
        ("data: SyntheticPedestrians\nreference: b\nmethods: {a: {run: .}}", "reference b is none"),
        ("data: SyntheticPedestrians\nbudget: 1\nmethods: {a: {run: .}}", "has budget, but may have"),
        ("data: SyntheticPedestrians\ntasks: {depth: x}\nmethods: {a: {run: .}}", "tasks has depth"),
        ("data: [", "is no file of methods"),
        ("data: SyntheticPedestrians\nmethods: {stranger: {run: .}}", "a stranger of its own"),
        ("data: SyntheticPedestrians\nmethods: {1: {run: .}, '1': {run: .}}", "has the method 1 twice"),
        ("data: SyntheticPedestrians\nreference: [a]\nmethods: {a: {run: .}}", "is none of its methods"),
        ("data: SyntheticPedestrians\nforeign: gone\nmethods: {a: {run: .}}", "foreign: .*gone does not"),
        ("data: SyntheticPedestrians\nset: {SEED: 5}\nmethods: {a: {run: .}}", "set has SEED, which the"),
    ],
)
def test_a_file_of_methods_is_read_strictly(tmp_path, text, message):
    (tmp_path / "small.yml").write_text("")
    file = tmp_path / "methods.yml"
    file.write_text(text)
    with pytest.raises(UserError, match=message):
        read_methods(file)


def planned(raw, tmp_path, methods):
    """What a file of these methods asks for, how it is trained, and the config of each."""
    file = tmp_path / "methods.yml"
    file.write_text(f"data: {raw}\nset:\n{overrides()}\nmethods:{methods}")
    given = read_methods(file)
    plan = training.Plan(given.data, tmp_path / "out", 1.0, 0, "cpu")
    return given, plan, training.configs(plan, given.methods)


def test_a_method_is_taught_by_the_model_of_raw_images_and_starts_from_a_base_that_is_too(raw, tmp_path):
    """Trained in that order; before, all is checked as it will be."""
    taught = "PRIVACY.TEACHER.WEIGHT: 2"
    given, plan, found = planned(
        raw,
        tmp_path,
        f"""
  learned: {{config: {SMALL_CONFIG}, set: {{{taught}}}}}
  alone: {{config: {SMALL_CONFIG}}}
  begun: {{config: {SMALL_CONFIG}, set: {{{taught}, PRIVACY.TEACHER.INIT: true}}}}
  blur: {{config: {SMALL_CONFIG}, set: {{PRIVACY.PROTECTION: conventional}}}}
  blur_taught: {{config: {SMALL_CONFIG}, set: {{PRIVACY.PROTECTION: conventional, {taught}}}}}
  none_taught: {{config: {SMALL_CONFIG}, set: {{PRIVACY.PROTECTION: none, {taught}}}}}
  none: {{config: {SMALL_CONFIG}, set: {{PRIVACY.PROTECTION: none}}}}
""",
    )
    results = {name: str(tmp_path / "out" / name / "run" / "results.json") for name in found}
    assert {name: cfg.PRIVACY.UPPER_BOUND for name, cfg in found.items()} == {
        "learned": results["none"],
        "begun": results["none"],
        "blur_taught": results["none"],
        "none_taught": results["none"],
        "alone": "",
        "blur": "",
        "none": "",
    }
    begun_from = {name: found[name].PRIVACY.UPGRADE.BASELINE_RANK1 for name in ("learned", "alone", "begun")}
    # no Base of this comparison begins so
    assert begun_from == {"learned": results["blur_taught"], "alone": results["blur"], "begun": "auto"}
    order = [method.name for method in training.in_order(given.methods, found)]
    assert order == ["none", "none_taught", "blur", "blur_taught", "alone", "learned", "begun"]
    training.check(plan, given.methods, found)
    assert not list(tmp_path.glob("out/*/run/*"))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("MODEL.HEADS.EMBEDDING_DIM: 16", "taught: the teacher gives 128 features, and this model 16"),
        ("INPUT.SIZE_TRAIN: [128, 64], INPUT.SIZE_TEST: [128, 64]", "taught: .* learns from images of 64×32"),
        ("MODEL.HEADS.EMBEDDING_DIM: 128, PRIVACY.TEACHER.INIT: true", "taught: .*Re-ID network is another"),
    ],
)
def test_a_teacher_that_does_not_fit_is_found_before_it_is_trained(raw, tmp_path, more, message):
    conventional = "PRIVACY.PROTECTION: conventional, PRIVACY.TEACHER.WEIGHT: 2"
    given, plan, found = planned(
        raw,
        tmp_path,
        f"""
  none: {{config: {SMALL_CONFIG}, set: {{PRIVACY.PROTECTION: none}}}}
  taught: {{config: {SMALL_CONFIG}, set: {{{conventional}, {more}}}}}
""",
    )
    with pytest.raises(UserError, match=message):
        training.check(plan, given.methods, found)
    assert not list(tmp_path.glob("out/*/run/*"))


@pytest.mark.parametrize(
    ("about", "words", "message"),
    [
        ("{config: CONFIG, set: {SOLVER.MAX_EPOCHS: 3}}", [], "a: unknown config key SOLVER.MAX_EPOCHS"),
        ("{run: EMPTY}", [], "a: .* holds no finished run"),
        ("{config: CONFIG, set: {PRIVACY.PROTECTION: none}, seal: beside}", [], "a: seal is for protected"),
        (
            "{config: CONFIG, set: {PRIVACY.TEACHER.WEIGHT: 2}}",
            [],
            "a: PRIVACY.TEACHER needs a teacher",
        ),
        (
            "{config: CONFIG, set: {PRIVACY.PROTECTION: conventional}, guard: true}",
            [],
            "a: guard is for trained anonymizers",
        ),
        ("{config: CONFIG}", ["--pairs", "100000"], "only 76 pairs of known people"),
        ("{config: CONFIG}", ["--stranger", "EMPTY/x.pth"], "x.pth"),
        ("{protected: EMPTY}", [], "holds no image"),
        ("{config: CONFIG}", ["--schedule", "0"], "--schedule 0.0: give a share above 0"),
        ("{config: CONFIG}", ["--budget", "-1"], "--budget -1.0: give a share"),
        ("{config: CONFIG}", ["--seed", "-1"], "--seed -1: seeds are"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_trained(
    raw, tmp_path, capsys, monkeypatch, about, words, message
):
    monkeypatch.setattr(training, "run_logged", lambda *_: pytest.fail("trained"))
    (tmp_path / "empty").mkdir()
    file = tmp_path / "methods.yml"
    about = about.replace("CONFIG", str(SMALL_CONFIG)).replace("EMPTY", str(tmp_path / "empty"))
    file.write_text(f"data: {raw}\nmethods: {{a: {about}}}\n")
    words = [word.replace("EMPTY", str(tmp_path / "empty")) for word in words]
    given = ["--methods", str(file), "--output", str(tmp_path / "out"), "--device", "cpu", *words]
    try:
        code = compare(*given)
    except SystemExit as left:  # argparse
        code = left.code
    assert code == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert re.search(message, said), said
    assert not (tmp_path / "out").exists()


def test_a_run_whose_tested_model_is_gone_says_which(raw, tmp_path):
    run, methods = tmp_path / "run", tmp_path / "methods.yml"
    run.mkdir()
    results = {"schema": 1, "retrieval": {}, "checkpoint": "model_best.pth"}
    (run / "results.json").write_text(json.dumps(results))
    for name in ("report.html", "model_final.pth"):
        (run / name).touch()
    methods.write_text(f"data: {raw}\nmethods: {{a: {{run: {run}}}}}\n")
    with pytest.raises(UserError, match=rf"a: {run}/model_best\.pth, which .* move results\.json away and"):
        run_comparison(CompareRequest(methods, tmp_path / "out", device="cpu"))


def run_of(small_run: Path, folder: Path, **values) -> Path:
    """A copy of the small run whose checkpoints say that they were trained with other values."""
    shutil.copytree(small_run, folder)
    for file in folder.glob("model_*.pth"):
        checkpoint = torch.load(file, weights_only=True)
        cfg = changed(parse_config(checkpoint["config"], file.name), values)
        torch.save({**checkpoint, "config": cfg.dump()}, file)
    return folder


def of_folders(parts: Path, training: str = "bounding_box_train") -> dict[str, object]:
    """The keys of a run that learned from the folders of Market-1501."""
    folders = {"TRAIN": training, "QUERY": "query", "GALLERY": "bounding_box_test"}
    keys = {f"DATASETS.FOLDER.{part}": str(parts / name) for part, name in folders.items()}
    return keys | {f"DATASETS.{key}": tuple(["MarketFolder"]) for key in ("NAMES", "TESTS")}


def others(data: Path | str, run: Path, tmp_path: Path) -> bool | None:
    """What is found of whom a finished run learned from, before anything is trained."""
    methods = tmp_path / "methods.yml"
    methods.write_text(f"data: {data}\nmethods: {{mine: {{run: {run}}}}}\n")
    given = read_methods(methods)
    plan = training.Plan(given.data, tmp_path / "out", 1.0, 0, "cpu")
    found = Stages(CompareRequest(methods, tmp_path / "out"), given, plan, {}, "cpu")
    return found.trained_on_others["mine"]


@pytest.mark.parametrize("way", ["itself", "links", "copies", "teacher", "by name"])
def test_a_run_that_has_learned_from_measured_people_is_refused(raw, small_run, tmp_path, way):
    data, who, measured = raw, "model", sorted(raw.glob("bounding_box_test/*.jpg"))
    learned = raw / "bounding_box_test" if way in ("itself", "teacher") else tmp_path / "learned"
    for number, file in enumerate(measured):
        learned.mkdir(exist_ok=True)
        if way == "links":
            (learned / f"{file.name[:9]}_{number:06}.jpg").symlink_to(file)
        elif way == "copies":
            shutil.copy(file, learned)
    values = of_folders(raw, str(learned))
    if way == "by name":  # the people who are measured are the training people of a data set
        data, values, measured = tmp_path / "data", {}, sorted(raw.glob("bounding_box_train/*.jpg"))
        shutil.copytree(raw / "bounding_box_train", data / "bounding_box_test")
        shutil.copytree(raw / "bounding_box_test", data / "bounding_box_train")
        (data / "query").mkdir()
        for file in [*data.glob("bounding_box_test/*_c1*.jpg")]:
            file.rename(data / "query" / file.name)
    run = run_of(
        small_run, tmp_path / "run", **({"PRIVACY.TEACHER.WEIGHT": 1.0} if way == "teacher" else values)
    )
    if way == "teacher":
        who, results = "teacher of the model", json.loads((run / "results.json").read_text())
        cfg = changed(parse_config(yaml.safe_dump(results["config"]), "results.json"), values)
        results["upper_bound"] = {"config": yaml.safe_load(cfg.dump())}
        (run / "results.json").write_text(json.dumps(results))
    people = [file.name for file in measured if not file.name.startswith("0000")]
    with pytest.raises(UserError) as error:
        others(data, run, tmp_path)
    said = f"mine: the {who} of {run} has learned from {len(people)} of the images that are measured ("
    assert str(error.value).startswith(said)
    named = re.findall(r"\d+_c\S+\.jpg", str(error.value))
    assert len(named) == 3 and set(named) <= set(people)
    assert f"identities {int(people[0][:4])}, " in str(error.value)


def test_such_a_run_is_refused_before_anything_is_trained(raw, small_run, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "run_logged", lambda *_: pytest.fail("trained"))
    run = run_of(small_run, tmp_path / "run", **of_folders(raw, str(raw / "bounding_box_test")))
    methods = tmp_path / "methods.yml"
    methods.write_text(
        f"data: {raw}\nset:\n{overrides()}\nmethods:\n  blur: {{config: {SMALL_CONFIG}, "
        f"set: {{PRIVACY.PROTECTION: conventional}}}}\n  mine: {{run: {run}}}\n"
    )
    with pytest.raises(UserError, match=r"mine: the model of .* has learned from"):
        run_comparison(CompareRequest(methods, tmp_path / "out", device="cpu"))
    assert not (tmp_path / "out").exists()


def test_a_run_on_a_copy_of_the_data_or_on_other_people_of_the_same_names_passes(raw, small_run, tmp_path):
    assert others(raw, small_run, tmp_path) is True
    copy = shutil.copytree(raw, tmp_path / "copy")
    run = run_of(small_run, tmp_path / "run", **of_folders(copy))
    assert others(raw, run, tmp_path) is True
    named = tmp_path / "named"
    named.mkdir()
    measured = sorted(raw.glob("bounding_box_test/*.jpg"))
    for file, other in zip(sorted(raw.glob("bounding_box_train/*.jpg")), measured, strict=False):
        shutil.copy(file, named / other.name)
    values = {**of_folders(raw, str(named)), "MODEL.HEADS.NUM_CLASSES": 0}
    # the same numbers: of other people here, but nothing proves it
    assert others(raw, run_of(small_run, tmp_path / "other", **values), tmp_path) is None


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({**of_folders(Path("gone"))}, "DATASETS.FOLDER.TRAIN is 'gone/bounding_box_train', which is no"),
        ({"MODEL.HEADS.NUM_CLASSES": 751}, "its head is for 751 identities, and its training data have"),
        ({"MODEL.WEIGHTS": "other.pth"}, "it began with the weights of other.pth"),
        ({"PRIVACY.TEACHER.WEIGHT": 1.0}, "it had a teacher, of which no results beside it tell"),
    ],
)
def test_a_run_of_which_it_cannot_be_told_is_marked_with_a_warning(
    raw, small_run, tmp_path, capsys, values, reason
):
    assert others(raw, run_of(small_run, tmp_path / "run", **values), tmp_path) is None
    said = capsys.readouterr().err
    assert "warning: mine: whether it has learned from measured people is not known: " in said
    assert reason in said


def test_what_is_known_of_whom_methods_learned_from_is_told(compared):
    told = {name: about["trained_on_others"] for name, about in result(compared)["methods"].items()}
    assert told == {"learned": True, "blur": True, "finished": True, "grey": None}
    assert "whether grey learned from others only is not known" in (compared[0] / "compare.html").read_text()


def test_the_output_may_not_lie_in_the_data(raw, tmp_path):
    methods = tmp_path / "methods.yml"
    methods.write_text(f"data: {raw}\nmethods: {{a: {{config: {SMALL_CONFIG}}}}}\n")
    with pytest.raises(UserError, match="lie in each other"):
        run_comparison(CompareRequest(methods, raw / "out", device="cpu"))
    assert not (raw / "out").exists()


def test_methods_have_the_same_images_in_one_size(raw, grey, small_run, tmp_path):
    def compared_with(protected: Path) -> None:
        methods = tmp_path / "methods.yml"
        methods.write_text(
            f"data: {raw}\nmethods: {{run: {{run: {small_run}}}, other: {{protected: {protected}}}}}\n"
        )
        run_comparison(CompareRequest(methods, tmp_path / "out", device="cpu"))

    fewer, larger = tmp_path / "fewer", tmp_path / "larger"
    for file in sorted(grey.glob("*/*.png")):
        for folder in (fewer, larger):
            (folder / file.parent.name).mkdir(parents=True, exist_ok=True)
        Image.open(file).resize((64, 128)).save(larger / file.relative_to(grey))
        (fewer / file.relative_to(grey)).write_bytes(file.read_bytes())
    (fewer / file.relative_to(grey)).unlink()
    with pytest.raises(UserError, match=r"other: .* has no file of 1 of the raw images"):
        compared_with(fewer)
    with pytest.raises(UserError, match="run 64×32, other 128×64"):
        compared_with(larger)
    assert not (tmp_path / "out").exists()


def test_too_few_people_are_refused_before_anything_is_trained(raw, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "run_logged", lambda *_: pytest.fail("trained"))
    for file in raw.glob("*/*.jpg"):
        few = tmp_path / "few" / file.relative_to(raw)
        if file.parent.name != "bounding_box_train" or file.name.startswith("0001"):
            few.parent.mkdir(parents=True, exist_ok=True)
            few.write_bytes(file.read_bytes())
    methods = tmp_path / "methods.yml"
    methods.write_text(f"data: few\nmethods: {{a: {{config: {SMALL_CONFIG}}}}}\n")
    with pytest.raises(UserError, match="too few to train a Re-ID model on"):
        run_comparison(CompareRequest(methods, tmp_path / "out", device="cpu"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("file", sorted((Path(__file__).parents[1] / "configs" / "compare").glob("*.yml")))
def test_shipped_comparisons_load_and_share_their_schedule(file):
    methods = read_methods(file)
    plan = training.Plan(methods.data, Path("out"), 1.0, 0, "cpu")
    found = training.configs(plan, methods.methods)
    kinds = [found[method.name].PRIVACY.PROTECTION for method in methods.methods]
    assert kinds[0] == "none" and "learned" in kinds
    learned = found["learned"].PRIVACY.UPGRADE.BASELINE_RANK1
    assert learned == "out/blur/run/results.json" and methods.reference == "blur"
    assert len({(cfg.SOLVER.MAX_EPOCH, tuple(cfg.INPUT.SIZE_TRAIN)) for cfg in found.values()}) == 1
    assert not [method.name for method in methods.methods if method.protected or method.run]
