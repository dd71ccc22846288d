"""The pages, of Gradio: what is typed and dropped goes to the functions behind them, and what these give back
is shown."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..checkpoints.image_maps import ImageMap
from ..core.errors import UserError, named
from ..core.extras import gradio
from ..core.pictures import read_picture
from .attacks import KnownAttack, undo
from .events import forget_when_left, keep_listening, on, place_for_a_file
from .film import LAST, look_through
from .galleries import Galleries, strips
from .judging import Judging
from .methods import Method, open_key
from .release_page import release_tab
from .showing import attack_html, message_html, people_html, piece, strips_html, tried_html
from .trying import PROTECTED, Tried, try_methods

TITLE = "fastreid_privacy"
MIB = 2**20
LARGEST_PICTURE = 32 * MIB  # bytes of a file that is dropped in
LARGEST_VIDEO = 64 * MIB  # likewise, of a video
KINDS = "image/*,video/*"
# Gradio gives this to other fields only; browsers offer to keep what is typed into a password field
NOT_KEPT = """() => {
  for (const field of document.querySelectorAll('input[type=password]')) field.autocomplete = 'off';
}"""


@dataclass(frozen=True)
class Desk:
    """What the pages have at hand.

    Attributes:
        methods: of :func:`.methods.load_methods`.
        galleries: of :func:`.galleries.load_galleries`.
        key: file of the recovery key that the page names first; "": none.
        device: where networks run.
        judging: a protected folder to look at; None: none is named.
        attack: whose strongest way is shown; None: none is known.
    """

    methods: Sequence[Method]
    galleries: Galleries | None = None
    key: str = ""
    device: str = "auto"
    judging: Judging | None = None
    attack: KnownAttack | None = None


class Dropped(NamedTuple):
    """A picture that was dropped into the page.

    Attributes:
        name: of its file, or of what it is in a video.
        pixels: uint8 H×W×3.
    """

    name: str
    pixels: np.ndarray


def build_page(desk: Desk) -> gradio.Blocks:
    """The pages as Gradio's blocks.

    Args:
        desk: what they have at hand.
    """
    with gradio.Blocks(title=TITLE, analytics_enabled=False) as blocks:
        keep_listening(blocks)
        forget_when_left(blocks)
        gradio.HTML("<h1>What others will see</h1>")
        with gradio.Tab("Try"):
            _try_tab(desk)
        if desk.judging is not None:
            with gradio.Tab("Release check"):
                release_tab(blocks, desk.judging)
        blocks.load(None, js=NOT_KEPT)
    return blocks


def _try_tab(desk: Desk) -> None:
    picture, recovery, film = gradio.State(), gradio.State(), gradio.State()
    drop = place_for_a_file(
        "picture",
        "A picture of one person, or a short video",
        f"A picture of {LARGEST_PICTURE // MIB} MiB at most, or a video of {LARGEST_VIDEO // MIB} MiB, whose "
        f"first {LAST} frames are looked at. It stays in this computer's memory.",
        KINDS,
        LARGEST_PICTURE,
        LARGEST_VIDEO,
    )
    people = gradio.Radio(label="Found in the video (by a weak detector)", visible=False)
    shown_people = gradio.HTML("")
    forget = gradio.Button("Forget the picture", interactive=False, size="sm")
    said = gradio.HTML(message_html(""))
    shown = gradio.HTML("", js_on_load=piece("page.js"), render=False)
    if any(method.learned for method in desk.methods):
        _key(desk, picture, recovery, shown)
    shown.render()
    undone, found = gradio.HTML(""), gradio.HTML("")

    def look(held: ImageMap | None, event: gradio.EventData) -> tuple[Any, ...]:
        seen = dropped(event)
        named = {each.name: each for each in seen} if event.moving else {}
        choice = gradio.Radio([*named], value=seen[0].name if named else None, visible=bool(named))
        views = _views(seen[0], desk, held)
        told = message_html("")
        return seen[0], told, *views, gradio.Button(interactive=True), named, choice, people_html(named)

    def choose(held: ImageMap | None, named: dict[str, Dropped], name: str) -> tuple[Any, ...]:
        if name not in named:
            raise UserError(f"{name} belongs to another video than the one that is shown: choose again")
        return named[name], message_html(""), *_views(named[name], desk, held)

    def clear() -> tuple[Any, ...]:
        told = message_html("The picture is forgotten.")
        none = gradio.Radio([], value=None, visible=False)
        return None, told, "", "", "", gradio.Button(interactive=False), {}, none, ""

    views = [picture, said, shown, undone, found]
    outputs = [*views, forget, film, people, shown_people]
    on(drop.chosen, look, [recovery], outputs, said, repeated="multiple")  # the last one stays
    on(people.input, choose, [recovery, film, people], views, said, repeated="multiple")
    on(forget.click, clear, [], outputs, said)


def _key(desk: Desk, picture: gradio.State, recovery: gradio.State, shown: gradio.HTML) -> None:
    """The recovery key: opened by its passphrase, for as long as the page is."""
    with gradio.Group():
        gradio.HTML("<h3>Recover with the key</h3>", padding=True)
        path = gradio.Textbox(desk.key, label="Key file (its path on this computer)", max_lines=1)
        passphrase = gradio.Textbox(
            label="Passphrase",
            type="password",
            max_lines=1,
        )
        with gradio.Row():
            opening = gradio.Button("Open the key")
            closing = gradio.Button("Close the key", interactive=False)
        said = gradio.HTML(message_html(""))

    def open_(held: Dropped | None, file: str, words: str) -> tuple[Any, ...]:
        key = open_key(file, words, desk.methods, desk.device)
        told = message_html("The key is open until you close it or leave the page.")
        return key, "", told, _tried_html(held, desk, key), gradio.Button(interactive=True)

    def close(held: Dropped | None) -> tuple[Any, ...]:
        told = message_html("The key is closed.")
        return None, "", told, _tried_html(held, desk, None), gradio.Button(interactive=False)

    outputs = [recovery, passphrase, said, shown, closing]
    for event in (opening.click, passphrase.submit):
        on(event, open_, [picture, path, passphrase], outputs, said, emptied=passphrase)
    on(closing.click, close, [picture], outputs, said)


def _views(new: Dropped, desk: Desk, recovery: ImageMap | None) -> tuple[str, str, str]:
    """What becomes of a picture, what the strongest attack makes of that, and who is found by it."""
    tried = try_methods(new.pixels, desk.methods, recovery)
    found = strips(desk.galleries, new.name, _queries(new, tried)) if desk.galleries else []
    undone = attack_html(desk.attack, undo(desk.attack, tried)) if desk.attack else ""
    return tried_html(tried), undone, strips_html(found)


def _queries(new: Dropped, tried: Sequence[Tried]) -> dict[str, np.ndarray]:
    """The raw picture, and each protected one."""
    protected = {each.method: each.stage(PROTECTED) for each in tried}
    return {"raw": new.pixels} | {
        f"{name}: {PROTECTED}": stage.picture for name, stage in protected.items() if stage
    }


def _tried_html(held: Dropped | None, desk: Desk, recovery: ImageMap | None) -> str:
    return "" if held is None else tried_html(try_methods(held.pixels, desk.methods, recovery))


def dropped(event: gradio.EventData) -> list[Dropped]:
    """The picture that was dropped into the page, or what is found in a video.

    Raises:
        UserError: naming the file, when it is too large, or neither.
    """
    name, most = str(event.name), LARGEST_VIDEO if event.moving else LARGEST_PICTURE
    if event.size > most:
        raise UserError(f"{name} has {event.size:,} bytes; {most:,} are the most: take a smaller one")
    content = base64.b64decode(event.content, validate=True)
    if event.moving:
        return [Dropped(*each) for each in look_through(content, name)]
    with named(f"{name} is not shown"):
        return [Dropped(name, read_picture(content))]
