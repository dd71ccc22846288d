"""Row A5: masks that images share are found and undone, fresh ones are not; near keys and guessed labels."""

from __future__ import annotations

from in_process import attack, export

import fastreid_privacy  # before fastreid

# isort: split
import json
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fastreid_privacy.attack import differencing, keyed
from fastreid_privacy.attack.grid import run_attacks
from fastreid_privacy.attack.masks import COMBINATIONS
from fastreid_privacy.attack.request import AttackRequest
from fastreid_privacy.attack.stored import result_of
from fastreid_privacy.attack.subjects import Subject, Subjects, read_subjects
from fastreid_privacy.attack.views import Files
from fastreid_privacy.checkpoints.opening import load_recovery
from fastreid_privacy.core.projects import load_projects
from fastreid_privacy.desensitize import DESENSITIZER_REGISTRY

SIZE = (24, 12)
SUM, MODULO, XOR = COMBINATIONS


def level(*words: object) -> np.random.Generator:
    """Random numbers that the words alone decide."""
    return np.random.default_rng(zlib.crc32(repr(words).encode()))


def write(folder: Path, change: Callable[[np.ndarray, int, str], np.ndarray], people: int = 12) -> None:
    """Raw and protected files: smooth pictures of each person by two cameras, and what becomes of them.

    Args:
        folder: for ``raw`` and ``protected``.
        change: pixels, int H×W×3, the person and the file's name, to the protected pixels.
        people: how many.
    """
    for pid in range(1, people + 1):
        for camera in (1, 2):
            name = f"{pid:04}_c{camera}_0.png"
            small = level("picture", pid, camera).integers(30, 226, (4, 2, 3), dtype=np.uint8)
            raw = np.array(Image.fromarray(small).resize(SIZE[::-1], Image.Resampling.BICUBIC))
            for side, pixels in (("raw", raw), ("protected", change(raw.astype(int), pid, name))):
                (folder / side).mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels.astype(np.uint8)).save(folder / side / name)


def mask_of(*words: object, strength: int = 256) -> np.ndarray:
    return level("mask", *words).integers(0, strength, (*SIZE, 3))


WAYS = {
    "person, modulo": (lambda raw, pid, name: (raw + mask_of(pid)) % 256, f"{MODULO}, mask of the person"),
    "person, xor": (lambda raw, pid, name: raw ^ mask_of(pid), f"{XOR}, mask of the person"),
    "person, clipped": (
        lambda raw, pid, name: np.clip(raw + mask_of(pid, strength=60) - 30, 0, 255),
        f"{SUM}, mask of the person",
    ),
    "everybody, modulo": (lambda raw, pid, name: (raw + mask_of()) % 256, f"{MODULO}, mask of everybody"),
    "everybody, xor": (lambda raw, pid, name: raw ^ mask_of(), f"{XOR}, mask of everybody"),
    "everybody, clipped": (
        lambda raw, pid, name: np.clip(raw + mask_of(strength=60) - 30, 0, 255),
        f"{SUM}, mask of everybody",
    ),
    "fresh": (lambda raw, pid, name: (raw + mask_of(name)) % 256, "nothing"),
    "constant": (lambda raw, pid, name: np.full_like(raw, 128), "nothing"),
}


def sides(folder: Path) -> tuple[Files, Files, Subjects]:
    subjects = read_subjects(str(folder / "raw"), str(folder / "protected"))
    return Files(subjects.size, protected=True), Files(subjects.size), subjects


@pytest.mark.parametrize("way", WAYS)
def test_a_shared_mask_is_found_and_undone(tmp_path, way):
    change, chosen = WAYS[way]
    write(tmp_path, change)
    protected, raw, subjects = sides(tmp_path)
    found = differencing.difference(protected, raw, subjects)
    assert found.name == chosen
    error = (found.view(found.asked) - raw(found.asked)).square().mean()
    if "clipped" in way:
        assert 10 * torch.log10(255**2 / error) > 40  # what was clipped in the image itself is lost
    elif chosen != "nothing":
        assert error == 0 and found.asked == subjects.query
    else:
        # the files as they are, which a guess from other people's images would not beat
        assert torch.equal(found.view(found.asked), protected(found.asked)) and found.held == 0
    assert found.held == {"person": len(subjects.query), "everyb": 6, "fresh": 0, "consta": 0}[way[:6]]


