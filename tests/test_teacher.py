"""A teacher (``PRIVACY.TEACHER.WEIGHT``): what it is asked, what the model learns from it, and where it comes
from."""

from __future__ import annotations

from conftest import SMALL_CONFIG, small_options  # before fastreid: importing the package makes it work
from in_process import train

# isort: split
import copy
import dataclasses
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from test_meta_arch import gradients, losses_of, make_batch, make_model

from fastreid_privacy.checkpoints.fingerprints import reid_fingerprint
from fastreid_privacy.checkpoints.reading import read_checkpoint, read_trained
from fastreid_privacy.checkpoints.rebuilding import rebuild
from fastreid_privacy.config import changed, load_config
from fastreid_privacy.core.errors import UserError
from fastreid_privacy.model.heads import feature_length, joined, watched_features
from fastreid_privacy.model.teacher import Teacher, check_teachable, distance_to_teacher
from fastreid_privacy.reproduce.reproduction import Reproduction
from fastreid_privacy.training.siblings import comparisons, finished, sibling_config
from fastreid_privacy.training.teaching import teacher_fingerprint, teacher_of
from fastreid_privacy.training.trainer import PrivacyTrainer

WEIGHT = 3.0


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    return float(first @ second / math.sqrt(first @ first) / math.sqrt(second @ second))


def make_teacher(initializes: bool = False, **keys: object) -> Teacher:
    """Of a raw model whose weights and running statistics are unlike those of a new student."""
    model, _ = make_model(PRIVACY__PROTECTION="none", **keys)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.mul_(0.5 + torch.rand(value.shape, generator=generator))
    return Teacher(model, WEIGHT, "a fingerprint", initializes)


def test_the_distance_against_numpy_and_whom_it_moves():
    generator = torch.Generator().manual_seed(0)
    features, wanted = (torch.randn(5, 7, generator=generator).requires_grad_() for _ in range(2))
    distance = distance_to_teacher(features, wanted)
    pairs = zip(features.detach().double().numpy(), wanted.detach().double().numpy(), strict=True)
    assert distance.item() == pytest.approx(np.mean([1 - cosine(*pair) for pair in pairs]), rel=1e-5)
    distance.backward()
    assert features.grad.abs().min() > 0 and wanted.grad is None
    assert distance_to_teacher(features, 3 * features).item() == pytest.approx(0, abs=1e-6)
    assert distance_to_teacher(features.bfloat16(), wanted).dtype == torch.float32


def test_the_watched_features_are_those_of_retrieval():
    model, cfg = make_model(PRIVACY__PROTECTION="none")
    images = make_batch()["images"]
    with torch.no_grad(), watched_features(model.eval()) as given:
        expected = model({"images": images})
    assert torch.equal(joined(given), expected)
    assert feature_length(model) == expected.shape[1] == cfg.MODEL.BACKBONE.FEAT_DIM
    assert not model.heads.bottleneck._forward_hooks  # none is left behind


def test_the_watched_features_of_many_heads_are_those_of_retrieval():
    """fastreid's MGN puts its eight in another order, which no distance depends on."""
    model, _ = make_model(
        MODEL__META_ARCHITECTURE="PrivacyMGN",
        MODEL__BACKBONE__DEPTH="50x",
        MODEL__BACKBONE__FEAT_DIM=2048,
        MODEL__HEADS__EMBEDDING_DIM=16,
        PRIVACY__PROTECTION="none",
    )
    with torch.no_grad(), watched_features(model.eval()) as given:
        expected = model({"images": torch.rand(2, 3, 128, 64) * 255})
    found = joined(given)
    assert len(given) == 8 and feature_length(model) == found.shape[1] == 8 * 16
    assert torch.equal(found[:, found[0].argsort()], expected[:, expected[0].argsort()])


@pytest.mark.parametrize("joint", [True, False])
@pytest.mark.parametrize("protection", ["none", "conventional", "learned"])
def test_the_term_against_each_image_by_itself(joint, protection):
    """The student's feature after the neck, in training, in every domain; the teacher's of the raw image."""
    model, _ = make_model(PRIVACY__PROTECTION=protection, PRIVACY__JOINT_BATCH=joint)
    model.teacher, batch = make_teacher(), make_batch()
    reference = copy.deepcopy(model).train()
    losses = losses_of(model, batch)
    images = batch["images"]
    domains = [images]
    if protection != "none":
        desensitized = reference.desensitize(images, people=batch["targets"])
        learned = protection == "learned"
        domains.append(reference.protect(images, desensitized) if learned else desensitized)
    with torch.no_grad():
        wanted = reference.teacher.model.eval()({"images": images}).double().numpy()
        expected = 0.0
        for domain in [torch.cat(domains)] if joint else domains:
            maps = reference.backbone(reference.preprocess_image({"images": domain}))
            neck = reference.heads.bottleneck(reference.heads.pool_layer(maps)).flatten(1).double().numpy()
            for index, feature in enumerate(neck):
                expected += WEIGHT * (1 - cosine(feature, wanted[index % len(images)])) / len(images)
    assert losses["loss_teacher"].item() == pytest.approx(expected, rel=1e-4) and expected > 0.1


