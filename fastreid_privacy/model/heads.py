"""fastreid's heads in a model: their first weights, and the features that retrieval takes from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from fastreid.modeling.heads import EmbeddingHead
from torch import Tensor, nn

FASTREID_STD = 0.01  # of EmbeddingHead.reset_parameters (embedding_head.py:79)


def heads_of(model: nn.Module) -> list[EmbeddingHead]:
    """The heads that are, or inherit from, fastreid's ``EmbeddingHead``: MGN has eight, other models one."""
    return [module for module in model.modules() if isinstance(module, EmbeddingHead)]


@torch.no_grad()
def scale_classifiers(model: nn.Module, std: float) -> None:
    """Give the classifiers of a model that was just built another standard deviation, in place.

    fastreid's draws are scaled: no random number is drawn, so everything else starts as it did.

    Args:
        model: whose heads are fastreid's ``EmbeddingHead``; other heads are left alone.
        std: above 0.
    """
    for head in heads_of(model):
        head.weight.mul_(std / FASTREID_STD)


def classifier_names(model: nn.Module) -> list[str]:
    """The names of the weights of a model's classifiers, which are of the identities of its training."""
    return [f"{name}.weight" for name, module in model.named_modules() if isinstance(module, EmbeddingHead)]


def feature_length(model: nn.Module) -> int:
    """D of a model's retrieval features, those of all its heads together."""
    return sum(head.weight.shape[1] for head in heads_of(model))


@contextmanager
def watched_features(model: nn.Module) -> Iterator[dict[int, Tensor]]:
    """Within it, what each head of a model gave last: its feature after the neck, N×D, by its number.

    That is what ``EmbeddingHead`` gives to retrieval; in training it hands out the feature before the neck.
    """
    given: dict[int, Tensor] = {}

    def keep_as(index: int) -> Callable[[nn.Module, object, Tensor], None]:
        def keep(neck: nn.Module, images: object, features: Tensor) -> None:
            given[index] = features.flatten(1)

        return keep

    heads = enumerate(heads_of(model))
    hooks = [head.bottleneck.register_forward_hook(keep_as(index)) for index, head in heads]
    try:
        yield given
    finally:
        for hook in hooks:
            hook.remove()


def joined(given: Mapping[int, Tensor]) -> Tensor:
    """The features that :func:`watched_features` gave, one after the other: N×D of all heads."""
    return torch.cat([given[index] for index in sorted(given)], dim=1)