@pytest.mark.parametrize(
    ("way", "combination", "same", "others"),
    [
        ("person, modulo", MODULO, 1, 0),
        ("person, xor", XOR, 1, 0),
        ("person, clipped", SUM, 1, None),
        ("everybody, modulo", MODULO, 1, 1),
        ("fresh", MODULO, 0, 0),
        ("constant", SUM, 0, 0),
    ],
)
def test_two_images_cancel_a_mask_that_they_share(tmp_path, way, combination, same, others):
    write(tmp_path, WAYS[way][0])
    found = differencing.two_images(*sides(tmp_path))
    assert found["pairs"] == 12
    assert found[combination]["same_person"] == pytest.approx(same, abs=0.03)
    if others is not None:
        assert found[combination]["other_people"] == pytest.approx(others, abs=0.03)
    else:
        assert found[combination]["other_people"] < 0.95


def test_the_share_that_is_explained_is_that_of_numpy(tmp_path):
    write(tmp_path, lambda raw, pid, name: np.clip(raw + mask_of(name, strength=80), 0, 255), people=4)
    protected, raw, subjects = sides(tmp_path)
    found = differencing.two_images(protected, raw, subjects)
    shares = []
    for pid in {each.pid for each in subjects.query}:
        one, other = sorted((each for each in subjects.query if each.pid == pid), key=lambda each: each.name)
        pixels = [
            [np.array(Image.open(path)).astype(int) for path in (each.raw, each.protected)]
            for each in (one, other)
        ]
        first, second = ((pixels[0][side] - pixels[1][side]).ravel() for side in (0, 1))
        shares.append(np.corrcoef(first, second)[0, 1] ** 2)
    assert found[SUM]["same_person"] == pytest.approx(np.mean(shares))


def test_what_was_cut_comes_from_around_it(tmp_path):
    """A mask so strong that three values in four are lost: the rest still tells the image."""
    write(tmp_path, lambda raw, pid, name: np.clip(raw + mask_of(pid), 0, 255))
    protected, raw, subjects = sides(tmp_path)
    found = differencing.difference(protected, raw, subjects)
    assert found.name == f"{SUM}, mask of the person"
    shown, wanted = found.view(found.asked), raw(found.asked)
    error = (shown - wanted).square().mean()
    assert 10 * torch.log10(255**2 / error) > 22
    # where neither image was cut, to the level
    partner = differencing.partners(found.asked, subjects.measured)
    theirs = protected([partner[each.name] for each in found.asked])
    whole = (theirs < 255) & (protected(found.asked) < 255)
    assert 0.1 < whole.double().mean() < 0.5 and torch.equal(shown[whole], wanted[whole])


def test_the_way_is_chosen_on_known_people_alone(tmp_path):
    """Known people are summed, measured ones exclusive-ored: the attacker cannot know, and takes the sum."""
    write(tmp_path, WAYS["person, modulo"][0])
    protected, raw, subjects = sides(tmp_path)
    for each in subjects.measured:
        pixels = np.array(Image.open(each.raw)).astype(int) ^ mask_of(each.pid)
        Image.fromarray(pixels.astype(np.uint8)).save(each.protected)
    found = differencing.difference(protected, raw, subjects)
    assert found.name == f"{MODULO}, mask of the person"
    assert (found.view(found.asked) - raw(found.asked)).abs().max() > 0


def test_who_is_seen_once_keeps_their_mask(tmp_path):
    write(tmp_path, WAYS["person, modulo"][0])
    protected, raw, subjects = sides(tmp_path)
    gone = subjects.query[0]
    alone = Subjects(
        subjects.known,
        subjects.query,
        [each for each in subjects.gallery if each.pid != gone.pid or each is gone],
        subjects.size,
        0,
    )
    alone.query[:] = [each for each in alone.query if each.pid != gone.pid or each is gone]
    found = differencing.difference(protected, raw, alone)
    assert gone not in found.asked and len(found.asked) == len(alone.query) - 1
    shown = found.view(alone.query)
    assert torch.equal(shown[:1], protected([gone])) and torch.equal(shown[1:], raw(found.asked))


