"""What an attack on protected files has found, for who does not read its grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ..attack.cells import HOLDS, Cell
from ..attack.inversion import way_back
from ..attack.stored import RESULT, SCHEMA, strongest
from ..attack.targets import PROTECTED
from ..collection.compare import compare
from ..core.errors import UserError
from ..core.images import to_pictures
from ..core.kept import read_kept
from ..core.pictures import read_picture
from .trying import DESENSITIZED, Tried

WAY = "recovery"  # of the pictures of a cell


@dataclass(frozen=True)
class KnownAttack:
    """An attack.json, read.

    Attributes:
        file: where it is.
        protected: the folder that was attacked, as it was named then.
        row: of the attack that recovers most without the key, "A3"; "": none recovers anything.
        pairs: how many pairs it learned from, "64" or "all"; "" of other rows.
        seed: of what it learned.
        psnr: of what it recovers, dB; None: every pixel.
        rank1: who is recognised on that, percent.
        operator: whose inverse it is, in row A1.
        way: how it is undone, likewise.
    """

    file: Path
    protected: str
    row: str = ""
    pairs: str = ""
    seed: int = 0
    psnr: float | None = None
    rank1: float = 0.0
    operator: str = ""
    way: str = ""

    @property
    def told(self) -> str:
        """What it found, in a sentence or two."""
        if not self.row:
            return "No attack of it recovers images without the key."
        how_near = "every pixel" if self.psnr is None else f"{self.psnr:.1f} dB"
        pairs = f" ({self.pairs} of them)" if self.pairs else ""
        return (
            f"The strongest without the key is {self.row}, of who holds {HOLDS.get(self.row, 'something')}"
            f"{pairs}: it comes as near to the raw images as {how_near}, and on {self.rank1:.1f} % of what "
            "it recovers the person is recognised."
        )

    def picture(self) -> np.ndarray | None:
        """What it recovered of some images, side by side, uint8 H×W×3; None where that was not kept."""
        cell = Cell(self.row, PROTECTED, self.pairs, self.seed)
        file = self.file.parent / "cells" / cell.strip(WAY)
        try:
            return read_picture(file)
        except UserError:
            return None


class Undone(NamedTuple):
    """What the strongest attack makes of a protected picture.

    Attributes:
        method: that protected it.
        picture: uint8 H×W×3.
        psnr, ssim: against the raw one, as of :class:`.trying.Stage`.
    """

    method: str
    picture: np.ndarray
    psnr: float | None
    ssim: float | None


def undo(attack: KnownAttack, tried: Sequence[Tried]) -> list[Undone]:
    """Try the strongest attack on a picture, where nothing else is needed for it.

    That is row A1, which undoes an operator without learning: on the operator's own image, and on that of
    each trained anonymizer. Of other rows the trained networks are not kept.

    Args:
        attack: of :func:`find_attack`.
        tried: of :func:`.trying.try_methods`.

    Raises:
        UserError: where scikit-image is not installed.
    """
    found = []
    for each in tried:
        seen = each.stage(PROTECTED if each.learned else DESENSITIZED)
        if seen is None or not (each.learned or each.method == attack.operator):
            continue
        way = way_back(attack.operator, attack.way, seen.picture.shape[:2]) if attack.row == "A1" else None
        if way is not None:
            images = torch.from_numpy(seen.picture).permute(2, 0, 1)[None].float()
            picture = to_pictures(way(images))[0]
            figures = compare(picture, each.raw)
            found.append(Undone(each.method, picture, figures["PSNR"], figures["SSIM"]))
    return found


def find_attack(named: Path | None, release: Path | None) -> KnownAttack | None:
    """The attack that is named, or lies beside a protected folder.

    Args:
        named: an attack.json, or the folder of one; None: looked for.
        release: a protected folder; None: there is none to look beside.

    Returns:
        None where none is named, and none lies there.

    Raises:
        UserError: when the named one is missing, or one is damaged.
    """
    if named is not None:
        file = named / RESULT if named.is_dir() else named
        if not file.is_file():
            raise UserError(f"--attack {named} is no attack.json, and no folder with one")
        return read_attack(file)
    if release is None:
        return None
    beside = (release.absolute().parent / RESULT, release.absolute().parent / "attack" / RESULT)
    return next((read_attack(file) for file in beside if file.is_file()), None)


def read_attack(file: Path) -> KnownAttack:
    """What an attack.json says of its strongest attack.

    Raises:
        UserError: when the file is damaged or something else.
    """
    found = read_kept(file, "run the attack again")
    try:
        assert found is not None  # who calls has seen it
        if found["schema"] != SCHEMA:
            raise ValueError(f"it is of schema {found['schema']}")
        protected, best = str(found["protected"]), strongest(found["rows"])
        if best is None:
            return KnownAttack(file, protected)
        name, figures = best
        row, _, rest = name.partition(", ")
        recovery, attacker, seeds = figures["recovery"], figures.get("attacker", {}), figures.get("per_seed")
        psnr = None if recovery["PSNR"] is None else float(recovery["PSNR"])
        seed = int(max(seeds, key=lambda each: _most(seeds[each]))) if seeds else int(found["seeds"][0])
        return KnownAttack(
            file,
            protected,
            row,
            rest.removesuffix(" pairs"),
            seed if row in ("A2", "A3", "A7") else 0,
            psnr,
            float(recovery["rank1"]),
            str(attacker.get("operator", "")),
            str(attacker.get("network", "")),
        )
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        raise UserError(f"{file} is damaged or no attack.json ({error})") from None


def _most(psnr: float | None) -> float:
    return float("inf") if psnr is None else float(psnr)
