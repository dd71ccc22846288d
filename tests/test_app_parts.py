"""What stands behind the page in the browser, without it: methods, what is tried, the door."""

from __future__ import annotations

from in_process import anonymize, recover

import fastreid_privacy  # noqa: F401, before fastreid

# isort: split
import asyncio
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rendered_video import number_of, numbered, people_of, render, walkers, write_video
from skimage.metrics import peak_signal_noise_ratio

from fastreid_privacy.app import film
from fastreid_privacy.app.door import LARGEST_BODY, Door
from fastreid_privacy.app.film import look_through
from fastreid_privacy.app.galleries import TOP, Strip, load_galleries, strips
from fastreid_privacy.app.methods import CONVENTIONAL, load_methods, open_key
from fastreid_privacy.app.showing import figures_text, message_html, strips_html, tried_html
from fastreid_privacy.app.trying import DESENSITIZED, LARGEST_SIDE, PROTECTED, RECOVERED, try_methods
from fastreid_privacy.checkpoints.opening import load_recovery
from fastreid_privacy.checkpoints.splitting import split_checkpoint
from fastreid_privacy.commands import app as command
from fastreid_privacy.core.errors import UserError
from fastreid_privacy.core.pictures import read_picture, resize
from fastreid_privacy.retrieval import answers_strip, ask, build_index, load_extractor, write_index
from fastreid_privacy.video.hog import HogDetector
from fastreid_privacy.video.stream import read_frames


@pytest.fixture(scope="session")
def photo(small_dataset):
    """The file of a rendered person, 64×32."""
    return sorted(small_dataset.glob("*/query/*"))[0]


@pytest.fixture(scope="module")
def methods(weights):
    return load_methods([("ours", weights)], device="cpu")


def by_name(found):
    return {each.method: each for each in found}


# -- what is tried -------------------------------------------------------------------------------------------


def test_a_picture_becomes_what_anonymize_and_recover_write(methods, weights, photo, tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / photo.name).write_bytes(photo.read_bytes())
    options = ["--device", "cpu", "--batch-size", "1"]
    protected, recovered = tmp_path / "protected", tmp_path / "recovered"
    words = ["--weights", weights, "--input", raw, "--output", protected, *options]
    assert anonymize(*words) == 0
    words = ["--key", weights, "--input", protected, "--output", recovered, *options]
    assert recover(*words) == 0

    found = by_name(try_methods(read_picture(photo), methods, load_recovery(weights, "cpu")))["ours"]
    assert [stage.name for stage in found.stages] == [DESENSITIZED, PROTECTED, RECOVERED]
    for name, folder in ((PROTECTED, protected), (RECOVERED, recovered)):
        written = read_picture(folder / f"{photo.stem}.png")
        assert np.array_equal(found.stage(name).picture, written), name


@pytest.mark.parametrize("name", ["blur", "pixelate", "mask"])
def test_operators_give_what_anonymize_writes(name, methods, photo, tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / photo.name).write_bytes(photo.read_bytes())
    words = ["--method", name, "--input", raw, "--output", tmp_path / "out", "--device", "cpu"]
    assert anonymize(*words) == 0
    found = by_name(try_methods(read_picture(photo), methods))[name]
    assert np.array_equal(found.stages[0].picture, read_picture(tmp_path / "out" / f"{photo.stem}.png"))
    assert found.stage(PROTECTED) is None and not found.notes


def test_figures_are_those_of_the_pictures(methods, photo):
    for found in try_methods(read_picture(photo), methods):
        for stage in found.stages:
            assert stage.psnr == pytest.approx(peak_signal_noise_ratio(found.raw, stage.picture), abs=1e-6)
            assert -1 <= stage.ssim <= 1


def test_without_a_network_large_pictures_are_made_smaller_and_keep_their_shape():
    picture = np.random.default_rng(0).integers(0, 256, (1024, 600, 3), np.uint8)
    found = try_methods(picture, load_methods([], device="cpu"))
    assert {each.raw.shape for each in found} == {(LARGEST_SIDE, 300, 3)}
    assert [each.method for each in found] == list(CONVENTIONAL)


