"""The stages and the losses: each network's gradient against its own loss computed apart, what Re-ID and the
generators see, domains."""

from __future__ import annotations

from conftest import SMALL_CONFIG, small_options  # before fastreid: importing the package makes it work

# isort: split
import copy
import os
import zlib

import pytest
import torch
from fastreid.engine.train_loop import SimpleTrainer
from fastreid.modeling import build_model
from fastreid.modeling.heads import EmbeddingHead
from fastreid.utils.events import EventStorage

from fastreid_privacy.config import load_config, parse_config
from fastreid_privacy.core.images import to_unit
from fastreid_privacy.model.heads import scale_classifiers
from fastreid_privacy.model.image_stages import path_seeds
from fastreid_privacy.model.losses import adversarial_loss
from fastreid_privacy.model.parts import GAN_MODULES
from fastreid_privacy.training.processes import unwrap
from fastreid_privacy.training.solver import build_optimizer
from fastreid_privacy.training.trainer import PrivacyTrainer

SMALL = {
    "MODEL.DEVICE": "cpu",
    "INPUT.SIZE_TRAIN": "[64, 32]",
    "INPUT.SIZE_TEST": "[64, 32]",
    "PRIVACY.ANONYMIZER.WIDTH": 8,
    "PRIVACY.RECOVERY.WIDTH": 8,
    "PRIVACY.DISCRIMINATOR.WIDTH": 8,
    "MODEL.HEADS.NUM_CLASSES": 4,
    "INPUT.REA.ENABLED": False,
}


def make_model(**options):
    settings = {**SMALL, **{key.replace("__", "."): value for key, value in options.items()}}
    cfg = load_config(
        "configs/Synthetic/privacy_agw.yml", [str(item) for pair in settings.items() for item in pair]
    )
    torch.manual_seed(0)
    return build_model(cfg), cfg


def make_batch(count: int = 8) -> dict:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (count, 3, 64, 32), generator=generator).float()
    return {
        "images": images,
        "targets": torch.arange(count) // 2,
        "camids": torch.arange(count) % 2,
        "img_paths": [f"{i}.jpg" for i in range(count)],
    }


def losses_of(model, batch) -> dict:
    model.train()
    with EventStorage(0):
        return model({**batch, "images": batch["images"].clone()})


def gradients(model, loss, prefixes) -> dict:
    model.zero_grad()
    loss.backward()
    return {
        name: value.grad.clone()
        for name, value in model.named_parameters()
        if name.startswith(prefixes) and value.grad is not None
    }


@pytest.mark.parametrize("pooling", ["GeneralizedMeanPooling", "GeneralizedMeanPoolingP"])
def test_every_network_changes_in_one_step(pooling):
    model, cfg = make_model(MODEL__HEADS__POOL_LAYER=pooling)
    before = copy.deepcopy(model.state_dict())
    optimizer = build_optimizer(cfg, model)
    sum(losses_of(model, make_batch()).values()).backward()
    optimizer.step()
    for name, value in model.named_parameters():
        if name.startswith("supervision."):
            assert torch.equal(value, before[name])  # G* moves at an upgrade only
        elif name != "heads.bottleneck.0.bias":  # fastreid freezes the neck's bias
            assert not torch.equal(value, before[name]), name
    assert not torch.equal(model.centers, before["centers"])


def test_the_pooling_of_agw_is_learned_from_three():
    model, _ = make_model(MODEL__HEADS__POOL_LAYER="GeneralizedMeanPoolingP")
    exponent = dict(model.named_parameters())["heads.pool_layer.p"]
    features = torch.rand(2, 5, 4, 2, generator=torch.Generator().manual_seed(0)) + 0.1
    for power in (3.0, 1.7):
        exponent.data.fill_(power) if power != 3.0 else None
        expected = (features.double() ** power).mean(dim=(2, 3)) ** (1 / power)
        got = model.heads.pool_layer(features)[..., 0, 0]
        torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-6)


def test_the_first_weights_of_the_classifier_are_agw_s():
    """As spread as asked, and nothing else starts otherwise."""
    fastreid_s, agw_s = (
        make_model(MODEL__HEADS__CLASSIFIER_STD=std)[0].state_dict() for std in (0.01, 0.001)
    )
    assert agw_s["heads.weight"].std().item() == pytest.approx(0.001, rel=0.1)
    assert fastreid_s["heads.weight"].std().item() == pytest.approx(0.01, rel=0.1)
    assert all(torch.equal(agw_s[name], fastreid_s[name]) for name in agw_s if name != "heads.weight")


