"""An attacker in the loop (``PRIVACY.ATTACKER.WEIGHT``): what it learns, what the anonymizer learns from it,
and that it leaves the training with nobody."""

from __future__ import annotations

from conftest import SMALL_CONFIG, small_options  # before fastreid: importing the package makes it work
from in_process import train

# isort: split
import copy
import json
import math
import shutil

import numpy as np
import pytest
import torch
from test_meta_arch import gradients, losses_of, make_batch, make_model

from fastreid_privacy import load_anonymizer
from fastreid_privacy.checkpoints.fingerprints import anonymizer_fingerprint, reid_fingerprint
from fastreid_privacy.checkpoints.reading import read_checkpoint
from fastreid_privacy.checkpoints.splitting import split_checkpoint
from fastreid_privacy.config import parse_config
from fastreid_privacy.core.images import to_unit
from fastreid_privacy.model.attacker import TrainedAttacker, shortfall
from fastreid_privacy.model.parts import GAN_MODULES
from fastreid_privacy.training.solver import build_optimizer

WITH = {"PRIVACY__LAMBDA_REC": 0, "PRIVACY__ATTACKER__WEIGHT": 40.0}
LOSSES = {"loss_attacker_protected", "loss_attacker_desensitized", "loss_anonymization_attacker"}


def test_the_shortfall_is_of_each_image_and_never_below_zero():
    reached, wanted = torch.tensor([0.1, 0.4, 0.3, 0.2]), torch.tensor([0.3, 0.1, 0.3, 0.25])
    expected = sum(max(0.0, w - r) for r, w in zip(reached.tolist(), wanted.tolist(), strict=True)) / 4
    assert shortfall(reached, wanted).item() == pytest.approx(expected)
    assert expected == pytest.approx(0.0625)  # the second image, which shows less, pays for no other
    reached.requires_grad_()
    wanted.requires_grad_()
    shortfall(reached, wanted).backward()
    assert reached.grad.tolist() == [-0.25, 0, 0, -0.25] and wanted.grad is None


class OneFactor(torch.nn.Module):
    """The smallest decoder: its images times one weight."""

    def __init__(self, factor):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(factor))

    def forward(self, images):
        return self.factor * images


def test_losses_against_numpy():
    """With decoders that differ by now; L1 in [−1, 1] by image."""
    generator = torch.Generator().manual_seed(0)
    raw, desensitized, protected = (torch.rand(5, 3, 4, 2, generator=generator) * 2 - 1 for _ in range(3))
    attacker = TrainedAttacker(OneFactor(0.5), weight=7.0)
    attacker.on_desensitized.factor.data.fill_(-0.25)
    losses = attacker(raw, desensitized, protected)
    x, y, p = (images.double().numpy().reshape(5, -1) for images in (raw, desensitized, protected))
    learned, wanted = np.abs(0.5 * p - x).mean(axis=1), np.abs(-0.25 * y - x).mean(axis=1)
    assert losses["loss_attacker_protected"].item() == pytest.approx(learned.mean(), rel=1e-5)
    assert losses["loss_attacker_desensitized"].item() == pytest.approx(wanted.mean(), rel=1e-5)
    term = 7 * np.maximum(0, wanted - learned).mean()
    assert losses["loss_anonymization_attacker"].item() == pytest.approx(term, rel=1e-4) and term > 0


def test_the_twin_begins_with_the_same_weights_and_learns_alone():
    attacker = TrainedAttacker(OneFactor(0.5), weight=1.0)
    assert attacker.on_protected.factor.item() == attacker.on_desensitized.factor.item()
    assert attacker.on_protected.factor is not attacker.on_desensitized.factor


