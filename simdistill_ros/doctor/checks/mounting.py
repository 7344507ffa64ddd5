# SPDX-License-Identifier: Apache-2.0
"""Are the extrinsics those of cameras on a vehicle, and of the cameras that their names say."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from simdistill_ros.core.frames import FloatArray, inverse
from simdistill_ros.doctor.findings import Check, Finding, Kind, Severity, found
from simdistill_ros.doctor.observations import Rig
from simdistill_ros.doctor.rig_geometry import (
    FARTHEST_M,
    HIGHEST_M,
    LEVEL_DEG,
    LOWEST_M,
    UPRIGHT_DEG,
    Mounting,
    angle_between,
    azimuth_of_name,
    fits_name,
    is_body_frame,
    is_inverted,
    mounting_of,
)

SAME_PLACE_M = 1e-6
TURNED_TOGETHER_DEG = 15.0
INWARD = -0.8
OFF_CENTRE_M = 0.7

EXTRINSICS_INVERTED = Kind(
    "extrinsics_inverted",
    Severity.ERROR,
    "Parent and child of a camera's transform are exchanged: the inverse makes sense, this not.",
    "Publish base_link -> camera with the camera's pose in base_link.",
)
_NO_TREE = ("tf_loop", "tf_two_parents")
FRAME_NOT_OPTICAL = Kind(
    "frame_not_optical",
    Severity.ERROR,
    "The frame_id is a body frame (x forward, z up), not an optical one (z forward, y down).",
    "Publish an optical frame, rotated by roll -90, yaw -90 degrees against the body frame, and "
    "put its name into frame_id (REP-103).",
    explained_by=(
        *_NO_TREE,
        "extrinsics_inverted",
    ),
)
TRANSLATION_UNITS = Kind(
    "translation_units",
    Severity.ERROR,
    "A camera is too far from the vehicle: its position is in millimetres or centimetres.",
    "Publish metres (REP-103).",
    explained_by=(
        *_NO_TREE,
        "extrinsics_inverted",
    ),
)
CAMERA_MISPLACED = Kind(
    "camera_misplaced",
    Severity.WARNING,
    "A camera sits below the ground, higher than a lorry, or far from the vehicle.",
    "Check the extrinsics, and that base_frame lies on the vehicle.",
    explained_by=(*_NO_TREE, "extrinsics_inverted", "translation_units"),
)
CAMERA_ROLLED = Kind(
    "camera_rolled",
    Severity.WARNING,
    "A camera's extrinsics are upside down or lie on their side.",
    "Right only where the camera is mounted so; else correct the rotation's roll.",
    explained_by=(*_NO_TREE, "extrinsics_inverted", "frame_not_optical", "camera_steep"),
)
CAMERA_STEEP = Kind(
    "camera_steep",
    Severity.WARNING,
    "A camera looks steeply up or down; the models are trained with cameras that look ahead.",
    "Check the extrinsics' pitch, and that frame_id names the optical frame.",
    explained_by=(*_NO_TREE, "extrinsics_inverted", "frame_not_optical"),
)
EXTRINSICS_SHARED = Kind(
    "extrinsics_shared",
    Severity.ERROR,
    "Two cameras have the same pose, to the last digit.",
    "Give each camera its own frame and its own extrinsics.",
    explained_by=(
        *_NO_TREE,
        "extrinsics_inverted",
    ),
)
RIG_TURNED = Kind(
    "rig_turned",
    Severity.ERROR,
    "All cameras are turned by one angle against their names: base_frame is not x forward.",
    "Use a base_frame with x forward, y left, z up (REP-103); some LiDAR frames have y forward.",
    explained_by=(*_NO_TREE, "extrinsics_inverted", "frame_not_optical"),
)
CAMERAS_SWAPPED = Kind(
    "cameras_swapped",
    Severity.ERROR,
    "Two cameras look where the other's name says: left and right or front and back are swapped.",
    "Exchange the two cameras' topics in cameras.<name>, or their frames in TF.",
    explained_by=(*_NO_TREE, "extrinsics_inverted", "frame_not_optical", "rig_turned"),
)
AZIMUTH_UNEXPECTED = Kind(
    "azimuth_unexpected",
    Severity.ERROR,
    "A camera looks elsewhere than its name says.",
    "Correct its topic in cameras.<name>, its frame_id, or its extrinsics' yaw.",
    explained_by=(*_NO_TREE, "extrinsics_inverted", "frame_not_optical", "rig_turned",
                  "cameras_swapped",
                  "extrinsics_shared", "camera_steep"),
)  # fmt: skip
CAMERA_LOOKS_INWARD = Kind(
    "camera_looks_inward",
    Severity.WARNING,
    "A camera looks across its own vehicle.",
    "Check the signs of its position and its yaw.",
    explained_by=(*_NO_TREE, "extrinsics_inverted", "frame_not_optical", "rig_turned",
                  "cameras_swapped",
                  "azimuth_unexpected", "translation_units", "camera_misplaced",
                  "extrinsics_shared"),
)  # fmt: skip


def poses_of(rig: Rig) -> dict[str, FloatArray]:
    """Return the pose of every camera that has one."""
    return {c.name: c.ego_from_cam for c in rig.cameras if c.ego_from_cam is not None}


def check_inverted(rig: Rig) -> list[Finding]:
    """Name cameras whose transform is the wrong way round."""
    poses = poses_of(rig)
    # A camera published as the parent of the vehicle may leave no look-up at all.
    for edge in rig.transforms.edges:
        if edge.child == rig.plan.base_frame:
            for camera in rig.cameras:
                if camera.frame == edge.parent:
                    poses[camera.name] = inverse(edge.parent_from_child)
    findings = []
    for name, ego_from_cam in poses.items():
        if is_inverted(ego_from_cam):
            x, y, z = inverse(ego_from_cam)[:3, 3]
            text = (
                f"{rig.plan.base_frame} -> {rig.camera(name).frame} makes sense only as its "
                f"inverse, with the camera at ({x:.2f}, {y:.2f}, {z:.2f}) m"
            )
            subjects = (name, rig.camera(name).frame)
            findings.append(found(EXTRINSICS_INVERTED, subjects, text))
    return findings


def check_optical(rig: Rig) -> list[Finding]:
    """Name frames that are no optical frames, and odd rolls and pitches."""
    findings = []
    for name, ego_from_cam in poses_of(rig).items():
        at = mounting_of(ego_from_cam)
        if is_body_frame(ego_from_cam):
            up = "up" if ego_from_cam[2, 2] > 0 else "down"
            text = f"the z axis of {rig.camera(name).frame} points {up}; expected the view's axis"
            findings.append(found(FRAME_NOT_OPTICAL, name, text))
        if abs(at.elevation_deg) > LEVEL_DEG:
            text = f"its axis points {at.elevation_deg:+.0f} degrees above the horizon"
            findings.append(found(CAMERA_STEEP, name, text, elevation_deg=at.elevation_deg))
        if abs(at.roll_deg) > UPRIGHT_DEG:
            what = "upside down" if abs(at.roll_deg) > 150 else f"rolled by {at.roll_deg:+.0f} deg"
            findings.append(found(CAMERA_ROLLED, name, f"it is {what}", roll_deg=at.roll_deg))
    return findings


def check_places(rig: Rig) -> list[Finding]:
    """Name cameras that are where no camera is."""
    findings = []
    poses = poses_of(rig)
    for name, ego_from_cam in poses.items():
        at = mounting_of(ego_from_cam)
        x, y, z = at.position_m
        where = f"({x:.2f}, {y:.2f}, {z:.2f}) m"
        distance_m = float(np.linalg.norm(at.position_m))
        if distance_m > FARTHEST_M:
            unit = "millimetres" if distance_m > 10 * FARTHEST_M else "centimetres"
            text = f"it is {distance_m:.0f} m from {rig.plan.base_frame}: {unit} for metres?"
            findings.append(found(TRANSLATION_UNITS, name, text, distance_m=distance_m))
        elif not LOWEST_M <= z <= HIGHEST_M:
            text = f"it is at {where}: " + ("below the ground" if z < 0 else "above any vehicle")
            findings.append(found(CAMERA_MISPLACED, name, text, height_m=z))
    for first, second in combinations(poses, 2):
        if np.abs(poses[first] - poses[second]).max() < SAME_PLACE_M:
            text = f"{first} and {second} have the same pose"
            findings.append(found(EXTRINSICS_SHARED, (first, second), text))
    return findings


def check_directions(rig: Rig) -> list[Finding]:
    """Compare where cameras look with what their names say."""
    mountings = {name: mounting_of(pose) for name, pose in poses_of(rig).items()}
    named = {n: m for n, m in mountings.items() if azimuth_of_name(n) is not None}
    wrong = {n: m for n, m in named.items() if not fits_name(n, m.azimuth_deg)}
    if not wrong:
        return []
    turn = _common_turn(named)
    if turn is not None:
        text = f"all {len(named)} cameras look {turn:+.0f} degrees from what their names say"
        return [found(RIG_TURNED, tuple(named), text, turn_deg=turn)]
    findings = []
    left_over = dict(wrong)
    for first, second in combinations(wrong, 2):
        crosses = fits_name(second, wrong[first].azimuth_deg) and fits_name(
            first, wrong[second].azimuth_deg
        )
        if crosses and first in left_over and second in left_over:
            del left_over[first], left_over[second]
            text = (
                f"{first} looks to {wrong[first].azimuth_deg:+.0f} degrees and {second} to "
                f"{wrong[second].azimuth_deg:+.0f} (left is positive): the two are exchanged"
            )
            findings.append(found(CAMERAS_SWAPPED, (first, second), text))
    for name, at in left_over.items():
        expected = azimuth_of_name(name)
        text = f"it looks to {at.azimuth_deg:+.0f} degrees, its name says about {expected:+.0f}"
        findings.append(found(AZIMUTH_UNEXPECTED, name, text, azimuth_deg=at.azimuth_deg))
    return findings


def _common_turn(mountings: dict[str, Mounting]) -> float | None:
    """Return the angle by which all cameras are turned alike, or None."""
    turns = [
        angle_between(at.azimuth_deg, expected)
        for name, at in mountings.items()
        if (expected := azimuth_of_name(name)) is not None
    ]
    if len(turns) < 3:
        return None
    unit = np.exp(1j * np.radians(turns))
    middle = float(np.degrees(np.angle(unit.mean())))
    alike = all(abs(angle_between(t, middle)) <= TURNED_TOGETHER_DEG for t in turns)
    return middle if alike else None


def check_outward(rig: Rig) -> list[Finding]:
    """Name cameras that look across the vehicle."""
    poses = {n: pose for n, pose in poses_of(rig).items() if mounting_of(pose).is_on_a_vehicle}
    if len(poses) < 3:
        return []
    centre = np.median([pose[:2, 3] for pose in poses.values()], axis=0)
    findings = []
    for name, pose in poses.items():
        away = pose[:2, 3] - centre
        axis, distance_m = pose[:2, 2], float(np.linalg.norm(away))
        length = float(np.linalg.norm(axis))
        if distance_m < OFF_CENTRE_M or length < 0.5:
            continue
        if float(axis @ away) / (distance_m * length) < INWARD:
            text = f"it sits {distance_m:.1f} m from the rig's middle and looks towards it"
            findings.append(found(CAMERA_LOOKS_INWARD, name, text))
    return findings


CHECKS = (
    Check(check_inverted, (EXTRINSICS_INVERTED,)),
    Check(check_optical, (FRAME_NOT_OPTICAL, CAMERA_ROLLED, CAMERA_STEEP)),
    Check(check_places, (TRANSLATION_UNITS, CAMERA_MISPLACED, EXTRINSICS_SHARED)),
    Check(check_directions, (RIG_TURNED, CAMERAS_SWAPPED, AZIMUTH_UNEXPECTED)),
    Check(check_outward, (CAMERA_LOOKS_INWARD,)),
)
