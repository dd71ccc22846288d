"""Files that run code, unpack themselves or write files while they are read, are damaged, or ask for too
much: refused at every place that reads one."""

from __future__ import annotations

from conftest import SMALL_CONFIG, small_options  # before fastreid: importing the package makes it work

# isort: split
import io
import os
import pickle
import random
import re
import shutil
import tarfile
import time
import warnings
import zipfile

import pytest
import torch
from onnx import TensorProto, helper
from rendered_video import write_video
from safetensors.torch import save
from torch import nn

import fastreid_privacy
from fastreid_privacy.checkpoints.onnx_runtime import OnnxNetwork
from fastreid_privacy.checkpoints.reading import read_checkpoint, read_safetensors
from fastreid_privacy.checkpoints.splitting import split_checkpoint
from fastreid_privacy.commands.main import main
from fastreid_privacy.compat.checkpoints import load_safely
from fastreid_privacy.config import changed, parse_config
from fastreid_privacy.human_study.score import read_answers, read_key
from fastreid_privacy.keys.sealing import read_identity, read_public_key
from fastreid_privacy.results.results_json import read_results
from fastreid_privacy.results.training_log import read_metrics
from fastreid_privacy.retrieval import load_extractor


class Writes(nn.Module):
    """As TorchScript, it writes a file when it is read."""

    def __init__(self, proof: str):
        super().__init__()
        self.proof = proof

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images

    @torch.jit.export
    def __getstate__(self):
        return (self.training, self.proof)

    @torch.jit.export
    def __setstate__(self, state: tuple[bool, str]):
        self.training = state[0]
        self.proof = state[1]
        torch.save(torch.ones(1), self.proof)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """A TorchScript archive, and the file that it writes when torch reads it."""
    folder = tmp_path_factory.mktemp("archive")
    proof, path = folder / "it_ran", folder / "model.pth"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.save(torch.jit.script(Writes(str(proof))), str(path))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.load(path, weights_only=False)
    assert proof.exists()  # the attack works where nothing stops it
    proof.unlink()
    return path, proof


@pytest.fixture(scope="module")
def pictures(small_dataset):
    return next(small_dataset.glob("*/bounding_box_test"))


def train(output, flags=(), **keys):
    return ["train", *flags, "--config-file", str(SMALL_CONFIG), *small_options(output, **keys)]


def words_of(entry, file, pictures, folder, small_run):
    """The command line that reads ``file`` at an entry."""
    out, protected = folder / "out", folder / "protected"
    if entry == "resume":
        run = folder / "run"
        shutil.copytree(small_run, run)
        for path in [*run.glob("results*.json"), *run.glob("*.pth")]:
            path.unlink()
        shutil.copy(file, run / "model_0000.pth")
        return train(run, ["--resume"])
    if entry == "recover":
        protected.mkdir()
        weights = small_run / "model_best.pth"
        protect = ["anonymize", "--weights", weights, "--input", pictures, "--output", protected]
        assert main([str(word) for word in protect]) == 0
    if entry == "detector":
        frames = torch.zeros(2, 64, 64, 3, dtype=torch.uint8).numpy()
        video = write_video(folder / "video.mkv", frames)
        detector = ["--detector", file, "--detector-model", "ssdlite320_mobilenet_v3_large"]
        protect = ["anonymize", "--weights", small_run / "model_best.pth", "--input", video, "--output", out]
        return [*protect, *detector]
    return {
        "anonymize": ["anonymize", "--weights", file, "--input", pictures, "--output", out],
        "export": ["export", "--weights", file, "--output", out, "--unencrypted"],
        "retrieve": ["retrieve", "build", "--weights", file, "--gallery", pictures, "--index", out],
        "recover": ["recover", "--key", file, "--input", protected, "--output", out],
        "test": ["test", *train(out, **{"MODEL.WEIGHTS": file})[1:]],
        "MODEL.WEIGHTS": train(out, **{"MODEL.WEIGHTS": file}),
        "PRETRAIN_PATH": train(
            out, **{"MODEL.BACKBONE.PRETRAIN": True, "MODEL.BACKBONE.PRETRAIN_PATH": file}
        ),
        "LPIPS_WEIGHTS": train(out, **{"TEST.LPIPS_WEIGHTS": file}),
    }[entry]


