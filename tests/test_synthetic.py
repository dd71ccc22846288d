"""The embedded data set: layout, naming, determinism, cues, clear errors, and what its parts draw."""

from __future__ import annotations

import hashlib
import math
import re
import shutil
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from fastreid_privacy.core.errors import UserError
from fastreid_privacy.data.synthetic import dataset as dataset_module
from fastreid_privacy.data.synthetic import plan as plan_module
from fastreid_privacy.data.synthetic.body import Pose, Skeleton
from fastreid_privacy.data.synthetic.camera import Camera
from fastreid_privacy.data.synthetic.dataset import SyntheticPedestrians, generate
from fastreid_privacy.data.synthetic.identity import (
    FIXED_LOWER,
    FIXED_UPPER,
    PATTERNS,
    Identity,
    Pattern,
    sample_identity,
)
from fastreid_privacy.data.synthetic.pattern import cloth
from fastreid_privacy.data.synthetic.person import draw_person
from fastreid_privacy.data.synthetic.plan import SyntheticOptions
from fastreid_privacy.data.synthetic.scene import KINDS, OCCLUDERS, draw_occluder

SMALL = {
    "train_identities": 4,
    "test_identities": 3,
    "cameras": 3,
    "images_per_camera": 3,
    "height": 64,
    "width": 32,
    "seed": 0,
}


def digest(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.jpg"))
    }


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> SyntheticPedestrians:
    return SyntheticPedestrians(tmp_path_factory.mktemp("datasets"), **SMALL)


def test_is_registered_and_its_folder_tells_the_parameters(small):
    assert dataset_module.DATASET_REGISTRY.get("SyntheticPedestrians") is SyntheticPedestrians
    for part in ("4+3x3x3", "64x32", "s0"):
        assert part in small.folder.name.split("-")


def test_layout_and_items_are_those_of_market(small):
    assert sorted(path.name for path in small.folder.iterdir()) == [
        "bounding_box_test",
        "bounding_box_train",
        "query",
    ]
    for path, pid, camera in small.train:
        found = re.fullmatch(r"(\d{4})_c(\d+)s1_\d{6}_\d{2}\.jpg", Path(path).name)
        assert (pid, camera) == (
            f"syntheticpedestrians_{int(found[1])}",
            f"syntheticpedestrians_{int(found[2]) - 1}",
        )
        assert Path(path).parent.name == "bounding_box_train"
    for items, folder in ((small.query, "query"), (small.gallery, "bounding_box_test")):
        for path, pid, camera in items:
            name = Path(path).name
            assert (pid, camera) == (int(name[:4]), int(re.search(r"_c(\d+)s", name)[1]) - 1)
            assert Path(path).parent.name == folder
    for items in (small.train, small.query, small.gallery):
        assert [item[0] for item in items] == sorted(item[0] for item in items)
        assert cv2.imread(items[0][0]).shape == (64, 32, 3)


def test_identities_are_disjoint_and_every_query_has_a_match_under_another_camera(small):
    train = {int(pid.split("_")[1]) for _, pid, _ in small.train}
    assert train == {1, 2, 3, 4}
    assert {pid for _, pid, _ in small.query} == {5, 6, 7}
    assert {pid for _, pid, _ in small.gallery} == {0, 5, 6, 7}
    assert max(Counter((pid, camera) for _, pid, camera in small.query).values()) == 1
    for _, pid, camera in small.query:
        assert any(other == pid and where != camera for _, other, where in small.gallery)
        assert any(other == pid and where == camera for _, other, where in small.gallery)
    for pid in train:
        assert (
            len({camera for _, other, camera in small.train if other == f"syntheticpedestrians_{pid}"}) >= 2
        )


def test_not_every_identity_is_under_every_camera():
    counts = [plan_module._counts(0, pid, 6, 6) for pid in range(1, 60)]
    assert {len(by_camera) for by_camera in counts} == {4, 5, 6}
    assert {count for by_camera in counts for count in by_camera.values()} == {5, 6}


def test_the_same_parameters_give_the_same_bytes_and_another_seed_others(small, tmp_path):
    generate(tmp_path / "again", SyntheticOptions(**SMALL))
    assert digest(tmp_path / "again") == digest(small.folder)
    generate(tmp_path / "other", SyntheticOptions(**SMALL | {"seed": 1}))
    assert not set(digest(tmp_path / "other").values()) & set(digest(small.folder).values())


def test_the_images_are_those_of_this_version(small):
    """Who changes this digest raises VERSION, or data sets that lie about would be of another renderer."""
    every = "".join(f"{name} {value}\n" for name, value in digest(small.folder).items())
    assert plan_module.VERSION == 2
    assert (
        hashlib.sha256(every.encode()).hexdigest()
        == "bbca5bbfb58d2ba6477cf0d842d58aab76da83a99a35ed0b1759ef2a88fc5956"
    )


