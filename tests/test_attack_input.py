"""What an attack is given: pairs that do not belong together, too few of them, a stranger of another kind."""

from __future__ import annotations

from in_process import attack, retrieve

import fastreid_privacy  # before fastreid

# isort: split
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import yaml
from onnx import TensorProto, helper
from PIL import Image

from fastreid_privacy.attack import learned_people
from fastreid_privacy.attack import subjects as attack_subjects
from fastreid_privacy.attack.grid import run_attacks
from fastreid_privacy.attack.learned_people import (
    RELATED,
    SAME,
    check_foreign,
    model_learned_from_others,
    stranger_learned_from_others,
)
from fastreid_privacy.attack.observers import load_observer
from fastreid_privacy.attack.pairing import compare_pairs, rough
from fastreid_privacy.attack.request import AttackRequest
from fastreid_privacy.attack.stranger import check_enough
from fastreid_privacy.attack.subjects import Subject, Subjects, read_foreign, read_subjects
from fastreid_privacy.attack.views import Files, operated
from fastreid_privacy.checkpoints.splitting import split_checkpoint
from fastreid_privacy.collection import folder_source
from fastreid_privacy.compat.labels import MARKET_FOLDER
from fastreid_privacy.config import changed, parse_config
from fastreid_privacy.core.images import to_pictures
from fastreid_privacy.desensitize import Desensitizer


@pytest.fixture(scope="module")
def subjects(raw):
    return read_subjects(str(raw), str(raw))


# -- files of one side ---------------------------------------------------------------------------------------


def test_junk_images_with_a_protected_file_are_not_called_alone(tmp_path):
    """Images of identity −1, as the test images of Market-1501 have them, take no part and lack nothing."""
    names = [f"{pid:04}_c{camera}_0.png" for pid in range(1, 9) for camera in (1, 2)]
    for side, extra in (
        ("raw", ["-1_c1_0.png", "-1_c1_1.png", "0001_c3_0.png"]),
        ("protected", ["-1_c1_0.png"]),
    ):
        (tmp_path / side).mkdir()
        for name in (*names, *extra):
            Image.new("RGB", (4, 8)).save(tmp_path / side / name)
    subjects = read_subjects(str(tmp_path / "raw"), str(tmp_path / "protected"))
    assert subjects.alone == 2  # one of junk, and 0001_c3_0
    assert len(subjects.known) + len(subjects.measured) == 16


def test_nothing_but_junk_images_is_too_few_to_attack(tmp_path):
    for number in range(3):
        Image.new("RGB", (4, 8)).save(tmp_path / f"-1_c1_{number}.png")
    with pytest.raises(fastreid_privacy.UserError, match=r"has 3 images .* too few to attack"):
        read_subjects(str(tmp_path), str(tmp_path))


def test_an_image_in_two_parts_of_a_data_set_has_one_file(raw, tmp_path, monkeypatch):
    """Queries that are in the gallery too have two labels; two images have no protected file."""
    source = folder_source(raw)
    parts = {"bounding_box_train": ["train"], "query": ["query", "gallery"], "bounding_box_test": ["gallery"]}
    labels = {}
    for path in source.paths:
        pid, camid = MARKET_FOLDER.read(source.folder / path)
        labels[path] = [[part, pid, camid] for part in parts[path.split("/")[0]]]
    listed = replace(source, dataset={"dataset": "Listed", "label_prefix": ""}, labels=labels)
    monkeypatch.setattr(attack_subjects, "is_dataset", lambda given: given == "Listed")
    monkeypatch.setattr(attack_subjects, "dataset_source", lambda *_: listed)
    protected = shutil.copytree(raw, tmp_path / "protected")
    for path in source.paths[:2]:
        (protected / path).unlink()
    subjects = read_subjects("Listed", str(protected))
    assert subjects.alone == 2 and len(subjects.query) == sum("query/" in path for path in source.paths)


