# SPDX-License-Identifier: Apache-2.0
"""Pictures of what was seen: cameras with horizon and ground grid, the rig from above, spreads.

Where horizon and grid do not lie on the road's, the calibration is not that of the picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Wedge

from simdistill_ros.core.camera import project_points
from simdistill_ros.core.frames import FloatArray, inverse, transform_points
from simdistill_ros.core.snapshot import ImageArray
from simdistill_ros.doctor.checks.coverage import sectors
from simdistill_ros.doctor.checks.picture_evidence import placed_pictures
from simdistill_ros.doctor.observations import Rig
from simdistill_ros.doctor.overlap import PlacedPicture
from simdistill_ros.doctor.rhythm import sets_of

THUMBNAIL_WIDTH_PX = 480
NEAR_M = 0.4
GRID_M, GRID_STEP_M = 30.0, 5.0
HORIZON_M = 10_000.0
WEDGE_M = 2.4
GRID_COLOR, HORIZON_COLOR = (64, 196, 255), (255, 176, 32)
STYLE = {"font.size": 9.0, "axes.spines.top": False, "axes.spines.right": False}
_BITS = 4
_FAR_PX = 20_000.0


def write_drawings(rig: Rig, folder: Path) -> list[Path]:
    """Write what can be drawn and return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {
        "cameras.jpg": camera_drawing(rig),
        "rig.png": rig_drawing(rig),
        "spread.png": spread_drawing(rig),
    }
    paths = []
    for name, pixels in drawn.items():
        if pixels is not None:
            path = folder / name
            if not cv2.imwrite(str(path), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)):
                raise OSError(f"{path}: cannot be written")
            paths.append(path)
    return paths


def _render(figure: Figure) -> ImageArray:
    """Return a figure's pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def camera_drawing(rig: Rig) -> ImageArray | None:
    """Return all cameras' newest pictures with horizon and ground grid, or None without any."""
    pictures = {camera.name: camera.pictures[-1] for camera in rig.cameras if camera.pictures}
    if not pictures:
        return None
    placed = {name: places[-1] for name, places in placed_pictures(rig).items()}
    pictures = {name: pictures[name] for name in sorted(pictures, key=_place_in_row(placed))}
    columns = min(3, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.0 * columns, 2.6 * rows), dpi=110, layout="constrained")
        for index, (name, picture) in enumerate(pictures.items()):
            axes = figure.add_subplot(rows, columns, index + 1)
            if name in placed:
                axes.imshow(draw_ground(placed[name]))
                axes.set_title(name, loc="left")
            else:
                axes.imshow(picture.pixels)
                axes.set_title(f"{name}: no calibration or transform", loc="left", color="#d1495b")
            axes.axis("off")
        return _render(figure)


def _place_in_row(placed: Mapping[str, PlacedPicture]) -> Callable[[str], tuple[bool, float]]:
    """Return a sorting key: cameras that look ahead, left to right, then those that look back."""

    def key(name: str) -> tuple[bool, float]:
        if name not in placed:
            return True, 2 * math.pi
        azimuth_rad = placed[name].azimuth_rad
        looks_back = math.cos(azimuth_rad) < 0
        return looks_back, azimuth_rad % (2 * math.pi) if looks_back else -azimuth_rad

    return key


