# SPDX-License-Identifier: Apache-2.0
"""Forward what the ROS-free modules log to the node's logger."""

from __future__ import annotations

import logging
from typing import Any

PACKAGE_LOGGER = "simdistill_ros"


class RosHandler(logging.Handler):
    """Hands records of Python's `logging` to a ROS logger of the same severity."""

    def __init__(self, ros_logger: Any) -> None:
        """Forward to this logger."""
        super().__init__()
        self._ros_logger = ros_logger

    def emit(self, record: logging.LogRecord) -> None:
        """Forward one record."""
        text = self.format(record)
        if record.levelno >= logging.ERROR:
            self._ros_logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._ros_logger.warning(text)
        elif record.levelno >= logging.INFO:
            self._ros_logger.info(text)
        else:
            self._ros_logger.debug(text)


def forward_logs(ros_logger: Any) -> RosHandler:
    """Forward the package's records from now on; return what `stop_forwarding` takes."""
    handler = RosHandler(ros_logger)
    logger = logging.getLogger(PACKAGE_LOGGER)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)  # the root's default would drop what is not a warning
    return handler


def stop_forwarding(handler: RosHandler) -> None:
    """End what `forward_logs` began."""
    logger = logging.getLogger(PACKAGE_LOGGER)
    logger.removeHandler(handler)
    if not logger.handlers:
        logger.setLevel(logging.NOTSET)