def test_the_size_of_the_network_is_that_of_all(methods, photo):
    large = np.array(Image.open(photo).resize((90, 200)))
    found = try_methods(large, methods)
    assert all(np.array_equal(each.raw, resize(large, (64, 32))) for each in found)


def test_another_models_key_recovers_nothing_and_says_so(methods, noise_weights, photo):
    found = by_name(try_methods(read_picture(photo), methods, load_recovery(noise_weights, "cpu")))["ours"]
    assert found.stage(RECOVERED) is None
    assert any("belongs to another anonymizer" in note for note in found.notes)


def test_the_noise_of_a_network_that_sees_it_is_new_each_time(noise_weights, photo):
    methods = load_methods([("noisy", noise_weights)], device="cpu")
    once, again = (by_name(try_methods(read_picture(photo), methods))["noisy"] for _ in range(2))
    assert not np.array_equal(once.stage(DESENSITIZED).picture, again.stage(DESENSITIZED).picture)


def test_what_anonymize_would_refuse_is_said(photo):
    weak = load_methods([], ["PRIVACY.DESENSITIZER.BLUR_SIGMA", "0.01"], "cpu")
    found = by_name(try_methods(read_picture(photo), weak))["blur"]
    assert not found.stages and "too weak" in found.notes[0]


@pytest.mark.parametrize(
    ("names", "pairs", "said"),
    [
        (["a", "a"], [], "two methods are called a"),
        (["blur"], [], "two methods are called blur"),
        ([], ["SOLVER.MAX_EPOCH", "3"], "SOLVER.MAX_EPOCH is read by none of blur"),
    ],
)
def test_methods_that_cannot_stand_beside_each_other(names, pairs, said, weights):
    with pytest.raises(UserError, match=said):
        load_methods([(name, weights) for name in names], pairs, "cpu")


def test_the_piece_of_the_page_has_every_picture_and_escapes_names(weights, photo):
    methods = load_methods([("<b>", weights)], device="cpu")
    found = try_methods(read_picture(photo), methods)
    html = tried_html(found)
    assert "<b>:" not in html and "&lt;b&gt;: protected" in html
    keys = re.findall(r'data-key="([^"]+)"', html)
    assert keys == [
        "raw",
        "&lt;b&gt;: desensitized",
        "&lt;b&gt;: protected",
        "raw",
        *CONVENTIONAL,
    ]
    options = re.findall(r"<option[^>]*>([^<]+)</option>", html)
    assert options == list(dict.fromkeys(keys)) * 2
    assert 'src="http' not in html


def test_words_of_figures():
    assert figures_text(20.44, 0.456) == "20.4 dB, SSIM 0.46"
    assert figures_text(None, None) == "same as raw"
    name = "caf\udce9.png"
    assert message_html(name).encode() == message_html(r"caf\udce9.png").encode()
    page = strips_html([Strip("gallery", Image.new("RGB", (4, 4)), [name], [])]).encode()
    assert rb'alt="caf\udce9.png"' in page
    assert 'role="alert"' in message_html("<x>", alarm=True) and "&lt;x&gt;" in message_html("<x>")


# -- the key -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def parts(weights, tmp_path_factory):
    """The release of a model, its key under the passphrase "öpen"."""
    folder = tmp_path_factory.mktemp("release")
    split_checkpoint(weights, folder, passphrase=lambda: "öpen")
    return folder


def test_a_key_is_opened_by_its_passphrase_and_recovers(parts, methods, weights, photo):
    key = open_key(f" {parts / 'recovery.key'} ", "öpen", methods, "cpu")
    found = by_name(try_methods(read_picture(photo), methods, key))["ours"]
    plain = by_name(try_methods(read_picture(photo), methods, load_recovery(weights, "cpu")))["ours"]
    assert np.array_equal(found.stage(RECOVERED).picture, plain.stage(RECOVERED).picture)


