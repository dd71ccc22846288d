"""projects/Regions: its operators against plain code, its sources against what they tell, and bad input."""

from __future__ import annotations

from conftest import SMALL_CONFIG, small_options  # before fastreid: importing the package makes it work
from in_process import anonymize, recover, train

# isort: split
import copy
import json
import pickle
import shutil
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from fastreid.modeling import build_model
from PIL import Image

from fastreid_privacy import UserError
from fastreid_privacy.attack.subjects import Subject
from fastreid_privacy.attack.views import Files, operated
from fastreid_privacy.compare.methods import read_methods
from fastreid_privacy.config import load_config
from fastreid_privacy.core.pictures import read_picture
from fastreid_privacy.core.projects import load_projects
from fastreid_privacy.data.synthetic.plan import SyntheticOptions
from fastreid_privacy.data.synthetic.truth import JOINTS, rendered_truth
from fastreid_privacy.desensitize import (
    DESENSITIZER_REGISTRY,
    Desensitizer,
    gaussian_blur,
    gaussian_noise,
    pixelate,
)
from fastreid_privacy.human_study import GROUPS
from fastreid_privacy.human_study.study_images import ShownImage, StudyImages
from fastreid_privacy.keys.sealing import IDENTITY, new_identity
from fastreid_privacy.manifest import MANIFEST, read_manifest
from fastreid_privacy.retrieval.build import build_index
from fastreid_privacy.retrieval.extract import load_extractor
from fastreid_privacy.retrieval.gallery import GalleryPictures
from fastreid_privacy.retrieval.query import answers_strip, ask, found_tiles
from fastreid_privacy.retrieval.strip import Tile, draw_strip
from fastreid_privacy.training.preflight import check_names, check_regions

PROJECT = Path(__file__).parent.parent / "projects" / "Regions"
PARTS = ("full_body", "upper_body", "head", "face")
SIZE = 40, 20
WHOLE = {
    "blur": lambda images: gaussian_blur(images, 12.0 * SIZE[0] / 256),
    "pixelate": lambda images: pixelate(images, round(24 * SIZE[0] / 256)),
    "noise": lambda images: gaussian_noise(images, 0.5, [5, 6]),
    "mask": lambda images: torch.full_like(images, 128 if images.dtype == torch.uint8 else 127.5),
}


@pytest.fixture
def project(own_imports):
    load_projects([PROJECT])
    import person_regions
    from person_regions import coco, files, operators, parts, rendered, sources

    return type(
        "Project",
        (),
        {
            **vars(person_regions),
            **{m.__name__.split(".")[1]: m for m in (coco, files, operators, parts, rendered, sources)},
        },
    )


# -- operators -----------------------------------------------------------------------------------------------


def two_images(kind):
    levels = torch.randint(0, 256, (2, 3, *SIZE), generator=torch.Generator().manual_seed(0))
    regions = torch.zeros(2, 1, *SIZE)
    regions[0, :, :12, 3:15] = 1
    regions[1, :, 20:, 9:] = 1
    return levels.to(kind), regions


def test_every_operator_has_every_part(project):
    assert tuple(project.PARTS) == PARTS
    names = {f"{way}_{part}" for way in (*WHOLE, "inpaint") for part in PARTS}
    assert names <= set(DESENSITIZER_REGISTRY._obj_map) and len(names) == 20
    with pytest.raises(UserError, match=r"'blur_hand', which is not registered.*blur_head"):
        check_names(load_config(SMALL_CONFIG, ["PRIVACY.DESENSITIZER.NAME", "blur_hand"]))


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32, torch.float64])
@pytest.mark.parametrize("way", WHOLE)
def test_inside_is_the_operator_and_outside_is_the_image(project, way, kind):
    images, regions = two_images(kind)
    shown = Desensitizer(f"{way}_head")(images, seeds=[5, 6], regions=regions)
    assert shown.dtype == (torch.uint8 if kind is torch.uint8 else torch.float32)
    everywhere = WHOLE[way](images)
    for y, x in np.ndindex(*SIZE):
        for image in range(2):
            source = everywhere if regions[image, 0, y, x] else images
            assert shown[image, :, y, x].tolist() == source[image, :, y, x].float().tolist()


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_inpainting_is_opencvs(project, kind):
    images, regions = two_images(kind)
    shown = Desensitizer("inpaint_face")(images, regions=regions)
    assert shown.dtype == kind
    for image, region, got in zip(images, regions, shown, strict=True):
        pixels, hole = image.byte().permute(1, 2, 0).numpy().copy(), region[0].byte().numpy()
        known = np.where(hole[..., None], 128, pixels).astype(np.uint8)
        expected = cv2.inpaint(known, hole, max(1.0, 6 * SIZE[0] / 256), cv2.INPAINT_TELEA)
        assert np.array_equal(got.permute(1, 2, 0).numpy(), expected)
        assert np.array_equal(expected[hole == 0], pixels[hole == 0]) and (expected != pixels).any()


def test_inpainting_takes_nothing_from_what_it_hides(project):
    images, regions = two_images(torch.uint8)
    other = torch.where(regions > 0, 255 - images, images)
    operator = Desensitizer("inpaint_full_body")
    assert torch.equal(operator(images, regions=regions), operator(other, regions=regions))
    nothing_around = operator(images, regions=torch.ones_like(regions))
    assert nothing_around.unique().tolist() == [128]


