# SPDX-License-Identifier: Apache-2.0
"""Do the cameras' images make sets."""

from __future__ import annotations

from simdistill_ros.doctor.findings import Check, Finding, Kind, Severity, found
from simdistill_ros.doctor.observations import Rig
from simdistill_ros.doctor.rhythm import sets_of

SHARE_WIDE = 0.05
SHARE_SETS = 0.8
FEW = 4

_NO_SETS_FROM = (
    "topic_missing", "no_messages", "topic_type", "stamp_zero", "clock_offset", "camera_silent",
    "rate_differs", "loss_large_messages", "dropped_frames", "time_jump", "stamp_backward",
    "irregular_stamps",
)  # fmt: skip
TOLERANCE_TOO_SMALL = Kind(
    "tolerance_too_small",
    Severity.ERROR,
    "Complete sets spread further in time than sync.tolerance_s allows, so they are dropped.",
    "Raise sync.tolerance_s to the suggested value, or trigger the cameras together.",
    explained_by=("clock_offset", "stamp_zero"),
)
SETS_INCOMPLETE = Kind(
    "sets_incomplete",
    Severity.WARNING,
    "Fewer sets come out than the cameras have cycles, and no single camera is to blame.",
    "See the spread histogram; check trigger and clocks of all cameras.",
    explained_by=(*_NO_SETS_FROM, "tolerance_too_small"),
)
FIRING_ORDER = Kind(
    "firing_order",
    Severity.INFO,
    "The cameras fire one after the other, not together.",
    "Nothing to do; set fixed_frame to undo the vehicle's motion between them.",
)


def check_sets(rig: Rig) -> list[Finding]:
    """Compare the spread of sets with the tolerance."""
    seen = sets_of(rig)
    if seen is None:
        return []
    tolerance_ms = rig.plan.tolerance_ns / 1e6
    findings = []
    if seen.spreads_ns and seen.out_of_tolerance > SHARE_WIDE * len(seen.spreads_ns):
        widest_ms = max(seen.spreads_ns) / 1e6
        text = (
            f"{seen.out_of_tolerance} of {len(seen.spreads_ns)} sets spread up to {widest_ms:.1f} "
            f"ms; sync.tolerance_s allows {tolerance_ms:.1f} ms"
        )
        fix = ""
        if seen.suggested_ns is not None:
            fix = f"Set sync.tolerance_s: {seen.suggested_ns / 1e9:.3f}"
        findings.append(found(TOLERANCE_TOO_SMALL, (), text, fix, widest_ms=widest_ms))
    # The set under way when looking ends is not held against anyone.
    elif seen.cycles >= FEW and seen.sets < SHARE_SETS * (seen.cycles - 1):
        text = f"{seen.sets} sets of {seen.cycles} cycles"
        findings.append(found(SETS_INCOMPLETE, (), text, sets=seen.sets, cycles=seen.cycles))
    return findings


def check_firing_order(rig: Rig) -> list[Finding]:
    """Tell the firing order where there is one."""
    seen = sets_of(rig)
    if seen is None or not seen.offsets_ns:
        return []
    spread_ns = max(seen.offsets_ns.values())
    if spread_ns < max(2_000_000, 4 * seen.jitter_ns):
        return []
    order = sorted(seen.offsets_ns.items(), key=lambda item: item[1])
    text = ", ".join(f"{name} +{offset / 1e6:.0f} ms" for name, offset in order)
    return [found(FIRING_ORDER, (), text, spread_ms=spread_ns / 1e6)]


CHECKS = (
    Check(check_sets, (TOLERANCE_TOO_SMALL, SETS_INCOMPLETE)),
    Check(check_firing_order, (FIRING_ORDER,)),
)