# -- pairs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["blur", "pixelate", "noise", "mask"])
def test_files_of_other_people_are_told_from_protected_ones(subjects, name):
    """Right pairs are never doubted; pairs that slipped by one name are, where any shape is left."""
    files = Files(subjects.size)
    right = compare_pairs(operated(files, name), files, subjects)
    assert right.looked_at == len({each.name for each in (*subjects.known, *subjects.measured)})
    assert right.like_another == 0 and right.example == ("", "")
    every = sorted((*subjects.known, *subjects.measured), key=lambda each: each.name)
    after = dict(zip((each.name for each in every), [*every[1:], every[0]], strict=True))
    slipped = compare_pairs(
        lambda some: operated(files, name)([after[each.name] for each in some]), files, subjects
    )
    if name == "mask":
        assert slipped.like_another == 0 and slipped.own == 0
    else:
        assert slipped.like_another > 0.25 * right.looked_at
        assert slipped.other > 0.9 > slipped.own + 0.3 and slipped.example[0] != slipped.example[1]


def test_the_correlation_is_that_of_numpy(raw, subjects):
    files = Files(subjects.size)
    every = sorted((*subjects.known, *subjects.measured), key=lambda each: each.name)
    rough = []
    for each in every:
        pixels = np.array(Image.open(each.raw)).astype(float).transpose(2, 0, 1)
        rough.append(pixels.reshape(3, 8, 8, 4, 8).mean((2, 4)).ravel())
    alike = np.corrcoef(rough)
    off = np.where(np.eye(len(every)), -1, alike).max(1)
    found = compare_pairs(files, files, subjects)
    assert (found.own, found.other) == pytest.approx((1, off.mean()), abs=1e-3)


def protect(raw: Path, folder: Path, names: dict[str, str] | None = None) -> Path:
    """Blurred files; each under its own name, or under another's."""
    for file in sorted(raw.glob("*/*.jpg")):
        target = folder / file.relative_to(raw).with_suffix(".png")
        target = folder / names[target.relative_to(folder).as_posix()] if names else target
        target.parent.mkdir(parents=True, exist_ok=True)
        pixels = torch.from_numpy(np.array(Image.open(file).convert("RGB"))).permute(2, 0, 1)[None]
        shown = Desensitizer("blur")(pixels)
        Image.fromarray(to_pictures(shown.float())[0]).save(target)
    return folder


def test_a_run_warns_of_slipped_pairs_and_goes_on(raw, small_run, tmp_path, capsys):
    names = [file.relative_to(raw).with_suffix(".png").as_posix() for file in sorted(raw.glob("*/*.jpg"))]
    files = protect(raw, tmp_path / "p", dict(zip(names, [*names[1:], names[0]], strict=True)))
    (files / names[-1]).unlink()
    (files / "phone.heic").write_bytes(b"")
    words = ["--raw", str(raw), "--protected", str(files), "--output", str(tmp_path / "out"), "--rows", "A0"]
    more = ["--stranger", str(small_run / "model_best.pth"), "--beside", "", "--device", "cpu"]
    assert attack(*words, *more) == 0
    said = capsys.readouterr().err
    images = json.loads((tmp_path / "out" / "attack.json").read_text())["images"]
    assert images["like_another"] > 0.25 * images["compared_with_raw"]
    warning = f"warning: {images['like_another']} of {images['compared_with_raw']} protected files look like"
    assert warning in said and "do both folders show the same people" in said
    assert "1 raw images have no protected one, and take no part" in said
    assert "warning: 1 files or folders were not read, and take no part:\n" in said
    assert f"  {files / 'phone.heic'}: HEIC pictures are not read" in said


def market(folder: Path, people: int, images: int) -> Path:
    """A folder in Market-1501 naming, of two cameras."""
    for pid in range(1, people + 1):
        for camera in (1, 2):
            for number in range(images):
                folder.mkdir(exist_ok=True)
                Image.new("RGB", (8, 16), (pid, camera, number)).save(
                    folder / f"{pid:04}_c{camera}_{number}.png"
                )
    return folder


