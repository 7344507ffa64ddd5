# SPDX-License-Identifier: Apache-2.0
"""Run the student in PyTorch, on the CPU or on a CUDA device."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from simdistill_ros.core.backends.base import BackendError, HeadMaps, Tensors
from simdistill_ros.core.boxes import Detections
from simdistill_ros.core.device.frame import DeviceFrame
from simdistill_ros.core.lift_geometry import PoolingTables
from simdistill_ros.core.model_card import ModelCard
from simdistill_ros.core.network.build import load_student
from simdistill_ros.core.network.convolutions import fold_norms
from simdistill_ros.core.network.swin import keep_constants
from simdistill_ros.core.network.view_transform import BatchedPoolingTables, batch_tables
from simdistill_ros.core.onnx_interface import head_map_name

KEPT_FRAMES = 2
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class TorchBackend:
    """The student as a module in eval mode."""

    def __init__(self, card: ModelCard, device: str = "cpu", precision: str = "fp32") -> None:
        """Build the network and load its weights.

        Args:
            card: The model; without weights the network is initialised from the card's seed.
            device: `cpu`, `cuda`, or `auto` for CUDA where there is one.
            precision: Key of `DTYPES`; geometry, probabilities and sums are float32 in each.

        Raises:
            BackendError: If the device or the precision is not there.
            ModelCardError: If the weights do not fit the card.
        """
        if precision not in DTYPES:
            raise BackendError(f"torch: expected precision {', '.join(DTYPES)}; got {precision!r}")
        self._card, self._precision = card, precision
        self._device = resolve_device(device)
        student = load_student(card).eval()
        fold_norms(student)
        keep_constants(student)
        self._student = student.to(self._device, DTYPES[precision])
        # The module's `to` knows the keyword, its type stub does not.
        self._student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._mean = _per_channel(card.image.mean, self._device)
        self._std = _per_channel(card.image.std, self._device)
        self._tables: tuple[PoolingTables, BatchedPoolingTables] | None = None

    @property
    def description(self) -> str:
        """What runs where."""
        return f"torch {torch.__version__} on {self._device}, {self._precision}"

    @torch.inference_mode()
    def infer(self, images: npt.NDArray[np.uint8], tables: PoolingTables) -> HeadMaps:
        """Run the network on one snapshot; see `Backend.infer`."""
        heads = self._student(self._normalised(images), self._on_device(tables))
        return [{name: _array(maps[0]) for name, maps in task.items()} for task in heads]

    @torch.inference_mode()
    def trace(self, images: npt.NDArray[np.uint8], tables: PoolingTables) -> Tensors:
        """Return what crosses the halves' borders on one snapshot; see `Tracing.trace`."""
        lifted = self._student.image_network(self._normalised(images))
        pooled = self._student.pool(lifted, self._on_device(tables))
        heads = self._student.bev_network(*pooled)
        tensors = {name: _array(values[0]) for name, values in lifted._asdict().items()}
        for branch, values in zip(("camera", "lidar"), pooled, strict=True):
            tensors[f"pooled_{branch}"] = _array(values.permute(0, 2, 3, 1))
        return tensors | {
            head_map_name(index, name): _array(maps[0])
            for index, task in enumerate(heads)
            for name, maps in task.items()
        }

    def _normalised(self, images: npt.NDArray[np.uint8]) -> torch.Tensor:
        pixels = torch.from_numpy(images).to(self._device)
        pixels = pixels.permute(0, 3, 1, 2).float().div_(255.0)  # (N, 3, H, W), channels last
        return ((pixels - self._mean) / self._std).to(DTYPES[self._precision])[None]

    def close(self) -> None:
        """Release the device's memory."""
        del self._student
        self._tables = None
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _on_device(self, tables: PoolingTables) -> BatchedPoolingTables:
        if self._tables is None or self._tables[0] is not tables:
            self._tables = (tables, batch_tables([tables]).to(self._device))
        return self._tables[1]


class TorchFrameBackend(TorchBackend):
    """The same from pixels to boxes: on CUDA one graph replay a frame."""

    def __init__(self, card: ModelCard, device: str = "cuda", precision: str = "fp32") -> None:
        """Build the network and load its weights; see `TorchBackend`."""
        super().__init__(card, device, precision)
        if self._device.type == "cuda":
            # Sizes never change, so that looking for the fastest convolutions once pays.
            torch.backends.cudnn.benchmark = True
            # Float32 convolutions would round their inputs to 10 bits; the self-test refuses that.
            torch.backends.cudnn.allow_tf32 = False
        self._frames: OrderedDict[tuple[int, int], DeviceFrame] = OrderedDict()

    def detect_frame(
        self,
        images: Sequence[npt.NDArray[np.uint8]],
        tables: PoolingTables,
        score_threshold: float,
    ) -> Detections:
        """Return the boxes of one snapshot; see `FrameBackend.detect_frame`."""
        return self.frame_of((images[0].shape[0], images[0].shape[1])).detect(
            images, tables, score_threshold
        )

    def frame_of(self, image_hw: tuple[int, int]) -> DeviceFrame:
        """Return the frame for images of a size: network input, or the rig's whole images."""
        if image_hw not in self._frames:
            self._frames[image_hw] = DeviceFrame(self._student, self._card, image_hw, self._device)
            while len(self._frames) > KEPT_FRAMES:
                self._frames.popitem(last=False)
        return self._frames[image_hw]

    def close(self) -> None:
        """Release the device's memory."""
        self._frames.clear()
        super().close()


def resolve_device(name: str) -> torch.device:
    """Return the device of a name; `auto` is CUDA where there is one.

    Raises:
        BackendError: If the device is not there.
    """
    available = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if available else "cpu")
    if name == "cuda" and not available:
        raise BackendError(
            "device cuda: this PyTorch sees no CUDA device; install a CUDA build of torch and the "
            "driver, or set device to cpu"
        )
    return torch.device(name)


def _per_channel(values: tuple[float, float, float], device: torch.device) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32, device=device).view(1, 3, 1, 1)


def _array(values: torch.Tensor) -> npt.NDArray[np.float32]:
    array: npt.NDArray[np.float32] = values.float().cpu().numpy()
    return array
