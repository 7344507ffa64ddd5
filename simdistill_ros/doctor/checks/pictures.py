# SPDX-License-Identifier: Apache-2.0
"""Is there a picture in the images, a new one each time, and a different one per camera."""

from __future__ import annotations

from itertools import combinations, pairwise

import cv2
import numpy as np

from simdistill_ros.core.snapshot import ImageArray
from simdistill_ros.doctor.findings import Check, Finding, Kind, Severity, found
from simdistill_ros.doctor.observations import CameraSeen, Rig

BLACK_LEVEL, WHITE_LEVEL = 6, 250
SHARE_WHITE = 0.7
FLAT_STD = 2.0
FROZEN_AFTER = 3
SHARE_FROZEN = 0.3
ALIKE = 0.97
SMALL_WH = (48, 27)
SHARE_BROKEN = 0.02

IMAGE_UNDECODABLE = Kind(
    "image_undecodable",
    Severity.ERROR,
    "Images cannot be decoded: broken or cut JPEG, wrong step or size, unknown encoding.",
    "Look at the encoder and at losses on the way.",
    explained_by=("topic_type",),
)
SIZE_CHANGES = Kind(
    "size_changes",
    Severity.ERROR,
    "A camera's images change their size while it runs.",
    "Fix the driver's resolution; look for a second publisher on the topic.",
    explained_by=("two_publishers",),
)
ENCODING_CHANGES = Kind(
    "encoding_changes",
    Severity.WARNING,
    "A camera's images change their encoding while it runs.",
    "Look for a second publisher on the topic.",
    explained_by=("two_publishers",),
)
IMAGE_FROZEN = Kind(
    "image_frozen",
    Severity.ERROR,
    "A camera sends the same picture again and again with new stamps.",
    "Restart the driver: it repeats its last buffer.",
    explained_by=("image_black", "stamp_repeated"),
)
IMAGE_BLACK = Kind(
    "image_black",
    Severity.ERROR,
    "A camera's picture is black or of one colour.",
    "Look for a lens cap, a dead sensor, a failed exposure or a test pattern.",
)
IMAGE_OVEREXPOSED = Kind(
    "image_overexposed",
    Severity.WARNING,
    "Most of a camera's picture is white.",
    "Look at its exposure control.",
)
IMAGES_DUPLICATED = Kind(
    "images_duplicated",
    Severity.ERROR,
    "Two cameras send the same picture: one driver is wired to two topics.",
    "Correct the topics in cameras.<name>, or the device in the driver's settings.",
    explained_by=("image_black",),
)


def check_decodable(rig: Rig) -> list[Finding]:
    """Name cameras whose images do not decode."""
    findings = []
    for camera in rig.cameras:
        broken = sum(failure.count for failure in camera.image_failures)
        if broken > SHARE_BROKEN * len(camera.images):
            first = camera.image_failures[0]
            text = f"{broken} of {len(camera.images)} images: {first.cause}: {first.text}"
            findings.append(found(IMAGE_UNDECODABLE, camera.name, text, broken=broken))
    return findings


def check_steady(rig: Rig) -> list[Finding]:
    """Name cameras whose size or encoding changes."""
    findings = []
    for camera in rig.cameras:
        if len(camera.sizes_hw) > 1:
            sizes = ", ".join(f"{width}x{height}" for height, width in camera.sizes_hw)
            findings.append(found(SIZE_CHANGES, camera.name, sizes))
        if len(camera.encodings) > 1:
            findings.append(found(ENCODING_CHANGES, camera.name, ", ".join(camera.encodings)))
    return findings


def check_frozen(rig: Rig) -> list[Finding]:
    """Name cameras that repeat a picture."""
    findings = []
    for camera in rig.cameras:
        pairs = list(pairwise(zip(camera.image_digests, camera.images.stamps_ns, strict=True)))
        same = sum(one[0] == two[0] and one[1] != two[1] for one, two in pairs)
        if same >= FROZEN_AFTER and same > SHARE_FROZEN * len(pairs):
            text = f"{same} of {len(pairs)} images equal the one before, byte for byte"
            findings.append(found(IMAGE_FROZEN, camera.name, text, same=same))
    return findings


def check_exposure(rig: Rig) -> list[Finding]:
    """Name cameras without a picture."""
    findings = []
    for camera in rig.cameras:
        greys = [cv2.cvtColor(p.pixels, cv2.COLOR_RGB2GRAY) for p in camera.pictures]
        if not greys:
            continue
        mean = float(np.mean([grey.mean() for grey in greys]))
        flat = max(float(grey.std()) for grey in greys)
        white = float(np.mean([(grey >= WHITE_LEVEL).mean() for grey in greys]))
        if mean < BLACK_LEVEL or flat < FLAT_STD:
            text = f"mean brightness {mean:.0f} of 255, contrast {flat:.1f}"
            findings.append(found(IMAGE_BLACK, camera.name, text, mean=mean))
        elif white > SHARE_WHITE:
            text = f"{white:.0%} of the pixels are white"
            findings.append(found(IMAGE_OVEREXPOSED, camera.name, text, white=white))
    return findings


def check_duplicates(rig: Rig) -> list[Finding]:
    """Name pairs of cameras that show the same."""
    findings = []
    for first, second in combinations(rig.cameras, 2):
        shared = set(first.image_digests) & set(second.image_digests)
        alike = likeness(first, second)
        if len(shared) >= FROZEN_AFTER or alike > ALIKE:
            how = f"{len(shared)} images are equal byte for byte" if shared else ""
            text = how or f"their pictures correlate by {alike:.3f}"
            findings.append(found(IMAGES_DUPLICATED, (first.name, second.name), text))
    return findings


def likeness(first: CameraSeen, second: CameraSeen) -> float:
    """Return the smallest correlation of two cameras' fine detail over all moments, -1 to 1."""
    pairs = list(zip(first.pictures, second.pictures, strict=False))
    if not pairs:
        return 0.0
    return min(_correlation(one.pixels, two.pixels) for one, two in pairs)


def _correlation(first: ImageArray, second: ImageArray) -> float:
    details = []
    for pixels in (first, second):
        grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
        small = cv2.resize(grey, SMALL_WH, interpolation=cv2.INTER_AREA)
        # Sky above and road below make any two cameras alike: only what is finer counts.
        details.append(small - cv2.GaussianBlur(small, (0, 0), 3.0))
    norms = [float(np.linalg.norm(d)) for d in details]
    if min(norms) < 1e-3:
        return 0.0
    return float((details[0] * details[1]).sum()) / (norms[0] * norms[1])


CHECKS = (
    Check(check_decodable, (IMAGE_UNDECODABLE,)),
    Check(check_steady, (SIZE_CHANGES, ENCODING_CHANGES)),
    Check(check_frozen, (IMAGE_FROZEN,)),
    Check(check_exposure, (IMAGE_BLACK, IMAGE_OVEREXPOSED)),
    Check(check_duplicates, (IMAGES_DUPLICATED,)),
)
