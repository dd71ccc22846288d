"""The page in the browser, driven in Chromium: what it shows and fetches, and that nothing is written."""

from __future__ import annotations

from in_process import anonymize

import fastreid_privacy  # noqa: F401, before fastreid

# isort: split
import base64
import gc
import json
import os
import shutil
import sys
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from gradio.state_holder import StateHolder
from PIL import Image
from rendered_video import people_of, render, walkers, write_video
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from fastreid_privacy.app import page as pages
from fastreid_privacy.app.judging import Judging
from fastreid_privacy.checkpoints.image_maps import ImageMap
from fastreid_privacy.checkpoints.splitting import split_checkpoint
from fastreid_privacy.collection.review import NO, YES, read_review
from fastreid_privacy.commands import app as command

SECONDS = 60  # for the page to show something, on a busy machine
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

watched: list[str] | None = None  # the files that this process opens for writing, while a test looks


def _watch(event, about):
    if watched is not None and event == "open":
        path, mode, flags = about
        if (isinstance(mode, str) and set(mode) & set("wax+")) or (
            isinstance(flags, int) and flags & WRITING
        ):
            watched.append(str(path))


sys.addaudithook(_watch)  # no hook can be taken away again; this one rests between tests


@pytest.fixture
def written():
    """The files that are opened for writing during a test, by this process, in which the server runs."""
    global watched
    watched = []
    yield watched
    watched = None


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """A picture whose bytes are nowhere else on this computer."""
    levels = np.random.default_rng().integers(0, 256, (64, 32, 3), np.uint8)
    path = tmp_path_factory.mktemp("chosen") / "someone.png"
    Image.fromarray(levels).save(path)
    return path


@pytest.fixture(scope="module")
def key(weights, tmp_path_factory):
    """The recovery key, under the passphrase "öpen"."""
    folder = tmp_path_factory.mktemp("release")
    split_checkpoint(weights, folder, passphrase=lambda: "öpen")
    return folder / "recovery.key"


@pytest.fixture(scope="module")
def release(small_dataset, tmp_path_factory):
    """A folder of three protected pictures, beside their raw ones."""
    folder = tmp_path_factory.mktemp("release check")
    (folder / "raw").mkdir()
    for file in sorted(small_dataset.glob("*/query/*"))[:3]:
        shutil.copy(file, folder / "raw")
    words = ["--method", "blur", "--input", folder / "raw", "--output", folder / "given out"]
    assert anonymize(*words) == 0
    return folder


@contextmanager
def served(*words):
    """The address of a server, which runs in a thread meanwhile."""
    server = command.make_server(command.build_parser().parse_args([*map(str, words), "--device", "cpu"]))
    ready = threading.Event()
    thread = threading.Thread(target=server.run, args=(lambda _: ready.set(),))
    thread.start()
    assert ready.wait(SECONDS)
    try:
        yield server.address
    finally:
        server.stop()
        thread.join(SECONDS)
    assert not thread.is_alive()
    assert not Path(os.environ["GRADIO_TEMP_DIR"]).exists()


@pytest.fixture(scope="module")
def address(weights, key, small_dataset, release):
    """Of the server, which runs until the end of this file."""
    gallery = next(small_dataset.glob("*/query"))
    words = ["--weights", f"ours={weights}", "--key", key, "--gallery", gallery, "--reid", weights]
    words += ["--release", release / "given out", "--raw", release / "raw"]
    with served(*words) as address:
        yield address