@pytest.mark.parametrize("way", [*WHOLE, "inpaint"])
def test_empty_batches_and_inputs_that_stay(project, way):
    operator = Desensitizer(f"{way}_head")
    assert operator(torch.zeros(0, 3, *SIZE), regions=torch.zeros(0, 1, *SIZE)).shape == (0, 3, *SIZE)
    images, regions = two_images(torch.float32)
    before = images.clone()
    operator(images, seeds=[1, 2], regions=regions)
    assert torch.equal(images, before)


def test_options_are_those_of_the_whole_operator(project):
    images, regions = two_images(torch.float32)
    cfg = load_config("", ["PRIVACY.DESENSITIZER.NAME", "blur_head", "PRIVACY.DESENSITIZER.BLUR_SIGMA", "4"])
    shown = Desensitizer.from_config(cfg)(images, regions=regions)
    assert torch.equal(shown, torch.where(regions > 0, gaussian_blur(images, 4 * SIZE[0] / 256), images))


# -- parts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "rows", "columns"),
    [("full_body", 50, (0, 20)), ("upper_body", 30, (0, 20)), ("head", 13, (0, 20)), ("face", 13, (4, 16))],
)
def test_parts_of_a_crop_and_of_a_box(project, part, rows, columns):
    """Fractions of the rectangle; of 50 rows 0.26 are 13."""
    expected = np.zeros((50, 20), bool)
    expected[:rows, slice(*columns)] = True
    assert np.array_equal(project.parts.part_of_crop(part, (50, 20)), expected)
    moved = np.zeros((70, 40), bool)
    moved[10 : 10 + rows, 15 + columns[0] : 15 + columns[1]] = True
    assert np.array_equal(project.parts.part_of_box(part, (15, 10, 35, 60), (70, 40)), moved)


def test_parts_of_a_mask_are_of_its_rectangle(project):
    mask = np.zeros((70, 40), bool)
    mask[10:60, 18:22] = True
    mask[40, 15:35] = True
    head = project.parts.part_of_mask("head", mask)
    assert np.array_equal(np.argwhere(head), [(y, x) for y in range(10, 23) for x in range(18, 22)])
    assert np.array_equal(project.parts.part_of_mask("full_body", mask), mask)
    assert project.parts.part_of_mask("face", mask).sum() == 13 * 12
    outside = project.parts.part_of_box("head", (-9, -50, 30, -1), (70, 40))
    assert not outside.any()
    clipped = project.parts.part_of_box("full_body", (-9, -5, 3.2, 4.1), (70, 40))
    assert clipped.sum() == 4 * 5 and clipped[:5, :4].all()


# -- the renderer --------------------------------------------------------------------------------------------


def test_rendered_people_are_told_by_their_renderer(project, raw):
    names = [f"{file.parent.name}/{file.name}" for file in sorted(raw.glob("query/*"))[:4]]
    truths = dict(rendered_truth(SyntheticOptions.of_folder(raw.name), names))
    for name in reversed(names):  # in whatever order they are asked for
        truth = truths[name]
        masks = {}
        for part in PARTS:
            masks[part], source = project.PersonRegions(part)(raw / name, None, None)
            assert source == "renderer"
        joints = dict(zip(JOINTS, truth.joints, strict=True))
        hips = (joints["left_hip"][1] + joints["right_hip"][1]) / 2
        for part, lowest in (("full_body", 99), ("upper_body", hips), ("head", joints["neck"][1])):
            expected = [(y, x) for y, x in np.argwhere(truth.mask) if y <= lowest]
            assert np.argwhere(masks[part]).tolist() == [list(place) for place in expected]
        x, y = np.rint(joints["head"]).astype(int)
        assert masks["face"][y, x]
        rows, columns = (np.flatnonzero(masks["face"].any(axis)) for axis in (1, 0))
        assert masks["face"].sum() == len(rows) * len(columns)  # a rectangle
        assert rows[-1] <= joints["neck"][1] + 1


def test_a_data_set_that_is_a_link_keeps_its_regions_and_names(project, raw, linked_dataset, tmp_path):
    file = sorted(raw.glob("query/*"))[0]
    name = f"{raw.name}/query/{file.name}"
    expected, _ = project.PersonRegions("head")(file, None, None)
    (tmp_path / "other").symlink_to(file)  # tells by where it leads
    for path in (linked_dataset / "query" / file.name, tmp_path / "other"):
        mask, source = project.PersonRegions("head")(path, None, None)
        assert source == "renderer" and np.array_equal(mask, expected)
    assert project.sources.name_of(linked_dataset / "query" / file.name) == name
    mask_at((tmp_path / "masks" / name).with_suffix(".png"), 7, (64, 32))
    told = project.PersonRegions("head", str(tmp_path / "masks"))
    assert told(linked_dataset / "query" / file.name, None, None).source == "mask"


def test_where_nobody_is_rendered_the_crop_is_taken_and_said(project, raw, tmp_path, caplog):
    nobody = sorted(raw.glob("bounding_box_test/0000_*"))[0]  # a false detection
    finder = project.PersonRegions("head")
    mask, source = finder(nobody, None, None)
    assert source == "crop" and np.array_equal(mask, project.parts.part_of_crop("head", (64, 32)))
    elsewhere = tmp_path / "copied.jpg"
    shutil.copy(sorted(raw.glob("query/*"))[0], elsewhere)
    assert finder(elsewhere, None, None).source == "crop"
    warned = [record for record in caplog.records if "nothing tells where the head is" in record.message]
    assert len(warned) == 1  # once, not for each image


def test_an_image_that_replaced_a_rendered_one_in_another_size_is_not_the_renderers(project, raw):
    file = sorted(raw.glob("query/*"))[0]
    mask, source = project.PersonRegions("head")(file, None, (100, 50))
    assert source == "crop" and mask.shape == (100, 50)


