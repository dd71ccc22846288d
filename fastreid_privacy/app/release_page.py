"""The page of a release: the list, and one image after another for a yes or no."""

from __future__ import annotations

from typing import Any

from ..core.errors import UserError
from ..core.extras import gradio
from .events import on
from .judging import Judging, Seen
from .showing import message_html, piece


def release_tab(blocks: gradio.Blocks, judging: Judging) -> None:
    """What the tab holds.

    Args:
        blocks: the page.
        judging: the folder and its images.
    """
    listed = gradio.HTML(judging.list_html)  # called whenever the page is loaded
    again = gradio.Button("Look at the folder again", size="sm")
    said = gradio.HTML(message_html(""))
    seen, shown = gradio.State(Seen(0)), gradio.HTML("")

    def look_again(at: Seen) -> tuple[Any, ...]:
        judging.look_again()
        return judging.list_html(), message_html("The folder was read again."), *judging.image(at.place)

    on(again.click, look_again, [seen], [listed, said, seen, shown], said)
    _images(blocks, judging, listed, seen, shown)


def _images(
    blocks: gradio.Blocks, judging: Judging, listed: gradio.HTML, seen: gradio.State, shown: gradio.HTML
) -> None:
    name = gradio.Textbox(label="Your name (written into the review with each decision)", max_lines=1)
    with gradio.Row():
        no, yes = gradio.Button("No, withhold it"), gradio.Button("Yes, give it out")
    with gradio.Row():
        back, onward = gradio.Button("Image before", size="sm"), gradio.Button("Next image", size="sm")
    said = gradio.HTML(message_html(""))
    clicked = gradio.JSON(visible=False)  # what was in front of the person: by then, the state may be ahead

    def decided(word: bool) -> Any:
        def act(front: Any, at: Seen, by: str) -> tuple[Any, ...]:
            check_in_front(front, at)
            then = judging.decide(at, word, by)
            told = message_html(f"Written: {'yes' if word else 'no'} to image {at.place + 1}.")
            return *judging.image(then), judging.list_html(), told

        return act

    def moved(step: int) -> Any:
        def act(front: Any, at: Seen) -> tuple[Any, ...]:
            place = in_front(front, at).place + step
            return *judging.image(place % max(1, len(judging.suspects))), message_html("")

        return act

    js = piece("judged.js")
    for button, word in ((no, False), (yes, True)):
        on(button.click, decided(word), [clicked, seen, name], [seen, shown, listed, said], said, js=js)
    for button, step in ((back, -1), (onward, 1)):
        on(button.click, moved(step), [clicked, seen], [seen, shown, said], said, js=js)
    on(blocks.load, moved(0), [clicked, seen], [seen, shown, said], said)


def in_front(front: Any, at: Seen) -> Seen:
    """What the browser showed when a person clicked; what was shown last, where it did not say that.

    Args:
        front: as ``judged.js`` sends it.
        at: what was shown last.
    """
    told = front if isinstance(front, dict) else {}
    place, sha256 = told.get("place"), told.get("sha256")
    return Seen(place, sha256) if isinstance(place, int) and isinstance(sha256, str) else at


def check_in_front(front: Any, at: Seen) -> None:
    """Refuse a decision about another image than the person saw: clicks wait for those before them.

    Args:
        front, at: of :func:`in_front`.

    Raises:
        UserError: when another image was shown last, or the browser did not say what it shows, or the picture
            had only just appeared.
    """
    if not isinstance(front, dict) or in_front(front, at) != at:
        raise UserError("nothing is written: another image was shown when you clicked. Look at this one")
    if front.get("appearing"):
        raise UserError("nothing is written: the image had only just appeared. Look at it first")