def test_the_teacher_sees_raw_images_of_which_nothing_is_erased():
    model, _ = make_model(INPUT__REA__ENABLED=True, INPUT__REA__PROB=1.0)
    teacher, seen = make_teacher(), []
    teacher.model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]["images"].clone()))
    model.teacher, batch = teacher, make_batch()
    losses_of(model, batch)
    assert len(seen) == 1 and torch.equal(seen[0], batch["images"])


def test_nothing_else_changes_and_the_teacher_learns_nothing():
    (taught, _), (alone, _) = make_model(), make_model()
    taught.teacher, batch = make_teacher(), make_batch()
    before = copy.deepcopy(taught.teacher.model.state_dict())
    losses, without = losses_of(taught, batch), losses_of(alone, batch)
    assert set(losses) - set(without) == {"loss_teacher"} and not set(without) - set(losses)
    assert [name for name in without if not torch.equal(losses[name], without[name])] == []
    assert list(taught.state_dict()) == list(alone.state_dict())
    assert len(list(taught.parameters())) == len(list(alone.parameters()))
    sum(losses.values()).backward()
    after = taught.teacher.model.state_dict()
    assert [name for name in before if not torch.equal(before[name], after[name])] == []
    assert all(value.grad is None for value in taught.teacher.model.parameters())


def test_the_term_reaches_the_anonymizer_and_re_id_and_no_other_network():
    model, _ = make_model()
    model.teacher = make_teacher()
    loss = losses_of(model, make_batch())["loss_teacher"]
    moved = gradients(model, loss, ("",))
    assert {name.partition(".")[0] for name, value in moved.items() if value.abs().max() > 0} == {
        "anonymizer",
        "backbone",
        "heads",
    }
    assert "heads.weight" not in moved  # the classifier comes after the feature


def test_the_term_in_bfloat16_is_that_of_float32():
    (exact, _), (rough, _) = make_model(), make_model()
    exact.teacher = rough.teacher = make_teacher()
    rough.mixed_precision = True
    exact, rough = (losses_of(model, make_batch())["loss_teacher"] for model in (exact, rough))
    assert rough.dtype == torch.float32 and rough.item() == pytest.approx(exact.item(), rel=0.01)


def test_steps_on_the_term_alone_bring_the_features_to_the_teacher_s():
    model, _ = make_model(PRIVACY__PROTECTION="conventional")
    model.teacher, batch = make_teacher(), make_batch()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    distances = []
    for _ in range(25):
        loss = losses_of(model, batch)["loss_teacher"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        distances.append(loss.item() / WEIGHT / 2)  # of two domains
    assert distances[-1] < 0.5 * distances[0]


def test_a_teacher_of_other_features_is_refused():
    model, _ = make_model(PRIVACY__PROTECTION="none", MODEL__HEADS__EMBEDDING_DIM=16)
    with pytest.raises(UserError, match=r"gives 512 features, and this model 16: .*EMBEDDING_DIM"):
        make_teacher().check(model)
    with pytest.raises(UserError, match=r"needs a MODEL\.HEADS\.NAME that is"):
        check_teachable(torch.nn.Linear(2, 2))


def test_a_student_begins_with_the_re_id_of_the_teacher_and_its_own_image_networks():
    model, _ = make_model(PRIVACY__PROTECTION="learned")
    teacher = make_teacher(initializes=True)
    before, theirs = copy.deepcopy(model.state_dict()), teacher.model.state_dict()
    teacher.check(model)
    assert [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])] == []
    teacher.initialize(model)
    own = model.state_dict()
    begun = {name for name in own if torch.equal(own[name], theirs.get(name, torch.empty(0)))}
    assert {name.partition(".")[0] for name in theirs} == {"backbone", "heads", "centers"}
    assert begun == set(theirs)
    assert [name for name in set(own) - begun if not torch.equal(own[name], before[name])] == []
    with torch.no_grad():
        value = next(teacher.model.parameters())
        value += 1
    assert not torch.equal(model.state_dict()[next(iter(dict(model.named_parameters())))], value)  # a copy


