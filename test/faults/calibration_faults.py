# SPDX-License-Identifier: Apache-2.0
"""Faults of CameraInfo and of mountings."""

from __future__ import annotations

from typing import Any

from faults.fault_bench import CAMERA, OTHERS, FaultBench
from faults.planted_fault import Fault, good_info, good_transforms
from rig_bench import WIDTH

NAN, INF = float("nan"), float("inf")


K = [50.0, 0.0, 31.5, 0.0, 50.0, 17.5, 0.0, 0.0, 1.0]


def info_fault(name: str, cause: str, *words: str, **changes: Any) -> Fault:
    return Fault(
        name,
        "calibration",
        lambda bench: bench.info(**changes),
        cause,
        words=words,
        heal=good_info,
        recovery="with the next good CameraInfo",
    )


def k_with(at: int, value: float) -> list[float]:
    return [*K[:at], value, *K[at + 1 :]]


def no_info(bench: FaultBench) -> None:
    assert bench.node is not None
    bench.node.trigger_deactivate()
    bench.node.trigger_activate()
    bench.spin_until(lambda: bench.publisher(CAMERA).get_subscription_count() > 0)
    bench.publish_infos(OTHERS)
    bench.publish_transforms()
    bench.spin_until(lambda: False, 0.2)
    bench.cycles()


def moved_mount(bench: FaultBench) -> None:
    bench.transform(lambda message: setattr(message.transform.translation, "x", 0.5))
    bench.cycles()


def unworkable_geometry(bench: FaultBench) -> None:
    def fail(rig: object) -> None:
        raise ValueError("no table of this geometry")

    bench.detector.prepare_geometry = fail  # type: ignore[method-assign]
    bench.publish_infos((CAMERA,), k=k_with(2, 32.0), p=[0.0] * 12)
    bench.spin_until(lambda: bench.new_count("inference", "recalibration_failed"))


def workable_geometry(bench: FaultBench) -> None:
    del bench.detector.prepare_geometry
    good_info(bench)


CALIBRATION_FAULTS: tuple[Fault, ...] = (
    info_fault("K with a NaN", "not_finite", k=k_with(4, NAN)),
    info_fault("K with an infinity", "not_finite", k=k_with(2, INF)),
    info_fault("K of zeros (uncalibrated)", "uncalibrated", k=[0.0] * 9),
    info_fault("negative focal length", "bad_intrinsics", k=k_with(0, -50.0)),
    info_fault("focal length of 1e30 pixels", "bad_intrinsics", "focal", k=k_with(0, 1e30)),
    info_fault("K that is no pinhole", "bad_intrinsics", k=k_with(6, 1.0)),
    info_fault("R that is no rotation", "bad_rotation", "ignore_r", r=[1.0, 0.0, 0.0] * 3),
    info_fault("R with a NaN", "not_finite", r=[NAN, 0.0, 0, 0, 1, 0, 0, 0, 1]),
    info_fault("D with a NaN", "not_finite", d=[NAN, 0.0, 0.0, 0.0, 0.0]),
    info_fault("D of 1e30", "bad_distortion", d=[1e30, 0.0, 0.0, 0.0, 0.0]),
    info_fault("D of three coefficients", "distortion_length", d=[0.1, 0.1, 0.1]),
    info_fault("D of 5000 coefficients", "distortion_length", "5000", d=[0.1] * 5000),
    info_fault(
        "unknown distortion model", "unknown_distortion", "barrel",
        distortion_model="barrel", d=[0.1, 0.0, 0.0, 0.0, 0.0],
    ),
    info_fault("CameraInfo of size zero", "zero_size", width=0),
    info_fault("CameraInfo of another shape", "aspect_ratio", "not of this image", width=3 * WIDTH),
    Fault(
        "no CameraInfo of a camera", "calibration", no_info, "no_camera_info", heal=good_info,
        recovery="with its first CameraInfo",
    ),
    Fault(
        "CameraInfo that changes by much in mid-stream", "calibration",
        lambda bench: bench.info(k=k_with(0, 60.0), p=[0.0] * 12), "calibration_jump",
        words=("degrees", "expected at most 1.00"), is_silent=False, is_passing=True,
        heal=good_info, recovery="at once: it is worked in and used",
    ),
    Fault(
        "camera that moves by half a metre", "calibration", moved_mount, "calibration_jump",
        words=("moved by", "mounted anew"), is_silent=False, is_passing=True,
        heal=good_transforms, recovery="at once: it is worked in and used",
    ),
    Fault(
        "changed calibration that cannot be worked in", "calibration", unworkable_geometry,
        "recalibration_failed", subject="inference", words=("no table",), is_silent=False,
        heal=workable_geometry, recovery="with the next good calibration",
    ),
)  # fmt: skip
