"""What runs on a GPU, beside the CPU; GPU_CHECK_DEVICE=cpu tries these tests themselves where there is none.

``tools/gpu_check.sh`` calls them.
"""

from __future__ import annotations

from conftest import SMALL_CONFIG, small_options  # before fastreid: importing the package makes it work
from in_process import anonymize, train

# isort: split
import json
import math
import os

import numpy as np
import pytest
import torch
from fastreid.modeling import build_model
from fastreid.utils.events import EventStorage
from torch.distributed import destroy_process_group, init_process_group
from torch.nn.parallel import DistributedDataParallel

from fastreid_privacy import data
from fastreid_privacy.config import load_config
from fastreid_privacy.core.domains import PAIRS
from fastreid_privacy.core.pictures import read_picture
from fastreid_privacy.evaluation.neighbours import nearest

DEVICE = os.environ.get("GPU_CHECK_DEVICE", "cuda")
pytestmark = pytest.mark.skipif(DEVICE == "cuda" and not torch.cuda.is_available(), reason="needs a GPU")


@pytest.mark.parametrize("mixed", [False, True])
def test_a_run_trains_tests_and_reports(small_dataset, tmp_path, mixed):
    options = small_options(tmp_path, **{"MODEL.DEVICE": DEVICE, "SOLVER.AMP.ENABLED": mixed})
    assert train(f"--config-file={SMALL_CONFIG}", *options) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["retrieval"].keys() == set(PAIRS) and len(results["checks"]) == 2
    losses = [json.loads(line) for line in (tmp_path / "metrics.json").read_text().splitlines()]
    assert losses and all(math.isfinite(line["total_loss"]) for line in losses if "total_loss" in line)


def test_images_and_features_are_those_of_the_cpu(small_dataset, tmp_path):
    cfg = load_config(SMALL_CONFIG, small_options(tmp_path, **{"MODEL.HEADS.NUM_CLASSES": 12}))
    model = build_model(cfg).eval()
    batch = next(iter(data.build_validation_loader(cfg)[0]))
    on_cpu = model.extract_domains(batch)
    cfg.defrost()
    cfg.MODEL.DEVICE = DEVICE
    there = build_model(cfg).eval()
    there.load_state_dict(model.state_dict())
    found = there.extract_domains(batch)
    for domain, images in on_cpu["images"].items():
        difference = (found["images"][domain].cpu() - images).abs()
        assert difference.max() <= 2 and (difference > 0).float().mean() < 0.02, domain
    for domain in ("OI", "DI"):  # whose images are the same on both
        cosine = torch.cosine_similarity(found["features"][domain].cpu(), on_cpu["features"][domain])
        assert cosine.min() > 0.999, domain


def test_a_step_in_one_process_of_a_group(small_dataset, tmp_path):
    """NCCL on a GPU, gloo on the CPU."""
    options = small_options(tmp_path, **{"MODEL.HEADS.NUM_CLASSES": 12, "MODEL.DEVICE": DEVICE})
    model = build_model(load_config(SMALL_CONFIG, options)).train()
    batch = {"images": torch.rand(4, 3, 64, 32) * 255, "targets": torch.tensor([0, 0, 1, 1])}
    backend = "nccl" if DEVICE == "cuda" else "gloo"
    init_process_group(backend, init_method=f"file://{tmp_path / 'group'}", rank=0, world_size=1)
    try:
        with EventStorage(0):
            losses = DistributedDataParallel(model)(batch)
        sum(losses.values()).backward()
    finally:
        destroy_process_group()
    gradients = [parameter.grad for parameter in model.anonymizer.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("method", ["blur", "pixelate"])
def test_files_are_those_of_the_cpu(small_dataset, tmp_path, method):
    for device in ("cpu", DEVICE):
        words = ["--method", method, "--input", "SyntheticPedestrians", "--device", device]
        assert anonymize(*words, "--output", tmp_path / f"on_{device}") == 0
    for file in sorted((tmp_path / "on_cpu").rglob("*.png")):
        ours = tmp_path / f"on_{DEVICE}" / file.relative_to(tmp_path / "on_cpu")
        np.testing.assert_allclose(read_picture(ours), read_picture(file).astype(int), atol=1)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_neighbours_are_those_of_the_cpu(metric):
    generator = np.random.default_rng(0)
    queries, gallery = (generator.normal(size=(count, 64)).astype(np.float32) for count in (20, 500))
    found, expected = (nearest(queries, gallery, 10, device, metric=metric) for device in (DEVICE, "cpu"))
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-4, atol=1e-4)
    assert (found[1] == expected[1]).mean() > 0.99