def test_without_a_known_person_who_is_seen_twice_only_everybodys_mask_is_tried(tmp_path):
    write(tmp_path, WAYS["everybody, xor"][0])
    protected, raw, subjects = sides(tmp_path)
    known = [each for each in subjects.known if each.camid == 1]
    once = Subjects(known, subjects.query, subjects.gallery, subjects.size, 0)
    found = differencing.difference(protected, raw, once)
    assert found.name == f"{XOR}, mask of everybody" and not found.seen_twice
    assert not any("person" in name for name in found.tried)


# -- keys ----------------------------------------------------------------------------------------------------


def test_disturbed_weights_are_so_far_from_the_right_ones(small_run):
    key = load_recovery(small_run / "model_best.pth", "cpu")
    before = {name: weights.clone() for name, weights in key.named_parameters()}
    other = keyed.disturbed(key, 0.1)
    for name, weights in other.named_parameters():
        assert torch.equal(before[name], dict(key.named_parameters())[name])
        if weights.numel() > 2000:
            step = (weights - before[name]).std() / before[name].std()
            assert step == pytest.approx(0.1, rel=0.1), name
    assert torch.equal(keyed.disturbed(key, 0.1)(torch.zeros(1, 3, 64, 32)), other(torch.zeros(1, 3, 64, 32)))


@pytest.fixture
def operators(monkeypatch):
    """Public operators: one that the label alone decides, one with a secret seed besides."""
    monkeypatch.setattr(DESENSITIZER_REGISTRY, "_obj_map", dict(DESENSITIZER_REGISTRY._obj_map))

    def labelled(images, people):
        masks = torch.stack([torch.from_numpy(mask_of(pid)).permute(2, 0, 1) for pid in people])
        return ((images.round() + masks) % 256).to(images.dtype)

    def secret(images, people, seeds):
        return labelled(images, people)

    def fresh(images, seeds):
        return images

    for operator in (labelled, secret, fresh):
        DESENSITIZER_REGISTRY.register(operator)


def attacked(folder: Path, stranger: Path, **options) -> dict:
    request = AttackRequest(
        str(folder / "raw"),
        str(folder / "protected"),
        folder / "out",
        **{"rows": ("A5",), "stranger": stranger, "beside": (), "device": "cpu", **options},
    )
    return result_of(request, run_attacks(request))


@pytest.fixture(scope="module")
def stranger(small_run):
    return small_run / "model_best.pth"


def test_labels_are_guessed_where_they_are_the_only_key(operators, tmp_path, stranger, monkeypatch):
    monkeypatch.setattr(keyed, "LABELS", 80)
    write(tmp_path, WAYS["person, modulo"][0])
    result = attacked(tmp_path, stranger, operator="labelled", beside=("labelled", "secret", "mask"))
    guessed = result["rows"]["A5"]["guessed_labels"]
    assert guessed == {
        "combination": MODULO,
        "labels": 81,
        "images": 12,
        "found": 100,
        "chance": 100 / 81,
        "PSNR": None,
    }
    beside = {name: each["rows"]["A5"] for name, each in result["beside"].items()}
    assert beside["labelled"]["guessed_labels"] == guessed
    assert "guessed_labels" not in beside["secret"] and beside["secret"]["recovery"]["PSNR"] is None
    assert beside["mask"] == {"not_applicable": "mask has no key"}
    # labels beyond those that are tried are not found
    monkeypatch.setattr(keyed, "LABELS", 0)
    protected, raw, subjects = sides(tmp_path)
    operator = fastreid_privacy.desensitize.Desensitizer("labelled")
    few = keyed.guess_labels(operator, protected, raw, subjects.query, subjects.known)
    assert few["found"] == 0 and few["labels"] == 1


