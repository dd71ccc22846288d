"""ONNX graphs of every part, equal to torch under onnxruntime; the two tools with another runtime or
precision."""

from __future__ import annotations

from in_process import anonymize, export, recover

import fastreid_privacy  # before fastreid

# isort: split
import os
import random
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from test_collection import assert_decoded
from test_other_backbones import SMALLER, small_config
from torch import nn

from fastreid_privacy import load_anonymizer, load_recovery
from fastreid_privacy.checkpoints import splitting
from fastreid_privacy.checkpoints.onnx_export import image_graph
from fastreid_privacy.checkpoints.onnx_runtime import OnnxNetwork
from fastreid_privacy.checkpoints.reading import read_checkpoint
from fastreid_privacy.config import parse_config
from fastreid_privacy.core.errors import UserError
from fastreid_privacy.keys import encryption
from fastreid_privacy.manifest import read_manifest
from fastreid_privacy.retrieval import load_extractor
from fastreid_privacy.training.trainer import PrivacyTrainer

ROOT = Path(__file__).parents[1]
SIZE = (64, 32)
TOLERANCE = 1e-4  # images: in [−1, 1]; features: absolute, or of the largest value where that is above 1
BATCHES = (1, 3, 8)


@pytest.fixture(autouse=True, scope="module")
def cheap_scrypt():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encryption, "COST", {"n": 2**10, "r": 8, "p": 1})
        yield


@pytest.fixture(scope="module")
def plain(weights, tmp_path_factory):
    """The paths of every part, unencrypted."""
    return splitting.split_checkpoint(weights, tmp_path_factory.mktemp("plain"), None, onnx=True)


EXPORT = """
import sys
from fastreid_privacy.commands.export import main
from fastreid_privacy.keys import encryption
encryption.COST.update(n=2**10)  # as cheap_scrypt
sys.exit(main())
"""


