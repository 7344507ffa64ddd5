# SPDX-License-Identifier: Apache-2.0
"""The load benchmark's arithmetic: ratios to the floor, parts of the node, growth of memory."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

pytest.importorskip("rclpy")

from benchmarks.bench_detector import jpeg_image, snapshot_of
from benchmarks.bench_load import Turn, endurance, processor_table, promise
from benchmarks.stub_backend import stub_detector

CPU = {"receive": 3.0, "decode": 2.0, "worker": 1.0}


def turn(ms_per_image: float, received: int = 600, **report: Any) -> Turn:
    return Turn(600, ms_per_image, report={"received": received, **report})


def test_every_subject_is_compared_with_the_median_floor() -> None:
    turns = {
        "floor": [turn(2.0), turn(9.0), turn(3.0)],
        "bridge": [turn(4.5)],
        "node": [turn(6.0, cpu_s=CPU), turn(6.0, received=594, cpu_s=CPU)],
    }

    rows = {row["subject"]: row for row in processor_table(turns)}

    assert rows["floor"] == {
        "subject": "floor", "ms_per_image": 3.0, "of_floor": 1.0, "received": 1.0,
    }  # fmt: skip
    assert rows["bridge"]["of_floor"] == 1.5
    assert rows["node"]["received"] == 0.995
    assert rows["node: receive"]["ms_per_image"] == 3.0  # half of the node's threads' time
    assert rows["node: decode"]["of_floor"] == pytest.approx(0.667)


def test_ingest_is_receiving_and_for_jpeg_decoding_too() -> None:
    turns = {
        "floor": [turn(2.0)],
        "decoder": [turn(4.0)],
        "node": [turn(6.0, cpu_s=CPU)],  # a half of it receiving, a third decoding
    }

    assert promise("raw", turns)["ratio"] == 1.5
    assert promise("jpeg", turns)["ratio"] == 1.25
    assert "against `decoder`" in promise("jpeg", turns)["what"]


@pytest.mark.parametrize(("last_mib", "percent"), [(200.0, 0.0), (220.0, 10.0)])
def test_memory_is_compared_after_the_start(last_mib: float, percent: float) -> None:
    samples = [(float(second), 100.0) for second in range(20)]  # it still loads
    samples += [(float(second), 200.0) for second in range(20, 60)]
    samples += [(float(second), last_mib) for second in range(60, 101)]
    report = {
        "received": 600, "sync": {}, "pipeline": {}, "latency_ms": {}, "faults": {}, "cpu_s": CPU,
    }  # fmt: skip

    result = endurance(Turn(600, 5.0, samples, {"images": 600}, report))

    assert result["rss_growth_percent"] == pytest.approx(percent, abs=0.01)
    assert result["complete_sets"] == 100


def test_the_stub_answers_with_boxes_so_that_decoding_has_work() -> None:
    detector = stub_detector()
    with ThreadPoolExecutor(2) as pool:
        snapshot = snapshot_of({camera: jpeg_image(0) for camera in detector.cameras}, pool)
    detections = detector.detect(snapshot)
    detector.close()

    assert 0 < len(detections) <= 300
