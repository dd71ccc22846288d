"""Raw images to protected files."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import eq
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..checkpoints.image_maps import ImageMap
from ..core.errors import UserError
from ..core.files import check_length, read_regular, write_private
from ..core.pictures import LARGEST_FILE, read_picture, resize
from ..core.privacy import word_of
from ..core.projects import about_projects
from ..core.version import __version__
from ..desensitize.noise_stream import STREAM
from ..desensitize.regions import REGION, REGIONS, at_size
from ..keys.envelope import Original
from ..manifest import GUARD, KEPT, OPERATOR, SEALED, TEMPLATE, Manifest
from ..model.storage import ImageStorage
from .carrying import BESIDE, same_but_for_the_carried, with_carried, write_beside
from .describing import Describer
from .floor import check_changed
from .guard import Guard
from .protecting import Protected, ProtectingBatches
from .run import Job, Loaded, Work, run
from .source import Source, check_apart, targets
from .stamps import stamper

if TYPE_CHECKING:  # of an extra that only sealing needs
    from ..keys.sealing import Sealer

NOISE_KEY = ".noise.key"  # in the output folder while a run with noise is unfinished
NOISE_KEY_BYTES = 32


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


class Protection(NamedTuple):
    """What a run has done.

    Attributes:
        manifest: what manifest.jsonl holds, by paths in the output.
        failed: reasons for what could not be protected, by paths of the raw images.
    """

    manifest: Manifest
    failed: dict[str, str]


def protect_collection(
    source: Source, output: str | Path, image_map: ImageMap, storage: ImageStorage, options: ProtectionOptions
) -> Protection:
    """Protect every image of a collection; what was done before is kept, a killed run is continued.

    Learned protection gives files of the network's size, the raw size is in the manifest; a conventional
    operator without a size of its own keeps each image's. Files carry pixels only, nothing of the raw files'
    metadata. Each raw file is read once: what is sealed is what was protected.

    Args:
        source: the images.
        output: folder for the protected files and ``manifest.jsonl``.
        image_map: the anonymizer.
        storage: the format of the files.
        options: how.

    Raises:
        UserError: when two images would share a name, the output folder is no place for them, or the disk is
            full.
    """
    output, seal, search = Path(output), options.seal, options.search
    conventional = image_map.network is None
    check_apart(source.root, output)
    names = targets(source.paths, storage.extension, options.pseudonym_key)
    jobs = sorted(
        (Job(path, source.root / path, target) for path, target in names.items()), key=lambda job: job.path
    )

    def load(job: Job) -> Loaded:
        check_length(job.path, TEMPLATE if search else SEALED if seal else "")
        content = read_regular(job.source, LARGEST_FILE)
        pixels = read_picture(content)
        about: dict = {"width": pixels.shape[1], "height": pixels.shape[0]}
        if source.labels:
            about["labels"] = source.labels[job.name]
        region = mapper.finder(job.source, job.name, pixels.shape[:2]) if mapper.finder else None
        if region:
            about[REGION] = region.source
        seen = search.prepare(pixels) if search else None
        pixels = resize(pixels, image_map.size) if image_map.size else pixels
        person = source.person(job.name) if mapper.needs_people else None
        mask = at_size(region.mask, pixels.shape[:2]) if region else None
        return Loaded(pixels, about, content if seal else b"", person, mask, seen)

    def finish(job: Job, loaded: Loaded, protected: Protected) -> bytes:
        mapped = protected.picture
        if protected.kept is not None:
            loaded.about[KEPT] = protected.kept
        check_changed(loaded.pixels, mapped, conventional=conventional, region=loaded.region)
        original = Original(job.name, loaded.content) if seal else None
        carried = with_carried(
            mapped, original, loaded.template, storage, seal, way=options.carry, fit=options.fit
        )
        loaded.about.update(carried.about)
        for word, closed in carried.beside.items():
            loaded.about.update(write_beside(output, job.path, word, closed))
        return carried.content

    def account(entries: Sequence[dict]) -> Mapping[str, object]:
        name_of = {target: path for path, target in names.items()}
        return accounted(image_map, [_person(source, name_of[entry["path"]]) for entry in entries])

    mapper = ProtectingBatches(
        image_map, options.batch_size, lambda: _noise_key(output), storage, options.guard
    )
    header = {**protection_header(mapper, options, storage.name), **source.dataset}
    work = Work(
        header,
        load,
        mapper,
        finish,
        search,
        stamp=stamper(options.pseudonym_key),
        repeatable="noise" not in header and seal is None and search is None,
        renew=options.renew,
        account=account,
        same=eq if options.carry == BESIDE else same_but_for_the_carried,
    )
    done = run(
        jobs,
        output,
        work,
        batch_size=1
        if image_map.size is None
        else options.batch_size,  # each in its own size, large ones too
        workers=options.workers,
        describe="protecting",
    )
    (output / NOISE_KEY).unlink(missing_ok=True)
    return Protection(done, {job.name: done.failed[job.path] for job in jobs if job.path in done.failed})


def accounted(image_map: ImageMap, people: Sequence[int | None]) -> Mapping[str, object]:
    """What the operator of a map accounts for over all images that it made; {} where there is nothing.

    Args:
        image_map: the anonymizer.
        people: who is shown in each; None: not known.
    """
    description = image_map.operator.description if image_map.operator is not None else None
    return description.account(people) if description is not None and description.account else {}


def _person(source: Source, path: str) -> int | None:
    """Who is shown, or None: junk and distractors, below 1 in Market-1501's naming, may be anybody."""
    try:
        person = source.person(path)
    except UserError:
        return None
    return person if person > 0 else None


