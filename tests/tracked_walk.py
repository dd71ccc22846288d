"""How many people OpenCV's detector finds among rendered ones who walk, without and with the tracker:
``python tests/tracked_walk.py`` prints a table. The video is that of ``rendered_video.py``.

A box of a person counts as found at an intersection over union of 0.5, and as covered when 90 % of its pixels
lie in any of the boxes.
"""

from __future__ import annotations

# before fastreid: importing the package makes it work
from fastreid_privacy.video import HogDetector, Placing

# isort: split
from functools import cache

import numpy as np
from rendered_video import demo_walk

from fastreid_privacy.video.detection import overlap
from fastreid_privacy.video.placing import KEEP_FRAMES, MARGIN, placed
from fastreid_privacy.video.stream import Frame

WAYS = {
    "each frame by itself, no margin": Placing(),
    "each frame by itself": Placing(margin=MARGIN),
    "followed": Placing(KEEP_FRAMES, 1, MARGIN),
    "followed, every 5th frame detected": Placing(KEEP_FRAMES, 5, MARGIN),
}


class Remembering(HogDetector):
    """Looks at each frame once."""

    def __init__(self, pictures: list[np.ndarray]):
        super().__init__()
        self.found = cache(lambda number: super(Remembering, self).__call__(number, pictures[number - 1]))

    def __call__(self, number: int, pixels: np.ndarray) -> list:
        return self.found(number)


def main() -> None:
    """Print a line for each way."""
    pictures, lines = demo_walk()
    detector, (height, width) = Remembering(pictures), pictures[0].shape[:2]
    people: dict[int, list[tuple[int, int, int, int]]] = {}
    for line in lines:
        frame, _, left, top, across, down = map(int, line.split(",")[:6])
        box = max(0, left - 1), top - 1, min(width, left - 1 + across), min(height, top - 1 + down)
        if box[0] < box[2]:
            people.setdefault(frame, []).append(box)
    for name, way in WAYS.items():
        shares, area = [], 0.0
        frames = (Frame(number, number, picture) for number, picture in enumerate(pictures, start=1))
        for frame in placed(frames, detector, way, None):
            inside = np.zeros((height, width), bool)
            for left, top, right, bottom in frame.boxes:
                inside[top:bottom, left:right] = True
            area += inside.mean() / len(pictures)
            for person in people.get(frame.number, []):
                found = max((overlap(person, box) for box in frame.boxes), default=0) >= 0.5
                covered = inside[person[1] : person[3], person[0] : person[2]].mean() >= 0.9
                shares.append((found, covered, person[3] - person[1] >= 100))
        for group, chosen in (("all", shares), ("100 pixels and more", [each for each in shares if each[2]])):
            found, covered, _ = np.mean(chosen, axis=0)
            print(
                f"{name}: {group}: {len(chosen)} boxes, found {found:.1%}, covered {covered:.1%}, "
                f"area {area:.1%}"
            )


if __name__ == "__main__":
    main()
