# SPDX-License-Identifier: Apache-2.0
from benchmarks.training_speed import training_table


def test_table_of_training_speed_has_a_row_an_experiment_with_the_share_of_waiting():
    row = {"loader_samples_per_s": 42.0, "steps_per_s": 1.5, "samples_per_s": 3.0}
    result = {"what": "2 steps", "experiments": {"teacher-tiny": {**row, "waiting_share": 0.004}}}
    lines = training_table(result)
    assert "| teacher-tiny | 42 | 1.5 | 3 | 0.004 |" in lines
    assert lines[2].endswith("| waiting for data |")