def test_a_student_of_other_identities_keeps_its_classifier_and_centers():
    model, _ = make_model(PRIVACY__PROTECTION="conventional", MODEL__HEADS__NUM_CLASSES=3)
    before, teacher = copy.deepcopy(model.state_dict()), make_teacher(initializes=True)
    told = teacher.initialize(model)
    assert told.endswith("it keeps heads.weight, centers")
    own, theirs = model.state_dict(), teacher.model.state_dict()
    kept = {name for name in own if not torch.equal(own[name], theirs[name])}
    assert kept == {"heads.weight", "centers"} and len(own["heads.weight"]) == 3
    assert all(torch.equal(own[name], before[name]) for name in kept)


def test_a_teacher_of_no_weight_is_not_asked():
    model, _ = make_model(PRIVACY__PROTECTION="conventional", MODEL__HEADS__EMBEDDING_DIM=16)
    teacher = dataclasses.replace(make_teacher(), weight=0.0)
    teacher.check(model)  # of other features, which do not matter
    asked = []
    teacher.model.register_forward_pre_hook(lambda module, inputs: asked.append(inputs))
    model.teacher = teacher
    assert "loss_teacher" not in losses_of(model, make_batch()) and not asked


@pytest.mark.parametrize("bigger", ["student", "teacher"])
def test_a_student_cannot_begin_with_another_network(bigger):
    depth = {"MODEL__BACKBONE__DEPTH": "34x"}
    model, _ = make_model(PRIVACY__PROTECTION="none", **(depth if bigger == "student" else {}))
    teacher = make_teacher(True, **(depth if bigger == "teacher" else {}))
    dataclasses.replace(teacher, initializes=False).check(model)  # whose features it can learn
    before = copy.deepcopy(model.state_dict())
    for begin in (teacher.check, teacher.initialize):
        with pytest.raises(
            UserError, match=r"INIT: the teacher's Re-ID network is another, backbone\.layer1"
        ):
            begin(model)
    assert [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])] == []


def test_a_student_of_many_heads_begins_with_the_classifiers_of_all(tmp_path):
    """As its teacher is rebuilt from a checkpoint."""
    keys = {
        "MODEL__META_ARCHITECTURE": "PrivacyMGN",
        "MODEL__BACKBONE__DEPTH": "50x",
        "MODEL__BACKBONE__FEAT_DIM": 2048,
        "MODEL__HEADS__EMBEDDING_DIM": 16,
        "PRIVACY__PROTECTION": "none",
    }
    trained, cfg = make_model(**keys)
    weights = {name: value + 1 for name, value in trained.state_dict().items()}
    _, model = rebuild(cfg, weights, tmp_path / "model_best.pth")
    student, _ = make_model(**keys)
    told = Teacher(model, WEIGHT, "a fingerprint", True).initialize(student)
    begun = student.state_dict()
    assert sum(name.endswith("_head.weight") for name in begun) == 8 and told.endswith("keeps none")
    assert [name for name in begun if not torch.equal(begun[name], weights[name])] == []


def test_the_upper_bound_comes_first_and_base_has_the_same_teacher(tmp_path):
    keys = {"PRIVACY.UPPER_BOUND": "auto", "PRIVACY.UPGRADE.BASELINE_RANK1": "auto"}
    cfg = load_config(SMALL_CONFIG, small_options(tmp_path, **{"PRIVACY.TEACHER.WEIGHT": 2, **keys}))
    assert list(comparisons(cfg)) == ["upper_bound", "baseline"]
    raw, base = sibling_config(cfg, "upper_bound"), sibling_config(cfg, "baseline")
    assert raw.PRIVACY.TEACHER.WEIGHT == 0 and raw.PRIVACY.UPPER_BOUND == ""
    assert base.PRIVACY.TEACHER.WEIGHT == 2 and not base.PRIVACY.TEACHER.INIT
    begun = changed(cfg, {"PRIVACY.TEACHER.INIT": True})
    kinds = ("upper_bound", "baseline")
    assert [sibling_config(begun, kind).PRIVACY.TEACHER.INIT for kind in kinds] == [False, True]
    assert Path(base.PRIVACY.UPPER_BOUND) == tmp_path / "upper_bound" / "results.json"
    several = changed(cfg, {"DATASETS.TESTS": ("SyntheticPedestrians", "Market1501")})
    base = sibling_config(several, "baseline")
    assert Path(base.PRIVACY.UPPER_BOUND).name == "results_SyntheticPedestrians.json"


