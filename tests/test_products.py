"""Inner products by FAISS on a GPU, with a stand-in for the GPU, and on a GPU where there is one."""

# before fastreid: importing the package makes it work
from fastreid_privacy.evaluation import evaluate_retrieval

# isort: split
from contextlib import nullcontext

import faiss
import faiss.contrib.torch_utils  # now, for it replaces functions that are replaced here
import numpy as np
import pytest
import torch

from fastreid_privacy.evaluation import distances
from fastreid_privacy.evaluation.distances import Features, Gallery
from fastreid_privacy.evaluation.products import products_on


@pytest.fixture
def asked(monkeypatch):
    """What FAISS was asked for; it answers as its function on the CPU does."""
    asked = []

    def pairwise_distance_gpu(resources, queries, gallery, metric, device):
        assert queries.is_contiguous() and gallery.is_contiguous()
        assert queries.dtype == gallery.dtype == torch.float32
        asked.append((metric, device))
        return torch.from_numpy(faiss.pairwise_distances(queries.numpy(), gallery.numpy(), metric=metric))

    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 2)
    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    monkeypatch.setattr(faiss, "pairwise_distance_gpu", pairwise_distance_gpu)
    monkeypatch.setattr(torch.cuda, "device", lambda number: nullcontext())
    return asked


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_distances_by_faiss_equal_those_by_torch(asked, monkeypatch, metric):
    generator, cpu = np.random.default_rng(0), torch.device("cpu")
    rows = [generator.normal(size=(count, 24)).astype(np.float32) for count in (9, 300)]

    def measured():
        queries, gallery = (Features(*side, cpu) for side in zip(rows, ("query", "gallery"), strict=True))
        gallery.part = 70  # the last part is smaller
        blocks = Gallery(gallery, metric).distances([queries], block_bytes=4 * 4 * 300)
        return torch.cat([block.clone() for _, block in blocks])

    by_torch = measured()
    assert not asked
    monkeypatch.setattr(distances, "products_on", lambda _: products_on(torch.device("cuda:1")))
    torch.testing.assert_close(measured(), by_torch, rtol=1e-5, atol=1e-4)
    assert len(asked) == 3 * 5 and set(asked) == {(faiss.METRIC_INNER_PRODUCT, 1)}


def test_torch_multiplies_where_faiss_sees_no_gpu(asked, monkeypatch):
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0)
    out = torch.empty(2, 5)[:, 1:4]
    products_on(torch.device("cuda"))(torch.eye(2), torch.arange(6.0).reshape(3, 2), out)
    assert out.tolist() == [[0, 2, 4], [1, 3, 5]] and not asked


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_figures_on_a_gpu_are_those_of_the_cpu(metric):
    generator = np.random.default_rng(1)
    pids = [generator.integers(1, 40, count) for count in (200, 3000)]
    camids = [generator.integers(0, 6, count) for count in (200, 3000)]
    centres = generator.normal(size=(40, 128))
    features = [centres[side] + 2 * generator.normal(size=(len(side), 128)) for side in pids]
    on_cpu, on_gpu = (
        evaluate_retrieval(*features, *pids, *camids, metric=metric, device=device)
        for device in ("cpu", "cuda")
    )
    assert on_gpu == pytest.approx(on_cpu, abs=0.01)
