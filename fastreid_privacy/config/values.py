"""Config keys whose value is a word or a list that has to be understood."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from fastreid.config import CfgNode

from ..core.errors import UserError

# of PRIVACY.ANONYMIZER.INPUT, beside "auto"
RAW, RAW_AND_DESENSITIZED = "raw", "raw+desensitized"
# The package's own operators that draw nothing, so that "auto" means "raw"; what an operator of a user's own
# does, its code says.
DETERMINISTIC = ("blur", "pixelate", "mask")


def resolve_device(name: str, key: str = "MODEL.DEVICE") -> str:
    """The torch device of a ``MODEL.DEVICE`` value, or of another option, ``key`` in messages.

    Raises:
        UserError: when a GPU is asked for and there is none, or the name is no torch device.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"{key} {name} is no torch device; give auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda" and (
        not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()
    ):
        raise UserError(
            f"{key} is {name}, but torch sees {torch.cuda.device_count()} GPUs here; give {key} cpu (or auto)"
        )
    return name


def image_device(name: str, key: str = "device") -> str:
    """As :func:`resolve_device`, where images are mapped: on the CPU or a CUDA GPU.

    Raises:
        UserError: for another device, too.
    """
    device = resolve_device(name, key)
    if torch.device(device).type not in ("cpu", "cuda"):
        raise UserError(f"{key} is {name}, which maps no images here; give auto, cpu, cuda or cuda:N")
    return device


def given_rank1(cfg: CfgNode) -> float | Path | None:
    """What ``PRIVACY.UPGRADE.BASELINE_RANK1`` says.

    Returns:
        A rank-1 in percent, the path of a results.json, or None for auto.

    Raises:
        UserError: when it is neither.
    """
    given = cfg.PRIVACY.UPGRADE.BASELINE_RANK1
    if given == "auto":
        return None
    try:
        rank1 = float(given)
    except ValueError:
        if Path(given).is_file():
            return Path(given)
        raise UserError(
            f"PRIVACY.UPGRADE.BASELINE_RANK1 is {given}; give auto, a rank-1 in percent, or the path of "
            "Base's results.json"
        ) from None
    if not 0 <= rank1 <= 100:
        raise UserError(f"PRIVACY.UPGRADE.BASELINE_RANK1 is {given}; a rank-1 lies between 0 and 100 percent")
    return rank1


def paper_results(config: Mapping) -> dict[tuple[str, str], float]:
    """The paper's figures of ``TEST.PAPER_RESULTS`` as {(where, metric): value}; {} where there are none.

    ``where`` is a pair (``OI-PI``), a domain of the image quality (``recovered``), or ``upper_bound`` for the
    paper's upper bound OI→OI.

    Args:
        config: a config, or what results.json keeps of one.

    Raises:
        UserError: for an entry that is no ``[where, metric, value]``.
    """
    figures = {}
    for entry in (config.get("TEST") or {}).get("PAPER_RESULTS") or []:
        try:
            where, metric, value = entry
            figures[str(where), str(metric)] = float(value)
        except (TypeError, ValueError, OverflowError):
            raise UserError(
                f'TEST.PAPER_RESULTS has the entry {entry!r}; give ["OI-PI", "Rank-1", 88.2] and the like'
            ) from None
    return figures
