"""The documentation is true: links lead somewhere, names are there, and what CONTRIBUTING.md shows runs."""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from fastreid_privacy.config import default_config, flat_keys

ROOT = Path(__file__).parent.parent
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "api").glob("*.md")),
    *sorted((ROOT / "projects").glob("*/README.md")),
]
FENCE = re.compile(r"^( *)```.*?^\1```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
NOTEBOOK = ROOT / "docs" / "quickstart.ipynb"
EVERYWHERE = pytest.mark.parametrize("page", [*PAGES, NOTEBOOK], ids=lambda page: str(page.relative_to(ROOT)))
IGNORED = (".venv", ".git", ".*_cache", "__pycache__", "site", "output", "datasets", "logs")


def source_of(page: Path) -> str:
    """A page in Markdown; of a notebook the cells, with the code in blocks."""
    text = page.read_text(encoding="utf-8")
    if page.suffix != ".ipynb":
        return text
    cells = [("".join(cell["source"]), cell["cell_type"]) for cell in json.loads(text)["cells"]]
    return "\n\n".join(f"```python\n{cell}\n```" if kind == "code" else cell for cell, kind in cells)


def text_of(page: Path) -> str:
    """A page without its blocks of code."""
    return FENCE.sub("", source_of(page))


def anchors(page: Path) -> set[str]:
    """The names of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> list[str]:
    broken = []
    for link in LINK.findall(text_of(page)):
        path, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    return broken


def can_be_imported(name: str) -> bool:
    """Whether a dotted name is a module, or what a module has."""
    words = name.split(".")
    for count in range(len(words), 0, -1):
        try:
            found = importlib.import_module(".".join(words[:count]))
        except ModuleNotFoundError:
            continue
        for word in words[count:]:
            if not hasattr(found, word):
                return False
            found = getattr(found, word)
        return True
    return False


def untrue_names(page: Path) -> list[str]:
    """Names of the package and paths of the repository, on a page or in its code, that are none."""
    text = source_of(page)
    if page.name == "CHANGELOG.md":  # its tables begin with the names of before
        text = re.sub(r"^ *\| [^|]* \|", "", text, flags=re.MULTILINE)
        text = re.sub(r"^- `python -m [^`]*` is now", "", text, flags=re.MULTILINE)
    names = set(re.findall(r"\bfastreid_privacy(?:\.[A-Za-z_]\w*)+", text))
    names |= {
        f"{module}.{name}"
        for module, imported in re.findall(
            r"^from (fastreid_privacy[\w.]*) import ([\w, ]+)", text, re.MULTILINE
        )
        for name in imported.split(", ")
    }
    paths = set(re.findall(r"\bfastreid_privacy/[\w/]+(?:\.py)?", text))
    paths |= set(
        re.findall(r"(?<![\w/.])(?:tools|configs|tests|docs|projects)/[\w/]+\.(?:py|yml|md)\b", text)
    )
    made = {path for path in paths if f"# {path}" in text}  # a page that shows a new file
    return sorted(name for name in names if not can_be_imported(name)) + sorted(
        path for path in paths - made if not (ROOT / path).exists()
    )


@EVERYWHERE
def test_links_lead_somewhere(page):
    assert not broken_links(page)


@EVERYWHERE
def test_names_of_the_package_are_there(page):
    assert not untrue_names(page)


def options_of_operators(page: Path) -> set[str]:
    """The keys of operators that the projects, and the code on a page, register: options with a default."""
    files = [file.read_text(encoding="utf-8") for file in (ROOT / "projects").rglob("*.py")]
    functions = [
        node
        for code in [
            *files,
            *re.findall(r"^```python\n(.*?)^```$", source_of(page), re.DOTALL | re.MULTILINE),
        ]
        if "DESENSITIZER_REGISTRY" in code
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.FunctionDef)
    ]
    names = {
        argument.arg
        for node in functions
        for argument in node.args.args[len(node.args.args) - len(node.args.defaults) :]
    }
    return {f"PRIVACY.DESENSITIZER.{name.upper()}" for name in names}


def unknown_keys(page: Path) -> list[str]:
    """Config keys on a page that no config has; ``A.B_*`` stands for some."""
    known = {*flat_keys(default_config()), *options_of_operators(page)}
    sections = "|".join(sorted({key.partition(".")[0] for key in known if "." in key}))
    named = set(re.findall(rf"\b(?:{sections})(?:\.[A-Z0-9_]+)+", source_of(page)))
    return sorted(name for name in named if not any(key.startswith(name) for key in known))


@EVERYWHERE
def test_config_keys_are_there(page):
    assert not unknown_keys(page)


def swallowed_items(page: Path) -> list[str]:
    """Items of lists that GitHub shows as such, and the site as words of the paragraph before them."""
    item = re.compile(r" *(?:[-*]|\d+\.) ")
    paragraphs = [block.strip("\n").splitlines() for block in re.split(r"\n\s*\n", text_of(page))]
    return [
        line
        for first, *others in filter(None, paragraphs)
        if not item.match(first)
        for line in others
        if item.match(line)
    ]


@EVERYWHERE
def test_lists_are_lists_on_the_site(page):
    assert not swallowed_items(page)


BROKEN = """\
# A page: of `code`

[a](page.md#a-page-of-code) [b](#a-page-of-code) [c](https://example.org/x) [d](absent.md) [e](#absent)

- a list
- of two

    and words
1. an item

`fastreid_privacy.networks.UNetGenerator`, `fastreid_privacy.absent`, `fastreid_privacy/absent.py`,
tools/train_net.py, tools/absent.py, PRIVACY.STORAGE, `PRIVACY.UPGRADE.EPS_*`, `SOLVER.AMP.ENABLE_IT`

```python
from fastreid_privacy.networks import UNetGenerator, Absent
# [f](in_code.md)
```
"""


def test_what_is_broken_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(BROKEN, encoding="utf-8")
    assert broken_links(page) == ["absent.md", "#absent"]
    assert untrue_names(page) == [
        "fastreid_privacy.absent",
        "fastreid_privacy.networks.Absent",
        "fastreid_privacy/absent.py",
        "tools/absent.py",
    ]
    assert unknown_keys(page) == ["SOLVER.AMP.ENABLE_IT"]
    assert swallowed_items(page) == ["1. an item"]


def nav_pages(node) -> list[str]:
    """The paths in a navigation of MkDocs."""
    if isinstance(node, str):
        return [node]
    return [
        page for entry in (node.values() if isinstance(node, dict) else node) for page in nav_pages(entry)
    ]


def test_the_site_has_every_page():
    class Loader(yaml.SafeLoader):
        """Leaves alone what the file names in Python."""

    Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: suffix)
    site = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader)
    assert sorted(nav_pages(site["nav"])) == sorted(page.relative_to(ROOT).as_posix() for page in PAGES)


# -- CONTRIBUTING.md: a desensitizer in one file and one test ------------------------------------------------


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A copy of this repository in which somebody followed the page."""
    copy = tmp_path_factory.mktemp("house") / "repository"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*IGNORED), symlinks=True)
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    files = dict(re.findall(r"```python\n# (\S+\.py)\n(.*?)```", page, re.DOTALL))
    module, init, test = files
    assert init == "fastreid_privacy/desensitize/__init__.py"
    for name in (module, test):
        assert not (copy / name).exists()
        (copy / name).write_text(files[name], encoding="utf-8")
    lines = (copy / init).read_text(encoding="utf-8").splitlines(keepends=True)
    first = next(number for number, line in enumerate(lines) if line.startswith("from ."))
    (copy / init).write_text("".join([*lines[:first], files[init], *lines[first:]]), encoding="utf-8")
    listing = copy / "tests" / "test_desensitize.py"
    names = listing.read_text(encoding="utf-8")
    known = "blur, mask, noise, pixelate"
    assert known in names
    more = ", ".join(sorted([*known.split(", "), Path(module).stem]))
    listing.write_text(names.replace(known, more), encoding="utf-8")
    return copy, module, test


