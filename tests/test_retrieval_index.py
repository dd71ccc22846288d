"""The indexes behind ``tools/retrieve.py`` against brute force in numpy, and the file they are kept in."""

from __future__ import annotations

from fastreid_privacy.retrieval import GalleryIndex, read_index, write_index

# isort: split
import hashlib
import json
import struct
import time
import zipfile
from pathlib import Path

import faiss
import numpy as np
import pytest

from fastreid_privacy import UserError
from fastreid_privacy.core.lock import locked
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


@pytest.mark.parametrize("kind", ["hnsw", "ivfpq"])
def test_more_effort_than_there_is_to_do_finds_the_same(clustered, kind):
    """FAISS takes 32 bits of it; a search that keeps all candidates cannot keep more."""
    gallery, queries = clustered
    index = gallery_index(gallery[:500], kind=kind)
    all_of_it = index.search(queries, 5, effort=500)
    for effort in (2**31, 10**40):
        for found, expected in zip(index.search(queries, 5, effort=effort), all_of_it, strict=True):
            np.testing.assert_array_equal(found, expected)


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
    with pytest.raises(
        UserError, match=r"an hnsw index wants at least 2 images, and there are 1.*--kind flat"
    ):
        check_kind("hnsw", 1)
    check_kind("flat", 1)
    with pytest.raises(UserError, match=r"'lsh'.*flat, ivfpq, hnsw"):
        check_kind("lsh", 1000)
    with pytest.raises(UserError, match=r"'manhattan'.*cosine or euclidean"):
        flat_index(8, "manhattan")
    with pytest.raises(UserError, match="9 dimensions, the index 8"):
        gallery_index(np.ones((3, 8), np.float32)).search(np.ones((1, 9), np.float32), 1)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_a_graph_of_the_fewest_images_is_measured(metric):
    features = np.eye(2, 8, dtype=np.float32)
    index, flat = (gallery_index(features, metric, kind).searched for kind in ("hnsw", "flat"))
    measured = compare_with_exact(index, flat, "hnsw", 16)
    assert (measured["queries"], measured["recall@1"], measured["recall@10"]) == (2, 1, 1)


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


def test_the_same_index_is_the_same_file_and_one_written_before_opens(clustered, tmp_path, monkeypatch):
    index = gallery_index(clustered[0][:50], kind="hnsw")
    index.measured = {"queries": 50, "recall@1": 0.5, "milliseconds": 1.5, "flat_milliseconds": 2.5}
    write_index(index, tmp_path / "now")
    index.measured["milliseconds"] = 1.75
    monkeypatch.setattr(time, "time", lambda: 10**9)
    write_index(index, tmp_path / "then")
    assert (tmp_path / "now").read_bytes() == (tmp_path / "then").read_bytes()
    kept = read_index(tmp_path / "now").measured
    assert kept == {"queries": 50, "recall@1": 0.5} and "milliseconds" in index.measured
    rewritten(tmp_path / "then", lambda described: described.update(measured=index.measured))
    older = read_index(tmp_path / "then")  # with the times of its members, too
    assert older.measured == index.measured and older.root == Path("gallery")


