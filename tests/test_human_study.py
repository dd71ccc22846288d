"""Human verification: drawing and dealing pairs, the pages in a real browser, and scoring what a simulated
person answered."""

# before fastreid: it works then
from fastreid_privacy.human_study import GROUPS, deal, draw_pairs, read_answers, score_study

# isort: split
import base64
import io
import json
import math
import re
import shutil
import time
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
from conftest import SMALL_CONFIG, small_options
from fastreid.data.data_utils import read_image
from in_process import call, human_study, train
from PIL import Image
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

import fastreid_privacy
from fastreid_privacy.core.errors import UserError
from fastreid_privacy.human_study import pages
from fastreid_privacy.human_study.score import missing_answers, read_key
from fastreid_privacy.human_study.study_images import ShownImage
from fastreid_privacy.results.results_json import checkpoint_of, lost_checkpoint

LABELS = np.repeat(np.arange(0, 9), 8), np.tile([0, 0, 1, 1, 2, 2, 3, 3], 9)  # pid 0: distractors


def test_the_thirteen_groups_of_table_2():
    assert len(GROUPS) == 13
    assert [group.paper for group in GROUPS.values()] == [79, 82, 83, 82, 71, 75, 71, 64, 84, 83, 88, 84, 92]
    assert GROUPS["blur-full-oi_pi"].run == "full_blur"
    assert GROUPS["raw-oi_oi"].run == "upper_bound"


@pytest.mark.parametrize("seed", range(5))
def test_pairs_are_balanced_and_give_no_cue(seed):
    pids, camids = LABELS
    pairs = draw_pairs(pids, camids, 60, np.random.default_rng(seed))
    assert sum(pair.same for pair in pairs) == 30 and len(pairs) == 60
    assert len({frozenset(pair[:2]) for pair in pairs}) == 60
    for first, second, same in pairs:
        assert (pids[first] == pids[second]) == same
        assert camids[first] != camids[second]
        assert pids[first] > 0 and pids[second] > 0
    of_person = Counter(pids[pair.first] for pair in pairs if pair.same)
    assert max(of_person.values()) - min(of_person.values()) <= 1  # people take turns
    assert pairs == draw_pairs(pids, camids, 60, np.random.default_rng(seed))
    assert pairs != draw_pairs(pids, camids, 60, np.random.default_rng(seed + 100))


@pytest.mark.parametrize(
    ("pids", "camids", "count", "message"),
    [
        ([1, 1, 2, 2], [0, 0, 0, 0], 2, "one person under two cameras"),
        ([1, 1], [0, 1], 2, "two people under two cameras"),
        ([1, 1, 2, 2], [0, 1, 0, 1], 10, "no 5 different pairs"),
        ([0, 0, -1], [0, 1, 0], 2, "one person"),
    ],
)
def test_too_few_images(pids, camids, count, message):
    with pytest.raises(UserError, match=message):
        draw_pairs(pids, camids, count, np.random.default_rng(0))


