"""All attacks of one run: what is given becomes means and targets, each cell is made once and kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..checkpoints.image_maps import ImageMap, load_anonymizer, load_recovery
from ..checkpoints.reading import read_trained
from ..config import image_device
from ..core.errors import UserError, say
from ..core.kept import keep_settings, read_kept, write_kept
from ..core.lock import locked
from ..core.projects import about_projects
from ..desensitize import DESENSITIZER_REGISTRY
from ..report.pictures import image_strip, save_png
from . import measures
from .learned import FULL_STEPS, Attacker
from .observers import Observer, load_observer
from .rows import HOLDS, Cell, Found, Means, Target, attack, cells
from .stranger import BACKBONES, EPOCHS, train_reid
from .subjects import Subjects, read_foreign, read_subjects
from .views import Files, Held, Mapped, Operated, View, at_size_of, operated

PROTECTED = "protected"  # the name of the target that is attacked
LEAKED = ("64", "all")  # pairs of row A3, where nothing is said
REFERENCE = "blur"  # whose rank-1 the others are compared with


@dataclass(frozen=True)
class AttackRequest:
    """What the command is asked for.

    Attributes:
        raw, protected: folders in Market-1501 naming, or data sets by name.
        output: folder of the result; a run that was interrupted there goes on.
        rows: of ``HOLDS``; empty: all that can be made with what is given.
        pairs: numbers of leaked pairs, or "all"; empty: 64 and all.
        budget: share of the full training of attackers, above 0.
        seeds: of what is trained; the strongest attack counts.
        beside: conventional operators that are attacked in the same way.
        operator: whose inverse is tried on the protected files.
        model: a checkpoint whose anonymizer and Re-ID the attacker holds.
        recovery_key: the right key, where it is no part of ``model``.
        passphrase: asked for that of an encrypted key.
        foreign: raw images of other people.
        stranger: a Re-ID model of raw images, which saves training one.
        parrots: backbones of Re-ID that learn from the protected files.
        width: channels of the attacker's network.
        device: auto, cpu, cuda or cuda:N.
    """

    raw: str
    protected: str
    output: Path
    rows: Sequence[str] = ()
    pairs: Sequence[str] = ()
    budget: float = 0.05
    seeds: Sequence[int] = (0,)
    beside: Sequence[str] = ("blur", "pixelate", "noise", "mask")
    operator: str = "blur"
    model: Path | None = None
    recovery_key: Path | None = None
    passphrase: Callable[[], str] | None = field(default=None, repr=False)
    foreign: str = ""
    stranger: Path | None = None
    parrots: Sequence[str] = ()
    width: int = 24
    device: str = "auto"

    @property
    def steps(self) -> int:
        """Of the attacker's network."""
        return max(1, round(FULL_STEPS * self.budget))

    @property
    def epochs(self) -> int:
        """Of a Re-ID model that is trained for the attack: two at least, for fastreid's schedule."""
        return max(2, round(EPOCHS * self.budget))


@dataclass(frozen=True)
class Outcome:
    """What a run of attacks found.

    Attributes:
        found: of each cell.
        subjects: the images.
        exposure: of each target, how much each query shows (:func:`measures.shining_through`).
        quality: of each target's queries, PSNR and SSIM.
        raw: the raw images.
        targets: by name.
        rows: that were made.
        judge: the Re-ID model that judges recovered images: its name, its rank-1 on raw images and that of
            guessing, in percent.
    """

    found: dict[Cell, Found]
    subjects: Subjects
    exposure: dict[str, np.ndarray]
    quality: dict[str, dict[str, float | None]]
    raw: View
    targets: dict[str, Target]
    rows: Sequence[str]
    judge: dict[str, Any]


def run_attacks(request: AttackRequest) -> Outcome:
    """Make every attack that is asked for and not made yet.

    Raises:
        UserError: for what cannot be attacked or is missing, and where the output folder holds attacks of
            other images or with other settings.
    """
    device = image_device(request.device, "--device")
    check_request(request)
    subjects = read_subjects(request.raw, request.protected)
    targets = _targets(request, subjects, device)
    rows = _rows(request, targets[PROTECTED].key)
    pairs = _pairs(request, len(subjects.known))
    request.output.mkdir(parents=True, exist_ok=True)
    in_use = f"another attack writes to {request.output}; wait for its end, or choose another --output"
    with locked(request.output, in_use):
        kept = request.output / "cells"
        keep_settings(kept, _settings(request, subjects), "attacks")
        judge = _judge(request, subjects, device)
        means = Means(
            subjects,
            targets,
            Attacker(request.width, request.steps, device),
            judge,
            load_observer(request.model, device, "authorised") if request.model and "A4" in rows else None,
            read_foreign(request.foreign) if request.foreign else (),
            request.parrots,
            request.epochs,
            request.output,
        )
        found: dict[Cell, Found] = {}
        wanted = list(cells(rows, list(targets.values()), pairs, request.seeds))
        for number, cell in enumerate(wanted, 1):
            found[cell] = _read(kept, cell) or _made(kept, cell, means, f"{number} of {len(wanted)}")
        views = {name: Held(target.view, subjects.query) for name, target in targets.items()}
        return Outcome(
            found,
            subjects,
            {name: measures.shining_through(view, means.raw, subjects.query) for name, view in views.items()},
            {name: measures.quality(view, means.raw, subjects.query) for name, view in views.items()},
            means.raw,
            targets,
            rows,
            {"name": judge.name, **means.on_raw[judge.name]},
        )


