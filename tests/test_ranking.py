"""Retrieval figures against fastreid's own evaluator, and against a plain loop with a stable sort where
distances tie."""

# before fastreid: importing the package makes it work
from fastreid_privacy.evaluation import evaluate_retrieval

# isort: split
import numpy as np
import pytest
import torch
from fastreid.evaluation import ReidEvaluator
from fastreid.evaluation.rank import evaluate_rank
from fastreid.utils.compute_dist import build_dist

from fastreid_privacy.config import default_config
from fastreid_privacy.core.errors import UserError
from fastreid_privacy.evaluation import places
from fastreid_privacy.evaluation.distances import Features, Gallery
from fastreid_privacy.evaluation.places import places_of_matches
from fastreid_privacy.evaluation.ranking import rank
from fastreid_privacy.evaluation.ranking_options import RankingOptions

FRACTION = 100 * 1e-6  # 1e-6 as a fraction, in percent


def random_split(rng, queries=23, gallery=180, identities=12, cameras=4, dim=24):
    """Features around a centre per identity, queries and gallery, with identities and cameras; pid 0 and −1
    are distractors."""
    centres = rng.normal(size=(identities + 2, dim))
    query_pids, gallery_pids = (
        rng.integers(1, identities + 1, queries),
        rng.integers(-1, identities + 1, gallery),
    )
    features = [
        (centres[pids] + 2 * rng.normal(size=(len(pids), dim))).astype(np.float32)
        for pids in (query_pids, gallery_pids)
    ]
    return (
        *features,
        query_pids,
        gallery_pids,
        rng.integers(0, cameras, queries),
        rng.integers(0, cameras, gallery),
    )


def loop_reference(distances, query_pids, gallery_pids, query_camids, gallery_camids):
    """Market-1501's protocol, one query and one gallery image at a time."""
    hits, precisions, penalties, excluded = {1: [], 5: [], 10: []}, [], [], 0
    for row, pid, camid in zip(distances, query_pids, query_camids, strict=True):
        place, found, average = 0, 0, 0.0
        places = []
        for index in np.argsort(row, kind="stable"):
            if gallery_pids[index] == pid and gallery_camids[index] == camid:
                continue
            place += 1
            if gallery_pids[index] == pid:
                found += 1
                average += found / place
                places.append(place)
        if not found:
            excluded += 1
            continue
        for place, values in hits.items():
            values.append(places[0] <= place)
        precisions.append(average / found)
        penalties.append(found / places[-1])
    figures = {f"Rank-{rank}": 100 * np.mean(values) for rank, values in hits.items()}
    return {
        **figures,
        "mAP": 100 * np.mean(precisions),
        "mINP": 100 * np.mean(penalties),
        "excluded_queries": excluded,
    }


def squared_distances(query, gallery):
    return ((query[:, None].astype(np.float64) - gallery[None]) ** 2).sum(2)


def unit_length(features):
    features = features.astype(np.float64)
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def exact_distances(query, gallery, metric):
    """In float64, squared; between features of length 1 they sort as the cosine does."""
    return (
        squared_distances(query, gallery)
        if metric == "euclidean"
        else squared_distances(unit_length(query), unit_length(gallery))
    )


def tie_free_split(seed, metric):
    """Drawn until no two distances of a query are closer than float32 can tell apart, in whatever order it
    sums."""
    rng = np.random.default_rng(seed)
    while True:
        split = random_split(rng, queries=12, gallery=60)
        distances = np.sort(exact_distances(*split[:2], metric), axis=1)
        if np.diff(distances, axis=1).min() > 3e-6 * distances.max():
            return split


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("seed", range(20))
def test_equals_fastreid_on_tie_free_features(seed, metric):
    split = tie_free_split(seed, metric)
    query, gallery, *labels = split
    ours = evaluate_retrieval(*split, metric=metric)
    distances = build_dist(torch.from_numpy(query), torch.from_numpy(gallery), metric)
    cmc, precisions, penalties = evaluate_rank(distances, *labels, use_cython=False)
    theirs = {
        **{f"Rank-{rank}": cmc[rank - 1] for rank in (1, 5, 10)},
        "mAP": np.mean(precisions),
        "mINP": np.mean(penalties),
    }
    assert {name: ours[name] for name in theirs} == pytest.approx(
        {name: 100 * value for name, value in theirs.items()}, abs=FRACTION
    )
    assert ours["excluded_queries"] == len(query) - len(precisions)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("seed", range(5))
