# SPDX-License-Identifier: Apache-2.0
"""What the viewer is given: numbers packed as base64 arrays, pictures as small JPEGs.

Every frame has coordinates of its own, `local`: the global axes with the vehicle (at the sample's
time) as origin, so that 32-bit floats hold the submitted numbers to micrometres. The page projects
a box by `image_from_local`, each camera at its own time, and draws the bird's-eye view by
`ego_from_local`.
"""

from __future__ import annotations

import base64
from typing import Any

import cv2
import numpy as np
import simplejpeg

from simdistill_ros.core.boxes import NUSCENES_CLASSES, IntArray
from simdistill_ros.core.camera import scale_matrix
from simdistill_ros.core.class_colors import CLASS_COLORS
from simdistill_ros.core.frames import FloatArray, inverse, transform_points
from simdistill_ros.core.images import decode_jpeg_png
from simdistill_ros.replay.nuscenes_reader import (
    LIDAR_CHANNEL,
    SensorRecord,
    camera_records_of_sample,
    sensor_record,
)
from simdistill_ros.replay.sample_record import SampleRecord
from simdistill_ros.report.run_data import RunData
from simdistill_ros.report.scored_boxes import ScoredBoxes

THUMBNAIL_WIDTH_PX = 480
JPEG_QUALITY = 72
MAX_LIDAR_POINTS = 3000
LIDAR_RANGE_M = 54.0
LIDAR_CELL_M = 0.3
# Columns of the packed tables; the page reads them by these names.
BOX_COLUMNS = ("x", "y", "z", "length", "width", "height", "qw", "qx", "qy", "qz", "vx", "vy")
PREDICTION_COLUMNS = (*BOX_COLUMNS, "score", "label", "counted", "partner", "distance")
TRUTH_COLUMNS = (*BOX_COLUMNS, "visibility", "label", "counted", "partner", "distance")
CAMERA_ORDER = (
    *("cam_front_left", "cam_front", "cam_front_right"),
    *("cam_back_left", "cam_back", "cam_back_right"),
)


def viewer_header(run: RunData) -> dict[str, Any]:
    """Return what holds for all frames."""
    return {
        "classes": [{"name": n, "color": list(CLASS_COLORS[n])} for n in NUSCENES_CLASSES],
        "cut": run.cut,
        "predictionColumns": PREDICTION_COLUMNS,
        "truthColumns": TRUTH_COLUMNS,
        "lidarRangeM": LIDAR_RANGE_M,
    }


def viewer_frame(run: RunData, nusc: Any, sample: SampleRecord) -> tuple[dict[str, Any], list[str]]:
    """Return one frame's numbers and its pictures, base64 JPEG in `CAMERA_ORDER`.

    Raises:
        OSError: If an image or sweep is missing.
    """
    global_from_ego = _vehicle(nusc, sample)
    origin = global_from_ego[:3, 3]
    records = camera_records_of_sample(nusc, sample.token)
    cameras = [records[name] for name in CAMERA_ORDER if name in records]
    matching = run.matchings[sample.token]
    boxes, truths = run.boxes[sample.token], run.truths[sample.token]
    ego_from_local = inverse(global_from_ego)
    ego_from_local[:3, 3] = 0.0
    frame = {
        "token": sample.token,
        "scene": sample.scene,
        "stampNs": str(sample.stamp_ns),  # larger than a double's integers
        "spreadMs": spread_ms(sample),
        "latencyMs": run.latencies_ms.get(sample.token),
        "answered": sample.token not in run.metrics["lost"],
        "egoFromLocal": ego_from_local[:3].ravel().tolist(),
        "cameras": [_camera(record, origin) for record in cameras],
        "predictions": _pack(boxes, boxes.scores, matching.truth_of_box, origin),
        "truths": _pack(truths, truths.visibilities, matching.box_of_truth, origin),
        "lidar": _lidar(nusc, sample.token, global_from_ego),
    }
    return frame, [_thumbnail(record) for record in cameras]


def spread_ms(sample: SampleRecord) -> float:
    """Return milliseconds between the sample's oldest and newest image."""
    stamps = sample.camera_stamps_ns.values()
    return (max(stamps) - min(stamps)) / 1e6


