"""docs/bring_your_own.md: its files are written as they stand there, its command is run, its parts do what it
says."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import small_options

from fastreid_privacy.desensitize import DESENSITIZER_REGISTRY, Desensitizer
from fastreid_privacy.networks import GENERATOR_REGISTRY

ROOT = Path(__file__).parent.parent
GUIDE = (ROOT / "docs" / "bring_your_own.md").read_text()
FILES = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", GUIDE, re.DOTALL))
SNIPPETS = re.findall(r"```python\n(?!# \w+\.py)(.*?)```", GUIDE, re.DOTALL)
COMMANDS = re.findall(r"```bash\n(.*?)```", GUIDE, re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the guide's files beside the repository's configs, from which they can be imported.

    What they register ends with these tests: nodes of a cluster would look for it.
    """
    path = tmp_path_factory.mktemp("guide")
    for name, code in FILES.items():
        (path / name).write_text(code)
    (path / "configs").symlink_to(ROOT / "configs")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(path))
        for registry in (DESENSITIZER_REGISTRY, GENERATOR_REGISTRY):
            patch.setattr(registry, "_obj_map", dict(registry._obj_map))
        yield path


def test_guide_has_its_parts():
    assert set(FILES) == {"my_backbone.py", "my_generator.py", "my_desensitizer.py", "my_train.py"}
    assert len(SNIPPETS) == len(COMMANDS) == 1


def test_parts_map_what_the_table_says(folder):
    import my_backbone
    import my_desensitizer
    import my_generator

    cfg = SimpleNamespace(MODEL=SimpleNamespace(BACKBONE=SimpleNamespace(FEAT_DIM=128)))
    assert my_backbone.build_small_backbone(cfg)(torch.randn(2, 3, 64, 32)).shape == (2, 128, 4, 2)

    generator = my_generator.ThreeLayerGenerator.from_options(
        SimpleNamespace(NAME="", WIDTH=4, DEPTH=0), (64, 32)
    )
    images = generator(torch.rand(2, 3, 64, 32) * 2 - 1)
    assert images.shape == (2, 3, 64, 32) and images.abs().max() <= 1

    images = torch.randint(0, 256, (2, 3, 60, 32)).float()
    expected = images.numpy().copy()
    for top in range(0, 60, 8):  # 32 pixels of 256 are 7.5 of 60, rounded to 8; the last band has 4 rows
        band = expected[:, :, top : top + 8]
        band[:] = band.astype(np.float64).mean(axis=(2, 3), keepdims=True)
    np.testing.assert_allclose(Desensitizer("bands")(images).numpy(), expected, atol=1e-3)
    assert my_desensitizer.bands(images.byte(), scale=60 / 256).dtype == torch.uint8


def test_method_runs_on_the_parts_and_its_networks_load(folder, small_dataset, monkeypatch):
    (command,) = COMMANDS
    python, *words = shlex.split(command.replace("\\\n", " "))
    assert python == "python"
    output = words[words.index("OUTPUT_DIR") + 1]
    small = small_options(output, **{"SOLVER.MAX_EPOCH": 1})  # later pairs win over the guide's
    done = subprocess.run([sys.executable, *words, *small], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results = json.loads((folder / output / "results.json").read_text())
    assert set(results["retrieval"]) == {"OI-OI", "OI-PI", "PI-OI", "PI-PI", "OI-DI", "RI-RI"}
    named = results["config"]["PRIVACY"]
    assert results["config"]["MODEL"]["BACKBONE"]["NAME"] == "build_small_backbone"
    assert [named[part]["NAME"] for part in ("ANONYMIZER", "RECOVERY", "DESENSITIZER")] == [
        "ThreeLayerGenerator"
    ] * 2 + ["bands"]

    monkeypatch.chdir(folder)
    seen: dict = {}
    exec(SNIPPETS[0], seen)
    for name in ("protected", "recovered"):
        assert seen[name].shape == seen["images"].shape and seen[name].dtype == torch.uint8
    assert not torch.equal(seen["protected"], seen["images"])
