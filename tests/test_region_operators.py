"""Operators that change a part of each image: who tells them which, and who has to refuse."""

from __future__ import annotations

from conftest import SMALL_CONFIG, initial_weights, small_options  # before fastreid: it makes it work

# isort: split
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from fastreid.modeling import build_model
from fastreid.utils.events import EventStorage
from in_process import call
from PIL import Image

from fastreid_privacy import UserError, load_anonymizer, load_config
from fastreid_privacy.attack import targets
from fastreid_privacy.attack.request import AttackRequest
from fastreid_privacy.attack.subjects import Subject, Subjects
from fastreid_privacy.attack.views import Files, operated
from fastreid_privacy.checkpoints.image_maps import ImageMap
from fastreid_privacy.collection.floor import check_changed
from fastreid_privacy.collection.protect import ProtectionOptions
from fastreid_privacy.core.placing import placed
from fastreid_privacy.data import image_paths
from fastreid_privacy.desensitize import DESENSITIZER_REGISTRY, Desensitizer, Region, finds_regions
from fastreid_privacy.desensitize.desensitizer import about_regions, option_keys
from fastreid_privacy.desensitize.regions import as_batch, regions_of
from fastreid_privacy.manifest import MANIFEST, read_manifest
from fastreid_privacy.model.storage import ImageStorage
from fastreid_privacy.training import preflight
from fastreid_privacy.training.preflight import check_regions, check_regions_of_images
from fastreid_privacy.video.boxes import MotBoxes
from fastreid_privacy.video.protect import protect_video


