# SPDX-License-Identifier: Apache-2.0
"""One picture a sample: six cameras with the detected boxes, and the view from above next to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from simdistill_ros.command_line.terminal import progress
from simdistill_ros.core.boxes import Detections
from simdistill_ros.core.class_colors import CLASS_COLORS
from simdistill_ros.core.frames import FloatArray, inverse, transform_points
from simdistill_ros.core.snapshot import ImageArray, Snapshot
from simdistill_ros.drawing.bev_canvas import BACKGROUND, GROUND_TRUTH, BevCanvas
from simdistill_ros.drawing.camera_boxes import draw_camera
from simdistill_ros.drawing.mosaic import azimuth_of, camera_rows
from simdistill_ros.replay.answers import Answer
from simdistill_ros.replay.nuscenes_reader import (
    LIDAR_CHANNEL,
    ground_truths_of_sample,
    sensor_record,
    snapshot_of_sample,
)
from simdistill_ros.replay.pose_track import PoseTrack
from simdistill_ros.replay.scene_bags import Scene

CAMERA_WIDTH = 560
GAP = 6
HEADER = 44
LEGEND = 40
SCORE_CUT = 0.25
# Boxes shown where none reaches the cut, so that an untrained model shows something.
FEW = 15
TEXT = (232, 234, 240)


def boxes_to_show(detections: Detections) -> tuple[Detections, str]:
    """Return the boxes a picture shows, and the sentence that says which."""
    good = detections.select(detections.scores >= SCORE_CUT)
    if len(good) or not len(detections):
        return good, f"{len(good)} detections with score {SCORE_CUT:.2f} or more"
    best = detections.select(np.argsort(-detections.scores, kind="stable")[:FEW])
    return best, f"no detection reaches {SCORE_CUT:.2f}; the best {len(best)} are shown"


def compose(
    snapshot: Snapshot,
    detections: Detections,
    ground_truths: Detections,
    points_ego: FloatArray,
    title: str,
) -> ImageArray:
    """Return the picture of one sample, (H, W, 3) uint8 RGB.

    Args:
        snapshot: Images and geometry; missing cameras stay empty.
        detections: Boxes in the ego frame at the snapshot's stamp.
        ground_truths: The same for ground truth.
        points_ego: (P, 3) LiDAR points in that frame, possibly none.
        title: What the head line starts with.
    """
    shown, note = boxes_to_show(detections)
    calibration = snapshot.views[0].calibration
    height = round(CAMERA_WIDTH * calibration.height_px / calibration.width_px)
    body = 2 * height + GAP
    canvas = np.full(
        (HEADER + body + LEGEND, 3 * (CAMERA_WIDTH + GAP) + body, 3), BACKGROUND, dtype=np.uint8
    )
    views = {view.camera: view for view in snapshot.views}
    labels = []
    rows = camera_rows({name: azimuth_of(view) for name, view in views.items()})
    for row, cameras in enumerate(rows):
        for column, camera in enumerate(cameras):
            top, left = HEADER + row * (height + GAP), column * (CAMERA_WIDTH + GAP)
            picture = draw_camera(views[camera], shown, CAMERA_WIDTH)[:height]
            canvas[top : top + len(picture), left : left + CAMERA_WIDTH] = picture
            labels.append((left + 8, top + 6, camera))
    bev = BevCanvas(body)
    bev.draw_points(points_ego)
    bev.draw_ground_truths(ground_truths)
    bev.draw_detections(shown)
    canvas[HEADER : HEADER + body, -body:] = bev.image
    head = f"{title}   {note}, {len(ground_truths)} objects"
    return _write_texts(canvas, head, labels)


def _write_texts(
    canvas: ImageArray, head: str, labels: Sequence[tuple[int, int, str]]
) -> ImageArray:
    image = Image.fromarray(canvas)
    draw = ImageDraw.Draw(image)
    draw.text((10, 10), head, fill=TEXT, font=_font(20))
    for left, top, text in labels:
        right = left + draw.textlength(text, font=_font(14))
        draw.rectangle((left - 4, top - 2, right + 4, top + 18), fill=BACKGROUND)
        draw.text((left, top), text, fill=TEXT, font=_font(14))
    x, y = 10.0, len(canvas) - LEGEND + 9
    entries = {"ground truth (from above)": GROUND_TRUTH, **CLASS_COLORS}
    for name, color in entries.items():
        swatch = (x, y + 3, x + 16, y + 17)
        draw.rectangle(swatch, fill=color if name in CLASS_COLORS else None, outline=color)
        text = name.replace("_", " ")
        draw.text((x + 23, y), text, fill=TEXT, font=_font(16))
        x += 47 + draw.textlength(text, font=_font(16))
    return np.asarray(image)


def _font(size: int) -> Any:
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(path), size)


def write_pictures(
    nusc: Any,
    scenes: Sequence[Scene],
    answers: dict[str, Answer],
    folder: Path,
    *,
    title: str,
    limit: int | None = None,
) -> list[Path]:
    """Write a JPEG for every answered sample and return their paths.

    Args:
        nusc: The devkit's tables.
        scenes: What was played.
        answers: Sample token -> answer.
        folder: Where the files `<scene>_<number>.jpg` go.
        title: What the head lines start with.
        limit: Write only so many, spread over all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [
        (scene.poses, sample, folder / f"{sample.scene}_{number:03d}.jpg")
        for scene in scenes
        for number, sample in enumerate(scene.samples)
        if sample.token in answers
    ]
    if limit is not None and len(jobs) > limit:
        jobs = [jobs[i] for i in np.linspace(0, len(jobs) - 1, limit).astype(int)]
    for poses, sample, path in progress(jobs, "pictures", len(jobs)):
        detections = answers[sample.token].detections
        snapshot = snapshot_of_sample(nusc, sample.token, tuple(sample.camera_stamps_ns))
        picture = compose(
            snapshot,
            detections,
            ground_truths_of_sample(nusc, sample.token, poses, detections.stamp_ns),
            lidar_points(nusc, sample.token, poses, detections.stamp_ns),
            f"{title}   {path.stem}",
        )
        Image.fromarray(picture).save(path, quality=90)
    return [path for _, _, path in jobs]


def lidar_points(nusc: Any, token: str, poses: PoseTrack, stamp_ns: int) -> FloatArray:
    """Return a sample's LiDAR points (P, 3) in the ego frame of a time; none without a LiDAR."""
    data = nusc.get("sample", token)["data"]
    if LIDAR_CHANNEL not in data:
        return np.zeros((0, 3))
    record = sensor_record(nusc, data[LIDAR_CHANNEL])
    points_lidar = np.fromfile(record.path, dtype="<f4").reshape(-1, 5)[:, :3]
    ego_from_global = inverse(poses.at(stamp_ns))
    ego_from_lidar = ego_from_global @ record.global_from_ego @ record.ego_from_sensor
    return transform_points(ego_from_lidar, points_lidar)
