"""Row A7: who holds the search key draws people from their templates, as far as these tell of the picture."""

from __future__ import annotations

# isort: split
import json
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from in_process import attack
from onnx import helper
from PIL import Image
from test_attack import graph

from fastreid_privacy.attack.cells import Cell
from fastreid_privacy.attack.grid import run_attacks
from fastreid_privacy.attack.learned import Attacker
from fastreid_privacy.attack.request import AttackRequest
from fastreid_privacy.attack.stored import result_of
from fastreid_privacy.attack.subjects import read_subjects
from fastreid_privacy.attack.templated import Completion, Drawing
from fastreid_privacy.attack.views import Files
from fastreid_privacy.keys.pairs import PublicKey
from fastreid_privacy.keys.sealing import SEARCH, new_identity, read_public_key
from fastreid_privacy.keys.templates import Searchable, packed_template, seal_beside

SIZE = (24, 12)
MODEL, OTHER = "ab" * 32, "cd" * 32  # fingerprints


def draw(*words: object) -> np.random.Generator:
    """Random numbers that the words alone decide."""
    return np.random.default_rng(zlib.crc32(repr(words).encode()))


def small_picture(pid: int, camera: int) -> np.ndarray:
    """4×2×3: what a person looks like, under a camera."""
    person = draw("person", pid).integers(40, 216, (4, 2, 3))
    return person + draw("camera", pid, camera).integers(-20, 21, (4, 2, 3))


def as_picture(pid: int, camera: int) -> np.ndarray:
    """A feature that is the picture, small, on a scale of its own."""
    return small_picture(pid, camera).ravel() / 10 + 3


FEATURES: dict[str, Callable[[int, int], np.ndarray]] = {
    "picture": as_picture,
    "constant": lambda pid, camera: np.full(24, 0.3),
    "random": lambda pid, camera: draw("feature", pid, camera).normal(size=24),
}


def seal(file: Path, feature: np.ndarray, keys: list[PublicKey], model: str = MODEL) -> None:
    """A template beside a protected file."""
    searchable = Searchable(packed_template(feature, model), keys)
    file.with_name(file.name + ".template").write_bytes(seal_beside(searchable, file.read_bytes()))


def write(folder: Path, key: Path, feature: Callable[[int, int], np.ndarray], people: int) -> Path:
    """Raw and grey files of people before two cameras, with templates; folders ``raw`` and ``protected``."""
    keys = [read_public_key(key, SEARCH)]
    for side in ("raw", "protected"):
        (folder / side).mkdir(parents=True)
    for pid in range(1, people + 1):
        for camera in (1, 2):
            small = small_picture(pid, camera).astype(np.uint8)
            raw = Image.fromarray(small).resize(SIZE[::-1], Image.Resampling.BICUBIC)
            name = f"{pid:04}_c{camera}_0.png"
            raw.save(folder / "raw" / name)
            Image.new("RGB", raw.size, (128, 128, 128)).save(folder / "protected" / name)
            seal(folder / "protected" / name, feature(pid, camera), keys)
    return folder


@pytest.fixture(scope="module")
def search(tmp_path_factory):
    return new_identity(tmp_path_factory.mktemp("keys"), None, holder=SEARCH)


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    """A stranger who knows people by the colours of 6×6 pixels."""
    pool = helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[6, 6], strides=[6, 6])
    path = graph(tmp_path_factory.mktemp("stranger") / "colours.onnx", pool, SIZE)
    path.with_suffix(".yaml").write_text("mean: [128, 128, 128]\nstd: [60, 60, 60]\n")
    return path


def words_of(folder: Path, key: Path, stranger: Path, *more: str) -> list[str]:
    return [
        *("--raw", str(folder / "raw"), "--protected", str(folder / "protected")),
        *("--output", str(folder / "out"), "--stranger", str(stranger), "--search-key", str(key)),
        *("--beside", "", "--width", "8", "--budget", "0.0004", "--device", "cpu", *more),
    ]


