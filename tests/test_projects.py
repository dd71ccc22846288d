"""--project: a package of others registers its operators, in this process and in those that it starts."""

from __future__ import annotations

from conftest import SMALL_CONFIG, small_options  # before fastreid: importing the package makes it work

# isort: split
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastreid_privacy import UserError
from fastreid_privacy.attack import stranger
from fastreid_privacy.attack.subjects import read_subjects
from fastreid_privacy.attack.views import Files
from fastreid_privacy.commands import (
    anonymize,
    attack,
    compare,
    export,
    recover,
    reproduce,
    retrieve,
    train,
)
from fastreid_privacy.core import projects
from fastreid_privacy.manifest import MANIFEST, read_manifest
from fastreid_privacy.training.request import TrainingRequest

CODE = """
from fastreid_privacy.desensitize import DESENSITIZER_REGISTRY

@DESENSITIZER_REGISTRY.register()
def inverted(images):
    return 255 - images
"""


def package(folder: Path, name: str, code: str = CODE) -> Path:
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(code)
    return folder


@pytest.fixture
def project(own_imports, tmp_path):
    return package(tmp_path / "Mine", "mine_inverted")


def digest(folder: Path) -> str:
    """SHA-256 of the package's only file, with its name and length in front."""
    content = (folder / "mine_inverted" / "__init__.py").read_bytes()
    return hashlib.sha256(b"__init__.py\0" + str(len(content)).encode() + b"\0" + content).hexdigest()


def test_what_a_linked_subpackage_holds_counts(tmp_path):
    """Imports follow links to folders; one that leads back is no loop, one to nowhere no module."""
    folder = package(tmp_path / "Mine", "mine_linked") / "mine_linked"
    parts = package(tmp_path / "elsewhere", "parts") / "parts"
    (folder / "parts").symlink_to(parts)
    (folder / "back").symlink_to(folder)
    (folder / "gone.py").symlink_to(tmp_path / "absent.py")
    before = projects._hash(folder)
    (parts / "__init__.py").write_text("changed = True")
    changed = projects._hash(folder)
    (folder / "parts").unlink()
    assert len({before, changed, projects._hash(folder)}) == 3


def test_a_collection_is_made_by_a_projects_operator_and_says_so(project, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (8, 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "in" / "a.png")
    words = ["--method", "inverted", "--input", str(tmp_path / "in"), "--output", str(tmp_path / "out")]
    assert anonymize.main(words) == 2 and "'inverted', which is not registered" in capsys.readouterr().err
    assert anonymize.main(["--project", str(project), *words]) == 0
    assert np.array_equal(np.array(Image.open(tmp_path / "out" / "a.png")), 255 - pixels)
    header = read_manifest(tmp_path / "out" / MANIFEST).header
    assert header["projects"] == [{"name": "mine_inverted", "sha256": digest(project)}]
    assert anonymize.main(["--project", str(project), *words]) == 0  # again, and imported once


def test_a_run_is_made_by_a_projects_operator_and_says_so(project, small_dataset, tmp_path):
    options = {"PRIVACY.PROTECTION": "conventional", "PRIVACY.DESENSITIZER.NAME": "inverted"}
    words = ["--project", str(project), "--config-file", str(SMALL_CONFIG)]
    assert train.run([*words, *small_options(tmp_path / "run", **options, **{"SOLVER.MAX_EPOCH": 1})]) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["projects"] == [{"name": "mine_inverted", "sha256": digest(project)}]


def test_processes_that_a_command_starts_know_the_projects(project, small_dataset, tmp_path, monkeypatch):
    raw = str(next(small_dataset.glob("SyntheticPedestrians*")))
    started = []
    monkeypatch.setattr(stranger, "run_logged", lambda words, *rest: started.append(words))
    projects.load_projects([project])
    subjects = read_subjects(raw, raw)
    given = {"backbone": "resnet18", "epochs": 2, "seed": 0, "device": "cpu"}
    stranger.train_reid(tmp_path / "reid", Files(subjects.size), subjects, **given)
    words = started[0][started[0].index("train") + 1 :]
    assert train.request_of(train.build_parser().parse_args(words)).projects == (str(project),)
    # each of a training's processes imports them before it reads the config
    with pytest.raises(UserError, match="absent is no folder"):
        train.main(TrainingRequest(config_file="none.yml", projects=("absent",)))


ASKED = {
    anonymize: "--weights w --input i --output o",
    attack: "--raw r --protected p --output o",
    compare: "--methods m --output o",
    export: "--weights w --output o --unencrypted",
    recover: "--key k --input i --output o",
    reproduce: "--config-file c --output o",
    retrieve: "build --weights w --gallery g --output o",
    train: "--config-file c --output o",
}


@pytest.mark.parametrize("command", ASKED, ids=lambda command: command.__name__.rpartition(".")[2])
def test_every_command_that_builds_networks_loads_projects_first(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run = train.run if command is train else command.main
    assert run([*ASKED[command].split(), "--project", "absent"]) == 2
    assert capsys.readouterr().err.endswith("absent is no folder\n")
    assert not list(tmp_path.iterdir())


def test_attack_loads_projects_before_it_looks_at_operators(project, tmp_path, capsys):
    words = ["--raw", "absent", "--protected", "absent", "--output", str(tmp_path / "out")]
    assert attack.main([*words, "--operator", "inverted"]) == 2
    assert "--operator knows" in capsys.readouterr().err
    assert attack.main([*words, "--operator", "inverted", "--project", str(project)]) == 2
    assert "--raw absent does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("absent", "/bad is no folder"),
        ("file", "/bad is no folder"),
        ("empty", "must hold one Python package.*there: none"),
        ("several", "there: mine_one, mine_two"),
        ("itself", "bad is a package itself: give the folder above"),
        ("broken", r"its package mine_broken fails \(ZeroDivisionError"),
        ("syntax", r"its package mine_syntax fails \(SyntaxError"),
        ("twice", r"its package mine_blur fails \(AssertionError.*blur"),
        ("covered", "has the name json, too, and comes first; rename the project's package"),
    ],
)
def test_what_is_no_project_is_refused_by_name(own_imports, tmp_path, capsys, kind, message):
    folder = tmp_path / "bad"
    if kind == "file":
        folder.write_text("")
    elif kind != "absent":
        folder.mkdir()
    code = {
        "broken": "1 / 0",
        "syntax": "def",
        "twice": CODE.replace("def inverted", "def blur"),
    }
    if kind in code:
        package(folder, f"mine_{kind.replace('twice', 'blur')}", code[kind])
    if kind == "several":
        package(package(folder, "mine_one"), "mine_two")
    if kind == "itself":
        (folder / "__init__.py").write_text("")
    if kind == "covered":
        package(folder, "json")
    words = ["--method", "blur", "--input", str(tmp_path), "--output", str(tmp_path / "out")]
    assert anonymize.main(["--project", str(folder), *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --project ") and "Traceback" not in error
    with pytest.raises(UserError, match=message):
        projects.load_projects([folder])
    assert not projects.about_projects() and not projects.project_words()
    assert not (tmp_path / "out").exists()
