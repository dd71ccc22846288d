"""Utility for other tasks: figures against references, and planted views that hold all, or nothing."""

from __future__ import annotations

import fastreid_privacy  # before fastreid

# isort: split
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score
from torchmetrics.functional.classification import binary_jaccard_index

from fastreid_privacy.attack.subjects import Subject, Subjects
from fastreid_privacy.tasks import measure, scores
from fastreid_privacy.tasks.files import Pose
from fastreid_privacy.tasks.lessons import UNKNOWN, Attributes, Keypoints, Segmentation
from fastreid_privacy.tasks.measure import measure_tasks
from fastreid_privacy.tasks.networks import Classifier, Maps
from fastreid_privacy.tasks.truth import Truth

SIZE = HEIGHT, WIDTH = 32, 16
JOINTS = ("head", "left_knee", "right_knee")


def draw(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# -- scores --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_overlap_equals_loops_and_torchmetrics(share):
    found, true = (draw(seed).random((5, 9, 7)) < share for seed in (0, 1))
    counts = dict.fromkeys(((a, b) for a in (0, 1) for b in (0, 1)), 0)
    for place in np.ndindex(found.shape):
        counts[int(found[place]), int(true[place])] += 1
    wrong = counts[0, 1] + counts[1, 0]
    person, background = (100 * counts[k, k] / (counts[k, k] + wrong) for k in (1, 0))
    figures = scores.overlap(found, true)
    assert figures == pytest.approx({"IoU": person, "mIoU": (person + background) / 2})
    other = binary_jaccard_index(torch.from_numpy(found).int(), torch.from_numpy(true).int())
    assert figures["IoU"] == pytest.approx(100 * float(other), abs=1e-4)


def test_overlap_of_all_nothing_and_the_truth():
    true = draw().random((3, 8, 4)) < 0.5
    assert scores.overlap(true, true) == {"IoU": 100, "mIoU": 100}
    assert scores.overlap(~true, true) == {"IoU": 0, "mIoU": 0}
    nothing = np.zeros_like(true)
    assert scores.overlap(nothing, nothing) == {"IoU": 100, "mIoU": 100}
    assert scores.overlap(nothing, true)["IoU"] == 0


def test_correct_keypoints_equal_loops():
    found, true = (draw(seed).random((6, 4, 2)) * 30 for seed in (0, 1))
    true = found + (true - 15) / 4
    visible, heights = draw(2).random((6, 4)) < 0.7, draw(3).uniform(20, 60, 6)
    good = []
    for person, joint in np.argwhere(visible):
        (x, y), (u, v) = found[person, joint], true[person, joint]
        good.append(((x - u) ** 2 + (y - v) ** 2) ** 0.5 <= 0.1 * heights[person])
    assert 0 < sum(good) < len(good)
    share = 100 * sum(good) / len(good)
    assert scores.correct_keypoints(found, true, visible, heights)["PCK"] == pytest.approx(share)
    assert scores.correct_keypoints(true, true, visible, heights)["PCK"] == 100


def test_a_joint_just_within_a_tenth_counts():
    true, seen = np.zeros((1, 2, 2)), np.ones((1, 2), bool)
    found = np.array([[[0, 5.0], [0, 5.01]]])
    assert scores.correct_keypoints(found, true, seen, [50])["PCK"] == 50


def test_balanced_accuracy_equals_scikit_learn():
    true, found = draw(0).choice(4, 200, p=[0.7, 0.2, 0.08, 0.02]), draw(1).integers(4, size=200)
    reference = 100 * balanced_accuracy_score(true, found)
    assert scores.balanced_accuracy(found, true) == pytest.approx(reference)
    assert scores.balanced_accuracy(true, true) == 100
    # whoever names one kind always gets one share of the kinds, however common it is
    assert scores.balanced_accuracy(np.zeros_like(true), true) == 25


# -- lessons: by hand ----------------------------------------------------------------------------------------


def subject(number: int, pid: int) -> Subject:
    return Subject(f"{pid}_{number}", pid, 0, Path(f"{pid}_{number}.jpg"), Path(f"{pid}_{number}.png"))


@pytest.fixture(scope="module")
def subjects():
    """48 images of 6 known people, 12 of 3 measured ones, and a distractor."""
    known = [subject(number, 1 + number % 6) for number in range(48)]
    measured = [subject(number, 7 + number % 3) for number in range(12)]
    return Subjects(known, measured[:3], [*measured, subject(0, 0)], SIZE, 0)


@pytest.fixture(scope="module")
def truth(subjects):
    """People are boxes of random places and sizes, with joints at the middles of three sides."""
    masks, poses, worn = {}, {}, {}
    for number, each in enumerate((*subjects.known, *subjects.gallery)):
        rng = draw(number)
        top, left = int(rng.integers(0, 14)), int(rng.integers(0, 8))
        low, right = top + int(rng.integers(8, 17)), left + int(rng.integers(4, 8))
        mask = np.zeros(SIZE, bool)
        mask[top:low, left:right] = True
        masks[each.name] = mask
        points = [(left + right) / 2, top], [left, low], [right, low]
        poses[each.name] = Pose(np.array(points, np.float32), np.array([2, 2, number % 3]), low - top)
        worn[each.name] = {"bag": "abc"[number % 3], "hat": "yes" if number % 4 else "no", "one": "same"}
    return Truth(SIZE, masks, JOINTS, poses, worn, {})


def test_what_is_true_is_answered_with_full_marks(truth, subjects):
    """The output of a network that is right gives 100 %, and its loss is the least."""
    some = subjects.gallery
    lesson = Segmentation(truth, subjects.known)
    masks = np.stack([truth.masks[each.name] for each in some])
    output = torch.from_numpy(np.where(masks, 9.0, -9.0))[:, None]
    assert lesson.figures(lesson.answers(output), some) == {"IoU": 100, "mIoU": 100}
    assert lesson.loss(output, some) < 0.001 < lesson.loss(-output, some)

    joints = Keypoints(truth, subjects.known)
    points = np.stack([truth.poses[each.name].points for each in some])
    maps = torch.full((len(some), len(JOINTS), *SIZE), -9.0)
    for person, joint in np.ndindex(points.shape[:2]):
        x, y = points[person, joint].round().astype(int).clip(0, (WIDTH - 1, HEIGHT - 1))
        maps[person, joint, y, x] = 9.0
    np.testing.assert_allclose(joints.answers(maps), points, atol=1)
    assert joints.figures(joints.answers(maps), some)["PCK"] == 100
    assert joints.loss(maps, some) < joints.loss(maps.roll(3, 2), some) < joints.loss(maps.roll(9, 2), some)

    clothes = Attributes(truth, subjects.known)
    assert list(clothes.kinds) == ["bag", "hat"]  # who all wear the same tell nothing
    right = [
        torch.tensor([[9.0 * (truth.attributes[each.name][name] == kind) for kind in kinds] for each in some])
        for name, kinds in clothes.kinds.items()
    ]
    figures = clothes.figures(clothes.answers(right), some)
    assert figures == {"balanced_accuracy": 100, "each": {"bag": 100, "hat": 100}}
    assert clothes.loss(right, some) < 0.01 < clothes.loss([-each for each in right], some)


def test_the_loss_of_joints_is_the_cross_entropy_of_loops(truth, subjects):
    some = subjects.known[:4]
    output = torch.from_numpy(draw().normal(size=(4, len(JOINTS), *SIZE)))
    total, count = 0.0, 0
    for each, maps in zip(some, output.numpy(), strict=True):
        pose = truth.poses[each.name]
        for (x, y), visibility, values in zip(pose.points, pose.visibility, maps, strict=True):
            if not visibility:
                continue
            rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
            wanted = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * (0.02 * HEIGHT) ** 2))
            said = np.exp(values) / np.exp(values).sum()
            total -= (wanted / wanted.sum() * np.log(said)).sum()
            count += 1
    assert count == 10
    assert float(Keypoints(truth, some).loss(output, some)) == pytest.approx(total / count)