@pytest.fixture(scope="module")
def planted(search, colours, tmp_path_factory):
    """attack.json of each feature; of pictures also row A3, which has the grey files alone."""
    results = {}
    for name, feature in FEATURES.items():
        folder = write(tmp_path_factory.mktemp(name), search[0], feature, people=120)
        request = AttackRequest(
            *(str(folder / side) for side in ("raw", "protected")),
            folder / "out",
            rows=("A3", "A7") if name == "picture" else ("A7",),
            search_key=search[1],
            budget=0.02 if name == "picture" else 0.006,
            stranger=colours,
            beside=(),
            width=8,
            device="cpu",
        )
        results[name] = result_of(request, run_attacks(request)), folder
    return results


def of_mean_picture(folder: Path) -> float:
    """PSNR of the mean of the known people's pictures against the queries', by numpy."""
    subjects = read_subjects(str(folder / "raw"), str(folder / "protected"))
    known, query = (
        np.stack([np.asarray(Image.open(each.raw), dtype=float) for each in side])
        for side in (subjects.known, subjects.query)
    )
    return 10 * np.log10(255**2 / ((query - known.mean(0)) ** 2).mean())


def test_a_template_that_tells_the_picture_is_drawn(planted):
    result, folder = planted["picture"]
    row, pairs = result["rows"]["A7"], result["rows"]["A3"]["all"]["recovery"]
    mean = of_mean_picture(folder)
    assert pairs["PSNR"] == pytest.approx(mean, abs=0.5)  # grey files: the mean is all there is
    for way, gain in (("inverted", 4), ("recovery", 5)):
        assert row[way]["PSNR"] > mean + gain and row[way]["SSIM"] > pairs["SSIM"] + 0.2, way
        assert row[way]["rank1"] > 0.8 * result["judge"]["raw"] > 2 * pairs["rank1"], way
    assert row["attacker"]["images"] == result["images"]["known"] and row["attacker"]["steps"] == 200
    assert (folder / "out/cells/protected_A7_seed0.png").is_file()
    assert (folder / "out/cells/protected_A7_seed0_inverted.png").is_file()


@pytest.mark.parametrize("name", ["constant", "random"])
def test_a_template_that_tells_nothing_gives_no_more_than_the_mean_picture(planted, name):
    result, folder = planted[name]
    for way in ("inverted", "recovery"):
        assert result["rows"]["A7"][way]["PSNR"] < of_mean_picture(folder) + 0.3, way


@pytest.mark.parametrize("name", FEATURES)
def test_templates_find_people_as_numpy_finds_them(planted, name):
    result, folder = planted[name]
    subjects = read_subjects(str(folder / "raw"), str(folder / "protected"))
    hits = []
    for asked in subjects.query:
        best, first = -2.0, 0
        for each in subjects.gallery:
            if each.pid == asked.pid and each.camid == asked.camid:
                continue
            one, other = (FEATURES[name](item.pid, item.camid).astype(np.float16) for item in (asked, each))
            score = float(one.astype(float) @ other.astype(float))
            score /= np.linalg.norm(one.astype(float)) * np.linalg.norm(other.astype(float))
            if score > best + 1e-9:
                best, first = score, each.pid
        hits.append(first == asked.pid)
    single = result["rows"]["A7"]["singling_out"]
    assert single["rank1"] == pytest.approx(100 * np.mean(hits), abs=1.3)  # one of 120 queries, by rounding
    assert single["chance"] == result["judge"]["chance"]
    assert single["rank1"] > 90 if name == "picture" else single["rank1"] < 10