# -- a run ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def options(small_dataset):
    def of(output, **more):
        keys = {"PRIVACY.TEACHER.WEIGHT": WEIGHT, "PRIVACY.UPPER_BOUND": "auto", **more}
        return ["--config-file", str(SMALL_CONFIG), *small_options(output, **keys)]

    return of


@pytest.fixture(scope="module")
def trained(options, tmp_path_factory):
    """OUTPUT_DIR of a finished run with a teacher and Base beside it; to be read, not to be written."""
    output = tmp_path_factory.mktemp("teacher") / "run"
    assert train(*options(output, **{"PRIVACY.UPGRADE.BASELINE_RANK1": "auto"})) == 0
    return output


def another_upper_bound(trained: Path, folder: Path) -> Path:
    """The folder, with a copy of the run's upper bound of which one layer is another."""
    shutil.copytree(trained / "upper_bound", folder)
    checkpoint = torch.load(folder / "model_best.pth", weights_only=True)
    checkpoint["model"]["heads.bottleneck.0.weight"] += 1
    torch.save(checkpoint, folder / "model_best.pth")
    return folder


def test_the_upper_bound_teaches_base_and_the_method(trained):
    for folder, taught in (("upper_bound", False), ("baseline", True), (".", True)):
        lines = [json.loads(line) for line in (trained / folder / "metrics.json").read_text().splitlines()]
        logged = [line["loss_teacher"] for line in lines if "loss_teacher" in line]
        assert bool(logged) == taught and all(0 < value < 4 * WEIGHT for value in logged), folder
    trained_teacher = read_trained(trained / "upper_bound" / "model_best.pth")
    expected = reid_fingerprint(trained_teacher.weights, trained_teacher.cfg)
    for folder in (".", "baseline"):
        assert read_checkpoint(trained / folder / "model_0000.pth")["teacher"] == {"fingerprint": expected}
    results = json.loads((trained / "results.json").read_text())
    assert results["upper_bound"]["retrieval"]["OI-OI"] and results["versus_baseline"]
    for folder, name in ((".", "Full method"), ("baseline", "Base")):
        assert f"{name}, with a teacher" in (trained / folder / "report.html").read_text()
    assert "with a teacher" not in (trained / "upper_bound" / "report.html").read_text()


def test_the_teacher_is_the_tested_checkpoint(trained, options):
    cfg = load_config(SMALL_CONFIG, options(trained)[2:])
    results = trained / "upper_bound" / "results.json"
    teacher = teacher_of(cfg, results)
    weights = read_checkpoint(trained / "upper_bound" / "model_best.pth")["model"]
    held = teacher.model.state_dict()
    assert [name for name in weights if not torch.equal(weights[name], held[name])] == []
    assert not teacher.model.training and teacher.weight == WEIGHT
    assert teacher_of(changed(cfg, {"PRIVACY.TEACHER.WEIGHT": 0.0}), results) is None


def test_a_run_goes_on_exactly_and_with_its_own_teacher(trained, options, tmp_path, capsys):
    upper = trained / "upper_bound" / "results.json"
    base = {"PRIVACY.UPGRADE.BASELINE_RANK1": str(trained / "baseline" / "results.json")}
    once, twice = tmp_path / "once", tmp_path / "twice"
    words = {**base, "PRIVACY.UPPER_BOUND": str(upper), "PRIVACY.TEACHER.INIT": True}
    assert train(*options(once, **words)) == 0
    twice.mkdir()
    for name in ("model_0000.pth", "config.yaml"):
        shutil.copy(once / name, twice / name)
    (twice / "last_checkpoint").write_text("model_0000.pth")
    shutil.copytree(twice, tmp_path / "other")
    assert train("--resume", *options(twice, **words)) == 0
    first, second = (read_checkpoint(folder / "model_final.pth")["model"] for folder in (once, twice))
    assert [name for name in first if not torch.equal(first[name], second[name])] == []

    moved = another_upper_bound(trained, tmp_path / "moved")
    capsys.readouterr()
    other = {**words, "PRIVACY.UPPER_BOUND": str(moved / "results.json")}
    assert train("--resume", *options(tmp_path / "other", **other)) == 2
    assert "the run was begun with another teacher: give it the upper bound back" in capsys.readouterr().err


