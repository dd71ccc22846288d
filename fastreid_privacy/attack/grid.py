"""All attacks of one run: what is given becomes means and targets, each cell is made once and kept."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..config import image_device
from ..core.errors import UserError, say
from ..core.kept import keep_settings, read_kept, stamp_line, write_kept
from ..core.lock import locked
from ..core.projects import about_projects
from ..core.remote import Place
from ..report.pictures import image_strip, save_png
from ..retrieval.templates import template_beside
from . import measures
from .cells import HOLDS, Cell, Found, Means, Target, cells
from .learned import Attacker
from .learned_people import check_foreign, model_learned_from_others, stranger_learned_from_others
from .observers import Observer, load_observer, metric_of, preprocessing_beside
from .pairing import Pairing, compare_pairs
from .request import REFERENCE, AttackRequest, check_request
from .rows import attack
from .stranger import check_enough, train_reid
from .subjects import Subject, Subjects, read_foreign, read_subjects, say_unread
from .targets import PROTECTED, make_targets
from .views import Files, Held, View


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
            guessing, in percent; "trained_on_others" as :func:`.learned_people.stranger_learned_from_others`.
        pairing: whether raw and protected files belong together.
        model_on_others: as :func:`.learned_people.model_learned_from_others`; None, too, without ``model``.
    """

    found: dict[Cell, Found]
    subjects: Subjects
    exposure: dict[str, np.ndarray]
    quality: dict[str, dict[str, float | None]]
    raw: View
    targets: dict[str, Target]
    rows: Sequence[str]
    judge: dict[str, Any]
    pairing: Pairing
    model_on_others: bool | None = None


def run_attacks(request: AttackRequest) -> Outcome:
    """Make every attack that is asked for and not made yet.

    Raises:
        UserError: for what cannot be attacked or is missing, and where the output folder holds attacks of
            other images or with other settings.
    """
    device = image_device(request.device, "--device")
    check_request(request)
    subjects = read_subjects(request.raw, request.protected)
    if request.size is not None:
        subjects = replace(subjects, size=request.size)
    if request.stranger is None or request.parrots:
        check_enough(subjects)
    say_unread(subjects)
    if subjects.alone:
        say(f"{subjects.alone:,} raw images have no protected one, and take no part")
    targets = make_targets(request, subjects, device)
    rows = _rows(request, targets)
    if rows == ["A5"] and (reason := targets[PROTECTED].keyless):
        raise UserError(f"row A5 is of keyed methods, and {reason}: choose other --rows")
    pairs = leaked_pairs(request.pairs, len(subjects.known))
    stranger: Observer | None = None
    others: bool | None = True  # what is trained here learns from known people
    if request.stranger:
        stranger = load_observer(request.stranger, device, "stranger")
        others = stranger_learned_from_others(request.stranger, subjects.measured)
    foreign = read_foreign(request.foreign) if request.foreign else ()
    check_foreign(foreign, subjects.measured)
    model_on_others = None
    if request.model:
        model_on_others = model_learned_from_others(request.model, subjects.measured, "--model")
    pairing = compare_pairs(targets[PROTECTED].view, Files(subjects.size), subjects)
    if pairing.like_another:
        say(_doubt(pairing))
    request.output.mkdir(parents=True, exist_ok=True)
    in_use = f"another attack writes to {request.output}; wait for its end, or choose another --output"
    with locked(request.output, in_use):
        kept = request.output / "cells"
        keep_settings(kept, attack_settings(request, subjects), "attacks")
        judge = stranger or _trained_judge(request, subjects, device)
        means = Means(
            subjects,
            targets,
            Attacker(request.width, request.steps, device),
            judge,
            load_observer(request.model, device, "authorised") if request.model and "A4" in rows else None,
            foreign,
            request.parrots,
            request.epochs,
            request.output,
        )
        found: dict[Cell, Found] = {}
        wanted = list(cells(rows, list(targets.values()), pairs, request.seeds))
        for number, cell in enumerate(wanted, 1):
            if reason := targets[cell.target].impossible(cell.row):
                found[cell] = Found({"not_applicable": reason})
            else:
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
            {"name": judge.name, **means.on_raw[judge.name], "trained_on_others": others},
            pairing,
            model_on_others,
        )


