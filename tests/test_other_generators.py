"""projects/OtherGenerators: its networks against plain code, in the whole method, and in the hands of those
who hold a part of it."""

from __future__ import annotations

from conftest import SMALL_CONFIG, small_options  # before fastreid: importing the package makes it work
from in_process import export, train

# isort: split
import doctest
import importlib
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from fastreid.modeling import build_model
from safetensors import safe_open
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from fastreid_privacy import load_anonymizer, load_config, load_recovery
from fastreid_privacy.checkpoints.fingerprints import anonymizer_fingerprint
from fastreid_privacy.checkpoints.onnx_export import image_graph
from fastreid_privacy.checkpoints.reading import read_trained
from fastreid_privacy.checkpoints.splitting import split_checkpoint
from fastreid_privacy.compare.methods import read_methods
from fastreid_privacy.compare.training import Plan, configs
from fastreid_privacy.config import flat_keys
from fastreid_privacy.core.errors import UserError
from fastreid_privacy.core.projects import load_projects
from fastreid_privacy.model.memory_layout import to_channels_last
from fastreid_privacy.networks import GENERATOR_REGISTRY, build_generator
from fastreid_privacy.training import siblings

ROOT = Path(__file__).parent.parent
PROJECT = ROOT / "projects" / "OtherGenerators"
CONFIGS = PROJECT / "configs"
NAMES = {"coupling": "CouplingGenerator", "resnet": "ResNetGenerator"}
BOTH = pytest.mark.parametrize("name", NAMES.values(), ids=list(NAMES))
SIZE = (16, 8)


@pytest.fixture
def generators(own_imports):
    load_projects([PROJECT])
    return importlib.import_module("other_generators")


def options(name: str, width: int = 4, depth: int = 2) -> SimpleNamespace:
    return SimpleNamespace(NAME=name, WIDTH=width, DEPTH=depth)


def images_in_range(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype) * 2 - 1


def strong(network: nn.Module) -> nn.Module:
    """The network with weights that change an image a lot, as trained ones do; new ones change little."""
    with torch.no_grad():
        for number, weight in enumerate(network.parameters()):
            drawn = torch.randn(weight.shape, generator=torch.Generator().manual_seed(number))
            weight.copy_(drawn / weight[0].numel() ** 0.5 if weight.ndim > 1 else 0.1 * drawn)
    return network


# -- the networks --------------------------------------------------------------------------------------------


def test_bands_are_those_of_loops_and_lose_nothing(generators):
    images = images_in_range(2, 3, 6, 4, dtype=torch.float64)
    bands = generators.to_bands(images)
    expected = np.zeros((2, 12, 3, 2))
    for n, colour, y, x in np.ndindex(2, 3, 3, 2):
        (a, b), (c, d) = images[n, colour, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].tolist()
        for band, value in enumerate((a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d)):
            expected[n, 3 * band + colour, y, x] = value / 2
    np.testing.assert_allclose(bands.numpy(), expected, atol=1e-15)
    assert bands.square().sum() == pytest.approx(float(images.square().sum()))
    torch.testing.assert_close(generators.from_bands(bands), images, rtol=0, atol=1e-15)


def test_examples_in_docstrings(generators):
    for module in ("haar", "coupling", "resnet"):
        results = doctest.testmod(importlib.import_module(f"other_generators.{module}"))
        assert results.attempted and not results.failed


def seen_by(layers: nn.Sequential, bands: torch.Tensor) -> torch.Tensor:
    """Three convolutions and their LeakyReLUs, in double precision."""
    weights = [value.double() for value in layers.state_dict().values()]
    first = functional.conv2d(bands, weights[0], weights[1], padding=1)
    second = functional.conv2d(torch.where(first > 0, first, first / 5), weights[2], weights[3])
    return functional.conv2d(torch.where(second > 0, second, second / 5), weights[4], weights[5], padding=1)


