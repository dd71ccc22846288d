"""A collection on a cluster: the same bytes as on one machine, whatever is lost on the way."""

from __future__ import annotations

# isort: split
import os
import pickle
import shutil
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import SMALL_CONFIG, SMALL_DATASET, small_options
from fastreid.modeling import build_model
from in_process import anonymize, contents, random_pictures, recover, retrieve
from PIL import Image
from ray.cluster_utils import Cluster
from ray_in_process import Lost
from s3_server import s3_server

from fastreid_privacy.checkpoints.image_maps import ImageMap
from fastreid_privacy.checkpoints.onnx_export import image_graph
from fastreid_privacy.checkpoints.onnx_runtime import OnnxNetwork
from fastreid_privacy.cluster import nodes as nodes_module
from fastreid_privacy.cluster import tasks as tasks_module
from fastreid_privacy.cluster import worker as worker_module
from fastreid_privacy.cluster.parcels import Parcels
from fastreid_privacy.collection import protected_files
from fastreid_privacy.collection import run as run_module
from fastreid_privacy.collection.output import SHARDS
from fastreid_privacy.collection.shards import Cutter
from fastreid_privacy.collection.stamps import STAMPS
from fastreid_privacy.collection.work import Job, Left
from fastreid_privacy.config import load_config
from fastreid_privacy.core.errors import UserError
from fastreid_privacy.core.projects import load_projects
from fastreid_privacy.core.remote import place_of
from fastreid_privacy.keys.sealing import new_identity
from fastreid_privacy.manifest import MANIFEST, read_manifest
from fastreid_privacy.networks import UNetGenerator
from fastreid_privacy.retrieval import read_index
from fastreid_privacy.retrieval.index import stored_features

IMAGES = 14
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return random_pictures(tmp_path_factory.mktemp("raw"), IMAGES)


@pytest.fixture(scope="module")
def s3():
    """The client of a store that speaks S3, which nodes find, too."""
    with s3_server() as client:
        yield client


@pytest.fixture(scope="module")
def three_nodes(s3):
    """A cluster of three nodes on this machine, with a core each; yields it and its folder of sessions."""
    with (
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as folder,
    ):
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_TMPDIR", folder)  # where it notes the address, in a folder that it expects there
        Path(folder, "ray").mkdir()
        cluster = Cluster(initialize_head=True, head_node_args={**NODE, "temp_dir": folder})
        for _ in range(2):
            cluster.add_node(**NODE)
        yield cluster, Path(folder)
        cluster.shutdown()


# -- shards --------------------------------------------------------------------------------------------------


def left_of(output, sizes, done=(), suspects=()):
    jobs = iter(Job(f"{number}.jpg", output / f"{number}", f"{number}.png") for number in range(sum(sizes)))
    batches = [[next(jobs) for _ in range(size)] for size in sizes]
    return Left(
        output,
        {"kind": "it"},
        batches,
        {path: {"path": path} for path in done},
        [],
        {path: {"path": path} for path in suspects},
    )


@pytest.mark.parametrize(
    ("sizes", "images", "expected"),
    [
        ((3, 3, 3, 1), 6, [[3, 3], [3, 1]]),
        ((3, 3, 3, 1), 4, [[3, 3], [3, 1]]),
        ((3, 3, 3, 1), 1, [[3], [3], [3], [1]]),
        ((3, 3, 3, 1), 100, [[3, 3, 3, 1]]),
        ((1,), 4, [[1]]),
        ((), 4, []),
    ],
)
def test_shards_are_cut_between_batches(tmp_path, sizes, images, expected):
    left = left_of(tmp_path, sizes)
    shards = list(Cutter(left).shards(images))
    assert [[len(batch) for batch in shard.left.batches] for shard in shards] == expected
    assert [batch for shard in shards for batch in shard.left.batches] == left.batches
    assert [shard.number for shard in shards] == list(range(len(shards)))


