"""What a picture can be put through on the page: trained anonymizers, and the conventional operators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..checkpoints.image_maps import ImageMap
from ..checkpoints.opening import load_anonymizer, load_recovery
from ..config import image_device, load_config
from ..core.errors import UserError
from ..core.operators import CONVENTIONAL, NAME
from ..desensitize import Desensitizer
from ..desensitize.desensitizer import option_keys
from ..model.storage import ImageStorage


@dataclass(frozen=True)
class Method:
    """A way to protect a picture.

    Attributes:
        name: on the page.
        image_map: the anonymizer.
    """

    name: str
    image_map: ImageMap

    @property
    def learned(self) -> bool:
        """Whether it is a trained network, so that a key may recover what it makes."""
        return self.image_map.network is not None


def load_methods(
    weights: Sequence[tuple[str, Path]], pairs: Sequence[str] = (), device: str = "auto"
) -> list[Method]:
    """The trained anonymizers of some files, then the conventional operators.

    Args:
        weights: a name and the file of each, as :func:`fastreid_privacy.load_anonymizer` reads them.
        pairs: KEY VALUE of the conventional operators: ``PRIVACY.DESENSITIZER.BLUR_SIGMA 8``.
        device: auto (a GPU where there is one), cpu, cuda or cuda:N.

    Raises:
        UserError: when a name stands there twice, a file is no anonymizer, or one that needs to know more of
            an image than its pixels; or when no operator reads a key.
    """
    methods = [_learned(name, path, device) for name, path in weights]
    read = {key for name in CONVENTIONAL for key in option_keys(name)}
    for key in pairs[::2]:
        if key not in read:
            raise UserError(f"{key} is read by none of {', '.join(CONVENTIONAL)}: leave it out")
    for name in CONVENTIONAL:
        operator = Desensitizer.from_config(load_config("", [NAME, name, *pairs]))
        image_map = ImageMap(None, operator, ImageStorage("png"), None)
        methods.append(Method(name, image_map.to(image_device(device))))
    names = [method.name for method in methods]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"two methods are called {name}: give each a name of its own with NAME=FILE")
    return methods


def open_key(path: str, passphrase: str, methods: Sequence[Method], device: str = "auto") -> ImageMap:
    """The recovery decoder of a key file.

    Args:
        path: of a ``recovery.key`` or ``.onnx.key`` on this computer, or of a checkpoint, which has no
            passphrase.
        passphrase: of the file; "" where it has none.
        methods: one of which it has to recover.
        device: auto (a GPU where there is one), cpu, cuda or cuda:N.

    Raises:
        UserError: when the file is no key, the passphrase is wrong or missing, or the key belongs to none of
            the methods.
    """
    if not path.strip():
        raise UserError("name the key file: its path on this computer")

    def typed() -> str:
        if not passphrase:
            raise UserError(f"{path} is encrypted: type its passphrase")
        return passphrase

    recovery = load_recovery(path.strip(), device, typed)
    if recovery.fingerprint not in {each.image_map.fingerprint for each in methods if each.learned}:
        raise UserError(f"{path} recovers what another anonymizer has made, and nothing of these methods")
    return recovery


def _learned(name: str, path: Path, device: str) -> Method:
    image_map = load_anonymizer(path, device)
    if image_map.needs_people or image_map.of_regions is not None:
        missing = "who is shown" if image_map.needs_people else "the region of each image"
        raise UserError(
            f"--weights {path}: its images depend on {missing}, which a picture on a page does not tell; use "
            "anonymize"
        )
    return Method(name, image_map)
