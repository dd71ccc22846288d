"""What a person said of protected images: the file, and ``anonymize --review``, which withholds each no."""

from __future__ import annotations

from in_process import recover

import fastreid_privacy  # noqa: F401, before fastreid

# isort: split
import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from in_process import anonymize, contents

from fastreid_privacy.collection import review as review_module
from fastreid_privacy.collection import run as run_module
from fastreid_privacy.collection.output import begin_journal
from fastreid_privacy.collection.review import NO, WITHHELD, YES, decide, made_by, read_review
from fastreid_privacy.core.errors import UserError
from fastreid_privacy.core.lock import locked
from fastreid_privacy.keys.sealing import new_identity
from fastreid_privacy.manifest import JOURNAL, MANIFEST, read_manifest


@pytest.fixture(scope="module")
def raw(small_dataset, tmp_path_factory):
    """Five rendered people, one of them in a folder of its own."""
    root = tmp_path_factory.mktemp("raw")
    (root / "far").mkdir()
    for number, file in enumerate(sorted(small_dataset.glob("*/query/*"))[:5]):
        shutil.copy(file, root / "far" if number == 4 else root)
    return root


def judge(folder, file, yes, path=None):
    """Decide about a file of a folder, the first one by default; returns its path."""
    manifest = read_manifest(folder / MANIFEST)
    entry = manifest.entries[path or sorted(manifest.entries)[0]]
    decide(file, made_by(manifest.header), entry, yes, " Ada ", {"PSNR": 20.5})
    return entry["path"]


@pytest.mark.parametrize("method", ["learned", "blur"])
def test_a_no_is_withheld_and_everything_else_stays(method, raw, weights, tmp_path, capsys):
    output, file = tmp_path / "protected", tmp_path / "review.jsonl"
    how = ["--weights", weights] if method == "learned" else ["--method", "blur"]
    words = [*how, "--input", raw, "--output", output, "--batch-size", "2", "--device", "cpu"]
    assert anonymize(*words) == 0
    before = contents(output)
    out = judge(output, file, yes=False)
    judge(output, file, True, sorted(read_manifest(output / MANIFEST).entries)[1])
    capsys.readouterr()

    assert anonymize(*words, "--review", file) == 0
    said = capsys.readouterr()
    assert "4 of 5 images protected" in said.out
    assert f"1 images withheld, as {file} says:\n  {Path(out).stem}.jpg" in said.err
    manifest = read_manifest(output / MANIFEST)
    assert manifest.complete and manifest.failed == {out: WITHHELD} and len(manifest.entries) == 4
    after = contents(output)
    hidden = ".sources.jsonl"
    assert {name: after[name] for name in after if name not in (MANIFEST, hidden)} == {
        name: before[name] for name in before if name not in (MANIFEST, hidden, out)
    }
    assert out.encode() not in after[hidden] and b"Ada" not in b"".join(after.values())

    assert anonymize(*words, "--review", file) == 0 and contents(output) == after  # again: nothing changes
    assert anonymize(*words) == 2
    assert f"names files that a person withheld ({out})" in capsys.readouterr().err
    assert contents(output) == after
    decide(file, read_review(file).of, {"path": out, "sha256": "0" * 64}, True, "Ada", {})
    assert anonymize(*words, "--review", file) == 0 and contents(output) == before  # a later yes


def test_a_new_folder_never_has_what_was_a_no(raw, weights, tmp_path):
    """Nor does a batch without it have other bytes."""
    file, first, second = tmp_path / "review.jsonl", tmp_path / "first", tmp_path / "second"
    words = ["--weights", weights, "--input", raw, "--batch-size", "3", "--device", "cpu"]
    assert anonymize(*words, "--output", first) == 0
    out = judge(first, file, False, sorted(read_manifest(first / MANIFEST).entries)[-1])
    assert out.startswith("far/")
    assert anonymize(*words, "--output", second, "--review", file) == 0
    one, two = contents(first), contents(second)
    assert set(one) - set(two) == {out} and not (second / out).exists()
    assert all(one[name] == two[name] for name in two if name.endswith(".png"))


