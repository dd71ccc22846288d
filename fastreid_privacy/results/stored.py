"""The arrays that an evaluation stores beside results.json: sample images, rank lists, features, query ranks.

Those for the report are checked when they are written and when they are read.
"""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.domains import DOMAINS
from ..core.errors import UserError, typed
from ..core.files import read_regular, write_atomically

MATCHES = ".matches"  # a pair's key with this end holds which images of its rank lists are true matches

LARGEST = 2**30  # bytes of such a file, and of an array in it
RANKS_FIX = "evaluate again to rewrite it, or move it away: nothing is compared query by query then"

Arrays = dict[str, np.ndarray]


def ranks_path(results: Path) -> Path:
    """The file of query ranks beside a results.json."""
    return results.with_name(results.stem.replace("results", "query_ranks") + ".npz")


def save_query_ranks(places: Mapping[str, np.ndarray], results: Path) -> None:
    """Write the place of each query's first true match, by pair of domains, beside results.json."""
    _write(places, ranks_path(results))


def load_query_ranks(results: Path) -> Arrays:
    """What ``save_query_ranks`` wrote beside a results.json; {} where it wrote none.

    Raises:
        UserError: when the file is damaged or holds anything but places.
    """
    path = ranks_path(results)
    if not os.path.lexists(path):
        return {}
    try:
        places = _read_arrays(read_regular(path, LARGEST))
    except Exception as error:  # zip, zlib and numpy each raise their own types
        reason = error if isinstance(error, UserError) else typed(error)
        raise UserError(f"{path} is damaged ({reason}); {RANKS_FIX}") from None
    for pair, found in places.items():
        if found.dtype.kind not in "iu" or found.ndim != 1:
            raise UserError(
                f"{path} holds no places of queries for {pair} ({found.dtype} {found.shape}); {RANKS_FIX}"
            )
    return places


