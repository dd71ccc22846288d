"""Operators that depend on the person: who tells them whom an image shows, and who has to refuse."""

from __future__ import annotations

from conftest import SMALL_CONFIG, small_options  # before fastreid: importing the package makes it work
from in_process import anonymize

# isort: split
from pathlib import Path

import numpy as np
import pytest
import torch
from fastreid.modeling import build_model
from fastreid.utils.events import EventStorage
from PIL import Image
from rendered_video import write_video

from fastreid_privacy import UserError, load_config
from fastreid_privacy.attack import targets
from fastreid_privacy.attack.request import AttackRequest
from fastreid_privacy.attack.subjects import Subject, Subjects
from fastreid_privacy.attack.views import Files, operated
from fastreid_privacy.checkpoints.image_maps import ImageMap
from fastreid_privacy.collection.batch_mapper import BatchMapper
from fastreid_privacy.collection.protect import ProtectionOptions
from fastreid_privacy.collection.source import Source, folder_source
from fastreid_privacy.data import build_test_loader, build_train_loader, build_validation_loader
from fastreid_privacy.data.loaders import epoch_iterator, people_numbers
from fastreid_privacy.desensitize import DESENSITIZER_REGISTRY, Desensitizer
from fastreid_privacy.manifest import read_manifest
from fastreid_privacy.model.storage import ImageStorage
from fastreid_privacy.video import HogDetector
from fastreid_privacy.video.boxes import MotBoxes
from fastreid_privacy.video.protect import protect_video
from fastreid_privacy.video.stream import read_frames


@pytest.fixture
def badge(monkeypatch):
    """An operator that makes every pixel the person's number, and the lists of people that it was given."""
    monkeypatch.setattr(DESENSITIZER_REGISTRY, "_obj_map", dict(DESENSITIZER_REGISTRY._obj_map))
    asked = []

    def badge(images, people):
        asked.append(people)
        return torch.tensor(people, dtype=images.dtype)[:, None, None, None].expand(images.shape)

    DESENSITIZER_REGISTRY.register(badge)
    return asked


def test_an_operator_gets_whole_numbers_one_for_each_image(badge):
    images = torch.full((2, 3, 4, 2), 9.0)
    assert Desensitizer("badge")(images, people=torch.tensor([7, 0])).mean((1, 2, 3)).tolist() == [7, 0]
    assert badge == [[7, 0]] and isinstance(badge[0][0], int)
    with pytest.raises(ValueError, match="2 images need as many identities, got 1"):
        Desensitizer("badge")(images, people=[7])
    with pytest.raises(UserError, match="badge depends on the person, and nothing tells who is shown"):
        Desensitizer("badge")(images)
    assert torch.equal(Desensitizer("blur")(images, people=[7, 0]), Desensitizer("blur")(images))


@pytest.mark.parametrize("placed", [False, True])
@pytest.mark.parametrize("protection", ["learned", "conventional"])
def test_training_and_evaluation_tell_the_targets(badge, protection, placed):
    options = {"PRIVACY.PROTECTION": protection, "PRIVACY.DESENSITIZER.NAME": "badge"}
    model = build_model(
        load_config(SMALL_CONFIG, small_options("unused", **options, **{"MODEL.HEADS.NUM_CLASSES": 4}))
    )
    images = torch.rand(4, 3, 64, 32, generator=torch.Generator().manual_seed(0)) * 255
    batch = {
        "images": images,
        "targets": torch.tensor([3, 3, 1, 1]),
        "camids": torch.zeros(4),
        "img_paths": ["a", "b", "c", "d"],
    }
    if placed:
        places = torch.zeros(4, 3, dtype=torch.long)
        batch = {**batch, "whole": images, "places": places}
    with EventStorage(0):
        model.train()(batch)
    assert badge == [[3, 3, 1, 1]]
    shown = model.eval().extract_domains(batch)["images"]["DI"]
    assert shown.mean((1, 2, 3)).tolist() == [3, 3, 1, 1]
    del batch["targets"]
    with pytest.raises(UserError, match="nothing tells who is shown"):
        model.extract_domains(batch)


