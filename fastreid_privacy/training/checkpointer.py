"""Checkpoints that survive a crash, say what does not fit, and carry the config they need to be rebuilt.

Files in OUTPUT_DIR: ``model_NNNN.pth`` after epoch NNNN (the last few epochs are kept), ``model_best.pth``
(weights only), ``model_final.pth``, and ``last_checkpoint`` with the name of the one to continue from. Each
is written beside its place and moved there when it is whole.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from fastreid.utils.checkpoint import Checkpointer
from torch import nn

from ..checkpoints.reading import load_matching_weights, read_checkpoint
from ..core.errors import UserError, some_of
from ..core.files import remove_unfinished, write_atomically, write_whole

logger = logging.getLogger(__name__)

TAG = "last_checkpoint"
PERIODIC = re.compile(r"model_(\d{4}|[1-9]\d{4,})\.pth")  # with the epoch
# what a run depends on besides its config, by its key in a checkpoint: as messages call it
DEPENDS_ON = {
    "operator": "operator",
    "regions": "regions",
    "data": "training images (names, identities, cameras)",
}
# keys of a checkpoint that are neither checkpointables nor extra data
RESERVED = ("model", "config", *DEPENDS_ON)


class PrivacyCheckpointer(Checkpointer):
    """fastreid's checkpointer with atomic files, pruning, and resuming that tells what it cannot restore.

    Args:
        model: the network, in DistributedDataParallel or not.
        save_dir: OUTPUT_DIR.
        save_to_disk: False on every rank but 0; all ranks load.
        config: YAML of the config that rebuilds the model, written into every file.
        keep: how many ``model_NNNN.pth`` stay.
        about: what the run depends on besides its config, by the names of ``DEPENDS_ON``, written into every
            file; a run is resumed with the same. None: there is nothing to tell.
        **checkpointables: what else is saved and must be there to resume: objects with ``state_dict`` and
            ``load_state_dict``.
    """

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        save_to_disk: bool = True,
        config: str = "",
        keep: int = 2,
        about: Mapping[str, Mapping[str, Any] | None] | None = None,
        **checkpointables: Any,
    ) -> None:
        super().__init__(model, save_dir, save_to_disk=save_to_disk, **checkpointables)
        told = {name: dict(value) for name, value in (about or {}).items() if value is not None}
        if unknown := set(told) - set(DEPENDS_ON):
            raise ValueError(f"a checkpoint tells nothing of {', '.join(sorted(unknown))}")
        self.config, self.about = config, told
        self.keep = max(1, keep)
        self.logger = logger

    def save(self, name: str, tag: bool = True, weights_only: bool = False, **extra: Any) -> None:
        """Write ``name``.pth; whenever the process dies, what was there before is still whole.

        Args:
            name: without ``.pth``.
            tag: make it the one that ``resume`` starts from.
            weights_only: leave the checkpointables out, for a file that is tested or shared, not resumed.
            **extra: plain values; ``epoch`` (the one just finished, from 0) is what resuming needs.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        content: dict[str, Any] = {"model": self.model.state_dict(), "config": self.config, **self.about}
        if not weights_only:
            content.update({key: item.state_dict() for key, item in self.checkpointables.items()})
        taken = sorted(set(content) & set(extra) | set(RESERVED) & set(self.checkpointables))
        if taken:
            raise ValueError(f"{', '.join(taken)}: taken by the checkpoint itself")
        content.update(extra)

        folder = Path(self.save_dir)
        folder.mkdir(parents=True, exist_ok=True)
        remove_unfinished(folder)
        path = folder / f"{name}.pth"
        self.logger.info("Saving checkpoint to %s", path)
        write_atomically(path, lambda file: torch.save(content, file), sync=True)
        if tag:
            self.tag_last_checkpoint(path.name)
        if PERIODIC.fullmatch(path.name):
            self._prune(path)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Make a file of OUTPUT_DIR the one that ``resume`` starts from."""
        name = last_filename_basename.encode()
        write_whole(Path(self.save_dir) / TAG, name, sync=True)

    def candidates(self) -> list[Path]:
        """Files to resume from, best first: the tagged one, then the periodic ones from the last epoch down.

        Where a periodic one is tagged, later epochs come last: they are of an older run, or were not finished
        when this one was tagged.
        """
        folder = Path(self.save_dir)
        tag = folder / TAG
        name = tag.read_bytes().decode(errors="replace").strip() if tag.is_file() else ""
        tagged = [folder / name] if re.fullmatch(r"[\w.-]+\.pth", name) and (folder / name).is_file() else []
        others = [path for path in self._periodic() if path not in tagged]
        if tagged and PERIODIC.fullmatch(name):
            others.sort(key=lambda path: _epoch(path) > _epoch(tagged[0]))  # stable
        return tagged + others

    def has_checkpoint(self) -> bool:
        """Whether there is anything to resume from, whole or not."""
        return bool(self.candidates())

    def resume(self) -> dict[str, Any]:
        """Restore model and checkpointables from the newest whole checkpoint.

        Returns:
            the extra data of ``save``, with ``epoch``.

        Raises:
            UserError: no checkpoint, none that is whole, or one of another configuration.
        """
        damaged = []
        for path in self.candidates():
            try:
                checkpoint = read_checkpoint(path)
                if "epoch" not in checkpoint:
                    raise UserError(f"{path} has no epoch: it was not written to be resumed")
            except UserError as error:
                self.logger.warning("Cannot resume from %s; trying the one before it", error)
                damaged.append(str(error))
                continue
            self.logger.info("Resuming from %s, epoch %d", path, checkpoint["epoch"])
            return self._restore(path, checkpoint)
        if not damaged:
            raise UserError(
                f"no checkpoint to resume from in {self.save_dir}; train without --resume, or name the "
                "folder with OUTPUT_DIR"
            )
        raise UserError(
            f"no whole checkpoint in {self.save_dir}: {'; '.join(damaged)}. Train without --resume into "
            "another OUTPUT_DIR"
        )

    def load_weights(self, path: str | Path) -> str:
        """Load what fits of a model into this one, to be fine-tuned or tested; see ``load_matching_weights``.

        Returns:
            one line: what was loaded, what kept its initial value, which shapes differ. It is logged too.
        """
        summary = load_matching_weights(self.model, read_checkpoint(path)["model"], str(path))
        self.logger.info(summary)
        return summary

    def _restore(self, path: Path, checkpoint: dict[str, Any]) -> dict[str, Any]:
        missing = [name for name in self.checkpointables if name not in checkpoint]
        if missing:
            raise UserError(
                f"{path} lacks {', '.join(missing)}: it was written under another config and cannot be "
                "resumed under this one"
            )
        advice = (
            "it was written under another config; use that one (the file carries it), or another OUTPUT_DIR"
        )
        for name, called in DEPENDS_ON.items():  # older versions tell less
            told, own = checkpoint.pop(name, None), self.about.get(name)
            if told is not None and told != own:
                raise UserError(
                    f"{path} was trained on other images: of its {called} it tells {told}, and now that is "
                    f"{own}; give the run its own files back, or choose another OUTPUT_DIR"
                )
        weights, own = checkpoint.pop("model"), self.model.state_dict()
        differing = sorted(set(weights) ^ set(own))
        differing += [key for key in own if key in weights and own[key].shape != weights[key].shape]
        if differing:
            raise UserError(f"{path} does not fit this model ({some_of(differing)} differ): {advice}")
        self.model.load_state_dict(weights)
        for name, item in self.checkpointables.items():
            try:
                item.load_state_dict(checkpoint.pop(name))
            except (ValueError, KeyError, RuntimeError) as error:
                raise UserError(f"{path}: its {name} does not fit ({error}): {advice}") from error
        checkpoint.pop("config", None)
        return checkpoint

    def _periodic(self) -> list[Path]:
        """The periodic checkpoints, from the last epoch down; clocks can be set back, epochs cannot."""
        files = [path for path in Path(self.save_dir).glob("model_*.pth") if PERIODIC.fullmatch(path.name)]
        return sorted(files, key=_epoch, reverse=True)

    def _prune(self, written: Path) -> None:
        """Keep the checkpoint just written and those of the epochs before it.

        Later epochs are of a longer run whose place this one has taken. They go, or ``resume`` would continue
        that run where the tag is lost.
        """
        own = [path for path in self._periodic() if _epoch(path) <= _epoch(written)]
        for path in self._periodic():
            if path not in own[: self.keep]:
                path.unlink()


def _epoch(periodic: Path) -> int:
    return int(periodic.stem.removeprefix("model_"))