def test_an_attack_tells_the_same_regions(project, raw):
    files = sorted(raw.glob("query/*"))[:3]
    subjects = [Subject(f"query/{file.stem}", 1, 0, file, file) for file in files]
    files_of = Files((64, 32))
    shown, before = operated(files_of, "mask_head")(subjects), files_of(subjects)
    for file, image, was in zip(files, shown, before, strict=True):
        mask = torch.from_numpy(project.PersonRegions("head")(file, None, None).mask)
        assert torch.equal(image[:, ~mask], was[:, ~mask]) and (image[:, mask] == 128).all()


# -- models of these operators -------------------------------------------------------------------------------


@pytest.fixture
def looked_for(project, tmp_path, monkeypatch):
    """A Base model of blur_head, its gallery of three pictures, and what it stores of them, by path.

    Masks tell the heads. Where the command is run lie other pictures of the same names, with other heads.
    """
    size, shown = (64, 32), {}
    for number, name in enumerate(("1.png", "2.png", "3.png")):
        raw = image_at(tmp_path / "raw" / "people" / name, size, number)
        mask_at(tmp_path / "masks" / "people" / name, 3 + 9 * number, size)
        image_at(tmp_path / "here" / name, size, number + 7)
        mask_at(tmp_path / "masks" / "here" / name, 40, size)
        file = tmp_path / "raw" / "people" / name
        head, _ = project.PersonRegions("head", str(tmp_path / "masks"))(file, None, size)
        images = torch.from_numpy(raw).permute(2, 0, 1)[None].float()
        stored = torch.where(torch.from_numpy(head), gaussian_blur(images, 12.0 * size[0] / 256), images)
        shown[f"people/{name}"] = stored[0].permute(1, 2, 0).round().byte().numpy()
    keys = {
        "PRIVACY.PROTECTION": "conventional",
        "PRIVACY.DESENSITIZER.NAME": "blur_head",
        "PRIVACY.DESENSITIZER.BLUR_SIGMA": 12.0,
        "PRIVACY.DESENSITIZE_BEFORE_CROP": True,
        "DATASETS.REGIONS": str(tmp_path / "masks"),
        "MODEL.HEADS.NUM_CLASSES": 4,
    }
    cfg = load_config(SMALL_CONFIG, small_options("unused", **keys))
    torch.manual_seed(0)
    torch.save({"model": build_model(cfg).state_dict(), "config": cfg.dump()}, tmp_path / "base.pth")
    monkeypatch.chdir(tmp_path / "here")
    return load_extractor(tmp_path / "base.pth", "cpu"), tmp_path / "raw", shown


def test_a_protected_query_is_found_as_the_gallery_has_it(looked_for):
    extract, root, shown = looked_for
    index = build_index(root, extract, metric="euclidean", protect=True)
    for answer in ask(index, extract, [root / path for path in shown], protect=True):
        assert answer.paths[0] == f"people/{answer.query.name}"
        assert answer.scores[0] == pytest.approx(0, abs=1e-3) and answer.scores[1] > 0.1


def test_a_strip_shows_what_stands_as_protected(looked_for):
    extract, root, shown = looked_for
    index = build_index(root, extract, protect=True)
    answers = ask(index, extract, [root / "people" / "2.png"], protect=True)
    missing = []
    tiles = found_tiles(answers[0], index, extract, GalleryPictures(root), missing)
    assert not missing and sorted(answers[0].paths) == sorted(shown)
    for path, tile in zip(answers[0].paths, tiles, strict=True):
        assert np.array_equal(np.array(tile.picture), shown[path])
    picture, missing = answers_strip(answers, index, extract, root, protect=True)
    query = Tile(Image.fromarray(shown["people/2.png"]), "query", "2")
    assert not missing and np.array_equal(picture, draw_strip([(query, tiles)]))


def test_a_strip_of_tar_files_is_refused_as_their_index_is(looked_for, tmp_path):
    """Nothing tells their regions; a picture that is not there is grey all the same."""
    extract, root, _ = looked_for
    index = build_index(root, extract, protect=True)
    answers = ask(index, extract, [root / "people" / "1.png"])
    (tmp_path / "tars").mkdir()
    with tarfile.open(tmp_path / "tars" / "people.tar", "w") as tar:
        tar.add(root / "people" / "1.png", "1.png")
    with pytest.raises(UserError, match="reads files of this machine: copy the images"):
        answers_strip(answers, index, extract, tmp_path / "tars")
    (root / "people" / "3.png").unlink()
    assert answers_strip(answers, index, extract, root)[1] == ["people/3.png"]


def test_a_strip_whose_regions_nothing_tells_any_more_is_refused(looked_for, tmp_path):
    """A picture that can be read is not called unreadable."""
    extract, root, _ = looked_for
    index = build_index(root, extract, protect=True)
    query = shutil.copy(root / "people" / "1.png", tmp_path / "query.png")
    answers = ask(index, extract, [query])
    (root / "people").rename(root / "others")
    index.paths[:] = [path.replace("people", "others") for path in index.paths]
    for answer in answers:
        answer.paths[:] = index.paths
    with pytest.raises(UserError, match=r"others/1.png: .* has no mask of it"):
        answers_strip(answers, index, extract, root)


def test_a_human_study_shows_the_regions_of_the_files_themselves(looked_for, tmp_path):
    _, root, shown = looked_for
    images = [ShownImage(str(root / path), number, 0) for number, path in enumerate(shown)]
    study = StudyImages({"base_blur": tmp_path / "base.pth"}, images, "cpu")
    for number, pixels in enumerate(shown.values()):
        png = study.png(GROUPS["blur-base-oi_pi"], "PI", number)
        assert np.array_equal(read_picture(png), pixels)


