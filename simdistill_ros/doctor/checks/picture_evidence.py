# SPDX-License-Identifier: Apache-2.0
"""Do the pictures themselves agree with the calibration: features that neighbours share.

Where they do not, simple mistakes are tried out: two cameras' pictures exchanged, or one picture
turned upside down or mirrored. A mistake is named only if many features agree with it and hardly
any with what is configured; pictures without texture prove nothing and are not held against anyone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import cv2
import numpy as np

from simdistill_ros.core.camera import CameraCalibration, scale_matrix
from simdistill_ros.core.frames import inverse, rigid
from simdistill_ros.core.snapshot import ImageArray
from simdistill_ros.doctor.findings import Check, Finding, Kind, Severity, found
from simdistill_ros.doctor.observations import CameraSeen, Picture, Rig
from simdistill_ros.doctor.overlap import PlacedPicture, common_sector, count_agreeing

SURE = 12  # agreeing features that chance does not give
CLEARLY_MORE = 4
ENOUGH = 4  # a pair with as many, over all moments, is confirmed

_UNPLACED_BY = (
    "extrinsics_inverted", "frame_not_optical", "rig_turned", "cameras_swapped", "clock_offset",
    "azimuth_unexpected", "extrinsics_shared", "images_duplicated", "intrinsics_not_scaled",
    "translation_units", "camera_rolled", "image_frozen",
)  # fmt: skip
PICTURES_SWAPPED = Kind(
    "pictures_swapped",
    Severity.ERROR,
    "Two cameras' pictures are exchanged: shared features fit only the other way round.",
    "Exchange the image topics of the two cameras, or the cables.",
    explained_by=_UNPLACED_BY,
)
PICTURE_TURNED = Kind(
    "picture_turned",
    Severity.ERROR,
    "A picture is upside down or mirrored against its extrinsics.",
    "Turn the picture in the driver, or the extrinsics by 180 degrees about the optical axis.",
    explained_by=(*_UNPLACED_BY, "pictures_swapped"),
)
NEIGHBOURS_AGREE = Kind(
    "neighbours_agree",
    Severity.INFO,
    "Features that neighbouring cameras share lie where the calibration says.",
    "Nothing to do.",
)

Placed = Mapping[str, tuple[PlacedPicture, ...]]


def placed_pictures(rig: Rig) -> dict[str, tuple[PlacedPicture, ...]]:
    """Return each camera's pictures with their geometry; without one a camera is left out."""
    placed = {}
    for camera in rig.cameras:
        if camera.calibration is None or camera.ego_from_cam is None or not camera.pictures:
            continue
        placed[camera.name] = tuple(
            _place(camera, camera.calibration, picture) for picture in camera.pictures
        )
    return placed


def _place(camera: CameraSeen, calibration: CameraCalibration, picture: Picture) -> PlacedPicture:
    assert camera.ego_from_cam is not None
    height, width = picture.pixels.shape[:2]
    scaling = scale_matrix(width / calibration.width_px, height / calibration.height_px)
    small = replace(
        calibration,
        width_px=width,
        height_px=height,
        image_from_cam=scaling @ calibration.image_from_cam,
    )
    pixels = _undistorted(picture.pixels, small) if small.is_distorted else picture.pixels
    pinhole = CameraCalibration(width, height, small.image_from_cam)
    cam_from_rectified = inverse(rigid(calibration.rectified_from_cam, np.zeros(3)))
    return PlacedPicture(pixels, pinhole, camera.ego_from_cam @ cam_from_rectified)


def _undistorted(pixels: ImageArray, calibration: CameraCalibration) -> ImageArray:
    """Return the picture as a pinhole camera of the same K shows it; the node does the same."""
    # Late: the node's preprocessing loads torch, which pictures without distortion do not need.
    from simdistill_ros.core.preprocess import InputRule, undistortion_maps

    same_size = InputRule((calibration.height_px, calibration.width_px), calibration.width_px)
    map_x, map_y = undistortion_maps(same_size, calibration)
    return np.asarray(cv2.remap(pixels, map_x, map_y, cv2.INTER_LINEAR))


def agreement(placed: Placed) -> dict[tuple[str, str], int]:
    """Return, for every pair of cameras that overlap, the agreeing features over all moments."""
    return {pair: sum(_by_moment(placed, [pair])) for pair in overlapping_pairs(placed)}


def overlapping_pairs(placed: Placed) -> list[tuple[str, str]]:
    """Return the pairs of cameras whose fields of view overlap."""
    return [
        (first, second)
        for first, second in combinations(placed, 2)
        if placed[first] and placed[second]
        if common_sector(placed[first][0], placed[second][0]) is not None
    ]


