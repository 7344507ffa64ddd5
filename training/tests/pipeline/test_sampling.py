# SPDX-License-Identifier: Apache-2.0
from collections import Counter
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from simdistill_ros.core.boxes import NUSCENES_CLASSES
from simdistill_training.data.sampling import TrainingSequence, class_balanced_positions

CAR, CONE = NUSCENES_CLASSES.index("car"), NUSCENES_CLASSES.index("traffic_cone")


@pytest.fixture
def rare_cones(index):
    """Six samples with a car each; only the last one shows a traffic cone, too."""
    labels = [CAR] * 6 + [CONE]
    return replace(
        index,
        box_labels=np.array(labels),
        box_points=np.ones(7, dtype=np.int64),
        box_offsets=np.array([0, 1, 2, 3, 4, 5, 7]),
    )


def keys(index, **changes):
    arguments = {"draws": 24, "seed": 1} | changes
    return list(TrainingSequence(index, np.arange(6), **arguments))


def test_rare_class_is_drawn_as_often_as_a_common_one(rare_cones):
    positions = class_balanced_positions(rare_cones, np.arange(6), 1, np.random.default_rng(0))
    # Seven (class, sample) pairs, two classes: three draws of each class.
    assert len(positions) == 6
    assert (positions == 5).sum() >= 3


def test_boxes_without_points_do_not_make_a_sample_one_of_their_class(rare_cones):
    hidden = replace(rare_cones, box_points=np.array([1, 1, 1, 1, 1, 1, 0]))
    positions = class_balanced_positions(hidden, np.arange(6), 1, np.random.default_rng(0))
    assert len(positions) == 6


def test_every_sample_comes_once_a_pass(index):
    for first in (0, 6, 12, 18):
        one_pass = keys(index)[first : first + 6]
        assert sorted(position for _, position in one_pass) == list(range(6))
    assert keys(index)[:6] != [(d - 6, p) for d, p in keys(index)[6:12]]


def test_draws_are_numbered(index):
    assert [draw for draw, _ in keys(index)] == list(range(24))


@pytest.mark.parametrize("start", [0, 5, 6, 23, 24])
def test_resumed_sequence_is_the_rest_of_the_whole(index, start):
    assert keys(index, start=start) == keys(index)[start:]


def test_length_counts_what_was_skipped_too(index):
    assert len(TrainingSequence(index, np.arange(6), draws=24, seed=1, start=20)) == 24


@pytest.mark.parametrize("class_balanced", [False, True])
def test_ranks_together_see_what_one_process_sees(index, class_balanced):
    options = {"class_balanced": class_balanced}
    parts = [keys(index, rank=rank, ranks=2, **options) for rank in range(2)]
    assert sorted(parts[0] + parts[1]) == keys(index, **options)
    assert len(parts[0]) == len(parts[1]) == 12


def test_seed_changes_the_order(index):
    assert keys(index) != keys(index, seed=2)


def test_long_sequence_is_not_made_ahead(index):
    endless = TrainingSequence(index, np.arange(6), draws=10**9, seed=0)
    assert len(Counter(position for _, position in islice(endless, 6))) == 6
