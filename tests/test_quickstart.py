"""docs/quickstart.ipynb: its cells run in order, and it is stored without outputs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

NOTEBOOK = Path(__file__).parents[1] / "docs" / "quickstart.ipynb"
CELLS = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
CODE = ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"]


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """The names that the notebook has in the end, run as Jupyter does: in its own folder, cell by cell."""
    names: dict = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("notebook")))
        patch.setattr("tempfile.tempdir", None)  # read TMPDIR again
        patch.setenv("FASTREID_DATASETS", "")  # put back after the notebook has set it
        patch.chdir(NOTEBOOK.parent)
        for number, source in enumerate(CODE, start=1):
            exec(compile(source, f"{NOTEBOOK.name}, code cell {number}", "exec"), names)
        yield names


def test_it_is_stored_without_outputs():
    for cell in CELLS:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None


def test_it_leaves_what_it_shows(seen):
    images = seen["images"]
    assert images.shape == (8, 3, 128, 64) and images.dtype == torch.uint8
    for name in ("protected", "recovered"):
        assert seen[name].shape == images.shape and seen[name].dtype == torch.uint8
        assert not torch.equal(seen[name], images)
    assert (seen["work"] / "run" / "report.html").is_file()


def test_pictures_stand_in_rows(seen):
    red, blue = torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)
    red[:, 0], blue[:, 2] = 255, 255
    picture = np.array(seen["show"](red, blue))
    assert picture.shape == (14, 14, 3)  # two rows of two, 2 pixels around each
    assert (picture[4, [4, 10]] == (255, 0, 0)).all() and (picture[10, [4, 10]] == (0, 0, 255)).all()


def test_noise_lowers_the_figures(seen):
    rank1 = [figures["Rank-1"] for figures in seen["figures"].values()]
    assert rank1[0] == 100 and rank1[0] > rank1[1] > rank1[2] > 1
