"""The page of a release: the list, and one image after another for a yes or no."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..core.extras import from_extra
from .events import on
from .judging import Judging
from .showing import message_html

if TYPE_CHECKING:
    import gradio
else:
    gradio = from_extra("gradio")


def release_tab(judging: Judging) -> None:
    """What the tab holds.

    Args:
        judging: the folder and its images.
    """
    listed = gradio.HTML(judging.list_html)  # called whenever the page is loaded
    again = gradio.Button("Look at the folder again", size="sm")
    said = gradio.HTML(message_html(""))

    def look_again() -> tuple[Any, ...]:
        judging.look_again()
        return judging.list_html(), message_html("The folder was read again.")

    on(again.click, look_again, [], [listed, said], said)
    if judging.suspects:
        _images(judging, listed)


def _images(judging: Judging, listed: gradio.HTML) -> None:
    place = gradio.State(0)
    shown = gradio.HTML(lambda: judging.image_html(0))
    name = gradio.Textbox(label="Your name (written into the review with each decision)", max_lines=1)
    with gradio.Row():
        no, yes = gradio.Button("No, withhold it"), gradio.Button("Yes, give it out")
    with gradio.Row():
        back, onward = gradio.Button("Image before", size="sm"), gradio.Button("Next image", size="sm")
    said = gradio.HTML(message_html(""))

    def decided(word: bool) -> Any:
        def act(at: int, by: str) -> tuple[Any, ...]:
            then = judging.decide(at, word, by)
            told = message_html(f"Written: {'yes' if word else 'no'} to image {at + 1}.")
            return then, judging.image_html(then), judging.list_html(), told

        return act

    def moved(step: int) -> Any:
        def act(at: int) -> tuple[Any, ...]:
            then = (at + step) % len(judging.suspects)
            return then, judging.image_html(then), message_html("")

        return act

    for button, word in ((no, False), (yes, True)):
        on(button.click, decided(word), [place, name], [place, shown, listed, said], said)
    for button, step in ((back, -1), (onward, 1)):
        on(button.click, moved(step), [place], [place, shown, said], said)
