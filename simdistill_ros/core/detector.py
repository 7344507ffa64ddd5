# SPDX-License-Identifier: Apache-2.0
"""Snapshot → detections: preprocess, run the backend, decode. The one call a user needs.

detector = Detector(card, TorchBackend(card))
detections = detector.detect(snapshot)
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

import numpy as np

from simdistill_ros.core.backends.base import Backend, FrameBackend
from simdistill_ros.core.boxes import Detections, transform_detections
from simdistill_ros.core.calibration_change import CameraGeometry
from simdistill_ros.core.decode import decode_head_maps
from simdistill_ros.core.frames import EGO_FRAME, FloatArray, inverse
from simdistill_ros.core.lift_geometry import BoolArray, PoolingTables, calibration_hash
from simdistill_ros.core.model_card import ModelCard
from simdistill_ros.core.preprocess import (
    InputRule,
    NetworkInput,
    Preprocessor,
    input_from_cam,
    rectified_pose,
)
from simdistill_ros.core.snapshot import Snapshot

# Geometries whose tables are kept; a rig has one, unless ego motion is compensated.
CACHED_GEOMETRIES = 4


class DetectorLike(Protocol):
    """What the node runs: a detector, or something that stands in for one."""

    @property
    def cameras(self) -> tuple[str, ...]:
        """Lower-case names of the cameras it needs."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes it detects."""

    @property
    def description(self) -> str:
        """What it is, for people."""

    @property
    def durations_ns(self) -> dict[str, int]:
        """Nanoseconds that each stage of the last snapshot took."""

    @property
    def input_rule(self) -> InputRule | None:
        """How images become network input; None: it takes them at their own size only."""

    def detect(self, snapshot: Snapshot, score_threshold: float | None = None) -> Detections:
        """Return the boxes of a snapshot in the ego frame, best score first."""

    def prepare_geometry(self, rig: Mapping[str, CameraGeometry]) -> None:
        """Make, on another thread, what the next snapshots of these cameras will need."""

    def close(self) -> None:
        """Release threads and device memory."""


