"""How far stored files keep the constraint of PixelFade: the features of each against those of its raw file.

Example: python projects/PixelFade/score.py --raw RAW --protected PROTECTED --model reid.pth --output scored
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from fastreid_privacy.collection.compare import raw_files
from fastreid_privacy.collection.source import folder_source
from fastreid_privacy.core.errors import UserError, exit_code, named, say
from fastreid_privacy.core.files import make_folder, write_new
from fastreid_privacy.core.json_text import json_bytes
from fastreid_privacy.core.pictures import read_picture
from fastreid_privacy.retrieval import Extractor, load_extractor

sys.path.append(str(Path(__file__).resolve().parent))

from pixel_fade import feature_distance
from pixel_fade.operator import features_of

RESULT = "score.json"
BATCH = 64


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--raw", required=True, help="folder of the raw images")
    parser.add_argument("--protected", required=True, help="folder of the stored ones, by the same names")
    parser.add_argument("--model", required=True, type=Path, help="Re-ID model that made them, or another")
    parser.add_argument("--output", required=True, type=Path, help=f"folder for {RESULT}")
    parser.add_argument("--mse", type=float, default=0.03, help="the constraint (default 0.03)")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)
    return exit_code(lambda: _score(options), "interrupted; nothing was written")


def _score(options: argparse.Namespace) -> None:
    extract = load_extractor(options.model, options.device)
    protected = folder_source(options.protected, "--protected")
    raw = raw_files(options.raw, protected.paths)
    if missing := [path for path in protected.paths if path not in raw]:
        raise UserError(f"--raw {options.raw} lacks {len(missing):,} of these files, {missing[0]} first")
    make_folder(options.output)
    distances = score(extract, [(raw[path], Path(options.protected, path)) for path in protected.paths])
    found = {
        "reid": extract.fingerprint,
        "images": len(distances),
        "mse": options.mse,
        "met": float((distances <= options.mse).mean()),
        "feature_mse": {"mean": float(distances.mean()), "most": float(distances.max())},
    }
    write_new(options.output, {RESULT: json_bytes(found)})
    say(
        f"{len(distances):,} images: {found['met']:.1%} meet {options.mse}; feature MSE "
        f"{distances.mean():.3f} on average, {distances.max():.3f} at most",
        sys.stdout,
    )


def score(extract: Extractor, pairs: Sequence[tuple[Path, Path]]) -> np.ndarray:
    """The mean squared difference of the features of pairs of files, raw and stored: N float64.

    Raises:
        UserError: naming the file, when one cannot be read.
    """
    found = []
    for start in tqdm(range(0, len(pairs), BATCH), desc="scoring", unit=" batches", disable=None):
        raw, stored = zip(*pairs[start : start + BATCH], strict=True)
        images = [torch.stack([_seen(extract, path) for path in side]) for side in (raw, stored)]
        raws, others = (side.to(extract.device) for side in images)
        found.append(feature_distance(raws, others, features_of(extract, raws)).double().cpu().numpy())
    return np.concatenate(found)


def _seen(extract: Extractor, path: Path) -> torch.Tensor:
    with named(path):
        return extract.seen(read_picture(path))


if __name__ == "__main__":
    sys.exit(main())