def draw_ground(place: PlacedPicture) -> ImageArray:
    """Return a picture with the horizon and a ground grid of 5 m around the vehicle."""
    scale = THUMBNAIL_WIDTH_PX / place.pixels.shape[1]
    canvas = cv2.resize(place.pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    image_from_cam = np.diag([scale, scale, 1.0]) @ place.calibration.image_from_cam
    cam_from_ego = inverse(place.ego_from_cam)
    for points, color in _ground_lines():
        points_cam = transform_points(cam_from_ego, points)
        for segment in _before_camera(points_cam):
            pixels, _ = project_points(image_from_cam, segment)
            fixed = np.round(np.clip(pixels, -_FAR_PX, _FAR_PX) * 2**_BITS).astype(np.int32)
            cv2.polylines(canvas, [fixed], False, color, 1, cv2.LINE_AA, _BITS)
    return np.asarray(canvas)


def _ground_lines() -> Iterator[tuple[FloatArray, tuple[int, int, int]]]:
    """Yield lines on the ground, (M, 3) in the ego frame, and the horizon."""
    along = np.linspace(-GRID_M, GRID_M, 241)
    for offset in np.arange(-GRID_M, GRID_M + 0.1, GRID_STEP_M):
        across = np.full_like(along, offset)
        yield np.stack([along, across, np.zeros_like(along)], axis=1), GRID_COLOR
        yield np.stack([across, along, np.zeros_like(along)], axis=1), GRID_COLOR
    angles = np.linspace(0.0, 2 * np.pi, 721)
    far = HORIZON_M * np.stack([np.cos(angles), np.sin(angles), np.zeros_like(angles)], axis=1)
    yield far, HORIZON_COLOR


def _before_camera(points_cam: FloatArray) -> Iterator[FloatArray]:
    """Yield the stretches of a line that lie before the camera."""
    inside = points_cam[:, 2] > NEAR_M
    edges = np.flatnonzero(np.diff(inside.astype(int))) + 1
    for stretch in np.split(np.arange(len(points_cam)), edges):
        if len(stretch) > 1 and inside[stretch[0]]:
            yield points_cam[stretch]


def rig_drawing(rig: Rig) -> ImageArray | None:
    """Return the rig from above with each camera's view, or None without poses."""
    views = sectors(rig)
    if not views:
        return None
    colors = matplotlib.colormaps["tab10"]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.2, 5.2), dpi=110, layout="constrained")
        axes = figure.add_subplot()
        for index, (name, (low, high)) in enumerate(views.items()):
            pose = rig.camera(name).ego_from_cam
            assert pose is not None
            # Ahead is up and left is left: x of the picture is -y of the vehicle.
            place = (-pose[1, 3], pose[0, 3])
            color = colors(index % 10)
            wedge = Wedge(place, WEDGE_M, low + 90, high + 90, color=color, alpha=0.25, lw=0)
            axes.add_patch(wedge)
            middle = math.radians((low + high) / 2 + 90)
            tip = (place[0] + WEDGE_M * math.cos(middle), place[1] + WEDGE_M * math.sin(middle))
            axes.plot(*zip(place, tip, strict=True), color=color, lw=1)
            axes.plot(*place, "o", color=color, ms=5)
            axes.annotate(name, tip, ha="center", va="center", color=color)
        axes.plot(0, 0, "+", color="black", ms=12)
        axes.annotate(rig.plan.base_frame, (0, 0), (4, -10), textcoords="offset points")
        axes.set_aspect("equal")
        axes.margins(0.12)
        axes.set_xlabel("right, m")
        axes.set_ylabel("ahead, m")
        axes.grid(alpha=0.3)
        return _render(figure)


def spread_drawing(rig: Rig) -> ImageArray | None:
    """Return the histogram of the sets' spreads, or None without sets."""
    seen = sets_of(rig)
    if seen is None or not seen.spreads_ns:
        return None
    spreads_ms = np.array(seen.spreads_ns) / 1e6
    lines = [(rig.plan.tolerance_ns / 1e6, "sync.tolerance_s", "#d1495b")]
    if seen.suggested_ns is not None:
        lines.append((seen.suggested_ns / 1e6, "suggested", "#2f9e6e"))
    widest = max(spreads_ms.max(), *(at for at, _, _ in lines)) * 1.15
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.2, 2.6), dpi=110, layout="constrained")
        axes = figure.add_subplot()
        axes.hist(spreads_ms, bins=np.linspace(0.0, widest, 41).tolist(), color="#4287f5")
        for at, label, color in lines:
            axes.axvline(at, color=color, lw=1.5, label=f"{label} {at:.0f} ms")
        axes.set_xlabel("spread of a set, ms")
        axes.set_ylabel("sets")
        axes.legend(frameon=False)
        return _render(figure)
