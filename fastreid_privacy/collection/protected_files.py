"""How one raw file becomes a protected one, in this process or in another that is told the same."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from functools import cached_property
from operator import eq
from pathlib import Path

from ..checkpoints.image_maps import ImageMap
from ..core.errors import UserError
from ..core.files import check_length, read_regular, write_whole
from ..core.pictures import LARGEST_FILE, read_picture, resize
from ..core.remote import Place
from ..desensitize.regions import REGION, at_size
from ..keys.envelope import Original
from ..keys.sealing import Sealer
from ..manifest import KEPT, SEALED, TEMPLATE
from ..model.storage import ImageStorage
from .carrying import BESIDE, same_but_for_the_carried, with_carried
from .describing import Describer
from .floor import check_changed
from .guard import Guard
from .output import NOISE_KEY
from .protecting import Protected, ProtectingBatches
from .source import person_of
from .work import Job, Loaded, Made, Work

NOISE_KEY_BYTES = 32
LABELS = "labels"  # of a file's line: those of its data set


@dataclass(frozen=True)
class ProtectionOptions:
    """How images are protected, those of a collection as those of a video.

    Attributes:
        method: name of the anonymizer in the manifest.
        batch_size: images, or boxes of a video, at a time.
        workers: threads, each of which has a batch, or a few frames; None: as many as there are cores.
        pseudonym_key: rename files by a keyed hash of their path.
        seal: to the owners' keys; each raw file is stored sealed.
        search: makes templates of raw pictures, which are stored sealed to search keys.
        carry: where what is sealed goes, one of :data:`fastreid_privacy.collection.carrying.WAYS`.
        fit: encode an original anew that does not fit there; else it is written beside.
        renew: protect raw files that were replaced since anew, and replace what was written of them.
        guard: holds each image of a trained anonymizer to the thresholds, and counts what that did; None: its
            images are stored as they are. Conventional operators have none.
        tar_images: of each tar file at least, in which the files are to lie; 0: they lie alone.
    """

    method: str = "learned"
    batch_size: int = 32
    workers: int | None = None
    pseudonym_key: bytes | None = None
    seal: Sealer | None = None
    search: Describer | None = None
    carry: str = BESIDE
    fit: bool = False
    renew: bool = False
    guard: Guard | None = None
    tar_images: int = 0


@dataclass(frozen=True)
class ProtectedFiles:
    """How protected files are made; other processes get it, and make files of the same bytes.

    Attributes:
        output: folder.
        image_map: the anonymizer.
        storage: the format of the files.
        options: how.
    """

    output: Place
    image_map: ImageMap
    storage: ImageStorage
    options: ProtectionOptions

    @cached_property
    def mapper(self) -> ProtectingBatches:
        """The anonymizer over batches."""
        options = self.options
        return ProtectingBatches(
            self.image_map, options.batch_size, lambda: noise_key(self.output), self.storage, options.guard
        )

    def work(self) -> Work[Protected]:
        """What is done with each file; its header and whatever is for the whole run are not in it."""
        options = self.options
        return Work(
            {},
            self.load,
            self.mapper,
            self.finish,
            options.search,
            repeatable=not self.mapper.is_random,
            sealed=options.seal is not None or options.search is not None,
            renew=options.renew,
            same=eq if options.carry == BESIDE else same_but_for_the_carried,
            again=self.again,
            guard=options.guard,
        )

    def again(self, device: str) -> Work[Protected]:
        """As :meth:`work`, with the network on a device."""
        self.image_map.to(device)
        return self.work()

    def load(self, job: Job) -> Loaded:
        """Read and scale a raw picture, and find out what else the anonymizer asks for."""
        seal, search, size = self.options.seal, self.options.search, self.image_map.size
        check_length(job.path, TEMPLATE if search else SEALED if seal else "")
        content = read_regular(job.source, LARGEST_FILE)
        pixels = read_picture(content)
        about: dict = {"width": pixels.shape[1], "height": pixels.shape[0], **job.known}
        finder = self.mapper.finder
        region = None
        if finder:
            assert isinstance(job.source, Path)  # images of stores are refused before
            region = finder(job.source, job.name, pixels.shape[:2])
            about[REGION] = region.source
        seen = search.prepare(pixels) if search else None
        pixels = resize(pixels, size) if size else pixels
        person = person_of(job.name, job.known.get(LABELS)) if self.mapper.needs_people else None
        mask = at_size(region.mask, pixels.shape[:2]) if region else None
        return Loaded(pixels, about, content if seal else b"", person, mask, seen)

    def finish(self, job: Job, loaded: Loaded, protected: Protected) -> Made:
        """Encode a protected picture, with what is sealed."""
        options, mapped = self.options, protected.picture
        if protected.kept is not None:
            loaded.about[KEPT] = protected.kept
        conventional = self.image_map.network is None
        check_changed(loaded.pixels, mapped, conventional=conventional, region=loaded.region)
        original = Original(job.name, loaded.content) if options.seal else None
        carried = with_carried(
            mapped,
            original,
            loaded.template,
            self.storage,
            options.seal,
            way=options.carry,
            fit=options.fit,
        )
        loaded.about.update(carried.about)
        return Made(carried.content, carried.beside)

    def __getstate__(self) -> dict:
        """Without the batches, which another process makes for itself."""
        return {name: value for name, value in vars(self).items() if name != "mapper"}


def noise_key(output: Place) -> bytes:
    """A new one, or that of the killed run that this one continues."""
    path = output / NOISE_KEY
    if not path.is_file():
        write_whole(path, secrets.token_bytes(NOISE_KEY_BYTES), private=True)
    key = path.read_bytes()
    if len(key) != NOISE_KEY_BYTES:
        raise UserError(
            f"{path} is damaged: it is no key of {NOISE_KEY_BYTES} bytes; choose another --output"
        )
    return key
