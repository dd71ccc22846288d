"""What results.json is made of, checked before anything is shown or compared: somebody may have edited it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[[Any, str], None]
"""Takes a value and where it stands, as "retrieval.OI-PI"; raises ValueError."""

LARGEST = 2**63  # of a figure; beyond it, a whole number cannot be shown as a decimal


def check_shape(results: Mapping) -> None:
    """Refuse results whose parts are of another kind than this package writes; parts may be missing.

    Args:
        results: with "retrieval".

    Raises:
        ValueError: saying which part, and what it is.
    """
    for name, check in PARTS.items():
        value = results.get(name)
        if value is not None:
            check(value, name)


def _refuse(value: Any, where: str, expected: str) -> None:
    raise ValueError(f"{where} is {repr(value)[:40]}, not {expected}")


def _text(value: Any, where: str) -> None:
    if not isinstance(value, str):
        _refuse(value, where, "a text")


def _number(value: Any, where: str) -> None:
    """A figure, or None where there is none; infinite ones are of equal images."""
    if value is None or isinstance(value, float):
        return
    if type(value) is not int or abs(value) > LARGEST:
        _refuse(value, where, "a number")


def _fact(value: Any, where: str) -> None:
    (_text if isinstance(value, str) else _number)(value, where)


def _truth(value: Any, where: str) -> None:
    if not isinstance(value, bool):
        _refuse(value, where, "true or false")


def _named(check: Check) -> Check:
    def names(value: Any, where: str) -> None:
        if not isinstance(value, dict):
            _refuse(value, where, "names with values")
        for name, item in value.items():
            check(item, f"{where}.{name[:40]}")

    return names


def _check_of_training(value: Any, where: str) -> None:
    """One check of the upgrades: its epoch, a decision, and figures."""
    if not isinstance(value, dict):
        _refuse(value, where, "names with values")
    epoch = value.get("epoch")
    if type(epoch) is not int or not 1 <= epoch <= LARGEST:
        _refuse(epoch, f"{where}.epoch", "a whole number of at least 1")
    for name, item in value.items():
        (_text if name == "decision" else _number)(item, f"{where}.{name[:40]}")


def _listed(check: Check) -> Check:
    def items(value: Any, where: str) -> None:
        if not isinstance(value, list):
            _refuse(value, where, "a list")
        for item in value:
            check(item, where)

    return items


def _gain(value: Any, where: str) -> None:
    _named(_number)(value, where)
    if not {"difference", "low", "high"} <= set(value) or None in value.values():
        _refuse(value, where, "a difference with its interval")


def _config(value: Any, where: str) -> None:
    """Sections of the config; what is in them is read key by key."""
    _named(lambda *_: None)(value, where)
    for section in SECTIONS:
        if section in value:
            _named(lambda *_: None)(value[section], f"{where}.{section}")
    paper = (value.get("TEST") or {}).get("PAPER_RESULTS")
    if paper is not None and not isinstance(paper, list):
        _refuse(paper, f"{where}.TEST.PAPER_RESULTS", "a list")


def _other_model(value: Any, where: str) -> None:
    """Base or the upper bound: results themselves."""
    _named(lambda *_: None)(value, where)
    for name, check in PARTS.items():
        if value.get(name) is not None:
            check(value[name], f"{where}.{name}")


SECTIONS = ("PRIVACY", "MODEL", "INPUT", "SOLVER", "TEST", "DATASETS", "DATALOADER")
_figures = _named(_named(_number))
PARTS: dict[str, Check] = {
    **dict.fromkeys(("dataset", "checkpoint", "version", "storage", "teacher", "intervals_over"), _text),
    "seed": _number,
    "private": _truth,
    "config": _config,
    "retrieval": _figures,
    "image_quality": _figures,
    "validation": _figures,
    "checks": _listed(_check_of_training),
    "upgrades": _listed(_check_of_training),
    "versus_baseline": _named(_gain),
    "projects": _listed(_named(_text)),
    "sha256": _named(_text),
    "data": _named(_named(_fact)),
    "baseline": _other_model,
    "upper_bound": _other_model,
}
