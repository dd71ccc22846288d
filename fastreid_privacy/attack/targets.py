"""What is attacked: the protected files, with what attackers hold of their method, and those beside them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

from ..checkpoints.image_maps import ImageMap
from ..checkpoints.opening import load_anonymizer, load_recovery
from ..checkpoints.reading import read_trained
from ..desensitize import Desensitizer
from ..keys.sealing import SEARCH, read_private_key
from .cells import Target
from .keyed import near_keys, without_key
from .request import REFERENCE, AttackRequest
from .subjects import Subjects
from .templated import open_templates
from .views import Files, Operated, View, at_size_of, operated

PROTECTED = "protected"  # the name of the target that is attacked


def make_targets(request: AttackRequest, subjects: Subjects, device: str) -> dict[str, Target]:
    """The protected files first, then the raw ones under each operator beside them, by name.

    Raises:
        UserError: when a checkpoint or a key is missing, damaged, or does not open, or where row A7 is made
            of files that have no template.
    """
    targets = {PROTECTED: _protected(request, subjects, device)}
    raw = Files(subjects.size)
    for name in request.beside:
        operator = Desensitizer(name)
        targets[name] = Target(
            name,
            operated(raw, name),
            name,
            partial(operated, name=name),
            keyless=without_key(operator),
            personal=operator if operator.needs_people else None,
        )
    return targets


def _protected(request: AttackRequest, subjects: Subjects, device: str) -> Target:
    anonymizer = key = None
    passphrase = cache(request.passphrase) if request.passphrase else None  # one prompt, however many files
    if request.model is not None:
        cfg = read_trained(request.model).cfg
        anonymizer = load_anonymizer(request.model, device) if cfg.PRIVACY.PROTECTION != "none" else None
        if request.recovery_key is None and cfg.PRIVACY.PROTECTION == "learned" and cfg.PRIVACY.LAMBDA_REC:
            key = load_recovery(request.model, device)
    if request.recovery_key is not None:
        key = load_recovery(request.recovery_key, device, passphrase)
    templates = {}
    if request.search_key is not None and (not request.rows or "A7" in request.rows):
        templates = open_templates(subjects, read_private_key(request.search_key, passphrase, SEARCH))
    named = Desensitizer(request.operator) if request.operator else None
    asking = anonymizer.of_regions if anonymizer is not None else None
    operator = anonymizer.operator if anonymizer is not None and anonymizer.operator is not None else named
    return Target(
        PROTECTED,
        Files(subjects.size, protected=True),
        request.operator or REFERENCE,
        _protecting(anonymizer),
        key,
        keyless="" if key is not None or request.near_keys else _keyless(request, anonymizer, operator),
        near=near_keys(key, request.recovery_key, request.near_keys, device, passphrase),
        personal=operator if operator is not None and operator.needs_people else None,
        told=asking if asking is not None and asking.regions_file else None,
        templates=templates,
    )


def _keyless(request: AttackRequest, anonymizer: ImageMap | None, operator: Desensitizer | None) -> str:
    """Why protected files of no known key have none; "" where an operator or an unknown tool may have one."""
    if operator is not None:
        return without_key(operator)
    if request.model is None:
        return ""
    return f"{request.model} {'has no recovery decoder' if anonymizer else 'protects nothing'}, so no key"


def _protecting(anonymizer: ImageMap | None) -> Callable[[View], View] | None:
    if anonymizer is None:
        return None
    asking = anonymizer.of_regions
    finder = asking.finder if asking is not None else None
    if anonymizer.operator is not None:
        return lambda view: Operated(view, anonymizer.levels, finder)
    return lambda view: Operated(view, at_size_of(anonymizer), finder)