def test_what_is_sealed_beside_goes_with_it(raw, tmp_path):
    new_identity(tmp_path / "keys", None)
    output, file = tmp_path / "protected", tmp_path / "review.jsonl"
    seal = ["--seal", tmp_path / "keys" / "identity.pub"]
    words = ["--method", "blur", "--input", raw, "--output", output, *seal]
    assert anonymize(*words) == 0
    out = judge(output, file, yes=False)
    assert (output / f"{out}.sealed").is_file()
    assert anonymize(*words, "--review", file) == 0
    assert not (output / out).exists() and not (output / f"{out}.sealed").exists()
    opened = ["--identity", tmp_path / "keys" / "identity.key", "--input", output, "--output", tmp_path / "r"]
    assert recover(*opened) == 0
    assert len([name for name in contents(tmp_path / "r") if name != MANIFEST]) == 4


@pytest.fixture
def sealing(raw, tmp_path):
    """Words of a run that seals beside its files."""
    new_identity(tmp_path / "keys", None)
    return ["--method", "blur", "--input", raw, "--seal", tmp_path / "keys" / "identity.pub"]


def removed(path):
    path.unlink()


def changed(path):
    path.write_bytes(b"something else")


@pytest.mark.parametrize("damage", [removed, changed])
@pytest.mark.parametrize("ending", ["", ".sealed"])
def test_nothing_of_a_no_stays_whatever_became_of_its_files(sealing, damage, ending, tmp_path):
    output, file = tmp_path / "protected", tmp_path / "review.jsonl"
    assert anonymize(*sealing, "--output", output) == 0
    out = judge(output, file, yes=False)
    left = {name: content for name, content in contents(output).items() if not name.startswith(out)}
    damage(output / (out + ending))
    assert anonymize(*sealing, "--output", output, "--review", file) == 0
    after = contents(output)
    assert after.keys() == left.keys()
    assert all(after[name] == left[name] for name in left if name.endswith((".png", ".sealed")))


def test_nothing_of_a_no_stays_of_a_run_that_was_killed_before_it_told(sealing, tmp_path):
    """As a lost process of a cluster leaves a whole shard: files that no line tells of."""
    output, file = tmp_path / "protected", tmp_path / "review.jsonl"
    assert anonymize(*sealing, "--output", output) == 0
    manifest = read_manifest(output / MANIFEST)
    out = judge(output, file, False, sorted(manifest.entries)[-1])
    before = contents(output)
    begin_journal(output / JOURNAL, manifest.header, [])
    (output / MANIFEST).unlink()
    unfinished = output / "far" / f".{Path(out).name}.17.unfinished"
    unfinished.write_bytes(b"a part of it")
    assert (output / f"{out}.sealed").exists() and out.startswith("far/")
    assert anonymize(*sealing, "--output", output, "--review", file) == 0
    assert contents(output).keys() == before.keys() - {out, f"{out}.sealed"}


def test_a_killed_run_does_not_forget_what_was_a_no(raw, tmp_path, monkeypatch, capsys):
    output, file = tmp_path / "protected", tmp_path / "review.jsonl"
    words = ["--method", "blur", "--input", raw, "--output", output]
    assert anonymize(*words) == 0
    out = judge(output, file, yes=False)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "write_manifest", killed)
        assert anonymize(*words, "--review", file) == 130
    assert not (output / out).exists()
    assert anonymize(*words) == 2 and "a person withheld" in capsys.readouterr().err
    assert anonymize(*words, "--review", file) == 0
    assert read_manifest(output / MANIFEST).failed == {out: WITHHELD} and not (output / out).exists()


@pytest.mark.parametrize("ended_at", ["remove_all_of", "Threads.__call__"])
@pytest.mark.parametrize("new", [False, True])
def test_a_run_that_ends_early_does_not_forget_what_was_a_no(
    ended_at, new, raw, tmp_path, monkeypatch, capsys
):
    """Neither in the moment in which files are removed, nor in a folder that has nothing else yet."""
    first, file = tmp_path / "first", tmp_path / "review.jsonl"
    words = ["--method", "blur", "--input", raw, "--output"]
    assert anonymize(*words, first) == 0
    out = judge(first, file, yes=False)
    output = tmp_path / "second" if new else first

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"{run_module.__name__}.{ended_at}", killed)
        assert anonymize(*words, output, "--review", file) == 130
    capsys.readouterr()
    assert anonymize(*words, output) == 2 and f"a person withheld ({out})" in capsys.readouterr().err
    assert anonymize(*words, output, "--review", file) == 0
    assert read_manifest(output / MANIFEST).failed == {out: WITHHELD} and not (output / out).exists()


