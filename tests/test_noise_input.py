"""An anonymizer that sees the noisy image beside the raw one: in training, evaluation, files and attacks."""

from __future__ import annotations

from conftest import SMALL_CONFIG, small_options  # before fastreid: importing the package makes it work

# isort: split
import hashlib
import json
import re
import shutil

import numpy as np
import pytest
import torch
import yaml
from fastreid.modeling import build_model
from fastreid.utils.events import EventStorage
from in_process import anonymize, recover
from PIL import Image
from safetensors.torch import load

from fastreid_privacy import load_anonymizer, load_recovery
from fastreid_privacy.attack.subjects import Subject
from fastreid_privacy.attack.targets import _protecting
from fastreid_privacy.attack.views import Files
from fastreid_privacy.checkpoints.fingerprints import anonymizer_fingerprint
from fastreid_privacy.checkpoints.reading import read_trained
from fastreid_privacy.checkpoints.splitting import split_checkpoint
from fastreid_privacy.config import DETERMINISTIC, changed, comparable, differing, load_config, parse_config
from fastreid_privacy.core.errors import UserError
from fastreid_privacy.core.images import quantize, to_levels, to_unit
from fastreid_privacy.desensitize import DESENSITIZER_REGISTRY, Desensitizer
from fastreid_privacy.manifest import read_manifest
from fastreid_privacy.model.anonymizer import second_input
from fastreid_privacy.model.image_stages import path_seeds
from fastreid_privacy.networks import GENERATOR_REGISTRY
from fastreid_privacy.reproduce.plan import Run
from fastreid_privacy.reproduce.reproduction import Reproduction
from fastreid_privacy.retrieval import load_extractor
from fastreid_privacy.training.trainer import PrivacyTrainer

INPUT = "PRIVACY.ANONYMIZER.INPUT"
NOISE = {"PRIVACY.DESENSITIZER.NAME": "noise", "MODEL.HEADS.NUM_CLASSES": 4, "INPUT.REA.ENABLED": False}


def config(**options):
    return load_config(SMALL_CONFIG, small_options("", **{**NOISE, **options}))


def random_images(count, seed=0):
    return torch.randint(0, 256, (count, 3, 64, 32), generator=torch.Generator().manual_seed(seed)).float()


def batch_of(count=8):
    return {
        "images": random_images(count),
        "targets": torch.arange(count) // 2,
        "camids": torch.arange(count) % 2,
        "img_paths": [f"{number}.jpg" for number in range(count)],
    }


# -- what the key says ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operator", "given", "channels"),
    [
        ("noise", "auto", 6),
        ("noise", "raw", 3),
        ("noise", "raw+desensitized", 6),
        ("blur", "auto", 3),
        ("blur", "raw", 3),
        ("blur", "raw+desensitized", 6),
    ],
)
def test_the_channels_of_a_word(operator, given, channels):
    cfg = config(**{"PRIVACY.DESENSITIZER.NAME": operator, INPUT: given})
    model = build_model(cfg)
    first = model.anonymizer.down[0][0].weight
    assert first.shape[1] == model.supervision.frozen_anonymizer.down[0][0].weight.shape[1] == channels
    assert model.recovery.down[0][0].weight.shape[1] == 3
    assert model.sees_desensitized == (channels == 6)


def test_the_default_is_auto_and_another_word_is_refused():
    assert load_config().PRIVACY.ANONYMIZER.INPUT == "auto"
    for read in (
        lambda: config(**{INPUT: "noisy"}),
        lambda: parse_config(config().dump().replace("INPUT: auto", "INPUT: noisy"), "a.pth"),
    ):
        with pytest.raises(UserError, match=r"INPUT is noisy; allowed: auto, raw, raw\+desensitized"):
            read()


def test_the_config_knows_which_operators_draw_nothing():
    own = ("blur", "pixelate", "noise", "mask")
    assert sorted(DETERMINISTIC) == sorted(name for name in own if not Desensitizer(name).is_seeded)