@pytest.mark.parametrize("participants", [1, 3, 10])
def test_dealing_shares_both_kinds(participants):
    pairs = draw_pairs(*LABELS, 60, np.random.default_rng(0))
    shares = deal(pairs, participants, np.random.default_rng(1))
    assert sorted(pair for share in shares for pair in share) == sorted(pairs)
    assert {len(share) for share in shares} == {60 // participants}
    same = [sum(pair.same for pair in share) for share in shares]
    assert max(same) - min(same) <= 1


def test_no_participant_always_gets_more_of_one_kind():
    pairs = draw_pairs(*LABELS, 30, np.random.default_rng(0))  # 15 of either kind for 10 participants
    of_groups = [
        [sum(pair.same for pair in share) for share in deal(pairs, 10, np.random.default_rng(seed))]
        for seed in range(13)
    ]
    assert all(set(same) == {1, 2} for same in zip(*of_groups, strict=True))


def example_key(groups=("blur-base-oi_pi", "raw-oi_oi"), participants=3, each=8):
    pairs = {
        f"{group}{number}{index}": {"participant": number, "group": group, "same": index % 2 == 0}
        for group in groups
        for number in range(1, participants + 1)
        for index in range(each)
    }
    return {"schema": 1, "study": "abc", "participants": participants, "runs": "seed0", "pairs": pairs}


@pytest.mark.parametrize(
    "entry",
    [
        1,
        {},
        {"participant": 9, "group": "raw-oi_oi", "same": True},
        {"participant": 1, "group": "x", "same": True},
    ],
)
def test_a_key_with_a_damaged_pair_is_refused(entry, tmp_path):
    key = example_key()
    key["pairs"]["broken"] = entry
    (tmp_path / "key.json").write_text(json.dumps(key))
    with pytest.raises(UserError, match="its pair 'broken' is none of a study"):
        read_key(tmp_path)


def wilson(correct, count):
    """The textbook's closed form."""
    z, share = 1.959963984540054, correct / count
    middle, width = (
        share + z * z / (2 * count),
        z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)),
    )
    return [100 * (middle + sign * width) / (1 + z * z / count) for sign in (-1, 1)]


def test_scores():
    key = example_key()
    answers = {
        1: {
            pair: entry["same"] for pair, entry in key["pairs"].items() if entry["participant"] == 1
        },  # always right
        2: {
            pair: True
            for pair, entry in key["pairs"].items()
            if entry["participant"] == 2 and entry["group"] == "raw-oi_oi"
        },
    }
    scores = score_study(key, answers)
    base, raw = scores["blur-base-oi_pi"], scores["raw-oi_oi"]
    assert (
        base["answered"],
        base["missing"],
        base["correct"],
        base["accuracy"],
        base["participants_low"],
    ) == (8, 16, 8, 100, None)
    assert (raw["answered"], raw["missing"], raw["correct"], raw["accuracy"]) == (16, 8, 12, 75)
    assert [raw["low"], raw["high"]] == pytest.approx(wilson(12, 16))
    assert [base["low"], base["high"]] == pytest.approx(wilson(8, 8))
    assert raw["said_same"] == 75
    assert missing_answers(key, answers) == {2: 8, 3: 16}
    # Two people of 50 and 100 %: drawn again, both are the first, or the second, a quarter of the time each.
    assert (raw["participants_low"], raw["participants_high"]) == (50, 100)


def test_a_group_without_answers_has_no_accuracy():
    score = score_study(example_key(), {})["raw-oi_oi"]
    assert (
        score["answered"],
        score["missing"],
        score["accuracy"],
        score["low"],
        score["participants_high"],
    ) == (0, 24, None, None, None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"schema": 1, "study": "other", "participant": 1, "answers": {}},
            "of the study other, not of this one, abc",
        ),
        ({"schema": 2, "study": "abc", "participant": 1, "answers": {}}, "another schema"),
        ({"schema": 1, "study": "abc", "participant": 1, "answers": []}, "holds no answers"),
        (
            {"schema": 1, "study": "abc", "participant": 1, "answers": {"nobody": {"answer": "same"}}},
            "'nobody', which participant 1",
        ),
        (
            {"schema": 1, "study": "abc", "participant": 1, "answers": {"raw-oi_oi20": {"answer": "same"}}},
            "was not shown",
        ),
        (
            {"schema": 1, "study": "abc", "participant": 1, "answers": {"raw-oi_oi10": {"answer": "maybe"}}},
            "neither with same nor",
        ),
        (
            {"schema": 1, "study": "abc", "answers": {"nobody": {"answer": "same"}}},
            "of participant None; this study has 1 to 3",
        ),
        ({"schema": 1, "study": "abc", "participant": [1], "answers": {}}, r"of participant \[1\]"),
        ({"schema": 1, "study": "abc", "participant": True, "answers": {}}, "of participant True"),
        ({"schema": 1, "study": "abc", "participant": 4, "answers": {}}, "of participant 4"),
        ([], "another schema"),
        ("{", "is not JSON"),
    ],
)
def test_foreign_answers_are_refused(content, message, tmp_path):
    file = tmp_path / "answers.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(UserError, match=message):
        read_answers([file], example_key())


