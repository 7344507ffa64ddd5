# SPDX-License-Identifier: Apache-2.0
"""Each fault of the table is named in `/diagnostics` and in the log, and the node recovers."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

pytest.importorskip("rclpy")

from faults.fault_bench import FaultBench
from faults.fault_table import FAULTS, Fault
from rclpy.logging import get_logger

NODES = {
    "raw": {},
    "compressed": {"compressed": True},
    "reliable": {"input__reliability": "reliable"},
}
FIRST_DOMAIN, DOMAINS = 50, 45


class Nodes:
    """One node a kind, the last kind only: it serves one fault after the other."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self._kind = ""
        self._bench: FaultBench | None = None

    def get(self, kind: str) -> FaultBench:
        if kind != self._kind:
            self.close()
            number = os.getpid() * 7 + sorted(NODES).index(kind)
            self._bench = FaultBench(FIRST_DOMAIN + number % DOMAINS)
            self._bench.start(**{"log__period_s": 0.0, **NODES[kind]})
            self._bench.calibrate()
            self._bench.detect_one()
            self._kind = kind
        assert self._bench is not None
        return self._bench

    def close(self) -> None:
        if self._bench is not None:
            self._bench.close()
        self._bench, self._kind = None, ""


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        kind = type(get_logger("x"))
        patch.setattr(kind, "warning", lambda self, text, **_: lines.append(text))
        started = Nodes(lines)
        yield started
        started.close()


ORDERED = sorted(FAULTS, key=lambda fault: list(NODES).index(fault.node))


@pytest.mark.parametrize("fault", ORDERED, ids=lambda fault: fault.name.replace(" ", "_"))
def test_the_node_names_the_fault_and_recovers(nodes: Nodes, fault: Fault) -> None:
    bench = nodes.get(fault.node)
    bench.begin()
    nodes.lines.clear()

    fault.plant(bench)

    def is_shown() -> bool:
        said = bench.statuses_of(fault.subject, fault.cause)
        return fault.level in {status.level for status in said}

    assert bench.spin_until(is_shown), (
        f"/diagnostics never said {fault.cause} of {fault.subject}; {bench.said()}"
    )
    said = bench.statuses_of(fault.subject, fault.cause)
    told = "\n".join([status.message for status in said] + nodes.lines)
    assert all(word in told for word in fault.words), told
    if fault.is_silent:
        assert bench.answers_to_spoilt() == []
    counted = bench.new_count(fault.subject, fault.cause)
    logged = [line for line in nodes.lines if fault.subject in line and fault.cause in line]
    assert bool(counted) == bool(logged)

    fault.heal(bench)
    bench.recover()
