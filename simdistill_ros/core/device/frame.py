# SPDX-License-Identifier: Apache-2.0
"""One frame from pixels to boxes on one device; on CUDA captured once and replayed as a graph.

What changes from frame to frame lies in buffers that stay where they are: images, pooling tables
(with room for every point a rig could see, so that a new calibration needs no new graph) and the
score's threshold. A frame is one copy of images to the device, one replay, and one copy of boxes
back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from simdistill_ros.core.boxes import Detections
from simdistill_ros.core.device.decode import (
    Candidates,
    DeviceDecoder,
    detections_of,
    is_settled,
    logit,
)
from simdistill_ros.core.device.resample import DeviceResize
from simdistill_ros.core.lift_geometry import PoolingTables
from simdistill_ros.core.model_card import ModelCard
from simdistill_ros.core.network.bev_pooling import triton_form
from simdistill_ros.core.network.student import Lifted, Student
from simdistill_ros.core.network.view_transform import BatchedPoolingTables, batch_tables
from simdistill_ros.core.preprocess import InputRule
from simdistill_ros.core.snapshot import ImageArray

# Runs before the capture: the first ones choose convolution kernels and compile Triton's.
WARM_UP_RUNS = 3
Stage = tuple[str, Callable[[Any], Any]]


class DeviceFrame:
    """Pixels to boxes for images of one size."""

    def __init__(
        self, student: Student, card: ModelCard, image_hw: tuple[int, int], device: torch.device
    ) -> None:
        """Make the buffers.

        Args:
            student: On the device, in eval mode, its norms folded; its type is computed in.
            card: The student's card.
            image_hw: Size of the images; the network input's or that of whole images.
            device: Where to run.
        """
        self._student, self._card, self._device = student, card, device
        self._dtype = next(student.parameters()).dtype
        self._resize = _resize_for(card, image_hw, device)
        rows = slice(0, image_hw[0]) if self._resize is None else self._resize.image_rows
        self._image_rows = rows
        shape = (len(card.cameras), rows.stop - rows.start, image_hw[1], 3)
        self._staged = torch.empty(shape, dtype=torch.uint8, pin_memory=device.type == "cuda")
        self._images = torch.empty(shape, dtype=torch.uint8, device=device)
        self._threshold = torch.zeros((), device=device)
        self._scale, self._shift = _normalisation(card, device)
        self._decoder = DeviceDecoder(card, device)
        self._source: PoolingTables | None = None
        self._tables: BatchedPoolingTables | None = None
        self._graph: Any = None
        self._output: tuple[Candidates, Tensor] | None = None

    def detect(
        self, images: Sequence[ImageArray], tables: PoolingTables, score_threshold: float
    ) -> Detections:
        """Return the boxes of one snapshot, bev frame, stamp zero, best score first.

        Args:
            images: (H, W, 3) uint8 RGB of each camera, in the card's order.
            tables: Pooling tables of the snapshot's geometry.
            score_threshold: Boxes must score above it.

        Raises:
            ValueError: If a head map was not finite.
        """
        self.load(images, tables, score_threshold)
        candidates, packed = self.run()
        if not is_settled(packed):
            packed = self._decoder.settled(candidates).cpu()
        return detections_of(packed, self._card, stamp_ns=0)

    def load(
        self, images: Sequence[ImageArray], tables: PoolingTables, score_threshold: float
    ) -> None:
        """Copy a snapshot into the buffers; see `detect`."""
        for staged, image in zip(self._staged.numpy(), images, strict=True):
            np.copyto(staged, image[self._image_rows])
        self._images.copy_(self._staged, non_blocking=True)
        self._threshold.fill_(logit(score_threshold))
        if tables is not self._source:
            self._load_tables(tables)
            self._source = tables

    @torch.inference_mode()
    def run(self) -> tuple[Candidates, Tensor]:
        """Run what is in the buffers; returns the candidates, and the packed boxes on the host."""
        if self._device.type != "cuda":
            candidates, packed = self._pass()
            return candidates, packed
        if self._graph is None:
            self.capture()
        self._graph.replay()
        assert self._output is not None
        candidates, packed = self._output
        return candidates, packed.cpu()

    def stages(self) -> list[Stage]:
        """Return name and function of each stage; each takes what the one before it returned."""
        network, shape_xy = self._student, self._student.shape_xy
        assert shape_xy == self._card.bev.grid.shape_xy
        return [
            ("preprocess", lambda images: self._network_input(images)),
            ("image network", lambda pixels: network.image_network(pixels[None])),
            ("pooling", lambda lifted: self._pooled(lifted)),
            ("bev network", lambda pooled: network.bev_network(*pooled)),
            ("decode", lambda heads: self._decoder.decode(heads, self._threshold)),
        ]

    @property
    def images(self) -> Tensor:
        """The buffer that the first stage reads."""
        return self._images

    @property
    def graph(self) -> Any:
        """The captured frame; None before the first run and on a CPU."""
        return self._graph

    def capture(self) -> None:
        """Record a frame as a CUDA graph; what is in the buffers is run a few times for it."""
        self._graph = None
        side = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream(self._device))
        with torch.inference_mode(), torch.cuda.stream(side):
            for _ in range(WARM_UP_RUNS):
                self._pass()
        torch.cuda.current_stream(self._device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.inference_mode(), torch.cuda.graph(graph):
            self._output = self._pass()
        self._graph = graph

    def _pass(self) -> tuple[Candidates, Tensor]:
        value: Any = self._images
        for _, stage in self.stages():
            value = stage(value)
        candidates, packed = value
        return candidates, packed

    def _network_input(self, images: Tensor) -> Tensor:
        """Return normalised pixels (N, 3, H, W) of the student's type, channels last in memory."""
        pixels = images if self._resize is None else self._resize(images)
        normalised = (pixels * self._scale + self._shift).to(self._dtype)
        return normalised.permute(0, 3, 1, 2)

    def _pooled(self, lifted: Lifted) -> tuple[Tensor, Tensor]:
        assert self._tables is not None
        return self._student.pool(lifted, self._tables)

    def _load_tables(self, tables: PoolingTables) -> None:
        """Put tables into the buffers; where they do not fit, into new ones."""
        new = batch_tables([tables])
        entries = len(new.pixel_index)
        if self._tables is None or not self._fits(entries):
            # Only the Triton kernel leaves entries behind the last offset alone.
            has_room = self._device.type == "cuda" and triton_form() is not None
            capacity = tables.depth_count if has_room else entries
            self._tables = BatchedPoolingTables(
                *(
                    torch.zeros(size, dtype=torch.int32, device=self._device)
                    for size in (capacity, capacity, len(new.cell_offsets))
                )
            )
            self._graph = None  # it reads the old ones
        for buffer, values in zip(self._tables.tensors(), new.tensors(), strict=True):
            buffer[: len(values)].copy_(values)

    def _fits(self, entries: int) -> bool:
        assert self._tables is not None
        capacity = len(self._tables.pixel_index)
        has_room = self._device.type == "cuda" and triton_form() is not None
        return entries <= capacity if has_room else entries == capacity


def _resize_for(
    card: ModelCard, image_hw: tuple[int, int], device: torch.device
) -> DeviceResize | None:
    """Return the resize of whole images, or None for images that are network input already."""
    if image_hw == card.image.input_hw:
        return None
    rule = InputRule(card.image.input_hw, card.image.resized_width_px, card.image.resize_kernel)
    return DeviceResize(rule, image_hw, device)


def _normalisation(card: ModelCard, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return float32 scale and shift of levels 0 to 255, one a colour."""
    mean, std = torch.tensor(card.image.mean), torch.tensor(card.image.std)
    return (1 / (255 * std)).to(device), (-mean / std).to(device)
