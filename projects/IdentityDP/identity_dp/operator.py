"""The operator ``identity_dp``: an image → who and how → noise on who → a picture of somebody new."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence

import torch
from torch import Tensor

from fastreid_privacy import UserError
from fastreid_privacy.core.files import read_once
from fastreid_privacy.core.images import quantize, scaled, to_bytes, to_levels, to_unit
from fastreid_privacy.desensitize import DESENSITIZER_REGISTRY, Description, described

from .accounting import about_budget, account_of
from .mechanism import Budget, perturb
from .model_file import Model, read_model
from .networks import IdentityNetworks
from .sampling import ShakeStream, sources_of

EPSILON = 100.0  # of each image, where nothing else is asked for
SECRET = "secret: SHAKE-256 of a seed of 256 bits for each image, or the operating system's randomness"
KNOWN = "SEEDED, FOR TESTS: anybody can repeat it and take it off, so no budget holds"


def describe(
    identity_dp_model: str = "",
    identity_dp_epsilon: float = EPSILON,
    identity_dp_sensitivity: float = 0.0,
    identity_dp_seed: int = -1,
) -> Description:
    """What images of ``identity_dp`` with these options depend on; see :func:`identity_dp`.

    Raises:
        UserError: for options that make no sense, or a model that cannot be read.
    """
    if not identity_dp_model:
        raise UserError(
            "identity_dp needs a model: PRIVACY.DESENSITIZER.IDENTITY_DP_MODEL names the file "
            "identity_dp.safetensors that projects/IdentityDP/train.py writes"
        )
    if identity_dp_seed < -1:
        raise UserError(
            f"PRIVACY.DESENSITIZER.IDENTITY_DP_SEED is {identity_dp_seed}; it is -1 for secret noise, or for "
            "tests a whole number from 0"
        )
    # what needs no model is asked first, with the largest dimension there is
    Budget.of(identity_dp_epsilon, 0, 2)
    model = model_of(identity_dp_model)
    budget = Budget.of(identity_dp_epsilon, identity_dp_sensitivity, model.networks.sizes.dimension)
    noise = SECRET if identity_dp_seed < 0 else KNOWN
    about = {"model_sha256": model.sha256, **about_budget(budget), "noise": noise, "seed": identity_dp_seed}
    if identity_dp_seed < 0:
        return Description(about, model.networks.sizes.image, account_of(budget))
    # who knows the noise takes it off: no budget holds
    promised = ("sensitivity_source", "epsilon_for_any_two_embeddings")
    about = {word: value for word, value in about.items() if word not in promised}
    return Description(about, model.networks.sizes.image, lambda people: {"budget": KNOWN})


@DESENSITIZER_REGISTRY.register()
@described(describe)
def identity_dp(
    images: Tensor,
    seeds: Sequence[int] | Tensor | None,
    identity_dp_model: str = "",
    identity_dp_epsilon: float = EPSILON,
    identity_dp_sensitivity: float = 0.0,
    identity_dp_seed: int = -1,
) -> Tensor:
    """Draw the people of images as somebody else.

    Args:
        images: N×3×H×W, RGB, 0–255, float or uint8. Of another size than the model's they are scaled to it
            and back.
        seeds: a secret whole number for each image; None: the operating system's randomness.
        identity_dp_model: the file that ``train.py`` wrote.
        identity_dp_epsilon: ε of each image's identity embedding; smaller hides more.
        identity_dp_sensitivity: Δ, L1; 0: the worst case 2√d. Anything else guarantees nothing, and manifests
            say so.
        identity_dp_seed: −1: secret noise. From 0: for tests, noise that depends on this number and on the
            image alone; manifests say so.

    Returns:
        The same shape and kind.

    Raises:
        UserError: as :func:`describe`.
    """
    model = model_of(identity_dp_model)
    budget = Budget.of(identity_dp_epsilon, identity_dp_sensitivity, model.networks.sizes.dimension)
    networks = _on(model, images.device)
    size = tuple(images.shape[2:])
    small = scaled(images.float(), networks.sizes.image)
    sources = sources_of(seeds, len(images)) if identity_dp_seed < 0 else _known(identity_dp_seed, small)
    drawn = scaled(new_people(networks, small, budget, sources), size)
    return to_bytes(drawn) if images.dtype == torch.uint8 else drawn


@torch.no_grad()
def new_people(
    networks: IdentityNetworks, images: Tensor, budget: Budget | None, sources: Sequence[random.Random]
) -> Tensor:
    """Pictures of somebody else, in the model's size.

    Args:
        networks: of the model, on the images' device.
        images: float32 N×3×H×W, 0–255.
        budget: of each identity; None: no noise, so that the same person is drawn.
        sources: of the randomness, one for each image; not used without a budget.

    Returns:
        float32, the same shape, 0–255, not rounded.
    """
    inside = to_unit(images)
    identity = networks.identity(inside)
    if budget is not None:
        noisy = perturb(identity.cpu().numpy(), budget, sources)
        identity = torch.from_numpy(noisy).to(images.device)
    return to_levels(networks.decoder(networks.attributes(inside), identity))


model_of = read_once(read_model)
"""The model of a file; raises as :func:`.model_file.read_model`."""


def _on(model: Model, device: torch.device) -> IdentityNetworks:
    return model.networks.to(device)


def _known(seed: int, images: Tensor) -> list[random.Random]:
    """For tests: streams of a number and of each image, as a file keeps it, and of nothing else."""
    start = seed.to_bytes((seed.bit_length() + 8) // 8, "little")
    pixels = [image.contiguous().numpy().tobytes() for image in quantize(images).byte().cpu()]
    return [ShakeStream(start + hashlib.sha256(content).digest(), "known noise") for content in pixels]