class Page:
    """The page as its reader has it."""

    def __init__(self, browser, address):
        self.browser, self.driver, self.address = browser, browser.driver, address

    def open(self, **look):
        self.browser.open(self.address, **look)
        self.wait("#picture[data-ready]")

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def wait(self, selector, text=""):
        """The first element of a selector whose text has some words, when it is shown."""

        def shown(_):
            return next((each for each in self.all(selector) if text in each.text), None)

        ignored = [StaleElementReferenceException]  # the page was just filled anew
        return WebDriverWait(self.driver, SECONDS, ignored_exceptions=ignored).until(shown)

    def wait_until(self, holds):
        """Until something holds, which a step of the page brings about after its message."""
        WebDriverWait(self.driver, SECONDS).until(lambda _: holds())

    def press(self, text):
        next(each for each in self.all("button") if each.text == text and each.is_displayed()).click()

    def choose(self, path, place="picture"):
        self.driver.find_element(By.ID, place).send_keys(str(path))

    def judged(self, title):
        """Wait for an image to decide about, until it has fully appeared."""
        self.wait(".judged h3", title)
        fading = "document.querySelector('.judged').getAnimations().length"
        self.wait_until(lambda: not self.browser.script(fading))

    def name(self, text):
        """Type who decides."""
        fields = self.all("textarea, input")
        next(each for each in fields if each.accessible_name.startswith("Your name")).send_keys(text)

    def source(self, key):
        return self.driver.find_element(By.CSS_SELECTOR, f'img[data-key="{key}"]').get_attribute("src")

    def said(self):
        return " ".join(each.text for each in self.all(".said"))


@pytest.fixture
def page(chromium, address):
    return Page(chromium, address)


def fetched(browser):
    """The addresses of all requests since the page was opened."""
    logged = (json.loads(entry["message"])["message"] for entry in browser.driver.get_log("performance"))
    urls = [
        each["params"]["request"]["url"] for each in logged if each["method"] == "Network.requestWillBeSent"
    ]
    return [url for url in urls if not url.startswith(("data:", "chrome:", "blob:"))]


# -- Try -----------------------------------------------------------------------------------------------------


def test_a_picture_is_shown_under_every_method_and_nothing_comes_from_outside(page, photo):
    page.open()
    page.choose(photo)
    page.wait(".method h3", "conventional")
    assert [each.text for each in page.all(".method h3")] == ["ours", "conventional operators"]
    assert [each.text for each in page.all(".tiles b")] == [
        *("raw", "desensitized", "protected"),
        *("raw", "blur", "pixelate", "noise", "mask"),
    ]
    assert all("dB" in each.text for each in page.all(".tiles li") if "pixels" not in each.text)
    with Image.open(photo) as raw:
        shown = base64.b64decode(page.source("raw").partition(",")[2])
        assert shown.startswith(b"\x89PNG")
        assert page.browser.script("document.querySelector('img[data-key=raw]').naturalWidth") == raw.width
    assert page.browser.broken_images() == 0
    urls = fetched(page.browser)
    home = page.address.partition("?")[0]
    assert urls and not [url for url in urls if not url.startswith(home)]
    assert not page.browser.errors()


def test_two_pictures_under_the_slider(page, photo):
    page.open()
    page.choose(photo)
    divider = page.wait("[data-divider]")
    assert page.all("[data-shown=left]")[0].get_attribute("src") == page.source("raw")
    assert page.all("[data-shown=right]")[0].get_attribute("src") == page.source("ours: protected")
    divider.send_keys(Keys.HOME)  # by keyboard alone
    divider.send_keys(Keys.ARROW_RIGHT)
    style = "getComputedStyle(document.querySelector('[data-shown=right]')).clipPath"
    assert page.browser.script(style) == "inset(0px 0px 0px 1%)"
    page.all("select[data-side=left]")[0].send_keys("pixelate")
    left = page.all("[data-shown=left]")[0]
    assert left.get_attribute("src") == page.source("pixelate") and left.get_attribute("alt") == "pixelate"


KEPT = """const told = arguments[arguments.length - 1];
Promise.all([indexedDB.databases(), caches.keys()]).then(([databases, kept]) => told({
  databases: databases.map((each) => each.name), caches: kept,
  local: Object.keys(localStorage).join(), session: Object.keys(sessionStorage).join() }));"""


