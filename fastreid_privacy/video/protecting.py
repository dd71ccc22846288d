"""Frames to protected ones, with a record of each."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np

from ..checkpoints.image_maps import ImageMap
from ..collection.protected_files import NOISE_KEY_BYTES, ProtectionOptions
from ..collection.protecting import ProtectingBatches
from ..model.storage import ImageStorage
from .boxes import MotBoxes
from .people import Left, Person
from .placing import Boxes
from .regions import protect_regions
from .stream import Frame


class FrameRecord(NamedTuple):
    """What was done to a frame.

    Attributes:
        number: of the frame.
        time: of it, in units of the video's ``time_base``.
        people: who was protected, in the order in which they were put into it.
        left: whom it was asked to leave as they are.
        kept: of the guard, for each of ``people``: the share of the anonymizer's image; empty without one.
    """

    number: int
    time: int
    people: list[Person]
    left: list[Left]
    kept: list[float]


class FrameProtector:
    """Protects what is in the boxes of frames. Several threads call it.

    Args:
        image_map: the anonymizer; a box is protected at the network's size.
        options: how.

    Attributes:
        mapper: the anonymizer, over batches.
        operator: that is asked with it, if there is one.
        named: whether what it makes depends on who is shown. Then numbers of people are keys, and no record
            has them.
        any_changed: whether any pixel of any frame is another one now.
    """

    def __init__(self, image_map: ImageMap, options: ProtectionOptions):
        self.image_map, self.batch_size = image_map, options.batch_size
        self.mapper = ProtectingBatches(
            image_map,
            options.batch_size,
            lambda: secrets.token_bytes(NOISE_KEY_BYTES),
            ImageStorage("png"),  # boxes as they are before the video is encoded
            options.guard,
        )
        self.operator = image_map.operator or self.mapper.desensitizer or image_map.beside
        self.named = self.operator is not None and self.operator.needs_people
        self.any_changed, self._records = False, dict[int, FrameRecord]()

    def refuse_unlabelled(self, boxes: Boxes | None, what: str) -> None:
        """Refuse people to an operator that needs to know more of them than their boxes say.

        Args:
            boxes: None: those of a live input.
            what: they are, for the message.

        Raises:
            UserError: when the operator changes a part of each image, or depends on who is shown and the
                boxes are not of a file that says so of each: the tracker's numbers begin anew in each video.
        """
        if self.operator is None:
            return
        if self.operator.needs_regions or not (isinstance(boxes, MotBoxes) and boxes.says_who):
            self.operator.refuse_unlabelled(what)

    def __call__(self, frames: list[Frame]) -> list[Frame]:
        """Protect what is in the boxes of a few frames, in place."""
        raw = [frame.pixels for frame in frames]
        shares: list[float] = []  # of the boxes of these frames, in order
        people = iter([person.identity or None for frame in frames for person in frame.people])

        def pictures(regions: Sequence[np.ndarray]) -> list[np.ndarray]:
            who = list(islice(people, len(regions)))  # the regions come in the order of the boxes
            protected = self.mapper(regions, who if self.named else None)
            shares.extend(share for _, share in protected if share is not None)
            return [picture for picture, _ in protected]

        protect_regions(
            frames,
            pictures,
            self.image_map.size,
            self.batch_size,
            conventional=self.image_map.network is None,
        )
        rest = iter(shares)
        for frame, pixels in zip(frames, raw, strict=True):
            kept = list(islice(rest, len(frame.people)))
            shown, left = frame.people, frame.left
            if self.named:
                shown = [person._replace(identity=0) for person in shown]
                left = [each._replace(person=each.person._replace(identity=0)) for each in left]
            self._records[frame.number] = FrameRecord(frame.number, frame.time, shown, left, kept)
            if not np.array_equal(frame.pixels, pixels):
                self.any_changed = True  # never back: meanwhile another thread may have found a change
        return frames

    def take(self) -> list[FrameRecord]:
        """The records of all frames since the last time, in order; they are kept no longer."""
        records, self._records = self._records, {}
        return [records[number] for number in sorted(records)]
