"""Reversible, learnable anonymization of pedestrian images as a plugin to fastreid.

The way of one image, and the file of each stage::

    data            any fastreid data set, split into training and validation identities
    desensitize     the conventional operators: blur, pixelate, noise, mask
    supervision     what the anonymizer is trained towards, and the rule that upgrades it
    networks        anonymizer and recovery (pix2pix U-Net), discriminators (PatchGAN)
    image_storage   what a stored file keeps of a protected image
    losses          eqs. 1–6 and the center loss
    meta_arch       the stages wired in front of a fastreid Re-ID model: PrivacyReID, PrivacyMGN
    solver          one Adam for all networks, the learning rate of each epoch
    trainer, hooks  fastreid's trainer; supervision upgradation and checkpoints as hooks
    evaluation      retrieval over raw, protected, desensitized and recovered images; image quality; results.json
    comparison      Base and the upper bound: where their results are, and whether two runs may be compared
    experiment      Base, upper bound and the model itself, one after the other; evaluate_only tests a checkpoint
    report          results.json → tables, figures, report.html
    anonymizer      a checkpoint as a function of images
    onnx_export     its networks as ONNX graphs; onnx_runtime runs them in the place of torch
    collection      folders and data sets to protected files and back; a manifest, continued runs
    video           videos to protected videos and back: people in boxes
    custody         keys kept apart: the parts of a checkpoint, encrypted recovery keys, sealed originals
    retrieval       a FAISS index of a folder of images, asked with a picture of any domain
    reproduce       every run that the paper's tables need, and the tables with the paper's figures beside ours
    human_study     the paper's verification by people: the pages, and their score

Around it: ``config`` and ``config_checks`` (keys, read strictly), ``preflight`` (all that can be found wrong before training),
``command_line``, ``checkpoint`` and ``checkpoint_files``, and the small ``images``, ``files``, ``registry``, ``errors``.

Importing the package first makes fastreid 1.4.0 run on today's Python and torch (``compat``), then registers the data sets and the
meta-architectures with fastreid; a fastreid script of your own needs nothing else.
"""

from . import compat

compat.apply()

# data and meta_arch register themselves with fastreid
from . import data, desensitize, evaluation, meta_arch, networks
from .anonymizer import load_anonymizer, load_recovery
from .config import add_privacy_config, load_config
from .errors import UserError

__version__ = "0.1.0"

__all__ = [
    "UserError", "add_privacy_config", "data", "desensitize", "evaluation", "load_anonymizer", "load_config", "load_recovery", "meta_arch",
    "networks",
]  # fmt: skip
