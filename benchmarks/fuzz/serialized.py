# SPDX-License-Identifier: Apache-2.0
"""Cases of serialised messages, broken and read as the node reads them.

Images and transforms are read by this project. CameraInfo is given to the middleware's own
deserialiser, which is C++; where that ends the process, it is reported apart from the findings
about this project's code.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage

from benchmarks.fuzz.findings import require
from benchmarks.fuzz.geometry import TransformCases, check_info
from benchmarks.fuzz.mutate import broken_bytes
from benchmarks.fuzz.pictures import check_compressed, check_raw
from benchmarks.fuzz.seeds import camera_info, compressed_image, mounts, picture_files, raw_image
from simdistill_ros.camera_info_reader import CameraInfoReader
from simdistill_ros.cdr_reader import SerializedError
from simdistill_ros.serialized import ImageMessage, read_image


class SerializedCases:
    """Good messages as bytes, broken and read again."""

    def __init__(self, transforms: TransformCases, in_middleware: Callable[[bool], None]) -> None:
        """Serialise one of each.

        Args:
            transforms: Takes what is read as TF.
            in_middleware: Told when the middleware begins and ends.
        """
        self._transforms = transforms
        self._in_middleware = in_middleware
        fixed = Random(0)
        self._seeds: list[tuple[Any, bytes]] = [
            (kind, bytes(serialize_message(message)))
            for kind, message in (
                (Image, raw_image(fixed)),
                (CompressedImage, compressed_image(picture_files()[0])),
                (CameraInfo, camera_info()),
                (TFMessage, mounts()),
            )
        ]

    def case(self, draw: Random) -> str:
        """Run one."""
        kind, data = draw.choice(self._seeds)
        data = broken_bytes(data, draw)
        if kind in (Image, CompressedImage):
            return f"{kind.__name__} {_image_outcome(data, kind)}"
        if kind is TFMessage:
            return f"TFMessage {self._transforms.check(data, draw)}"
        self._in_middleware(True)
        try:
            info, _ = CameraInfoReader().read(data)
        except Exception as error:  # what the node would never see
            return f"CameraInfo not deserialised ({type(error).__name__})"
        finally:
            self._in_middleware(False)
        return f"CameraInfo {check_info(info, draw)}"


def _image_outcome(data: bytes, kind: Any) -> str:
    """Read and decode an image; its texts and pixels lie within the message."""
    try:
        message: ImageMessage = read_image(data, compressed=kind is CompressedImage)
    except SerializedError:
        return "refused"
    size = len(message.frame) + len(message.encoded.encoding) + len(message.encoded.data)
    require(size <= len(data), "read more than there is")
    return check_compressed(message) if message.is_compressed else check_raw(message)
