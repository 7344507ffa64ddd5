# SPDX-License-Identifier: Apache-2.0
"""Record one camera's images and CameraInfos; what the node would do with them is done here too.

Decoding, calibration and look-ups are the node's own functions, so that doctor can only say what
the node will say.
"""

from __future__ import annotations

import zlib
from collections import Counter
from typing import Any

import cv2

from simdistill_ros.conversions import calibration_from_msg, image_from_msg, stamp_ns_from_msg
from simdistill_ros.core.camera import CalibrationError, CameraCalibration
from simdistill_ros.core.images import ImageError
from simdistill_ros.core.snapshot import ImageArray
from simdistill_ros.core.transform_tree import TransformError, TransformTree
from simdistill_ros.doctor.observations import (
    CameraPlan,
    CameraSeen,
    Failure,
    InfoSeen,
    Picture,
    Plan,
    Stream,
)

PICTURE_WIDTH_PX = 800
PICTURES = 4
MAX_INFOS = 8
LARGEST_DIGEST_BYTES = 600_000


class StreamRecord:
    """Collects what every stamped message has."""

    def __init__(self, topic: str) -> None:
        """Start empty."""
        self._topic = topic
        self.stamps_ns: list[int] = []
        self._arrivals_ns: list[int] = []
        self._sizes: list[int] = []
        self._frames: dict[str, None] = {}

    def add(self, header: Any, arrival_ns: int, size_bytes: int) -> None:
        """Take a message."""
        self.stamps_ns.append(stamp_ns_from_msg(header.stamp))
        self._arrivals_ns.append(arrival_ns)
        self._sizes.append(size_bytes)
        self._frames[header.frame_id.lstrip("/")] = None

    def stream(self) -> Stream:
        """Return what was collected."""
        return Stream(
            self._topic,
            tuple(self.stamps_ns),
            tuple(self._arrivals_ns),
            tuple(self._sizes),
            tuple(self._frames),
        )


class CameraRecord:
    """Collects one camera."""

    def __init__(self, plan: CameraPlan, *, start_ns: int, duration_ns: int, decode_gap_ns: int):
        """Start empty.

        Args:
            plan: The camera.
            start_ns: When looking begins, on the clock of arrivals.
            duration_ns: How long it will take; pictures are spread over it.
            decode_gap_ns: Shortest time between two images that are decoded; 0 for all.
        """
        self._plan = plan
        self._images, self._infos = StreamRecord(plan.image_topic), StreamRecord(plan.info_topic)
        self._picture_gap_ns = duration_ns // PICTURES
        self._next_picture_ns = start_ns
        self._decode_gap_ns = decode_gap_ns
        self._next_decode_ns = start_ns
        self._digests: list[int] = []
        self._sizes: dict[tuple[int, int], None] = {}
        self._encodings: dict[str, None] = {}
        self._failures: dict[str, str] = {}
        self._failure_counts: Counter[str] = Counter()
        self._pictures: list[Picture] = []
        self._infos_seen: dict[InfoSeen, None] = {}
        self._newest_info: Any = None

    def add_image(self, message: Any, arrival_ns: int) -> None:
        """Take an Image or a CompressedImage."""
        data = memoryview(message.data).cast("B")
        self._images.add(message.header, arrival_ns, len(data))
        self._digests.append(_digest(data))
        self._encodings[getattr(message, "encoding", None) or message.format] = None
        if arrival_ns < min(self._next_decode_ns, self._next_picture_ns):
            return
        self._next_decode_ns = arrival_ns + self._decode_gap_ns
        try:
            pixels = image_from_msg(message)
        except ImageError as error:
            self._failures[error.cause] = str(error)
            self._failure_counts[error.cause] += 1
            return
        self._sizes[pixels.shape[0], pixels.shape[1]] = None
        if arrival_ns >= self._next_picture_ns:
            self._next_picture_ns += self._picture_gap_ns
            self._pictures.append(_picture(pixels, self._images.stamps_ns[-1]))

    def add_info(self, message: Any, arrival_ns: int) -> None:
        """Take a CameraInfo."""
        self._infos.add(message.header, arrival_ns, 0)
        self._newest_info = message
        if len(self._infos_seen) < MAX_INFOS:
            self._infos_seen[_info_seen(message)] = None

    def seen(self, plan: Plan, tree: TransformTree, end_ns: int) -> CameraSeen:
        """Return the camera, as the node would see it with this plan."""
        calibration, failure = self._calibration(plan)
        images, infos = self._images.stream(), self._infos.stream()
        frame = next(iter((*images.frame_ids, *infos.frame_ids)), "")
        frame = frame or next(iter(infos.frame_ids), "")
        lookups = _LookUps(plan, tree, frame)
        # The node waits a while for transforms, so the newest images are not held against them.
        lookups.run([s for s in images.stamps_ns if s <= end_ns - plan.tf_timeout_ns])
        return CameraSeen(
            plan=self._plan,
            images=images,
            infos=infos,
            image_digests=tuple(self._digests),
            sizes_hw=tuple(self._sizes),
            encodings=tuple(self._encodings),
            image_failures=tuple(
                Failure(cause, text, self._failure_counts[cause])
                for cause, text in self._failures.items()
            ),
            pictures=tuple(self._pictures),
            infos_seen=tuple(self._infos_seen),
            calibration=calibration,
            calibration_failure=failure,
            frame=frame,
            ego_from_cam=lookups.ego_from_cam,
            transform_failures=lookups.failures(),
            transform_lookups=lookups.count,
        )

    def _calibration(self, plan: Plan) -> tuple[CameraCalibration | None, Failure | None]:
        if self._newest_info is None or not self._sizes:
            return None, None
        try:
            calibration = calibration_from_msg(
                self._newest_info,
                list(self._sizes)[-1],
                rectified=plan.rectified,
                ignore_r=plan.ignore_r,
            )
        except CalibrationError as error:
            return None, Failure(error.cause, str(error))
        return calibration, None


