# SPDX-License-Identifier: Apache-2.0
"""Detections of many bags as a job in shards, one bag each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from simdistill_ros import __version__
from simdistill_ros.core.boxes import Detections, transform_detections
from simdistill_ros.core.detector import Detector
from simdistill_ros.core.transform_tree import TransformError, TransformTree
from simdistill_ros.detect.recorded_rig import RecordedRig, RigPlan
from simdistill_ros.doctor.parameter_file import ParameterSheet, read_overrides
from simdistill_ros.load_detector import load_detector
from simdistill_ros.output_quality import seen_boxes
from simdistill_ros.parameters import (
    NodeParameters,
    ParameterError,
    camera_names,
    camera_topics,
    declare_parameters,
    read_live_parameters,
    read_parameters,
)
from simdistill_ros.pipeline import best
from simdistill_ros.replay.bag_storage import Bag, find_bags
from simdistill_ros.shards.local_workers import OpenJob

Frame = dict[str, Any]


@dataclass(frozen=True)
class DetectJob:
    """What to detect in.

    Attributes:
        bags: Bags, or folders of bags.
        params: Parameter files of the node; later ones win.
        settings: Parameters that win over the files.
        threads: Of PyTorch in each process; None: as many as it takes.
    """

    bags: tuple[Path, ...]
    params: tuple[Path, ...] = ()
    settings: tuple[tuple[str, Any], ...] = ()
    threads: int | None = None

    def open(self, worker: int | None) -> OpenJob:
        """Load the detector and find the bags.

        Raises:
            ValueError: If a parameter, the model or a bag cannot be used.
            OSError: If files are missing.
        """
        if self.threads:
            import torch

            torch.set_num_threads(self.threads)
        sheet = read_sheet(self.params, dict(self.settings))
        parameters = read_parameters(sheet)
        detector = load_detector(parameters)
        names = camera_names(sheet, detector.cameras)
        topics = camera_topics(sheet, names, compressed=parameters.input.compressed)
        plan = RigPlan(parameters, read_live_parameters(sheet), tuple(topics))
        bags = named_bags(self.bags)

        def run(items: tuple[str, ...]) -> dict[str, Any]:
            return {name: detect_in_bag(bags[name], plan, detector) for name in items}

        inputs = {
            "program": __version__,
            "detector": detector.description,
            "parameters": _hash(json.dumps([asdict(parameters), asdict(plan.live)], default=str)),
            "topics": [asdict(one) for one in topics],
            "bags": {n: _hash((b.folder / "metadata.yaml").read_text()) for n, b in bags.items()},
        }
        return OpenJob(inputs=inputs, items=tuple(bags), run=run)


def read_sheet(files: Sequence[Path], settings: dict[str, Any]) -> ParameterSheet:
    """Return the node's parameters from files, with some settings that win.

    Raises:
        ParameterError: If a name or value is wrong.
    """
    sheet = ParameterSheet({**read_overrides(files), **settings})
    declare_parameters(sheet)
    parameters = read_parameters(sheet)
    from simdistill_ros.core.model_card import load_model_card
    from simdistill_ros.resources import model_folder

    cameras = tuple(n.lower() for n in load_model_card(model_folder(parameters.model_path)).cameras)
    camera_topics(sheet, camera_names(sheet, cameras), compressed=parameters.input.compressed)
    if sheet.unknown():
        raise ParameterError(f"--params: no such parameter: {', '.join(sheet.unknown())}")
    return sheet


def named_bags(paths: Sequence[Path]) -> dict[str, Bag]:
    """Return name → bag of all bags at some paths, by name.

    Raises:
        FileNotFoundError: If a path has no bag.
        ValueError: If two bags have the same name.
    """
    found: dict[str, Bag] = {}
    for path in paths:
        for bag in find_bags(path):
            name = bag.folder.resolve().name
            if name in found:
                raise ValueError(
                    f"{bag.folder} and {found[name].folder}: expected bags of different names"
                )
            found[name] = bag
    return dict(sorted(found.items()))


def detect_in_bag(bag: Bag, plan: RigPlan, detector: Detector) -> dict[str, Any]:
    """Return the frames of a bag, and how often what went wrong, as plain data."""
    rig = RecordedRig(bag, plan, detector.input_rule)
    frames: list[Frame] = []
    for snapshot in rig.snapshots():
        detections = detector.detect(snapshot, plan.live.score_threshold)
        detections = best(detections, plan.live.max_detections)
        seen = seen_boxes(snapshot, detections)
        if plan.live.suppresses_blind:
            detections, seen = detections.select(seen), seen[seen]
        try:
            detections = _in_output_frame(detections, plan.parameters, rig.transforms)
        except TransformError as error:
            rig.health.fault("inference", error.cause, str(error))
            continue
        frames.append(frame_of(detections, seen.tolist(), snapshot.missing))
    faults = {name: dict(one.counts) for name, one in rig.health.snapshot().items() if one.counts}
    return {"frames": frames, "faults": faults}


def frame_of(detections: Detections, seen: list[bool], missing: Sequence[str]) -> Frame:
    """Return the boxes of one snapshot as plain data, best first."""
    boxes = [
        {
            "class": name,
            "score": float(detections.scores[index]),
            "center_m": detections.centers_m[index].tolist(),
            "size_lwh_m": detections.sizes_lwh_m[index].tolist(),
            "yaw_rad": float(detections.yaws_rad[index]),
            "velocity_mps": detections.velocities_mps[index].tolist(),
            "seen": bool(seen[index]),
        }
        for index, name in enumerate(detections.names())
    ]
    return {
        "stamp_ns": int(detections.stamp_ns),
        "frame": detections.frame,
        "missing_cameras": list(missing),
        "boxes": boxes,
    }


def _in_output_frame(
    detections: Detections, parameters: NodeParameters, transforms: TransformTree
) -> Detections:
    output, base = parameters.output_frame, parameters.base_frame
    if output == base:
        return detections
    output_from_base = transforms.lookup(output, base, detections.stamp_ns)
    return transform_detections(output_from_base, detections, output)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
