"""What was found, as a piece of a page: words, figures, and pictures inside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import one_line
from ..core.images import png_bytes
from ..report.page import data_uri, render
from .attacks import KnownAttack, Undone
from .galleries import Strip
from .release import Finding
from .trying import PROTECTED, Tried

FOLDER = Path(__file__).parent
RAW = "raw"
CONVENTIONAL = "conventional operators"


def tried_html(found: Sequence[Tried]) -> str:
    """What every method makes of a picture, and two pictures under one slider.

    Each trained anonymizer has a row of its own, the conventional operators share one.

    Args:
        found: of :func:`.trying.try_methods`.
    """
    common = next((each.raw for each in found if not each.learned), found[0].raw)
    rows = [_row(each.method, [each], common) for each in found if each.learned]
    others = [each for each in found if not each.learned]
    rows += [_row(CONVENTIONAL, others, common)] if others else []
    tiles = {tile["key"]: tile for row in rows for tile in row["tiles"]}
    left, right = rows[0]["tiles"][0]["key"], rows[0]["shown"]
    return render("tried.html", FOLDER, rows=rows, tiles=tiles, left=left, right=right)


def _row(title: str, found: Sequence[Tried], common: np.ndarray) -> dict[str, Any]:
    """A row of the page: the raw picture, then what was made of it."""
    first = found[0]
    size = f"{first.raw.shape[1]}×{first.raw.shape[0]} pixels"
    raw = RAW if first.raw.shape == common.shape else f"{first.method}: {RAW}"
    tiles = [{"key": raw, "title": RAW, "figures": size, "picture": picture_uri(first.raw)}]
    for each in found:
        for stage in each.stages:
            name = stage.name if each.learned else each.method
            tiles.append(
                {
                    "key": f"{each.method}: {stage.name}" if each.learned else each.method,
                    "title": name,
                    "figures": figures_text(stage.psnr, stage.ssim),
                    "picture": picture_uri(stage.picture),
                }
            )
    notes = [note if each.learned else f"{each.method}: {note}" for each in found for note in each.notes]
    protected = [tile["key"] for tile in tiles if tile["title"] == PROTECTED]
    return {"title": title, "tiles": tiles, "notes": notes, "shown": (protected or [tiles[-1]["key"]])[0]}


def picture_uri(picture: np.ndarray) -> str:
    """A uint8 H×W×3 picture as the source of an image."""
    return data_uri(png_bytes(picture))


def figures_text(psnr: float | None, ssim: float | None) -> str:
    """PSNR and SSIM in words; None: no pixel differs, and there is no SSIM of so small a picture."""
    told = "same as raw" if psnr is None else f"{psnr:.1f} dB"
    return told if ssim is None else f"{told}, SSIM {ssim:.2f}"


def people_html(found: Mapping[str, Any]) -> str:
    """What was found in a video, small: "" of nothing.

    Args:
        found: by name, with ``pixels`` of each, uint8 H×W×3.
    """
    people = [(name, picture_uri(each.pixels)) for name, each in found.items()]
    return render("people.html", FOLDER, people=people)


def strips_html(found: Sequence[Strip]) -> str:
    """Who is found in each gallery.

    Args:
        found: of :func:`.galleries.strips`.
    """
    shown = [
        {
            "name": strip.gallery,
            "picture": data_uri(png_bytes(strip.picture)),
            "words": strip.words,
            "missing": len(strip.missing),
        }
        for strip in found
    ]
    return render("strips.html", FOLDER, strips=shown)


def attack_html(attack: KnownAttack, undone: Sequence[Undone]) -> str:
    """What the strongest attack makes of a picture, or has made of others: it says which.

    Args:
        attack: of :func:`.attacks.find_attack`.
        undone: of :func:`.attacks.undo`.
    """
    others = None if undone else attack.picture()
    tiles = [
        {
            "title": each.method,
            "figures": figures_text(each.psnr, each.ssim),
            "picture": picture_uri(each.picture),
        }
        for each in undone
    ]
    picture = None if others is None else picture_uri(others)
    return render("attack.html", FOLDER, told=attack.told, way=attack.way, tiles=tiles, others=picture)


def release_html(name: str, findings: Sequence[Finding], recovered: np.ndarray | None) -> str:
    """The list of a release.

    Args:
        name: of the folder.
        findings: of :func:`.release.check_release`, and how far a person has come.
        recovered: what an attack recovered, uint8 H×W×3; None: there is no picture of it.
    """
    attack = None if recovered is None else picture_uri(recovered)
    return render("release.html", FOLDER, name=one_line(name), findings=findings, attack=attack)


def judged_html(
    place: int,
    count: int,
    sha256: str,
    chosen: str,
    path: str,
    pictures: Mapping[str, np.ndarray],
    figures: str,
    decided: str,
) -> str:
    """An image for a yes or no.

    Args:
        place, count: which one, from 0, of how many.
        sha256: of the protected file; "" where no picture is shown.
        chosen: by what they were chosen.
        path: of the protected file.
        pictures: by what they are.
        figures: in words.
        decided: what was decided, or is to be.
    """
    return render(
        "judged.html",
        FOLDER,
        place=place + 1,
        count=count,
        sha256=sha256,
        chosen=chosen,
        path=one_line(path),
        pictures=[(title, picture_uri(picture)) for title, picture in pictures.items()],
        figures=figures,
        decided=decided,
    )


def message_html(text: str, *, alarm: bool = False) -> str:
    """A line for the reader, which screen readers speak.

    Args:
        text: the line; "" leaves an empty place.
        alarm: whether something went wrong.
    """
    return render("message.html", FOLDER, text=one_line(text), alarm=alarm)


def piece(name: str) -> str:
    """A file of this folder that goes into the page as it is: its look, and what runs in the browser."""
    return (FOLDER / name).read_text(encoding="utf-8")
