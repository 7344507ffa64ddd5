# SPDX-License-Identifier: Apache-2.0
"""Lost images are noticed by the calibrations that came without them, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from simdistill_ros.image_loss import Loss, LossMeter

MS = 1_000_000
PERIOD = 83 * MS
RAW = 4_320_000


def played(
    is_lost: Callable[[int], bool], cycles: int = 60, image_bytes: int = RAW, shift_ns: int = 0
) -> Loss | None:
    """Return the loss after some cycles of images and calibrations."""
    meter = LossMeter()
    for cycle in range(cycles):
        stamp_ns = 10**18 + cycle * PERIOD
        meter.info(stamp_ns, cycle * PERIOD, RAW)
        if not is_lost(cycle):
            meter.image(stamp_ns + shift_ns, image_bytes)
    return meter.loss((cycles - 1) * PERIOD + 10 * MS)


def test_a_complete_stream_has_no_loss() -> None:
    assert played(lambda cycle: False) is None


def test_images_that_do_not_come_are_counted() -> None:
    loss = played(lambda cycle: cycle % 4 != 0)

    assert loss is not None
    assert 0.7 < loss.lost / loss.expected < 0.8
    assert loss.image_bytes == RAW


def test_a_stream_of_calibrations_alone_is_a_total_loss_of_images_of_their_size() -> None:
    loss = played(lambda cycle: True)

    assert loss is not None
    assert (loss.lost, loss.image_bytes) == (loss.expected, RAW)


def test_one_lost_image_in_forty_is_not_worth_a_word() -> None:
    assert played(lambda cycle: cycle == 40) is None


def test_calibrations_stamped_otherwise_than_their_images_say_nothing() -> None:
    assert played(lambda cycle: False, shift_ns=3 * MS) is None


def test_a_few_calibrations_say_nothing() -> None:
    assert played(lambda cycle: True, cycles=10) is None


def test_a_camera_that_stopped_altogether_is_not_a_loss_on_the_way() -> None:
    meter = LossMeter()
    for cycle in range(40):
        meter.info(10**18 + cycle * PERIOD, cycle * PERIOD, RAW)

    assert meter.loss(40 * PERIOD + 5_000 * MS) is None


def test_a_latched_calibration_that_is_repeated_says_nothing() -> None:
    meter = LossMeter()
    for cycle in range(60):
        meter.info(10**18, cycle * PERIOD, RAW)

    assert meter.loss(60 * PERIOD) is None


@pytest.mark.parametrize(
    ("loss", "is_setting_named", "is_overload_named"),
    [
        (Loss(48, 46, RAW), True, False),
        (Loss(48, 12, RAW), True, True),
        (Loss(48, 46, 150_000), False, True),
    ],
)
def test_the_sentence_says_what_to_change(
    loss: Loss, is_setting_named: bool, is_overload_named: bool
) -> None:
    sentence = loss.sentence("/cam/image", "/share/profile.xml")

    setting = "PUBLISHES /cam/image with FASTDDS_DEFAULT_PROFILES_FILE=/share/profile.xml"
    assert (setting in sentence) == is_setting_named
    assert ("overloaded" in sentence) == is_overload_named
