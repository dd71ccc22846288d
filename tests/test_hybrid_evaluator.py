"""The hybrid evaluator against direct calls of what it combines, in one process and in two."""

# before fastreid: importing the package makes it work
from fastreid_privacy.evaluation import (
    PAIRS,
    HybridEvaluator,
    ImageQuality,
    RankingOptions,
    evaluate_retrieval,
)

# isort: split
import json

import numpy as np
import pytest
import torch
from fastreid.evaluation import inference_on_dataset
from fastreid.utils import comm

from fastreid_privacy.compat.distributed import launch
from fastreid_privacy.core.errors import UserError

DOMAINS = ("OI", "DI", "PI", "RI")
NUM_QUERY, COUNT = 6, 20
QUALITY = {"protected": "PI", "desensitized": "DI", "recovered": "RI"}


def test_set(seed=0):
    """20 images of 4 identities, the first 6 queries: identities, cameras, and images and features of each
    domain."""
    generator = torch.Generator().manual_seed(seed)
    pids, camids = torch.arange(COUNT) % 4, torch.arange(COUNT) % 3
    raw = torch.rand(COUNT, 3, 16, 12, generator=generator) * 255
    images = {"OI": raw}
    for strength, domain in enumerate(DOMAINS[1:], 1):
        images[domain] = (raw + 20 * strength * torch.randn(raw.shape, generator=generator)).clamp(0, 255)
    centres = torch.randn(4, 8, generator=generator)
    features = {domain: centres[pids] + torch.randn(COUNT, 8, generator=generator) for domain in DOMAINS}
    return pids, camids, images, features


test_set.__test__ = False


def batches(data, indices=range(COUNT), size=7, domains=DOMAINS):
    """What the loader gives and what the model returns, batch by batch."""
    pids, camids, images, features = data
    for start in range(0, len(indices), size):
        chosen = list(indices[start : start + size])
        inputs = {
            "targets": pids[chosen],
            "camids": camids[chosen],
            "img_paths": [f"{index}.png" for index in chosen],
        }
        outputs = {
            "features": {d: features[d][chosen] for d in domains},
            "images": {d: images[d][chosen] for d in domains},
        }
        yield inputs, outputs


def evaluate(evaluator, data, **options):
    """The evaluation; None off rank 0."""
    evaluator.reset()
    for inputs, outputs in batches(data, **options):
        evaluator.process(inputs, outputs)
    return evaluator.evaluate()


def run(evaluator, data, **options):
    """The figures of the evaluation; {} off rank 0."""
    evaluation = evaluate(evaluator, data, **options)
    return evaluation.figures if evaluation else {}


def direct_retrieval(data, pair, metric="cosine"):
    pids, camids, _, features = data
    query, gallery = (features[domain] for domain in pair.split("-"))
    n = NUM_QUERY
    return evaluate_retrieval(
        query[:n], gallery[n:], pids[:n], pids[n:], camids[:n], camids[n:], metric=metric
    )


def direct_quality(data, domain):
    quality = ImageQuality()
    quality.update(data[2][domain], data[2]["OI"])
    return numbers(quality.compute())


def numbers(figures):
    """Without what was not measured: LPIPS, and PSNR of equal images."""
    return {name: value for name, value in figures.items() if value is not None}


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_equals_direct_calls(metric):
    data = test_set()
    results = run(HybridEvaluator(NUM_QUERY, options=RankingOptions(metric)), data)
    assert results["retrieval"] == {pair: direct_retrieval(data, pair, metric) for pair in PAIRS}
    assert results["image_quality"].keys() == QUALITY.keys()
    for name, domain in QUALITY.items():
        assert numbers(results["image_quality"][name]) == pytest.approx(
            direct_quality(data, domain), rel=1e-6
        )
    assert json.loads(json.dumps(results, allow_nan=False)) == results


def test_query_and_gallery_domain_are_not_mixed_up():
    data = test_set()
    results = run(HybridEvaluator(NUM_QUERY), data)["retrieval"]
    assert results["OI-PI"] != results["PI-OI"]
    assert len({json.dumps(figures) for figures in results.values()}) == len(PAIRS)


@pytest.mark.parametrize(
    ("domains", "pairs", "quality"),
    [
        (("OI",), {"OI-OI"}, set()),
        (("OI", "DI"), {"OI-OI", "OI-DI"}, {"desensitized"}),
        (("OI", "DI", "PI"), set(PAIRS) - {"RI-RI"}, {"desensitized", "protected"}),
        (("PI",), {"PI-PI"}, set()),
    ],
)
def test_what_the_model_gives_is_evaluated(domains, pairs, quality):
    results = run(HybridEvaluator(NUM_QUERY), test_set(), domains=domains)
    assert results["retrieval"].keys() == pairs
    assert results["image_quality"].keys() == quality