def test_every_head_of_fastreid_s_is_scaled_and_no_other():
    class Mine(torch.nn.Linear):
        pass

    def head():
        pooling = {"pool_type": "GlobalAvgPool", "cls_type": "Linear", "scale": 1, "margin": 0}
        sizes = {"feat_dim": 6, "embedding_dim": 0, "num_classes": 3, "with_bnneck": True, "norm_type": "BN"}
        return EmbeddingHead(neck_feat="before", **pooling, **sizes)

    heads = torch.nn.ModuleList([head(), torch.nn.Sequential(head()), Mine(6, 3)])
    before = copy.deepcopy(heads.state_dict())
    scale_classifiers(heads, 0.002)
    for name, value in heads.state_dict().items():
        factor = 0.2 if name in ("0.weight", "1.0.weight") else 1.0
        torch.testing.assert_close(value, (before[name] * factor).to(value.dtype), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("joint", "upgraded", "lambda_rec", "lambda_l1"),
    [
        (True, False, 1, 100),
        (True, True, 1, 100),
        (False, False, 1, 100),
        (False, True, 1, 100),
        (True, False, 0.25, 7.5),
        (True, True, 0, 100),
        (False, False, 0, 7.5),
    ],
)
def test_each_network_gets_the_gradient_of_its_own_loss(joint, upgraded, lambda_rec, lambda_l1):
    """Eqs. 1–8 written down one network at a time, each with its own backward pass through undetached copies
    of the stages."""
    model, _ = make_model(
        PRIVACY__JOINT_BATCH=joint, PRIVACY__LAMBDA_REC=lambda_rec, PRIVACY__LAMBDA_L1=lambda_l1
    )
    if upgraded:
        model.supervision.upgrade(model.anonymizer)
    batch = make_batch()
    # BatchNorm in evaluation mode inside the copies would differ, so every path starts from the same fresh
    # copy in training mode.
    reference = copy.deepcopy(model).train()
    together = copy.deepcopy(model)
    summed = gradients(
        together, sum(losses_of(together, batch).values()), ("backbone", "heads", *GAN_MODULES)
    )

    def stages(net):
        x = to_unit(batch["images"])
        y = net.supervision(x, to_unit(net.desensitize(batch["images"])))
        p_stored = net.protect(batch["images"])
        return x, y, to_unit(p_stored), to_unit(net.recover(p_stored)) if lambda_rec else None, p_stored

    def recovery_loss(d_x, x, p, r):
        return lambda_rec * (adversarial_loss(d_x(p.detach(), r), True) + lambda_l1 * (r - x).abs().mean())

    def own_loss(part):
        net = copy.deepcopy(reference)
        x, y, p, r, p_stored = stages(net)
        d_y, d_x = net.anonymization_discriminator, net.recovery_discriminator
        if part == "anonymization_discriminator":
            p = p.detach()
            loss = 0.5 * adversarial_loss(d_y(x, y), True) + 0.5 * adversarial_loss(d_y(x, p), False)
        elif part == "recovery_discriminator":
            p, r = p.detach(), r.detach()
            loss = 0.5 * adversarial_loss(d_x(p, x), True) + 0.5 * adversarial_loss(d_x(p, r), False)
        elif part == "recovery":
            loss = recovery_loss(d_x, x, p, r)
        else:
            with EventStorage(0):
                reid = sum(net.reid_losses([batch["images"], p_stored], batch["targets"]).values())
            loss = reid
            if part == "anonymizer":  # L = L_ano + λ_rec·L_rec + L_reid
                loss = loss + adversarial_loss(d_y(x, p), True) + lambda_l1 * (p - y).abs().mean()
                loss = loss + (recovery_loss(d_x, x, p, r) if lambda_rec else 0)
        return gradients(net, loss, (f"{part}.",))

    for part in (
        "backbone",
        "heads",
        *(name for name in GAN_MODULES if getattr(model, name) is not None),
    ):
        expected = own_loss(part)
        assert expected, part
        for name, gradient in expected.items():
            torch.testing.assert_close(
                summed[name],
                gradient,
                rtol=2e-4,
                atol=2e-5 * max(gradient.abs().max().item(), 1e-3),
                msg=name,
            )


def test_joint_batch_is_the_sum_of_eq_7_where_nothing_couples_the_images():
    """Without BatchNorm's batch statistics, cross-entropy in a joint batch equals the sum of the two
    passes."""
    totals = {}
    for joint in (True, False):
        model, _ = make_model(PRIVACY__PROTECTION="conventional", PRIVACY__JOINT_BATCH=joint)
        for module in model.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.momentum = 0.0
                module.forward = lambda x, m=module: torch.nn.functional.batch_norm(
                    x, m.running_mean, m.running_var, m.weight, m.bias
                )
        totals[joint] = losses_of(model, make_batch())["loss_cls"].item()
    assert totals[True] == pytest.approx(totals[False], rel=1e-5)