def test_a_participant_counts_once(tmp_path):
    content = json.dumps({"schema": 1, "study": "abc", "participant": 1, "answers": {}})
    for name in ("first.json", "second.json"):
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=r"second.json and .*first.json are both of participant 1"):
        read_answers([tmp_path / "first.json", tmp_path / "second.json"], example_key())
    with pytest.raises(UserError, match=r"third.json cannot be read"):
        read_answers([tmp_path / "third.json"], example_key())


@pytest.fixture(scope="module")
def runs(small_dataset, small_run, tmp_path_factory):
    """A seed folder of a reproduction: the method, Base and the upper bound with blur, as small as can be."""
    folder = tmp_path_factory.mktemp("reproduction") / "seed0"
    shutil.copytree(small_run, folder / "full_blur")
    for name, protection in (("base_blur", "conventional"), ("upper_bound", "none")):
        options = small_options(folder / name, **{"PRIVACY.PROTECTION": protection, "SOLVER.MAX_EPOCH": 1})
        assert train("--config-file", SMALL_CONFIG, *options) == 0
    return folder


BLUR = "blur-base-oi_pi,blur-base-pi_pi,blur-full-oi_pi,blur-full-pi_pi,raw-oi_oi"


@pytest.fixture(scope="module")
def study(runs, tmp_path_factory):
    """5 groups of 12 pairs for two participants."""
    output = tmp_path_factory.mktemp("study") / "pages"
    words = {"groups": BLUR, "pairs": 12, "participants": 2, "seed": 0}
    assert human_study("make", runs=runs, output=output, **words) == 0
    return output


def page_data(page):
    """What a page holds: study, participant, trials and images."""
    return json.loads(re.search(r'<script id="data"[^>]*>(.*?)</script>', page.read_text(), re.DOTALL)[1])


def picture(data, index):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data["images"][index]))))