def test_a_shard_knows_its_own_files_alone_and_is_cut_into_its_batches(tmp_path):
    left = left_of(tmp_path, (2, 2, 2), done=["1.png", "5.png"], suspects=["2.png"])
    cutter = Cutter(left)
    first, second = cutter.shards(4)
    assert (first.left.done.keys(), first.left.suspects.keys()) == ({"1.png"}, {"2.png"})
    assert (second.left.done.keys(), second.left.suspects.keys()) == ({"5.png"}, set())
    again = cutter.again(first)
    assert [shard.names for shard in again] == [["0.jpg", "1.jpg"], ["2.jpg", "3.jpg"]]
    assert [(shard.number, shard.tries) for shard in again] == [(2, 1), (3, 1)]
    assert [shard.left.suspects.keys() for shard in again] == [set(), {"2.png"}]


# -- parcels -------------------------------------------------------------------------------------------------


def test_parcels_tell_nothing_and_open_with_their_key_alone():
    parcels, secret = Parcels(), b"a secret name" * 20
    closed = parcels.close([secret, lambda: secret])
    assert b"secret" not in closed and closed != parcels.close([secret, lambda: secret])
    opened, function = Parcels(parcels.key).open(closed)
    assert opened == secret == function()
    for key, content in ((Parcels().key, closed), (parcels.key, closed[:-1] + bytes([closed[-1] ^ 1]))):
        with pytest.raises(UserError, match="changed on the way"):
            Parcels(key).open(content)


# -- the same bytes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["learned", "blur", "pseudonyms", "jpg", "labels"])
def test_the_bytes_are_those_of_one_machine(weights, raw, small_dataset, in_process, tmp_path, kind):
    in_process()
    words = ["--input", raw, "--batch-size", 3, "--device", "cpu"]
    if kind in ("blur", "jpg"):
        words += ["--method", "blur"]
    else:
        words += ["--weights", weights]
    if kind == "jpg":
        words += ["--format", "jpg"]
    if kind == "pseudonyms":
        (tmp_path / "key").write_bytes(bytes(range(32)))
        words += ["--pseudonymize", tmp_path / "key"]
    if kind == "labels":
        words = ["--weights", weights, "--input", "SyntheticPedestrians", "--batch-size", 8]
        for key, value in SMALL_DATASET.items():
            words += [f"DATASETS.SYNTHETIC.{key.upper()}", value]
    assert anonymize("--output", tmp_path / "one", *words) == 0
    assert anonymize("--engine", "ray", "--output", tmp_path / "many", *words) == 0
    assert contents(tmp_path / "many") == contents(tmp_path / "one")
    assert len(read_manifest(tmp_path / "many" / MANIFEST).entries) >= IMAGES
    # and a finished folder is left as it is, by either
    assert anonymize("--engine", "ray", "--output", tmp_path / "one", *words) == 0
    assert anonymize("--output", tmp_path / "many", *words) == 0
    assert contents(tmp_path / "many") == contents(tmp_path / "one")


def test_graphs_are_opened_anew_where_they_are_sent():
    torch.manual_seed(0)
    network = OnnxNetwork(image_graph(UNetGenerator(width=4, depth=2), "anonymizer", (16, 8)), "graph", "cpu")
    images = torch.rand(2, 3, 16, 8) * 2 - 1
    parcels = Parcels()
    assert torch.equal(parcels.open(parcels.close(network))(images), network(images))


def test_recovered_files_are_those_of_one_machine(weights, raw, in_process, tmp_path, capsys):
    ray = in_process()
    protected = tmp_path / "protected"
    assert anonymize("--weights", weights, "--input", raw, "--output", protected) == 0
    capsys.readouterr()
    words = ["--key", weights, "--input", protected, "--batch-size", 3, "--verify", raw]
    assert recover(*words, "--output", tmp_path / "one") == 0
    one = capsys.readouterr().out
    assert recover(*words, "--engine", "ray", "--output", tmp_path / "many") == 0
    assert contents(tmp_path / "many") == contents(tmp_path / "one") and len(ray.results) > 2
    assert capsys.readouterr().out.replace("many", "one") == one


