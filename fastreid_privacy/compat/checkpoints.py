"""Reading checkpoints: everything that fastreid and this package write, and nothing that runs code."""

from __future__ import annotations

import codecs
import collections
import pickle
import tarfile
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
import yacs.config

from .patching import replace


def _allowed_globals() -> dict[tuple[str, str], Any]:
    """(module, name) → the object, for all that a checkpoint may refer to."""
    from fastreid.config import CfgNode

    allowed: dict[tuple[str, str], Any] = {}

    def allow(*objects: Any, module: str | None = None) -> None:
        for item in objects:
            name = getattr(item, "__qualname__", getattr(item, "__name__", ""))
            allowed[module or item.__module__, name] = item

    allow(collections.OrderedDict, collections.defaultdict, collections.deque, collections.Counter)
    allow(set, frozenset, bytearray, complex, slice, int, float, bool, str, bytes, list, dict, tuple)
    allow(yacs.config.CfgNode, CfgNode)
    # numpy 2 has moved its internals; files name either place.
    scalar, reconstruct = np.float64(0).__reduce__()[0], np.zeros(1).__reduce__()[0]
    for module in ("numpy._core.multiarray", "numpy.core.multiarray"):
        allow(scalar, reconstruct, module=module)
    allow(np.ndarray, np.dtype, module="numpy")
    allow(*(getattr(np.dtypes, name) for name in np.dtypes.__all__), module="numpy.dtypes")
    allowed["_codecs", "encode"] = codecs.encode  # how pickle's protocol 2 writes bytes
    # torch: tensors, parameters, sizes, devices and data types. Not torch.storage._load_from_bytes, which
    # loads again, unchecked.
    allow(
        torch._utils._rebuild_tensor,
        torch._utils._rebuild_tensor_v2,
        torch._utils._rebuild_parameter,
        module="torch._utils",
    )
    allow(torch.Size, torch.Tensor, torch.device, module="torch")
    allow(torch.nn.Parameter, module="torch.nn.parameter")
    allow(torch.storage.UntypedStorage, torch.storage.TypedStorage, module="torch.storage")
    for name, item in vars(torch).items():
        if isinstance(item, torch.dtype):
            allowed["torch", name] = item
    for item in torch.serialization.get_safe_globals():
        if isinstance(item, tuple):
            module, _, name = item[1].rpartition(".")
            allowed[module, name] = item[0]
        else:
            allow(item)
    return allowed


class _SafeUnpickler(pickle.Unpickler):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._allowed = _allowed_globals()

    def find_class(self, module: str, name: str) -> Any:
        module = {"__builtin__": "builtins", "copy_reg": "copyreg"}.get(module, module)
        try:
            return self._allowed[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"the file refers to {module}.{name}, which is neither a tensor nor plain data, and was "
                "not loaded; if it is yours and you trust the file, call "
                f"torch.serialization.add_safe_globals([{name}]) first"
            ) from None


class _SafePickle:
    """What torch uses of the pickle module."""

    __name__ = "fastreid_privacy.compat.checkpoints"
    Unpickler = _SafeUnpickler

    @staticmethod
    def load(file: Any, **kwargs: Any) -> Any:
        return _SafeUnpickler(file, **kwargs).load()


def load_safely(path: str | Path) -> Any:
    """Read a file written by ``torch.save`` onto the CPU without running code from it.

    ``torch.load`` does not serve. With ``weights_only=True`` it refuses to fill a deque or a CfgNode even
    when it has been told that they are safe; with ``weights_only=False`` it hands TorchScript archives to
    ``torch.jit.load``, which runs them, whatever unpickler it is given. So its two readers are called here,
    after every byte has been compared with the checksums in the file (there are none before torch 1.6).

    Args:
        path: the file.

    Returns:
        what was saved: tensors, numpy arrays and scalars, CfgNodes and Python's containers.

    Raises:
        ValueError: a checksum is wrong.
        pickle.UnpicklingError: the file refers to anything else, or is an archive that would run or be
            unpacked; what torch raises for a damaged file.
    """
    with open(path, "rb") as file:
        if not torch.serialization._is_zipfile(file):
            return _load_legacy(file)
        _check_archive(file)
        file.seek(0)
        with torch.serialization._open_zipfile_reader(file) as archive:
            return torch.serialization._load(archive, "cpu", _SafePickle, encoding="utf-8")


def _check_archive(file: BinaryIO) -> None:
    """Compare every byte with the checksums that ``torch.save`` wrote: torch does not.

    ``torch.save`` compresses nothing, so that no small file is unpacked to a large one.
    """
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        _refuse_programs([member.filename.partition("/")[2] for member in members])
        if any(member.compress_type for member in members):
            raise ValueError("a part of it is compressed, which torch.save does not do")
        if len({member.filename for member in members}) < len(members):
            raise ValueError("a part of it is there twice")
        broken = archive.testzip()
    if broken:
        raise ValueError(f"checksum of {broken} is wrong")


def _refuse_programs(records: list[str]) -> None:
    """TorchScript's records lie below the archive's top folder, whose name is taken off here."""
    if any(name == "constants.pkl" or name.startswith("code/") for name in records):
        raise pickle.UnpicklingError(
            "the file is a TorchScript archive, a program that would run; save the tensors alone, with "
            "torch.save(model.state_dict(), path)"
        )


def _load_legacy(file: BinaryIO) -> Any:
    """What torch wrote before 1.6; not the tar archives of 0.1, which it unpacks with links and modes."""
    try:
        # compressed ones torch does not open; Python would look for one in all of a file of zeros
        tarfile.open(fileobj=file, mode="r:").close()
    except tarfile.TarError:
        file.seek(0)
    else:
        raise pickle.UnpicklingError("the file is a tar archive, as torch wrote them before 0.2")
    return torch.serialization._legacy_load(file, "cpu", _SafePickle, encoding="utf-8")


def read_checkpoints_safely() -> None:
    """fastreid/utils/checkpoint.py:216: ``torch.load`` no longer reads numpy scalars, CfgNode or deque."""
    from fastreid.utils.checkpoint import Checkpointer

    replace(Checkpointer, "_load_file", lambda self, f: load_safely(f))