def test_the_guess_is_the_best_that_looks_at_nothing(truth, subjects):
    known = subjects.known
    mask = Segmentation(truth, known).guess()
    for y, x in np.ndindex(SIZE):
        share = sum(truth.masks[each.name][y, x] for each in known) / len(known)
        assert mask[y, x] == (share > 0.5)
    points = Keypoints(truth, known).guess()
    for joint in range(len(JOINTS)):
        labelled = [truth.poses[each.name] for each in known if truth.poses[each.name].visibility[joint]]
        mean = np.mean([pose.points[joint] for pose in labelled], axis=0)
        np.testing.assert_allclose(points[joint], mean, rtol=1e-5)
    clothes = Attributes(truth, known)
    assert [kinds[kind] for kinds, kind in zip(clothes.kinds.values(), clothes.guess(), strict=True)] == [
        "a",
        "yes",
    ]


def test_what_is_not_known_does_not_count(truth, subjects):
    """Kinds that are missing, or that nobody has learned, change neither loss nor figures."""
    some = subjects.gallery[:6]
    worn = {name: dict(kinds) for name, kinds in truth.attributes.items()}
    del worn[some[0].name]["bag"]
    worn[some[1].name]["bag"] = "a kind of its own"
    lesson = Attributes(replace(truth, attributes=worn), subjects.known)
    assert (lesson._true(some)[:2, 0] == UNKNOWN).all() and (lesson._true(some)[2:] != UNKNOWN).all()
    output = [torch.from_numpy(draw().normal(size=(6, count))).float() for count in (3, 2)]
    changed = [each.clone() for each in output]
    changed[0][:2] += 5 * torch.eye(3)[0]
    assert torch.equal(lesson.loss(output, some), lesson.loss(changed, some))
    assert lesson.figures(lesson.answers(output), some) == lesson.figures(lesson.answers(changed), some)