def test_no_file_is_made_of_what_is_shown(page, photo, written, tmp_path):
    (tmp_path / "noticed").write_text("x")
    assert written == [str(tmp_path / "noticed")]  # the watch sees what is written
    written.clear()
    page.open()
    page.choose(photo)
    page.wait(".method")
    page.press("Forget the picture")
    page.wait(".said", "forgotten")
    page.wait_until(lambda: not page.all(".method"))
    assert not written
    assert page.driver.execute_async_script(KEPT) == {
        "databases": [],
        "caches": [],
        "local": "",
        "session": "",
    }
    content = photo.read_bytes()
    raw = content[60:120]  # a whole number of three bytes from the start: also whole as base64
    parts = (raw, base64.b64encode(raw))
    for path in (path for path in page.browser.profile.rglob("*") if path.is_file()):
        kept = path.read_bytes()
        assert not any(part in kept for part in parts), path


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "the file is empty"), (b"no picture", "no image file"), (None, "take a smaller one")],
)
def test_a_file_that_is_none_is_one_message(page, photo, tmp_path, content, said):
    page.open()
    page.choose(photo)
    page.wait(".method")
    file = tmp_path / "<i>odd.png"
    file.write_bytes(bytes(pages.LARGEST_PICTURE + 1) if content is None else content)
    page.choose(file)
    assert "<i>odd.png" in page.wait(".said.alarm", said).text
    assert page.all(".method")  # what was shown stays


def test_people_of_a_video_are_chosen(page, small_dataset, tmp_path, written):
    people = people_of(next(small_dataset.glob("*/bounding_box_test")))[:2]
    video = write_video(tmp_path / "street.mkv", render(walkers(people, (160, 190), 9), 2)[0])
    written.clear()
    page.open()
    page.choose(video)
    page.wait(".method")
    names = [each.text for each in page.all(".people b")]
    assert names and names[0] == "person 1, frame 1"
    assert [each.text for each in page.all("fieldset label")] == names
    before = page.source("raw")
    page.all("fieldset input")[-1].click()
    page.wait_until(lambda: (page.source("raw") != before) == (len(names) > 1))
    assert not [path for path in written if path.startswith("/") and "/fd/" not in path]
    page.press("Forget the picture")
    page.wait_until(lambda: not page.all(".people"))


def test_the_key_recovers_while_it_is_open_and_its_passphrase_is_gone_at_once(page, photo, key):
    page.open()
    page.choose(photo)
    page.wait(".method")
    assert page.all("input[type=password]")[0].get_attribute("autocomplete") == "off"
    for words, said in (("wröng", "the passphrase is wrong"), ("öpen", "The key is open")):
        page.all("input[type=password]")[0].send_keys(words)
        page.press("Open the key")
        page.wait(".said", said)
        page.wait_until(lambda: page.all("input[type=password]")[0].get_attribute("value") == "")
        assert words not in page.driver.page_source
        if words == "wröng":
            assert not page.all("img[data-key='ours: recovered']")
    assert "dB" in page.wait(".tiles li", "recovered").text
    page.choose(photo)  # another picture, with the same key
    page.wait(".tiles li", "recovered")
    page.press("Close the key")
    page.wait(".said", "The key is closed")
    page.wait_until(lambda: not page.all("img[data-key='ours: recovered']"))
    # all answers came on one line, which stays: an answer to a line that just ends would be lost
    assert sum("/queue/data" in request for request in page.browser.requests()) == 1


def test_a_picture_that_is_still_looked_at_does_not_come_back_when_the_key_is_closed(
    page, photo, monkeypatch
):
    began, go_on, look = threading.Event(), threading.Event(), pages.try_methods

    def slow(*words):
        if not began.is_set():
            began.set()
            assert go_on.wait(SECONDS)
        return look(*words)

    page.open()
    page.choose(photo)
    page.wait(".method")
    page.all("input[type=password]")[0].send_keys("öpen")
    page.press("Open the key")
    page.wait(".tiles li", "recovered")
    monkeypatch.setattr(pages, "try_methods", slow)
    page.choose(photo)
    assert began.wait(SECONDS)
    page.press("Close the key")
    go_on.set()
    page.wait(".said", "The key is closed")
    page.wait_until(lambda: not page.all("img[data-key='ours: recovered']"))
    page.press("Forget the picture")  # comes after all else
    page.wait(".said", "The picture is forgotten")
    assert not page.all("img[data-key='ours: recovered']")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (None, "File name too long"),
        (ValueError("embedded null byte"), "a file's name has a zero byte"),
        (MemoryError(), "there is not enough memory"),
        (KeyError("odd"), "nobody expected it"),
    ],
)
def test_whatever_fails_is_said_and_the_passphrase_is_gone(page, key, error, said, monkeypatch, caplog):
    def failing(*_):
        raise error

    if error is not None:
        monkeypatch.setattr(pages, "open_key", failing)
    page.open()
    path = next(each for each in page.all("textarea, input") if each.accessible_name.startswith("Key file"))
    if error is None:
        path.send_keys("x" * 300)
    page.all("input[type=password]")[0].send_keys("öpen")
    page.press("Open the key")
    page.wait(".said.alarm", said)
    page.wait_until(lambda: page.all("input[type=password]")[0].get_attribute("value") == "")
    assert ("KeyError: 'odd'" in caplog.text) == isinstance(error, KeyError)