def protection_header(mapper: ProtectingBatches, options: ProtectionOptions, storage: str) -> dict:
    """What protected files of every kind depend on, for the first line of their manifest.

    Args:
        mapper: the anonymizer, over batches.
        options: how.
        storage: "png", "jpegNN", or a video's codec and quality.
    """
    image_map, search = mapper.image_map, options.search
    operator = image_map.operator or image_map.beside
    header: dict = {
        "version": __version__,
        "method": options.method,
        "anonymizer": image_map.fingerprint,
        "trained_on": list(image_map.trained_on),
        "network_size": list(image_map.size) if image_map.size else None,
        "storage": storage,
        "batch_size": options.batch_size,
        "runtime": image_map.runtime,
        "precision": image_map.precision,
        "pseudonyms": options.pseudonym_key is not None,
        "sealed": options.seal is not None,
        **({"recipient": options.seal.recipient} if options.seal else {}),
        **({"search": search.seal.recipient, "reid": search.model} if search else {}),
        **({"projects": projects} if (projects := about_projects()) else {}),
        **({"carry": options.carry} if options.carry != BESIDE else {}),
        **({"carry_fit": "best"} if options.fit else {}),
    }
    if mapper.finder is not None:
        header[REGIONS] = dict(mapper.finder.about)
    if operator is not None and (about := operator.about) is not None:
        header[OPERATOR] = about
    if image_map.private is False:
        header |= word_of(image_map.private)
    if options.guard is not None:
        header[GUARD] = {"psnr": mapper.thresholds.psnr, "ssim": mapper.thresholds.ssim}
    if mapper.is_random:
        header["noise"] = STREAM  # what an older version began has other noise, and is not continued
    return header


def _noise_key(output: Path) -> bytes:
    """A new one, or that of the killed run that this one continues."""
    path = output / NOISE_KEY
    if not path.is_file():
        write_private(path, secrets.token_bytes(NOISE_KEY_BYTES))
    key = path.read_bytes()
    if len(key) != NOISE_KEY_BYTES:
        raise UserError(
            f"{path} is damaged: it is no key of {NOISE_KEY_BYTES} bytes; choose another --output"
        )
    return key