def test_a_run_goes_on_and_tells_its_row_everywhere(
    search, colours, tmp_path, tmp_path_factory, monkeypatch, capsys
):
    """Under an encrypted key, and never learning from who is measured; what was sealed anew is noticed."""
    monkeypatch.setenv("PASS", "the right words")
    public, private = new_identity(tmp_path / "keys", "the right words", holder=SEARCH)
    folder = write(tmp_path / "files", public, as_picture, people=8)
    words = words_of(folder, private, colours, "--passphrase-env", "PASS", "--seeds", "0,1", "--rows", "A7")
    words[words.index("--beside") + 1] = "blur"
    subjects = read_subjects(str(folder / "raw"), str(folder / "protected"))
    measured, made, learn = {each.pid for each in subjects.measured}, [], Attacker.learn

    def killed(self, build, seen, wanted, learners, *rest):
        assert not measured & {each.pid for each in learners}
        made.append(rest)
        if len(made) == 4:  # of the second seed, the second network
            raise KeyboardInterrupt
        return learn(self, build, seen, wanted, learners, *rest)

    monkeypatch.setattr(Attacker, "learn", killed)
    assert attack(*words) == 130 and not (folder / "out/attack.json").exists()
    assert attack(*words) == 0
    assert [seed for seed, _ in made] == [0, 0, 1, 1, 1, 1]  # the finished cell of seed 0 stays
    said = capsys.readouterr().out
    assert "A7 the search key: dB, rank-1" in said and "A7 template alone: dB, rank-1" in said
    result = json.loads((folder / "out/attack.json").read_text())
    row = result["rows"]["A7"]
    assert set(row["per_seed"]) == {"0", "1"} and row["recovery"].keys() == row["inverted"].keys()
    assert row["recovery"]["PSNR"] == max(row["per_seed"].values())
    assert "carry no templates" in result["beside"]["blur"]["rows"]["A7"]["not_applicable"]
    page = (folder / "out/attack.html").read_text()
    assert "template alone" in page and "templates find" in page and "A7 · the search key" in page
    assert "without the right key is A7</b> (who holds the search key)" in page
    before = (folder / "out/attack.json").read_bytes()
    assert attack(*words) == 0 and (folder / "out/attack.json").read_bytes() == before and len(made) == 6
    monkeypatch.setenv("PASS", "other words")
    assert attack(*words) == 2 and "the passphrase is wrong" in capsys.readouterr().err
    monkeypatch.setenv("PASS", "the right words")
    for each in sorted((folder / "protected").glob("*.png")):
        seal(each, np.arange(1.0, 30), [read_public_key(public, SEARCH)])
    assert attack(*words) == 2 and "other settings (templates)" in capsys.readouterr().err
    words[words.index("--search-key") + 1] = str(search[1])
    assert attack(*words[: words.index("--rows")], "--rows", "A0") == 2
    assert "other settings (search_key, templates)" in capsys.readouterr().err


def test_what_an_older_version_began_goes_on(search, colours, tmp_path, capsys):
    """Its settings have no search key; its cells stay."""
    folder = write(tmp_path / "files", search[0], as_picture, people=8)
    words = words_of(folder, search[1], colours, "--rows", "A0")
    at = words.index("--search-key")
    without = words[:at] + words[at + 2 :]
    assert attack(*without) == 0
    file = folder / "out/cells/settings.json"
    settings = json.loads(file.read_text())
    assert settings.pop("search_key") is settings.pop("templates") is None
    file.write_text(json.dumps(settings))
    cell = folder / "out/cells" / f"{Cell('A0', 'protected').name}.json"
    content = json.loads(cell.read_text())
    content["figures"]["observer"] = "kept"
    cell.write_text(json.dumps(content))
    assert attack(*without) == 0
    result = json.loads((folder / "out/attack.json").read_text())
    assert result["rows"]["A0"]["observer"] == "kept" and "A7" not in result["rows"]
    capsys.readouterr()
    assert attack(*words) == 2 and "other settings (search_key, templates)" in capsys.readouterr().err


def test_by_default_the_row_is_made_where_the_key_is_given(search, colours, tmp_path):
    folder = write(tmp_path / "files", search[0], as_picture, people=8)
    assert attack(*words_of(folder, search[1], colours, "--operator", "mask")) == 0
    rows = json.loads((folder / "out/attack.json").read_text())["rows"]
    assert list(rows) == ["A0", "A1", "A3", "A7"] and "recovery" in rows["A7"]


