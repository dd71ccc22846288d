"""What is learned, task by task: the network, its loss, what its output says, the figures, and a guess.

A guess looks at no image: it is the best answer that is the same for all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from ..attack.subjects import Subject
from . import scores
from .files import Pose
from .networks import Classifier, Maps
from .truth import Truth

SPREAD = 0.02  # of the image's height: standard deviation of the place that a joint is taught to be at
UNKNOWN = -100  # the kind of an attribute that nothing is known of
VISIBLE = 2  # as COCO counts


class Lesson(Protocol):
    """One task, with what is true of the images that it is learned from and measured on."""

    def obstacle(self, subjects: Sequence[Subject]) -> str:
        """Why nothing can be measured on these images; "": it can."""
        return ""

    def network(self) -> nn.Module:
        """A new network for N×3×H×W images, 0–255."""

    def loss(self, output: Any, subjects: Sequence[Subject]) -> Tensor:
        """How wrong the network's output of these images is."""

    def answers(self, output: Any) -> np.ndarray:
        """What the network's output says, N×…"""

    def guess(self) -> np.ndarray:
        """The answer for every image that is best for those learned from."""

    def figures(self, answers: np.ndarray, subjects: Sequence[Subject]) -> dict[str, Any]:
        """How right answers of these images are, in percent."""


class Segmentation(Lesson):
    """Where the person is: a U-Net with one map; each pixel counts the same.

    Args:
        truth: of all images.
        known: those learned from.
    """

    def __init__(self, truth: Truth, known: Sequence[Subject]):
        self.masks = truth.masks
        self.known = known

    def network(self) -> nn.Module:
        return Maps(1)

    def loss(self, output: Tensor, subjects: Sequence[Subject]) -> Tensor:
        """Binary cross entropy."""
        wanted = torch.from_numpy(self._true(subjects)).to(output)
        return binary_cross_entropy_with_logits(output[:, 0], wanted)

    def answers(self, output: Tensor) -> np.ndarray:
        """N×H×W bool."""
        return (output[:, 0] > 0).cpu().numpy()

    def guess(self) -> np.ndarray:
        """Where most known people are: H×W bool."""
        counts = np.zeros(self.masks[self.known[0].name].shape, int)
        for each in self.known:
            counts += self.masks[each.name]
        return 2 * counts > len(self.known)

    def figures(self, answers: np.ndarray, subjects: Sequence[Subject]) -> dict[str, Any]:
        """ "IoU" and "mIoU"."""
        return scores.overlap(answers, self._true(subjects))

    def _true(self, subjects: Sequence[Subject]) -> np.ndarray:
        return np.stack([self.masks[each.name] for each in subjects])