class Named:
    """The upper rows of an image, as many eighths of it as the first digit of its file's name says."""

    def __init__(self, told: str):
        if told == "absent":
            raise UserError("DATASETS.REGIONS absent does not exist")
        self.about, self.asked = {"told": told}, []

    def __call__(self, path, name, size):
        self.asked.append((path.name, name, size))
        if not path.name[0].isdigit():
            raise UserError("its name begins with no digit")
        mask = np.zeros(size or (16, 8), bool)
        mask[: int(path.name[0]) * len(mask) // 8] = True
        return Region(mask, "digit")


@pytest.fixture
def stripe(monkeypatch):
    """An operator that turns the region to its negative."""
    monkeypatch.setattr(DESENSITIZER_REGISTRY, "_obj_map", dict(DESENSITIZER_REGISTRY._obj_map))

    def stripe(images, regions):
        return torch.where(regions > 0, 255 - images, images)

    DESENSITIZER_REGISTRY.register(finds_regions(Named)(stripe))
    return stripe


def test_an_operator_gets_the_part_of_each_image(stripe):
    images = torch.full((2, 3, 4, 2), 55.0)
    regions = torch.zeros(2, 1, 4, 2)
    regions[1, :, 0] = 1
    shown = Desensitizer("stripe")(images, regions=regions)
    assert shown[0].unique().tolist() == [55] and shown[1, 0].tolist() == [[200, 200]] + [[55, 55]] * 3
    with pytest.raises(UserError, match="stripe changes a part of each image, and nothing tells which"):
        Desensitizer("stripe")(images)
    with pytest.raises(ValueError, match=r"regions must be \(2, 1, 4, 2\), not \(2, 1, 4, 1\)"):
        Desensitizer("stripe")(images, regions=regions[..., :1])
    blur = Desensitizer("blur")
    assert blur.finder is None and torch.equal(blur(images, regions=regions), blur(images))
    assert option_keys("stripe") == ["DATASETS.REGIONS"] and "DATASETS.REGIONS" not in option_keys("blur")


def test_an_operator_that_nothing_tells_regions_is_refused(stripe):
    DESENSITIZER_REGISTRY.register(deaf)
    with pytest.raises(UserError, match="deaf asks for regions, and has nothing that finds them"):
        _ = Desensitizer("deaf").finder


def deaf(images, regions):
    return images * (1 - regions)


@pytest.mark.parametrize("size", [(4, 3), (7, 5), (16, 8), (20, 11)])
def test_a_pixel_is_inside_where_the_region_touches_it(size):
    """Against loops over pixels as intervals of the side."""
    mask = np.random.default_rng(0).random((12, 7)) < 0.2
    expected = np.zeros(size, bool)
    for y, x in np.argwhere(mask):
        for v, u in np.ndindex(*size):
            down = v * 12 < (y + 1) * size[0] and y * size[0] < (v + 1) * 12
            across = u * 7 < (x + 1) * size[1] and x * size[1] < (u + 1) * 7
            expected[v, u] |= down and across
    assert np.array_equal(as_batch([mask], size)[0, 0].numpy() > 0, expected)


def test_regions_of_files_name_the_file_that_has_none(stripe):
    finder = Desensitizer("stripe").finder
    found = regions_of(finder, ["a/1.png", "4.png"], (8, 4), ["one", "four"])
    assert found.shape == (2, 1, 8, 4) and found.sum((1, 2, 3)).tolist() == [4, 16]
    assert finder.asked == [("1.png", "one", None), ("4.png", "four", None)]
    with pytest.raises(UserError, match=r"^a/x.png: its name begins with no digit$"):
        regions_of(finder, ["1.png", "a/x.png"], (8, 4))
    assert regions_of(None, ["1.png"], (8, 4)) is None


@pytest.fixture
def model(stripe):
    keys = {"PRIVACY.DESENSITIZER.NAME": "stripe", "MODEL.HEADS.NUM_CLASSES": 4, "INPUT.PADDING.SIZE": 3}
    return build_model(load_config(SMALL_CONFIG, small_options("unused", **keys)))


def batch_of(images):
    return {
        "images": images,
        "targets": torch.tensor([3, 3, 1, 1]),
        "camids": torch.zeros(4),
        "img_paths": ["1", "2", "3", "4"],
    }


def by_hand(images):
    """The negative of the upper eighths, 1 to 4 of them."""
    shown = images.clone()
    for number, image in enumerate(shown, 1):
        rows = image[:, : number * images.shape[2] // 8]
        rows[:] = 255 - rows
    return shown


def test_training_moves_the_region_with_the_image(model, monkeypatch):
    whole = torch.randint(0, 256, (4, 3, 64, 32), generator=torch.Generator().manual_seed(0)).byte()
    places = torch.tensor([[0, 0, 0], [6, 2, 1], [3, 3, 1], [1, 5, 0]])
    batch = {**batch_of(whole.float()), "whole": whole, "places": places}
    seen, anonymization_losses = [], model.anonymization_losses
    keep = lambda *images: seen.append(images[1]) or anonymization_losses(*images)  # noqa: E731
    monkeypatch.setattr(model, "anonymization_losses", keep)
    with EventStorage(0):
        model.train()(batch)
    (y,) = seen
    assert torch.equal(y, placed(by_hand(whole.float()), places, *model.padding))


def test_training_on_moved_images_alone_is_refused(model):
    with EventStorage(0), pytest.raises(UserError, match="nothing tells which part of these images"):
        model.train()(batch_of(torch.zeros(4, 3, 64, 32)))


def test_evaluation_finds_regions_by_the_files(model):
    images = torch.randint(0, 256, (4, 3, 64, 32), generator=torch.Generator().manual_seed(0)).float()
    batch = batch_of(images)
    assert torch.equal(model.eval().domain_images(batch)["DI"], by_hand(images))
    model.protection = "conventional"
    assert torch.equal(model.protected(images, torch.zeros(4), batch["img_paths"]), by_hand(images))


def test_preflight_wants_regions_and_that_images_are_cropped_with_them(stripe):
    def check(training=True, **keys):
        keys = {"PRIVACY.DESENSITIZER.NAME": "stripe", **keys}
        check_regions(load_config(SMALL_CONFIG, small_options("unused", **keys)), training=training)

    with pytest.raises(UserError, match=r"stripe changes a part .*give PRIVACY.DESENSITIZE_BEFORE_CROP True"):
        check()
    check(training=False)
    check(**{"PRIVACY.PROTECTION": "none"})
    check(**{"PRIVACY.DESENSITIZE_BEFORE_CROP": True})
    check(**{"PRIVACY.DESENSITIZER.NAME": "blur"})
    with pytest.raises(UserError, match="absent does not exist"):
        check(training=False, **{"DATASETS.REGIONS": "absent"})


def test_a_file_of_regions_has_to_tell_of_all_images_of_a_run(stripe, small_dataset, monkeypatch):
    keys = {"PRIVACY.DESENSITIZER.NAME": "stripe", "DATASETS.REGIONS": "mine"}
    cfg = load_config(SMALL_CONFIG, small_options("unused", **keys))
    listed = {Path(path).name for path in image_paths(cfg, training=True)}
    assert listed == {file.name for file in small_dataset.glob("*/*/*.jpg")}
    tested = {Path(path).parent.name for path in image_paths(cfg, training=False)}
    assert tested == {"query", "bounding_box_test"}
    check_regions_of_images(cfg, training=True)
    monkeypatch.setattr(preflight.data, "image_paths", lambda cfg, training: ["1.png", "a/x.png"])
    with pytest.raises(UserError, match=r"^a/x.png: its name begins with no digit$"):
        check_regions_of_images(cfg, training=True)
    check_regions_of_images(load_config(SMALL_CONFIG, small_options("unused")), training=True)


def images_in(folder: Path, *names: str, size=(16, 8)) -> dict[str, np.ndarray]:
    made = {}
    for number, name in enumerate(names):
        made[name] = np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(made[name]).save(folder / name)
    return made


def anonymize(tmp_path, *words, out="out") -> int:
    return call("anonymize", "--input", tmp_path / "in", "--output", tmp_path / out, *words)


def test_a_collection_says_how_regions_were_found_and_names_files_without_one(stripe, tmp_path, capsys):
    raw = images_in(tmp_path / "in", "1a.png", "part/8.png", "x.png")
    words = ["--method", "stripe", "DATASETS.REGIONS", "mine"]
    assert anonymize(tmp_path, *words) == 2
    told = capsys.readouterr()
    assert "1 images were not protected" in told.err and "x.png: its name begins with no digit" in told.err
    assert "what told their regions: digit 2" in told.out
    manifest = read_manifest(tmp_path / "out" / MANIFEST)
    assert manifest.header["regions"] == {"told": "mine"}
    assert [entry["region"] for entry in manifest.entries.values()] == ["digit", "digit"]
    for name, rows in {"1a.png": 2, "part/8.png": 16}.items():
        shown = np.array(Image.open(tmp_path / "out" / name))
        assert np.array_equal(shown[:rows], 255 - raw[name][:rows])
        assert np.array_equal(shown[rows:], raw[name][rows:])
    assert anonymize(tmp_path, "--method", "stripe", "DATASETS.REGIONS", "others") == 2
    assert "regions" in capsys.readouterr().err  # another file told them: it is another run
    assert anonymize(tmp_path, "--method", "stripe", "DATASETS.REGIONS", "absent", out="none") == 2
    assert "absent does not exist" in capsys.readouterr().err and not (tmp_path / "none").exists()


def test_regions_that_nothing_reads_are_refused(stripe, weights, tmp_path, capsys):
    images_in(tmp_path / "in", "1.png")
    for words in (["--method", "blur"], ["--weights", str(weights)]):
        for guard in ([], ["--no-guard"]) if "--weights" in words else ([],):
            assert anonymize(tmp_path, *words, *guard, "DATASETS.REGIONS", "mine") == 2
            assert "DATASETS.REGIONS would change nothing" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_floor_looks_at_the_region_alone(tmp_path):
    raw = np.random.default_rng(0).integers(0, 256, (64, 32, 3), dtype=np.uint8)
    region = np.zeros((64, 32), bool)
    region[:2, :4] = True
    strong, weak = raw.copy(), raw.copy()
    strong[region] = 128
    weak[region] = np.clip(raw[region].astype(int) + 1, 0, 255)
    check_changed(raw, strong, conventional=True, region=region)
    with pytest.raises(UserError, match="nearly as it is"):
        check_changed(raw, strong, conventional=True)
    with pytest.raises(UserError, match="nearly as it is"):
        check_changed(raw, weak, conventional=True, region=region)
    elsewhere = raw.copy()
    elsewhere[~region] = 128
    with pytest.raises(UserError, match="it would stay as it is"):
        check_changed(raw, elsewhere, conventional=True, region=region)


def test_the_floor_of_a_part_of_a_high_picture(tmp_path):
    """Rows are sampled there; a part that no sampled row meets is held to the floor of those around it."""
    raw = np.random.default_rng(0).integers(0, 256, (600, 20, 3), dtype=np.uint8)
    region = np.zeros((600, 20), bool)
    region[1] = True
    changed = raw.copy()
    with pytest.raises(UserError, match="it would stay as it is"):
        check_changed(raw, changed, conventional=True, region=region)
    changed[1] = np.where(raw[1] > 127, raw[1] - 1, raw[1] + 1)
    with pytest.raises(UserError, match="nearly as it is"):
        check_changed(raw, changed, conventional=True, region=region)
    changed[1] = 128
    check_changed(raw, changed, conventional=True, region=region)


@pytest.fixture
def striped_weights(stripe, tmp_path):
    keys = {"PRIVACY.DESENSITIZER.NAME": "stripe", "DATASETS.REGIONS": "of its training"}
    return initial_weights(tmp_path / "model.pth", **keys)


def test_the_guard_holds_images_against_the_changed_part(striped_weights, tmp_path, monkeypatch):
    """A network that copies its images is drawn to the negative of the region, and the rest stays."""
    raw = images_in(tmp_path / "in", "1.png", "4.png", size=(64, 32))
    with monkeypatch.context() as patch:
        patch.setattr(ImageMap, "_of_network", lambda self, images, desensitized: images)
        assert anonymize(tmp_path, "--weights", str(striped_weights), out="held") == 0
    for name, before in raw.items():
        shown, rows = np.array(Image.open(tmp_path / "held" / name)), int(name[0]) * 8
        assert np.array_equal(shown[rows:], before[rows:])
        assert np.abs(shown[:rows].astype(int) - before[:rows]).mean() > 30
    assert anonymize(tmp_path, "--weights", str(striped_weights), "DATASETS.REGIONS", "told now") == 0
    manifest = read_manifest(tmp_path / "out" / MANIFEST)
    assert manifest.header["regions"] == {"told": "told now"}  # and not what its training was told
    assert {entry["region"] for entry in manifest.entries.values()} == {"digit"}
    assert anonymize(tmp_path, "--weights", str(striped_weights), out="own") == 0
    assert read_manifest(tmp_path / "own" / MANIFEST).header["regions"] == {"told": "of its training"}
    assert anonymize(tmp_path, "--weights", str(striped_weights), "--no-guard", out="bare") == 0
    assert "regions" not in read_manifest(tmp_path / "bare" / MANIFEST).header  # nothing depends on them


def test_an_anonymizer_that_sees_the_changed_part_is_told(stripe, tmp_path):
    keys = {"PRIVACY.DESENSITIZER.NAME": "stripe", "PRIVACY.ANONYMIZER.INPUT": "raw+desensitized"}
    path = initial_weights(tmp_path / "model.pth", **keys)
    protect = load_anonymizer(path, "cpu", regions="elsewhere")
    assert protect.of_regions.finder.about == {"told": "elsewhere"}
    images = torch.randint(0, 256, (1, 3, 64, 32), generator=torch.Generator().manual_seed(0)).byte()
    with pytest.raises(UserError, match="nothing tells which part of these images"):
        protect(images)
    shown = [protect(images, regions=torch.full((1, 1, 64, 32), value)) for value in (0.0, 1.0)]
    assert not torch.equal(*shown)
    images_in(tmp_path / "in", "1.png", "4.png", size=(64, 32))
    assert anonymize(tmp_path, "--weights", str(path), "--no-guard") == 0
    assert len(read_manifest(tmp_path / "out" / MANIFEST).entries) == 2


def test_a_base_model_brings_regions_to_its_size(stripe, tmp_path):
    """Images of another size than the network's, and places without a picture in the batch."""
    keys = {"PRIVACY.DESENSITIZER.NAME": "stripe", "PRIVACY.PROTECTION": "conventional"}
    cfg = load_config(SMALL_CONFIG, small_options("", **{"MODEL.HEADS.NUM_CLASSES": 4, **keys}))
    path = tmp_path / "base.pth"
    torch.save({"model": build_model(cfg).state_dict(), "config": cfg.dump()}, path)
    images_in(tmp_path / "in", "2.png", "8.png", size=(128, 64))
    (tmp_path / "in" / "3.png").write_bytes(b"no picture")
    assert anonymize(tmp_path, "--weights", str(path)) == 2
    for name, rows in {"2.png": 16, "8.png": 64}.items():
        small = np.array(Image.open(tmp_path / "in" / name).resize((32, 64), Image.Resampling.BICUBIC))
        shown = np.array(Image.open(tmp_path / "out" / name))
        assert np.array_equal(shown[:rows], 255 - small[:rows])
        assert np.array_equal(shown[rows:], small[rows:])


def test_boxes_of_a_video_are_refused(stripe, tmp_path):
    operator = ImageMap(None, Desensitizer("stripe"), ImageStorage("png"), None)
    (tmp_path / "boxes.txt").write_text("1,1,0,0,4,4\n")
    boxes = MotBoxes(tmp_path / "boxes.txt")
    with pytest.raises(UserError, match=r"stripe changes a part .* of the boxes of a video .*absent\.mkv"):
        protect_video(tmp_path / "absent.mkv", tmp_path / "out", operator, boxes, ProtectionOptions())


def test_an_attack_finds_the_regions_of_its_subjects(stripe, tmp_path):
    raw = images_in(tmp_path, "1.png", "4.png")
    subjects = [Subject(name[0], 7, 0, tmp_path / name, tmp_path / name) for name in raw]
    view = operated(Files((16, 8)), "stripe")
    shown = view(subjects)
    for image, (name, pixels) in zip(shown, raw.items(), strict=True):
        rows = int(name[0]) * 2
        assert np.array_equal(image[:, :rows].numpy(), 255 - pixels.transpose(2, 0, 1)[:, :rows])
        assert np.array_equal(image[:, rows:].numpy(), pixels.transpose(2, 0, 1)[:, rows:])
    assert view.finder.asked == [("1.png", "1", None), ("4.png", "4", None)]


@pytest.mark.parametrize("told", ["", "masks"])
def test_foreign_images_of_an_attack_have_no_regions_in_a_file(stripe, tmp_path, monkeypatch, told):
    base = ImageMap(None, Desensitizer("stripe", regions_file=told), ImageStorage("png"), (4, 2))
    config = load_config(SMALL_CONFIG, ["PRIVACY.PROTECTION", "conventional"])
    monkeypatch.setattr(targets, "read_trained", lambda path: type("Trained", (), {"cfg": config}))
    monkeypatch.setattr(targets, "load_anonymizer", lambda path, device: base)
    request = AttackRequest(
        "raw", "protected", tmp_path, model=Path("base.pth"), foreign="other", beside=("stripe", "mask")
    )
    made = targets.make_targets(request, Subjects([], [], [], (4, 2), 0), "cpu")
    reason = "masks tells stripe no regions of foreign images" if told else ""
    assert made["protected"].impossible("A2") == reason
    assert made["stripe"].impossible("A1") == "stripe is undone by nothing that is known"
    assert made["mask"].impossible("A1") == "mask leaves nothing to undo"


def test_a_config_of_an_older_version_knows_no_regions(stripe):
    cfg = load_config("", [])
    assert cfg.DATASETS.REGIONS == "" and json.dumps(cfg.PRIVACY.DESENSITIZER).count("REGION") == 1


def test_a_base_model_of_an_operator_that_is_not_registered_is_named(stripe, tmp_path):
    keys = {"PRIVACY.DESENSITIZER.NAME": "stripe", "PRIVACY.PROTECTION": "conventional"}
    cfg = load_config(SMALL_CONFIG, small_options("", **{"MODEL.HEADS.NUM_CLASSES": 4, **keys}))
    path = tmp_path / "base.pth"
    torch.save({"model": build_model(cfg).state_dict(), "config": cfg.dump()}, path)
    del DESENSITIZER_REGISTRY._obj_map["stripe"]
    with pytest.raises(UserError, match=rf"^{path}: .*'stripe', which is not registered.*--project FOLDER"):
        load_anonymizer(path, "cpu")


def test_a_run_goes_on_with_its_own_regions_alone(stripe, small_dataset, tmp_path, monkeypatch, capsys):
    """The path of the masks is the same, and what the finder says of them is not."""
    keys = {"PRIVACY.PROTECTION": "conventional", "PRIVACY.DESENSITIZER.NAME": "stripe"}
    keys |= {"PRIVACY.DESENSITIZE_BEFORE_CROP": True, "DATASETS.REGIONS": "mine", "SOLVER.MAX_EPOCH": 1}
    words = ["--config-file", str(SMALL_CONFIG), *small_options(tmp_path / "run", **keys)]
    assert call("train", *words) == 0
    cfg = load_config(SMALL_CONFIG, words[2:])
    final = tmp_path / "run" / "model_final.pth"
    assert torch.load(final, weights_only=True)["regions"] == about_regions(cfg) == {"told": "mine"}
    assert call("train", "--resume", *words) == 0
    make = stripe.make_finder

    def others(told):
        finder = make(told)
        finder.about = {"told": "others"}
        return finder

    monkeypatch.setattr(stripe, "make_finder", others)
    assert call("train", "--resume", *words) == 2
    said = capsys.readouterr().err
    assert "was trained on other images: of its regions it tells {'told': 'mine'}, and now that is" in said
    load_anonymizer(final, "cpu")  # other images have other regions
    for other in ({"PRIVACY.PROTECTION": "none"}, {"PRIVACY.DESENSITIZER.NAME": "blur"}):
        assert about_regions(load_config(SMALL_CONFIG, small_options("unused", **{**keys, **other}))) is None
