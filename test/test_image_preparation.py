# SPDX-License-Identifier: Apache-2.0
"""Images are prepared on arrival: the same pixels as ever, bounded memory, nothing lost."""

from __future__ import annotations

import array
import sys
import threading
import time
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
import simplejpeg

pytest.importorskip("rclpy")

from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from simdistill_ros.conversions import image_from_msg, image_to_msg, info_to_msg
from simdistill_ros.core.camera import CameraCalibration
from simdistill_ros.core.preprocess import InputRule, resize_and_crop
from simdistill_ros.health import InputFault
from simdistill_ros.image_preparation import ImagePreparer, PendingImage, PreparedImage
from simdistill_ros.parameters import InputParameters

HEIGHT, WIDTH = 90, 160
RULE = InputRule((24, 36), 40, "bilinear_antialias")
OPTIONS = InputParameters(
    compressed=True, rectified=False, ignore_r=False, reliability="best_effort", depth=2,
    decode_threads=2, jpeg_scaling="exact",
)  # fmt: skip
K = np.array([[120.0, 0.0, 80.0], [0.0, 120.0, 45.0], [0.0, 0.0, 1.0]])
INFO = info_to_msg(CameraCalibration(WIDTH, HEIGHT, K), "cam", 1)


def picture(seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 16, 3), np.uint8)
    return cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)


def jpeg(seed: int = 0) -> CompressedImage:
    data = array.array("B", simplejpeg.encode_jpeg(picture(seed)))
    return CompressedImage(format="jpeg", data=data)


def raw(encoding: str, padding: int = 0) -> Image:
    """Return a raw message of the picture; for bayer and mono of its first channel."""
    pixels = picture()
    arranged = {
        "rgb8": pixels,
        "bgr8": pixels[..., ::-1],
        "rgba8": np.dstack([pixels, pixels[..., 0]]),
        "bgra8": np.dstack([pixels[..., ::-1], pixels[..., 0]]),
    }.get(encoding, pixels[..., 0])
    rows = arranged.reshape(HEIGHT, -1)
    rows = np.hstack([rows, np.zeros((HEIGHT, padding), np.uint8)])
    message = Image(height=HEIGHT, width=WIDTH, encoding=encoding, step=rows.shape[1])
    message.data = array.array("B", rows.tobytes())
    return message


@pytest.fixture
def make_preparer() -> Any:
    made: list[ImagePreparer] = []

    def make(info: CameraInfo | None = INFO, rule: InputRule | None = RULE, **options: Any) -> Any:
        made.append(ImagePreparer(lambda _: info, replace(OPTIONS, **options), rule))
        return made[-1]

    yield make
    for preparer in made:
        preparer.close()


@pytest.mark.parametrize(
    "message",
    [
        jpeg(),
        *(raw(e) for e in ("rgb8", "bgr8", "rgba8", "bgra8", "mono8", "bayer_rggb8")),
        raw("rgb8", padding=7),
        raw("bgr8", padding=5),
    ],
    ids=lambda message: getattr(message, "encoding", "jpeg"),
)
def test_the_prepared_input_equals_decoding_first_and_resizing_later(
    make_preparer: Any, message: Any
) -> None:
    expected = resize_and_crop(image_from_msg(message), RULE)

    prepared = make_preparer().submit("cam", message).result()

    np.testing.assert_array_equal(prepared.pixels, expected)
    assert prepared.is_network_input
    assert prepared.pixels.flags.c_contiguous


def test_a_distorted_image_is_undistorted_alike_in_both_channel_orders(make_preparer: Any) -> None:
    calibration = CameraCalibration(WIDTH, HEIGHT, K, "plumb_bob", (-0.3, 0.1, 0.0, 0.0, 0.0))
    preparer = make_preparer(info_to_msg(calibration, "cam", 1))

    rgb = preparer.submit("cam", raw("rgb8")).result().pixels
    bgr = preparer.submit("cam", raw("bgr8")).result().pixels

    np.testing.assert_array_equal(rgb, bgr)
    assert np.abs(rgb.astype(int) - resize_and_crop(picture(), RULE)).max() > 20


def test_without_a_rule_the_whole_image_is_kept_in_memory_of_its_own(make_preparer: Any) -> None:
    preparer = make_preparer(rule=None, decode_threads=1)

    first = preparer.submit("cam", jpeg(1)).result()
    preparer.submit("cam", jpeg(2)).result()

    np.testing.assert_array_equal(first.pixels, image_from_msg(jpeg(1)))
    assert not first.is_network_input


def test_images_of_many_threads_and_sizes_do_not_mix(make_preparer: Any) -> None:
    preparer = make_preparer(decode_threads=4)
    images = [preparer.submit(f"cam_{n}", jpeg(n)) for n in range(40)]

    for number, image in enumerate(images):
        expected = resize_and_crop(image_from_msg(jpeg(number)), RULE)
        np.testing.assert_array_equal(image.result().pixels, expected)


def test_an_image_is_prepared_before_anybody_asks_and_its_message_let_go(
    make_preparer: Any,
) -> None:
    message = jpeg()
    held_here = sys.getrefcount(message)

    image = make_preparer().submit("cam", message)

    deadline = time.monotonic() + 10
    while sys.getrefcount(message) > held_here:
        assert time.monotonic() < deadline, "the message is still held"
        time.sleep(0.005)
    assert image.is_prepared


