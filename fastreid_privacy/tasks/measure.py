"""Three tasks, learned from what a view shows of the known people, measured on the others.

Whether images still serve a task is asked on raw images too: a network that learned from protected ones is
of use to others only if it works on what their cameras see.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from ..attack.subjects import Subject, Subjects, choose
from ..attack.views import Held, View, batches
from ..core.errors import UserError
from .lessons import Attributes, Keypoints, Lesson, Segmentation
from .truth import Truth, people

FULL_STEPS = {"segmentation": 3_000, "keypoints": 3_000, "attributes": 6_000}  # of a budget of 1
LESSONS: dict[str, Callable[[Truth, Sequence[Subject]], Lesson]] = {
    "segmentation": Segmentation,
    "keypoints": Keypoints,
    "attributes": Attributes,
}
BATCH = 16
LEARNING_RATE = 1e-2  # the highest one: it rises for the first 30 % of the steps, and falls to nothing
MOST_KNOWN, MOST_MEASURED = 10_000, 1_000  # images; of more, so many are drawn


def measure_tasks(
    truth: Truth, view: View, raw: View, subjects: Subjects, *, budget: float, seed: int, device: str
) -> dict[str, dict[str, Any]]:
    """How well tasks that are learned from a view of images are done on raw ones, and on the view itself.

    With ``raw`` as the view it is the reference: what protection leaves is to be compared with that.

    Args:
        truth: of known and measured images, in the size that the views have.
        view: what is learned from.
        raw: the raw images.
        subjects: known and measured people.
        budget: share of the full training: 3,000 steps of 16 images, 6,000 for attributes.
        seed: of the networks and of what they see first.
        device: where they run.

    Returns:
        for "segmentation", "keypoints" and "attributes": figures on "raw" and on "protected" images, and of
        the best "guess" that looks at no image (the mean mask, the mean joints, the most common kinds), in
        percent; "images" learned from, images "measured", and "steps". A task without truth has
        "not_applicable" and the reason. Figures: "IoU" of the person and "mIoU"; "PCK" at a tenth of the
        person's height, of visible joints; "balanced_accuracy", the mean of "each" attribute.

    Raises:
        UserError: when a loss is not finite any more.
    """
    steps = {task: max(1, round(budget * full)) for task, full in FULL_STEPS.items()}
    parts: dict[str, Mapping] = {
        "segmentation": truth.masks,
        "keypoints": truth.poses,
        "attributes": truth.attributes,
    }
    known = {
        task: _drawn(subjects.known, part, min(MOST_KNOWN, BATCH * steps[task]))
        for task, part in parts.items()
    }
    measured = {task: _drawn(people(subjects), part, MOST_MEASURED) for task, part in parts.items()}
    learned = Held(view, _together(known.values()))
    shown = {"raw": Held(raw, _together(measured.values()))}
    shown["protected"] = shown["raw"] if view is raw else Held(view, _together(measured.values()))
    results: dict[str, dict[str, Any]] = {}
    for task, lesson_of in LESSONS.items():
        if task in truth.missing:
            results[task] = {"not_applicable": truth.missing[task]}
            continue
        lesson, asked = lesson_of(truth, known[task]), measured[task]
        if obstacle := lesson.obstacle(asked):
            results[task] = {"not_applicable": obstacle}
            continue
        network = _learn(lesson, learned, known[task], steps[task], seed, device, task)
        answers = {side: _answers(lesson, network, images, asked, device) for side, images in shown.items()}
        answers["guess"] = np.repeat(lesson.guess()[None], len(asked), axis=0)
        results[task] = {
            **{side: lesson.figures(given, asked) for side, given in answers.items()},
            "images": len(known[task]),
            "measured": len(asked),
            "steps": steps[task],
        }
    return results


def _learn(
    lesson: Lesson,
    images: View,
    subjects: Sequence[Subject],
    steps: int,
    seed: int,
    device: str,
    task: str,
) -> nn.Module:
    """A network that has seen the images for so many steps."""
    torch.manual_seed(seed)
    network = lesson.network().to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps + 1)
    draw = np.random.default_rng(seed)
    network.train()
    for _ in tqdm(range(steps), unit=" steps", desc=f"learning {task}", disable=None, leave=False):
        some = [subjects[index] for index in draw.integers(len(subjects), size=BATCH)]
        loss = lesson.loss(network(images(some).to(device)), some)
        if not loss.isfinite():
            raise UserError(f"the loss of learning {task} is not finite; try another seed")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    network.eval()
    return network


@torch.no_grad()
def _answers(
    lesson: Lesson, network: nn.Module, images: View, subjects: Sequence[Subject], device: str
) -> np.ndarray:
    """What the network says of the images."""
    return np.concatenate([lesson.answers(network(images(some).to(device))) for some in batches(subjects)])


def _drawn(subjects: Iterable[Subject], part: Mapping[str, Any], most: int) -> list[Subject]:
    """The images with truth, of too many some: always the same ones, so that methods can be compared."""
    return choose([each for each in subjects if each.name in part], most, 0)


def _together(parts: Iterable[Sequence[Subject]]) -> list[Subject]:
    """Each image of the parts once."""
    return list({each.name: each for part in parts for each in part}.values())
