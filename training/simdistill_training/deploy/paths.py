# SPDX-License-Identifier: Apache-2.0
"""The paths from images to boxes that a parity check runs, side by side on each frame."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from simdistill_ros.core.backends.base import Backend, BackendError, HeadMaps, Tensors, Tracing
from simdistill_ros.core.backends.choose import FLOAT_ONLY, FP16, FP32, INT8, backends
from simdistill_ros.core.backends.torch_backend import TorchBackend
from simdistill_ros.core.model_card import ModelCard
from simdistill_ros.core.model_card_deployment import Precision
from simdistill_ros.core.onnx_interface import head_map_name
from simdistill_ros.core.preprocess import InputRule
from simdistill_ros.core.snapshot import ImageArray
from simdistill_ros.replay.submission import Record
from simdistill_training.deploy.comparison import Comparison
from simdistill_training.deploy.frames import Frame, detections_of, input_rule, records_of
from simdistill_training.deploy.pixels import Route, reference_pixels

REFERENCE, PILLOW = "torch fp32", "pillow"
SCORE_MARGIN = 0.02  # twice what the scores of two boxes that count as one may differ by


class BackendPaths:
    """Every backend that is here, in every precision of the package, against torch on the CPU."""

    def __init__(self, card: ModelCard, device: str, threshold: float | None) -> None:
        """Load them; what cannot be loaded is named in `absent`."""
        self._card, self._threshold = card, threshold
        self.least_score = least_score(card, threshold)
        self._reference = TorchBackend(card)
        self.reference = Comparison(REFERENCE, REFERENCE)
        self.absent: dict[str, str] = {}
        self.paths: list[tuple[Comparison, Backend]] = []
        for name, level in _names_and_levels(card, device):
            if (name, level, device) == ("torch", FP32, "cpu"):
                continue  # the reference itself
            label = f"{name} {level}"
            try:
                backend = backends(device)[name](card.in_precision(level), device)
            except BackendError as error:
                self.absent[label] = str(error)
                continue
            comparison = Comparison(label, REFERENCE, least_score=self.least_score)
            self.paths.append((comparison, backend))
        for name in set(backends("cuda")) - set(backends(device)):
            self.absent[name] = "runs on device cuda only"

    def compare(self, frame: Frame) -> list[Record]:
        """Run a frame through all of them; return the reference's records."""
        expected = self._reference.trace(frame.images, frame.tables)
        records = self._records(expected, frame)
        self.reference.add_boxes(records, records, frame.token)
        for comparison, backend in self.paths:
            if isinstance(backend, Tracing):
                actual, wanted = backend.trace(frame.images, frame.tables), expected
            else:
                actual = _flat(backend.infer(frame.images, frame.tables))
                wanted = {name: expected[name] for name in actual}
            comparison.add_tensors(wanted, actual)
            comparison.add_boxes(records, self._records(actual, frame), frame.token)
        return records

    def infer(self, images: ImageArray, frame: Frame) -> tuple[Tensors, list[Record]]:
        """Return the reference's head maps and records of other pixels of a frame."""
        maps = _flat(self._reference.infer(images, frame.tables))
        return maps, self._records(maps, frame)

    def close(self) -> None:
        """Release the backends' memory."""
        for backend in (self._reference, *(backend for _, backend in self.paths)):
            backend.close()

    def _records(self, tensors: Tensors, frame: Frame) -> list[Record]:
        maps = [
            {
                name.removeprefix(head_map_name(task, "")): values
                for name, values in tensors.items()
                if name.startswith(head_map_name(task, ""))
            }
            for task in range(len(self._card.tasks))
        ]
        return records_of(detections_of(maps, self._card, frame, self._threshold), frame)


class PixelPaths:
    """The vehicle's ways of decoding and resizing, against Pillow, all through torch."""

    def __init__(self, card: ModelCard, routes: Mapping[str, Route], network: BackendPaths) -> None:
        """Prepare; the network is that of the backend paths."""
        self._rule, self._network, self._routes = input_rule(card), network, routes
        self.reference = Comparison(PILLOW, PILLOW)
        least = network.least_score
        self.paths = {
            name: Comparison(f"pixels {name}", PILLOW, least_score=least) for name in routes
        }

    def compare(self, frame: Frame) -> None:
        """Run a frame through all of them."""
        expected = _pixels(reference_pixels, frame.files, self._rule)
        maps, records = self._network.infer(expected, frame)
        self.reference.add_boxes(records, records, frame.token)
        done = [(expected, maps, records)]
        for name, route in self._routes.items():
            images = _pixels(route, frame.files, self._rule)
            # Small images are not shrunk while they are decoded: often the pixels are the same.
            known = [entry for entry in done if np.array_equal(entry[0], images)]
            if not known:
                done.append((images, *self._network.infer(images, frame)))
            _, own_maps, own_records = known[0] if known else done[-1]
            comparison = self.paths[name]
            comparison.add_tensors({"images": expected, **maps}, {"images": images, **own_maps})
            comparison.add_boxes(records, own_records, frame.token)


def least_score(card: ModelCard, threshold: float | None) -> float:
    """Return what boxes have to score to need a partner in another path."""
    return SCORE_MARGIN + (card.decode.score_threshold if threshold is None else threshold)


def _names_and_levels(card: ModelCard, device: str) -> list[tuple[str, Precision]]:
    names = list(backends(device))
    graphs = [name for name in names if name not in FLOAT_ONLY]
    levels = [(name, FP32) for name in names]
    levels += [(name, FP16) for name in graphs if card.onnx_fp16 is not None]
    levels += [(name, INT8) for name in graphs if card.int8 is not None]
    return levels


def _pixels(route: Route, files: tuple[Path, ...], rule: InputRule) -> ImageArray:
    return np.stack([route(file, rule) for file in files])


def _flat(head_maps: HeadMaps) -> Tensors:
    return {
        head_map_name(index, name): values
        for index, task in enumerate(head_maps)
        for name, values in task.items()
    }