@pytest.mark.parametrize(
    ("protection", "domains", "weight", "lr"), [("none", 1, 0.0005, 0.5), ("conventional", 2, 0.25, 0.125)]
)
def test_the_center_loss_of_a_joint_batch_is_the_sum_of_eq_7(protection, domains, weight, lr):
    """Its weight is of the loss alone, its learning rate of the centers' step alone."""
    model, _ = make_model(
        PRIVACY__PROTECTION=protection, PRIVACY__CENTER_LOSS__WEIGHT=weight, PRIVACY__CENTER_LOSS__LR=lr
    )
    seen = {}
    model.heads.register_forward_hook(
        lambda module, args, outputs: seen.update(features=outputs["features"].detach())
    )
    batch, centers = make_batch(), model.centers.clone().requires_grad_()
    losses = losses_of(model, batch)
    parts = seen["features"].chunk(domains)
    total = sum((part - centers[batch["targets"]]).square().sum(dim=1).mean() for part in parts)
    total.backward()
    torch.testing.assert_close(losses["loss_center"], weight * total.detach())
    torch.testing.assert_close(model.centers, centers.detach() - lr * centers.grad)


def test_a_center_loss_of_weight_0_is_not_there():
    model, _ = make_model(PRIVACY__PROTECTION="none", PRIVACY__CENTER_LOSS__WEIGHT=0)
    assert "loss_center" not in losses_of(model, make_batch()) and "centers" not in model.state_dict()


@pytest.mark.parametrize("colour", [[10.0, 120.0, 230.0], [40]])
def test_random_erasing_reaches_reid_only(colour):
    """With the colour of the config in each erased box, and nothing else changed; one value is a grey."""
    model, _ = make_model(INPUT__REA__ENABLED=True, INPUT__REA__PROB=1.0, INPUT__REA__VALUE=colour)
    seen = {"generator": [], "reid": []}
    model.anonymizer.register_forward_pre_hook(lambda module, args: seen["generator"].append(args[0].clone()))
    model.backbone.register_forward_pre_hook(lambda module, args: seen["reid"].append(args[0].clone()))
    batch = make_batch()
    losses_of(model, batch)
    assert torch.equal(seen["generator"][0], to_unit(batch["images"]))
    clean = (batch["images"] - model.pixel_mean) / model.pixel_std
    changed = (seen["reid"][0][:8] - clean).abs().amax(dim=1) > 1e-3
    assert changed.any(dim=(1, 2)).all() and len(seen["reid"][0]) == 16
    erased = (torch.tensor(colour).view(-1, 1, 1) - model.pixel_mean) / model.pixel_std
    boxes = torch.where(changed[:, None], erased, clean)
    torch.testing.assert_close(seen["reid"][0][:8], boxes)


@pytest.mark.parametrize(("enabled", "share"), [(True, (0.1, 0.5)), (False, (0, 0))])
def test_random_erasing_is_as_often_as_the_config_says(enabled, share):
    model, _ = make_model(INPUT__REA__ENABLED=enabled, INPUT__REA__PROB=0.3, PRIVACY__PROTECTION="none")
    seen = []
    model.backbone.register_forward_pre_hook(lambda module, args: seen.append(args[0].clone()))
    batch = make_batch(64)
    batch["targets"] %= 4
    losses_of(model, batch)
    clean = (batch["images"] - model.pixel_mean) / model.pixel_std
    erased = ((seen[0] - clean).abs().amax(dim=(1, 2, 3)) > 1e-3).float().mean()
    assert share[0] <= erased <= share[1]


def test_reid_and_recovery_see_the_stored_image():
    model, _ = make_model()
    seen = {}
    model.recovery.register_forward_pre_hook(lambda module, args: seen.update(recovery=args[0].clone()))
    model.backbone.register_forward_pre_hook(lambda module, args: seen.update(reid=args[0].clone()))
    losses_of(model, make_batch())
    levels = (seen["recovery"] + 1) * 127.5
    torch.testing.assert_close(levels, levels.round(), atol=2e-4, rtol=0)
    protected = seen["reid"][8:] * model.pixel_std + model.pixel_mean
    torch.testing.assert_close(protected, levels, atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("protection", "lambda_rec", "domains"),
    [
        ("none", 1, "OI DI"),
        ("conventional", 1, "OI DI PI"),
        ("learned", 0.5, "OI DI PI RI"),
        ("learned", 0, "OI DI PI"),
    ],
)
def test_domains_of_each_protection(protection, lambda_rec, domains):
    model, _ = make_model(PRIVACY__PROTECTION=protection, PRIVACY__LAMBDA_REC=lambda_rec)
    batch = make_batch()
    out = model.eval().extract_domains(batch)
    assert set(out["images"]) == set(out["features"]) == set(domains.split())
    for images in out["images"].values():
        assert torch.equal(images, images.round()) and images.min() >= 0 and images.max() <= 255
    assert torch.equal(out["features"]["OI"], model(batch))
    if protection == "conventional":
        assert torch.equal(out["images"]["PI"], out["images"]["DI"])


