# SPDX-License-Identifier: Apache-2.0
"""The detector as a tutorial would write it, and a process of its own to measure it in.

Images are decoded at full size, the network runs in eager PyTorch with its norms as trained, and
lifts by forming depth x context and adding it by index. The index is computed once a calibration,
which not every tutorial does.

    python -m benchmarks.textbook_detector MODEL THREADS

measures one round for each line it reads and writes its times as a line of JSON. Its environment is
its own: by default that of a user who has set nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.frame_times import Path, camera_jpegs, full_size
from benchmarks.textbook import TextbookStudent
from simdistill_ros.core.backends.base import HeadMaps
from simdistill_ros.core.detector import Detector
from simdistill_ros.core.lift_geometry import PoolingTables
from simdistill_ros.core.model_card import ModelCard, load_model_card
from simdistill_ros.core.network.build import load_student
from simdistill_ros.core.network.view_transform import batch_tables
from simdistill_ros.process_environment import PROCESS_ENVIRONMENT
from simdistill_ros.resources import model_folder


class TextbookBackend:
    """The card's network as a tutorial would run it: eager, norms not folded, outer product."""

    def __init__(self, card: ModelCard) -> None:
        """Build the network."""
        self._student = load_student(card).eval()
        self._mean = torch.tensor(card.image.mean).view(1, 3, 1, 1)
        self._std = torch.tensor(card.image.std).view(1, 3, 1, 1)
        self._network: tuple[PoolingTables, TextbookStudent] | None = None

    @property
    def description(self) -> str:
        """What runs where."""
        return f"torch {torch.__version__}, textbook"

    @torch.inference_mode()
    def infer(self, images: npt.NDArray[np.uint8], tables: PoolingTables) -> HeadMaps:
        """Run the network on one snapshot; see `Backend.infer`."""
        if self._network is None or self._network[0] is not tables:
            self._network = (tables, TextbookStudent(self._student, batch_tables([tables])))
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255.0
        heads = self._network[1](((pixels - self._mean) / self._std)[None])
        return [{name: maps[0].numpy() for name, maps in task.items()} for task in heads]

    def close(self) -> None:
        """Release nothing."""


class TextbookProcess:
    """The textbook in a process with an environment of its own; it waits between rounds."""

    def __init__(self, name: str, model: str, threads: int) -> None:
        """Start the process with the environment of a user who has set nothing."""
        self.name = name
        self.times_ms: dict[str, list[float]] = {}
        # What the launchers set for ours, a user's own process has none of.
        environment = {k: v for k, v in os.environ.items() if k not in PROCESS_ENVIRONMENT}
        command = [sys.executable, "-m", "benchmarks.textbook_detector", model, str(threads)]
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def round(self) -> None:
        """Have one round measured.

        Raises:
            RuntimeError: If the process has ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("round\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name}: the process ended: see its message above")
        for stage, milliseconds in json.loads(line).items():
            self.times_ms.setdefault(stage, []).append(milliseconds)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def textbook_path(name: str, card: ModelCard, backend: TextbookBackend) -> Path:
    """Return the textbook's path in this process."""
    return Path(name, Detector(card, backend), full_size)


def serve(model: str, threads: int) -> None:
    """Measure a round for each line of standard input."""
    card = load_model_card(model_folder(model))
    path = textbook_path("textbook", card, TextbookBackend(card))
    jpegs = camera_jpegs(path.detector)
    with ThreadPoolExecutor(threads) as pool:
        for _ in sys.stdin:
            path.round(jpegs, pool)
            print(json.dumps(_latest(path.times_ms)), flush=True)


def _latest(times_ms: Mapping[str, list[float]]) -> dict[str, float]:
    return {stage: values[-1] for stage, values in times_ms.items()}


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
