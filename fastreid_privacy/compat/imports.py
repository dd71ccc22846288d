"""Names that fastreid imports and that Python and torch no longer have."""

from __future__ import annotations

import collections
import collections.abc
import importlib.util
import sys
import types
import warnings


def import_what_needs_removed_names() -> None:
    """fastreid/data/build.py:11–12, evaluation/testing.py:5: ``torch._six``, ``collections.Mapping``.

    Both are put in place for as long as the two modules are being imported, and taken away again: other
    packages ask for these names to find out which torch they run on.
    """
    stand_in = types.ModuleType("torch._six")
    vars(stand_in)["string_classes"] = (str, bytes)
    missing_six = "torch._six" not in sys.modules and importlib.util.find_spec("torch._six") is None
    missing_mapping = not hasattr(collections, "Mapping")
    if missing_six:
        sys.modules["torch._six"] = stand_in
    if missing_mapping:
        vars(collections)["Mapping"] = collections.abc.Mapping
    try:
        importlib.import_module("fastreid.data.build")
        importlib.import_module("fastreid.evaluation.testing")
    finally:
        if missing_six:
            del sys.modules["torch._six"]
        if missing_mapping:
            del vars(collections)["Mapping"]
    with warnings.catch_warnings():
        # Both recommend a compiled ranking at import; see evaluation.rank_without_compiling.
        warnings.filterwarnings("ignore", message=r"\s*Cython")
        importlib.import_module("fastreid.evaluation.rank")
        importlib.import_module("fastreid.evaluation.roc")


def silence_deprecations_in_fastreid() -> None:
    """What torch calls deprecated and still has: nobody who runs fastreid can mend its use.

    fastreid/utils/comm.py:106, data/transforms/functional.py:46, utils/compute_dist.py:183,
    engine/train_loop.py:325 and 336.
    """
    for message in (
        "TypedStorage is deprecated",
        "This overload of addmm_ is deprecated",
        r"`torch\.cuda\.amp\.",
    ):
        warnings.filterwarnings("ignore", message=message, module=r"fastreid\.")
