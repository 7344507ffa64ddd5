# SPDX-License-Identifier: Apache-2.0
"""A detector whose network answers at once: all that is left is what the node itself costs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from simdistill_ros.core.backends.base import HeadMaps
from simdistill_ros.core.decode import head_map_channels
from simdistill_ros.core.detector import Detector
from simdistill_ros.core.lift_geometry import PoolingTables
from simdistill_ros.core.model_card import ModelCard, load_model_card
from simdistill_ros.resources import model_folder

PEAKS_PER_CLASS = 3
FAR_BELOW, ABOVE = -9.0, 1.0  # logits


class StubBackend:
    """Answers with the same few boxes, whatever the images show."""

    description = "stub"

    def __init__(self, card: ModelCard) -> None:
        """Make the answer: a few peaks a class."""
        generator = np.random.default_rng(0)
        self._maps: HeadMaps = []
        for task in card.tasks:
            channels = head_map_channels(len(task.classes))
            maps = {
                name: np.zeros((count, *card.head_shape_xy), np.float32)
                for name, count in channels.items()
            }
            maps["heatmap"][:] = FAR_BELOW
            for heat in maps["heatmap"]:
                cells = generator.integers(0, heat.shape, (PEAKS_PER_CLASS, 2))
                heat[cells[:, 0], cells[:, 1]] = ABOVE
            maps["rot"][1] = 1.0
            self._maps.append(maps)

    def infer(self, images: npt.NDArray[np.uint8], tables: PoolingTables) -> HeadMaps:
        """Return the answer."""
        return self._maps

    def close(self) -> None:
        """Do nothing."""


def stub_detector(model: str = "tiny") -> Detector:
    """Return a real detector, from resize to boxes, around the stub."""
    card = load_model_card(model_folder(model))
    return Detector(card, StubBackend(card))
