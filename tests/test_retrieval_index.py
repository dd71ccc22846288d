"""The indexes behind ``tools/retrieve.py`` against brute force in numpy, and the file they are kept in."""

from __future__ import annotations

from fastreid_privacy.retrieval import GalleryIndex, read_index, write_index

# isort: split
import json
import zipfile

import numpy as np
import pytest

from fastreid_privacy import UserError
from fastreid_privacy.evaluation.neighbours import as_float32
from fastreid_privacy.retrieval.index import EFFORT, check_kind, flat_index, inexact_index, stored_features
from fastreid_privacy.retrieval.measure import compare_with_exact


def brute_force(queries, gallery, metric, top):
    """Scores in float64 and indices, best first, equals in gallery order: one query and one image at a
    time."""
    answers = []
    for query in queries.astype(float):
        scores = []
        for image in gallery.astype(float):
            if metric == "cosine":
                scores.append(query @ image / np.sqrt((query @ query) * (image @ image)))
            else:
                scores.append(np.sqrt(((query - image) ** 2).sum()))
        order = sorted(
            range(len(gallery)),
            key=lambda place: (-scores[place] if metric == "cosine" else scores[place], place),
        )[:top]
        answers.append((np.array(scores)[order], order))
    return answers


def gallery_index(features, metric="cosine", kind="flat"):
    flat = flat_index(features.shape[1], metric)
    flat.add(as_float32(features, metric))
    searched, settings = (flat, {}) if kind == "flat" else inexact_index(flat, kind)
    paths = [f"{place:05}.png" for place in range(len(features))]
    return GalleryIndex(searched, kind, metric, paths, "gallery", "sha", settings=settings)


@pytest.fixture
def clustered():
    """2,000 images of 100 people, 32 dimensions: (gallery, 40 queries)."""
    draw = np.random.default_rng(0)
    people = draw.standard_normal((100, 32))
    gallery = people[draw.integers(0, 100, 2000)] + 0.4 * draw.standard_normal((2000, 32))
    return gallery.astype(np.float32), (people[:40] + 0.4 * draw.standard_normal((40, 32))).astype(np.float32)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("top", [1, 7, 150, 300])
