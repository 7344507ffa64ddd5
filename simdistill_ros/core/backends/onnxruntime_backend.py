# SPDX-License-Identifier: Apache-2.0
"""Run the student's two ONNX graphs in ONNX Runtime, on the CPU or on a CUDA device."""

from __future__ import annotations

import logging
import os
from typing import Any

import numpy as np
import numpy.typing as npt

from simdistill_ros.core.backends.base import BackendError, HeadMaps, Tensors
from simdistill_ros.core.backends.camera_groups import CameraGroups
from simdistill_ros.core.decode import head_map_channels
from simdistill_ros.core.lift_geometry import PoolingTables
from simdistill_ros.core.model_card import ModelCard, ModelCardError
from simdistill_ros.core.model_card_deployment import OnnxCard, OnnxFileCard
from simdistill_ros.core.network.view_transform import (
    BatchedPoolingTables,
    batch_tables,
    pool_arrays,
)
from simdistill_ros.core.onnx_interface import (
    GraphInterface,
    bev_interface,
    head_map_name,
    image_interface,
)

LOGGER = logging.getLogger(__name__)
CPU_PROVIDER = "CPUExecutionProvider"
CUDA_PROVIDERS = ("CUDAExecutionProvider", "TensorrtExecutionProvider")  # the first that is there
ELEMENT_TYPES = {"images": "tensor(uint8)"}  # everything else is float


class OnnxRuntimeBackend:
    """The two graphs of a model package as sessions; pooling between them on the CPU."""

    def __init__(self, card: ModelCard, device: str = "cpu") -> None:
        """Verify the package's files and load them.

        Args:
            card: The model.
            device: `cpu`, or `cuda`, which is the CPU for builds of ONNX Runtime without it.

        Raises:
            BackendError: If onnxruntime is missing, the package has no ONNX files, or ONNX Runtime
                refuses them.
            ModelCardError: If a file is missing, has another hash or does not fit the card.
        """
        if card.onnx is None:
            raise BackendError(
                f"model {card.name} has no ONNX files: make them with `simdistill export`"
            )
        self._runtime = _onnxruntime()
        self._provider = self._provider_of(device)
        self._card = card
        self._image = self._image_graph(card.onnx)
        self._bev_interface = bev_interface(card)
        self._bev = self._session("onnx.bev", card.onnx.bev, self._bev_interface, _threads())
        self._tables: tuple[PoolingTables, BatchedPoolingTables] | None = None

    @property
    def description(self) -> str:
        """What runs where."""
        return f"onnxruntime {self._runtime.__version__} ({self._provider})"

    def infer(self, images: npt.NDArray[np.uint8], tables: PoolingTables) -> HeadMaps:
        """Run the network on one snapshot; see `Backend.infer`."""
        return self._head_maps(self.trace(images, tables))

    def trace(self, images: npt.NDArray[np.uint8], tables: PoolingTables) -> Tensors:
        """Return what crosses the graphs' borders on one snapshot; see `Tracing.trace`."""
        if self._tables is None or self._tables[0] is not tables:
            self._tables = (tables, batch_tables([tables]))
        lifted = self._image(images)
        shape_xy = self._card.bev.grid.shape_xy
        pooled = {
            f"pooled_{branch}": pool_arrays(
                lifted[f"depth_{branch}"], lifted[f"context_{branch}"], self._tables[1], shape_xy
            )
            for branch in ("camera", "lidar")
        }
        return {**lifted, **pooled, **_run(self._bev, self._bev_interface, pooled)}

    def _head_maps(self, tensors: Tensors) -> HeadMaps:
        return [
            {name: tensors[head_map_name(index, name)] for name in head_map_channels(1)}
            for index in range(len(self._card.tasks))
        ]

    def close(self) -> None:
        """Release the sessions' memory."""
        self._image.close()
        del self._image, self._bev
        self._tables = None

    def _provider_of(self, device: str) -> str:
        available = self._runtime.get_available_providers()
        wanted = [name for name in CUDA_PROVIDERS if name in available and device == "cuda"]
        if device == "cuda" and not wanted:
            LOGGER.warning(
                "device cuda: this onnxruntime has none of %s and runs on the CPU; "
                "pip install onnxruntime-gpu in place of onnxruntime",
                ", ".join(CUDA_PROVIDERS),
            )
        return wanted[0] if wanted else CPU_PROVIDER

    def _image_graph(self, graphs: OnnxCard) -> CameraGroups:
        """Return the image graph; groups of cameras share the threads among them."""
        cameras = len(self._card.cameras)
        size = graphs.cameras_per_run or cameras
        if cameras % size:
            raise ModelCardError(
                f"{self._card.file}: onnx.cameras_per_run: expected a divisor of {cameras} cameras,"
                f" got {size}"
            )
        side_by_side = min(cameras // size, _threads()) if self._provider == CPU_PROVIDER else 1
        interface = image_interface(self._card, size)
        threads = _threads() // side_by_side
        session = self._session("onnx.image", graphs.image, interface, threads)
        return CameraGroups(
            lambda images: _run(session, interface, {"images": images}), size, side_by_side
        )

    def _options(self, threads: int) -> Any:
        options = self._runtime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads
        # Waiting threads would take the cores from the camera threads, unless those have others.
        options.add_session_config_entry("session.intra_op.allow_spinning", _spinning())
        options.add_session_config_entry("session.force_spinning_stop", "1")  # between snapshots
        return options

    def _session(
        self, key: str, entry: OnnxFileCard, expected: GraphInterface, threads: int
    ) -> Any:
        model = self._card.verified_bytes(key, entry)
        try:
            session = self._runtime.InferenceSession(
                model, self._options(threads), providers=[self._provider]
            )
        except Exception as error:
            raise BackendError(f"{entry.file}: ONNX Runtime refuses it: {error}") from error
        if self._provider not in session.get_providers():
            raise BackendError(f"{self._provider} does not start: see ONNX Runtime's own message")
        for nodes, shapes in (
            (session.get_inputs(), expected.inputs),
            (session.get_outputs(), expected.outputs),
        ):
            actual = {node.name: (node.type, tuple(node.shape)) for node in nodes}
            wanted = {
                name: (ELEMENT_TYPES.get(name, "tensor(float)"), shape)
                for name, shape in shapes.items()
            }
            if actual != wanted:
                raise ModelCardError(
                    f"{self._card.file}: {key}: expected {wanted} in {entry.file}, got {actual}"
                )
        return session


def _run(session: Any, interface: GraphInterface, feed: Tensors) -> Tensors:
    names = list(interface.outputs)
    return dict(zip(names, session.run(names, feed), strict=True))


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendError(
            "the Python package onnxruntime is missing: pip install onnxruntime "
            "(for device cuda: onnxruntime-gpu)"
        ) from error
    return onnxruntime


def _threads() -> int:
    """Return as many threads as torch would take."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdigit() and int(asked) else len(os.sched_getaffinity(0))


def _spinning() -> str:
    """Return 1 if the user lets waiting threads spin, by the variable that torch obeys too."""
    return str(int(os.environ.get("OMP_WAIT_POLICY", "").upper() == "ACTIVE"))