@pytest.mark.parametrize("placed", [False, True])
def test_training_validation_and_test_tell_the_numbers_that_files_have(badge, small_dataset, placed):
    """As ``anonymize`` does: else a mask of training would be another person's mask in the stored files."""
    cfg = load_config(
        SMALL_CONFIG,
        small_options(
            "unused",
            **{"PRIVACY.DESENSITIZER.NAME": "badge", "PRIVACY.DESENSITIZE_BEFORE_CROP": placed},
        ),
    )
    model = build_model(cfg).train()
    loaders = (
        epoch_iterator(build_train_loader(cfg), 0, 0),
        build_validation_loader(cfg)[0],
        build_test_loader(cfg, cfg.DATASETS.TESTS[0])[0],
    )
    for loader in loaders:
        batch = next(iter(loader))
        numbers = [int(Path(path).name[:4]) for path in batch["img_paths"]]
        assert batch["people"].tolist() == numbers != batch["targets"].tolist() or loader is loaders[-1]
        if "whole" in batch:
            shown = model.desensitize_placed(batch)[:, :, 32, 16]
            assert shown.tolist() == [[number] * 3 for number in numbers]
        else:
            shown = model.images_to_check(batch)["DI"]
            assert shown.mean((1, 2, 3)).tolist() == numbers


def test_labels_without_a_number_tell_nobody():
    assert people_numbers([("a", "set_12", 0), ("b", 3, 0), ("c", "-1", 0)]) == [12, 3, -1]
    assert people_numbers([("a", "set_12", 0), ("b", "anna", 0)]) is None


def written(folder: Path) -> dict[str, set[int]]:
    """The levels of every protected file."""
    return {
        file.relative_to(folder).as_posix(): set(np.unique(np.array(Image.open(file))))
        for file in sorted(folder.rglob("*.png"))
    }


def test_a_folders_names_tell_and_a_file_without_a_person_is_named(badge, tmp_path, capsys):
    for name in ("in/0007_c1_0.jpg", "in/part/0002_c2_1.jpg", "in/holiday.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 6, 3), dtype=np.uint8)).save(
            tmp_path / name
        )
    words = ["--method", "badge", "--input", str(tmp_path / "in"), "--output", str(tmp_path / "out")]
    assert anonymize(*words) == 2
    error = capsys.readouterr().err
    assert "1 images were not protected" in error and "holiday.jpg: its name tells no person" in error
    assert "0002_c1s1_000451_03.jpg" in error  # the rule, by an example
    assert written(tmp_path / "out") == {"0007_c1_0.png": {7}, "part/0002_c2_1.png": {2}}


def test_a_data_sets_labels_tell(badge, small_dataset, tmp_path):
    words = ["--method", "badge", "--input", "SyntheticPedestrians", "--output", str(tmp_path / "out")]
    assert anonymize(*words, *synthetic()) == 0
    found = written(tmp_path / "out")
    assert found and all(levels == {int(Path(name).name[:4])} for name, levels in found.items())


def synthetic() -> list[str]:
    """The words that describe the small data set."""
    options = small_options("unused")
    pairs = zip(options[::2], options[1::2], strict=True)
    return [word for pair in pairs if pair[0].startswith("DATASETS.SYNTHETIC") for word in pair]


def test_labels_that_contradict_each_other_or_are_no_number_tell_nobody(tmp_path):
    labels = {
        "a": [["query", 3, 0], ["gallery", 4, 0]],
        "b": [["train", "x", 0]],
        "c": [["train", "set_12", 0]],
    }
    source = Source(tmp_path, list(labels), labels=labels)
    with pytest.raises(UserError, match="several people: 3, 4"):
        source.person("a")
    with pytest.raises(UserError, match="ends in no number"):
        source.person("b")
    assert source.person("c") == 12


def test_places_without_a_picture_in_a_batch_are_nobodys(badge):
    """As of a checkpoint of Base, whose operator has a size: batches are filled up."""
    base = ImageMap(None, Desensitizer("badge"), ImageStorage("png"), (4, 2))
    picture = np.zeros((4, 2, 3), np.uint8)
    mapped = BatchMapper(base, 4)([picture, None, picture], [5, None, 6])
    assert [None if image is None else int(image.max()) for image in mapped] == [5, None, 6]
    assert base(torch.zeros(1, 3, 4, 2), people=[8]).unique().tolist() == [8]
    with pytest.raises(UserError, match="nothing tells who is shown"):
        base(torch.zeros(1, 3, 4, 2))