def test_a_folder_tells_its_options():
    for options in (
        SyntheticOptions(),
        SyntheticOptions(**SMALL),
        SyntheticOptions(12, 6, 11, 2, 256, 128, 35, "detail"),
    ):
        assert SyntheticOptions.of_folder(options.folder_name) == options
    name = SyntheticOptions().folder_name
    for other in ("Market-1501-v15.09.15", name.replace("-v2-", "-v1-"), f"{name}-hair", f"{name}-copy"):
        assert SyntheticOptions.of_folder(other) is None


def test_more_identities_leave_the_others_as_they_were(small, tmp_path):
    generate(tmp_path / "more", SyntheticOptions(**SMALL | {"test_identities": 4}))
    more = digest(tmp_path / "more")
    assert all(
        more[name] == value
        for name, value in digest(small.folder).items()
        if not Path(name).name.startswith("0000")
    )


def test_a_finished_data_set_is_reused(small, monkeypatch):
    monkeypatch.setattr(dataset_module, "_images", lambda *args: pytest.fail("rendered again"))
    again = SyntheticPedestrians(small.folder.parent, **SMALL)
    assert again.train == small.train


def test_a_data_set_that_lost_images_is_refused(small, tmp_path):
    root = tmp_path / "datasets"
    folder = root / small.folder.name
    shutil.copytree(small.folder, folder)
    assert SyntheticPedestrians(root, **SMALL).gallery
    count = len(digest(folder))
    for path in sorted((folder / "bounding_box_train").iterdir())[::2]:
        path.unlink()
    lost = f"{folder} has {len(digest(folder))} JPEG images, and .* there {count}: remove the folder"
    with pytest.raises(UserError, match=lost.replace("+", r"\+")):
        SyntheticPedestrians(root, **SMALL)
    (root / "manifest.jsonl").touch()
    with pytest.raises(UserError, match="protected files are read as the data set ProtectedCollection"):
        SyntheticPedestrians(root, **SMALL)
    shutil.rmtree(folder)
    assert len(digest(SyntheticPedestrians(root, **SMALL).folder)) == count


def test_an_interrupted_run_leaves_nothing(tmp_path, monkeypatch):
    encode, calls = Camera.encode, []

    def interrupted(self, image):
        calls.append(1)
        if len(calls) > 5:
            raise KeyboardInterrupt
        return encode(self, image)

    monkeypatch.setattr(Camera, "encode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path / "set", SyntheticOptions(**SMALL))
    assert list(tmp_path.iterdir()) == []


def test_of_two_runs_at_once_one_gives_the_folder(tmp_path, monkeypatch):
    images, folder = dataset_module._images, tmp_path / "set"

    def slower(*args):
        yield from images(*args)
        if not folder.exists():
            monkeypatch.setattr(dataset_module, "_images", images)
            generate(folder, SyntheticOptions(**SMALL))

    monkeypatch.setattr(dataset_module, "_images", slower)
    generate(folder, SyntheticOptions(**SMALL))
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    assert len(digest(folder)) > 20


def test_more_than_nine_cameras(tmp_path):
    served = SyntheticPedestrians(
        tmp_path,
        **SMALL | {"cameras": 11, "images_per_camera": 2, "train_identities": 3, "test_identities": 1},
    )
    assert {"syntheticpedestrians_9", "syntheticpedestrians_10"} & {camera for _, _, camera in served.train}
    assert any("_c10s1_" in path or "_c11s1_" in path for path, _, _ in served.train)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("train_identities", 0),
        ("test_identities", 0),
        ("cameras", 1),
        ("images_per_camera", 1),
        ("height", 31),
        ("width", 0),
        ("seed", -1),
        ("cues", "hair"),
        ("height", 64.5),
    ],
)
def test_bad_values_name_their_config_key(key, value, tmp_path):
    with pytest.raises(UserError, match=rf"DATASETS\.SYNTHETIC\.{key.upper()} is {value!r}"):
        SyntheticPedestrians(tmp_path, **SMALL | {key: value})
    assert list(tmp_path.iterdir()) == []


def test_the_smallest_values_are_allowed():
    SyntheticOptions(
        train_identities=1,
        test_identities=1,
        cameras=2,
        images_per_camera=2,
        height=32,
        width=33,
        seed=0,
        cues="all",
    )


def test_a_file_of_somebody_else_is_named(small, tmp_path):
    folder = shutil.copytree(small.folder, tmp_path / small.folder.name)
    (folder / "query" / "mine.jpg").touch()
    with pytest.raises(UserError, match=r"query/mine\.jpg is no image of the embedded data set"):
        SyntheticPedestrians(tmp_path, **SMALL)


def test_a_folder_that_cannot_be_written_names_the_variable(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="FASTREID_DATASETS"):
        SyntheticPedestrians(tmp_path / "file", **SMALL)


