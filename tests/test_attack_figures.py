"""What attack.json makes of the cells: which seeds are set against each other, who counts as a member."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fastreid_privacy.attack.cells import Cell, Found
from fastreid_privacy.attack.grid import Outcome
from fastreid_privacy.attack.measures import Hits
from fastreid_privacy.attack.pairing import Pairing
from fastreid_privacy.attack.request import AttackRequest
from fastreid_privacy.attack.stored import result_of
from fastreid_privacy.attack.subjects import Subjects

# -- seeds ---------------------------------------------------------------------------------------------------


def recovering(psnr: float | None, hits: int) -> Found:
    """A cell of row A3 with so many hits of 100 people."""
    first = (np.arange(100) < hits).astype(int)
    figures = {"recovery": {"PSNR": psnr, "SSIM": 0.5, "rank1": float(hits), "mAP": 0.0}}
    return Found(figures, {"recovery": Hits(first, np.arange(100))})


def grid_of(cells: dict[str, list[Found]]) -> dict:
    """attack.json of row A3, of cells by target and in the order of their seeds."""
    outcome = Outcome(
        {
            Cell("A3", target, "all", seed): found
            for target, seeds in cells.items()
            for seed, found in enumerate(seeds)
        },
        Subjects([], [], [], (4, 2), 0),
        dict.fromkeys(cells, np.zeros(1)),
        {target: {"PSNR": 10.0, "SSIM": 0.1} for target in cells},
        raw=None,
        targets=dict.fromkeys(cells),
        rows=["A3"],
        judge={},
        pairing=Pairing(0, 0, 0.0, 0.0, ("", "")),
    )
    seeds = tuple(range(len(cells["protected"])))
    return result_of(AttackRequest("raw", "protected", Path("out"), seeds=seeds), outcome)


@pytest.mark.parametrize("best", [24.0, None])  # None: nothing differs
def test_the_strongest_seed_is_set_against_the_strongest_of_blur(best):
    cells = {
        "protected": [recovering(20, 10), recovering(25, 60)],
        "blur": [recovering(best, 55), recovering(21, 5)],
    }
    result = grid_of(cells)
    found = result["rows"]["A3"]["all"]["recovery"]
    assert found["PSNR"] == 25 and found["rank1_minus_blur"]["difference"] == pytest.approx(60 - 55)
    beside = result["beside"]["blur"]["rows"]["A3"]["all"]
    assert beside["recovery"] == {"PSNR": best, "SSIM": 0.5, "rank1": 55.0, "mAP": 0.0}
    assert beside["per_seed"] == {"0": best, "1": 21}


def test_two_methods_that_are_alike_differ_by_nothing_in_the_mean():
    draw, differences = np.random.default_rng(0), []
    for _ in range(300):
        hits = draw.integers(20, 61, size=(2, 5))
        sides = [[recovering(20 + each / 10, each) for each in side] for side in hits.tolist()]
        found = grid_of(dict(zip(("protected", "blur"), sides, strict=True)))["rows"]["A3"]["all"]
        differences.append(found["recovery"]["rank1_minus_blur"]["difference"])
    assert abs(np.mean(differences)) < 3 * np.std(differences) / np.sqrt(len(differences))