def test_given_pairs_are_evaluated_and_nothing_else():
    data = test_set()
    results = run(HybridEvaluator(NUM_QUERY, pairs=["DI-RI"]), data)
    assert results["retrieval"] == {"DI-RI": direct_retrieval(data, "DI-RI")}


def test_features_of_one_side_suffice_for_a_pair():
    data = test_set()
    evaluator = HybridEvaluator(NUM_QUERY, pairs=["OI-PI"])
    for inputs, outputs in batches(data):
        query = torch.tensor([int(path.partition(".")[0]) < NUM_QUERY for path in inputs["img_paths"]])
        whole = outputs["features"]
        features = {"OI": whole["OI"][query], "PI": whole["PI"][~query]}
        evaluator.process(inputs, {**outputs, "features": features})
    evaluation = evaluator.evaluate()
    assert evaluation.figures["retrieval"] == {"OI-PI": direct_retrieval(data, "OI-PI")}
    assert evaluation.embedding.keys() == {"pids"}


def test_features_alone_suffice():
    evaluator = HybridEvaluator(NUM_QUERY)
    for inputs, outputs in batches(test_set()):
        evaluator.process(inputs, {"features": outputs["features"]})
    evaluation = evaluator.evaluate()
    results = evaluation.figures
    assert results["retrieval"].keys() == set(PAIRS)
    assert results["image_quality"] == evaluation.sample_images == {}


def test_evaluators_and_evaluations_are_independent():
    one, other = test_set(1), test_set(2)
    expected = run(HybridEvaluator(NUM_QUERY), one), run(HybridEvaluator(NUM_QUERY), other)
    assert expected[0] != expected[1]
    first, second = HybridEvaluator(NUM_QUERY), HybridEvaluator(NUM_QUERY)
    for step_of_one, step_of_other in zip(batches(one), batches(other), strict=True):
        first.process(*step_of_one)
        second.process(*step_of_other)
    evaluation = second.evaluate()
    assert (first.evaluate().figures, evaluation.figures) == expected
    again = evaluate(first, other)
    assert again.figures == expected[1]
    np.testing.assert_array_equal(again.sample_images["PI"], evaluation.sample_images["PI"])


def test_features_of_low_precision_and_with_gradients_are_kept_in_float32():
    data = test_set()
    halved = (*data[:3], {domain: features.half() for domain, features in data[3].items()})
    kept = (
        *data[:3],
        {domain: features.half().float().requires_grad_() for domain, features in data[3].items()},
    )
    assert run(HybridEvaluator(NUM_QUERY), halved) == run(HybridEvaluator(NUM_QUERY), kept)


@pytest.mark.parametrize(("samples", "expected"), [(8, [0, 1, 2, 3]), (3, [0, 1, 2]), (0, [])])
def test_sample_images_show_the_first_image_of_distinct_identities(samples, expected):
    data = test_set()
    images = {domain: batch.clone() for domain, batch in data[2].items()}
    images["RI"][0, 0, 0] = torch.linspace(-30, 300, 12)
    evaluation = evaluate(HybridEvaluator(NUM_QUERY, samples=samples), (*data[:2], images, data[3]), size=3)
    pictures = evaluation.sample_images
    assert pictures.keys() == (set(DOMAINS) if expected else set())
    for domain, stored in pictures.items():
        levels = np.clip(np.round(images[domain][expected].permute(0, 2, 3, 1).numpy()), 0, 255)
        assert stored.dtype == np.uint8
        np.testing.assert_array_equal(stored, levels)


def test_domains_that_the_model_does_not_extract_are_named():
    evaluator = HybridEvaluator(NUM_QUERY, pairs=["OI-PI", "RI-RI", "OI-OI"])
    with pytest.raises(
        UserError, match=r"OI-PI, RI-RI, OI-OI needs features of PI, RI, which .* gives DI, OI"
    ):
        run(evaluator, test_set(), domains=("OI", "DI"))


@pytest.mark.parametrize("pair", ["OI→PI", "OI", "OI-", "OI-PI-RI", ""])
def test_malformed_pairs_are_named(pair):
    with pytest.raises(UserError, match=f"{pair!r} is not of the form"):
        HybridEvaluator(NUM_QUERY, pairs=["OI-OI", pair])


@pytest.mark.parametrize(("num_query", "side"), [(0, "query"), (COUNT, "gallery")])
def test_a_test_set_without_queries_or_gallery_is_named(num_query, side):
    with pytest.raises(UserError, match=f"{side} features have shape"):
        run(HybridEvaluator(num_query), test_set())


def test_no_image_at_all_is_named():
    with pytest.raises(UserError, match="no image was evaluated"):
        HybridEvaluator(NUM_QUERY).evaluate()


class Loader(list):
    """Batches as a list with the ``dataset`` that fastreid counts."""

    dataset = range(COUNT)


