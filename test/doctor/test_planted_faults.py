# SPDX-License-Identifier: Apache-2.0
"""Each fault is planted in a healthy bag, and doctor names it and nothing else.

The complaints are those that users of camera rigs write about: sensors, calibration and frames that
are confused, and nodes that say nothing.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from planted import FAULTS, Planted
from recording import edit, images_of
from rig_picture_faults import halve_pixels

from simdistill_ros.doctor.checks.registry import all_kinds
from simdistill_ros.doctor.findings import Severity


def named(diagnosis):
    """Return what a diagnosis complains about, as (code, subjects)."""
    return {(f.code, f.subjects) for f in diagnosis.findings if f.severity is not Severity.INFO}


def test_a_healthy_bag_has_neither_error_nor_warning(recording, examine):
    diagnosis = examine(recording)
    assert named(diagnosis) == set()
    assert not diagnosis.consequences
    assert diagnosis.exit_status(strict=True) == 0
    assert {finding.code for finding in diagnosis.findings} == {"firing_order", "neighbours_agree"}


def test_a_resized_image_with_the_calibration_of_the_whole_one_is_only_mentioned(
    recording, examine
):
    diagnosis = examine(edit(images_of("cam_back"), halve_pixels)(recording))
    assert named(diagnosis) == set()
    (scaled,) = [f for f in diagnosis.findings if f.code == "info_scaled"]
    assert scaled.subjects == ("cam_back",)
    assert scaled.text == "the image is 176x99, CameraInfo says 352x198"


def test_every_finding_is_planted_or_made_by_hand_in_some_test():
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("*.py"))
    assert not [kind.code for kind in all_kinds() if f'"{kind.code}"' not in tests]


@pytest.mark.parametrize("planted", FAULTS, ids=lambda planted: planted.complaint.replace(" ", "_"))
def test_a_planted_fault_is_named_and_nothing_else(planted: Planted, recording, examine):
    diagnosis = examine(planted.fault(recording), planted.parameters, planted.qos)
    assert {code for code, _ in named(diagnosis)} == {planted.code}
    subjects = {name for _, names in named(diagnosis) for name in names}
    assert set(planted.about) <= subjects
    strangers = {s for s in subjects if s.startswith("cam_") and not s.endswith("_frame")}
    assert strangers <= set(planted.about)