ENTRIES = (
    "anonymize",
    "export",
    "retrieve",
    "recover",
    "detector",
    "test",
    "MODEL.WEIGHTS",
    "PRETRAIN_PATH",
    "LPIPS_WEIGHTS",
    "resume",
)


@pytest.mark.parametrize("entry", ENTRIES)
def test_no_command_runs_a_torchscript_archive(entry, archive, pictures, small_run, tmp_path, capfd):
    file, proof = archive
    words = [str(word) for word in words_of(entry, file, pictures, tmp_path, small_run)]
    capfd.readouterr()
    assert main(words) == 2
    said = capfd.readouterr().err
    assert "TorchScript" in said and "Traceback" not in said
    assert (str(file) if entry != "resume" else "model_0000.pth") in said
    assert not proof.exists()


@pytest.mark.parametrize("records", [["constants.pkl"], ["code/__torch__.py"]])
def test_each_record_of_a_program_is_refused(tmp_path, records):
    """Also in an archive that is otherwise a checkpoint, whatever its top folder is called."""
    torch.save({"model": {"weight": torch.ones(2)}}, tmp_path / "good.pth")
    with zipfile.ZipFile(tmp_path / "good.pth") as good, zipfile.ZipFile(tmp_path / "bad.pth", "w") as bad:
        for name in good.namelist():
            bad.writestr(f"x y/{name.partition('/')[2]}", good.read(name))
        assert load_safely(tmp_path / "good.pth")
        for name in records:
            bad.writestr(f"x y/{name}", b"\x80\x02).")
    with pytest.raises(pickle.UnpicklingError, match="TorchScript"):
        load_safely(tmp_path / "bad.pth")


def test_tar_archives_are_not_unpacked(tmp_path):
    """torch's reader of them gives a file that a link leads to the mode that the archive says."""
    mine = tmp_path / "mine"
    mine.write_text("private")
    mine.chmod(0o600)
    with tarfile.open(tmp_path / "old.pth", "w") as archive:
        for name in ("storages", "tensors", "pickle"):
            member = tarfile.TarInfo(name)
            if name == "storages":
                member.type, member.linkname, member.mode = tarfile.LNKTYPE, str(mine), 0o666
            archive.addfile(member, io.BytesIO())
    with pytest.raises(pickle.UnpicklingError, match="tar archive"):
        load_safely(tmp_path / "old.pth")
    assert mine.stat().st_mode & 0o777 == 0o600


def test_an_exception_without_text_is_named(tmp_path):
    """A pickle that ends at once: EOFError, with nothing to say."""
    (tmp_path / "cut.pth").write_bytes(b"\x80\x02")
    with pytest.raises(fastreid_privacy.UserError, match=r"cut\.pth is damaged or no checkpoint \(\w+"):
        fastreid_privacy.load_anonymizer(tmp_path / "cut.pth", "cpu")


# -- damage --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def parts(small_run, tmp_path_factory):
    """The files of ``tools/export.py --onnx --unencrypted``."""
    folder = tmp_path_factory.mktemp("parts")
    return split_checkpoint(small_run / "model_best.pth", folder, None, onnx=True)


def flipped(content, position, bit=0):
    changed = bytearray(content)
    changed[position] ^= 1 << bit
    return bytes(changed)


@pytest.mark.parametrize("part", ["anonymizer", "recovery", "anonymizer_onnx", "recovery_onnx"])
def test_a_changed_bit_anywhere_is_refused(parts, tmp_path, part):
    """In tensors, names, the config and the metadata."""
    load = fastreid_privacy.load_recovery if "recovery" in part else fastreid_privacy.load_anonymizer
    load(parts[part], "cpu")
    content, path = parts[part].read_bytes(), tmp_path / parts[part].name
    rng = random.Random(0)
    positions = [rng.randrange(len(content)) for _ in range(30)]
    for marker in (b"PIXEL_MEAN", b"fingerprint", b"STORAGE: png"):
        positions.append(content.index(marker) + len(marker) - 1)
    for position in positions:
        path.write_bytes(flipped(content, position, rng.randrange(8)))
        with pytest.raises(fastreid_privacy.UserError, match=str(path)):
            load(path, "cpu")