# -- files ---------------------------------------------------------------------------------------------------


def image_at(path: Path, size=SIZE, seed=0) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def mask_at(path: Path, top=5, size=SIZE) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros(size, bool)
    mask[top : top + 20, 4:12] = True
    Image.fromarray(mask).save(path)
    return mask


def protect(tmp_path, method, told="", *words, out="out") -> int:
    words = [*words, *(["DATASETS.REGIONS", str(told)] if told else [])]
    folders = ["--input", str(tmp_path / "in"), "--output", str(tmp_path / out)]
    return anonymize("--project", PROJECT, "--method", method, *folders, *words)


def changed(tmp_path, name, raw, out="out"):
    return (np.array(Image.open((tmp_path / out / name).with_suffix(".png"))) != raw).any(2)


def test_masks_beside_the_images(own_imports, tmp_path, capsys):
    """Names with their folders, any ending; what is outside stays, and the manifest has the way."""
    raw = {name: image_at(tmp_path / "in" / name) for name in ("a/1.png", "b/1.png")}
    masks = {
        "a/1.png": mask_at(tmp_path / "masks" / "a" / "1.bmp", top=5),
        "b/1.png": mask_at(tmp_path / "masks" / "b" / "1.png", top=15),
    }
    assert protect(tmp_path, "mask_full_body", tmp_path / "masks") == 0
    assert "what told their regions: mask 2" in capsys.readouterr().out
    for name, pixels in raw.items():
        shown = np.array(Image.open(tmp_path / "out" / name))
        assert np.array_equal(shown[~masks[name]], pixels[~masks[name]])
        assert (shown[masks[name]] == 128).all()
    manifest = read_manifest(tmp_path / "out" / MANIFEST)
    assert manifest.header["regions"].keys() == {"part", "file", "sha256"}
    assert {entry["region"] for entry in manifest.entries.values()} == {"mask"}
    mask_at(tmp_path / "masks" / "b" / "1.png", top=16)
    assert protect(tmp_path, "mask_full_body", tmp_path / "masks") == 2  # other masks are another run
    assert "regions" in capsys.readouterr().err


def palette():
    picture = Image.fromarray(np.ones(SIZE, np.uint8), "P")
    picture.putpalette([0, 0, 0, 255, 255, 255])
    return picture


def levels_at(first, second, thin=False):
    """Two people who touch, each with a level of their own; the first may be one pixel wide."""
    levels = np.zeros(SIZE, np.uint8)
    levels[30:35, 2 : 3 if thin else 9] = first
    levels[10:30, 4:12] = second
    if thin:
        levels[31:35], levels[39, 2] = 0, first
    return Image.fromarray(levels)


def coloured():
    return Image.new("RGB", SIZE[::-1], (255, 0, 0))


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (lambda: Image.new("L", (9, 40), 255), "is 40×9 (height × width), and it is 40×20"),
        (lambda: Image.new("L", SIZE[::-1], 0), "it is black, so that nothing would be hidden"),
        (lambda: Image.new("L", SIZE[::-1], 3), "has no value above half, its largest is 3 of 255"),
        (palette, "it has a palette, whose entries are numbers of classes"),
        (lambda: Image.fromarray(np.full(SIZE, 65535, np.uint16)), "it has more than 8 bits"),
        (lambda: levels_at(1, 200), "it has dark grey areas"),
        (lambda: levels_at(1, 255), "it has dark grey areas"),
        (lambda: levels_at(127, 128), "it has dark grey areas"),
        (lambda: levels_at(2, 255, thin=True), "it has dark grey areas"),
        (lambda: Image.new("RGBA", SIZE[::-1]), "without transparency"),
        (coloured, "it is coloured"),
        (None, "it is no image file that can be read"),
    ],
    ids=[
        *("size", "black", "classes", "palette", "16-bit", "1 and 200", "1 and 255", "around half", "thin"),
        *("transparent", "coloured", "damaged"),
    ],
)
def test_bad_masks_are_named_and_the_rest_goes_on(own_imports, tmp_path, capsys, picture, message):
    image_at(tmp_path / "in" / "bad.png")
    image_at(tmp_path / "in" / "good.png")
    mask_at(tmp_path / "masks" / "good.png")
    file = tmp_path / "masks" / "bad.png"
    picture().save(file) if picture else file.write_bytes(b"no picture")
    assert protect(tmp_path, "blur_head", tmp_path / "masks") == 2
    error = capsys.readouterr().err
    assert "1 images were not protected" in error and "bad.png: its mask in DATASETS.REGIONS" in error
    assert message in error
    assert not (tmp_path / "out" / "bad.png").exists() and (tmp_path / "out" / "good.png").exists()


