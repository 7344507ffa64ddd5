# SPDX-License-Identifier: Apache-2.0
"""What a result depends on besides its configuration: code, libraries, machine."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("torch", "lightning", "numpy", "spconv", "nuscenes-devkit", "safetensors")


def git_commit(folder: Path = Path(__file__).parent) -> str:
    """Return the commit of the source tree, `-dirty` when files differ; "unknown" without git."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit}-dirty" if changes else commit


def environment() -> dict[str, Any]:
    """Return commit, versions and machine."""
    has_cuda = torch.cuda.is_available()
    return {
        "commit": git_commit(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "machine": machine_name(),
        "cuda": torch.version.cuda if has_cuda else None,
        "packages": {name: _version(name) for name in PACKAGES},
    }


def machine_name() -> str:
    """Return the accelerator's or the processor's name and count."""
    if torch.cuda.is_available():
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}"
    cpu_info = Path("/proc/cpuinfo")
    names = [platform.processor() or platform.machine()]
    if cpu_info.is_file():
        lines = cpu_info.read_text().splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.machine()


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
