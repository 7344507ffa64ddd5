# SPDX-License-Identifier: Apache-2.0
"""Exported package → the same package with 8-bit graphs beside the float ones, if they are as good.

The 8-bit graphs have a golden example of their own: what ONNX Runtime's integer operators gave,
with the boxes that the graphs also give when every operation is computed in float between the
quantisations, as written. Both differ by rounding only, unless integers overflow.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simdistill_ros.command_line.terminal import progress
from simdistill_ros.core.backends.onnxruntime_backend import OnnxRuntimeBackend
from simdistill_ros.core.decode import decode_head_maps
from simdistill_ros.core.golden import (
    BEST_BOXES,
    Golden,
    is_found,
    load_golden,
    max_map_error,
    run_self_test,
    save_golden,
)
from simdistill_ros.core.model_card import CARD_FILE, ModelCard, load_model_card
from simdistill_ros.core.model_card_deployment import (
    CalibrationCard,
    GoldenCard,
    Int8Card,
    OnnxCard,
    QuantisedScoresCard,
)
from simdistill_training.checkpoint import write_card
from simdistill_training.deploy.frames import (
    FrameReader,
    FrameSource,
    Records,
    detections_of,
    records_of,
)
from simdistill_training.deploy.int8_graphs import (
    BEV_FILE,
    IMAGE_FILE,
    digest,
    write_int8_graphs,
)
from simdistill_training.deploy.qdq_graph import Int8Form
from simdistill_training.onnx_graphs import ExportError

GOLDEN_FILE = "golden.int8.safetensors"
# Rounding to one of 256 steps adds up over the layers; larger errors than this are overflows.
MOST_ERROR = 0.5
TOLERANCE_FACTOR, LEAST_TOLERANCE = 1.5, 0.01


@dataclass(frozen=True)
class QuantiseOptions:
    """How a package is quantised and judged.

    Attributes:
        calibration: Frames whose activations set the ranges.
        evaluation: Other frames, on which both forms are scored.
        form: How values become 8 bits wide.
        frames: Calibration frames, spread evenly over the source.
        max_drop: Most that mAP and NDS may lose, absolute.
        threshold: Boxes must score above it to be scored; None takes the card's.
    """

    calibration: FrameSource
    evaluation: FrameSource
    form: Int8Form
    frames: int = 32
    max_drop: float = 0.01
    threshold: float | None = None


def quantise_package(folder: Path, options: QuantiseOptions) -> tuple[ModelCard, str]:
    """Add 8-bit graphs to an exported package, in place.

    Args:
        folder: Package with float ONNX graphs.
        options: How.

    Returns:
        The package's new card, and its proofs in words.

    Raises:
        ModelCardError: If the package cannot be used.
        ExportError: If it was not exported, a graph is not deployable, ONNX Runtime does not
            compute it as written, or it loses more than `max_drop`.
        ValueError: If the frames cannot be used.
    """
    card = load_model_card(folder)
    if card.onnx is None or card.golden is None:
        raise ExportError(f"{card.file}: expected float ONNX graphs, got none: run export first")
    with tempfile.TemporaryDirectory(dir=folder, prefix=".quantize-") as name:
        onnx, float_nodes = _write_graphs(card, Path(name), options)
        variant = card.model_copy(update={"onnx": onnx})
        variant._file = Path(name) / CARD_FILE
        golden, proof = _write_golden(card, variant)
        scores = _compared_scores(card, variant, options)
        int8 = Int8Card(
            onnx=onnx,
            golden=golden,
            activations=options.form.activations,
            weight_bits=options.form.weight_bits,
            float_nodes=float_nodes,
            calibration=CalibrationCard(data=str(options.calibration), frames=options.frames),
            scores=scores,
        )
        for file in (IMAGE_FILE, BEV_FILE, GOLDEN_FILE):
            os.replace(Path(name) / file, folder / file)
        card = write_card(folder, card.model_copy(update={"int8": int8}))
    return card, proof


def _write_graphs(card: ModelCard, folder: Path, options: QuantiseOptions) -> tuple[OnnxCard, int]:
    """Write both graphs; return what the card says of them, and how much stayed in float."""
    reader = FrameReader(card, options.calibration)
    count = min(options.frames, len(reader))
    picked = [reader.tokens[i] for i in np.linspace(0, len(reader) - 1, count).round().astype(int)]
    frames = [reader.read(token) for token in progress(picked, "calibration frames")]
    reader.close()
    examples = [(frame.images, frame.tables) for frame in frames]
    return write_int8_graphs(card, folder, examples, options.form)


class _AsWritten(OnnxRuntimeBackend):
    """The graphs without fused integer operators: what they mean, on any CPU."""

    def _options(self, threads: int) -> Any:
        options = super()._options(threads)
        options.graph_optimization_level = self._runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
        return options


def _write_golden(card: ModelCard, variant: ModelCard) -> tuple[GoldenCard, str]:
    """Record the 8-bit graphs' own golden example; return it and ONNX Runtime's self-test."""
    float_golden = load_golden(card)
    assert float_golden is not None
    images = float_golden.images
    bev_from_cam, input_from_cam = float_golden.bev_from_cam, float_golden.input_from_cam
    tables = card.pooling_tables(bev_from_cam, input_from_cam)
    backend = OnnxRuntimeBackend(variant)
    fused = backend.infer(images, tables)
    written = _AsWritten(variant).infer(images, tables)
    error, name = max_map_error(written, fused)
    if not error <= MOST_ERROR:
        raise ExportError(
            f"ONNX Runtime does not compute the 8-bit graphs as written on this CPU: {name} "
            f"differs by {error:.2g}, expected at most {MOST_ERROR}; 7-bit weights do not overflow"
        )
    tolerance = max(LEAST_TOLERANCE, float(f"{TOLERANCE_FACTOR * error:.2g}"))
    boxes = decode_head_maps(fused, card, stamp_ns=0)
    is_kept = is_found(boxes, decode_head_maps(written, card, stamp_ns=0))
    best = boxes.select(np.flatnonzero(is_kept)[:BEST_BOXES])
    golden = Golden(images, bev_from_cam, input_from_cam, fused, best)
    file = variant.file.parent / GOLDEN_FILE
    save_golden(golden, file)
    entry = GoldenCard(file=GOLDEN_FILE, sha256=digest(file), tolerance=tolerance)
    proven = variant.model_copy(update={"golden": entry})
    return entry, str(run_self_test(proven, golden, backend))


def _compared_scores(
    card: ModelCard, variant: ModelCard, options: QuantiseOptions
) -> QuantisedScoresCard:
    """Return the scores of both forms on the evaluation frames.

    Raises:
        ExportError: If the 8-bit form loses too much, or the float one finds nothing to lose.
    """
    reader = FrameReader(card, options.evaluation)
    backends = {"float": OnnxRuntimeBackend(card), "int8": OnnxRuntimeBackend(variant)}
    records: dict[str, Records] = {name: {} for name in backends}
    for token in progress(reader.tokens, "evaluation frames"):
        frame = reader.read(token)
        for name, backend in backends.items():
            maps = backend.infer(frame.images, frame.tables)
            boxes = detections_of(maps, card, frame, options.threshold)
            records[name][token] = records_of(boxes, frame)
    reader.close()
    folder = variant.file.parent
    scores = {name: reader.score(found, folder / name) for name, found in records.items()}
    before, after = ([scores[name][key] for key in ("mAP", "NDS")] for name in ("float", "int8"))
    _check_drop(before, after, options)
    return QuantisedScoresCard(
        data=str(options.evaluation),
        frames=len(reader),
        mean_ap_float=round(before[0], 4),
        nds_float=round(before[1], 4),
        mean_ap=round(after[0], 4),
        nds=round(after[1], 4),
        max_drop=options.max_drop,
    )


def _check_drop(before: Sequence[float], after: Sequence[float], options: QuantiseOptions) -> None:
    words = f"mAP {before[0]:.4f} -> {after[0]:.4f}, NDS {before[1]:.4f} -> {after[1]:.4f}"
    where = f"on {options.evaluation}"
    if before[0] <= 0:
        raise ExportError(f"expected a model that finds something {where}, got mAP 0: no proof")
    drop = max(b - a for b, a in zip(before, after, strict=True))
    if drop > options.max_drop:
        raise ExportError(
            f"8 bits lose too much {where}: {words}, expected a loss of at most {options.max_drop}"
        )
