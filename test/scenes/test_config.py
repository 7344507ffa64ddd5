# SPDX-License-Identifier: Apache-2.0

from pathlib import Path
from typing import Any

import pytest

from simdistill_ros.scenes.config import GeneratorConfig


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("scenes", 0, "scenes: expected at least 1, got 0"),
        ("val_scenes", 5, "val_scenes: expected 0 to scenes, got 5"),
        ("width", 1000, "16:9"),
        ("duration_s", 60.0, "duration_s: expected above 0, at most 25"),
        ("sweeps", "radar", "none or lidar or all, got 'radar'"),
        ("antialias", "much", "none or edges or full"),
        ("jobs", 0, "jobs: expected at least 1"),
        ("jpeg_quality", 101, "jpeg_quality: expected 1 to 100"),
        ("traffic", 0.0, "traffic: expected above 0"),
        ("looks", (), "looks: expected at least one seed"),
        ("towns", (-1,), "seeds of 0 or more"),
        ("val_split", "val", "does not reserve"),
        ("val_split", "sim_train", "two different names"),
    ],
)
def test_bad_option_is_refused_by_name(option: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GeneratorConfig(**{"out": Path("x"), "scenes": 2, option: value})


def test_keyframes_are_half_a_second_apart_and_include_both_ends() -> None:
    assert GeneratorConfig(out=Path("x"), duration_s=20.0).keyframes == 41
    assert GeneratorConfig(out=Path("x"), duration_s=0.4).keyframes == 1


def test_last_scenes_are_for_validation() -> None:
    config = GeneratorConfig(out=Path("x"), scenes=5, val_scenes=2)
    splits = [config.plan(index).split for index in range(5)]
    assert splits == ["sim_train"] * 3 + ["sim_val"] * 2


def test_training_and_validation_share_neither_towns_nor_looks_by_default() -> None:
    config = GeneratorConfig(out=Path("x"), scenes=20, val_scenes=6, seed=3)
    plans = [config.plan(index) for index in range(20)]
    for field in ("town", "look"):
        train = {getattr(plan, field) for plan in plans if plan.split == "sim_train"}
        val = {getattr(plan, field) for plan in plans if plan.split == "sim_val"}
        assert not train & val


def test_towns_and_looks_given_are_used_in_turn() -> None:
    config = GeneratorConfig(out=Path("x"), scenes=4, val_scenes=1, towns=(7, 8), looks=(1,))
    assert [config.plan(index).town for index in range(3)] == [7, 8, 7]
    assert {config.plan(index).look for index in range(3)} == {1}
