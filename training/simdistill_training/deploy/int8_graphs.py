# SPDX-License-Identifier: Apache-2.0
"""Exported package and frames → its two graphs in 8 bits, in the form that suits their target.

For TensorRT, the package's own float graphs are quantised. For CPUs, they are written anew: the
image graph for half the cameras, so that two threads take a half each, the bev graph with a
joined head (see `joined_head`), and attention in both with samples from ONNX Runtime's operator.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from simdistill_ros.core.backends.onnxruntime_backend import OnnxRuntimeBackend
from simdistill_ros.core.lift_geometry import PoolingTables
from simdistill_ros.core.model_card import ModelCard
from simdistill_ros.core.model_card_deployment import OnnxCard, OnnxFileCard
from simdistill_ros.core.network.center_head import CenterHead
from simdistill_ros.core.onnx_interface import bev_interface
from simdistill_ros.core.snapshot import ImageArray
from simdistill_training.deploy.joined_head import JoinedCenterHead, head_ranges
from simdistill_training.deploy.qdq_graph import Feed, Int8Form, write_int8_graph
from simdistill_training.onnx_graphs import exportable_student, write_bev_graph, write_image_graph
from simdistill_training.onnx_lint import CPU_ONLY

IMAGE_FILE, BEV_FILE = "image.int8.onnx", "bev.int8.onnx"
FLOAT_IMAGE_FILE, FLOAT_BEV_FILE = "image.float.onnx", "bev.float.onnx"
Example = tuple[ImageArray, PoolingTables]


def write_int8_graphs(
    card: ModelCard, folder: Path, examples: Sequence[Example], form: Int8Form
) -> tuple[OnnxCard, int]:
    """Write both graphs of an exported package in 8 bits.

    Args:
        card: The exported package.
        folder: Where `IMAGE_FILE` and `BEV_FILE` are written; may not be the package's.
        examples: Network inputs whose activations set the ranges.
        form: How values become 8 bits wide.

    Returns:
        What a card says of the graphs, and how many convolutions stayed in float.

    Raises:
        ExportError: If packages are missing or a deployment runtime would refuse a graph.
        ModelCardError: If the package cannot be used.
    """
    assert card.onnx is not None
    cameras = len(card.cameras)
    pooled = list(_pooled(card, examples))
    sources = card.file.parent / card.onnx.image.file, card.file.parent / card.onnx.bev.file
    if form.activations == "uint8":
        cameras = cameras // 2 if cameras % 2 == 0 else cameras
        sources = _cpu_graphs(card, folder, pooled, cameras)
    images = (
        {"images": images[first : first + cameras]}
        for images, _ in examples
        for first in range(0, len(images), cameras)
    )
    outs = folder / IMAGE_FILE, folder / BEV_FILE
    kept = write_int8_graph(sources[0], outs[0], images, form)
    kept += write_int8_graph(sources[1], outs[1], iter(pooled), form)
    image, bev = (OnnxFileCard(file=out.name, sha256=digest(out)) for out in outs)
    is_part = cameras < len(card.cameras)
    return OnnxCard(
        image=image,
        bev=bev,
        opset=card.onnx.opset,
        precision="int8",
        cameras_per_run=cameras if is_part else None,
    ), kept


def _pooled(card: ModelCard, examples: Sequence[Example]) -> Iterator[Feed]:
    """Yield the inputs of the bev graph for each example."""
    backend = OnnxRuntimeBackend(card)
    for images, tables in examples:
        tensors = backend.trace(images, tables)
        yield {name: tensors[name] for name in bev_interface(card).inputs}
    backend.close()


def _cpu_graphs(
    card: ModelCard, folder: Path, pooled: Sequence[Feed], cameras: int
) -> tuple[Path, Path]:
    """Write the float graphs that are quantised for CPUs."""
    student = exportable_student(card, for_cpu=True)
    head = cast(CenterHead, student.bev_network.head)
    ranges = head_ranges(student.bev_network, (_maps(feed) for feed in pooled))
    student.bev_network.head = JoinedCenterHead(head, ranges)
    image, bev = folder / FLOAT_IMAGE_FILE, folder / FLOAT_BEV_FILE
    write_image_graph(student, card, image, cameras, allowed=CPU_ONLY)
    write_bev_graph(student, card, bev, allowed=CPU_ONLY)
    return image, bev


def _maps(feed: Feed) -> tuple[Tensor, Tensor]:
    """Return the pooled maps of both branches, (1, C, X, Y)."""
    camera, lidar = (torch.from_numpy(feed[f"pooled_{branch}"]) for branch in ("camera", "lidar"))
    return camera.permute(0, 3, 1, 2), lidar.permute(0, 3, 1, 2)


def digest(file: Path) -> str:
    """Return the sha256 of a file, hexadecimal."""
    return hashlib.sha256(file.read_bytes()).hexdigest()