@pytest.mark.parametrize("size", [SIZE, (128, 64)])
def test_the_rim_of_a_mask_may_be_grey(project, tmp_path, size):
    """What JPEG makes of black and white, and a rim that was smoothed: white is what is above half."""
    high, wide = size
    (tmp_path / "masks").mkdir()
    disc = cv2.circle(np.zeros((2 * high, 2 * wide), np.uint8), (wide, high), int(0.8 * wide), 255, -1)
    for seed in range(8):
        name = tmp_path / "masks" / f"{seed}.jpg"
        mask = cv2.ellipse(disc[::2, ::2].copy(), (wide // 3, high // 6), (5, 4), 20 * seed, 0, 360, 255, -1)
        Image.fromarray(mask).save(name, quality=75)
        levels = np.array(Image.open(name))
        assert ((levels > 0) & (levels < 128)).sum() > 20
        found = project.PersonRegions("full_body", str(tmp_path / "masks"))(name, name.name, size).mask
        assert np.array_equal(found, levels >= 128) and np.array_equal(found, mask > 0)
    smooth = cv2.resize(disc, (wide, high), interpolation=cv2.INTER_AREA)
    Image.fromarray(smooth).save(tmp_path / "masks" / "smooth.png")
    assert ((smooth > 0) & (smooth < 128)).sum() > 10
    finder = project.PersonRegions("full_body", str(tmp_path / "masks"))
    assert np.array_equal(finder(Path("smooth.png"), "smooth.png", size).mask, smooth >= 128)


def test_an_image_without_a_mask_is_named_and_never_guessed(own_imports, tmp_path, capsys):
    image_at(tmp_path / "in" / "a" / "1.png")
    image_at(tmp_path / "in" / "2.png")
    mask_at(tmp_path / "masks" / "1.png")  # of no folder
    mask_at(tmp_path / "masks" / "2.png")
    assert protect(tmp_path, "blur_head", tmp_path / "masks") == 2
    error = capsys.readouterr().err
    assert "a/1.png: DATASETS.REGIONS" in error and "has no mask of it: a mask has the name of" in error
    assert not (tmp_path / "out" / "a").exists()


def coco(tmp_path, annotations, categories=("person",), name="people.json", **image) -> Path:
    content = {
        "images": [{"id": 7, "file_name": "1.png", **image}],
        "categories": [{"id": number, "name": word} for number, word in enumerate(categories)],
        "annotations": [{"image_id": 7, "category_id": 0, **each} for each in annotations],
    }
    (tmp_path / name).write_text(json.dumps(content))
    return tmp_path / name


SQUARE = {"bbox": [4, 10, 8, 20]}
POLYGON = {"segmentation": [[4, 10, 12, 10, 12, 30, 4, 30]], "bbox": [0, 0, 1, 1]}


@pytest.mark.parametrize(
    ("annotations", "source"), [([SQUARE], "box"), ([POLYGON], "outline"), ([POLYGON, SQUARE], "box")]
)
def test_coco_boxes_and_outlines(own_imports, tmp_path, annotations, source):
    raw = image_at(tmp_path / "in" / "1.png")
    assert protect(tmp_path, "mask_full_body", coco(tmp_path, annotations, height=40, width=20)) == 0
    inside = changed(tmp_path, "1.png", raw)
    assert inside[10:30, 4:12].all() and not inside[:10].any() and not inside[31:].any()
    assert inside.sum() <= 21 * 9  # a pixel that a side of the outline touches is inside
    (entry,) = read_manifest(tmp_path / "out" / MANIFEST).entries.values()
    assert entry["region"] == source


def test_coco_runs_and_categories_of_parts(own_imports, tmp_path):
    raw = image_at(tmp_path / "in" / "1.png")
    mask = np.zeros(SIZE, bool)
    mask[11:17, 5:8] = True
    flat, counts, last = mask.T.ravel(), [], False  # down the columns, outside first
    for inside in [*flat, not flat[-1]]:
        if not counts or inside != last:
            counts.append(0)
        counts[-1] += 1
        last = inside
    runs = {"category_id": 1, "segmentation": {"size": list(SIZE), "counts": counts[:-1]}}
    told = coco(tmp_path, [SQUARE, runs], ("person", "Head"))
    assert protect(tmp_path, "mask_head", told) == 0
    assert np.array_equal(changed(tmp_path, "1.png", raw), mask)  # the head itself, not a part of it
    assert protect(tmp_path, "mask_upper_body", told, out="upper") == 0
    upper = changed(tmp_path, "1.png", raw, "upper")
    assert upper[10:22, 4:12].all() and upper.sum() == 12 * 8  # 0.6 of the person's 20 rows


@pytest.mark.parametrize(
    ("heads", "hidden"),
    [
        ([], [0, 1, 2]),
        ([[17, 4, 4, 4]], [0, 2]),  # the second one's
        ([[17, 4, 4, 4], [15, 5, 4, 4]], [0, 2]),  # both of one: the others still have their part taken
        ([[2, 4, 4, 4], [17, 4, 4, 4], [32, 5, 4, 4]], []),
        ([[50, 50, 4, 4]], [0, 1, 2]),  # nobody's
        ([[4, 40, 4, 8]], [1, 2]),  # low in the first one, and so far from the second's head
    ],
)
def test_marked_heads_do_not_uncover_those_who_have_none(project, tmp_path, heads, hidden):
    """The first two people overlap; a head is of one person alone."""
    people = [[0, 0, 20, 50], [8, 0, 20, 50], [30, 0, 20, 50]]
    annotations = [{"bbox": box} for box in people]
    annotations += [{"category_id": 1, "bbox": box} for box in heads]
    expected = np.zeros((64, 64), bool)
    for left in (people[number][0] for number in hidden):
        expected[:13, left : left + 20] = True
    for left, top, width, height in heads:
        expected[top : top + height, left : left + width] = True
    told = str(coco(tmp_path, annotations, ("person", "head")))
    found, source = project.PersonRegions("head", told)(Path("1.png"), "1.png", (64, 64))
    assert np.array_equal(found, expected) and source == "box"


def test_several_people_are_all_hidden(own_imports, tmp_path):
    raw = image_at(tmp_path / "in" / "1.png")
    assert protect(tmp_path, "mask_full_body", coco(tmp_path, [SQUARE, {"bbox": [14, 0, 4, 9]}])) == 0
    inside = changed(tmp_path, "1.png", raw)
    assert inside[10:30, 4:12].all() and inside[:9, 14:18].all() and inside.sum() == 160 + 36


@pytest.mark.parametrize(
    ("annotations", "keys", "message"),
    [
        ([], {}, "marks neither a head nor a person in it"),
        ([{"bbox": [30, 0, 5, 5]}], {}, "lies outside of the image, which is 40×20"),
        ([{"bbox": [0, 0, 0, 5]}], {}, "a bbox has four numbers"),
        ([{"bbox": [0, 0, float("nan"), 5]}], {}, "a bbox has four numbers"),
        ([{}], {}, "a bbox has four numbers"),
        ([{"bbox": [4, 10, 8]}], {}, "a bbox has four numbers"),
        ([{"bbox": [4, 10, 8, "20"]}], {}, "a bbox has four numbers"),
        ([{"bbox": 3}], {}, "a bbox has four numbers"),
        ([{"bbox": [1e308, 0, 1e308, 5]}], {}, "a bbox has four numbers"),
        ([{"bbox": [0, 0, 10**300, 5]}], {}, "a bbox has four numbers"),
        ([{"bbox": [0, 0, 1e9, 5]}], {}, "none beyond a million"),
        ([{"segmentation": {}}], {}, "runs have counts, a list of numbers, and size"),
        (
            [{"segmentation": {"size": 4, "counts": [16]}}],
            {},
            "runs have counts, a list of numbers, and size",
        ),
        (
            [{"segmentation": {"size": [40, 20], "counts": ["800"]}}],
            {},
            "runs have counts, a list of numbers",
        ),
        ([{"segmentation": {"size": [40, 20], "counts": [1e308] * 3}}], {}, "runs have counts, a list of"),
        (
            [{"segmentation": {"size": [40, 20], "counts": [0.5, 799.5]}}],
            {},
            "its runs do not fill the image",
        ),
        ([{"segmentation": "4 10"}], {}, "a segmentation is a list of polygons"),
        ([{"segmentation": [1, 2, 3, 4, 5, 6]}], {}, "a polygon has at least three pairs"),
        ([{"segmentation": [[1, 2, 3, 4, 5, "6"]]}], {}, "a polygon has at least three pairs"),
        ([{"segmentation": [[1, 2, 3, 4, 5, 1e9]]}], {}, "numbers, none beyond a million"),
        ([SQUARE], {"file_name": ""}, "does not have it: a file_name is the path"),
        ([SQUARE], {"height": 40}, "has to tell both its height and its width, as numbers"),
        ([SQUARE], {"height": "40", "width": "20"}, "has to tell both its height and its width, as numbers"),
        ([{"segmentation": [[1, 2, 3]]}], {}, "a polygon has at least three pairs"),
        ([{"segmentation": {"size": [4, 4], "counts": [16]}}], {}, "its runs are of an image of [4, 4]"),
        ([{"segmentation": {"size": [40, 20], "counts": [5]}}], {}, "its runs do not fill the image"),
        ([{"segmentation": {"size": [40, 20], "counts": "PP1"}}], {}, "its runs are compressed"),
        ([SQUARE], {"height": 80, "width": 20}, "has it as 80×20 (height × width), but it is 40×20"),
        ([SQUARE], {"file_name": "other.png"}, "does not have it: a file_name is the path"),
        ([SQUARE], {"categories": ("dog",)}, "has neither the category head nor person: it has dog"),
    ],
)
def test_bad_annotations_are_named(own_imports, tmp_path, capsys, annotations, keys, message):
    image_at(tmp_path / "in" / "1.png")
    assert protect(tmp_path, "blur_head", coco(tmp_path, annotations, **keys)) == 2
    error = capsys.readouterr().err
    assert "1.png: " in error and message in error and not (tmp_path / "out" / "1.png").exists()


def coco_text(images='{"id": 1, "file_name": "a.png"}', categories="", annotations="") -> str:
    return f'{{"images": [{images}], "categories": [{categories}], "annotations": [{annotations}]}}'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"images": 3, "categories": [], "annotations": []}', 'its "images" is missing or unknown'),
        (coco_text(images="7"), 'its "images" is missing or unknown: it is a list of {'),
        (coco_text(images='{"id": 1}'), 'each of its "images" needs "file_name", a text'),
        (coco_text(categories='{"id": 1, "name": 5}'), 'each of its "categories" needs "name", a text'),
        (coco_text(categories='{"id": [1], "name": "person"}'), 'each of its "categories" needs "id"'),
        (
            coco_text(images='{"id": 1, "file_name": "a.png"}, {"id": 1, "file_name": "b.png"}'),
            'two of its "images" have the id 1',
        ),
        (
            coco_text(annotations='{"category_id": {}}'),
            "an annotation's category_id {} is missing",
        ),
        ("{", "is no COCO file"),
        ("[]", "it must begin with"),
        ('{"images": []}', 'its "categories" is missing or unknown'),
        (
            '{"images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "a.jpg"}], '
            '"categories": [], "annotations": []}',
            "it has the image a twice",
        ),
        (
            '{"images": [], "categories": [], "annotations": [{"image_id": 1, "category_id": 3}]}',
            "3 is missing",
        ),
    ],
)
def test_what_is_no_coco_file_is_refused_before_anything_is_written(
    own_imports, tmp_path, capsys, text, message
):
    image_at(tmp_path / "in" / "1.png")
    (tmp_path / "people.json").write_text(text)
    assert protect(tmp_path, "blur_head", tmp_path / "people.json") == 2
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_boxes_of_a_mot_file(own_imports, tmp_path):
    raw = image_at(tmp_path / "in" / "000012.png")
    (tmp_path / "gt.txt").write_text("12,1,5,11,7,19\n12,2,14,1,4,8\n13,1,0,0,4,4\n")
    assert protect(tmp_path, "mask_full_body", tmp_path / "gt.txt") == 0
    inside = changed(tmp_path, "000012.png", raw)
    # a box reaches one pixel further to the left and to the top, as in videos
    assert inside[10:30, 4:12].all() and inside[:9, 13:18].all() and inside.sum() == 160 + 45
    (entry,) = read_manifest(tmp_path / "out" / MANIFEST).entries.values()
    assert entry["region"] == "box"


