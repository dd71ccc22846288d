"""Inner products by FAISS on a GPU, with a stand-in for the GPU, and on a GPU where there is one."""

# before fastreid: importing the package makes it work
from fastreid_privacy.evaluation import evaluate_retrieval

# isort: split
import ctypes
from types import SimpleNamespace

import faiss
import numpy as np
import pytest
import torch

from fastreid_privacy.evaluation import distances
from fastreid_privacy.evaluation.distances import Features, Gallery
from fastreid_privacy.evaluation.products import products_on


def floats_at(address: int, rows: int, columns: int) -> np.ndarray:
    values = (ctypes.c_float * (rows * columns)).from_address(address)
    return np.frombuffer(values, dtype=np.float32).reshape(rows, columns)


@pytest.fixture
def asked(monkeypatch):
    """What FAISS was asked for; it reads and writes the memory of the CPU at the addresses that it gets."""
    asked, streams = [], []

    def brute_force(resources, of):
        assert of.k == -1 and of.queriesRowMajor and of.vectorsRowMajor and streams[-1] == (1, "stream 7")
        assert of.queryType == of.vectorType == faiss.DistanceDataType_F32
        queries = floats_at(of.queries, of.numQueries, of.dims)
        gallery = floats_at(of.vectors, of.numVectors, of.dims)
        floats_at(of.outDistances, of.numQueries, of.numVectors)[:] = queries @ gallery.T
        asked.append((of.metric, of.device))

    def resources():
        return SimpleNamespace(setDefaultStream=lambda *given: streams.append(given))

    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 2)
    monkeypatch.setattr(faiss, "StandardGpuResources", resources, raising=False)
    monkeypatch.setattr(faiss, "GpuDistanceParams", SimpleNamespace, raising=False)
    monkeypatch.setattr(faiss, "DistanceDataType_F32", 1, raising=False)
    monkeypatch.setattr(faiss, "cast_integer_to_float_ptr", lambda address: address, raising=False)
    monkeypatch.setattr(faiss, "cast_integer_to_cudastream_t", "stream {}".format, raising=False)
    monkeypatch.setattr(faiss, "bfKnn", brute_force, raising=False)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: SimpleNamespace(cuda_stream=7))
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
