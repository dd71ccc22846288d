"""A training as a command: one file at the end; an interrupted one goes on from a state beside it."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from fastreid_privacy import UserError
from fastreid_privacy.commands.parsers import add_version
from fastreid_privacy.core.errors import brief, exit_code
from fastreid_privacy.core.files import make_folder, write_atomically, write_whole
from fastreid_privacy.core.lock import locked

from .model_file import model_content
from .recipe import Recipe, read_recipe
from .samples import Samples
from .training import Training

STATE = ".state"  # behind the name of the file, while a training is unfinished
KEPT_EVERY = 100  # steps


def train(recipe: Recipe, output: Path) -> Path:
    """Train a network and write its file; an interrupted training goes on where it was.

    Args:
        recipe: what is trained.
        output: of the file, which is not there yet.

    Returns:
        The file.

    Raises:
        UserError: when the file is there, or the state of a training of another recipe; when something to
            learn from is not as it should be, or a loss is not finite any more.
    """
    if output.exists():
        raise UserError(f"{output} is there already; choose another --output")
    make_folder(output.parent)
    with locked(output.parent, f"another command writes to {output.parent}; wait for its end"):
        samples = recipe.samples()
        training = Training(recipe, samples, "cuda" if torch.cuda.is_available() else "cpu")
        state = output.with_name(output.name + STATE)
        about = _about(recipe, samples)
        _go_on(training, state, about)
        if training.step > recipe.steps:
            raise UserError(
                f"{state} has {training.step} steps, and the recipe asks for {recipe.steps}: ask for as many "
                "at least, or choose another --output"
            )
        sums: dict[str, float] = defaultdict(float)
        counted = 0  # steps of the sums
        with tqdm(
            total=recipe.steps, initial=training.step, unit=" steps", desc="training", disable=None
        ) as bar:
            while training.step < recipe.steps:
                for name, loss in training.advance().items():
                    sums[name] += loss
                counted += 1
                bar.update()
                if training.step % KEPT_EVERY == 0 or training.step == recipe.steps:
                    _keep(training, state, about)
                    means = {name: value / counted for name, value in sums.items()}
                    told = ", ".join(f"{name} {value:.3f}" for name, value in means.items())
                    tqdm.write(f"step {training.step} of {recipe.steps}: {told}")
                    sums.clear()
                    counted = 0
        content = model_content(training.finished(), recipe.source)
        write_whole(output, content, sync=True)
        state.unlink(missing_ok=True)
    return output


def _about(recipe: Recipe, samples: Samples) -> str:
    """What must be the same for a training to go on: the recipe but for its length, and the images."""
    told: dict[str, Any] = {**asdict(recipe), "steps": None}
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for part in (samples.raw, samples.regions, samples.points, samples.visibility):
        digest.update(part.numpy().tobytes())
    return digest.hexdigest()


def _go_on(training: Training, state: Path, about: str) -> None:
    if not state.exists():
        return
    remedy = f"remove {state} to begin anew, or choose another --output"
    try:
        kept = torch.load(state, map_location="cpu", weights_only=True)
        same = kept["about"] == about
        if same:
            training.load(kept["training"])
    except Exception as error:  # of torch, zipfile or pickle
        raise UserError(f"{state} is damaged ({brief(error)}); {remedy}") from None
    if not same:
        raise UserError(f"{state} is of a training with another recipe or other images; {remedy}")


def _keep(training: Training, state: Path, about: str) -> None:
    content = {"about": about, "training": training.state()}
    write_atomically(state, lambda file: torch.save(content, file))


def build_parser() -> argparse.ArgumentParser:
    """The parser of ``train.py``."""
    parser = argparse.ArgumentParser(
        prog="train.py",
        description="Train a network that fills new people in, and write it to one file. An interrupted "
        "training goes on when the same command is given again.",
        epilog="example: python projects/RealisticBody/train.py --recipe "
        "projects/RealisticBody/configs/body.yml --output output/RealisticBody/body.safetensors steps 3000",
    )
    add_version(parser)
    parser.add_argument("--recipe", type=Path, required=True, metavar="FILE", help="what is trained, in YAML")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the network; new")
    parser.add_argument(
        "changes", nargs="*", metavar="KEY VALUE", help="keys of the recipe, and other values"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The command; its exit code."""
    options = build_parser().parse_args(argv)

    def action() -> None:
        print(train(read_recipe(options.recipe, options.changes), options.output))

    return exit_code(action, "interrupted; the same command goes on")
