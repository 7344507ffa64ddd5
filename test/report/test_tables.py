# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re

from simdistill_ros.report.tables import SUMMARY, streaming_table


def test_the_streaming_score_stands_beside_the_ordinary_one_with_what_latency_costs():
    metrics = {**dict.fromkeys(SUMMARY, 0.5), "samples": 3}
    assert streaming_table(metrics) == ""
    streaming = {**dict.fromkeys(SUMMARY, 0.75), "answered": 2}
    table = streaming_table({**metrics, "streaming": {**streaming, "age_ms": {}}})
    assert table.count('data-metric="streaming.NDS" data-value="0.75"') == 1
    changes = re.findall(r'class="n (better|worse)" data-value="0.25"', table)
    assert changes == ["better", "better", *["worse"] * 5]  # more error is worse
    assert "2 of 3 frames" in table
    aged = {**streaming, "age_ms": {"median": 120.4, "p95": 310.0}}
    assert "120 ms old" in streaming_table({**metrics, "streaming": aged})