def test_near_keys_and_the_whole_row_by_one_command(
    small_run, small_dataset, weights, tmp_path, capsys, monkeypatch
):
    """Files of the trained model: its key nearly right, another model's, and one that does not open."""
    raw = next(small_dataset.glob("SyntheticPedestrians*"))
    protect = fastreid_privacy.load_anonymizer(weights, "cpu")
    for file in sorted(raw.glob("*/*.jpg")):
        target = tmp_path / "protected" / file.relative_to(raw).with_suffix(".png")
        target.parent.mkdir(parents=True, exist_ok=True)
        pixels = torch.from_numpy(np.array(Image.open(file).convert("RGB"))).permute(2, 0, 1)[None]
        Image.fromarray(protect(pixels)[0].permute(1, 2, 0).numpy()).save(target)
    monkeypatch.setenv("PASS", "the right words")
    release = tmp_path / "release"
    assert export("--weights", weights, "--output", release, "--passphrase-env", "PASS") == 0
    out = tmp_path / "out"
    words = [
        *("--raw", str(raw), "--protected", str(tmp_path / "protected"), "--output", str(out)),
        *("--device", "cpu", "--beside", "blur", "--rows", "A5,A6", "--passphrase-env", "PASS"),
        *("--stranger", str(small_run / "model_best.pth"), "--recovery-key", str(release / "recovery.key")),
        *("--near-key", str(small_run / "model_final.pth")),
    ]
    capsys.readouterr()
    assert attack(*words) == 0
    assert "A5 originals of other" in capsys.readouterr().out
    result = json.loads((out / "attack.json").read_text())
    near = result["rows"]["A5"]["near_keys"]
    right = result["rows"]["A6"]["recovery"]["PSNR"]
    shares = [near[f"{share} noise in the weights"]["PSNR"] for share in ("1%", "10%", "50%")]
    assert abs(shares[0] - right) < abs(shares[1] - right) < abs(shares[2] - right)
    assert near["another passphrase"]["refused"].startswith("refused: ")
    assert near[str(small_run / "model_final.pth")]["PSNR"] != right
    assert result["beside"]["blur"]["rows"]["A5"] == {"not_applicable": "blur has no key"}
    page = (out / "attack.html").read_text()
    assert "originals of other images, near keys" in page and "another passphrase" in page
    # kept, and made again where another near key is named
    before = (out / "attack.json").read_bytes()
    assert attack(*words) == 0 and (out / "attack.json").read_bytes() == before
    assert attack(*words[:-2]) == 2 and "other settings (near_keys)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"operator": "blur"}, "blur has no key"),
        ({"operator": "noise"}, "noise has no key"),
        ({"model": "base"}, "blur has no key"),
    ],
)
def test_row_a5_alone_wants_a_key(small_run, tmp_path, stranger, monkeypatch, options, reason):
    write(tmp_path, WAYS["constant"][0])
    if options.get("model"):
        checkpoint = torch.load(small_run / "model_best.pth", weights_only=True)
        checkpoint["config"] = checkpoint["config"].replace("PROTECTION: learned", "PROTECTION: conventional")
        torch.save(checkpoint, tmp_path / "base.pth")
        options = {"model": tmp_path / "base.pth"}
    with pytest.raises(fastreid_privacy.UserError, match=f"row A5 is of keyed methods, and {reason}"):
        attacked(tmp_path, stranger, **options)
    assert not (tmp_path / "out").exists()
    # beside other rows, and where no row is named, it is left out with the reason, or not made
    result = attacked(tmp_path, stranger, **options, rows=("A0", "A5"))
    assert result["rows"]["A5"] == {"not_applicable": reason}


def test_a_missing_near_key_and_a_stranger_to_the_row_are_refused(tmp_path, stranger):
    write(tmp_path, WAYS["constant"][0])
    with pytest.raises(fastreid_privacy.UserError, match=r"absent\.key"):
        attacked(tmp_path, stranger, near_keys=(tmp_path / "absent.key",))
    with pytest.raises(fastreid_privacy.UserError, match=r"is no folder"):
        load_projects([tmp_path / "absent"])
    assert not (tmp_path / "out").exists()


def test_nobody_who_is_seen_twice_is_refused(tmp_path, stranger):
    write(tmp_path, WAYS["constant"][0])
    for side in ("raw", "protected"):
        for file in (tmp_path / side).glob("*_c2_*"):
            file.unlink()
    with pytest.raises(fastreid_privacy.UserError, match="others who are seen by two cameras"):
        attacked(tmp_path, stranger)


def test_partners_are_others_images_of_the_same_person():
    def subject(name, pid, camid):
        return Subject(name, pid, camid, Path(), Path())

    one, near, far, other = (subject(*each) for each in (("a", 1, 0), ("b", 1, 0), ("c", 1, 1), ("d", 2, 1)))
    found = differencing.partners([one, other], [one, near, far, other])
    assert found == {"a": far}
