"""The finished runs of a reproduction: which there are, and what is stored of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from ..core.domains import DOMAINS
from ..core.errors import UserError
from ..results.results_json import read_results
from ..results.stored import Arrays, load_embedding, load_rank_lists, load_samples

KINDS = {
    "upper_bound": "Upper bound",
    "base": "Base",
    "wo_upgrade": "Without upgradation",
    "full": "Full method",
}
OPERATORS = {"blur": "blurring", "pixelate": "pixelation", "noise": "Gaussian noise"}
RAW = "upper_bound"


@dataclass(frozen=True)
class PaperRun:
    """One finished run: its folder, relative to that of the reproduction as ``name``, and what it left."""

    name: str
    folder: Path
    results: Mapping = field(repr=False)

    @cached_property
    def samples(self) -> Arrays:
        """Domain → sample images; {} where none are stored."""
        return load_samples(self.folder) or {}

    @cached_property
    def embedding(self) -> Arrays:
        """Features of a few people; {} where none are stored."""
        return load_embedding(self.folder) or {}

    @cached_property
    def rank_lists(self) -> Arrays:
        """Pictures of a few rankings; {} where none are stored."""
        return load_rank_lists(self.folder) or {}

    def figure(self, where: str, metric: str) -> float | None:
        """A figure of results.json: of a pair of domains, or the quality of "protected", "desensitized" or
        "recovered" images."""
        for part in ("retrieval", "image_quality"):
            if (figures := (self.results.get(part) or {}).get(where)) is not None:
                return figures.get(metric)
        return None


class PaperRuns:
    """All finished runs below the folder of a reproduction.

    Attributes:
        seeds: of the runs, ascending; pictures are of the first one.
        runs: (seed, kind, operator) → run; the upper bound's operator is "".
        operators: that there are runs of, in the paper's order.

    Raises:
        UserError: when there is no finished run, or its results.json is no JSON or of another schema.
    """

    def __init__(self, output_dir: str | Path):
        folder = Path(output_dir)
        kinds = [(RAW, "")] + [(kind, operator) for kind in KINDS if kind != RAW for operator in OPERATORS]
        found = [
            path for path in folder.glob("seed*") if path.is_dir() and re.fullmatch(r"seed\d+", path.name)
        ]
        self.runs: dict[tuple[int, str, str], PaperRun] = {}
        for seed_folder in sorted(found, key=_seed):
            for kind, operator in kinds:
                name = f"{seed_folder.name}/{'_'.join(filter(None, (kind, operator)))}"
                if (folder / name / "results.json").is_file():
                    run = PaperRun(name, folder / name, read_results(folder / name / "results.json"))
                    self.runs[_seed(seed_folder), kind, operator] = run
        if not self.runs:
            raise UserError(
                f"{folder} holds no finished run of a reproduction (seed0/upper_bound/results.json and so "
                "on); "
                "tools/reproduce.py makes them"
            )
        self.seeds = sorted({seed for seed, *_ in self.runs})
        self.operators = [name for name in OPERATORS if any(operator == name for _, _, operator in self.runs)]

    def name(self, kind: str, operator: str) -> str:
        """Where the run of the first seed is, or would be."""
        return f"seed{self.seeds[0]}/{'_'.join(filter(None, (kind, '' if kind == RAW else operator)))}"

    def of(self, kind: str, operator: str = "") -> PaperRun | None:
        """The run of the first seed; None where it is not finished."""
        return self.runs.get((self.seeds[0], kind, "" if kind == RAW else operator))

    def first_operator(self, kinds: tuple[str, ...], preferred: str) -> str:
        """The operator that has most of these kinds of runs, of those the preferred one or else the first in
        the paper's order."""
        counts = {name: sum(self.of(kind, name) is not None for kind in kinds) for name in OPERATORS}
        return max(sorted(OPERATORS, key=lambda name: name != preferred), key=counts.__getitem__)

    def images(self, kind: str, operator: str, domain: str) -> tuple[np.ndarray | None, str]:
        """Sample images of the first seed, or None and what is missing."""
        run = self.of(kind, operator)
        if run is None:
            return None, f"{self.name(kind, operator)} is not finished"
        if domain not in run.samples:
            return (
                None,
                f"{run.name}/figures/samples.npz holds no {DOMAINS[domain]} images, or cannot be read",
            )
        return run.samples[domain], ""


def _seed(folder: Path) -> int:
    return int(folder.name.removeprefix("seed"))
