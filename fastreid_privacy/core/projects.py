"""Projects: packages of others that register operators, networks and whatever else has a registry.

A project is a folder with one Python package in it, as fastreid lays out its projects. Importing it runs its
code, so only whoever starts a command names one, with ``--project``: no config and no checkpoint does.
"""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .errors import UserError, some_of, typed
from .folders import images_below


@dataclass(frozen=True)
class Project:
    """A project whose package is imported.

    Attributes:
        name: of the package.
        folder: that holds it, absolute.
        sha256: of the package's Python files, their names included.
    """

    name: str
    folder: Path
    sha256: str


_imported: dict[Path, Project] = {}  # imports are the process's, and so is the list of them


def load_projects(folders: Iterable[str | Path]) -> None:
    """Import the packages of projects; what is imported already stays.

    Raises:
        UserError: naming the project, when its folder is missing, holds no package or several, or the import
            fails.
    """
    for given in folders:
        folder = Path(given).resolve()
        if folder not in _imported:
            package = _package(folder, given)
            _import(package, given)
            _imported[folder] = Project(package.name, folder, _hash(package))


def project_words() -> list[str]:
    """The words of a command line that load the same projects in another process."""
    return [word for folder in project_folders() for word in ("--project", str(folder))]


def project_folders() -> list[Path]:
    """The folders of the projects that were loaded, absolute."""
    return [project.folder for project in _imported.values()]


def about_projects() -> list[dict[str, str]]:
    """What results say of the projects that were used: "name" and "sha256" of each, by name."""
    found = [{"name": project.name, "sha256": project.sha256} for project in _imported.values()]
    return sorted(found, key=lambda project: project["name"])


def _package(folder: Path, given: str | Path) -> Path:
    if not folder.is_dir():
        raise UserError(f"--project {given} is no folder")
    packages = sorted(file.parent for file in folder.glob("*/__init__.py") if file.parent.name.isidentifier())
    if len(packages) == 1:
        return packages[0]
    found = some_of([package.name for package in packages]) or "none"
    above = f"; {folder.name} is a package itself: give the folder above" if _is_package(folder) else ""
    raise UserError(
        f"--project {given} must hold one Python package, a folder with __init__.py; there: {found}{above}"
    )


def _is_package(folder: Path) -> bool:
    return (folder / "__init__.py").is_file()


def _import(package: Path, given: str | Path) -> None:
    """Import a package under its name, from its folder and from nowhere else."""
    path = str(package.parent)
    if path not in sys.path:
        sys.path.append(path)  # last, so that it covers nothing
    try:
        module = importlib.import_module(package.name)
    except (Exception, SystemExit) as error:  # of somebody else's code
        raise UserError(f"--project {given}: its package {package.name} fails ({typed(error)})") from error
    if package not in [Path(place).resolve() for place in module.__path__]:
        raise UserError(
            f"--project {given}: {next(iter(module.__path__))} has the name {package.name}, too, and comes "
            "first; rename the project's package"
        )


def _hash(package: Path) -> str:
    files = hashlib.sha256()
    # through links to folders, too, for imports follow them
    found = images_below(package, f"--project {package}", endings=(".py",), foreign=False).paths
    for file in sorted(package / name for name in found if (package / name).is_file()):
        content = file.read_bytes()
        files.update(f"{file.relative_to(package).as_posix()}\0{len(content)}\0".encode() + content)
    return files.hexdigest()