def test_a_review_of_other_images_is_refused(raw, tmp_path, capsys):
    output, file = tmp_path / "protected", tmp_path / "review.jsonl"
    words = ["--input", raw, "--output"]
    assert anonymize("--method", "blur", *words, output) == 0
    judge(output, file, yes=False)
    before = contents(output)
    assert anonymize("--method", "mask", *words, tmp_path / "masked", "--review", file) == 2
    assert "made otherwise (method, anonymizer differ)" in capsys.readouterr().err
    few = tmp_path / "few"
    few.mkdir()
    shutil.copy(sorted(raw.glob("*.jpg"))[1], few)
    assert anonymize("--method", "blur", "--input", few, "--output", tmp_path / "f", "--review", file) == 2
    assert "images that this run does not make" in capsys.readouterr().err
    assert contents(output) == before and not [*(tmp_path / "masked").rglob("*.png")]
    with pytest.raises(UserError, match="images that were made otherwise"):
        decide(file, {"method": "mask"}, {"path": "a.png", "sha256": ""}, True, "Ada", {})


@pytest.mark.parametrize("yes", [False, True])
@pytest.mark.parametrize("new", [False, True])
def test_decisions_about_raw_images_that_are_gone(new, yes, raw, tmp_path, capsys):
    """A no is carried out, and stays; a yes about a file that is not made changes nothing."""
    some, first, file = tmp_path / "some", tmp_path / "first", tmp_path / "review.jsonl"
    shutil.copytree(raw, some)
    words = ["--method", "blur", "--input", some, "--output"]
    assert anonymize(*words, first) == 0
    out, other, *_ = sorted(read_manifest(first / MANIFEST).entries)
    judge(first, file, yes, out)
    if new:
        judge(first, file, True, other)  # else the review is of nothing that is made
    (some / f"{Path(out).stem}.jpg").unlink()
    output, before = (tmp_path / "second" if new else first), contents(first)
    capsys.readouterr()
    if yes and not new:
        assert anonymize(*words, output, "--review", file) == 2
        assert "of images that --input has no more" in capsys.readouterr().err
        assert contents(first) == before
        return
    for _ in range(2):
        assert anonymize(*words, output, "--review", file) == 0
        said = capsys.readouterr()
        assert f"does not have; a no stays withheld:\n  {out}\n" in said.err
        assert "4 of 4 images protected" in said.out and "images withheld" not in said.err
        assert contents(output).keys() == before.keys() - {out}
        assert read_manifest(output / MANIFEST).failed == ({} if yes else {out: WITHHELD})


def test_a_review_never_removes_what_is_no_image(raw, tmp_path, capsys):
    output, file = tmp_path / "protected", tmp_path / "review.jsonl"
    words = ["--method", "blur", "--input", raw, "--output", output]
    assert anonymize(*words) == 0
    path, before = judge(output, file, yes=True), contents(output)
    for name in (MANIFEST, ".sources.jsonl", f"{path}.sealed"):
        decide(file, read_review(file).of, {"path": name, "sha256": ""}, False, "Ada", {})
        assert anonymize(*words, "--review", file) == 2
        assert "images that this run does not make" in capsys.readouterr().err
        assert contents(output) == before


def test_a_review_is_for_images(tmp_path, raw, capsys):
    output, file, video = tmp_path / "protected", tmp_path / "review.jsonl", tmp_path / "video.mkv"
    assert anonymize("--method", "blur", "--input", raw, "--output", output) == 0
    judge(output, file, yes=True)
    video.write_bytes(b"no matter what")
    words = ["--method", "blur", "--input", video, "--output", tmp_path / "v", "--review", file]
    assert anonymize(*words) == 2
    assert "--input is a video: leave it out" in capsys.readouterr().err