@pytest.mark.parametrize(("people", "images"), [(8, 2), (14, 8), (38, 1)])
def test_too_few_to_train_a_stranger_is_said_before_anything_is_written(tmp_path, capsys, people, images):
    """Few images; few people; as many as a batch takes, but not beside those that are kept for validation."""
    raw, out = market(tmp_path / "raw", people, images), tmp_path / "out"
    files = shutil.copytree(raw, tmp_path / "p")
    words = ["--raw", str(raw), "--protected", str(files), "--output", str(out), "--device", "cpu"]
    assert attack(*words, "--rows", "A0") == 2
    error = capsys.readouterr().err
    assert f"{people * images} images of {people // 2} known people are too few" in error
    assert "a batch takes 32 of 8" in error and "--stranger" in error and not out.exists()


def test_just_enough_to_train_a_stranger():
    def subject(pid, camid):
        return Subject(f"{pid}_{camid}", pid, camid, Path(f"{pid}_{camid}"), Path())

    people = [subject(pid, camid) for pid in range(20) for camid in (0, 1)]
    check_enough(Subjects(people, [], [], (4, 2), 0))  # 16 people and 32 images are left to train on
    with pytest.raises(fastreid_privacy.UserError, match="38 images of 19 known people are too few"):
        check_enough(Subjects(people[:-2], [], [], (4, 2), 0))


# -- who the stranger has learned from -----------------------------------------------------------------------


def retold(small_run: Path, file: Path, **values) -> Path:
    """A checkpoint of the small run that tells of a training with other values."""
    checkpoint = torch.load(small_run / "model_best.pth", weights_only=True)
    cfg = changed(parse_config(checkpoint["config"], file.name), values)
    torch.save({**checkpoint, "config": cfg.dump()}, file)
    return file


def trained_on(folder: Path) -> dict[str, object]:
    parts = {f"DATASETS.FOLDER.{part}": str(folder) for part in ("TRAIN", "QUERY", "GALLERY")}
    names = {f"DATASETS.{key}": tuple(["MarketFolder"]) for key in ("NAMES", "TESTS")}  # one object: an alias
    return names | parts


def attack_words(raw: Path, files: Path, out: Path, stranger: Path) -> list[str]:
    given = ["--raw", str(raw), "--protected", str(files), "--output", str(out), "--rows", "A0"]
    return [*given, "--stranger", str(stranger), "--beside", "", "--device", "cpu"]


@pytest.mark.parametrize("way", ["the folder itself", "copies"])
def test_a_stranger_that_has_learned_from_measured_people_is_refused(raw, small_run, tmp_path, capsys, way):
    learned = raw / "bounding_box_test"
    if way == "copies":
        learned = Path(shutil.copytree(learned, tmp_path / "learned"))
    stranger = retold(small_run, tmp_path / "stranger.pth", **trained_on(learned))
    out = tmp_path / "out"
    assert attack(*attack_words(raw, protect(raw, tmp_path / "p"), out, stranger)) == 2
    said = capsys.readouterr().err
    measured = [file for file in learned.glob("*.jpg") if int(file.name[:4]) > 0]
    assert f"--stranger {stranger} has learned from {len(measured)} of the images that are measured (" in said
    assert "name another model, or none" in said and not out.exists()


def test_a_stranger_that_has_learned_from_protected_files_is_refused(raw, small_run, tmp_path, capsys):
    files = protect(raw, tmp_path / "p")
    stranger = retold(small_run, tmp_path / "stranger.pth", **trained_on(files / "bounding_box_test"))
    assert attack(*attack_words(raw, files, tmp_path / "out", stranger)) == 2
    assert "has learned from" in capsys.readouterr().err and not (tmp_path / "out").exists()


COPIES = {
    "encoded anew": lambda picture, path: picture.save(path.with_suffix(".png")),
    "another quality": lambda picture, path: picture.save(path, quality=50),
    "half": lambda picture, path: picture.resize((16, 32)).save(path),
    "another shape": lambda picture, path: picture.resize((64, 64)).save(path),
}


def rewritten(files: list[Path], folder: Path, way, names: list[Path] | None = None) -> Path:
    """Copies of pictures, under their own names or those of other files."""
    folder.mkdir()
    for file, name in zip(files, names or files, strict=True):
        way(Image.open(file).convert("RGB"), folder / name.name)
    return folder


def people_in(folder: Path) -> list[Path]:
    return [file for file in sorted(folder.glob("*")) if int(file.name[:4]) > 0]