def test_a_video_is_refused_before_it_is_opened(badge, tmp_path):
    operator = ImageMap(None, Desensitizer("badge"), ImageStorage("png"), None)
    (tmp_path / "boxes.txt").write_text("1,1,0,0,4,4\n1,-1,0,0,4,4\n")  # of one nobody says who it is
    with pytest.raises(UserError, match=r"badge depends on the person.* boxes of a video .*absent\.mkv"):
        protect_video(
            tmp_path / "absent.mkv",
            tmp_path / "out",
            operator,
            MotBoxes(tmp_path / "boxes.txt"),
            ProtectionOptions(),
        )
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match=r"badge depends on the person.* boxes of a video .*absent\.mkv"):
        protect_video(tmp_path / "absent.mkv", tmp_path / "out", operator, HogDetector(), ProtectionOptions())


def test_numbers_of_a_file_of_boxes_tell_who_is_shown_and_are_kept_by_nobody(badge, tmp_path):
    """They may be the key, as of SecureReID's masks."""
    pictures = [np.full((40, 60, 3), 200, np.uint8)] * 3
    video = write_video(tmp_path / "video.mkv", pictures)
    (tmp_path / "boxes.txt").write_text(
        "1,31,4,4,10,20\n1,62,30,4,10,20\n2,62,30,5,10,20\n3,31,20,6,9,20\n3,17,40,6,9,20\n"
    )
    words = ["--method", "badge", "--input", video, "--boxes", tmp_path / "boxes.txt"]
    words += ["--leave-people", 17, "--output", tmp_path / "out"]
    assert anonymize(*words) == 0
    frames = [frame.pixels for frame in read_frames(tmp_path / "out" / "video.mkv")]
    found = [sorted(set(np.unique(frame).tolist()) - {200}) for frame in frames]
    assert found == [[31, 62], [62], [31]]
    assert (frames[0][5:20, 5:12] == 31).all() and (frames[0][5:20, 32:39] == 62).all()
    (entry,) = read_manifest(tmp_path / "out" / "manifest.jsonl").entries.values()
    log = (tmp_path / "out" / "video.mkv.audit.jsonl").read_text()
    assert anonymize(*words[:-4], "--only-people", 31, "--output", tmp_path / "o") == 2
    assert not (tmp_path / "o").exists()
    assert "identities" not in entry and "identity" not in log and '"left": "person"' in log


def test_an_attack_tells_its_subjects(badge, tmp_path):
    file = tmp_path / "0007_c1_0.png"
    Image.new("RGB", (2, 4)).save(file)
    subjects = [Subject("one", 7, 0, file, file), Subject("two", 9, 1, file, file)]
    seen = operated(Files((4, 2)), "badge")(subjects)
    assert seen.mean((1, 2, 3)).tolist() == [7, 9]


def test_foreign_images_of_an_attack_are_nobodys(badge, tmp_path, monkeypatch):
    """Row A2: the attacker cannot put images of nobody through the operator, of Base or beside it."""
    base = ImageMap(None, Desensitizer("badge"), ImageStorage("png"), (4, 2))
    config = load_config(SMALL_CONFIG, ["PRIVACY.PROTECTION", "conventional"])
    monkeypatch.setattr(targets, "read_trained", lambda path: type("Trained", (), {"cfg": config}))
    monkeypatch.setattr(targets, "load_anonymizer", lambda path, device: base)
    request = AttackRequest(
        "raw", "protected", tmp_path, model=Path("base.pth"), foreign="other", beside=("badge", "blur")
    )
    made = targets.make_targets(request, Subjects([], [], [], (4, 2), 0), "cpu")
    reason = "badge depends on the person, and nobody is known in foreign images"
    assert [made[name].impossible("A2") for name in ("protected", "badge", "blur")] == [reason, reason, ""]


def test_other_operators_need_no_names(tmp_path):
    (tmp_path / "in").mkdir()
    Image.new("RGB", (4, 8), (1, 200, 3)).save(tmp_path / "in" / "holiday.png")
    assert folder_source(tmp_path / "in").paths == ["holiday.png"]
    words = ["--method", "mask", "--input", str(tmp_path / "in"), "--output", str(tmp_path / "out")]
    assert anonymize(*words) == 0