def _read_arrays(content: bytes) -> Arrays:
    """The arrays of an ``.npz`` file, each of which must hold as much as its header announces."""
    arrays: Arrays = {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for member in archive.infolist():
            if member.file_size > LARGEST:
                raise ValueError(f"{member.filename} has {member.file_size:,} bytes")
            data = io.BytesIO(archive.read(member))
            version = np.lib.format.read_magic(data)
            if version != (1, 0):
                raise ValueError(f"{member.filename} is of version {version} of numpy's format")
            shape, _, dtype = np.lib.format.read_array_header_1_0(data)
            if math.prod(shape) * dtype.itemsize != len(data.getbuffer()) - data.tell():
                raise ValueError(f"{member.filename} announces another size than it has")
            data.seek(0)
            arrays[member.filename.removesuffix(".npy")] = np.load(data, allow_pickle=False)
    return arrays


def checked_images(images: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Sample images, checked; in the order of ``DOMAINS``.

    Args:
        images: domain (OI, DI, PI, RI; any of them) → RGB uint8 N×H×W×3, 0–255; the same N people in every
            domain, equal sizes.
    """
    if unknown := set(images) - set(DOMAINS):
        raise ValueError(f"sample images of unknown domains {sorted(unknown)}; known: {', '.join(DOMAINS)}")
    images = {domain: np.asarray(images[domain]) for domain in DOMAINS if domain in images}
    shapes = {domain: batch.shape for domain, batch in images.items()}
    if not images or any(
        batch.dtype != np.uint8 or batch.ndim != 4 or batch.shape[3] != 3 or not batch.size
        for batch in images.values()
    ):
        raise ValueError(f"sample images must be uint8 N×H×W×3 with N ≥ 1; got {shapes or 'none'}")
    if len(set(shapes.values())) > 1:
        raise ValueError(f"sample images of the domains differ in shape: {shapes}")
    return images


def checked_rank_lists(lists: Mapping[str, np.ndarray]) -> Arrays:
    """The pictures of a few rankings, checked; each pair before its matches.

    Args:
        lists: for each pair of domains, such as "OI-PI": RGB uint8 n×(1+k)×H×W×3, 0–255, n queries, each
            before its k best gallery images; and "OI-PI.matches": int8 n×k, 1 for a true match, 0 for another
            person, −1 where the gallery has no further image.
    """
    pairs = [key for key in lists if not key.endswith(MATCHES)]
    if set(lists) != {key for pair in pairs for key in (pair, pair + MATCHES)}:
        raise ValueError(
            f"rank lists must be pairs with their matches, as OI-PI and OI-PI{MATCHES}; got "
            f"{', '.join(lists) or 'none'}"
        )
    checked = {}
    for pair in pairs:
        images, matches = np.asarray(lists[pair]), np.asarray(lists[pair + MATCHES])
        if len(pair.split("-")) != 2 or not set(pair.split("-")) <= set(DOMAINS):
            raise ValueError(
                f"rank lists of the unknown pair {pair!r}; a pair is query-gallery of the domains "
                f"{', '.join(DOMAINS)}"
            )
        if (
            images.dtype != np.uint8
            or images.ndim != 5
            or images.shape[4] != 3
            or images.shape[1] < 2
            or not images.size
        ):
            raise ValueError(
                f"rank lists of {pair} must be uint8 n×(1+k)×H×W×3 with n, k ≥ 1; got {images.dtype} "
                f"{images.shape}"
            )
        if (
            matches.dtype != np.int8
            or matches.shape != (len(images), images.shape[1] - 1)
            or not np.isin(matches, (-1, 0, 1)).all()
        ):
            raise ValueError(
                f"matches of {pair} must be int8 n×k of −1, 0, 1 for {images.shape}; got {matches.dtype} "
                f"{matches.shape}"
            )
        checked[pair], checked[pair + MATCHES] = images, matches
    return checked


def checked_embedding(embedding: Mapping[str, np.ndarray]) -> Arrays:
    """Re-ID features of a few people, checked; "pids" first.

    Args:
        embedding: "pids": n identities, whole numbers; domain (OI, DI, PI, RI; any of them) → n×D features of
            the same n images, finite floats (float16 is enough for a picture).
    """
    domains = [domain for domain in DOMAINS if domain in embedding]
    if set(embedding) != {"pids", *domains} or not domains:
        raise ValueError(
            f"features must be 'pids' and domains of {', '.join(DOMAINS)}; got "
            f"{', '.join(embedding) or 'none'}"
        )
    pids = np.asarray(embedding["pids"])
    if pids.dtype.kind not in "iu" or pids.ndim != 1:
        raise ValueError(f"pids of the features must be n whole numbers; got {pids.dtype} {pids.shape}")
    checked = {"pids": pids}
    for domain in domains:
        features = np.asarray(embedding[domain])
        if (
            features.dtype.kind != "f"
            or features.ndim != 2
            or len(features) != len(pids)
            or not features.shape[1]
        ):
            raise ValueError(
                f"features of {domain} must be floats n×D with n = {len(pids)}; got {features.dtype} "
                f"{features.shape}"
            )
        if not np.isfinite(features).all():
            raise ValueError(f"features of {domain} are not all finite")
        checked[domain] = features
    return checked


def _write(arrays: Mapping[str, np.ndarray], path: Path) -> None:
    # by keyword: numpy's types take every keyword for its option allow_pickle
    write_atomically(path, lambda file: np.savez_compressed(file, **arrays))  # type: ignore[arg-type]


@dataclass(frozen=True)
class ForReport:
    """Arrays that an evaluation stores for the report in ``OUTPUT_DIR/figures``.

    Attributes:
        kind: the name of their file.
        check: gives them checked; raises ValueError for others.
    """

    kind: str
    check: Callable[[Mapping[str, np.ndarray]], Arrays]

    def path(self, output_dir: str | Path, name: str = "") -> Path:
        """Their file; ``<kind>_<name>.npz`` of a test set where there are several."""
        return Path(output_dir, "figures", f"{self.kind}_{name}.npz" if name else f"{self.kind}.npz")

    def save(self, arrays: Mapping[str, np.ndarray], output_dir: str | Path, name: str = "") -> Path:
        """Store them.

        Args:
            arrays: as ``check`` describes them.
            output_dir: folder of results.json.
            name: of the test set where there are several.

        Raises:
            ValueError: for other names, types or shapes.
        """
        path, checked = self.path(output_dir, name), self.check(arrays)
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(checked, path)
        return path

    def load(self, output_dir: str | Path, name: str = "") -> Arrays | None:
        """What :meth:`save` stored; None where there is no file, or it is damaged."""
        try:
            return self.check(_read_arrays(read_regular(self.path(output_dir, name), LARGEST)))
        except Exception:  # missing, torn or foreign: zip, zlib and numpy each raise their own types
            return None  # the report says what it lacks


SAMPLES = ForReport("samples", checked_images)
RANK_LISTS = ForReport("rank_lists", checked_rank_lists)
EMBEDDING = ForReport("embedding", checked_embedding)
