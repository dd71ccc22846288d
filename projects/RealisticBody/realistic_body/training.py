"""Training: a U-Net GAN whose latent is taught by an encoder of the raw person, as BicycleGAN teaches it.

Of a raw person the encoder tells z, from which the U-Net has to make this person again (L1, and a
Kullback–Leibler term that keeps z near N(0, 1)). From a z drawn at random it has to make somebody who looks
real, and whose z can be told from the picture. A PatchGAN judges both, with the hinge loss. Encoder and
discriminator are thrown away at the end.

Reference: Zhu et al., Toward Multimodal Image-to-Image Translation, NeurIPS 2017 (the latent); Lim and Ye,
Geometric GAN, 2017 (the hinge loss).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import max_pool2d, relu
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fastreid_privacy import UserError
from fastreid_privacy.attack.subjects import Subject
from fastreid_privacy.core.images import to_unit
from fastreid_privacy.networks import PatchDiscriminator
from fastreid_privacy.tasks.files import Pose
from fastreid_privacy.tasks.lessons import Keypoints
from fastreid_privacy.tasks.networks import Classifier
from fastreid_privacy.tasks.truth import Truth

from .networks import BodyNetwork, condition, joint_maps
from .recipe import Recipe
from .samples import Samples

LEARNING_RATE, JUDGE_RATE, BETAS = 1e-3, 4e-4, (0.5, 0.999)
SMALL_RATE = 5e-3  # of the small networks: the encoder, and what finds joints
NARROW = -4.0  # logarithm of the variance that the encoder begins with: of wide ones the U-Net learns nothing
L1, KL, LATENT = 20.0, 0.03, 0.5  # weights of the losses; the adversarial one has 1
JUDGE_LAYERS = 2  # of stride 2: a logit sees 34×34 pixels
AVERAGED = 0.99  # decay of the averaged weights, which are the ones that are kept
RECTANGLES, EVERYTHING = 0.15, 0.05  # shares of regions that become their rectangle, and the whole image
MOST_GROWN = 2  # pixels by which other regions are made wider, at most


class Batch(NamedTuple):
    """What a step learns from: float32, as :class:`.networks.BodyNetwork` takes it."""

    raw: Tensor
    around: Tensor
    regions: Tensor
    joints: Tensor
    subjects: list[Subject]


class Training:
    """Everything that a training changes, step by step; the same steps whether it is interrupted or not.

    Args:
        recipe: what is trained.
        samples: what it says is learned from.
        device: where the networks run.

    Attributes:
        step: how many are done.
    """

    def __init__(self, recipe: Recipe, samples: Samples, device: str | torch.device):
        self.recipe, self.device, self.step = recipe, device, 0
        self.samples = Samples.together([samples, samples.mirrored()])
        shape = recipe.shape(samples.joints)
        torch.manual_seed(recipe.seed)
        self.network = BodyNetwork(shape)
        self.encoder = Classifier([recipe.latent, recipe.latent])  # mean and logarithm of the variance
        self.judge = PatchDiscriminator(3 + 1 + len(samples.joints) + 3, recipe.width, JUDGE_LAYERS)
        for module in (self.network, self.encoder, self.judge):
            module.to(device).train()
        self.average = AveragedModel(
            self.network.generator, multi_avg_fn=get_ema_multi_avg_fn(AVERAGED), use_buffers=True
        )
        small = {"params": self.encoder.parameters(), "lr": SMALL_RATE}
        self.optimizers = [
            torch.optim.Adam([{"params": self.network.generator.parameters()}, small], LEARNING_RATE, BETAS),
            torch.optim.Adam(self.judge.parameters(), JUDGE_RATE, BETAS),
        ]
        self.lesson = None
        if samples.joints:
            self.lesson = _lesson(self.samples)
            assert self.network.pose is not None
            self.optimizers.append(torch.optim.Adam(self.network.pose.parameters(), SMALL_RATE))

    def advance(self) -> dict[str, float]:
        """One step; its losses by name.

        Raises:
            UserError: when a loss is not finite.
        """
        batch = self._batch()
        draws = torch.Generator().manual_seed(_seed(self.recipe.seed, self.step, 1))
        noise = torch.randn(2, len(batch.raw), self.recipe.latent, generator=draws).to(self.device)
        losses, made = self._making(batch, *noise)
        self._apply(self.optimizers[0], sum(losses.values()))
        losses["judge"] = self._judging(batch, made.detach())
        self._apply(self.optimizers[1], losses["judge"])
        if self.lesson is not None and self.network.pose is not None:
            losses["joints"] = self.lesson.loss(self.network.pose(batch.raw), batch.subjects)
            self._apply(self.optimizers[2], losses["joints"])
        self.average.update_parameters(self.network.generator)
        self.step += 1
        told = {name: loss.item() for name, loss in losses.items()}
        if not all(np.isfinite(list(told.values()))):
            raise UserError(f"a loss is not finite any more at step {self.step}: {told}; try another seed")
        return told

    def _making(self, batch: Batch, wobble: Tensor, new: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """The losses of U-Net and encoder; and what was made, half of encoded latents, half of drawn ones."""
        self.judge.requires_grad_(False)
        _, around, regions, joints, _ = batch
        half = len(around) // 2
        mean, spread = self.encoder(_person(batch.raw, regions)[:half])
        spread = spread + NARROW
        latents = torch.cat([mean + wobble[:half] * (spread / 2).exp(), new[half:]])
        made = self.network(around, regions, joints, latents)
        real = self.judge(condition(around, regions, joints), to_unit(made))
        apart = (to_unit(made) - to_unit(batch.raw)).abs() * regions
        # without gradients of its weights, or the encoder would write z into the picture with the U-Net
        fixed = {name: weight.detach() for name, weight in self.encoder.named_parameters()}
        found, _ = functional_call(self.encoder, fixed, _person(made, regions)[half:])
        losses = {
            "adversarial": -real.mean(),
            "L1": L1 * apart[:half].sum() / (3 * regions[:half].sum()),
            "KL": KL * 0.5 * (mean.square() + spread.exp() - spread - 1).sum(1).mean(),
            "latent": LATENT * (found - new[half:]).abs().mean(),
        }
        return losses, made

    def _judging(self, batch: Batch, made: Tensor) -> Tensor:
        """The discriminator's loss: real people, with the same surroundings, above 1, made ones below −1."""
        self.judge.requires_grad_(True)
        told = condition(batch.around, batch.regions, batch.joints)
        real = torch.where(batch.regions > 0, batch.raw, batch.around)
        wrong = [
            relu(1 - self.judge(told, to_unit(real))).mean(),
            relu(1 + self.judge(told, to_unit(made))).mean(),
        ]
        return wrong[0] + wrong[1]

    def _apply(self, optimizer: torch.optim.Optimizer, loss: Any) -> None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def _batch(self) -> Batch:
        draw = np.random.default_rng([self.recipe.seed, self.step])
        indices = draw.integers(len(self.samples), size=self.recipe.batch)
        some = self.samples.chosen(torch.from_numpy(indices))
        regions = torch.stack([varied(region, draw) for region in some.regions.float()])
        maps = joint_maps(some.points, self.recipe.size, (some.visibility > 0).float())
        parts = (some.raw.float(), some.around.float(), regions, maps)
        return Batch(*(part.to(self.device) for part in parts), [_subject(index) for index in indices])

    def finished(self) -> BodyNetwork:
        """The network as it is kept: with averaged weights."""
        kept = BodyNetwork(self.network.shape)
        kept.generator.load_state_dict(self.average.module.state_dict())
        if kept.pose is not None and self.network.pose is not None:
            kept.pose.load_state_dict(self.network.pose.state_dict())
        return kept.requires_grad_(False).eval()

    def state(self) -> dict[str, Any]:
        """All of it, to go on from."""
        return {
            "step": self.step,
            **{name: module.state_dict() for name, module in self._modules().items()},
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state` gave."""
        for name, module in self._modules().items():
            module.load_state_dict(state[name])
        for optimizer, theirs in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(theirs)
        self.step = state["step"]

    def _modules(self) -> dict[str, nn.Module]:
        return {
            "network": self.network,
            "encoder": self.encoder,
            "judge": self.judge,
            "average": self.average,
        }


def varied(region: Tensor, draw: np.random.Generator) -> Tensor:
    """A region as users give them, too: wider, as a rectangle, or all of the image.

    Args:
        region: 1×h×w, 0 or 1, with something inside.
        draw: where the random numbers come from.

    Returns:
        The same shape; all of the region is in it.
    """
    kind = draw.random()
    if kind < EVERYTHING:
        return torch.ones_like(region)
    if kind < EVERYTHING + RECTANGLES:
        rows, columns = (region[0].amax(axis) > 0 for axis in (1, 0))
        filled = torch.zeros_like(region)
        (top, bottom), (left, right) = (place.nonzero()[[0, -1], 0].tolist() for place in (rows, columns))
        filled[:, top : bottom + 1, left : right + 1] = 1
        return filled
    reach = int(draw.integers(MOST_GROWN + 1))
    return max_pool2d(region, 2 * reach + 1, stride=1, padding=reach)


def _person(images: Tensor, regions: Tensor) -> Tensor:
    """What the encoder sees: the person on mid grey."""
    return torch.where(regions > 0, images, torch.full_like(images, 127.5))


def _lesson(samples: Samples) -> Keypoints:
    """Finding joints, as the package's tasks learn it."""
    subjects = [_subject(index) for index in range(len(samples))]
    height, width = samples.raw.shape[2:]
    poses = {
        each.name: Pose(points, visibility, float(height))
        for each, points, visibility in zip(
            subjects, samples.points.numpy(), samples.visibility.numpy(), strict=True
        )
    }
    return Keypoints(Truth((height, width), {}, samples.joints, poses, {}, {}), subjects)


def _subject(index: int) -> Subject:
    return Subject(str(index), 1, 0, Path(), Path())


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
