"""Libraries that only a part of the package needs: the extras of setup.py.

A module that uses one names it twice, so that type checkers see the library itself, and Python loads it at
its first use::

    if TYPE_CHECKING:
        import av
    else:
        av = from_extra("av")
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

from .errors import UserError

EXTRAS = {
    "av": "video",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "onnxscript": "onnx",
    "cryptography": "custody",
    "nacl": "custody",
    "skimage": "attack",
    "ray": "cluster",
    "fsspec": "cluster",
    "gradio": "app",
}
"""The extra that brings each library, by the name under which it is imported."""


class _FromExtra(ModuleType):
    """A library that is imported when something of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked by tools that look at every object, not by who uses the library
            raise AttributeError(name)
        return getattr(load(self.__name__), name)


def from_extra(module: str) -> ModuleType:
    """A module of an extra, to be imported at its first use.

    Args:
        module: its full name: "av", "nacl.public".
    """
    return _FromExtra(module)


def load(module: str) -> ModuleType:
    """Import a module of an extra now.

    Raises:
        UserError: naming the extra, where it is not installed.
    """
    library = module.partition(".")[0]
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != library:  # something else is missing
            raise
        raise UserError(
            f'{library} is not installed; this needs it: pip install "fastreid_privacy[{EXTRAS[library]}]"'
        ) from None
