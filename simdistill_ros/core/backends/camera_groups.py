# SPDX-License-Identifier: Apache-2.0
"""Run an image graph that takes some of the cameras on all of them, groups side by side.

Nothing crosses from camera to camera before the pooling. On a CPU, groups on threads of their own
keep the cores busier than threads that wait for each other after each operator.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from simdistill_ros.core.backends.base import Tensors

RunGraph = Callable[[npt.NDArray[np.uint8]], Tensors]


class CameraGroups:
    """An image graph of all cameras, made of one of some."""

    def __init__(self, run: RunGraph, cameras_per_run: int, threads: int) -> None:
        """Start the threads.

        Args:
            run: The graph; may be called from several threads at once.
            cameras_per_run: How many cameras it takes.
            threads: Groups that run at the same time, at most.
        """
        self._run, self._size = run, cameras_per_run
        self._pool = ThreadPoolExecutor(threads - 1, "image-graph") if threads > 1 else None

    def __call__(self, images: npt.NDArray[np.uint8]) -> Tensors:
        """Return the graph's outputs of images (N, H, W, 3), cameras in their order."""
        groups = [images[i : i + self._size] for i in range(0, len(images), self._size)]
        if self._pool is None or len(groups) == 1:
            outputs = [self._run(group) for group in groups]
        else:
            others = [self._pool.submit(self._run, group) for group in groups[1:]]
            outputs = [self._run(groups[0]), *(other.result() for other in others)]
        if len(outputs) == 1:
            return outputs[0]
        return {name: np.concatenate([part[name] for part in outputs]) for name in outputs[0]}

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()