def test_files_without_a_checksum_load_as_before(parts, tmp_path):
    """Of version 0.1.0: the anonymizer's fingerprint is compared with what its tensors have."""
    for part, load in (
        ("anonymizer", fastreid_privacy.load_anonymizer),
        ("recovery", fastreid_privacy.load_recovery),
    ):
        about = read_safetensors(parts[part].read_bytes())
        tensors = about.pop("model")
        assert about.pop("sha256")
        path = tmp_path / f"{part}.safetensors"
        path.write_bytes(save(tensors, metadata={**about, "format": "fastreid_privacy"}))
        assert load(path, "cpu").fingerprint == about["fingerprint"]
    damaged = flipped((tmp_path / "anonymizer.safetensors").read_bytes(), -5)
    (tmp_path / "anonymizer.safetensors").write_bytes(damaged)
    with pytest.raises(
        fastreid_privacy.UserError, match=r"anonymizer\.safetensors is damaged: .*fingerprint"
    ):
        fastreid_privacy.load_anonymizer(tmp_path / "anonymizer.safetensors", "cpu")


def test_a_changed_tensor_of_a_pth_is_refused(parts, tmp_path):
    """The archive's checksums are compared at every read."""
    content, path = parts["reid"].read_bytes(), tmp_path / "reid.pth"
    first = max(read_checkpoint(parts["reid"])["model"].values(), key=torch.Tensor.numel)
    path.write_bytes(flipped(content, content.index(first.numpy().tobytes()) + 1))
    for read in (read_checkpoint, fastreid_privacy.load_anonymizer):
        with pytest.raises(fastreid_privacy.UserError, match=r"reid\.pth is damaged .*checksum"):
            read(path)


# -- what asks for too much ----------------------------------------------------------------------------------

DEEP = ["[" * 4000, "[" * 500 + "]" * 500, '{"a":' * 500 + "1" + "}" * 500, "[" * 100_000]


@pytest.mark.parametrize("text", DEEP, ids=["open", "lists", "objects", "many"])
def test_deep_brackets_are_refused(tmp_path, text):
    """In a key's header, results.json, and the key and answers of a study."""
    readers = {
        "recovery.key": lambda path: fastreid_privacy.load_recovery(path, "cpu", lambda: "pass"),
        "results.json": read_results,
        "key.json": lambda path: read_key(path.parent),
        "answers.json": lambda path: read_answers([path], {}),
    }
    for name, read in readers.items():
        (tmp_path / name).write_text(text + "\n")
        with pytest.raises(fastreid_privacy.UserError, match=re.escape(name)):
            read(tmp_path / name)
    (tmp_path / "metrics.json").write_text(text + '\n{"iteration": 3}\n')
    assert read_metrics(tmp_path / "metrics.json") == [{"iteration": 3}]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("PRIVACY.ANONYMIZER.DEPTH", 1_000_000),
        ("PRIVACY.ANONYMIZER.DEPTH", 17),
        ("PRIVACY.ANONYMIZER.WIDTH", 100_000),
        ("PRIVACY.ANONYMIZER.WIDTH", 0),
        ("PRIVACY.DISCRIMINATOR.WIDTH", 100_000),
    ],
)
def test_networks_of_a_carried_config_are_bounded(small_run, tmp_path, monkeypatch, key, value):
    """Before anything is built: 100,000 channels are terabytes."""
    content = read_checkpoint(small_run / "model_best.pth")
    config = changed(parse_config(content["config"], ""), {key: value}).dump()
    torch.save({**content, "config": config}, tmp_path / "large.pth")

    def build(self, in_channels, out_channels, *rest, **options):
        assert max(in_channels, out_channels) < 10_000
        return convolution(self, in_channels, out_channels, *rest, **options)

    convolution = nn.Conv2d.__init__
    monkeypatch.setattr(nn.Conv2d, "__init__", build)
    load = fastreid_privacy.load_anonymizer if "ANONYMIZER" in key else load_extractor
    with pytest.raises(fastreid_privacy.UserError, match=key.rpartition(".")[0].replace(".", r"\.")):
        load(tmp_path / "large.pth", "cpu")