@pytest.fixture(scope="module")
def exported(weights, tmp_path_factory):
    """(the finished process, its folder) of an export of every part, the recovery encrypted with "pass"."""
    folder = tmp_path_factory.mktemp("encrypted")
    words = ["--weights", weights, "--output", folder, "--passphrase-env", "PASS", "--onnx"]
    environment = {**os.environ, "PASS": "pass", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", EXPORT, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=True), folder


@pytest.fixture(scope="module")
def encrypted(exported):
    """The paths of every part, the recovery encrypted with "pass"."""
    names = {**splitting.FILES, **splitting.SECRET}
    return {part: exported[1] / name for part, name in names.items()}


@pytest.fixture(scope="module")
def raw(small_dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx") / "raw"
    folder.mkdir()
    for file in sorted(small_dataset.glob("*/query/*"))[:6]:
        shutil.copy(file, folder)
    return folder


def random_images(count: int, size=SIZE) -> torch.Tensor:
    return 255 * torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(count))


def graph(path, images: torch.Tensor) -> torch.Tensor:
    """The result of a graph's only output, with a session of onnxruntime's defaults."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()
    return torch.from_numpy(session.run(None, {taken.name: images.numpy()})[0])


def signature(path) -> list:
    model = onnx.load(path)
    onnx.checker.check_model(model)
    return [
        (
            value.name,
            [dim.dim_value or dim.dim_param for dim in value.type.tensor_type.shape.dim],
            value.type.tensor_type.elem_type,
        )
        for value in (*model.graph.input, *model.graph.output)
    ]


def pixels(path) -> np.ndarray:
    with Image.open(path) as file:
        return np.array(file).astype(int)


# -- graphs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", BATCHES)
def test_image_networks_are_torchs(weights, plain, count):
    images = random_images(count)
    for part, load in (("anonymizer", load_anonymizer), ("recovery", load_recovery)):
        expected = load(weights, "cpu").levels(images)
        found = graph(plain[f"{part}_onnx"], images)
        assert expected.std() > 10
        assert (found - expected).abs().max() / 127.5 < TOLERANCE
        assert (load(plain[f"{part}_onnx"], "cpu").levels(images) - expected).abs().max() / 127.5 < TOLERANCE


@pytest.mark.parametrize("count", BATCHES)
def test_features_are_torchs(weights, plain, count):
    images = random_images(count)
    expected = load_extractor(weights, "cpu")(images)
    found = graph(plain["reid_onnx"], images)
    assert found.shape == expected.shape == (count, 128)
    assert (found - expected).abs().max() < TOLERANCE


def test_inputs_and_outputs(plain):
    images, number = ["batch", 3, *SIZE], onnx.TensorProto.FLOAT
    assert signature(plain["anonymizer_onnx"]) == [("images", images, number), ("protected", images, number)]
    assert signature(plain["recovery_onnx"]) == [("protected", images, number), ("recovered", images, number)]
    assert signature(plain["reid_onnx"]) == [("images", images, number), ("features", ["batch", 128], number)]


@pytest.mark.parametrize("name", SMALLER)
def test_other_backbones(small_dataset, tmp_path, name):
    """Checkpoints of untrained models: only the arithmetic counts here."""
    torch.manual_seed(0)
    cfg = small_config(name, **{"PRIVACY.PROTECTION": "none", "MODEL.HEADS.NUM_CLASSES": 4})
    model = PrivacyTrainer.build_model(cfg).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1), module.running_var.uniform_(0.5, 2)
    torch.save({"model": model.state_dict(), "config": cfg.dump()}, tmp_path / "model.pth")
    written = splitting.split_checkpoint(tmp_path / "model.pth", tmp_path, None, onnx=True)
    assert set(written) == {"reid", "reid_onnx"}
    for count in BATCHES:
        images = random_images(count, cfg.INPUT.SIZE_TEST)
        with torch.no_grad():
            expected = model.reid_features(images.clone())
        found = graph(written["reid_onnx"], images)
        assert found.shape == expected.shape
        assert (found - expected).abs().max() < TOLERANCE * max(1.0, expected.abs().max())


class Untraceable(nn.Conv2d):
    def forward(self, images):
        return super().forward(images) + torch.linalg.svdvals(images).sum()


class OfTwo(nn.Conv2d):
    def forward(self, images):
        return super().forward(images).reshape(2, 3, *SIZE)


class Random(nn.Conv2d):
    def forward(self, images):
        return super().forward(images) + torch.rand_like(images)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Untraceable, "cannot be exported to ONNX"),
        (OfTwo, "cannot be exported to ONNX"),
        (Random, "gives other values under onnxruntime"),
    ],
)
def test_networks_that_cannot_be_graphs_are_named(network, message, capfd):
    with pytest.raises(UserError, match=f"the recovery {message}"):
        image_graph(network(3, 3, 1).eval(), "recovery", SIZE)
    assert capfd.readouterr() == ("", "")


# -- custody -------------------------------------------------------------------------------------------------


def test_no_graph_holds_anything_of_another_part_or_of_the_machine(weights, plain, small_run):
    model = read_checkpoint(weights)["model"]
    about = {}
    for part in ("anonymizer", "recovery", "reid"):
        content = plain[f"{part}_onnx"].read_bytes()
        tensors = onnx.load(plain[f"{part}_onnx"])
        prefix = {"reid": "model."}.get(part, f"{part}.")
        foreign = {"anonymizer", "recovery", "model"} - {prefix[:-1]}
        named = {initializer.name.partition(".")[0] for initializer in tensors.graph.initializer}
        assert prefix[:-1] in named and not named & foreign
        for (
            name,
            tensor,
        ) in model.items():  # those that no BatchNorm is folded into stand in their file as they are
            own = name.startswith(
                ("backbone.", "heads.") if part == "reid" else (f"{part}.", f"supervision.frozen_{part}.")
            )
            if not own and tensor.numel() > 16 and tensor.is_floating_point() and tensor.unique().numel() > 2:
                assert tensor.numpy().tobytes() not in content, name
        for path in (small_run, small_run.parent.parent, ROOT, Path(torch.__file__).parent):
            assert str(path).encode() not in content
        assert b"stack_trace" not in content and b'File "' not in content
        about[part] = {item.key: item.value for item in tensors.metadata_props}
        told = {"format", "version", "part", "config", "fingerprint", "privacy", "sha256"}
        assert about[part].keys() == told and about[part]["privacy"] == "private"
        assert about[part]["part"] == part and about[part]["version"] == fastreid_privacy.__version__
    # the search finds what is there
    assert model["anonymizer.down.0.0.weight"].numpy().tobytes() in plain["anonymizer_onnx"].read_bytes()
    assert (
        len({item["fingerprint"] for item in about.values()})
        == len({item["config"] for item in about.values()})
        == 1
    )
    assert about["reid"]["fingerprint"] == load_anonymizer(weights, "cpu").fingerprint


def test_the_same_checkpoint_gives_the_same_graphs(plain, encrypted):
    assert plain["anonymizer_onnx"].read_bytes() == encrypted["anonymizer_onnx"].read_bytes()
    assert plain["reid_onnx"].read_bytes() == encrypted["reid_onnx"].read_bytes()


def test_the_recovery_is_encrypted_or_private(plain, encrypted, tmp_path):
    assert (
        plain["recovery_onnx"].name == "recovery.onnx"
        and stat.S_IMODE(plain["recovery_onnx"].stat().st_mode) == 0o600
    )
    path = encrypted["recovery_onnx"]
    assert path.name == "recovery.onnx.key" and stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.with_suffix("").exists()
    images = random_images(2)
    assert torch.equal(
        load_recovery(path, "cpu", lambda: "pass").levels(images),
        load_recovery(plain["recovery_onnx"]).levels(images),
    )
    with pytest.raises(UserError, match="passphrase is wrong"):
        load_recovery(path, "cpu", lambda: "other")
    content = bytearray(path.read_bytes())
    for position in (60, len(content) // 2, len(content) - 1):
        changed = content.copy()
        changed[position] ^= 4
        (tmp_path / "changed.key").write_bytes(changed)
        with pytest.raises(UserError, match=r"changed\.key"):
            load_recovery(tmp_path / "changed.key", "cpu", lambda: "pass")


@pytest.mark.parametrize("name", ["anonymizer.onnx", "recovery.onnx", "recovery.onnx.key", "reid.onnx"])
def test_nothing_is_overwritten(weights, tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match=f"{name}: there already"):
        splitting.split_checkpoint(weights, tmp_path, None, onnx=True)
    assert [path.name for path in tmp_path.iterdir()] == [name] and (tmp_path / name).read_text() == "mine"


def test_nothing_is_written_where_a_part_cannot_be_a_graph(weights, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        splitting, "image_graph", lambda *_, **__: (_ for _ in ()).throw(UserError("cannot be exported"))
    )
    assert export("--weights", weights, "--output", tmp_path / "out", "--unencrypted", "--onnx") == 2
    assert "cannot be exported" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_conventional_checkpoint_gives_a_reid_graph_only(weights, tmp_path):
    """With ``TEST.FLIP`` besides: features are then the mean of an image and its mirror image, as in the
    evaluation."""
    checkpoint = torch.load(weights, weights_only=True)
    cfg = parse_config(checkpoint["config"], "checkpoint")
    cfg.PRIVACY.PROTECTION, cfg.TEST.FLIP.ENABLED = "conventional", True
    kept = {
        name: value
        for name, value in checkpoint["model"].items()
        if name.partition(".")[0] in ("backbone", "heads")
    }
    torch.save({"model": kept, "config": cfg.dump()}, tmp_path / "base.pth")
    written = splitting.split_checkpoint(tmp_path / "base.pth", tmp_path / "out", None, onnx=True)
    assert set(written) == {"reid", "reid_onnx"}
    images = random_images(3)
    expected, once = (
        load_extractor(tmp_path / "base.pth", "cpu")(images),
        load_extractor(weights, "cpu")(images),
    )
    assert (graph(written["reid_onnx"], images) - expected).abs().max() < TOLERANCE
    assert (expected - once).abs().max() > 10 * TOLERANCE
    for options in ({"runtime": "onnx"}, {"precision": "bfloat16"}):
        with pytest.raises(UserError, match="which is no network"):
            load_anonymizer(tmp_path / "base.pth", "cpu", **options)
    assert load_anonymizer(tmp_path / "base.pth", "cpu").network is None


@pytest.mark.parametrize(
    "kind", ["cut", "empty", "text", "foreign", "without metadata", "config", "of features", "external"]
)
def test_damaged_and_foreign_graphs_are_refused(plain, tmp_path, kind):
    path, model = tmp_path / "x.onnx", onnx.load(plain["anonymizer_onnx"])
    content = {"cut": plain["anonymizer_onnx"].read_bytes()[:50_000], "empty": b"", "text": b"no graph"}.get(
        kind
    )
    if kind == "foreign":
        value = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None, 7]) for name in "xy"]
        other = onnx.helper.make_graph(
            [onnx.helper.make_node("Relu", ["x"], ["y"])], "g", value[:1], value[1:]
        )
        model = onnx.helper.make_model(other, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    elif kind == "without metadata":
        del model.metadata_props[:]
    elif kind == "config":
        next(item for item in model.metadata_props if item.key == "config").value = "A: [\n"
    elif kind == "of features":
        model = onnx.load(plain["reid_onnx"])
    elif kind == "external":  # a graph must not read other files
        tensor = model.graph.initializer[0]
        (tmp_path / "secret").write_bytes(tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="secret")
    path.write_bytes(model.SerializeToString() if content is None else content)
    with pytest.raises(UserError, match=str(path)):
        load_anonymizer(path, "cpu")


def test_flipped_bits_end_in_a_message_or_in_an_image_map(plain, tmp_path):
    content, path, rng, refused = (
        plain["anonymizer_onnx"].read_bytes(),
        tmp_path / "x.onnx",
        random.Random(0),
        0,
    )
    for position in [rng.randrange(len(content) - 6000, len(content)) for _ in range(40)]:
        changed = bytearray(content)
        changed[position] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        try:
            load_anonymizer(path, "cpu")
        except UserError:
            refused += 1
    assert refused > 10


def test_parts_are_not_mistaken(plain):
    with pytest.raises(UserError, match="holds no recovery network, but the anonymizer"):
        load_recovery(plain["anonymizer_onnx"], "cpu")
    with pytest.raises(UserError, match="holds no anonymizer network, but the recovery"):
        load_anonymizer(plain["recovery_onnx"], "cpu")
    with pytest.raises(UserError, match="cannot be read"):
        load_anonymizer("absent.onnx")


def test_a_graph_has_one_size(plain):
    with pytest.raises(ValueError, match="64×32"):
        load_anonymizer(plain["anonymizer_onnx"], "cpu")(random_images(1, (128, 64)))


def test_a_gpu_that_onnxruntime_has_not_is_refused(plain, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("onnxruntime has CUDA here")
    with pytest.raises(UserError, match="install onnxruntime-gpu"):
        load_anonymizer(plain["anonymizer_onnx"], "cuda")
    assert load_anonymizer(plain["anonymizer_onnx"], "auto").runtime == "onnx"  # on the CPU


# -- the tools -----------------------------------------------------------------------------------------------


def test_the_tools_run_graphs(weights, encrypted, raw, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PASS", "pass")
    out = encrypted["anonymizer_onnx"].parent
    ways = {
        "torch": ["--weights", out / "anonymizer.safetensors"],
        "graph": ["--weights", out / "anonymizer.onnx"],
        "part": ["--weights", out / "anonymizer.safetensors", "--runtime", "onnx"],
        "whole": ["--weights", weights, "--runtime", "onnx", "--workers", 3, "--batch-size", 2],
    }
    for name, words in ways.items():
        assert anonymize(*words, "--input", raw, "--output", tmp_path / name) == 0
        header = read_manifest(tmp_path / name / "manifest.jsonl").header
        assert (header["runtime"], header["precision"]) == ("torch" if name == "torch" else "onnx", "float32")
        for file in (tmp_path / "torch").glob("*.png"):
            assert np.abs(pixels(file) - pixels(tmp_path / name / file.name)).max() <= 1
    keys = {
        "key": [out / "recovery.onnx.key"],
        "converted": [out / "recovery.key", "--runtime", "onnx"],
        "torch key": [out / "recovery.key"],
    }
    for name, (key, *words) in keys.items():
        words += [
            "--input",
            tmp_path / "graph",
            "--output",
            tmp_path / name,
            "--passphrase-env",
            "PASS",
            "--verify",
            raw,
        ]
        assert recover("--key", key, *words) == 0
        header = read_manifest(tmp_path / name / "manifest.jsonl").header
        assert header["runtime"] == ("torch" if name == "torch key" else "onnx")
        for file in (tmp_path / "torch key").glob("*.png"):
            assert np.abs(pixels(file) - pixels(tmp_path / name / file.name)).max() <= 1
    assert_decoded(weights, tmp_path / "graph", tmp_path / "torch key")
    assert anonymize(*ways["torch"], "--input", raw, "--output", tmp_path / "graph") == 2
    assert "runtime onnx there, torch here" in capsys.readouterr().err


def test_half_precision_is_near(weights, raw, tmp_path, capsys):
    images = random_images(4)
    exact = load_anonymizer(weights, "cpu").levels(images)
    for precision, levels in (("bfloat16", 2.0), ("float16", 0.5)):
        half = load_anonymizer(weights, "cpu", precision=precision).levels(images)
        assert half.dtype == torch.float32
        # 1.06 and 0.26 levels were measured, of pictures whose deviation is 60
        assert 0 < (half - exact).abs().max() < levels
    words = ["--input", raw, "--output", tmp_path / "p", "--precision", "bfloat16"]
    assert anonymize("--weights", weights, *words) == 0
    assert read_manifest(tmp_path / "p" / "manifest.jsonl").header["precision"] == "bfloat16"
    assert recover(key=weights, input=tmp_path / "p", output=tmp_path / "r", precision="float16") == 0
    assert read_manifest(tmp_path / "r" / "manifest.jsonl").header["precision"] == "float16"
    assert_decoded(weights, tmp_path / "p", tmp_path / "r")
    assert anonymize("--weights", weights, *words[:-1], "float32") == 2
    assert "precision bfloat16 there, float32 here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--weights", "GRAPH", "--runtime", "torch"], "which torch does not run"),
        (["--weights", "GRAPH", "--precision", "bfloat16"], "runs in float32"),
        (["--weights", "WEIGHTS", "--runtime", "onnx", "--precision", "float16"], "runs in float32"),
        (["--method", "blur", "--runtime", "onnx"], "uses no network"),
        (["--method", "blur", "--precision", "bfloat16"], "uses no network"),
    ],
)
def test_contradicting_options_are_refused(weights, plain, raw, tmp_path, capsys, words, message):
    words = [{"GRAPH": plain["anonymizer_onnx"], "WEIGHTS": weights}.get(word, word) for word in words]
    assert anonymize(*words, "--input", raw, "--output", tmp_path / "out") == 2
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_options_without_a_network_are_refused(tmp_path, capsys):
    assert export("--new-identity", "--output", tmp_path / "keys", "--unencrypted", "--onnx") == 2
    assert "a key pair holds no network" in capsys.readouterr().err and not (tmp_path / "keys").exists()
    words = {
        "identity": tmp_path / "identity.key",
        "input": tmp_path,
        "output": tmp_path / "o",
        "runtime": "onnx",
    }
    assert recover(**words) == 2
    assert "opened without a network" in capsys.readouterr().err


def test_the_command_says_no_more_than_its_own_lines(exported):
    done, folder = exported
    *parts, listed = done.stdout.splitlines()
    assert done.stderr == "" and len(parts) == done.stdout.count(".onnx") == 3
    assert listed.startswith(f"{folder / 'release.json'}: ")


@pytest.mark.parametrize("operator", ["Add", "Mul", "Cast"])
def test_a_graph_cannot_read_other_files(tmp_path, monkeypatch, operator):
    """onnxruntime reads values of a graph in memory from files below the working folder, unless its optimizer
    looks at them first."""
    (tmp_path / "secret").write_bytes(bytes(range(192)) * 4)
    monkeypatch.chdir(tmp_path)
    secret = onnx.TensorProto(
        name="secret",
        data_type=onnx.TensorProto.FLOAT,
        dims=[1, 3, 8, 8],
        data_location=onnx.TensorProto.EXTERNAL,
    )
    secret.external_data.add(key="location", value="secret")
    inputs = ["secret"] if operator == "Cast" else ["images", "secret"]
    nodes = [
        onnx.helper.make_node(
            operator, inputs, ["seen"], **({"to": onnx.TensorProto.FLOAT} if operator == "Cast" else {})
        ),
        onnx.helper.make_node("Add", ["images", "seen"], ["protected"]),
    ]
    shapes = {
        name: onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", 3, 8, 8])
        for name in ("images", "protected")
    }
    graph = onnx.helper.make_graph(nodes, "evil", [shapes["images"]], [shapes["protected"]], [secret])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    with pytest.raises(UserError, match="takes values from other files"):
        OnnxNetwork(model.SerializeToString(), "evil.onnx")
