"""The floor plan: imports run one way, from the commands down to the core, without circles."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import fastreid_privacy

PACKAGE = Path(fastreid_privacy.__file__).parent
DOORS = {"__init__", "__main__", "command_line"}  # what scripts and users come in by


def floors_told() -> list[set[str]]:
    """The blocks of the list in the package's docstring, from the bottom to the top."""
    told = (fastreid_privacy.__doc__ or "").partition("::\n\n")[2]
    floors = []
    for block in told.split("\n\n"):
        lines = block.splitlines()
        if not all(line.startswith("    ") for line in lines):
            break  # the list is over
        floors.append({line.split()[0] for line in lines})
    return floors


FLOORS = (*floors_told(), DOORS)
FLOOR_OF = {wing: floor for floor, wings in enumerate(FLOORS) for wing in wings}


def module_of(path: Path) -> str:
    """The dotted name of a file below the package; "" of the package's own ``__init__``."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip(".")


MODULES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports_of(module: str) -> Iterator[tuple[int, str]]:
    """(line, module of this package) of every import, those inside functions too."""
    path = MODULES[module]
    here = list(path.relative_to(PACKAGE).parent.parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            found = [name[1:] for name in names if name[0] == PACKAGE.name]
        elif isinstance(node, ast.ImportFrom):
            words = node.module.split(".") if node.module else []
            if node.level:
                base = here[: len(here) - (node.level - 1)] + words
            elif words[:1] == [PACKAGE.name]:
                base = words[1:]
            else:
                continue
            found = [
                [*base, alias.name] if ".".join([*base, alias.name]) in MODULES else base
                for alias in node.names
            ]
        else:
            continue
        for name in found:
            yield node.lineno, ".".join(name)


def wing_of(module: str) -> str:
    return module.split(".")[0] or "__init__"


def test_every_wing_has_a_floor():
    assert {wing_of(module) for module in MODULES} == set(FLOOR_OF)


def test_imports_run_down():
    up = []
    for module in MODULES:
        own = wing_of(module)
        for line, other in imports_of(module):
            if wing_of(other) != own and FLOOR_OF[wing_of(other)] >= FLOOR_OF[own]:
                up.append(f"{module}, line {line}: {other}")
    assert not up


def test_no_circles():
    """Of modules, inside a wing too.

    A package is its ``__init__``; a module of it does not ask the ``__init__`` for its neighbours.
    """
    needs = {module: {other for _, other in imports_of(module)} - {module} for module in MODULES}
    while free := {module for module, others in needs.items() if not others & needs.keys()}:
        needs = {module: others for module, others in needs.items() if module not in free}
    assert not needs