def test_identical_gallery_features_rank_in_gallery_order(seed, metric):
    """Many copies of few vectors: a matrix product alone gives copies unequal distances, depending on where
    they stand."""
    rng = np.random.default_rng(seed)
    query, gallery, *labels = random_split(rng, gallery=150, dim=96)
    gallery = gallery[rng.integers(0, 9, len(gallery))]
    figures = evaluate_retrieval(query, gallery, *labels, metric=metric)
    assert figures == pytest.approx(
        loop_reference(exact_distances(query, gallery, metric), *labels), abs=1e-9
    )


@pytest.mark.parametrize("seed", range(5))
def test_equal_distances_of_different_features_rank_in_gallery_order(seed):
    """Small whole numbers: float32 is exact, most distances tie, the features differ."""
    rng = np.random.default_rng(seed)
    *_, query_pids, gallery_pids, query_camids, gallery_camids = random_split(rng)
    query, gallery = (
        rng.integers(-1, 2, (len(pids), 4)).astype(np.float32) for pids in (query_pids, gallery_pids)
    )
    labels = (query_pids, gallery_pids, query_camids, gallery_camids)
    expected = loop_reference(squared_distances(query, gallery), *labels)
    assert evaluate_retrieval(query, gallery, *labels, metric="euclidean") == pytest.approx(
        expected, abs=1e-9
    )


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_all_features_equal(metric):
    """As after masking everything out: the ranking is the gallery's order."""
    ones = np.ones((6, 5), dtype=np.float32)
    figures = evaluate_retrieval(
        ones[:1], ones, [7], [1, 7, 7, 2, 3, 7], [0], [1, 0, 1, 1, 1, 1], metric=metric
    )
    # Order after removing index 1: 1, 7, 2, 3, 7, so matches at places 2 and 5.
    assert figures == pytest.approx(
        {
            "Rank-1": 0,
            "Rank-5": 100,
            "Rank-10": 100,
            "mAP": 100 * (1 / 2 + 2 / 5) / 2,
            "mINP": 100 * 2 / 5,
            "excluded_queries": 0,
        }
    )


@pytest.mark.parametrize("seed", range(20))
def test_places_against_a_stable_sort(seed):
    """Negative, positive, repeated and both zeros, against numpy's stable sort; queries with different
    numbers of matches."""
    rng = np.random.default_rng(seed)
    distances = rng.choice(np.array([-2.5, -1e-30, -0.0, 0.0, 1e-30, 1, 3e38], dtype=np.float32), (5, 60))
    matches, expected = np.full((5, 8), -1), np.zeros((5, 8), dtype=int)
    for row, count in enumerate((8, 1, 0, 5, 7)):
        members = rng.permutation(60)
        matches[row, :count] = members[:count]
        distances[row, members[count : count + 6]] = np.inf
        order = np.argsort(distances[row], kind="stable").tolist()
        expected[row, :count] = [order.index(member) + 1 for member in members[:count]]
    before = distances.copy()
    places = places_of_matches(torch.from_numpy(distances), torch.from_numpy(matches))
    np.testing.assert_array_equal(places.numpy(), expected)
    np.testing.assert_array_equal(distances, before)


@pytest.mark.parametrize("tile_bytes", [1, 500, 10**6])
def test_tiles_change_nothing(tile_bytes, monkeypatch):
    monkeypatch.setitem(places.TILE_BYTES, "cpu", tile_bytes)
    rng = np.random.default_rng(0)
    distances = torch.from_numpy(rng.random((7, 30), dtype=np.float32))
    matches = torch.from_numpy(rng.permuted(np.tile(range(30), (7, 1)), axis=1))
    expected = distances.argsort(1).argsort(1) + 1
    torch.testing.assert_close(places_of_matches(distances, matches), expected.gather(1, matches))


@pytest.mark.parametrize("gallery_size", range(1, 12))
def test_tiny_galleries(gallery_size):
    rng = np.random.default_rng(gallery_size)
    query, gallery = (
        rng.normal(size=(3, 8)).astype(np.float32),
        rng.normal(size=(gallery_size, 8)).astype(np.float32),
    )
    labels = (
        np.array([1, 2, 3]),
        np.arange(gallery_size) % 4 + 1,
        np.zeros(3, int),
        np.ones(gallery_size, int),
    )
    figures = evaluate_retrieval(query, gallery, *labels, metric="euclidean")
    assert figures == pytest.approx(loop_reference(squared_distances(query, gallery), *labels), abs=1e-9)
    assert figures["Rank-10"] == 100 or gallery_size > 10


