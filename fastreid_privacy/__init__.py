"""Reversible, learnable anonymization of pedestrian images as a plugin to fastreid.

The house, from the ground up. Each block is a floor: its wings import from those above it in this list, and
from no wing of their own floor; ``tests/test_house.py`` reads the floors here::

    core            messages for users, whole files, the lock, images and pictures, the domains of images

    compat          fastreid 1.4.0 on today's Python, torch and numpy
    config          keys, reading them strictly, checks
    desensitize     the conventional operators: blur, pixelate, noise, mask
    networks        anonymizer and recovery (pix2pix U-Net), discriminators (PatchGAN)
    keys            passphrases, encrypted files, originals sealed to a public key
    manifest        what a run over a collection has written, line by line
    results         results.json and what is stored beside it

    model           the method: storage, supervision, losses, PrivacyReID and PrivacyMGN
    data            any fastreid data set, its validation split, loaders; rendered people
    evaluation      retrieval over all domains of images; image quality
    report          results.json → tables, figures, report.html of a run

    checkpoints     read safely, rebuilt as models, used as functions of images, split into parts, as ONNX

    training        Base, upper bound and the model itself: preflight, trainer, upgrades, tests
    collection      folders and data sets to protected files and back

    retrieval       a FAISS index of a gallery of images, asked with a picture of any domain

    cluster         collections and galleries on many machines: pieces, the tasks of Ray that do them, faults

    reproduce       the runs behind the paper's tables and figures, and both with the paper's beside ours
    video           people in the boxes of a video, protected and recovered
    bench           how fast: ranking, training steps, protecting files, beside their peers

    human_study     the paper's verification by people: the pages, and their score
    attack          what others get back from protected files, who hold more or less

    tasks           what segmentation, keypoints and attributes learn from protected images

    compare         methods beside each other: privacy, utility, recovery, size and speed

    app             a page in the browser: what a picture becomes, and whether a folder may be given out

    commands        every command line: fastreid-privacy, and tools/

The way of one image: data → desensitize → supervision → anonymizer (networks) → storage → recovery (networks)
→ Re-ID (fastreid) → losses, wired in ``model.meta_arch`` and ``model.image_stages``; then evaluation,
results and report.

Importing the package first makes fastreid run (``compat``), then registers the data sets and the
meta-architectures with fastreid; a fastreid script of your own needs nothing else. ``evaluation`` is loaded
when it is first asked for: protecting images needs none of it.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

try:
    from . import compat

    compat.apply()
except ModuleNotFoundError as error:
    if error.name != "fastreid":
        raise
    raise ModuleNotFoundError(
        "fastreid is not installed, and is no dependency, for its metadata pins torch 1.13.1: "
        "pip install --no-deps fastreid==1.4.0",
        name="fastreid",
    ) from None

# data and meta_arch register themselves with fastreid
from . import data, desensitize, networks
from .checkpoints.opening import load_anonymizer, load_recovery
from .config import add_privacy_config, load_config
from .core.errors import UserError
from .core.version import __version__
from .model import meta_arch

if TYPE_CHECKING:
    from . import evaluation

__all__ = [
    "UserError",
    "__version__",
    "add_privacy_config",
    "data",
    "desensitize",
    "evaluation",
    "load_anonymizer",
    "load_config",
    "load_recovery",
    "meta_arch",
    "networks",
]


def __getattr__(name: str) -> ModuleType:
    if name == "evaluation":
        return import_module(".evaluation", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