@pytest.mark.parametrize("side", ["raw", "protected"])
@pytest.mark.parametrize("way", ["encoded anew", "another quality", "half", "another shape"])
def test_copies_that_are_encoded_anew_or_resized_are_found(raw, small_run, tmp_path, capsys, way, side):
    files = protect(raw, tmp_path / "p")
    subjects = read_subjects(str(raw), str(files))
    given = people_in((raw if side == "raw" else files) / "bounding_box_test")
    learned = rewritten(given, tmp_path / "learned", COPIES[way])
    stranger = retold(small_run, tmp_path / "stranger.pth", **trained_on(learned))
    with pytest.raises(fastreid_privacy.UserError, match=rf"has learned from {len(given)} of the images"):
        stranger_learned_from_others(stranger, subjects.measured)
    assert model_learned_from_others(stranger, subjects.measured, "--model") is False
    assert f"has learned from {len(given)} of the images" in capsys.readouterr().err
    with pytest.raises(fastreid_privacy.UserError, match=f"{len(given)} of the measured images"):
        check_foreign(read_foreign(str(learned)), subjects.measured)


@pytest.mark.parametrize("operator", ["blur", "pixelate", "noise"])
def test_measured_images_under_another_operator_are_found(raw, small_run, tmp_path, subjects, operator):
    """Whoever learned from them knows the people, whatever protects the files that are attacked."""
    shown = Desensitizer(operator)

    def way(picture, path):
        pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]
        options = {"seeds": [1]} if operator == "noise" else {}
        Image.fromarray(shown(pixels, **options)[0].permute(1, 2, 0).numpy()).save(path, quality=75)

    learned = rewritten(people_in(raw / "bounding_box_test"), tmp_path / "learned", way)
    stranger = retold(small_run, tmp_path / "stranger.pth", **trained_on(learned))
    with pytest.raises(fastreid_privacy.UserError, match="has learned from"):
        stranger_learned_from_others(stranger, subjects.measured)


@pytest.mark.parametrize("way", ["encoded anew", "half"])
def test_other_people_under_the_names_of_measured_ones_are_not_found(raw, small_run, tmp_path, subjects, way):
    """Beside one copy that is: the others do not hide it, nor does it make them copies."""
    names = people_in(raw / "bounding_box_test")
    others = people_in(raw / "bounding_box_train")[: len(names)]
    learned = rewritten(others, tmp_path / "learned", COPIES[way], names[: len(others)])
    stranger = retold(small_run, tmp_path / "stranger.pth", **trained_on(learned))
    assert stranger_learned_from_others(stranger, subjects.measured) is None  # for the numbers
    COPIES[way](Image.open(names[0]), learned / names[0].name)
    with pytest.raises(fastreid_privacy.UserError, match="has learned from 1 of the images"):
        stranger_learned_from_others(stranger, subjects.measured)


def test_pictures_of_one_colour_show_nobody(raw, small_run, tmp_path, subjects):
    """Fully masked files of other people are, byte for byte, those of measured ones."""
    flat = [replace(each, protected=tmp_path / "p" / each.raw.name) for each in subjects.measured]
    (tmp_path / "p").mkdir()
    for each in flat:
        Image.new("RGB", (32, 64), (128, 128, 128)).save(each.protected)
    learned = shutil.copytree(tmp_path / "p", tmp_path / "learned")
    stranger = retold(small_run, tmp_path / "stranger.pth", **trained_on(learned))
    assert stranger_learned_from_others(stranger, flat) is None


def test_a_file_that_is_no_picture_is_like_none(raw, small_run, tmp_path, subjects):
    learned = rewritten(people_in(raw / "bounding_box_test"), tmp_path / "learned", COPIES["half"])
    for file in learned.iterdir():
        file.write_bytes(b"no picture")
    stranger = retold(small_run, tmp_path / "stranger.pth", **trained_on(learned))
    assert stranger_learned_from_others(stranger, subjects.measured) is None