def test_noise_and_what_is_sealed_keep_their_promises(weights, raw, in_process, tmp_path, monkeypatch):
    """Noise has one key, that lies in the folder until the run ends; sealed originals open."""
    ray = in_process()
    drawn = bytes(range(32))
    monkeypatch.setattr(protected_files, "secrets", SimpleNamespace(token_bytes=lambda count: drawn[:count]))
    words = ["--method", "noise", "--input", raw]
    assert anonymize(*words, "--output", tmp_path / "one") == 0
    assert anonymize(*words, "--engine", "ray", "--output", tmp_path / "many") == 0
    assert contents(tmp_path / "one") == contents(tmp_path / "many")
    travelled = pickle.dumps([ray.stored, ray.arguments, ray.results])
    assert drawn not in travelled
    monkeypatch.undo()
    in_process()
    public, private = new_identity(tmp_path / "keys", None)
    words = ["--method", "blur", "--input", raw, "--seal", public, "--carry", "pixels"]
    assert anonymize(*words, "--engine", "ray", "--output", tmp_path / "sealed") == 0
    assert recover("--identity", private, "--input", tmp_path / "sealed", "--output", tmp_path / "raw") == 0
    assert contents(tmp_path / "raw") == contents(raw)


def test_the_guard_tells_what_it_did_on_all_nodes(weights, raw, in_process, tmp_path, capsys):
    words = ["--weights", weights, "--input", raw, "--batch-size", 3]
    in_process()
    assert anonymize(*words, "--output", tmp_path / "one") == 0
    one = [line for line in capsys.readouterr().out.splitlines() if line.startswith("guard")]
    assert anonymize(*words, "--engine", "ray", "--output", tmp_path / "many") == 0
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("guard")] == one != []


# -- what travels --------------------------------------------------------------------------------------------


def test_no_pixels_names_or_keys_travel_in_the_clear(weights, raw, in_process, tmp_path):
    """What Ray gets: closed parcels, their key, and figures."""
    ray = in_process()
    (tmp_path / "key").write_bytes(secret := os.urandom(32))
    words = ["--weights", weights, "--pseudonymize", tmp_path / "key", "--input", raw, "--batch-size", 3]
    assert anonymize(*words, "--engine", "ray", "--output", tmp_path / "out") == 0
    assert len(ray.stored) == 1 and len(ray.arguments) == len(ray.results) > 2
    everything = pickle.dumps([ray.stored, ray.arguments, ray.results])
    tensors = torch.load(weights, weights_only=True)["model"]
    weight = tensors["anonymizer.up.0.0.weight"].numpy().tobytes()[:64]
    names = [path.name.encode() for path in raw.rglob("*.png")]
    names += [path.encode() for path in read_manifest(tmp_path / "out" / MANIFEST).entries]
    for told in (secret, weight, b".png", *names):
        assert told not in everything
    # opened, there are names and lines, and neither a raw pixel nor the key of the pseudonyms
    key = ray.arguments[0][1]
    opened = pickle.dumps([Parcels(key).open(shard) for _, _, shard in ray.arguments])
    task = Parcels(key).open(ray.stored[0])
    made = Parcels(key).open(task.make).again
    assert names[0] in opened and isinstance(made.__self__.image_map, ImageMap)
    for path in raw.rglob("*.png"):
        with Image.open(path) as picture:
            row = np.asarray(picture)[5].tobytes()
        assert row not in opened and path.read_bytes()[-64:] not in opened
    assert secret not in opened and made.__self__.options.pseudonym_key is None
    assert secret not in pickle.dumps(vars(made.__self__.options))
    assert all(isinstance(Parcels(key).open(result), worker_module.Done) for result in ray.results)
    # the recovery decoder is not part of what protects
    assert tensors["recovery.up.0.0.weight"].numpy().tobytes()[:64] not in task.make
    assert not [name for name in made.__self__.image_map.state_dict() if "recovery" in name]


# -- what is lost, and what is refused -----------------------------------------------------------------------


