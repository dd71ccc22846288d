"""Every file of a protected folder has its line, whatever ended a run and became of raw files since."""

from __future__ import annotations

# before fastreid: importing the package makes it work
from in_process import anonymize, contents, ended_before, recover

# isort: split
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from fastreid_privacy.collection.output import SHARDS, Journal
from fastreid_privacy.collection.review import WITHHELD, decide, made_by
from fastreid_privacy.collection.stamps import STAMPS
from fastreid_privacy.core.tars import files_of_tar
from fastreid_privacy.keys.sealing import new_identity
from fastreid_privacy.manifest import JOURNAL, MANIFEST, files_of, names_of, read_manifest, unchanged

NAMES = [f"{number}.png" for number in range(4)]
FILE = NAMES[2]


def save(path, seed):
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (48, 24, 3), np.uint8)).save(path)


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        save(folder / name, number)
    return folder


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def words(raw, out, tmp_path):
    """Each raw file is sealed to :func:`opened`."""
    new_identity(tmp_path / "keys", None)
    words = ["--input", raw, "--output", out, "--seal", tmp_path / "keys" / "identity.pub"]
    return ["--method", "blur", *words, "--batch-size", 2, "--workers", 1]


@pytest.fixture
def opened(out, tmp_path):
    """Gives the originals that open, by name."""

    def opened():
        again = tmp_path / "again"
        shutil.rmtree(again, ignore_errors=True)
        recover("--identity", tmp_path / "keys" / "identity.key", "--input", out, "--output", again)
        return contents(again)

    return opened


def there(out):
    """Names of protected and sealed files, those in tar files among them."""
    found = set()
    for path in out.iterdir():
        found |= {*files_of_tar(path).members} if path.suffix == ".tar" else {path.name}
    return found - {MANIFEST, STAMPS}


def told(out):
    entries = read_manifest(out / MANIFEST).entries.values()
    return {name for entry in entries for name in names_of(entry)}


def assert_told(out):
    """No file without a line, and no line without its files."""
    entries = read_manifest(out / MANIFEST).entries.values()
    assert there(out) == told(out)
    assert all(unchanged(files_of(out, entries), entry) for entry in entries)


@pytest.mark.parametrize("moment", range(1, 7))
@pytest.mark.parametrize("tars", [[], ["--tars", 2]])
@pytest.mark.parametrize("renew", [[], ["--renew"]])
def test_a_renewal_is_killed_and_then_its_raw_file_damaged(
    raw, out, words, tmp_path, capsys, opened, moment, tars, renew
):
    """The new sealed file, or both, lay there without a line, and nothing told them from those of others."""
    words = [*words, *tars]
    assert anonymize(*words) == 0
    old = (raw / FILE).read_bytes()
    save(raw / FILE, 99)
    new = (raw / FILE).read_bytes()
    assert anonymize(*words[:4], "--output", tmp_path / "new") == 0
    with ended_before(moment):
        code = anonymize(*words, "--renew")
    assert code == (130 if (out / JOURNAL).exists() or moment == 1 else 0)
    (raw / FILE).write_bytes(new[:100])
    capsys.readouterr()
    assert anonymize(*words, *renew) == 2
    assert f"{FILE}: " in capsys.readouterr().err
    assert_told(out)
    entry = read_manifest(out / MANIFEST).entries[FILE]
    renewed = entry["sha256"] == read_manifest(tmp_path / "new" / MANIFEST).entries[FILE]["sha256"]
    assert opened()[FILE] == (new if renewed else old)  # what is sealed is of what is shown
    (raw / FILE).write_bytes(new)
    assert anonymize(*words, "--renew") == 0
    assert_told(out)
    assert opened() == contents(raw)


@pytest.fixture(params=["files", "tars", "store"])
def of_a_kind(request, out, words):
    """These words for files, tar files and a store."""
    return [
        *words,
        *{"files": [], "tars": ["--tars", 2], "store": ["--output", f"local://{out}"]}[request.param],
    ]