def test_pages_hold_the_images_and_not_the_answers(study, runs, small_dataset):
    key = json.loads((study / "key.json").read_text())
    assert (study / "key.json").stat().st_mode & 0o777 == 0o600
    written = sorted(study.glob("participant_*.html"))
    assert [page.name for page in written] == ["participant_01.html", "participant_02.html"]
    shown = [trial[0] for page in written for trial in page_data(page)["trials"]]
    assert sorted(shown) == sorted(key["pairs"]) and len(shown) == 60
    assert Counter((entry["group"], entry["same"]) for entry in key["pairs"].values()) == dict.fromkeys(
        [(group, same) for group in BLUR.split(",") for same in (True, False)], 6
    )

    def protected(run, images):
        protect = fastreid_privacy.load_anonymizer(runs / run / "model_best.pth")
        return [
            protect(torch.from_numpy(image.copy()).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()
            for image in images
        ]

    files = {path.name: path for path in small_dataset.rglob("*.png")} | {
        path.name: path for path in small_dataset.rglob("*.jpg")
    }
    data = page_data(written[0])
    for name, left, right in data["trials"]:
        entry = key["pairs"][name]
        raw = [np.asarray(read_image(str(files[file]), format="RGB")) for file in entry["images"]]
        pictures = [picture(data, left), picture(data, right)]
        if entry["group"] != "raw-oi_oi":
            unprotected = 1 if entry["group"].endswith("oi_pi") else 0
            raw[unprotected:] = protected(GROUPS[entry["group"]].run, raw[unprotected:])
        assert any(
            all(np.abs(a.astype(int) - b).max() <= 1 for a, b in zip(order, pictures, strict=True))
            for order in (raw, raw[::-1])
        )
    for page in written:
        text = re.sub(r'"images": \[.*?\]', "", page.read_text(), flags=re.DOTALL)
        assert not re.search(
            "blur|base_|full_|_c[0-9]s|true|oi_pi|pid", text.split('id="data"')[1].split("</script>")[0]
        )


class NamedImages:
    """In place of the images of a study: each is its domain and number, so that a page can be read."""

    def __init__(self, checkpoints, shown, device):
        pass

    def png(self, group, domain, index):
        return f"{domain} {index}".encode()


@pytest.fixture
def make(monkeypatch, tmp_path):
    """A function of a seed that makes a study without models: its key, and the pages' trials.

    6 groups of 24 pairs for two participants. A trial is (entry of the key, left, right), a picture its
    domain and file.
    """
    labels = enumerate(zip(*LABELS, strict=True))
    people = [ShownImage(f"{number}.png", int(pid), int(camera)) for number, (pid, camera) in labels]
    (tmp_path / "model.pth").touch()
    files = {group.run: tmp_path / "model.pth" for group in GROUPS.values()}
    monkeypatch.setattr(pages, "checkpoints_of", lambda runs, groups: files)
    monkeypatch.setattr(pages, "shown_images", lambda checkpoint: people)
    monkeypatch.setattr(pages, "StudyImages", NamedImages)
    groups = [GROUPS[name] for name in (*BLUR.split(","), "noise-full-oi_pi")]

    def study_of(seed):
        output = tmp_path / f"study {len(list(tmp_path.iterdir()))}"
        written = pages.make_study(tmp_path, output, groups, pairs=24, participants=2, seed=seed)
        key, trials = json.loads((output / "key.json").read_text()), []
        for page in written:
            data = page_data(page)
            seen = [base64.b64decode(image).decode().split() for image in data["images"]]
            seen = [(domain, people[int(index)].path) for domain, index in seen]
            trials.append([(key["pairs"][name], seen[a], seen[b]) for name, a, b in data["trials"]])
        return key, trials

    return study_of


def share(flags):
    flags = list(flags)
    return sum(flags) / len(flags)


def test_neither_order_nor_sides_give_an_answer_away(make):
    """Over 20 studies of 144 trials, each share has a standard deviation of at most 0.03."""
    all_pages = [page for seed in range(20) for page in make(seed)[1]]
    assert len(all_pages) == 40 and {len(page) for page in all_pages} == {72}
    for start in range(0, 72, 18):  # quarters of the pages
        part = [entry for page in all_pages for entry, _, _ in page[start : start + 18]]
        assert share(entry["same"] for entry in part) == pytest.approx(1 / 2, abs=0.08)
        for group in {entry["group"] for entry in part}:
            assert share(entry["group"] == group for entry in part) == pytest.approx(1 / 6, abs=0.06)
    for page in all_pages:  # no blocks: neighbours in the order in which pairs are drawn would be equal
        entries = [entry for entry, _, _ in page]
        assert sum(a["same"] != b["same"] for a, b in pairwise(entries)) > 20
        assert sum(a["group"] != b["group"] for a, b in pairwise(entries)) > 45
    trials = [trial for page in all_pages for trial in page]
    for same in (True, False):
        raw_left = [
            left[0] == "OI" for entry, left, right in trials if entry["same"] == same and left[0] != right[0]
        ]
        assert len(raw_left) > 500 and share(raw_left) == pytest.approx(1 / 2, abs=0.08)
        first_left = [left[1] == entry["images"][0] for entry, left, _ in trials if entry["same"] == same]
        assert share(first_left) == pytest.approx(1 / 2, abs=0.08)


def test_participants_of_a_study_see_orders_of_their_own(make):
    first, second = make(0)[1]
    for what in (lambda trial: trial[0]["same"], lambda trial: trial[0]["group"], lambda trial: trial[1][0]):
        assert list(map(what, first)) != list(map(what, second))


def test_the_seed_of_a_study_cannot_be_guessed_and_is_kept(make, monkeypatch):
    keys = [make(None)[0] for _ in range(2)]
    assert keys[0]["seed"] != keys[1]["seed"] and max(key["seed"] for key in keys) > 2**100
    assert keys[0]["pairs"] != keys[1]["pairs"]
    assert make(keys[0]["seed"])[0] == keys[0]


def test_a_study_is_a_function_of_its_seed(runs, tmp_path):
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        options = ["--groups", "raw-oi_oi", "--pairs", "4", "--participants", "1", "--seed", seed]
        assert human_study("make", "--runs", runs, "--output", tmp_path / name, *options) == 0
    page = "participant_01.html"
    assert (
        (tmp_path / "a" / page).read_bytes()
        == (tmp_path / "b" / page).read_bytes()
        != (tmp_path / "c" / page).read_bytes()
    )


def test_answers_on_images_of_another_model_are_refused(runs, tmp_path, capsys):
    """Seed and pairs are equal; only the weights of the anonymizer differ."""
    other = tmp_path / "other" / "full_blur"
    other.mkdir(parents=True)
    checkpoint = torch.load(runs / "full_blur" / "model_best.pth")
    torch.save(
        {**checkpoint, "model": {name: value / 2 for name, value in checkpoint["model"].items()}},
        other / "model_best.pth",
    )
    options = ["--groups", "blur-full-pi_pi", "--pairs", "4", "--participants", "1", "--seed", "0"]
    for name, folder in (("a", runs), ("b", other.parent)):
        assert human_study("make", "--runs", folder, "--output", tmp_path / name, *options) == 0
    keys = [json.loads((tmp_path / name / "key.json").read_text()) for name in "ab"]
    assert keys[0]["pairs"] == keys[1]["pairs"]
    answers = {"schema": 1, "study": keys[0]["study"], "participant": 1, "answers": {}}
    (tmp_path / "answers.json").write_text(json.dumps(answers))
    assert human_study("score", "--study", tmp_path / "b", tmp_path / "answers.json") == 2
    assert "not of this one" in capsys.readouterr().err


def test_rank1_of_a_model_that_was_trained_again_is_left_out(runs, tmp_path, capsys):
    shutil.copytree(runs / "full_blur", tmp_path / "seed0" / "full_blur")
    study = tmp_path / "study"
    words = ["--groups", "blur-full-pi_pi", "--pairs", "2", "--participants", "1", "--seed", "0"]
    assert human_study("make", "--runs", tmp_path / "seed0", "--output", study, *words) == 0
    key = json.loads((study / "key.json").read_text())
    answers = {"schema": 1, "study": key["study"], "participant": 1, "answers": {}}
    (tmp_path / "answers.json").write_text(json.dumps(answers))

    def rank1():
        assert human_study("score", "--study", study, tmp_path / "answers.json") == 0
        scores = json.loads((study / "human_study_scores.json").read_text())
        return scores["groups"]["blur-full-pi_pi"]["reid_rank1"], capsys.readouterr().err

    results = json.loads((runs / "full_blur" / "results.json").read_text())
    figure = results["retrieval"]["PI-PI"]["Rank-1"]
    assert rank1() == (figure, "")
    tested = tmp_path / "seed0" / "full_blur" / results["checkpoint"]
    tested.write_bytes(tested.read_bytes() + b"again")
    found, said = rank1()
    assert found is None and "another model than the one that made the study's pictures" in said
    del key["checkpoints"]  # as an older version wrote it
    (study / "key.json").write_text(json.dumps(key))
    assert rank1() == (figure, "")


def test_images_are_of_the_checkpoint_that_was_tested(tmp_path):
    assert not checkpoint_of(tmp_path).is_file()
    (tmp_path / "model_final.pth").touch()
    assert checkpoint_of(tmp_path).name == "model_final.pth"
    (tmp_path / "model_best.pth").touch()
    assert checkpoint_of(tmp_path).name == "model_best.pth"
    (tmp_path / "results.json").write_text(
        json.dumps({"schema": 1, "retrieval": {}, "checkpoint": "model_final.pth"})
    )
    assert checkpoint_of(tmp_path).name == "model_final.pth"


def test_which_model_a_run_has_lost_and_what_can_be_done(tmp_path):
    assert lost_checkpoint(tmp_path) == ""
    (tmp_path / "results.json").write_text(
        json.dumps({"schema": 1, "retrieval": {}, "checkpoint": "model_best.pth"})
    )
    said = lost_checkpoint(tmp_path)
    assert said.startswith(f"{tmp_path / 'model_best.pth'}, which the results of {tmp_path} are of, is not ")
    assert said.endswith("give it back, or train the model again")
    (tmp_path / "model_final.pth").touch()
    assert lost_checkpoint(tmp_path).endswith(f"MODEL.WEIGHTS {tmp_path / 'model_final.pth'}")
    (tmp_path / "model_best.pth").touch()
    assert lost_checkpoint(tmp_path) == ""


def test_a_model_that_is_gone_is_named_and_the_other_can_be_tested_in_its_place(small_run, tmp_path, capsys):
    """By the words that the message has."""
    run = tmp_path / "seed0" / "full_blur"
    shutil.copytree(small_run, run)
    tested = checkpoint_of(run)
    (other,) = {run / "model_best.pth", run / "model_final.pth"} - {tested}
    tested.rename(other)
    words = ["--runs", run.parent, "--groups", "blur-full-pi_pi", "--pairs", "2", "--participants", "1"]
    assert human_study("make", *words, "--output", tmp_path / "study") == 2
    said = capsys.readouterr().err
    assert f"{tested}, which the results of {run} are of, is not there any more: give it back" in said
    assert "has no checkpoint" not in said and not (tmp_path / "study").exists()
    (run / "results.json").rename(tmp_path / "results.json")
    assert call(*re.search(r"fastreid-privacy (test .*?\.pth)", said)[1].split()) == 0
    assert checkpoint_of(run) == other
    assert human_study("make", *words, "--output", tmp_path / "study") == 0


SLOW_PERSON = {"source": "{ let now = 0; performance.now = () => now += 1000; }"}


@pytest.fixture
def a_second_for_each_look(chromium):
    """The page's clock moves on by a second whenever it is read: no answer of a test is too quick."""
    handle = chromium.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", SLOW_PERSON)
    yield
    chromium.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", handle)


def test_a_person_answers_in_a_browser(study, chromium, a_second_for_each_look, runs, capsys):
    """By keyboard and by mouse, with a step back and a reload in the middle; the score is what the person
    really said."""
    page, key = study / "participant_01.html", json.loads((study / "key.json").read_text())
    trials = [trial[0] for trial in page_data(page)["trials"]]
    said = {name: (index % 3 == 0) for index, name in enumerate(trials)}
    chromium.open(page, width=360, height=740)
    driver, body = chromium.driver, chromium.driver.find_element
    body(By.ID, "start").click()

    def answer_by_key(name):
        keys = (Keys.ARROW_LEFT, "s") if said[name] else (Keys.ARROW_RIGHT, "d")
        body(By.TAG_NAME, "body").send_keys(keys[trials.index(name) % 2])

    for name in trials[:10]:
        answer_by_key(name)
    assert body(By.ID, "count").text == "Pair 11 of 30"
    body(By.TAG_NAME, "body").send_keys("s" if not said[trials[10]] else "d")  # a slip, taken back
    body(By.TAG_NAME, "body").send_keys(Keys.BACKSPACE)
    assert body(By.ID, "count").text == "Pair 11 of 30"
    assert chromium.script("document.getElementById('progress').value") == 10
    driver.refresh()
    assert body(By.ID, "start").text == "Go on"
    body(By.ID, "start").click()
    assert body(By.ID, "count").text == "Pair 11 of 30"
    assert chromium.broken_images() == 0
    assert chromium.overflow() == 0
    for name in trials[10:]:
        body(By.ID, "same" if said[name] else "different").click()
    assert body(By.ID, "end").is_displayed()
    body(By.ID, "save").click()
    saved = chromium.downloads / "answers_01.json"
    for _ in range(100):
        if saved.is_file() and saved.stat().st_size:  # browsers make the file first
            break
        time.sleep(0.05)
    content = json.loads(saved.read_text())
    assert content == json.loads(chromium.script("document.getElementById('text').value"))
    assert {name: entry["answer"] == "same" for name, entry in content["answers"].items()} == said
    assert chromium.errors() == [] and chromium.requests() == []

    assert human_study("score", "--study", study, saved) == 0
    printed = capsys.readouterr().out
    scores = json.loads((study / "human_study_scores.json").read_text())["groups"]
    for group in BLUR.split(","):
        pairs = [name for name in trials if key["pairs"][name]["group"] == group]
        right = sum(said[name] == key["pairs"][name]["same"] for name in pairs)
        assert (scores[group]["answered"], scores[group]["missing"], scores[group]["correct"]) == (
            6,
            6,
            right,
        )
        results = json.loads((runs / GROUPS[group].run / "results.json").read_text())
        assert scores[group]["reid_rank1"] == results["retrieval"][GROUPS[group].pair]["Rank-1"]
        assert f"{100 * right / 6:.1f}" in printed
    assert "Answers of 1 of 2 participants; none of 2" in printed

    part = {
        **content,
        "answers": {name: entry for name, entry in content["answers"].items() if name != trials[0]},
    }
    saved.write_text(json.dumps(part))
    assert human_study("score", "--study", study, saved) == 0
    assert "missing: 1 of participant 1." in capsys.readouterr().out
    assert json.loads((study / "human_study_scores.json").read_text())["missing"] == {"1": 1, "2": 30}
    assert "Answers of 1 of 2" in (study / "human_study_scores.md").read_text()


def test_one_press_is_one_answer(study, chromium):
    """A double tap and a key that is held answer the pair that is seen, not also the next one; the button
    keeps the focus."""
    chromium.open(study / "participant_02.html")
    driver = chromium.driver
    driver.execute_script("localStorage.clear()")
    driver.refresh()
    count, same = driver.find_element(By.ID, "count"), driver.find_element(By.ID, "same")
    driver.execute_script("window.clock = 0; performance.now = () => window.clock")
    driver.find_element(By.ID, "start").click()
    assert chromium.script("document.activeElement.id") == "trial"
    driver.execute_script("window.clock += 1000")
    ActionChains(driver, duration=0).double_click(same).perform()
    assert count.text == "Pair 2 of 30"
    for repeated in (False, True, True):
        driver.execute_script("window.clock += 1000")
        key = {
            "type": "keyDown",
            "key": "Enter",
            "code": "Enter",
            "windowsVirtualKeyCode": 13,
            "text": "\r",
            "autoRepeat": repeated,
        }
        driver.execute_cdp_cmd("Input.dispatchKeyEvent", key)
    assert count.text == "Pair 3 of 30"
    assert chromium.script("document.activeElement.id") == "same"
    driver.find_element(By.TAG_NAME, "body").send_keys("u")
    assert count.text == "Pair 2 of 30"
    driver.execute_script("localStorage.clear()")


def test_two_tabs_of_a_page_keep_each_others_answers(study, chromium, a_second_for_each_look):
    """Each tab changes the pair that it shows, and goes on where the other one is."""
    page, driver = study / "participant_02.html", chromium.driver
    trials = [trial[0] for trial in page_data(page)["trials"]]
    chromium.open(page)
    driver.execute_script("localStorage.setItem(place, '[]')")  # of no use, and no harm
    driver.refresh()

    def press(*names):
        for name in names:
            driver.find_element(By.ID, name).click()

    def stored():
        return list(json.loads(chromium.script("localStorage.getItem(place)")))

    press("start", "same")
    assert stored() == trials[:1]
    first = driver.current_window_handle
    driver.switch_to.new_window("tab")
    second = driver.current_window_handle
    try:
        driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", SLOW_PERSON)
        driver.get(page.resolve().as_uri())
        press("start", *["different"] * 6)
        assert stored() == trials[:7]
        driver.switch_to.window(first)
        count = driver.find_element(By.ID, "count")
        WebDriverWait(driver, 20).until(lambda _: count.text == "Pair 8 of 30")  # the other tab told it
        press("same")
        assert stored() == trials[:8] and count.text == "Pair 9 of 30"
        # a tab that is told of nothing, as one that slept
        driver.switch_to.window(second)
        driver.execute_script("answers = {}; go(8)")
        press("different")
        assert stored() == trials[:9]
        driver.execute_script("answers = {}")
        press("back")
        assert stored() == trials[:8]
    finally:
        driver.switch_to.window(second)
        driver.execute_script("localStorage.clear()")
        driver.close()
        driver.switch_to.window(first)


def test_dark_mode_and_every_width(study, chromium):
    page = study / "participant_02.html"
    for width, height in ((360, 640), (844, 390), (1600, 1000)):
        for dark in (False, True):
            chromium.open(page, width, height, dark)
            chromium.driver.find_element(By.ID, "start").click()
            assert chromium.overflow() == 0
            assert (max(chromium.background()) < 60) == dark
            sizes = chromium.script(
                "[...document.querySelectorAll('#trial img')].map(image => "
                "image.getBoundingClientRect().height)"
            )
            assert sizes[0] == sizes[1] > 0.35 * height  # equal for every group
            assert chromium.script("document.getElementById('same').getBoundingClientRect().height") >= 44


def test_without_storage_the_page_goes_on_and_says_so(study, chromium, a_second_for_each_look):
    chromium.driver.execute_cdp_cmd("Page.enable", {})
    script = {
        "source": "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('denied') "
        "}})"
    }
    handle = chromium.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", script)
    try:
        chromium.open(study / "participant_02.html")
        assert chromium.driver.find_element(By.ID, "unsaved").is_displayed()
        chromium.driver.find_element(By.ID, "start").click()
        chromium.driver.find_element(By.ID, "same").click()
        assert chromium.driver.find_element(By.ID, "count").text == "Pair 2 of 30"
    finally:
        chromium.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", handle)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pairs", "7"], "--pairs 7 cannot be shared by 10 participants"),
        (["--pairs", "10", "--participants", "4"], "cannot be shared by 4"),
        (["--participants", "0"], "cannot be shared by 0"),
        (["--seed", "-1"], "--seed is -1"),
        (["--groups", "noise-full-pi_pi,blur-full-pi_pi"], "no checkpoint of full_noise"),
        (["--pairs", "4000", "--groups", "raw-oi_oi"], "has no 2000 different pairs"),
    ],
)
def test_what_cannot_be_made(arguments, message, runs, tmp_path, capsys):
    assert human_study("make", "--runs", runs, "--output", tmp_path / "new", *arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_answers_are_not_overwritten(study, runs, capsys):
    assert human_study("make", "--runs", runs, "--output", study, "--groups", BLUR) == 2
    assert "not empty" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made(runs, tmp_path, capsys):
    (tmp_path / "file").touch()
    words = {"groups": "raw-oi_oi", "pairs": 4, "participants": 1}
    assert human_study("make", runs=runs, output=tmp_path / "file" / "study", **words) == 2
    assert "cannot be written to" in capsys.readouterr().err


def test_scoring_needs_the_key(tmp_path, capsys):
    assert human_study("score", "--study", tmp_path, tmp_path / "answers.json") == 2
    assert "key.json cannot be read" in capsys.readouterr().err