def test_the_bounds_tell_copies_from_other_people(raw):
    """Of every pair of images: ``SAME`` tells one, ``RELATED`` tells many."""
    files = (
        people_in(raw / "bounding_box_test")
        + people_in(raw / "query")
        + people_in(raw / "bounding_box_train")
    )
    pictures = [Image.open(file).convert("RGB") for file in files]

    def rows(some):
        return np.concatenate(
            [rough(torch.from_numpy(np.array(each)).permute(2, 0, 1)[None].float()) for each in some]
        )

    small = rows([each.resize((16, 32)) for each in pictures])
    people = np.array([int(file.name[:4]) for file in files])
    likeness = rows(pictures) @ small.T
    assert likeness.diagonal().min() > SAME
    other = likeness[people[:, None] != people]
    assert other.max() < SAME and (other >= RELATED).mean() < 0.02


def test_numbers_of_measured_people_in_another_folder_are_a_doubt(raw, small_run, tmp_path, subjects):
    """Measured images that were encoded anew, under other names: nothing but the number is left of them."""
    learned = tmp_path / "learned"
    learned.mkdir()
    for number, file in enumerate(sorted(raw.glob("bounding_box_test/*.jpg"))):
        Image.open(file).save(learned / f"{file.name[:7]}_{number:06}.png")
    stranger = retold(small_run, tmp_path / "stranger.pth", **trained_on(learned))
    assert stranger_learned_from_others(stranger, subjects.measured) is None


def test_a_part_tells_nothing_of_its_training(small_run, tmp_path, subjects, capsys):
    part = split_checkpoint(small_run / "model_best.pth", tmp_path / "release", None)["reid"]
    assert stranger_learned_from_others(part, subjects.measured) is None
    assert "it is a part that was split off, which tells nothing of its training" in capsys.readouterr().err


def test_a_data_set_that_is_not_here_is_not_rendered(small_run, tmp_path, subjects, monkeypatch):
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path / "datasets"))
    assert stranger_learned_from_others(small_run / "model_best.pth", subjects.measured) is True
    assert not (tmp_path / "datasets").exists()


def test_a_model_that_has_learned_from_measured_people_is_told(raw, small_run, tmp_path, capsys):
    """Not refused: its owner may protect what it was trained on."""
    files, out = protect(raw, tmp_path / "p"), tmp_path / "out"
    model = retold(small_run, tmp_path / "model.pth", **trained_on(raw / "bounding_box_test"))
    words = attack_words(raw, files, out, small_run / "model_best.pth")
    assert attack(*words, "--model", model) == 0
    measured = len([file for file in raw.glob("bounding_box_test/*.jpg") if int(file.name[:4]) > 0])
    said = f"has learned from {measured} of the images that are measured ("
    assert f"warning: --model {model} {said}" in capsys.readouterr().err
    assert json.loads((out / "attack.json").read_text())["model"] == {"trained_on_others": False}
    assert "rows A2, A4 and A6 are of people whom it has seen" in (out / "attack.html").read_text()
    sides = ["--raw", str(raw), "--protected", str(files)]
    assert retrieve("measure", *sides, "--weights", model, "--device", "cpu") == 0
    assert f"warning: --weights {model} {said}" in capsys.readouterr().err


def test_beside_a_data_set_that_is_not_here_the_others_are_looked_at(
    raw, small_run, tmp_path, subjects, monkeypatch
):
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path / "datasets"))
    values = trained_on(raw / "bounding_box_test") | {
        "DATASETS.NAMES": ("SyntheticPedestrians", "MarketFolder")
    }
    stranger = retold(small_run, tmp_path / "stranger.pth", **values)
    with pytest.raises(fastreid_privacy.UserError, match="has learned from"):
        stranger_learned_from_others(stranger, subjects.measured)
    assert not (tmp_path / "datasets").exists()


def test_beside_a_data_set_that_is_not_here_another_one_that_lacks_is_a_doubt(
    small_run, tmp_path, subjects, monkeypatch, capsys
):
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path / "datasets"))
    values = trained_on(Path("gone")) | {"DATASETS.NAMES": ("SyntheticPedestrians", "MarketFolder")}
    stranger = retold(small_run, tmp_path / "stranger.pth", **values)
    assert stranger_learned_from_others(stranger, subjects.measured) is None
    assert "DATASETS.FOLDER.TRAIN is 'gone', which is no" in capsys.readouterr().err