@pytest.mark.parametrize("moment", range(2, 14))
@pytest.mark.parametrize("then", ["damaged", "replaced"])
def test_a_run_is_killed_and_then_a_raw_file_is_another(raw, out, of_a_kind, capsys, opened, moment, then):
    """What it had written last was nobody's, and no --renew could replace it."""
    words = of_a_kind
    with ended_before(moment):
        anonymize(*words)
    before = there(out) - {JOURNAL, SHARDS}
    for name in NAMES:
        if then == "damaged":
            (raw / name).write_bytes((raw / name).read_bytes()[:100])
        else:
            save(raw / name, 99)
    capsys.readouterr()
    anonymize(*words)
    assert "did not write" not in capsys.readouterr().err
    assert there(out) <= told(out)  # that of a picture which was not written by then is named, and damaged
    assert before <= there(out)
    for number, name in enumerate(NAMES):
        save(raw / name, 50 + number)
    assert anonymize(*words, "--renew") == 0
    assert_told(out)
    assert opened() == contents(raw)


@pytest.mark.parametrize("moment", range(2, 14))
def test_a_run_is_killed_and_then_raw_files_are_gone(raw, out, of_a_kind, capsys, opened, moment):
    """Files lay in a finished folder without a line, or it was refused for one that was never written."""
    with ended_before(moment):
        anonymize(*of_a_kind)
    written = {name.removesuffix(".sealed") for name in there(out)} & {*NAMES[:3]}
    for name in NAMES[:3]:
        (raw / name).rename(raw.parent / name)
    capsys.readouterr()
    code, said = anonymize(*of_a_kind), capsys.readouterr().err
    if written:
        assert code == 2 and f"holds {min(written)}" in said and "of images that --input has no more" in said
        for name in written:
            (raw.parent / name).rename(raw / name)
        assert anonymize(*of_a_kind) == 0
    else:
        assert code == 0
    assert_told(out)
    assert opened() == contents(raw)


def test_what_lies_beside_a_file_and_is_of_no_run_stays(raw, out, words, capsys):
    """It was overwritten, for only the protected file's name was looked at."""
    (raw / FILE).rename(raw.parent / FILE)
    assert anonymize(*words) == 0
    (out / f"{FILE}.sealed").write_bytes(b"of somebody")
    (raw.parent / FILE).rename(raw / FILE)
    for _ in range(2):
        assert anonymize(*words) == 2
        assert (
            f"{FILE}: {FILE}.sealed is there already, which this run did not write" in capsys.readouterr().err
        )
        assert (out / f"{FILE}.sealed").read_bytes() == b"of somebody" and not (out / FILE).exists()
    (out / f"{FILE}.sealed").unlink()
    assert anonymize(*words) == 0
    assert_told(out)


def test_a_touched_raw_file_whose_sealed_file_was_moved_away_is_no_other(raw, out, words, opened):
    """It asked for --renew, though the picture is the same, and nothing that is sealed would be lost."""
    assert anonymize(*words) == 0
    before = (out / FILE).read_bytes()
    shutil.move(out / f"{FILE}.sealed", out.parent / "for_the_owner")
    os.utime(raw / FILE, (1, 1))
    assert anonymize(*words) == 0 and (out / FILE).read_bytes() == before
    assert_told(out)
    assert opened() == contents(raw)
    assert anonymize(*words) == 0


def test_a_touched_raw_file_is_not_called_replaced_alone(raw, out, words, capsys):
    """What is sealed cannot be compared."""
    assert anonymize(*words) == 0
    os.utime(raw / FILE, (1, 1))
    assert anonymize(*words) == 2
    assert f"{FILE}: its raw file was replaced since it was protected, or only copied or touched" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("mend", ["put back", "renew"])
def test_noise_whose_sealed_file_was_moved_away_is_named(raw, out, words, tmp_path, capsys, opened, mend):
    """It fell out of the manifest as nobody's, for noise is another one each time."""
    words[1] = "noise"
    assert anonymize(*words) == 0
    entries, sealed = read_manifest(out / MANIFEST).entries, out / f"{FILE}.sealed"
    shutil.move(sealed, tmp_path / "for_the_owner")
    before = contents(out)
    for _ in range(2):
        assert anonymize(*words) == 2
        assert f"{FILE}: what lay beside it (.sealed, .template) is not there" in capsys.readouterr().err
        assert contents(out) == before and read_manifest(out / MANIFEST).entries == entries
    if mend == "put back":
        shutil.move(tmp_path / "for_the_owner", sealed)
    assert anonymize(*words, *(["--renew"] if mend == "renew" else [])) == 0
    assert_told(out)
    assert opened() == contents(raw)