def test_flat_is_the_brute_force_ranking(metric, top):
    draw = np.random.default_rng(1)
    gallery, queries = (
        draw.standard_normal((200, 24)).astype(np.float32),
        draw.standard_normal((33, 24)).astype(np.float32),
    )
    for (scores, places), (true_scores, true_places) in zip(
        gallery_index(gallery, metric).search(queries, top),
        brute_force(queries, gallery, metric, top),
        strict=True,
    ):
        assert places.tolist() == true_places
        np.testing.assert_allclose(scores, true_scores, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("top", [1, 5, 50, 130, 203])
def test_equal_images_rank_in_gallery_order(metric, top):
    """Four different images, repeated in a random order: nearly every place is a tie, also the last one that
    is given."""
    draw = np.random.default_rng(2)
    which = draw.integers(0, 4, 203)
    different, queries = (
        draw.standard_normal((4, 128)).astype(np.float32),
        draw.standard_normal((17, 128)).astype(np.float32),
    )
    index = gallery_index(different[which], metric)
    for (scores, places), (_, order) in zip(
        index.search(queries, top), brute_force(queries, different, metric, 4), strict=True
    ):
        assert (
            places.tolist()
            == [int(place) for image in order for place in np.flatnonzero(which == image)][:top]
        )
        assert len(np.unique(scores)) == len(np.unique(which[places]))


@pytest.mark.parametrize(("kind", "least"), [("hnsw", 0.99), ("ivfpq", 0.7)])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_inexact_kinds_are_near_the_brute_force_ranking(clustered, kind, least, metric):
    gallery, queries = clustered
    index = gallery_index(gallery, metric, kind)
    truth = brute_force(queries, gallery, metric, 10)
    answers = index.search(queries, 10)
    shares = [
        len(set(places.tolist()) & set(order)) / 10
        for (_, places), (_, order) in zip(answers, truth, strict=True)
    ]
    assert np.mean(shares) >= least
    for (scores, _), (true_scores, _) in zip(answers, truth, strict=True):
        assert (np.diff(scores) <= 0).all() if metric == "cosine" else (np.diff(scores) >= 0).all()
        np.testing.assert_allclose(scores[0], true_scores[0], rtol=0.25)


def test_more_effort_finds_more(clustered):
    gallery, queries = clustered
    index = gallery_index(gallery, kind="ivfpq")
    truth = [set(order) for _, order in brute_force(queries, gallery, "cosine", 10)]

    def found(effort):
        return sum(
            len(set(places.tolist()) & best)
            for (_, places), best in zip(index.search(queries, 10, effort), truth, strict=True)
        )

    assert found(1) < found(index.settings["cells"])
    few = index.search(queries, len(gallery), effort=1)
    # what one cell holds, nothing made up
    assert all(len(places) < len(gallery) and (places >= 0).all() for _, places in few)


@pytest.mark.parametrize("kind", ["hnsw", "ivfpq"])
def test_measured_recall_is_that_of_a_loop(clustered, kind):
    gallery = clustered[0][:400]
    flat = gallery_index(gallery).searched
    index, settings = inexact_index(flat, kind)
    measured = compare_with_exact(index, flat, kind, settings[EFFORT[kind]])
    assert measured["queries"] == 400
    gallery_index_ = GalleryIndex(index, kind, "cosine", ["x"] * 400, "gallery", "sha", settings=settings)
    for depth in (1, 10):
        shares = []
        for own in range(400):
            query = gallery[own : own + 1]
            exact = brute_force(query, gallery, "cosine", 12)[0][1]
            near = gallery_index_.search(query, 11)[0][1].tolist()
            exact, near = ([place for place in places if place != own][:depth] for places in (exact, near))
            shares.append(len(set(exact) & set(near)) / depth)
        # a tie in float32 may fall the other way
        assert measured[f"recall@{depth}"] == pytest.approx(np.mean(shares), abs=0.002)
    assert measured["flat_megabytes"] == pytest.approx(400 * 32 * 4 / 2**20, rel=0.01)
    assert measured["milliseconds"] > 0 and measured["flat_milliseconds"] > 0


@pytest.mark.parametrize(("dimension", "parts"), [(512, 128), (100, 25), (30, 6), (31, 1), (3, 1)])
def test_compressed_features_have_a_quarter_of_the_dimensions_or_the_next_divisor(dimension, parts):
    features = np.random.default_rng(0).standard_normal((300, dimension)).astype(np.float32)
    flat = gallery_index(features).searched
    index, settings = inexact_index(flat, "ivfpq")
    assert settings["bytes"] == parts == index.pq.M and index.ntotal == 300
    np.testing.assert_array_equal(stored_features(flat), as_float32(features, "cosine"))


def test_cells_grow_with_the_gallery():
    features = np.random.default_rng(0).standard_normal((3900, 4)).astype(np.float32)
    for count, cells in ((256, 6), (390, 10), (3900, 100)):
        assert inexact_index(gallery_index(features[:count]).searched, "ivfpq")[1]["cells"] == cells


def test_too_few_images_and_unknown_kinds_are_refused():
    with pytest.raises(UserError, match=r"at least 256 images, and there are 255.*--kind flat"):
        check_kind("ivfpq", 255)
    check_kind("ivfpq", 256)
    with pytest.raises(UserError, match=r"'lsh'.*flat, ivfpq, hnsw"):
        check_kind("lsh", 1000)
    with pytest.raises(UserError, match=r"'manhattan'.*cosine or euclidean"):
        flat_index(8, "manhattan")
    with pytest.raises(UserError, match="9 dimensions, the index 8"):
        gallery_index(np.ones((3, 8), np.float32)).search(np.ones((1, 9), np.float32), 1)


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivfpq"])
def test_a_file_holds_all_of_an_index(clustered, tmp_path, kind):
    gallery, queries = clustered
    index = gallery_index(gallery[:300], kind=kind)
    index.paths[0], index.left_out, index.protected = "ä/\udcff 画像.png", {"b.png": "broken"}, True
    write_index(index, tmp_path / "my.index")
    assert (tmp_path / "my.index").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["my.index"]
    again = read_index(tmp_path / "my.index")
    for name in ("kind", "metric", "paths", "fingerprint", "protected", "left_out", "settings", "measured"):
        assert getattr(again, name) == getattr(index, name)
    for (scores, places), (scores_again, places_again) in zip(
        index.search(queries, 9), again.search(queries, 9), strict=True
    ):
        np.testing.assert_array_equal(scores, scores_again)
        np.testing.assert_array_equal(places, places_again)


def rewritten(path, change):
    """Write the archive again with another index.json."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    described = json.loads(parts["index.json"])
    change(described)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("index.json", json.dumps(described))
        archive.writestr("index.faiss", parts["index.faiss"])


def test_other_files_are_refused_with_a_message(tmp_path):
    path = tmp_path / "my.index"

    def written():
        write_index(gallery_index(np.eye(4, dtype=np.float32)), path)
        return path.read_bytes()

    with pytest.raises(UserError, match="does not exist; build it"):
        read_index(path)
    whole = written()
    place = whole.index(np.eye(4, dtype=np.float32).tobytes())
    path.write_bytes(whole[: place + 3] + b"!" + whole[place + 4 :])
    with pytest.raises(UserError, match=r"checksum of index\.faiss"):
        read_index(path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="damaged or no index"):
        read_index(path)
    for change, message in (
        (lambda described: described.update(version=2), "is of version 2; this program reads version 1"),
        (lambda described: described["paths"].pop(), "3 paths and 4 dimensions.*4 and 4"),
        (lambda described: described.update(dimension=5), "4 paths and 5 dimensions.*4 and 4"),
        (lambda described: described.pop("metric"), "damaged or no index.*metric"),
    ):
        written()
        rewritten(path, change)
        with pytest.raises(UserError, match=message):
            read_index(path)
