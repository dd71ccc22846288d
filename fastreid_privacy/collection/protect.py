"""Raw images to protected files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ..checkpoints.image_maps import ImageMap
from ..core.errors import UserError
from ..core.privacy import word_of
from ..core.projects import about_projects
from ..core.remote import Place
from ..core.version import __version__
from ..desensitize.noise_stream import STREAM
from ..desensitize.regions import REGIONS
from ..manifest import GUARD, OPERATOR, Manifest
from ..model.storage import ImageStorage
from .carrying import BESIDE
from .output import NOISE_KEY
from .protected_files import LABELS, ProtectedFiles, ProtectionOptions
from .protecting import ProtectingBatches
from .review import Review
from .run import run
from .shards import engine_here
from .source import Source, check_apart, targets
from .stamps import stamper
from .work import Engine, Job, Left, Results, Work


class Protection(NamedTuple):
    """What a run has done.

    Attributes:
        manifest: what manifest.jsonl holds, by paths in the output.
        failed: reasons for what could not be protected, by paths of the raw images.
        unmade: paths of the review whose raw images are not in the collection.
    """

    manifest: Manifest
    failed: dict[str, str]
    unmade: Sequence[str] = ()


def protect_collection(
    source: Source,
    output: str | Place,
    image_map: ImageMap,
    storage: ImageStorage,
    options: ProtectionOptions,
    engine: Engine | None = None,
    review: Review | None = None,
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
        engine: what does the work; None: threads of this process.
        review: what a person said of these images; those of a no are withheld. None: nobody looked.

    Raises:
        UserError: when two images would share a name, the output folder is no place for them, the disk is
            full, or the review is of others.
    """
    output = Path(output) if isinstance(output, str) else output
    check_apart(source.root, output)
    names = targets(source.paths, storage.extension, options.pseudonym_key)
    known = {path: {LABELS: source.labels[path]} if source.labels else {} for path in names}
    jobs = sorted(
        (Job(path, source.place(path), target, known[path]) for path, target in names.items()),
        key=lambda job: job.path,
    )

    def account(entries: Sequence[dict]) -> Mapping[str, object]:
        name_of = {target: path for path, target in names.items()}
        return accounted(image_map, [_person(source, name_of[entry["path"]]) for entry in entries])

    # the key of the pseudonyms, with which names and stamps are made, stays here
    made = ProtectedFiles(output, image_map, storage, replace(options, pseudonym_key=None))
    if source.listed and made.mapper.finder:
        raise UserError(
            f"--input {source.root} has its images in a store or in tar files, and what tells their regions "
            "reads files of this machine: copy the images, or take another operator"
        )
    work = replace(
        made.work(),
        header={**protection_header(made.mapper, options, storage.name), **source.dataset},
        stamp=stamper(options.pseudonym_key),
        account=account,
    )
    given = engine or engine_here(output, options.workers, in_tars=options.tar_images > 0)

    def with_one_key(left: Left, work: Work) -> Iterator[Results]:
        if left.batches and made.mapper.noise_key:
            made.mapper.noise_key()  # before several processes look for it, and each makes one
        return given(left, work)

    done = run(
        jobs,
        output,
        work,
        batch_size=1
        if image_map.size is None
        else options.batch_size,  # each in its own size, large ones too
        engine=with_one_key,
        describe="protecting",
        tar_images=options.tar_images,
        rulings=review.rulings(work.header, list(names.values())) if review else None,
    )
    (output / NOISE_KEY).unlink(missing_ok=True)
    failed = {job.name: done.failed[job.path] for job in jobs if job.path in done.failed}
    unmade = sorted(set(review.latest) - {job.path for job in jobs}) if review else []
    return Protection(done, failed, unmade)


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