def test_an_operator_of_a_users_own_is_random_when_it_asks_for_seeds(monkeypatch):
    def sparkle(images, seeds):
        return images

    monkeypatch.setitem(DESENSITIZER_REGISTRY._obj_map, "sparkle", sparkle)
    assert second_input(config(**{"PRIVACY.DESENSITIZER.NAME": "sparkle"})) is not None


def test_a_model_under_an_operator_that_is_not_there_is_used_as_before(noise_weights, weights, tmp_path):
    """Unless the operator was random: then its noise is missing."""
    found = {}
    for name, path in (("still", weights), ("random", noise_weights)):
        checkpoint = torch.load(path, weights_only=True)
        checkpoint["config"] = re.sub(r"NAME: (blur|noise)\b", "NAME: of_my_own", checkpoint["config"])
        torch.save(checkpoint, found.setdefault(name, tmp_path / f"{name}.pth"))
    images = random_images(2)
    assert torch.equal(
        load_anonymizer(found["still"], "cpu")(images), load_anonymizer(weights, "cpu")(images)
    )
    with pytest.raises(UserError, match=r"random\.pth does not fit the config"):
        load_anonymizer(found["random"], "cpu")


def test_a_generator_that_takes_raw_images_only_is_refused(monkeypatch):
    class Narrow(torch.nn.Conv2d):
        @classmethod
        def from_options(cls, options, size):
            return cls(3, 3, kernel_size=3, padding=1)

    monkeypatch.setitem(GENERATOR_REGISTRY._obj_map, "Narrow", Narrow)
    with pytest.raises(UserError, match=r"Narrow sees raw images alone.*PRIVACY.ANONYMIZER.INPUT raw"):
        build_model(config(**{"PRIVACY.ANONYMIZER.NAME": "Narrow"}))
    build_model(config(**{"PRIVACY.ANONYMIZER.NAME": "Narrow", INPUT: "raw"}))


# -- files of before the key ---------------------------------------------------------------------------------


def before_the_key(cfg):
    values = yaml.safe_load(cfg.dump())
    del values["PRIVACY"]["ANONYMIZER"]["INPUT"]
    return values


@pytest.mark.parametrize(("operator", "word"), [("noise", "raw"), ("mine", "raw"), ("blur", "auto")])
def test_an_older_config_has_three_channels(operator, word):
    cfg = config(**{"PRIVACY.DESENSITIZER.NAME": operator})
    older = before_the_key(cfg)
    read = parse_config(yaml.safe_dump(older), "").PRIVACY.ANONYMIZER
    assert word == read.INPUT
    # a run of before goes on, unless the network would be another
    told = [] if word == "auto" else [f"{INPUT} raw ≠ auto"]
    assert differing(comparable(older, ()), comparable(cfg, ())) == told
    assert differing(comparable(older), comparable(cfg)) == []  # Base and the upper bound serve both


@pytest.mark.parametrize("operator", ["noise", "blur"])
def test_an_older_checkpoint_is_what_it_was(operator, tmp_path):
    cfg = config(**{"PRIVACY.DESENSITIZER.NAME": operator, INPUT: "raw"})
    torch.manual_seed(0)
    model, older = build_model(cfg).eval(), before_the_key(cfg)
    path = tmp_path / "model_best.pth"
    torch.save({"model": model.state_dict(), "config": yaml.safe_dump(older)}, path)
    images = random_images(2)
    with torch.no_grad():
        expected = quantize(to_levels(model.anonymizer(to_unit(images))))
    protect = load_anonymizer(path, "cpu")
    assert not protect.is_random and torch.equal(protect(images), expected)
    # the fingerprint that its manifests name, by hand
    options = {
        "size": [64, 32],
        "operator": {key: older["PRIVACY"]["ANONYMIZER"][key] for key in ("NAME", "WIDTH", "DEPTH")},
    }
    digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode())
    for name, value in sorted(model.state_dict().items()):
        if name.startswith("anonymizer."):
            digest.update(name.encode() + value.numpy().tobytes())
    assert protect.fingerprint == digest.hexdigest()


