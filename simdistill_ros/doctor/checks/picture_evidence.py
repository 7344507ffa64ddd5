# SPDX-License-Identifier: Apache-2.0
"""Do the pictures themselves agree with the calibration: features that neighbours share.

Where they do not, simple mistakes are tried out: two cameras' pictures exchanged, or one picture
turned upside down or mirrored. A mistake is named only if many features agree with it and hardly
any with what is configured; pictures without texture prove nothing and are not held against anyone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations

import numpy as np

from simdistill_ros.core.camera import CameraCalibration, scale_matrix
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
    height, width = picture.pixels.shape[:2]
    scaling = scale_matrix(width / calibration.width_px, height / calibration.height_px)
    small = CameraCalibration(
        width,
        height,
        scaling @ calibration.image_from_cam,
        calibration.distortion_model,
        calibration.distortion,
    )
    assert camera.ego_from_cam is not None
    return PlacedPicture(picture.pixels, small, camera.ego_from_cam)


def agreement(placed: Placed) -> dict[tuple[str, str], int]:
    """Return, for every pair of cameras that overlap, the agreeing features over all moments."""
    found_pairs = {}
    for first, second in combinations(placed, 2):
        if common_sector(placed[first][0], placed[second][0]) is not None:
            found_pairs[first, second] = _agreeing(placed, first, second)
    return found_pairs


def _agreeing(placed: Placed, first: str, second: str) -> int:
    moments = zip(placed[first], placed[second], strict=False)
    return sum(count_agreeing(one, two) or 0 for one, two in moments)


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


def check_pictures(rig: Rig) -> list[Finding]:
    """Try out what would make neighbouring pictures agree."""
    placed = placed_pictures(rig)
    pairs = agreement(placed)
    if not pairs:
        return []
    findings = _swaps(placed, pairs)
    swapped = {name for finding in findings for name in finding.subjects}
    findings += _turns(placed, pairs, swapped)
    confirmed = {pair: n for pair, n in pairs.items() if n >= ENOUGH}
    if confirmed:
        text = ", ".join(f"{a} and {b}: {n}" for (a, b), n in confirmed.items())
        findings.append(found(NEIGHBOURS_AGREE, (), f"features that agree: {text}"))
    return findings


def _affected(pairs: Mapping[tuple[str, str], int], *names: str) -> list[tuple[str, str]]:
    return [pair for pair in pairs if set(names) & set(pair)]


def _is_better(before: int, after: int) -> bool:
    return after >= SURE and after >= CLEARLY_MORE * max(before, 1)


def _swaps(placed: Placed, pairs: Mapping[tuple[str, str], int]) -> list[Finding]:
    best: dict[tuple[str, str], tuple[int, int]] = {}
    for first, second in combinations(placed, 2):
        affected = _affected(pairs, first, second)
        before = sum(pairs[pair] for pair in affected)
        # Where much agrees already nothing is exchanged; that spares most of the work.
        if before >= SURE:
            continue
        trial = dict(placed)
        trial[first] = _with_pixels(placed[first], [p.pixels for p in placed[second]])
        trial[second] = _with_pixels(placed[second], [p.pixels for p in placed[first]])
        after = sum(_agreeing(trial, *pair) for pair in affected)
        if _is_better(before, after):
            best[first, second] = (before, after)
    findings: list[Finding] = []
    taken: set[str] = set()
    for (first, second), (before, after) in sorted(best.items(), key=lambda item: -item[1][1]):
        if taken & {first, second}:
            continue
        taken |= {first, second}
        text = (
            f"{after} features of the overlaps agree if the pictures of {first} and {second} are "
            f"exchanged, {before} as they are"
        )
        evidence = {"as_is": before, "exchanged": after}
        findings.append(found(PICTURES_SWAPPED, (first, second), text, "", **evidence))
    return findings


_TURNS: dict[str, Callable[[ImageArray], ImageArray]] = {
    "turned by 180 degrees": lambda pixels: np.ascontiguousarray(pixels[::-1, ::-1]),
    "mirrored": lambda pixels: np.ascontiguousarray(pixels[:, ::-1]),
}


def _turns(
    placed: Placed, pairs: Mapping[tuple[str, str], int], swapped: set[str]
) -> list[Finding]:
    findings = []
    for name, places in placed.items():
        affected = _affected(pairs, name)
        before = sum(pairs[pair] for pair in affected)
        if name in swapped or before >= SURE:
            continue
        for how, turn in _TURNS.items():
            trial = {**placed, name: _with_pixels(places, [turn(p.pixels) for p in places])}
            after = sum(_agreeing(trial, *pair) for pair in affected)
            if _is_better(before, after):
                text = f"{after} features agree if the picture is {how}, {before} as it is"
                findings.append(found(PICTURE_TURNED, name, text, as_is=before, turned=after))
                break
    return findings


CHECKS = (Check(check_pictures, (PICTURES_SWAPPED, PICTURE_TURNED, NEIGHBOURS_AGREE)),)