def test_distractors_count_as_wrong_and_pids_are_compared_as_they_are():
    query, gallery = (
        np.array([[1, 0]], dtype=np.float32),
        np.array([[1, 0], [1, 0.1], [1, 0.2]], dtype=np.float32),
    )
    figures = evaluate_retrieval(query, gallery, [5], [0, -1, 5], [1], [1, 2, 2])
    assert (figures["Rank-1"], figures["Rank-5"]) == (0, 100)
    assert figures["mAP"] == pytest.approx(100 / 3)
    same = evaluate_retrieval(query, gallery, [0], [0, -1, 5], [2], [1, 2, 2])
    assert same["Rank-1"] == 100


def test_queries_without_a_match_under_another_camera_are_counted():
    features = np.eye(4, dtype=np.float32)
    # Query 0 has a true match, query 1 one under its own camera only, query 2 none at all.
    figures = evaluate_retrieval(features[:3], features, [1, 2, 3], [1, 2, 8, 9], [0, 0, 0], [1, 0, 1, 1])
    assert figures["excluded_queries"] == 2
    assert figures["Rank-1"] == figures["mAP"] == 100


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("block_bytes", [1, 3000, 10**9])
def test_block_size_changes_nothing(block_bytes, metric):
    split = random_split(np.random.default_rng(3))
    assert evaluate_retrieval(*split, metric=metric, block_bytes=block_bytes) == evaluate_retrieval(
        *split, metric=metric
    )


def test_an_unknown_device():
    with pytest.raises(UserError, match="toaster"):
        evaluate_retrieval(*random_split(np.random.default_rng(6)), device="toaster")
    with pytest.raises(UserError, match="device is cuda:99, but torch sees"):
        evaluate_retrieval(*random_split(np.random.default_rng(6)), device="cuda:99")


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("block_bytes", [4 * 180, 30 * 4 * 180, None])
def test_several_query_sets_rank_as_each_alone(block_bytes, metric):
    """Blocks that hold queries of one set, the end of one and the start of the next, and all of them."""
    rng = np.random.default_rng(7)
    query, gallery, *labels = random_split(rng)
    sets = [
        query,
        query + 0.5 * rng.normal(size=query.shape).astype(np.float32),
        rng.normal(size=query.shape),
    ]
    sides = (labels[0], labels[2]), (labels[1], labels[3])
    together = rank(
        sets, gallery, *sides, RankingOptions(metric), best_of=[2, 20], best=5, block_bytes=block_bytes
    )
    for rows, ranking in zip(sets, together, strict=True):
        assert ranking.figures == evaluate_retrieval(rows, gallery, *labels, metric=metric)
        distances = exact_distances(rows, gallery, metric)
        for query_index, best in zip((2, 20), ranking.best, strict=True):
            left_out = (labels[1] == labels[0][query_index]) & (labels[3] == labels[2][query_index])
            order = [
                index for index in np.argsort(distances[query_index], kind="stable") if not left_out[index]
            ]
            assert best.tolist() == order[:5]


def test_best_of_a_small_gallery_is_filled_up():
    features = np.eye(3, dtype=np.float32)
    (ranking,) = rank(
        [features[:1]], features, ([1], [0]), ([1, 1, 2], [1, 0, 0]), RankingOptions(), best_of=[0], best=4
    )
    assert ranking.best.tolist() == [[0, 2, -1, -1]]  # index 1 is the query's own identity and camera


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_features_mapped_from_a_file(kind, tmp_path):
    query, gallery, *labels = random_split(np.random.default_rng(8))
    np.save(tmp_path / "gallery.npy", gallery.astype(kind))
    mapped = np.load(tmp_path / "gallery.npy", mmap_mode="r")
    assert evaluate_retrieval(query, mapped, *labels) == evaluate_retrieval(
        query, gallery.astype(kind), *labels
    )


@pytest.mark.parametrize("part", [1, 7, 180])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_distances_of_parts(metric, part):
    """Against float64, with repeated rows that stand in different parts."""
    rng = np.random.default_rng(9)
    query, gallery, *_ = random_split(rng)
    gallery[100:110] = gallery[3]
    side = Features(gallery, "gallery", torch.device("cpu"))
    side.part = part
    block = next(Gallery(side, metric).distances([Features(query, "query", torch.device("cpu"))]))[1].numpy()
    expected = exact_distances(query, gallery, metric)
    if metric == "cosine":
        expected = expected / 2 - 1  # |q − g|² = 2 − 2 cos
    np.testing.assert_allclose(block, expected, atol=2e-5 * np.abs(expected).max())
    assert (block[:, 100:110] == block[:, 3:4]).all()


