"""The truth of rendered images, against the pixels: what changes when only the person is painted anew."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest

from fastreid_privacy.data.synthetic.camera import Camera
from fastreid_privacy.data.synthetic.identity import (
    LOWER_PALETTE,
    UPPER_PALETTE,
    Logo,
    Pattern,
    sample_identity,
)
from fastreid_privacy.data.synthetic.plan import SyntheticOptions, planned_images
from fastreid_privacy.data.synthetic.truth import (
    HIDDEN,
    JOINTS,
    OUTSIDE,
    VISIBLE,
    attributes_of,
    rendered_truth,
    truth_of,
)

HEIGHT, WIDTH = 64, 32
RED = (230, 20, 20)
SHOTS = range(24)


camera_of = functools.cache(lambda index: Camera.sample(0, index, HEIGHT, WIDTH))


def staged(seed: int, **changes):
    """One picture of somebody: who, the camera, what is before it; the seed decides all but the changes."""
    camera = camera_of(seed % 6)
    person = replace(sample_identity(np.random.default_rng([1, seed])), **changes)
    track = camera.track(np.random.default_rng([2, seed]))
    return person, camera, camera.stage(np.random.default_rng([3, seed]), person, track)


def changed(seed: int, before: dict, after: dict) -> np.ndarray:
    """Where the large picture of a seed differs between two designs of its person: bool."""
    (_, _, first), (_, _, second) = (staged(seed, **changes) for changes in (before, after))
    return (first.canvas != second.canvas).any(2)


def painted(colour) -> dict:
    """A design in which every part has one colour."""
    plain = {name: Pattern() for name in ("upper_pattern", "lower_pattern")}
    names = ("upper", "lower", "inner", "bag_colour", "hair_colour", "hat_colour", "skin", "shoes")
    return {"logo": Logo(), "glasses": False, **plain, **dict.fromkeys(names, colour)}


@pytest.mark.parametrize("seed", SHOTS)
def test_painting_the_person_anew_changes_the_mask_and_nothing_else(seed):
    person, camera, stage = staged(seed)
    where = changed(seed, painted((60, 60, 60)), painted((160, 160, 160)))
    seen = (stage.drawing.part_at > 0) & ~stage.covered
    assert not (where & ~seen).any()
    # eyes and a mouth keep their own colours
    assert (where & seen).sum() > 0.95 * seen.sum()
    # a pixel of the mask is one that the person fills by more than a half: by loops
    mask, scale = truth_of(stage, person, camera.scale).mask, camera.scale
    assert mask.shape == (HEIGHT, WIDTH) and mask.dtype == bool
    for y, x in np.ndindex(mask.shape):
        block = seen[y * scale : (y + 1) * scale, x * scale : (x + 1) * scale]
        assert mask[y, x] == (2 * block.sum() > block.size)


def test_the_pictures_of_these_tests_have_things_before_people():
    covered = [stage.covered.mean() for _, _, stage in map(staged, SHOTS)]
    assert sum(share > 0 for share in covered) >= 3


@pytest.mark.parametrize(
    ("joint", "design", "part"),
    [
        ("head", {"hat": "none", "hair": "bald"}, "skin"),
        ("elbow", {"upper_cut": "sleeves", "upper_pattern": Pattern()}, "upper"),
        ("wrist", {"bag": "none", "upper_cut": "t-shirt"}, "skin"),
        ("knee", {"lower_cut": "trousers", "lower_pattern": Pattern()}, "lower"),
        ("ankle", {"lower_cut": "skirt"}, "skin"),
    ],
)
def test_joints_lie_in_their_parts(joint, design, part):
    """Where a joint is visible, painting its part anew changes the picture within 1.5 pixels of it.

    Where the joint is behind something that stands before the person, nothing changes there.
    """
    counts = dict.fromkeys((VISIBLE, HIDDEN), 0)
    for seed in SHOTS:
        person, camera, stage = staged(seed, **design)
        truth = truth_of(stage, person, camera.scale)
        where = changed(seed, design, {**design, part: RED})
        for name, (x, y), visibility in zip(JOINTS, truth.joints, truth.visibility, strict=True):
            if not name.endswith(joint) or visibility == OUTSIDE:
                continue
            across, down = ((at + 0.5) * camera.scale - 0.5 for at in (x, y))
            rows, columns = np.nonzero(where)
            near = np.hypot(rows - down, columns - across).min() <= 1.5 * camera.scale
            if visibility == VISIBLE:
                assert near, (seed, name)
            elif stage.covered[round(down), round(across)]:
                assert not where[round(down), round(across)]
            counts[visibility] += 1
    assert counts[VISIBLE] >= 15


def test_left_is_the_left_of_the_person():
    """The bag is worn on one side: its side's wrist is nearer to it than the other one."""
    told = 0
    for seed in SHOTS:
        for left, side, other in ((True, "left", "right"), (False, "right", "left")):
            design = {"bag": "hand", "bag_left": left, "lower_cut": "trousers"}
            person, camera, stage = staged(seed, **design)
            where = changed(seed, design, {**design, "bag_colour": RED})
            joints = dict(zip(JOINTS, truth_of(stage, person, camera.scale).joints, strict=True))
            own, far = joints[f"{side}_wrist"][0], joints[f"{other}_wrist"][0]
            if where.sum() < 50 or abs(own - far) < 6:  # from the side one arm hides the other
                continue
            told += 1
            centre = (np.nonzero(where)[1].mean() + 0.5) / camera.scale - 0.5
            assert abs(own - centre) < abs(far - centre)
    assert told > 10


