"""What importing the package loads: as little as its users need, and all that registers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NEVER = ("fastreid_privacy.training", "fastreid_privacy.report", "matplotlib", "jinja2")
LATE = ("fastreid_privacy.evaluation", "torchmetrics", "onnx", "onnxruntime", "cryptography", "nacl")


IMPORTS = """
import sys
from fastreid_privacy import load_anonymizer
print(*sys.modules)
import fastreid_privacy.checkpoints.splitting
print(*sys.modules)
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
print(*DATASET_REGISTRY._obj_map, *META_ARCH_REGISTRY._obj_map)
print(fastreid_privacy.evaluation.evaluate_retrieval.__name__, hasattr(fastreid_privacy, "nothing"))
from fastreid_privacy.commands.main import main
try:
    main(["report", "--version"])
finally:
    print(*sys.modules)
"""


@pytest.fixture(scope="module")
def printed():
    """The lines, as words, that one process prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS], capture_output=True, text=True, env=environment, check=True
    )
    return [line.split() for line in done.stdout.splitlines()]


def test_loading_needs_little_and_registers_all(printed):
    """And the evaluation is there when it is asked for."""
    loaded, _, registered, late, *_ = printed
    assert "fastreid_privacy.checkpoints.image_maps" in loaded
    assert not [name for name in NEVER + LATE if name in loaded]
    assert {"SyntheticPedestrians", "MarketFolder", "ProtectedCollection"} <= set(registered)
    assert {"PrivacyReID", "PrivacyMGN"} <= set(registered)
    assert late == ["evaluate_retrieval", "False"]


def test_splitting_needs_no_trainer(printed):
    loaded = printed[1]
    assert "fastreid_privacy.checkpoints.onnx_export" in loaded
    assert not [name for name in NEVER if name in loaded]


def test_only_the_module_of_the_command_is_imported(printed):
    loaded = {name for name in printed[-1] if name.startswith("fastreid_privacy.commands.")}
    assert loaded == {
        f"fastreid_privacy.commands.{name}" for name in ("main", "parsers", "report", "running")
    }
