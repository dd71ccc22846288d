"""fastreid 1.4.0, unmodified on disk, on today's Python, torch and numpy, with and without a GPU.

``apply()`` runs before anything else of this package and before ``fastreid.data``, ``fastreid.evaluation`` or
``fastreid.engine`` is imported (none of the three can be imported without it). One function per workaround;
each names the upstream lines it answers:

1. ``imports``      names that Python and torch have dropped
2. ``checkpoints``  reading checkpoints without running what is in them
3. ``data``         the data loader, the data folder, reading images, one augmentation
   ``labels``       identities and cameras in names of files and in lists
   ``cuhk03``       unpacking CUHK03
4. ``training``     the optimizer that updates nothing, in-place normalisation, AMP on the CPU, hooks
5. ``evaluation``   ranking without compilation and with short galleries, re-ranking on the CPU
6. ``distributed``  several processes, on GPUs over NCCL and on the CPU over gloo

fastreid itself tests for a GPU with ``torch.cuda.is_available()``; so does everything here, never by the text
of an exception.
"""

from __future__ import annotations

from . import checkpoints, cuhk03, data, distributed, evaluation, imports, labels, training
from .data import load_batches_onto
from .distributed import launch

__all__ = ["apply", "launch", "load_batches_onto"]

_applied = False


def apply() -> None:
    """Make fastreid 1.4.0 work in this process; a second call does nothing."""
    global _applied
    if _applied:
        return
    imports.import_what_needs_removed_names()
    imports.silence_deprecations_in_fastreid()
    checkpoints.read_checkpoints_safely()
    data.replace_the_data_loader()
    data.build_loaders_as_they_are_asked_for()
    data.read_images_as_viewers_show_them()
    data.translate_random_affine()
    labels.read_labels_from_names()
    labels.pass_over_empty_lines()
    cuhk03.unpack_cuhk03_without_imageio()
    training.build_optimizers_that_update()
    training.refuse_lost_gradient_buffers()
    training.normalise_out_of_place()
    training.find_the_files_of_regnets()
    training.train_without_amp_on_the_cpu()
    training.survive_missing_evaluations()
    training.write_the_last_evaluation()
    evaluation.rank_without_compiling()
    evaluation.rank_short_galleries()
    evaluation.rerank_on_the_cpu()
    distributed.launch_without_a_gpu()
    distributed.wrap_cpu_models_for_ddp()
    _applied = True