@pytest.mark.parametrize("method", ["blur", "mask", "noise"])
@pytest.mark.parametrize("then", ["replaced", "damaged"])
def test_what_is_sealed_outlives_its_protected_file(raw, out, words, capsys, opened, method, then):
    """A deleted protected file was made anew of whatever the raw file was, and the original was lost."""
    words[1] = method
    assert anonymize(*words) == 0
    old, line = (raw / FILE).read_bytes(), read_manifest(out / MANIFEST).entries[FILE]
    (out / FILE).unlink()
    save(raw / FILE, 99)
    if then == "damaged":
        (raw / FILE).write_bytes((raw / FILE).read_bytes()[:100])
    for _ in range(2):
        assert anonymize(*words) == 2
        assert f"{FILE}: " in capsys.readouterr().err
        assert opened()[FILE] == old and read_manifest(out / MANIFEST).entries[FILE] == line
    save(raw / FILE, 99)
    assert anonymize(*words, "--renew") == 0
    assert_told(out)
    assert opened() == contents(raw)


def test_what_is_left_of_a_file_and_was_changed_is_refused(out, words, capsys):
    """As a whole one is; its line was lost."""
    assert anonymize(*words) == 0
    (out / f"{FILE}.sealed").unlink()
    save(out / FILE, 98)
    before = contents(out)
    assert anonymize(*words) == 2
    assert f"{out / FILE} was changed since it was written" in capsys.readouterr().err
    assert contents(out) == before


def test_a_journal_begins_without_what_shards_told(tmp_path):
    """It has that; older lines of shards came behind those that it got since."""
    (tmp_path / SHARDS).mkdir()
    (tmp_path / SHARDS / "00000000.jsonl").write_bytes(b"")
    with Journal(tmp_path / JOURNAL, {}, []):
        assert {path.name for path in tmp_path.iterdir()} == {JOURNAL}


@pytest.mark.parametrize(
    "change", [(b"2.png", b"../x"), (b"lengths", b"x"), (b"sealed", b"opened"), (b"IHDR", b"ihdr")]
)
def test_a_damaged_staged_file_is_named(raw, out, words, capsys, change):
    """Nothing is written of it, least of all elsewhere."""
    assert anonymize(*words) == 0
    save(raw / FILE, 99)
    with ended_before(f"{FILE}.sealed"):
        assert anonymize(*words, "--renew") == 130
    [staged] = (out / SHARDS).iterdir()
    assert staged.stat().st_mode & 0o777 == 0o600
    whole = staged.read_bytes()
    staged.write_bytes(whole.replace(*change))
    before = contents(out.parent)
    assert anonymize(*words) == 2
    assert f"{staged} is damaged" in capsys.readouterr().err and contents(out.parent) == before
    staged.write_bytes(whole)
    assert anonymize(*words) == 0
    assert_told(out)


def test_a_review_outlives_a_renewal_that_was_killed(raw, out, words, tmp_path):
    """What was about to take the place of a picture does not come back once it is withheld."""
    assert anonymize(*words) == 0
    manifest = read_manifest(out / MANIFEST)
    decide(tmp_path / "review", made_by(manifest.header), manifest.entries[FILE], False, "Ada", {})
    save(raw / FILE, 99)
    with ended_before(f"{FILE}.sealed"):
        assert anonymize(*words, "--renew") == 130
    with ended_before(STAMPS):
        assert anonymize(*words, "--review", tmp_path / "review") == 130
    assert not [path for path in out.rglob("*") if FILE in path.name or path.name.endswith(".staged")]
    assert anonymize(*words, "--review", tmp_path / "review") == 0
    assert_told(out)
    assert read_manifest(out / MANIFEST).failed == {FILE: WITHHELD}