@pytest.mark.parametrize(
    ("box", "head"),
    [
        ((0, 32, 20, 100), (32, 58, 0, 20)),  # 0.26 of 100 rows; 26 rows above are outside of the image below
        ((0, -20, 20, 100), (0, 6, 0, 20)),
        ((-10, 4, 20, 50), (4, 17, 0, 10)),
        ((25, 30, 20, 90), (30, 54, 25, 32)),
    ],
)
def test_parts_of_boxes_that_reach_out_of_the_image_are_those_of_the_whole_box(project, tmp_path, box, head):
    """COCO and MOT tell the same; a MOT box is given one pixel less to the left and to the top."""
    left, top, width, height = box
    size, expected = (64, 32), {part: np.zeros((64, 32), bool) for part in ("head", "face")}
    expected["head"][head[0] : head[1], head[2] : head[3]] = True
    columns = slice(max(0, int(left + 0.2 * width)), int(left + 0.8 * width))
    expected["face"][head[0] : head[1], columns] = True
    (tmp_path / "gt.txt").write_text(f"1,1,{left + 1},{top + 1},{width - 1},{height - 1}\n")
    corners = [left, top, left + width - 1, top, left + width - 1, top + height - 1, left, top + height - 1]
    outline = {"segmentation": [[value + 0.5 for value in corners]]}
    for told in (
        tmp_path / "gt.txt",
        coco(tmp_path, [{"bbox": box}]),
        coco(tmp_path, [outline], name="o.json"),
    ):
        for part, mask in expected.items():
            found = project.PersonRegions(part, str(told))(Path("1.png"), "1.png", size).mask
            assert np.array_equal(found, mask), (told.name, part)


