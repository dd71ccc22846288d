"""A model that is NOT PRIVATE is neither exported nor used to protect, unless ``--not-private`` says so."""

from __future__ import annotations

from pathlib import Path

from ..core.errors import UserError, say
from ..core.privacy import NOT_PRIVATE, WHY
from .image_maps import ImageMap
from .reading import TrainedCheckpoint


def check_private(model: TrainedCheckpoint | ImageMap, path: str | Path, not_private: bool) -> None:
    """Refuse a trained anonymizer that is NOT PRIVATE; warn of one of which that is not known.

    Args:
        model: of the file.
        path: of the file, for messages.
        not_private: whether such a model is meant.

    Raises:
        UserError: The model is NOT PRIVATE and that is not meant, or it is meant of another model.
    """
    if isinstance(model, ImageMap):
        learned = model.network is not None
    else:
        learned = model.cfg.PRIVACY.PROTECTION == "learned"
    if model.private is False and not not_private:
        raise UserError(
            f"{path} is {NOT_PRIVATE}: {WHY}. Train longer, or take another checkpoint; with --not-private "
            "it is taken all the same, and what is written says so"
        )
    if not_private and (model.private or not learned):
        raise UserError(
            f"--not-private is for a model that is {NOT_PRIVATE}, which {path} is not: leave it out"
        )
    if learned and model.private is None and not not_private:
        say(
            f"warning: {path} does not tell whether its protected images are private: it holds no check of "
            "its training, as files of older versions"
        )
