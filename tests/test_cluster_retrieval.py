"""A gallery on a cluster: the index of one machine, whatever is lost on the way, and nothing in the clear."""

from __future__ import annotations

# before fastreid: importing the package makes it work
from fastreid_privacy.core.errors import UserError

# isort: split
import pickle
import shutil
import tarfile

import numpy as np
import pytest
import torch
from in_process import retrieve
from PIL import Image
from ray_in_process import Lost

from fastreid_privacy.cluster import tasks as tasks_module
from fastreid_privacy.cluster import worker as worker_module
from fastreid_privacy.cluster.parcels import Parcels
from fastreid_privacy.cluster.worker import Refused
from fastreid_privacy.collection.source import folder_source
from fastreid_privacy.core.members import TarMember
from fastreid_privacy.keys.sealing import SEARCH, new_identity
from fastreid_privacy.retrieval import features as features_module
from fastreid_privacy.retrieval import load_extractor, read_index
from fastreid_privacy.retrieval.extract import Extractor
from fastreid_privacy.retrieval.features import Look, Threads, gallery_features
from fastreid_privacy.retrieval.index import stored_features

IMAGES = 14
DAMAGED = "cam 1/pérson 05.png"


def write_pictures(root, count, side=24):
    rng = np.random.default_rng(0)
    for number in range(count):
        folder = root / ("cam 1" if number % 2 else "保護")
        folder.mkdir(exist_ok=True)
        pixels = rng.integers(0, 256, (side + number % 9, 16, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"pérson {number:02d}.png")
    return root


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    """Pictures in two folders, one of which cannot be read."""
    root = write_pictures(tmp_path_factory.mktemp("gallery"), IMAGES)
    (root / DAMAGED).write_bytes((root / DAMAGED).read_bytes()[:200])
    return root


@pytest.fixture
def build(weights, gallery, tmp_path):
    """Builds an index of the gallery in batches of 3; options of a later name win."""

    def build(name, *words):
        start = ["--weights", weights, "--gallery", gallery, "--batch-size", 3, "--device", "cpu"]
        return retrieve("build", *start, "--index", tmp_path / name, *words)

    return build


def sent(ray):
    """The pieces that were handed out, opened."""
    return [Parcels(key).open(piece) for _, key, piece in ray.arguments]


# -- the same bytes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [[], ["--protect"], ["--kind", "hnsw", "--metric", "euclidean"]])
def test_the_index_is_that_of_one_machine(build, in_process, tmp_path, capsys, words):
    assert build("one", *words) == 0
    capsys.readouterr()
    ray = in_process()
    assert build("many", "--engine", "ray", *words) == 0
    assert (tmp_path / "many").read_bytes() == (tmp_path / "one").read_bytes()
    assert len(ray.arguments) == len(ray.results) > 2 and ray.most <= 2 * 2
    index = read_index(tmp_path / "many")
    assert len(index.paths) == IMAGES - 1 and list(index.left_out) == [DAMAGED]
    assert index.protected == ("--protect" in words)
    said = capsys.readouterr()
    assert f"{IMAGES - 1} of {IMAGES} images" in said.out and DAMAGED in said.err


def test_a_compressed_index_is_that_of_one_machine(build, in_process, tmp_path):
    some = write_pictures(tmp_path, 257, side=8)
    words = ["--gallery", some, "--batch-size", 32, "--kind", "ivfpq"]
    assert build("one.index", *words) == 0
    in_process()
    assert build("many.index", *words, "--engine", "ray", "--workers", 2) == 0
    assert (tmp_path / "many.index").read_bytes() == (tmp_path / "one.index").read_bytes()
    assert read_index(tmp_path / "one.index").kind == "ivfpq"


def test_a_gallery_of_tar_files_is_read_where_it_lies(build, gallery, in_process, tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(gallery, ".")
    words = ["--gallery", tmp_path]
    assert build("one.index", *words) == 0
    ray = in_process()
    assert build("many.index", *words, "--engine", "ray") == 0
    assert (tmp_path / "many.index").read_bytes() == (tmp_path / "one.index").read_bytes()
    assert len(read_index(tmp_path / "one.index").paths) == IMAGES - 1
    assert {type(picture.file) for piece in sent(ray) for _, picture in pictures_of(piece)} == {TarMember}


def pictures_of(piece):
    return [(number, picture) for number, batch in piece.batches.items() for picture in batch]


def test_features_come_in_the_order_of_paths_and_are_counted_as_they_are_made(gallery, weights, monkeypatch):
    source, look, counted = folder_source(gallery), Look(load_extractor(weights, "cpu")), []

    def backwards(*words):
        yield from [*Threads(1)(*words)][::-1]

    class Bar:
        def __init__(self, total, **words):
            assert total == IMAGES

        def __enter__(self):
            return self

        def __exit__(self, *words):
            pass

        def update(self, count):
            counted.append(count)

    monkeypatch.setattr(features_module, "tqdm", Bar)
    found = gallery_features(source, look, batch_size=3, engine=backwards)
    first = next(found)
    assert counted == [2, 3, 3, 3, 3]  # all are there before the first batch is
    rest = [*found]
    paths = [path for looked in (first, *rest) for path in looked.read]
    assert paths == [path for path in source.paths if path != DAMAGED]
    straight = [*gallery_features(source, look, batch_size=3)]
    for one, other in zip((first, *rest), straight, strict=True):
        np.testing.assert_array_equal(one.features, other.features)
    assert sum(counted) == 2 * IMAGES


# -- what travels --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protect", [False, True])
def test_no_names_features_or_weights_travel_in_the_clear(
    build, in_process, gallery, weights, tmp_path, protect
):
    ray = in_process()
    assert build("my.index", "--engine", "ray", *["--protect"] * protect) == 0
    assert len(ray.stored) == 1 and len(ray.arguments) == len(ray.results) > 2
    everything = pickle.dumps([ray.stored, ray.arguments, ray.results])
    index = read_index(tmp_path / "my.index")  # whose memory the features are
    key = ray.arguments[0][1]
    results = [Parcels(key).open(result).result for result in ray.results]
    features = {path: row for found in results for looked in found.values() for path, row in rows_of(looked)}
    assert list(index.paths) == sorted(features)
    kept = stored_features(index.searched)
    for place, path in enumerate(index.paths):
        row = features[path]
        np.testing.assert_allclose(kept[place], row / np.linalg.norm(row), rtol=1e-5)
        for told in (row.tobytes()[:16], kept[place].tobytes()[:16]):
            assert told not in everything
    tensors = torch.load(weights, weights_only=True)["model"]
    own = {name: tensors[name].numpy().tobytes()[:64] for name in ("heads.weight", "recovery.up.0.0.weight")}
    names = [path.name.encode() for path in gallery.rglob("*.png")]
    for told in (*own.values(), b".png", b"cam 1", b"backbone", *names):
        assert told not in everything
    # opened, there is the model without what retrieval does not use, and no pixel
    task = Parcels(key).open(ray.stored[0])
    made, opened = Parcels(key).open(task.make), pickle.dumps(sent(ray))
    assert names[0] in opened and own["heads.weight"] in pickle.dumps(made)
    assert own["recovery.up.0.0.weight"] not in pickle.dumps(made)
    parts = {name.partition(".")[0] for name in made.look.extract.model.state_dict()}
    assert parts == {"backbone", "heads", *["anonymizer"] * protect}
    for path in gallery.rglob("*.png"):
        assert path.read_bytes()[-64:] not in opened


def rows_of(looked):
    return zip(looked.read, looked.features, strict=True)


def test_reasons_of_refusals_travel_encrypted(build, in_process, capsys, monkeypatch):
    def fault(file, name):
        raise ZeroDivisionError("a fault")

    ray = in_process()
    monkeypatch.setattr(features_module, "open_picture", fault)
    assert build("i", "--engine", "ray") == 2
    assert "pérson" in capsys.readouterr().err
    (result,) = ray.results
    assert isinstance(Parcels(ray.arguments[0][1]).open(result), Refused)
    assert "pérson".encode() not in result and b"fault" not in result


def test_what_is_sent_leaves_the_model_here_as_it_is(weights):
    extract = load_extractor(weights, "cpu")
    images = torch.rand(2, 3, 64, 32) * 255
    for protect in (False, True):
        again = pickle.loads(pickle.dumps(Look(extract, protect))).extract
        assert torch.equal(again(images), extract(images)) and again.fingerprint == extract.fingerprint
        assert hasattr(again.model, "anonymizer") == protect
    expected = extract.protect(images, ["a", "b"])
    assert torch.equal(again.protect(images, ["a", "b"]), expected)
    assert extract.model.recovery is not None and extract.model.supervision is not None


# -- what is lost, and what is refused -----------------------------------------------------------------------


def test_batches_of_lost_processes_are_looked_at_again(build, in_process, tmp_path):
    def lose(number):
        if number in (1, 2):
            raise Lost

    ray = in_process(before=lose)
    assert build("one", "--batch-size", 1) == 0
    assert build("many", "--engine", "ray", "--batch-size", 1) == 0
    assert (tmp_path / "many").read_bytes() == (tmp_path / "one").read_bytes()
    pieces = sent(ray)
    assert {piece.tries for piece in pieces} == {0, 1} and len(ray.results) == len(pieces) - 2
    assert all(len(piece.batches) == 1 for piece in pieces if piece.tries)
    assert {len(piece.batches) for piece in pieces if not piece.tries} == {2}


def test_files_that_end_every_process_are_named(build, in_process, tmp_path, capsys, monkeypatch):
    work_on = worker_module.work_on

    def deadly(task, key, piece):
        if "保護/pérson 08.png" in Parcels(key).open(piece).names:
            raise Lost
        return work_on(task, key, piece)

    monkeypatch.setattr(tasks_module, "work_on", deadly)
    ray = in_process()
    assert build("i", "--engine", "ray") == 2
    said = capsys.readouterr().err
    assert "3 processes ended while they worked on " in said and "pérson 08.png" in said
    assert "take them out of --gallery, and run the same command again" in said and "Traceback" not in said
    assert sum("保護/pérson 08.png" in piece.names for piece in sent(ray)) == 3
    assert not (tmp_path / "i").exists()


def refusal(capsys, code):
    said = capsys.readouterr().err
    assert code == 2 and "Traceback" not in said and said.count("error:") == 1
    return said


def test_faults_of_nodes_name_the_file_and_the_node(
    build, in_process, capsys, monkeypatch, gallery, tmp_path
):
    node = worker_module.platform.node()
    extract = Extractor.__call__

    def broken(self, images):
        return extract(self, images) * float("nan")

    in_process()
    monkeypatch.setattr(Extractor, "__call__", broken)
    said = refusal(capsys, build("i", "--engine", "ray"))
    assert "are not finite: the checkpoint's weights are broken" in said and f"(node {node})" in said
    assert f"the features of {gallery}/" in said

    def full(self, images):
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(Extractor, "__call__", full)
    in_process()
    said = refusal(capsys, build("i", "--engine", "ray"))
    assert "there is not enough memory, at " in said and f"(node {node})" in said and ".png" in said
    monkeypatch.setattr(Extractor, "__call__", extract)
    transform = features_module.open_picture

    def fault(file, name):
        if "07" in name:
            raise ZeroDivisionError("a fault")
        return transform(file, name)

    monkeypatch.setattr(features_module, "open_picture", fault)
    in_process()
    said = refusal(capsys, build("i", "--engine", "ray"))
    assert f"ZeroDivisionError: a fault, at {gallery}/cam 1/pérson 07.png (node {node})" in said
    monkeypatch.setattr(features_module, "open_picture", transform)
    here = worker_module.versions()

    def others(number):
        monkeypatch.setattr(worker_module, "versions", lambda: {**here, "torch": "1.0"})

    in_process(before=others)
    assert f"node {node} has torch 1.0" in refusal(capsys, build("i", "--engine", "ray"))
    monkeypatch.setattr(worker_module, "versions", lambda: here)
    some = shutil.copytree(gallery, tmp_path / "some")
    in_process(before=lambda number: shutil.rmtree(some, ignore_errors=True))
    said = refusal(capsys, build("i", "--engine", "ray", "--gallery", some))
    assert f"node {node} sees none of " in said and "of --gallery" in said
    assert not (tmp_path / "i").exists()


def test_options_that_do_not_go_together(build, in_process, tmp_path, capsys):
    in_process()
    _, private = new_identity(tmp_path / "keys", None, holder=SEARCH)
    for words, message in (
        (["--address", "auto"], "--address goes with --engine ray"),
        (["--engine", "ray", "--device", "cuda:1"], "chooses the GPU of each task"),
        (["--engine", "ray", "--device", "cuda"], "no node of the cluster has a GPU"),
        (["--engine", "ray", "--workers", 3], "no node of the cluster has 3 cores"),
        (["--engine", "ray", "--search-key", private], "not templates"),
        (["--workers", 3, "--search-key", private], "--search-key runs none"),
    ):
        assert message in refusal(capsys, build("i", *words))
        assert not (tmp_path / "i").exists()


def test_a_task_has_a_gpu_where_there_are_gpus(build, in_process, capsys):
    def asked(number):
        raise Lost

    ray = in_process(nodes=[{"CPU": 8.0, "GPU": 2.0}], before=asked)
    assert build("i", "--engine", "ray", "--device", "auto", "--workers", 2) == 2
    assert ray.asked == [{"num_cpus": 2, "num_gpus": 1, "max_retries": 0}]


def test_the_key_of_another_run_opens_nothing(build, in_process):
    ray = in_process()
    assert build("i", "--engine", "ray") == 0
    with pytest.raises(UserError, match="changed on the way"):
        Parcels().open(ray.results[0])
