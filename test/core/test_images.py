# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import array
import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from simdistill_ros.core.images import ImageError, decode_jpeg_png, rgb_from_encoding

PNG_START = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def picture():
    """Return a smooth colourful picture, (36, 64, 3) RGB."""
    small = np.random.default_rng(0).integers(0, 256, (5, 8, 3), dtype=np.uint8)
    return cv2.resize(small, (64, 36), interpolation=cv2.INTER_CUBIC)


def encoded(picture, kind, mode="RGB", **options):
    stream = io.BytesIO()
    Image.fromarray(picture).convert(mode).save(stream, kind, **options)
    return stream.getvalue()


def raw(data, encoding, height, width, step, is_bigendian=False):
    return rgb_from_encoding(
        data,
        encoding=encoding,
        height=height,
        width=width,
        step=step,
        is_bigendian=is_bigendian,
    )


def cause_of(call, *args, **kwargs):
    with pytest.raises(ImageError) as caught:
        call(*args, **kwargs)
    return caught.value.cause


def test_a_jpeg_decodes_bit_for_bit_as_opencv_and_pillow_do(picture):
    data = encoded(picture, "JPEG", quality=90)
    image = decode_jpeg_png(data)
    np.testing.assert_array_equal(image, np.asarray(Image.open(io.BytesIO(data))))
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(image, bgr[..., ::-1])
    assert image.dtype == np.uint8


def test_a_png_decodes_to_the_pixels_it_was_made_of(picture):
    np.testing.assert_array_equal(decode_jpeg_png(encoded(picture, "PNG")), picture)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_grey_picture_has_three_equal_channels(picture, kind):
    image = decode_jpeg_png(encoded(picture, kind, "L"))
    assert image.shape == picture.shape
    assert (image == image[..., :1]).all()


@pytest.mark.parametrize("mode", ["RGBA", "P"])
def test_a_png_with_alpha_or_palette_is_rgb(picture, mode):
    data = encoded(picture, "PNG", mode)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(decode_jpeg_png(data), expected)


def test_the_orientation_tag_of_a_photograph_turns_nothing(picture):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(picture, "JPEG", exif=exif)
    assert decode_jpeg_png(data).shape == picture.shape


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview, lambda d: array.array("B", d)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_any_buffer_of_bytes_is_decoded(picture, kind, wrap):
    assert decode_jpeg_png(wrap(encoded(picture, kind))).shape == picture.shape


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.9, 0.995])
def test_a_picture_that_ends_early_is_an_error_not_a_grey_half(picture, kind, share):
    data = encoded(picture, kind)
    assert cause_of(decode_jpeg_png, data[: max(int(len(data) * share), 9)]) == "undecodable"