def test_a_part_outside_of_the_image_is_nothing_and_alone_refused(project, tmp_path):
    """Somebody whose head is above the image needs no head hidden; others' are."""
    (tmp_path / "gt.txt").write_text("1,1,5,-39,8,79\n2,1,5,-39,8,79\n2,2,12,11,8,29\n")
    for told in (tmp_path / "gt.txt", coco(tmp_path, [{"bbox": [4, -40, 9, 80]}])):
        with pytest.raises(UserError, match=r"the head of those whom .* marks lies outside of the image"):
            project.PersonRegions("head", str(told))(Path("1.png"), "1.png", SIZE)
    found = project.PersonRegions("head", str(tmp_path / "gt.txt"))(Path("2.png"), "2.png", SIZE).mask
    assert found[10:18, 11:20].all() and found.sum() == 8 * 9


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("9.png", "12,1,5,11,7,19\n", "has no box of this frame, so that nothing would be hidden"),
        ("a9.png", "9,1,5,11,7,19\n", "its name is not that of one"),
        ("part/9.png", "9,1,5,11,7,19\n", "frames lie in one folder"),
        ("9.png", "9,1,5,11,7,19\n9,2,500,11,7,19\n", "1 of the boxes of this frame"),
    ],
)
def test_frames_that_a_mot_file_does_not_tell_of(own_imports, tmp_path, capsys, name, text, message):
    image_at(tmp_path / "in" / name)
    (tmp_path / "gt.txt").write_text(text)
    assert protect(tmp_path, "blur_head", tmp_path / "gt.txt") == 2
    assert message in capsys.readouterr().err and not list((tmp_path / "out").rglob("*.png"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing\n", "line 1 of DATASETS.REGIONS"),
        ("", "holds no box"),
        ("1,1,0.1,0.1,0.5,0.9\n", "would lie within one pixel"),
        (None, "gt.txt does not exist; give a folder of masks, a COCO file"),
    ],
)
def test_what_is_no_file_of_regions_is_refused(own_imports, tmp_path, capsys, text, message):
    image_at(tmp_path / "in" / "1.png")
    if text is not None:
        (tmp_path / "gt.txt").write_text(text)
    assert protect(tmp_path, "blur_head", tmp_path / "gt.txt") == 2
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_reasons_do_not_tell_which_image(project, tmp_path):
    """Who asks names the image, which may be secret: neither its name nor its number or mask is told."""
    files = tmp_path / "told"
    (files / "masks" / "secret").mkdir(parents=True)
    (files / "masks" / "secret" / "77031.png").write_bytes(b"no picture")
    (files / "masks" / "77032.png").write_bytes(b"")
    for name, picture in (("77033", Image.new("L", (9, 9), 255)), ("77034", coloured())):
        picture.save(files / "masks" / f"{name}.png")
    (files / "gt.txt").write_text("1,1,5,11,7,19\n77031,1,500,11,7,19\n77032,1,5,-39,7,60\n")
    shapes = {"77031": {"bbox": [500, 0, 4, 4]}, "77032": {"bbox": [4, -40, 8, 60]}, "77033": {"bbox": 3}}
    content = {
        "images": [{"id": n, "file_name": f"{n}.png"} for n in (*shapes, "77034")],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [{"image_id": n, "category_id": 1, **shape} for n, shape in shapes.items()],
    }
    content["images"].append({"id": 5, "file_name": "secret/77031.png", "height": 9, "width": 9})
    (files / "people.json").write_text(json.dumps(content))
    for told in ("masks", "gt.txt", "people.json"):
        finder = project.PersonRegions("head", str(files / told))
        for name in ("secret/77031.jpg", "77031.jpg", "77032.jpg", "77033.jpg", "77034.jpg", "a77035.jpg"):
            with pytest.raises(UserError) as refused:
                finder(tmp_path / "in" / name, name, SIZE)
            assert "7703" not in str(refused.value) and "secret" not in str(refused.value)
            assert str(files / told) in str(refused.value)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_a_used_operator_and_its_finder_can_be_copied(project, tmp_path, copied):
    expected = mask_at(tmp_path / "masks" / "in" / "1.png")
    image_at(tmp_path / "in" / "1.png")
    operator = Desensitizer("mask_full_body", regions_file=str(tmp_path / "masks"))
    for _ in range(2):  # the copy of a copy, too
        operator.finder(tmp_path / "in" / "1.png", None, None)
        operator = copied(operator)
        for _ in range(2):  # the second time from memory
            found = operator.finder(tmp_path / "in" / "1.png", None, None)
            assert np.array_equal(found.mask, expected) and found.source == "mask"
    images, regions = two_images(torch.uint8)
    assert torch.equal(operator(images, regions=regions), torch.where(regions > 0, 128, images))