@pytest.mark.parametrize(
    ("file", "passphrase", "said"),
    [
        ("", "öpen", "name the key file"),
        ("recovery.key", "", "type its passphrase"),
        ("recovery.key", "wröng", "the passphrase is wrong"),
        ("absent.key", "öpen", "absent.key"),
        ("anonymizer.safetensors", "öpen", "anonymizer.safetensors"),
    ],
)
def test_a_key_that_does_not_open_is_one_message(parts, methods, file, passphrase, said):
    with pytest.raises(UserError, match=said) as error:
        open_key(str(parts / file) if file else " ", passphrase, methods, "cpu")
    assert not passphrase or passphrase not in str(error.value).removeprefix(str(parts))


def test_a_key_of_another_anonymizer_is_not_opened(methods, noise_weights):
    with pytest.raises(UserError, match="what another anonymizer has made"):
        open_key(str(noise_weights), "", methods, "cpu")


# -- who is found --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def galleries(small_dataset, weights, tmp_path_factory):
    """A folder of raw pictures, and the index of the same protected first."""
    root = next(small_dataset.glob("*/bounding_box_test"))
    extract = load_extractor(weights, "cpu")
    index = tmp_path_factory.mktemp("indexes") / "protected.index"
    write_index(build_index(root, extract, protect=True), index)
    return load_galleries([root, index], weights, "cpu")


def test_strips_have_what_retrieve_finds(galleries, photo):
    found = strips(galleries, photo.name, {"raw": read_picture(photo)})
    assert [each.gallery for each in found] == ["bounding_box_test", "bounding_box_test, protected first"]
    for strip, gallery in zip(found, galleries.each, strict=True):
        (answer,) = ask(gallery.index, galleries.extract, [photo], top=TOP)
        ranked = zip(range(1, TOP + 1), answer.scores, answer.paths, strict=True)
        told = ", ".join(f"{place}   {score:.3f} {Path(path).stem}" for place, score, path in ranked)
        assert strip.words == [f"raw: {told}"] and not strip.missing
        picture, _ = answers_strip([answer], gallery.index, galleries.extract, gallery.index.root)
        assert picture.size == strip.picture.size
        differing = (np.array(picture) != np.array(strip.picture)).any(2)
        assert not differing[:, 200:].any()  # but for the words below the query
    html = strips_html(found)
    assert html.count("<img") == 2 and "✓" in html


def test_each_query_has_a_row_and_images_that_are_gone_are_counted(small_dataset, weights, photo, tmp_path):
    root = tmp_path / "gallery"
    shutil.copytree(next(small_dataset.glob("*/query")), root)
    galleries = load_galleries([root], weights, "cpu")
    pixels = read_picture(photo)
    (one,), (two,) = (
        strips(galleries, photo.name, queries)
        for queries in ({"raw": pixels}, {"raw": pixels, "ours: protected": 255 - pixels})
    )
    assert two.picture.height > one.picture.height and two.words[0] == one.words[0]
    for path in root.iterdir():
        path.unlink()
    (gone,) = strips(galleries, photo.name, {"raw": pixels})
    assert len(gone.missing) == TOP and "5 of its images are gone" in strips_html([gone])


def test_galleries_that_cannot_be_searched(weights, noise_weights, parts, galleries, small_dataset, tmp_path):
    assert load_galleries([], None) is None and strips_html([]).strip() == ""
    root = next(small_dataset.glob("*/query"))
    with pytest.raises(UserError, match="name it with --reid"):
        load_galleries([root], None)
    with pytest.raises(UserError, match="does not exist"):
        load_galleries([tmp_path / "absent"], weights, "cpu")
    index = tmp_path / "protected.index"
    write_index(galleries.each[1].index, index)
    with pytest.raises(UserError, match="another Re-ID model"):
        load_galleries([index], noise_weights, "cpu")
    with pytest.raises(UserError, match="name the whole checkpoint"):
        load_galleries([index], parts / "reid.pth", "cpu")


