"""Losses against loops."""

import math

import pytest
import torch
from torch import nn

from fastreid_privacy.model.losses import adversarial_loss, center_loss, frozen, update_centers


@pytest.mark.parametrize("real", [True, False])
def test_adversarial_loss_is_the_mean_log_likelihood(real):
    logits = torch.randn(3, 1, 4, 2)
    expected = 0.0
    for value in logits.flatten().tolist():
        probability = 1 / (1 + math.exp(-value))
        expected -= math.log(probability if real else 1 - probability) / logits.numel()
    assert adversarial_loss(logits, real).item() == pytest.approx(expected, rel=1e-5)


def test_frozen_passes_gradient_through_and_restores_flags():
    layer = nn.Linear(3, 3)
    layer.bias.requires_grad_(False)
    x = torch.randn(2, 3, requires_grad=True)
    with frozen(layer):
        layer(x).sum().backward()
    assert layer.weight.grad is None and x.grad.abs().sum() > 0
    assert layer.weight.requires_grad and not layer.bias.requires_grad


def test_center_loss_and_its_update():
    features, targets, centers = torch.randn(6, 4), torch.tensor([0, 2, 2, 1, 0, 2]), torch.randn(5, 4)
    expected = (
        sum((features[i] - centers[t]).square().sum().item() for i, t in enumerate(targets.tolist())) / 6
    )
    assert center_loss(features, targets, centers).item() == pytest.approx(expected, rel=1e-6)

    learned = centers.clone().requires_grad_()
    loss = sum((features[i] - learned[t]).square().sum() for i, t in enumerate(targets.tolist())) / 6
    loss.backward()
    moved = centers.clone()
    update_centers(moved, features, targets, lr=0.5)
    torch.testing.assert_close(moved, centers - 0.5 * learned.grad)
    assert torch.equal(moved[3:], centers[3:])  # identities that are not in the batch stay
