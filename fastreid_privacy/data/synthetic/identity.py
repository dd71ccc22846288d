"""Who somebody is: everything about a rendered person that stays the same under all cameras.

Two cues tell identities apart. Garment *colours* come from short palettes that many identities share, so a
colour narrows the search and does not end it. *Details* (pattern, print, bag, hair, face, shoes, hat, build)
are what blurring takes away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

Colour = tuple[int, int, int]
"""RGB, 0–255."""

CUES = ("all", "colour", "detail")

UPPER_PALETTE: tuple[tuple[Colour, float], ...] = (
    ((58, 58, 62), 0.28),
    ((184, 182, 176), 0.26),
    ((122, 122, 124), 0.20),
    ((66, 80, 116), 0.14),
    ((148, 84, 80), 0.12),
)
LOWER_PALETTE: tuple[tuple[Colour, float], ...] = (((50, 50, 56), 0.50), ((72, 84, 112), 0.50))
# The one set of clothes that everybody wears where only details may tell identities apart.
FIXED_UPPER: Colour = (122, 122, 124)
FIXED_LOWER: Colour = (72, 84, 112)

PATTERNS = ("plain", "stripes", "columns", "checks", "grid", "dots", "diagonal", "zigzag")
LOGOS = ("none", "disc", "square", "triangle", "cross", "ring", "text", "number")
BAGS = ("none", "backpack", "shoulder", "hand")
HAIR_STYLES = ("short", "long", "ponytail", "bun", "curly", "bald")
HATS = ("none", "cap", "beanie")
UPPER_CUTS = ("t-shirt", "sleeves", "jacket", "coat")
LOWER_CUTS = ("trousers", "shorts", "skirt")

_BAG_COLOURS: tuple[Colour, ...] = ((28, 28, 32), (74, 62, 54), (52, 60, 84), (120, 58, 52), (60, 84, 70))
_HAIR_COLOURS: tuple[Colour, ...] = (
    (26, 22, 22),
    (44, 32, 26),
    (88, 60, 40),
    (156, 122, 78),
    (130, 128, 126),
)
_SKINS: tuple[Colour, ...] = (
    (236, 200, 176),
    (222, 178, 148),
    (196, 148, 116),
    (150, 104, 78),
    (104, 72, 54),
)
_SHOES: tuple[Colour, ...] = ((26, 26, 28), (180, 178, 174), (84, 62, 48), (110, 110, 114))
# How a pattern's two colours differ, in levels: light and dark, or two hues.
_CONTRASTS: tuple[Colour, ...] = (
    (120, 120, 120),
    (-120, -120, -120),
    (130, -45, -45),
    (-55, 20, 125),
    (100, 80, -90),
    (-80, 70, -55),
)
_PRINT_COLOURS: tuple[Colour, ...] = (
    (232, 230, 224),
    (24, 24, 26),
    (200, 58, 50),
    (222, 180, 60),
    (60, 110, 178),
)


@dataclass(frozen=True)
class Pattern:
    """The weave of a garment: ``period`` is in body heights, ``fill`` the second colour's share of a period.

    ``contrast`` is the second colour minus the first. Their average over the cloth is the garment's colour,
    so that from afar, or blurred, a striped shirt looks like a plain one of the same palette entry.
    """

    kind: str = "plain"
    contrast: Colour = (0, 0, 0)
    period: float = 0.06
    fill: float = 0.5


@dataclass(frozen=True)
class Logo:
    """A print: ``size`` in body heights, ``across`` its place from −1, right on the body, to 1, left."""

    kind: str = "none"
    colour: Colour = (232, 230, 224)
    size: float = 0.07
    across: float = 0.0
    on_back: bool = False


@dataclass(frozen=True)
class Identity:
    """One person; lengths are in body heights. The defaults are the fixed design of ``cues="colour"``."""

    upper: Colour = FIXED_UPPER
    lower: Colour = FIXED_LOWER
    upper_cut: str = "sleeves"
    lower_cut: str = "trousers"
    upper_pattern: Pattern = Pattern()
    lower_pattern: Pattern = Pattern()
    inner: Colour = (206, 204, 198)
    logo: Logo = Logo()
    bag: str = "none"
    bag_colour: Colour = (28, 28, 32)
    bag_left: bool = True
    hair: str = "short"
    hair_colour: Colour = (44, 32, 26)
    hat: str = "none"
    hat_colour: Colour = (52, 60, 84)
    glasses: bool = False
    beard: bool = False
    skin: Colour = (222, 178, 148)
    shoes: Colour = (26, 26, 28)
    breadth: float = 1.0
    shoulders: float = 0.105
    leg_length: float = 0.50
    head: float = 1.0
    stride: float = 0.45


def _pick(rng: np.random.Generator, items: Sequence, weights: Sequence[float] | None = None):
    """One of ``items``; an index is drawn because numpy would turn tuples and strings into arrays."""
    shares = None if weights is None else np.asarray(weights) / np.sum(weights)
    return items[int(rng.choice(len(items), p=shares))]


def _shifted(rng: np.random.Generator, colour: Colour, spread: float) -> Colour:
    """The colour a little lighter or darker: two garments of one palette entry are not of one dye."""
    shifts = rng.normal(0, spread, 3)
    red, green, blue = (int(np.clip(at + shift, 8, 246)) for at, shift in zip(colour, shifts, strict=True))
    return red, green, blue


def _pattern(rng: np.random.Generator, kinds: Sequence[str], weights: Sequence[float]) -> Pattern:
    kind, contrast = _pick(rng, kinds, weights), _pick(rng, _CONTRASTS, (0.22, 0.22, 0.14, 0.14, 0.14, 0.14))
    return Pattern(kind, contrast, float(rng.uniform(0.042, 0.095)), float(rng.uniform(0.3, 0.6)))


def sample_identity(rng: np.random.Generator, cues: str = "all") -> Identity:
    """Draw an identity.

    Args:
        rng: the identity's own generator; the same generator state gives the same identity.
        cues: ``all``; ``colour``: details are one fixed design, only palette colours of the garments differ;
            ``detail``: garments have one fixed pair of colours, only details differ.

    Returns:
        The identity.
    """
    upper = _pick(rng, [entry[0] for entry in UPPER_PALETTE], [entry[1] for entry in UPPER_PALETTE])
    lower = _pick(rng, [entry[0] for entry in LOWER_PALETTE], [entry[1] for entry in LOWER_PALETTE])
    upper, lower = _shifted(rng, upper, 4.0), _shifted(rng, lower, 4.0)
    person = Identity() if cues == "detail" else Identity(upper=upper, lower=lower)
    if cues == "colour":
        return person
    hair = _pick(rng, HAIR_STYLES, (0.36, 0.24, 0.14, 0.08, 0.12, 0.06))
    lower_cut = _pick(rng, LOWER_CUTS, (0.90, 0.05, 0.05))
    return replace(
        person,
        upper_cut=_pick(rng, UPPER_CUTS, (0.30, 0.48, 0.16, 0.06)),
        lower_cut=lower_cut,
        upper_pattern=_pattern(rng, PATTERNS, (0.08, 0.18, 0.13, 0.14, 0.12, 0.12, 0.12, 0.11)),
        lower_pattern=_pattern(
            rng,
            ("plain", "seam", "checks", "grid", "stripes", "diagonal"),
            (0.28, 0.22, 0.14, 0.12, 0.12, 0.12),
        ),
        inner=_pick(rng, ((196, 194, 188), (52, 52, 56), (130, 72, 68), (84, 100, 136))),
        logo=Logo(
            _pick(rng, LOGOS, (0.16, 0.12, 0.12, 0.12, 0.12, 0.12, 0.12, 0.12)),
            _pick(rng, _PRINT_COLOURS),
            float(rng.uniform(0.06, 0.12)),
            float(rng.choice((-0.4, 0.0, 0.4))),
            bool(rng.random() < 0.5),
        ),
        bag=_pick(rng, BAGS, (0.40, 0.18, 0.24, 0.18)),
        bag_colour=_pick(rng, _BAG_COLOURS, (0.34, 0.22, 0.20, 0.12, 0.12)),
        bag_left=bool(rng.random() < 0.5),
        hair=hair,
        hair_colour=_pick(rng, _HAIR_COLOURS, (0.44, 0.34, 0.16, 0.04, 0.02)),
        hat=_pick(rng, HATS, (0.82, 0.10, 0.08)),
        hat_colour=_pick(rng, _BAG_COLOURS),
        glasses=bool(rng.random() < 0.25),
        beard=bool(hair in ("short", "bald") and rng.random() < 0.25),
        skin=_pick(rng, _SKINS, (0.24, 0.30, 0.22, 0.14, 0.10)),
        shoes=_pick(rng, _SHOES, (0.40, 0.24, 0.18, 0.18)),
        breadth=float(rng.uniform(0.94, 1.12)),
        shoulders=float(rng.uniform(0.095, 0.118)),
        leg_length=float(rng.uniform(0.48, 0.52)),
        head=float(rng.uniform(0.94, 1.1)),
        stride=float(rng.uniform(0.34, 0.56)),
    )
