"""Weights that lie channels last and step in one kernel: what they learn is what plain torch's would."""

from __future__ import annotations

from conftest import SMALL_CONFIG, small_options  # before fastreid: importing the package makes it work

# isort: split
import copy

import pytest
import torch
from fastreid.layers.batch_norm import GhostBatchNorm
from fastreid.modeling import build_model
from fastreid.modeling.backbones.repvgg import RepVGGBlock
from fastreid.utils.events import EventStorage
from torch import nn

from fastreid_privacy.config import load_config
from fastreid_privacy.desensitize import lines
from fastreid_privacy.model import anonymizer, meta_arch
from fastreid_privacy.model.memory_layout import to_channels_last
from fastreid_privacy.training.solver import build_optimizer


def take_step(model, optimizer, number: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(number)
    images = torch.randint(0, 256, (4, 3, 32, 32), generator=generator).float()
    torch.manual_seed(number)  # of random erasing
    with EventStorage(0):
        losses = model({"images": images, "targets": torch.arange(4) // 2})
    optimizer.zero_grad()
    sum(losses.values()).backward()
    optimizer.step()
    return torch.stack([losses[name].detach() for name in sorted(losses)])


def test_twenty_steps_end_where_the_plain_path_ends(monkeypatch):
    """In float64, for in float32 the rounding of one step decides on signs of Adam's next.

    The plain path is the same model laid out as torch does, and torch's Adam one weight after the other.
    """
    options = {"MODEL.HEADS.NUM_CLASSES": 2, "PRIVACY.STORAGE": "none", "SOLVER.BASE_LR": 1e-5}
    options |= {"INPUT.SIZE_TRAIN": [32, 32], "INPUT.SIZE_TEST": [32, 32]}
    options |= {f"PRIVACY.{part}.WIDTH": 4 for part in ("ANONYMIZER", "RECOVERY", "DISCRIMINATOR")}
    cfg = load_config(SMALL_CONFIG, small_options("", **options))
    torch.manual_seed(0)
    ours = build_model(cfg).double().train()
    plain = copy.deepcopy(ours).to(memory_format=torch.contiguous_format)
    for part in (ours.anonymizer.down[1][0], ours.recovery.up[1][0], ours.backbone.conv1.conv):
        assert part.weight.is_contiguous(memory_format=torch.channels_last)
        assert not part.weight.is_contiguous()
    start = copy.deepcopy(plain.state_dict())
    for module in (meta_arch, anonymizer):
        monkeypatch.setattr(module, "to_unit", lambda images: images.double() / 127.5 - 1)
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    # not the matrices that other tests have kept in float32, and none in float64 for those to come
    monkeypatch.setattr(lines, "blur_matrix", lines.blur_matrix.__wrapped__)

    groups = [{k: v for k, v in g.items() if k != "fused"} for g in build_optimizer(cfg, plain).param_groups]
    optimizers = build_optimizer(cfg, ours), torch.optim.Adam(groups, foreach=False)
    for number in range(20):
        losses, expected = (
            take_step(model, optimizer, number)
            for model, optimizer in zip((ours, plain), optimizers, strict=True)
        )
        torch.testing.assert_close(losses, expected, rtol=1e-6, atol=1e-8)
    learned, moved = ours.state_dict(), 0.0
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(learned[name], value, rtol=1e-6, atol=1e-8, msg=name)
        moved = max(moved, (value.double() - start[name].double()).abs().max().item())
    assert moved > 1e-4  # what both have learned is no matter of tolerance


def test_a_split_batch_norm_keeps_the_layout_that_it_needs():
    model = nn.Module()
    model.image, model.backbone = (
        nn.Sequential(nn.Conv2d(3, 8, 3), norm) for norm in (nn.BatchNorm2d(8), GhostBatchNorm(8, 2))
    )
    images = torch.randn(4, 3, 8, 8)
    expected = model.backbone(images)
    to_channels_last(model)
    assert torch.equal(model.backbone(images), expected)
    assert model.backbone(images).is_contiguous()
    assert model.image(images).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("written", ["plain", "channels last"])
def test_files_of_either_layout_load_into_either(written):
    """Old checkpoints have plain weights; new ones are read by plain fastreid."""
    first, second = nn.Sequential(nn.Conv2d(3, 8, 3)), nn.Sequential(nn.Conv2d(3, 8, 3))
    to_channels_last(first if written == "channels last" else second)
    second.load_state_dict(first.state_dict())
    assert torch.equal(second[0].weight, first[0].weight)
    lies_last = second[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert lies_last is (written == "plain")


def test_blocks_that_end_the_process_in_this_layout_keep_the_other():
    """RepVGG's blocks, channels last, made torch free its memory twice."""
    model = nn.Module()
    model.backbone, model.other = nn.Sequential(RepVGGBlock(4, 4, "BN", 3, padding=1)), nn.Conv2d(3, 8, 3)
    to_channels_last(model)
    convolutions = [module for module in model.backbone.modules() if isinstance(module, nn.Conv2d)]
    assert convolutions and all(each.weight.is_contiguous() for each in convolutions)
    assert model.other.weight.is_contiguous(memory_format=torch.channels_last)
