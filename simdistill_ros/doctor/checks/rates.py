# SPDX-License-Identifier: Apache-2.0
"""Does every camera send every image."""

from __future__ import annotations

from itertools import pairwise
from statistics import median

from simdistill_ros.doctor.findings import Check, Finding, Kind, Severity, found
from simdistill_ros.doctor.observations import NANOSECONDS, CameraSeen, Rig
from simdistill_ros.doctor.rhythm import common_period_ns, rhythm_of

FEW = 3  # losses that may be a late start or an early end
SHARE_LOST = 0.03
SHARE_LOST_LARGE = 0.2
LARGE_BYTES = 400_000  # best-effort messages above Fast DDS's default segment get lost
SLOW = 1.4
REGULAR = 0.25
SILENT_PERIODS = 6
IRREGULAR = 0.6

CAMERA_SILENT = Kind(
    "camera_silent",
    Severity.ERROR,
    "A camera sent images and then stopped, while others went on.",
    "Look at that camera's driver, cable and power.",
)
RATE_DIFFERS = Kind(
    "rate_differs",
    Severity.WARNING,
    "A camera runs slower than the others: a set needs an image of each, so it sets the pace.",
    "Run all cameras at one rate, from one trigger.",
    explained_by=("camera_silent",),
)
LOSS_LARGE_MESSAGES = Kind(
    "loss_large_messages",
    Severity.ERROR,
    "Large images get lost while small messages arrive: the transport's buffers are too small.",
    "Set FASTDDS_DEFAULT_PROFILES_FILE to config/fastdds_profile.xml in the publisher's process, "
    "or publish CompressedImage.",
    explained_by=("camera_silent", "rate_differs", "stamp_zero"),
)
DROPPED_FRAMES = Kind(
    "dropped_frames",
    Severity.WARNING,
    "A camera loses images; every loss costs a whole set.",
    "Look at the driver's bandwidth, the QoS depth and the load of the machine.",
    explained_by=("loss_large_messages", "rate_differs", "camera_silent", "stamp_zero",
                  "stamp_repeated"),
)  # fmt: skip
IRREGULAR_STAMPS = Kind(
    "irregular_stamps",
    Severity.WARNING,
    "The time between a camera's images varies by more than half of itself.",
    "Trigger the cameras by hardware, or stamp at exposure instead of at arrival.",
    explained_by=("dropped_frames", "loss_large_messages", "rate_differs", "stamp_backward",
                  "time_jump", "stamp_repeated", "clock_offset"),
)  # fmt: skip


def check_silence(rig: Rig) -> list[Finding]:
    """Name cameras that stopped."""
    period_ns = common_period_ns(rig.cameras)
    if period_ns is None:
        return []
    limit_ns = max(NANOSECONDS, SILENT_PERIODS * period_ns)
    newest = max(c.images.arrivals_ns[-1] for c in rig.cameras if len(c.images))
    findings = []
    for camera in rig.cameras:
        if len(camera.images) and newest - camera.images.arrivals_ns[-1] > limit_ns:
            quiet_s = (rig.end_ns - camera.images.arrivals_ns[-1]) / 1e9
            text = f"its last image came {quiet_s:.1f} s before the end"
            findings.append(found(CAMERA_SILENT, camera.name, text, silent_s=quiet_s))
    return findings


def _is_slow(camera: CameraSeen, period_ns: int) -> bool:
    """Tell whether a camera is slower than the others, and regular, not one that loses images."""
    rhythm = rhythm_of(camera.images)
    if rhythm is None or rhythm.period_ns < SLOW * period_ns or _lost_by_info(camera):
        return False
    gaps = [later - stamp for stamp, later in pairwise(sorted(camera.images.stamps_ns))]
    near = sum(abs(gap - rhythm.period_ns) < REGULAR * rhythm.period_ns for gap in gaps)
    return near >= 0.8 * len(gaps)


def check_rates(rig: Rig) -> list[Finding]:
    """Name cameras slower than the others."""
    period_ns = common_period_ns(rig.cameras)
    findings = []
    for camera in rig.cameras if period_ns is not None else ():
        rhythm = rhythm_of(camera.images)
        if rhythm and period_ns and _is_slow(camera, period_ns):
            others_hz = 1e9 / period_ns
            text = f"{rhythm.rate_hz:.1f} Hz, the others {others_hz:.1f} Hz"
            findings.append(found(RATE_DIFFERS, camera.name, text, rate_hz=rhythm.rate_hz))
    return findings


def lost_images(rig: Rig, camera: CameraSeen) -> int:
    """Return how many images did not come.

    CameraInfo that shares its stamps with the images tells exactly; else the busiest camera does.
    """
    by_info = _lost_by_info(camera)
    if by_info is not None:
        return by_info
    return max(len(c.images) for c in rig.cameras) - len(camera.images)


def _lost_by_info(camera: CameraSeen) -> int | None:
    """Return how many CameraInfos came without their image; None if they are not in pairs."""
    images, infos = set(camera.images.stamps_ns), set(camera.infos.stamps_ns)
    if not images or len(images & infos) < 0.9 * len(images):
        return None
    return len(infos - images)


def check_losses(rig: Rig) -> list[Finding]:
    """Name cameras that lose images, and large messages as the cause."""
    findings = []
    for camera in rig.cameras:
        if not len(camera.images):
            continue
        lost = lost_images(rig, camera)
        share = lost / (lost + len(camera.images))
        if lost < FEW or share < SHARE_LOST:
            continue
        size = round(median(camera.images.sizes_bytes))
        total = lost + len(camera.images)
        text = (
            f"{lost} of {total} images ({share:.0%}) are missing; an image has {size / 1e6:.2f} MB"
        )
        is_large = size >= LARGE_BYTES and share >= SHARE_LOST_LARGE
        kind = LOSS_LARGE_MESSAGES if is_large else DROPPED_FRAMES
        findings.append(found(kind, camera.name, text, lost=lost, share=share, size_bytes=size))
    return findings


def check_regularity(rig: Rig) -> list[Finding]:
    """Name cameras without a rhythm."""
    findings = []
    for camera in rig.cameras:
        rhythm = rhythm_of(camera.images)
        if rhythm and rhythm.jitter_ns > IRREGULAR * rhythm.period_ns:
            text = f"{rhythm.period_ns / 1e6:.0f} ms ± {rhythm.jitter_ns / 1e6:.0f} ms"
            findings.append(found(IRREGULAR_STAMPS, camera.name, text))
    return findings


CHECKS = (
    Check(check_silence, (CAMERA_SILENT,)),
    Check(check_rates, (RATE_DIFFERS,)),
    Check(check_losses, (LOSS_LARGE_MESSAGES, DROPPED_FRAMES)),
    Check(check_regularity, (IRREGULAR_STAMPS,)),
)
