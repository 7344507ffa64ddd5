# SPDX-License-Identifier: Apache-2.0
"""All checks, in the order of the report: what is told first explains what follows."""

from __future__ import annotations

from simdistill_ros.doctor.checks import (
    coverage,
    host,
    intrinsics,
    mounting,
    picture_evidence,
    pictures,
    rates,
    settings,
    stamps,
    synchronisation,
    topics,
    transforms,
)
from simdistill_ros.doctor.findings import Check, Kind

SECTIONS: dict[str, tuple[Check, ...]] = {
    "Settings": settings.CHECKS,
    "Topics": topics.CHECKS,
    "Stamps": stamps.CHECKS,
    "Rates": rates.CHECKS,
    "Synchronisation": synchronisation.CHECKS,
    "Pictures": pictures.CHECKS,
    "Intrinsics": intrinsics.CHECKS,
    "Transforms": transforms.CHECKS,
    "Mounting": mounting.CHECKS,
    "Coverage": coverage.CHECKS,
    "Pictures against calibration": picture_evidence.CHECKS,
    "Machine": host.CHECKS,
}


def all_kinds() -> tuple[Kind, ...]:
    """Return every kind of finding, in the order of the report."""
    kinds = [kind for checks in SECTIONS.values() for check in checks for kind in check.kinds]
    return tuple(dict.fromkeys(kinds))
