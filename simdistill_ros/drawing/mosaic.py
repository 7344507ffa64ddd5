# SPDX-License-Identifier: Apache-2.0
"""All cameras of a snapshot in one picture, arranged as they look: ahead above, back below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from simdistill_ros.core.boxes import Detections
from simdistill_ros.core.snapshot import ImageArray, Snapshot, View
from simdistill_ros.drawing.bev_canvas import BACKGROUND
from simdistill_ros.drawing.camera_boxes import CameraPictures
from simdistill_ros.drawing.text import TEXT, write

GAP_PX = 4
NAME_SIZE = 0.45
ABSENT: tuple[int, int, int] = (48, 30, 34)


def azimuth_of(view: View) -> float:
    """Return where a camera's optical axis points, radians counter-clockwise from ahead."""
    return float(np.arctan2(view.ego_from_cam[1, 2], view.ego_from_cam[0, 2]))


def camera_rows(azimuths_rad: Mapping[str, float]) -> list[list[str]]:
    """Arrange cameras in two rows by where they look; left in a row is left of the vehicle.

    Six cameras of the usual kind become front left, front, front right above back left, back, back
    right. With an odd number the front row has one more.
    """
    names = sorted(azimuths_rad)
    by_nearness = sorted(names, key=lambda name: abs(azimuths_rad[name]))
    ahead = by_nearness[: (len(names) + 1) // 2]
    behind = by_nearness[len(ahead) :]
    front = sorted(ahead, key=lambda name: -azimuths_rad[name])
    back = sorted(behind, key=lambda name: azimuths_rad[name] % (2 * np.pi))
    return [row for row in (front, back) if row]


def tile_width_px(mosaic_width_px: int, cameras: int) -> int:
    """Return how wide each camera's picture is."""
    columns = max(1, (cameras + 1) // 2)
    return max(1, (mosaic_width_px - (columns - 1) * GAP_PX) // columns)


class Mosaic:
    """Draws one picture a snapshot; knows where cameras look, so that a lost one leaves a gap."""

    def __init__(self, width_px: int) -> None:
        """Draw pictures of about this width."""
        self._width_px = width_px
        self._azimuths_rad: dict[str, float] = {}
        self._pictures: dict[tuple[int, int], CameraPictures] = {}

    def draw(self, snapshot: Snapshot, detections: Detections) -> ImageArray:
        """Return the picture, (H, W, 3) uint8 RGB.

        Args:
            snapshot: Views with the images as they came from the cameras.
            detections: Boxes in the ego frame at the snapshot's stamp.
        """
        views = {view.camera: view for view in snapshot.views}
        self._azimuths_rad |= {name: azimuth_of(view) for name, view in views.items()}
        for name in snapshot.missing:
            self._azimuths_rad.setdefault(name, np.pi)  # until it is seen: among those behind
        rows = camera_rows(self._azimuths_rad)
        tile_hw = self._tile_hw(snapshot.views)
        canvas = np.full(_canvas_shape(rows, tile_hw), BACKGROUND, dtype=np.uint8)
        for row, names in enumerate(rows):
            for column, name in enumerate(names):
                top, left = row * (tile_hw[0] + GAP_PX), column * (tile_hw[1] + GAP_PX)
                tile = canvas[top : top + tile_hw[0], left : left + tile_hw[1]]
                if name in views:
                    tile[:] = self._pictures[tile_hw].draw(views[name], detections)
                else:
                    tile[:] = ABSENT
                write(tile, _caption(name, snapshot), 6, 16, color=TEXT, size=NAME_SIZE)
        return canvas

    def _tile_hw(self, views: Sequence[View]) -> tuple[int, int]:
        width = tile_width_px(self._width_px, len(self._azimuths_rad))
        calibration = views[0].calibration
        tile_hw = (round(width * calibration.height_px / calibration.width_px), width)
        if tile_hw not in self._pictures:
            self._pictures = {tile_hw: CameraPictures(tile_hw)}
        return tile_hw


def _canvas_shape(rows: Sequence[Sequence[str]], tile_hw: tuple[int, int]) -> tuple[int, int, int]:
    columns = max(len(row) for row in rows)
    height = len(rows) * tile_hw[0] + (len(rows) - 1) * GAP_PX
    return height, columns * tile_hw[1] + (columns - 1) * GAP_PX, 3


def _caption(name: str, snapshot: Snapshot) -> str:
    if name in snapshot.held:
        age_ms = (snapshot.stamp_ns - snapshot.view(name).stamp_ns) / 1e6
        return f"{name}: held, {age_ms:.0f} ms old"
    if all(view.camera != name for view in snapshot.views):
        return f"{name}: no image"
    return name
