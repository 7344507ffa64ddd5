# SPDX-License-Identifier: Apache-2.0
"""Run the student's two ONNX graphs in TensorRT or TensorRT-RTX, pooling between them in torch.

Image graph, pooling and BEV graph are put on one CUDA stream; nothing waits for the GPU before the
head maps are copied to the host, in one piece. Engines come from the cache or are built here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from simdistill_ros.core.backends.base import BackendError, HeadMaps
from simdistill_ros.core.backends.engine_cache import EngineCache, EngineKey
from simdistill_ros.core.backends.tensorrt_engine import Engine, split_views
from simdistill_ros.core.backends.tensorrt_library import (
    FLAGS,
    TensorRt,
    build_plan,
    import_tensorrt,
)
from simdistill_ros.core.decode import head_map_channels
from simdistill_ros.core.lift_geometry import PoolingTables
from simdistill_ros.core.model_card import ModelCard
from simdistill_ros.core.network.view_transform import (
    BatchedPoolingTables,
    batch_tables,
    pool_two_bevs,
)
from simdistill_ros.core.onnx_interface import bev_interface, head_map_name, image_interface


class TensorRtBackend:
    """The two graphs of a model package as engines."""

    def __init__(self, card: ModelCard, device: str, engine_folder: Path | None = None) -> None:
        """Load the engines of a package; build those that are not in the cache.

        Args:
            card: The model.
            device: Must be `cuda`.
            engine_folder: Where engines are kept; None: the user's cache folder.

        Raises:
            BackendError: If the library or the GPU is missing, the package has no ONNX files, an
                engine cannot be built or loaded, or the GPU's memory is full.
            ModelCardError: If an ONNX file is missing or has another hash.
        """
        if device != "cuda":
            raise BackendError(f"device: expected cuda for backend tensorrt, got {device}")
        if card.onnx is not None and card.onnx.cameras_per_run is not None:
            raise BackendError(
                "these graphs were made for CPUs: run `simdistill quantize --for tensorrt`"
            )
        self._card, self._library = card, import_tensorrt()
        plans = engine_plans(card, self._library, EngineCache(engine_folder))
        try:
            self._image = Engine(
                self._library, plans["image"], image_interface(card), name="image graph"
            )
            self._bev_interface = bev_interface(card)
            self._bev = Engine(self._library, plans["bev"], self._bev_interface, name="bev graph")
        except torch.OutOfMemoryError as error:
            raise _out_of_memory(card, error) from error
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._tables: tuple[PoolingTables, BatchedPoolingTables] | None = None

    @property
    def description(self) -> str:
        """What runs where."""
        return f"{self._library.description} on {torch.cuda.get_device_name(0)}"

    def infer(self, images: npt.NDArray[np.uint8], tables: PoolingTables) -> HeadMaps:
        """Run the network on one snapshot; see `Backend.infer`.

        Raises:
            BackendError: If the GPU's memory is full or the library refuses; the next snapshot may
                work again.
        """
        try:
            with torch.inference_mode(), torch.cuda.stream(self._stream):
                return self._infer(torch.from_numpy(np.ascontiguousarray(images)), tables)
        except torch.OutOfMemoryError as error:
            torch.cuda.empty_cache()
            raise _out_of_memory(self._card, error) from error

    def close(self) -> None:
        """Release the device's memory."""
        del self._image, self._bev
        self._tables = None
        torch.cuda.empty_cache()

    def _infer(self, images: torch.Tensor, tables: PoolingTables) -> HeadMaps:
        if self._tables is None or self._tables[0] is not tables:
            on_device = batch_tables([tables]).to(self._image.inputs["images"].device)
            self._tables = (tables, on_device)
        self._image.inputs["images"].copy_(images)
        self._image.run(self._stream)
        lifted = {name: values[None] for name, values in self._image.outputs.items()}
        pooled = pool_two_bevs(
            (
                (lifted["depth_camera"], lifted["context_camera"]),
                (lifted["depth_lidar"], lifted["context_lidar"]),
            ),
            self._tables[1],
            self._card.bev.grid.shape_xy,
        )
        for name, values in zip(("pooled_camera", "pooled_lidar"), pooled, strict=True):
            self._bev.set_input(name, values.permute(0, 2, 3, 1))
        self._bev.run(self._stream)
        return self._head_maps(self._bev.outputs_at_once.to("cpu", copy=True))

    def _head_maps(self, values: torch.Tensor) -> HeadMaps:
        maps = split_views(values, self._bev_interface.outputs)
        return [
            {name: maps[head_map_name(index, name)].numpy() for name in head_map_channels(1)}
            for index in range(len(self._card.tasks))
        ]


def engine_plans(card: ModelCard, library: TensorRt, cache: EngineCache) -> dict[str, bytes]:
    """Return the engines of a package's graphs, `image` and `bev`, for the GPU at hand.

    Raises:
        BackendError: If there is no GPU, the package has no ONNX files, or an engine cannot be
            built.
        ModelCardError: If an ONNX file is missing or has another hash.
    """
    if card.onnx is None:
        raise BackendError(
            f"model {card.name} has no ONNX files: make them with `simdistill export`"
        )
    gpu, capability = _gpu()
    plans = {}
    for graph, entry in (("image", card.onnx.image), ("bev", card.onnx.bev)):
        onnx = card.verified_bytes(f"onnx.{graph}", entry)
        key = EngineKey(
            onnx_sha256=entry.sha256,
            flavour=library.flavour,
            version=library.version,
            gpu=gpu,
            compute_capability=capability,
            precision=card.precision,
            flags=FLAGS,
        )

        def build(onnx: bytes = onnx, file: str = entry.file) -> bytes:
            return build_plan(library, onnx, name=file, compute_capability=capability)

        plans[graph] = cache.engine(f"{card.name} {graph}", key, build)
    return plans


def _gpu() -> tuple[str, str]:
    """Return name and compute capability of the GPU."""
    if not torch.cuda.is_available():
        raise BackendError(
            "device cuda: this PyTorch sees no CUDA device; install a CUDA build of torch and the "
            "driver, or set device to cpu"
        )
    major, minor = torch.cuda.get_device_capability(0)
    return torch.cuda.get_device_name(0), f"{major}.{minor}"


def _out_of_memory(card: ModelCard, error: Exception) -> BackendError:
    reason = str(error).splitlines()[0]
    return BackendError(
        f"the GPU's memory is full while model {card.name} is loaded or run ({reason}); "
        "end other programs on the GPU, take a smaller model, or set device to cpu"
    )
