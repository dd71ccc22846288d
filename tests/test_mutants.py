"""The tool behind ``make mutants``: each module of the core has tests, and the files are there."""

from __future__ import annotations

import mutants
import pytest


def test_every_part_has_tests_that_are_there():
    assert {part.partition(".")[0] for part in mutants.parts()} == set(mutants.WINGS)
    for part in mutants.parts():
        files = mutants.tests_of(part)
        assert files and all((mutants.ROOT / file).is_file() for file in files)


def test_every_entry_of_the_table_is_a_part():
    assert set(mutants.TESTS) <= {*mutants.parts(), *mutants.WINGS}
    assert mutants.tests_of("model.supervision") == ["tests/test_supervision.py"]
    assert mutants.tests_of("keys.sealing") == ["tests/test_custody.py"]  # of the wing


def test_an_unknown_part_is_named(monkeypatch):
    monkeypatch.setattr("sys.argv", ["mutants.py", "model.losses", "model.nothing"])
    monkeypatch.setattr(mutants, "run", lambda part, jobs: pytest.fail("nothing is to be run"))
    with pytest.raises(SystemExit, match=r"no part model.nothing; known: .*model.losses, "):
        mutants.main()
