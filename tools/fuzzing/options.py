"""Command lines with absurd options."""

from __future__ import annotations

import random

from .kinds import SOME, Target

NUMBERS = ("-1", "0", "1", "0.5", "2147483648", "1000000000", "9" * 40, "1e308", "nan", "inf", "", "x")
# nothing that a fault could write over: no device and no folder above
WRITTEN = ("", ".", "raw", "a\0b", "x" * 300, "\udcff", "raw/one.png", "missing/folder", "new/")
READ = (*WRITTEN, "/", "..", "/dev/null", "/dev/zero", "/dev/urandom", "/dev/full", "/proc/self/mem")
DEVICES = ("meta", "mps", "xpu", "cuda", "cuda:99", "cpu:7", "", "x", "auto", "hpu", "vulkan", "cuda:-1")
WORDS = ("", "x", "é", "\udcff", "a\0b", "[" * 5000, "--", "-", "{}", "png", "torch", "9" * 40)

PROTECT = ("anonymize", "--weights", "release/anonymizer.safetensors", "--input", "raw", "--output", "out")
BLUR = ("anonymize", "--method", "blur", "--input", "raw", "--output", "out")
VIDEO = ("anonymize", "--method", "blur", "--input", "video.mkv", "--output", "out", "--boxes", "boxes.txt")
RECOVER = ("recover", "--key", "release/recovery.safetensors", "--input", "protected", "--output", "out")
BUILD = ("retrieve", "build", "--weights", "model.pth", "--gallery", "raw", "--index", "out.index")
QUERY = (
    "retrieve",
    "query",
    "--weights",
    "model.pth",
    "--index",
    "hnsw.index",
    "query.png",
    "--json",
    "out.json",
)
QUERY_IVF = (*QUERY[:5], "ivfpq.index", *QUERY[6:])
EVALUATE = (
    "train_net",
    "--eval-only",
    "--config-file",
    "config.yml",
    "MODEL.WEIGHTS",
    "model.pth",
    "OUTPUT_DIR",
    "out",
)
EXPORT = ("export", "--weights", "model.pth", "--output", "out", "--unencrypted")
SCORE = ("human_study", "score", "--study", "study", "study/answers_1.json", "study/answers_2.json")

COMMANDS: tuple[tuple[tuple[str, ...], dict[str, tuple[str, ...]], tuple[str, ...]], ...] = (
    (
        PROTECT,
        {
            **dict.fromkeys(("--batch-size", "--workers", "--quality", "--crf", "--min-score"), NUMBERS),
            **dict.fromkeys(("--weights", "--seal", "--pseudonymize", "--boxes"), READ),
            "--input": (*READ[:9], "/dev/zero"),
            "--output": WRITTEN,
            **dict.fromkeys(("--method", "--format", "--runtime", "--precision"), WORDS),
            **dict.fromkeys(("--carry", "--carry-fit"), (*WORDS, "pixels", "best")),
            "--device": DEVICES,
        },
        ("out", "raw"),
    ),
    (
        BLUR,
        {
            **dict.fromkeys(("PRIVACY.DESENSITIZER.BLUR_SIGMA", "PRIVACY.DESENSITIZER.PIXEL_BLOCK"), NUMBERS),
            **dict.fromkeys(("PRIVACY.DESENSITIZER.NAME", "SEED", "--", "é"), WORDS),
            **dict.fromkeys(("--batch-size", "--workers"), NUMBERS),
        },
        ("out", "raw"),
    ),
    (
        VIDEO,
        {
            **dict.fromkeys(("--batch-size", "--workers", "--crf", "--min-score"), NUMBERS),
            **dict.fromkeys(("--boxes", "--detector"), READ),
            **dict.fromkeys(("--format", "--box-units", "--detector-model"), WORDS),
        },
        ("out", "raw"),
    ),
    (
        RECOVER,
        {
            **dict.fromkeys(("--batch-size", "--workers", "--passphrase-fd"), NUMBERS),
            **dict.fromkeys(("--input", "--key", "--identity", "--pseudonymize"), READ),
            **dict.fromkeys(("--output", "--verify"), WRITTEN),
            **dict.fromkeys(("--runtime", "--precision", "--passphrase-env"), WORDS),
            "--device": DEVICES,
        },
        ("out", "raw"),
    ),
    (
        BUILD,
        {
            "--batch-size": NUMBERS,
            **dict.fromkeys(("--gallery", "--index"), WRITTEN),
            "--weights": READ,
            **dict.fromkeys(("--kind", "--metric"), (*WORDS, "flat", "hnsw", "ivfpq", "euclidean")),
            "--device": DEVICES,
        },
        ("out.index",),
    ),
    (
        QUERY,
        {
            **dict.fromkeys(("--top", "--ef", "--nprobe"), NUMBERS),
            **dict.fromkeys(("--gallery", "--output", "--json"), WRITTEN),
            **dict.fromkeys(("--weights", "--index"), READ),
            "--device": DEVICES,
        },
        ("out.json",),
    ),
    (QUERY_IVF, dict.fromkeys(("--top", "--ef", "--nprobe"), NUMBERS), ("out.json",)),
    (
        EVALUATE,
        {
            **dict.fromkeys(("TEST.IMS_PER_BATCH", "SEED", "TEST.AQE.QE_K", "TEST.RERANK.K1"), NUMBERS),
            **dict.fromkeys(("--num-gpus", "DATALOADER.NUM_WORKERS", "--num-machines"), NUMBERS),
            **dict.fromkeys(("MODEL.WEIGHTS", "--config-file"), READ),
            "OUTPUT_DIR": WRITTEN,
            **dict.fromkeys(("TEST.METRIC", "DATASETS.TESTS", "INPUT.SIZE_TEST"), WORDS),
            "MODEL.DEVICE": DEVICES,
        },
        ("out",),
    ),
    (
        EXPORT,
        {
            "--weights": READ,
            "--output": WRITTEN,
            "--passphrase-env": WORDS,
            "--passphrase-fd": NUMBERS,
        },
        ("out",),
    ),
    (SCORE, {"--study": READ, "--output": WRITTEN}, ("study",)),
)
WHERE = ("--output", "OUTPUT_DIR", "--index", "--json", "--study")
NEEDS = (
    *("raw", "release", "protected", "model.pth", "config.yml", "video.mkv", "boxes.txt", "query.png"),
    *("hnsw.index", "ivfpq.index", "study", "flat.index"),
)


def draw(rng: random.Random) -> tuple[Target, str]:
    """A command line with one or two options of absurd values, and what was done to it."""
    words, options, outputs = rng.choice(COMMANDS)
    changed, told = list(words), []
    for name in rng.sample(sorted(options), rng.choice((1, 1, 2))):
        value = rng.choice(options[name])
        told.append(f"{name} {value[:40]!r}")
        if name in changed:
            changed[changed.index(name) + 1] = value
        else:
            changed += [name, value]
    if any(name in WHERE for name in options if name in changed):
        outputs = (".",)  # it writes where the option says
    return Target("", tuple(changed), NEEDS, outputs, SOME), ", ".join(told)
