"""Taking the picture: where people walk, the detector's box, what lens, sensor and compression do to it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import cv2
import numpy as np

from .body import Pose
from .identity import Identity, sample_identity
from .person import Drawing, draw_person
from .scene import KINDS, OCCLUDERS, draw_occluder, panorama


@dataclass(frozen=True)
class Track:
    """One walk of somebody past a camera: what its images share.

    ``azimuth`` as in :class:`Pose`; ``place`` in crop widths; ``weather`` multiplies red, green and blue:
    sun, cloud, evening.
    """

    azimuth: float
    place: float
    phase: float
    scale: float
    weather: tuple[float, float, float]


@dataclass(frozen=True)
class Stage:
    """What is before the camera, larger than the picture by its ``scale``.

    Attributes:
        canvas: as drawn, H×W×3 RGB uint8.
        drawing: of the person; None: nobody is there.
        covered: H×W bool, where something stands before the person.
    """

    canvas: np.ndarray
    drawing: Drawing | None
    covered: np.ndarray


@dataclass
class Camera:
    """A camera and its scene.

    Sizes in pixels; blur and noise are of the finished picture, noise in levels of 255.
    """

    height: int
    width: int
    scale: int
    kind: str
    horizon: float
    walkway: float
    pitch: float
    taper: float
    light: float
    gains: np.ndarray
    gamma: float
    contrast: float
    brightness: float
    saturation: float
    blur: float
    noise: float
    quality: int
    background: np.ndarray
    _table: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        levels = np.arange(256, dtype=np.float32)[:, None] / 255
        toned = (
            (np.clip(levels * self.gains, 0, 1) ** self.gamma - 0.5) * self.contrast + 0.5 + self.brightness
        )
        self._table = np.clip(np.rint(toned * 255), 0, 255).astype(np.uint8)[None]

    @classmethod
    def sample(cls, seed: int, index: int, height: int, width: int) -> Camera:
        """The camera ``index`` (from 0) of the data set ``seed``; the first six see six kinds of scene."""
        rng = np.random.default_rng([seed, 1, index])
        order = np.random.default_rng([seed, 2]).permutation(len(KINDS))
        kind = KINDS[order[index % len(KINDS)]]
        scale = int(np.clip(round(384 / height), 2, 4))
        horizon = float(rng.uniform(0.42, 0.62))
        warmth, tint = rng.normal(0, 0.085), rng.normal(0, 0.035)
        return cls(
            height=height,
            width=width,
            scale=scale,
            kind=kind,
            horizon=horizon,
            walkway=float(rng.uniform(0, math.pi)),
            pitch=float(rng.uniform(0.08, 0.22)),
            taper=float(rng.uniform(0.0, 0.22)),
            light=float(rng.uniform(-1, 1)),
            gains=np.clip(np.array([1 + warmth, 1 + tint, 1 - warmth]), 0.75, 1.3).astype(np.float32),
            gamma=float(np.exp(rng.normal(0, 0.20))),
            contrast=float(rng.uniform(0.85, 1.1)),
            brightness=float(rng.uniform(-0.05, 0.05)),
            saturation=float(rng.uniform(0.65, 1.1)),
            blur=float(rng.uniform(0.0, 0.7)),
            noise=float(rng.uniform(1.0, 3.5)),
            quality=int(rng.integers(84, 95)),
            background=panorama(rng, kind, height * scale, width * scale, horizon),
        )

    def track(self, rng: np.random.Generator) -> Track:
        """How somebody passes: along the walkway in either direction, more or less straight."""
        azimuth = self.walkway + (math.pi if rng.random() < 0.5 else 0) + rng.normal(0, 0.35)
        light, warmth = float(np.exp(rng.normal(0, 0.13))), float(rng.normal(0, 0.045))
        weather = (light * (1 + warmth), light, light * (1 - warmth))
        return Track(
            float(azimuth),
            float(rng.uniform(0.3, 10.7)),
            float(rng.uniform(0, 2 * math.pi)),
            float(rng.uniform(0.88, 0.94)),
            weather,
        )

    def shoot(
        self, rng: np.random.Generator, person: Identity | None, track: Track, missed_by: float = 0.0
    ) -> np.ndarray:
        """Take one picture.

        Args:
            rng: the picture's own generator.
            person: who is in it; None for a false detection of background.
            track: the walk it belongs to.
            missed_by: how far the detector's box misses the person, as a fraction of its height.

        Returns:
            H×W×3 RGB uint8, 0–255.
        """
        canvas = self.stage(rng, person, track, missed_by).canvas
        return self._expose(
            rng, cv2.resize(canvas, (self.width, self.height), interpolation=cv2.INTER_AREA), track.weather
        )

    def stage(
        self, rng: np.random.Generator, person: Identity | None, track: Track, missed_by: float = 0.0
    ) -> Stage:
        """What is before the camera when it takes a picture; arguments as of :meth:`shoot`."""
        high, wide = self.height * self.scale, self.width * self.scale
        # the detector's box: never exact, sometimes far off
        shift = rng.normal(0, 0.025, 2) * (1 if rng.random() < 0.9 else 2.5)
        size = track.scale * float(np.exp(rng.normal(0, 0.035)))
        angle = rng.uniform(0, 2 * math.pi)
        shift += missed_by * np.array([math.cos(angle), math.sin(angle)])
        canvas = self._backdrop(rng, track, high, wide, size)
        feet = (wide * (0.5 + shift[0] * 1.6), high * (0.5 + 0.5 * size + shift[1]))
        if rng.random() < 0.16:
            self._passer_by(rng, canvas, feet, size * high)
        drawing = None
        if person is not None:
            pose = Pose(
                track.azimuth + float(rng.normal(0, 0.12)),
                track.phase + float(rng.uniform(0, 2 * math.pi)),
                feet,
                size * high,
                self.pitch,
                self.taper,
                float(rng.normal(0, 0.012)),
            )
            drawing = self._draw(rng, canvas, person, pose)
        covered = np.zeros((high, wide), bool)
        if rng.random() < 0.14:
            # what is drawn in three channels sets the fourth to 0
            before = np.full((high, wide, 4), 255, np.uint8)
            draw_occluder(before, rng, OCCLUDERS[int(rng.integers(len(OCCLUDERS)))])
            covered = before[:, :, 3] == 0
            canvas[covered] = before[covered, :3]
        return Stage(canvas, drawing, covered)

    def _backdrop(
        self, rng: np.random.Generator, track: Track, high: int, wide: int, size: float
    ) -> np.ndarray:
        zoom = 0.92 / size
        rows, columns = round(high * zoom), round(wide * zoom)
        x = round((track.place + rng.normal(0, 0.12)) * wide)
        x = int(np.clip(x, 0, self.background.shape[1] - columns))
        y = int(np.clip(round(0.25 * high + rng.normal(0, 0.04) * high), 0, self.background.shape[0] - rows))
        return cv2.resize(
            self.background[y : y + rows, x : x + columns], (wide, high), interpolation=cv2.INTER_LINEAR
        )

    def _passer_by(
        self, rng: np.random.Generator, canvas: np.ndarray, feet: tuple[float, float], height: float
    ) -> None:
        """Somebody else at the edge of the box, farther away."""
        side = 1 if rng.random() < 0.5 else -1
        scale = float(rng.uniform(0.62, 0.92))
        place = (
            feet[0] + side * canvas.shape[1] * float(rng.uniform(0.32, 0.6)),
            feet[1] - (1 - scale) * 0.35 * height,
        )
        pose = Pose(
            float(rng.uniform(0, 2 * math.pi)),
            float(rng.uniform(0, 2 * math.pi)),
            place,
            height * scale,
            self.pitch,
            self.taper,
        )
        self._draw(rng, canvas, sample_identity(rng), pose)

    def _draw(self, rng: np.random.Generator, canvas: np.ndarray, person: Identity, pose: Pose) -> Drawing:
        fold_at = int(rng.integers(0, 200)), int(rng.integers(0, 200))
        return draw_person(canvas, person, pose, self.light, fold_at)

    def _expose(
        self, rng: np.random.Generator, image: np.ndarray, weather: tuple[float, float, float]
    ) -> np.ndarray:
        """Lens, light, sensor. H×W×3 RGB uint8 → the same."""
        if self.blur > 0.2:
            image = cv2.GaussianBlur(image, (0, 0), self.blur * self.height / 128)
        image = cv2.LUT(image, self._table)
        grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        picture = cv2.addWeighted(image, self.saturation, grey, 1 - self.saturation, 0).astype(np.float32)
        picture *= np.array(weather, np.float32) * np.float32(np.exp(rng.normal(0, 0.04)))
        picture += rng.standard_normal(picture.shape, dtype=np.float32) * self.noise
        return np.clip(np.rint(picture), 0, 255).astype(np.uint8)

    def encode(self, image: np.ndarray) -> bytes:
        """The JPEG file that this camera stores of an RGB picture."""
        done, data = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, self.quality])
        assert done
        return data.tobytes()
