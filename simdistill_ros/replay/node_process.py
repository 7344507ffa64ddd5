# SPDX-License-Identifier: Apache-2.0
"""The detector as a child process, with the environment that images need."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from simdistill_ros.process_environment import PROCESS_ENVIRONMENT
from simdistill_ros.resources import share_folder

# Above 101 the ports of a domain can collide with the ports the kernel hands out.
HIGHEST_DOMAIN = 101
STOP_S = 10.0


class DetectorDiedError(RuntimeError):
    """The detector's process ended while it was needed."""


def dds_environment(domain_id: int | None) -> dict[str, str]:
    """Return what DDS must know before it starts: the profile for large images, and the domain.

    A profile that the user has set already is kept.

    Args:
        domain_id: The domain; None for a random one that only this machine sees.
    """
    is_old = os.environ.get("ROS_DISTRO") in ("humble", "jazzy")
    variable = f"{'FASTRTPS' if is_old else 'FASTDDS'}_DEFAULT_PROFILES_FILE"
    profile = str(share_folder() / "config" / "fastdds_profile.xml")
    environment = {variable: os.environ.get(variable, profile)}
    if domain_id is None:
        environment["ROS_DOMAIN_ID"] = str(random.SystemRandom().randint(1, HIGHEST_DOMAIN))
        environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    else:
        environment["ROS_DOMAIN_ID"] = str(domain_id)
    return environment


class NodeProcess:
    """A running node."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        """Keep the process and the file its output goes to."""
        self._process = process
        self._log = log

    def check_alive(self) -> None:
        """Raise when the process has ended.

        Raises:
            DetectorDiedError: With the end of its log.
        """
        status = self._process.poll()
        if status is not None:
            raise DetectorDiedError(f"the detector ended with status {status}:\n{self.log_tail()}")

    def log_tail(self, lines: int = 25) -> str:
        """Return the last lines the process wrote."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self) -> None:
        """End the process: politely, then firmly."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is not None:
                return
            self._process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_S)


@contextlib.contextmanager
def running_node(
    module: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path
) -> Iterator[NodeProcess]:
    """Run `python -m module` with these arguments until the block ends; output goes to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", module, *arguments],
            env={**PROCESS_ENVIRONMENT, **os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        node = NodeProcess(process, log)
        try:
            yield node
        finally:
            node.stop()
