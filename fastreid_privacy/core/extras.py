"""Libraries that only a part of the package needs: the extras of setup.py.

Modules import them from here. Type checkers see the library itself; Python loads it at its first use, as most
processes never use one.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

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


if TYPE_CHECKING:
    import av as av
    import fastapi as fastapi
    import gradio as gradio
    import onnx as onnx
    import onnxruntime as onnxruntime
    import ray as ray
    import uvicorn as uvicorn
    from cryptography import exceptions as exceptions
    from cryptography.hazmat.primitives import ciphers as ciphers
    from cryptography.hazmat.primitives import hpke as hpke
    from cryptography.hazmat.primitives import poly1305 as poly1305
    from cryptography.hazmat.primitives.asymmetric import mlkem as mlkem
    from cryptography.hazmat.primitives.asymmetric import x25519 as x25519
    from cryptography.hazmat.primitives.ciphers import aead as aead
    from cryptography.hazmat.primitives.kdf import scrypt as scrypt
    from fsspec import core as fsspec_core
    from nacl import exceptions as nacl_exceptions
    from nacl import public as nacl_public
    from ray import cloudpickle as cloudpickle
    from skimage import exposure as exposure
    from skimage import restoration as restoration
else:
    av, ray, gradio, fastapi, uvicorn = map(from_extra, ("av", "ray", "gradio", "fastapi", "uvicorn"))
    onnx, onnxruntime, fsspec_core = map(from_extra, ("onnx", "onnxruntime", "fsspec.core"))
    exceptions = from_extra("cryptography.exceptions")
    ciphers = from_extra("cryptography.hazmat.primitives.ciphers")
    hpke = from_extra("cryptography.hazmat.primitives.hpke")
    poly1305 = from_extra("cryptography.hazmat.primitives.poly1305")
    mlkem = from_extra("cryptography.hazmat.primitives.asymmetric.mlkem")
    x25519 = from_extra("cryptography.hazmat.primitives.asymmetric.x25519")
    aead = from_extra("cryptography.hazmat.primitives.ciphers.aead")
    scrypt = from_extra("cryptography.hazmat.primitives.kdf.scrypt")
    nacl_exceptions, nacl_public = from_extra("nacl.exceptions"), from_extra("nacl.public")
    cloudpickle = from_extra("ray.cloudpickle")
    exposure, restoration = from_extra("skimage.exposure"), from_extra("skimage.restoration")
