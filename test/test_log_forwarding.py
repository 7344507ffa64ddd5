# SPDX-License-Identifier: Apache-2.0
"""Records of the ROS-free modules reach the node's log."""

import logging

from simdistill_ros.log_forwarding import forward_logs, stop_forwarding


class Recorder:
    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def __getattr__(self, severity: str):  # type: ignore[no-untyped-def]
        return lambda text: self.lines.append((severity, text))


def test_records_keep_their_severity_and_stop_when_told() -> None:
    recorder = Recorder()
    logger = logging.getLogger("simdistill_ros.core.some_module")

    handler = forward_logs(recorder)
    logger.warning("no trained weights for %s", "tiny")
    logger.error("lost")
    logger.info("chosen")
    logger.debug("detail")
    stop_forwarding(handler)
    logger.warning("after")

    assert recorder.lines == [
        ("warning", "no trained weights for tiny"),
        ("error", "lost"),
        ("info", "chosen"),
    ]
    assert not logger.isEnabledFor(logging.INFO)
