# SPDX-License-Identifier: Apache-2.0
"""Fixtures for tests that need a ROS graph: each test has a domain, a rig and a node of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


def _has_cuda() -> bool:
    try:
        import torch
    except ImportError:  # tests of what needs no network run without it
        return False
    return bool(torch.cuda.is_available())


if not _has_cuda():
    # Triton then runs kernels on the CPU. It reads this once, when somebody imports it first.
    os.environ.setdefault("TRITON_INTERPRET", "1")

REPOSITORY = Path(__file__).resolve().parents[1]
FIRST_DOMAIN, DOMAINS = 50, 45  # above the ones people use, below Fast DDS's limit of 101


@pytest.fixture(autouse=True)
def _shared_memory_large_enough_for_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give publishers of raw images the profile that the launch files give them."""
    profile = REPOSITORY / "config" / "fastdds_profile.xml"
    if profile.is_file():
        monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", str(profile))


@pytest.fixture(scope="session")
def dataroot() -> Path:
    """Return the real nuScenes frames, or skip."""
    folder = os.environ.get("NUSCENES_DATAROOT", REPOSITORY.parent / "shared/real/nuscenes")
    path = Path(folder)
    if not (path / "v1.0-mini").is_dir():
        pytest.skip(f"no nuScenes frames at {path}; set NUSCENES_DATAROOT")
    return path


@pytest.fixture
def ros_domain(request: pytest.FixtureRequest, tmp_path: Path) -> int:
    """Return a ROS domain that no other test running now uses."""
    return FIRST_DOMAIN + (os.getpid() * 7 + abs(hash(request.node.nodeid))) % DOMAINS


@pytest.fixture
def bench(ros_domain: int) -> Iterator[Any]:
    """Return a `RigBench`: six cameras and a detector node with a stand-in for the network."""
    pytest.importorskip("rclpy")
    from rig_bench import RigBench

    rig_bench = RigBench(ros_domain)
    yield rig_bench
    rig_bench.close()
