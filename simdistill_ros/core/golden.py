# SPDX-License-Identifier: Apache-2.0
"""The golden example of a model package, and the test that every backend has to pass with it.

A package's golden file holds images, a rig's geometry, the head maps that the exported network gave
and the best boxes among them. A backend that gives other numbers must not serve.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from simdistill_ros.core.backends.base import Backend, BackendError, FrameBackend, HeadMaps
from simdistill_ros.core.boxes import Detections
from simdistill_ros.core.decode import BEV_FRAME, decode_head_maps, head_map_channels
from simdistill_ros.core.frames import FloatArray
from simdistill_ros.core.map_errors import (
    LEAST_DEVIATION,
    largest_value,
    max_map_error,
    max_map_spread,
)
from simdistill_ros.core.model_card import ModelCard, ModelCardError
from simdistill_ros.core.model_card_deployment import GoldenCard, Precision
from simdistill_ros.core.onnx_interface import bev_interface, head_map_name, image_interface
from simdistill_ros.core.processor import processor_kind

BOX_FIELDS = ("centers_m", "sizes_lwh_m", "yaws_rad", "velocities_mps", "scores", "labels")
BEST_BOXES = 50
PERTURBATIONS = 4
# A box of the expectation is found again if one of its class is as near and scores alike.
NEAR_M, NEAR_M_FP16 = 0.1, 0.25
NEAR_SCORE, NEAR_SCORE_FP16 = 0.01, 0.05
# Share of the best boxes to be found again. Where values have 8 bits, another processor's rounding
# may tip a few of them although they withstood what was tried when they were recorded.
LEAST_FOUND: dict[Precision, float] = {"fp32": 1.0, "fp16": 1.0, "int8": 0.9}
EXACT = 1e-3  # spread, of 8-bit graphs where they were recorded: integers do not round


class SelfTestError(BackendError):
    """A backend's numbers are not those of the model package."""


@dataclass(frozen=True)
class Golden:
    """An input and what comes out of it.

    Attributes:
        images: (N, H, W, 3) uint8 RGB.
        bev_from_cam: (N, 4, 4).
        input_from_cam: (N, 3, 3).
        head_maps: The network's answer.
        boxes: The best decoded boxes that errors within the tolerance do not change, bev frame.
    """

    images: npt.NDArray[np.uint8]
    bev_from_cam: FloatArray
    input_from_cam: FloatArray
    head_maps: HeadMaps
    boxes: Detections


@dataclass(frozen=True)
class SelfTest:
    """How well a backend did: its largest error, and how many boxes were compared."""

    max_error: float
    box_count: int

    def __str__(self) -> str:
        """Return the result in a few words."""
        return f"self-test: error {self.max_error:.1e}, {self.box_count} boxes found again"


def run_self_test(card: ModelCard, golden: Golden, backend: Backend) -> SelfTest:
    """Run the golden input through a backend.

    Raises:
        SelfTestError: If a head map or a box is not the expected one.
    """
    assert card.golden is not None
    tolerance, precision = _tolerance(card.golden, backend), card.precision
    tables = card.pooling_tables(golden.bev_from_cam, golden.input_from_cam)
    actual = backend.infer(golden.images, tables)
    measure = max_map_error if precision == "fp32" else max_map_spread
    worst, name = measure(golden.head_maps, actual)
    if not worst <= tolerance:  # also when it is not a number
        raise SelfTestError(
            f"self-test: {name} differs by {worst:.2g} from the model package, "
            f"expected at most {tolerance:g}"
        )
    boxes = golden.boxes
    if precision == "fp16":  # the package has those that errors of single precision do not change
        boxes = _stable(boxes, golden.head_maps, card, tolerance)
    if isinstance(backend, FrameBackend):  # these boxes are what it will serve
        found = backend.detect_frame(tuple(golden.images), tables, card.decode.score_threshold)
    else:
        found = decode_head_maps(actual, card, stamp_ns=0)
    lost = len(boxes) - int(is_found(boxes, found, precision).sum())
    if lost > (1 - LEAST_FOUND[precision]) * len(boxes):
        raise SelfTestError(
            f"self-test: {lost} of the {len(boxes)} best boxes of the model package are lost"
        )
    return SelfTest(worst, len(boxes))


def _tolerance(entry: GoldenCard, backend: Backend) -> float:
    """Return the largest error that a backend may have here; see `GoldenCard`."""
    is_same = entry.exact_on is not None and entry.exact_on == numbers_of(backend)
    return min(EXACT, entry.tolerance) if is_same else entry.tolerance


def numbers_of(backend: Backend) -> str:
    """Return what decides how a backend rounds: its library's version and the processor's kind."""
    return f"{backend.description} on {processor_kind()}"


def is_found(
    boxes: Detections, among: Detections, precision: Precision = "fp32"
) -> npt.NDArray[np.bool_]:
    """Tell which boxes have one of the same class, place and score among others."""
    if not len(among):
        return np.zeros(len(boxes), dtype=np.bool_)
    gaps_m = np.linalg.norm(boxes.centers_m[:, None] - among.centers_m[None], axis=-1)
    score_gaps = np.abs(boxes.scores[:, None] - among.scores[None])
    same = boxes.labels[:, None] == among.labels[None]
    is_half = precision == "fp16"
    near = gaps_m < (NEAR_M_FP16 if is_half else NEAR_M)
    alike = score_gaps < (NEAR_SCORE_FP16 if is_half else NEAR_SCORE)
    return np.asarray((same & near & alike).any(1))


