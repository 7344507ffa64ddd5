# SPDX-License-Identifier: Apache-2.0
"""One planted fault: what is done, what the node must say, how it heals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticStatus
from faults.fault_bench import CAMERA, FaultBench

ERROR, WARN = DiagnosticStatus.ERROR, DiagnosticStatus.WARN
STALE = DiagnosticStatus.STALE
LEVELS = {ERROR: "ERROR", WARN: "WARN", STALE: "STALE"}


def good_again(bench: FaultBench) -> None:
    """Nothing needs to be done: good input is enough."""


def good_info(bench: FaultBench) -> None:
    bench.publish_infos((CAMERA,))


def good_transforms(bench: FaultBench) -> None:
    bench.publish_transforms()


@dataclass(frozen=True)
class Fault:
    """One planted fault.

    Attributes:
        name: What goes wrong, for people.
        group: message, clock, calibration, graph or process.
        plant: Makes it go wrong.
        cause: The word in `/diagnostics` and in the log.
        subject: Whose status says so.
        words: Parts of the sentence that goes with it.
        level: Of the status.
        heal: Puts right what good images alone do not.
        node: Which node it is planted into: raw, compressed, reliable or simulated.
        is_silent: Whether no detection may come of the spoilt cycles.
        is_answered: Whether detections must come of the spoilt cycles.
        is_passing: Whether another cause may take its place in the status at once, so that only
            the counters beside it are sure to show it.
        recovery: How it heals, for people.
    """

    name: str
    group: str
    plant: Callable[[FaultBench], None]
    cause: str
    subject: str = CAMERA
    words: tuple[str, ...] = ()
    level: bytes = ERROR
    heal: Callable[[FaultBench], None] = good_again
    node: str = "raw"
    is_silent: bool = True
    is_answered: bool = False
    is_passing: bool = False
    recovery: str = "with the next good image"