def test_a_picture_that_is_dropped_while_another_is_looked_at_is_shown_next(
    page, photo, tmp_path, monkeypatch
):
    began, go_on, look = threading.Event(), threading.Event(), pages.try_methods
    sizes = []

    def slow(picture, *words):
        sizes.append(picture.shape[:2])
        began.set()
        assert go_on.wait(SECONDS)
        return look(picture, *words)

    monkeypatch.setattr(pages, "try_methods", slow)
    second = tmp_path / "second.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (96, 48, 3), np.uint8)).save(second)
    page.open()
    page.choose(photo)
    assert began.wait(SECONDS)
    page.choose(second)
    page.wait_until(lambda: page.browser.script("document.getElementById('picture').files.length") == 0)
    go_on.set()
    page.wait_until(lambda: len(sizes) == 2)
    assert sizes == [(64, 32), (96, 48)]


def held():
    """What all servers of this process hold for the pages of their readers."""
    holders = [each for each in gc.get_objects() if type(each) is StateHolder]
    sessions = [session for each in holders for session in [*each.session_data.values()]]
    values = [value for session in sessions for value in [*session.state_data.values()]]
    return {type(value) for value in values} & {ImageMap, pages.Dropped}


def test_nothing_is_held_for_a_page_that_was_left(page, photo):
    page.open()
    page.all("input[type=password]")[0].send_keys("öpen")
    page.press("Open the key")
    page.wait(".said", "The key is open")
    page.choose(photo)
    page.wait(".tiles li", "recovered")
    assert held() == {ImageMap, pages.Dropped}
    page.driver.get("about:blank")
    page.wait_until(lambda: not held())


def test_who_is_found_for_raw_and_protected(page, photo):
    page.open()
    page.choose(photo)
    (strip,) = (page.wait(".strip"),)
    assert strip.text == "Gallery query"
    rows = page.all(".strip img")[0].get_attribute("alt").split("; ")
    assert [row.partition(": 1 ")[0] for row in rows] == ["raw", "ours: protected"]


# -- Release check -------------------------------------------------------------------------------------------


def test_a_person_decides_and_anonymize_withholds(page, release):
    file = release / "given out.review.jsonl"
    page.open()
    page.press("Release check")
    page.judged("Image 1 of 3")
    findings = [each.text for each in page.all(".findings > li")]
    assert findings[0].startswith("✓ Good") and "All 3 files are there" in findings[1]
    assert [each.text for each in page.all(".judged .tiles b")] == ["raw", "protected"]
    page.press("No, withhold it")
    page.wait(".said.alarm", "type your name first")
    assert not file.exists()
    page.name("Ada")
    page.press("No, withhold it")
    page.judged("Image 2 of 3")
    page.press("Yes, give it out")
    page.judged("Image 3 of 3")
    page.press("Image before")
    page.wait(".decided", "Yes, it may be given out: Ada, ")
    page.wait(".findings > li", "looked at 2 of the 3 images below. 1 are a no")
    (out,) = [path for path, each in read_review(file).latest.items() if each.decision == NO]
    folder = release / "given out"
    words = ["--method", "blur", "--input", release / "raw", "--output", folder, "--review", file]
    assert anonymize(*words) == 0
    assert not (folder / out).exists() and len([*folder.glob("*.png")]) == 2
    page.press("Look at the folder again")
    page.wait(".findings > li:nth-child(2)", "All 2 files are there")
    assert "looked at 1 of the 2 images below." in page.all(".findings > li")[-1].text
    page.press("Image before")
    page.wait(".judged", "It is withheld, as a person decided.")
    assert page.browser.overflow() == 0 and not page.browser.script(UNNAMED)


