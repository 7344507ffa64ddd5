# SPDX-License-Identifier: Apache-2.0
"""The graphs that a model would have after export and quantisation, for measuring speed only.

`simdistill quantize` writes 8-bit graphs only where their scores are proven, which an untrained
model's cannot be. Speed does not depend on that: here the ranges come from the benchmark's own
pictures, nothing is scored, and nothing can be served.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.bench_detector import jpeg_image
from benchmarks.frame_times import scaled
from simdistill_ros.core.backends.base import HeadMaps
from simdistill_ros.core.backends.onnxruntime_backend import OnnxRuntimeBackend
from simdistill_ros.core.detector import Detector
from simdistill_ros.core.lift_geometry import PoolingTables
from simdistill_ros.core.model_card import CARD_FILE, ModelCard
from simdistill_ros.core.snapshot import Snapshot

EXAMPLES = 4


def exported_for_speed(card: ModelCard, folder: Path) -> ModelCard:
    """Return the card of an exported copy of a package; itself if it has graphs."""
    if card.onnx is not None:
        return card
    from simdistill_training.export import export_package

    return export_package(card.file.parent, folder)[0]


def int8_for_speed(card: ModelCard, folder: Path) -> ModelCard:
    """Return the 8-bit variant of an exported package; made for speed only if it has none."""
    if card.int8 is not None:
        return card.in_precision("int8")
    from simdistill_training.deploy.int8_graphs import write_int8_graphs
    from simdistill_training.deploy.qdq_graph import Int8Form

    form = Int8Form("uint8", weight_bits=8 if has_vnni() else 7)
    folder.mkdir(parents=True, exist_ok=True)
    onnx, _ = write_int8_graphs(card, folder, _examples(card), form)
    variant = card.model_copy(update={"onnx": onnx, "golden": None})
    variant._file = folder / CARD_FILE
    return variant


def has_vnni() -> bool:
    """Tell whether this processor adds 8-bit products without overflow."""
    cpu_info = Path("/proc/cpuinfo")
    return cpu_info.is_file() and "vnni" in cpu_info.read_text()


class _Recorder(OnnxRuntimeBackend):
    """Keeps what it was given."""

    def __init__(self, card: ModelCard) -> None:
        super().__init__(card)
        self.seen: list[tuple[npt.NDArray[np.uint8], PoolingTables]] = []

    def infer(self, images: npt.NDArray[np.uint8], tables: PoolingTables) -> HeadMaps:
        self.seen.append((images.copy(), tables))
        return super().infer(images, tables)


def _examples(card: ModelCard) -> list[tuple[npt.NDArray[np.uint8], PoolingTables]]:
    """Return the network's inputs for some sets of the benchmark's pictures."""
    recorder = _Recorder(card)
    detector = Detector(card, recorder)
    make_view = scaled(detector.input_rule, "near")
    with ThreadPoolExecutor(1) as pool:
        for number in range(EXAMPLES):
            first = number * len(detector.cameras)
            views = pool.map(
                lambda slot, first=first: make_view(slot[1], slot[0], jpeg_image(first + slot[0])),
                enumerate(detector.cameras),
            )
            detector.detect(Snapshot(0, tuple(views)))
    detector.close()
    return recorder.seen