def rewritten(path, change):
    """Write the archive again with another index.json."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    described = json.loads(parts["index.json"])
    change(described)
    archived(path, json.dumps(described).encode(), parts["index.faiss"])


def archived(path, text, features, compression=zipfile.ZIP_STORED, **more):
    """Write an archive whose sums are right, as a forger does."""
    parts = {"index.json": text, "index.faiss": features}
    sums = "".join(f"{hashlib.sha256(part).hexdigest()}  {name}\n" for name, part in parts.items())
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, part in {**parts, "SHA256SUMS": sums.encode(), **more}.items():
            if part is not None:
                archive.writestr(name, part)


def parts_of(index, path):
    write_index(index, path)
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("index.json")), archive.read("index.faiss")


def test_features_that_a_killed_process_left_go_with_the_next_index(tmp_path):
    index = gallery_index(np.eye(4, dtype=np.float32))
    own, others = ".my.index.17.unfinished", {".other.index.17.unfinished", ".my.index.unfinished"}
    for name in (own, *others):
        (tmp_path / name).write_bytes(b"features")
    with locked(tmp_path, "in use"):  # by another command, whose they may be
        write_index(index, tmp_path / "my.index")
        assert {path.name for path in tmp_path.iterdir()} == {"my.index", own, *others}
    written = (tmp_path / "my.index").read_bytes()
    write_index(index, tmp_path / "my.index")
    assert {path.name for path in tmp_path.iterdir()} == {"my.index", *others}
    assert (tmp_path / "my.index").read_bytes() == written


@pytest.fixture
def faiss_reads(monkeypatch):
    """Nothing: whatever comes to FAISS fails the test."""

    def read(*arguments):
        raise AssertionError("FAISS must not see these bytes")

    monkeypatch.setattr(faiss, "read_index", read)


def test_lists_in_another_file_are_refused_before_faiss_maps_it(clustered, tmp_path, faiss_reads):
    """FAISS would open it for reading and writing, and a short one ends the process by SIGBUS."""
    index, target = gallery_index(clustered[0][:300], kind="ivfpq"), tmp_path / "target"
    target.write_bytes(b"of somebody else")
    lists = faiss.OnDiskInvertedLists(index.searched.nlist, 8, str(tmp_path / "lists"))
    described, whole = parts_of(index, tmp_path / "my.index")
    index.searched.replace_invlists(lists)
    on_disk = faiss.serialize_index(index.searched).tobytes()
    assert on_disk.count(b"ilod") == 1 and str(tmp_path / "lists").encode() in on_disk
    on_disk = on_disk.replace(str(tmp_path / "lists").encode(), str(tmp_path / "targe").encode())
    for features in (on_disk, whole.replace(b"ilar", b"ilod")):
        archived(tmp_path / "my.index", json.dumps(described).encode(), features)
        with pytest.raises(UserError, match="kind of the lists is b'ilod'"):
            read_index(tmp_path / "my.index")
    assert target.read_bytes() == b"of somebody else"


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivfpq"])
def test_no_other_records_come_to_faiss(clustered, tmp_path, faiss_reads, kind):
    path = tmp_path / "my.index"
    described, whole = parts_of(gallery_index(clustered[0][:300], kind=kind), path)
    text = json.dumps(described).encode()
    mapped = faiss.serialize_index(faiss.index_factory(32, "IDMap,Flat")).tobytes()
    for features in (
        mapped,
        b"IxPT" + whole[4:],
        whole[:-1],
        whole + b"\0",
        whole[:100],
        b"",
        whole[:12] + struct.pack("<q", 2**40) + whole[20:],
    ):
        archived(path, text, features)
        with pytest.raises(UserError, match=r"damaged or no index|contradicts itself"):
            read_index(path)
    for other in {"flat", "hnsw", "ivfpq"} - {kind}:
        archived(
            path, json.dumps({**described, "kind": other, "settings": {"ef": 9, "nprobe": 1}}).encode(), whole
        )
        with pytest.raises(UserError, match="the kind of a record"):
            read_index(path)
    for place in range(45):  # the first record's header, and the length or number behind it
        for bit in range(8):
            flipped = bytearray(whole)
            flipped[place] ^= 1 << bit
            archived(path, text, bytes(flipped))
            with pytest.raises(UserError, match=r"damaged or no index|contradicts itself"):
                read_index(path)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("neighbour", 300, "a feature that there is not"),
        ("neighbour", -2, "a feature that there is not"),
        ("entry", 300, "begins at a feature"),
        ("entry", -1, "begins at a feature"),
    ],
)
def test_a_graph_that_leads_out_of_memory_is_refused(clustered, tmp_path, faiss_reads, field, value, message):
    path = tmp_path / "my.index"
    index = gallery_index(clustered[0][:300], kind="hnsw")
    described, whole = parts_of(index, path)
    neighbours = faiss.vector_to_array(index.searched.hnsw.neighbors)
    place = whole.index(neighbours.tobytes())
    if field == "entry":
        place += neighbours.nbytes
    features = whole[:place] + struct.pack("<i", value) + whole[place + 4 :]
    archived(path, json.dumps(described).encode(), features)
    with pytest.raises(UserError, match=message):
        read_index(path)


def test_a_list_that_names_other_features_is_refused(clustered, tmp_path, faiss_reads):
    path = tmp_path / "my.index"
    described, whole = parts_of(gallery_index(clustered[0][:300], kind="ivfpq"), path)
    archived(path, json.dumps(described).encode(), whole[:-8] + struct.pack("<q", 300))
    with pytest.raises(UserError, match="do not hold each feature once"):
        read_index(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"paths": ["../secret/x.png", "b", "c", "d"]}, "leads out of its folder"),
        ({"paths": ["/etc/passwd", "b", "c", "d"]}, "leads out of its folder"),
        ({"paths": ["a\0", "b", "c", "d"]}, "leads out of its folder"),
        ({"paths": ["", "b", "c", "d"]}, "names no file"),
        ({"paths": [7, "b", "c", "d"]}, "names no file"),
        ({"paths": "abcd"}, "paths of index.json is of a wrong type"),
        ({"left_out": {"../a": "x"}}, "leads out of its folder"),
        ({"root": 7}, "root of index.json is of a wrong type"),
        ({"metric": "euclidean"}, "the kind of a record"),
        ({"metric": "manhattan"}, "metric manhattan"),
        ({"kind": "lsh"}, "kind lsh"),
        ({"dimension": 2**40}, "dimension"),
        ({"dimension": True}, "dimension of index.json is of a wrong type"),
        ({"settings": {"ef": 2**31}}, "ef of index.json is 2147483648"),
        ({"settings": []}, "settings of index.json is of a wrong type"),
    ],
)
def test_a_forged_description_is_refused(tmp_path, faiss_reads, change, message):
    path = tmp_path / "my.index"
    write_index(gallery_index(np.eye(4, dtype=np.float32)), path)
    rewritten(path, lambda described: described.update(change))
    with pytest.raises(UserError, match=message):
        read_index(path)


def test_no_small_file_unpacks_to_a_large_one(tmp_path, faiss_reads):
    path = tmp_path / "my.index"
    described, whole = parts_of(gallery_index(np.eye(4, dtype=np.float32)), path)
    text = json.dumps(described).encode()
    for words, message in (
        (dict(features=bytes(10**8), compression=zipfile.ZIP_DEFLATED), "a part is compressed"),
        (dict(features=bytes(10**6)), "is larger than 4 paths and 4 dimensions ask for"),
        (dict(features=whole, SHA256SUMS=b"x" * 2000), "larger than this program writes"),
        (dict(features=whole, SHA256SUMS=b"x"), "SHA-256 sums are wrong"),
        (dict(features=whole, SHA256SUMS=None), "older version, without SHA256SUMS: build it again"),
        (dict(features=whole, another=b"x"), "and nothing else"),
    ):
        archived(path, text, **words)
        with pytest.raises(UserError, match=message):
            read_index(path)


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
