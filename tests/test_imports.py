"""What importing the package loads: as little as its users need, and all that registers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
NEVER = ("fastreid_privacy.training", "fastreid_privacy.report", "matplotlib")
LATE = ("fastreid_privacy.evaluation", "torchmetrics", "onnx", "onnxruntime", "cryptography", "nacl")


def run(code: str) -> list[list[str]]:
    """The lines, as words, that some Python prints in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    return [line.split() for line in done.stdout.splitlines()]


def test_loading_needs_little_and_registers_all():
    """And the evaluation is there when it is asked for."""
    loaded, registered, late = run("""
import sys
from fastreid_privacy import load_anonymizer
print(*sys.modules)
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
print(*DATASET_REGISTRY._obj_map, *META_ARCH_REGISTRY._obj_map)
import fastreid_privacy
print(fastreid_privacy.evaluation.evaluate_retrieval.__name__, hasattr(fastreid_privacy, "nothing"))
""")
    assert "fastreid_privacy.checkpoints.image_maps" in loaded
    assert not [name for name in NEVER + LATE if name in loaded]
    assert {"SyntheticPedestrians", "MarketFolder", "ProtectedCollection"} <= set(registered)
    assert {"PrivacyReID", "PrivacyMGN"} <= set(registered)
    assert late == ["evaluate_retrieval", "False"]


def test_splitting_needs_no_trainer():
    (loaded,) = run("import sys, fastreid_privacy.checkpoints.splitting; print(*sys.modules)")
    assert "fastreid_privacy.checkpoints.onnx_export" in loaded
    assert not [name for name in NEVER if name in loaded]
