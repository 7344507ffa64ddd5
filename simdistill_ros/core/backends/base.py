# SPDX-License-Identifier: Apache-2.0
"""What every backend does: network input and pooling tables in, head maps out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from simdistill_ros.core.boxes import Detections
from simdistill_ros.core.lift_geometry import PoolingTables

HeadMaps = list[dict[str, npt.NDArray[np.float32]]]
Tensors = dict[str, npt.NDArray[Any]]


class BackendError(RuntimeError):
    """A backend cannot run here; the message says what is missing and how to get it."""


class Backend(Protocol):
    """Runs one network on one device, always from the same thread."""

    @property
    def description(self) -> str:
        """What runs where, for people."""

    def infer(self, images: npt.NDArray[np.uint8], tables: PoolingTables) -> HeadMaps:
        """Run the network on one snapshot.

        Args:
            images: (N, H, W, 3) uint8 RGB, cameras in the card's order.
            tables: Pooling tables of the snapshot's geometry.

        Returns:
            One dict of maps (C, X', Y') a task; the heatmap holds logits.
        """

    def close(self) -> None:
        """Release the device's memory."""


@runtime_checkable
class Tracing(Protocol):
    """A backend that can also show what happens between its ends, for comparisons."""

    def trace(self, images: npt.NDArray[np.uint8], tables: PoolingTables) -> Tensors:
        """Run the network on one snapshot and return every tensor at a border of its graphs.

        Returns:
            The outputs of the image graph, the pooled maps and the head maps, by the names and
            with the shapes of `core/onnx_interface`.
        """


@runtime_checkable
class FrameBackend(Backend, Protocol):
    """A backend that goes from pixels to boxes itself, with nothing on the host between."""

    def detect_frame(
        self,
        images: Sequence[npt.NDArray[np.uint8]],
        tables: PoolingTables,
        score_threshold: float,
    ) -> Detections:
        """Return the boxes of one snapshot, bev frame, stamp zero, best score first.

        Args:
            images: (H, W, 3) uint8 RGB of each camera, in the card's order, all of one size:
                network input, or whole undistorted images.
            tables: Pooling tables of the snapshot's geometry.
            score_threshold: Boxes must score above it.
        """
