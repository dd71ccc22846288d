"""CUHK03 as it is downloaded: one file of MATLAB that fastreid unpacks to PNG files when it is first used."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import UserError, typed
from ..core.files import write_whole
from ..core.images import png_bytes
from .patching import original_of, replace

_LISTS = (
    "split_classic_det_json_path",
    "split_classic_lab_json_path",
    "split_new_det_json_path",
    "split_new_lab_json_path",
)


def unpack_cuhk03_without_imageio() -> None:
    """fastreid/data/datasets/cuhk03.py:100 writes its PNG files with imageio, which nothing else here needs.

    What a killed process left of a PNG file would be taken for whole at the next start (cuhk03.py:126), and
    so would lists that an error cut short (cuhk03.py:92). Here each PNG file appears whole or not at all, and
    the lists of an unpacking that failed are removed.
    """
    from fastreid.data.datasets.cuhk03 import CUHK03

    def preprocess_split(self: Any) -> None:
        lists = [Path(getattr(self, name)) for name in _LISTS]
        there = {path for path in lists if path.exists()}
        try:
            with _png_files_instead_of_imageio():
                original_of(CUHK03, "preprocess_split")(self)
        except BaseException as error:
            for path in lists:
                if path not in there:
                    path.unlink(missing_ok=True)
            if not isinstance(error, Exception):
                raise
            raise UserError(
                f"CUHK03 cannot be unpacked ({typed(error)}): {self.raw_mat_path}, or a file "
                f"cuhk03_new_protocol_config_….mat beside its folder, is damaged or of another form, or "
                f"{self.dataset_dir} cannot be written to"
            ) from None

    replace(CUHK03, "preprocess_split", preprocess_split)


@contextmanager
def _png_files_instead_of_imageio() -> Iterator[None]:
    """``imageio.imwrite`` is ours for the time being, also where imageio is installed."""
    stand_in, absent = types.ModuleType("imageio"), object()
    before = sys.modules.get("imageio", absent)
    vars(stand_in)["imwrite"] = _write_png
    sys.modules["imageio"] = stand_in
    try:
        yield
    finally:
        del sys.modules["imageio"]
        if before is not absent:
            sys.modules["imageio"] = before  # type: ignore[assignment]


def _write_png(path: str, pixels: np.ndarray) -> None:
    content = png_bytes(np.ascontiguousarray(pixels))
    write_whole(Path(path), content)
