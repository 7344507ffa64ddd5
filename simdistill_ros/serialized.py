# SPDX-License-Identifier: Apache-2.0
"""Images and transforms read from their serialized bytes, without a copy of the pixels.

What rclpy would make of an image message is copied twice on the way.
"""

from __future__ import annotations

from dataclasses import dataclass

from simdistill_ros.cdr_reader import CdrReader, SerializedError
from simdistill_ros.core.images import EncodedImage

MAX_TRANSFORMS = 10_000  # of a message; a tree has no more frames


@dataclass(frozen=True)
class ImageMessage:
    """An image message whose pixels are still where they arrived.

    Attributes:
        stamp_ns: The header's stamp.
        frame: The header's frame.
        encoded: The image; its data is a view of the message's bytes.
        is_compressed: Whether it was a CompressedImage.
    """

    stamp_ns: int
    frame: str
    encoded: EncodedImage
    is_compressed: bool


@dataclass(frozen=True)
class TransformFields:
    """One geometry_msgs/TransformStamped as it was sent; nothing is checked yet.

    Attributes:
        parent: The header's frame.
        child: The child's frame.
        stamp_ns: The header's stamp.
        translation_m: Along x, y and z.
        rotation_wxyz: Quaternion.
    """

    parent: str
    child: str
    stamp_ns: int
    translation_m: tuple[float, ...]
    rotation_wxyz: tuple[float, ...]


def read_image(data: bytes, *, compressed: bool) -> ImageMessage:
    """Return the image in a serialized message.

    Args:
        data: The bytes of a sensor_msgs/CompressedImage or Image.
        compressed: Which of the two.

    Raises:
        SerializedError: If the bytes are not such a message; it says what was expected where.
    """
    return _read_compressed(data) if compressed else _read_raw(data)


def _read_compressed(data: bytes) -> ImageMessage:
    reader = CdrReader(data, "CompressedImage")
    stamp_ns, frame = reader.header()
    reader.text("format")
    return ImageMessage(stamp_ns, frame, EncodedImage(reader.content("data")), True)


def _read_raw(data: bytes) -> ImageMessage:
    reader = CdrReader(data, "Image")
    stamp_ns, frame = reader.header()
    height, width = reader.numbers("II", "height and width")
    encoding = reader.text("encoding")
    is_bigendian = reader.flag("is_bigendian")
    (step,) = reader.numbers("I", "step")
    encoded = EncodedImage(reader.content("data"), encoding, height, width, step, is_bigendian)
    return ImageMessage(stamp_ns, frame, encoded, False)


def read_transforms(data: bytes) -> list[TransformFields]:
    """Return what is in a serialized tf2_msgs/TFMessage.

    Raises:
        SerializedError: As `read_image`.
    """
    reader = CdrReader(data, "TFMessage")
    (count,) = reader.numbers("I", "the number of transforms")
    if count > MAX_TRANSFORMS:
        raise SerializedError(
            f"TFMessage: expected at most {MAX_TRANSFORMS} transforms, got {count}"
        )
    return [_read_transform(reader) for _ in range(count)]


def _read_transform(reader: CdrReader) -> TransformFields:
    stamp_ns, parent = reader.header()
    child = reader.text("child_frame_id")
    translation_m = reader.doubles(3, "translation")
    x, y, z, w = reader.doubles(4, "rotation")
    return TransformFields(parent, child, stamp_ns, translation_m, (w, x, y, z))
