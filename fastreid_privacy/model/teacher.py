"""A teacher: a Re-ID model of raw images, whose features the model in training is to find in all its images.

Whoever learns from protected images besides raw ones pays with several points of rank-1 on raw images, Base
as well as the method. The upper bound, which has learned from raw images alone, knows better where a person
belongs. So the student is asked for the teacher's feature of the raw image, whether it sees that image or its
protected one: that keeps raw images where the teacher has them, and moves protected ones there.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.errors import UserError, some_of
from .heads import classifier_names, feature_length, heads_of, joined, watched_features
from .parts import NOT_REID


def distance_to_teacher(features: Tensor, wanted: Tensor) -> Tensor:
    """1 − cosine, as retrieval by TEST.METRIC cosine ranks: the mean over images, from 0 to 2, in float32.

    Args:
        features: N×D of the student.
        wanted: N×D of the teacher; no gradient flows into them.
    """
    return (1 - F.cosine_similarity(features.float(), wanted.detach().float())).mean()


def check_teachable(model: nn.Module) -> None:
    """Make sure that a model has what a teacher looks at.

    Raises:
        UserError: when it has no head of fastreid's kind, or one without a neck.
    """
    heads = heads_of(model)
    if not heads or not all(isinstance(getattr(head, "bottleneck", None), nn.Module) for head in heads):
        raise UserError(
            "PRIVACY.TEACHER.WEIGHT needs a MODEL.HEADS.NAME that is, or inherits from, fastreid's "
            "EmbeddingHead: its features after the neck (bottleneck) are what is taught"
        )


@dataclass(frozen=True)
class Teacher:
    """A Re-ID model that does not learn any more; no part of the model that it teaches, nor of its files.

    Attributes:
        model: a meta-architecture, on the device of the student.
        weight: of :func:`distance_to_teacher` in the student's loss, for each domain.
        fingerprint: of its Re-ID part; a run goes on with the teacher that it began with.
        initializes: whether the student's Re-ID begins with its weights.
    """

    model: nn.Module
    weight: float
    fingerprint: str
    initializes: bool = False

    def __post_init__(self) -> None:
        self.model.eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """N×D features, float32, of N×3×H×W raw images in 0–255."""
        with watched_features(self.model) as given:
            self.model({"images": images})
        return joined(given).float()

    def check(self, student: nn.Module) -> None:
        """Make sure that a model can learn from it.

        Raises:
            UserError: when their features differ in length, the student has no head of fastreid's kind, or is
                to begin with the weights of another network than its own.
        """
        check_teachable(student)
        own, theirs = feature_length(student), feature_length(self.model)
        if own != theirs:
            raise UserError(
                f"the teacher (PRIVACY.UPPER_BOUND) gives {theirs} features, and this model {own}: both need "
                "the same MODEL.BACKBONE.FEAT_DIM and MODEL.HEADS.EMBEDDING_DIM"
            )
        if self.initializes:
            self._weights_for(student)

    def initialize(self, student: nn.Module) -> None:
        """Give a student the weights and statistics of the teacher's Re-ID network, in place.

        A student of another number of identities keeps its own classifiers and centers.

        Raises:
            UserError: as :meth:`check`.
        """
        student.load_state_dict(self._weights_for(student), strict=False)

    def _weights_for(self, student: nn.Module) -> dict[str, Tensor]:
        """What of the teacher's tensors a student begins with, by name."""
        theirs, own = self.model.state_dict(), student.state_dict()
        fitting = {
            name: theirs[name] for name in own if name in theirs and theirs[name].shape == own[name].shape
        }
        of_identities = {*classifier_names(student), "centers"}
        needed = [
            name for name in own if name.partition(".")[0] not in NOT_REID and name not in of_identities
        ]
        if missing := [name for name in needed if name not in fitting]:
            raise UserError(
                f"PRIVACY.TEACHER.INIT: the teacher's Re-ID network is another, {some_of(missing)} differ; "
                "give both the same MODEL.BACKBONE and MODEL.HEADS, or let it teach alone (INIT False)"
            )
        return fitting

    def state_dict(self) -> dict[str, str]:
        return {"fingerprint": self.fingerprint}

    def load_state_dict(self, state: dict[str, str]) -> None:
        """Compare with the teacher of the run that is continued.

        Raises:
            UserError: when it was another.
        """
        if state != self.state_dict():
            raise UserError(
                "the run was begun with another teacher: give it the upper bound back that it began with "
                "(PRIVACY.UPPER_BOUND), or choose another OUTPUT_DIR"
            )
