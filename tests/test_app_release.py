"""The list of a release and its worst images, without the page: against files that were tampered with."""

from __future__ import annotations

from in_process import anonymize

import fastreid_privacy  # noqa: F401, before fastreid

# isort: split
import errno
import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from fastreid_privacy.app.attacks import find_attack, undo
from fastreid_privacy.app.judging import Judging, Seen
from fastreid_privacy.app.methods import load_methods
from fastreid_privacy.app.release import check_release, count_decisions, open_release
from fastreid_privacy.app.showing import attack_html
from fastreid_privacy.app.trying import try_methods
from fastreid_privacy.app.worst import KEPT, PSNR, Suspect, find_suspects, nearest_first
from fastreid_privacy.collection.review import WITHHELD, decide
from fastreid_privacy.commands import app as command
from fastreid_privacy.core.errors import UserError
from fastreid_privacy.core.pictures import read_picture
from fastreid_privacy.manifest import JOURNAL, MANIFEST, read_manifest, write_manifest


@pytest.fixture(scope="module")
def made(small_dataset, tmp_path_factory):
    """raw and protected of five people, by blur."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "raw").mkdir()
    for file in sorted(small_dataset.glob("*/query/*"))[:5]:
        shutil.copy(file, folder / "raw")
    assert anonymize("--method", "blur", "--input", folder / "raw", "--output", folder / "protected") == 0
    return folder


@pytest.fixture
def folder(made, tmp_path):
    """A copy that may be spoilt."""
    shutil.copytree(made, tmp_path / "copy")
    return tmp_path / "copy"


def findings(folder, **options):
    return check_release(open_release(folder / "protected", **options), workers=1)


def worst_of(found):
    return [each.title for each in found if each.good is False]


# -- the list ------------------------------------------------------------------------------------------------


def test_a_whole_folder(made):
    found = findings(made)
    assert [each.good for each in found] == [True, True, True, None, None, False]
    assert "All 5 files are there" in found[1].title
    assert found[3].details == [".sources.jsonl: it links protected files to raw ones"]
    assert "Protected by blur" in found[4].title
    assert found[5].title == "No attack on it is known."


def test_a_file_that_is_missing_or_another_is_named(folder):
    first, second, *_ = sorted((folder / "protected").glob("*.png"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:-1] + b"x")
    bad = findings(folder)[1]
    assert bad.good is False and "2 of 5 files" in bad.title and bad.details == [first.name, second.name]


def test_what_no_manifest_names_may_be_raw(folder):
    shutil.copy(next((folder / "raw").iterdir()), folder / "protected" / "left over.jpg")
    (folder / "protected" / "more").mkdir()
    (folder / "protected" / "more" / ".hidden").write_bytes(b"x")
    bad = findings(folder)[3]
    assert bad.good is False and "2 other files" in bad.title
    assert bad.details[:2] == ["left over.jpg", "more/.hidden"]


def test_links_and_what_is_no_file_are_named(folder):
    """Whatever lies behind a link may go out with the folder, or another file than the one that was seen."""
    protected = folder / "protected"
    one = min(protected.glob("*.png"))
    shutil.move(one, folder / one.name)
    one.symlink_to(folder / one.name)
    (protected / "more").symlink_to(folder / "raw")
    (protected / "nowhere").symlink_to(folder / "absent")
    (protected / ".sources.jsonl").unlink()
    (protected / ".sources.jsonl").symlink_to(folder / "raw")
    os.mkfifo(protected / "pipe")
    files, bad = findings(folder)[1], findings(folder)[3]
    assert files.good is True and bad.good is False and "5 other files" in bad.title
    link = "a link, which brings along whatever it leads to"
    names = [".sources.jsonl", one.name, "more", "nowhere"]
    assert bad.details[:5] == [*(f"{name}: {link}" for name in names), "pipe: no regular file"]


def test_folders_that_cannot_be_listed_are_named(folder, monkeypatch):
    """What lies in them may be raw images; the system says no, as to another user."""
    for name in ("more", "deep/er"):
        (folder / "protected" / name).mkdir(parents=True)
        shutil.copy(next((folder / "raw").iterdir()), folder / "protected" / name)
    scan = os.scandir

    def refusing(path):
        if os.fspath(path).endswith(("more", "er")):
            raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refusing)
    bad = findings(folder)[3]
    assert bad.good is False and bad.title.startswith("2 folders in it cannot be looked into")
    assert bad.details[:2] == [f"{name}/: not looked into: Permission denied" for name in ("deep/er", "more")]


def test_a_run_that_is_not_finished(folder):
    (folder / "protected" / JOURNAL).write_bytes(b"")
    assert f"{JOURNAL}: a run is not finished" in findings(folder)[3].details
    manifest = folder / "protected" / MANIFEST
    lines = manifest.read_text().splitlines(keepends=True)
    manifest.write_text("".join(lines[:-1]))
    assert worst_of(findings(folder))[0] == "The run did not come to its end."


def test_failed_and_withheld_are_told_apart(folder):
    manifest = read_manifest(folder / "protected" / MANIFEST)
    failed = {"a.png": "it is damaged", "b.png": WITHHELD}
    write_manifest(folder / "protected", manifest.header, manifest.entries.values(), failed)
    found = findings(folder)
    assert found[2].good is None and found[2].details == ["a.png: it is damaged"]
    assert (
        found[3].good is True and found[3].details == ["b.png"] and "1 images are withheld" in found[3].title
    )


@pytest.mark.parametrize(
    ("header", "good", "said"),
    [
        ({"method": "learned", "guard": {"psnr": 1, "ssim": 1}}, [True], "2 of 5 had shown too much"),
        ({"method": "learned"}, [False], "--no-guard"),
        ({"method": "learned", "privacy": "not private"}, [False, False], "NOT PRIVATE"),
    ],
)
def test_what_the_anonymizer_is(folder, header, good, said):
    manifest = read_manifest(folder / "protected" / MANIFEST)
    entries = [
        {**each, KEPT: 1 if number < 3 else 0.5} for number, each in enumerate(manifest.entries.values())
    ]
    write_manifest(folder / "protected", {**manifest.header, **header}, entries, {})
    found = findings(folder)[4:-1]
    assert [each.good for each in found] == good and said in found[0].title


@pytest.mark.parametrize("value", [[], {}, None, 3, "\n", ["x"]], ids=str)
def test_whatever_a_forged_manifest_says_is_looked_at(folder, value):
    manifest = read_manifest(folder / "protected" / MANIFEST)
    learned = {**manifest.header, "method": "learned"}
    for word in ("privacy", "guard", *(word for word in learned if word not in ("kind", "schema"))):
        forged, failed = {**learned, word: value}, {"a.png": value}
        write_manifest(folder / "protected", forged, manifest.entries.values(), failed)
        assert "All 5 files are there" in findings(folder)[1].title
        assert len(find_suspects(open_release(folder / "protected"), 9)[0]) == 5


def test_folders_that_are_no_release(tmp_path, folder):
    with pytest.raises(UserError, match="is no folder"):
        open_release(tmp_path / "absent")
    with pytest.raises(UserError, match=r"manifest.jsonl cannot be read"):
        open_release(folder / "raw")
    review = tmp_path / "review.jsonl"
    decide(review, {"method": "mask"}, {"path": "a.png", "sha256": ""}, True, "Ada", {})
    with pytest.raises(UserError, match="made otherwise"):
        open_release(folder / "protected", review)


# -- the attack ----------------------------------------------------------------------------------------------


def result_of(protected, rows):
    return {"schema": 1, "protected": str(protected), "seeds": [3], "rows": rows}


RECOVERY = {"PSNR": 22.5, "SSIM": 0.5, "rank1": 40.0, "mAP": 20.0}
ROWS = {
    "A0": {"linkage": {"rank1": 9.0}},
    "A1": {"recovery": {**RECOVERY, "PSNR": 21.0}, "attacker": {"operator": "blur", "network": "Wiener"}},
    "A3": {"16": {"recovery": {**RECOVERY, "PSNR": 20.0}}, "64": {"recovery": RECOVERY}},
    "A6": {"recovery": {**RECOVERY, "PSNR": 40.0}},
}


def attacked(folder, rows=ROWS, protected=None):
    """An attack.json beside the folder, newer than that."""
    (folder / "attack").mkdir(exist_ok=True)
    file = folder / "attack" / "attack.json"
    file.write_text(json.dumps(result_of(protected or folder / "protected", rows)))
    return file


def test_the_strongest_attack_without_the_key_is_told(folder):
    file = attacked(folder)
    (folder / "attack" / "cells").mkdir()
    Image.new("RGB", (64, 64), "red").save(folder / "attack" / "cells" / "protected_A3_64_seed3.png")
    attack = find_attack(None, folder / "protected")
    assert (attack.file, attack.row, attack.pairs, attack.psnr, attack.rank1) == (
        file,
        "A3",
        "64",
        22.5,
        40.0,
    )
    assert attack.picture().shape == (64, 64, 3)
    found = findings(folder, attack=attack)[-1]
    assert found.good is None and "A3" in found.title and "22.5 dB" in found.title and "40.0 %" in found.title


def test_an_attack_on_another_folder_or_an_older_one_is_doubted(folder):
    file = attacked(folder, protected="/elsewhere")
    os.utime(file, (1, 1))
    found = findings(folder, attack=find_attack(file, None))[-1]
    assert found.good is False and "/elsewhere" in found.details[0] and "since" in found.details[1]


def test_the_ways_of_an_attack(folder, tmp_path):
    assert find_attack(None, folder / "protected") is None and find_attack(None, None) is None
    with pytest.raises(UserError, match=r"no attack.json"):
        find_attack(tmp_path / "absent", None)
    undone = find_attack(attacked(folder, {"A1": ROWS["A1"]}).parent, None)
    assert (undone.row, undone.operator, undone.way, undone.picture()) == ("A1", "blur", "Wiener", None)
    assert "No attack of it recovers" in find_attack(attacked(folder, {"A0": ROWS["A0"]}), None).told
    everything = {"A1": {"recovery": {**RECOVERY, "PSNR": None}}}
    assert "every pixel" in find_attack(attacked(folder, everything), None).told
    per_seed = {"A3": {"all": {"recovery": RECOVERY, "per_seed": {"0": 20.0, "7": 22.5}}}}
    assert find_attack(attacked(folder, per_seed), None).seed == 7


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"schema": 2}',
        '{"schema": 1, "protected": "a", "rows": {"A1": 3}}',
        json.dumps(result_of("a", {"A1": {"recovery": {**RECOVERY, "PSNR": 10**400}}})),
        json.dumps(result_of("a", ROWS) | {"seeds": [float("inf")]}),
    ],
)
def test_a_damaged_attack_is_one_message(content, tmp_path):
    (tmp_path / "attack.json").write_text(content)
    with pytest.raises(UserError, match="damaged"):
        find_attack(tmp_path, None)


@pytest.fixture(scope="module")
def tried(small_dataset):
    picture = read_picture(sorted(small_dataset.glob("*/query/*"))[0])
    return try_methods(picture, load_methods([], device="cpu"))


def test_a_known_operator_is_undone_on_the_picture_itself(folder, tried):
    attack = find_attack(attacked(folder, {"A1": ROWS["A1"]}), None)
    assert undo(attack, tried) == []  # a way that this version does not know
    told = {**ROWS["A1"], "attacker": {"operator": "blur", "network": "Wiener, balance 0.003"}}
    attack = find_attack(attacked(folder, {"A1": told}), None)
    (undone,) = undo(attack, tried)
    blurred = tried[0].stages[0]
    assert undone.method == "blur" and undone.psnr > blurred.psnr + 0.5
    assert undone.psnr == pytest.approx(peak_signal_noise_ratio(tried[0].raw, undone.picture))
    html = attack_html(attack, [undone])
    assert "Tried on this picture just now: Wiener, balance 0.003" in html and "other people" not in html


def test_an_attack_that_learned_is_shown_on_others_and_says_so(folder, tried):
    attack = find_attack(attacked(folder), None)
    assert undo(attack, tried) == []
    assert "neither were pictures of it" in attack_html(attack, [])
    (folder / "attack" / "cells").mkdir()
    Image.new("RGB", (64, 64), "red").save(folder / "attack" / "cells" / "protected_A3_64_seed3.png")
    assert "Not this picture:" in attack_html(attack, [])


# -- the worst images ----------------------------------------------------------------------------------------


def test_the_nearest_to_raw_come_first(folder):
    """One protected file is next to raw: it is the first, with the figures of an independent reference."""
    protected = sorted((folder / "protected").glob("*.png"))[3]
    raw = np.array(Image.open(folder / "raw" / f"{protected.stem}.jpg"))
    near = np.clip(raw.astype(int) + 1, 0, 255).astype(np.uint8)
    Image.fromarray(near).save(protected)
    suspects, chosen = find_suspects(open_release(folder / "protected"), 3, folder / "raw", workers=1)
    assert len(suspects) == 3 and suspects[0].path == protected.name and "nearest" in chosen
    reference = peak_signal_noise_ratio(raw, near)
    assert suspects[0].figures[PSNR] == pytest.approx(reference, abs=0.005)
    assert suspects[0].figures["SSIM"] > 0.99 > suspects[1].figures["SSIM"]
    shown, original = suspects[0].pictures(folder / "protected")
    assert np.array_equal(shown, near) and np.array_equal(original, raw)


def test_an_image_stands_as_high_as_the_worse_of_its_places():
    found = [
        Suspect(name, {"PSNR": psnr, "SSIM": ssim})
        for name, psnr, ssim in (("a", 10, 0.1), ("b", 30, 0.2), ("c", 20, 0.9), ("d", 29, 0.8))
    ]
    assert [each.path for each in nearest_first(found)] == ["b", "c", "d", "a"]


def test_what_cannot_be_compared_is_counted(folder):
    first, second, *_ = sorted((folder / "protected").glob("*.png"))
    first.write_bytes(b"")
    (folder / "raw" / f"{second.stem}.jpg").unlink()
    suspects, chosen = find_suspects(open_release(folder / "protected"), 9, folder / "raw", workers=1)
    assert len(suspects) == 3 and "2 others could not be compared" in chosen
    with pytest.raises(UserError, match="holds no image of"):
        find_suspects(open_release(folder / "protected"), 9, folder / "raw", b"k" * 16, workers=1)


def test_pseudonyms_are_found_with_their_key(made, tmp_path):
    key = tmp_path / "names.key"
    key.write_bytes(b"k" * 32)
    out = tmp_path / "protected"
    assert anonymize("--method", "blur", "--input", made / "raw", "--output", out, "--pseudonymize", key) == 0
    suspects, _ = find_suspects(open_release(out), 9, made / "raw", b"k" * 32, workers=1)
    assert len(suspects) == 5


def test_without_raw_images_the_guard_tells_and_without_that_the_names(folder):
    manifest = read_manifest(folder / "protected" / MANIFEST)
    suspects, chosen = find_suspects(open_release(folder / "protected"), 2)
    assert [each.path for each in suspects] == sorted(manifest.entries)[:2] and "Nothing tells" in chosen
    shares = dict(zip(sorted(manifest.entries), (1, 0.4, 1, 0.2, 1), strict=True))
    entries = [{**each, KEPT: shares[path]} for path, each in manifest.entries.items()]
    write_manifest(folder / "protected", manifest.header, entries, {})
    suspects, chosen = find_suspects(open_release(folder / "protected"), 2)
    assert [each.figures[KEPT] for each in suspects] == [0.2, 0.4] and "guard" in chosen


# -- decisions -----------------------------------------------------------------------------------------------


@pytest.fixture
def judging(folder):
    release = open_release(folder / "protected")
    suspects, chosen = find_suspects(release, 3, folder / "raw", workers=1)
    return Judging(release, suspects, chosen, check_release(release, 1), 1)


def decided(judging, place, yes, by):
    return judging.decide(judging.image(place)[0], yes, by)


def made_again(folder, *words):
    """As the command that made the folder, once more."""
    assert (
        anonymize("--method", "blur", "--input", folder / "raw", "--output", folder / "protected", *words)
        == 0
    )


def other_raw(folder, path):
    """The raw file of a protected one is another picture."""
    raw = folder / "raw" / f"{Path(path).stem}.jpg"
    Image.fromarray(255 - np.array(Image.open(raw))).save(raw)


def test_decisions_are_written_and_counted(judging, folder):
    paths = [each.path for each in judging.suspects]
    assert "0 of the 3" in count_decisions(judging.release, paths).title
    assert decided(judging, 0, True, "Ada") == 1 and decided(judging, 2, False, "Bo") == 1
    review = folder / "protected.review.jsonl"
    assert [json.loads(text)["by"] for text in review.read_text().splitlines()[1:]] == ["Ada", "Bo"]
    counted = count_decisions(judging.release, paths)
    assert counted.good is False and "2 of the 3" in counted.title and counted.details[0] == paths[2]
    assert str(review) in counted.details[1]
    assert decided(judging, 2, True, "Bo") == 1 and decided(judging, 1, True, "Ada") == 1
    assert count_decisions(judging.release, paths).good is True
    _, html = judging.image(2)
    assert "Yes, it may be given out: Bo, " in html and "data:image/png" in html
    assert json.loads(review.read_text().splitlines()[-1])["figures"].keys() == {"PSNR", "SSIM"}


def test_a_yes_is_for_the_bytes_that_were_looked_at(judging, folder):
    decided(judging, 0, True, "Ada")
    manifest = read_manifest(folder / "protected" / MANIFEST)
    entries = [{**each, "sha256": "0" * 64} for each in manifest.entries.values()]
    write_manifest(folder / "protected", manifest.header, entries, {})
    new = Judging(open_release(folder / "protected"), judging.suspects, "", [], 1)
    assert "Ada decided about an earlier file" in new.image(0)[1]
    assert "0 of the 3" in count_decisions(new.release, [each.path for each in new.suspects]).title


def test_who_looks_sees_names_as_text_and_a_message_for_a_broken_file(judging, folder):
    (folder / "protected" / judging.suspects[1].path).write_bytes(b"")
    seen, html = judging.image(1)
    assert "the file is empty" in html
    with pytest.raises(UserError, match=r"no picture of .* is shown"):
        judging.decide(seen, False, "Ada")
    decided(judging, 0, True, "<b>Ada")
    _, html = judging.image(0)
    assert "&lt;b&gt;Ada" in html and "<b>Ada" not in html
    Path(judging.release.folder, judging.suspects[0].path).unlink()
    judging.look_again()
    assert "2 of 5 files are missing" in judging.list_html()


def test_what_anonymize_withheld_is_not_missing_when_the_folder_is_looked_at_again(judging, folder):
    decided(judging, 0, False, "Ada")
    decided(judging, 1, True, "Ada")
    assert "Run anonymize again with --review" in judging.list_html()
    out, seen = judging.suspects[0].path, judging.image(0)[0]
    made_again(folder, "--review", folder / "protected.review.jsonl")
    judging.look_again()
    html = judging.list_html()
    assert "All 4 files are there" in html and "1 images are withheld" in html
    assert "1 of the 2 images below" in html and "again with --review" not in html
    # the others keep their places, for another window shows them
    assert judging.suspects[0].path == out and "It is withheld" in judging.image(0)[1]
    for window in (seen, judging.image(0)[0]):
        with pytest.raises(UserError, match="It is withheld"):
            judging.decide(window, True, "Ada")
    assert decided(judging, 2, True, "Ada") == 2  # nothing else is to be decided


def test_a_file_that_was_made_again_is_looked_at_before_it_is_decided_about(judging, folder):
    """A window that was open meanwhile decides nothing, whatever the manifest says by then."""
    path, figures = judging.suspects[0].path, dict(judging.suspects[0].figures)
    seen, _ = judging.image(0)
    other_raw(folder, path)
    made_again(folder, "--renew")
    before, _ = judging.image(0)  # the picture is the new one, and the manifest the earlier one
    for window in (seen, before):
        with pytest.raises(UserError, match="written to since it was shown: look again"):
            judging.decide(window, True, "Ada")
    judging.look_again()
    with pytest.raises(UserError, match="written to since it was shown: look again"):
        judging.decide(seen, True, "Ada")
    assert not (folder / "protected.review.jsonl").exists()

    decided(judging, 0, True, "Ada")
    latest = judging.release.decisions().latest[path]
    now = (folder / "protected" / path).read_bytes()
    assert latest.sha256 == hashlib.sha256(now).hexdigest() and "All 5 files are there" in judging.list_html()
    raw = np.array(Image.open(folder / "raw" / f"{Path(path).stem}.jpg"))
    reference = peak_signal_noise_ratio(raw, np.array(Image.open(folder / "protected" / path)))
    assert latest.figures[PSNR] == pytest.approx(reference, abs=0.005) and latest.figures != figures


def test_a_new_image_that_is_among_the_worst_is_shown_when_the_folder_is_looked_at_again(folder):
    """The others keep their places and their decisions; nobody has looked at all before it."""
    release = open_release(folder / "protected")

    def find(release):
        return find_suspects(release, 3, folder / "raw", workers=1)

    judging = Judging(release, *find(release), check_release(release, 1), 1, find)
    before = [each.path for each in judging.suspects]
    for place in range(3):
        decided(judging, place, True, "Ada")
    assert "3 of the 3 images" in judging.list_html()
    flat = np.full((64, 32, 3), 120, np.uint8)  # blur changes nothing in it
    Image.fromarray(flat).save(folder / "raw" / "0099_c1s1_000099_00.png")
    made_again(folder)
    (folder / "raw" / Path(before[0]).with_suffix(".jpg")).unlink()
    judging.look_again()
    assert [each.path for each in judging.suspects][:4] == [*before, "0099_c1s1_000099_00.png"]
    assert (
        "3 of the 4 images" in judging.list_html() and "others could not be compared" in judging.image(3)[1]
    )
    assert decided(judging, 3, True, "Ada") == 3
    assert f"{len(judging.suspects)} of the {len(judging.suspects)}" in judging.list_html()


def test_images_of_a_folder_that_was_empty_are_shown_when_it_is_looked_at_again(folder):
    def find(release):
        return find_suspects(release, 3)

    manifest = read_manifest(folder / "protected" / MANIFEST)
    write_manifest(folder / "protected", manifest.header, [], {})
    release = open_release(folder / "protected")
    judging = Judging(release, *find(release), check_release(release, 1), 1, find)
    assert judging.image(0) == (Seen(0), "")
    with pytest.raises(UserError, match="no image is shown"):
        judging.decide(Seen(0), True, "Ada")
    write_manifest(folder / "protected", manifest.header, manifest.entries.values(), {})
    judging.look_again()
    assert decided(judging, 0, True, "Ada") == 1
    write_manifest(folder / "protected", manifest.header, [], {})
    judging.look_again()
    assert len(judging.suspects) == 3 and "no longer in the folder" in judging.image(0)[1]


def test_the_share_that_the_guard_kept_is_read_again(folder):
    manifest = read_manifest(folder / "protected" / MANIFEST)

    def write(share, mark):
        entries = [{**each, KEPT: share, "sha256": mark * 64} for each in manifest.entries.values()]
        write_manifest(folder / "protected", manifest.header, entries, {})

    write(0.5, "0")
    release = open_release(folder / "protected")
    judging = Judging(release, find_suspects(release, 2)[0], "", [], 1)
    write(0.25, "1")
    judging.look_again()
    assert [each.figures for each in judging.suspects] == [{KEPT: 0.25}] * 2


def test_an_attack_is_read_again(folder):
    """One that was run since the page was opened is told, and not what an earlier one found."""
    judging = Judging(open_release(folder / "protected"), [], "", [], 1)
    file = attacked(folder)
    judging.look_again()
    assert "22.5 dB" in judging.list_html()
    attacked(folder, {"A3": {"64": {"recovery": {**RECOVERY, "PSNR": 31.5}}}})
    judging.look_again()
    assert "31.5 dB" in judging.list_html() and "22.5 dB" not in judging.list_html()
    file.unlink()
    judging.look_again()
    assert "No attack on it is known" in judging.list_html()


def test_a_folder_that_cannot_be_read_again_leaves_the_page_as_it_is(judging, folder):
    before = judging.list_html()
    (folder / "protected" / MANIFEST).unlink()
    with pytest.raises(UserError, match=r"manifest.jsonl cannot be read"):
        judging.look_again()
    assert judging.list_html() == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--raw", "raw"], "--raw goes with --release"),
        (["--review", "r.jsonl"], "--review goes with --release"),
        (["--attack", "a.json"], "no attack.json"),
        (["--release", "absent"], "absent is no folder"),
        (["--release", "protected", "--pseudonymize", "k"], "only finds the raw images"),
        (["--release", "protected", "--attack", "raw"], "no attack.json"),
        (["--release", "protected", "--raw", "absent"], "--raw absent"),
    ],
)
def test_words_of_the_command_that_do_not_go_together(made, words, said, capsys, monkeypatch):
    monkeypatch.chdir(made)
    assert command.main(words) == 2
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error