def test_measured_people_are_not_foreign(raw, small_run, tmp_path, capsys):
    files, model = protect(raw, tmp_path / "p"), small_run / "model_best.pth"
    words = attack_words(raw, files, tmp_path / "out", model)
    foreign = Path(shutil.copytree(raw / "query", tmp_path / "foreign"))
    given = ["--foreign", str(foreign), "--model", str(model), "--rows", "A2"]
    assert attack(*words, *given) == 2
    error = capsys.readouterr().err
    count = len(list(foreign.glob("*.jpg")))
    assert f"{count} of the measured images (" in error and "are among the foreign ones" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("side", ["--raw", "--protected"])
def test_two_files_of_one_name_but_for_the_ending_are_refused(raw, tmp_path, side):
    files, given = protect(raw, tmp_path / "p"), {"--raw": str(raw)}
    given = {"--raw": shutil.copytree(raw, tmp_path / "raw"), "--protected": files}
    file = next(iter(sorted((Path(given[side]) / "query").iterdir())))
    Image.open(file).save(file.with_suffix(".bmp"))
    message = rf"{side} .* has query/\S+ and query/\S+, which differ"
    with pytest.raises(fastreid_privacy.UserError, match=message):
        read_subjects(*map(str, given.values()))


@pytest.mark.parametrize(
    ("values", "told", "reason"),
    [
        ({}, True, ""),
        ({"MODEL.WEIGHTS": "other.pth"}, None, "it began with the weights of other.pth"),
        (trained_on(Path("gone")), None, "DATASETS.FOLDER.TRAIN is 'gone', which is no"),
        ({"PRIVACY.TEACHER.WEIGHT": 1.0}, None, "it had a teacher, of which no results beside it tell"),
        ({"MODEL.BACKBONE.PRETRAIN": True, "MODEL.BACKBONE.PRETRAIN_PATH": "imagenet.pth"}, True, ""),
    ],
)
def test_what_is_known_of_whom_the_stranger_learned_from_is_told(
    raw, small_run, tmp_path, capsys, values, told, reason
):
    stranger, out = retold(small_run, tmp_path / "stranger.pth", **values), tmp_path / "out"
    assert attack(*attack_words(raw, protect(raw, tmp_path / "p"), out, stranger)) == 0
    judge = json.loads((out / "attack.json").read_text())["judge"]
    assert judge["trained_on_others"] is told
    warning = f"warning: --stranger {stranger}: whether it has learned from measured people is not known: "
    said = capsys.readouterr().err
    assert (f"{warning}{reason}" in said) if reason else ("is not known" not in said)
    page = (out / "attack.html").read_text()
    assert ("has learned from measured ones is not known" in page) == (told is None)


DOUBTED = {
    "a teacher": "it had a teacher, of which no results beside it tell",
    "a part": "it is a part that was split off, which tells nothing of its training",
}


@pytest.mark.parametrize("what", DOUBTED)
def test_what_is_not_known_of_a_stranger_is_not_known_of_a_model(raw, small_run, tmp_path, capsys, what):
    """Of --model, and of --weights of retrieve measure."""
    files, out = protect(raw, tmp_path / "p"), tmp_path / "out"
    model = weights = retold(small_run, tmp_path / "model.pth", **{"PRIVACY.TEACHER.WEIGHT": 1.0})
    more: list[str] = []
    if what == "a part":
        parts = split_checkpoint(small_run / "model_best.pth", tmp_path / "release", None)
        model, weights, more = parts["anonymizer"], parts["reid"], ["--recovery-key", str(parts["recovery"])]
    stranger = small_run / "model_best.pth"
    words = [*attack_words(raw, files, out, stranger), "--model", str(model), *more]
    assert attack(*words) == 0
    doubt = f"whether it has learned from measured people is not known: {DOUBTED[what]}"
    said = capsys.readouterr().err
    assert f"warning: --model {model}: {doubt}" in said and f"--stranger {stranger}: " not in said
    told = json.loads((out / "attack.json").read_text())
    assert told["model"] == {"trained_on_others": None} and told["judge"]["trained_on_others"] is True
    assert "whether it has learned from measured people is not known" in (out / "attack.html").read_text()
    sides = ["--raw", str(raw), "--protected", str(files)]
    assert retrieve("measure", *sides, "--weights", weights, "--device", "cpu") == 0
    assert f"warning: --weights {weights}: {doubt}" in capsys.readouterr().err