def test_repeated_rows_are_found_whatever_the_sampled_columns_say():
    rows = np.zeros((6, 40), dtype=np.float32)
    # column 1 is none of the eight that are looked at first
    rows[1, 1] = rows[3, 1] = rows[4, 2] = rows[5, 1] = 1
    copies, originals = Features(rows, "gallery", torch.device("cpu")).repeated()
    assert dict(zip(copies.tolist(), originals.tolist(), strict=True)) == {2: 0, 3: 1, 5: 1}


@pytest.mark.parametrize("dimension", [1, 3, 8, 20])
@pytest.mark.parametrize("kind", [np.float16, np.float32, torch.bfloat16])
def test_repeated_rows_of_few_values(kind, dimension):
    """Many rows share some columns, some rows share all; against a plain loop over whole rows."""
    rows = np.random.default_rng(dimension).integers(0, 3, (200, dimension)).astype(np.float32)
    expected, first = {}, {}
    for index, row in enumerate(rows.tolist()):
        if first.setdefault(tuple(row), index) != index:
            expected[index] = first[tuple(row)]
    given = torch.from_numpy(rows).to(kind) if isinstance(kind, torch.dtype) else rows.astype(kind)
    copies, originals = Features(given, "gallery", torch.device("cpu")).repeated()
    assert dict(zip(copies.tolist(), originals.tolist(), strict=True)) == expected


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("kind", [np.float16, np.float64, torch.float32, torch.float16, torch.bfloat16])
def test_arrays_and_tensors_of_any_float_type(kind, metric):
    query, gallery, *labels = random_split(np.random.default_rng(4))
    if isinstance(kind, torch.dtype):
        inputs = [torch.from_numpy(features).to(kind).requires_grad_() for features in (query, gallery)]
        exact = [features.detach().float().numpy() for features in inputs]
        given_labels = [torch.from_numpy(label) for label in labels]
    else:
        inputs = [features.astype(kind) for features in (query, gallery)]
        exact = [features.astype(np.float32) for features in inputs]
        given_labels = [label.tolist() for label in labels]
    assert evaluate_retrieval(*inputs, *given_labels, metric=metric) == evaluate_retrieval(
        *exact, *labels, metric=metric
    )


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_inputs_are_not_changed(metric):
    split = random_split(np.random.default_rng(5))
    before = [array.copy() for array in split]
    evaluate_retrieval(*split, metric=metric)
    for array, copy in zip(split, before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_cosine_ignores_length_and_zero_features_have_no_direction():
    query, gallery = (
        np.array([[2, 0]], dtype=np.float32),
        np.array([[0, 0], [100, 100], [1e-3, 0], [-1, 0]], dtype=np.float32),
    )
    places = [
        evaluate_retrieval(query, gallery, [1], np.arange(4) == match, [0], [1] * 4)["mAP"]
        for match in range(4)
    ]
    assert places == pytest.approx([100 / 3, 100 / 2, 100, 100 / 4])


VALID = {
    "query_features": np.eye(2, 3, dtype=np.float32),
    "gallery_features": np.eye(3, dtype=np.float32),
    "query_pids": [1, 2],
    "gallery_pids": [1, 2, 3],
    "query_camids": [0, 0],
    "gallery_camids": [1, 1, 1],
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query_features": np.eye(2, 3) + 1j}, "query features are of type complex128"),
        ({"query_features": [[1.0], [1.0, 2.0]]}, "query features are no N×D array"),
        ({"device": "meta"}, "device meta is none that ranking can use"),
        ({"device": None}, "device None is none"),
        ({"rerank": {"k1": 2, "k2": 1, "weight": 7}}, "weight in re-ranking is 7"),
        ({"rerank": {"k1": 2, "k2": 1, "weight": float("nan")}}, "weight in re-ranking is nan"),
        ({"metric": "manhattan"}, "unknown retrieval metric 'manhattan': choose cosine or euclidean"),
        ({"query_features": np.zeros((0, 3))}, r"query features have shape \(0, 3\)"),
        ({"gallery_features": np.zeros((0, 3))}, r"gallery features have shape \(0, 3\)"),
        ({"gallery_features": np.zeros(3)}, r"gallery features have shape \(3,\)"),
        ({"query_features": np.eye(2)}, "query features have dimension 2, gallery features 3"),
        ({"query_pids": [1]}, r"query_pids has shape \(1,\) beside 2 query features"),
        ({"query_camids": [0, 0, 0]}, r"query_camids has shape \(3,\)"),
        ({"gallery_pids": [[1, 2, 3]]}, r"gallery_pids has shape \(1, 3\)"),
        ({"gallery_camids": []}, r"gallery_camids has shape \(0,\)"),
        (
            {"query_features": np.array([[0, 0, 1], [0, np.nan, 0]])},
            "1 of 2 query features hold NaN.*the first at index 1",
        ),
        (
            {"gallery_features": np.diag([1, np.inf, -np.inf])},
            "2 of 3 gallery features hold.*infinite.*the first at index 1",
        ),
        ({"gallery_features": np.diag([1e300, 1, 1])}, "1 of 3 gallery features.*the first at index 0"),
        ({"gallery_camids": [0, 0, 0]}, r"all query and gallery images are from one camera \(0\)"),
        (
            {"gallery_pids": [7, 8, 9]},
            "none of the 2 queries has its identity in the gallery under another camera",
        ),
    ],
)
def test_bad_input_is_named(change, message):
    evaluate_retrieval(**VALID)
    with pytest.raises(UserError, match=message):
        evaluate_retrieval(**{**VALID, **change})