def frames_to_show(run: RunData, limit: int) -> list[SampleRecord]:
    """Return the samples that get pictures: all, or half spread over the run and half the worst."""
    samples = run.samples
    if len(samples) <= limit:
        return list(samples)
    spread = set(np.linspace(0, len(samples) - 1, limit // 2).astype(int).tolist())
    worst = sorted(range(len(samples)), key=lambda i: -mistakes(run, samples[i].token))
    chosen = spread | set([i for i in worst if i not in spread][: limit - len(spread)])
    return [samples[i] for i in sorted(chosen)]


def mistakes(run: RunData, token: str) -> int:
    """Return how many objects of a sample were missed and boxes are none, above the run's cut."""
    boxes, truths, matching = run.boxes[token], run.truths[token], run.matchings[token]
    shown = boxes.counted & (boxes.scores >= run.cut)
    hits = int((shown & (matching.truth_of_box >= 0)).sum())
    return int(shown.sum()) + int(truths.counted.sum()) - 2 * hits


def _vehicle(nusc: Any, sample: SampleRecord) -> FloatArray:
    """Return global_from_ego at the time that the benchmark measures distances."""
    data = nusc.get("sample", sample.token)["data"]
    channel = LIDAR_CHANNEL if LIDAR_CHANNEL in data else next(iter(data))
    return sensor_record(nusc, data[channel]).global_from_ego


def _camera(record: SensorRecord, origin: FloatArray) -> dict[str, Any]:
    assert record.calibration is not None
    calibration = record.calibration
    scale = THUMBNAIL_WIDTH_PX / calibration.width_px
    height_px = round(calibration.height_px * scale)
    thumbnail_from_cam = (
        scale_matrix(scale, height_px / calibration.height_px) @ calibration.image_from_cam
    )
    cam_from_global = inverse(record.global_from_ego @ record.ego_from_sensor)
    cam_from_local = cam_from_global.copy()
    cam_from_local[:3, 3] += cam_from_global[:3, :3] @ origin
    return {
        "name": record.name,
        "width": THUMBNAIL_WIDTH_PX,
        "height": height_px,
        "imageFromLocal": (thumbnail_from_cam @ cam_from_local[:3]).ravel().tolist(),
    }


def _pack(
    boxes: ScoredBoxes, extra: FloatArray | IntArray, partners: IntArray, origin: FloatArray
) -> str:
    """Return the rows of `PREDICTION_COLUMNS` or `TRUTH_COLUMNS` as base64 of float32."""
    columns = (
        boxes.centers_m - origin,
        boxes.sizes_lwh_m,
        boxes.rotations_wxyz,
        np.nan_to_num(boxes.velocities_mps),
        extra[:, None],
        boxes.labels[:, None],
        boxes.counted[:, None],
        partners[:, None],
        boxes.distances_m[:, None],
    )
    return _base64(np.concatenate(columns, axis=1).astype("<f4").tobytes())


def _lidar(nusc: Any, token: str, global_from_ego: FloatArray) -> str:
    """Return x, y in the ego frame, centimetres as int16, of points spread over the ground."""
    data = nusc.get("sample", token)["data"]
    if LIDAR_CHANNEL not in data:
        return ""
    record = sensor_record(nusc, data[LIDAR_CHANNEL])
    points_lidar = np.fromfile(record.path, dtype="<f4").reshape(-1, 5)[:, :3]
    ego_from_lidar = inverse(global_from_ego) @ record.global_from_ego @ record.ego_from_sensor
    points = transform_points(ego_from_lidar, points_lidar)[:, :2]
    points = points[np.abs(points).max(axis=1) < LIDAR_RANGE_M]
    cells = np.unique((points / LIDAR_CELL_M).astype(np.int32), axis=0, return_index=True)[1]
    cells = cells[:: max(1, -(-len(cells) // MAX_LIDAR_POINTS))]
    return _base64(np.round(points[cells] * 100).astype("<i2").tobytes())


def _thumbnail(record: SensorRecord) -> str:
    image = decode_jpeg_png(record.path.read_bytes())
    height = round(image.shape[0] * THUMBNAIL_WIDTH_PX / image.shape[1])
    small = cv2.resize(image, (THUMBNAIL_WIDTH_PX, height), interpolation=cv2.INTER_AREA)
    encoded = simplejpeg.encode_jpeg(np.ascontiguousarray(small), quality=JPEG_QUALITY)
    return _base64(encoded)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