def broken(folder: Path, keys: tuple[Path, Path], what: str) -> Path:
    """Break some templates, or name another key; returns the key."""
    files = sorted((folder / "protected").glob("*.png"))
    sealers = [read_public_key(keys[0], SEARCH)]
    if what == "lost":
        for each in files[2:4]:
            each.with_name(each.name + ".template").unlink()
    elif what == "changed picture":
        Image.new("RGB", SIZE[::-1], (127, 128, 128)).save(files[5])
    elif what == "model":
        seal(files[7], np.arange(24.0), sealers, OTHER)
    elif what == "length":
        seal(files[7], np.arange(23.0), sealers)
    elif what == "wrong key":
        return new_identity(folder / "other", None, holder=SEARCH)[1]
    elif what == "originals":
        return new_identity(folder / "identity", None)[1]
    elif what == "public":
        return keys[0]
    elif what == "encrypted":
        return new_identity(folder / "encrypted", "words", holder=SEARCH)[1]
    elif what == "none":
        return folder / "no.key"
    return keys[1]


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (
            "lost",
            ["2 of 16 files have no template that can be used", "0002_c1_0", "0002_c2_0.png: it carries"],
        ),
        ("changed picture", ["1 of 16 files have no template", "0003_c2_0.png: it carries no template"]),
        (
            "model",
            ["1 of 16 files", "0004_c2_0.png: its template is of the Re-ID model cdcdcdcdcdcd…, not of"],
        ),
        ("length", ["1 of 16 files", "0004_c2_0.png: its template has 23 values and the first one 24"]),
        (
            "wrong key",
            ["16 of 16 files have no template", " and 13 more: it carries no template"],
        ),
        ("originals", ["is a key of originals"]),
        ("public", ["no key of this kind"]),
        ("encrypted", ["a passphrase is needed"]),
        ("none", ["no.key"]),
    ],
)
def test_what_does_not_open_is_named_before_anything_is_written(
    search, colours, tmp_path, monkeypatch, capsys, what, said
):
    folder = write(tmp_path / "files", search[0], as_picture, people=8)
    key = broken(folder, search, what)
    monkeypatch.setattr(Attacker, "learn", None)
    assert attack(*words_of(folder, key, colours, "--rows", "A7")) == 2
    error = capsys.readouterr().err
    assert all(part in error for part in said), error
    assert not (folder / "out").exists() and "Traceback" not in error


@pytest.mark.parametrize("size", [(24, 12), (25, 13), (5, 4), (64, 32)])
def test_the_networks_draw_any_size_and_every_weight_learns(size):
    known = torch.randn(6, 10, generator=torch.Generator().manual_seed(0))
    network = Completion(Drawing(known, 4, size), 4, size)
    images = torch.randint(0, 256, (6, 3, *size), dtype=torch.uint8)
    made = network(images, known)
    assert made.shape == (6, 3, *size) and made.abs().max() <= 1
    made.abs().sum().backward()
    assert all(weights.grad is not None and weights.grad.abs().sum() > 0 for weights in network.parameters())


def test_the_scale_of_a_feature_does_not_matter_and_what_never_changes_is_not_enlarged():
    draws = torch.Generator().manual_seed(0)
    known, asked = (torch.randn(20, 8, generator=draws) for _ in range(2))
    known[:, 3] = asked[:, 3] = 0.1
    asked[0, 3] = 0.1001
    torch.manual_seed(0)
    network = Drawing(known, 4, SIZE).eval()
    torch.manual_seed(0)
    other = Drawing(known * 500 + 70, 4, SIZE).eval()
    with torch.no_grad():
        assert torch.allclose(network(asked), other(asked * 500 + 70), atol=1e-3)
    moved = ((asked - network.mean) / network.spread)[:, 3]
    assert moved.abs().max() < 0.2
    assert torch.isfinite(Drawing(torch.ones(4, 3), 4, SIZE)(torch.ones(2, 3))).all()


def test_files_of_a_view_are_not_asked_for_their_templates(search, tmp_path):
    """A template beside a protected file is no image of the folder."""
    folder = write(tmp_path / "files", search[0], as_picture, people=4)
    subjects = read_subjects(str(folder / "raw"), str(folder / "protected"))
    assert len({each.name for each in (*subjects.known, *subjects.gallery)}) == 8
    assert Files(subjects.size, protected=True)(subjects.known).unique().tolist() == [128]