def test_names_in_training_are_paths_below_the_data_sets(project, tmp_path, monkeypatch):
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path / "sets"))
    for path in (tmp_path / "sets" / "mine" / "query" / "1.png", tmp_path / "other" / "query" / "2.png"):
        image_at(path)
    for name, row in {"mine/query/1": 5, "query/2": 15}.items():
        mask_at(tmp_path / "masks" / f"{name}.png", top=row)
    finder = project.PersonRegions("full_body", str(tmp_path / "masks"))
    for name, row in {"sets/mine/query/1.png": 5, "other/query/2.png": 15}.items():
        for _ in range(2):  # the second time from memory
            mask = finder(tmp_path / name, None, None).mask
            assert mask[row : row + 20, 4:12].all() and mask.sum() == 160


# -- the whole way -------------------------------------------------------------------------------------------


@pytest.fixture
def synthetic(small_dataset):
    options = small_options("unused")
    pairs = zip(options[::2], options[1::2], strict=True)
    return [word for pair in pairs if pair[0].startswith("DATASETS.SYNTHETIC") for word in pair]


def test_the_embedded_data_set_sealed_in_the_pixels(own_imports, synthetic, small_dataset, tmp_path, capsys):
    """Regions are the renderer's; sealed originals give the raw files back."""
    new_identity(tmp_path / "keys", passphrase=None)
    words = ["--project", str(PROJECT), "--method", "noise_head", "--input", "SyntheticPedestrians"]
    sealing = ["--seal", str(tmp_path / "keys" / IDENTITY.public), "--carry", "pixels"]
    assert anonymize(*words, "--output", tmp_path / "out", *sealing, *synthetic) == 0
    manifest = read_manifest(tmp_path / "out" / MANIFEST)
    sources = [entry["region"] for entry in manifest.entries.values()]
    assert set(sources) == {"renderer", "crop"} and sources.count("renderer") > 0.9 * len(sources)
    assert f"what told their regions: crop {sources.count('crop')}, renderer" in capsys.readouterr().out
    opened = ["--identity", str(tmp_path / "keys" / IDENTITY.private), "--input", str(tmp_path / "out")]
    assert recover(*opened, "--output", tmp_path / "opened") == 0
    raw = sorted(small_dataset.rglob("query/*.jpg"))
    assert raw
    for file in raw:
        assert (tmp_path / "opened" / file.relative_to(small_dataset)).read_bytes() == file.read_bytes()


def test_the_full_method_learns_from_a_changed_part(own_imports, small_dataset, tmp_path):
    words = ["--project", str(PROJECT), "--config-file", str(PROJECT / "configs" / "learned_head_blur.yml")]
    backbone = {"NAME": "build_osnet_backbone", "DEPTH": "x0_25", "FEAT_DIM": 128}
    options = {f"MODEL.BACKBONE.{key}": value for key, value in backbone.items()}
    pairs = small_options(tmp_path / "run", **options, **{"SOLVER.MAX_EPOCH": 1})
    assert train(*words, *pairs) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["config"]["PRIVACY"]["DESENSITIZER"]["NAME"] == "blur_head"
    assert results["image_quality"]["desensitized"]["PSNR"] > 22  # most of each image stays


def test_the_methods_to_compare_are_read_and_their_configs_hold(own_imports, monkeypatch):
    load_projects([PROJECT])
    methods = read_methods(PROJECT / "configs" / "compare.yml")
    assert methods.reference == "blur" and {"none", "blur"} <= {each.name for each in methods.methods}
    names = set()
    for each in methods.methods:
        cfg = load_config(each.config, each.options)
        check_names(cfg)
        check_regions(cfg, training=True)
        names.add(cfg.PRIVACY.DESENSITIZER.NAME)
    ways = ("blur", "pixelate", "noise", "mask", "inpaint")
    assert {f"{way}_{part}" for way in ways for part in ("head", "full_body")} <= names