class Detector:
    """The camera-only student behind one call."""

    def __init__(
        self,
        card: ModelCard,
        backend: Backend,
        *,
        threads: int = 2,
        clock_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        """Put the parts together.

        Args:
            card: The model card.
            backend: What runs the network.
            threads: Cameras preprocessed at a time.
            clock_ns: Measures durations only.
        """
        self._card = card
        self._backend = backend
        # Asked once: to look for the methods of a protocol takes longer than to call one.
        self._frame_backend = backend if isinstance(backend, FrameBackend) else None
        self._clock_ns = clock_ns
        self._ego_from_bev = card.bev.ego_from_bev.matrix()
        self._bev_from_ego = inverse(self._ego_from_bev)
        rule = InputRule(card.image.input_hw, card.image.resized_width_px, card.image.resize_kernel)
        self._preprocess = Preprocessor(rule, self.cameras, threads)
        self._tables: OrderedDict[str, PoolingTables] = OrderedDict()
        self._tables_lock = threading.Lock()
        self._durations_ns: dict[str, int] = {}

    @property
    def cameras(self) -> tuple[str, ...]:
        """Lower-case camera names, in the model's order."""
        return tuple(name.lower() for name in self._card.cameras)

    @property
    def input_rule(self) -> InputRule:
        """How images become network input; views that were rendered by it are taken as they are."""
        return self._preprocess.rule

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names, in label order."""
        return self._card.classes

    @property
    def description(self) -> str:
        """Model, state of its weights, and backend."""
        weights = self._card.weights
        state = f"weights {weights.sha256[:12]}" if weights else "UNTRAINED weights"
        return f"model {self._card.name} ({state}), {self._backend.description}"

    @property
    def durations_ns(self) -> dict[str, int]:
        """Nanoseconds of preprocess, geometry, inference and decode of the last snapshot.

        A backend that goes from pixels to boxes has its preprocessing and decoding in `inference`.
        """
        return self._durations_ns

    def detect(self, snapshot: Snapshot, score_threshold: float | None = None) -> Detections:
        """Return the boxes of a snapshot.

        Args:
            snapshot: The views of the model's cameras, but for those that it says are missing.
            score_threshold: Boxes below are left out; None takes the model card's.

        Returns:
            Boxes in the ego frame at the snapshot's stamp, best score first.

        Raises:
            KeyError: If a camera of the model has no view and is not said to be missing.
        """
        threshold = (
            self._card.decode.score_threshold if score_threshold is None else score_threshold
        )
        marks = [self._clock_ns()]
        network_input = self._network_input(snapshot)
        marks.append(self._clock_ns())
        tables = self.tables_of(network_input)
        marks.append(self._clock_ns())
        if self._frame_backend is not None:
            detections = self._frame_backend.detect_frame(
                tuple(network_input.images), tables, threshold
            )
            detections = replace(detections, stamp_ns=snapshot.stamp_ns)
            marks.append(self._clock_ns())
        else:
            head_maps = self._backend.infer(np.asarray(network_input.images), tables)
            marks.append(self._clock_ns())
            detections = decode_head_maps(
                head_maps, self._card, stamp_ns=snapshot.stamp_ns, score_threshold=threshold
            )
        detections = transform_detections(self._ego_from_bev, detections, EGO_FRAME)
        marks.append(self._clock_ns())
        stages = ("preprocess", "geometry", "inference", "decode")
        self._durations_ns = {
            stage: after - before
            for stage, before, after in zip(stages, marks[:-1], marks[1:], strict=True)
        }
        return detections

    def _network_input(self, snapshot: Snapshot) -> NetworkInput:
        """Return a snapshot's input: rendered here, or whole where the backend can do that."""
        if self._frame_backend is not None:
            whole = self._preprocess.whole_images(snapshot)
            if whole is not None:
                return whole
        return self._preprocess(snapshot)

    def tables_of(self, network_input: NetworkInput) -> PoolingTables:
        """Return the pooling tables of an input's geometry, computed once a calibration."""
        bev_from_cam = self._bev_from_ego @ network_input.ego_from_cam
        return self._tables_for(bev_from_cam, network_input.input_from_cam, network_input.present)

    def prepare_geometry(self, rig: Mapping[str, CameraGeometry]) -> None:
        """Compute the pooling tables of a rig ahead of its first snapshot. Thread-safe.

        Args:
            rig: Calibrations and poses by camera; cameras that are not in it are missing.
        """
        count = len(self.cameras)
        present = np.array([camera in rig for camera in self.cameras])
        intrinsics, poses = np.tile(np.eye(3), (count, 1, 1)), np.tile(np.eye(4), (count, 1, 1))
        for slot in np.flatnonzero(present):
            geometry = rig[self.cameras[slot]]
            intrinsics[slot] = input_from_cam(self.input_rule, geometry.calibration)
            poses[slot] = rectified_pose(geometry.calibration, geometry.ego_from_cam)
        bev_from_cam = self._bev_from_ego @ poses
        self._tables_for(bev_from_cam, intrinsics, present)

    def _tables_for(
        self, bev_from_cam: FloatArray, intrinsics: FloatArray, present: BoolArray
    ) -> PoolingTables:
        key = calibration_hash(bev_from_cam, intrinsics) + present.tobytes().hex()
        with self._tables_lock:
            tables = self._tables.get(key)
        if tables is None:
            tables = self._card.pooling_tables(bev_from_cam, intrinsics, present)
        with self._tables_lock:
            self._tables[key] = tables
            self._tables.move_to_end(key)
            while len(self._tables) > CACHED_GEOMETRIES:
                self._tables.popitem(last=False)
        return tables

    def close(self) -> None:
        """Release threads and device memory."""
        self._preprocess.close()
        self._backend.close()
