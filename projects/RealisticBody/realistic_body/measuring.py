"""How well new people hide the raw ones, and what stays: figures of protected images beside raw ones."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from fastreid_privacy import UserError
from fastreid_privacy.attack import measures
from fastreid_privacy.attack.observers import load_observer
from fastreid_privacy.attack.subjects import Subject, Subjects, choose, read_subjects
from fastreid_privacy.attack.views import Files
from fastreid_privacy.commands.parsers import add_version
from fastreid_privacy.core.errors import exit_code, named
from fastreid_privacy.core.files import make_folder
from fastreid_privacy.core.kept import write_kept
from fastreid_privacy.core.pictures import read_picture

from .detectors import Detector, finds, hog_detector, torchvision_detector
from .finding import PersonMasks

DOMAINS = ("OI", "PI")  # raw and protected images


def rank1(subjects: Subjects, reid: Path, device: str) -> dict[str, float]:
    """Rank-1, percent, of a Re-ID model that has seen raw images alone, by "query-gallery": "OI-PI".

    Args:
        subjects: of the attack.
        reid: the model's file.
        device: where it runs.
    """
    observer = load_observer(reid, device, "stranger")
    seen = {}
    for domain in DOMAINS:
        view = Files(subjects.size, protected=domain == "PI")
        seen[domain] = [observer.look(view, side) for side in (subjects.query, subjects.gallery)]
    found = {
        f"{asked}-{sought}": measures.found(seen[asked][0], seen[sought][1], subjects, observer.metric)
        for asked in DOMAINS
        for sought in DOMAINS
    }
    return {pair: figures["rank1"] for pair, (figures, _) in found.items()}


def pixels(some: Sequence[Subject], regions: PersonMasks) -> dict[str, Any]:
    """What protection changed: "changed_outside", the pixels outside of the regions that differ; PSNR in dB.

    Returns:
        "PSNR_inside", and "PSNR_outside", of the mean squared error over all images; None: nothing differs.

    Raises:
        UserError: naming an image whose files differ in size, or of which nothing tells the region.
    """
    sums = {"inside": [0.0, 0], "outside": [0.0, 0]}
    changed = 0
    for each in tqdm(some, unit=" images", desc="pixels", disable=None, leave=False):
        raw, protected, mask = _both(each, regions)
        error = np.square(raw.astype(float) - protected).sum(2)
        for place, there in (("inside", mask), ("outside", ~mask)):
            sums[place][0] += error[there].sum()
            sums[place][1] += 3 * int(there.sum())
        changed += int((error[~mask] > 0).sum())
    psnr = {
        f"PSNR_{place}": 10 * float(np.log10(255**2 * count / total)) if total else None
        for place, (total, count) in sums.items()
    }
    return {"images": len(some), "changed_outside": changed, **psnr}


def detected(some: Sequence[Subject], regions: PersonMasks, detector: Detector) -> dict[str, float]:
    """In how many images a detector finds the person, percent: of the "raw" and of the "protected" ones."""
    hits = {"raw": 0, "protected": 0}
    for each in tqdm(some, unit=" images", desc="detecting", disable=None, leave=False):
        raw, protected, mask = _both(each, regions)
        hits["raw"] += finds(detector, raw, mask)
        hits["protected"] += finds(detector, protected, mask)
    return {side: 100 * count / len(some) for side, count in hits.items()}


def _both(each: Subject, regions: PersonMasks) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The raw and the protected pixels, and the region of an image."""
    with named(each.raw):
        raw, protected = read_picture(each.raw), read_picture(each.protected)
        mask = regions(each.raw, f"{each.name}{each.raw.suffix}", raw.shape[:2]).mask
    if raw.shape != protected.shape:
        raise UserError(
            f"{each.protected} is {protected.shape[0]}×{protected.shape[1]} (height × width), and its raw "
            f"image {raw.shape[0]}×{raw.shape[1]}: what is outside of the region cannot be compared"
        )
    return raw, protected, mask


def measured(
    subjects: Subjects,
    regions: PersonMasks,
    *,
    images: int,
    reid: Path | None = None,
    detectors: Mapping[str, Detector] | None = None,
    device: str = "cpu",
) -> dict[str, Any]:
    """All figures that can be had with what is given.

    Args:
        subjects: raw and protected images.
        regions: tells what was to be changed.
        images: how many of those that show people are looked at for pixels and detectors.
        reid: a stranger's Re-ID model of raw images; None: no rank-1.
        detectors: by name.
        device: where the model runs.
    """
    some = choose([each for each in subjects.measured if each.pid > 0], images, 0)
    figures: dict[str, Any] = {"pixels": pixels(some, regions)}
    figures["detected"] = {
        name: detected(some, regions, detector) for name, detector in (detectors or {}).items()
    }
    if reid is not None:
        figures["rank1"] = {**rank1(subjects, reid, device), "chance": measures.chance(subjects)}
    return figures


def build_parser() -> argparse.ArgumentParser:
    """The parser of ``measure.py``."""
    parser = argparse.ArgumentParser(
        prog="measure.py",
        description="Figures of images with new people: who is recognised by a stranger's Re-ID, what "
        "changed outside of the regions, and whether detectors still find people.",
        epilog="example: python projects/RealisticBody/measure.py --raw SyntheticPedestrians --protected "
        "filled --reid stranger.pth --output measured.json",
    )
    add_version(parser)
    parser.add_argument(
        "--raw", required=True, help="raw images: a data set, or a folder in Market-1501 naming"
    )
    parser.add_argument("--protected", required=True, help="the same, protected")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the figures, JSON")
    parser.add_argument(
        "--part", choices=("full_body", "head"), default="full_body", help="what was filled in"
    )
    parser.add_argument("--regions", default="", help="as DATASETS.REGIONS; left out for rendered people")
    parser.add_argument("--images", type=int, default=200, help="for pixels and detectors (200)")
    parser.add_argument("--reid", type=Path, help="a stranger's Re-ID model of raw images")
    parser.add_argument("--detector", help="of torchvision, beside OpenCV's HOG")
    parser.add_argument("--detector-weights", type=Path, metavar="FILE", help="its state dict")
    parser.add_argument("--device", default="cpu", help="of the Re-ID model (cpu)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The command; its exit code."""
    options = build_parser().parse_args(argv)

    def action() -> None:
        if bool(options.detector) != bool(options.detector_weights):
            raise UserError("--detector and --detector-weights go together: a name and a file")
        if options.images < 1:
            raise UserError(f"--images is {options.images}; it is at least 1")
        if options.output.exists():
            raise UserError(f"{options.output} is there already; choose another --output")
        detectors = {"hog": hog_detector()}
        if options.detector:
            detectors[options.detector] = torchvision_detector(options.detector, options.detector_weights)
        figures = measured(
            read_subjects(options.raw, options.protected),
            PersonMasks(options.part, options.regions),
            images=options.images,
            reid=options.reid,
            detectors=detectors,
            device=options.device,
        )
        make_folder(options.output.parent)
        write_kept(options.output, figures)
        print(json.dumps(figures, indent=1))

    return exit_code(action, "interrupted: nothing was written")
