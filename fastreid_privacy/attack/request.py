"""What an attack is asked for, and what can be found wrong with it before an image is looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..core.errors import UserError
from ..core.operators import CONVENTIONAL
from ..desensitize import DESENSITIZER_REGISTRY
from .cells import HOLDS
from .learned import FULL_STEPS
from .stranger import BACKBONES, EPOCHS

REFERENCE = "blur"  # whose rank-1 the others are compared with, and whose inverse is tried by default


@dataclass(frozen=True)
class AttackRequest:
    """What the command is asked for.

    Attributes:
        raw, protected: folders in Market-1501 naming, or data sets by name.
        output: folder of the result; a run that was interrupted there goes on.
        rows: of ``HOLDS``; empty: all that can be made with what is given.
        pairs: numbers of leaked pairs, or "all".
        budget: share of the full training of attackers, above 0.
        seeds: of what is trained; the strongest attack counts. Re-ID that is trained has the first.
        beside: conventional operators that are attacked in the same way.
        operator: what the protected files are said to be made by: its inverse is tried, and that of blur
            where nothing is said. Where it depends on the person, labels are guessed.
        model: a checkpoint whose anonymizer and Re-ID the attacker holds.
        recovery_key: the right key, where it is no part of ``model``.
        near_keys: recovery keys of other anonymizers.
        search_key: the private key that opens the templates of the protected files.
        passphrase: asked once for that of encrypted keys.
        foreign: raw images of other people.
        stranger: a Re-ID model of raw images, which saves training one.
        parrots: backbones of Re-ID that learn from the protected files.
        width: channels of the attacker's network.
        device: auto, cpu, cuda or cuda:N.
        size: (height, width) of the attack; None: the most common one of the protected files.
    """

    raw: str
    protected: str
    output: Path
    rows: Sequence[str] = ()
    pairs: Sequence[str] = ("all",)
    budget: float = 0.05
    seeds: Sequence[int] = (0,)
    beside: Sequence[str] = CONVENTIONAL
    operator: str = ""
    model: Path | None = None
    recovery_key: Path | None = None
    near_keys: Sequence[Path] = ()
    search_key: Path | None = None
    passphrase: Callable[[], str] | None = field(default=None, repr=False)
    foreign: str = ""
    stranger: Path | None = None
    parrots: Sequence[str] = ()
    width: int = 24
    device: str = "auto"
    size: tuple[int, int] | None = None

    @property
    def steps(self) -> int:
        """Of the attacker's network."""
        return max(1, round(FULL_STEPS * self.budget))

    @property
    def epochs(self) -> int:
        """Of a Re-ID model that is trained for the attack: two at least, for fastreid's schedule."""
        return max(2, round(EPOCHS * self.budget))


def check_request(request: AttackRequest) -> None:
    """Refuse what can be found wrong without looking at an image.

    Raises:
        UserError: naming the option, its value and what is allowed.
    """
    unknown = {
        "--rows": sorted(set(request.rows) - set(HOLDS)),
        "--beside": sorted(set(request.beside) - set(DESENSITIZER_REGISTRY._obj_map)),
        "--operator": sorted({request.operator or REFERENCE} - set(DESENSITIZER_REGISTRY._obj_map)),
        "--parrots": sorted(set(request.parrots) - set(BACKBONES)),
    }
    known = {"--rows": list(HOLDS), "--parrots": list(BACKBONES)}
    for option, names in unknown.items():
        if names:
            choices = ", ".join(known.get(option, list(DESENSITIZER_REGISTRY._obj_map)))
            raise UserError(f"{option} knows {choices}, not {', '.join(names)}")
    if not 0 < request.budget <= 10:
        raise UserError(
            f"--budget {request.budget}: give a share of the full attack above 0, such as 0.05 or 1"
        )
    missing = {
        "A2": not (request.model and request.foreign) and "--model and --foreign",
        "A4": not request.model and "--model",
        "A6": not (request.model or request.recovery_key) and "--recovery-key or --model",
        "A7": not request.search_key and "--search-key",
    }
    for row in request.rows:
        if missing.get(row):
            raise UserError(
                f"row {row} is of an attacker who holds {HOLDS[row]}: name it with {missing[row]}"
            )
