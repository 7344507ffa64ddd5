# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

pytest.importorskip("rclpy")

from simdistill_ros.replay.faults.parse import FAULTS, describe_faults, format_fault, parse_fault
from simdistill_ros.replay.replay import main, make_parser


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_written_so_that_it_can_be_read_again(name):
    fault = parse_fault(f"{name}:seed=7,cameras=cam_back+cam_front")
    assert parse_fault(format_fault(fault)) == fault
    assert "seed=7" in format_fault(fault)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nonsense", "camera_crash"),
        ("blur:sigma=3", "sigma_px"),
        ("blur:sigma_px", "key=value"),
        ("blur:sigma_px=wide", "expected float"),
        ("frame_loss:probability=2", "at most 1"),
        ("frame_loss:probability=nan", "at most 1"),
        ("jitter:max_ms=-1", "at least 0"),
        ("jitter:cameras=cam_top", "cam_top"),
        ("jitter:cameras=7", "1 to 6"),
    ],
)
def test_a_fault_that_cannot_be_planted_is_refused_with_what_is_expected(text, words, capsys):
    with pytest.raises(ValueError, match=words.replace("+", r"\+")):
        parse_fault(text)
    with pytest.raises(SystemExit):
        make_parser().parse_args(["--out", "x", "--fault", text])
    assert words in capsys.readouterr().err


def test_help_lists_every_fault_with_its_keys(capsys):
    with pytest.raises(SystemExit) as ended:
        make_parser().parse_args(["--fault", "help"])
    assert ended.value.code == 0
    listed = capsys.readouterr().out
    assert listed.strip() == describe_faults()
    assert all(f"\n{name}" in listed for name in FAULTS)
    assert "sigma_px=4.0" in listed


def test_faults_of_timing_are_refused_where_the_replay_waits(tmp_path, capsys):
    arguments = ["--out", str(tmp_path), "--bag", str(tmp_path), "--fault", "jitter"]
    assert main(arguments) == 2
    assert "--mode realtime" in capsys.readouterr().err
    assert main([*arguments, "--mode", "realtime"]) == 2
    assert "rosbag2 folder" in capsys.readouterr().err  # the next thing that is wrong
