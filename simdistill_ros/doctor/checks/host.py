# SPDX-License-Identifier: Apache-2.0
"""Has the machine what the node needs; only where the graph runs, not for a bag."""

from __future__ import annotations

from simdistill_ros.doctor.findings import Check, Finding, Kind, Severity, found
from simdistill_ros.doctor.observations import Rig
from simdistill_ros.process_environment import PROCESS_ENVIRONMENT

BUSY = 0.85
MEMORY_BYTES = 1_000_000_000
GPU_BYTES = 1_000_000_000
PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")

FASTDDS_PROFILE_UNSET = Kind(
    "fastdds_profile_unset",
    Severity.WARNING,
    "Raw images with Fast DDS's default segment of 512 KiB: nearly all best-effort ones get lost.",
    "export FASTDDS_DEFAULT_PROFILES_FILE=.../config/fastdds_profile.xml for the camera drivers.",
)
MALLOC_UNSET = Kind(
    "malloc_unset",
    Severity.INFO,
    "The malloc variables are not set here: image-sized buffers go back to the kernel each time.",
    "The launch files set them; for what you start by hand see process_environment.py.",
)
CPU_BUSY = Kind(
    "cpu_busy",
    Severity.WARNING,
    "The processors are busy: images and inference will wait.",
    "Stop other load, or give the node cores of its own.",
)
MEMORY_LOW = Kind(
    "memory_low",
    Severity.WARNING,
    "Less than 1 GB of memory is free.",
    "Stop other programs, or use a smaller model.",
)
GPU_MISSING = Kind(
    "gpu_missing",
    Severity.ERROR,
    "device is cuda but there is no usable CUDA device.",
    "Install the driver and a CUDA build of the backend, or set device: cpu.",
)
GPU_MEMORY_LOW = Kind(
    "gpu_memory_low",
    Severity.WARNING,
    "Less than 1 GB of the GPU's memory is free.",
    "Stop other programs on the GPU, or use a smaller model.",
)


def check_middleware(rig: Rig) -> list[Finding]:
    """Look at the environment of processes started from here."""
    machine = rig.machine
    if machine is None:
        return []
    findings = []
    has_profile = any(machine.environment.get(name) for name in PROFILE_VARIABLES)
    if not rig.plan.compressed and "fastrtps" in machine.rmw and not has_profile:
        text = f"{PROFILE_VARIABLES[0]} is not set and input.compressed is false"
        findings.append(found(FASTDDS_PROFILE_UNSET, (), text))
    unset = [
        n for n in PROCESS_ENVIRONMENT if n.startswith("MALLOC") and n not in machine.environment
    ]
    if unset:
        findings.append(found(MALLOC_UNSET, (), f"not set here: {', '.join(unset)}"))
    return findings


def check_headroom(rig: Rig) -> list[Finding]:
    """Look at processors, memory and GPU."""
    machine = rig.machine
    if machine is None:
        return []
    findings = []
    if machine.cpu_busy is not None and machine.cpu_busy > BUSY:
        text = f"{machine.cpu_busy:.0%} of {machine.cores} processors are busy"
        findings.append(found(CPU_BUSY, (), text, busy=machine.cpu_busy))
    if machine.memory_free_bytes is not None and machine.memory_free_bytes < MEMORY_BYTES:
        text = f"{machine.memory_free_bytes / 1e9:.2f} GB are free"
        findings.append(found(MEMORY_LOW, (), text))
    if rig.plan.device == "cuda" and machine.gpu_name is None:
        findings.append(found(GPU_MISSING, (), "no CUDA device is usable from here"))
    if machine.gpu_free_bytes is not None and machine.gpu_free_bytes < GPU_BYTES:
        text = f"{machine.gpu_free_bytes / 1e9:.2f} GB are free on {machine.gpu_name}"
        findings.append(found(GPU_MEMORY_LOW, (), text))
    return findings


CHECKS = (
    Check(check_middleware, (FASTDDS_PROFILE_UNSET, MALLOC_UNSET)),
    Check(check_headroom, (CPU_BUSY, MEMORY_LOW, GPU_MISSING, GPU_MEMORY_LOW)),
)
