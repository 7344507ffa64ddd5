# SPDX-License-Identifier: Apache-2.0
"""Ground truth boxes → what the head should say: heatmaps, and ten numbers at each box's cell.

The ten numbers of a box are, in this order: offset of the centre from its cell's lower corner (x,
y; cells), height of the centre (metres), log of length, width and height, sine and cosine of the
yaw, and velocity (x, y; metres per second). The card's legacy switches give the published numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from simdistill_ros.core.boxes import Detections
from simdistill_ros.core.gaussian import gaussian_radius
from simdistill_ros.core.model_card import ModelCard

CODE_BRANCHES = ("reg", "height", "dim", "rot", "vel")  # their channels, joined, are a code
CODE_SIZE = 10

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TargetConfig:
    """How boxes become targets.

    Attributes:
        max_objects: Slots per task and sample; boxes beyond are left out.
        gaussian_overlap: Overlap that a box moved by the radius of its peak still has.
        min_radius_cells: Smallest radius of a peak.
    """

    max_objects: int = 500
    gaussian_overlap: float = 0.1
    min_radius_cells: int = 2

    def __post_init__(self) -> None:
        """Refuse values that give no targets.

        Raises:
            ValueError: If a value is out of range.
        """
        if self.max_objects < 1 or self.min_radius_cells < 0:
            raise ValueError(f"targets: expected at least one slot and no negative radius: {self}")
        if not 0 < self.gaussian_overlap < 1:
            raise ValueError(
                f"targets.gaussian_overlap: expected 0..1, got {self.gaussian_overlap}"
            )


@dataclass(frozen=True)
class TaskTargets:
    """Targets of one task for B samples with S slots each.

    Attributes:
        heatmap: (B, classes, X, Y) float32, 1 at the cells of centres, falling off around them.
        codes: (B, S, 10) float32, see the module; NaN where unknown, such as a velocity.
        cell_index: (B, S) int64, ix * Y + iy; 0 in empty slots.
        mask: (B, S) bool, which slots hold a box.
    """

    heatmap: Tensor
    codes: Tensor
    cell_index: Tensor
    mask: Tensor

    def to(self, device: torch.device | str) -> TaskTargets:
        """Return the targets on a device."""
        return TaskTargets(
            self.heatmap.to(device),
            self.codes.to(device),
            self.cell_index.to(device),
            self.mask.to(device),
        )


def center_targets(
    boxes: Sequence[Detections],
    card: ModelCard,
    config: TargetConfig | None = None,
    device: torch.device | str = "cpu",
) -> list[TaskTargets]:
    """Return the targets of each of the card's tasks.

    Args:
        boxes: Ground truth per sample, bev frame, labels in the card's class order. Boxes outside
            the grid or without extent give no target. Their slot stays empty.
        card: The model card.
        config: How peaks are drawn; None takes the published sizes.
        device: Where the targets are put; the heatmaps are drawn there.

    Raises:
        ValueError: If the boxes' classes are not the card's.
    """
    for sample in boxes:
        if sample.class_names != card.classes:
            raise ValueError(
                f"targets: expected boxes with the card's classes {card.classes}, "
                f"got {sample.class_names}"
            )
    config = config or TargetConfig()
    targets, first_label = [], 0
    for task in card.tasks:
        targets.append(
            _task_targets(boxes, card, config, first_label, len(task.classes), torch.device(device))
        )
        first_label += len(task.classes)
    return targets


def object_mask(targets: Sequence[TaskTargets], *, clipped: bool = True) -> Tensor:
    """Return where objects are, (B, 1, X, Y): the sum of all classes' heatmaps.

    Args:
        targets: Targets of all tasks.
        clipped: At most one; the published mask exceeds it where objects of two classes meet.
    """
    mask = torch.stack([task.heatmap.sum(1, keepdim=True) for task in targets]).sum(0)
    return mask.clamp(max=1.0) if clipped else mask


def joined_codes(head_maps: Mapping[str, Tensor]) -> Tensor:
    """Return the (B, 10, X, Y) codes of a task's head maps."""
    return torch.cat([head_maps[name] for name in CODE_BRANCHES], dim=1)


def codes_at_cells(head_maps: Mapping[str, Tensor], cell_index: Tensor) -> Tensor:
    """Return the codes that a task's head maps hold at cells, (B, S, 10), float32."""
    codes = joined_codes(head_maps).flatten(2).float()  # (B, 10, X * Y)
    index = cell_index[:, None].expand(-1, CODE_SIZE, -1)
    return codes.gather(2, index).transpose(1, 2)


