# SPDX-License-Identifier: Apache-2.0
"""scripts/setup.sh says in one line what is missing and how to get it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NEEDED = ("bash", "cat", "cut", "date", "dirname", "env", "find", "grep", "id", "mkdir", "mktemp")
NEEDED += ("rm", "sha256sum", "sleep", "sort", "tail", "tr")


def run_setup(venv: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    # The python of an environment with ROS wheels leaves marks that another must not inherit.
    marks = {"_ROS_WHEELS_BOOTSTRAP_COMPLETE", "LD_LIBRARY_PATH", "ROS_DISTRO", "PYTHON"}
    inherited = {key: value for key, value in os.environ.items() if key not in marks}
    return subprocess.run(
        ["bash", str(ROOT / "scripts" / "setup.sh")],
        env={**inherited, "VENV": str(venv), "PYTHON": base_python(), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def base_python() -> str:
    """The interpreter below this virtual environment."""
    return str(Path(sys.base_prefix) / "bin" / "python3")


@pytest.fixture
def bare_path(tmp_path: Path) -> Path:
    """A folder with the basic commands only: no compiler, no package manager."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in NEEDED:
        found = shutil.which(name)
        if found is None:
            pytest.skip(f"{name} is not installed")
        (folder / name).symlink_to(found)
    return folder


def make_fake_python(folder: Path, output: str) -> Path:
    path = folder / "fake_python"
    path.write_text(f"#!/bin/sh\necho '{output}'\n")
    path.chmod(0o755)
    return path


def test_missing_compiler_is_one_line_that_names_the_fix(tmp_path: Path, bare_path: Path) -> None:
    result = run_setup(tmp_path / "venv", PATH=str(bare_path))

    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("setup: missing system packages")
    assert "sudo apt-get install" in line
    assert "g++" in line
    assert not (tmp_path / "venv").exists()


def test_unsupported_python_is_one_line_that_names_the_fix(tmp_path: Path) -> None:
    python = make_fake_python(tmp_path, "3.9")
    result = run_setup(tmp_path / "venv", PYTHON=str(python))

    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        f"setup: '{python}' is Python 3.9, expected 3.10 to 3.13: make setup PYTHON=python3.12"
    ]


def test_unreachable_index_is_one_line_that_names_the_fix(tmp_path: Path) -> None:
    if shutil.which("g++") is None:
        pytest.skip("no compiler here: set-up stops earlier")
    result = run_setup(
        tmp_path / "venv",
        PIP_CONFIG_FILE=os.devnull,
        PIP_INDEX_URL="http://127.0.0.1:9/simple",
        PIP_EXTRA_INDEX_URL="",
        PIP_FIND_LINKS="",
        PIP_NO_CACHE_DIR="1",
        PIP_RETRIES="0",
    )

    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("setup: installing torch failed: ERROR: ")
    assert "is a package index reachable?" in line
    assert "Traceback" not in result.stdout


def test_missing_messages_of_a_sourced_distribution_name_their_package(tmp_path: Path) -> None:
    """A python that imports rclpy but not vision_msgs stands for the distribution's."""
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / ".setup").mkdir()
    python = tmp_path / "python3"
    python.write_text(
        "#!/bin/sh\n"
        'case "$*" in\n'
        "  *vision_msgs*) exit 1;;\n"
        "  *version_info*) echo 3.12;;\n"
        "  *base_prefix*) echo /usr;;\n"
        '  *" venv "*) mkdir -p "$VENV/bin"; cp "$0" "$VENV/bin/python";;\n'
        "esac\n"
    )
    python.chmod(0o755)

    result = run_setup(venv, PYTHON=str(python), ROS_DISTRO="jazzy")

    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        "setup: vision_msgs is missing: sudo apt-get install ros-jazzy-vision-msgs"
    ]
    assert "building" not in result.stdout


def test_help_lists_every_target() -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed")
    result = subprocess.run(
        [make, "--no-print-directory", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    targets = {line.split()[0] for line in result.stdout.splitlines()}
    assert targets == {"help", "setup", "demo", "test", "lint", "docs", "bench", "gpu", "clean"}
