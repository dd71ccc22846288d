"""``fastreid-privacy mobilenet``: ImageNet weights of torchvision's MobileNetV2 for fastreid's."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..checkpoints.mobilenet import convert_mobilenet
from .parsers import command_parser
from .running import run_command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return run_command(build_parser(), argv, _convert, "interrupted")


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = command_parser(
        "mobilenet",
        "Give ImageNet weights of torchvision's MobileNetV2 the names of fastreid's, for "
        "MODEL.BACKBONE.PRETRAIN_PATH (configs/Market/mobilenet.yml).",
        "mobilenet_v2.pth --output mobilenet_fastreid.pth",
    )
    parser.add_argument("weights", type=Path, help="state dict with torchvision's layers in their order")
    parser.add_argument("--output", type=Path, required=True, help="file to write; it must not exist")
    return parser


def _convert(options: argparse.Namespace) -> None:
    convert_mobilenet(options.weights, options.output)
    print(f"Written to {options.output}: train with MODEL.BACKBONE.PRETRAIN_PATH {options.output}")