def test_shards_of_lost_processes_are_done_again_batch_by_batch(weights, raw, in_process, tmp_path):
    def lose(number):
        if number in (1, 2):
            folder = tmp_path / "many" / "cam 1"
            folder.mkdir(exist_ok=True)
            (folder / f".pérson 01.png.{number}.unfinished").write_bytes(b"what a killed process leaves")
            raise Lost

    ray = in_process(before=lose)
    words = ["--weights", weights, "--input", raw, "--batch-size", 2, "--device", "cpu"]
    assert anonymize(*words, "--output", tmp_path / "one") == 0
    assert anonymize(*words, "--engine", "ray", "--output", tmp_path / "many") == 0
    assert contents(tmp_path / "many") == contents(tmp_path / "one")
    shards = [Parcels(key).open(shard) for _, key, shard in ray.arguments]
    assert {shard.tries for shard in shards} == {0, 1}
    assert all(len(shard.left.batches) == 1 for shard in shards if shard.tries)
    assert len(ray.results) == len(shards) - 2
    assert ray.most <= 2 * 2  # a task that runs and one that waits, for each place


def test_files_that_end_every_process_are_named_and_the_rest_goes_on_later(
    raw, in_process, tmp_path, capsys, monkeypatch
):
    bad = sorted(raw.rglob("*.png"))[4]
    work_on = worker_module.work_on

    def deadly(task, key, shard):
        if bad.relative_to(raw).as_posix() in Parcels(key).open(shard).names:
            raise Lost
        return work_on(task, key, shard)

    monkeypatch.setattr(tasks_module, "work_on", deadly)
    ray = in_process()
    words = ["--method", "blur", "--input", raw, "--engine", "ray", "--output", tmp_path / "out"]
    assert anonymize(*words) == 2
    said = capsys.readouterr().err
    assert f"3 processes ended while they worked on {bad.relative_to(raw).as_posix()} (" in said
    assert "Traceback" not in said
    tries = [Parcels(key).open(shard) for _, key, shard in ray.arguments]
    assert sum(bad.relative_to(raw).as_posix() in shard.names for shard in tries) == 3
    monkeypatch.setattr(tasks_module, "work_on", work_on)
    assert anonymize(*words) == 0
    assert anonymize(*words[:4], "--output", tmp_path / "one") == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "one")


@pytest.mark.parametrize("continued_by", ["ray", "threads"])
@pytest.mark.parametrize("method", ["learned", "noise"])
def test_a_killed_run_is_continued_by_either_engine(
    weights, raw, in_process, tmp_path, monkeypatch, stream_keys, method, continued_by
):
    def interrupt(number):
        if number == 2:
            raise KeyboardInterrupt

    out = tmp_path / "many"
    words = ["--weights", weights] if method == "learned" else ["--method", "noise"]
    words += ["--input", raw, "--batch-size", 2]
    in_process(before=interrupt)
    assert anonymize(*words, "--engine", "ray", "--output", out) == 130
    shards = list((out / SHARDS).iterdir())
    made = {path for path in contents(out) if path.endswith(".png")}
    assert shards and 0 < len(made) < IMAGES and not (out / MANIFEST).exists()
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in shards)  # they have stamps
    key = (out / protected_files.NOISE_KEY).read_bytes() if method == "noise" else b""
    times = {path: (out / path).stat().st_mtime_ns for path in made}
    in_process()
    assert anonymize(*words, "--engine", continued_by, "--output", out) == 0
    assert times.items() <= {path: (out / path).stat().st_mtime_ns for path in contents(out)}.items()
    monkeypatch.setattr(protected_files.secrets, "token_bytes", lambda count: key[:count])
    assert anonymize(*words, "--output", tmp_path / "one") == 0
    assert contents(out) == contents(tmp_path / "one")
    assert not (out / SHARDS).exists()