@pytest.mark.parametrize("device", ["meta", "mps", "xpu"])
def test_devices_that_map_no_images(device, pictures, small_run, tmp_path, capfd):
    weights = small_run / "model_best.pth"
    for words in (
        ["anonymize", "--weights", weights, "--input", pictures, "--output", tmp_path / "out"],
        ["retrieve", "build", "--weights", weights, "--gallery", pictures, "--index", tmp_path / "out"],
    ):
        assert main([*map(str, words), "--device", device]) == 2
        said = capfd.readouterr().err
        assert "auto, cpu, cuda or cuda:N" in said and "Traceback" not in said
        assert not (tmp_path / "out").exists()
    with pytest.raises(fastreid_privacy.UserError, match=f"device is {device}.*auto, cpu, cuda or cuda:N"):
        fastreid_privacy.load_recovery(weights, device)


def edited(source, target, change):
    """A copy of a checkpoint whose content ``change`` has edited in place."""
    content = read_checkpoint(source)
    change(content)
    torch.save(content, target)
    return target


@pytest.mark.parametrize(
    "tensor",
    [
        lambda: torch.zeros(1).expand(2**40),
        lambda: torch.zeros(3, 3).to_sparse(),
        lambda: torch.empty(2**40, device="meta"),
    ],
    ids=["stride 0", "sparse", "meta"],
)
def test_tensors_that_announce_more_than_they_hold(tensor, small_run, tmp_path):
    """A few bytes of a file would become terabytes where such a tensor is copied."""
    path = edited(
        small_run / "model_best.pth", tmp_path / "hollow.pth", lambda it: it["model"].update(more=tensor())
    )
    with pytest.raises(fastreid_privacy.UserError, match=r"hollow\.pth is damaged"):
        fastreid_privacy.load_anonymizer(path, "cpu")


def test_compressed_and_doubled_parts_of_an_archive(small_run, tmp_path):
    """A gigabyte of zeros is a megabyte in a deflated archive."""
    with zipfile.ZipFile(small_run / "model_best.pth") as good:
        parts = {name: good.read(name) for name in good.namelist()}
    for said, how, names in (
        ("compressed", zipfile.ZIP_DEFLATED, list(parts)),
        ("twice", zipfile.ZIP_STORED, [*parts, next(iter(parts))]),
    ):
        with zipfile.ZipFile(tmp_path / "bad.pth", "w", how) as bad, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            for name in names:
                bad.writestr(name, parts[name])
        with pytest.raises(ValueError, match=said):
            load_safely(tmp_path / "bad.pth")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("INPUT.SIZE_TEST", [65536, 65536]),
        ("INPUT.SIZE_TEST", [0, 32]),
        ("INPUT.SIZE_TRAIN", [64]),
        ("MODEL.BACKBONE.FEAT_DIM", 10**9),
        ("MODEL.HEADS.EMBEDDING_DIM", 10**9),
        ("MODEL.HEADS.NUM_CLASSES", 10**9),
        ("DATALOADER.NUM_WORKERS", 2**31),
        ("MODEL.PIXEL_MEAN", [1e39, 0.0, 0.0]),
        ("MODEL.PIXEL_STD", [1.0, 1e39, 1.0]),  # infinite in float32: every image would be the same
        ("MODEL.PIXEL_STD", [1.0, 1.0, 0.0]),
    ],
)
def test_sizes_and_numbers_that_a_carried_config_may_not_have(key, value, small_run, tmp_path, capfd):
    """Nor may one on the command line."""

    def change(content):
        content["config"] = changed(parse_config(content["config"], ""), {key: value}).dump()

    path = edited(small_run / "model_best.pth", tmp_path / "large.pth", change)
    for load in (fastreid_privacy.load_anonymizer, load_extractor):
        with pytest.raises(fastreid_privacy.UserError, match=rf"large\.pth carries: {re.escape(key)} is"):
            load(path, "cpu")
    assert main(train(tmp_path / "out", **{key: value})) == 2
    assert f"error: {key} is" in capfd.readouterr().err


