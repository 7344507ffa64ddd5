# SPDX-License-Identifier: Apache-2.0
"""An evaluation in which one worker stands still half-way; worker processes import it from here."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

from simdistill_ros.shards.local_workers import OpenJob
from simdistill_training.evaluation_job import EvaluationJob

FOLDER = "SLOW_EVALUATION_FOLDER"


class SlowEvaluation(EvaluationJob):
    """Notes what is begun in a folder; the first worker to begin twice stands still."""

    def open(self, worker: int | None) -> OpenJob:
        opened = super().open(worker)

        def run(tokens: tuple[str, ...]) -> object:
            folder = Path(os.environ[FOLDER])
            notes = folder / f"begun-{os.getpid()}"
            with notes.open("a") as stream:
                stream.write(f"{tokens[0]}\n")
            if len(notes.read_text().splitlines()) == 2:
                self._stand_still(folder / "victim")
            return opened.run(tokens)

        return replace(opened, run=run)

    def _stand_still(self, file: Path) -> None:
        try:
            with file.open("x") as stream:
                stream.write(str(os.getpid()))
        except FileExistsError:
            return
        time.sleep(120)
