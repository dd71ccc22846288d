"""A video of rendered people who walk past each other, and its MOT file: ``python tests/rendered_video.py
FOLDER`` writes both.

The people are those of the embedded data set: each walker shows images of one identity, scaled to a height of
its own.
"""

from __future__ import annotations

# before fastreid: importing the package makes it work
from fastreid_privacy.data.synthetic.scene import panorama

# isort: split
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

SIZE = (240, 320)  # height, width
RATE = Fraction(25, 2)


@dataclass
class Walker:
    """Somebody who crosses the picture: images of one identity, the height in pixels, and the left and top
    edge in each frame."""

    images: list[Path]
    height: int
    places: list[tuple[int, int]]


def walkers(
    people: Sequence[list[Path]], heights: Sequence[int], frames: int, size: tuple[int, int] = SIZE
) -> list[Walker]:
    """Walkers side by side who turn by turn go right and left, so that neighbours overlap on their way; the
    last frame has nobody.

    Args:
        people: the image files of each.
        heights: of each, pixels.
        frames: of the video.
        size: (height, width) of the video.
    """
    found, apart = [], size[1] / len(people)
    for number, (images, height) in enumerate(zip(people, heights, strict=True)):
        start, way = (number + 0.5) * apart, apart * (-1) ** number
        middles = np.linspace(start, start + way, frames - 1)
        found.append(
            Walker(
                images,
                height,
                [(round(middle - height / 4), size[0] - height - 4 * number) for middle in middles],
            )
        )
    return found


def render(
    walking: Sequence[Walker], frames: int, size: tuple[int, int] = SIZE
) -> tuple[list[np.ndarray], list[str]]:
    """uint8 H×W×3 frames, and the lines of the MOT file (pixels from 1); boxes may reach out of the
    picture."""
    ground = panorama(np.random.default_rng(0), "street", size[0] * 2 // 3, size[1] // 12 + 1, 0.5)[
        : size[0], : size[1]
    ]
    pictures, lines = [], []
    for frame in range(frames):
        picture = np.array(Image.fromarray(ground).resize((size[1], size[0])))
        for identity, walker in enumerate(walking, start=1):
            if frame >= len(walker.places):
                continue
            left, top = walker.places[frame]
            width = walker.height // 2
            with Image.open(walker.images[frame // 4 % len(walker.images)]) as file:
                person = np.array(
                    file.convert("RGB").resize((width, walker.height), Image.Resampling.BICUBIC)
                )
            inside = person[:, max(0, -left) : max(0, size[1] - left)]
            picture[top : top + walker.height, max(0, left) : left + width] = inside
            lines.append(f"{frame + 1},{identity},{left + 1},{top + 1},{width},{walker.height},1,-1,-1,-1")
        pictures.append(picture)
    return pictures, lines


def write_video(
    path: Path,
    pictures: Sequence[np.ndarray],
    codec: str = "ffv1",
    pix_fmt: str = "",
    sound: bool = False,
    options: dict[str, str] | None = None,
    **metadata: str,
) -> Path:
    """Write frames by libav itself, as a camera might: with or without sound, with metadata."""
    with av.open(str(path), "w") as container:
        container.metadata.update(metadata)
        stream = container.add_stream(codec, rate=RATE, options=options or {})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pix_fmt or ("bgr0" if codec == "ffv1" else "yuv420p")
        noise = container.add_stream("pcm_s16le", rate=8000) if sound else None
        for picture in pictures:
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
        if noise is not None:
            samples = np.random.default_rng(0).integers(-999, 999, (1, 8000)).astype(np.int16)
            heard = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            heard.sample_rate = 8000
            for packet in [*noise.encode(heard), *noise.encode(None)]:
                container.mux(packet)
    return path


def numbered(count: int, size: tuple[int, int] = (48, 64)) -> list[np.ndarray]:
    """Pictures that show their number, from 0, as six bars: bright ones are the bits that are set."""
    pictures = []
    for number in range(count):
        picture = np.full((*size, 3), 20, np.uint8)
        for bit in range(6):
            if number >> bit & 1:
                picture[8:40, 4 + 10 * bit : 12 + 10 * bit] = 230
        pictures.append(picture)
    return pictures


def number_of(picture: np.ndarray) -> int:
    """The number that a picture of :func:`numbered` shows, also after a lossy codec."""
    return sum(1 << bit for bit in range(6) if picture[16:32, 6 + 10 * bit : 10 + 10 * bit].mean() > 125)


def people_of(folder: Path) -> list[list[Path]]:
    """Image files of each identity in a folder of the embedded data set."""
    files = sorted(folder.glob("[0-9]*.jpg"))
    pids = sorted({file.name[:4] for file in files} - {"0000"})
    return [[file for file in files if file.name.startswith(pid)] for pid in pids]


def demo_walk() -> tuple[list[np.ndarray], list[str]]:
    """60 frames of six people from 64 to 220 pixels high, of the demo's test identities, and their boxes."""
    from fastreid_privacy.data import SyntheticPedestrians
    from fastreid_privacy.data.datasets import datasets_root

    people = people_of(SyntheticPedestrians(datasets_root(), verbose=False).folder / "bounding_box_test")[:6]
    heights = (64, 96, 128, 160, 192, 220)
    return render(walkers(people, heights, 60, (480, 720)), 60, (480, 720))


def main(folder: Path) -> None:
    """Write video.mkv and boxes.txt of :func:`demo_walk`."""
    pictures, lines = demo_walk()
    folder.mkdir(parents=True, exist_ok=True)
    write_video(folder / "video.mkv", pictures)
    (folder / "boxes.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