def _rows(request: AttackRequest, targets: dict[str, Target]) -> list[str]:
    if request.rows:
        return [row for row in HOLDS if row in request.rows]
    possible = {
        "A2": bool(request.model and request.foreign),
        "A4": request.model is not None,
        "A5": not targets[PROTECTED].keyless,
        "A6": targets[PROTECTED].key is not None,
        "A7": request.search_key is not None,
    }
    return [row for row in HOLDS if possible.get(row, True)]


def leaked_pairs(given: Sequence[str], known: int) -> list[str]:
    """The numbers of pairs of row A3, each once.

    Raises:
        UserError: for words that are none, or more pairs than there are.
    """
    if not given:
        raise UserError("--pairs names none: give whole numbers of pairs from 1, or all")
    for count in given:
        if count != "all" and not (count.isdecimal() and int(count)):
            raise UserError(f"--pairs {count}: give whole numbers of pairs from 1, or all")
        if count != "all" and int(count) > known:
            raise UserError(
                f"--pairs {count}: only {known:,} pairs of known people are there; give fewer, or all"
            )
    return list(dict.fromkeys(given))


def _doubt(pairing: Pairing) -> str:
    return (
        f"warning: {pairing.like_another:,} of {pairing.looked_at:,} protected files look like the raw image "
        f"of another name (correlation {pairing.other:.2f}; {pairing.own:.2f} with their own), as "
        "{} like {}: do both folders show the same people under the same names?".format(*pairing.example)
    )


def _trained_judge(request: AttackRequest, subjects: Subjects, device: str) -> Observer:
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


def attack_settings(request: AttackRequest, subjects: Subjects) -> dict[str, Any]:
    """What kept cells depend on, but for what their names tell."""
    files, templates, foreign = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()
    for each in (*subjects.known, *subjects.query, *subjects.gallery):
        for path in (each.raw, each.protected):
            files.update(_about(each, path))
        if request.search_key and (beside := template_beside(each.protected)).is_file():
            templates.update(_about(each, beside))
    for each in read_foreign(request.foreign) if request.foreign else ():
        foreign.update(_about(each, each.raw))
    given = {
        "raw": request.raw,
        "protected": request.protected,
        "budget": request.budget,
        "width": request.width,
        "operator": request.operator or REFERENCE,
        "foreign": request.foreign,
        "foreign_files": foreign.hexdigest() if request.foreign else None,
        "parrots": sorted(request.parrots),
        "torch": torch.__version__,
        "projects": about_projects() or None,  # of cells that an older version made there is none
        "size": request.size,
        "membership": "halves",  # an older version took the known people for those outside of the set
    }
    models = {"model": request.model, "stranger": request.stranger}
    metrics = {name: metric_of(path) for name, path in models.items() if path and path.is_file()}
    # an older version ranked by cosine whatever a model's config asks for
    given["metrics"] = {name: metric for name, metric in metrics.items() if metric != "cosine"} or None
    for option in ("model", "recovery_key", "stranger", "search_key"):
        path = getattr(request, option)
        given[option] = _sum(path) if path and path.is_file() else None
    given["templates"] = templates.hexdigest() if request.search_key else None
    trained = request.stranger is None or request.parrots
    given["reid_seed"] = request.seeds[0] if trained else None  # of the judge and the parrots
    near = [hashlib.sha256(path.read_bytes()).hexdigest() for path in request.near_keys]
    return {**given, "near_keys": near or None, "files": files.hexdigest()}


def _sum(path: Path) -> str:
    """SHA-256 of a model, and of what tells the preprocessing of a graph, where that is there."""
    digest = hashlib.sha256(path.read_bytes())
    if path.suffix == ".onnx" and (beside := preprocessing_beside(path)).is_file():
        digest.update(beside.read_bytes())
    return digest.hexdigest()


def _about(subject: Subject, path: Place) -> bytes:
    """What tells that a file of an image is another one, without reading it."""
    return stamp_line(f"{subject.name}\0{subject.pid}", path)


def _made(folder: Path, cell: Cell, means: Means, place: str) -> Found:
    say(f"{place}: {cell.row} on {cell.target}{f', {cell.pairs} pairs' if cell.pairs else ''}")
    found = attack(cell, means)
    for way, pictures in found.pictures.items():
        save_png(Image.fromarray(image_strip(pictures)), folder / cell.strip(way))
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
    except (ValueError, TypeError, KeyError, OverflowError):
        raise UserError(f"{file} is damaged; remove it, and the same command makes it again") from None