def graph_with(nodes, tensors):
    """A graph of images that asks for what ``nodes`` compute first."""
    nodes = [
        *nodes,
        helper.make_node("Cast", ["made"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["cast"], ["least"], keepdims=0),
        helper.make_node("Add", ["images", "least"], ["mapped"]),
    ]
    images, mapped = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3, 32, 16])
        for name in ("images", "mapped")
    )
    graph = helper.make_graph(nodes, "graph", [images], [mapped], tensors)
    opset = [helper.make_opsetid("", 20)]
    return helper.make_model(graph, opset_imports=opset, ir_version=10).SerializeToString()


def whole(name, values, shape):
    return helper.make_tensor(name, TensorProto.INT64, shape, values)


def test_a_graph_that_never_ends_is_refused():
    """Its memory is bounded, its time is not: nodes that repeat a graph are not run."""
    numbers = [
        helper.make_tensor_value_info(name, TensorProto.INT64, []) for name in ("trip", "n", "n_again")
    ]
    on, again = (helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("on", "on_again"))
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["on"], ["on_again"]),
            helper.make_node("Add", ["n", "n"], ["n_again"]),
        ],
        "body",
        [numbers[0], on, numbers[1]],
        [again, numbers[2]],
    )
    loop = helper.make_node("Loop", ["trips", "go", "none"], ["made"], body=body)
    go = helper.make_tensor("go", TensorProto.BOOL, [], [True])
    content = graph_with([loop], [whole("trips", [2**62], []), go, whole("none", [0], [])])
    with pytest.raises(fastreid_privacy.UserError, match=r"loop\.onnx has a node 'Loop'"):
        OnnxNetwork(content, "loop.onnx", "cpu")
    foreign = helper.make_node("FusedConv", ["images"], ["made"], domain="com.microsoft")
    with pytest.raises(fastreid_privacy.UserError, match=r"'FusedConv' of com\.microsoft"):
        OnnxNetwork(graph_with([foreign], []), "foreign.onnx", "cpu")


def test_a_graph_that_asks_for_all_memory_is_refused():
    for shape in ([10**4, 10**6], [2**40]):  # 40 GB, 4 TB
        made = helper.make_node("ConstantOfShape", ["size"], ["made"])
        content = graph_with([made], [whole("size", shape, [len(shape)])])
        with pytest.raises(fastreid_privacy.UserError, match=r"huge\.onnx is damaged or no graph"):
            OnnxNetwork(content, "huge.onnx", "cpu")
    small = graph_with([made], [whole("size", [10, 10], [2])])
    assert OnnxNetwork(small, "small.onnx", "cpu").size == (32, 16)


@pytest.mark.parametrize("special", ["pipe", "/dev/zero"])
def test_a_pipe_or_a_device_is_no_file(special, small_run, tmp_path):
    """Reading the one would wait, reading the other would not end."""
    readers = {
        "anonymizer.safetensors": fastreid_privacy.load_anonymizer,
        "anonymizer.onnx": fastreid_privacy.load_anonymizer,
        "recovery.key": lambda path: fastreid_privacy.load_recovery(path, "cpu", lambda: "pass"),
        "identity.pub": read_public_key,
        "identity.key": read_identity,
        "results.json": read_results,
        "key.json": lambda path: read_key(path.parent),
        "answers.json": lambda path: read_answers([path], {}),
    }
    for name, read in readers.items():
        path = tmp_path / name
        os.mkfifo(path) if special == "pipe" else path.symlink_to(special)
        with pytest.raises(fastreid_privacy.UserError, match=re.escape(name)):
            read(path)


def test_a_large_file_of_zeros_is_no_checkpoint_at_once(tmp_path):
    path = tmp_path / "zeros.pth"
    with path.open("wb") as file:
        file.truncate(20 * 2**30)  # sparse: it takes no room; looked through, it would take minutes
    start = time.process_time()
    with pytest.raises(fastreid_privacy.UserError, match=r"zeros\.pth is damaged or no checkpoint"):
        read_checkpoint(path)
    assert time.process_time() - start < 5
