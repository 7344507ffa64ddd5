# SPDX-License-Identifier: Apache-2.0
"""The numbers behind the findings, the same for terminal and JSON."""

from __future__ import annotations

from simdistill_ros.doctor.checks.coverage import blind_sectors, overlaps_deg, sectors
from simdistill_ros.doctor.checks.rates import lost_images
from simdistill_ros.doctor.observations import CameraSeen, Rig
from simdistill_ros.doctor.rhythm import rhythm_of, sets_of
from simdistill_ros.doctor.rig_geometry import mounting_of

Row = dict[str, object]


def camera_rows(rig: Rig) -> dict[str, Row]:
    """Return what was measured of each camera; what is unknown is left out."""
    return {camera.name: _camera_row(rig, camera) for camera in rig.cameras}


def _camera_row(rig: Rig, camera: CameraSeen) -> Row:
    row: Row = {"topic": camera.plan.image_topic, "images": len(camera.images)}
    rhythm = rhythm_of(camera.images)
    if rhythm:
        row["rate_hz"] = round(rhythm.rate_hz, 2)
        row["jitter_ms"] = round(rhythm.jitter_ns / 1e6, 2)
        row["latency_ms"] = round(rhythm.latency_ns / 1e6, 2)
        row["lost"] = max(lost_images(rig, camera), 0)
    if camera.sizes_hw:
        height, width = camera.sizes_hw[-1]
        row["size"] = f"{width}x{height}"
    if camera.frame:
        row["frame"] = camera.frame
    view = sectors(rig).get(camera.name)
    if view:
        row["view_deg"] = round(view[1] - view[0])
    if camera.ego_from_cam is not None:
        at = mounting_of(camera.ego_from_cam)
        row["azimuth_deg"] = round(at.azimuth_deg)
        row["height_m"] = round(at.position_m[2], 2)
    return row


def sync_row(rig: Rig) -> Row:
    """Return what was measured of the sets."""
    seen = sets_of(rig)
    if seen is None:
        return {}
    row: Row = {
        "sets": seen.sets,
        "cycles": seen.cycles,
        "tolerance_ms": rig.plan.tolerance_ns / 1e6,
        "jitter_ms": round(seen.jitter_ns / 1e6, 2),
    }
    if seen.spreads_ns:
        ordered = sorted(seen.spreads_ns)
        row["spread_median_ms"] = round(ordered[len(ordered) // 2] / 1e6, 2)
        row["spread_max_ms"] = round(ordered[-1] / 1e6, 2)
    if seen.suggested_ns is not None:
        row["suggested_tolerance_ms"] = seen.suggested_ns / 1e6
    return row


def coverage_row(rig: Rig) -> Row:
    """Return what of the surroundings is seen, degrees."""
    if not sectors(rig):
        return {}
    blind = sum(high - low for low, high in blind_sectors(rig))
    row: Row = {"seen_deg": 360 - blind, "blind_deg": blind}
    for (first, second), degrees in overlaps_deg(rig).items():
        row[f"{first}+{second}_deg"] = degrees
    return row


def machine_row(rig: Rig) -> Row:
    """Return the machine's headroom; empty for a bag."""
    machine = rig.machine
    if machine is None:
        return {}
    row: Row = {"cores": machine.cores, "middleware": machine.rmw}
    if machine.cpu_busy is not None:
        row["cpu_busy"] = round(machine.cpu_busy, 2)
    if machine.memory_free_bytes is not None:
        row["memory_free_gb"] = round(machine.memory_free_bytes / 1e9, 1)
    if machine.gpu_name is not None:
        row["gpu"] = machine.gpu_name
    if machine.gpu_free_bytes is not None:
        row["gpu_free_gb"] = round(machine.gpu_free_bytes / 1e9, 1)
    return row
