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
    "raw": {"silence__deadline_s": 0.5},
    "compressed": {"compressed": True},
    "reliable": {"input__reliability": "reliable"},
    "simulated": {"use_sim_time": True, "silence__deadline_s": 0.5},
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

    def told() -> str:
        said = bench.statuses_of(fault.subject, fault.cause)
        seen = [status.message for status in said if status.level == fault.level]
        if fault.is_passing:
            seen += bench.counted_in(fault.subject, fault.cause)
        return "\n".join(seen + nodes.lines) if seen else ""

    def is_said() -> bool:
        return bool(told()) and all(word in told() for word in fault.words)

    assert bench.spin_until(is_said), (
        f"expected {fault.cause} of {fault.subject} with {fault.words}, got {told()!r}; "
        f"{bench.said()}"
    )
    if fault.is_silent:
        assert bench.answers_to_spoilt() == []
    if fault.is_answered:
        assert bench.answers_to_spoilt() != []
    counted = bench.new_count(fault.subject, fault.cause)
    logged = [line for line in nodes.lines if line.startswith(f"{fault.subject}: {fault.cause}")]
    assert bool(counted) == bool(logged)

    fault.heal(bench)
    bench.recover()
