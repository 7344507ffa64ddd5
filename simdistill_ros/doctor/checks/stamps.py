# SPDX-License-Identifier: Apache-2.0
"""Do the stamps say when the images were taken."""

from __future__ import annotations

from datetime import datetime, timezone
from itertools import pairwise
from statistics import median, median_low

from simdistill_ros.doctor.findings import Check, Finding, Kind, Severity, found
from simdistill_ros.doctor.observations import NANOSECONDS, CameraSeen, Rig

MS = 1_000_000
YEAR_2000_NS = 946_684_800 * NANOSECONDS
WRONG_EPOCH_NS = 60 * NANOSECONDS
LATE_NS = NANOSECONDS
EARLY_NS = 20 * MS
JUMP_NS = 500 * MS
# Exposure, read-out, compression and transport of a real camera take longer than this together.
AT_PUBLICATION_NS = 5 * MS

STAMP_ZERO = Kind(
    "stamp_zero",
    Severity.ERROR,
    "Images carry the stamp 0, so they cannot be matched; the node drops them.",
    "Let the driver set header.stamp to the time of exposure.",
)
STAMP_EPOCH = Kind(
    "stamp_epoch",
    Severity.WARNING,
    "All stamps are of another time than the clock: seconds since boot, or an unset clock.",
    "Let drivers stamp with the system's clock, synchronised by NTP or PTP; for a bag that is "
    "played set use_sim_time and play it with --clock.",
)
CLOCK_OFFSET = Kind(
    "clock_offset",
    Severity.ERROR,
    "One camera's stamps run ahead of or behind the others': its clock is set differently.",
    "Synchronise that camera's clock (PTP), or stamp on the host.",
)
STAMP_FUTURE = Kind(
    "stamp_future",
    Severity.ERROR,
    "Stamps are later than the arrival of their image; transforms for them do not exist yet.",
    "Synchronise the clocks of camera and host.",
    explained_by=("clock_offset", "stamp_epoch", "stamp_zero"),
)
STAMP_OLD = Kind(
    "stamp_old",
    Severity.WARNING,
    "Images arrive more than a second after they were taken.",
    "Look for queues on the way (QoS depth, bridges, encoders) or for clocks that differ.",
    explained_by=("clock_offset", "stamp_epoch", "stamp_zero", "time_jump"),
)
STAMP_BACKWARD = Kind(
    "stamp_backward",
    Severity.WARNING,
    "Stamps go back now and then: messages are reordered, or two sources share the topic.",
    "Stop the second source, or publish in order; out-of-order images are dropped as late.",
    explained_by=("two_publishers", "stamp_zero"),
)
STAMP_REPEATED = Kind(
    "stamp_repeated",
    Severity.WARNING,
    "Several images of a camera carry the same stamp: messages are duplicated.",
    "Look for a second publisher or a relay; the node drops the duplicates.",
    explained_by=("two_publishers", "stamp_zero"),
)
TIME_JUMP = Kind(
    "time_jump",
    Severity.WARNING,
    "Time went back by more than half a second for every camera, as when a bag loops.",
    "Expected with `ros2 bag play --loop`; on a vehicle look for a clock that is being set.",
)
STAMP_AT_PUBLICATION = Kind(
    "stamp_at_publication",
    Severity.WARNING,
    "Stamps equal the moment of publication, not of exposure: boxes of a moving vehicle are late.",
    "Let the driver stamp with the time of exposure.",
)
CLOCK_MISSING = Kind(
    "clock_missing",
    Severity.ERROR,
    "use_sim_time is set but nobody publishes /clock: the node's time stands still.",
    "Play the bag with --clock, or set use_sim_time to false.",
)
CLOCK_IGNORED = Kind(
    "clock_ignored",
    Severity.WARNING,
    "/clock is published but the node's use_sim_time is false.",
    "Set use_sim_time: true while a bag or a simulator gives the time.",
)


def _stamped(rig: Rig) -> list[CameraSeen]:
    return [c for c in rig.cameras if any(stamp > 0 for stamp in c.images.stamps_ns)]


def _age_ns(rig: Rig, camera: CameraSeen) -> int:
    """Return the median time from stamp to arrival, on the clock that the stamps should follow."""
    shift = rig.clock_offset_ns or 0
    pairs = zip(camera.images.arrivals_ns, camera.images.stamps_ns, strict=True)
    return round(median(arrival + shift - stamp for arrival, stamp in pairs if stamp > 0))


def check_zero(rig: Rig) -> list[Finding]:
    """Name cameras with zero stamps."""
    findings = []
    for camera in rig.cameras:
        zero = sum(stamp <= 0 for stamp in camera.images.stamps_ns)
        if zero:
            text = f"{zero} of {len(camera.images)} images carry the stamp 0"
            findings.append(found(STAMP_ZERO, camera.name, text, zero=zero))
    return findings