def test_an_image_that_came_before_its_calibration_is_prepared_when_asked_for() -> None:
    infos: list[CameraInfo] = []
    preparer = ImagePreparer(lambda _: infos[-1] if infos else None, OPTIONS, RULE)
    image = preparer.submit("cam", jpeg())
    infos.append(INFO)

    assert image.result().calibration.width_px == WIDTH
    preparer.close()


def test_without_a_calibration_the_fault_says_so(make_preparer: Any) -> None:
    image = make_preparer(info=None).submit("cam_left", jpeg())

    with pytest.raises(InputFault) as caught:
        image.result()
    assert (caught.value.subject, caught.value.cause) == ("cam_left", "no_camera_info")


def test_an_undecodable_image_is_a_fault_and_the_next_one_is_prepared(make_preparer: Any) -> None:
    preparer = make_preparer(decode_threads=1)
    spoilt = jpeg()
    spoilt.data = spoilt.data[: len(spoilt.data) // 2]

    with pytest.raises(InputFault) as caught:
        preparer.submit("cam", spoilt).result()

    assert caught.value.cause == "undecodable"
    assert preparer.submit("cam", jpeg()).result().pixels.any()


def test_each_camera_has_one_place_in_the_queue_and_a_pushed_out_image_is_not_lost() -> None:
    gate, entered = threading.Event(), threading.Event()

    def info_of(camera: str) -> CameraInfo:
        if threading.current_thread().name.startswith("decode"):
            entered.set()
            gate.wait(10)
        return INFO

    preparer = ImagePreparer(info_of, replace(OPTIONS, decode_threads=1), RULE)
    preparer.submit("busy", jpeg())
    assert entered.wait(10)  # the one thread is occupied
    images = [preparer.submit("cam", jpeg(n)) for n in range(50)]

    assert preparer.overtaken == 49
    assert not images[-1].is_prepared
    pushed_out = images[3].result()  # prepared by whoever asks
    np.testing.assert_array_equal(pushed_out.pixels, resize_and_crop(image_from_msg(jpeg(3)), RULE))
    gate.set()
    images[-1].result()
    preparer.close()
    assert not images[5].is_prepared  # nobody asked: no work was done


def test_an_image_is_prepared_once_however_many_ask() -> None:
    times = []

    def prepare(message: Any) -> PreparedImage:
        times.append(message)
        time.sleep(0.01)
        raise InputFault("cam", "undecodable", "expected a JPEG")

    image = PendingImage(prepare, "message")
    threads = [threading.Thread(target=image.run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert times == ["message"]


@pytest.mark.parametrize("scaling", ["near", "fast"])
def test_a_shrunken_jpeg_keeps_the_ray_of_every_pixel(make_preparer: Any, scaling: str) -> None:
    """A blob's centre, seen through the input's pinhole matrix, stays on its ray to 0.1 pixel."""
    height, width = 906, 1602  # not a multiple of 4 or 8
    rule = InputRule((128, 352), 384, "bilinear_antialias")
    image = np.zeros((height, width, 3), np.uint8)
    cv2.circle(image, (901, 703), 23, (255, 255, 255), -1)
    data = array.array("B", simplejpeg.encode_jpeg(image, quality=98))
    k = np.array([[1260.0, 0.0, 800.0], [0.0, 1260.0, 450.0], [0.0, 0.0, 1.0]])
    info = info_to_msg(CameraCalibration(width, height, k), "cam", 1)
    preparer = make_preparer(info, rule, jpeg_scaling=scaling)

    prepared = preparer.submit("cam", CompressedImage(format="jpeg", data=data)).result()

    denominator = rule.jpeg_denominator((height, width), scaling)
    assert denominator == {"near": 2, "fast": 4}[scaling]
    calibration = prepared.calibration
    assert calibration.width_px == -(-width // denominator)
    input_from_cam = (
        rule.input_from_image((calibration.height_px, calibration.width_px))
        @ calibration.image_from_cam
    )
    weights = prepared.pixels[..., 0].astype(float)
    rows, columns = np.indices(weights.shape)
    centre = [(columns * weights).sum() / weights.sum(), (rows * weights).sum() / weights.sum()]
    ray = np.linalg.inv(k) @ [901.0, 703.0, 1.0]
    np.testing.assert_allclose(centre, (input_from_cam @ ray)[:2], atol=0.1)


def test_a_raw_image_is_never_shrunk_before_the_resize(make_preparer: Any) -> None:
    fast = make_preparer(jpeg_scaling="fast").submit("cam", raw("rgb8")).result()

    np.testing.assert_array_equal(fast.pixels, resize_and_crop(picture(), RULE))
    assert fast.calibration.width_px == WIDTH


def test_the_bytes_of_a_raw_message_are_not_copied_before_the_resize() -> None:
    from simdistill_ros.conversions import encoded_from_msg
    from simdistill_ros.core.images import Scratch, decode_image

    message = image_to_msg(picture(), "cam", 1)

    decoded = decode_image(encoded_from_msg(message), Scratch())

    assert np.shares_memory(decoded.pixels, np.frombuffer(message.data, np.uint8))