def test_the_rules_of_a_run_hold_on_a_cluster(weights, raw, in_process, tmp_path, capsys):
    in_process()
    out = tmp_path / "out"
    ray = ["--engine", "ray", "--output", out]
    with run_module.open_output(out, {}):
        assert anonymize("--method", "blur", "--input", raw, *ray) == 2
        assert "another run writes to" in capsys.readouterr().err
    out.rmdir()
    out.mkdir()
    (out / "other").write_text("of somebody else")
    assert anonymize("--method", "blur", "--input", raw, *ray) == 2
    assert "is not empty, and no earlier run wrote it" in capsys.readouterr().err
    (out / "other").unlink()
    assert anonymize("--method", "blur", "--input", raw, *ray) == 0
    assert anonymize("--method", "pixelate", "--input", raw, *ray) == 2
    assert "was made otherwise" in capsys.readouterr().err


def test_replaced_sources_are_named_or_renewed_and_damaged_ones_named(raw, in_process, tmp_path, capsys):
    in_process()
    some = shutil.copytree(raw, tmp_path / "raw")
    first, second, third, *_ = sorted(some.rglob("*.png"))
    words = ["--method", "blur", "--input", some, "--engine", "ray", "--output", tmp_path / "out"]
    damaged = third.read_bytes()
    third.write_bytes(damaged[:200])
    assert anonymize(*words) == 2
    assert third.relative_to(some).as_posix() in capsys.readouterr().err
    third.write_bytes(damaged)
    assert anonymize(*words) == 0
    before = contents(tmp_path / "out")
    Image.fromarray(np.random.default_rng(9).integers(0, 256, (40, 20, 3), np.uint8)).save(first)
    os.utime(second, (1, 1))  # of another time, and the same
    capsys.readouterr()
    assert anonymize(*words) == 2
    said = capsys.readouterr().err
    assert first.name in said and second.name not in said
    after = contents(tmp_path / "out")
    assert {path for path in before if before[path] != after[path]} <= {STAMPS}
    assert anonymize(*words, "--renew") == 0
    assert anonymize(*words[:4], "--output", tmp_path / "one") == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "one")


# -- faults of nodes -----------------------------------------------------------------------------------------


def refusal(capsys, *words):
    assert anonymize(*words) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said and said.count("error:") == 1
    return said


def test_faults_of_nodes_are_told_in_one_message(raw, in_process, tmp_path, capsys, monkeypatch):
    words = ["--method", "blur", "--input", raw, "--engine", "ray", "--output", tmp_path / "out"]
    ray = in_process()

    def unmounted(number):
        for file in (tmp_path / "out").glob(".manifest.journal"):
            file.unlink()

    ray.before = unmounted
    assert "does not see --output" in refusal(capsys, *words)
    assert not list((tmp_path / "out").rglob("*.png"))
    for item in (tmp_path / "out").iterdir():
        item.unlink()
    ray = in_process()
    here = worker_module.versions()

    def others(number):
        monkeypatch.setattr(worker_module, "versions", lambda: {**here, "torch": "1.0"})

    ray.before = others
    said = refusal(capsys, *words)
    assert "has torch 1.0, and the run was started with" in said and here["torch"] in said
    monkeypatch.setattr(worker_module, "versions", lambda: here)

    def broken(path, largest):
        if path.name.endswith("05.png"):
            raise ZeroDivisionError("a fault")
        return read(path, largest)

    read = protected_files.read_regular
    monkeypatch.setattr(protected_files, "read_regular", broken)
    in_process()
    said = refusal(capsys, *words)
    assert "ZeroDivisionError: a fault, at cam 1/pérson 05.png (node " in said
    monkeypatch.setattr(protected_files, "read_regular", read)
    in_process()
    assert anonymize(*words) == 0


def test_a_node_without_the_input_is_named(raw, in_process, tmp_path, capsys):
    some = shutil.copytree(raw, tmp_path / "raw")
    in_process(before=lambda number: shutil.rmtree(some))
    words = ["--method", "blur", "--input", some, "--engine", "ray", "--output", tmp_path / "out"]
    assert "sees none of" in refusal(capsys, *words)