def test_a_run_begins_with_the_teacher_s_weights_over_those_of_model_weights(trained, options, tmp_path):
    words = {
        "PRIVACY.UPPER_BOUND": str(trained / "upper_bound" / "results.json"),
        "PRIVACY.TEACHER.INIT": True,
        "MODEL.WEIGHTS": str(trained / "model_final.pth"),
        "SOLVER.BASE_LR": 1e-12,
    }
    assert train(*options(tmp_path / "run", **words)) == 0
    found, teacher, named = (
        read_checkpoint(path)["model"]
        for path in (
            tmp_path / "run" / "model_final.pth",
            trained / "upper_bound" / "model_best.pth",
            trained / "model_final.pth",
        )
    )
    for part, expected, other in (("backbone.conv1", teacher, named), ("anonymizer.", named, None)):
        names = [name for name in found if name.startswith(part) and found[name].ndim == 4]
        assert names and all(torch.allclose(found[name], expected[name], atol=1e-6) for name in names)
        assert not other or not any(torch.allclose(found[name], other[name], atol=1e-6) for name in names)


def test_a_run_that_only_begins_with_the_upper_bound_is_the_one_of_its_weights(trained, options, tmp_path):
    """No term, whatever sizes its images have; Base begins so, too."""
    upper = trained / "upper_bound"
    shared = {"PRIVACY.TEACHER.WEIGHT": 0, "INPUT.SIZE_TRAIN": [32, 32], "INPUT.SIZE_TEST": [32, 32]}
    begun = {"PRIVACY.TEACHER.INIT": True, "PRIVACY.UPPER_BOUND": str(upper / "results.json")}
    named = {"MODEL.WEIGHTS": str(upper / "model_best.pth"), "PRIVACY.UPPER_BOUND": ""}
    found = {}
    for name, more in (("begun", begun), ("named", named)):
        words = options(tmp_path / name, **shared, **more, **{"PRIVACY.PROTECTION": "conventional"})
        assert train(*words) == 0
        found[name] = read_checkpoint(tmp_path / name / "model_final.pth")["model"]
        assert "loss_teacher" not in (tmp_path / name / "metrics.json").read_text()
    different = [
        name for name in found["begun"] if not torch.equal(found["begun"][name], found["named"][name])
    ]
    assert different == []
    assert "Base, begun with the upper bound" in (tmp_path / "begun" / "report.html").read_text()
    assert "begun with" not in (tmp_path / "named" / "report.html").read_text()
    results = json.loads((tmp_path / "begun" / "results.json").read_text())
    assert results["teacher"] == teacher_fingerprint(upper / "results.json")


def test_who_begins_with_a_teacher_s_weights_needs_none_of_imagenet(trained, options, tmp_path, capsys):
    words = {
        "PRIVACY.PROTECTION": "conventional",
        "PRIVACY.UPPER_BOUND": str(trained / "upper_bound" / "results.json"),
        "PRIVACY.TEACHER.WEIGHT": 1,
        "MODEL.BACKBONE.PRETRAIN": True,
        "MODEL.BACKBONE.PRETRAIN_PATH": str(tmp_path / "none.pth"),
    }
    assert train(*options(tmp_path / "taught", **words)) == 2
    assert "MODEL.BACKBONE.PRETRAIN_PATH" in capsys.readouterr().err
    assert train(*options(tmp_path / "begun", **words, **{"PRIVACY.TEACHER.INIT": True})) == 0
    # the upper bound that is trained beside a run does
    auto = {**words, "PRIVACY.UPPER_BOUND": "auto", "PRIVACY.TEACHER.INIT": True}
    assert train(*options(tmp_path / "auto", **auto)) == 2
    assert "MODEL.BACKBONE.PRETRAIN_PATH" in capsys.readouterr().err
    assert not list((tmp_path / "auto").rglob("model_*.pth"))


