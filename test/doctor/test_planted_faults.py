# SPDX-License-Identifier: Apache-2.0
"""Each fault is planted in a healthy bag, and doctor names it and nothing else.

The complaints are those that users of camera rigs write about: sensors, calibration and frames that
are confused, and nodes that say nothing.
"""

from __future__ import annotations

import pytest
from planted import FAULTS, Planted

from simdistill_ros.doctor.findings import Severity


def named(diagnosis):
    """Return what a diagnosis complains about, as (code, subjects)."""
    return {(f.code, f.subjects) for f in diagnosis.findings if f.severity is not Severity.INFO}


def test_a_healthy_bag_has_neither_error_nor_warning(recording, examine):
    diagnosis = examine(recording)
    assert named(diagnosis) == set()
    assert not diagnosis.consequences
    assert diagnosis.exit_status(strict=True) == 0


@pytest.mark.parametrize("planted", FAULTS, ids=lambda planted: planted.complaint.replace(" ", "_"))
def test_a_planted_fault_is_named_and_nothing_else(planted: Planted, recording, examine):
    diagnosis = examine(planted.fault(recording), planted.parameters, planted.qos)
    assert {code for code, _ in named(diagnosis)} == {planted.code}
    subjects = {name for _, names in named(diagnosis) for name in names}
    assert set(planted.about) <= subjects
    strangers = {s for s in subjects if s.startswith("cam_") and not s.endswith("_frame")}
    assert strangers <= set(planted.about)
