"""How Gradio's parts are tied to functions: what goes wrong becomes a message in the page."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from functools import wraps
from typing import Any, Literal

from ..core.errors import to_mend
from ..core.extras import gradio
from ..report.page import render
from .showing import FOLDER, message_html, piece

logger = logging.getLogger(__name__)

STAY_SECONDS = 15.0
UNEXPECTED = "This failed, and nobody expected it: what happened stands where the command was started."


def place_for_a_file(
    name: str, label: str, about: str, accept: str, most: int, most_of_video: int
) -> gradio.HTML:
    """Where a file is dropped or chosen.

    Its event ``chosen`` brings name, size, whether it is a moving picture, and content (base64).

    Args:
        name: of the input, for its label.
        label: in words.
        about: small print.
        accept: the kinds of files that are offered, as HTML has it.
        most, most_of_video: bytes; of a larger file the content is left out.
    """
    template = render("drop.html", FOLDER, name=name, label=label, about=about, accept=accept)
    return gradio.HTML(
        "", html_template=template, js_on_load=piece("drop.js"), most=most, most_of_video=most_of_video
    )


def keep_listening(blocks: gradio.Blocks) -> None:
    """Let the page listen for as long as it is open: an event that never ends, before all others.

    Gradio closes the page's line when no event is left, and loses the answer to one that comes just then:
    the page would wait for it for ever.
    """

    async def stay() -> AsyncIterator[None]:
        while True:  # until Gradio finds that the page is gone
            await asyncio.sleep(STAY_SECONDS)
            yield

    blocks.load(stay, api_visibility="private", show_progress="hidden", concurrency_limit=None)


def forget_when_left(blocks: gradio.Blocks) -> None:
    """Drop what is held for a page when it is closed or left: Gradio would keep it for an hour."""

    def forget(request: gradio.Request) -> None:
        holder, page = blocks.state_holder, request.session_hash or ""
        holder.session_data.pop(page, None)
        holder.time_last_used.pop(page, None)

    blocks.unload(forget)


def on(
    event: Callable[..., Any],
    act: Callable[..., tuple[Any, ...]],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    said: Any,
    emptied: Any = None,
    js: str | None = None,
    repeated: Literal["once", "multiple"] = "once",
) -> None:
    """Let an event call a function; whatever goes wrong is said in the page, and nothing else changes.

    One event is done after the other: a picture that is still looked at while the key is closed, or while it
    is forgotten, does not come back afterwards.

    Args:
        event: of a component.
        act: takes the values of ``inputs`` and gives those of ``outputs``.
        inputs, outputs: components.
        said: the one that says what is wrong.
        emptied: one whose text is taken away then, too; None: there is none.
        js: a function that the browser calls at once, with the values of ``inputs``; it gives those that are
            sent. None: as they are.
        repeated: what becomes of an event that comes while one of its kind is worked on: "once" drops it,
            "multiple" lets it wait. Gradio's "always_last" would repeat the first one's data.
    """

    @wraps(act)  # Gradio reads the annotations of its arguments
    def guarded(*values: Any) -> Any:
        try:
            return act(*values)
        except Exception as error:  # else the page is silent, and what was typed stays there
            words = to_mend(error)
            if words is None:
                logger.exception("what was asked for in the page failed")
            told = {said: message_html(words or UNEXPECTED, alarm=True)}
            return told if emptied is None else {**told, emptied: ""}

    event(
        guarded,
        list(inputs),
        list(outputs),
        js=js,
        trigger_mode=repeated,
        api_visibility="private",
        show_progress="minimal",
        concurrency_limit=1,
        concurrency_id="page",
    )