def test_pictures_are_read_once_for_all_models(raw, small_run, tmp_path, subjects, monkeypatch):
    """Other pictures of the same names; one that becomes another one meanwhile is read again."""
    measured = people_in(raw / "bounding_box_test")
    half = len(measured) // 2
    learned = rewritten(measured, tmp_path / "learned", COPIES["half"], measured[half:] + measured[:half])
    models = [
        retold(small_run, tmp_path / f"{name}.pth", **trained_on(learned)) for name in ("stranger", "model")
    ]
    read, seen = learned_people.read_picture, Counter()
    monkeypatch.setattr(learned_people, "read_picture", lambda path: (seen.update([path]), read(path))[1])
    assert stranger_learned_from_others(models[0], subjects.measured) is None  # of people of the same numbers
    assert set(seen) >= {str(file) for file in learned.iterdir()} and set(seen.values()) == {1}
    assert model_learned_from_others(models[1], subjects.measured, "--model") is None
    assert set(seen.values()) == {1}
    COPIES["half"](Image.open(measured[0]), learned / measured[0].name)
    with pytest.raises(fastreid_privacy.UserError, match="has learned from 1 of the images"):
        stranger_learned_from_others(models[0], subjects.measured)


@pytest.mark.parametrize("learned", ["other people", "measured people"])
def test_results_beside_a_model_tell_of_its_teacher(raw, small_run, tmp_path, subjects, learned):
    """Of this very checkpoint: beside another one they tell nothing of it."""
    cfg = parse_config(torch.load(small_run / "model_best.pth", weights_only=True)["config"], "")
    teacher = cfg if learned == "other people" else changed(cfg, trained_on(raw / "bounding_box_test"))
    results = json.loads((small_run / "results.json").read_text())
    results["upper_bound"] = {"config": yaml.safe_load(teacher.dump())}
    (tmp_path / "results.json").write_text(json.dumps(results))
    taught = {"PRIVACY.TEACHER.INIT": True}
    model = retold(small_run, tmp_path / results["checkpoint"], **taught)
    if learned == "other people":
        assert stranger_learned_from_others(model, subjects.measured) is True
    else:
        with pytest.raises(
            fastreid_privacy.UserError, match=r"the teacher of --stranger .* has learned from"
        ):
            stranger_learned_from_others(model, subjects.measured)
        assert model_learned_from_others(model, subjects.measured, "--model") is False
    other = retold(small_run, tmp_path / "other.pth", **taught)
    assert stranger_learned_from_others(other, subjects.measured) is None


@pytest.mark.parametrize(
    "damage", ["torn", "of another form", "a teacher of no config", "no checkpoint named"]
)
def test_damaged_results_beside_a_model_hide_no_others(raw, small_run, tmp_path, subjects, capsys, damage):
    """Where the others tell of the teacher, all is known; else the doubt names the damaged ones."""
    results = json.loads((small_run / "results.json").read_text())
    cfg = parse_config(torch.load(small_run / "model_best.pth", weights_only=True)["config"], "")
    teacher = changed(cfg, trained_on(raw / "bounding_box_test"))
    results["upper_bound"] = {"config": yaml.safe_load(teacher.dump())}
    damaged = {
        "torn": json.dumps(results)[:-9],
        "of another form": json.dumps({**results, "retrieval": []}),
        "a teacher of no config": json.dumps({**results, "upper_bound": {"config": {"SEED": []}}}),
        "no checkpoint named": json.dumps({**results, "checkpoint": ""}),
    }
    (tmp_path / "results_A.json").write_text(damaged[damage])
    model = retold(small_run, tmp_path / results["checkpoint"], **{"PRIVACY.TEACHER.INIT": True})
    assert stranger_learned_from_others(model, subjects.measured) is None
    said = capsys.readouterr().err
    assert "it had a teacher, of which no results beside it tell: " in said
    named = "the results in" if damage == "no checkpoint named" else "results_A.json"
    assert named in said
    (tmp_path / "results_B.json").write_text(json.dumps(results))
    with pytest.raises(fastreid_privacy.UserError, match=r"the teacher of --stranger .* has learned from"):
        stranger_learned_from_others(model, subjects.measured)
    results["upper_bound"] = {"config": yaml.safe_load(cfg.dump())}
    (tmp_path / "results_B.json").write_text(json.dumps(results))
    assert stranger_learned_from_others(model, subjects.measured) is True
    assert capsys.readouterr().err == ""