class Keypoints(Lesson):
    """Where the joints are: a U-Net with a map for each, whose largest value is its place.

    Args:
        truth: of all images.
        known: those learned from.
    """

    def __init__(self, truth: Truth, known: Sequence[Subject]):
        self.poses, self.size, self.count = truth.poses, truth.size, len(truth.joint_names)
        self.known = known

    def obstacle(self, subjects: Sequence[Subject]) -> str:
        seen = (self._true(subjects)[1] == VISIBLE).any()
        return "" if seen else "no joint is visible in the images that it would be measured on"

    def network(self) -> nn.Module:
        return Maps(self.count)

    def loss(self, output: Tensor, subjects: Sequence[Subject]) -> Tensor:
        """Cross entropy between the map, over all places, and a small Gaussian; of hidden joints, too."""
        points, visibility = self._true(subjects)
        labelled = torch.from_numpy(visibility > 0).to(output)
        across, down = (
            _near(torch.from_numpy(points[..., axis]).to(output), length, SPREAD * self.size[0])
            for axis, length in ((0, self.size[1]), (1, self.size[0]))
        )
        aimed = torch.einsum("nkhw,nkh,nkw->nk", output, down, across)
        each = output.flatten(2).logsumexp(2) - aimed
        return (each * labelled).sum() / labelled.sum().clamp(min=1)

    def answers(self, output: Tensor) -> np.ndarray:
        """N×K×2 float32, pixels."""
        place = output.flatten(2).argmax(2).cpu().numpy()
        return np.stack([place % self.size[1], place // self.size[1]], axis=2).astype(np.float32)

    def guess(self) -> np.ndarray:
        """The mean place of each joint, K×2; the image's middle for one that is nowhere labelled."""
        points, visibility = self._true(self.known)
        labelled = (visibility > 0)[..., None]
        counts = labelled.sum(0)
        middle = (np.array([self.size[1], self.size[0]]) - 1) / 2
        return np.where(counts > 0, (points * labelled).sum(0) / np.maximum(counts, 1), middle)

    def figures(self, answers: np.ndarray, subjects: Sequence[Subject]) -> dict[str, Any]:
        """ "PCK"."""
        points, visibility = self._true(subjects)
        heights = [self.poses[each.name].height for each in subjects]
        return scores.correct_keypoints(answers, points, visibility == VISIBLE, heights)

    def _true(self, subjects: Sequence[Subject]) -> tuple[np.ndarray, np.ndarray]:
        """N×K×2 and N×K."""
        poses: list[Pose] = [self.poses[each.name] for each in subjects]
        return np.stack([pose.points for pose in poses]), np.stack([pose.visibility for pose in poses])


class Attributes(Lesson):
    """What people wear: a classifier of all attributes at once, in which each kind has the same weight.

    Args:
        truth: of all images.
        known: those learned from; attributes that have one kind among them are left out.
    """

    def __init__(self, truth: Truth, known: Sequence[Subject]):
        self.attributes = truth.attributes
        self.counts = attribute_counts(truth.attributes, known)
        self.kinds = {name: sorted(counts) for name, counts in self.counts.items()}
        weights = [np.array([1 / counts[kind] for kind in sorted(counts)]) for counts in self.counts.values()]
        self.weights = [torch.from_numpy(each / each.mean()).float() for each in weights]

    def obstacle(self, subjects: Sequence[Subject]) -> str:
        if not self.kinds:
            return "the people to learn from have one kind of each attribute"
        told = (self._true(subjects) != UNKNOWN).any()
        return "" if told else "none of the kinds that are learned is known of the measured images"

    def network(self) -> nn.Module:
        return Classifier([len(kinds) for kinds in self.kinds.values()])

    def loss(self, output: Sequence[Tensor], subjects: Sequence[Subject]) -> Tensor:
        """Cross entropy, summed over the attributes; what is not known does not count."""
        losses = []
        for values, weights, wanted in zip(output, self.weights, self._true(subjects).T, strict=True):
            target = torch.from_numpy(wanted).to(values.device)
            total = cross_entropy(values, target, weights.to(values), ignore_index=UNKNOWN, reduction="sum")
            losses.append(total / len(subjects))
        return torch.stack(losses).sum()

    def answers(self, output: Sequence[Tensor]) -> np.ndarray:
        """N×attributes, numbers of kinds."""
        return torch.stack([values.argmax(1) for values in output], dim=1).cpu().numpy()

    def guess(self) -> np.ndarray:
        """The most common kind of each attribute, of equals the first."""
        return np.array(
            [
                max(range(len(kinds)), key=lambda kind: self.counts[name][kinds[kind]])
                for name, kinds in self.kinds.items()
            ]
        )

    def figures(self, answers: np.ndarray, subjects: Sequence[Subject]) -> dict[str, Any]:
        """ "balanced_accuracy", the mean of "each" attribute that is known of some of the images."""
        each = {}
        for name, found, true in zip(self.kinds, answers.T, self._true(subjects).T, strict=True):
            if (true != UNKNOWN).any():
                each[name] = scores.balanced_accuracy(found[true != UNKNOWN], true[true != UNKNOWN])
        return {"balanced_accuracy": float(np.mean(list(each.values()))), "each": each}

    def _true(self, subjects: Sequence[Subject]) -> np.ndarray:
        """N×attributes, numbers of kinds; kinds that nobody has learned are unknown."""
        numbers = {
            name: {kind: number for number, kind in enumerate(kinds)} for name, kinds in self.kinds.items()
        }
        return np.array(
            [
                [numbers[name].get(self.attributes[each.name].get(name, ""), UNKNOWN) for name in numbers]
                for each in subjects
            ]
        )


def attribute_counts(
    attributes: Mapping[str, Mapping[str, str]], known: Sequence[Subject]
) -> dict[str, Counter[str]]:
    """How many known images have each kind, of the attributes with several kinds, by name."""
    counts: dict[str, Counter[str]] = {}
    for each in known:
        for name, kind in attributes[each.name].items():
            counts.setdefault(name, Counter())[kind] += 1
    return {name: counts[name] for name in sorted(counts) if len(counts[name]) > 1}


def _near(place: Tensor, length: int, spread: float) -> Tensor:
    """Gaussian weights over 0 … length−1 that sum to 1: N×K → N×K×length."""
    at = torch.arange(length, device=place.device, dtype=place.dtype)
    return torch.softmax(-((at - place[..., None]) ** 2) / (2 * spread**2), dim=2)