def test_without_recovery_nothing_of_it_is_built():
    model, cfg = make_model(PRIVACY__LAMBDA_REC=0)
    assert not [name for name in (*model.state_dict(), *losses_of(model, make_batch())) if "recovery" in name]
    trained = {
        id(parameter) for group in build_optimizer(cfg, model).param_groups for parameter in group["params"]
    }
    assert trained == {id(parameter) for parameter in model.parameters() if parameter.requires_grad}


def test_flip_averages_image_and_mirror_image():
    model, _ = make_model(PRIVACY__PROTECTION="none")
    batch = make_batch()
    mirrored = {**batch, "images": batch["images"].flip(3)}
    both = (model.eval()(batch) + model(mirrored)) / 2
    torch.testing.assert_close(model.extract_domains(batch, flip=True)["features"]["OI"], both)


def test_evaluation_noise_depends_on_the_file_name_only():
    model, _ = make_model(PRIVACY__PROTECTION="none", PRIVACY__DESENSITIZER__NAME="noise")
    batch = make_batch()
    whole = model.eval().extract_domains(batch)["images"]["DI"]
    part = model.extract_domains(
        {**batch, "images": batch["images"][3:5], "img_paths": ["elsewhere/3.jpg", "4.jpg"]}
    )["images"]["DI"]
    assert torch.equal(whole[3:5], part)
    assert path_seeds(["a/1.jpg"]).tolist() != path_seeds(["a/2.jpg"]).tolist()
    names = [b"caf\xe9.png", "café.png".encode()]  # the first is no UTF-8
    assert path_seeds([os.fsdecode(b"a/" + name) for name in names]).tolist() == list(map(zlib.crc32, names))


def test_mixed_precision_keeps_targets_and_distances_in_float32():
    """Convolutions compute in bfloat16, what is measured stays in float32; an evaluation is exact."""
    exact, _ = make_model()
    mixed = copy.deepcopy(exact)
    mixed.mixed_precision = True
    kinds = []
    for part in (mixed.backbone, mixed.anonymizer):
        conv = next(module for module in part.modules() if isinstance(module, torch.nn.Conv2d))
        conv.register_forward_hook(lambda module, args, output: kinds.append(output.dtype))
    torch.manual_seed(0)
    a = losses_of(exact, make_batch())
    torch.manual_seed(0)
    b = losses_of(mixed, make_batch())
    assert all(loss.dtype == torch.float32 for loss in b.values())
    for name in a:
        assert b[name].item() == pytest.approx(a[name].item(), rel=0.1, abs=0.05), name
    assert kinds == [torch.bfloat16] * 2
    mixed.eval()(make_batch())
    assert kinds[2:] == [torch.float32]


def test_the_trainer_turns_mixed_precision_on(small_dataset, tmp_path, caplog, monkeypatch):
    """The config, also the saved one, says what the user asked for; nothing is built twice, and nothing says
    float32."""
    iterators = []
    monkeypatch.setattr(
        SimpleTrainer,
        "__init__",
        lambda *args, init=SimpleTrainer.__init__: [iterators.append(args[0]), init(*args)][1],
    )
    cfg = load_config(SMALL_CONFIG, small_options(tmp_path, **{"SOLVER.AMP.ENABLED": True}))
    with caplog.at_level("INFO"):
        trainer = PrivacyTrainer(cfg, baseline_rank1=0.0)
    assert unwrap(trainer.model).mixed_precision and trainer.grad_scaler is None
    assert trainer.cfg.SOLVER.AMP.ENABLED and cfg.SOLVER.AMP.ENABLED
    assert parse_config(trainer.checkpointer.config, "").SOLVER.AMP.ENABLED
    assert iterators == [trainer._trainer]
    assert "float32" not in caplog.text
    assert not unwrap(
        PrivacyTrainer(load_config(SMALL_CONFIG, small_options(tmp_path)), baseline_rank1=0.0).model
    ).mixed_precision