def test_colour_cue_varies_garment_colours_only():
    people = [sample_identity(np.random.default_rng(seed), "colour") for seed in range(20)]
    assert len({(person.upper, person.lower) for person in people}) > 10
    assert all(Identity(upper=person.upper, lower=person.lower) == person for person in people)


def test_detail_cue_varies_all_but_garment_colours():
    people = [sample_identity(np.random.default_rng(seed), "detail") for seed in range(20)]
    assert {(person.upper, person.lower) for person in people} == {(FIXED_UPPER, FIXED_LOWER)}
    assert len(set(people)) == 20


def test_palettes_are_shared():
    people = [sample_identity(np.random.default_rng(seed), "colour") for seed in range(300)]
    nearest = Counter(tuple(round(channel / 40) for channel in person.upper) for person in people)
    assert nearest.most_common(1)[0][1] > 30


@pytest.mark.parametrize("azimuth", np.linspace(0, 2 * math.pi, 8, endpoint=False))
@pytest.mark.parametrize("phase", [0.0, 1.6, 4.0])
def test_a_person_stands_on_the_ground_and_fits_its_height(azimuth, phase):
    canvas = np.full((384, 192, 3), 170, np.uint8)
    before = canvas.copy()
    draw_person(
        canvas, Identity(hair="bald"), Pose(azimuth, phase, (96, 360), 330, pitch=0.0, taper=0.0), 0.0, (0, 0)
    )
    rows = np.where((np.abs(canvas.astype(int) - before) > 60).any((1, 2)))[0]
    # a long step lowers the head
    assert 360 - 1.05 * 330 < rows.min() < 360 - 0.88 * 330
    assert 352 <= rows.max() <= 372


def test_mirrored_views_mirror_the_joints():
    person = Identity()
    right, left = (
        Skeleton(person, Pose(azimuth, 1.0, (0, 0), 100)) for azimuth in (math.pi / 2, -math.pi / 2)
    )
    assert right.toes[1].x > right.heels[1].x and left.toes[1].x < left.heels[1].x
    # facing the camera, the person's left is on the right of the picture
    front = Skeleton(person, Pose(0.0, 0.0, (0, 0), 100))
    assert front.arms[1][0].x > 0 > front.arms[-1][0].x


def test_cameras_differ_in_scene_and_light():
    cameras = [Camera.sample(0, index, 64, 32) for index in range(6)]
    assert {camera.kind for camera in cameras} == set(KINDS)
    assert all(camera.noise <= 4 for camera in cameras)
    person = sample_identity(np.random.default_rng(5))
    means = []
    for camera in cameras:
        picture = camera.shoot(np.random.default_rng(1), person, camera.track(np.random.default_rng(2)))
        assert picture.shape == (64, 32, 3) and picture.dtype == np.uint8
        means.append(picture.reshape(-1, 3).mean(0))
    assert np.ptp(np.array(means), axis=0).min() > 15


@pytest.mark.parametrize("kind", PATTERNS)
@pytest.mark.parametrize("contrast", [(110, 110, 110), (-110, -110, -110), (120, -40, -40)])
def test_a_patterned_garment_has_the_average_colour_of_a_plain_one(kind, contrast):
    fabric = cloth((122, 122, 124), Pattern(kind, contrast, 0.06, 0.45)).reshape(-1, 3)
    np.testing.assert_allclose(fabric.mean(0), (122, 122, 124), atol=1)
    assert (fabric.std(0) > 10).all() == (kind != "plain")


def test_a_contrast_that_does_not_fit_the_range_stays_visible():
    fabric = cloth((20, 20, 20), Pattern("stripes", (110, 110, 110), 0.06, 0.5)).astype(int)
    assert np.ptp(fabric[:, :, 0]) == 110 and fabric.min() == 0


@pytest.mark.parametrize("kind", OCCLUDERS)
def test_occluders_cover_a_part_and_not_all(kind):
    canvas = np.full((192, 96, 3), 255, np.uint8)
    draw_occluder(canvas, np.random.default_rng(3), kind)
    covered = (canvas != 255).any(2).mean()
    assert 0.01 < covered < 0.6


def test_blur_takes_the_detail_away():
    """Two people in the same colours are far apart in raw pictures and close in blurred ones."""
    plain, striped = Identity(), sample_identity(np.random.default_rng(3), "detail")
    pictures = []
    for person in (plain, striped):
        canvas = np.full((384, 192, 3), 150, np.uint8)
        draw_person(canvas, person, Pose(0.2, 0.5, (96, 370), 345), 0.0, (0, 0))
        pictures.append(cv2.resize(canvas, (64, 128), interpolation=cv2.INTER_AREA).astype(np.float32))
    apart = np.mean((pictures[0] - pictures[1]) ** 2)
    blurred = [cv2.GaussianBlur(picture, (0, 0), 6) for picture in pictures]
    assert np.mean((blurred[0] - blurred[1]) ** 2) < 0.35 * apart
