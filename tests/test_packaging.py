"""What pip installs: ranges and pins, extras and what is said where one is missing, the console script."""

from __future__ import annotations

import ast
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import setuptools
import yaml
from packaging.requirements import Requirement

import fastreid_privacy
from fastreid_privacy.commands.main import main
from fastreid_privacy.core.extras import EXTRAS

ROOT = Path(__file__).parents[1]
PACKAGE = Path(fastreid_privacy.__file__).parent


@pytest.fixture(scope="module")
def metadata():
    """What setup.py gives to setuptools."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setuptools, "setup", lambda **arguments: found.update(arguments))
        runpy.run_path(str(ROOT / "setup.py"))
    return found


def requirements(lines: list[str]) -> dict[str, Requirement]:
    """By name; comments are left out."""
    parsed = [Requirement(words) for line in lines if (words := line.partition("#")[0].strip())]
    assert len({one.name for one in parsed}) == len(parsed)
    return {one.name: one for one in parsed}


def test_each_pin_lies_in_its_range(metadata):
    extras = metadata["extras_require"]
    ranges = requirements([*metadata["install_requires"], *extras["all"]])
    pins = requirements((ROOT / "requirements.txt").read_text().splitlines())
    assert ranges.keys() == pins.keys()
    for name, pin in pins.items():
        (version,) = pin.specifier
        assert version.operator == "==" and ranges[name].specifier.contains(version.version), name
        assert str(ranges[name].marker) == str(pin.marker), name


def test_all_is_every_extra(metadata):
    extras = dict(metadata["extras_require"])
    assert sorted(extras.pop("all")) == sorted(line for lines in extras.values() for line in lines)
    assert extras.keys() == set(EXTRAS.values())
    brought = {extra: requirements(lines).keys() for extra, lines in extras.items()}
    for library, extra in EXTRAS.items():
        assert {"nacl": "pynacl", "skimage": "scikit-image"}.get(library, library) in brought[extra]


def test_the_console_script(metadata):
    (script,) = metadata["entry_points"]["console_scripts"]
    name, module, function = re.fullmatch(r"(\S+) = ([\w.]+):(\w+)", script).groups()
    assert name == "fastreid-privacy" and getattr(sys.modules[module], function) is main


def test_metadata_of_the_package(metadata):
    assert metadata["version"] == fastreid_privacy.__version__
    assert {"fastreid_privacy", "fastreid_privacy.commands", "fastreid_privacy.bench"} <= {
        *metadata["packages"]
    }


def test_before_a_commit_the_same_is_checked_as_by_make_test():
    hooks = [
        hook
        for repo in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
        for hook in repo["hooks"]
    ]
    recipe = (ROOT / "Makefile").read_text().replace("$(VENV)", ".venv")
    assert hooks and all(hook["language"] == "system" and f"\t{hook['entry']}\n" in recipe for hook in hooks)


# -- extras --------------------------------------------------------------------------------------------------


def imported(tree: ast.AST) -> list[str]:
    """The modules that code imports when it runs, those only for type checkers left out."""
    if isinstance(tree, ast.If) and ast.unparse(tree.test) == "TYPE_CHECKING":
        return [name for node in tree.orelse for name in imported(node)]
    if isinstance(tree, ast.Import):
        return [alias.name for alias in tree.names]
    if isinstance(tree, ast.ImportFrom):
        return [tree.module] if tree.module and not tree.level else []
    return [name for node in ast.iter_child_nodes(tree) for name in imported(node)]


def test_libraries_of_extras_come_through_from_extra():
    """A plain import would end in a traceback, or keep the package from being imported at all."""
    found = {
        f"{path.relative_to(PACKAGE)}: {name}"
        for path in PACKAGE.rglob("*.py")
        for name in imported(ast.parse(path.read_text(encoding="utf-8")))
        if name.partition(".")[0] in EXTRAS
    }
    assert not found


def run_python(source: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)


EVERYTHING = """
import importlib, pkgutil, sys
from pathlib import Path
for name in EXTRAS:
    sys.modules[name] = None  # cannot be imported
import fastreid_privacy
for found in pkgutil.walk_packages(fastreid_privacy.__path__, "fastreid_privacy."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
from PIL import Image
from fastreid_privacy.commands.main import main
folder = Path(FOLDER)
(folder / "raw").mkdir()
Image.new("RGB", (64, 128), "red").save(folder / "raw" / "one.png")
Image.linear_gradient("L").save(folder / "raw" / "two.png")
(folder / "video.mkv").write_bytes(b"a video")
(folder / "part.onnx").write_bytes(b"a graph")
(folder / "public.key").write_text("fastreid_privacy-public-" + 64 * "0")
(folder / "private.key").write_text("fastreid_privacy-PRIVATE-" + 64 * "0")
(folder / "boxes.txt").write_text("1,1,0,0,8,8\\n")
blur = ["anonymize", "--method", "blur", "--input"]
for words in (
    [*blur, "raw", "--output", "protected"],
    [*blur, "raw", "--output", "sealed", "--seal", "public.key"],
    [*blur, "video.mkv", "--boxes", "boxes.txt", "--output", "video"],
    ["anonymize", "--weights", "part.onnx", "--input", "raw", "--output", "other"],
    ["recover", "--identity", "private.key", "--input", "protected", "--output", "raw_again"],
    ["export", "--new-identity", "--unencrypted", "--output", "keys"],
):
    sys.stderr.write(f"\\n== {main(words)}\\n")
try:
    fastreid_privacy.keys.encryption.encrypt(b"", "passphrase", {})
except fastreid_privacy.UserError as error:
    sys.stderr.write(f"error: {error}\\n== 2\\n")
"""


def test_without_extras_the_rest_works_and_each_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(PACKAGE.parent))
    done = run_python(EVERYTHING.replace("FOLDER", repr(str(tmp_path))).replace("EXTRAS", repr([*EXTRAS])))
    print(done.stderr)
    assert done.returncode == 0 and "Traceback" not in done.stderr
    assert "2 of 2 images protected" in done.stdout
    said = [end.rpartition("\n== ") for end in re.findall(r".*?\n== \d+\n", done.stderr, re.DOTALL)]
    # a graph is looked at by onnx before onnxruntime gets it
    needed = ["", "cryptography", "av", "onnx", "cryptography", "cryptography", "cryptography"]
    assert [code.strip() for _, _, code in said] == ["2" if library else "0" for library in needed]
    for (text, _, _), library in zip(said, needed, strict=True):
        if library:
            fix = f'pip install "fastreid_privacy[{EXTRAS[library]}]"'
            assert f"error: {library} is not installed" in text and fix in text


def test_without_fastreid_it_says_how_to_install_it():
    done = run_python(
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, *args):\n"
        "        if name == 'fastreid': raise ModuleNotFoundError('No module', name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "import fastreid_privacy"
    )
    assert done.returncode == 1 and "pip install --no-deps fastreid==1.4.0" in done.stderr
    assert "During handling" not in done.stderr
