"""The figures of the paper's tables 1 to 5 as plain data, and what the paper calls what they are of.

Retrieval in percent, PSNR in dB, SSIM from 0 to 1.

Reference:
    Zhang et al., Learnable Privacy-Preserving Anonymization for Pedestrian Images, ACM MM 2022, section 4.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType

from ..core.domains import SETTINGS

DATASETS = ("Market1501", "MSMT17", "CUHK03")
TITLES = {"Market1501": "Market-1501", "MSMT17": "MSMT17", "CUHK03": "CUHK03"}
METRICS = ("Rank-1", "Rank-5", "mAP", "mINP")
OPERATORS = {"blur": "blurring", "pixelate": "pixelation", "noise": "Gaussian noise"}
# Models as tables name them, and written out.
MODELS = {
    "upper_bound": "Upper",
    "base": "Base",
    "wo_upgrade": "Ours (w/o U)",
    "full": "Ours",
    "raw_agw": "AGW",
}
LONG_MODELS = {
    "upper_bound": "Upper bound",
    "base": "Base",
    "wo_upgrade": "Without upgradation",
    "full": "Full method",
}

# Of a table: the figures of each of DATASETS, one after the other.
Row = tuple[float | None, ...]
# Of a figure: table, operator ("" for the upper bound), model, pair or image domain, metric.
Key = tuple[int, str, str, str, str]

# Table 5: for each operator and model one row per setting: rank-1, rank-5, mAP, mINP of each data set.
TABLE_5: dict[str, dict[str, tuple[Row, ...]]] = {
    "blur": {
        "base": (
            (84.8, 94.1, 67.4, 32.2, 30.5, 44.0, 17.1, 2.8, 30.4, 50.4, 31.5, 22.3),
            (40.1, 59.4, 25.4, 6.3, 21.3, 35.1, 10.7, 1.4, 14.6, 28.4, 14.8, 8.6),
            (18.3, 31.7, 15.5, 5.2, 16.2, 28.0, 9.4, 1.5, 10.4, 20.4, 12.4, 8.4),
            (67.3, 83.5, 44.2, 13.7, 15.2, 24.3, 7.2, 0.8, 8.2, 19.8, 10.7, 6.9),
        ),
        "wo_upgrade": (
            (83.1, 93.7, 61.9, 24.8, 43.6, 57.6, 24.0, 3.7, 31.6, 52.6, 32.5, 23.0),
            (68.3, 84.9, 45.9, 14.6, 28.4, 42.3, 9.1, 1.2, 13.8, 25.8, 14.8, 9.0),
            (46.8, 67.7, 34.2, 11.7, 10.0, 19.2, 5.8, 0.8, 8.9, 19.4, 10.8, 7.1),
            (75.8, 88.9, 52.4, 18.3, 14.7, 23.6, 6.0, 0.5, 14.3, 28.5, 15.0, 8.9),
        ),
        "full": (
            (91.6, 97.4, 79.4, 47.4, 51.5, 65.3, 31.1, 6.0, 41.9, 62.0, 41.7, 30.4),
            (88.2, 95.8, 72.0, 37.0, 51.1, 64.9, 29.7, 5.2, 39.2, 59.3, 38.4, 27.2),
            (82.5, 93.6, 67.5, 36.0, 50.5, 64.7, 30.5, 5.7, 35.3, 55.4, 35.5, 25.4),
            (89.2, 96.4, 74.3, 39.4, 48.7, 62.4, 28.5, 4.9, 33.2, 55.3, 34.7, 25.0),
        ),
    },
    "pixelate": {
        "base": (
            (87.4, 96.1, 73.4, 39.5, 25.0, 38.3, 15.3, 2.6, 28.5, 50.0, 31.5, 22.9),
            (75.3, 91.1, 53.6, 17.2, 16.3, 29.0, 8.7, 1.0, 17.7, 36.5, 17.6, 9.1),
            (70.9, 86.4, 54.7, 24.1, 14.6, 24.7, 9.0, 1.6, 15.1, 29.5, 17.7, 12.3),
            (64.3, 83.5, 43.4, 13.0, 10.6, 19.7, 5.7, 0.7, 8.8, 20.3, 9.9, 5.3),
        ),
        "wo_upgrade": (
            (86.3, 95.3, 69.8, 34.0, 34.3, 47.7, 18.8, 2.8, 24.9, 44.9, 27.3, 19.1),
            (80.1, 92.6, 57.4, 18.6, 26.2, 40.4, 12.3, 1.3, 24.2, 44.8, 23.3, 13.6),
            (75.1, 89.1, 57.1, 24.3, 24.6, 37.0, 12.9, 1.9, 19.6, 35.1, 20.8, 14.1),
            (73.2, 89.1, 49.7, 15.7, 20.5, 32.4, 9.3, 1.0, 12.1, 25.9, 13.2, 7.5),
        ),
        "full": (
            (89.4, 96.2, 75.4, 42.4, 48.6, 63.2, 29.8, 5.9, 38.8, 64.3, 42.4, 31.6),
            (88.5, 95.7, 71.9, 35.9, 49.1, 63.6, 29.3, 5.5, 37.8, 60.5, 41.4, 32.2),
            (86.8, 94.9, 72.3, 39.1, 48.5, 63.6, 29.8, 5.7, 30.4, 50.6, 30.6, 20.7),
            (87.0, 95.6, 70.5, 34.8, 48.1, 62.7, 29.3, 5.6, 27.6, 47.3, 28.5, 19.2),
        ),
    },
    "noise": {
        "base": (
            (75.9, 89.4, 51.5, 16.5, 24.0, 34.2, 11.1, 1.3, 14.0, 27.4, 15.7, 9.9),
            (50.8, 70.3, 30.2, 5.8, 20.4, 32.4, 8.6, 0.9, 9.1, 19.4, 9.9, 5.4),
            (41.7, 62.9, 26.5, 6.8, 18.5, 28.4, 8.4, 0.9, 8.6, 18.9, 9.9, 5.9),
            (68.7, 85.9, 43.2, 11.9, 18.2, 27.6, 7.8, 0.8, 8.1, 18.7, 10.2, 5.9),
        ),
        "wo_upgrade": (
            (90.4, 96.7, 75.9, 41.9, 41.9, 55.6, 24.0, 4.2, 28.1, 47.6, 30.2, 21.8),
            (77.5, 89.7, 57.3, 21.0, 36.0, 51.5, 18.4, 2.7, 30.4, 51.1, 30.2, 20.0),
            (67.5, 82.0, 50.8, 20.7, 29.4, 41.4, 15.7, 2.5, 30.4, 50.4, 29.9, 20.3),
            (84.4, 93.6, 62.8, 25.8, 31.3, 43.4, 15.0, 1.9, 31.9, 53.2, 32.4, 22.8),
        ),
        "full": (
            (91.7, 96.8, 78.2, 45.4, 46.9, 60.7, 27.6, 4.9, 35.8, 56.1, 36.8, 26.7),
            (83.5, 92.8, 68.0, 33.6, 48.1, 62.7, 27.3, 4.4, 36.4, 57.3, 36.3, 25.6),
            (83.8, 92.7, 67.3, 32.4, 46.2, 59.4, 26.1, 4.4, 37.9, 57.1, 36.9, 25.5),
            (91.2, 96.9, 77.0, 44.3, 46.0, 59.4, 26.0, 4.4, 41.9, 62.4, 41.6, 30.4),
        ),
    },
}
# The upper bound on OI-OI, as the rows above.
UPPER_BOUND: Row = (95.7, 98.4, 88.6, 66.7, 68.6, 79.7, 49.8, 15.0, 67.3, 82.8, 65.8, 54.6)

# Table 1: AGW trained on raw images, seeing desensitized (DI-DI) and protected images (PI-PI): rank-1, mAP.
# None: the figure cannot be told from the text of the published file, in which a column slipped (also below);
# see INFERRED.
TABLE_1: dict[str, dict[str, Row]] = {
    "blur": {"DI-DI": (20.6, 8.7, 3.9, 1.4, 1.9, 2.5), "PI-PI": (18.4, 7.6, 8.3, 2.6, 3.9, 3.9)},
    "pixelate": {"DI-DI": (20.2, 9.1, 1.8, 0.7, 2.1, 2.3), "PI-PI": (17.5, 7.7, 6.7, 2.1, 1.3, 1.6)},
    "noise": {"DI-DI": (0.6, 0.4, 0.2, 0.1, None, 0.3), "PI-PI": (1.4, 0.6, 0.4, 0.1, None, 0.4)},
}

# Table 2: accuracy of people who say whether two Market-1501 images show the same person (50 = chance).
TABLE_2 = {
    "blur": {"base": {"OI-PI": 79.0, "PI-PI": 82.0}, "full": {"OI-PI": 83.0, "PI-PI": 82.0}},
    "pixelate": {"base": {"OI-PI": 71.0, "PI-PI": 75.0}, "full": {"OI-PI": 71.0, "PI-PI": 64.0}},
    "noise": {"base": {"OI-PI": 84.0, "PI-PI": 83.0}, "full": {"OI-PI": 88.0, "PI-PI": 84.0}},
}
TABLE_2_UPPER_BOUND = 92.0  # OI-OI

# Table 3: PSNR, SSIM of recovered images.
TABLE_3: dict[str, Row] = {
    "blur": (26.78, 0.92, 30.02, 0.93, 23.67, 0.89),
    "pixelate": (29.74, 0.93, 25.94, 0.89, None, 0.93),
    "noise": (26.80, 0.92, 27.80, 0.92, 23.00, 0.91),
}

# Table 4: rank-1, mAP on raw and on recovered images; and the operator of the model: the paper does not name
# it, but "Ours" on raw images is what table 5 has for this operator.
TABLE_4: dict[str, dict[str, Row]] = {
    "upper_bound": {
        "OI-OI": (95.7, 88.6, 68.6, 49.8, 67.3, 65.8),
        "RI-RI": (93.8, 84.0, 63.2, 43.1, 64.6, 62.2),
    },
    "full": {"OI-OI": (91.7, 78.2, 48.6, 29.8, 38.8, 42.4), "RI-RI": (90.4, 75.5, 49.8, 29.5, 33.3, 33.1)},
}
TABLE_4_OPERATOR = MappingProxyType({"Market1501": "noise", "MSMT17": "pixelate", "CUHK03": "pixelate"})

# (data set, figure): inferred from rows in which a cell is empty and the one before holds two figures: "0.2",
# "0.2 0.1", "" before the mAP of CUHK03 in table 1, "25.94", "25.94 0.89", "" before its SSIM in table 3.
INFERRED: frozenset[tuple[str, Key]] = frozenset(
    {
        ("MSMT17", (1, "noise", "raw_agw", "DI-DI", "mAP")),
        ("MSMT17", (1, "noise", "raw_agw", "PI-PI", "mAP")),
        ("MSMT17", (3, "pixelate", "full", "recovered", "PSNR")),
        ("MSMT17", (3, "pixelate", "full", "recovered", "SSIM")),
        ("CUHK03", (3, "pixelate", "full", "recovered", "SSIM")),
    }
)

# Section 4.5, gains in rank-1: (operator, over which model, pair) → points. Over Base a mean over DATASETS;
# over the model without upgradation a mean over SETTINGS on Market-1501.
ALL_PAIRS = "all four"
SECTION_4_5: dict[tuple[str, str, str], float] = {
    ("blur", "base", "PI-PI"): 26.8,
    ("pixelate", "base", "PI-PI"): 26.3,
    ("noise", "base", "PI-PI"): 28.0,
    ("blur", "base", "OI-PI"): 34.2,
    ("blur", "base", "PI-OI"): 41.1,
    ("pixelate", "base", "OI-PI"): 22.4,
    ("pixelate", "base", "PI-OI"): 21.7,
    ("noise", "base", "OI-PI"): 29.2,
    ("noise", "base", "PI-OI"): 33.0,
    ("blur", "wo_upgrade", ALL_PAIRS): 19.4,
}


def figures(dataset: str) -> dict[Key, float]:
    """Every figure of tables 1, 3, 4 and 5 on one data set.

    Args:
        dataset: one of ``DATASETS``.

    Returns:
        {(table, operator, model, pair or image domain, metric): figure}; without those that are missing in
        ``TABLE_1`` and ``TABLE_3``.
    """
    return {
        key: value
        for key, value in _figures(DATASETS.index(dataset), TABLE_4_OPERATOR[dataset])
        if value is not None
    }


def _figures(column: int, operator_of_table_4: str) -> Iterator[tuple[Key, float | None]]:
    def cells(row: Row, metrics: tuple[str, ...]) -> Iterator[tuple[str, float | None]]:
        width = len(metrics)
        yield from zip(metrics, row[width * column : width * (column + 1)], strict=True)

    short, quality = ("Rank-1", "mAP"), ("PSNR", "SSIM")
    for metric, value in cells(UPPER_BOUND, METRICS):
        yield (5, "", "upper_bound", "OI-OI", metric), value
        if metric in short:
            yield (1, "", "raw_agw", "OI-OI", metric), value
    for operator, models in TABLE_5.items():
        for model, rows in models.items():
            for pair, row in zip(SETTINGS, rows, strict=True):
                for metric, value in cells(row, METRICS):
                    yield (5, operator, model, pair, metric), value
    for operator, pairs in TABLE_1.items():
        for pair, row in pairs.items():
            for metric, value in cells(row, short):
                yield (1, operator, "raw_agw", pair, metric), value
    for operator, row in TABLE_3.items():
        for metric, value in cells(row, quality):
            yield (3, operator, "full", "recovered", metric), value
    for model, pairs in TABLE_4.items():
        shown = "raw_agw" if model == "upper_bound" else model
        for pair, row in pairs.items():
            for metric, value in cells(row, short):
                yield (4, operator_of_table_4, shown, pair, metric), value


def entries(dataset: str, model: str, operator: str = "") -> list[list]:
    """What the report of one run shows beside it, as the config key ``TEST.PAPER_RESULTS`` has it.

    Empty for other data sets.

    Args:
        dataset: of the run.
        model: "upper_bound", "base", "wo_upgrade" or "full".
        operator: "blur", "pixelate" or "noise"; "" for the upper bound.
    """
    if dataset not in DATASETS:
        return []
    found = figures(dataset)
    shown = [
        [where, metric, value]
        for (table, o, m, where, metric), value in found.items()
        if (table, o, m) == (5, operator, model)
    ]
    if model == "full":
        shown += [
            [where, metric, value]
            for (table, o, _, where, metric), value in found.items()
            if (table, o) == (3, operator)
        ]
    if model != "upper_bound":
        shown.append(["upper_bound", "Rank-1", found[5, "", "upper_bound", "OI-OI", "Rank-1"]])
    return shown