def test_a_checkpoint_is_ranked_by_its_own_metric(raw, small_run, tmp_path, capsys):
    """Cells of an older version, which took cosine for all, are kept where that is the metric."""
    files, metrics = protect(raw, tmp_path / "p"), {"cosine": None, "euclidean": {"stranger": "euclidean"}}
    for metric, told in metrics.items():
        stranger, out = tmp_path / f"{metric}.pth", tmp_path / metric
        retold(small_run, stranger, **{"TEST.METRIC": metric})
        assert load_observer(stranger, "cpu", "stranger").metric == metric
        words = attack_words(raw, files, out, stranger)
        assert attack(*words) == 0
        settings = json.loads((out / "cells" / "settings.json").read_text())
        assert settings.pop("metrics") == told
        (out / "cells" / "settings.json").write_text(json.dumps(settings))
        assert attack(*words) == (2 if told else 0)
        refused = 'attacks with other settings (metrics null → {"stranger": "euclidean"})'
        assert (refused in capsys.readouterr().err) == bool(told)


# -- strangers -----------------------------------------------------------------------------------------------


def graph(path: Path, nodes: list, inputs: list, initializers: tuple = ()) -> Path:
    sides = [helper.make_tensor_value_info("x", TensorProto.FLOAT, inputs)]
    out = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    made = helper.make_graph(nodes, "g", sides, out, initializer=list(initializers))
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 10
    onnx.save(model, str(path))
    return path


POOL = helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[2, 2], strides=[2, 2])


@pytest.mark.parametrize("batch", [1, 2, 4, "n"])
def test_a_strangers_graph_of_any_batch_and_size_sees_every_image(tmp_path, batch):
    """Five images through a graph that takes so many at a time; its size is another than theirs."""
    observer = load_observer(graph(tmp_path / "a.onnx", [POOL], [batch, 3, 4, 2]), "cpu", "stranger")
    images = torch.rand(5, 3, 8, 4, generator=torch.Generator().manual_seed(0)) * 255
    found = observer.features(images[..., ::2, ::2].contiguous())
    expected = torch.nn.functional.avg_pool2d(images[..., ::2, ::2], 2).flatten(1)
    torch.testing.assert_close(found, expected)
    seen = observer.look(lambda some: images, [None] * 5)
    assert seen.shape == (5, 6) and np.isfinite(seen).all()


@pytest.mark.parametrize(
    ("nodes", "inputs", "message"),
    [
        ([POOL], ["n", 3, "h", "w"], "input"),
        ([POOL], ["n", 1, 4, 2], "input"),
        ([POOL], ["n", 4, 2, 3], "input"),
        (
            [helper.make_node("Reshape", ["x", "s"], ["y"])],
            ["n", 3, 4, 2],
            "is no graph of images to features",
        ),
    ],
)
def test_a_strangers_graph_that_takes_no_images_is_refused(tmp_path, subjects, raw, nodes, inputs, message):
    five = helper.make_tensor("s", TensorProto.INT64, [1], [5])
    given = (five,) if nodes[0].op_type == "Reshape" else ()
    path = graph(tmp_path / "a.onnx", nodes, inputs, given)
    request = AttackRequest(
        str(raw), str(raw), tmp_path / "out", rows=("A0",), stranger=path, beside=(), device="cpu"
    )
    with pytest.raises(fastreid_privacy.UserError, match=message) as error:
        run_attacks(request)
    assert "a.onnx" in str(error.value) and not (tmp_path / "out").exists()