def record_golden(
    card: ModelCard,
    backend: Backend,
    images: npt.NDArray[np.uint8],
    *,
    bev_from_cam: FloatArray,
    input_from_cam: FloatArray,
    tolerance: float,
) -> Golden:
    """Run an input through the reference backend and keep what came out.

    Boxes that an error within the tolerance would move or suppress prove nothing and are left out.
    """
    head_maps = backend.infer(images, card.pooling_tables(bev_from_cam, input_from_cam))
    boxes = decode_head_maps(head_maps, card, stamp_ns=0)
    stable = _stable(boxes, head_maps, card, tolerance)
    best = stable.select(np.arange(len(stable))[:BEST_BOXES])
    return Golden(images, bev_from_cam, input_from_cam, head_maps, best)


def _stable(
    boxes: Detections, head_maps: HeadMaps, card: ModelCard, tolerance: float
) -> Detections:
    """Return the boxes of head maps that errors within a tolerance do not change."""
    is_stable = np.ones(len(boxes), dtype=np.bool_)
    for seed in range(PERTURBATIONS):
        perturbed = _perturbed(
            head_maps, tolerance, np.random.default_rng(seed), is_spread=card.precision != "fp32"
        )
        is_stable &= is_found(boxes, decode_head_maps(perturbed, card, stamp_ns=0), card.precision)
    return boxes.select(np.flatnonzero(is_stable))


def _perturbed(
    head_maps: HeadMaps, tolerance: float, generator: np.random.Generator, *, is_spread: bool
) -> HeadMaps:
    """Return maps with errors of the largest allowed size, by the measure of their precision."""

    def noisy(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        if is_spread:
            scale = max(LEAST_DEVIATION, float(values.std(dtype=np.float64)))
            noise = generator.normal(0.0, tolerance, values.shape) * scale
        else:
            noise = generator.uniform(-tolerance, tolerance, values.shape) * largest_value(values)
        return (values + noise).astype(np.float32)

    return [{name: noisy(values) for name, values in task.items()} for task in head_maps]


def save_golden(golden: Golden, path: Path) -> None:
    """Write a golden example."""
    arrays: dict[str, npt.NDArray[Any]] = {
        "images": golden.images,
        "bev_from_cam": golden.bev_from_cam,
        "input_from_cam": golden.input_from_cam,
    }
    for index, task in enumerate(golden.head_maps):
        arrays |= {head_map_name(index, name): values for name, values in task.items()}
    arrays |= {f"boxes.{field}": getattr(golden.boxes, field) for field in BOX_FIELDS}
    path.write_bytes(save({name: np.ascontiguousarray(a) for name, a in arrays.items()}))


def load_golden(card: ModelCard) -> Golden | None:
    """Read the golden example of a package, or None if it has none.

    Raises:
        ModelCardError: If the file is missing, has another hash or lacks something.
    """
    if card.golden is None:
        return None
    data = card.verified_bytes("golden", card.golden)
    try:
        # Copies, because what is read from a file's bytes cannot be written to.
        return _golden_of({name: array.copy() for name, array in load(data).items()}, card)
    except (SafetensorError, KeyError, ValueError) as error:
        raise ModelCardError(
            f"{card.file}: golden.file: {card.golden.file} does not fit the card: {error}"
        ) from error


def _check_arrays(arrays: Mapping[str, npt.NDArray[Any]], card: ModelCard) -> None:
    """Refuse arrays of another shape than the card's, and numbers that are none."""
    cameras, boxes = len(card.cameras), len(arrays["boxes.scores"])
    shapes: dict[str, tuple[int, ...]] = {
        **image_interface(card).inputs,
        **bev_interface(card).outputs,
        "bev_from_cam": (cameras, 4, 4),
        "input_from_cam": (cameras, 3, 3),
        "boxes.centers_m": (boxes, 3),
        "boxes.sizes_lwh_m": (boxes, 3),
        "boxes.yaws_rad": (boxes,),
        "boxes.velocities_mps": (boxes, 2),
        "boxes.scores": (boxes,),
        "boxes.labels": (boxes,),
    }
    for name, shape in shapes.items():
        kinds = {"images": "u", "boxes.labels": "i"}.get(name, "f")
        array = arrays[name]
        if array.shape != shape or array.dtype.kind != kinds or not np.isfinite(array).all():
            raise ValueError(
                f"{name}: expected finite numbers of kind {kinds!r} and shape {shape}, "
                f"got {array.dtype} {array.shape}"
            )
    labels = arrays["boxes.labels"]
    if boxes and not (labels.min() >= 0 and labels.max() < len(card.classes)):
        raise ValueError(f"boxes.labels: expected classes of the card, got {labels.tolist()}")


def _golden_of(arrays: Mapping[str, npt.NDArray[Any]], card: ModelCard) -> Golden:
    _check_arrays(arrays, card)
    head_maps = [
        {name: arrays[head_map_name(index, name)] for name in head_map_channels(len(task.classes))}
        for index, task in enumerate(card.tasks)
    ]
    return Golden(
        images=arrays["images"],
        bev_from_cam=arrays["bev_from_cam"],
        input_from_cam=arrays["input_from_cam"],
        head_maps=head_maps,
        boxes=Detections(
            frame=BEV_FRAME,
            stamp_ns=0,
            class_names=card.classes,
            **{field: arrays[f"boxes.{field}"] for field in BOX_FIELDS},
        ),
    )
