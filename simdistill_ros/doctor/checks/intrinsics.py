# SPDX-License-Identifier: Apache-2.0
"""Is the CameraInfo that of this camera and of this image."""

from __future__ import annotations

import math

from simdistill_ros.doctor.findings import Check, Finding, Kind, Severity, found
from simdistill_ros.doctor.observations import CameraSeen, InfoSeen, Rig

CENTRE_SHARE = 0.2  # a principal point further from the middle is no lens's
SCALED = 1.25
UNEQUAL = 0.1
NARROWEST_DEG, WIDEST_DEG = 12.0, 150.0

UNCALIBRATED = Kind(
    "uncalibrated",
    Severity.ERROR,
    "CameraInfo.k[0] is 0: the camera is not calibrated.",
    "Calibrate the camera and load the result into its driver.",
)
INFO_UNUSABLE = Kind(
    "info_unusable",
    Severity.ERROR,
    "The node refuses a CameraInfo: NaN, a size of zero, K that is no pinhole matrix, an unknown "
    "distortion model or a wrong number of coefficients.",
    "Correct the calibration file of the driver.",
)
INFO_ROTATION = Kind(
    "info_rotation",
    Severity.ERROR,
    "CameraInfo.r is not a rotation.",
    "Publish the identity for a single camera, or set input.ignore_r.",
)
ASPECT_DIFFERS = Kind(
    "aspect_differs",
    Severity.ERROR,
    "Image and CameraInfo have different aspect ratios: the image is cropped or stretched and the "
    "CameraInfo does not say so.",
    "Publish the CameraInfo of this image, with roi and binning where the image is cropped.",
)
INTRINSICS_NOT_SCALED = Kind(
    "intrinsics_not_scaled",
    Severity.ERROR,
    "K belongs to another image size than width and height say: the image was resized, K not.",
    "Scale fx, fy, cx, cy with the image, or leave width, height and K as calibrated: the node "
    "scales K to the image by itself.",
)
PRINCIPAL_POINT_OFF = Kind(
    "principal_point_off",
    Severity.WARNING,
    "The principal point is far from the middle of the image.",
    "Check cx and cy, and whether the image is cropped without roi.",
    explained_by=("intrinsics_not_scaled", "aspect_differs"),
)
FOCAL_LENGTHS_DIFFER = Kind(
    "focal_lengths_differ",
    Severity.WARNING,
    "fx and fy differ by more than a tenth: the pixels of cameras are square.",
    "Check K, and whether the image is stretched.",
    explained_by=("aspect_differs",),
)
FIELD_OF_VIEW_ODD = Kind(
    "field_of_view_odd",
    Severity.WARNING,
    "The focal length gives a field of view that no such camera has.",
    "Check fx (pixels, not millimetres) and the image width.",
    explained_by=("intrinsics_not_scaled",),
)
INFO_SCALED = Kind(
    "info_scaled",
    Severity.INFO,
    "The image is smaller or larger than CameraInfo says; the node scales K to it.",
    "Nothing to do, if the image is the whole one, resized.",
)
RECTIFIED_AS_RAW = Kind(
    "rectified_as_raw",
    Severity.WARNING,
    "The topic's name says rectified, but the node undistorts it once more with K and D.",
    "Set input.rectified: true, or subscribe to the raw topic.",
)
RAW_AS_RECTIFIED = Kind(
    "raw_as_rectified",
    Severity.WARNING,
    "The topic's name says raw and the lens distorts, but the node takes it for rectified.",
    "Set input.rectified: false, or subscribe to the rectified topic.",
)
PROJECTION_MISSING = Kind(
    "projection_missing",
    Severity.WARNING,
    "Images are taken for rectified, but CameraInfo.p is empty, so K is used.",
    "Publish P with rectified images.",
    explained_by=("uncalibrated", "raw_as_rectified"),
)
INFO_CHANGES = Kind(
    "info_changes",
    Severity.WARNING,
    "A camera's CameraInfo changes while it runs.",
    "Stop the second source of CameraInfo, or the online calibration.",
    explained_by=("info_unusable", "uncalibrated"),
)
_KIND_OF_CAUSE = {
    "uncalibrated": UNCALIBRATED,
    "bad_rotation": INFO_ROTATION,
    "aspect_ratio": ASPECT_DIFFERS,
}


def check_usable(rig: Rig) -> list[Finding]:
    """Name cameras whose CameraInfo the node refuses."""
    return [
        found(_KIND_OF_CAUSE.get(failure.cause, INFO_UNUSABLE), camera.name, failure.text)
        for camera in rig.cameras
        if (failure := camera.calibration_failure) is not None
    ]


