# SPDX-License-Identifier: Apache-2.0
import time

import pytest

from simdistill_ros.process_environment import PROCESS_ENVIRONMENT
from simdistill_ros.replay.node_process import (
    DetectorDiedError,
    dds_environment,
    running_node,
)

PROFILE = "FASTDDS_DEFAULT_PROFILES_FILE"


def watch(node, timeout_s=30):
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        node.check_alive()
        time.sleep(0.02)


def test_process_that_ends_is_reported_with_its_last_words(tmp_path):
    log = tmp_path / "log.txt"
    with (
        running_node("json.tool", ["/nonexistent/file"], {}, log) as node,
        pytest.raises(DetectorDiedError, match="No such file"),
    ):
        watch(node)


def test_running_process_is_ended_with_the_block(tmp_path):
    log = tmp_path / "log.txt"
    with running_node("http.server", ["0", "--bind", "127.0.0.1"], {}, log) as node:
        node.check_alive()
    with pytest.raises(DetectorDiedError):
        node.check_alive()


def test_process_gets_the_environment_that_large_messages_need(tmp_path):
    (tmp_path / "show_environment.py").write_text(
        "import os\n"
        "starts = ('MALLOC', 'OMP_WAIT', 'OPENBLAS_NUM')\n"
        "ours = sorted(k for k in os.environ if k.startswith(starts))\n"
        "print({k: os.environ[k] for k in ours})"
    )
    log = tmp_path / "log.txt"
    with running_node("show_environment", [], {"PYTHONPATH": str(tmp_path)}, log) as node:
        deadline = time.monotonic() + 30
        while "TRIM" not in node.log_tail() and time.monotonic() < deadline:
            time.sleep(0.02)
    assert str(dict(sorted(PROCESS_ENVIRONMENT.items()))) in log.read_text()


def test_own_domain_is_random_and_only_this_machine_s():
    environment = dds_environment(None)
    assert 1 <= int(environment["ROS_DOMAIN_ID"]) <= 101
    assert environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    assert dds_environment(7)["ROS_DOMAIN_ID"] == "7"


def test_user_s_dds_profile_is_kept(monkeypatch):
    monkeypatch.setenv(PROFILE, "mine.xml")
    monkeypatch.delenv("ROS_DISTRO", raising=False)
    assert dds_environment(1)[PROFILE] == "mine.xml"
    monkeypatch.delenv(PROFILE)
    assert dds_environment(1)[PROFILE].endswith("config/fastdds_profile.xml")


def test_older_distributions_are_given_the_profile_under_its_older_name(monkeypatch):
    monkeypatch.setenv("ROS_DISTRO", "humble")
    assert PROFILE not in dds_environment(1)
    assert dds_environment(1)["FASTRTPS_DEFAULT_PROFILES_FILE"].endswith("fastdds_profile.xml")