@pytest.mark.parametrize("in_channels", [3, 6])
def test_the_coupling_network_is_its_definition_written_out(generators, in_channels):
    network = strong(generators.CouplingGenerator(4, 3, in_channels))
    images = images_in_range(2, in_channels, *SIZE)
    given = generators.to_bands(images[:, :3].double())
    made = generators.to_bands(images[:, 3:].double()) if in_channels == 6 else torch.zeros_like(given)
    for number, block in enumerate(network.blocks):
        made = made + seen_by(block.to_made, given)
        if number < 2:  # nobody would see what the last block makes of the given image
            both = seen_by(block.to_given, made)
            given = given * torch.exp(torch.tanh(both[:, :12])) + both[:, 12:]
    made = generators.from_bands(made)
    assert made.abs().max() > 1 > made.std() > 0.1  # some is cut
    found, kept = network.transform(images[:, 3:] if in_channels == 6 else 0 * images, images[:, :3])
    torch.testing.assert_close(found.double(), made, rtol=0, atol=1e-4)
    torch.testing.assert_close(kept.double(), generators.from_bands(given), rtol=0, atol=1e-4)
    torch.testing.assert_close(network(images).double(), made.clamp(-1, 1), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("dtype", "half", "tolerance"),
    [(torch.float64, False, 1e-12), (torch.float32, False, 2e-4), (torch.float32, True, 2e-4)],
)
@torch.no_grad()
def test_the_way_back_through_the_coupling_network_is_exact(generators, dtype, half, tolerance):
    """In half precision, too: it computes what the blocks add, the same on both ways."""
    network = strong(generators.CouplingGenerator(8, 6)).to(dtype)
    begun, given = (images_in_range(2, 3, *SIZE, seed=seed, dtype=dtype) for seed in (0, 1))
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        made, kept = network.transform(begun, given)
        found = network.inverse(made, kept)
    assert made.dtype == kept.dtype == dtype
    assert min((made - begun).abs().mean(), (kept - given).abs().mean()) > 0.2  # it went a long way
    for got, expected in zip(found, (begun, given), strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=tolerance)