def _young_age_ns(camera: CameraSeen) -> int:
    """Return the lower quartile of the times from stamp to arrival: those that met no queue."""
    pairs = zip(camera.images.arrivals_ns, camera.images.stamps_ns, strict=True)
    ages = sorted(arrival - stamp for arrival, stamp in pairs if stamp > 0)
    return ages[len(ages) // 4]


def check_clocks(rig: Rig) -> list[Finding]:
    """Compare stamps with arrivals, and cameras with each other."""
    cameras = _stamped(rig)
    if not cameras:
        return []
    ages = {camera.name: _age_ns(rig, camera) for camera in cameras}
    return _wrong_epoch(cameras, ages) + _offsets(rig, cameras) + _late_or_early(rig, ages)


def _wrong_epoch(cameras: list[CameraSeen], ages_ns: dict[str, int]) -> list[Finding]:
    middle = median_low(ages_ns.values())
    oldest_ns = min(s for c in cameras for s in c.images.stamps_ns if s > 0)
    if oldest_ns >= YEAR_2000_NS and abs(middle) <= WRONG_EPOCH_NS:
        return []
    when = datetime.fromtimestamp(oldest_ns / NANOSECONDS, timezone.utc)
    text = f"stamps begin at {when:%Y-%m-%d %H:%M:%S} UTC, {abs(middle) / 1e9:.0f} s " + (
        "before the images arrive" if middle > 0 else "after the images arrive"
    )
    return [found(STAMP_EPOCH, (), text, stamp_ns=oldest_ns, age_s=middle / 1e9)]


def _offsets(rig: Rig, cameras: list[CameraSeen]) -> list[Finding]:
    ages_ns = {camera.name: _young_age_ns(camera) for camera in cameras}
    middle = median_low(ages_ns.values())
    limit = max(rig.plan.tolerance_ns, 80 * MS)
    findings = []
    for name, age in ages_ns.items():
        if len(ages_ns) > 2 and abs(age - middle) > limit:
            apart = (middle - age) / 1e9
            where = "ahead of" if apart > 0 else "behind"
            text = f"its stamps run {abs(apart):.3f} s {where} the other cameras'"
            findings.append(found(CLOCK_OFFSET, name, text, offset_s=apart))
    return findings


def _late_or_early(rig: Rig, ages_ns: dict[str, int]) -> list[Finding]:
    if rig.clock_count:  # simulated time may run at any rate; arrivals say little
        return []
    findings = []
    early = [name for name, age in ages_ns.items() if age < -EARLY_NS]
    late = [name for name, age in ages_ns.items() if age > LATE_NS]
    for kind, names, sign in ((STAMP_FUTURE, early, -1), (STAMP_OLD, late, 1)):
        if names:
            worst = max(sign * ages_ns[name] for name in names) / 1e6
            what = "later than" if sign < 0 else "before"
            text = f"stamps are up to {worst:.0f} ms {what} the arrival"
            findings.append(found(kind, tuple(names), text, worst_ms=worst))
    return findings


def check_order(rig: Rig) -> list[Finding]:
    """Name cameras whose stamps go back or repeat."""
    findings = []
    jumped = []
    for camera in rig.cameras:
        stamps = [stamp for stamp in camera.images.stamps_ns if stamp > 0]
        steps = [later - stamp for stamp, later in pairwise(stamps)]
        jumped += [camera.name] * any(step < -JUMP_NS for step in steps)
        back = sum(-JUMP_NS <= step < 0 for step in steps)
        if back:
            text = f"{back} of {len(steps)} stamps are older than the one before"
            findings.append(found(STAMP_BACKWARD, camera.name, text, back=back))
        repeated = sum(step == 0 for step in steps)
        if repeated:
            text = f"{repeated} of {len(steps)} stamps equal the one before"
            findings.append(found(STAMP_REPEATED, camera.name, text, repeated=repeated))
    if jumped:
        findings.append(found(TIME_JUMP, tuple(jumped), "stamps jumped back"))
    return findings


def check_publication(rig: Rig) -> list[Finding]:
    """Name cameras that are stamped when they are published."""
    cameras = _stamped(rig)
    if rig.clock_count or not cameras:
        return []
    ages = {camera.name: _age_ns(rig, camera) for camera in cameras}
    # A bag whose log times are copies of the stamps says nothing about arrival.
    if not rig.is_live and all(
        camera.images.arrivals_ns == camera.images.stamps_ns for camera in cameras
    ):
        return []
    names = tuple(name for name, age in ages.items() if -EARLY_NS <= age < AT_PUBLICATION_NS)
    if not names:
        return []
    worst = max(ages[name] for name in names) / 1e6
    text = f"images arrive within {max(worst, 0.0):.1f} ms of their stamp; no camera is so fast"
    return [found(STAMP_AT_PUBLICATION, names, text, age_ms=worst)]


def check_sim_time(rig: Rig) -> list[Finding]:
    """Compare use_sim_time with /clock."""
    if not rig.is_live:
        return []
    if rig.plan.use_sim_time and not rig.clock_count:
        return [found(CLOCK_MISSING, (), f"no /clock in {rig.duration_ns / 1e9:.1f} s")]
    if rig.clock_count and not rig.plan.use_sim_time:
        return [found(CLOCK_IGNORED, (), f"{rig.clock_count} messages on /clock")]
    return []


CHECKS = (
    Check(check_zero, (STAMP_ZERO,)),
    Check(check_clocks, (STAMP_EPOCH, CLOCK_OFFSET, STAMP_FUTURE, STAMP_OLD)),
    Check(check_order, (STAMP_BACKWARD, STAMP_REPEATED, TIME_JUMP)),
    Check(check_publication, (STAMP_AT_PUBLICATION,)),
    Check(check_sim_time, (CLOCK_MISSING, CLOCK_IGNORED)),
)
