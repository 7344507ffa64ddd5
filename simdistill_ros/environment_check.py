# SPDX-License-Identifier: Apache-2.0
"""Compare the environment a process was started in with what carries images without loss.

The variables work only from the start of a process, so this can say what is missing but not set it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

from simdistill_ros.process_environment import PROCESS_ENVIRONMENT

PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
MALLOC_VARIABLES = tuple(name for name in PROCESS_ENVIRONMENT if name.endswith("_"))  # glibc's
SMALLEST_SEGMENT_BYTES = 16 * 2**20
LARGEST_PROFILE_BYTES = 2**20


def environment_findings(
    environment: Mapping[str, str], *, rmw: str, compressed: bool, shipped_profile: str
) -> list[str]:
    """Return what to change, one sentence each, the most important first.

    Args:
        environment: The process' variables.
        rmw: Name of the middleware, such as `rmw_fastrtps_cpp`.
        compressed: The cameras are compressed: messages are small, so that only what costs
            processor time matters.
        shipped_profile: Path of the profile that ships with the package.
    """
    findings = []
    if "fastrtps" in rmw and not compressed:
        problem = profile_problem(environment)
        if problem:
            findings.append(
                f"{problem}: raw images will be lost; start this process and the camera drivers "
                f"with {PROFILE_VARIABLES[0]}={shipped_profile}"
            )
    missing = [name for name in MALLOC_VARIABLES if name not in environment]
    if missing:
        settings = " ".join(f"{name}={PROCESS_ENVIRONMENT[name]}" for name in missing)
        findings.append(
            f"{', '.join(missing)} not set: every image costs page faults, up to three times the "
            f"processor time; start with {settings}"
        )
    if "MALLOC_ARENA_MAX" not in environment:
        most = PROCESS_ENVIRONMENT["MALLOC_ARENA_MAX"]
        findings.append(
            "MALLOC_ARENA_MAX is not set: what one thread frees no other uses, and the process "
            f"grows for hours; start with MALLOC_ARENA_MAX={most}"
        )
    if not {"OMP_WAIT_POLICY", "OMP_NUM_THREADS"} & set(environment):
        policy = PROCESS_ENVIRONMENT["OMP_WAIT_POLICY"]
        findings.append(
            "neither OMP_WAIT_POLICY nor OMP_NUM_THREADS is set: idle network threads spin and "
            f"slow decoding down; start with OMP_WAIT_POLICY={policy}"
        )
    if "OPENBLAS_NUM_THREADS" not in environment:
        findings.append(
            "OPENBLAS_NUM_THREADS is not set: an idle thread of numpy's matrix library spins and "
            "keeps a core busy; start with OPENBLAS_NUM_THREADS=1"
        )
    return findings


def profile_problem(environment: Mapping[str, str]) -> str:
    """Return what keeps the Fast DDS profile from carrying raw images, or ""."""
    paths = [environment[name] for name in PROFILE_VARIABLES if environment.get(name)]
    if not paths:
        return f"{PROFILE_VARIABLES[0]} is not set"
    path = Path(paths[0])
    try:
        if os.path.getsize(path) > LARGEST_PROFILE_BYTES:
            return f"the profile {path} has more than {LARGEST_PROFILE_BYTES} bytes"
        root = ElementTree.fromstring(path.read_bytes())
        sizes = [int(e.text or 0) for e in root.iter() if e.tag.endswith("segment_size")]
    except (OSError, ElementTree.ParseError, ValueError) as error:
        return f"the profile {path} cannot be read ({error})"
    if max(sizes, default=0) < SMALLEST_SEGMENT_BYTES:
        return (
            f"the profile {path} has no shared memory segment of {SMALLEST_SEGMENT_BYTES} bytes "
            f"or more (segment_size: {max(sizes, default='none')})"
        )
    return ""
