"""The page of a release: the list, and one image after another for a yes or no."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..core.extras import from_extra
from .events import on
from .judging import Judging, Seen
from .showing import message_html

if TYPE_CHECKING:
    import gradio
else:
    gradio = from_extra("gradio")


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
        image = judging.image(at.place) if judging.suspects else (at, "")
        return judging.list_html(), message_html("The folder was read again."), *image

    on(again.click, look_again, [seen], [listed, said, seen, shown], said)
    if judging.suspects:
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

    def decided(word: bool) -> Any:
        def act(at: Seen, by: str) -> tuple[Any, ...]:
            then = judging.decide(at, word, by)
            told = message_html(f"Written: {'yes' if word else 'no'} to image {at.place + 1}.")
            return *judging.image(then), judging.list_html(), told

        return act

    def moved(step: int) -> Any:
        def act(at: Seen) -> tuple[Any, ...]:
            return *judging.image((at.place + step) % len(judging.suspects)), message_html("")

        return act

    for button, word in ((no, False), (yes, True)):
        on(button.click, decided(word), [seen, name], [seen, shown, listed, said], said)
    for button, step in ((back, -1), (onward, 1)):
        on(button.click, moved(step), [seen], [seen, shown, said], said)
    on(blocks.load, moved(0), [seen], [seen, shown, said], said)