@pytest.mark.parametrize(("joint", "operator"), [(True, "noise"), (False, "blur")])
def test_each_network_gets_the_gradient_of_its_own_loss(joint, operator):
    """The sum of all losses against each network's own, written down on a copy; six channels with noise."""
    model, _ = make_model(PRIVACY__JOINT_BATCH=joint, PRIVACY__DESENSITIZER__NAME=operator, **WITH)
    with torch.no_grad():  # G_A finds more than its twin, so that the term is in force, for most images
        model.attacker.on_protected.up[0][0].weight.mul_(40)
        model.attacker.on_desensitized.up[0][0].weight.mul_(200)
    batch = make_batch()
    fixed = copy.deepcopy(model).desensitize(batch["images"])
    model.desensitize = lambda images, *_, **__: fixed
    x, y = to_unit(batch["images"]), to_unit(fixed)

    def distances(decoder, images):
        return torch.stack([(one - raw).abs().mean() for one, raw in zip(decoder(images), x, strict=True)])

    def own_loss(part):
        net = copy.deepcopy(model).train()
        p = to_unit(net.protect(batch["images"], fixed))
        if part == "attacker.on_protected":
            return gradients(net, distances(net.attacker.on_protected, p.detach()).mean(), (part,))
        if part == "attacker.on_desensitized":
            return gradients(net, distances(net.attacker.on_desensitized, y).mean(), (part,))
        gaps = distances(net.attacker.on_desensitized, y).detach() - distances(net.attacker.on_protected, p)
        assert (gaps > 0).any()
        return gradients(net, 40 * torch.relu(gaps).mean(), (part,))

    for part in ("attacker.on_protected", "attacker.on_desensitized", "anonymizer"):
        net, without = copy.deepcopy(model), copy.deepcopy(model)
        summed = gradients(net, sum(losses_of(net, batch).values()), (part,))
        expected = own_loss(part)
        if part == "anonymizer":  # what the other losses gave it before
            without.attacker = None
            before = gradients(without, sum(losses_of(without, batch).values()), (part,))
            assert any(not torch.allclose(before[name], summed[name]) for name in before)
            expected = {name: before[name] + gradient for name, gradient in expected.items()}
        assert expected
        for name, gradient in expected.items():
            scale = max(gradient.abs().max().item(), 1e-3)
            torch.testing.assert_close(summed[name], gradient, rtol=5e-4, atol=5e-5 * scale, msg=name)


def test_it_draws_the_anonymizer_away_from_what_the_attacker_reads():
    """On the term alone, the attacker's error rises to the twin's, and stays there."""
    model, _ = make_model(**WITH)
    batch = make_batch()
    x, y = to_unit(batch["images"]), to_unit(model.desensitize(batch["images"]))
    attacker = TrainedAttacker(OneFactor(1.0), weight=1.0)
    attacker.on_desensitized.factor.data.fill_(1.0)
    protected = x.clone().requires_grad_()  # all is shown
    optimizer = torch.optim.SGD([protected], lr=100.0)
    wanted = (y - x).abs().flatten(1).mean(dim=1)
    for _ in range(400):
        optimizer.zero_grad()
        attacker(x, y, protected + 1e-4)["loss_anonymization_attacker"].backward()
        optimizer.step()
    reached = (protected - x).abs().flatten(1).mean(dim=1)
    assert (reached > 0.95 * wanted).all() and (reached < 1.1 * wanted).all()


def test_weight_0_builds_nothing_and_changes_nothing():
    settings = {"PRIVACY__LAMBDA_REC": 0}
    (without, _), (off, _) = make_model(**settings), make_model(**settings, PRIVACY__ATTACKER__WEIGHT=0)
    (with_it, cfg), first = make_model(**WITH), without.state_dict()
    assert off.attacker is None and list(off.state_dict()) == list(first)
    assert not LOSSES & set(losses_of(off, make_batch()))
    assert set(losses_of(with_it, make_batch())) > LOSSES
    own = {name for name in with_it.state_dict() if name.startswith("attacker.")}
    assert set(with_it.state_dict()) - set(first) == own
    betas = {
        tuple(group["betas"])
        for group in build_optimizer(cfg, with_it).param_groups
        for parameter in group["params"]
        if any(parameter is mine for mine in with_it.attacker.parameters())
    }
    assert "attacker" in GAN_MODULES and betas == {tuple(cfg.SOLVER.GAN_BETAS)}