def _by_moment(placed: Placed, pairs: Sequence[tuple[str, str]]) -> Iterator[int]:
    """Yield the agreeing features of some pairs, moment by moment."""
    moments = min((len(placed[name]) for pair in pairs for name in pair), default=0)
    for moment in range(moments):
        yield sum(count_agreeing(placed[a][moment], placed[b][moment]) or 0 for a, b in pairs)


def _with_pixels(
    places: tuple[PlacedPicture, ...], pixels: list[ImageArray]
) -> tuple[PlacedPicture, ...]:
    """Return other pixels in these places; another size means another scale of K."""
    moved = []
    for place, image in zip(places, pixels, strict=False):
        height, width = image.shape[:2]
        old = place.calibration
        scaling = scale_matrix(width / old.width_px, height / old.height_px)
        calibration = CameraCalibration(width, height, scaling @ old.image_from_cam)
        moved.append(PlacedPicture(image, calibration, place.ego_from_cam))
    return tuple(moved)


@dataclass(frozen=True)
class _Repair:
    """A mistake that would explain the pictures: what they are without it, and how many agree."""

    kind: Kind
    names: tuple[str, ...]
    what: str
    placed: Placed
    before: int
    after: int

    def finding(self) -> Finding:
        text = f"{self.after} features of the overlaps agree if {self.what}, {self.before} as is"
        return found(self.kind, self.names, text, "", as_is=self.before, changed=self.after)


def check_pictures(rig: Rig) -> list[Finding]:
    """Try out what would make neighbouring pictures agree."""
    placed: Placed = placed_pictures(rig)
    findings: list[Finding] = []
    pairs = agreement(placed)
    # What was wrong is put right before the next mistake is looked for: it would hide in it.
    while len(findings) < len(placed) and (repair := _best_repair(placed, pairs)) is not None:
        findings.append(repair.finding())
        placed = repair.placed
        pairs = agreement(placed)
    confirmed = {pair: n for pair, n in pairs.items() if n >= ENOUGH}
    if confirmed and not findings:
        text = ", ".join(f"{a} and {b}: {n}" for (a, b), n in confirmed.items())
        findings.append(found(NEIGHBOURS_AGREE, (), f"features that agree: {text}"))
    return findings


def _best_repair(placed: Placed, pairs: Mapping[tuple[str, str], int]) -> _Repair | None:
    """Return the change of one picture or two that makes most features agree, if it is clear."""
    repairs = []
    for names, kind, what, changed in _changes(placed):
        affected = [pair for pair in pairs if set(names) & set(pair)]
        before = sum(pairs[pair] for pair in affected)
        # Where much agrees already nothing is wrong; that spares most of the work.
        if before >= SURE:
            continue
        repaired = {**placed, **changed}
        after = _count_if_promising(repaired, affected)
        if after >= SURE and after >= CLEARLY_MORE * max(before, 1):
            repairs.append(_Repair(kind, names, what, repaired, before, after))
    return max(repairs, key=lambda repair: repair.after, default=None)


def _count_if_promising(placed: Placed, pairs: Sequence[tuple[str, str]]) -> int:
    """Return the agreeing features, or 0 as soon as the first moments show next to none."""
    total = 0
    for moment, number in enumerate(_by_moment(placed, pairs)):
        total += number
        if moment == 1 and total < SURE // 4:
            return 0
    return total


_TURNS: dict[str, Callable[[ImageArray], ImageArray]] = {
    "turned by 180 degrees": lambda pixels: np.ascontiguousarray(pixels[::-1, ::-1]),
    "mirrored": lambda pixels: np.ascontiguousarray(pixels[:, ::-1]),
}
_Change = tuple[tuple[str, ...], Kind, str, dict[str, tuple[PlacedPicture, ...]]]


def _changes(placed: Placed) -> Iterator[_Change]:
    """Yield the mistakes to try: the cameras, the kind, in words, and the pictures without it."""
    pixels = {name: [place.pixels for place in places] for name, places in placed.items()}
    for first, second in combinations(placed, 2):
        exchanged = {
            first: _with_pixels(placed[first], pixels[second]),
            second: _with_pixels(placed[second], pixels[first]),
        }
        what = f"the pictures of {first} and {second} are exchanged"
        yield (first, second), PICTURES_SWAPPED, what, exchanged
    for name, places in placed.items():
        for how, turn in _TURNS.items():
            turned = {name: _with_pixels(places, [turn(image) for image in pixels[name]])}
            yield (name,), PICTURE_TURNED, f"the picture is {how}", turned


CHECKS = (Check(check_pictures, (PICTURES_SWAPPED, PICTURE_TURNED, NEIGHBOURS_AGREE)),)
