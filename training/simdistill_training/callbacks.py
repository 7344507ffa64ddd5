# SPDX-License-Identifier: Apache-2.0
"""What happens beside the training: checkpoints that survive a kill, a quiet progress bar."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, TQDMProgressBar

from simdistill_training.checkpoint import LAST_CHECKPOINT


class LastCheckpoint(Callback):
    """Keep the newest state of the training in one file that is never half-written."""

    def __init__(self, folder: Path, every: int) -> None:
        """Save into a folder, every so many optimiser steps and at the end."""
        self._file = folder / LAST_CHECKPOINT
        self._every = every
        self._saved_step = -1

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """Save after every n-th optimiser step."""
        if trainer.global_step % self._every == 0:
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the result."""
        self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        if trainer.global_step in (0, self._saved_step):
            return
        partial = self._file.with_suffix(".partial")
        trainer.save_checkpoint(partial)  # all processes take part
        if trainer.is_global_zero:
            partial.replace(self._file)
        self._saved_step = trainer.global_step


class LossLog(Callback):
    """Append the losses to a file of one JSON object a line; of equal steps the last one counts."""

    def __init__(self, file: Path, every: int) -> None:
        """Write to a file, every so many optimiser steps."""
        self._file, self._every = file, every
        self._logged_step = -1

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """Write the losses of the micro-batch that ended an optimiser step."""
        step = trainer.global_step
        if step == self._logged_step or step % self._every or not trainer.is_global_zero:
            return
        self._logged_step = step
        losses = {
            name.removeprefix("train/"): float(value)
            for name, value in trainer.callback_metrics.items()
            if name.startswith("train/")
        }
        with self._file.open("a") as stream:
            stream.write(json.dumps({"step": step, **losses}) + "\n")


class ProgressBar(TQDMProgressBar):
    """One bar over the whole training with the time that is left."""

    def get_metrics(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """Leave the version number out."""
        items = super().get_metrics(trainer, pl_module)
        items.pop("v_num", None)
        return items