class _LookUps:
    """The transforms that the node would look up for one camera."""

    def __init__(self, plan: Plan, tree: TransformTree, frame: str) -> None:
        self._plan, self._tree, self._frame = plan, tree, frame
        self._texts: dict[str, str] = {}
        self._counts: Counter[str] = Counter()
        self.ego_from_cam: Any = None
        self.count = 0

    def run(self, stamps_ns: list[int]) -> None:
        if not self._frame:
            return
        for stamp_ns in stamps_ns:
            self.count += 1
            try:
                self.ego_from_cam = self._tree.lookup(self._plan.base_frame, self._frame, stamp_ns)
            except TransformError as error:
                self._fail(error.cause, str(error))
            if self._plan.fixed_frame:
                self._look_up_fixed(stamp_ns)

    def _look_up_fixed(self, stamp_ns: int) -> None:
        try:
            self._tree.lookup(self._plan.fixed_frame, self._plan.base_frame, stamp_ns)
        except TransformError as error:
            self._fail(f"fixed_{error.cause}", str(error))

    def _fail(self, cause: str, text: str) -> None:
        self._texts[cause] = text
        self._counts[cause] += 1

    def failures(self) -> tuple[Failure, ...]:
        return tuple(
            Failure(cause, text, self._counts[cause]) for cause, text in self._texts.items()
        )


def _digest(data: memoryview) -> int:
    """Return a checksum: of everything, or of a large raw image's every 16th stretch of 4 KiB."""
    if len(data) <= LARGEST_DIGEST_BYTES:
        return zlib.crc32(data)
    value = len(data)
    for start in range(0, len(data), 65_536):
        value = zlib.crc32(data[start : start + 4_096], value)
    return value


def _picture(pixels: ImageArray, stamp_ns: int) -> Picture:
    height, width = pixels.shape[:2]
    if width > PICTURE_WIDTH_PX:
        size = (PICTURE_WIDTH_PX, max(1, round(height * PICTURE_WIDTH_PX / width)))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return Picture(stamp_ns, pixels.copy(), (height, width))


def _info_seen(message: Any) -> InfoSeen:
    return InfoSeen(
        width=int(message.width),
        height=int(message.height),
        distortion_model=str(message.distortion_model),
        d=tuple(float(v) for v in message.d),
        k=tuple(float(v) for v in message.k),
        r=tuple(float(v) for v in message.r),
        p=tuple(float(v) for v in message.p),
        frame_id=message.header.frame_id.lstrip("/"),
    )