def test_a_click_is_about_the_image_that_the_person_saw(chromium, release, tmp_path, monkeypatch):
    """Clicks wait for those before them, and each of these may bring another image."""
    began, go_on, image = threading.Event(), threading.Event(), Judging.image
    go_on.set()

    def slow(judging, place):
        began.set()
        assert go_on.wait(SECONDS)
        return image(judging, place)

    monkeypatch.setattr(Judging, "image", slow)
    folder, raw = tmp_path / "given out", tmp_path / "raw"
    shutil.copytree(release / "raw", raw)
    words = ["--method", "blur", "--input", raw, "--output", folder]
    assert anonymize(*words) == 0
    with served("--release", folder, "--raw", raw) as address:
        page = Page(chromium, address)

        def press_both(first, second):
            """The second one while the first is worked on."""
            began.clear()
            go_on.clear()
            page.press(first)
            assert began.wait(SECONDS)
            page.press(second)
            go_on.set()

        def decisions():
            return [each.decision for each in read_review(tmp_path / "given out.review.jsonl").decisions]

        page.open()
        page.press("Release check")
        page.judged("Image 1 of 3")
        page.name("Ada")
        press_both("No, withhold it", "Yes, give it out")
        page.wait(".said.alarm", "another image was shown when you clicked")
        page.judged("Image 2 of 3")
        assert decisions() == [NO]
        press_both("Next image", "Yes, give it out")
        page.judged("Image 3 of 3")
        page.wait(".said.alarm", "another image was shown when you clicked")
        assert decisions() == [NO]
        page.press("Image before")
        page.judged("Image 2 of 3")
        press_both("Yes, give it out", "Next image")  # to the next of the one that was seen
        page.judged("Image 3 of 3")
        page.press("Image before")  # comes after all else
        page.judged("Image 2 of 3")
        page.driver.execute_script("document.querySelector('.judged').style.animation = 'appear 1000s'")
        page.press("No, withhold it")
        page.wait(".said.alarm", "had only just appeared")
        assert decisions() == [NO, YES]


# -- for whom ------------------------------------------------------------------------------------------------


def test_who_has_not_the_secret_sees_nothing(address):
    for url in (address.partition("?")[0], f"{address}x"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(url)
        assert refused.value.code == 403


UNNAMED = """[...document.querySelectorAll('input, select, button, textarea')].filter(each =>
    each.offsetParent && !each.ariaLabel && !each.labels?.length && !each.innerText.trim())
    .map(each => each.outerHTML)"""
SMALL = """[...document.querySelectorAll('input, select, button:not([tabindex="-1"])')].filter(each =>
    each.offsetParent && each.getBoundingClientRect().height < 24).map(each => each.outerHTML)"""


def test_by_keyboard(page, photo):
    """Every control has a name, and the tab key comes to all of them in the order of the page."""
    page.open()
    page.choose(photo)
    page.wait(".method")
    assert not page.browser.script(UNNAMED)
    page.browser.script("document.activeElement.blur() || 0")
    seen = []
    for _ in range(16):
        ActionChains(page.driver).send_keys(Keys.TAB).perform()
        active = page.driver.switch_to.active_element
        if active.tag_name == "body":
            break
        outline = active.value_of_css_property("outline-style")
        assert outline != "none" or active.tag_name == "body", active.get_attribute("outerHTML")
        data = "document.activeElement.dataset"
        seen.append(
            active.get_attribute("id")
            if active.get_attribute("id") == "picture"
            else page.browser.script(f"{data}.side || ({data}.divider !== undefined ? 'divider' : '')")
            or active.text
        )
    wanted = ["Try", "picture", "Forget the picture", "Open the key", "left", "right", "divider"]
    assert [each for each in seen if each in wanted] == wanted


@pytest.mark.parametrize("dark", [False, True])
def test_on_a_phone_and_in_the_dark(page, photo, dark):
    page.open(width=390, dark=dark)
    page.choose(photo)
    page.wait(".method")
    assert page.browser.overflow() == 0
    assert (max(page.browser.background()) < 64) == dark
    assert not page.browser.script(SMALL)