def test_what_no_node_can_do_is_refused(raw, in_process, tmp_path, capsys, monkeypatch):
    words = ["--method", "blur", "--input", raw, "--engine", "ray", "--output", tmp_path / "out"]
    in_process(nodes=[{"CPU": 2.0}, {"CPU": 1.0}])
    assert "no node of the cluster has 3 cores" in refusal(capsys, *words, "--workers", 3)
    monkeypatch.setattr(tasks_module, "PATIENCE_SECONDS", -1.0)
    assert "no node of the cluster has 3 cores" in refusal(capsys, *words, "--workers", 3, "--address", "a:1")


def test_nodes_that_leave_after_the_last_task_are_not_missed(raw, in_process, tmp_path, monkeypatch):
    ray = in_process()
    done = ray.get

    def leave(reference):
        result = done(reference)
        if not ray.waiting:
            ray.alive.clear()
        return result

    monkeypatch.setattr(ray, "get", leave)
    words = ["--method", "blur", "--input", raw, "--engine", "ray", "--output", tmp_path / "out"]
    assert anonymize(*words) == 0


def test_gpus_are_taken_where_a_network_can_use_them(weights, raw, in_process, tmp_path, capsys):
    words = ["--input", raw, "--engine", "ray", "--output"]
    ray = in_process()
    assert "no node of the cluster has a GPU" in refusal(
        capsys, "--weights", weights, *words, tmp_path / "a", "--device", "cuda"
    )
    assert "chooses the GPU" in refusal(
        capsys, "--weights", weights, *words, tmp_path / "a", "--device", "cuda:1"
    )
    ray = in_process(nodes=[{"CPU": 8.0, "GPU": 2.0}])

    def asked(number):
        raise Lost

    ray.before = asked
    assert anonymize("--weights", weights, *words, tmp_path / "b") == 2
    assert ray.asked == [{"num_cpus": 1, "num_gpus": 1, "max_retries": 0}]
    ray = in_process(nodes=[{"CPU": 8.0, "GPU": 2.0}])
    assert anonymize("--weights", weights, *words, tmp_path / "b", "--device", "cpu", "--workers", 2) == 0
    assert ray.asked == [{"num_cpus": 2, "num_gpus": 0, "max_retries": 0}]


def test_options_that_do_not_go_together(weights, raw, tmp_path, capsys):
    out = ["--output", tmp_path / "out"]
    words = ["--method", "blur", "--input", raw, *out]
    assert "--address goes with --engine ray" in refusal(capsys, *words, "--address", "auto")
    (tmp_path / "video.mkv").write_bytes(b"")
    words = ["--method", "blur", "--input", tmp_path / "video.mkv", *out, "--engine", "ray"]
    assert "not a video" in refusal(capsys, *words)
    _, private = new_identity(tmp_path / "keys", None)
    assert recover("--identity", private, "--input", raw, *out, "--engine", "ray") == 2
    assert "not sealed originals" in capsys.readouterr().err


@pytest.mark.parametrize("tries", [1, 5])
def test_a_tar_file_is_one_task(raw, in_process, tmp_path, capsys, tries):
    lost = []

    def lose(number):
        if number == 1 or (lost and tries > 1 and len(lost) < tries):
            lost.append(number)
            raise Lost

    ray = in_process(before=lose)
    words = ["--method", "noise", "--input", raw, "--tars", 4, "--output"]
    code = anonymize(*words, tmp_path / "many", "--engine", "ray")
    if tries > 1:
        said = capsys.readouterr().err
        assert code == 2 and "3 processes ended while they worked on" in said
        in_process()
        assert anonymize(*words, tmp_path / "many", "--engine", "ray") == 0
    else:
        assert code == 0 and len(ray.arguments) == 5  # four tars, one of them twice
    manifest = read_manifest(tmp_path / "many" / MANIFEST)
    assert len(manifest.entries) == IMAGES and not manifest.failed
    assert sorted(path.name for path in (tmp_path / "many").glob("*.tar")) == [
        f"{number:06d}.tar" for number in range(4)
    ]
    words[1] = "blur"
    in_process()
    assert anonymize(*words, tmp_path / "blur", "--engine", "ray") == 0
    assert anonymize(*words, tmp_path / "one") == 0
    assert contents(tmp_path / "blur") == contents(tmp_path / "one")