def check_request(request: AttackRequest) -> None:
    """Refuse what can be found wrong without looking at an image.

    Raises:
        UserError: naming the option.
    """
    unknown = {
        "--rows": sorted(set(request.rows) - set(HOLDS)),
        "--beside": sorted(set(request.beside) - set(DESENSITIZER_REGISTRY._obj_map)),
        "--operator": sorted({request.operator} - set(DESENSITIZER_REGISTRY._obj_map)),
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
    }
    for row in request.rows:
        if missing.get(row):
            raise UserError(
                f"row {row} is of an attacker who holds {HOLDS[row]}: name it with {missing[row]}"
            )


def _targets(request: AttackRequest, subjects: Subjects, device: str) -> dict[str, Target]:
    raw = Files(subjects.size)
    anonymizer = key = None
    if request.model is not None:
        cfg = read_trained(request.model).cfg
        anonymizer = load_anonymizer(request.model, device) if cfg.PRIVACY.PROTECTION != "none" else None
        if request.recovery_key is None and cfg.PRIVACY.PROTECTION == "learned" and cfg.PRIVACY.LAMBDA_REC:
            key = load_recovery(request.model, device)
    if request.recovery_key is not None:
        key = load_recovery(request.recovery_key, device, request.passphrase)
    targets = {
        PROTECTED: Target(
            PROTECTED, Files(subjects.size, protected=True), request.operator, _protecting(anonymizer), key
        )
    }
    if anonymizer is not None and anonymizer.operator is not None and "A2" in _rows(request, key):
        anonymizer.operator.refuse_unlabelled(f"--foreign {request.foreign} of row A2")
    for name in request.beside:
        targets[name] = Target(name, operated(raw, name), name, partial(operated, name=name))
    return targets


def _protecting(anonymizer: ImageMap | None) -> Callable[[View], View] | None:
    if anonymizer is None:
        return None
    if anonymizer.operator is not None:
        return lambda view: Operated(view, anonymizer.levels)
    return lambda view: Mapped(view, at_size_of(anonymizer))


def _rows(request: AttackRequest, key: ImageMap | None) -> list[str]:
    if request.rows:
        return [row for row in HOLDS if row in request.rows]
    possible = {
        "A2": bool(request.model and request.foreign),
        "A4": request.model is not None,
        "A6": key is not None,
    }
    return [row for row in HOLDS if possible.get(row, True)]


def _pairs(request: AttackRequest, known: int) -> list[str]:
    given = request.pairs or [count for count in LEAKED if count == "all" or int(count) < known]
    for count in given:
        if count != "all" and not (count.isdecimal() and int(count)):
            raise UserError(f"--pairs {count}: give whole numbers of pairs from 1, or all")
        if count != "all" and int(count) > known:
            raise UserError(
                f"--pairs {count}: only {known:,} pairs of known people are there; give fewer, or all"
            )
    return list(dict.fromkeys(given))


def _judge(request: AttackRequest, subjects: Subjects, device: str) -> Observer:
    if request.stranger is not None:
        return load_observer(request.stranger, device, "stranger")
    folder = request.output / "reid" / "raw_resnet18"
    say(f"training a Re-ID model of raw images ({request.epochs} epochs) in {folder}")
    weights = train_reid(
        folder,
        Files(subjects.size),
        subjects,
        backbone="resnet18",
        epochs=request.epochs,
        seed=request.seeds[0],
        device=device,
    )
    return load_observer(weights, device, "stranger")


def _settings(request: AttackRequest, subjects: Subjects) -> dict[str, Any]:
    """What kept cells depend on, but for what their names tell."""
    files = hashlib.sha256()
    for each in (*subjects.known, *subjects.query, *subjects.gallery):
        for path in (each.raw, each.protected):
            about = path.stat()
            files.update(
                f"{each.name}\0{each.pid} {about.st_size} {about.st_mtime_ns}\n".encode(errors="replace")
            )
    given = {
        "raw": request.raw,
        "protected": request.protected,
        "budget": request.budget,
        "width": request.width,
        "operator": request.operator,
        "foreign": request.foreign,
        "parrots": sorted(request.parrots),
        "torch": torch.__version__,
        "projects": about_projects() or None,  # of cells that an older version made there is none
    }
    for option in ("model", "recovery_key", "stranger"):
        path = getattr(request, option)
        given[option] = hashlib.sha256(path.read_bytes()).hexdigest() if path and path.is_file() else None
    return {**given, "files": files.hexdigest()}


def _made(folder: Path, cell: Cell, means: Means, place: str) -> Found:
    say(f"{place}: {cell.row} on {cell.target}{f', {cell.pairs} pairs' if cell.pairs else ''}")
    found = attack(cell, means)
    if found.pictures is not None:
        save_png(Image.fromarray(image_strip(found.pictures)), folder / f"{cell.name}.png")
    hits = {name: [each.first.tolist(), each.pids.tolist()] for name, each in found.hits.items()}
    write_kept(folder / f"{cell.name}.json", {"figures": found.figures, "hits": hits})
    return found


def _read(folder: Path, cell: Cell) -> Found | None:
    """A cell that was made before; its strip of pictures is cut again by who shows it."""
    file = folder / f"{cell.name}.json"
    content = read_kept(file)
    if content is None:
        return None
    try:
        hits = {
            name: measures.Hits(*(np.array(values, dtype=int) for values in pair))
            for name, pair in content["hits"].items()
        }
        return Found(dict(content["figures"]), hits)
    except (ValueError, TypeError, KeyError):
        raise UserError(f"{file} is damaged; remove it, and the same command makes it again") from None