NAMES = (
    "unknown_name_lists_the_known_ones",
    "operators_of_others_get_what_they_name",
    "registered_names_are_the_documented_ones",
    "every_option_reaches_its_operator",
    "from_config",
)


def in_the_copy(copy: Path, *words: str) -> subprocess.CompletedProcess:
    """Python there, with the copy's package."""
    return subprocess.run(
        [sys.executable, *words],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
    )


def test_the_page_for_contributors_passes_its_test_and_the_linters(house):
    copy, module, test = house
    # what a new name could break: the values of the others do not depend on it
    names = [f"tests/test_desensitize.py::test_{name}" for name in NAMES]
    done = in_the_copy(copy, "-m", "pytest", "-q", test, *names, "tests/test_house.py")
    assert done.returncode == 0, done.stdout + done.stderr
    for words in (("check",), ("format", "--check")):
        done = in_the_copy(copy, "-m", "ruff", *words, module, test, f"{Path(module).parent}/__init__.py")
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_new_desensitizer_is_a_method_of_the_command(house, tmp_path):
    copy, module, _ = house
    raw, protected = tmp_path / "raw", tmp_path / "protected"
    raw.mkdir()
    Image.effect_noise((32, 64), 80).convert("RGB").save(raw / "person.png")
    words = f"--method {Path(module).stem} --input {raw} --output {protected}".split()
    done = in_the_copy(copy, "tools/anonymize.py", *words)
    assert done.returncode == 0, done.stderr
    with Image.open(protected / "person.png") as picture:
        assert picture.size == (32, 64)