# -- three nodes ---------------------------------------------------------------------------------------------


GATED = """
import os, time
from fastreid_privacy.desensitize import DESENSITIZER_REGISTRY, operations

@DESENSITIZER_REGISTRY.register()
def gated(images):
    open(os.path.join({folder!r}, f"began-{{os.getpid()}}"), "w").close()
    end = time.monotonic() + {patience}
    while not os.path.exists(os.path.join({folder!r}, "open")) and time.monotonic() < end:
        time.sleep(0.05)
    return operations.pixelate(images, 8)
"""

# seconds until all nodes have begun, each with an import of torch: a busy machine is no failure
PATIENCE = 300


class Gate:
    """An operator waits at it, so that each node is in the middle of a file when one of them ends.

    Args:
        folder: for the gate and for the project that registers the operator ``gated``.
        cluster: of three nodes.
    """

    def __init__(self, folder, cluster):
        self.gate, self.project, self.cluster = folder / "gate", folder / "project", cluster
        self.gate.mkdir()
        package = self.project / "gated_operator"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(GATED.format(folder=str(self.gate), patience=PATIENCE + 60))

    @property
    def begun(self):
        """How many processes have come to it."""
        return len(list(self.gate.glob("began-*")))

    @contextmanager
    def killing(self):
        """Meanwhile a node is killed, when all three wait, and the gate opened."""

        def kill_a_node():
            end = time.monotonic() + PATIENCE
            while self.begun < 3 and time.monotonic() < end:
                time.sleep(0.05)
            self.cluster.remove_node(next(iter(self.cluster.worker_nodes)), allow_graceful=False)
            (self.gate / "open").touch()

        killer = threading.Thread(target=kill_a_node)
        killer.start()
        yield
        killer.join()


@pytest.fixture
def kept_parcels(monkeypatch):
    """Key and content of each parcel that is closed here."""
    parcels = []

    class Kept(Parcels):
        def close(self, content):
            parcels.append((self.key, content))
            return super().close(content)

    monkeypatch.setattr(tasks_module, "Parcels", Kept)
    return parcels


def found_on_nodes(folder, secrets):
    """Which of some secrets are in logs, sockets, or what is spilled."""
    told = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    assert any(b"raylet" in content for content in told)
    return [secret for secret in secrets for content in told if secret in content]


def test_a_killed_node_loses_nothing_and_no_disk_of_a_node_tells_anything(
    raw, three_nodes, own_imports, tmp_path, monkeypatch, capsys, kept_parcels
):
    cluster, folder = three_nodes
    gate, again, lost = Gate(tmp_path, cluster), Cutter.again, []
    (tmp_path / "key").write_bytes(os.urandom(32))
    words = ["--method", "gated", "--project", gate.project, "--input", raw]
    words += ["--pseudonymize", tmp_path / "key"]
    monkeypatch.setattr(Cutter, "again", lambda self, shard: lost.append(shard) or again(self, shard))
    address = ["--engine", "ray", "--address", cluster.address]
    with gate.killing():
        assert anonymize(*words, *address, "--output", tmp_path / "many") == 0
    assert gate.begun >= 3 and lost  # what the node had
    assert anonymize(*words, "--output", tmp_path / "one") == 0
    assert contents(tmp_path / "many") == contents(tmp_path / "one")
    assert "Traceback" not in capsys.readouterr().err
    # neither names nor keys, and no raw pixels
    secrets = [path.name.encode() for path in raw.rglob("*.png")]
    secrets += [path.encode() for path in contents(tmp_path / "one") if path.endswith(".png")]
    secrets += [path.read_bytes()[-64:] for path in raw.rglob("*.png")]
    secrets += [kept_parcels[0][0], kept_parcels[0][0].hex().encode(), (tmp_path / "key").read_bytes()]
    assert not found_on_nodes(folder, secrets)


