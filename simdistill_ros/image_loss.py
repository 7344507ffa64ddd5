# SPDX-License-Identifier: Apache-2.0
"""Notice images that are lost on their way, by the calibrations that came without them.

A driver sends a CameraInfo with every image, under the same stamp. The small message arrives, the
large one does not: that is how a transport loses images whose shared memory segment cannot hold
them. Pure logic: stamps go in, a sentence comes out.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from dataclasses import dataclass

WINDOW = 48  # CameraInfo stamps that are judged: four seconds at 12 Hz
ENOUGH = 12  # fewer say nothing
GRACE_NS = 500_000_000  # an image may be this much later than its CameraInfo
TOLERATED = 0.05  # lost share that is not worth a word
# A segment that is too small loses nearly all images; an overloaded computer loses some.
NEARLY_ALL = 0.8
# A segment of Fast DDS' default size, 512 KiB, loses images from here on.
LARGE_BYTES = 400_000


@dataclass(frozen=True)
class Loss:
    """Images of a camera that did not come.

    Attributes:
        expected: CameraInfo messages in the window.
        lost: How many of them came without their image.
        image_bytes: Size of an image, measured or what its CameraInfo makes it; 0: unknown.
    """

    expected: int
    lost: int
    image_bytes: int

    def sentence(self, topic: str, profile: str) -> str:
        """Return what is lost and which setting of whom to change.

        Args:
            topic: The image topic.
            profile: Path of the Fast DDS profile that ships with the package.
        """
        what = f"{self.lost} of the last {self.expected} images of {topic} did not arrive"
        setting = (
            f"start the process that PUBLISHES {topic} with "
            f"FASTDDS_DEFAULT_PROFILES_FILE={profile} (FASTRTPS_DEFAULT_PROFILES_FILE up to "
            "Jazzy), or publish compressed images"
        )
        overloaded = "this computer or the network is overloaded, or the publisher drops them"
        if self.image_bytes < LARGE_BYTES:
            return f"{what} although their CameraInfo did: {overloaded}"
        megabytes = f"{self.image_bytes / 1e6:.1f} MB"
        if self.lost < NEARLY_ALL * self.expected:
            return (
                f"{what} although their CameraInfo did: {overloaded}; or, at {megabytes} an "
                f"image, its shared memory segment is too small: {setting}"
            )
        return (
            f"{what} although their CameraInfo did; at {megabytes} an image is too large for Fast "
            f"DDS' default shared memory segment: {setting}"
        )


class LossMeter:
    """Compares the stamps of images and calibrations of one camera. Thread-safe."""

    def __init__(self) -> None:
        """Start with nothing seen."""
        self._lock = threading.Lock()
        self._infos: deque[tuple[int, int]] = deque(maxlen=WINDOW)  # stamp, arrival
        self._images: OrderedDict[int, None] = OrderedDict()
        self._image_bytes = 0
        self._raw_bytes = 0

    def image(self, stamp_ns: int, size_bytes: int) -> None:
        """Take note of an image."""
        with self._lock:
            self._images[stamp_ns] = None
            while len(self._images) > 2 * WINDOW:
                self._images.popitem(last=False)
            self._image_bytes = size_bytes

    def info(self, stamp_ns: int, now_ns: int, raw_bytes: int) -> None:
        """Take note of a CameraInfo; uncompressed, its image has `raw_bytes`."""
        with self._lock:
            if self._infos and self._infos[-1][0] == stamp_ns:
                return  # the same one again: a latched or repeated calibration
            self._infos.append((stamp_ns, now_ns))
            self._raw_bytes = raw_bytes

    def loss(self, now_ns: int) -> Loss | None:
        """Return what is lost now, or None when nothing is or nothing can be said.

        Nothing can be said where CameraInfo is rare or old, or its stamps are not the images'.
        """
        with self._lock:
            due = [stamp for stamp, arrival in self._infos if now_ns - arrival > GRACE_NS]
            newest_ns = self._infos[-1][1] if self._infos else 0
            if len(due) < ENOUGH or now_ns - newest_ns > 2 * GRACE_NS:
                return None
            lost = sum(stamp not in self._images for stamp in due)
            is_unrelated = lost == len(due) and self._seen_since(due[0])
            if lost <= TOLERATED * len(due) or is_unrelated:
                return None
            return Loss(len(due), lost, self._image_bytes or self._raw_bytes)

    def _seen_since(self, stamp_ns: int) -> bool:
        return bool(self._images) and next(reversed(self._images)) >= stamp_ns