def by_resnet(network: nn.Module, images: torch.Tensor, depth: int) -> torch.Tensor:
    """CycleGAN's definition: c7s1, d, d, R × depth, u, u, c7s1."""
    weights = iter([value.double() for value in network.state_dict().values()])

    def reflected(features: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        weight = next(weights)
        side = weight.shape[-1] // 2
        padded = functional.pad(features, (side,) * 4, mode="reflect")
        return functional.conv2d(padded, weight, bias and next(weights))

    def normed(features: torch.Tensor) -> torch.Tensor:
        mean = features.mean(dim=(2, 3), keepdim=True)
        variance = (features - mean).square().mean(dim=(2, 3), keepdim=True)
        return (features - mean) / (variance + 1e-5).sqrt()

    features = normed(reflected(images.double())).clamp(min=0)
    for _ in range(2):
        features = normed(functional.conv2d(features, next(weights), stride=2, padding=1)).clamp(min=0)
    for _ in range(depth):
        features = features + normed(reflected(normed(reflected(features)).clamp(min=0)))
    for _ in range(2):
        features = functional.conv_transpose2d(features, next(weights), stride=2, padding=1, output_padding=1)
        features = normed(features).clamp(min=0)
    weight, bias = weights
    return torch.tanh(functional.conv2d(functional.pad(features, (3,) * 4, mode="reflect"), weight, bias))


@pytest.mark.parametrize("in_channels", [3, 6])
def test_the_resnet_generator_is_its_definition_written_out(generators, in_channels):
    network = strong(generators.ResNetGenerator(4, 2, in_channels))
    images = images_in_range(2, in_channels, *SIZE)
    expected = by_resnet(network, images, depth=2)
    if in_channels == 6:
        expected = (images[:, 3:] + expected).clamp(-1, 1)
    assert expected.std() > 0.3
    torch.testing.assert_close(network(images).double(), expected, rtol=0, atol=1e-4)


def test_the_resnet_generator_has_the_weights_of_cyclegan(generators):
    """11,378,179 is the size that its generator of 9 blocks is known for; a norm erases 5,248 biases."""
    with torch.device("meta"):
        network = generators.ResNetGenerator.from_options(options("", width=64, depth=0), (256, 256))
    assert sum(weight.numel() for weight in network.parameters()) == 11_378_179 - 5_248
    for size, blocks in (((256, 256), 9), ((256, 128), 6), ((64, 32), 6)):
        network = generators.ResNetGenerator.from_options(options("", depth=0), size)
        assert sum("_ResidualBlock" in type(layer).__name__ for layer in network.layers) == blocks


@torch.no_grad()
def test_instance_norm_hides_brightness_and_contrast_from_the_resnet_generator(generators):
    """As its page says; the coupling network sees them, and so does one of six channels."""
    images = images_in_range(2, 3, 32, 16)
    darker = 0.5 * images - 0.4
    changes = {}
    for name in NAMES.values():
        network = strong(build_generator(options(name), (32, 16)))
        changes[name] = (network(darker) - network(images)).abs().mean()
    assert changes["ResNetGenerator"] < 1e-3 and changes["CouplingGenerator"] > 0.1
    network = strong(build_generator(options("ResNetGenerator"), (32, 16), in_channels=6))
    change = network(torch.cat([darker, darker], dim=1)) - network(torch.cat([images, images], dim=1))
    assert change.abs().mean() > 0.1


@BOTH
def test_a_new_anonymizer_changes_the_desensitized_image_little(generators, name):
    """And one that sees raw images alone shows nothing of them yet."""
    torch.manual_seed(0)
    images = images_in_range(4, 6, *SIZE)
    changed = build_generator(options(name), SIZE, in_channels=6)(images)
    assert (changed - images[:, 3:]).abs().mean() < 0.2 < (changed - images[:, :3]).abs().mean()
    assert changed.abs().max() <= 1
    made = build_generator(options(name), SIZE)(images[:, :3])
    assert made.abs().mean() < 0.2


@BOTH
@pytest.mark.parametrize("in_channels", [3, 6])
def test_every_weight_gets_a_gradient(generators, name, in_channels):
    network = build_generator(options(name), SIZE, in_channels)
    images = images_in_range(2, in_channels, *SIZE).requires_grad_()
    (network(images) - images_in_range(2, 3, *SIZE, seed=1)).square().mean().backward()
    for weight in (images, *network.parameters()):
        assert weight.grad.abs().sum() > 0


@BOTH
@pytest.mark.parametrize("half", [False, True])
def test_channels_last_gives_the_same_images(generators, name, half):
    network = strong(build_generator(options(name), SIZE))
    images = images_in_range(2, 3, *SIZE)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        expected = network(images)
        to_channels_last(nn.ModuleList([network]))
        found = network(images)
    assert any(weight.is_contiguous(memory_format=torch.channels_last) for weight in network.parameters())
    torch.testing.assert_close(found.float(), expected.float(), rtol=0, atol=0.1 if half else 1e-5)


@pytest.mark.parametrize(
    ("name", "size", "words"),
    [
        ("CouplingGenerator", (15, 8), ["15×8", "multiples of 2", "14×8 or 16×8"]),
        ("CouplingGenerator", (1, 1), ["1×1", "2×2"]),
        ("ResNetGenerator", (30, 18), ["30×18", "multiples of 4", "28×16 or 32×20"]),
        ("ResNetGenerator", (64, 4), ["64×4", "at least 8", "64×8"]),
    ],
)
def test_sizes_that_do_not_fit_are_refused_with_those_that_do(generators, name, size, words):
    with pytest.raises(UserError) as error:
        build_generator(options(name), size)
    assert all(word in str(error.value) for word in [*words, "INPUT.SIZE_TRAIN", "INPUT.SIZE_TEST"])
    for told in str(error.value).rpartition(" to ")[2].split(" or "):
        fitting = tuple(map(int, told.split("×")))
        network = build_generator(options(name), fitting)
        assert network(torch.zeros(1, 3, *fitting)).shape[2:] == fitting
    with pytest.raises(UserError, match=words[0]):
        network(torch.zeros(1, 3, *size))


@BOTH
@pytest.mark.parametrize(("width", "depth"), [(0, 2), (513, 2), (4, -1), (4, 33)])
def test_widths_and_depths_out_of_bounds_are_refused(generators, name, width, depth):
    with pytest.raises(UserError, match=rf"depth is {depth} and its width {width}: PRIVACY\.ANONYMIZER"):
        build_generator(options(name, width, depth), SIZE)


# -- in the method -------------------------------------------------------------------------------------------


def small_keys(name: str, **overrides) -> dict:
    own = {f"PRIVACY.{part}.NAME": name for part in ("ANONYMIZER", "RECOVERY")}
    widths = {f"PRIVACY.{part}.WIDTH": 4 for part in ("ANONYMIZER", "RECOVERY", "DISCRIMINATOR")}
    return {
        **own,
        **widths,
        **{f"PRIVACY.{part}.DEPTH": 2 for part in ("ANONYMIZER", "RECOVERY")},
        **overrides,
    }


def checkpoint(path: Path, name: str, **overrides) -> Path:
    """A checkpoint with weights that give images of full contrast."""
    keys = {"MODEL.HEADS.NUM_CLASSES": 4, **small_keys(name, **overrides)}
    cfg = load_config(SMALL_CONFIG, small_options("", **keys))
    torch.manual_seed(0)
    model = build_model(cfg)
    for part in (model.anonymizer, model.recovery):
        strong(part)
    with torch.no_grad():
        for weight in model.recovery.parameters():
            weight.mul_(-1)  # its own weights
    torch.save({"model": model.state_dict(), "config": cfg.dump()}, path)
    return path


@pytest.mark.parametrize(
    ("config", "overrides"),
    [
        ("coupling", {"SOLVER.AMP.ENABLED": True}),
        ("resnet", {"PRIVACY.DESENSITIZER.NAME": "noise"}),  # six channels
    ],
)
def test_the_method_trains_and_its_networks_load(generators, small_dataset, tmp_path, config, overrides):
    words = ["--project", str(PROJECT), "--config-file", str(CONFIGS / f"{config}.yml")]
    backbone = {"NAME": "build_osnet_backbone", "DEPTH": "x0_25", "FEAT_DIM": 128}
    keys = {f"MODEL.BACKBONE.{key}": value for key, value in backbone.items()}
    keys |= small_keys(NAMES[config], **overrides)
    assert train(*words, *small_options(tmp_path / "run", **keys, **{"SOLVER.MAX_EPOCH": 1})) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert [project["name"] for project in results["projects"]] == ["other_generators"]
    assert results["config"]["PRIVACY"]["RECOVERY"]["NAME"] == NAMES[config]
    path = tmp_path / "run" / "model_final.pth"
    images = (images_in_range(2, 3, 64, 32) + 1) * 127.5
    protected = load_anonymizer(path, "cpu")(images, seeds=[1, 2])
    assert protected.shape == images.shape and protected.min() >= 0 and protected.max() <= 255
    recovered = load_recovery(path, "cpu")(protected)
    trained = read_trained(path)
    model = build_model(trained.cfg).eval()
    model.load_state_dict(trained.weights)
    with torch.no_grad():
        seeds = torch.tensor([1, 2])
        expected = model.protected(images, seeds)
        torch.testing.assert_close(protected, expected, rtol=0, atol=1)
        torch.testing.assert_close(recovered, model.recover(protected).round().clamp(0, 255), rtol=0, atol=1)


@BOTH
def test_parts_of_a_release_hold_their_own_network_alone(generators, tmp_path, name):
    path = checkpoint(tmp_path / "model.pth", name)
    parts = split_checkpoint(path, tmp_path / "parts", None)
    images = (images_in_range(3, 3, 64, 32) + 1) * 127.5
    whole = read_trained(path).weights
    for part, other, load in (
        ("anonymizer", "recovery", load_anonymizer),
        ("recovery", "anonymizer", load_recovery),
    ):
        expected = load(path, "cpu").levels(images)
        assert expected.std() > 10
        assert torch.equal(load(parts[part], "cpu").levels(images), expected)
        content = parts[part].read_bytes()
        for key, value in whole.items():
            if key.startswith(f"{other}."):
                assert f"{part}.{key.partition('.')[2]}" in whole  # both are of one kind
                assert value.numpy().tobytes() not in content, key
    assert load_anonymizer(path, "cpu").fingerprint == load_recovery(parts["recovery"], "cpu").fingerprint


@pytest.mark.parametrize(
    ("name", "operator", "channels"), [("CouplingGenerator", "noise", 6), ("ResNetGenerator", "blur", 3)]
)
def test_a_graph_is_the_network_and_needs_no_project(own_imports, tmp_path, name, operator, channels):
    known = dict(GENERATOR_REGISTRY._obj_map)
    load_projects([PROJECT])
    path = checkpoint(tmp_path / "model.pth", name, **{"PRIVACY.DESENSITIZER.NAME": operator})
    part = split_checkpoint(path, tmp_path / "parts", None)["anonymizer"]
    protect = load_anonymizer(part, "cpu")
    with safe_open(part, "pt") as file:
        about = {key: value for key, value in file.metadata().items() if key != "sha256"}
    graph = tmp_path / "anonymizer.onnx"
    graph.write_bytes(image_graph(protect.network, "anonymizer", (64, 32), about, channels=channels))
    GENERATOR_REGISTRY._obj_map.clear(), GENERATOR_REGISTRY._obj_map.update(known)
    for count in (1, 3):
        images, seeds = (images_in_range(count, 3, 64, 32) + 1) * 127.5, range(count)
        found = load_anonymizer(graph, "cpu").levels(images, seeds=seeds)
        torch.testing.assert_close(found, protect.levels(images, seeds=seeds), rtol=0, atol=0.0128)


@torch.no_grad()
def test_the_released_anonymizer_alone_does_not_go_back(generators, tmp_path):
    """Its inverse wants the half that is thrown away, which no file has."""
    path = checkpoint(tmp_path / "model.pth", "CouplingGenerator")
    protect = load_anonymizer(split_checkpoint(path, tmp_path / "parts", None)["anonymizer"], "cpu")
    raw = images_in_range(2, 3, 64, 32)
    network = protect.network
    made, kept = network.transform(torch.zeros_like(raw), raw)
    _, found = network.inverse(made, kept)
    torch.testing.assert_close(found, raw, rtol=0, atol=1e-4)
    stored = protect((raw + 1) * 127.5) / 127.5 - 1
    for guessed in (torch.zeros_like(kept), kept.mean(dim=0, keepdim=True).expand_as(kept), kept.flip(0)):
        _, found = network.inverse(stored, guessed)
        assert (found.clamp(-1, 1) - raw).abs().mean() > 0.3  # of images that differ from grey by 0.5


# -- what does not belong together ---------------------------------------------------------------------------


def test_a_checkpoint_of_a_project_that_was_not_named_says_so(own_imports, tmp_path, capsys):
    known = dict(GENERATOR_REGISTRY._obj_map)
    load_projects([PROJECT])
    path = checkpoint(tmp_path / "model.pth", "CouplingGenerator")
    parts = split_checkpoint(path, tmp_path / "parts", None)
    GENERATOR_REGISTRY._obj_map.clear(), GENERATOR_REGISTRY._obj_map.update(known)
    for file, load in (
        (path, load_anonymizer),
        (path, load_recovery),
        (parts["anonymizer"], load_anonymizer),
        (parts["recovery"], load_recovery),
    ):
        with pytest.raises(UserError) as error:
            load(file, "cpu")
        for word in (str(file), "'CouplingGenerator'", "not registered", "UNetGenerator", "--project FOLDER"):
            assert word in str(error.value)
    words = ["--weights", str(path), "--output", str(tmp_path / "out"), "--unencrypted", "--onnx"]
    assert export(*words) == 2 and "--project FOLDER" in capsys.readouterr().err
    words = ["--config-file", str(CONFIGS / "coupling.yml"), "--output", str(tmp_path / "run")]
    assert train(*words) == 2
    told = capsys.readouterr().err
    assert "PRIVACY.ANONYMIZER.NAME is 'CouplingGenerator'" in told and "--project FOLDER" in told


def test_a_checkpoint_of_another_generator_is_refused(generators, small_dataset, tmp_path, capsys):
    path = checkpoint(tmp_path / "model.pth", "CouplingGenerator")
    words = ["--project", str(PROJECT), "--config-file", str(SMALL_CONFIG), "--eval-only"]
    for other in ("ResNetGenerator", "UNetGenerator"):
        keys = small_keys(other, **{"MODEL.WEIGHTS": path})
        assert train(*words, *small_options(tmp_path / "run", **keys)) == 2
        told = capsys.readouterr().err
        assert f"{path} does not hold the anonymizer, recovery of this config" in told
        assert "with the config it was trained with" in told
    for part, load in (("ANONYMIZER", load_anonymizer), ("RECOVERY", load_recovery)):
        content = torch.load(path, weights_only=True)
        before, node, after = content["config"].partition(f"  {part}:")
        content["config"] = before + node + after.replace("CouplingGenerator", "ResNetGenerator", 1)
        torch.save(content, tmp_path / "exchanged.pth")
        with pytest.raises(UserError, match=rf"the {part.lower()} network of \S+exchanged.pth does not fit"):
            load(tmp_path / "exchanged.pth", "cpu")


def test_the_fingerprint_tells_generators_apart(generators):
    """Also two that would have the same tensors."""
    found = {
        name: anonymizer_fingerprint({}, load_config(SMALL_CONFIG, small_options("", **small_keys(name))))
        for name in ("UNetGenerator", *NAMES.values())
    }
    assert len(set(found.values())) == 3


# -- the configs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", NAMES)
def test_configs_differ_in_the_generators_alone_and_cost_the_same(generators, config):
    files = (ROOT / "configs" / "Synthetic" / "privacy_agw.yml", CONFIGS / f"{config}.yml")
    unet, own = (load_config(file, ["MODEL.DEVICE", "cpu"]) for file in files)
    unet_keys, own_keys = flat_keys(unet), flat_keys(own)
    expected = {
        f"PRIVACY.{part}.{key}" for part in ("ANONYMIZER", "RECOVERY") for key in ("NAME", "WIDTH", "DEPTH")
    }
    assert {key for key in own_keys if own_keys[key] != unet_keys[key]} == {*expected, "OUTPUT_DIR"}
    cost = []
    for cfg in (unet, own):
        with FlopCounterMode(display=False) as counter, torch.device("meta"):
            build_generator(cfg.PRIVACY.ANONYMIZER, (64, 32))(torch.zeros(1, 3, 64, 32)).mean().backward()
        cost.append(counter.get_total_flops())
    assert 0.9 < cost[1] / cost[0] < 1.1


def test_the_comparison_is_that_of_the_other_methods(generators, tmp_path):
    ours, theirs = (
        read_methods(file) for file in (CONFIGS / "compare.yml", ROOT / "configs/compare/synthetic.yml")
    )
    assert (ours.data, ours.reference) == (theirs.data, theirs.reference)
    by_name = {method.name: method for method in theirs.methods}
    found = configs(Plan(ours.data, tmp_path, 0.7, 0, "cpu"), ours.methods)
    assert list(found) == ["none", "blur", "learned", "coupling", "resnet"]
    assert {name: found[name].PRIVACY.ANONYMIZER.NAME for name in NAMES} == NAMES
    for method in ours.methods:
        assert method.options == by_name.get(method.name, by_name["learned"]).options
        assert method.name in NAMES or method == by_name[method.name]


def test_one_base_serves_every_generator(generators, monkeypatch, tmp_path, caplog):
    """It has none, so neither a warning nor a refusal; what it does have still counts."""
    results = tmp_path / "results.json"
    results.touch()
    base = load_config(ROOT / "configs" / "Synthetic" / "base_blur.yml", ["MODEL.DEVICE", "cpu"])
    found = {"config": yaml.safe_load(base.dump())}
    monkeypatch.setattr(siblings, "read_results", lambda path: found)
    monkeypatch.setattr(siblings, "load_query_ranks", lambda path: None)
    given = ["MODEL.DEVICE", "cpu", "PRIVACY.UPGRADE.BASELINE_RANK1", str(results)]
    for own, told in (([], ""), (["SEED", "1"], "run differently: SEED 1 ≠ 0")):
        cfg = load_config(CONFIGS / "coupling.yml", [*given, *own])
        with caplog.at_level("WARNING"):
            assert siblings.finished(cfg, "baseline") == {"SyntheticPedestrians": found}
        assert caplog.text.strip().endswith(told) and bool(caplog.text) is bool(told)
