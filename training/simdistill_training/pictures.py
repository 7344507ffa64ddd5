# SPDX-License-Identifier: Apache-2.0
"""Pictures of what the network sees and says: cameras with boxes and points, BEV with targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from simdistill_ros.core.boxes import Detections, box_corners
from simdistill_ros.core.class_colors import CLASS_COLORS, OTHER_COLOR
from simdistill_ros.core.frames import FloatArray
from simdistill_ros.core.model_card import ModelCard
from simdistill_ros.core.snapshot import ImageArray
from simdistill_training.batch import Batch
from simdistill_training.losses import HeadMaps
from simdistill_training.targets import TaskTargets, center_targets

_RING = ((0, 1), (1, 2), (2, 3), (3, 0))
EDGES = (*_RING, *((a + 4, b + 4) for a, b in _RING), *((a, a + 4) for a in range(4)))
NEAR_M = 0.5
COLOUR_DEPTH_M = 50.0
BEV_PIXELS = 384

Float32Array = npt.NDArray[np.float32]


def camera_picture(
    image: ImageArray, input_from_bev: FloatArray, boxes: Detections, points: Float32Array
) -> ImageArray:
    """Return a camera's input with LiDAR points (coloured by depth) and boxes.

    Args:
        image: (H, W, 3) uint8 RGB.
        input_from_bev: (3, 4) projection.
        boxes: In the bev frame.
        points: (P, 3 or more), x, y, z in the bev frame.
    """
    picture = image.copy()
    _draw_points(picture, input_from_bev, points)
    for corners, name in zip(box_corners(boxes), boxes.names(), strict=True):
        pixels = np.pad(corners, ((0, 0), (0, 1)), constant_values=1.0) @ input_from_bev.T
        if (pixels[:, 2] < NEAR_M).any():
            continue
        ends = np.round(pixels[:, :2] / pixels[:, 2:]).astype(int)
        color = _rgb(name)
        for first, second in EDGES:
            cv2.line(picture, _xy(ends[first]), _xy(ends[second]), color, 1, cv2.LINE_AA)
    return picture


def _draw_points(picture: ImageArray, input_from_bev: FloatArray, points: Float32Array) -> None:
    if not len(points):
        return
    scaled = np.pad(points[:, :3], ((0, 0), (0, 1)), constant_values=1.0) @ input_from_bev.T
    scaled = scaled[scaled[:, 2] > NEAR_M]
    pixels = np.round(scaled[:, :2] / scaled[:, 2:]).astype(int)
    height, width = picture.shape[:2]
    inside = ((pixels >= 0) & (pixels < (width, height))).all(axis=1)
    shade = np.clip(scaled[inside, 2] / COLOUR_DEPTH_M, 0, 1) * 255
    colors = cv2.applyColorMap(shade.astype(np.uint8)[:, None], cv2.COLORMAP_TURBO)[:, 0, ::-1]
    picture[pixels[inside, 1], pixels[inside, 0]] = colors


def bev_picture(
    card: ModelCard, boxes: Detections, points: Float32Array, heat: Tensor
) -> ImageArray:
    """Return the scene from above, x up and y to the left: points, boxes and a heatmap (X, Y)."""
    shade = (heat.float().clamp(0, 1) * 255).byte().cpu().numpy()
    size = (BEV_PIXELS, BEV_PIXELS)
    # Rows are x upward, columns y leftward: both axes turn round.
    picture = cv2.applyColorMap(cv2.resize(shade[::-1, ::-1], size), cv2.COLORMAP_BONE)[..., ::-1]
    picture = np.ascontiguousarray(picture)
    rows, columns = _bev_pixels(card, points[:, :2].astype(np.float64))
    inside = (rows >= 0) & (rows < BEV_PIXELS) & (columns >= 0) & (columns < BEV_PIXELS)
    picture[rows[inside], columns[inside]] = (90, 160, 90)
    for corners, name in zip(box_corners(boxes), boxes.names(), strict=True):
        rows, columns = _bev_pixels(card, corners[:4, :2])
        outline = np.column_stack([columns, rows]).reshape(-1, 1, 2).astype(np.int32)
        cv2.polylines(picture, [outline], True, _rgb(name), 1, cv2.LINE_AA)
        front = outline[[0, 3], 0].mean(0), outline[:, 0].mean(0)
        cv2.line(picture, _xy(front[0]), _xy(front[1]), _rgb(name), 1, cv2.LINE_AA)
    return picture


def _bev_pixels(card: ModelCard, xy_m: FloatArray) -> tuple[Any, Any]:
    span_x, span_y = (span[1] - span[0] for span in (card.bev.x_m, card.bev.y_m))
    rows = (card.bev.x_m[1] - xy_m[:, 0]) / span_x * BEV_PIXELS
    columns = (card.bev.y_m[1] - xy_m[:, 1]) / span_y * BEV_PIXELS
    return np.floor(rows).astype(int), np.floor(columns).astype(int)


def best_score(heads: HeadMaps, sample: int) -> Tensor:
    """Return the largest score of any class in each cell, (X, Y)."""
    best = [maps["heatmap"][sample].detach().sigmoid().amax(0) for maps in heads]
    return torch.stack(best).amax(0)


def best_target(targets: Sequence[TaskTargets], sample: int) -> Tensor:
    """Return the largest target of any class in each cell, (X, Y)."""
    return torch.stack([task.heatmap[sample].amax(0) for task in targets]).amax(0)


def sample_picture(card: ModelCard, batch: Batch, sample: int, heat: Tensor) -> ImageArray:
    """Return one sample of a batch: cameras in two rows, the scene from above beside them."""
    points = batch.points[sample].cpu().numpy()
    boxes = batch.boxes[sample]
    tiles = [
        camera_picture(image, projection, boxes, points)
        for image, projection in zip(
            batch.images[sample].cpu().numpy(),
            batch.input_from_bev[sample].cpu().double().numpy(),
            strict=True,
        )
    ]
    half = -(-len(tiles) // 2)
    tiles += [np.zeros_like(tiles[0])] * (2 * half - len(tiles))
    rows = [np.concatenate(tiles[:half], axis=1), np.concatenate(tiles[half:], axis=1)]
    cameras = np.concatenate(rows, axis=0)
    bev = bev_picture(card, boxes, points, heat)
    side = cameras.shape[0]
    bev = cv2.resize(bev, (side, side), interpolation=cv2.INTER_AREA)
    return np.concatenate([cameras, bev], axis=1)


def _rgb(name: str) -> tuple[int, int, int]:
    return CLASS_COLORS.get(name, OTHER_COLOR)


def _xy(point: Any) -> tuple[int, int]:
    return int(point[0]), int(point[1])


class TrainingPictures(Callback):
    """Put the first validation sample, targets and answers into TensorBoard."""

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw the first batch of the first process."""
        logger = trainer.logger
        is_first = batch_idx == 0 and trainer.is_global_zero
        if not (is_first and isinstance(batch, Batch) and isinstance(logger, TensorBoardLogger)):
            return
        from simdistill_training.module import ExperimentModule

        assert isinstance(pl_module, ExperimentModule)
        card = pl_module.card
        targets = center_targets(batch.boxes[:1], card, pl_module.experiment.losses.targets)
        for name, heat in (
            ("targets", best_target(targets, 0)),
            ("answers", best_score(pl_module.heads_of(batch), 0)),
        ):
            picture = sample_picture(card, batch, 0, heat)
            logger.experiment.add_image(
                f"val/{name}", picture, trainer.global_step, dataformats="HWC"
            )
