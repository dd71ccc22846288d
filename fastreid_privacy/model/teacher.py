"""A teacher: a Re-ID model of raw images, whose features the model in training is to find in all its images.

Whoever learns from protected images besides raw ones pays with several points of rank-1 on raw images, Base
as well as the method. The upper bound, which has learned from raw images alone, knows better where a person
belongs. So the student is asked for the teacher's feature of the raw image, whether it sees that image or its
protected one: that keeps raw images where the teacher has them, and moves protected ones there. Or it begins
with the teacher's weights, or both.
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
        weight: of :func:`distance_to_teacher` in the student's loss, for each domain; 0: it is not asked.
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
            UserError: when the features that it is asked for differ in length from the student's, the student
                has no head of fastreid's kind, or is to begin with the weights of another network.
        """
        if self.weight:
            check_teachable(student)
            own, theirs = feature_length(student), feature_length(self.model)
            if own != theirs:
                raise UserError(
                    f"the teacher gives {theirs} features, and this model {own}: both need the "
                    "same MODEL.BACKBONE.FEAT_DIM and MODEL.HEADS.EMBEDDING_DIM"
                )
        if self.initializes:
            self._weights_for(student)

    def initialize(self, student: nn.Module) -> str:
        """Give a student the weights and statistics of the teacher's Re-ID network, in place.

        A student of another number of identities keeps its own classifiers and centers; of as many, they are
        taken to be the same people.

        Returns:
            one line: how many tensors the student begins with, and what it keeps.

        Raises:
            UserError: as :meth:`check`.
        """
        weights = self._weights_for(student)
        student.load_state_dict(weights, strict=False)
        of_people = [*classifier_names(student), "centers"]
        kept = [name for name in of_people if name in student.state_dict() and name not in weights]
        of_its_own = some_of(kept) if kept else "none"
        return f"Re-ID begins with {len(weights)} tensors of the teacher; it keeps {of_its_own}"

    def _weights_for(self, student: nn.Module) -> dict[str, Tensor]:
        """What of the teacher's tensors a student begins with, by name."""
        theirs, own = (_reid_tensors(model) for model in (self.model, student))
        fitting = {name for name in own.keys() & theirs.keys() if own[name].shape == theirs[name].shape}
        of_people = {*classifier_names(student), *classifier_names(self.model), "centers"}
        if differing := sorted((own.keys() | theirs.keys()) - fitting - of_people):
            raise UserError(
                f"PRIVACY.TEACHER.INIT: the teacher's Re-ID network is another, {some_of(differing)} differ; "
                "give both the same MODEL.BACKBONE and MODEL.HEADS, or let it teach alone (INIT False)"
            )
        return {name: theirs[name] for name in own if name in fitting}

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


def _reid_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The tensors of a model's Re-ID network by name, with the centers of the center loss."""
    return {
        name: value
        for name, value in model.state_dict().items()
        if name == "centers" or name.partition(".")[0] not in NOT_REID
    }
