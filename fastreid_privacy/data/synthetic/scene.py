"""What a camera looks at: a panorama to crop backgrounds from, and things that stand before people."""

from __future__ import annotations

import cv2
import numpy as np

KINDS = ("street", "park", "shop", "wall", "plaza", "station")
OCCLUDERS = ("pole", "car", "bush", "railing", "bicycle", "bollard")

# sky or wall behind, ground, and the tones of things standing about
_TONES = {
    "street": ((172, 166, 156), (128, 126, 124)),
    "park": ((112, 134, 92), (122, 146, 88)),
    "shop": ((92, 88, 92), (168, 160, 150)),
    "wall": ((156, 106, 86), (146, 142, 136)),
    "plaza": ((186, 188, 192), (178, 172, 160)),
    "station": ((204, 204, 196), (112, 108, 108)),
}
_THINGS = (
    (58, 58, 64),
    (170, 44, 42),
    (46, 84, 134),
    (206, 202, 194),
    (176, 150, 64),
    (62, 92, 60),
    (112, 82, 60),
    (88, 90, 96),
)


def smooth_noise(
    rng: np.random.Generator, height: int, width: int, cell: float, strength: float
) -> np.ndarray:
    """Cloudy noise of ``cell`` pixels and standard deviation about ``strength``; H×W×1 float32."""
    cells = max(2, round(height / cell)), max(2, round(width / cell))
    small = rng.normal(0, strength, cells).astype(np.float32)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)[:, :, None]


def panorama(rng: np.random.Generator, kind: str, height: int, width: int, horizon: float) -> np.ndarray:
    """Draw a scene.

    Args:
        rng: the camera's own generator.
        kind: one of :data:`KINDS`.
        height: of a crop at its drawing scale, pixels; the panorama is 1.5 times as high.
        width: of a crop at its drawing scale, pixels; the panorama is 12 times as wide.
        horizon: where the ground begins, as a fraction of the panorama's height.

    Returns:
        RGB uint8, 0–255.
    """
    high, wide = round(1.5 * height), 12 * width
    back, ground = _TONES[kind]
    line = round(horizon * high)
    image = np.empty((high, wide, 3), np.float32)
    image[:line], image[line:] = back, ground
    image[:line] += np.linspace(14, -10, line, dtype=np.float32)[:, None, None]
    image[line:] += np.linspace(-26, 18, high - line, dtype=np.float32)[:, None, None]
    image += smooth_noise(rng, high, wide, width / 2, 12) + smooth_noise(rng, high, wide, width / 14, 5)
    image = np.clip(image, 0, 255).astype(np.uint8)
    backs = {
        "street": _facade,
        "park": _trees,
        "shop": _windows,
        "wall": _bricks,
        "plaza": _columns,
        "station": _panels,
    }
    backs[kind](rng, image, line, height)
    _ground(rng, image, line, height, kind)
    _clutter(rng, image, line, height)
    return cv2.blur(image, (3, 3))


def _tone(rng: np.random.Generator, colour: tuple[int, int, int], spread: float) -> tuple[int, ...]:
    channels = np.array(colour) + rng.normal(0, spread) + rng.normal(0, spread / 3, 3)
    return tuple(int(channel) for channel in np.clip(channels, 5, 250))


def _thing(rng: np.random.Generator, spread: float) -> tuple[int, ...]:
    return _tone(rng, _THINGS[int(rng.integers(len(_THINGS)))], spread)


