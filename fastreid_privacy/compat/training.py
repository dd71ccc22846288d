"""fastreid's models and training loop: what stops it, and what makes it learn nothing without a word."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from yacs.config import CfgNode

from .patching import original_of, replace

logger = logging.getLogger(__name__)


def build_optimizers_that_update() -> None:
    """fastreid/solver/build.py:187, with train_loop.py:248 and utils/params.py: no weight is ever updated.

    ``contiguous=True`` gives the optimizer one long buffer per group; the parameters' gradients are views of
    the buffer's gradient. torch 2's ``zero_grad`` sets the latter to None, so ``step`` passes over the
    buffer, while the views go on adding up and the losses look normal. The default becomes
    ``contiguous=False``, in the function itself: a name imported from it earlier changes too.
    """
    from fastreid.solver.build import build_optimizer

    build_optimizer.__defaults__ = (False,)


def refuse_lost_gradient_buffers() -> None:
    """fastreid/utils/params.py:90–101: the check that should notice it compares unchanged pointers.

    Who asks for ``contiguous=True`` gets an error after the first step instead of a model that stays as it
    was.
    """
    from fastreid.utils.params import ContiguousParams

    def assert_buffer_is_valid(self: Any) -> None:
        if any(buffer.grad is None for buffer in self._param_buffer):
            raise ValueError(
                "the optimizer was built with contiguous=True, which updates no weight since zero_grad() "
                "sets gradients to None; build it with "
                "fastreid.solver.build_optimizer(cfg, model, contiguous=False)"
            )
        original_of(ContiguousParams, "assert_buffer_is_valid")(self)

    replace(ContiguousParams, "assert_buffer_is_valid", assert_buffer_is_valid)


def normalise_out_of_place() -> None:
    """fastreid/modeling/meta_arch/baseline.py:130 and mgn.py:256: ``sub_``, ``div_`` on the caller's batch.

    A second forward on the same batch, TEST.FLIP among them, would normalise twice, and a generator's output
    would change under the losses that follow.
    """
    from fastreid.modeling.meta_arch.baseline import Baseline
    from fastreid.modeling.meta_arch.mgn import MGN

    def preprocess_image(self: Any, batched_inputs: Any) -> torch.Tensor:
        """Images, alone or ``["images"]`` of a batch, N×3×H×W RGB 0–255, as the backbone takes them."""
        if isinstance(batched_inputs, dict):
            images = batched_inputs["images"]
        elif isinstance(batched_inputs, torch.Tensor):
            images = batched_inputs
        else:
            raise TypeError(f"batched_inputs must be a dict or a torch.Tensor, not {type(batched_inputs)}")
        return (images.to(self.device) - self.pixel_mean) / self.pixel_std

    for meta_arch in (Baseline, MGN):
        replace(meta_arch, "preprocess_image", preprocess_image)


def find_the_files_of_regnets() -> None:
    """fastreid/modeling/backbones/regnet/regnet.py:551, effnet.py:244: files are named from fastreid's clone.

    RegNet and EfficientNet read their widths and depths from files that lie in the installed package.
    """
    import fastreid
    from fastreid.modeling.backbones.regnet.config import cfg

    above = Path(fastreid.__file__).parents[1]

    def merge_from_file(name: str) -> None:
        CfgNode.merge_from_file(cfg, str(above / name))  # an absolute name stays as it is

    object.__setattr__(cfg, "merge_from_file", merge_from_file)  # a config's own would add a key


def train_without_amp_on_the_cpu() -> None:
    """fastreid/engine/train_loop.py:335 asserts CUDA for mixed precision, which every base config enables."""
    import fastreid.engine.defaults as defaults
    from fastreid.engine.train_loop import AMPTrainer, SimpleTrainer

    def trainer_with_amp_where_possible(model: torch.nn.Module, *args: Any) -> SimpleTrainer:
        if next(model.parameters()).device.type == "cuda":
            return AMPTrainer(model, *args)
        logger.info("SOLVER.AMP.ENABLED needs a model on a GPU; this one is on the CPU and trains in float32")
        return SimpleTrainer(model, *args)

    replace(defaults, "AMPTrainer", trainer_with_amp_where_possible)


def survive_missing_evaluations() -> None:
    """fastreid/engine/hooks.py:376–383, defaults.py:333: TEST.EVAL_PERIOD 0 and −1 end in errors.

    0 divides by zero, −1 fails an assertion at the end. An exception before the first epoch is also hidden by
    an AttributeError, for the trainer has no epoch by then.
    """
    from fastreid.engine.defaults import DefaultTrainer
    from fastreid.engine.hooks import EvalHook

    def after_train(self: Any) -> None:
        next_epoch = getattr(self.trainer, "epoch", -1) + 1
        if self._period > 0 and next_epoch % self._period != 0 and next_epoch >= self.trainer.max_epoch:
            self._do_eval()
        del self._func  # a closure that holds the trainer, as upstream says

    replace(EvalHook, "after_train", after_train)
    # train() documents None where evaluation is off, yet asserts that this attribute exists.
    replace(DefaultTrainer, "_last_eval_results", None)


def write_the_last_evaluation() -> None:
    """fastreid/utils/events.py:105, 147, engine/hooks.py:150: metrics.json lacks the last evaluation.

    The writers run after the last step, and then refuse everything of the same iteration, which is what the
    evaluation after the epoch carries; an evaluation in ``after_train`` meets writers that only close. So the
    epoch's last step leaves the writing to ``after_epoch``, and a finished training writes once more before
    closing.
    """
    from fastreid.engine.hooks import PeriodicWriter

    def after_step(self: Any) -> None:
        next_iter = self.trainer.iter + 1
        iters_per_epoch = getattr(self.trainer, "iters_per_epoch", None)
        if iters_per_epoch and next_iter % iters_per_epoch == 0:
            return
        original_of(PeriodicWriter, "after_step")(self)

    def after_train(self: Any) -> None:
        # A run that was resumed after its last epoch has taken no step and has nothing to write.
        if self.trainer.start_iter < self.trainer.max_iter <= self.trainer.iter:
            for writer in self._writers:
                writer.write()
        original_of(PeriodicWriter, "after_train")(self)

    replace(PeriodicWriter, "after_step", after_step)
    replace(PeriodicWriter, "after_train", after_train)
