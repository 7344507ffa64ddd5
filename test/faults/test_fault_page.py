# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

pytest.importorskip("rclpy")

from faults.engine_faults import ENGINE_FAULTS
from faults.fault_page import PAGE, page
from faults.fault_table import FAULTS
from faults.package_faults import START_FAULTS


def test_the_page_is_what_the_tables_say() -> None:
    assert PAGE.read_text() == page(), "run test/faults/fault_page.py"


def test_the_matrix_has_forty_faults_of_every_group_and_no_name_twice() -> None:
    names = [fault.name for fault in (*FAULTS, *START_FAULTS, *ENGINE_FAULTS)]
    assert len(names) == len(set(names)) >= 40
    groups = {fault.group for fault in (*FAULTS, *START_FAULTS)}
    assert groups >= {"message", "clock", "calibration", "graph", "process", "disk", "device"}