def _facade(rng: np.random.Generator, image: np.ndarray, line: int, unit: int) -> None:
    x = 0
    while x < image.shape[1]:
        house = int(unit * rng.uniform(0.6, 1.4))
        cv2.rectangle(image, (x, 0), (x + house, line), _tone(rng, (158, 148, 134), 26), -1)
        for row in range(int(-0.1 * unit), int(line - 0.2 * unit), int(0.34 * unit)):
            for column in range(x + int(0.06 * unit), x + house - int(0.2 * unit), int(0.28 * unit)):
                corner = (column + int(0.17 * unit), row + int(0.24 * unit))
                cv2.rectangle(image, (column, row), corner, _tone(rng, (64, 72, 84), 18), -1)
                cv2.rectangle(image, (column, row), corner, (206, 204, 198), max(2, unit // 90))
        x += house


def _trees(rng: np.random.Generator, image: np.ndarray, line: int, unit: int) -> None:
    for _ in range(110):
        x, y = int(rng.integers(0, image.shape[1])), int(rng.uniform(-0.1, 1.0) * line)
        axes = int(unit * rng.uniform(0.08, 0.26)), int(unit * rng.uniform(0.06, 0.2))
        cv2.ellipse(image, (x, y), axes, 0, 0, 360, _tone(rng, (78, 108, 62), 22), -1)
    for _ in range(12):
        x, half = int(rng.integers(0, image.shape[1])), int(unit * rng.uniform(0.02, 0.05))
        cv2.rectangle(image, (x - half, 0), (x + half, line + unit // 20), _tone(rng, (84, 66, 52), 10), -1)


def _windows(rng: np.random.Generator, image: np.ndarray, line: int, unit: int) -> None:
    x = 0
    while x < image.shape[1]:
        pane = int(unit * rng.uniform(0.35, 0.8))
        low = line - int(0.08 * unit)
        cv2.rectangle(
            image, (x + unit // 30, int(0.18 * unit)), (x + pane, low), _tone(rng, (128, 132, 128), 30), -1
        )
        for _ in range(7):
            left, top = x + int(rng.uniform(0.1, 0.8) * pane), int(rng.uniform(0.3, 0.85) * low)
            size = (int(unit * rng.uniform(0.04, 0.16)), int(unit * rng.uniform(0.05, 0.2)))
            colour = _thing(rng, 14)
            cv2.rectangle(
                image, (left, top), (min(left + size[0], x + pane), min(top + size[1], low)), colour, -1
            )
        cv2.rectangle(image, (x, 0), (x + pane, int(0.16 * unit)), _thing(rng, 10), -1)
        x += pane + unit // 20


def _bricks(rng: np.random.Generator, image: np.ndarray, line: int, unit: int) -> None:
    row_height, brick = unit // 16, unit // 7
    for index, row in enumerate(range(0, line, row_height)):
        for x in range(-(index % 2) * brick // 2, image.shape[1], brick):
            colour = _tone(rng, (156, 106, 86), 9)
            cv2.rectangle(image, (x, row), (x + brick - 3, min(row + row_height - 3, line)), colour, -1)
    for _ in range(7):
        x, y = int(rng.integers(0, image.shape[1])), int(rng.uniform(0.2, 0.6) * line)
        size = (int(unit * rng.uniform(0.15, 0.4)), int(unit * rng.uniform(0.15, 0.4)))
        cv2.rectangle(image, (x, y), (x + size[0], y + size[1]), _thing(rng, 12), -1)


def _columns(rng: np.random.Generator, image: np.ndarray, line: int, unit: int) -> None:
    x = 0
    while x < image.shape[1]:
        gap = int(unit * rng.uniform(0.35, 0.7))
        cv2.rectangle(image, (x, int(0.1 * unit)), (x + gap, line), _tone(rng, (108, 118, 126), 16), -1)
        cv2.rectangle(image, (x, 0), (x + unit // 8, line), _tone(rng, (208, 206, 198), 8), -1)
        x += gap + unit // 8
    for row in (0.55, 0.75):
        cv2.rectangle(
            image, (0, int(row * line)), (image.shape[1], int(row * line) + unit // 40), (90, 96, 100), -1
        )


def _panels(rng: np.random.Generator, image: np.ndarray, line: int, unit: int) -> None:
    for x in range(0, image.shape[1], unit // 5):
        cv2.rectangle(image, (x, 0), (x + unit // 5 - 3, line), _tone(rng, (196, 198, 190), 7), -1)
    for x in range(int(0.3 * unit), image.shape[1], int(1.1 * unit)):
        corners = (x, int(0.25 * line)), (x + unit // 2, int(0.85 * line))
        cv2.rectangle(image, *corners, _thing(rng, 16), -1)
        cv2.rectangle(image, *corners, (70, 70, 72), max(3, unit // 60))
    cv2.rectangle(image, (0, line - unit // 14), (image.shape[1], line), (222, 188, 62), -1)


def _ground(rng: np.random.Generator, image: np.ndarray, line: int, unit: int, kind: str) -> None:
    high, wide = image.shape[:2]
    if kind == "park":
        for _ in range(900):
            x, y = int(rng.integers(0, wide)), int(rng.integers(line, high))
            tip = x + int(rng.integers(-4, 5)), y - unit // 50
            cv2.line(image, (x, y), tip, _tone(rng, (104, 130, 72), 14), 3)
        return
    joint = tuple(int(channel * 0.84) for channel in _TONES[kind][1])
    row, step = float(line), unit / 14
    while row < high:
        cv2.line(image, (0, int(row)), (wide, int(row)), joint, 2)
        row, step = row + step, step * 1.35
    for x in range(-wide // 4, wide + wide // 4, unit // 3):
        cv2.line(image, (x, line), (int(x + (x - wide / 2) * 0.08), high), joint, 2)
    if kind == "street":
        cv2.rectangle(
            image, (0, line + unit // 9), (wide, line + unit // 9 + unit // 40), (214, 212, 204), -1
        )


def _clutter(rng: np.random.Generator, image: np.ndarray, line: int, unit: int) -> None:
    """Things that stand about: bins, boxes, posts, signs, parked cars, each with a shadow on the ground."""
    for _ in range(26):
        x, base = int(rng.integers(0, image.shape[1])), line + int(unit * rng.uniform(0.0, 0.16))
        colour = _thing(rng, 14)
        dark = tuple(int(channel * 0.55) for channel in colour)
        kind = int(rng.integers(4))
        half = int(unit * (0.06, 0.012, 0.03, 0.34)[kind] * rng.uniform(0.8, 1.3))
        tall = int(unit * (0.22, 0.75, 0.6, 0.2)[kind] * rng.uniform(0.8, 1.2))
        cv2.ellipse(
            image, (x + half // 2, base), (int(1.3 * half), max(2, unit // 50)), 0, 0, 360, (72, 70, 70), -1
        )
        cv2.rectangle(image, (x - half, base - tall), (x + half, base), colour, -1)
        if kind == 0:
            cv2.rectangle(image, (x - half, base - tall), (x + half, base - int(0.8 * tall)), dark, -1)
        elif kind == 1:
            cv2.rectangle(
                image, (x - 5 * half, base - tall), (x + 5 * half, base - int(0.75 * tall)), dark, -1
            )
        elif kind == 3:
            low, high = base - tall, base - 2 * tall
            roof = [(x - half // 2, low), (x + half // 2, low), (x + half // 3, high), (x - half // 3, high)]
            cv2.fillConvexPoly(image, np.array(roof, np.int32), dark)
            for wheel in (-1, 1):
                cv2.circle(image, (x + wheel * int(0.6 * half), base), max(3, tall // 3), (30, 30, 32), -1)


def draw_occluder(canvas: np.ndarray, rng: np.random.Generator, kind: str) -> None:
    """Draw something that stands between the camera and the person, in place.

    Args:
        canvas: H×W×3 RGB uint8.
        rng: the picture's generator.
        kind: one of :data:`OCCLUDERS`.
    """
    height, width = canvas.shape[:2]
    colour = _thing(rng, 12)
    dark = tuple(int(channel * 0.6) for channel in colour)
    side = 1 if rng.random() < 0.5 else -1
    edge = width // 2 + side * int(width * rng.uniform(0.16, 0.46))
    low = int(height * rng.uniform(0.66, 0.86))
    match kind:
        case "pole":
            half = int(width * rng.uniform(0.03, 0.07))
            cv2.rectangle(canvas, (edge - half, 0), (edge + half, height), colour, -1)
            cv2.rectangle(canvas, (edge + half // 3, 0), (edge + half, height), dark, -1)
        case "car":
            bonnet, boot = edge - side * width, edge + side * width
            body = [(bonnet, height), (bonnet, low + height // 20), (edge, low), (boot, low), (boot, height)]
            cv2.fillPoly(canvas, [np.array(body, np.int32)], colour)
            cv2.line(canvas, (0, low + height // 12), (width, low + height // 12), dark, 3)
        case "bush":
            for _ in range(26):
                place = (int(rng.integers(-10, width + 10)), int(rng.uniform(low, 1.05 * height)))
                cv2.circle(
                    canvas, place, int(width * rng.uniform(0.05, 0.12)), _tone(rng, (70, 98, 56), 16), -1
                )
        case "railing":
            for y in (low, (low + height) // 2):
                cv2.rectangle(canvas, (0, y), (width, y + height // 60), colour, -1)
            for x in range(int(rng.integers(0, width // 6)), width, width // 5):
                cv2.rectangle(canvas, (x, low), (x + width // 40, height), colour, -1)
        case "bicycle":
            radius = int(width * 0.24)
            for x in (edge - int(1.2 * radius), edge + int(1.2 * radius)):
                cv2.circle(canvas, (x, height - radius), radius, (34, 34, 36), max(3, width // 40))
            left, right, thick = edge - radius, edge + radius, max(4, width // 30)
            low, high = height - radius, height - 2 * radius
            cv2.line(canvas, (left, low), (right, high), colour, thick)
            cv2.line(canvas, (left, high), (right, low), colour, thick)
        case _:
            half = int(width * rng.uniform(0.06, 0.10))
            cv2.rectangle(canvas, (edge - half, low), (edge + half, height), colour, -1)
            cv2.rectangle(canvas, (edge - half, low), (edge + half, low + height // 40), (222, 214, 190), -1)