def fastreid_figures(query, gallery, labels, **options):
    """What fastreid's own evaluator says of the same features, by its Python ranking."""
    cfg = default_config()
    for key, value in options.items():
        cfg.merge_from_list([f"TEST.{key}", value])
    evaluator = ReidEvaluator(cfg, len(query))
    pids, camids = (torch.from_numpy(np.concatenate(sides)) for sides in (labels[:2], labels[2:]))
    evaluator.process({"targets": pids, "camids": camids}, torch.from_numpy(np.concatenate([query, gallery])))
    figures = dict(evaluator.evaluate())
    return {name: figures[name] for name in ("Rank-1", "Rank-5", "Rank-10", "mAP", "mINP")}


THEIR_NAMES = {
    **{"times": "AQE.QE_TIME", "k": "AQE.QE_K", "alpha": "AQE.ALPHA"},
    **{"k1": "RERANK.K1", "k2": "RERANK.K2", "weight": "RERANK.LAMBDA"},
}


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("rerank", [None, {"k1": 7, "k2": 3, "weight": 0.3}])
@pytest.mark.parametrize("expansion", [None, {"times": 2, "k": 4, "alpha": 3.0}])
@pytest.mark.parametrize("seed", range(20))
def test_equals_fastreids_evaluator_with_every_option(seed, expansion, rerank, metric):
    query, gallery, *labels = tie_free_split(seed, metric)
    options = {"METRIC": metric, "AQE.ENABLED": bool(expansion), "RERANK.ENABLED": bool(rerank)}
    options |= {THEIR_NAMES[name]: value for name, value in {**(expansion or {}), **(rerank or {})}.items()}
    theirs = fastreid_figures(query, gallery, labels, **options)
    ours = evaluate_retrieval(query, gallery, *labels, metric=metric, expansion=expansion, rerank=rerank)
    assert {name: ours[name] for name in theirs} == pytest.approx(theirs, abs=FRACTION)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_verification_over_all_pairs(metric):
    """With the labels the right way round, which fastreid has not."""
    query, gallery, *labels = random_split(np.random.default_rng(11), queries=40, gallery=400)
    figures = evaluate_retrieval(query, gallery, *labels, metric=metric, roc=True, block_bytes=7 * 4 * 400)
    same = labels[0][:, None] == labels[1]
    counts = ~(same & (labels[2][:, None] == labels[3]))
    distances = exact_distances(query, gallery, metric)
    false, true = np.sort(distances[counts & ~same]), distances[counts & same]
    for share in (1e-4, 1e-3, 1e-2):
        threshold = false[int(share * len(false))]  # the first false pair too many
        assert figures[f"TPR@FPR={share:.0e}"] == pytest.approx(100 * np.mean(true < threshold), abs=1e-9)


def test_options_of_a_config():
    cfg = default_config()
    assert RankingOptions.from_config(cfg) == RankingOptions("cosine")
    cfg.merge_from_list(
        [
            "TEST.METRIC",
            "euclidean",
            "TEST.AQE.ENABLED",
            True,
            "TEST.RERANK.ENABLED",
            True,
            "TEST.ROC.ENABLED",
            True,
        ]
    )
    expected = RankingOptions(
        "euclidean", {"times": 1, "k": 5, "alpha": 3.0}, {"k1": 20, "k2": 6, "weight": 0.3}, True
    )
    assert RankingOptions.from_config(cfg) == expected
