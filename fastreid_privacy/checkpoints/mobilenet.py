"""ImageNet weights of torchvision's MobileNetV2, under the names of fastreid's: the same tensors in order."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from fastreid.modeling.backbones.mobilenet import MobileNetV2
from torch import Tensor

from ..core.errors import UserError
from ..core.files import write_atomically
from .reading import read_checkpoint


def fastreid_names(weights: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """The tensors of a MobileNetV2 by fastreid's names.

    Args:
        weights: of torchvision's ``mobilenet_v2`` (width 1.0), or any with the same layers in the same order,
            whatever their names. A classifier at the end (``classifier.*``) is left out.
        source: what messages call them.

    Raises:
        UserError: they are another network's: another number of tensors, or another shape in some place.
    """
    theirs = [(name, value) for name, value in weights.items() if not name.startswith("classifier.")]
    ours = MobileNetV2("BN").state_dict()
    if len(theirs) != len(ours):
        raise UserError(
            f"{source} holds {len(theirs)} tensors without its classifier, a MobileNetV2 {len(ours)}: give "
            "the weights of torchvision's mobilenet_v2, width 1.0"
        )
    for (theirs_name, value), (name, own) in zip(theirs, ours.items(), strict=True):
        if value.shape != own.shape:
            raise UserError(
                f"{source} is no MobileNetV2 of width 1.0: {theirs_name} is {_shape(value)}, and {name}, "
                f"which stands in its place, {_shape(own)}"
            )
    return {name: value.to(own.dtype) for (_, value), (name, own) in zip(theirs, ours.items(), strict=True)}


def convert_mobilenet(source: Path, output: Path) -> None:
    """Write the file that ``MODEL.BACKBONE.PRETRAIN_PATH`` names, from one of torchvision's weights.

    Args:
        source: a state dict, alone or under "state_dict" or "model"; no code in it is run.
        output: the file to write, ``.pth``; it must not exist.

    Raises:
        UserError: no such file, a damaged one, or another network's; or ``output`` exists.
    """
    if output.exists():
        raise UserError(f"{output} exists already: name another file with --output")
    if not source.is_file():
        raise UserError(f"{source} is no file: name the weights of torchvision's mobilenet_v2")
    tensors = fastreid_names(read_checkpoint(source)["model"], str(source))
    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(output, lambda file: torch.save(tensors, file))


def _shape(value: Tensor) -> str:
    return "×".join(map(str, value.shape)) or "a single number"
