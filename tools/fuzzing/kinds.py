"""Which command reads which file, and what must come of it when the file is damaged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from . import forged_files, forged_graphs, forged_lines, forged_models
from .damage import BINARY, TEXT, Damage
from .forging import Forge
from .inputs import DATASET, PASSPHRASE

EQUAL, NAMES, SOME = "equal", "names", "some"
"""What exit code 0 has to leave: the output of the intact input; files of the same names; any file.

``NAMES`` and ``SOME`` are for files that nothing can tell from another valid one: a picture whose pixels
differ is another picture, and a model that its maker has written anew is another model.
"""


@dataclass(frozen=True)
class Target:
    """A command that reads a file.

    Attributes:
        file: that is damaged, relative to the folder of the case.
        words: the command line.
        needs: other files and folders that it reads.
        outputs: what it writes.
        level: what exit code 0 has to leave.
        then: a command that has to succeed on what was written.
        writes: what it may change besides.
    """

    file: str
    words: tuple[str, ...]
    needs: tuple[str, ...]
    outputs: tuple[str, ...] = ("out",)
    level: str = EQUAL
    then: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kind:
    """Files of one format.

    Attributes:
        targets: commands that read them.
        damages: of bytes.
        forged: what a hostile person makes of the file, by name.
        foreign: what exit code 0 has to leave of a forged or an exchanged file.
        gone: the same where no file is left in its place; empty: what the target says.
        exchanged: files of the inputs that are put in its place; empty: any.
        share: of the cases; kinds that evaluate a model cost more and get fewer.
    """

    targets: tuple[Target, ...]
    damages: tuple[Damage, ...] = BINARY
    forged: Mapping[str, Forge] = field(default_factory=dict)
    foreign: str = EQUAL
    gone: str = ""
    exchanged: tuple[str, ...] = ()
    share: int = 4


def _anonymize(weights: str, *more: str, raw: str = "raw", output: str = "out") -> tuple[str, ...]:
    return ("anonymize", "--weights", weights, "--input", raw, "--output", output, *more)


def _recover(key: str, folder: str, *more: str) -> tuple[str, ...]:
    return ("recover", "--key", key, "--input", folder, "--output", "out", *more)


def _templates(file: str) -> Target:
    """An index of templates, and a query in it; the index is left out of what is compared, for it names its
    folder."""
    folder = file.split("/")[0]
    words = ("retrieve", "build", "--search-key", "search/search.key", "--gallery", folder)
    return Target(
        file,
        (*words, "--index", "out.index"),
        (folder, "search", "model.pth", "query.png"),
        ("out.json",),
        then=_FIND,
        writes=("out.index",),
    )


def _evaluate(config: str, weights: str, *more: str) -> tuple[str, ...]:
    words = ("train_net", "--eval-only", "--config-file", config, "MODEL.WEIGHTS", weights)
    return (*words, "OUTPUT_DIR", "out", *more)


def _query(weights: str, index: str, picture: str, *more: str) -> tuple[str, ...]:
    return ("retrieve", "query", "--weights", weights, "--index", index, picture, "--json", "out.json", *more)


_TENSORS = "release/anonymizer.safetensors"
_RECOVERY = "release/recovery.safetensors"
_OPEN = ("recover", "--identity", "keys/identity.key", "--input", "sealed", "--output", "out")
_OPEN_PIXELS = (*_OPEN[:4], "carried", *_OPEN[5:])
_OPEN_SEGMENTS = (*_OPEN[:4], "in_segments", *_OPEN[5:])
_FIND = _query("model.pth", "out.index", "query.png")
_BLUR = ("anonymize", "--method", "blur", "--output", "out", "--input")
_SEARCHABLE = ("--search", "camera/search.pub", "--reid", "model.pth", "--carry", "pixels")
_SCORE = ("human_study", "score", "--study", "study", "study/answers_1.json", "study/answers_2.json")
_SCORES = ("study/human_study_scores.json", "study/human_study_scores.md")
# of a config whose end is gone, too: thousands of images would be rendered
_SMALL = tuple(word for key, size in DATASET.items() for word in (f"DATASETS.SYNTHETIC.{key}", str(size)))
_BASE = ("PRIVACY.UPGRADE.BASELINE_RANK1", "base/results.json")

KINDS: dict[str, Kind] = {
    "pth": Kind(
        (
            Target("model.pth", _anonymize("model.pth"), ("raw",)),
            Target("model.pth", _recover("model.pth", "protected"), ("protected",)),
            Target("model.pth", ("export", "--weights", "model.pth", "--output", "out", "--unencrypted"), ()),
            Target(
                "model.pth",
                _query("model.pth", "flat.index", "query.png"),
                ("flat.index", "query.png"),
                ("out.json",),
            ),
            Target("model.pth", _evaluate("config.yml", "model.pth"), ("config.yml",)),
        ),
        forged=forged_models.CHECKPOINTS,
        foreign=NAMES,
    ),
    "safetensors": Kind(
        (
            Target(_TENSORS, _anonymize(_TENSORS), ("raw",)),
            Target(_RECOVERY, _recover(_RECOVERY, "protected"), ("protected",)),
        ),
        forged=forged_models.TENSORS,
        foreign=NAMES,
    ),
    "onnx": Kind(
        (
            Target("anonymizer.onnx", _anonymize("anonymizer.onnx"), ("raw",)),
            Target("recovery.onnx", _recover("recovery.onnx", "by_graph"), ("by_graph",)),
        ),
        forged=forged_graphs.GRAPHS,
        foreign=NAMES,
    ),
    "encrypted key": Kind(
        (
            Target(
                "locked/recovery.key",
                _recover("locked/recovery.key", "protected", "--passphrase-env", PASSPHRASE),
                ("protected",),
            ),
        ),
        forged=forged_lines.LOCKED,
    ),
    "identity": Kind(
        (
            Target(
                "camera/identity.pub",
                _anonymize(_TENSORS, "--seal", "camera/identity.pub", output="sealed"),
                ("raw", "release", "keys"),
                ("sealed", "out"),
                then=_OPEN,
            ),
            Target("keys/identity.key", _OPEN, ("sealed",)),
        ),
        TEXT,
        forged=forged_lines.IDENTITIES,
    ),
    "sealed file": Kind(
        (
            Target("sealed/one.png.sealed", _OPEN, ("sealed", "keys")),
            Target("sealed/folder/two.png.sealed", _OPEN, ("sealed", "keys")),
        ),
        forged=forged_lines.SEALED,
        exchanged=("sealed/three.png.sealed", "sealed_to_another/one.png.sealed", "raw/one.png"),
    ),
    "carried": Kind(
        (
            Target("carried/one.png", _OPEN_PIXELS, ("carried", "keys")),
            Target("carried/folder/two.png", _OPEN_PIXELS, ("carried", "keys")),
            Target("carried/manifest.jsonl", _OPEN_PIXELS, ("carried", "keys")),
            Target("in_segments/one.jpg", _OPEN_SEGMENTS, ("in_segments", "keys")),
        ),
        forged=forged_files.PICTURES,
        exchanged=("carried/three.png", "carried_to_another/one.png", "raw/one.png"),
    ),
    "template": Kind(
        tuple(
            map(
                _templates,
                (
                    "searchable/one.png",
                    "searchable/folder/two.png",
                    "searchable_in_segments/one.jpg",
                    "searchable_beside/one.png",
                    "searchable_beside/one.png.template",
                ),
            )
        ),
        forged={**forged_files.PICTURES, **forged_lines.TEMPLATES},
        gone=SOME,  # an index has what is in the folder
        exchanged=("searchable_by_another/one.png", "carried/one.png", "raw/one.png"),
    ),
    "search key": Kind(
        (
            replace(_templates("searchable/one.png"), file="search/search.key"),
            Target(
                "camera/search.pub",
                (*_BLUR, "raw", *_SEARCHABLE),
                ("raw", "model.pth"),
                level=NAMES,
            ),
        ),
        TEXT,
        forged=forged_lines.IDENTITIES,
        exchanged=("keys/identity.key", "keys/identity.pub", "search_of_another/search.key"),
    ),
    "manifest": Kind(
        (
            Target("protected/manifest.jsonl", _recover(_RECOVERY, "protected"), ("protected", "release")),
            Target("sealed/manifest.jsonl", _OPEN, ("sealed", "keys")),
            Target(
                "protected/manifest.jsonl",
                _anonymize(_TENSORS, "--batch-size", "1", output="protected"),
                ("protected", "raw", "release"),
                ("protected",),
            ),
        ),
        TEXT,
        forged=forged_lines.MANIFESTS,
        exchanged=("sealed/manifest.jsonl", "blurred/manifest.jsonl", "by_graph/manifest.jsonl"),
    ),
    "journal": Kind(
        (
            Target(
                "killed/.manifest.journal",
                _anonymize(_TENSORS, "--batch-size", "1", output="killed"),
                ("killed", "raw", "release"),
                ("killed",),
            ),
        ),
        TEXT,
        forged=forged_lines.MANIFESTS,
        exchanged=("sealed/manifest.jsonl", "blurred/manifest.jsonl", "protected/manifest.jsonl"),
    ),
    "index": Kind(
        tuple(
            Target(
                f"{kind}.index",
                _query("model.pth", f"{kind}.index", "query.png", "--gallery", "gallery_of_two"),
                ("model.pth", "query.png", "gallery_of_two"),
                ("out.json",),
            )
            for kind in ("flat", "hnsw", "ivfpq")
        ),
        forged=forged_lines.INDEXES,
        foreign=NAMES,
    ),
    "pictures": Kind(
        (
            *(
                Target(f"pictures/{ending}/picture.{ending}", (*_BLUR, f"pictures/{ending}"), (), level=NAMES)
                for ending in ("png", "jpg", "tif", "webp", "bmp", "gif")
            ),
            Target("protected/one.png", _recover(_RECOVERY, "protected"), ("protected", "release")),
            Target(
                "query.png",
                _query("model.pth", "flat.index", "query.png"),
                ("model.pth", "flat.index"),
                ("out.json",),
                NAMES,
            ),
        ),
        forged=forged_files.PICTURES,
        foreign=NAMES,
    ),
    "results.json": Kind(
        (
            Target(
                "run/results.json", ("report", "run"), ("run",), ("run/report.html",), NAMES, writes=("run",)
            ),
            Target(
                "base/results.json",
                _evaluate("config.yml", "model.pth", *_BASE),
                ("base", "model.pth", "config.yml"),
                level=NAMES,
            ),
        ),
        TEXT,
        share=1,
        forged=forged_lines.RESULTS,
        foreign=NAMES,
    ),
    "query_ranks.npz": Kind(
        (
            Target(
                "base/query_ranks.npz",
                _evaluate("config.yml", "model.pth", *_BASE),
                ("base", "model.pth", "config.yml"),
            ),
            Target(
                "run/figures/samples.npz",
                ("report", "run"),
                ("run",),
                ("run/report.html",),
                NAMES,
                writes=("run",),
            ),
            Target(
                "run/figures/rank_lists.npz",
                ("report", "run"),
                ("run",),
                ("run/report.html",),
                NAMES,
                writes=("run",),
            ),
        ),
        share=1,
        forged=forged_files.ARRAYS,
        foreign=NAMES,
    ),
    "answers": Kind(
        (
            Target("study/key.json", _SCORE, ("study",), _SCORES, NAMES),
            Target("study/answers_1.json", _SCORE, ("study",), _SCORES, NAMES),
        ),
        TEXT,
        forged=forged_lines.STUDIES,
        foreign=NAMES,
    ),
    "boxes": Kind(
        (
            Target(
                "boxes.txt",
                _anonymize(_TENSORS, "--boxes", "boxes.txt", raw="video.mkv"),
                ("video.mkv", "release"),
                level=NAMES,
            ),
        ),
        TEXT,
        forged=forged_files.BOXES,
        foreign=NAMES,
    ),
    "config": Kind(
        (Target("config.yml", _evaluate("config.yml", "model.pth", *_SMALL), ("model.pth",), level=SOME),),
        TEXT,
        share=1,
        forged=forged_files.CONFIGS,
        foreign=SOME,
    ),
}
"""By name; command-line options are a kind of their own, in ``options``."""
