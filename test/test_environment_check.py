# SPDX-License-Identifier: Apache-2.0
"""The node says which variables it should have been started with."""

from __future__ import annotations

from pathlib import Path

import pytest

from simdistill_ros.environment_check import environment_findings, profile_problem
from simdistill_ros.process_environment import PROCESS_ENVIRONMENT

REPOSITORY = Path(__file__).resolve().parents[1]
PROFILE = str(REPOSITORY / "config" / "fastdds_profile.xml")
GOOD = {**PROCESS_ENVIRONMENT, "FASTDDS_DEFAULT_PROFILES_FILE": PROFILE}


def findings(environment: dict[str, str], compressed: bool = False, rmw: str = "") -> list[str]:
    return environment_findings(
        environment,
        rmw=rmw or "rmw_fastrtps_cpp",
        compressed=compressed,
        shipped_profile="/share/profile.xml",
    )


def without(*names: str) -> dict[str, str]:
    return {name: value for name, value in GOOD.items() if name not in names}


def test_the_environment_of_the_launch_files_has_no_findings() -> None:
    assert findings(GOOD) == []


def test_the_older_name_of_the_profile_variable_counts_too() -> None:
    environment = without("FASTDDS_DEFAULT_PROFILES_FILE")

    assert findings({**environment, "FASTRTPS_DEFAULT_PROFILES_FILE": PROFILE}) == []


def test_a_missing_profile_matters_to_raw_images_over_fast_dds_only() -> None:
    environment = without("FASTDDS_DEFAULT_PROFILES_FILE")

    (finding,) = findings(environment)

    assert "FASTDDS_DEFAULT_PROFILES_FILE=/share/profile.xml" in finding
    assert findings(environment, compressed=True) == []
    assert findings(environment, rmw="rmw_cyclonedds_cpp") == []


def test_missing_malloc_settings_are_listed_with_their_values() -> None:
    (finding,) = findings(without("MALLOC_TOP_PAD_", "MALLOC_TRIM_THRESHOLD_"), compressed=True)

    assert "MALLOC_TOP_PAD_=4194304" in finding
    assert "MALLOC_MMAP_THRESHOLD_" not in finding


def test_heaps_of_single_threads_are_mentioned() -> None:
    (finding,) = findings(without("MALLOC_ARENA_MAX"), compressed=True)

    assert "MALLOC_ARENA_MAX=2" in finding


def test_spinning_network_threads_are_mentioned_unless_their_number_is_chosen() -> None:
    environment = without("OMP_WAIT_POLICY")

    assert "OMP_WAIT_POLICY=PASSIVE" in findings(environment)[0]
    assert findings({**environment, "OMP_NUM_THREADS": "1"}) == []


def test_a_spinning_matrix_library_is_mentioned() -> None:
    (finding,) = findings(without("OPENBLAS_NUM_THREADS"))

    assert "OPENBLAS_NUM_THREADS=1" in finding


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot be read"),
        ("<dds><unclosed>", "cannot be read"),
        ("<dds><profiles/></dds>", "segment_size: none"),
        ("<dds><segment_size>524288</segment_size></dds>", "segment_size: 524288"),
        ("<dds><segment_size>much</segment_size></dds>", "cannot be read"),
    ],
)
def test_a_profile_that_does_not_help_is_told_apart(
    tmp_path: Path, text: str | None, words: str
) -> None:
    path = tmp_path / "profile.xml"
    if text is not None:
        path.write_text(text)

    assert words in profile_problem({"FASTDDS_DEFAULT_PROFILES_FILE": str(path)})