def test_the_nodes_that_are_left_work_on_a_store(weights, raw, three_nodes, s3, tmp_path):
    cluster, _ = three_nodes
    s3.create_bucket(Bucket="crops")
    for path, content in contents(raw).items():
        s3.put_object(Bucket="crops", Key=f"raw/{path}", Body=content)
    words = ["--weights", weights, "--batch-size", 4, "--device", "cpu"]
    address = ["--engine", "ray", "--address", cluster.address]
    assert anonymize(*words, "--input", raw, "--output", tmp_path / "one") == 0
    assert anonymize(*words, *address, "--input", "s3://crops/raw", "--output", "s3://crops/out") == 0
    many = {path: file.read_bytes() for path, file in place_of("s3://crops/out").files_below().files.items()}
    one = contents(tmp_path / "one")
    assert many.keys() == one.keys()
    assert {path for path in one if one[path] != many[path]} == {STAMPS}  # of times, which differ
    build = ["build", *words, "--gallery", "s3://crops/raw", "--index"]
    assert (
        retrieve(*build, tmp_path / "one.index") == retrieve(*build, tmp_path / "many.index", *address) == 0
    )
    assert (tmp_path / "one.index").read_bytes() == (tmp_path / "many.index").read_bytes()
    assert len(read_index(tmp_path / "many.index").paths) == IMAGES


def test_a_killed_node_loses_no_features(raw, three_nodes, own_imports, tmp_path, capsys, kept_parcels):
    cluster, folder = three_nodes
    while len(cluster.worker_nodes) < 2:  # others have killed some
        cluster.add_node(**NODE)
    gate = Gate(tmp_path, cluster)
    load_projects([gate.project])
    weights = tmp_path / "gated.pth"
    options = {"PRIVACY.PROTECTION": "conventional", "PRIVACY.DESENSITIZER.NAME": "gated"}
    cfg = load_config(SMALL_CONFIG, small_options("", **options, **{"MODEL.HEADS.NUM_CLASSES": 4}))
    torch.save({"model": build_model(cfg).state_dict(), "config": cfg.dump()}, weights)
    words = ["build", "--weights", weights, "--protect", "--gallery", raw, "--batch-size", 3]
    words += ["--project", gate.project, "--index"]
    with gate.killing():
        assert retrieve(*words, tmp_path / "many", "--engine", "ray", "--address", cluster.address) == 0
    again = [content for _, content in kept_parcels if getattr(content, "tries", 0)]
    assert gate.begun >= 3 and again  # what the node had
    assert retrieve(*words, tmp_path / "one") == 0
    assert (tmp_path / "many").read_bytes() == (tmp_path / "one").read_bytes()
    assert "Traceback" not in capsys.readouterr().err
    index = read_index(tmp_path / "one")
    assert index.protected and len(index.paths) == IMAGES
    features = stored_features(index.searched)
    secrets = [path.name.encode() for path in raw.rglob("*.png")] + [kept_parcels[0][0]]
    assert not found_on_nodes(folder, secrets + [row.tobytes()[:16] for row in features])


def test_no_cluster_at_an_address_is_one_message(raw, tmp_path, capsys, monkeypatch):
    def init(address, **options):
        raise ConnectionError("Could not\nfind any running Ray instance")

    monkeypatch.setattr(nodes_module, "ray", SimpleNamespace(init=init))
    words = ["--method", "blur", "--input", raw, "--engine", "ray", "--output", tmp_path / "out"]
    said = refusal(capsys, *words, "--address", "127.0.0.1:1")
    assert "no cluster answers at --address 127.0.0.1:1 (Could not find any running Ray instance)" in said
    assert "Ray does not start here" in refusal(capsys, *words)


def test_the_key_of_noise_is_there_before_the_first_task(raw, in_process, tmp_path):
    seen = []

    def before(number):
        seen.append((tmp_path / "out" / protected_files.NOISE_KEY).read_bytes())

    in_process(before=before)
    words = ["--method", "noise", "--input", raw, "--engine", "ray", "--output", tmp_path / "out"]
    assert anonymize(*words) == 0
    assert len(seen) > 1 and len(set(seen)) == 1
    assert not (tmp_path / "out" / protected_files.NOISE_KEY).exists()
