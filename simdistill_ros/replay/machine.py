# SPDX-License-Identifier: Apache-2.0
"""Say where a result was made: versions, commit, machine."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from simdistill_ros import __version__

_REPOSITORY = Path(__file__).resolve().parents[2]
_PACKAGES = ("torch", "numpy", "nuscenes-devkit")


def describe_environment() -> dict[str, str]:
    """Return what a reader needs to make the result again; what is not known is left out."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    facts = {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "simdistill_ros": __version__,
        "commit": _commit(),
        "processor": processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory_gib:.0f} GiB",
        "system": platform.platform(terse=True),
        "ros_distro": os.environ.get("ROS_DISTRO", ""),
        "python": platform.python_version(),
        **{name: _version(name) for name in _PACKAGES},
    }
    return {name: value for name, value in facts.items() if value}


def _commit() -> str:
    """Return the commit of this package's own repository; "" where it is installed without one."""
    if not (_REPOSITORY / ".git").exists():
        return ""
    git = ("git", "-C", str(_REPOSITORY))
    try:
        commit = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
        changes = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
    return commit + (" with local changes" if changes.strip() else "")


def processor() -> str:
    """Return the processor's name as the system gives it."""
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.is_file() else ():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