# -- networks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(32, 16), (37, 19), (8, 8)])
@pytest.mark.parametrize("network", [lambda: Maps(3), lambda: Classifier([3, 2])], ids=["maps", "classifier"])
def test_networks_take_any_size_and_learn_with_all_they_have(network, size):
    torch.manual_seed(0)
    built = network()
    images = torch.from_numpy(draw().integers(0, 256, (4, 3, *size))).float()
    output = built(images)
    if isinstance(built, Maps):
        assert output.shape == (4, 3, *size)
        output = [output]
    else:
        assert [each.shape for each in output] == [(4, 3), (4, 2)]
    torch.cat([each.flatten() for each in output]).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in built.parameters())
    # an image is seen alone: its neighbours in the batch change nothing
    alone = built(images[:1])
    for one, among in zip([alone] if isinstance(built, Maps) else alone, output, strict=True):
        torch.testing.assert_close(one[0], among[0], rtol=1e-4, atol=1e-5)


# -- measuring -----------------------------------------------------------------------------------------------


def showing(truth):
    """A view that shows the truth: the person is white, each joint a spot, kinds tint the halves."""

    def view(some):
        images = []
        for each in some:
            mask, pose, worn = truth.masks[each.name], truth.poses[each.name], truth.attributes[each.name]
            image = np.zeros((3, *SIZE), np.float32)
            image[0] = 255 * mask
            image[2, : HEIGHT // 2] = 120 * "abc".index(worn["bag"])
            image[2, HEIGHT // 2 :] = 200 * (worn["hat"] == "yes")
            for joint, (x, y) in enumerate(pose.points.round().astype(int)):
                image[1, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2] = 85 * (joint + 1)
            images.append(image)
        return torch.from_numpy(np.stack(images))

    return view


def grey(some):
    """A view that shows nothing."""
    return torch.full((len(some), 3, *SIZE), 128.0)


@pytest.fixture(scope="module")
def planted(truth, subjects):
    """Learned from views that hold all and nothing; the raw images show all."""
    view = showing(truth)
    return {
        name: measure_tasks(truth, seen, view, subjects, budget=budget, seed=0, device="cpu")
        for name, seen, budget in (("all", view, 0.03), ("nothing", grey, 0.01))
    }


def test_a_view_that_shows_the_truth_is_learned_from(planted):
    found = planted["all"]
    assert found["segmentation"]["raw"]["IoU"] > 90 > found["segmentation"]["guess"]["IoU"] + 20
    assert found["keypoints"]["raw"]["PCK"] > found["keypoints"]["guess"]["PCK"] + 25
    assert found["attributes"]["raw"]["balanced_accuracy"] > 90
    assert found["attributes"]["guess"]["each"] == {"bag": pytest.approx(100 / 3), "hat": 50}
    # learned from raw images, it is the reference: nothing is protected
    assert all(found[task]["raw"] == found[task]["protected"] for task in found)


def test_a_view_that_shows_nothing_teaches_no_more_than_guessing(planted):
    found = planted["nothing"]
    for task, figure, more in (
        ("segmentation", "IoU", 5),
        ("keypoints", "PCK", 10),
        ("attributes", "balanced_accuracy", 0.1),
    ):
        assert found[task]["protected"][figure] <= found[task]["guess"][figure] + more
        assert found[task]["raw"][figure] < planted["all"][task]["raw"][figure] - 10


def test_the_result_says_what_was_done_and_is_json(planted):
    for result in planted.values():
        assert json.loads(json.dumps(result, allow_nan=False)) == result
    for task, steps in (("segmentation", 90), ("keypoints", 90), ("attributes", 180)):
        assert planted["all"][task]["steps"] == steps
        for result in planted.values():
            # the distractor takes no part
            assert result[task]["images"] == 48 and result[task]["measured"] == 12


def test_a_seed_decides_everything(truth, subjects):
    view = showing(truth)

    def figures(seed):
        torch.rand(1)
        return measure_tasks(truth, view, view, subjects, budget=0.002, seed=seed, device="cpu")

    assert figures(1) == figures(1) != figures(2)


def test_a_task_without_truth_is_named_with_its_reason(truth, subjects):
    """The others are the same as with it."""
    view, options = showing(truth), {"budget": 0.001, "seed": 0, "device": "cpu"}
    whole = measure_tasks(truth, view, view, subjects, **options)
    partly = replace(truth, poses={}, missing={"keypoints": "no file"})
    found = measure_tasks(partly, view, view, subjects, **options)
    assert found == {**whole, "keypoints": {"not_applicable": "no file"}}
    # and so is one whose truth tells nothing
    same = {name: {"bag": "none"} for name in truth.attributes}
    found = measure_tasks(replace(truth, attributes=same), view, view, subjects, **options)
    assert "one kind" in found["attributes"]["not_applicable"]
    hidden = {name: replace(pose, visibility=np.ones(3)) for name, pose in truth.poses.items()}
    found = measure_tasks(replace(truth, poses=hidden), view, view, subjects, **options)
    assert "no joint" in found["keypoints"]["not_applicable"]


def test_images_without_truth_take_no_part_and_of_many_some_are_drawn(truth, subjects, monkeypatch):
    monkeypatch.setattr(measure, "MOST_MEASURED", 5)
    some = {each.name for each in (*subjects.known[:7], *subjects.gallery[:9])}
    part = replace(truth, masks={name: mask for name, mask in truth.masks.items() if name in some})
    asked = []

    def view(those):
        asked.extend(each.name for each in those)
        return showing(truth)(those)

    found = measure_tasks(part, view, view, subjects, budget=0.0003, seed=0, device="cpu")
    assert (found["segmentation"]["images"], found["segmentation"]["measured"]) == (7, 5)
    # one step learns from 16 images: no more are looked at
    assert (found["keypoints"]["images"], found["attributes"]["images"]) == (16, 32)
    assert len(asked) == len(set(asked))


def test_a_loss_that_is_not_finite_is_said(truth, subjects):
    def broken(some):
        return torch.full((len(some), 3, *SIZE), 0.0)

    bad = replace(truth, masks={name: np.full(SIZE, np.nan) for name in truth.masks})
    with pytest.raises(fastreid_privacy.UserError, match="the loss of learning segmentation is not finite"):
        measure_tasks(bad, broken, broken, subjects, budget=0.0003, seed=0, device="cpu")
