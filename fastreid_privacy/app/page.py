"""The pages, of Gradio: what is typed and dropped goes to the functions behind them, and what these give back
is shown."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checkpoints.image_maps import ImageMap
from ..core.errors import UserError, user_message
from ..core.extras import from_extra
from ..core.pictures import read_picture
from ..report.page import render
from .methods import Method
from .showing import FOLDER, message_html, piece, tried_html
from .trying import try_methods

if TYPE_CHECKING:
    import gradio
else:
    gradio = from_extra("gradio")

TITLE = "fastreid_privacy"
MIB = 2**20
LARGEST_PICTURE = 32 * MIB  # bytes of a file that is dropped in
PICTURES = "image/*"


@dataclass(frozen=True)
class Desk:
    """What the pages have at hand.

    Attributes:
        methods: of :func:`.methods.load_methods`.
    """

    methods: Sequence[Method]


def build_page(desk: Desk) -> gradio.Blocks:
    """The pages as Gradio's blocks.

    Args:
        desk: what they have at hand.
    """
    with gradio.Blocks(title=TITLE, analytics_enabled=False) as blocks:
        gradio.HTML("<h1>What others will see</h1>")
        with gradio.Tab("Try"):
            _try_tab(desk)
    return blocks


def _try_tab(desk: Desk) -> None:
    picture = gradio.State()
    drop = _drop(
        "picture",
        "A picture of one person",
        f"JPEG, PNG or the like, {LARGEST_PICTURE // MIB} MiB at most. It stays in this computer's memory.",
        PICTURES,
        LARGEST_PICTURE,
    )
    forget = gradio.Button("Forget the picture", interactive=False, size="sm")
    said = gradio.HTML(message_html(""))
    shown = gradio.HTML("", js_on_load=piece("page.js"))

    def look(event: gradio.EventData) -> tuple[Any, ...]:
        pixels = dropped(event, LARGEST_PICTURE)
        return pixels, message_html(""), _tried(pixels, desk, None), gradio.Button(interactive=True)

    def clear() -> tuple[Any, ...]:
        return None, message_html("The picture is forgotten."), "", gradio.Button(interactive=False)

    outputs = [picture, said, shown, forget]
    _on(drop.chosen, look, [], outputs, said)
    _on(forget.click, clear, [], outputs, said)


def _tried(picture: np.ndarray | None, desk: Desk, recovery: ImageMap | None) -> str:
    return "" if picture is None else tried_html(try_methods(picture, desk.methods, recovery))


def dropped(event: gradio.EventData, most: int) -> np.ndarray:
    """The pixels of a file that was dropped in: uint8 H×W×3.

    Raises:
        UserError: naming the file, when it is too large or no picture.
    """
    name = str(event.name)
    if event.size > most:
        raise UserError(f"{name} has {event.size:,} bytes; {most:,} are the most: take a smaller one")
    try:
        return read_picture(base64.b64decode(event.content, validate=True))
    except UserError as error:
        raise UserError(f"{name} is not shown: {error}") from None


def _drop(name: str, label: str, about: str, accept: str, most: int) -> gradio.HTML:
    """A place for a file."""
    template = render("drop.html", FOLDER, name=name, label=label, about=about, accept=accept)
    return gradio.HTML("", html_template=template, js_on_load=piece("drop.js"), most=most)


def _on(
    event: Callable[..., Any],
    act: Callable[..., tuple[Any, ...]],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    said: Any,
) -> None:
    """Let an event call a function; a mistake of the user is said in the page, and nothing else changes."""

    @wraps(act)  # Gradio reads the annotations of its arguments
    def guarded(*values: Any) -> Any:
        try:
            return act(*values)
        except UserError as error:
            return {said: message_html(user_message(error), alarm=True)}

    event(guarded, list(inputs), list(outputs), api_visibility="private", show_progress="minimal")
