"""Privacy and utility over ε: one row a budget, beside the raw images and those redrawn without noise."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fastreid_privacy import UserError
from fastreid_privacy.attack.judging import shown
from fastreid_privacy.attack.measures import chance, found, quality
from fastreid_privacy.attack.observers import Observer, load_observer
from fastreid_privacy.attack.subjects import Subject, Subjects, read_subjects
from fastreid_privacy.attack.views import Files, Held, View, batches
from fastreid_privacy.config import image_device
from fastreid_privacy.core.files import make_folder, refuse_existing, write_whole
from fastreid_privacy.core.images import png_bytes, quantize, to_pictures, to_unit
from fastreid_privacy.core.kept import write_kept
from fastreid_privacy.core.version import __version__
from fastreid_privacy.tasks.measure import measure_tasks
from fastreid_privacy.tasks.truth import Truth, read_truth

from .accounting import DELTA, composed
from .mechanism import Budget, perturb
from .model_file import Model, read_model
from .operator import new_people
from .sampling import ShakeStream

DIVERSE = 64  # queries whose draws are compared
NAMES = ("sweep.json", "sweep.md", "sweep.png")
COLUMNS = {
    "stranger_OI_PI": "stranger OI→PI",
    "stranger_PI_OI": "PI→OI",
    "stranger_PI_PI": "PI→PI",
    "cosine_of_embeddings": "cosine of identities: noise alone",
    "cosine_of_pictures": "of pictures",
    "PSNR": "PSNR, dB",
    "SSIM": "SSIM",
    "diversity_levels": "draws differ by, levels",
    "diversity_cosine": "cosine of draws",
    "milliseconds": "ms an image",
}


@dataclass(frozen=True)
class SweepRequest:
    """What is measured.

    Attributes:
        model: file of ``train.py``.
        raw: a folder of images in Market-1501 naming, or a data set that fastreid knows.
        stranger: Re-ID model of raw images, a checkpoint or ``.onnx``.
        epsilons: budgets, the largest first in the picture.
        output: folder for ``sweep.json``, ``sweep.md`` and ``sweep.png``.
        draws: of each of some queries, to say how much they differ: 2 at least.
        tasks: share of the full training of other tasks; 0: none is measured.
        seed: of the noise, which has to be the same at each measurement: it is no secret here.
        device: where networks run.
    """

    model: Path
    raw: str
    stranger: Path
    epsilons: Sequence[float]
    output: Path
    draws: int = 4
    tasks: float = 0.05
    seed: int = 0
    device: str = "auto"


@dataclass(frozen=True)
class Redrawn:
    """The raw images as ``identity_dp`` draws them, with noise that depends on name, budget and seed alone.

    Attributes:
        raw: view of the raw images, in the model's size.
        model: on its device.
        budget: None: no noise.
        seed: of the noise.
        device: of the model.
    """

    raw: View
    model: Model
    budget: Budget | None
    seed: str
    device: str

    def __call__(self, subjects: Sequence[Subject]) -> Tensor:
        """The images: see :data:`fastreid_privacy.attack.views.View`."""
        sources = [ShakeStream(_key(self.seed, self.budget, each), "sweep") for each in subjects]
        images = self.raw(subjects).to(self.device)
        return quantize(new_people(self.model.networks, images, self.budget, sources)).cpu()


def run_sweep(request: SweepRequest) -> dict[str, Any]:
    """Measure all budgets, and write the table and the picture.

    Returns:
        The content of ``sweep.json``.

    Raises:
        UserError: for a budget that is none, files that cannot be read, or an output that is there already.
    """
    if request.draws < 2:
        raise UserError(f"--draws is {request.draws}; two draws at least can be compared")
    if not 0 <= request.tasks <= 1:
        raise UserError(f"--tasks is {request.tasks}; it is a share of the full training, from 0 to 1")
    refuse_existing(request.output, NAMES)
    model, device = read_model(request.model), image_device(request.device)
    model.networks.to(device)
    sizes = model.networks.sizes
    budgets = [Budget.of(epsilon, 0, sizes.dimension) for epsilon in sorted(request.epsilons, reverse=True)]
    subjects = replace(read_subjects(request.raw, request.raw), size=sizes.image)
    stranger = load_observer(request.stranger, device, "stranger")
    truth = read_truth(subjects, request.raw) if request.tasks else None
    make_folder(request.output)
    raw = Files(sizes.image)
    means = _Means(request, subjects, raw, stranger, model, truth, device)
    rows = [means.row("raw", None, raw), means.row("no noise", None, means.view(None))]
    rows += [means.row(f"ε = {budget.epsilon:g}", budget, means.view(budget)) for budget in budgets]
    result = {
        "schema": 1,
        "version": __version__,
        "model_sha256": model.sha256,
        "raw": request.raw,
        "dimension": sizes.dimension,
        "noise": f"seeded with {request.seed}, for measurements: no file for others is made so",
        "chance": chance(subjects),
        "queries": len(subjects.query),
        "gallery": len(subjects.gallery),
        "rows": rows,
    }
    picture = _strip(shown(subjects.query), [raw, *(means.view(each) for each in (None, *budgets))])
    write_whole(request.output / NAMES[2], png_bytes(picture, optimize=True))
    write_whole(request.output / NAMES[1], table(result).encode())
    write_kept(request.output / NAMES[0], result)
    return result


@dataclass(frozen=True)
class _Means:
    """What every row is measured with."""

    request: SweepRequest
    subjects: Subjects
    raw: View
    stranger: Observer
    model: Model
    truth: Truth | None
    device: str

    def view(self, budget: Budget | None, draw: int = 0) -> Redrawn:
        return Redrawn(self.raw, self.model, budget, f"{self.request.seed} {draw}", self.device)

    @cached_property
    def read(self) -> View:
        """The measured raw images, read once, for no time is that of reading."""
        return Held(self.raw, _measured(self.subjects))

    def row(self, name: str, budget: Budget | None, view: View) -> dict[str, Any]:
        """The figures of one budget; of raw images and of those without noise, what they have."""
        measured = _measured(self.subjects)
        timed = replace(view, raw=self.read) if isinstance(view, Redrawn) else self.read
        start = time.perf_counter()
        held = Held(timed, measured)
        seconds = time.perf_counter() - start
        sides = {"PI": held, "OI": self.raw}
        seen = {
            side: [self.stranger.look(view, part) for part in (self.subjects.query, self.subjects.gallery)]
            for side, view in sides.items()
        }
        figures: dict[str, Any] = {"name": name, "epsilon": None if budget is None else budget.epsilon}
        for query, gallery in (("OI", "PI"), ("PI", "OI"), ("PI", "PI")):
            rates, _ = found(seen[query][0], seen[gallery][1], self.subjects, self.stranger.metric)
            figures[f"stranger_{query}_{gallery}"] = rates["rank1"]
        figures |= quality(held, self.raw, self.subjects.query)
        figures |= self._identities(held, budget)
        figures |= self._diversity(budget) if budget else {}
        if budget:
            figures |= {
                "laplace_scale": budget.scale,
                "epsilon_of_20_images": composed(budget, 20),
                "delta": DELTA,
            }
        if view is not self.raw:
            figures["milliseconds"] = 1e3 * seconds / len(measured)
        if self.truth is not None:
            seed, share = self.request.seed, self.request.tasks
            figures["tasks"] = measure_tasks(
                self.truth, view, self.raw, self.subjects, budget=share, seed=seed, device=self.device
            )
        return figures

    def _identities(self, view: View, budget: Budget | None) -> dict[str, float]:
        """Cosines of the raw identity with the noisy one, and with that of the picture drawn from it."""
        asked = self.subjects.query
        raw, drawn = (self._embedded(each, asked) for each in (self.raw, view))
        figures = {"cosine_of_pictures": float((raw * drawn).sum(1).mean())}
        if budget:
            keys = [_key(f"{self.request.seed} 0", budget, each) for each in asked]
            noisy = perturb(raw, budget, [ShakeStream(key, "sweep") for key in keys])
            figures["cosine_of_embeddings"] = float((raw * noisy).sum(1).mean())
        return figures

    def _diversity(self, budget: Budget) -> dict[str, float]:
        """How much several draws of the same images differ: in levels of pixels, and in identity."""
        asked = self.subjects.query[:: max(1, len(self.subjects.query) // DIVERSE)][:DIVERSE]
        views = [self.view(budget, draw) for draw in range(1, self.request.draws + 1)]
        pictures = [torch.cat([view(some) for some in batches(asked)]) for view in views]
        identities = [self._embedded(view, asked) for view in views]
        pairs = [(one, other) for one in range(len(views)) for other in range(one)]
        apart = [float((pictures[one] - pictures[other]).abs().mean()) for one, other in pairs]
        alike = [float((identities[one] * identities[other]).sum(1).mean()) for one, other in pairs]
        return {"diversity_levels": float(np.mean(apart)), "diversity_cosine": float(np.mean(alike))}

    @torch.no_grad()
    def _embedded(self, view: View, subjects: Sequence[Subject]) -> np.ndarray:
        """The identity embeddings of images: N×d."""
        encode = self.model.networks.identity
        some = (encode(to_unit(view(part).to(self.device))).cpu().numpy() for part in batches(subjects))
        return np.concatenate(list(some))


def table(result: dict[str, Any]) -> str:
    """The figures as a table in Markdown."""
    tasks = result["rows"][0].get("tasks", {})
    measured = {
        "segmentation": "IoU",
        "keypoints": "PCK",
        "attributes": "balanced_accuracy",
    }
    columns = {name: figure for name, figure in measured.items() if "raw" in tasks.get(name, {})}
    heads = ["", *COLUMNS.values(), *(f"{name}, {figure}" for name, figure in columns.items())]
    lines = [" | ".join(["", *heads, ""]).strip(), "|---" * len(heads) + "|"]
    for row in result["rows"]:
        cells = [row["name"], *(_cell(row.get(column)) for column in COLUMNS)]
        cells += [_cell(row["tasks"][name]["raw"][figure]) for name, figure in columns.items()]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}" if abs(value) <= 1 else f"{value:.1f}"


def _strip(subjects: Sequence[Subject], views: Sequence[View]) -> np.ndarray:
    """A row for each person, a column for each view: uint8 H×W×3, twice enlarged."""
    columns = [np.concatenate(list(to_pictures(view(subjects)))) for view in views]
    whole = Image.fromarray(np.concatenate(columns, axis=1))
    return np.array(whole.resize((2 * whole.width, 2 * whole.height), Image.Resampling.NEAREST))


def _measured(subjects: Subjects) -> list[Subject]:
    """Queries and gallery, each image once."""
    return list({each.name: each for each in (*subjects.query, *subjects.gallery)}.values())


def _key(seed: str, budget: Budget | None, subject: Subject) -> bytes:
    return hashlib.sha256(f"{seed} {budget and budget.epsilon} {subject.name}".encode()).digest()
