"""The groups of table 2: images of which model, raw or protected on either side."""

from __future__ import annotations

from dataclasses import dataclass

from ..reproduce.paper import MODELS, TABLE_2, TABLE_2_UPPER_BOUND
from ..reproduce.plan import Run

TITLES = {**MODELS, "raw": "Raw"}


@dataclass(frozen=True)
class Group:
    """One row of table 2.

    Attributes:
        operator: "blur", "pixelate" or "noise"; "" for raw images.
        model: "base" (conventionally desensitized images), "full" (the method's protected images) or "raw".
        pair: domains of the two images: "OI-PI" or "PI-PI"; "OI-OI" for raw images.
        paper: the paper's accuracy on Market-1501, percent.
    """

    operator: str
    model: str
    pair: str
    paper: float

    @property
    def name(self) -> str:
        """As options and files name it."""
        return "-".join(filter(None, (self.operator, self.model, self.pair.lower().replace("-", "_"))))

    @property
    def run(self) -> str:
        """The run whose anonymizer makes the images and whose Re-ID accuracy stands beside.

        Its folder, below that of a seed of a reproduction.
        """
        kind = "upper_bound" if self.model == "raw" else self.model
        return Run(kind, 0, self.operator).folder.name

    @property
    def title(self) -> str:
        """As tables show whose images these are."""
        return f"{self.operator} {TITLES[self.model]}".strip()


GROUPS = {
    group.name: group
    for group in (
        *(
            Group(operator, model, pair, accuracy)
            for operator, models in TABLE_2.items()
            for model, pairs in models.items()
            for pair, accuracy in pairs.items()
        ),
        Group("", "raw", "OI-OI", TABLE_2_UPPER_BOUND),
    )
}