def _task_targets(
    boxes: Sequence[Detections],
    card: ModelCard,
    config: TargetConfig,
    first_label: int,
    classes: int,
    device: torch.device,
) -> TaskTargets:
    batch, slots, (x_cells, y_cells) = len(boxes), config.max_objects, card.head_shape_xy
    codes = np.zeros((batch, slots, CODE_SIZE), dtype=np.float32)
    cell_index = np.zeros((batch, slots), dtype=np.int64)
    mask = np.zeros((batch, slots), dtype=np.bool_)
    planes, radii = [], []
    for sample, detections in enumerate(boxes):
        own = _of_task(detections, first_label, classes)
        own = own.select(np.arange(min(len(own), slots)))
        cells, offsets = _cells(own, card)
        is_target = (cells >= 0).all(1) & (cells < (x_cells, y_cells)).all(1)
        is_target &= (own.sizes_lwh_m > 0).all(1)
        filled = np.flatnonzero(is_target)
        codes[sample, filled] = _codes(own, offsets, card)[filled]
        cell_index[sample, filled] = cells[filled, 0] * y_cells + cells[filled, 1]
        mask[sample, filled] = True
        plane = sample * classes + own.labels[filled] - first_label
        planes.append(np.column_stack([plane, cells[filled]]))
        radii.append(_radii_cells(own.sizes_lwh_m[filled, :2], card, config))
    heatmap = _drawn_peaks(
        (batch * classes, x_cells, y_cells), np.concatenate(planes), np.concatenate(radii), device
    )
    return TaskTargets(
        heatmap.view(batch, classes, x_cells, y_cells),
        *(torch.from_numpy(values).to(device) for values in (codes, cell_index, mask)),
    )


def _of_task(detections: Detections, first_label: int, classes: int) -> Detections:
    """Return the boxes of a task, class by class."""
    of_task = (detections.labels >= first_label) & (detections.labels < first_label + classes)
    own = detections.select(of_task)
    return own.select(np.argsort(own.labels, kind="stable"))


def _cells(boxes: Detections, card: ModelCard) -> tuple[IntArray, FloatArray]:
    """Return the cells (M, 2) of the centres and the offsets (M, 2) from their lower corners."""
    low = np.array([card.bev.x_m[0], card.bev.y_m[0]])
    position = (boxes.centers_m[:, :2] - low) / card.head_cell_m
    rounded = np.trunc(position) if card.legacy.truncated_cells else np.floor(position)
    return rounded.astype(np.int64), position - rounded


def _codes(boxes: Detections, offsets: FloatArray, card: ModelCard) -> FloatArray:
    sizes, yaws, heights = boxes.sizes_lwh_m, boxes.yaws_rad, boxes.centers_m[:, 2]
    if card.legacy.raised_height:
        heights = heights + sizes[:, 2] / 2
    if card.legacy.lidar_box_convention:
        sizes, yaws = sizes[:, [1, 0, 2]], -yaws - np.pi / 2
    logs = np.log(np.maximum(sizes, np.finfo(np.float32).tiny))
    return np.column_stack(
        [offsets, heights, logs, np.sin(yaws), np.cos(yaws), boxes.velocities_mps]
    )


def _radii_cells(sizes_lw_m: FloatArray, card: ModelCard, config: TargetConfig) -> IntArray:
    radii = gaussian_radius(sizes_lw_m / card.head_cell_m, config.gaussian_overlap)
    return np.maximum(radii.astype(np.int64), config.min_radius_cells)


def _drawn_peaks(
    shape: tuple[int, int, int], cells: IntArray, radii: IntArray, device: torch.device
) -> Tensor:
    """Return planes (P, X, Y) with a Gaussian of height one at each (plane, x, y) of `cells`.

    A Gaussian fills a square of 2 * radius + 1 cells with a sixth of that as its sigma; where
    several meet, the largest value stays. All are drawn at once.
    """
    heatmap = torch.zeros(int(np.prod(shape)), device=device)
    if len(cells):
        plane, x, y = torch.from_numpy(cells).to(device).T[..., None, None]  # (M, 1, 1)
        radius = torch.from_numpy(radii).to(device)[:, None, None]
        reach = torch.arange(-int(radii.max()), int(radii.max()) + 1, device=device)
        step_x, step_y = reach[None, :, None], reach[None, None, :]
        sigma = (2 * radius + 1) / 6
        values = torch.exp(-(step_x**2 + step_y**2) / (2 * sigma**2))  # (M, R, R)
        at_x, at_y = x + step_x, y + step_y
        drawn = (step_x.abs() <= radius) & (step_y.abs() <= radius)
        drawn = drawn & (at_x >= 0) & (at_x < shape[1]) & (at_y >= 0) & (at_y < shape[2])
        index = (plane * shape[1] + at_x) * shape[2] + at_y
        heatmap.scatter_reduce_(0, index[drawn], values[drawn], "amax")
    return heatmap.view(shape)