def test_the_height_is_that_of_the_person():
    tall = [
        (truth_of(stage, person, camera.scale).height, stage.drawing.pose.height)
        for person, camera, stage in map(staged, SHOTS)
    ]
    for seed, (height, on_canvas) in zip(SHOTS, tall, strict=True):
        assert height == on_canvas / staged(seed)[1].scale
        assert 0.7 * HEIGHT < height < 1.1 * HEIGHT


def test_a_data_set_has_the_truth_of_each_of_its_images():
    options = SyntheticOptions(2, 3, 3, 3, HEIGHT, WIDTH, 0)
    names = [shot.name for shot in planned_images(options)]
    every = dict(rendered_truth(options, set(names)))
    assert list(every) == names
    assert len({truth.mask.tobytes() for truth in every.values() if truth is not None}) > 0.9 * len(names)
    for name, truth in every.items():
        if not name.startswith("bounding_box_test/0000"):
            assert truth is not None and truth.mask.mean() > 0.05
    # of the distractors every other one shows nobody, and the others are cut
    strange = [truth for name, truth in every.items() if name.startswith("bounding_box_test/0000")]
    assert [truth is None for truth in strange] == [index % 2 == 0 for index in range(len(strange))]
    # some only: the same truth, and no other image is drawn
    some = dict(rendered_truth(options, {names[3], names[7], "query/absent.jpg"}))
    assert list(some) == [names[3], names[7]]
    np.testing.assert_array_equal(some[names[7]].mask, every[names[7]].mask)
    np.testing.assert_array_equal(some[names[7]].joints, every[names[7]].joints)


def test_who_is_missed_by_the_box_has_joints_outside():
    camera = camera_of(0)
    person, outside = sample_identity(np.random.default_rng(0)), 0
    for seed in range(6):
        track = camera.track(np.random.default_rng(seed))
        stage = camera.stage(np.random.default_rng(seed), person, track, missed_by=0.45)
        truth = truth_of(stage, person, camera.scale)
        for (x, y), visibility in zip(truth.joints, truth.visibility, strict=True):
            inside = -0.5 <= x < WIDTH - 0.5 and -0.5 <= y < HEIGHT - 0.5
            assert (visibility != OUTSIDE) == inside
            outside += not inside
    assert outside > 6


def test_attributes_are_defined_for_everybody():
    people = [sample_identity(np.random.default_rng(seed)) for seed in range(200)]
    found = [attributes_of(person) for person in people]
    assert len({tuple(attributes) for attributes in found}) == 1
    kinds = {name: {attributes[name] for attributes in found} for name in found[0]}
    assert kinds["upper_colour"] == {"dark", "light", "grey", "blue", "red"}
    assert kinds["lower_colour"] == {"dark", "blue"} and all(len(each) > 1 for each in kinds.values())
    # a dye a little off its entry of the palette is of that entry
    for (colour, _), name in zip(UPPER_PALETTE, ("dark", "light", "grey", "blue", "red"), strict=True):
        near = tuple(channel + 4 for channel in colour)
        assert attributes_of(replace(people[0], upper=near))["upper_colour"] == name
    assert attributes_of(replace(people[0], lower=LOWER_PALETTE[1][0]))["lower_colour"] == "blue"
