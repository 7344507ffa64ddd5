# SPDX-License-Identifier: Apache-2.0
"""Message set → snapshot → detections → topics, on the worker's thread."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping

import numpy as np

from simdistill_ros.core.boxes import Detections, transform_detections
from simdistill_ros.core.calibration_change import CameraGeometry
from simdistill_ros.core.detector import DetectorLike
from simdistill_ros.core.snapshot import Snapshot
from simdistill_ros.core.transform_tree import TransformError, TransformTree
from simdistill_ros.health import Health, InputFault
from simdistill_ros.image_preparation import ImagePreparer, SourceImage
from simdistill_ros.latency import LatencyWindow
from simdistill_ros.output_quality import quality_of, seen_boxes
from simdistill_ros.outputs import Outputs
from simdistill_ros.overlays import OverlayJob
from simdistill_ros.parameters import LiveParameters, NodeParameters
from simdistill_ros.recalibration import CalibrationStore, Recalibration
from simdistill_ros.silence import OUTPUT, cause_of_error
from simdistill_ros.snapshot_builder import (
    MessageSet,
    SnapshotBuilder,
    SnapshotFault,
)
from simdistill_ros.worker import Worker

SUMMARY_PERIOD_NS = 1_000_000_000
# Stamps that are older, or newer than now, are of another clock: a bag without simulated time.
LONGEST_PLAUSIBLE_AGE_NS = 60_000_000_000


class Pipeline:
    """Own the worker: everything between a complete message set and the published boxes."""

    def __init__(
        self,
        parameters: NodeParameters,
        *,
        detector: DetectorLike,
        outputs: Outputs,
        calibrations: CalibrationStore,
        transforms: TransformTree,
        health: Health,
        live_parameters: Callable[[], LiveParameters],
        wall_clock_ns: Callable[[], int],
        is_ros_alive: Callable[[], bool],
        node_name: str,
    ) -> None:
        """Start the worker."""
        self._parameters = parameters
        self._detector = detector
        self._outputs = outputs
        self._transforms = transforms
        self._health = health
        self._live_parameters = live_parameters
        self._wall_clock_ns = wall_clock_ns
        self._is_ros_alive = is_ros_alive
        self._node_name = node_name
        self._latency = LatencyWindow()
        self._summarized_ns = 0
        self._published = 0
        self.started_ns = time.monotonic_ns()
        self.last_published_ns: int | None = None
        self.last_age_ns: int | None = None
        self._worker: Worker[MessageSet] = Worker(self._process, self._on_error, "detector")
        self.preparer = ImagePreparer(
            calibrations.get,
            parameters.input,
            detector.input_rule,
            keeps_sources=lambda: outputs.overlays.needs_images,
        )
        self._recalibration = Recalibration(
            calibrations,
            calibration_of=self.preparer.calibration_of,
            work_in=self._work_in,
            report=health.fault_from,
            bounds=parameters.calibration_jump,
        )
        self._builder = SnapshotBuilder(
            parameters,
            calibrations,
            transforms,
            recalibration=self._recalibration,
            stopping=lambda: self._worker.stopping,
            report=health.fault_from,
        )
        outputs.overlays.start(self._on_overlay_error)
        self._worker.start()

    def submit(self, messages: MessageSet) -> bool:
        """Hand over a complete set; it replaces one that still waits.

        Returns:
            Whether the worker was idle, so that it begins at once.
        """
        is_idle = not self._worker.busy
        self._worker.submit(messages)
        return is_idle

    def values(self) -> dict[str, object]:
        """Return counters, for diagnostics."""
        return {
            "snapshots_processed": self._worker.processed,
            "snapshots_overtaken": self._worker.overtaken,
            "failed": self._worker.failed,
            "published": self._published,
            "recalibrations": self._recalibration.count,
            **self.preparer.values(),
        }

    def in_hand_ns(self) -> int | None:
        """Return how long the snapshot in hand has been worked on; None when idle."""
        return self._worker.in_hand_ns()

    def percentiles_ms(self) -> dict[str, dict[str, float]]:
        """Return p50, p95 and p99 of each stage of the last snapshots."""
        return self._latency.percentiles_ms()

    def close(self, timeout_s: float) -> bool:
        """Stop the worker; return whether it ended in time."""
        ended = self._worker.stop(timeout_s)
        self._recalibration.close()
        self.preparer.close()
        self._outputs.overlays.stop()
        return ended

    def _work_in(self, rig: Mapping[str, CameraGeometry]) -> None:
        """Make what depends on the geometry of cameras, on the recalibration's thread."""
        self.preparer.prepare_geometry(geometry.calibration for geometry in rig.values())
        self._detector.prepare_geometry(rig)

    def _process(self, messages: MessageSet) -> None:
        started_ns = time.monotonic_ns()
        live = self._live_parameters()
        try:
            snapshot = self._builder.build(messages, live.missing)
        except SnapshotFault as fault:
            for one in fault.faults:
                self._health.fault_from(one)
            return
        built_ns = time.monotonic_ns()
        for camera in messages.fresh.keys() - set(snapshot.missing):
            self._health.good(camera)
        try:
            detections = self._detector.detect(snapshot, live.score_threshold)
            detections = best(detections, live.max_detections)
            seen = seen_boxes(snapshot, detections)
            unseen = int((~seen).sum())
            if live.suppresses_blind:
                detections, seen = detections.select(seen), seen[seen]
            in_base_frame = detections
            detections = self._in_output_frame(detections)
        except InputFault as fault:
            self._health.fault_from(fault)
            return
        detected_ns = time.monotonic_ns()
        self._outputs.publish_detections(detections, seen)
        published_ns = time.monotonic_ns()
        self._outputs.publish_markers(detections, live.marker_lifetime_ns)
        quality = quality_of(snapshot, is_recalibrating=self._recalibration.is_pending)
        frame = self._parameters.base_frame
        self._outputs.publish_quality(quality, unseen, frame, self._node_name)
        if self._outputs.overlays.is_due():
            sources, blind = _sources(messages, snapshot), quality.newest_ns < 0
            self._outputs.overlays.offer(OverlayJob(snapshot, sources, in_base_frame, blind, frame))
        self._published += 1
        self.last_published_ns = published_ns
        self._health.good("inference")
        self._health.received(OUTPUT)
        self._health.good(OUTPUT)
        self._report(
            messages,
            published_ns,
            **_preparation_ns(messages, snapshot),
            queue=started_ns - messages.complete_ns,
            snapshot=built_ns - started_ns,
            **self._detector.durations_ns,
            detect=detected_ns - built_ns,
            publish=published_ns - detected_ns,
        )

    def _report(self, messages: MessageSet, published_ns: int, **stages_ns: int) -> None:
        """Publish what a snapshot's stages took, and once a second the percentiles."""
        arrivals = [received.arrival_ns for received in messages.fresh.values()]
        since_ns = time.monotonic_ns() - published_ns
        total_ns = published_ns - max(arrivals)
        durations_ns = {
            "sensor_age": self._wall_clock_ns() - since_ns - messages.stamp_ns,
            "sync_wait": messages.complete_ns - min(arrivals),
            **stages_ns,
            "overhead": total_ns - stages_ns.get("inference", stages_ns["detect"]),
            "total": total_ns,
        }
        self._latency.add(durations_ns)
        age_ns = durations_ns["sensor_age"]
        is_one_clock = 0 <= age_ns < LONGEST_PLAUSIBLE_AGE_NS
        self.last_age_ns = age_ns if is_one_clock else published_ns - min(arrivals)
        self._watch_deadline(self.last_age_ns)
        percentiles_ms: dict[str, dict[str, float]] = {}
        if published_ns - self._summarized_ns > SUMMARY_PERIOD_NS:
            self._summarized_ns = published_ns
            percentiles_ms = self._latency.percentiles_ms()
        self._outputs.publish_latency(
            messages.stamp_ns, durations_ns, percentiles_ms, self._node_name
        )

    def _watch_deadline(self, age_ns: int) -> None:
        deadline_ns = self._parameters.latency_deadline_ns
        if age_ns <= deadline_ns:
            self._health.good("latency")
            return
        self._health.fault(
            "latency",
            "deadline_missed",
            f"detections were {age_ns / 1e9:.2f} s old when they left; latency.deadline_s is "
            f"{deadline_ns / 1e9:g}",
        )

    def _in_output_frame(self, detections: Detections) -> Detections:
        output, base = self._parameters.output_frame, self._parameters.base_frame
        if output == base:
            return detections
        try:
            output_from_base = self._builder.wait_for_transform(
                lambda: self._transforms.lookup(output, base, detections.stamp_ns)
            )
        except TransformError as error:
            raise InputFault("inference", error.cause, str(error)) from error
        return transform_detections(output_from_base, detections, output)

    def _on_overlay_error(self, error: BaseException) -> None:
        if self._is_ros_alive():
            self._health.fault("overlays", "not_drawn", f"{type(error).__name__}: {error}")

    def _on_error(self, error: BaseException) -> None:
        if not self._is_ros_alive():
            return  # a signal ended the context while a snapshot was in hand
        where = "".join(traceback.format_exception(error))
        self._health.fault("inference", cause_of_error(error), f"{error}\n{where}")


def _sources(messages: MessageSet, snapshot: Snapshot) -> dict[str, SourceImage]:
    """Return the images of a snapshot as they arrived, those that were kept."""
    prepared = {view.camera: messages.images[view.camera].image.result() for view in snapshot.views}
    return {name: image.source for name, image in prepared.items() if image.source is not None}


def _preparation_ns(messages: MessageSet, snapshot: Snapshot) -> dict[str, int]:
    """Return what decoding and resizing took for the slowest image of a snapshot."""
    used = messages.fresh.keys() - set(snapshot.missing)
    images = [messages.fresh[camera].image.result() for camera in used]
    return {
        "decode_image": max((image.decode_ns for image in images), default=0),
        "render_image": max((image.render_ns for image in images), default=0),
    }


def best(detections: Detections, most: int) -> Detections:
    """Return the `most` best detections, best first."""
    order = np.argsort(-detections.scores, kind="stable")[:most]
    return detections.select(order)