# -- the door ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def door():
    async def inside(scope, receive, send):
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"cache-control", b"max-age=9")]}
        )
        await send({"type": "http.response.body", "body": b"inside"})

    return Door(inside, 8000)


def knock(door, path="/", method="GET", query="", **headers):
    """(status, headers, body) of a request; headers=None takes one out."""
    given = {"host": "127.0.0.1:8000", "cookie": f"{door.cookie}={door.secret}", **headers}
    sent = []

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [
            (name.replace("_", "-").encode(), str(value).encode())
            for name, value in given.items()
            if value is not None
        ],
    }
    asyncio.run(door(scope, None, send))
    start, body = sent
    return start["status"], dict(start["headers"]), body["body"]


JSON = {"content_type": "application/json", "content_length": 2}


def test_the_door_lets_its_visitor_in(door):
    status, headers, body = knock(door)
    assert (status, body) == (200, b"inside")
    assert (
        headers[b"cache-control"] == b"no-store"
        and b"default-src 'none'" in headers[b"content-security-policy"]
    )
    assert knock(door, "/gradio_api/queue/join", "POST", **JSON)[0] == 200
    assert knock(door, origin="http://127.0.0.1:8000", sec_fetch_site="same-origin")[0] == 200
    assert knock(door, host="localhost:8000")[0] == 200
    assert knock(door, "/assets/index.js")[1][b"cache-control"] == b"max-age=9"


def test_the_secret_of_the_address_becomes_a_cookie(door):
    query = door.address.partition("?")[2]
    status, headers, _ = knock(door, query=query, cookie=None)
    assert status == 303 and headers[b"location"] == b"/"
    cookie = headers[b"set-cookie"].decode()
    assert (
        cookie.startswith(f"{door.cookie}={door.secret};")
        and "HttpOnly" in cookie
        and "SameSite=Strict" in cookie
    )
    assert Door(door.inside, 8000).secret != door.secret


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"host": "evil.example:8000"}, 403),
        ({"host": None}, 403),
        ({"host": "127.0.0.1:9000"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:9000"}, 403),
        ({"origin": "null"}, 403),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "same-site"}, 403),
        ({"cookie": None}, 403),
        ({"cookie": "fastreid_privacy_8000=guessed"}, 403),
        ({"cookie": "fastreid_privacy_8000=gu\xe9ssed"}, 403),
        ({"cookie": None, "query": "secret=guessed"}, 403),
        ({"path": "/gradio_api/upload", "method": "POST", **JSON}, 404),
        ({"path": "/gradio_api/file=/etc/passwd"}, 404),
        ({"path": "/gradio_api/proxy=http://example.org"}, 404),
        ({"path": "/gradio_api/info"}, 404),
        ({"path": "/gradio_api/runs"}, 404),
        ({"path": "/", "method": "POST", **JSON}, 404),
        ({"path": "/", "method": "PUT", **JSON}, 404),
        (
            {
                "path": "/gradio_api/queue/join",
                "method": "POST",
                "content_type": "text/plain",
                "content_length": 2,
            },
            415,
        ),
        (
            {
                "path": "/gradio_api/queue/join",
                "method": "POST",
                "content_type": "multipart/form-data",
                "content_length": 2,
            },
            415,
        ),
        ({"path": "/gradio_api/queue/join", "method": "POST", "content_type": "application/json"}, 411),
        (
            {
                "path": "/gradio_api/queue/join",
                "method": "POST",
                "content_type": "application/json",
                "content_length": LARGEST_BODY + 1,
            },
            413,
        ),
    ],
)
def test_the_door_refuses_others(asked, status, door):
    got, headers, body = knock(door, **asked)
    assert got == status and b"inside" not in body
    assert b"access-control-allow-origin" not in headers


def test_what_is_open_to_all_is_the_name_of_the_page(door):
    assert knock(door, "/manifest.json", cookie=None)[0] == 200
    assert knock(door, "/manifest.json", cookie=None, host="evil.example")[0] == 403