def _newest_info(camera: CameraSeen) -> InfoSeen | None:
    """Return the CameraInfo of a camera that the node can use."""
    return camera.infos_seen[-1] if camera.calibration and camera.infos_seen else None


def check_plausible(rig: Rig) -> list[Finding]:
    """Compare K with the size it is said to belong to."""
    findings = []
    for camera in rig.cameras:
        info = _newest_info(camera)
        if info is None:
            continue
        fx, cx, fy, cy = info.k[0], info.k[2], info.k[4], info.k[5]
        findings += _check_centre(camera.name, info, cx, cy)
        if fy > 0 and abs(fx / fy - 1) > UNEQUAL:
            text = f"fx is {fx:.1f} px and fy {fy:.1f} px"
            findings.append(found(FOCAL_LENGTHS_DIFFER, camera.name, text, fx_px=fx, fy_px=fy))
        view_deg = 2 * math.degrees(math.atan2(info.width / 2, fx)) if fx > 0 else 0.0
        is_fisheye = info.distortion_model == "equidistant"
        if view_deg < NARROWEST_DEG or (view_deg > WIDEST_DEG and not is_fisheye):
            text = f"fx {fx:.2f} px at a width of {info.width} px is a view of {view_deg:.0f} deg"
            findings.append(found(FIELD_OF_VIEW_ODD, camera.name, text, view_deg=view_deg))
    return findings


def _check_centre(name: str, info: InfoSeen, cx: float, cy: float) -> list[Finding]:
    across, along = 2 * cx / info.width, 2 * cy / info.height
    if max(abs(across - 1), abs(along - 1)) <= 2 * CENTRE_SHARE:
        return []
    text = (
        f"the principal point ({cx:.0f}, {cy:.0f}) px is not near the middle of "
        f"{info.width}x{info.height}"
    )
    larger, smaller = max(across, along), min(across, along)
    if smaller > 0 and larger / smaller < SCALED and not 1 / SCALED < larger < SCALED:
        text += f": K is of an image of about {info.width * across:.0f}x{info.height * along:.0f}"
        return [found(INTRINSICS_NOT_SCALED, name, text, scale=across)]
    return [found(PRINCIPAL_POINT_OFF, name, text, cx_px=cx, cy_px=cy)]


def check_size(rig: Rig) -> list[Finding]:
    """Tell where the image is a resized copy."""
    findings = []
    for camera in rig.cameras:
        info = _newest_info(camera)
        if info is None or not camera.sizes_hw:
            continue
        height, width = camera.sizes_hw[-1]
        if (width, height) != (info.width, info.height):
            text = f"the image is {width}x{height}, CameraInfo says {info.width}x{info.height}"
            findings.append(found(INFO_SCALED, camera.name, text))
    return findings


def check_rectification(rig: Rig) -> list[Finding]:
    """Compare input.rectified with the topic's name and the CameraInfo."""
    findings = []
    for camera in rig.cameras:
        info = _newest_info(camera)
        if info is None:
            continue
        topic = camera.plan.image_topic
        distorts = any(value != 0.0 for value in info.d)
        if not rig.plan.rectified and distorts and "rect" in topic:
            text = f"{topic} with D = {_numbers(info.d)}"
            findings.append(found(RECTIFIED_AS_RAW, camera.name, text))
        if rig.plan.rectified and distorts and "rect" not in topic:
            text = f"{topic} with D = {_numbers(info.d)}"
            findings.append(found(RAW_AS_RECTIFIED, camera.name, text))
        if rig.plan.rectified and info.p[0] == 0:
            findings.append(found(PROJECTION_MISSING, camera.name, "p[0] is 0"))
    return findings


def _numbers(values: tuple[float, ...]) -> str:
    return "[" + ", ".join(f"{value:.3g}" for value in values) + "]"


def check_constant(rig: Rig) -> list[Finding]:
    """Name cameras whose calibration changes."""
    return [
        found(INFO_CHANGES, camera.name, f"{len(camera.infos_seen)} different CameraInfos")
        for camera in rig.cameras
        if len(camera.infos_seen) > 1
    ]


CHECKS = (
    Check(
        check_usable,
        (UNCALIBRATED, INFO_UNUSABLE, INFO_ROTATION, ASPECT_DIFFERS),
    ),
    Check(
        check_plausible,
        (INTRINSICS_NOT_SCALED, PRINCIPAL_POINT_OFF, FOCAL_LENGTHS_DIFFER, FIELD_OF_VIEW_ODD),
    ),
    Check(check_size, (INFO_SCALED,)),
    Check(check_rectification, (RECTIFIED_AS_RAW, RAW_AS_RECTIFIED, PROJECTION_MISSING)),
    Check(check_constant, (INFO_CHANGES,)),
)