def test_a_png_with_a_flipped_bit_is_an_error(picture):
    data = bytearray(encoded(picture, "PNG"))
    data[len(data) // 2] ^= 1
    assert cause_of(decode_jpeg_png, data) == "undecodable"


@pytest.mark.parametrize("seed", range(5))
def test_mutated_files_decode_or_raise_an_image_error(picture, seed):
    rng = np.random.default_rng(seed)
    for kind in ("JPEG", "PNG"):
        whole = encoded(picture, kind)
        for _ in range(100):
            data = bytearray(whole)
            for at in rng.integers(0, len(data), 3):
                data[at] = rng.integers(0, 256)
            try:
                image = decode_jpeg_png(data, max_pixels=1_000_000)
            except ImageError:
                continue
            assert image.ndim == 3
            assert image.shape[2] == 3


def test_no_data_is_empty():
    assert cause_of(decode_jpeg_png, b"") == "empty"


def test_data_of_another_kind_is_undecodable_and_its_start_is_shown():
    with pytest.raises(ImageError, match="neither JPEG nor PNG: the data begins with 47 49 46 38"):
        decode_jpeg_png(b"GIF89a..")


def png_of_size(width, height):
    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return PNG_START + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def test_a_png_that_claims_to_be_huge_is_refused_before_it_is_decoded():
    assert cause_of(decode_jpeg_png, png_of_size(100_000, 100_000)) == "too_large"
    assert cause_of(decode_jpeg_png, png_of_size(0, 10)) == "empty"


def test_a_jpeg_that_claims_to_be_huge_is_refused_before_it_is_decoded(picture):
    data = bytearray(encoded(picture, "JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", 65_000, 65_000)
    assert cause_of(decode_jpeg_png, data) == "too_large"


def test_the_limit_of_pixels_is_inclusive(picture):
    data = encoded(picture, "JPEG")
    assert decode_jpeg_png(data, max_pixels=36 * 64).shape == picture.shape
    assert cause_of(decode_jpeg_png, data, max_pixels=36 * 64 - 1) == "too_large"


@pytest.mark.parametrize(
    ("encoding", "pixel"),
    [
        ("rgb8", [10, 20, 30]),
        ("bgr8", [30, 20, 10]),
        ("rgba8", [10, 20, 30, 255]),
        ("bgra8", [30, 20, 10, 255]),
    ],
)
@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("is_bigendian", [False, True])
def test_colours_come_out_as_rgb_and_padding_is_skipped(encoding, pixel, padding, is_bigendian):
    row = bytes(pixel) * 3 + b"\xee" * padding
    image = raw(row * 2, encoding, 2, 3, len(row), is_bigendian)
    assert image.shape == (2, 3, 3)
    assert (image == [10, 20, 30]).all()


@pytest.mark.parametrize("padding", [0, 3])
def test_grey_has_three_equal_channels(padding):
    image = raw((bytes([1, 2]) + b"\xee" * padding) * 3, "mono8", 3, 2, 2 + padding)
    np.testing.assert_array_equal(image[..., 0], [[1, 2]] * 3)
    assert (image == image[..., :1]).all()


@pytest.mark.parametrize("padding", [0, 4])
def test_rgb_is_a_view_of_the_message(padding):
    data = bytearray((b"\x01" * 6 + b"\xee" * padding) * 2)
    image = raw(data, "rgb8", 2, 2, 6 + padding)
    assert np.shares_memory(image, np.frombuffer(data, np.uint8))
    assert (image == 1).all()


def mosaic(pattern, colour, height=8, width=10):
    """Return a raw image of one colour as a sensor with this pattern would see it."""
    value = dict(zip("rgb", colour, strict=True))
    cells = np.array(
        [[value[pattern[0]], value[pattern[1]]], [value[pattern[2]], value[pattern[3]]]]
    )
    return np.tile(cells, (height // 2, width // 2)).astype(np.uint8)


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize("padding", [0, 6])
def test_each_bayer_pattern_gives_its_colours_back(pattern, padding):
    cells = np.pad(mosaic(pattern, (200, 100, 50)), ((0, 0), (0, padding)), constant_values=238)
    image = raw(cells.tobytes(), f"bayer_{pattern}8", 8, 10, 10 + padding)
    assert image.shape == (8, 10, 3)
    assert (image == [200, 100, 50]).all()


def test_a_step_shorter_than_a_row_is_named():
    with pytest.raises(ImageError, match="step 5 is less than width x channels = 2 x 3") as caught:
        raw(bytes(10), "rgb8", 2, 2, 5)
    assert caught.value.cause == "wrong_step"


@pytest.mark.parametrize("length", [0, 11, 13])
def test_a_buffer_of_another_length_than_step_times_height_is_named(length):
    with pytest.raises(ImageError, match=rf"{length} bytes, expected .* 6 x 2") as caught:
        raw(bytes(length), "rgb8", 2, 2, 6)
    assert caught.value.cause == "size_mismatch"


def test_an_image_without_pixels_is_empty():
    assert cause_of(raw, b"", "rgb8", 0, 0, 0) == "empty"
    assert cause_of(raw, b"", "mono8", 5, 0, 0) == "empty"


def test_a_bayer_image_too_small_for_its_pattern_is_refused():
    assert cause_of(raw, bytes(4), "bayer_rggb8", 2, 2, 2) == "too_small"


def test_a_size_beyond_any_camera_is_refused_before_the_buffer_is_read():
    assert cause_of(raw, b"", "mono8", 2**31, 2**31, 2**31) == "too_large"


@pytest.mark.parametrize("encoding", ["mono16", "yuv422", "", "RGB8", "32FC1"])
def test_another_encoding_is_named_with_those_that_are_known(encoding):
    with pytest.raises(ImageError, match=rf"encoding '{encoding}' is none of rgb8, bgr8") as caught:
        raw(bytes(12), encoding, 2, 2, 6)
    assert caught.value.cause == "unknown_encoding"


def test_a_jpeg_of_endless_scans_is_refused_before_they_are_decoded(picture):
    progressive = encoded(picture, "JPEG", progressive=True)
    last_scan = progressive[progressive.rfind(b"\xff\xda") : -2]
    assert decode_jpeg_png(progressive).shape == picture.shape
    with pytest.raises(ImageError, match="scans") as caught:
        decode_jpeg_png(progressive[:-2] + last_scan * 1000 + b"\xff\xd9")
    assert caught.value.cause == "too_large"


def test_an_image_that_is_a_line_is_refused():
    with pytest.raises(ImageError, match="sides of at most") as caught:
        raw(bytes(20_000), "mono8", 20_000, 1, 1)
    assert caught.value.cause == "too_large"
