# SPDX-License-Identifier: Apache-2.0
"""Model package → the same package with ONNX graphs and a golden example, proven before it lies."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from simdistill_ros.core.backends.base import BackendError
from simdistill_ros.core.backends.onnxruntime_backend import OnnxRuntimeBackend
from simdistill_ros.core.backends.torch_backend import TorchBackend
from simdistill_ros.core.frames import FloatArray, inverse, rigid, rotation_about_z
from simdistill_ros.core.golden import (
    Golden,
    load_golden,
    record_golden,
    run_self_test,
    save_golden,
)
from simdistill_ros.core.map_errors import max_map_spread
from simdistill_ros.core.model_card import CARD_FILE, ModelCard, load_model_card
from simdistill_ros.core.model_card_deployment import (
    GoldenCard,
    OnnxCard,
    OnnxFileCard,
    Precision,
)
from simdistill_training.checkpoint import write_card
from simdistill_training.onnx_graphs import (
    OPSET,
    ExportError,
    write_graphs,
    write_half_graph,
)

GRAPH_FILES: dict[Precision, tuple[str, str]] = {  # image graph, bev graph
    "fp32": ("image.onnx", "bev.onnx"),
    "fp16": ("image.fp16.onnx", "bev.fp16.onnx"),
}
GOLDEN_FILE = "golden.safetensors"
DEFAULT_TOLERANCE = 1e-4
# Half precision: the spread of errors that ONNX Runtime has here, and a margin for hardware that
# rounds elsewhere. Weights for which more is needed than the cap are not written.
HALF_MARGIN, LEAST_HALF_TOLERANCE, MOST_HALF_TOLERANCE = 3.0, 5e-3, 0.1
# The golden rig: cameras in a ring, this wide, this high above the ground.
FIELD_OF_VIEW_RAD = np.deg2rad(70.0)
CAMERA_HEIGHT_M = 1.5
EGO_AXES_FROM_CAM = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
SEED = 0


def export_package(
    source: Path,
    out: Path,
    *,
    tolerance: float = DEFAULT_TOLERANCE,
    tolerance_fp16: float | None = None,
) -> tuple[ModelCard, str]:
    """Write a model package with ONNX graphs and a golden example.

    The graphs are made from the weights as they are stored, in single and in half precision, and
    ONNX Runtime has to reproduce what torch gives for the golden input before a file reaches `out`.

    Args:
        source: Model package: folder with `model.yaml` and, unless untrained, weights.
        out: Folder of the exported package; may be `source`.
        tolerance: Largest error of a backend that may serve; see `GoldenCard`.
        tolerance_fp16: The same of a backend that computes in half precision; None: measured.

    Returns:
        The package's card, and the result of the self-test in words.

    Raises:
        ModelCardError: If the package cannot be used.
        ExportError: If a graph is not deployable, or ONNX Runtime does not reproduce torch.
    """
    card = load_model_card(source)
    weights = card.verified_weights()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".export-") as name:
        folder = Path(name)
        if weights is not None:
            shutil.copyfile(weights, folder / weights.name)
        card = _write_files(card, folder, tolerance, tolerance_fp16)
        proof = "; ".join(f"{precision} {_proof(card, precision)}" for precision in GRAPH_FILES)
        # The card last: a package that was interrupted keeps the card of its old files.
        for file in sorted(folder.iterdir(), key=lambda file: file.name == CARD_FILE):
            os.replace(file, out / file.name)
    return load_model_card(out), proof


def _write_files(
    card: ModelCard, folder: Path, tolerance: float, tolerance_fp16: float | None
) -> ModelCard:
    singles, halves = GRAPH_FILES["fp32"], GRAPH_FILES["fp16"]
    write_graphs(card, folder / singles[0], folder / singles[1])
    for single, half in zip(singles, halves, strict=True):
        write_half_graph(folder / single, folder / half)
    bev_from_cam, input_from_cam = golden_rig(card)
    backend = TorchBackend(card)
    golden = record_golden(
        card,
        backend,
        golden_images(card),
        bev_from_cam=bev_from_cam,
        input_from_cam=input_from_cam,
        tolerance=tolerance,
    )
    backend.close()
    save_golden(golden, folder / GOLDEN_FILE)
    sections = {
        "onnx": _graphs_card(folder, "fp32"),
        "onnx_fp16": _graphs_card(folder, "fp16"),
        "golden": GoldenCard(
            file=GOLDEN_FILE,
            sha256=_sha256(folder / GOLDEN_FILE),
            tolerance=tolerance,
            tolerance_fp16=tolerance_fp16 or MOST_HALF_TOLERANCE,
        ),
        "int8": None,  # made of other graphs
    }
    card = write_card(folder, card.model_copy(update=sections))
    if tolerance_fp16 is not None:
        return card
    assert card.golden is not None
    measured = {"tolerance_fp16": _half_tolerance(card, golden)}
    return write_card(
        folder, card.model_copy(update={"golden": card.golden.model_copy(update=measured)})
    )


def _half_tolerance(card: ModelCard, golden: Golden) -> float:
    """Return the spread of errors that a backend may have in half precision.

    Raises:
        ExportError: If the weights would need more than the cap.
    """
    backend = OnnxRuntimeBackend(card.in_fp16())
    tables = card.pooling_tables(golden.bev_from_cam, golden.input_from_cam)
    spread, name = max_map_spread(golden.head_maps, backend.infer(golden.images, tables))
    backend.close()
    if not HALF_MARGIN * spread <= MOST_HALF_TOLERANCE:
        raise ExportError(
            f"half precision changes {name} by a spread of {spread:.2g}, expected at most "
            f"{MOST_HALF_TOLERANCE / HALF_MARGIN:.2g}: the weights do not fit half precision; "
            "--tolerance-fp16 sets a larger bound by hand"
        )
    return max(LEAST_HALF_TOLERANCE, float(f"{HALF_MARGIN * spread:.2g}"))


def _graphs_card(folder: Path, precision: Precision) -> OnnxCard:
    image, bev = (
        OnnxFileCard(file=name, sha256=_sha256(folder / name)) for name in GRAPH_FILES[precision]
    )
    return OnnxCard(image=image, bev=bev, opset=OPSET, precision=precision)


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _proof(card: ModelCard, precision: Precision) -> str:
    golden = load_golden(card)
    assert golden is not None
    try:
        variant = card.in_precision(precision)
        return str(run_self_test(variant, golden, OnnxRuntimeBackend(variant)))
    except BackendError as error:
        raise ExportError(
            f"ONNX Runtime does not run the exported model in {precision}: {error}"
        ) from error


def golden_rig(card: ModelCard) -> tuple[FloatArray, FloatArray]:
    """Return bev_from_cam (N, 4, 4) and input_from_cam (N, 3, 3) of cameras in a ring."""
    height, width = card.image.input_hw
    focal_px = width / 2 / np.tan(FIELD_OF_VIEW_RAD / 2)
    pinhole = [[focal_px, 0, (width - 1) / 2], [0, focal_px, (height - 1) / 2], [0, 0, 1]]
    count = len(card.cameras)
    bev_from_ego = inverse(card.bev.ego_from_bev.matrix())
    bev_from_cam = [
        bev_from_ego
        @ rigid(
            rotation_about_z(2 * np.pi * index / count) @ EGO_AXES_FROM_CAM,
            [0, 0, CAMERA_HEIGHT_M],
        )
        for index in range(count)
    ]
    return np.stack(bev_from_cam), np.stack([np.array(pinhole)] * count)


def golden_images(card: ModelCard) -> npt.NDArray[np.uint8]:
    """Return images (N, H, W, 3) with large and small shapes, the same for every export."""
    height, width = card.image.input_hw
    generator = np.random.default_rng(SEED)
    images = []
    for _ in card.cameras:
        image = np.zeros((height, width, 3), np.float32)
        for divisor, weight in ((32, 0.6), (8, 0.3), (2, 0.1)):
            coarse = generator.uniform(0, 255, (height // divisor, width // divisor, 3))
            image += weight * cv2.resize(coarse.astype(np.float32), (width, height))
        images.append(image.round().astype(np.uint8))
    return np.stack(images)