def test_the_file(raw, tmp_path):
    """Its form is public: tools of others may write it."""
    output, file = tmp_path / "protected", tmp_path / "review.jsonl"
    assert anonymize("--method", "blur", "--input", raw, "--output", output) == 0
    path = judge(output, file, yes=True)
    judge(output, file, yes=False)
    header = read_manifest(output / MANIFEST).header
    first, one, two = map(json.loads, file.read_text().splitlines())
    assert first == {"kind": "fastreid_privacy review", "schema": 1, "of": made_by(header)}
    assert first["of"]["method"] == "blur" and first["of"]["storage"] == "png"
    entry = read_manifest(output / MANIFEST).entries[path]
    at = one.pop("at")
    assert at.endswith("+00:00") and len(at) == 25
    said = {"path": path, "sha256": entry["sha256"], "by": "Ada", "figures": {"PSNR": 20.5}}
    assert one == {**said, "decision": YES} and two["decision"] == NO
    assert file.stat().st_mode & 0o077 == 0
    assert read_review(file).latest[path].decision == NO


def test_somebody_decides(tmp_path):
    with pytest.raises(UserError, match="type your name"):
        decide(tmp_path / "r.jsonl", {}, {"path": "a.png", "sha256": ""}, True, "  ", {})
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match="the decision is not kept"):
        decide(tmp_path / "absent" / "r.jsonl", {}, {"path": "a.png", "sha256": ""}, True, "Ada", {})


DECIDING = """
import os, sys
from pathlib import Path
from fastreid_privacy.collection.review import decide

children = []
for who in "EF":
    children.append(os.fork())
    if not children[-1]:
        for number in range(5):
            decide(Path(sys.argv[1]), {}, {"path": f"{who} {number}.png", "sha256": ""}, True, who, {})
        os._exit(0)
sys.exit(any([os.waitpid(child, 0)[1] for child in children]))
"""


def test_no_decision_is_lost_when_several_people_decide(tmp_path):
    file, several = tmp_path / "review.jsonl", 4

    def many(who):
        for number in range(5):
            decide(file, {}, {"path": f"{who} {number}.png", "sha256": ""}, True, who, {})

    with ThreadPoolExecutor(several) as threads:
        list(threads.map(many, "ABCD"))  # the first error is raised here
    # not forks of this process: beside the threads of other tests they may wait for ever
    others = [sys.executable, "-c", DECIDING, str(file)]
    subprocess.run(others, cwd=Path(__file__).parents[1], timeout=300, check=True)
    expected = {f"{who} {number}.png" for who in "ABCDEF" for number in range(5)}
    assert {each.path for each in read_review(file).decisions} == expected
    assert len(read_review(file).decisions) == len(expected)
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_a_folder_that_is_in_use_is_one_message(tmp_path, monkeypatch):
    monkeypatch.setattr(review_module, "PATIENCE", 0.0)
    with locked(tmp_path, ""), pytest.raises(UserError, match="another one writes to its folder"):
        decide(tmp_path / "review.jsonl", {}, {"path": "a.png", "sha256": ""}, True, "Ada", {})


LINE = '{"path": "a.png", "sha256": "0", "decision": "no", "by": "Ada", "at": "now", "figures": {}}\n'
FIRST = '{"kind": "fastreid_privacy review", "schema": 1, "of": {}}\n'


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no json\n",
        "[]\n",
        FIRST.replace("1", "2"),
        FIRST + LINE[:-1],
        FIRST + LINE.replace("no", "maybe", 1),
        FIRST + LINE.replace("a.png", "../a.png"),
        FIRST + LINE.replace('"by": "Ada", ', ""),
        FIRST + LINE.replace('"Ada"', "3"),
        FIRST + LINE.replace('"at"', '"more": 1, "at"'),
    ],
)
def test_a_damaged_review_is_refused(text, tmp_path):
    file = tmp_path / "review.jsonl"
    file.write_text(text)
    with pytest.raises(UserError, match="damaged or no review"):
        read_review(file)
    file.write_text(FIRST + LINE)
    assert read_review(file).latest["a.png"].decision == NO