def test_what_does_not_serve_is_found_before_anything_is_trained(trained, options, tmp_path, capsys):
    """Another upper bound than the network's, one of another size, and one whose checkpoint is gone."""
    upper = tmp_path / "upper"
    shutil.copytree(trained / "upper_bound", upper)
    given = {"PRIVACY.UPPER_BOUND": str(upper / "results.json")}
    refusals = (
        ({"MODEL.HEADS.EMBEDDING_DIM": 16}, "gives 128 features, and this model 16"),
        ({"INPUT.SIZE_TRAIN": [128, 64], "INPUT.SIZE_TEST": [128, 64]}, "learns from images of 64×32"),
        ({"MODEL.HEADS.EMBEDDING_DIM": 128, "PRIVACY.TEACHER.INIT": True}, "Re-ID network is another"),
    )
    for number, (more, message) in enumerate(refusals):
        assert train(*options(tmp_path / str(number), **given, **more)) == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / str(number)).exists()
    (upper / "model_best.pth").unlink()
    refused = [
        "is not there any more: give it back, or name the results of another upper bound with PRIVACY.U"
    ]
    assert train(*options(tmp_path / "gone", **given)) == 2
    refused.append("name no checkpoint; evaluate again to rewrite them")
    results = json.loads((upper / "results.json").read_text())
    (upper / "results.json").write_text(json.dumps({**results, "checkpoint": None}))
    assert train(*options(tmp_path / "gone", **given)) == 2
    said = capsys.readouterr().err
    assert all(message in said for message in refused) and not (tmp_path / "gone").exists()


def test_another_teacher_than_base_s_is_refused_beside_the_run_and_told_elsewhere(
    trained, options, tmp_path, caplog
):
    moved = another_upper_bound(trained, tmp_path / "moved")
    given = {"PRIVACY.UPPER_BOUND": str(moved / "results.json")}
    base = trained / "baseline" / "results.json"
    cfg = load_config(
        SMALL_CONFIG, options(tmp_path / "a", **given, **{"PRIVACY.UPGRADE.BASELINE_RANK1": str(base)})[2:]
    )
    finished(cfg, "baseline")
    assert f"{base} was run differently: its teacher is another upper bound" in caplog.text
    shutil.copytree(trained / "baseline", tmp_path / "b" / "baseline")
    cfg = load_config(
        SMALL_CONFIG, options(tmp_path / "b", **given, **{"PRIVACY.UPGRADE.BASELINE_RANK1": "auto"})[2:]
    )
    with pytest.raises(UserError, match=r"is of another run \(its teacher is another upper bound\)"):
        finished(cfg, "baseline")
    (moved / "model_best.pth").unlink()
    finished(cfg, "baseline")  # as far as both are known


def test_a_run_whose_teacher_is_gone_is_not_continued_with_a_new_one(trained, options, tmp_path, capsys):
    shutil.copytree(trained, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "upper_bound")
    words = options(tmp_path / "run", **{"PRIVACY.UPGRADE.BASELINE_RANK1": "auto"})
    assert train("--resume", *words) == 2
    assert (
        "holds a run that was begun with a teacher, whose results are no longer in" in capsys.readouterr().err
    )
    assert not (tmp_path / "run" / "upper_bound").exists()


def test_a_test_needs_no_teacher(trained, options, tmp_path):
    shutil.copy(trained / "model_best.pth", tmp_path / "model_best.pth")
    assert train("--eval-only", *options(tmp_path, **{"PRIVACY.UPPER_BOUND": ""})) == 0
    found, expected = (json.loads((folder / "results.json").read_text()) for folder in (tmp_path, trained))
    assert found["retrieval"] == expected["retrieval"] and found["teacher"] is None
    teacher = read_checkpoint(trained / "model_0000.pth")["teacher"]
    assert teacher == {"fingerprint": expected["teacher"]}


def test_results_of_a_checkpoint_elsewhere_lead_to_it(trained, options, tmp_path, monkeypatch):
    """Named relative to where a test was called."""
    monkeypatch.chdir(trained)
    words = {"PRIVACY.PROTECTION": "none", "PRIVACY.TEACHER.WEIGHT": 0, "PRIVACY.UPPER_BOUND": ""}
    words["MODEL.WEIGHTS"] = "upper_bound/model_best.pth"
    assert train("--eval-only", *options(tmp_path, **words)) == 0
    monkeypatch.chdir(tmp_path)
    cfg = load_config(SMALL_CONFIG, options(tmp_path)[2:])
    teacher = teacher_of(cfg, tmp_path / "results.json")
    assert teacher.fingerprint == teacher_fingerprint(trained / "upper_bound" / "results.json")


def test_a_trainer_without_the_teacher_that_its_config_asks_for(options, tmp_path):
    with pytest.raises(UserError, match=r"PRIVACY\.TEACHER needs a teacher"):
        PrivacyTrainer(load_config(SMALL_CONFIG, options(tmp_path)[2:]), 0.0)


def test_the_tables_of_the_paper_have_no_teacher(tmp_path):
    with pytest.raises(UserError, match=r"trains with a teacher .PRIVACY\.TEACHER."):
        Reproduction("configs/Synthetic/teacher_blur.yml", output_dir=tmp_path)
