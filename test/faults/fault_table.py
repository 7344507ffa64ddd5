# SPDX-License-Identifier: Apache-2.0
"""Every fault that is planted into a running node.

`test_faults.py` plants each; `docs/faults.md` is written from this table by `fault_page.py`.
"""

from __future__ import annotations

from faults.calibration_faults import CALIBRATION_FAULTS
from faults.clock_faults import CLOCK_FAULTS
from faults.graph_faults import GRAPH_FAULTS
from faults.message_faults import MESSAGE_FAULTS
from faults.planted_fault import LEVELS, Fault
from faults.process_faults import PROCESS_FAULTS

FAULTS: tuple[Fault, ...] = (
    *MESSAGE_FAULTS, *CLOCK_FAULTS, *CALIBRATION_FAULTS, *GRAPH_FAULTS, *PROCESS_FAULTS,
)  # fmt: skip

__all__ = ["FAULTS", "LEVELS", "Fault"]
