# SPDX-License-Identifier: Apache-2.0
"""Images and transforms are read as rclpy reads them; no bytes do worse than a named error."""

from __future__ import annotations

import array
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("rclpy")

from geometry_msgs.msg import TransformStamped
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image
from tf2_msgs.msg import TFMessage

from simdistill_ros.cdr_reader import SerializedError
from simdistill_ros.conversions import header_to_msg, stamp_ns_from_msg
from simdistill_ros.serialized import ImageMessage, read_image, read_transforms

TEXTS = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=40)
COUNTS = st.integers(0, 2**32 - 1)
STAMPS_NS = st.integers(-(2**31), 2**31 - 1).flatmap(
    lambda s: st.integers(0, 10**9 - 1).map(lambda ns: s * 10**9 + ns)
)


@st.composite
def images(draw: Any) -> Image:
    message = Image(header=header_to_msg(draw(TEXTS), draw(STAMPS_NS)))
    message.height, message.width, message.step = draw(COUNTS), draw(COUNTS), draw(COUNTS)
    message.encoding, message.is_bigendian = draw(TEXTS), draw(st.integers(0, 255))
    message.data = array.array("B", draw(st.binary(max_size=60)))
    return message


@st.composite
def compressed_images(draw: Any) -> CompressedImage:
    header = header_to_msg(draw(TEXTS), draw(STAMPS_NS))
    data = array.array("B", draw(st.binary(max_size=60)))
    return CompressedImage(header=header, format=draw(TEXTS), data=data)


def good(compressed: bool) -> bytes:
    header = header_to_msg("cam", 7_000_000_009)
    if compressed:
        message = CompressedImage(header=header, format="jpeg", data=array.array("B", b"abcde"))
    else:
        message = Image(header=header, height=2, width=1, encoding="rgb8", step=3)
        message.data = array.array("B", b"abcdef")
    return bytes(serialize_message(message))


def transform(parent: str, child: str, stamp_ns: int, numbers: Any) -> TransformStamped:
    message = TransformStamped(header=header_to_msg(parent, stamp_ns), child_frame_id=child)
    for target, names, values in (
        (message.transform.translation, "xyz", numbers[:3]),
        (message.transform.rotation, "wxyz", numbers[3:]),
    ):
        for name, value in zip(names, values, strict=True):
            setattr(target, name, value)
    return message


def same_header(read: ImageMessage, message: Any) -> bool:
    header = message.header
    return (read.stamp_ns, read.frame) == (stamp_ns_from_msg(header.stamp), header.frame_id)


@given(images())
def test_a_raw_image_is_read_as_rclpy_wrote_it(message: Image) -> None:
    read = read_image(bytes(serialize_message(message)), compressed=False)

    encoded = read.encoded
    assert same_header(read, message)
    assert not read.is_compressed
    assert (encoded.height, encoded.width, encoded.step) == (
        message.height,
        message.width,
        message.step,
    )
    assert (encoded.encoding, encoded.is_bigendian) == (
        message.encoding,
        message.is_bigendian != 0,
    )
    assert bytes(encoded.data) == bytes(message.data)


@given(compressed_images())
def test_a_compressed_image_is_read_as_rclpy_wrote_it(message: CompressedImage) -> None:
    read = read_image(bytes(serialize_message(message)), compressed=True)

    assert same_header(read, message)
    assert read.is_compressed
    assert bytes(read.encoded.data) == bytes(message.data)


def test_the_pixels_are_not_copied() -> None:
    data = good(compressed=True)

    pixels = read_image(data, compressed=True).encoded.data

    assert isinstance(pixels, memoryview)
    assert pixels.obj is data


def test_a_big_endian_image_is_read() -> None:
    text = struct.pack(">I4s", 4, b"cam\0")
    data = b"\x00\x00\x00\x00" + struct.pack(">iI", -2, 5) + text
    data += struct.pack(">II", 2, 1) + struct.pack(">I5s", 5, b"rgb8\0") + b"\x01" + b"\x00\x00"
    data += struct.pack(">II", 3, 6) + b"abcdef"

    read = read_image(data, compressed=False)

    assert (read.stamp_ns, read.frame) == (-1_999_999_995, "cam")
    assert (read.encoded.height, read.encoded.width, read.encoded.step) == (2, 1, 3)
    assert (read.encoded.encoding, read.encoded.is_bigendian) == ("rgb8", True)
    assert bytes(read.encoded.data) == b"abcdef"