def test_losses_in_bfloat16_are_those_of_float32():
    """Near enough for eight bits of mantissa; errors are taken in float32."""
    (exact, _), (rough, _) = make_model(**WITH), make_model(**WITH)
    rough.mixed_precision = True
    exact, rough = (losses_of(model, make_batch()) for model in (exact, rough))
    for name in LOSSES - {"loss_anonymization_attacker"}:  # a difference of two near errors
        assert rough[name].dtype == torch.float32
        assert rough[name].item() == pytest.approx(exact[name].item(), rel=0.01)
    assert rough["loss_anonymization_attacker"].dtype == torch.float32


def test_no_attacker_beside_a_recovery_decoder():
    model, _ = make_model()
    words = {
        name: getattr(model, name)
        for name in ("anonymizer", "recovery", "anonymization_discriminator", "recovery_discriminator")
    }
    with pytest.raises(ValueError, match="take away what a recovery decoder needs"):
        type(model)(
            backbone=model.backbone,
            heads=model.heads,
            pixel_mean=[0] * 3,
            pixel_std=[1] * 3,
            loss_kwargs={},
            desensitizer=model.desensitizer,
            storage=model.storage,
            protection="learned",
            center_weight=0,
            attacker=TrainedAttacker(OneFactor(1.0), 1.0),
            **words,
        )


@pytest.fixture(scope="module")
def options(small_dataset):
    def of(output, **more):
        keys = {"PRIVACY.LAMBDA_REC": 0, "PRIVACY.ATTACKER.WEIGHT": 40.0, **more}
        return ["--config-file", str(SMALL_CONFIG), *small_options(output, **keys)]

    return of


@pytest.fixture(scope="module")
def trained(options, tmp_path_factory):
    """OUTPUT_DIR of a finished run with an attacker; to be read, not to be written."""
    output = tmp_path_factory.mktemp("attacker") / "run"
    assert train(*options(output)) == 0
    return output


def test_its_losses_are_logged_and_the_page_names_it(trained):
    lines = [json.loads(line) for line in (trained / "metrics.json").read_text().splitlines()]
    logged = [line for line in lines if "total_loss" in line]
    assert logged and all(math.isfinite(line[name]) for line in logged for name in LOSSES)
    page = (trained / "report.html").read_text()
    assert "Without recovery, against an attacker" in page and "nan" not in page.split()


def test_a_run_goes_on_exactly(options, trained, tmp_path, capsys):
    """From its first epoch: the attacker's weights and their optimizer are in the checkpoint."""
    for name in ("model_0000.pth", "config.yaml"):
        shutil.copy(trained / name, tmp_path / name)
    (tmp_path / "last_checkpoint").write_text("model_0000.pth")
    assert train("--resume", *options(tmp_path)) == 0
    once, twice = (read_checkpoint(folder / "model_final.pth")["model"] for folder in (trained, tmp_path))
    assert [name for name in once if name.startswith("attacker.")]
    assert [name for name in once if not torch.equal(once[name], twice[name])] == []
    words = options(tmp_path, **{"PRIVACY.ATTACKER.WEIGHT": 50.0})
    assert train("--resume", *words) == 2
    assert "PRIVACY.ATTACKER.WEIGHT 40.0 → 50.0" in capsys.readouterr().err


def test_nobody_is_given_the_attacker(trained, tmp_path):
    """It knows the way back: no part of a release has it, and a file without it serves as well."""
    path = trained / "model_final.pth"
    files = split_checkpoint(path, tmp_path / "release", None)
    assert set(files) == {"anonymizer", "reid"}
    for file in files.values():
        assert b"attacker." not in file.read_bytes(), file
    checkpoint = read_checkpoint(path)
    tensors = {name: value for name, value in checkpoint["model"].items() if not name.startswith("attacker.")}
    torch.save({**checkpoint, "model": tensors}, tmp_path / "alone.pth")
    cfg = parse_config(checkpoint["config"], "")
    for fingerprint in (anonymizer_fingerprint, reid_fingerprint):
        assert fingerprint(tensors, cfg) == fingerprint(checkpoint["model"], cfg)
    images = torch.randint(0, 256, (2, 3, 64, 32), dtype=torch.uint8)
    assert torch.equal(
        load_anonymizer(tmp_path / "alone.pth", "cpu")(images),
        load_anonymizer(path, "cpu")(images),
    )
