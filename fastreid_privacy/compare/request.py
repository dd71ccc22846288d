"""What a comparison is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CompareRequest:
    """What the command is asked for.

    Attributes:
        methods: the file that names them.
        output: folder of the result; an interrupted comparison there goes on.
        schedule: share of each config's schedule that its model is trained for, above 0, at most 1.
        budget: share of the full training of attackers, Re-ID and tasks that learn from protected files.
        pairs: leaked pairs of row A3.
        seed: of everything that is trained.
        stranger: a Re-ID model of raw images, which saves training one.
        width: channels of the attacker's network.
        device: auto, cpu, cuda or cuda:N.
    """

    methods: Path
    output: Path
    schedule: float = 1.0
    budget: float = 0.05
    pairs: Sequence[str] = ("all",)
    seed: int = 0
    stranger: Path | None = None
    width: int = 24
    device: str = "auto"