@pytest.mark.parametrize("compressed", [True, False])
def test_a_message_that_ends_early_anywhere_is_refused(compressed: bool) -> None:
    whole = good(compressed)
    end = whole.rindex(b"abcde") + (5 if compressed else 6)

    for length in range(end):
        with pytest.raises(SerializedError, match="expected"):
            read_image(whole[:length], compressed=compressed)

    read_image(whole[:end], compressed=compressed)


@pytest.mark.parametrize(
    ("representation", "name"),
    [
        (b"\x00\x06", "XCDR2"),
        (b"\x00\x07", "XCDR2"),
        (b"\x00\x09", "XCDR2"),
        (b"\x00\x03", "a parameter list"),
        (b"\xff\x01", "unknown"),
    ],
)
def test_another_representation_is_refused_by_its_name(representation: bytes, name: str) -> None:
    with pytest.raises(SerializedError, match=rf"plain CDR.*{representation.hex(' ')} \({name}\)"):
        read_image(representation + good(compressed=True)[2:], compressed=True)


def test_a_text_without_an_end_is_refused() -> None:
    data = good(compressed=True).replace(b"cam\0", b"cams")

    with pytest.raises(SerializedError, match=r"a zero at the end of header\.frame_id"):
        read_image(data, compressed=True)


def test_a_text_of_a_megabyte_is_refused() -> None:
    message = CompressedImage(header=header_to_msg("x" * 1_000_000, 1))

    with pytest.raises(
        SerializedError, match=r"at most 65536 bytes of header\.frame_id, got 1000001"
    ):
        read_image(bytes(serialize_message(message)), compressed=True)


@pytest.mark.parametrize("compressed", [True, False])
def test_data_that_claims_to_be_longer_than_the_message_is_refused(compressed: bool) -> None:
    data = bytearray(good(compressed))
    at = data.rindex(b"abcde") - 4
    data[at : at + 4] = b"\xff\xff\xff\xff"

    with pytest.raises(SerializedError, match="expected 4294967295 bytes for data"):
        read_image(bytes(data), compressed=compressed)


@settings(max_examples=300)
@given(st.data())
def test_no_bytes_do_worse_than_a_named_error(data: st.DataObject) -> None:
    compressed = data.draw(st.booleans())
    spoilt = bytearray(good(compressed))
    for _ in range(data.draw(st.integers(1, 4))):
        spoilt[data.draw(st.integers(0, len(spoilt) - 1))] = data.draw(st.integers(0, 255))
    spoilt = spoilt[: data.draw(st.integers(0, len(spoilt)))]

    try:
        read = read_image(bytes(spoilt), compressed=compressed)
    except SerializedError:
        return
    assert len(read.encoded.data) <= len(spoilt)


@given(st.lists(st.tuples(TEXTS, TEXTS, STAMPS_NS, st.tuples(*[st.floats(allow_nan=False)] * 7))))
def test_transforms_are_read_as_rclpy_wrote_them(transforms: list[Any]) -> None:
    message = TFMessage(transforms=[transform(*one) for one in transforms])

    read = read_transforms(bytes(serialize_message(message)))

    assert [
        (one.parent, one.child, one.stamp_ns, (*one.translation_m, *one.rotation_wxyz))
        for one in read
    ] == transforms


def test_bytes_that_are_no_transforms_are_refused_by_name() -> None:
    data = bytes(serialize_message(TFMessage(transforms=[transform("a", "b", 5, (0.0,) * 7)])))
    for length in range(len(data)):
        with pytest.raises(SerializedError, match="TFMessage: expected"):
            read_transforms(data[:length])


def test_no_message_may_claim_more_transforms_than_a_tree_can_hold() -> None:
    data = b"\x00\x01\x00\x00" + struct.pack("<I", 10_001)

    with pytest.raises(SerializedError, match="at most 10000 transforms, got 10001"):
        read_transforms(data)