def test_the_fingerprint_is_also_of_the_noise(noise_weights):
    weights, cfg = (trained := read_trained(noise_weights)).weights, trained.cfg
    own = anonymizer_fingerprint(weights, cfg)
    for key, value in (("PRIVACY.DESENSITIZER.NOISE_STD", 0.1), ("PRIVACY.STORAGE", "jpeg75")):
        assert anonymizer_fingerprint(weights, changed(cfg, {key: value})) != own
    assert anonymizer_fingerprint(weights, changed(cfg, {"SEED": 3, INPUT: "raw+desensitized"})) == own


# -- the model -----------------------------------------------------------------------------------------------


def test_a_new_anonymizer_gives_about_the_noisy_image():
    """It need not learn first to copy noise: protection holds from the first step."""
    torch.manual_seed(0)
    model, batch = build_model(config()).eval(), batch_of(4)
    images = model.domain_images(batch)
    away = (images["PI"] - images["DI"]).abs()
    assert 0 < away.mean() < 20 < (images["PI"] - images["OI"]).abs().mean()
    # values at the ends of the range can still be moved: the gradient is that of the sum
    seen = torch.cat([torch.zeros(1, 3, 64, 32), torch.ones(1, 3, 64, 32)], 1)
    made = model.anonymizer(seen)
    assert made.min() >= -1 and made.max() <= 1
    made.sum().backward()
    assert model.anonymizer.up[0][0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("upgraded", [False, True])
def test_training_shows_the_anonymizer_the_noise_that_it_is_to_imitate(upgraded):
    torch.manual_seed(0)
    model, batch, calls = build_model(config()).train(), batch_of(), {"G": [], "G*": [], "D": []}
    parts = {
        "G": model.anonymizer,
        "G*": model.supervision.frozen_anonymizer,
        "D": model.anonymization_discriminator,
    }
    for name, part in parts.items():
        part.register_forward_pre_hook(lambda _, args, name=name: calls[name].append([*args]))
    if upgraded:
        model.supervision.upgrade(model.anonymizer)
    drawn = []
    for _ in range(2):
        for each in calls.values():
            each.clear()
        with EventStorage(0):
            losses = model({**batch, "images": batch["images"].clone()})
        ((seen,),) = calls["G"]
        assert seen.shape == (8, 6, 64, 32) and torch.equal(seen[:, :3], to_unit(batch["images"]))
        noisy = seen[:, 3:]
        assert 0.3 < (noisy - seen[:, :3]).abs().mean() < 1  # of std 0.5 of the range, clipped
        drawn.append(noisy)
        real = calls["D"][1][1]  # D_Y sees p, then y and p
        if upgraded:
            assert torch.equal(calls["G*"][0][0], seen)
            with torch.no_grad():
                assert torch.equal(real, parts["G*"](seen))
        else:
            assert not calls["G*"] and torch.equal(real, noisy)
        sum(losses.values()).backward()
        assert model.anonymizer.down[0][0].weight.grad[:, 3:].abs().sum() > 0
    assert not torch.equal(*drawn)  # each image has new noise each time


def test_the_domains_depend_on_the_path_alone():
    torch.manual_seed(0)
    model, batch = build_model(config()).eval(), batch_of(4)
    images = model.domain_images(batch)
    with torch.no_grad():
        both = torch.cat([batch["images"], images["DI"]], dim=1)
        expected = quantize(to_levels(model.anonymizer(both / 127.5 - 1)))
    assert torch.equal(images["PI"], expected)
    assert torch.equal(images["RI"], quantize(model.recover(images["PI"])))
    torch.manual_seed(5)
    again = model.domain_images({**batch, "img_paths": ["elsewhere/" + path for path in batch["img_paths"]]})
    assert all(torch.equal(images[domain], again[domain]) for domain in images)
    other = model.domain_images({**batch, "img_paths": ["0.jpg", "x.jpg", "2.jpg", "3.jpg"]})
    changed_ones = [not torch.equal(*pair) for pair in zip(images["PI"], other["PI"], strict=True)]
    assert changed_ones == [False, True, False, False]
    with pytest.raises(ValueError, match="sees desensitized images"):
        model.protect(batch["images"])


def test_a_run_that_was_resumed_ends_where_the_whole_one_does(small_dataset, tmp_path):
    def trained(name, resume=False):
        options = {
            "PRIVACY.DESENSITIZER.NAME": "noise",
            "SOLVER.CHECKPOINT_PERIOD": 1,
            "PRIVACY.UPGRADE.EPS_PSNR": 100.0,  # the first check upgrades
            "PRIVACY.UPGRADE.EPS_SSIM": 2.0,
        }
        (tmp_path / name).mkdir(exist_ok=True)
        cfg = load_config(SMALL_CONFIG, small_options(tmp_path / name, **options))
        trainer = PrivacyTrainer(cfg, 0.0)
        trainer.resume_or_load(resume)
        trainer.train()
        return torch.load(tmp_path / name / "model_final.pth", weights_only=False)

    whole = trained("whole")
    (tmp_path / "resumed").mkdir()
    for name in ("model_0000.pth", "model_best.pth", "last_checkpoint"):
        shutil.copy(tmp_path / "whole" / name, tmp_path / "resumed")
    (tmp_path / "resumed" / "last_checkpoint").write_text("model_0000.pth")
    resumed = trained("resumed", resume=True)
    assert (
        whole["model"]["anonymizer.down.0.0.weight"].shape[1] == 6 and whole["model"]["supervision.upgraded"]
    )
    assert all(torch.equal(value, resumed["model"][name]) for name, value in whole["model"].items())
    assert whole["upgrade_record"] == resumed["upgrade_record"]


# -- files ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def released(noise_weights, tmp_path_factory):
    return split_checkpoint(noise_weights, tmp_path_factory.mktemp("released"), None, onnx=True)


def test_every_file_of_the_anonymizer_gives_the_same(noise_weights, released):
    images, seeds = random_images(3), [1, 2**255, 77]
    trained = read_trained(noise_weights)
    model = build_model(trained.cfg).eval()
    model.load_state_dict(trained.weights)
    with torch.no_grad():
        noisy = Desensitizer("noise")(images, seeds).clamp(0, 255).round()
        expected = to_levels(model.anonymizer(to_unit(torch.cat([images, noisy], 1))))
    assert expected.std() > 20
    prints = set()
    for path, runtime in (
        (noise_weights, None),
        (noise_weights, "onnx"),
        (released["anonymizer"], None),
        (released["anonymizer_onnx"], None),
    ):
        protect = load_anonymizer(path, "cpu", runtime=runtime)
        torch.testing.assert_close(protect.levels(images, seeds), expected, rtol=0, atol=1e-3)
        prints.add(protect.fingerprint)
        assert protect.is_random
    assert len(prints) == 1
    assert load(released["anonymizer"].read_bytes())["anonymizer.down.0.0.weight"].shape[1] == 6
    protected = quantize(expected)
    torch.testing.assert_close(
        load_recovery(released["recovery_onnx"], "cpu")(protected),
        load_recovery(noise_weights, "cpu")(protected),
        rtol=0,
        atol=1,  # a level that is rounded otherwise
    )


def test_a_graph_and_a_config_of_other_channels_do_not_go_together(noise_weights, weights, tmp_path):
    """Of two releases, the graph of one with the metadata of the other."""
    onnx = pytest.importorskip("onnx")
    raw, noisy = (
        split_checkpoint(path, tmp_path / name, None, onnx=True)["anonymizer_onnx"]
        for name, path in (("raw", weights), ("noisy", noise_weights))
    )
    mixed, other = onnx.load(raw), onnx.load(noisy)
    del mixed.metadata_props[:]
    told = [each for each in other.metadata_props if each.key != "sha256"]
    mixed.metadata_props.extend(told)
    onnx.save(mixed, tmp_path / "mixed.onnx")
    with pytest.raises(UserError, match=r"mixed\.onnx is damaged"):
        load_anonymizer(tmp_path / "mixed.onnx", "cpu")


def test_the_function_draws_a_secret_for_each_image(noise_weights, stream_keys):
    protect, images = load_anonymizer(noise_weights, "cpu"), random_images(1).repeat(2, 1, 1, 1)
    torch.manual_seed(0)
    first = protect(images)
    torch.manual_seed(0)
    second = protect(images)
    assert not torch.equal(first[0], first[1]) and not torch.equal(first, second)
    assert len(set(stream_keys)) == 4 and all(any(key[16:]) for key in stream_keys)
    assert torch.equal(protect(images, [3, 3])[0], protect(images, [3, 3])[1])


def test_a_collection_is_protected_and_recovered(noise_weights, small_dataset, tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    for number, path in enumerate(sorted(small_dataset.glob("*/query/*"))[:3]):
        shutil.copy(path, raw / f"{number}{path.suffix}")
    protected, recovered = tmp_path / "protected", tmp_path / "recovered"
    assert anonymize("--weights", noise_weights, "--input", raw, "--output", protected) == 0
    assert read_manifest(protected / "manifest.jsonl").header["method"] == "learned"
    assert recover("--key", noise_weights, "--input", protected, "--output", recovered) == 0
    key = load_recovery(noise_weights, "cpu")
    for number in range(3):
        stored, back = (np.array(Image.open(folder / f"{number}.png")) for folder in (protected, recovered))
        assert stored.std() > 10
        image = torch.from_numpy(stored).permute(2, 0, 1)[None]
        expected = key(image)[0].permute(1, 2, 0).numpy().astype(int)
        assert np.abs(back[: expected.shape[0], : expected.shape[1]].astype(int) - expected).max() <= 1


def test_retrieval_and_attacks_see_the_images_of_the_evaluation(noise_weights, small_dataset):
    path = next(iter(sorted(small_dataset.glob("*/query/*"))))
    raw = torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)[None].float()
    extract = load_extractor(noise_weights, "cpu")
    expected = extract.model.domain_images({"images": raw, "img_paths": [path.name]})["PI"]
    assert torch.equal(extract.protect(raw, [path.name]), expected)
    # an attack's subject has no ending
    view = _protecting(load_anonymizer(noise_weights, "cpu"))(Files((64, 32)))
    subject = Subject(path.stem, 1, 1, path, path)
    assert torch.equal(view([subject]), extract.model.protected(raw, path_seeds([path.stem])))
    assert torch.equal(view([subject]), view([subject]))


# -- reproductions -------------------------------------------------------------------------------------------


def test_the_papers_protocol_keeps_the_papers_input(tmp_path):
    def inputs(protocol, *lines):
        file = tmp_path / "config.yml"
        file.write_text("\n".join([f"_BASE_: {SMALL_CONFIG}", *lines]))
        made = Reproduction(str(file), ["MODEL.DEVICE", "cpu"], protocol=protocol, output_dir=tmp_path)
        kinds = {"noise": Run("full", 0, "noise"), "blur": Run("full", 0, "blur")}
        return {name: made.config_of(each).PRIVACY.ANONYMIZER.INPUT for name, each in kinds.items()}

    assert inputs("paper") == {"noise": "raw", "blur": "auto"}
    assert inputs("joint") == {"noise": "auto", "blur": "auto"}
    given = ["PRIVACY:", "  ANONYMIZER:", "    INPUT: raw+desensitized"]
    assert set(inputs("paper", *given).values()) == {"raw+desensitized"}
