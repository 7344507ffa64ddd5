# SPDX-License-Identifier: Apache-2.0
"""Names and shapes of the two ONNX graphs of a model: what an export writes and a backend expects.

image graph: `images` (N, H, W, 3) uint8 RGB → depth (N, D, Hf, Wf) and context (N, Hf, Wf, C) of
the camera and the simulated-LiDAR branch; N may be a part of the cameras, see `OnnxCard`. bev
graph: pooled maps (1, X, Y, C) of both branches → `task<i>_<map>` (channels, X', Y').
"""

from __future__ import annotations

from dataclasses import dataclass

from simdistill_ros.core.decode import head_map_channels
from simdistill_ros.core.model_card import ModelCard

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class GraphInterface:
    """Shapes of a graph's inputs and outputs by name, in order."""

    inputs: Shapes
    outputs: Shapes


def image_interface(card: ModelCard, cameras: int | None = None) -> GraphInterface:
    """Return the interface of the card's image graph, for all cameras or as many at a time."""
    cameras, bins = cameras or len(card.cameras), card.lift.depth.count
    depth = (cameras, bins, *card.feature_hw)
    context = (cameras, *card.feature_hw, card.lift.context_channels)
    return GraphInterface(
        inputs={"images": (cameras, *card.image.input_hw, 3)},
        outputs={
            "depth_camera": depth,
            "context_camera": context,
            "depth_lidar": depth,
            "context_lidar": context,
        },
    )


def bev_interface(card: ModelCard) -> GraphInterface:
    """Return the interface of the card's bev graph."""
    pooled = (1, *card.bev.grid.shape_xy, card.lift.context_channels)
    head_shape_xy = card.head_shape_xy
    return GraphInterface(
        inputs={"pooled_camera": pooled, "pooled_lidar": pooled},
        outputs={
            head_map_name(index, name): (channels, *head_shape_xy)
            for index, task in enumerate(card.tasks)
            for name, channels in head_map_channels(len(task.classes)).items()
        },
    )


def head_map_name(task: int, name: str) -> str:
    """Return the name of a task's head map among the outputs."""
    return f"task{task}_{name}"
