# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from simdistill_ros.core.time_jumps import JumpDetector, StampKind

S = 1_000_000_000


def make():
    detector = JumpDetector(["a", "b"], jump_ns=S // 2, grace_ns=S)
    for name in ("a", "b"):
        assert detector.judge(name, 100 * S, 0) is StampKind.CURRENT
    return detector


def test_a_step_back_beyond_the_limit_is_a_jump_and_one_at_the_limit_is_not():
    assert make().judge("a", 100 * S - S // 2, 0) is StampKind.CURRENT
    assert make().judge("a", 100 * S - S // 2 - 1, 0) is StampKind.JUMP


def test_the_jump_of_a_second_stream_is_the_same_jump():
    detector = make()
    assert detector.judge("a", 70 * S, 0) is StampKind.JUMP
    assert detector.judge("b", 70 * S, 0) is StampKind.CURRENT


def test_a_stamp_of_the_old_time_is_a_straggler_for_a_while():
    detector = make()
    detector.judge("a", 70 * S, 0)
    assert detector.judge("b", 100 * S + 1, S - 1) is StampKind.STRAGGLER
    assert detector.judge("b", 100 * S + 2, S) is StampKind.CURRENT


def test_a_stream_that_once_jumped_has_no_stragglers():
    detector = make()
    detector.judge("a", 70 * S, 0)
    detector.judge("b", 70 * S, 0)
    assert detector.judge("b", 100 * S, 1) is StampKind.CURRENT


def test_a_step_forward_is_no_jump():
    assert make().judge("a", 10_000 * S, 0) is StampKind.CURRENT


def test_after_forgetting_no_stamp_is_a_jump():
    detector = make()
    detector.forget()
    assert detector.judge("a", S, 0) is StampKind.CURRENT
