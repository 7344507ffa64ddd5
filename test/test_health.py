# SPDX-License-Identifier: Apache-2.0
"""Faults are counted always and logged now and then."""

from simdistill_ros.health import Health, InputFault


class Clock:
    now_ns = 0

    def __call__(self) -> int:
        return self.now_ns


def test_every_fault_is_counted_but_equal_ones_are_logged_once_a_period() -> None:
    clock, lines = Clock(), []
    health = Health(clock, lines.append, log_period_ns=100)

    for clock.now_ns in (0, 10, 20, 110):
        health.fault("cam_front", "undecodable", "broken JPEG")

    assert health.snapshot()["cam_front"].counts == {"undecodable": 4}
    assert len(lines) == 2
    assert "cam_front" in lines[0]
    assert "undecodable" in lines[0]


def test_two_cameras_or_two_causes_do_not_silence_each_other() -> None:
    lines: list[str] = []
    health = Health(Clock(), lines.append, log_period_ns=100)

    health.fault("cam_front", "undecodable", "x")
    health.fault("cam_back", "undecodable", "x")
    health.fault_from(InputFault("cam_back", "zero_stamp", "y"))

    assert len(lines) == 3


def test_good_input_ends_the_faulty_state_and_keeps_the_count() -> None:
    clock = Clock()
    health = Health(clock, lambda line: None, log_period_ns=0)
    clock.now_ns = 1
    health.received("cam_front")
    health.fault("cam_front", "wrong_step", "x")
    assert health.snapshot()["cam_front"].is_faulty

    clock.now_ns = 2
    health.good("cam_front")

    record = health.snapshot()["cam_front"]
    assert not record.is_faulty
    assert record.counts["wrong_step"] == 1
    assert (record.received, record.good, record.last_cause) == (1, 1, "wrong_step")


def test_a_snapshot_is_a_copy() -> None:
    health = Health(Clock(), lambda line: None, log_period_ns=0)
    health.fault("sync", "out_of_tolerance", "x")

    health.snapshot()["sync"].counts["out_of_tolerance"] = 99

    assert health.snapshot()["sync"].counts["out_of_tolerance"] == 1