class Lookup(torch.nn.Module):
    """A model whose outputs are stored by file name."""

    def __init__(self, data):
        super().__init__()
        self.data = data

    def forward(self, inputs):
        rows = [int(path.split(".")[0]) for path in inputs["img_paths"]]
        return {
            kind: {domain: values[rows] for domain, values in self.data[place].items()}
            for kind, place in (("images", 2), ("features", 3))
        }


def test_under_fastreids_inference_loop():
    data = test_set()
    loader = Loader(inputs for inputs, _ in batches(data))
    results = inference_on_dataset(Lookup(data), loader, HybridEvaluator(NUM_QUERY)).figures
    assert results == run(HybridEvaluator(NUM_QUERY), data)


SHARES = {"halves": [(0, 10), (10, 20)], "second process idle": [(0, 20), (20, 20)]}


def evaluate_parts(folder):
    """One of two processes: evaluates its contiguous share, twice, and writes what evaluate() returned."""
    rank = comm.get_rank()
    results = {
        name: run(HybridEvaluator(NUM_QUERY), test_set(), indices=range(*shares[rank]))
        for name, shares in SHARES.items()
    }
    (folder / f"{rank}.json").write_text(json.dumps(results))


def test_two_processes_give_the_results_of_one(tmp_path):
    launch(evaluate_parts, 2, args=(tmp_path,), device="cpu")
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    expected = run(HybridEvaluator(NUM_QUERY), test_set())
    for name in SHARES:
        assert second[name] == {}
        assert first[name]["retrieval"] == expected["retrieval"]
        assert first[name]["image_quality"].keys() == QUALITY.keys()
        for domain, figures in expected["image_quality"].items():
            assert numbers(first[name]["image_quality"][domain]) == pytest.approx(numbers(figures), rel=1e-6)


def test_float16_features_give_the_figures_of_float16_features():
    data = test_set()
    halved = (*data[:3], {domain: features.half().float() for domain, features in data[3].items()})
    assert run(HybridEvaluator(NUM_QUERY, features=torch.float16), data) == run(
        HybridEvaluator(NUM_QUERY), halved
    )


def test_shared_images_are_measured_once(monkeypatch):
    """Base's protected images are its desensitized ones: SSIM is the dearest part of an evaluation."""
    measured = []
    update = ImageQuality.update
    monkeypatch.setattr(
        ImageQuality,
        "update",
        lambda self, images, raw: [measured.append(len(images)), update(self, images, raw)][1],
    )
    data = test_set()
    evaluator = HybridEvaluator(NUM_QUERY)
    for inputs, outputs in batches(data, domains=("OI", "DI")):
        outputs["images"]["PI"], outputs["features"]["PI"] = (
            outputs["images"]["DI"],
            outputs["features"]["DI"],
        )
        evaluator.process(inputs, {**outputs, "same_images": {"PI": "DI"}})
    quality = evaluator.evaluate().image_quality
    assert sum(measured) == COUNT
    assert quality["protected"] == quality["desensitized"]
    assert numbers(quality["protected"]) == pytest.approx(direct_quality(data, "DI"), rel=1e-6)


def test_shown_queries_count_and_are_of_different_people():
    data = test_set()
    evaluation = evaluate(HybridEvaluator(NUM_QUERY), data)
    pids = data[0][evaluation.shown_queries]
    assert len(set(pids.tolist())) == len(pids) == 4
    for ranking in evaluation.rankings.values():
        assert ranking.best.shape == (4, 10)
        assert (ranking.queries.first_places[evaluation.shown_queries] > 0).all()


def test_the_embedding_holds_features_of_whole_people():
    data = test_set()
    evaluation = evaluate(HybridEvaluator(NUM_QUERY), data)
    pids = evaluation.embedding["pids"]
    assert sorted(pids.tolist()) == sorted(pid for pid in data[0].tolist() if pid > 0)
    for domain in DOMAINS:
        rows = np.concatenate([np.flatnonzero(data[0].numpy() == pid) for pid in (1, 2, 3)])
        features = data[3][domain][rows].numpy()
        unit = features / np.linalg.norm(features, axis=1, keepdims=True)
        np.testing.assert_allclose(evaluation.embedding[domain], unit, atol=1e-3)
        assert evaluation.embedding[domain].dtype == np.float16


def test_lpips_is_measured_where_it_is_given():
    def mean_difference(images, raw):
        return (images - raw).abs().mean((1, 2, 3))

    data = test_set()
    quality = run(HybridEvaluator(NUM_QUERY, lpips=mean_difference), data)["image_quality"]
    for name, domain in QUALITY.items():
        assert quality[name]["LPIPS"] == pytest.approx(
            float((data[2][domain] - data[2]["OI"]).abs().mean()), rel=1e-5
        )
