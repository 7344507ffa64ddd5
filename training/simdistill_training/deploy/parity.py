# SPDX-License-Identifier: Apache-2.0
"""Every path from a camera's file to boxes on the same frames, each against its reference.

Backends and precisions are compared with torch in single precision on the CPU; the vehicle's ways
of decoding and resizing with Pillow's; the running ROS node with its own backend called directly.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from simdistill_ros.command_line.terminal import progress
from simdistill_ros.core.backends.choose import FP16, FP32, INT8, choose_backend
from simdistill_ros.core.model_card import ModelCard
from simdistill_ros.replay.options import ReplayOptions
from simdistill_ros.replay.run import run_replay
from simdistill_training.deploy.comparison import Comparison
from simdistill_training.deploy.frames import (
    Frame,
    FrameReader,
    FrameSource,
    detections_of,
    records_of,
)
from simdistill_training.deploy.paths import BackendPaths, PixelPaths
from simdistill_training.deploy.pixels import EXACT, Route, vehicle_routes

DIRECT, ROS = "node's backend, called directly", "ros node"
# The vehicle's exact way may differ from Pillow's by rounding: grey levels, largest and mean.
MOST_GREY, MOST_MEAN_GREY = 2.0, 0.05
# Rounding may tip a few boxes over a threshold, or the choice between two as good ones.
LEAST_FOUND, EXACT_DROP = 0.995, 0.001


@dataclass(frozen=True)
class ParityOptions:
    """What is compared.

    Attributes:
        source: The frames.
        out: Folder of submissions, scores and parity.json.
        device: Of the backends and the node; the reference always runs on the CPU.
        threshold: Boxes must score above it; None takes the card's.
        max_drop: Most that decoding shortcuts and half precision may lose of mAP and NDS.
        ros: Whether to play the frames to the node as well.
    """

    source: FrameSource
    out: Path
    device: str = "cpu"
    threshold: float | None = None
    max_drop: float = 0.01
    ros: bool = True


@dataclass(frozen=True)
class Parity:
    """What came of it: scored comparisons, and why other paths are absent."""

    comparisons: tuple[Comparison, ...]
    absent: Mapping[str, str]

    @property
    def failures(self) -> list[str]:
        """What is not good enough, one line a finding."""
        return [f"{c.name}: {failure}" for c in self.comparisons for failure in c.failures]


def check_parity(
    card: ModelCard, options: ParityOptions, routes: Mapping[str, Route] | None = None
) -> Parity:
    """Compare all paths; leaves parity.json in `options.out`.

    Args:
        card: An exported package.
        options: What is compared.
        routes: Ways to pixels by name; None: the vehicle's.

    Raises:
        ModelCardError: If a file of the package cannot be used.
        ValueError: If the package was not exported, or the frames cannot be used.
    """
    if card.golden is None:
        raise ValueError(f"{card.file}: expected a golden example: run `simdistill export` first")
    reader = FrameReader(card, options.source)
    networks = BackendPaths(card, options.device, options.threshold)
    pixels = PixelPaths(card, routes if routes is not None else vehicle_routes(), networks)
    direct = _Direct(card, options) if options.ros else None
    for token in progress(reader.tokens, "parity"):
        frame = reader.read(token)
        networks.compare(frame)
        pixels.compare(frame)
        if direct:
            direct.run(frame)
    reader.close()
    networks.close()
    comparisons = [networks.reference, *(comparison for comparison, _ in networks.paths)]
    comparisons += [pixels.reference, *pixels.paths.values()]
    if direct:
        comparisons += [direct.comparison, _played(card, options, direct.comparison)]
    _score(comparisons, reader, options.out)
    for comparison in comparisons:
        comparison.failures = list(_judged(comparison, card, options))
    parity = Parity(tuple(comparisons), networks.absent)
    _write(parity, card, options)
    return parity


class _Direct:
    """What the node would run, without ROS."""

    def __init__(self, card: ModelCard, options: ParityOptions) -> None:
        self._card, self._threshold = card, options.threshold
        self._backend = choose_backend(card, device=options.device).backend
        self.comparison = Comparison(DIRECT, DIRECT)

    def run(self, frame: Frame) -> None:
        maps = self._backend.infer(frame.images, frame.tables)
        records = records_of(detections_of(maps, self._card, frame, self._threshold), frame)
        self.comparison.add_boxes(records, records, frame.token)


def _played(card: ModelCard, options: ParityOptions, direct: Comparison) -> Comparison:
    """Return what the node answers when the frames are played to it over DDS."""
    source, threshold = options.source, options.threshold
    result = run_replay(
        ReplayOptions(
            out=options.out / "ros",
            dataroot=source.dataroot,
            version=source.version,
            split=source.split,
            limit=source.limit,
            model=str(card.file.parent),
            device=options.device,
            score_threshold=card.decode.score_threshold if threshold is None else threshold,
            report=False,
        )
    )
    answers = json.loads(result.submission.read_text())["results"]
    comparison = Comparison(ROS, DIRECT)
    for token, records in direct.records.items():
        comparison.add_boxes(records, answers.get(token, []), token)
    return comparison


def _score(comparisons: list[Comparison], reader: FrameReader, out: Path) -> None:
    for comparison in comparisons:
        folder = out / comparison.name.replace(" ", "-").replace(",", "").replace("'", "")
        scores = reader.score(comparison.records, folder)
        comparison.scores = {name: float(scores[name]) for name in ("mAP", "NDS")}
    by_name = {comparison.name: comparison.scores for comparison in comparisons}
    for comparison in comparisons:
        reference = by_name[comparison.reference]
        comparison.deltas = {k: v - reference[k] for k, v in comparison.scores.items()}


def _judged(comparison: Comparison, card: ModelCard, options: ParityOptions) -> Iterator[str]:
    """Yield what is not good enough about a path."""
    if comparison.name == comparison.reference:
        return
    kind = comparison.name.split()[-1]
    if comparison.name.startswith("pixels"):
        images = comparison.tensors["images"]
        if kind == EXACT and not (images.largest <= MOST_GREY and images.mean <= MOST_MEAN_GREY):
            yield (
                f"pixels differ by {images.mean:.3g} grey levels (largest {images.largest:.3g}), "
                f"expected at most {MOST_MEAN_GREY} ({MOST_GREY:g})"
            )
    elif kind in (FP32, FP16):
        yield from _tensor_failures(comparison, card, kind)
    is_exact = kind == FP32 or comparison.name == ROS
    if is_exact and comparison.found_share < LEAST_FOUND:
        yield f"{comparison.found_share:.2%} of boxes found, expected at least {LEAST_FOUND:.1%}"
    most = EXACT_DROP if is_exact else options.max_drop
    if kind == INT8 and card.int8 is not None:
        most = card.int8.scores.max_drop
    for name, delta in comparison.deltas.items():
        if -delta > most:
            yield f"{name} {delta:+.4f}, expected a loss of at most {most:g}"


def _tensor_failures(comparison: Comparison, card: ModelCard, precision: str) -> Iterator[str]:
    golden = card.in_precision(FP16 if precision == FP16 else FP32).golden
    assert golden is not None
    for name, error in comparison.tensors.items():
        if not error.relative <= golden.tolerance:
            yield f"{name} differs by {error.relative:.2g}, expected at most {golden.tolerance:g}"


def _write(parity: Parity, card: ModelCard, options: ParityOptions) -> None:
    data = {
        "model": card.name,
        "weights": card.weights.sha256 if card.weights else "untrained",
        "frames": str(options.source),
        "paths": [comparison.as_dict() for comparison in parity.comparisons],
        "absent": dict(parity.absent),
        "failures": parity.failures,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "parity.json").write_text(json.dumps(data, indent=2) + "\n")


def format_parity(parity: Parity) -> str:
    """Return the comparisons as a table for people."""
    head = ("path", "against", "largest", "relative", "mean", "boxes", "found", "mAP", "NDS")
    rows = [head, *(_row(comparison) for comparison in parity.comparisons)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    lines += [f"absent: {name}: {why}" for name, why in parity.absent.items()]
    return "\n".join(lines)


def _row(comparison: Comparison) -> tuple[str, ...]:
    tensors = comparison.tensors
    errors = ("", "", "")
    if tensors:
        name = "images" if "images" in tensors else max(tensors, key=lambda n: tensors[n].relative)
        error = tensors[name]
        errors = (f"{name} {error.largest:.2g}", f"{error.relative:.1e}", f"{error.mean:.1e}")
    is_reference = comparison.name == comparison.reference
    scores = [
        f"{comparison.scores[name]:.4f}" if is_reference else f"{comparison.deltas[name]:+.4f}"
        for name in ("mAP", "NDS")
    ]
    found = "" if is_reference else f"{comparison.found_share:.2%}"
    against = "" if is_reference else comparison.reference
    return (comparison.name, against, *errors, str(comparison.boxes["actual"]), found, *scores)
