# SPDX-License-Identifier: Apache-2.0
"""Student → two ONNX graphs, one on each side of the pooling, with fixed shapes.

Normalisation of the pixels is inside the image graph, and its first node casts uint8; norms are
folded into convolutions; deformable attention is gathers and sums, so that no runtime needs a
plugin. Names and shapes are those of `core/onnx_interface`.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from simdistill_ros.core.model_card import ModelCard
from simdistill_ros.core.network.build import load_student
from simdistill_ros.core.network.convolutions import fold_norms
from simdistill_ros.core.network.sampling import use_sum_form
from simdistill_ros.core.network.student import BevNetwork, ImageNetwork, Student
from simdistill_ros.core.onnx_interface import (
    GraphInterface,
    bev_interface,
    head_map_name,
    image_interface,
)
from simdistill_training.onnx_half import half_graph
from simdistill_training.onnx_lint import lint_graph

OPSET = 20
INSTALL = "pip install -r requirements/export.txt"


class ExportError(ValueError):
    """A model cannot be exported; the message says what is in the way."""


class ImageGraph(nn.Module):
    """uint8 images (N, H, W, 3) → depth and context of both branches."""

    def __init__(self, network: ImageNetwork, card: ModelCard) -> None:
        """Wrap the image half of a student."""
        super().__init__()
        self.network = network
        self.scale: Tensor
        self.offset: Tensor
        mean, std = torch.tensor(card.image.mean), torch.tensor(card.image.std)
        self.register_buffer("scale", 1 / (255 * std).view(1, 3, 1, 1))
        self.register_buffer("offset", (mean / std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the four outputs of `image_interface`."""
        pixels = images.float().permute(0, 3, 1, 2)
        lifted = self.network((pixels * self.scale - self.offset)[None])
        return tuple(output[0] for output in lifted)


class BevGraph(nn.Module):
    """Pooled maps (1, X, Y, C) of both branches → head maps."""

    def __init__(self, network: BevNetwork, interface: GraphInterface) -> None:
        """Wrap the BEV half of a student."""
        super().__init__()
        self.network = network
        self.names = list(interface.outputs)

    def forward(self, pooled_camera: Tensor, pooled_lidar: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs of `bev_interface`."""
        tasks = self.network(pooled_camera.permute(0, 3, 1, 2), pooled_lidar.permute(0, 3, 1, 2))
        maps = {
            head_map_name(index, name): values[0]
            for index, task in enumerate(tasks)
            for name, values in task.items()
        }
        return tuple(maps[name] for name in self.names)


def write_graphs(card: ModelCard, image_file: Path, bev_file: Path) -> None:
    """Write both graphs of a model package in single precision, checked and linted.

    Raises:
        ExportError: If the exporter's packages are missing or a graph has something that a
            deployment runtime refuses.
        ModelCardError: If the weights do not fit the card.
    """
    student = exportable_student(card)
    write_image_graph(student, card, image_file)
    write_bev_graph(student, card, bev_file)


def exportable_student(card: ModelCard, *, for_cpu: bool = False) -> Student:
    """Return the card's student, norms folded, in operators that every runtime knows.

    Args:
        card: The model.
        for_cpu: Let attention sample by the operator that is fastest in ONNX Runtime on CPUs, and
            that TensorRT computes wrongly.

    Raises:
        ModelCardError: If the weights do not fit the card.
    """
    student = load_student(card).eval()
    fold_norms(student)
    use_sum_form(student, "grid" if for_cpu else "gather")
    return student


def write_image_graph(
    student: Student,
    card: ModelCard,
    file: Path,
    cameras: int | None = None,
    allowed: Collection[str] = (),
) -> None:
    """Write a student's image graph for all cameras or as many at a time; see `write_graphs`.

    Args:
        student: From `exportable_student`.
        card: Its card.
        file: To write.
        cameras: Of one run; all of them by default.
        allowed: See `lint_graph`.
    """
    module = ImageGraph(student.image_network, card)
    _write(module, image_interface(card, cameras), card, file, allowed)


def write_bev_graph(
    student: Student, card: ModelCard, file: Path, allowed: Collection[str] = ()
) -> None:
    """Write a student's bev graph; see `write_image_graph`."""
    interface = bev_interface(card)
    _write(BevGraph(student.bev_network, interface), interface, card, file, allowed)


def _write(
    module: nn.Module,
    interface: GraphInterface,
    card: ModelCard,
    file: Path,
    allowed: Collection[str],
) -> None:
    onnx = _onnx()
    example = tuple(
        torch.zeros(shape, dtype=torch.uint8 if name == "images" else torch.float32)
        for name, shape in interface.inputs.items()
    )
    with _quiet_exporter(), torch.no_grad():
        program = torch.onnx.export(
            module.eval(),
            example,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(interface.inputs),
            output_names=list(interface.outputs),
            external_data=False,
            verbose=False,
        )
    assert program is not None
    _save_checked(_cleaned(program.model_proto, card, onnx), file, onnx, allowed)


def write_half_graph(single_file: Path, half_file: Path) -> None:
    """Write a graph that `write_graphs` wrote in half precision, checked and linted.

    Raises:
        ExportError: As `write_graphs`, or if a weight is too large for a half.
    """
    onnx = _onnx()
    try:
        model = half_graph(onnx.load(single_file))
    except ValueError as error:
        raise ExportError(f"{half_file.name}: {error}") from error
    _save_checked(model, half_file, onnx)


def _save_checked(model: Any, file: Path, onnx: Any, allowed: Collection[str] = ()) -> None:
    onnx.checker.check_model(model, full_check=True)
    findings = lint_graph(model, allowed)
    if findings:
        raise ExportError(f"{file.name}: not deployable: " + "; ".join(findings))
    onnx.save(model, file)


def _cleaned(model: Any, card: ModelCard, onnx: Any) -> Any:
    """Drop the exporter's traces, which name files of this machine; say what the graph is of."""
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        del value.metadata_props[:]
    del model.graph.metadata_props[:]
    model.graph.doc_string = model.doc_string = ""
    weights = card.weights.sha256 if card.weights else f"seed {card.init_seed}"
    facts = {"model": card.name, "weights": weights, "cameras": " ".join(card.cameras)}
    onnx.helper.set_model_props(model, facts)
    return model


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silence what the exporter says about operators that the student does not use."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnx_ir", "onnxscript")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _onnx() -> Any:
    try:
        import onnx
        import onnxscript  # noqa: F401 (the exporter needs it and would say so less clearly)
    except ImportError as error:
        raise ExportError(f"the Python package {error.name} is missing: {INSTALL}") from error
    return onnx
