# SPDX-License-Identifier: Apache-2.0
"""Checks of what no small bag can hold, on observations made by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from simdistill_ros.core.frames import rigid, rotation_about_z
from simdistill_ros.doctor.checks import coverage, host, mounting, rates, stamps, topics
from simdistill_ros.doctor.diagnosis import explains
from simdistill_ros.doctor.findings import found
from simdistill_ros.doctor.observations import (
    CameraPlan,
    CameraSeen,
    Endpoint,
    Machine,
    Plan,
    Rig,
    Stream,
)
from simdistill_ros.doctor.rhythm import rhythm_of, sets_of
from simdistill_ros.doctor.rig_geometry import angle_between, azimuth_of_name, mounting_of

MS = 1_000_000
SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
PLAN = CameraPlan("cam_front", "/cam_front/image", "/cam_front/camera_info")
LEVEL = rigid([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], [1.0, 0.0, 1.5])
GOOD_MACHINE = Machine(
    cores=4,
    cpu_busy=0.2,
    memory_free_bytes=8 * 10**9,
    environment={
        "FASTDDS_DEFAULT_PROFILES_FILE": "profile.xml",
        "MALLOC_MMAP_THRESHOLD_": "1",
        "MALLOC_TRIM_THRESHOLD_": "1",
        "MALLOC_TOP_PAD_": "1",
        "MALLOC_ARENA_MAX": "1",
    },
    rmw="rmw_fastrtps_cpp",
)


def rig_of(*cameras: CameraSeen, **changes) -> Rig:
    plan = changes.pop("plan", Plan(tuple(camera.plan for camera in cameras) or (PLAN,)))
    values = {"is_live": True, "duration_ns": 2 * SECOND, "end_ns": START + 2 * SECOND, **changes}
    return Rig(plan=plan, cameras=cameras, **values)


def camera(name="cam_front", stamps=(), age_ns=30 * MS, **changes) -> CameraSeen:
    plan = CameraPlan(name, f"/{name}/image", f"/{name}/camera_info")
    arrivals = tuple(stamp + age_ns for stamp in stamps)
    images = Stream(plan.image_topic, tuple(stamps), arrivals, (1,) * len(stamps), ("frame",))
    return CameraSeen(plan, images, Stream(plan.info_topic), **changes)


def every(period_ns, count=20, first=START):
    return [first + i * period_ns for i in range(count)]


def codes(findings):
    return [finding.code for finding in findings]


def check_host(machine, **plan):
    rig = rig_of(plan=Plan((PLAN,), **plan), machine=machine)
    return codes(host.check_middleware(rig) + host.check_headroom(rig))


def test_a_good_machine_has_no_findings():
    assert check_host(GOOD_MACHINE) == []


@pytest.mark.parametrize(
    ("change", "plan", "code"),
    [
        ({"cpu_busy": 0.97}, {}, "cpu_busy"),
        ({"memory_free_bytes": 10**8}, {}, "memory_low"),
        ({}, {"device": "cuda"}, "gpu_missing"),
        ({"gpu_name": "a GPU", "gpu_free_bytes": 10**8}, {"device": "cuda"}, "gpu_memory_low"),
    ],
)
def test_missing_headroom_is_named(change, plan, code):
    assert check_host(replace(GOOD_MACHINE, **change), **plan) == [code]


def test_the_fast_dds_profile_is_missed_only_for_raw_images_over_fast_dds():
    bare = replace(GOOD_MACHINE, environment={})
    assert "fastdds_profile_unset" in check_host(bare, compressed=False)
    assert "fastdds_profile_unset" not in check_host(bare, compressed=True)
    cyclone = replace(bare, rmw="rmw_cyclonedds_cpp")
    assert "fastdds_profile_unset" not in check_host(cyclone, compressed=False)
    assert "malloc_unset" in check_host(bare)


def test_a_publisher_that_sends_nothing_is_named():
    silent = camera()
    rig = rig_of(
        silent,
        publishers={t: (Endpoint("/driver", "type"),) for t in
                    (silent.plan.image_topic, silent.plan.info_topic)},
    )  # fmt: skip
    assert codes(topics.check_messages(rig)) == ["no_messages", "info_no_messages"]


def test_a_clock_that_the_node_ignores_is_named():
    rig = rig_of(camera(stamps=every(100 * MS)), clock_count=5, clock_offset_ns=0)
    assert codes(stamps.check_sim_time(rig)) == ["clock_ignored"]
    honoured = replace(rig, plan=replace(rig.plan, use_sim_time=True))
    assert stamps.check_sim_time(honoured) == []


def test_stamps_are_compared_with_the_clock_topic_where_there_is_one():
    rig = rig_of(camera(stamps=every(100 * MS)), clock_count=5, clock_offset_ns=-3600 * SECOND)
    assert codes(stamps.check_clocks(rig)) == ["stamp_epoch"]


def test_irregular_stamps_are_named_and_uneven_gaps_of_a_lidar_grid_are_not():
    uneven = np.cumsum([0, *[50, 100, 100] * 7]) * MS + START
    assert rates.check_regularity(rig_of(camera(stamps=uneven.tolist()))) == []
    wild = np.cumsum([0, *[5, 300, 80] * 7]) * MS + START
    assert codes(rates.check_regularity(rig_of(camera(stamps=wild.tolist())))) == [
        "irregular_stamps"
    ]


def test_rhythm_by_hand():
    rhythm = rhythm_of(camera(stamps=every(100 * MS, 11)).images)
    assert rhythm is not None
    assert rhythm.rate_hz == pytest.approx(10.0)
    assert (rhythm.period_ns, rhythm.jitter_ns, rhythm.latency_ns) == (100 * MS, 0, 30 * MS)


def test_the_suggested_tolerance_covers_the_spread_and_is_round():
    seen = sets_of(
        rig_of(
            camera("cam_front", every(100 * MS)),
            camera("cam_back", every(100 * MS, first=START + 33 * MS)),
        )
    )
    assert seen is not None
    assert set(seen.spreads_ns) == {33 * MS}
    assert seen.suggested_ns == 40 * MS
    assert seen.offsets_ns == {"cam_front": 0, "cam_back": 33 * MS}


def test_a_camera_that_looks_across_its_vehicle_is_named():
    def turned(x_m, degrees):
        pose = rigid(rotation_about_z(np.radians(degrees)), [0, 0, 0]) @ LEVEL
        return rigid(pose[:3, :3], [x_m, 0.0, 1.5])

    poses = {"one": turned(2.0, 0), "two": turned(-2.0, 180), "three": turned(0.0, 90)}
    good = rig_of(*(camera(name, ego_from_cam=pose) for name, pose in poses.items()))
    assert mounting.check_outward(good) == []
    poses["one"] = turned(2.0, 180)
    bad = rig_of(*(camera(name, ego_from_cam=pose) for name, pose in poses.items()))
    (finding,) = mounting.check_outward(bad)
    assert (finding.code, finding.subjects) == ("camera_looks_inward", ("one",))


def test_the_mounting_of_a_level_camera_by_hand():
    at = mounting_of(LEVEL)
    assert (at.azimuth_deg, at.elevation_deg, at.roll_deg) == pytest.approx((0, 0, 0))
    roll = rigid(rotation_about_z(np.radians(90)), [0, 0, 0])
    assert mounting_of(LEVEL @ roll).roll_deg == pytest.approx(90)
    assert mounting_of(LEVEL @ roll @ roll).roll_deg == pytest.approx(180)


@pytest.mark.parametrize(
    ("name", "azimuth"),
    [("cam_front", 0), ("CAM_BACK_LEFT", 122), ("camera-rear", 180), ("left", 90), ("cam0", None)],
)
def test_names_tell_where_a_camera_looks(name, azimuth):
    assert azimuth_of_name(name) == azimuth


def test_angles_wrap():
    assert angle_between(-170, 170) == pytest.approx(20)
    assert angle_between(170, -170) == pytest.approx(-20)


def test_blind_sectors_by_hand():
    from simdistill_ros.core.camera import CameraCalibration

    k = np.array([[50.0, 0, 49.5], [0, 50.0, 49.5], [0, 0, 1]])  # 90 degrees wide
    seen = rig_of(
        camera("cam_front", ego_from_cam=LEVEL, calibration=CameraCalibration(100, 100, k))
    )
    ((low, high),) = coverage.blind_sectors(seen)
    assert (low, high) == (46, 315)
    assert codes(coverage.check_coverage(seen)) == ["coverage_gap"]


def test_an_explanation_needs_a_common_subject():
    zero, future = stamps.STAMP_ZERO, stamps.STAMP_FUTURE
    assert explains(found(zero, "a", ""), found(future, ("a", "b"), ""))
    assert not explains(found(zero, "a", ""), found(future, "b", ""))
    assert explains(found(zero, (), ""), found(future, "b", ""))
    assert not explains(found(future, "a", ""), found(zero, "a", ""))


def test_pictures_of_a_distorted_lens_are_undistorted_before_they_are_compared():
    from simdistill_ros.core.camera import CameraCalibration
    from simdistill_ros.doctor.checks.picture_evidence import placed_pictures
    from simdistill_ros.doctor.observations import Picture

    k = np.array([[200.0, 0, 159.5], [0, 200.0, 89.5], [0, 0, 1]])
    lens = CameraCalibration(320, 180, k, "plumb_bob", (-0.2, 0.0, 0.0, 0.0, 0.0))
    # A ray 0.5 to the right: radius 0.5, so the lens puts it at 0.5 (1 - 0.2 * 0.25) = 0.475.
    pixels = np.zeros((180, 320, 3), np.uint8)
    pixels[:, round(159.5 + 200 * 0.475)] = 255
    seen = camera(ego_from_cam=LEVEL, calibration=lens)
    seen = replace(seen, pictures=(Picture(START, pixels, (180, 320)),))
    (place,) = placed_pictures(rig_of(seen))["cam_front"]
    assert not place.calibration.is_distorted
    assert place.pixels[90, :, 0].argmax() == pytest.approx(159.5 + 200 * 0.5, abs=1.5)
