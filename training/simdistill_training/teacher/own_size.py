# SPDX-License-Identifier: Apache-2.0
"""A teacher whose images, depths or cells are not its student's: the view is lifted anew for it.

What a student learns lies in the BEV; how many pixels each looks at is its own affair. Its cells
may be finer than its teacher's: they are then compared where the teacher has some.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from simdistill_ros.core.camera import scale_matrix
from simdistill_ros.core.frames import FloatArray
from simdistill_ros.core.lift_geometry import PoolingTables
from simdistill_ros.core.model_card import ModelCard
from simdistill_ros.core.model_card_parts import BevCard, ImageCard
from simdistill_ros.core.network.view_transform import BatchedPoolingTables, batch_tables


def shows_the_same(ours: ImageCard, theirs: ImageCard) -> bool:
    """Tell whether two cards' inputs differ in nothing but their scale."""
    sizes = {"input_hw": theirs.input_hw, "resized_width_px": theirs.resized_width_px}
    is_proportional = all(
        our_px * theirs.resized_width_px == their_px * ours.resized_width_px
        for our_px, their_px in zip(ours.input_hw, theirs.input_hw, strict=True)
    )
    return is_proportional and ours.model_copy(update=sizes) == theirs


def covers_the_same(ours: ModelCard, theirs: ModelCard) -> bool:
    """Tell whether a student's maps cover the ground of a teacher's, with cells as fine or finer.

    All maps are finer by the same whole number.
    """
    if _without_cells(ours.bev) != _without_cells(theirs.bev):
        return False
    finer = [
        divmod(own, given)
        for maps in ("compensated_shape_xy", "head_shape_xy")
        for own, given in zip(getattr(ours, maps), getattr(theirs, maps), strict=True)
    ]
    return len(set(finer)) == 1 and finer[0][0] >= 1 and finer[0][1] == 0


def _without_cells(bev: BevCard) -> BevCard:
    return bev.model_copy(update={"cell_m": 1.0})


def at_own_size(
    card: ModelCard, images: Tensor, input_from_bev: Tensor
) -> tuple[Tensor, BatchedPoolingTables, Tensor]:
    """Return what a teacher needs of a batch whose images show the same at another scale.

    Args:
        card: The teacher's.
        images: (B, N, 3, H, W), normalised.
        input_from_bev: (B, N, 3, 4), projections into these images.

    Returns:
        Images of the card's size, their pooling tables, and projections into them.
    """
    size = card.image.input_hw
    resampled = functional.interpolate(
        images.flatten(0, 1), size=size, mode="bilinear", antialias=True, align_corners=False
    )
    scale_y, scale_x = (own / given for own, given in zip(size, images.shape[-2:], strict=True))
    own_from_given = torch.from_numpy(scale_matrix(scale_x, scale_y)).to(input_from_bev)
    own_input_from_bev = own_from_given @ input_from_bev
    projections = own_input_from_bev.detach().double().cpu().numpy()
    tables = batch_tables([_tables_of(card, projection) for projection in projections])
    return resampled.view(*images.shape[:3], *size), tables.to(images.device), own_input_from_bev


def _tables_of(card: ModelCard, input_from_bev: FloatArray) -> PoolingTables:
    """Return the pooling tables of projections (N, 3, 4).

    Pixels times depth are taken as a camera frame of their own, whose pinhole matrix is one.
    """
    count = len(input_from_bev)
    bev_from_pixels = np.tile(np.eye(4), (count, 1, 1))
    bev_from_pixels[:, :3, :3] = np.linalg.inv(input_from_bev[:, :, :3])
    bev_from_pixels[:, :3, 3:] = -bev_from_pixels[:, :3, :3] @ input_from_bev[:, :, 3:]
    return card.pooling_tables(bev_from_pixels, np.tile(np.eye(3), (count, 1, 1)))