def test_there_is_no_way_in_by_a_web_socket(door):
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(door({"type": "websocket", "headers": []}, None, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]


# -- the command ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--weights", "absent.pth"], "absent.pth"),
        (["SOLVER.MAX_EPOCH", "3"], "SOLVER.MAX_EPOCH is read by none of"),
        (["blurry"], "neither a flag"),
        (["--gallery", "."], "name it with --reid"),
        (["--key", "recovery.key"], "--key recovers what --weights have protected"),
        (["--reid", "reid.pth"], "--reid looks for people in a --gallery"),
    ],
)
def test_a_mistake_is_one_message(words, said, capsys):
    assert command.main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and said in error and "Traceback" not in error


@pytest.mark.parametrize(
    "words", [["--port", "70000"], ["--port", "-1"], ["--weights", "=x"], ["--weights", "a="]]
)
def test_words_that_are_none(words, capsys):
    with pytest.raises(SystemExit) as left:
        command.main(words)
    assert left.value.code == 2


def test_a_file_has_its_own_name_unless_one_is_given():
    assert [command.named_file(text)[0] for text in ("a=b/c.pth", "b/c.pth", "b/d=e/c.pth")] == [
        "a",
        "c.pth",
        "c.pth",
    ]


# -- a short video -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def street(small_dataset, tmp_path_factory):
    """Two rendered people of 160 and 190 pixels who walk, in 30 frames."""
    people = people_of(next(small_dataset.glob("*/bounding_box_test")))[:2]
    pictures, _ = render(walkers(people, (160, 190), 40), 30)
    return write_video(tmp_path_factory.mktemp("street") / "video.mkv", pictures)


def test_people_are_found_in_the_first_frames(street):
    found = look_through(street.read_bytes(), "street.mkv")
    frames = {frame.number: frame.pixels for frame in read_frames(street)}
    assert found and {each.name.partition(", ")[2] for each in found} <= {"frame 1", "frame 26"}
    assert [each.name.partition(",")[0] for each in found] == [
        f"person {number}" for number in range(1, len(found) + 1)
    ]
    wanted = {(number, box) for number in (1, 26) for box in HogDetector()(number, frames[number])}
    for each in found:
        number = int(each.name.rpartition(" ")[2])
        assert any(
            number == of and np.array_equal(each.pixels, frames[of][top:bottom, left:right])
            for of, (left, top, right, bottom) in wanted
        )


def test_where_nobody_is_found_frames_are_shown_and_not_all_is_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr(film, "LAST", 12)
    monkeypatch.setattr(film, "STEP", 5)
    content = write_video(tmp_path / "numbers.mkv", numbered(20)).read_bytes()
    found = look_through(content, "numbers.mkv")
    assert [each.name for each in found] == ["frame 1", "frame 6", "frame 11"]
    assert [number_of(each.pixels) for each in found] == [0, 5, 10]


def test_of_many_people_some_are_shown_each_once(street, monkeypatch):
    boxes = [(10 * at, 0, 10 * at + 9, 30) for at in range(20)]
    monkeypatch.setattr(film.HogDetector, "__call__", lambda self, number, pixels: [*boxes, boxes[0]])
    found = look_through(street.read_bytes(), "street.mkv")
    assert len(found) == film.MOST and found[1].name == "person 2, frame 1"
    first = next(read_frames(street)).pixels
    surest = [boxes[0], *boxes[:0:-1]][: film.MOST]
    for each, (left, top, right, bottom) in zip(found, surest, strict=True):
        assert np.array_equal(each.pixels, first[top:bottom, left:right])


def test_a_video_that_is_none_is_one_message_with_its_own_name(monkeypatch):
    with pytest.raises(UserError, match=r"^odd\.mp4 is no video that can be read") as error:
        look_through(b"no video", "odd.mp4")
    assert "/proc" not in str(error.value)
    monkeypatch.delattr(film.os, "memfd_create")
    with pytest.raises(UserError, match="no files in memory"):
        look_through(b"no video", "odd.mp4")
